/** Scripts and their versions. A version is written once: the schema rejects every change to it. */
import type { Visibility } from "../domain/access.ts";
import type { App } from "../domain/apps.ts";
import type { ScriptLimits } from "../domain/limits.ts";
import { moduleDepthMax, nameCharsMax, programModulesMax } from "../domain/limits.ts";
import { checkLimit, decodeCursor, type Page, type PageRequest, pageOf } from "../domain/pages.ts";
import type { Script, ScriptKind, ScriptVersion } from "../domain/scripts.ts";
import { visibleOf } from "./access.ts";
import type { Database, Reader, Seen, Tx } from "./port.ts";
import { sql } from "./sql.ts";

/** A version without its texts, for lists. */
export interface ScriptVersionSummary {
  number: number;
  kind: ScriptKind;
  created_at: number;
  created_by: string | null;
  /** Null when that account is gone. */
  created_by_name: string | null;
  source_bytes: number;
}

export interface ScriptFilter {
  /** Of these apps alone. */
  visible: Visibility;
  app_id?: string;
  kind?: ScriptKind;
  /** A part of the name or of the description, ASCII letters in either case. */
  q?: string;
  /** The whole name. */
  name?: string;
}

interface ScriptRow extends Omit<Script, "limits" | "public_execute"> {
  limits: string;
  public_execute: number;
}

/** A script as lists show it. */
export interface ListedScript {
  script: Script;
  app: App;
  active: Pick<ScriptVersion, "number" | "created_at" | "created_by">;
}

interface ListedRow extends ScriptRow {
  app_slug: string;
  app_name: string;
  app_created_at: number;
  version_created_at: number;
  version_created_by: string | null;
}

interface VersionRow extends Omit<ScriptVersion, "imports"> {
  imports: string;
}

const scriptColumns = sql`s.id, s.app_id, s.name, s.kind, s.description, s.limits,
  s.public_execute, s.active_version, s.created_at, s.updated_at`;

/**
 * Its active version must be inserted in the same transaction. Throws PicError `conflict` when the
 * app has a script of that name, or there is no such app.
 */
export async function insertScript(tx: Tx, script: Script): Promise<void> {
  await tx.run(sql`insert into scripts (id, app_id, name, kind, description, limits,
      public_execute, active_version, created_at, updated_at)
    values (${script.id}, ${script.app_id}, ${script.name}, ${script.kind}, ${script.description},
      ${JSON.stringify(script.limits)}, ${script.public_execute ? 1 : 0}, ${script.active_version},
      ${script.created_at}, ${script.updated_at})`);
}

export async function getScript(r: Reader, id: string): Promise<Script | null> {
  const row = await r.get(
    sql<ScriptRow>`select ${scriptColumns} from scripts as s where s.id = ${id}`,
  );
  return row && toScript(row);
}

export async function getScriptByName(
  r: Reader,
  app_id: string,
  name: string,
): Promise<Script | null> {
  const row = await r.get(sql<ScriptRow>`select ${scriptColumns} from scripts as s
    where s.app_id = ${app_id} and s.name = ${name}`);
  return row && toScript(row);
}

/** By name, in one statement. The page is cut before anything is joined to it. */
export async function listScripts(
  db: Database,
  filter: ScriptFilter,
  page: PageRequest,
): Promise<Page<ListedScript>> {
  checkLimit(page.limit);
  const [name, id] =
    page.cursor === null ? ["", ""] : decodeCursor(page.cursor, ["string", "string"]);
  const app = filter.app_id === undefined ? sql.empty : sql<never>`and s.app_id = ${filter.app_id}`;
  const kind = filter.kind === undefined ? sql.empty : sql<never>`and s.kind = ${filter.kind}`;
  const named = filter.name === undefined ? sql.empty : sql<never>`and s.name = ${filter.name}`;
  const visible = visibleOf(sql<never>`s.app_id`, filter.visible);
  const rows = await db.scan(sql<ListedRow>`select ${scriptColumns}, a.slug as app_slug,
      a.name as app_name, a.created_at as app_created_at, v.created_at as version_created_at,
      v.created_by as version_created_by
    from (select ${scriptColumns} from scripts as s
      where (s.name, s.id) > (${name}, ${id}) ${visible} ${app} ${kind} ${named} ${textFilter(filter.q)}
      order by s.name, s.id limit ${page.limit + 1}) as s
    join apps as a on a.id = s.app_id
    join script_versions as v on v.script_id = s.id and v.number = s.active_version
    order by s.name, s.id`);
  return pageOf(rows, page.limit, { item: toListed, key: (row) => [row.name, row.id] });
}

/** A script, and of its active version what tells whether it has to be saved again. */
export interface ScriptState {
  script: Script;
  active: Pick<ScriptVersion, "kind" | "imports" | "shape_rule"> & { source_bytes: number };
}

interface StateRow extends ScriptRow {
  imports: string;
  shape_rule: number;
  version_kind: ScriptKind;
  source_bytes: number;
}

/** The scripts of an app, by name. @param names null: all of them */
export async function scriptsOfApp(
  r: Reader,
  app_id: string,
  names: readonly string[] | null,
): Promise<ScriptState[]> {
  const named = names === null ? sql.empty : sql<never>`and s.name in ${sql.list(names)}`;
  const rows = await r.all(sql<StateRow>`select ${scriptColumns}, v.imports, v.shape_rule,
      v.kind as version_kind, v.source_bytes
    from scripts as s
    join script_versions as v on v.script_id = s.id and v.number = s.active_version
    where s.app_id = ${app_id} ${named} order by s.name`);
  return rows.map((row) => ({
    script: toScript(row),
    active: {
      kind: row.version_kind,
      imports: JSON.parse(row.imports) as string[],
      shape_rule: row.shape_rule,
      source_bytes: row.source_bytes,
    },
  }));
}

/** The sources of these scripts' active versions, in no order; what is gone is not among them. */
export function activeSources(
  db: Database,
  ids: readonly string[],
): Promise<{ script_id: string; number: number; source: string }[]> {
  return db.scan(sql<{ script_id: string; number: number; source: string }>`
    select v.script_id, v.number, v.source
    from scripts as s
    join script_versions as v on v.script_id = s.id and v.number = s.active_version
    where s.id in ${sql.list(ids)}`);
}

/** Writes all but id, app and creation time. Resolves false when there was none. */
export async function updateScript(tx: Tx, script: Script): Promise<boolean> {
  const { changes } = await tx.run(sql`update scripts set name = ${script.name},
      kind = ${script.kind}, description = ${script.description},
      limits = ${JSON.stringify(script.limits)}, public_execute = ${script.public_execute ? 1 : 0},
      active_version = ${script.active_version}, updated_at = ${script.updated_at}
    where id = ${script.id}`);
  return changes > 0;
}

/** With its versions and routes. Resolves false when there was none. */
export async function deleteScript(tx: Tx, id: string): Promise<boolean> {
  return (await tx.run(sql`delete from scripts where id = ${id}`)).changes > 0;
}

/** Throws PicError `conflict` when the script has a version of that number. */
export async function insertVersion(tx: Tx, version: ScriptVersion): Promise<void> {
  await tx.run(sql`insert into script_versions (script_id, number, kind, created_at, created_by,
      source_bytes, imports, shape_rule, code, source_map, source)
    values (${version.script_id}, ${version.number}, ${version.kind}, ${version.created_at},
      ${version.created_by}, ${Buffer.byteLength(version.source)},
      ${JSON.stringify(version.imports)}, ${version.shape_rule}, ${version.code},
      ${version.source_map}, ${version.source})`);
}

/** The whole version, with its texts. */
export async function getVersion(
  r: Reader,
  script_id: string,
  number: number,
): Promise<ScriptVersion | null> {
  const row = await r.get(sql<VersionRow>`select script_id, number, kind, source, code, source_map,
      imports, shape_rule, created_at, created_by
    from script_versions where script_id = ${script_id} and number = ${number}`);
  return row && toVersion(row);
}

/** Newest first. */
export async function listVersions(
  db: Database,
  script_id: string,
  page: PageRequest,
): Promise<Page<ScriptVersionSummary>> {
  checkLimit(page.limit);
  const [before] =
    page.cursor === null ? [Number.MAX_SAFE_INTEGER] : decodeCursor(page.cursor, ["number"]);
  const rows = await db.scan(sql<ScriptVersionSummary>`select number, kind, created_at, created_by,
      (select username from accounts where accounts.id = script_versions.created_by)
        as created_by_name, source_bytes
    from script_versions where script_id = ${script_id} and number < ${before}
    order by number desc limit ${page.limit + 1}`);
  return pageOf(rows, page.limit, { item: (row) => row, key: (row) => [row.number] });
}

/** A module of a program. Its code comes with `getModuleCode`. */
export interface ModuleVersion {
  script_id: string;
  name: string;
  number: number;
  /** Sorted, the SDK included. */
  imports: string[];
  code_bytes: number;
  shape_rule: number;
}

/** What a run needs of a script; the modules are those it imports, directly or through others. */
export interface StoredProgram {
  script: Script;
  code: string;
  imports: string[];
  code_bytes: number;
  /** By name; one more than `programModulesMax` at most. */
  modules: ModuleVersion[];
}

interface ProgramRow extends ScriptRow {
  imports: string;
  code_bytes: number;
  shape_rule: number;
  code: string;
}

/** In one statement, so that no save is seen in part. */
export async function getProgram(
  r: Reader,
  script_id: string,
  seen?: Seen,
): Promise<StoredProgram | null> {
  const [root, ...modules] = await r.all(
    sql<ProgramRow>`with recursive below (id, depth) as (
      select s.id, 0 from scripts as s where s.id = ${script_id}
      union
      select m.id, below.depth + 1 from below
      join script_imports as i on i.script_id = below.id
      join scripts as m on m.app_id = i.app_id and m.name = i.name and m.kind = 'module'
      where below.depth < ${moduleDepthMax}
    )
    select ${scriptColumns}, v.imports, v.shape_rule, octet_length(v.code) as code_bytes,
      case when s.id = ${script_id} then v.code else '' end as code
    from scripts as s
    join script_versions as v on v.script_id = s.id and v.number = s.active_version
    where s.id in (select id from below)
    order by case when s.id = ${script_id} then 0 else 1 end, s.name
    limit ${programModulesMax + 2}`,
    seen,
  );
  if (root === undefined) return null;
  return {
    script: toScript(root),
    code: root.code,
    imports: JSON.parse(root.imports) as string[],
    code_bytes: root.code_bytes,
    modules: modules.map(toModuleVersion),
  };
}

/** The code of these versions, in no order; what is gone is not among them. */
export async function getModuleCode(
  r: Reader,
  versions: readonly { script_id: string; number: number }[],
): Promise<{ script_id: string; number: number; code: string }[]> {
  const [first, ...others] = versions.map(
    ({ script_id, number }) => sql<never>`(script_id = ${script_id} and number = ${number})`,
  );
  if (first === undefined) return [];
  const any = others.reduce((all, one) => sql<never>`${all} or ${one}`, first);
  return r.all(sql<{ script_id: string; number: number; code: string }>`
    select script_id, number, code from script_versions where ${any}`);
}

/** The source map of a version; null when it is gone. */
export async function getSourceMap(
  r: Reader,
  script_id: string,
  number: number,
): Promise<string | null> {
  const row = await r.get(sql<{ source_map: string }>`select source_map from script_versions
    where script_id = ${script_id} and number = ${number}`);
  return row?.source_map ?? null;
}

function toModuleVersion(row: ProgramRow): ModuleVersion {
  return {
    script_id: row.id,
    name: row.name,
    number: row.active_version,
    imports: JSON.parse(row.imports) as string[],
    code_bytes: row.code_bytes,
    shape_rule: row.shape_rule,
  };
}

function toScript(row: ScriptRow): Script {
  return {
    id: row.id,
    app_id: row.app_id,
    name: row.name,
    kind: row.kind,
    description: row.description,
    limits: JSON.parse(row.limits) as Partial<ScriptLimits>,
    public_execute: row.public_execute === 1,
    active_version: row.active_version,
    created_at: row.created_at,
    updated_at: row.updated_at,
  };
}

function toListed(row: ListedRow): ListedScript {
  const { app_id, app_slug, app_name, app_created_at } = row;
  return {
    script: toScript(row),
    app: { id: app_id, slug: app_slug, name: app_name, created_at: app_created_at },
    active: {
      number: row.active_version,
      created_at: row.version_created_at,
      created_by: row.version_created_by,
    },
  };
}

function toVersion(row: VersionRow): ScriptVersion {
  return {
    script_id: row.script_id,
    number: row.number,
    kind: row.kind,
    source: row.source,
    code: row.code,
    source_map: row.source_map,
    imports: JSON.parse(row.imports) as string[],
    shape_rule: row.shape_rule,
    created_at: row.created_at,
    created_by: row.created_by,
  };
}

function textFilter(q: string | undefined) {
  if (q === undefined || q === "") return sql.empty;
  // Engines agree on the case of ASCII letters only; and LIKE has a longest pattern.
  const ascii = q.slice(0, nameCharsMax).replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  const pattern = `%${ascii.replace(/[\\%_]/g, "\\$&")}%`;
  return sql<never>`and (lower(s.name) like ${pattern} escape '\\'
    or lower(s.description) like ${pattern} escape '\\')`;
}
