/**
 * The engine that the end-to-end tests run on: SQLite, or PostgreSQL with PICLOUD_TEST_ENGINE=postgres.
 *
 * A test names its data by a folder. On PostgreSQL a database of its own stands for each folder, so that
 * the same tests stop servers, start others on the same data, and leave nothing behind; in the folder
 * itself nothing may be written then.
 */
import { Database as Sqlite } from "bun:sqlite";
import { expect } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { Database } from "../../src/storage/port.ts";
import { openPostgres } from "../../src/storage/postgres.ts";
import { openSqliteFolder } from "../../src/storage/sqlite.ts";
import { testPostgres } from "../postgres.ts";

export const engine = process.env.PICLOUD_TEST_ENGINE === "postgres" ? "postgres" : "sqlite";

export interface TestDatabase extends AsyncDisposable {
  /** What PICLOUD_DATABASE_URL takes. */
  readonly url: string;
}

/** An empty database in the PostgreSQL of this process. */
export async function newDatabase(): Promise<TestDatabase> {
  const server = await testPostgres();
  const name = await server.createDatabase();
  return {
    url: server.url(name),
    [Symbol.asyncDispose]: () => server.dropDatabase(name),
  };
}

const databases = new Map<string, Promise<TestDatabase>>();

/** The settings of a server that keeps its data in this folder, or in what stands for it. */
export async function storageSettings(dataDir: string): Promise<Record<string, string>> {
  if (engine === "sqlite") return {};
  const database = databases.get(dataDir) ?? newDatabase();
  databases.set(dataDir, database);
  return { PICLOUD_DATABASE_URL: (await database).url };
}

/** Forgets what stands for a folder. Nothing may use it any more. */
export async function dropStorage(dataDir: string): Promise<void> {
  const database = await databases.get(dataDir);
  databases.delete(dataDir);
  await database?.[Symbol.asyncDispose]();
}

/** What is stored, for a test to change behind the back of a server that is stopped. */
export async function withStorage(
  dataDir: string,
  change: (db: Database) => Promise<void>,
): Promise<void> {
  const url = (await databases.get(dataDir))?.url;
  const around = { clock: systemClock, log: silentLogger };
  const { db, close } = await (url === undefined
    ? openSqliteFolder({ dir: dataDir, durability: "full", ...around })
    : openPostgres({ url, ...around }));
  try {
    await change(db);
  } finally {
    await close();
  }
}

/** What a server has warned of or failed at, but for what the tests do to their own PostgreSQL. */
export function complaintsOf(server: { log(): { level: string; message: string }[] }): unknown[] {
  return server
    .log()
    .filter(({ level }) => level === "error" || level === "warn")
    .filter(({ message }) => !message.startsWith("fsync is off in the database"));
}

/** A stopped server left its data whole: SQLite says so of its files; PostgreSQL answers for its own. */
export function expectWhole(dataDir: string): void {
  if (engine === "postgres") {
    expect(readdirSync(dataDir)).toEqual([]);
    return;
  }
  for (const file of ["picloud.db", "logs.db"]) {
    using db = new Sqlite(join(dataDir, file));
    expect(db.query("pragma integrity_check").all()).toEqual([{ integrity_check: "ok" }]);
    expect(db.query("pragma foreign_key_check").all()).toEqual([]);
  }
}
