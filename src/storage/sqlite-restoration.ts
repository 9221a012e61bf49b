/**
 * A SQLite database that is made anew, under a name that no server opens, and takes its real name
 * when it is complete, verified and on the disk. Killed at any moment it leaves that file, which
 * the next restore removes, or the whole database.
 *
 * While it is filled nothing is synced and no journal is kept: what fails is thrown away.
 */
import {
  closeSync,
  constants,
  fsyncSync,
  lchownSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { PicError } from "../domain/errors.ts";
import { type Migration, type MigrationEngine, migrate } from "./migrator.ts";
import type { Restoration, TableShape } from "./port.ts";
import { type SqlValue, sql } from "./sql.ts";
import { quoted } from "./sql-names.ts";
import { SqliteConnection, translate } from "./sqlite-connection.ts";
import { lockedTransaction, prepareFile, syncFolder, withPath } from "./sqlite-file.ts";
import { type DataDirLock, lockDataDir } from "./sqlite-lock.ts";
import { sqliteTables } from "./sqlite-snapshot.ts";
import { backupTables, checkCount } from "./tables.ts";

export interface SqliteRestorationOptions {
  /** The data folder; made when it is missing. */
  dir: string;
  migrations: readonly Migration[];
  /** The backup's schema, at most the last migration's number. */
  schema: number;
  now: () => number;
}

const databaseName = "picloud.db";
const temporaryName = "picloud.db.restoring";
/** A file of a killed restore, and what SQLite may have kept beside it. */
const leftovers = ["", "-journal", "-wal", "-shm"].map((suffix) => temporaryName + suffix);
/** What an empty folder may hold: the lock, and what the root of a file system has. */
const ignored = ["lock.db", "lost+found", ...leftovers];

/** Throws PicError `unavailable` when a server uses the folder, `conflict` when it is not empty. */
export async function beginSqliteRestoration(
  options: SqliteRestorationOptions,
): Promise<Restoration> {
  const { dir } = options;
  const lock = lockDataDir(dir);
  let connection: SqliteConnection | null = null;
  try {
    const other = readdirSync(dir).find((name) => !ignored.includes(name));
    if (other !== undefined) {
      throw new PicError(
        "conflict",
        `The data folder ${dir} is not empty (it holds ${JSON.stringify(other)}): restore into an empty one.`,
      );
    }
    removeLeftovers(dir);
    connection = new SqliteConnection(join(dir, temporaryName));
    prepareFile(connection, false);
    connection.exec("pragma journal_mode = off");
    connection.exec("pragma synchronous = off");
    // References are checked all at once at the end: rows come table by table, in no special order.
    connection.exec("pragma foreign_keys = off");
    const engine = migrationEngine(dir, connection);
    await migrate(engine, options.migrations.slice(0, options.schema), options.now);
    const tables = backupTables([...sqliteTables(connection.raw).values()]);
    connection.exec("begin");
    return new SqliteRestoration(options, { lock, connection, engine, tables });
  } catch (error) {
    connection?.close();
    removeLeftovers(dir);
    lock.release();
    throw withPath(dir, translate(error));
  }
}

interface Parts {
  lock: DataDirLock;
  connection: SqliteConnection;
  engine: MigrationEngine;
  tables: readonly TableShape[];
}

class SqliteRestoration implements Restoration {
  readonly tables: readonly TableShape[];
  #ended = false;

  constructor(
    private readonly options: SqliteRestorationOptions,
    private readonly parts: Parts,
  ) {
    this.tables = parts.tables;
  }

  async insert({ name, columns }: TableShape, rows: readonly SqlValue[][]): Promise<void> {
    const { raw } = this.parts.connection;
    const places = columns.map(() => "?").join(", ");
    const query = raw.prepare<unknown, SqlValue[]>(
      `insert into ${quoted(name)} (${columns.map(quoted).join(", ")}) values (${places})`,
    );
    try {
      for (const row of rows) query.run(...row);
    } catch (error) {
      throw refusedRow(name, error);
    } finally {
      query.finalize();
    }
  }

  async commit(counts: ReadonlyMap<string, number>): Promise<void> {
    const { connection, engine, lock } = this.parts;
    const { dir, migrations, now } = this.options;
    try {
      connection.exec("commit");
      verify(connection, this.tables, counts);
      connection.exec("pragma foreign_keys = on");
      await migrate(engine, migrations, now);
      connection.exec("pragma journal_mode = wal");
      connection.close();
      putInPlace(dir);
    } catch (error) {
      await this.discard();
      throw withPath(dir, translate(error));
    }
    this.#ended = true;
    lock.release();
  }

  async discard(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    this.parts.connection.close();
    removeLeftovers(this.options.dir);
    this.parts.lock.release();
  }
}

function migrationEngine(label: string, connection: SqliteConnection): MigrationEngine {
  return { label, locked: (fn) => lockedTransaction(connection, fn) };
}

function verify(
  connection: SqliteConnection,
  tables: readonly TableShape[],
  counts: ReadonlyMap<string, number>,
): void {
  const orphan = connection.get(sql<{ table: string; parent: string }>`pragma foreign_key_check`);
  if (orphan !== null) {
    throw new PicError(
      "invalid",
      `The backup cannot be restored: a row of ${orphan.table} refers to one of ${orphan.parent} that is not there.`,
    );
  }
  for (const { name } of tables) {
    const count: { texts: string[]; values: []; row?: { count: number } } = {
      texts: [`select count(*) as count from ${quoted(name)}`],
      values: [],
    };
    checkCount(name, connection.get(count)?.count ?? 0, counts.get(name));
  }
  const found = connection.get(sql<{ integrity_check: string }>`pragma integrity_check`);
  if (found?.integrity_check !== "ok") {
    throw new PicError("unavailable", "The restored database is damaged: the disk may be failing.");
  }
}

/** From here on the folder has a database, whatever happens. */
function putInPlace(dir: string): void {
  const temporary = join(dir, temporaryName);
  const fd = openSync(temporary, constants.O_RDWR);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  giveToOwner(dir);
  renameSync(temporary, join(dir, databaseName));
  syncFolder(dir);
}

/**
 * What root restores belongs to whom the folder belongs to: the server must be able to open it. A link
 * that somebody put there is not followed.
 */
function giveToOwner(dir: string): void {
  if (process.geteuid?.() !== 0) return;
  const { uid, gid } = statSync(dir);
  for (const name of [temporaryName, "lock.db"]) lchownSync(join(dir, name), uid, gid);
}

function removeLeftovers(dir: string): void {
  for (const name of leftovers) rmSync(join(dir, name), { force: true });
}

/** A CHECK, a type or a key of the schema: the backup was made by hand or by another build. */
function refusedRow(table: string, error: unknown): unknown {
  const { code } = error as { code?: unknown };
  if (typeof code !== "string" || !code.startsWith("SQLITE_CONSTRAINT")) return translate(error);
  return new PicError("invalid", `The backup has a row that the table ${table} does not take.`, {
    cause: error,
  });
}
