/** Apps: made, found by id or slug, deleted with everything that is in them. */
import type { Clock } from "../base/clock.ts";
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
} from "../storage/apps.ts";
import { lockImports } from "../storage/imports.ts";
import type { Database, Reader } from "../storage/port.ts";
import { removeDataOfApp } from "../storage/removal.ts";
import { sql } from "../storage/sql.ts";
import { countTriggersOfApp, lockTriggers, triggersChannel } from "../storage/triggers.ts";
import type { LiveRoutes } from "./live-routes.ts";

export interface AppsOptions {
  db: Database;
  clock: Clock;
  newId: () => string;
  live: LiveRoutes;
}

/** What goes with an app when it is deleted. */
export interface AppContents {
  scripts: number;
  routes: number;
  triggers: number;
  kv_entries: number;
  docs: number;
  dead_letters: number;
}

type DataCounts = Pick<AppContents, "kv_entries" | "docs" | "dead_letters">;

/** An app by id or slug. Throws PicError `not_found`. */
export async function findApp(reader: Reader, ref: string): Promise<App> {
  const app = isAppId(ref) ? await getApp(reader, ref) : await getAppBySlug(reader, ref);
  if (app === null) throw new PicError("not_found", "There is no such app");
  return app;
}

export class Apps {
  constructor(private readonly options: AppsOptions) {}

  /** Called once at every start: the app `default` exists from the first one. */
  async start(): Promise<void> {
    const { db } = this.options;
    if ((await getAppBySlug(db, defaultAppSlug)) !== null) return;
    try {
      await this.create({ slug: defaultAppSlug, name: "Default" });
    } catch (error) {
      // Another server that starts at the same moment made it.
      if (!(error instanceof PicError && error.code === "conflict")) throw error;
    }
  }

  /** Throws PicError `invalid`, `conflict`. */
  async create(input: { slug: string; name: string }): Promise<App> {
    const { db, clock, newId } = this.options;
    checkApp(input);
    const app: App = {
      id: newId(),
      slug: input.slug,
      name: input.name,
      created_at: clock.now(),
    };
    await db.tx(async (tx) => {
      if ((await getAppBySlug(tx, app.slug)) !== null) {
        throw new PicError("conflict", `There is an app with the slug ${app.slug} already`);
      }
      await insertApp(tx, app);
    });
    return app;
  }

  /** By id or slug. Throws PicError `not_found`. */
  get(ref: string): Promise<App> {
    return findApp(this.options.db, ref);
  }

  /** By slug. */
  list(page: PageRequest): Promise<Page<App>> {
    return listApps(this.options.db, page);
  }

  /**
   * Deletes an app. One that holds anything goes only when `force` says so; else the error says
   * what would be lost. Throws PicError `not_found`, `conflict` (with `would_delete`).
   */
  async delete(ref: string, options: { force: boolean }): Promise<void> {
    const { db, live } = this.options;
    const app = await this.get(ref);
    if (app.slug === defaultAppSlug) {
      throw new PicError("conflict", "The app default cannot be deleted");
    }
    const data = options.force ? null : await this.#countData(app.id);
    if (data === null) await removeDataOfApp(db, app.id);
    await live.write(async (tx) => {
      // No trigger and no script is made between the count and the end.
      await lockTriggers(tx, app.id);
      await lockImports(tx, app.id);
      const triggers = await countTriggersOfApp(tx, app.id);
      if (data !== null) {
        const scripts = await countAppScripts(tx, app.id);
        refuseContents({ scripts, routes: live.countOfApp(app.id), triggers, ...data });
      }
      if (triggers > 0) await db.notify(tx, triggersChannel, app.id);
      if (!(await deleteApp(tx, app.id))) {
        throw new PicError("not_found", "There is no such app");
      }
      // many scripts at once
      await db.notify(tx, scriptsChannel, "*");
      return { value: undefined, change: { drop_app: app.id } };
    });
  }

  async #countData(appId: string): Promise<DataCounts> {
    const [row] = await this.options.db.scan(
      sql<DataCounts>`select
        (select count(*) from kv where app_id = ${appId}) as kv_entries,
        (select count(*) from docs where app_id = ${appId}) as docs,
        (select count(*) from dead_letters where app_id = ${appId}) as dead_letters`,
    );
    return row ?? { kv_entries: 0, docs: 0, dead_letters: 0 };
  }
}

function refuseContents(contents: AppContents): void {
  if (Object.values(contents).every((count) => count === 0)) return;
  throw new PicError("conflict", "The app is not empty; deleting it needs force=true", {
    extra: { would_delete: contents },
  });
}
