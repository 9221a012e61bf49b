/** A temporary folder with databases in it, for the tests of the SQLite engine. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { sqliteMigrations } from "../../src/storage/migrations.ts";
import type { Database } from "../../src/storage/port.ts";
import { openSqlite, openSqliteFolder, type SqliteOptions } from "../../src/storage/sqlite.ts";

export interface Folder {
  path: string;
  remove(): void;
}

export function makeFolder(): Folder {
  const path = mkdtempSync(join(tmpdir(), "picloud-storage-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export function openMain(path: string, more: Partial<SqliteOptions> = {}): Promise<Database> {
  return openSqlite({
    path: join(path, "picloud.db"),
    migrations: sqliteMigrations,
    durability: "full",
    clock: systemClock,
    log: silentLogger,
    ...more,
  });
}

export function openBoth(path: string, more: Partial<SqliteOptions> = {}) {
  return openSqliteFolder({
    dir: path,
    durability: "full",
    clock: systemClock,
    log: silentLogger,
    ...more,
  });
}
