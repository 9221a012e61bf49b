/**
 * From the modules that a script imports to the program that a child loads. What is missing, too much,
 * or was checked by an older rule is found here, before anything is sent: the guest can import what
 * stands in its program, and nothing else.
 *
 * A script with such an import still has a runnable: each of its executions fails, with a record that
 * says why, until an announced change brings another.
 */
import { sha256Hex } from "../base/ids.ts";
import type { Logger } from "../base/log.ts";
import { programCodeBytesMax, programModulesMax } from "../domain/limits.ts";
import { ModuleUnavailable, moduleImports } from "../domain/modules.ts";
import { moduleShapeRule } from "../domain/scripts.ts";
import type { Program } from "../sandbox/protocol.ts";
import type { Database } from "../storage/port.ts";
import { getModuleCode, type ModuleVersion, type StoredProgram } from "../storage/scripts.ts";

/** The modules of one program, by versions that never change. */
export interface ModuleSet {
  /** By name. */
  versions: ReadonlyMap<string, ModuleVersion>;
  /** Their scripts. */
  ids: ReadonlySet<string>;
  /** Imports that name no module of the app, and who imports them. */
  missing: readonly { name: string; importer: string }[];
  code_bytes: number;
  /** Names the versions of all of them. */
  fingerprint: string;
}

interface LoaderOptions {
  db: Database;
  log: Logger;
}

/** Null for a script that imports none. */
export function modulesOf(stored: StoredProgram): ModuleSet | null {
  if (moduleImports(stored.imports).length === 0) return null;
  const versions = new Map(stored.modules.map((module) => [module.name, module]));
  const missing: ModuleSet["missing"][number][] = [];
  const noted = new Set<string>();
  for (const { name: importer, imports } of [
    { name: stored.script.name, imports: stored.imports },
    ...stored.modules,
  ]) {
    for (const name of moduleImports(imports)) {
      if (versions.has(name) || noted.has(name)) continue;
      noted.add(name);
      missing.push({ name, importer });
    }
  }
  return {
    versions,
    ids: new Set(stored.modules.map(({ script_id }) => script_id)),
    missing,
    code_bytes: stored.modules.reduce((sum, { code_bytes }) => sum + code_bytes, stored.code_bytes),
    fingerprint: fingerprintOf(stored.modules, missing),
  };
}

/**
 * Loads the program of a script: its own code, and that of the modules. What the server is to blame for
 * is logged once, and again after it has worked meanwhile.
 */
export function programLoader(
  { db, log }: LoaderOptions,
  entry: Program,
  modules: ModuleSet | null,
): () => Promise<Program> {
  if (modules === null) return () => Promise.resolve(entry);
  let isTold = false;
  return async () => {
    refuseModules(modules);
    try {
      checkRules(modules);
      const code = await readCode(db, modules);
      isTold = false;
      return { ...entry, modules: Object.fromEntries([...Object.entries(entry.modules), ...code]) };
    } catch (error) {
      if (!isTold) {
        log.error("the modules of a script could not be loaded", { error, program: entry.id });
      }
      isTold = true;
      throw new ModuleUnavailable("module unavailable", error);
    }
  };
}

/** Throws ModuleUnavailable for what the author can mend. */
function refuseModules({ versions, missing, code_bytes }: ModuleSet): void {
  if (versions.size > programModulesMax) {
    throw new ModuleUnavailable(`It imports more than ${programModulesMax} modules in all`);
  }
  if (code_bytes > programCodeBytesMax) {
    throw new ModuleUnavailable(
      `It and its modules have ${code_bytes} bytes of code; ${programCodeBytesMax} are the most`,
    );
  }
  const [first] = missing;
  if (first === undefined) return;
  throw new ModuleUnavailable(
    `There is no module "${first.name}" in this app, and "${first.importer}" imports it`,
  );
}

function checkRules({ versions }: ModuleSet): void {
  for (const { name, number, shape_rule } of versions.values()) {
    if (shape_rule === moduleShapeRule) continue;
    throw new Error(
      `version ${number} of the module ${name} was checked by rule ${shape_rule}, ` +
        `not ${moduleShapeRule}: save it again`,
    );
  }
}

/** Name and code of each module. */
async function readCode(db: Database, { versions }: ModuleSet): Promise<[string, string][]> {
  const wanted = [...versions.values()];
  const rows = await getModuleCode(db, wanted);
  const codes = new Map(rows.map(({ script_id, code }) => [script_id, code]));
  return wanted.map(({ name, script_id }) => {
    const code = codes.get(script_id);
    if (code === undefined) throw new Error(`the module ${name} was deleted meanwhile`);
    return [name, code];
  });
}

/** The same for the same content on every node. */
function fingerprintOf(versions: readonly ModuleVersion[], missing: ModuleSet["missing"]): string {
  const parts = [
    ...versions.map(({ name, script_id, number }) => `${name}=${script_id}@${number}`),
    ...missing.map(({ name }) => `${name}=`),
  ];
  return `+${sha256Hex(parts.sort().join("\n"))}`;
}
