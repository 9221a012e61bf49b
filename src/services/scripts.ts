/**
 * Scripts: a name in an app whose behaviour is its active version. A version is written once; an
 * update of the source and a rollback both make a new one, and the newest is the active one.
 *
 * Compiling happens before the transaction. What it was based on is checked again inside of it, and
 * the save starts over when another came between.
 */
import type { Clock } from "../base/clock.ts";
import { type Action, authorise, visibleApps } from "../domain/access.ts";
import type { Actor } from "../domain/accounts.ts";
import { type App, defaultAppSlug } from "../domain/apps.ts";
import { type FieldError, invalidField, PicError } from "../domain/errors.ts";
import { type ScriptLimits, saveTriesMax } from "../domain/limits.ts";
import { checkName } from "../domain/names.ts";
import type { Page, PageRequest } from "../domain/pages.ts";
import {
  checkLimits,
  checkScriptName,
  effectiveLimits,
  type Script,
  type ScriptKind,
  type ScriptVersion,
} from "../domain/scripts.ts";
import type { Compiler } from "../sandbox/api.ts";
import { getApp } from "../storage/apps.ts";
import { listImporters, listImports, lockImports, type ScriptRef } from "../storage/imports.ts";
import type { Database, Tx } from "../storage/port.ts";
import { removeEventsOfScript } from "../storage/removal.ts";
import { lockRoutes } from "../storage/routes.ts";
import {
  getScript,
  getScriptByName,
  getVersion,
  listScripts,
  listVersions,
  type ScriptVersionSummary,
} from "../storage/scripts.ts";
import { countTriggersOfScript, lockTriggers, triggersChannel } from "../storage/triggers.ts";
import { findApp } from "./apps.ts";
import type { Audit } from "./audit.ts";
import { importWarnings, refuseImported, refuseReached, saveImports } from "./imports.ts";
import type { LiveRoutes } from "./live-routes.ts";
import { auditedScript } from "./script-audit.ts";
import { checkVersion, givenLimits, patched, type ScriptPatch } from "./script-patches.ts";
import { addScript, changeScript, dropScript } from "./script-writes.ts";
import { type Compiled, compileSource, isOutdated, newVersion } from "./sources.ts";

export interface ScriptsOptions {
  db: Database;
  clock: Clock;
  newId: () => string;
  compiler: Compiler;
  ceilings: Readonly<ScriptLimits>;
  live: LiveRoutes;
  audit: Audit;
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

  /** Throws PicError `not_found` and `forbidden` (the app), `invalid`, `invalid_source`, `limit_above_ceiling`, `conflict`. */
  async create(actor: Actor, input: ScriptInput): Promise<SavedScript> {
    const { db, clock, newId, ceilings, audit } = this.options;
    const { name, kind = "endpoint", source } = input;
    checkScriptName({ name, kind });
    const limits = input.limits ?? {};
    checkLimits(limits, ceilings);
    const app = await this.#appFor(actor, "script.write", input.app ?? defaultAppSlug);
    await this.#refuseTaken(db, app.id, name);
    const compiled = await compileSource(this.options.compiler, { name, kind, source });
    const now = clock.now();
    const script: Script = {
      id: newId(),
      app_id: app.id,
      name,
      kind,
      description: input.description ?? "",
      limits,
      public_execute: input.public_execute ?? false,
      active_version: 1,
      created_at: now,
      updated_at: now,
    };
    const version = newVersion(script, compiled, actor, now);
    const warnings = await db.tx(async (tx) => {
      await lockImports(tx, app.id);
      await findApp(tx, app.id);
      await this.#refuseTaken(tx, app.id, name);
      await addScript(tx, { db, audit, actor }, { script, version });
      const { imports, import_sites: sites } = compiled;
      await saveImports(tx, script, { before: [], imports, sites });
      return warningsOf(tx, script, compiled);
    });
    return { ...this.#view(script, app, version), source, warnings };
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

  /** By name, of the apps that the actor sees. Throws PicError `not_found` (the app), `invalid` (a bad cursor). */
  async list(
    actor: Actor,
    filter: { app?: string; kind?: ScriptKind; q?: string; name?: string },
    page: PageRequest,
  ): Promise<Page<ScriptView>> {
    const { db } = this.options;
    const { app, ...rest } = filter;
    const inApp =
      app === undefined ? {} : { app_id: (await this.#appFor(actor, "script.read", app)).id };
    const visible = visibleApps(actor);
    const found = await listScripts(db, { ...rest, ...inApp, visible }, page);
    const items = found.items.map(({ script, app: of, active }) => this.#view(script, of, active));
    return { items, next_cursor: found.next_cursor };
  }

  /**
   * Changes what is given. A source or a kind that differs makes a new version, nothing else does.
   * Throws PicError as `create` does, and `version_conflict` (with `active_version`).
   */
  async update(actor: Actor, id: string, patch: ScriptPatch): Promise<SavedScript> {
    if (patch.name !== undefined) checkName("name", patch.name);
    checkLimits(givenLimits(patch), this.options.ceilings);
    return this.#untilNotOvertaken(async () => {
      const { db, compiler } = this.options;
      const before = await this.#existing(db, id);
      checkVersion(before, patch.if_version);
      const version = await getVersion(db, id, before.active_version);
      if (version === null) throw new Overtaken();
      const { name, kind } = patched(before, patch);
      checkScriptName({ name, kind });
      const { source = version.source } = patch;
      const isSaved = patch.source === undefined || !isOutdated(version);
      const isNew = source !== version.source || kind !== version.kind || !isSaved;
      const compiled = isNew ? await compileSource(compiler, { name, kind, source }) : null;
      return this.#save(actor, { before, patch, compiled, version, copied: null });
    });
  }

  /**
   * Copies an old version, its kind included, to a new one. Throws PicError `not_found`, `invalid`,
   * `version_conflict`, and what saving that source would throw.
   */
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
      checkScriptName({ name: before.name, kind: old.kind });
      const isNew = old.source !== version.source || old.kind !== version.kind;
      const compiled = isNew ? await this.#compiledBefore(before.name, old) : null;
      const patch = { kind: old.kind };
      return this.#save(actor, { before, patch, compiled, version, copied: input.version });
    });
  }

  /**
   * With its versions, routes, triggers, and what waits for it or has failed. Throws PicError `not_found`,
   * `conflict` (with `imported_by`).
   */
  async delete(actor: Actor, id: string): Promise<void> {
    const { db, live, audit } = this.options;
    const existing = await this.#existing(db, id);
    await refuseImported(db, existing, "deleted");
    const change = { action: "script.delete", ...auditedScript(existing) };
    await removeEventsOfScript(db, existing, (tx) =>
      audit.record(tx, actor, { ...change, detail: { state: "started" } }),
    );
    await live.write(async (tx) => {
      const script = await this.#existing(tx, id);
      await lockTriggers(tx, script.app_id);
      await lockImports(tx, script.app_id);
      await refuseImported(tx, script, "deleted");
      if ((await countTriggersOfScript(tx, id)) > 0) {
        await db.notify(tx, triggersChannel, script.app_id);
      }
      if (!(await dropScript(tx, { db, audit, actor }, script))) throw notFound();
      return { value: undefined, change: { drop_script: id } };
    });
  }

  /** The modules that its active version imports, as far as they exist. Throws PicError `not_found`. */
  async imports(id: string): Promise<ScriptRef[]> {
    await this.#existing(this.options.db, id);
    return listImports(this.options.db, id);
  }

  /** The scripts that import this module. Throws PicError `not_found`. */
  async importedBy(id: string): Promise<ScriptRef[]> {
    await this.#existing(this.options.db, id);
    return listImporters(this.options.db, id);
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
      /** The number of the version that a rollback copies; null: an update. */
      copied: number | null;
    },
  ): Promise<SavedScript> {
    const { db, clock, audit } = this.options;
    const { before, patch, compiled } = save;
    const { source } = compiled ?? save.version;
    return db.tx(async (tx) => {
      if (patch.kind !== undefined && patch.kind !== before.kind) {
        // Nobody routes or triggers it meanwhile.
        await lockRoutes(tx);
        await lockTriggers(tx, before.app_id);
      }
      await lockImports(tx, before.app_id);
      const current = await this.#existing(tx, before.id);
      checkVersion(current, patch.if_version);
      if (current.active_version !== before.active_version) throw new Overtaken();
      const app = await findApp(tx, current.app_id);
      const script = patched(current, patch);
      await this.#refuseChange(tx, current, script);
      if (compiled === null && Bun.deepEquals(script, current)) {
        const warnings = await warningsOf(tx, script, save.version);
        return { ...this.#view(current, app, save.version), source, warnings };
      }
      script.updated_at = clock.now();
      const version =
        compiled === null
          ? save.version
          : newVersion(script, compiled, actor, script.updated_at, current.active_version + 1);
      script.active_version = version.number;
      const made = compiled === null ? null : version;
      const saved = { before: current, after: script, version: made, copied: save.copied };
      await changeScript(tx, { db, audit, actor }, saved);
      if (compiled !== null || script.name !== current.name) {
        await saveImports(tx, script, {
          before: save.version.imports,
          imports: version.imports,
          sites: compiled?.import_sites ?? [],
        });
      }
      const warnings = await warningsOf(tx, script, compiled ?? version);
      return { ...this.#view(script, app, version), source, warnings };
    });
  }

  /** Throws PicError `invalid`, `conflict` for what others rely on. */
  async #refuseChange(tx: Tx, current: Script, script: Script): Promise<void> {
    checkScriptName(script);
    if (script.name !== current.name) {
      await this.#refuseTaken(tx, current.app_id, script.name);
      await refuseImported(tx, current, "renamed");
    }
    if (script.kind === current.kind) return;
    if (script.kind === "module") await refuseReached(tx, current);
    else await refuseImported(tx, current, "made an endpoint");
  }

  /** What an old version was compiled to, unless today's rule has to judge it first. */
  #compiledBefore(name: string, old: ScriptVersion): Promise<Compiled> | Compiled {
    if (isOutdated(old)) return compileSource(this.options.compiler, { ...old, name });
    return { ...old, import_sites: [], warnings: [] };
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

  /** For what names its app not in its address. Throws PicError `not_found`, `forbidden`. */
  async #appFor(actor: Actor, action: Action, ref: string): Promise<App> {
    const app = await findApp(this.options.db, ref);
    authorise(actor, action, { app_id: app.id }, "app");
    return app;
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

  #view(script: Script, app: App, active: ScriptView["active"]): ScriptView {
    const effective_limits = effectiveLimits(script.limits, this.options.ceilings);
    return { script, app, active, effective_limits };
  }
}

/** Of the compiler, and of imports that are no modules. */
async function warningsOf(
  tx: Tx,
  script: Script,
  saved: Compiled | ScriptVersion,
): Promise<FieldError[]> {
  const { import_sites, warnings } =
    "warnings" in saved ? saved : { import_sites: [], warnings: [] };
  return [...warnings, ...(await importWarnings(tx, script.app_id, saved.imports, import_sites))];
}

function notFound(): PicError {
  return new PicError("not_found", "There is no such script");
}
