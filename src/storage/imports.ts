/**
 * Which scripts import which modules. What a script imports is kept by name, because it may not exist
 * yet; a name means the module of that name in the script's own app, and nothing else does.
 */
import { importersShownMax, moduleDepthMax } from "../domain/limits.ts";
import type { ScriptKind } from "../domain/scripts.ts";
import type { Reader, Tx } from "./port.ts";
import { sql } from "./sql.ts";

/** A script as lists of imports show it. */
export interface ScriptRef {
  id: string;
  name: string;
  kind: ScriptKind;
}

/** A module and what its active version imports, the SDK included. */
export interface ModuleImports {
  name: string;
  imports: string[];
}

/** Writes what differs. @param before what is stored: the imports of the version that was active */
export async function replaceImports(
  tx: Tx,
  script: { id: string; app_id: string },
  names: readonly string[],
  before: readonly string[],
): Promise<void> {
  const gone = before.filter((name) => !names.includes(name));
  if (gone.length > 0) {
    await tx.run(sql`delete from script_imports
      where script_id = ${script.id} and name in ${sql.list(gone)}`);
  }
  for (const name of names) {
    if (before.includes(name)) continue;
    await tx.run(sql`insert into script_imports (script_id, app_id, name)
      values (${script.id}, ${script.app_id}, ${name})`);
  }
}

/** The modules that a script imports, by name; what does not exist is not among them. */
export function listImports(r: Reader, script_id: string): Promise<ScriptRef[]> {
  return r.all(sql<ScriptRef>`select m.id, m.name, m.kind from script_imports as i
    join scripts as m on m.app_id = i.app_id and m.name = i.name
    where i.script_id = ${script_id} and m.kind = 'module'
    order by m.name`);
}

/** The scripts that import a module, by name, at most `importersShownMax`; none for an endpoint. */
export function listImporters(r: Reader, script_id: string): Promise<ScriptRef[]> {
  return r.all(sql<ScriptRef>`select s.id, s.name, s.kind from scripts as m
    join script_imports as i on i.app_id = m.app_id and i.name = m.name
    join scripts as s on s.id = i.script_id
    where m.id = ${script_id} and m.kind = 'module'
    order by s.name limit ${importersShownMax}`);
}

/** The scripts of an app that import one of these names, whatever has it, by name, at most `importersShownMax`. */
export function importersOfNames(
  r: Reader,
  app_id: string,
  names: readonly string[],
): Promise<(ScriptRef & { imported: string })[]> {
  return r.all(sql<ScriptRef & { imported: string }>`select s.id, s.name, s.kind, i.name as imported
    from script_imports as i join scripts as s on s.id = i.script_id
    where i.app_id = ${app_id} and i.name in ${sql.list(names)}
    order by i.name, s.name limit ${importersShownMax}`);
}

/** What the scripts of an app import, and no module has the name of: by script and name. */
export function unresolvedImports(
  r: Reader,
  app_id: string,
): Promise<{ script_id: string; name: string; kind: ScriptKind | null }[]> {
  return r.all(sql<{ script_id: string; name: string; kind: ScriptKind | null }>`
    select i.script_id, i.name, m.kind from script_imports as i
    left join scripts as m on m.app_id = i.app_id and m.name = i.name
    where i.app_id = ${app_id} and (m.kind is null or m.kind <> 'module')
    order by i.script_id, i.name`);
}

/** The modules that import a module, directly or through others, and itself. */
export async function modulesAbove(r: Reader, script_id: string): Promise<ModuleImports[]> {
  const rows = await r.all(
    sql<{ name: string; imports: string }>`with recursive above (id, depth) as (
      select s.id, 0 from scripts as s where s.id = ${script_id}
      union
      select importer.id, above.depth + 1 from above
      join scripts as m on m.id = above.id
      join script_imports as i on i.app_id = m.app_id and i.name = m.name
      join scripts as importer on importer.id = i.script_id and importer.kind = 'module'
      where above.depth < ${moduleDepthMax}
    )
    select s.name, v.imports from scripts as s
    join script_versions as v on v.script_id = s.id and v.number = s.active_version
    where s.id in (select id from above)`,
  );
  return rows.map(({ name, imports }) => ({ name, imports: JSON.parse(imports) as string[] }));
}

/** The scripts of an app that have one of these names. */
export function scriptsNamed(
  r: Reader,
  app_id: string,
  names: readonly string[],
): Promise<ScriptRef[]> {
  return r.all(sql<ScriptRef>`select id, name, kind from scripts
    where app_id = ${app_id} and name in ${sql.list(names)}`);
}

/** Until this transaction ends, no other one changes what scripts of this app import. */
export async function lockImports(tx: Tx, app_id: string): Promise<void> {
  await tx.lock(`imports:${app_id}`);
}
