/** Migrations on PostgreSQL, each in a transaction under an advisory lock, on a connection of their own. */
import { postgresMigrationMsMax, postgresStatementMsMax } from "../domain/limits.ts";
import type { MigrationEngine, MigrationSession } from "./migrator.ts";
import type { PostgresConnection } from "./postgres-connection.ts";
import { lost } from "./postgres-errors.ts";
import { lockSpace, migrationLock, type SchemaAge } from "./postgres-lock.ts";
import type { Statement } from "./sql.ts";
import { sql } from "./sql.ts";

/** Where the tables of execution records are. */
export const logsSchema = "picloud_logs";
const bound = { msMax: postgresMigrationMsMax };

/** What a connection for migrations needs: they may take long. */
export const migrationSettings: Readonly<Record<string, string>> = {
  statement_timeout: "0",
  lock_timeout: "0",
  idle_in_transaction_session_timeout: "0",
};

/** @param schema where the tables are; null for the default of the connection */
export function migrationEngine(
  connection: PostgresConnection,
  label: string,
  schema: string | null,
): MigrationEngine {
  const run = (text: string) => connection.run(text, [], bound);
  const execute = (statement: Statement<unknown>) => connection.execute(statement, bound);
  const session = migrationSession(connection);
  return {
    label,
    /** Differs because others may use the database meanwhile: the lock is a number, not the database. */
    async locked<T>(fn: (session: MigrationSession) => Promise<T>): Promise<T> {
      await run("begin");
      try {
        await execute(sql`select pg_advisory_xact_lock(${lockSpace}, ${migrationLock})`);
        if (schema !== null) await enterSchema(schema, session);
        const result = await fn(session);
        await run("commit");
        return result;
      } catch (error) {
        await run("rollback").catch(() => connection.destroy(lost("A migration failed.")));
        throw error;
      }
    },
  };
}

/** @param known the numbers of the last migrations that this executable knows */
export async function schemaAge(
  connection: PostgresConnection,
  known: { main: number; logs: number },
): Promise<SchemaAge> {
  const ask = async (statement: Statement<unknown>) =>
    (await connection.execute(statement, { msMax: postgresStatementMsMax })).rows[0];
  const tables = await ask(migrationTables);
  const main = tables?.main === true ? Number((await ask(newestOfMain))?.number ?? 0) : 0;
  const logs = tables?.logs === true ? Number((await ask(newestOfLogs))?.number ?? 0) : 0;
  if (main > known.main || logs > known.logs) return "newer";
  return main === known.main && logs === known.logs ? "same" : "older";
}

/** What a migration asks of a connection, whoever opened the transaction. */
export function migrationSession(connection: PostgresConnection): MigrationSession {
  const execute = (statement: Statement<unknown>) => connection.execute(statement, bound);
  return {
    exec: async (text) => void (await connection.run(text, [], bound)),
    all: async <Row>(statement: Statement<Row>) => (await execute(statement)).rows as Row[],
    run: execute,
  };
}

async function enterSchema(schema: string, session: MigrationSession): Promise<void> {
  const known = await session.all(sql`select 1 from pg_namespace where nspname = ${schema}`);
  // Only when it is missing: PostgreSQL asks for the right to make schemas even where there is one.
  if (known.length === 0) await session.exec(`create schema ${schema}`);
  await session.exec(`set local search_path to ${schema}`);
}

const migrationTables = sql`select
    count(*) filter (where n.nspname = current_schema()) > 0 as main,
    count(*) filter (where n.nspname = ${logsSchema}) > 0 as logs
  from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
  where c.relname = 'schema_migrations'`;
const newestOfMain = sql`select max(number) as number from schema_migrations`;
const newestOfLogs = sql`select max(number) as number from picloud_logs.schema_migrations`;
