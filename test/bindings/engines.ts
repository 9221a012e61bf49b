/** A database of each engine, with two apps and a script in each, for tests of what both must do alike. */
import { afterEach } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { insertApp } from "../../src/storage/apps.ts";
import type { Database } from "../../src/storage/port.ts";
import { openPostgres } from "../../src/storage/postgres.ts";
import { insertScript, insertVersion } from "../../src/storage/scripts.ts";
import { openFolder, scriptOf } from "../execution/folder.ts";
import { postgresMissing, testPostgres } from "../postgres.ts";

interface Opened {
  db: Database;
  close(): Promise<void>;
}

export interface BindingEngine {
  name: string;
  /** Why it cannot be had, or null. */
  missing: string | null;
  open(): Promise<Opened>;
}

export const ENGINES: readonly BindingEngine[] = [
  {
    name: "SQLite",
    missing: null,
    async open() {
      const folder = await openFolder();
      return { db: folder.db, close: () => folder[Symbol.asyncDispose]() };
    },
  },
  {
    name: "PostgreSQL",
    missing: postgresMissing(),
    async open() {
      const server = await testPostgres();
      const name = await server.createDatabase();
      const url = server.url(name);
      const { db, close } = await openPostgres({ url, clock: systemClock, log: silentLogger });
      await seedApps(db);
      return { db, close: () => close().then(() => server.dropDatabase(name)) };
    },
  },
];

/** Call inside `describe`: databases end with their test, after what was deferred. */
export function opener(engine: BindingEngine) {
  const ends: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });
  return {
    async open(): Promise<Database> {
      const { db, close } = await engine.open();
      ends.push(close);
      return db;
    },
    defer: (end: () => Promise<void>): void => void ends.push(end),
  };
}

async function seedApps(db: Database): Promise<void> {
  await db.tx(async (tx) => {
    for (const number of [1, 2]) {
      const app_id = `app-${number}`;
      await insertApp(tx, { id: app_id, slug: app_id, name: app_id, created_at: 1 });
      const { script, version } = scriptOf({ id: `script-${number}`, app_id });
      await insertScript(tx, script);
      await insertVersion(tx, version);
    }
  });
}
