/**
 * A process of the upgrade's test: migrates a database statement by statement, and stands still after
 * the one it is told, until it is killed. Ends by itself, saying so, when there are not so many.
 *
 *   bun upgrade-victim.ts <folder, or address of a PostgreSQL database> <statements to run> [logs]
 */
import { writeSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { postgresLogsMigrations, sqliteLogsMigrations } from "../../src/storage/migrations.ts";
import {
  type Migration,
  type MigrationEngine,
  type MigrationSession,
  migrate,
} from "../../src/storage/migrator.ts";
import { logsSchema, migrationEngine } from "../../src/storage/postgres-migrate.ts";
import { connectForBackup } from "../../src/storage/postgres-snapshot.ts";
import { SqliteConnection } from "../../src/storage/sqlite-connection.ts";
import { lockedTransaction, prepareFile } from "../../src/storage/sqlite-file.ts";
import {
  splitStatements,
  upgradeMigrations,
  upgradePostgresMigrations,
} from "./upgrade-migrations.ts";

const [, , target = "", statements = "", which = "main"] = process.argv;
const isPostgres = target.startsWith("postgres:");
const engine = isPostgres ? await postgresEngine(target) : sqliteEngine(target);
let left = Number(statements);

await migrate(
  {
    label: "victim",
    locked: async (fn) => {
      const result = await engine.locked((session) => fn(watched(session)));
      await ran();
      return result;
    },
  },
  chosenMigrations(),
  () => 0,
);
writeSync(1, "done\n");
process.exit(0);

function chosenMigrations(): readonly Migration[] {
  if (which === "logs") return isPostgres ? postgresLogsMigrations : sqliteLogsMigrations;
  return isPostgres ? upgradePostgresMigrations : upgradeMigrations;
}

function sqliteEngine(folder: string): MigrationEngine {
  const connection = new SqliteConnection(join(folder, "picloud.db"));
  prepareFile(connection, false);
  return { label: "victim", locked: (fn) => lockedTransaction(connection, fn) };
}

async function postgresEngine(url: string): Promise<MigrationEngine> {
  const connection = await connectForBackup({ url, clock: systemClock, log: silentLogger });
  return migrationEngine(connection, "victim", which === "logs" ? logsSchema : null);
}

function watched(session: MigrationSession): MigrationSession {
  return {
    all: (statement) => session.all(statement),
    exec: async (text) => {
      for (const statement of splitStatements(text)) {
        await session.exec(statement);
        await ran();
      }
    },
    run: async (statement) => {
      const result = await session.run(statement);
      await ran();
      return result;
    },
  };
}

/** One more statement, or one more commit, is done. */
async function ran(): Promise<void> {
  left -= 1;
  if (left > 0) return;
  writeSync(1, "inside\n");
  await new Promise(() => setInterval(() => {}, 1_000));
}
