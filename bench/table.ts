/** One row of the report: what was measured, against which floor, and what it should reach. */
export interface Row {
  what: string;
  target: string;
  measured: string;
  /** Null when the row has no target of its own. */
  reached: boolean | null;
  detail: string;
}

export function printRows(rows: readonly Row[]): void {
  const widths = [52, 26, 26];
  const line = (cells: string[]): string =>
    cells.map((cell, index) => cell.padEnd(widths[index] ?? 0)).join("  ");
  console.log(line(["what", "target", "measured"]));
  for (const row of rows) {
    const mark = row.reached === null ? " " : row.reached ? "+" : "-";
    console.log(`${mark} ${line([row.what, row.target, row.measured])}`);
    if (row.detail !== "") console.log(`    ${row.detail}`);
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

export function fixed(value: number, digits = 2): string {
  return value.toFixed(digits);
}
