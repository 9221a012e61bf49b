import { Database as Connection } from "bun:sqlite";
import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { insertApp } from "../../src/storage/apps.ts";
import { sqliteMigrations } from "../../src/storage/migrations.ts";
import type { Snapshot } from "../../src/storage/port.ts";
import { getSetting, setSetting } from "../../src/storage/settings.ts";
import type { SqlValue } from "../../src/storage/sql.ts";
import { beginSqliteRestoration } from "../../src/storage/sqlite-restoration.ts";
import {
  openSqliteSnapshot,
  type SqliteSnapshotOptions,
} from "../../src/storage/sqlite-snapshot.ts";
import { tablesLeftOut } from "../../src/storage/tables.ts";
import { app, codeOf, messageOf } from "./conformance/engine.ts";
import { type Folder, makeFolder, openMain } from "./sqlite-folder.ts";
import { upgradeMigrations } from "./upgrade-migrations.ts";

const schemaMax = sqliteMigrations.length;
const isRoot = process.geteuid?.() === 0;

let folder: Folder;
let dir: string;
let path: string;
let snapshot: Snapshot | null;
beforeEach(() => {
  folder = makeFolder();
  dir = folder.path;
  path = join(dir, "picloud.db");
  snapshot = null;
});
afterEach(async () => {
  await snapshot?.close();
  folder.remove();
});

function open(bounds: SqliteSnapshotOptions["bounds"] = {}): Snapshot {
  snapshot = openSqliteSnapshot({ dir, schemaMax, bounds });
  return snapshot;
}

function settingsOf(view: Snapshot): AsyncIterable<readonly SqlValue[]> {
  return rowsIn(view, "settings");
}

function rowsIn(view: Snapshot, name: string): AsyncIterable<readonly SqlValue[]> {
  const table = view.tables.find((one) => one.name === name);
  if (table === undefined) throw new Error(`there is no table ${name}`);
  return view.rows(table);
}

async function rowsOf(view: Snapshot, name: string): Promise<(readonly SqlValue[])[]> {
  return await Array.fromAsync(rowsIn(view, name));
}

async function fill(db: Awaited<ReturnType<typeof openMain>>, from: number, to: number) {
  await db.tx(async (tx) => {
    for (let index = from; index < to; index += 1) {
      await setSetting(tx, `s${String(index).padStart(6, "0")}`, "x".repeat(1_000));
    }
  });
}

test("every table of the schema is in a backup, or among those that are left out", async () => {
  await (await openMain(dir)).close();
  using connection = new Connection(path);
  const schema = connection
    .query<{ name: string }, []>("select name from sqlite_schema where type = 'table'")
    .all()
    .map(({ name }) => name)
    .filter((name) => !name.startsWith("sqlite_"));
  const taken = open().tables.map(({ name }) => name);
  expect([...taken, ...Object.keys(tablesLeftOut)].sort()).toEqual(schema.sort());
  // Whoever adds a table decides here that it travels, by hand.
  expect(taken).toEqual([
    "accounts",
    // Of a key there is only the hash of 220 random bits: nobody gets in with it.
    "api_keys",
    "app_hosts",
    "app_members",
    "apps",
    "async_executions",
    "audit",
    "dead_letters",
    "doc_index_entries",
    "doc_indexes",
    "docs",
    "event_attempts",
    "kv",
    "outbox",
    "routes",
    "script_imports",
    "script_versions",
    "scripts",
    "settings",
    "triggers",
    "tx_results",
  ]);
});

test("one moment is read, whatever is written, checkpointed and deleted meanwhile", async () => {
  const db = await openMain(dir, { bounds: { walPagesMax: 50 } });
  try {
    await fill(db, 0, 500);
    const view = open();
    const names: unknown[] = [];
    let round = 0;
    for await (const [name] of settingsOf(view)) {
      names.push(name);
      if (names.length % 50 > 0) continue;
      round += 1;
      await fill(db, round * 1_000, round * 1_000 + 200);
      await db.tx(async (tx) => {
        await setSetting(tx, "s000499", "changed");
        await insertApp(tx, { ...app, id: `app-${round}`, slug: `app-${round}` });
      });
    }
    expect(names.length).toBe(500);
    expect(names.at(-1)).toBe("s000499");
    // Another table, read when the first one's statement has ended.
    expect(await rowsOf(view, "apps")).toEqual([]);
    await view.close();
    // The log ends again, once nobody looks at the past.
    await fill(db, 90_000, 90_500);
    const deadline = performance.now() + 10_000;
    while (statSync(`${path}-wal`).size > 8 * 1024 * 1024 && performance.now() < deadline) {
      await fill(db, 91_000, 91_500);
    }
    expect(statSync(`${path}-wal`).size).toBeLessThanOrEqual(8 * 1024 * 1024);
  } finally {
    await db.close();
  }
});

test("the server may stop and start in the middle, and loses nothing", async () => {
  const first = await openMain(dir);
  await fill(first, 0, 300);
  const view = open();
  const rows = settingsOf(view)[Symbol.asyncIterator]();
  await rows.next();
  await fill(first, 300, 400);
  await first.close();
  const second = await openMain(dir);
  await fill(second, 400, 500);
  let count = 1;
  while ((await rows.next()).done !== true) count += 1;
  expect(count).toBe(300);
  await second.close();
  await view.close();
  const third = await openMain(dir);
  expect(await getSetting(third, "s000499")).not.toBeNull();
  expect(await third.scan({ texts: ["pragma integrity_check"], values: [] })).toEqual([
    { integrity_check: "ok" },
  ]);
  await third.close();
});

test("the database's file is not written, nor its folder locked", async () => {
  await (await openMain(dir)).close();
  const before = readFileSync(path);
  const { mtimeMs } = statSync(path);
  const view = open();
  for await (const _ of settingsOf(view));
  await view.close();
  expect(readFileSync(path).equals(before)).toBe(true);
  expect(statSync(path).mtimeMs).toBe(mtimeMs);
  expect(existsSync(join(dir, "lock.db"))).toBe(false);
});

test("what a killed server left in its log is read", async () => {
  const db = await openMain(dir);
  await fill(db, 0, 10);
  // A copy of the files as they are on the disk now: nothing was checkpointed.
  const copy = join(dir, "copy");
  mkdirSync(copy);
  for (const suffix of ["", "-wal"]) {
    writeFileSync(join(copy, `picloud.db${suffix}`), readFileSync(path + suffix));
  }
  await db.close();
  const view = openSqliteSnapshot({ dir: copy, schemaMax });
  let count = 0;
  for await (const _ of settingsOf(view)) count += 1;
  await view.close();
  expect(count).toBe(10);
});

test("a backup gives up before the log, or the disk, is the server's trouble", async () => {
  const db = await openMain(dir);
  try {
    await fill(db, 0, 10);
    const busy = open({ walBytesMax: 1_000 });
    expect(await messageOf(drain(settingsOf(busy)))).toContain("So much was written");
    await busy.close();
    const full = open({ freeBytesMin: Number.MAX_SAFE_INTEGER });
    expect(await messageOf(drain(settingsOf(full)))).toContain("almost full");
  } finally {
    await db.close();
  }
});

async function drain(rows: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of rows);
}

test("what is no database of this or an older PiCloud is refused, and left as it was", async () => {
  const opening = async () => openSqliteSnapshot({ dir, schemaMax });
  expect(await codeOf(opening())).toBe("not_found");
  expect(existsSync(path)).toBe(false);

  const text = "I am a letter to my grandmother. ".repeat(200);
  writeFileSync(path, text);
  expect(await messageOf(opening())).toContain("not a database");
  expect(readFileSync(path, "utf8")).toBe(text);

  writeFileSync(path, "");
  expect(await messageOf(opening())).toContain("no database of PiCloud");

  const foreign = new Connection(path, { create: true });
  foreign.run("create table notes (text)");
  foreign.close();
  expect(await messageOf(opening())).toContain("no database of PiCloud");
});

test("a newer schema is refused with both numbers", async () => {
  await (await openMain(dir, { migrations: upgradeMigrations })).close();
  const message = await messageOf((async () => openSqliteSnapshot({ dir, schemaMax }))());
  expect(message).toContain(
    `has schema ${upgradeMigrations.length}, and this PiCloud knows schemas up to ${schemaMax}`,
  );
});

test.skipIf(!isRoot)(
  "what root makes, beside a database or of one, belongs to whom the folder belongs to",
  async () => {
    await (await openMain(dir)).close();
    const owner = 12_345;
    chownSync(dir, owner, owner);
    chownSync(path, owner, owner);
    chmodSync(path, 0o600);
    const view = open();
    for await (const _ of settingsOf(view));
    for (const name of ["picloud.db", "picloud.db-wal", "picloud.db-shm"]) {
      const { uid, gid, mode } = statSync(join(dir, name));
      expect({ name, uid, gid, mode: mode & 0o777 }).toEqual({
        name,
        uid: owner,
        gid: owner,
        mode: 0o600,
      });
    }
    const to = join(dir, "restored");
    mkdirSync(to);
    chownSync(to, owner, owner);
    const migrations = sqliteMigrations;
    const begun = await beginSqliteRestoration({ dir: to, migrations, schema: 1, now: () => 1 });
    await begun.commit(new Map(begun.tables.map(({ name }) => [name, 0])));
    for (const name of ["picloud.db", "lock.db"]) {
      expect(statSync(join(to, name)).uid).toBe(owner);
    }
  },
);
