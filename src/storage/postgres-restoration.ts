/**
 * A PostgreSQL database that is filled in one transaction: the schema, the rows, the migrations since.
 * Whatever happens before the commit, nothing was there. It holds the servers' lock for itself
 * meanwhile, so that no PiCloud starts on it.
 *
 * Foreign keys are taken away while rows come, table by table in no special order, and are made again
 * behind them: then each is checked once, as a whole.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { PicError } from "../domain/errors.ts";
import { postgresMigrationMsMax, restoreValuesMax } from "../domain/limits.ts";
import { type Migration, type MigrationEngine, migrate } from "./migrator.ts";
import type { Restoration, TableShape } from "./port.ts";
import type { PostgresConnection } from "./postgres-connection.ts";
import { codeOf, lost, translate } from "./postgres-errors.ts";
import { lockSpace, migrationLock, serverLock } from "./postgres-lock.ts";
import { logsSchema, migrationSession } from "./postgres-migrate.ts";
import { connectForBackup, postgresTables } from "./postgres-snapshot.ts";
import { parseTarget } from "./postgres-target.ts";
import { type SqlValue, type Statement, sql } from "./sql.ts";
import { quoted } from "./sql-names.ts";
import { backupTables, checkCount } from "./tables.ts";

export interface PostgresRestorationOptions {
  /** PICLOUD_DATABASE_URL. */
  url: string;
  migrations: readonly Migration[];
  /** The backup's schema, at most the last migration's number. */
  schema: number;
  clock: Clock;
  log: Logger;
}

interface ForeignKey {
  table: string;
  name: string;
  definition: string;
}

const bound = { msMax: postgresMigrationMsMax };

/** Throws PicError `unavailable` when a server uses the database, `conflict` when it is not empty. */
export async function beginPostgresRestoration(
  options: PostgresRestorationOptions,
): Promise<Restoration> {
  const { label } = parseTarget(options.url);
  const connection = await connectForBackup(options);
  try {
    await connection.run("begin", [], bound);
    const { rows: locks } = await connection.execute(tryServerLock, bound);
    if (locks[0]?.taken !== true) throw lost(`Another PiCloud uses this database (${label}).`);
    await connection.execute(migrationsLock, bound);
    const { rows: others } = await connection.execute(anyTable, bound);
    if (others[0] !== undefined) {
      throw new PicError(
        "conflict",
        `The ${label} is not empty (it holds ${JSON.stringify(others[0].name)}): restore into an empty one.`,
      );
    }
    const session = migrationSession(connection);
    const engine: MigrationEngine = { label, locked: (fn) => fn(session) };
    const now = (): number => options.clock.now();
    await migrate(engine, options.migrations.slice(0, options.schema), now);
    const tables = backupTables(await postgresTables(connection));
    const keys = await takeForeignKeys(connection);
    return new PostgresRestoration({
      connection,
      tables,
      keys,
      upgrade: () => migrate(engine, options.migrations, now),
    });
  } catch (error) {
    await connection.close();
    throw refused(label, error);
  }
}

interface Parts {
  connection: PostgresConnection;
  tables: readonly TableShape[];
  keys: readonly ForeignKey[];
  upgrade: () => Promise<number>;
}

class PostgresRestoration implements Restoration {
  readonly tables: readonly TableShape[];

  constructor(private readonly parts: Parts) {
    this.tables = parts.tables;
  }

  async insert(table: TableShape, rows: readonly (readonly SqlValue[])[]): Promise<void> {
    const rowsMax = Math.floor(restoreValuesMax / table.columns.length);
    try {
      for (let at = 0; at < rows.length; at += rowsMax) {
        const statement = insertion(table, rows.slice(at, at + rowsMax));
        await this.parts.connection.execute(statement, bound);
      }
    } catch (error) {
      throw refusedRow(table.name, error);
    }
  }

  async commit(counts: ReadonlyMap<string, number>): Promise<void> {
    const { connection, tables, keys, upgrade } = this.parts;
    try {
      for (const key of keys) await makeForeignKey(connection, key);
      for (const { name } of tables) {
        const text = `select count(*) as count from ${quoted(name)}`;
        const { rows } = await connection.run(text, [], bound);
        checkCount(name, Number(rows[0]?.count), counts.get(name));
      }
      await upgrade();
      await connection.run("commit", [], bound);
    } catch (error) {
      throw translate(error);
    } finally {
      await this.discard();
    }
  }

  /** A connection that ends takes its transaction with it. */
  discard(): Promise<void> {
    return this.parts.connection.close();
  }
}

function insertion(
  { name, columns }: TableShape,
  rows: readonly (readonly SqlValue[])[],
): Statement {
  const texts: string[] = [];
  let text = `insert into ${quoted(name)} (${columns.map(quoted).join(", ")}) values `;
  rows.forEach((row, index) => {
    row.forEach((_, column) => {
      texts.push(text + (column === 0 ? `${index === 0 ? "" : "), "}(` : ", "));
      text = "";
    });
  });
  texts.push(")");
  return { texts, values: rows.flat() };
}

async function takeForeignKeys(connection: PostgresConnection): Promise<ForeignKey[]> {
  const { rows } = await connection.execute(foreignKeys, bound);
  const keys = rows as unknown as ForeignKey[];
  for (const { table, name } of keys) {
    await connection.run(`alter table ${quoted(table)} drop constraint ${quoted(name)}`, [], bound);
  }
  return keys;
}

async function makeForeignKey(connection: PostgresConnection, key: ForeignKey): Promise<void> {
  const { table, name, definition } = key;
  const text = `alter table ${quoted(table)} add constraint ${quoted(name)} ${definition}`;
  try {
    await connection.run(text, [], bound);
  } catch (error) {
    if (!(error instanceof PicError) || error.code !== "conflict") throw error;
    const parent = /REFERENCES "?(\w+)/.exec(definition)?.[1] ?? "another table";
    throw new PicError(
      "invalid",
      `The backup cannot be restored: a row of ${table} refers to one of ${parent} that is not there.`,
      { cause: error },
    );
  }
}

/** Integrity violations and data exceptions; the rest is about the database. */
function refusedRow(table: string, error: unknown): unknown {
  const isTwice = error instanceof PicError && error.code === "conflict";
  if (!isTwice && !/^2[23]/.test(codeOf(error))) return translate(error);
  return new PicError("invalid", `The backup has a row that the table ${table} does not take.`, {
    cause: error,
  });
}

function refused(label: string, error: unknown): unknown {
  if (codeOf(error) !== "42501") return translate(error);
  return lost(`${label}: this user may not make tables.`, error);
}

const tryServerLock = sql`select pg_try_advisory_xact_lock(${lockSpace}, ${serverLock}) as taken`;
const migrationsLock = sql`select pg_advisory_xact_lock(${lockSpace}, ${migrationLock})`;

const anyTable = sql`select c.relname as name
  from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
  where (n.nspname = current_schema() or n.nspname = ${logsSchema})
    and c.relkind in ('r', 'p', 'v', 'm', 'f')
  order by c.relname limit 1`;

const foreignKeys = sql`select c.relname as table, k.conname as name,
    pg_get_constraintdef(k.oid) as definition
  from pg_constraint as k join pg_class as c on c.oid = k.conrelid
  where k.contype = 'f'
    and c.relnamespace = (select oid from pg_namespace where nspname = current_schema())
  order by c.relname, k.conname`;
