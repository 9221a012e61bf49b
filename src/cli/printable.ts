/**
 * Text of a server or a file on a terminal. Names and messages may hold anything: an escape sequence
 * that retitles the window or hides a line, a newline that fakes a row, a mark that turns the order of
 * reading around. People see it without; programs (json, tsv) get it escaped, so that nothing is lost.
 */

/** Controls, line separators, and the marks of Unicode that reorder or hide text. */
const unsafe = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
/** CSI … final byte; OSC, DCS and their kin … terminator; any other two-character escape. */
const sequences =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]|(?:\u001b[\]PX^_]|[\u009d\u0090\u0098\u009e\u009f])[^\u0007\u001b\u0080-\u009f]*(?:\u0007|\u001b\\|\u009c)|\u001b[ -/]*[0-~]/g;
/** What separates words stays a space. */
const spaces = /[\t\n\v\f\r\u0085\u2028\u2029]+/g;

/** One line without anything that a terminal obeys. */
export function printable(text: string): string {
  return text.replace(sequences, "").replace(spaces, " ").replace(unsafe, "").toWellFormed();
}

/** The same for text of several lines: its line ends and tabs stay. */
export function printableLines(text: string): string {
  const parts = text.replaceAll("\r\n", "\n").split(/([\n\t])/);
  return parts.map((part) => (part === "\n" || part === "\t" ? part : printable(part))).join("");
}

/** JSON that is also harmless on a terminal: what JSON.stringify leaves as it is, escaped as well. */
export function safeJson(value: unknown, indent?: number): string {
  return escapeUnsafe(JSON.stringify(value, null, indent) ?? "null", "\n");
}

/** A field of a line of tab-separated values: `\t`, `\n`, `\r`, `\\` and `\u001b` are escapes. */
export function tsvField(text: string): string {
  const escaped = text
    .replaceAll("\\", "\\\\")
    .replaceAll("\t", "\\t")
    .replaceAll("\n", "\\n")
    .replaceAll("\r", "\\r");
  return escapeUnsafe(escaped.toWellFormed(), "");
}

function escapeUnsafe(text: string, kept: string): string {
  const hex = (unit: number): string => `\\u${unit.toString(16).padStart(4, "0")}`;
  return text.replace(unsafe, (found) =>
    found === kept
      ? found
      : found
          .split("")
          .map((unit) => hex(unit.charCodeAt(0)))
          .join(""),
  );
}
