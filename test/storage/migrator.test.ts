import { afterEach, beforeEach, expect, test } from "bun:test";
import { join } from "node:path";
import { sqliteLogsMigrations, sqliteMigrations } from "../../src/storage/migrations.ts";
import type { Migration } from "../../src/storage/migrator.ts";
import { sql } from "../../src/storage/sql.ts";
import { messageOf } from "./conformance/engine.ts";
import { type Folder, makeFolder, openMain } from "./sqlite-folder.ts";

const one: Migration = { number: 1, name: "one", text: "create table a (n integer) strict;" };
const two: Migration = {
  number: 2,
  name: "two",
  text: "create table b (n integer) strict; insert into a values (1); insert into b values (2);",
};

let folder: Folder;
beforeEach(() => {
  folder = makeFolder();
});
afterEach(() => folder.remove());

const open = (...migrations: Migration[]) => openMain(folder.path, { migrations });

test("migrations are applied in order, once, and recorded", async () => {
  const first = await open(one);
  expect(first.schemaVersion()).toBe(1);
  await first.close();
  for (let round = 0; round < 2; round += 1) {
    const db = await open(one, two);
    expect(db.schemaVersion()).toBe(2);
    expect(await db.all(sql`select n from a`)).toEqual([{ n: 1 }]);
    const applied = await db.all(sql`select number, name from schema_migrations order by number`);
    expect(applied).toEqual([
      { number: 1, name: "one" },
      { number: 2, name: "two" },
    ]);
    await db.close();
  }
});

test("an older PiCloud refuses a newer schema and names both numbers", async () => {
  await (await open(one, two)).close();
  expect(await messageOf(open(one))).toContain(
    "has schema 2, and this PiCloud knows schemas up to 1",
  );
});

test("a migration that was changed after it was applied is refused", async () => {
  await (await open(one, two)).close();
  const changed = { ...one, text: `${one.text} ` };
  expect(await messageOf(open(changed, two))).toContain("its migration 1 (one) differs");
});

test("a migration that fails halfway leaves nothing of itself, and may be corrected", async () => {
  await (await open(one)).close();
  const broken = { ...two, text: `${two.text} insert into missing values (1);` };
  expect(await messageOf(open(one, broken))).toContain("no such table: missing");
  const db = await open(one, two);
  expect(await db.all(sql`select n from a`)).toEqual([{ n: 1 }]);
  await db.close();
});

test("a process that is killed inside a migration leaves nothing of it", async () => {
  await (await open(one)).close();
  await using child = Bun.spawn(
    [process.execPath, join(import.meta.dir, "migration-victim.ts"), folder.path],
    { stdout: "pipe", stderr: "inherit", env: { PATH: process.env.PATH ?? "" } },
  );
  const reader = child.stdout.getReader();
  expect(new TextDecoder().decode((await reader.read()).value)).toBe("inside\n");
  child.kill("SIGKILL");
  await child.exited;
  const db = await open(one, two);
  expect(await db.all(sql`select n from a`)).toEqual([{ n: 1 }]);
  expect(await db.all(sql`select name from sqlite_schema where name = 'half'`)).toEqual([]);
  await db.close();
});

test("the numbers of the embedded migrations are 1, 2, 3, …", async () => {
  for (const migrations of [sqliteMigrations, sqliteLogsMigrations]) {
    expect(migrations.map((migration) => migration.number)).toEqual(
      migrations.map((_, index) => index + 1),
    );
  }
  expect(await messageOf(open(two))).toContain("must be numbered");
});
