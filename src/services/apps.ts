/** Apps: made, found by id or slug, renamed, deleted with everything that is in them. */
import type { Clock } from "../base/clock.ts";
import { visibleApps } from "../domain/access.ts";
import type { Actor } from "../domain/accounts.ts";
import { type App, checkApp, defaultAppSlug, isAppId } from "../domain/apps.ts";
import { PicError } from "../domain/errors.ts";
import type { Page, PageRequest } from "../domain/pages.ts";
import { scriptsChannel } from "../execution/scripts.ts";
import {
  countAppScripts,
  deleteApp,
  getApp,
  getAppBySlug,
  insertApp,
  listApps,
  lockApps,
  updateApp,
} from "../storage/apps.ts";
import { lockImports } from "../storage/imports.ts";
import type { Database, Reader, Tx } from "../storage/port.ts";
import { removeDataOfApp } from "../storage/removal.ts";
import { sql } from "../storage/sql.ts";
import { countTriggersOfApp, lockTriggers, triggersChannel } from "../storage/triggers.ts";
import type { Audit, Doer } from "./audit.ts";
import type { LiveRoutes } from "./live-routes.ts";

export interface AppsOptions {
  db: Database;
  clock: Clock;
  newId: () => string;
  live: LiveRoutes;
  audit: Audit;
}

/** What an update changes; what is absent stays. */
export interface AppPatch {
  slug?: string | undefined;
  name?: string | undefined;
}

/** What goes with an app when it is deleted. */
export interface AppContents {
  scripts: number;
  routes: number;
  triggers: number;
  kv_entries: number;
  docs: number;
  dead_letters: number;
  members: number;
  /** API keys that are bound to it. */
  api_keys: number;
  hosts: number;
}

type StoredCounts = Omit<AppContents, "scripts" | "routes" | "triggers" | "hosts">;

/** An app by id or slug. Throws PicError `not_found`. */
export async function findApp(reader: Reader, ref: string): Promise<App> {
  const app = isAppId(ref) ? await getApp(reader, ref) : await getAppBySlug(reader, ref);
  if (app === null) throw noApp();
  return app;
}

export class Apps {
  constructor(private readonly options: AppsOptions) {}

  /** Called once at every start: the app `default` exists from the first one. */
  async start(): Promise<void> {
    const { db } = this.options;
    if ((await getAppBySlug(db, defaultAppSlug)) !== null) return;
    try {
      await this.create("system", { slug: defaultAppSlug, name: "Default" });
    } catch (error) {
      // Another server that starts at the same moment made it.
      if (!(error instanceof PicError && error.code === "conflict")) throw error;
    }
  }

  /** Throws PicError `invalid`, `conflict`. */
  async create(actor: Doer, input: { slug: string; name: string }): Promise<App> {
    const { db, clock, newId, audit } = this.options;
    checkApp(input);
    const app: App = {
      id: newId(),
      slug: input.slug,
      name: input.name,
      created_at: clock.now(),
    };
    await db.tx(async (tx) => {
      await refuseTaken(tx, app.slug);
      await insertApp(tx, app);
      await audit.record(tx, actor, { action: "app.create", ...audited(app) });
    });
    return app;
  }

  /** The app `default` keeps its slug. Throws PicError `not_found`, `invalid`, `conflict`. */
  async update(actor: Actor, ref: string, patch: AppPatch): Promise<App> {
    const { db, audit } = this.options;
    const { id } = await this.get(ref);
    return db.tx(async (tx) => {
      // What is told as the old name is what another update has left.
      await lockApps(tx);
      const before = await findApp(tx, id);
      const { slug = before.slug, name = before.name } = patch;
      if (slug === before.slug && name === before.name) return before;
      const after: App = { ...before, slug, name };
      checkApp(after);
      if (slug !== before.slug) {
        if (before.slug === defaultAppSlug) {
          throw new PicError("conflict", "The app default keeps its slug");
        }
        await refuseTaken(tx, slug);
      }
      if (!(await updateApp(tx, after))) throw noApp();
      await audit.record(tx, actor, { action: "app.update", ...audited(after, before) });
      return after;
    });
  }

  /** By id or slug. Throws PicError `not_found`. */
  get(ref: string): Promise<App> {
    return findApp(this.options.db, ref);
  }

  /** By slug, those that the actor sees. */
  list(actor: Actor, page: PageRequest): Promise<Page<App>> {
    return listApps(this.options.db, visibleApps(actor), page);
  }

  /**
   * Deletes an app. One that holds anything goes only when `force` says so; else the error says
   * what would be lost. Throws PicError `not_found`, `conflict` (with `would_delete`).
   */
  async delete(actor: Actor, ref: string, { force }: { force: boolean }): Promise<void> {
    const { db, live, audit } = this.options;
    const app = await this.get(ref);
    if (app.slug === defaultAppSlug) {
      throw new PicError("conflict", "The app default cannot be deleted");
    }
    const stored = force ? null : await this.#countStored(app.id);
    const told = { action: "app.delete", ...audited(app) };
    if (stored === null) {
      const change = { ...told, detail: { ...told.detail, state: "started" } };
      await removeDataOfApp(db, app.id, (tx) => audit.record(tx, actor, change));
    }
    await live.write(async (tx, draft) => {
      // No trigger and no script is made between the count and the end.
      await lockTriggers(tx, app.id);
      await lockImports(tx, app.id);
      const triggers = await countTriggersOfApp(tx, app.id);
      const scripts = await countAppScripts(tx, app.id);
      const routes = draft.countOfApp(app.id);
      const counts = { scripts, routes, triggers, hosts: draft.hosts.ofApp(app.id).length };
      if (stored !== null) refuseContents({ ...counts, ...stored });
      if (triggers > 0) await db.notify(tx, triggersChannel, app.id);
      if (!(await deleteApp(tx, app.id))) throw noApp();
      // many scripts at once
      await db.notify(tx, scriptsChannel, "*");
      await audit.record(tx, actor, { ...told, detail: { ...told.detail, ...counts, force } });
      return { value: undefined, change: { drop_app: app.id } };
    });
  }

  async #countStored(appId: string): Promise<StoredCounts> {
    const [row] = await this.options.db.scan(
      sql<StoredCounts>`select
        (select count(*) from kv where app_id = ${appId}) as kv_entries,
        (select count(*) from docs where app_id = ${appId}) as docs,
        (select count(*) from dead_letters where app_id = ${appId}) as dead_letters,
        (select count(*) from app_members where app_id = ${appId}) as members,
        (select count(*) from api_keys where app_id = ${appId}) as api_keys`,
    );
    return row ?? { kv_entries: 0, docs: 0, dead_letters: 0, members: 0, api_keys: 0 };
  }
}

/** @param before of an update */
function audited(app: App, before: App = app) {
  const { slug, name } = app;
  const was = { slug: before.slug, name: before.name };
  return {
    target: { kind: "app", id: app.id, name: slug },
    app_id: app.id,
    detail: before === app ? { name } : { slug, name, was },
  };
}

async function refuseTaken(tx: Tx, slug: string): Promise<void> {
  if ((await getAppBySlug(tx, slug)) === null) return;
  throw new PicError("conflict", `There is an app with the slug ${slug} already`);
}

function refuseContents(contents: AppContents): void {
  if (Object.values(contents).every((count) => count === 0)) return;
  throw new PicError("conflict", "The app is not empty; deleting it needs force=true", {
    extra: { would_delete: contents },
  });
}

function noApp(): PicError {
  return new PicError("not_found", "There is no such app");
}
