/**
 * One script as the server takes it: what it imports from npm packages and from other files becomes part
 * of it. A script that imports nothing of that kind stays byte for byte what its author wrote, so that
 * the positions of errors stay true.
 *
 * Bundling executes nothing (bundle-macros.ts) and inlines no environment: `process.env.NODE_ENV`, which
 * packages ask at every turn, is "production", and everything else of `process` does not exist. The same
 * files give the same text, wherever the folder lies.
 */
import { extname } from "node:path";
import { bundleRoundsMax, fieldErrorsMax, sourceBytesMax } from "../domain/limits.ts";
import type { ScriptKind } from "../domain/scripts.ts";
import { macroProblem, mayHoldMacro } from "./bundle-macros.ts";
import { withoutRequire } from "./bundle-missing.ts";
import { globalWarnings, judgeMissing } from "./bundle-needs.ts";
import {
  type BundleState,
  bundledFile,
  bundlePlugin,
  isOwnFile,
  shownPath,
} from "./bundle-plugin.ts";
import { BundlePositions, type BundleText, constantsRestored } from "./bundle-positions.ts";
import { EXIT } from "./exit-codes.ts";
import { PicFailure } from "./failures.ts";
import { megabytes } from "./progress.ts";

export interface BundleInput {
  /** Real path of the script's file, in the folder. */
  file: string;
  source: string;
  /** Real path of the folder whose files may become part of a script. */
  folder: string;
  /** The user's home folder. */
  home: string;
  kind: ScriptKind;
  /** Whether the app has, or will have, a module of that name. */
  isModule: (name: string) => Promise<boolean>;
  /** Gets every file of the author's own that was looked for, also when bundling fails. */
  files: Set<string>;
}

export interface Bundled {
  source: string;
  /** Null: it is the author's own text. */
  positions: BundlePositions | null;
  warnings: string[];
}

interface Built {
  text: BundleText;
  /** Where `require` is called with what is not known beforehand. */
  calls: number[];
  metafile: Bun.BuildMetafile;
}

/** Throws PicFailure that names what is missing, and who imports it. */
export async function bundle(input: BundleInput): Promise<Bundled> {
  const { file, source, folder, home, isModule, files } = input;
  files.add(file);
  const plain: Bundled = { source, positions: null, warnings: [] };
  if (!/\b(?:import|require|from)\b/.test(source)) return plain;
  const state: BundleState = {
    folder,
    home,
    packages: new Map(),
    isModule,
    files,
    checked: new Set(),
    unchecked: new Map(mayHoldMacro(source) ? [[file, source]] : []),
    problems: new Set(),
  };
  const result = await build(input, state, "readable");
  // The server says what is wrong with a script, better than the bundler does.
  if (result === null || isAlone(result.metafile)) return plain;
  const missing = judgeMissing(folder, result.metafile);
  const built = await fitting(input, state, result);
  const { code, moved } =
    input.kind === "module"
      ? constantsRestored(built.text)
      : { ...built.text, moved: new Set<number>() };
  return {
    source: code,
    positions: new BundlePositions(built.text.map, moved),
    warnings: [
      ...missing,
      ...requireWarnings(folder, built),
      ...(await absentNames(input, state, result.metafile)),
    ],
  };
}

// ---------------------------------------------------------------------------------------------

/** Null when nothing but the script's own text is wrong. Throws PicFailure. */
async function build(
  input: BundleInput,
  state: BundleState,
  form: "readable" | "small" | "short names",
): Promise<Built | null> {
  for (let rounds = 0; rounds < bundleRoundsMax; rounds += 1) {
    if (!(await ruleOutMacros(input, state))) return null;
    const result = await buildOnce(input, state, form);
    if (state.unchecked.size > 0) continue;
    if (state.problems.size > 0) throw cannotBundle(input, [...state.problems]);
    if (!result.success) return explainFailure(input, state, result.logs);
    return built(input, state, result);
  }
  throw cannotBundle(input, ["the files import each other too deeply"]);
}

function buildOnce(
  { file, folder }: BundleInput,
  state: BundleState,
  form: "readable" | "small" | "short names",
): Promise<Bun.BuildOutput> {
  return Bun.build({
    entrypoints: [file],
    root: folder,
    plugins: [bundlePlugin(state)],
    target: "browser",
    format: "esm",
    splitting: false,
    sourcemap: "external",
    metafile: true,
    env: "disable",
    define: {
      "process.env.NODE_ENV": '"production"',
      // Bun would write the path of this machine.
      __dirname: '"/"',
      __filename: '"/script.js"',
    },
    minify: {
      whitespace: form !== "readable",
      syntax: form === "small",
      identifiers: form === "short names",
    },
    throw: false,
  });
}

/** Looks into the files that may hold a macro. False when the script itself does not compile. */
async function ruleOutMacros(input: BundleInput, state: BundleState): Promise<boolean> {
  for (const [path, text] of state.unchecked) {
    const problem = await macroProblem(text, extname(path));
    const isScript = path === input.file;
    if (problem !== null && isScript && !/macros/.test(problem)) return false;
    if (problem !== null) {
      throw cannotBundle(input, [`${shownPath(state.folder, path)}: ${problem}`]);
    }
    state.checked.add(path);
  }
  state.unchecked.clear();
  return true;
}

async function built(
  input: BundleInput,
  state: BundleState,
  { outputs, metafile }: Bun.BuildOutput,
): Promise<Built> {
  const [main] = outputs.filter(({ kind }) => kind === "entry-point");
  const assets = outputs.filter(({ kind }) => kind !== "entry-point" && kind !== "sourcemap");
  if (main?.sourcemap == null || metafile === undefined || assets.length > 0) {
    throw cannotBundle(input, ["it does not become one file of JavaScript"]);
  }
  const map: BundleText["map"] = JSON.parse(await main.sourcemap.text());
  const sources = map.sources.map((name) => bundledFile(name));
  const placeless = withoutPlaces(await main.text(), state.folder, metafile);
  const { code, calls } = withoutRequire(placeless);
  return { text: { code, map: { ...map, sources } }, metafile, calls };
}

/**
 * The bundler writes the files' paths into comments, as they are seen from where the process is, and an
 * id of its own. The text shall depend on neither.
 */
function withoutPlaces(output: string, folder: string, { inputs }: Bun.BuildMetafile): string {
  const comments = new Map(
    Object.keys(inputs).map((name) => [`// ${name}`, `// ${shownPath(folder, bundledFile(name))}`]),
  );
  return output
    .replace(/\n*\/\/# debugId=[0-9A-Fa-f]*\s*$/, "\n")
    .split("\n")
    .map((line) => comments.get(line) ?? line)
    .join("\n");
}

/** Whether the script is all there is: nothing was added to it. */
function isAlone({ inputs }: Bun.BuildMetafile): boolean {
  return Object.keys(inputs).length === 1;
}

function requireWarnings(folder: string, { text: { code, map }, calls }: Built): string[] {
  const positions = new BundlePositions(map, new Set());
  const places = calls.map((offset) => {
    const before = code.slice(0, offset);
    const line = before.split("\n").length;
    const place = positions.original(line, offset - before.lastIndexOf("\n"));
    return place === null ? "a package" : `${shownPath(folder, place.file)}:${place.line}`;
  });
  return [...new Set(places)].map(
    (place) => `the sandbox has no require, which ${place} calls: reaching that code fails`,
  );
}

/** Of packages alone: what authors use themselves they know. */
async function absentNames(
  input: BundleInput,
  state: BundleState,
  metafile: Bun.BuildMetafile,
): Promise<string[]> {
  const hasPackages = Object.keys(metafile.inputs).some((path) => !isOwnFile(bundledFile(path)));
  if (!hasPackages) return [];
  const minified = await build(input, state, "short names");
  return minified === null ? [] : globalWarnings(input.folder, metafile, minified.text.code);
}

/** A smaller form of what is too large. Throws PicFailure when that does not help. */
async function fitting(input: BundleInput, state: BundleState, result: Built): Promise<Built> {
  if (Buffer.byteLength(result.text.code) <= sourceBytesMax) return result;
  const small = await build(input, state, "small");
  const bytes = Buffer.byteLength(small?.text.code ?? result.text.code);
  if (small !== null && bytes <= sourceBytesMax) return small;
  const parts = Object.values(result.metafile.outputs).flatMap(({ inputs }) =>
    Object.entries(inputs),
  );
  parts.sort(([, a], [, b]) => b.bytesInOutput - a.bytesInOutput);
  const largest = parts
    .slice(0, 5)
    .map(
      ([path, part]) =>
        `${shownPath(input.folder, bundledFile(path))} (${megabytes(part.bytesInOutput)})`,
    );
  throw cannotBundle(input, [
    `with all that it imports it has ${bytes} bytes; a script has at most ${sourceBytesMax}`,
    `the largest parts: ${largest.join(", ")}`,
  ]);
}

/** Null when only the script itself is wrong, which the server says better. Throws PicFailure. */
function explainFailure(
  input: BundleInput,
  { folder }: BundleState,
  logs: Bun.BuildOutput["logs"],
): null {
  const errors = logs.filter(({ level }) => level === "error");
  const isOwn = errors.every(
    ({ position, message }) =>
      position?.file === input.file && !/resolve|No matching export/i.test(message),
  );
  if (isOwn && errors.length > 0) return null;
  const lines = errors.slice(0, fieldErrorsMax).map(({ position, message }) => {
    const path = position?.file ?? "";
    const isPlaced = path !== "" && (position?.line ?? 0) > 0;
    const where = isPlaced
      ? `${shownPath(folder, path)}:${position?.line}:${position?.column}: `
      : "";
    return where + readable(message);
  });
  throw cannotBundle(input, lines);
}

/** Bun's messages, with what to do in words that fit any package manager. */
function readable(message: string): string {
  const unresolved = /^Could not resolve: "(.+?)"/.exec(message)?.[1];
  if (unresolved === undefined) return message;
  return /^[./]/.test(unresolved)
    ? `there is no file ${unresolved}`
    : `${unresolved} is not installed: npm install ${unresolved}`;
}

function cannotBundle(input: BundleInput, [first = "", ...more]: readonly string[]): PicFailure {
  return new PicFailure(`${shownPath(input.folder, input.file)} cannot be bundled: ${first}`, {
    exit: EXIT.failure,
    lines: more.map((line) => `  ${line}`),
  });
}
