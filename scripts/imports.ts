/**
 * Finds what a TypeScript file imports, types and dynamic imports included. A scanner and not a
 * parser: it knows comments, strings, templates and regular expressions, which is all it takes to
 * tell a real import from one in an example.
 */
export interface Import {
  readonly specifier: string;
  /** `static` loads at once, `dynamic` when it is reached, `type` never. */
  readonly kind: "static" | "dynamic" | "type";
  /** 1-based. */
  readonly line: number;
}

export interface Scanned {
  readonly imports: readonly Import[];
  /** The file without comments and without the content of strings; lines stay where they are. */
  readonly code: string;
  /** Comments alone; lines stay where they are. */
  readonly comments: string;
}

/** A `/` after one of these begins a regular expression, not a division. */
const beforeRegex = /(?:^|[(,=:[!&|?{};+\-*%<>~^]|\breturn|\btypeof|\bcase)\s*$/;

const STATIC = /(^|[;}\s])(import|export)\s+(type\s+(?!from\b|,))?(?:[^;"()]*?\bfrom\s*)?"(\d+)"/g;
const DYNAMIC = /\b(?:import|require)\s*\(\s*"(\d+)"/g;

/** Reads one file. */
export function scanImports(text: string): Scanned {
  const { code, comments, strings } = mask(text);
  const lineAt = (index: number): number => code.slice(0, index).split("\n").length;
  const imports: Import[] = [];
  for (const match of code.matchAll(STATIC)) {
    const kind = match[3] === undefined ? "static" : "type";
    const start = match.index + (match[1]?.length ?? 0);
    imports.push({ specifier: strings[Number(match[4])] ?? "", kind, line: lineAt(start) });
  }
  for (const match of code.matchAll(DYNAMIC)) {
    imports.push({
      specifier: strings[Number(match[1])] ?? "",
      kind: "dynamic",
      line: lineAt(match.index),
    });
  }
  return { imports, code, comments };
}

/** Blanks comments, templates and regular expressions; strings become `"<their number>"`. */
function mask(text: string): { code: string; comments: string; strings: string[] } {
  const strings: string[] = [];
  let code = "";
  let comments = "";
  let at = 0;
  /** Depth of braces at which each open template's `${` ends. */
  const templates: number[] = [];
  let depth = 0;
  const onlyLines = (piece: string): string => piece.replace(/[^\n]/g, " ");
  const take = (length: number, replacement?: string): string => {
    const piece = text.slice(at, at + length);
    code += replacement ?? onlyLines(piece);
    comments += onlyLines(piece);
    at += length;
    return piece;
  };
  while (at < text.length) {
    const char = text[at] as string;
    const pair = text.slice(at, at + 2);
    if (pair === "//" || pair === "/*") {
      const piece = text.slice(at, at + commentLength(text, at));
      code += onlyLines(piece);
      comments += piece;
      at += piece.length;
    } else if (char === '"' || char === "'") {
      const length = quotedLength(text, at, char);
      const content = text.slice(at + 1, at + length - 1);
      take(length, `"${strings.push(content) - 1}"`);
    } else if (char === "`" || (char === "}" && templates.at(-1) === depth)) {
      if (char === "}") templates.pop();
      const length = templateLength(text, at + 1) + 1;
      if (text.slice(at, at + length).endsWith("${")) templates.push(depth);
      take(length);
    } else if (char === "/" && beforeRegex.test(code.slice(-40))) {
      take(regexLength(text, at), "0");
    } else {
      if (char === "{") depth += 1;
      if (char === "}") depth -= 1;
      take(1, char);
    }
  }
  return { code, comments, strings };
}

function commentLength(text: string, from: number): number {
  const isLine = text[from + 1] === "/";
  const end = text.indexOf(isLine ? "\n" : "*/", from + 2);
  if (end === -1) return text.length - from;
  return end - from + (isLine ? 0 : 2);
}

function quotedLength(text: string, from: number, quote: string): number {
  let at = from + 1;
  while (at < text.length && text[at] !== quote && text[at] !== "\n")
    at += text[at] === "\\" ? 2 : 1;
  return at + 1 - from;
}

/** Up to and with the closing backtick, or the next `${`. */
function templateLength(text: string, from: number): number {
  let at = from;
  while (at < text.length) {
    if (text[at] === "`") return at + 1 - from;
    if (text.startsWith("${", at)) return at + 2 - from;
    at += text[at] === "\\" ? 2 : 1;
  }
  return at - from;
}

function regexLength(text: string, from: number): number {
  let at = from + 1;
  let isInClass = false;
  while (at < text.length && text[at] !== "\n") {
    const char = text[at];
    if (char === "[") isInClass = true;
    if (char === "]") isInClass = false;
    if (char === "/" && !isInClass) return at + 1 - from;
    at += char === "\\" ? 2 : 1;
  }
  return 1;
}
