/** What a SQLite file must be before it is used: ours, in WAL mode, migrated, known to its folder. */
import { closeSync, constants, fsyncSync, openSync } from "node:fs";
import { PicError } from "../domain/errors.ts";
import { walPagesFallback } from "../domain/limits.ts";
import type { MigrationSession } from "./migrator.ts";
import { sql } from "./sql.ts";
import type { SqliteConnection } from "./sqlite-connection.ts";

/** "PiCl": marks our files, so that a foreign one is never migrated. */
export const applicationId = 0x5069436c;

/**
 * No memory map: a read error of a card would be a SIGBUS. Small caches, for 512 MB machines: the
 * kernel caches the file as well. trusted_schema: a file that somebody prepared runs no function.
 */
export const pragmas = `
  pragma busy_timeout = 1000;
  pragma synchronous = normal;
  pragma foreign_keys = on;
  pragma recursive_triggers = on;
  pragma trusted_schema = off;
  pragma cache_size = -2048;
  pragma mmap_size = 0;
  pragma temp_store = memory;
  pragma journal_size_limit = ${8 * 1024 * 1024};
  pragma wal_autocheckpoint = ${walPagesFallback};`;
export const readerPragmas = `${pragmas} pragma query_only = on;`;

/** Refuses a file that is not ours before anything in it is changed. */
export function prepareFile(connection: SqliteConnection, incrementalVacuum: boolean): void {
  const tables = connection.get(
    sql<{ count: number }>`select count(*) as count from sqlite_schema`,
  );
  const id = connection.get(sql<{ application_id: number }>`pragma application_id`);
  const isEmpty = tables?.count === 0 && id?.application_id === 0;
  if (!isEmpty && id?.application_id !== applicationId) {
    throw new PicError("unavailable", "This is a database of another program.");
  }
  if (isEmpty) {
    if (incrementalVacuum) connection.exec("pragma auto_vacuum = incremental");
    connection.exec(`pragma application_id = ${applicationId}`);
  }
  connection.exec("pragma journal_mode = wal");
  connection.exec(pragmas);
}

/** Differs because `begin immediate` is a lock of the whole database. */
export async function lockedTransaction<T>(
  connection: SqliteConnection,
  fn: (session: MigrationSession) => Promise<T>,
): Promise<T> {
  connection.exec("begin immediate");
  try {
    const result = await fn({
      exec: async (text) => connection.exec(text),
      all: async (statement) => connection.all(statement),
      run: async (statement) => connection.run(statement),
    });
    connection.exec("commit");
    return result;
  } catch (error) {
    if (connection.raw.inTransaction) connection.exec("rollback");
    throw error;
  }
}

/** A new file survives a power loss only when its folder is synced too. */
export function syncFolder(dir: string): void {
  const fd = openSync(dir, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

export function withPath(path: string, error: unknown): unknown {
  const { syscall } = error as { syscall?: unknown };
  if (error instanceof Error && typeof syscall === "string") {
    return new PicError("unavailable", `${path}: cannot be used: ${error.message}.`, {
      cause: error,
    });
  }
  if (!(error instanceof PicError) || error.message.includes(path)) return error;
  return new PicError(error.code, `${path}: ${error.message}`, { cause: error.details.cause });
}
