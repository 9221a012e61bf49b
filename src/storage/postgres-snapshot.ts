/**
 * One moment of a PostgreSQL database, read beside the server: a REPEATABLE READ, READ ONLY
 * transaction on a connection of its own. Until its end the database keeps what is deleted meanwhile.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { backupFetchMsMax, backupFetchRows } from "../domain/limits.ts";
import type { Snapshot, TableShape } from "./port.ts";
import { PostgresConnection } from "./postgres-connection.ts";
import { lost, reasonOf, refusalOf } from "./postgres-errors.ts";
import { migrationSettings } from "./postgres-migrate.ts";
import { parseTarget } from "./postgres-target.ts";
import { type SqlValue, sql } from "./sql.ts";
import { quoted } from "./sql-names.ts";
import { backupTables, checkSchema } from "./tables.ts";

export interface PostgresSnapshotOptions {
  /** PICLOUD_DATABASE_URL. */
  url: string;
  /** The newest schema that this executable knows. */
  schemaMax: number;
  clock: Clock;
  log: Logger;
}

const bound = { msMax: backupFetchMsMax };

/** Throws PicError `not_found` or `unavailable`, with a message for the person at the terminal. */
export async function openPostgresSnapshot(options: PostgresSnapshotOptions): Promise<Snapshot> {
  const { label } = parseTarget(options.url);
  const connection = await connectForBackup(options);
  try {
    await connection.run("begin isolation level repeatable read read only", [], bound);
    const tables = await postgresTables(connection);
    if (!tables.some(({ name }) => name === "schema_migrations")) {
      throw lost(`The ${label} holds no PiCloud.`);
    }
    const { rows } = await connection.execute(newestMigration, bound);
    const schema = Number(rows[0]?.number ?? 0);
    checkSchema(`The ${label}`, schema, options.schemaMax);
    return new PostgresSnapshot(connection, schema, backupTables(tables));
  } catch (error) {
    await connection.close();
    throw error;
  }
}

class PostgresSnapshot implements Snapshot {
  readonly engine = "postgres";

  constructor(
    private readonly connection: PostgresConnection,
    readonly schema: number,
    readonly tables: readonly TableShape[],
  ) {}

  async *rows({ name, columns }: TableShape): AsyncGenerator<readonly SqlValue[]> {
    const list = columns.map(quoted).join(", ");
    const run = (text: string) => this.connection.run(text, [], bound);
    await run(`declare backup_rows no scroll cursor for select ${list} from ${quoted(name)}`);
    for (;;) {
      const { rows } = await run(`fetch ${backupFetchRows} from backup_rows`);
      for (const row of rows) yield columns.map((column) => row[column] as SqlValue);
      if (rows.length < backupFetchRows) break;
    }
    await run("close backup_rows");
  }

  close(): Promise<void> {
    return this.connection.close();
  }
}

/** A connection without the server's deadlines. Throws PicError `unavailable`, without the password. */
export async function connectForBackup(options: {
  url: string;
  clock: Clock;
  log: Logger;
}): Promise<PostgresConnection> {
  const { clock, log } = options;
  const target = parseTarget(options.url);
  // A restore that was acknowledged is on the disk, whatever the database's default.
  const settings = { ...migrationSettings, synchronous_commit: "on" };
  try {
    return await PostgresConnection.open({ target, clock, log, name: "backup", settings });
  } catch (error) {
    throw lost(
      `PICLOUD_DATABASE_URL, ${target.label}: ${refusalOf(error) ?? reasonOf(error)}.`,
      error,
    );
  }
}

/** The tables of the default schema and their columns. */
export async function postgresTables(connection: PostgresConnection): Promise<TableShape[]> {
  const { rows } = await connection.execute(columnsOfTables, bound);
  const tables = new Map<string, { name: string; columns: string[] }>();
  for (const row of rows) {
    const name = String(row.name);
    const table = tables.get(name) ?? { name, columns: [] };
    table.columns.push(String(row.column));
    tables.set(name, table);
  }
  return [...tables.values()];
}

const columnsOfTables = sql`select c.relname as name, a.attname as column
  from pg_class as c join pg_attribute as a on a.attrelid = c.oid
  where c.relnamespace = (select oid from pg_namespace where nspname = current_schema())
    and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
  order by c.relname, a.attnum`;

const newestMigration = sql`select max(number) as number from schema_migrations`;
