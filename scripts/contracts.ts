/**
 * The lock of the contracts: docs/contracts.json holds a digest of each thing that users depend on,
 * with the version it had. Who changes one of them raises its version (docs/versioning.md) and runs
 * `bun scripts/contracts.ts`, which writes the lock anew, but only when nothing is wrong;
 * test/versions.test.ts fails until then.
 *
 * A digest is of what the contract says and not of how it is explained: comments and descriptions may
 * be improved at any time.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { Glob } from "bun";
import { openApiDocument } from "../src/http/admin/openapi.ts";
import { apiDocumentVersion, apiVersion } from "../src/http/api-version.ts";
import { wireVersion } from "../src/sandbox/protocol.ts";
import { SDK_VERSION, sdkDeclarations } from "../src/sdk/declarations.ts";

export interface Contract {
  /** Numbers with dots between them. */
  version: string;
  sha256: string;
}

export type ContractName = "sdk" | "api" | "wire";

export interface Contracts {
  sdk: Contract;
  api: Contract;
  wire: Contract;
  /** `sqlite/0001_initial.sql` → sha256 of its bytes. */
  migrations: Record<string, string>;
}

/** What a digest is made of, so that a test can change it. */
export interface ContractSources {
  sdk: { version: string; declarations: string };
  api: { version: string; document: string };
  /** The file of the frames, and the declarations of other files that it uses. */
  wire: { version: string; protocol: string; contents: string };
  migrations: Record<string, string>;
}

const root = resolve(import.meta.dir, "..");
const lockFile = `${root}/docs/contracts.json`;

/** Where each version is raised. */
const RAISED_IN: Readonly<Record<ContractName, string>> = {
  sdk: "SDK_VERSION in src/sdk/declarations.ts",
  api: "apiDocumentVersion in src/http/api-version.ts",
  wire: "wireVersion in src/sandbox/protocol.ts",
};

/** Engines whose migrations are twins. */
const ENGINES = ["sqlite", "postgres"];

/** Members of an API document that explain; what they say binds nobody. */
const EXPLANATIONS = ["title", "description", "summary", "example", "examples", "info", "servers"];

/** The sources of this tree. */
export async function readSources(): Promise<ContractSources> {
  const read = (path: string): string => readFileSync(`${root}/${path}`, "utf8");
  const names = [...new Glob("**/*.sql").scanSync({ cwd: `${root}/migrations` })].sort();
  return {
    sdk: { version: SDK_VERSION, declarations: sdkDeclarations() },
    api: { version: apiDocumentVersion, document: await openApiDocument() },
    wire: {
      version: wireVersion,
      protocol: read("src/sandbox/protocol.ts"),
      contents: importedTypes(read("src/sandbox/protocol.ts"), read),
    },
    migrations: Object.fromEntries(names.map((name) => [name, read(`migrations/${name}`)])),
  };
}

/** The lock as it would be written now. */
export function contractsOf({ sdk, api, wire, migrations }: ContractSources): Contracts {
  const digests = Object.entries(migrations).map(([name, text]) => [name, sha256(text)]);
  return {
    sdk: { version: sdk.version, sha256: sha256(withoutComments(sdk.declarations)) },
    api: { version: api.version, sha256: sha256(withoutExplanations(api.document)) },
    wire: {
      version: wire.version,
      sha256: sha256(frames(wire.protocol) + withoutComments(wire.contents)),
    },
    migrations: Object.fromEntries(digests),
  };
}

/** The lock of this tree. */
export function readLock(): Contracts {
  return JSON.parse(readFileSync(lockFile, "utf8")) as Contracts;
}

/** Sentences about what must not be; none when the lock may be written. */
export function violations(lock: Contracts, now: Contracts): string[] {
  const found: string[] = [];
  for (const [name, place] of Object.entries(RAISED_IN) as [ContractName, string][]) {
    const before = lock[name];
    const after = now[name];
    const order = compareVersions(after.version, before.version);
    if (order < 0) {
      found.push(`${name}: its version went back from ${before.version} to ${after.version}`);
    } else if (order === 0 && after.sha256 !== before.sha256) {
      found.push(
        `${name}: it has changed since version ${before.version}: raise ${place}, then run bun scripts/contracts.ts`,
      );
    }
  }
  if (now.api.version.split(".")[0] !== apiVersion) {
    found.push(`api: ${now.api.version} must begin with the number in its path, ${apiVersion}`);
  }
  for (const [name, digest] of Object.entries(lock.migrations)) {
    const current = now.migrations[name];
    const add = "undo that, and add a migration with the next number for both engines";
    if (current === undefined) found.push(`migrations/${name}: it is gone: ${add}`);
    else if (current !== digest) found.push(`migrations/${name}: it has changed: ${add}`);
  }
  return [...found, ...unpaired(Object.keys(now.migrations))];
}

/** What the lock does not know yet. */
export function additions(lock: Contracts, now: Contracts): string[] {
  const known = Object.keys(lock.migrations);
  const raised = (Object.keys(RAISED_IN) as ContractName[]).filter(
    (name) => lock[name].version !== now[name].version || lock[name].sha256 !== now[name].sha256,
  );
  const added = Object.keys(now.migrations).filter((name) => !known.includes(name));
  return [...raised, ...added.map((name) => `migrations/${name}`)];
}

// ---------------------------------------------------------------------------------------------

/** The declarations that `text`, a file of src/sandbox, imports as types. */
function importedTypes(text: string, read: (path: string) => string): string {
  const imports = text.matchAll(/^import type \{([^}]*)\} from "\.\.\/([^"]+)";$/gm);
  const found = [...imports].flatMap(([, names = "", file = ""]) =>
    names.split(",").map((name) => declarationOf(read(`src/${file}`), name.trim())),
  );
  return found.join("\n");
}

/** From its first line to the one that ends it. Throws when there is none: a digest of nothing holds. */
function declarationOf(text: string, name: string): string {
  const start = `^export (?:interface|type) ${name}\\b`;
  const [found] = text.match(new RegExp(`${start}[^;{]*(?:;|\\{[\\s\\S]*?^\\})`, "m")) ?? [];
  if (found === undefined) throw new Error(`no declaration of ${name}`);
  return found;
}

/** Every migration has a twin of the same number and name in the other engine. */
function unpaired(names: readonly string[]): string[] {
  return names.flatMap((name) => {
    const [engine = "", ...rest] = name.split("/");
    if (!ENGINES.includes(engine)) return [`migrations/${name}: ${engine} is no engine`];
    return ENGINES.filter((other) => !names.includes([other, ...rest].join("/"))).map(
      (other) => `migrations/${name}: ${other} has no migration of this number and name`,
    );
  });
}

/** Below zero when `a` is the older. */
function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => version.split(".").map(Number));
  for (let index = 0; index < Math.max(left?.length ?? 0, right?.length ?? 0); index += 1) {
    const difference = (left?.[index] ?? 0) - (right?.[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/**
 * What the frames are: code, and the comments that say what a frame's payload is. Those in front of
 * a declaration explain, and the version itself does not count.
 */
function frames(protocol: string): string {
  const text = protocol.replace(/\/\*\*[\s\S]*?\*\//g, "");
  return squeezed(text.replace(/(wireVersion = )"[^"]*"/, "$1"));
}

function withoutComments(code: string): string {
  return squeezed(code.replace(/\/\*[\s\S]*?\*\/|(^|\s)\/\/.*$/gm, " "));
}

function squeezed(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}

/** The document as one line, members in the order of their names. */
function withoutExplanations(document: string): string {
  return JSON.stringify(essence(JSON.parse(document), false));
}

/** `isNames`: the members are names of somebody's own, such as those of a schema's properties. */
function essence(value: unknown, isNames: boolean): unknown {
  if (Array.isArray(value)) return value.map((item) => essence(item, false));
  if (value === null || typeof value !== "object") return value;
  const members = Object.entries(value)
    .filter(([name]) => isNames || !EXPLANATIONS.includes(name))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(
    members.map(([name, member]) => [
      name,
      essence(member, !isNames && /^(properties|\$defs)$/.test(name)),
    ]),
  );
}

function sha256(text: string): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex");
}

async function main(): Promise<number> {
  const now = contractsOf(await readSources());
  const lock = existsSync(lockFile) ? readLock() : now;
  const found = violations(lock, now);
  for (const sentence of found) console.error(sentence);
  if (found.length > 0) return 1;
  writeFileSync(lockFile, `${JSON.stringify(now, null, 2)}\n`);
  for (const name of additions(lock, now)) console.log(`locked ${name}`);
  return 0;
}

if (import.meta.main) process.exitCode = await main();
