/** What upgrade.test.ts says of SQLite, on PostgreSQL. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { systemClock as clock } from "../../src/base/clock.ts";
import { silentLogger as log } from "../../src/base/log.ts";
import { postgresLogsMigrations, postgresMigrations } from "../../src/storage/migrations.ts";
import { type Migration, migrate } from "../../src/storage/migrator.ts";
import { logsSchema, migrationEngine } from "../../src/storage/postgres-migrate.ts";
import { connectForBackup } from "../../src/storage/postgres-snapshot.ts";
import { postgresMissing, type TestPostgres, testPostgres } from "../postgres.ts";
import { messageOf } from "./conformance/engine.ts";
import { splitStatements, upgradePostgresMigrations } from "./upgrade-migrations.ts";
import { upgradeSeeds } from "./upgrade-seeds.ts";

type Row = Record<string, unknown>;

const newest = postgresMigrations.length;
const missing = postgresMissing();

let server: TestPostgres;
/** Schema → a database as PiClouds up to that schema left it; copied as a template. */
const fixtures: string[] = [];

beforeAll(async () => {
  if (missing !== null) return;
  server = await testPostgres();
  for (let schema = 0; schema <= newest; schema += 1) {
    const name = await server.createDatabase();
    fixtures.push(name);
    for (let number = 1; number <= schema; number += 1) {
      await upgrade(name, postgresMigrations.slice(0, number));
      const connection = await connect(name);
      const seeds = ["begin", ...(upgradeSeeds[number] ?? []), "commit"];
      for (const statement of seeds) await connection.run(statement, [], { msMax: 5_000 });
      await connection.close();
    }
  }
}, 30_000);

afterAll(async () => {
  for (const name of fixtures) await server.dropDatabase(name);
});

function connect(name: string) {
  return connectForBackup({ url: server.url(name), clock, log });
}

async function upgrade(
  name: string,
  migrations: readonly Migration[],
  schema: string | null = null,
): Promise<number> {
  const connection = await connect(name);
  try {
    return await migrate(migrationEngine(connection, "PostgreSQL", schema), migrations, () => 1);
  } finally {
    await connection.close();
  }
}

/** Runs `work` on a copy of a fixture. */
async function withCopy(schema: number, work: (name: string) => Promise<void>): Promise<void> {
  const name = await server.createDatabase();
  try {
    if (schema > 0) {
      await server.dropDatabase(name);
      await server.run(`create database ${name} template ${fixtures[schema]}`);
    }
    await work(name);
  } finally {
    await server.dropDatabase(name);
  }
}

async function contents(name: string): Promise<Map<string, Row[]>> {
  const connection = await connect(name);
  try {
    const run = async (text: string) => (await connection.run(text, [], { msMax: 5_000 })).rows;
    const tables = await run(
      `select tablename as name from pg_tables
       where schemaname = 'public' and tablename <> 'schema_migrations'`,
    );
    const found = new Map<string, Row[]>();
    for (const table of tables) {
      found.set(String(table.name), await run(`select * from "${table.name}"`));
    }
    return found;
  } finally {
    await connection.close();
  }
}

async function expectKept(before: Map<string, Row[]>, name: string): Promise<void> {
  const after = await contents(name);
  for (const [table, rows] of before) {
    const columns = Object.keys(rows[0] ?? {});
    const kept = (after.get(table) ?? []).map((row) =>
      Object.fromEntries(columns.map((column) => [column, row[column]])),
    );
    for (const row of rows) expect(kept).toContainEqual(row);
  }
}

async function killAfter(name: string, statements: number, which = "main"): Promise<string> {
  const victim = join(import.meta.dir, "upgrade-victim.ts");
  await using child = Bun.spawn(
    [process.execPath, victim, server.url(name), String(statements), which],
    {
      stdout: "pipe",
      stderr: "inherit",
      env: { PATH: process.env.PATH ?? "" },
    },
  );
  const { value } = await child.stdout.getReader().read();
  child.kill("SIGKILL");
  await child.exited;
  return new TextDecoder().decode(value);
}

describe.skipIf(missing !== null)(`PostgreSQL${missing === null ? "" : ` (${missing})`}`, () => {
  for (let schema = 1; schema <= newest; schema += 1) {
    test(`a database of schema ${schema} has rows in every table, and keeps them`, async () => {
      const before = await contents(fixtures[schema] ?? "");
      const empty = [...before].filter(([, rows]) => rows.length === 0).map(([name]) => name);
      expect(empty).toEqual([]);
      await withCopy(schema, async (name) => {
        expect(await upgrade(name, postgresMigrations)).toBe(newest);
        await expectKept(before, name);
      });
    });

    test(`a PiCloud of schema ${schema} refuses what a newer one made of it`, async () => {
      await withCopy(schema, async (name) => {
        await upgrade(name, upgradePostgresMigrations);
        expect(await messageOf(upgrade(name, postgresMigrations.slice(0, schema)))).toContain(
          `has schema ${upgradePostgresMigrations.length}, and this PiCloud knows schemas up to ${schema}`,
        );
      });
    });
  }

  for (let schema = 0; schema <= newest; schema += 1) {
    test(`killed after any statement from schema ${schema} on, it completes with all rows`, async () => {
      const before = schema === 0 ? new Map() : await contents(fixtures[schema] ?? "");
      let kills = 0;
      for (let isDone = false; !isDone; ) {
        await withCopy(schema, async (name) => {
          const said = await killAfter(name, kills + 1);
          isDone = said === "done\n";
          if (isDone) return;
          expect(said).toBe("inside\n");
          kills += 1;
          const length = upgradePostgresMigrations.length;
          expect(await upgrade(name, upgradePostgresMigrations)).toBe(length);
          await expectKept(before, name);
        });
      }
      const statements = upgradePostgresMigrations
        .slice(schema)
        .reduce((sum, { text }) => sum + splitStatements(text).length, 0);
      const { length } = upgradePostgresMigrations;
      expect(kills).toBeGreaterThan(statements + 2 * (length - schema));
    }, 120_000);
  }

  test("killed after any statement, the execution records' schema completes", async () => {
    for (let kills = 0, isDone = false; !isDone; kills += 1) {
      await withCopy(0, async (name) => {
        isDone = (await killAfter(name, kills + 1, "logs")) === "done\n";
        const { length } = postgresLogsMigrations;
        expect(await upgrade(name, postgresLogsMigrations, logsSchema)).toBe(length);
      });
      expect(kills).toBeLessThan(1_000);
    }
  }, 60_000);
});
