/** A database of any age opens with the newest PiCloud, whatever happened on the way. */
import { Database as Connection } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { sqliteLogsMigrations, sqliteMigrations } from "../../src/storage/migrations.ts";
import { messageOf } from "./conformance/engine.ts";
import { type Folder, makeFolder, openMain } from "./sqlite-folder.ts";
import { contents, type Row, writeFixture } from "./upgrade-fixtures.ts";
import {
  splitStatements,
  upgradeMigrations,
  upgradePostgresMigrations,
} from "./upgrade-migrations.ts";

const newest = sqliteMigrations.length;
let folder: Folder;

beforeAll(async () => {
  folder = makeFolder();
  for (let schema = 1; schema <= newest; schema += 1) await writeFixture(fixture(schema), schema);
});

afterAll(() => folder.remove());

function fixture(schema: number): string {
  return join(folder.path, String(schema));
}

/** A copy of a fixture in a folder of its own; nothing of schema 0, the empty folder. */
function copyOf(schema: number, name: string): string {
  const dir = join(folder.path, name);
  if (schema > 0) cpSync(fixture(schema), dir, { recursive: true });
  else mkdirSync(dir);
  return dir;
}

/** Every row of `before` is there, in all of its columns. */
function expectKept(before: Map<string, Row[]>, dir: string): void {
  const after = contents(dir);
  for (const [table, rows] of before) {
    const columns = Object.keys(rows[0] ?? {});
    const kept = (after.get(table) ?? []).map((row) =>
      Object.fromEntries(columns.map((column) => [column, row[column]])),
    );
    for (const row of rows) expect(kept).toContainEqual(row);
  }
}

describe("a database of every schema", () => {
  for (let schema = 1; schema <= newest; schema += 1) {
    test(`${schema}: every table has rows in the fixture`, () => {
      const empty = [...contents(fixture(schema))].filter(([, rows]) => rows.length === 0);
      expect(empty.map(([name]) => name)).toEqual([]);
    });

    test(`${schema}: opens with all its rows`, async () => {
      const before = contents(fixture(schema));
      const dir = copyOf(schema, `opens-${schema}`);
      const db = await openMain(dir);
      expect(db.schemaVersion()).toBe(newest);
      await db.close();
      expectKept(before, dir);
    });

    test(`${schema}: an older PiCloud refuses what a newer one made of it`, async () => {
      const dir = copyOf(schema, `older-${schema}`);
      await (await openMain(dir, { migrations: upgradeMigrations })).close();
      const older = openMain(dir, { migrations: sqliteMigrations.slice(0, schema) });
      expect(await messageOf(older)).toContain(
        `has schema ${upgradeMigrations.length}, and this PiCloud knows schemas up to ${schema}`,
      );
    });
  }
});

describe("a migration that is killed after any of its statements", () => {
  for (let schema = 0; schema <= newest; schema += 1) {
    test(`opens and completes, from schema ${schema}, with all rows`, async () => {
      const before = schema === 0 ? new Map() : contents(fixture(schema));
      let kills = 0;
      for (;;) {
        const dir = copyOf(schema, `killed-${schema}-${kills}`);
        const said = await killAfter(dir, kills + 1);
        if (said === "done\n") break;
        expect(said).toBe("inside\n");
        kills += 1;
        const db = await openMain(dir, { migrations: upgradeMigrations });
        expect(db.schemaVersion()).toBe(upgradeMigrations.length);
        await db.close();
        expectKept(before, dir);
        expectWhole(join(dir, "picloud.db"));
      }
      const statements = upgradeMigrations
        .slice(schema)
        .reduce((sum, { text }) => sum + splitStatements(text).length, 0);
      // Besides its own, each has those of its record and its commit.
      expect(kills).toBeGreaterThan(statements + 2 * (upgradeMigrations.length - schema));
    }, 60_000);
  }

  test("opens and completes, of the execution records", async () => {
    const migrations = sqliteLogsMigrations;
    for (let kills = 0; ; kills += 1) {
      const dir = copyOf(0, `logs-${kills}`);
      const said = await killAfter(dir, kills + 1, "logs");
      const db = await openMain(dir, { migrations });
      expect(db.schemaVersion()).toBe(migrations.length);
      await db.close();
      expectWhole(join(dir, "picloud.db"));
      if (said === "done\n") break;
      expect(said).toBe("inside\n");
    }
  }, 30_000);

  for (const [engine, migrations] of Object.entries({
    upgradeMigrations,
    upgradePostgresMigrations,
  })) {
    test(`is split into single statements, and into all of them: ${engine}`, () => {
      for (const { text } of migrations) {
        const statements = splitStatements(text);
        expect(statements.join("\n").trim()).toBe(text.trim());
        for (const statement of statements) {
          const code = statement.replace(/--.*$/gm, "").trim();
          const isOne =
            /^create trigger\b[\s\S]*\bend;$/.test(code) ||
            /^create function\b[^$]*\$\$[^$]*\$\$;$/.test(code) ||
            /^[^;]*;$/.test(code);
          expect({ code, isOne }).toEqual({ code, isOne: true });
        }
      }
    });
  }
});

async function killAfter(dir: string, statements: number, which = "main"): Promise<string> {
  const victim = join(import.meta.dir, "upgrade-victim.ts");
  await using child = Bun.spawn([process.execPath, victim, dir, String(statements), which], {
    stdout: "pipe",
    stderr: "inherit",
    env: { PATH: process.env.PATH ?? "" },
  });
  const { value } = await child.stdout.getReader().read();
  child.kill("SIGKILL");
  await child.exited;
  return new TextDecoder().decode(value);
}

function expectWhole(path: string): void {
  using connection = new Connection(path);
  expect(connection.query("pragma integrity_check").all()).toEqual([{ integrity_check: "ok" }]);
  expect(connection.query("pragma foreign_key_check").all()).toEqual([]);
}
