/**
 * Compiles one script: TypeScript or JavaScript in, one ES module and its source map out. Runs in the
 * compile child only, because a hostile source may exhaust the memory of whatever parses it.
 *
 * Bun's bundler does the work (1 to 3 ms), with the script as a file that exists in memory alone:
 * - Nothing is resolved, read or inlined: every import is external, defines that would freeze a value
 *   of this process are turned off, and the folder of the virtual file cannot exist (it is below a
 *   device), so that no tsconfig.json or package.json is found near it.
 * - **Nothing is executed.** Bun runs macros (`import … with { type: "macro" }`) while it compiles, in
 *   this process, with all its rights. It refuses that for files of a package below `node_modules/`,
 *   so our file is one. `assertNoMacros` proves it before the first script is taken, and import
 *   attributes are refused before the source is compiled at all.
 *
 * Positions are 1-based lines, and 1-based columns in UTF-16 units, as editors count them. A byte order
 * mark counts for nothing. CR LF is one line end; so are, as the language has it, CR, U+2028 and U+2029.
 *
 * Standard decorators and everything else newer than the engine is lowered; JSX is refused. Top-level
 * `await` is allowed: it works as long as what is awaited settles without timers or host calls.
 */
import { SourceMap } from "node:module";
import { codeBytesMax, compileProblemsMax, sourceBytesMax } from "../domain/limits.ts";
import type { CompileProblem, CompileRequest, CompileResult } from "./api.ts";
import { checkShape, tooDeep } from "./compile-shape.ts";
import { compiledName } from "./positions.ts";

const VIRTUAL_DIR = "/dev/null/node_modules/script";
const VIRTUAL_FILE = `${VIRTUAL_DIR}/${compiledName}.ts`;

/** No token begins with it. As long as `with`, so that what follows keeps its position. */
const NO_TOKEN = "####";

const noMacros = "Macros are not supported";

interface Built {
  code: string;
  map: { mappings: string };
  warnings: CompileProblem[];
}

/** Compiles. Never throws for what a source holds: problems are part of the result. */
export async function compileSource(request: CompileRequest): Promise<CompileResult> {
  const unreadable = checkText(request.source);
  if (unreadable !== null) return { ok: false, problems: [unreadable] };
  const source = normalise(request.source);

  const attributes = await findImportAttributes(source);
  if (attributes.length > 0) return { ok: false, problems: attributes };
  const built = await build(source, "ts");
  if (Array.isArray(built)) return { ok: false, problems: await explain(source, built) };
  const { code, bodyStart } = withoutBuildComments(built.code);
  if (Buffer.byteLength(code) > codeBytesMax) {
    return {
      ok: false,
      problems: [atStart("The compiled code is too large; is it deeply nested?")],
    };
  }

  const locate = locator(code, built.map);
  const shape = checkShape({
    code,
    bodyStart,
    kind: request.kind,
    virtualDir: VIRTUAL_DIR,
    locate,
    wordAt: (offset) => wordAt(source, locate(offset)),
  });
  if (shape.problems.length > 0) return { ok: false, problems: bounded(shape.problems) };
  return {
    ok: true,
    code,
    source_map: JSON.stringify({
      version: 3,
      sources: ["script.ts"],
      names: [],
      mappings: built.map.mappings,
    }),
    imports: shape.imports.map(({ specifier }) => specifier),
    import_sites: shape.imports,
    warnings: bounded([...built.warnings, ...shape.warnings]),
  };
}

/** Throws when Bun would execute a macro of a script. Costs a millisecond; call once at start. */
export async function assertNoMacros(): Promise<void> {
  const built = await build(
    'import { hostname } from "node:os" with { type: "macro" };\nexport default () => hostname();',
    "ts",
  );
  if (!Array.isArray(built) || !built.some((problem) => problem.message === noMacros)) {
    throw new Error("this runtime would execute macros of scripts while it compiles them");
  }
}

// ---------------------------------------------------------------------------------------------

/** What makes a text no source at all. */
function checkText(source: string): CompileProblem | null {
  if (Buffer.byteLength(source) > sourceBytesMax) {
    return atStart(`A source may have ${sourceBytesMax} bytes at most`);
  }
  const nul = source.indexOf("\0");
  if (nul !== -1) return { message: "A source cannot hold a NUL byte", ...positionOf(source, nul) };
  if (source.isWellFormed()) return null;
  let at = 0;
  while ((source.codePointAt(at) ?? 0) >> 11 !== 0x1b)
    at += (source.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
  return { message: "Half of a surrogate pair is not a character", ...positionOf(source, at) };
}

/** A byte order mark is dropped, and a `#!` line becomes a comment (Bun would keep it). */
function normalise(source: string): string {
  const text = source.startsWith("\ufeff") ? source.slice(1) : source;
  return text.startsWith("#!") ? `//${text.slice(2)}` : text;
}

/** The module in `source` as JavaScript, or what is wrong with it. */
async function build(source: string, loader: "ts" | "tsx"): Promise<Built | CompileProblem[]> {
  const path = loader === "ts" ? VIRTUAL_FILE : `${VIRTUAL_FILE}x`;
  let result: Bun.BuildOutput;
  try {
    result = await Bun.build({
      entrypoints: [path],
      files: { [path]: source },
      external: ["*"],
      packages: "external",
      define: { "process.env.NODE_ENV": "process.env.NODE_ENV" },
      env: "disable",
      format: "esm",
      target: "browser",
      sourcemap: "external",
      minify: false,
      throw: false,
    });
  } catch (error) {
    return [atStart(readable(error instanceof Error ? error.message : String(error)))];
  }
  const [output] = result.outputs;
  const map = output?.sourcemap;
  if (!result.success || output === undefined || map === null || map === undefined) {
    return problemsOf(result.logs, "error");
  }
  if (output.size > codeBytesMax) return [atStart("The compiled code is too large")];
  return {
    code: await output.text(),
    map: JSON.parse(await map.text()),
    warnings: problemsOf(result.logs, "warning"),
  };
}

function problemsOf(logs: Bun.BuildOutput["logs"], level: "error" | "warning"): CompileProblem[] {
  const problems = logs
    .filter((log) => log.level === level)
    .map((log) => ({
      message: readable(log.message),
      line: Math.max(1, log.position?.line ?? 1),
      column: Math.max(1, log.position?.column ?? 1),
    }));
  if (problems.length === 0 && level === "error") return [atStart("The source does not compile")];
  return bounded(problems);
}

/** Bun's messages, without what is about Bun's own surroundings. */
function readable(message: string): string {
  if (message.startsWith("Maximum call stack size")) return tooDeep;
  if (message === "Syntax Error") return "Syntax error";
  if (message.startsWith("For security reasons, macros")) return noMacros;
  if (message.startsWith("Could not resolve")) return "An import needs the name of a module";
  return message.replaceAll(VIRTUAL_FILE, "the source").slice(0, 500);
}

/**
 * Import attributes that are code, found without a parser: where `with {` or `assert {` stands, the
 * word is replaced by what no token begins with. In a string, comment or regex that compiles as
 * before; in code it is an error at exactly that place.
 */
async function findImportAttributes(source: string): Promise<CompileProblem[]> {
  const offsets = attributeCandidates(source);
  if (offsets.length === 0) return [];
  let spoilt = "";
  let from = 0;
  for (const offset of offsets) {
    spoilt += source.slice(from, offset) + NO_TOKEN;
    from = offset + NO_TOKEN.length;
  }
  const built = await build(spoilt + source.slice(from), "ts");
  if (!Array.isArray(built)) return [];
  for (const offset of offsets) {
    const position = positionOf(source, offset);
    const isCode = built.some(
      (problem) => problem.line === position.line && problem.column === position.column,
    );
    if (isCode) {
      return [{ message: "Import attributes (with { … }) are not supported", ...position }];
    }
  }
  return [];
}

/** Where `with` or `assert` is followed by `{`, with only spaces and comments between. */
function attributeCandidates(source: string): number[] {
  const offsets: number[] = [];
  for (const match of source.matchAll(/\b(?:with|assert)(?=[\s/{])/g)) {
    const after = skipTrivia(source, match.index + match[0].length);
    if (source[after] === "{") offsets.push(match.index);
  }
  return offsets;
}

function skipTrivia(source: string, start: number): number {
  let at = start;
  for (;;) {
    while (at < source.length && /\s/.test(source[at] ?? "")) at += 1;
    const isBlock = source.startsWith("/*", at);
    if (!isBlock && !source.startsWith("//", at)) return at;
    const end = isBlock ? source.indexOf("*/", at + 2) : source.indexOf("\n", at);
    if (end === -1) return source.length;
    at = end + (isBlock ? 2 : 1);
  }
}

/** Says so when JSX is all that is wrong. */
async function explain(source: string, problems: CompileProblem[]): Promise<CompileProblem[]> {
  const [first] = problems;
  const maybeJsx = /<[A-Za-z>]/.test(source) && /\/>|<\//.test(source);
  if (first === undefined || !maybeJsx || first.message === tooDeep) return problems;
  if (Array.isArray(await build(source, "tsx"))) return problems;
  return [{ ...first, message: "JSX is not supported" }];
}

/** Drops what the bundler adds: the name of the virtual file, and an id of its own. */
function withoutBuildComments(output: string): { code: string; bodyStart: number } {
  const code = output.replace(/\n*\/\/# debugId=[0-9A-Fa-f]*\s*$/, "\n");
  // It stands on a line of its own, before everything of the author's. Lines must keep their numbers.
  const comment = /^\/\/ [./]*dev\/null\/node_modules\/script\/picloud\.ts$/m.exec(code);
  if (comment === null) return { code, bodyStart: 0 };
  return {
    code: code.slice(0, comment.index) + code.slice(comment.index + comment[0].length),
    bodyStart: comment.index,
  };
}

/** Maps an offset in the compiled code to the author's position. */
function locator(code: string, map: { mappings: string }): (offset: number) => Position | null {
  let decoded: SourceMap | null = null;
  return (offset) => {
    const at = positionOf(code, offset);
    decoded ??= new SourceMap({ version: 3, sources: ["script.ts"], names: [], ...map } as never);
    const entry = decoded.findEntry(at.line - 1, at.column - 1);
    if (!("originalLine" in entry) || entry.generatedLine !== at.line - 1) return null;
    return { line: entry.originalLine + 1, column: entry.originalColumn + 1 };
  };
}

interface Position {
  line: number;
  column: number;
}

function positionOf(text: string, offset: number): Position {
  let line = 1;
  let lineStart = 0;
  for (const end of text.slice(0, offset).matchAll(/\r\n|[\n\r\u2028\u2029]/g)) {
    line += 1;
    lineStart = end.index + end[0].length;
  }
  return { line, column: offset - lineStart + 1 };
}

/** The word that begins at a position; empty where none does. */
function wordAt(source: string, position: Position | null): string {
  if (position === null) return "";
  let lineStart = 0;
  let line = 1;
  for (const end of source.matchAll(/\r\n|[\n\r\u2028\u2029]/g)) {
    if (line === position.line) break;
    line += 1;
    lineStart = end.index + end[0].length;
  }
  const word = /\w*/y;
  word.lastIndex = lineStart + position.column - 1;
  return word.exec(source)?.[0] ?? "";
}

function atStart(message: string): CompileProblem {
  return { message, line: 1, column: 1 };
}

function bounded(problems: CompileProblem[]): CompileProblem[] {
  return problems.slice(0, compileProblemsMax);
}
