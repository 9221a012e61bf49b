/** Where a text stops being JSON: JSON.parse says what is wrong, and not where. */

const token =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a text of JSON may not hold them
  /[ \t\r\n]+|[{}[\],:]|"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;

/** What may come next. */
type Expected = "value" | "value or ]" | "key" | "key or }" | ":" | ", or end" | "nothing";

/** The 1-based place of the first token that does not fit, or of the end when that comes too early. */
export function jsonPlace(text: string): { line: number; column: number } {
  const before = text.slice(0, firstWrong(text));
  return {
    line: before.split("\n").length,
    column: before.length - before.lastIndexOf("\n"),
  };
}

function firstWrong(text: string): number {
  const open: string[] = [];
  let expected: Expected = "value";
  for (let at = 0; ; at = token.lastIndex) {
    token.lastIndex = at;
    const found = token.exec(text)?.[0];
    if (found === undefined) return at;
    if (/^\s/.test(found)) continue;
    const next = follow(found, expected, open);
    if (next === null) return at;
    expected = next;
  }
}

/** What may come after a token; null when it may not stand here. `open` holds what is to be closed. */
function follow(found: string, expected: Expected, open: string[]): Expected | null {
  const after = (): Expected => (open.length === 0 ? "nothing" : ", or end");
  if (found === "}" || found === "]") {
    const isEmpty = expected === (found === "}" ? "key or }" : "value or ]");
    if ((!isEmpty && expected !== ", or end") || open.pop() !== found) return null;
    return after();
  }
  if (found === ",") {
    if (expected !== ", or end") return null;
    return open.at(-1) === "}" ? "key" : "value";
  }
  if (found === ":") return expected === ":" ? "value" : null;
  if (expected === "key" || expected === "key or }") return found.startsWith('"') ? ":" : null;
  if (expected !== "value" && expected !== "value or ]") return null;
  if (found === "{" || found === "[") {
    open.push(found === "{" ? "}" : "]");
    return found === "{" ? "key or }" : "value or ]";
  }
  return after();
}
