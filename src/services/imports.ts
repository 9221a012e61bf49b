/**
 * What scripts import, when it is saved: written with the script, in its transaction, and judged there
 * as it then stands, so that two saves at once cannot make together what neither may make alone.
 *
 * Only the saved script is judged. It is in every cycle and every chain that its save can close,
 * also when it is the module that others have named before it existed.
 */
import { type FieldError, PicError } from "../domain/errors.ts";
import {
  importersNamedMax,
  importersShownMax,
  programCodeBytesMax,
  programModulesMax,
} from "../domain/limits.ts";
import { findGraphProblem, type ModuleGraph, moduleImports } from "../domain/modules.ts";
import type { Script } from "../domain/scripts.ts";
import type { ImportSite } from "../sandbox/api.ts";
import {
  importersOfNames,
  listImporters,
  modulesAbove,
  replaceImports,
  type ScriptRef,
  scriptsNamed,
} from "../storage/imports.ts";
import type { Reader, Tx } from "../storage/port.ts";
import { countRoutesOfScript } from "../storage/routes.ts";
import { getProgram } from "../storage/scripts.ts";
import { countTriggersOfScript } from "../storage/triggers.ts";

/** What a save changes; the SDK may be among the imports. */
export interface ImportChange {
  /** Those of the version that was active. */
  before: readonly string[];
  imports: readonly string[];
  /** Where the source imports what; empty when it was not compiled now. */
  sites: readonly ImportSite[];
}

/**
 * Writes the imports of a script that is stored already, with its active version. Throws PicError
 * `invalid_source` for a cycle, a chain of modules that is too long, and a program that is too large.
 */
export async function saveImports(
  tx: Tx,
  script: Script,
  { before, imports, sites }: ImportChange,
): Promise<void> {
  await replaceImports(tx, script, moduleImports(imports), moduleImports(before));
  await judgeImports(tx, script, { imports, sites });
}

/**
 * What is said above, of a script whose imports are written, as are those of all that are saved with it.
 * Throws PicError `invalid_source`.
 */
export async function judgeImports(
  tx: Tx,
  script: Script,
  { imports, sites }: Omit<ImportChange, "before">,
): Promise<void> {
  const names = moduleImports(imports);
  if (script.kind === "endpoint" && names.length === 0) return;
  const program = await getProgram(tx, script.id);
  if (program === null) throw new Error("imports of a script that is not stored");
  const { modules } = program;
  if (script.kind === "module") {
    const above = await modulesAbove(tx, script.id);
    const graph: ModuleGraph = new Map(
      [...modules, ...above].map(({ name, imports: of }) => [name, moduleImports(of)]),
    );
    const problem = findGraphProblem(graph, script.name);
    if (problem !== null) {
      throw badImports(problem.message, positionOf(sites, problem.imported));
    }
  }
  const count = modules.length + (script.kind === "module" ? 1 : 0);
  if (count > programModulesMax) {
    throw badImports(`At most ${programModulesMax} modules may be imported in all`);
  }
  const bytes = modules.reduce((sum, { code_bytes }) => sum + code_bytes, program.code_bytes);
  if (bytes <= programCodeBytesMax) return;
  throw badImports(
    `The compiled code of the script and its modules has ${bytes} bytes; ${programCodeBytesMax} are the most`,
  );
}

/** What is imported and is no module: the script is saved, and running it fails until it is one. */
export async function importWarnings(
  reader: Reader,
  app_id: string,
  imports: readonly string[],
  sites: readonly ImportSite[],
): Promise<FieldError[]> {
  const names = moduleImports(imports);
  if (names.length === 0) return [];
  const found = new Map(
    (await scriptsNamed(reader, app_id, names)).map(({ name, kind }) => [name, kind]),
  );
  return names
    .filter((name) => found.get(name) !== "module")
    .map((name) => unresolvedWarning({ name, kind: found.get(name) ?? null }, sites));
}

/** Of an import whose name no module has. A kind of null: nothing has it. */
export function unresolvedWarning(
  { name, kind }: { name: string; kind: Script["kind"] | null },
  sites: readonly ImportSite[],
): FieldError {
  const what = kind === null ? "does not exist" : "is an endpoint, not a module";
  const message = `The import "${name}" ${what}; running this script will fail`;
  return { path: "source", message, ...positionOf(sites, name) };
}

/**
 * Throws PicError `conflict` (with `imported_by`) when others import this module.
 * @param change what they would not survive
 */
export async function refuseImported(
  r: Reader,
  script: Script,
  change: "deleted" | "renamed" | "made an endpoint",
): Promise<void> {
  const importers = await listImporters(r, script.id);
  if (importers.length === 0) return;
  throw new PicError(
    "conflict",
    `The module ${script.name} cannot be ${change}: ${namesOf(importers)} import it`,
    { extra: { imported_by: importers.slice(0, importersNamedMax) } },
  );
}

/**
 * The same of names that have no module any more. Throws PicError `conflict` (with `imported_by`).
 * @param names of modules that there were
 */
export async function refuseLostModules(
  tx: Tx,
  app_id: string,
  names: readonly string[],
): Promise<void> {
  if (names.length === 0) return;
  const [first, ...others] = await importersOfNames(tx, app_id, names);
  if (first === undefined) return;
  const { imported } = first;
  const importers = [first, ...others.filter((one) => one.imported === imported)].map(
    ({ id, name, kind }) => ({ id, name, kind }),
  );
  throw new PicError(
    "conflict",
    `The module ${imported} cannot go: ${namesOf(importers)} import it`,
    { extra: { imported_by: importers.slice(0, importersNamedMax) } },
  );
}

/** Throws PicError `conflict` (with `routes` or `triggers`) when some of these point at the script. */
export async function refuseReached(tx: Tx, script: Script): Promise<void> {
  const routes = await countRoutesOfScript(tx, script.id);
  if (routes > 0) throw reached(script, { routes });
  const triggers = await countTriggersOfScript(tx, script.id);
  if (triggers > 0) throw reached(script, { triggers });
}

function reached({ name }: Script, by: { routes: number } | { triggers: number }): PicError {
  const [[what, count]] = Object.entries(by) as [[string, number]];
  return new PicError(
    "conflict",
    `${name} cannot become a module while it has ${what}; it has ${count}`,
    { extra: by },
  );
}

function badImports(message: string, at: { line: number; column: number } | null = null): PicError {
  return new PicError("invalid_source", message, { errors: [{ path: "source", message, ...at }] });
}

function positionOf(
  sites: readonly ImportSite[],
  name: string | undefined,
): { line: number; column: number } | null {
  const site = sites.find(({ specifier }) => specifier === name);
  return site === undefined ? null : { line: site.line, column: site.column };
}

function namesOf(importers: readonly ScriptRef[]): string {
  const named = importers.slice(0, importersNamedMax).map(({ name }) => name);
  const rest = importers.length - named.length;
  if (rest === 0) return named.join(", ");
  const more = importers.length === importersShownMax ? "many" : String(rest);
  return `${named.join(", ")} and ${more} more`;
}
