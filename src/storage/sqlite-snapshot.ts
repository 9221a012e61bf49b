/**
 * One moment of a SQLite database, read by a process beside the server: a read transaction on a
 * read-only connection. It needs no lock of the folder; the server may write, checkpoint, stop and
 * start meanwhile.
 *
 * What it costs: pages that this moment needs cannot leave the write-ahead log, so the log grows by
 * all that is written until the end, and the server's checkpoints get no further than this moment.
 * Hence the bounds here: a server that can write matters more than a backup.
 */
import { Database as Connection } from "bun:sqlite";
import { existsSync, statfsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { PicError } from "../domain/errors.ts";
import { backupFreeBytesMin, backupRoomCheckRows, backupWalBytesMax } from "../domain/limits.ts";
import type { Snapshot, TableShape } from "./port.ts";
import type { SqlValue } from "./sql.ts";
import { quoted } from "./sql-names.ts";
import { translate } from "./sqlite-connection.ts";
import { applicationId, withPath } from "./sqlite-file.ts";
import { backupTables, checkSchema } from "./tables.ts";

export interface SqliteSnapshotOptions {
  /** The data folder. */
  dir: string;
  /** The newest schema that this executable knows. */
  schemaMax: number;
  /** For tests: smaller bounds. */
  bounds?: { walBytesMax?: number; freeBytesMin?: number };
}

const pragmas = `
  pragma busy_timeout = 5000;
  pragma query_only = on;
  pragma trusted_schema = off;
  pragma cache_size = -1024;
  pragma mmap_size = 0;`;

/** Throws PicError `not_found` or `unavailable`, with a message for the person at the terminal. */
export function openSqliteSnapshot(options: SqliteSnapshotOptions): Snapshot {
  const path = join(options.dir, "picloud.db");
  if (!existsSync(path)) {
    throw new PicError("not_found", `There is no database in the data folder ${options.dir}.`);
  }
  let connection: Connection | null = null;
  try {
    connection = new Connection(path, { readonly: true, strict: true });
    connection.run(pragmas);
    // The first read inside fixes the moment.
    connection.run("begin");
    return new SqliteSnapshot(options, path, connection);
  } catch (error) {
    connection?.close();
    throw withPath(path, translate(error));
  }
}

class SqliteSnapshot implements Snapshot {
  readonly engine = "sqlite";
  readonly schema: number;
  readonly tables: readonly TableShape[];
  #closed = false;

  constructor(
    private readonly options: SqliteSnapshotOptions,
    private readonly path: string,
    private readonly connection: Connection,
  ) {
    const id = connection.query<{ application_id: number }, []>("pragma application_id").get();
    const schema = sqliteTables(connection);
    if (id?.application_id !== applicationId || !schema.has("schema_migrations")) {
      throw new PicError("unavailable", "This is no database of PiCloud.");
    }
    const newest = connection
      .query<{ number: number | null }, []>("select max(number) as number from schema_migrations")
      .get();
    this.schema = newest?.number ?? 0;
    checkSchema(path, this.schema, options.schemaMax);
    this.tables = backupTables([...schema.values()]);
  }

  async *rows({ name, columns }: TableShape): AsyncGenerator<readonly SqlValue[]> {
    const list = columns.map(quoted).join(", ");
    const query = this.connection.prepare<Record<string, SqlValue>, []>(
      `select ${list} from ${quoted(name)}`,
    );
    try {
      let count = 0;
      for (const row of query.iterate()) {
        if (count % backupRoomCheckRows === 0) this.#checkRoom();
        count += 1;
        yield columns.map((column) => row[column] as SqlValue);
      }
    } catch (error) {
      throw withPath(this.path, translate(error));
    } finally {
      query.finalize();
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.connection.close();
  }

  /** Throws PicError `unavailable` before the log takes what the server needs. */
  #checkRoom(): void {
    const { walBytesMax = backupWalBytesMax, freeBytesMin = backupFreeBytesMin } =
      this.options.bounds ?? {};
    const wal = statSync(`${this.path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
    if (wal > walBytesMax) {
      throw new PicError(
        "unavailable",
        "So much was written during the backup that it was given up; try again at a quieter time.",
      );
    }
    const { bavail, bsize } = statfsSync(dirname(this.path));
    if (bavail * bsize < freeBytesMin) {
      throw new PicError(
        "unavailable",
        "The disk of the data folder is almost full: the backup was given up, so that the server can go on.",
      );
    }
  }
}

/** The tables of a database and their columns, by name; SQLite's own are not among them. */
export function sqliteTables(connection: Connection): Map<string, TableShape> {
  const rows = connection
    .query<{ name: string; column: string }, []>(
      `select s.name as name, c.name as column from sqlite_schema s, pragma_table_info(s.name) c
       where s.type = 'table' and s.name not like 'sqlite\\_%' escape '\\' order by s.name, c.cid`,
    )
    .all();
  const tables = new Map<string, { name: string; columns: string[] }>();
  for (const { name, column } of rows) {
    const table = tables.get(name) ?? { name, columns: [] };
    table.columns.push(column);
    tables.set(name, table);
  }
  return tables;
}
