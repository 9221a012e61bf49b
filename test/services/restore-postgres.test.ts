/** What restore.test.ts says of SQLite, on PostgreSQL, and from each engine to the other. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { systemClock as clock } from "../../src/base/clock.ts";
import { silentLogger as log } from "../../src/base/log.ts";
import { restoreBackup } from "../../src/services/restore.ts";
import { insertApp } from "../../src/storage/apps.ts";
import { postgresMigrations, sqliteMigrations } from "../../src/storage/migrations.ts";
import { migrate } from "../../src/storage/migrator.ts";
import type { Restoration } from "../../src/storage/port.ts";
import { openPostgres } from "../../src/storage/postgres.ts";
import { migrationEngine } from "../../src/storage/postgres-migrate.ts";
import { beginPostgresRestoration } from "../../src/storage/postgres-restoration.ts";
import { connectForBackup, openPostgresSnapshot } from "../../src/storage/postgres-snapshot.ts";
import { setSetting } from "../../src/storage/settings.ts";
import { beginSqliteRestoration } from "../../src/storage/sqlite-restoration.ts";
import { openSqliteSnapshot } from "../../src/storage/sqlite-snapshot.ts";
import { tablesLeftOut } from "../../src/storage/tables.ts";
import { postgresMissing, type TestPostgres, testPostgres } from "../postgres.ts";
import { app, messageOf } from "../storage/conformance/engine.ts";
import { type Folder, makeFolder } from "../storage/sqlite-folder.ts";
import { writeFixture } from "../storage/upgrade-fixtures.ts";
import { upgradeSeeds } from "../storage/upgrade-seeds.ts";
import { backup, never, nothing, refusal, rowsOf, source } from "./backup-memory.ts";

const newest = postgresMigrations.length;
const missing = postgresMissing();

let server: TestPostgres;
let folder: Folder;
const databases: string[] = [];

beforeEach(async () => {
  folder = makeFolder();
  if (missing === null) server = await testPostgres();
});

afterEach(async () => {
  folder.remove();
  for (const name of databases.splice(0)) await server.dropDatabase(name);
});

async function newDatabase(): Promise<string> {
  const name = await server.createDatabase();
  databases.push(name);
  return name;
}

/** A database that was used with each schema in turn up to this one. */
async function fixture(schema = newest): Promise<string> {
  const name = await newDatabase();
  const connection = await connectForBackup({ url: server.url(name), clock, log });
  for (let number = 1; number <= schema; number += 1) {
    const engine = migrationEngine(connection, "fixture", null);
    await migrate(engine, postgresMigrations.slice(0, number), () => 1);
    const seeds = ["begin", ...(upgradeSeeds[number] ?? []), "commit"];
    for (const statement of seeds) await connection.run(statement, [], { msMax: 5_000 });
  }
  await connection.close();
  return name;
}

async function backupOf(name: string): Promise<Buffer> {
  return backup(
    await openPostgresSnapshot({ url: server.url(name), schemaMax: newest, clock, log }),
  );
}

function backupOfFolder(dir: string): Promise<Buffer> {
  return backup(openSqliteSnapshot({ dir, schemaMax: newest }));
}

function restore(bytes: Buffer, begin: (schema: number) => Promise<Restoration>) {
  const options = { schemaMax: newest, begin, signal: never, onProgress: nothing };
  return restoreBackup({ source: source(bytes), ...options });
}

function into(name: string): (schema: number) => Promise<Restoration> {
  const url = server.url(name);
  return (schema) =>
    beginPostgresRestoration({ url, migrations: postgresMigrations, schema, clock, log });
}

function intoFolder(dir: string): (schema: number) => Promise<Restoration> {
  const migrations = sqliteMigrations;
  return (schema) => beginSqliteRestoration({ dir, migrations, schema, now: () => 1 });
}

async function tablesIn(name: string): Promise<unknown[]> {
  const rows = await server.run(
    "select relname from pg_class where relnamespace = 'public'::regnamespace",
    name,
  );
  return rows.map((row) => row.relname);
}

/** Rules and indexes, as PostgreSQL would write them down. */
function schemaOf(name: string): Promise<Record<string, unknown>[]> {
  return server.run(
    `select conrelid::regclass::text as on, conname as name, pg_get_constraintdef(oid) as definition,
       condeferrable, condeferred, convalidated
     from pg_constraint where connamespace = 'public'::regnamespace
     union all
     select indrelid::regclass::text, indexrelid::regclass::text, pg_get_indexdef(indexrelid),
       false, false, indisvalid
     from pg_index as i join pg_class as c on c.oid = i.indrelid
     where c.relnamespace = 'public'::regnamespace
     order by 1, 2, 3`,
    name,
  );
}

describe.skipIf(missing !== null)(`PostgreSQL${missing === null ? "" : ` (${missing})`}`, () => {
  test("every table of the schema is in a backup, or among those that are left out", async () => {
    const name = await fixture();
    const options = { url: server.url(name), schemaMax: newest, clock, log };
    const snapshot = await openPostgresSnapshot(options);
    await snapshot.close();
    const taken = snapshot.tables.map((table) => table.name);
    const tables = await server.run(
      "select tablename from pg_tables where schemaname = 'public'",
      name,
    );
    const all = tables.map(({ tablename }) => String(tablename)).sort();
    expect([...taken, ...Object.keys(tablesLeftOut)].sort()).toEqual(all);
    const dir = join(folder.path, "sqlite");
    await writeFixture(dir);
    const twin = openSqliteSnapshot({ dir, schemaMax: newest });
    await twin.close();
    expect(taken).toEqual(twin.tables.map((table) => table.name));
  });

  test("a restored database has the same rows and the same rules, and a server runs on it", async () => {
    const name = await fixture();
    const bytes = await backupOf(name);
    const to = await newDatabase();
    const { rows } = await restore(bytes, into(to));
    expect(rows).toBeGreaterThan(10);
    expect(await rowsOf(await backupOf(to))).toEqual(await rowsOf(bytes));
    expect(await schemaOf(to)).toEqual(await schemaOf(name));
    const opened = await openPostgres({ url: server.url(to), clock, log });
    expect(opened.db.schemaVersion()).toBe(newest);
    await opened.close();
  });

  for (let schema = 1; schema < newest; schema += 1) {
    test(`a backup of schema ${schema} is brought to this one as an upgrade would`, async () => {
      const name = await fixture(schema);
      const bytes = await backupOf(name);
      await (await openPostgres({ url: server.url(name), clock, log })).close();
      const to = await newDatabase();
      await restore(bytes, into(to));
      expect(await rowsOf(await backupOf(to))).toEqual(await rowsOf(await backupOf(name)));
      expect(await schemaOf(to)).toEqual(await schemaOf(name));
    });
  }

  test("from SQLite to PostgreSQL and back: every row is the same", async () => {
    for (let schema = 1; schema <= newest; schema += 1) {
      const first = join(folder.path, `first-${schema}`);
      const second = join(folder.path, `second-${schema}`);
      await writeFixture(first, schema);
      const bytes = await backupOfFolder(first);
      const between = await newDatabase();
      await restore(bytes, into(between));
      await restore(await backupOf(between), intoFolder(second));
      const expected = join(folder.path, `expected-${schema}`);
      await restore(bytes, intoFolder(expected));
      const rows = await rowsOf(await backupOfFolder(second));
      expect(rows).toEqual(await rowsOf(await backupOfFolder(expected)));
    }
  }, 20_000);

  test("one moment is read, whatever is written meanwhile", async () => {
    const name = await newDatabase();
    const url = server.url(name);
    const opened = await openPostgres({ url, clock, log });
    try {
      await opened.db.tx(async (tx) => {
        for (let index = 0; index < 200; index += 1) await setSetting(tx, `s${index}`, "old");
      });
      const snapshot = await openPostgresSnapshot({ url, schemaMax: newest, clock, log });
      await opened.db.tx(async (tx) => {
        for (let index = 0; index < 300; index += 1) await setSetting(tx, `s${index}`, "new");
        await insertApp(tx, app);
      });
      const table = (wanted: string) =>
        snapshot.tables.find((one) => one.name === wanted) ?? { name: "", columns: [] };
      const settings = await Array.fromAsync(snapshot.rows(table("settings")));
      expect(settings.length).toBe(200);
      expect(new Set(settings.map((row) => row[1]))).toEqual(new Set(["old"]));
      expect(await Array.fromAsync(snapshot.rows(table("apps")))).toEqual([]);
      await snapshot.close();
    } finally {
      await opened.close();
    }
  });

  test("a restore is refused where there are tables, or a server, or nobody", async () => {
    const name = await fixture();
    const bytes = await backupOf(name);
    const before = await rowsOf(bytes);
    expect(await refusal(restore(bytes, into(name)))).toContain(
      `${name} on ${server.host}:${server.port} is not empty (it holds "accounts")`,
    );
    expect(await rowsOf(await backupOf(name))).toEqual(before);

    const served = await newDatabase();
    const opened = await openPostgres({ url: server.url(served), clock, log });
    expect(await refusal(restore(bytes, into(served)))).toContain("Another PiCloud uses this");
    await opened.close();

    const nobody = await refusal(restore(bytes, into("no_such_database")));
    expect(nobody).toContain("there is no database of this name");
    expect(nobody).not.toContain(server.password);
  });

  test("no server starts while a restore is under way, and one does after it", async () => {
    const to = await newDatabase();
    const url = server.url(to);
    const begun = await into(to)(newest);
    const bounds = { lockWaitMsMax: 100 };
    expect(await messageOf(openPostgres({ url, clock, log, bounds }))).toContain(
      "Another PiCloud uses this database",
    );
    await begun.commit(new Map(begun.tables.map((table) => [table.name, 0])));
    await (await openPostgres({ url, clock, log })).close();
  });

  test("what the schema refuses is refused, and leaves nothing", async () => {
    const appRow = ["app-1", "default", "Default", 1];
    const cases: [string, (string | number)[][], string][] = [
      ["apps", [["app-1", "Not A Slug", "Default", 1]], "the table apps does not take"],
      ["apps", [["app-1", "default", "Default", "soon"]], "the table apps does not take"],
      ["apps", [appRow, appRow], "the table apps does not take"],
      ["kv", [["app-9", "c", "k", 1, 1, "1"]], "a row of kv refers to one of apps"],
    ];
    const to = await newDatabase();
    for (const [wanted, rows, message] of cases) {
      const begun = await into(to)(1);
      const table = begun.tables.find(({ name }) => name === wanted) ?? { name: "", columns: [] };
      const counts = new Map(begun.tables.map(({ name }) => [name, 0]));
      const fill = async (): Promise<void> => {
        await begun.insert(table, rows);
        await begun.commit(counts.set(wanted, rows.length));
      };
      expect(await refusal(fill())).toContain(message);
      await begun.discard();
      expect(await tablesIn(to)).toEqual([]);
    }
  });

  test("a restore whose connection is cut leaves nothing", async () => {
    const to = await newDatabase();
    const begun = await into(to)(newest);
    await server.run(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = '${to}' and pid <> pg_backend_pid()`,
    );
    const commit = begun.commit(new Map(begun.tables.map(({ name }) => [name, 0])));
    expect(await refusal(commit)).toMatch(/lost|stop/);
    expect(await tablesIn(to)).toEqual([]);
  });

  test("a newer schema, or none, is not backed up", async () => {
    const name = await fixture();
    const open = (schemaMax: number, database = name) =>
      messageOf(openPostgresSnapshot({ url: server.url(database), schemaMax, clock, log }));
    expect(await open(newest - 1)).toContain(
      `has schema ${newest}, and this PiCloud knows schemas up to ${newest - 1}`,
    );
    expect(await open(newest, await newDatabase())).toContain("holds no PiCloud");
  });
});
