/** An identifier as it stands in SQL, on every engine. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
