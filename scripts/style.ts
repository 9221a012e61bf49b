/**
 * The rules of the tree that a formatter cannot know: which folder may import which, which package
 * lives where, how files are called. `bun scripts/style.ts` prints what breaks them;
 * test/style.test.ts runs the same and plants violations to see them caught.
 */
import { readFileSync } from "node:fs";
import { posix } from "node:path";
import { Glob } from "bun";
import { type Import, type Scanned, scanImports } from "./imports.ts";

export interface Violation {
  readonly file: string;
  readonly line: number;
  readonly rule: string;
}

/** Path from the root → text. */
export type Tree = ReadonlyMap<string, string>;

/** What each floor may import besides itself. `types:x` allows only the types of x. */
export const FLOORS: Readonly<Record<string, readonly string[]>> = {
  base: [],
  domain: ["base", "types:schema"],
  schema: ["domain", "base"],
  routing: ["domain", "base"],
  sdk: [],
  sandbox: ["sdk", "domain", "base"],
  storage: ["domain", "base", "migrations"],
  bindings: ["storage", "domain", "base"],
  execution: ["sandbox", "routing", "bindings", "storage", "domain", "base"],
  services: [
    ..."execution sandbox routing bindings storage domain base".split(" "),
    // As values only where a manifest is checked, see MANIFEST_SERVICES.
    "types:schema",
  ],
  background: ["execution", "storage", "domain", "base"],
  http: ["services", "execution", "routing", "domain", "base", "types:schema"],
  "http/admin": ["http", "services", "execution", "routing", "schema", "domain", "base"],
  cli: [
    ..."client domain base config settings sdk package.json docs".split(" "),
    // The client's answers have these types.
    "types:schema",
  ],
  client: ["domain", "base", "types:schema", "client-calls", "client-access", "client-data"],
  "client-calls": [],
  "client-access": ["client-calls", "domain", "base", "types:schema"],
  "client-data": ["client-calls", "domain", "base", "types:schema"],
  config: ["settings", "domain", "base"],
  settings: ["domain", "base"],
  pic: ["cli", "package.json"],
  main: ["config", "compose", "cli", "sandbox", "sdk", "domain", "base", "package.json"],
};

/** Services that check a manifest, and may therefore import schemas as values. */
const MANIFEST_SERVICES: readonly string[] = [];

/** Packages that may be imported at all, and by whom. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  elysia: ["http", "http/admin"],
  "@elysiajs/swagger": ["http/admin"],
  arktype: ["schema", "http/admin"],
  "swagger-ui-dist": ["http/admin"],
  acorn: ["sandbox"],
  "quickjs-emscripten": ["sandbox"],
  "quickjs-emscripten-core": ["sandbox"],
  "@jitl/quickjs-wasmfile-release-sync": ["sandbox"],
  "bun:sqlite": ["storage"],
  postgres: ["storage"],
  croner: ["domain"],
  commander: ["cli"],
  "@clack/prompts": ["cli"],
  "lru-cache": ["execution", "sandbox", "http", "http/admin", "services", "bindings"],
};

const bannedNames = /^(utils?|common|helpers?|types|index|misc|shared)$/;
const fileName = /^[a-z0-9]+(-[a-z0-9]+)*(\.test|\.d)?\.(ts|tsx|sql|md|css|json)$/;
const unfinished = /\b(TODO|FIXME|XXX|HACK)\b/;

/** All violations of the tree, in the order of its files. */
export function checkTree(tree: Tree): Violation[] {
  const found: Violation[] = [];
  for (const [file, text] of tree) {
    if (/\.tsx?$/.test(file)) {
      const scanned = scanImports(text);
      found.push(...checkComments(file, scanned));
      if (file.startsWith("src/")) {
        found.push(...checkNames(file), ...checkSource(file, scanned));
        for (const one of scanned.imports) found.push(...checkImport(file, one));
      }
    }
  }
  return [...found, ...checkMigrations([...tree.keys()])];
}

/**
 * Files that loading `entry` loads at once: static imports and what they import, in the tree.
 * Packages are included by name.
 */
export function staticClosure(tree: Tree, entry: string): Set<string> {
  const seen = new Set<string>();
  const queue = [entry];
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (seen.has(file)) continue;
    seen.add(file);
    const text = tree.get(file);
    if (text === undefined) continue;
    for (const one of scanImports(text).imports) {
      if (one.kind !== "static") continue;
      queue.push(isRelative(one.specifier) ? resolveFrom(file, one.specifier) : one.specifier);
    }
  }
  return seen;
}

/** The files of the repository that the rules are about. */
export function readTree(root: string): Tree {
  const glob = new Glob("{src,scripts,test,bench,dashboard,migrations}/**/*.{ts,tsx,sql}");
  const files = [...glob.scanSync({ cwd: root })].sort();
  return new Map(files.map((file) => [file, readFileSync(`${root}/${file}`, "utf8")]));
}

function checkImport(file: string, one: Import): Violation[] {
  const from = floorOf(file);
  const say = (rule: string): Violation[] => [{ file, line: one.line, rule }];
  const { specifier, kind } = one;
  if (!isRelative(specifier)) return checkPackage(file, one);
  if (!/\.(ts|tsx|json|sql|wasm|html)$/.test(specifier))
    return say(`${specifier} has no extension`);
  const target = resolveFrom(file, specifier);
  const to = target === "package.json" ? target : floorOf(target);
  if (from === to) return [];
  if (to === "http/admin" && from !== "http/admin" && kind === "static") {
    return say("the admin plane is loaded on first use: import it dynamically");
  }
  if (from === "http" && to === "http/admin") return [];
  if ((from === "main" || from === "pic") && kind === "static" && to !== "package.json") {
    return say(`${from}.ts imports a role dynamically`);
  }
  if (from === "compose") {
    return to === "main" || to === "settings" ? say(`compose must not import ${to}`) : [];
  }
  const allowed = FLOORS[from] ?? [];
  if (allowed.includes(to)) return [];
  if (kind === "type" && allowed.includes(`types:${to}`)) return [];
  if (to === "schema" && MANIFEST_SERVICES.includes(file)) return [];
  const only = allowed.includes(`types:${to}`) ? " as values" : "";
  return say(`${from} must not import ${to}${only}`);
}

function checkPackage(file: string, one: Import): Violation[] {
  const from = floorOf(file);
  const parts = one.specifier.split("/");
  const name = parts.slice(0, one.specifier.startsWith("@") ? 2 : 1).join("/");
  const isBuiltIn = name.startsWith("node:") || name === "bun" || name.startsWith("bun:");
  const owners = PACKAGES[name];
  if (owners === undefined ? isBuiltIn : owners.includes(from) || from === "compose") return [];
  const rule =
    owners === undefined
      ? `no package ${name} is known to scripts/style.ts`
      : `${name} may be imported by ${owners.join(", ")} alone`;
  return [{ file, line: one.line, rule }];
}

function checkNames(file: string): Violation[] {
  const parts = file.split("/").slice(1);
  const base = (parts.at(-1) ?? "").replace(/\..*$/, "");
  const say = (rule: string): Violation => ({ file, line: 1, rule });
  const found: Violation[] = [];
  if (bannedNames.test(base)) found.push(say(`${base} says nothing: name the file by its noun`));
  if (!fileName.test(parts.at(-1) ?? "")) found.push(say("file names are in kebab-case"));
  if (!(floorOf(file) in FLOORS) && floorOf(file) !== "compose") {
    found.push(say(`src/${parts[0]} is not one of the floors`));
  }
  return found;
}

function checkSource(file: string, { code }: Scanned): Violation[] {
  const found: Violation[] = [];
  code.split("\n").forEach((text, index) => {
    const say = (rule: string): number => found.push({ file, line: index + 1, rule });
    if (/^export default\b/.test(text)) say("exports are named");
    const isReader = ["src/config.ts", "src/main.ts", "src/pic.ts"].includes(file);
    if (!isReader && /\b(process|Bun)\.env\b/.test(text))
      say("config.ts alone reads the environment");
  });
  return found;
}

function checkComments(file: string, { comments }: Scanned): Violation[] {
  return comments
    .split("\n")
    .flatMap((text, index) =>
      unfinished.test(text) ? [{ file, line: index + 1, rule: "nothing is left to do later" }] : [],
    );
}

/** `folder/NNNN_name.sql`, numbered from 0001 without a gap; folders that are twins agree. */
function checkMigrations(files: readonly string[]): Violation[] {
  const found: Violation[] = [];
  const folders = new Map<string, string[]>();
  for (const file of files) {
    if (!file.startsWith("migrations/") || !file.endsWith(".sql")) continue;
    const folder = posix.dirname(file);
    folders.set(folder, [...(folders.get(folder) ?? []), posix.basename(file)]);
  }
  for (const [folder, names] of folders) {
    names.sort().forEach((name, index) => {
      const number = String(index + 1).padStart(4, "0");
      if (!new RegExp(`^${number}_[a-z0-9_]+\\.sql$`).test(name)) {
        found.push({ file: `${folder}/${name}`, line: 1, rule: `must be ${number}_name.sql` });
      }
    });
  }
  const sqlite = folders.get("migrations/sqlite");
  const postgres = folders.get("migrations/postgres");
  if (sqlite !== undefined && postgres !== undefined && sqlite.join() !== postgres.join()) {
    found.push({ file: "migrations", line: 1, rule: "both engines number and name alike" });
  }
  return found;
}

/** `src/http/admin/x.ts` → `http/admin`, `src/kv/x.ts` → `kv`, `src/main.ts` → `main`. */
function floorOf(file: string): string {
  const parts = file.split("/");
  if (parts[0] !== "src") return parts[0] ?? file;
  if (parts[1] === "http" && parts[2] === "admin") return "http/admin";
  // compose-backup.ts is a part of compose that loads alone.
  return (parts[1] ?? "").replace(/\.tsx?$/, "").replace(/^compose-.*/, "compose");
}

function isRelative(specifier: string): boolean {
  return specifier.startsWith("./") || specifier.startsWith("../");
}

function resolveFrom(file: string, specifier: string): string {
  return posix.normalize(posix.join(posix.dirname(file), specifier));
}

if (import.meta.main) {
  const violations = checkTree(readTree(`${import.meta.dir}/..`));
  for (const { file, line, rule } of violations) console.log(`${file}:${line}: ${rule}`);
  process.exitCode = violations.length > 0 ? 1 : 0;
}
