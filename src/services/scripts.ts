/**
 * Scripts: a name in an app whose behaviour is its active version. A version is written once; an
 * update of the source and a rollback both make a new one, and the newest is the active one.
 *
 * Compiling happens before the transaction. What it was based on is checked again inside of it, and
 * the save starts over when another came between.
 */
import type { Clock } from "../base/clock.ts";
import type { Actor } from "../domain/accounts.ts";
import { type App, defaultAppSlug } from "../domain/apps.ts";
import { type FieldError, invalidField, PicError } from "../domain/errors.ts";
import { type LimitName, type ScriptLimits, saveTriesMax } from "../domain/limits.ts";
import { checkName } from "../domain/names.ts";
import type { Page, PageRequest } from "../domain/pages.ts";
import {
  checkLimits,
  effectiveLimits,
  type Script,
  type ScriptKind,
  type ScriptVersion,
} from "../domain/scripts.ts";
import { scriptsChannel } from "../execution/scripts.ts";
import type { Compiler } from "../sandbox/api.ts";
import { getApp } from "../storage/apps.ts";
import type { Database, Tx } from "../storage/port.ts";
import {
  deleteScript,
  getScript,
  getScriptByName,
  getVersion,
  insertScript,
  insertVersion,
  listScripts,
  listVersions,
  type ScriptVersionSummary,
  updateScript,
} from "../storage/scripts.ts";
import { sql } from "../storage/sql.ts";
import { findApp } from "./apps.ts";
import type { LiveRoutes } from "./live-routes.ts";
import { type Compiled, compileSource, importWarnings } from "./sources.ts";

export interface ScriptsOptions {
  db: Database;
  clock: Clock;
  newId: () => string;
  compiler: Compiler;
  ceilings: Readonly<ScriptLimits>;
  live: LiveRoutes;
}

export interface ScriptInput {
  /** Id or slug; absent: the app `default`. */
  app?: string;
  name: string;
  kind?: ScriptKind;
  source: string;
  description?: string;
  limits?: Partial<ScriptLimits>;
  public_execute?: boolean;
}

export interface ScriptPatch {
  name?: string;
  kind?: ScriptKind;
  source?: string;
  description?: string;
  /** Null takes a limit back to its default. */
  limits?: Partial<Record<LimitName, number | null>>;
  public_execute?: boolean;
  /** The active version the caller has seen. */
  if_version?: number;
}

/** A script as it is shown: with its app, its active version and the limits it runs with. */
export interface ScriptView {
  script: Script;
  app: App;
  active: Pick<ScriptVersion, "number" | "created_at" | "created_by">;
  effective_limits: ScriptLimits;
}

export interface WholeScript extends ScriptView {
  source: string;
}

export interface SavedScript extends WholeScript {
  warnings: FieldError[];
}

/** The save is based on a version that is no longer the active one. */
class Overtaken extends Error {}

export class Scripts {
  constructor(private readonly options: ScriptsOptions) {}

  /** Throws PicError `not_found` (the app), `invalid`, `invalid_source`, `limit_above_ceiling`, `conflict`. */
  async create(actor: Actor, input: ScriptInput): Promise<SavedScript> {
    const { db, clock, newId, ceilings } = this.options;
    checkName("name", input.name);
    refuseModule(input.kind);
    const limits = input.limits ?? {};
    checkLimits(limits, ceilings);
    const app = await findApp(db, input.app ?? defaultAppSlug);
    await this.#refuseTaken(db, app.id, input.name);
    const compiled = await compileSource(this.options.compiler, input.name, input.source);
    const now = clock.now();
    const script: Script = {
      id: newId(),
      app_id: app.id,
      name: input.name,
      kind: "endpoint",
      description: input.description ?? "",
      limits,
      public_execute: input.public_execute ?? false,
      active_version: 1,
      created_at: now,
      updated_at: now,
    };
    const version = newVersion(script, compiled, actor, now);
    await db.tx(async (tx) => {
      await findApp(tx, app.id);
      await this.#refuseTaken(tx, app.id, script.name);
      await insertScript(tx, script);
      await insertVersion(tx, version);
      await db.notify(tx, scriptsChannel, script.id);
    });
    return { ...this.#view(script, app, version), ...savedParts(compiled) };
  }

  /** With the source of its active version. Throws PicError `not_found`. */
  async get(id: string): Promise<WholeScript> {
    const { db } = this.options;
    const script = await this.#existing(db, id);
    const [app, version] = await Promise.all([
      getApp(db, script.app_id),
      getVersion(db, script.id, script.active_version),
    ]);
    if (app === null || version === null) throw notFound();
    return { ...this.#view(script, app, version), source: version.source };
  }

  /** By name. Throws PicError `not_found` (the app), `invalid` (a bad cursor). */
  async list(
    filter: { app?: string; kind?: ScriptKind; q?: string },
    page: PageRequest,
  ): Promise<Page<ScriptView>> {
    const { db } = this.options;
    const { app, ...rest } = filter;
    const inApp = app === undefined ? {} : { app_id: (await findApp(db, app)).id };
    const found = await listScripts(db, { ...rest, ...inApp }, page);
    const versions = await this.#activeVersions(found.items.map((script) => script.id));
    const apps = new Map<string, App | null>();
    const items: ScriptView[] = [];
    for (const script of found.items) {
      if (!apps.has(script.app_id)) apps.set(script.app_id, await getApp(db, script.app_id));
      const of = apps.get(script.app_id);
      const version = versions.get(script.id);
      // Deleted since the list was read.
      if (of != null && version !== undefined) items.push(this.#view(script, of, version));
    }
    return { items, next_cursor: found.next_cursor };
  }

  /**
   * Changes what is given. A source that differs makes a new version, nothing else does.
   * Throws PicError as `create` does, and `version_conflict` (with `active_version`).
   */
  async update(actor: Actor, id: string, patch: ScriptPatch): Promise<SavedScript> {
    if (patch.name !== undefined) checkName("name", patch.name);
    refuseModule(patch.kind);
    checkLimits(givenLimits(patch), this.options.ceilings);
    return this.#untilNotOvertaken(async () => {
      const { db } = this.options;
      const before = await this.#existing(db, id);
      checkVersion(before, patch.if_version);
      const version = await getVersion(db, id, before.active_version);
      if (version === null) throw new Overtaken();
      const { source } = patch;
      const isNew = source !== undefined && source !== version.source;
      const compiled = isNew
        ? await compileSource(this.options.compiler, patch.name ?? before.name, source)
        : null;
      return this.#save(actor, { before, patch, compiled, version });
    });
  }

  /** Copies an old version to a new one. Throws PicError `not_found`, `invalid`, `version_conflict`. */
  async rollback(
    actor: Actor,
    id: string,
    input: { version: number; if_version?: number },
  ): Promise<SavedScript> {
    return this.#untilNotOvertaken(async () => {
      const { db } = this.options;
      const before = await this.#existing(db, id);
      checkVersion(before, input.if_version);
      const version = await getVersion(db, id, before.active_version);
      if (version === null) throw new Overtaken();
      const old = await getVersion(db, id, input.version);
      if (old === null) throw invalidField("version", "there is no such version of this script");
      refuseModule(old.kind);
      const isNew = old.source !== version.source;
      const compiled = isNew ? { ...old, warnings: importWarnings(old.imports) } : null;
      return this.#save(actor, { before, patch: {}, compiled, version });
    });
  }

  /** With its versions and routes. Throws PicError `not_found`. */
  async delete(id: string): Promise<void> {
    const { db, live } = this.options;
    await this.#existing(db, id);
    await live.write(async (tx) => {
      if (!(await deleteScript(tx, id))) throw notFound();
      await db.notify(tx, scriptsChannel, id);
      return { value: undefined, change: { drop_script: id } };
    });
  }

  /** Newest first. Throws PicError `not_found`, `invalid` (a bad cursor). */
  async versions(id: string, page: PageRequest): Promise<Page<ScriptVersionSummary>> {
    await this.#existing(this.options.db, id);
    return listVersions(this.options.db, id, page);
  }

  /** Throws PicError `not_found`. */
  async version(id: string, number: number): Promise<ScriptVersion> {
    const version = await getVersion(this.options.db, id, number);
    if (version === null) throw new PicError("not_found", "There is no such version");
    return version;
  }

  async #save(
    actor: Actor,
    save: {
      before: Script;
      patch: ScriptPatch;
      /** Null: the source stays. */
      compiled: Compiled | null;
      version: ScriptVersion;
    },
  ): Promise<SavedScript> {
    const { db, clock } = this.options;
    const { patch, compiled } = save;
    const saved = await db.tx(async (tx) => {
      const current = await this.#existing(tx, save.before.id);
      checkVersion(current, patch.if_version);
      if (current.active_version !== save.before.active_version) throw new Overtaken();
      const app = await findApp(tx, current.app_id);
      const script = patched(current, patch);
      if (script.name !== current.name) await this.#refuseTaken(tx, app.id, script.name);
      if (compiled === null && Bun.deepEquals(script, current)) {
        return this.#view(current, app, save.version);
      }
      script.updated_at = clock.now();
      const version =
        compiled === null
          ? save.version
          : newVersion(script, compiled, actor, script.updated_at, current.active_version + 1);
      script.active_version = version.number;
      if (compiled !== null) await insertVersion(tx, version);
      await updateScript(tx, script);
      await db.notify(tx, scriptsChannel, script.id);
      return this.#view(script, app, version);
    });
    const kept = { source: save.version.source, warnings: importWarnings(save.version.imports) };
    return { ...saved, ...savedParts(compiled ?? kept) };
  }

  async #untilNotOvertaken<T>(save: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await save();
      } catch (error) {
        if (!(error instanceof Overtaken)) throw error;
        if (tries >= saveTriesMax) {
          throw new PicError("version_conflict", "Others are saving this script at the same time");
        }
      }
    }
  }

  async #refuseTaken(reader: Database | Tx, appId: string, name: string): Promise<void> {
    if ((await getScriptByName(reader, appId, name)) === null) return;
    throw new PicError("conflict", `The app has a script named ${name} already`);
  }

  async #existing(reader: Database | Tx, id: string): Promise<Script> {
    const script = await getScript(reader, id);
    if (script === null) throw notFound();
    return script;
  }

  /** Without their texts, for many scripts in one statement. */
  async #activeVersions(ids: string[]): Promise<Map<string, ScriptView["active"]>> {
    const rows = await this.options.db.scan(
      sql<ScriptView["active"] & { script_id: string }>`select v.script_id, v.number,
          v.created_at, v.created_by
        from scripts as s
        join script_versions as v on v.script_id = s.id and v.number = s.active_version
        where s.id in ${sql.list(ids)}`,
    );
    return new Map(rows.map((row) => [row.script_id, row]));
  }

  #view(script: Script, app: App, active: ScriptView["active"]): ScriptView {
    const effective_limits = effectiveLimits(script.limits, this.options.ceilings);
    return { script, app, active, effective_limits };
  }
}

function newVersion(
  script: Script,
  compiled: Compiled,
  actor: Actor,
  now: number,
  number = 1,
): ScriptVersion {
  const { source, code, source_map, imports } = compiled;
  return {
    script_id: script.id,
    number,
    kind: script.kind,
    source,
    code,
    source_map,
    imports,
    created_at: now,
    created_by: actor.account_id,
  };
}

function savedParts(compiled: { source: string; warnings: FieldError[] }) {
  return { source: compiled.source, warnings: compiled.warnings };
}

function patched(script: Script, patch: ScriptPatch): Script {
  return {
    ...script,
    name: patch.name ?? script.name,
    description: patch.description ?? script.description,
    limits: patchedLimits(script, patch),
    public_execute: patch.public_execute ?? script.public_execute,
  };
}

/** Only what is given is checked: a ceiling may have been lowered below what is stored. */
function givenLimits(patch: ScriptPatch): Partial<ScriptLimits> {
  const given = Object.entries(patch.limits ?? {}).filter(([, value]) => value !== null);
  return Object.fromEntries(given) as Partial<ScriptLimits>;
}

function patchedLimits(script: Script, patch: ScriptPatch): Partial<ScriptLimits> {
  const limits = { ...script.limits };
  for (const [name, value] of Object.entries(patch.limits ?? {})) {
    if (value === null) delete limits[name as LimitName];
    else limits[name as LimitName] = value;
  }
  return limits;
}

function checkVersion(script: Script, expected: number | undefined): void {
  if (expected === undefined || expected === script.active_version) return;
  throw new PicError(
    "version_conflict",
    `The active version is ${script.active_version}, not ${expected}`,
    { extra: { active_version: script.active_version } },
  );
}

function refuseModule(kind: ScriptKind | undefined): void {
  if (kind === "module") throw invalidField("kind", "modules are not available yet");
}

function notFound(): PicError {
  return new PicError("not_found", "There is no such script");
}
