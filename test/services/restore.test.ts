/** Backup and restore in one process, on SQLite; test/e2e/backup.test.ts runs them as processes. */
import { Database as Connection } from "bun:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { cpSync, existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PicError } from "../../src/domain/errors.ts";
import { BackupEncoder, type BackupHeader } from "../../src/services/backup-format.ts";
import { checkBackup, restoreBackup } from "../../src/services/restore.ts";
import { sqliteMigrations } from "../../src/storage/migrations.ts";
import type { SqlValue } from "../../src/storage/sql.ts";
import { lockDataDir } from "../../src/storage/sqlite-lock.ts";
import { beginSqliteRestoration } from "../../src/storage/sqlite-restoration.ts";
import { openSqliteSnapshot } from "../../src/storage/sqlite-snapshot.ts";
import { codeOf } from "../storage/conformance/engine.ts";
import { type Folder, makeFolder, openMain } from "../storage/sqlite-folder.ts";
import { contents, writeFixture } from "../storage/upgrade-fixtures.ts";
import { upgradeMigrations } from "../storage/upgrade-migrations.ts";
import { backup, MemorySink, never, nothing, refusal, rowsOf, source } from "./backup-memory.ts";

const newest = sqliteMigrations.length;

let folder: Folder;
let from: string;
let to: string;

beforeEach(async () => {
  folder = makeFolder();
  from = join(folder.path, "from");
  to = join(folder.path, "to");
  await writeFixture(from);
});

afterEach(() => folder.remove());

function backupOf(dir: string): Promise<Buffer> {
  return backup(openSqliteSnapshot({ dir, schemaMax: newest }));
}

function restore(bytes: Buffer, { dir = to, migrations = sqliteMigrations, signal = never } = {}) {
  return restoreBackup({
    source: source(bytes),
    schemaMax: migrations.length,
    begin: (schema) => beginSqliteRestoration({ dir, migrations, schema, now: () => 1 }),
    signal,
    onProgress: nothing,
  });
}

/** A folder that was refused holds nothing but the lock, which holds nothing. */
function expectNothing(dir = to): void {
  const names = existsSync(dir) ? readdirSync(dir) : [];
  expect(names.filter((name) => name !== "lock.db")).toEqual([]);
}

describe("a restored database", () => {
  test("has every row of every table, but nobody's session", async () => {
    const { header, rows, tables } = await restore(await backupOf(from));
    const expected = contents(from);
    expect(expected.get("sessions")?.length).toBeGreaterThan(0);
    expected.set("sessions", []);
    expect(contents(to)).toEqual(expected);
    expect(tables).toBe(expected.size - 1);
    expect(rows).toBe([...expected.values()].reduce((sum, list) => sum + list.length, 0));
    expect(header).toMatchObject({ product: "1.2.3", schema: newest, engine: "sqlite" });
    expectWhole();
  });

  for (let schema = 1; schema < newest; schema += 1) {
    test(`of schema ${schema} is brought to this one as an upgrade would`, async () => {
      const old = join(folder.path, "old");
      await writeFixture(old, schema);
      const bytes = await backupOf(old);
      await (await openMain(old)).close();
      await restore(bytes);
      const expected = contents(old);
      expected.set("sessions", []);
      expect(contents(to)).toEqual(expected);
      expectWhole();
    });
  }

  test("can be backed up again: the same rows come out", async () => {
    const bytes = await backupOf(from);
    await restore(bytes);
    expect(await rowsOf(await backupOf(to))).toEqual(await rowsOf(bytes));
  });

  test("is made in a folder that was killed in the middle of a restore", async () => {
    const bytes = await backupOf(from);
    lockDataDir(to).release();
    for (const name of ["picloud.db.restoring", "picloud.db.restoring-wal"]) {
      writeFileSync(join(to, name), "half of something");
    }
    await restore(bytes);
    expect(readdirSync(to).sort()).toEqual(["lock.db", "picloud.db"]);
    expectWhole();
  });

  function expectWhole(): void {
    using connection = new Connection(join(to, "picloud.db"));
    expect(connection.query("pragma integrity_check").all()).toEqual([{ integrity_check: "ok" }]);
    expect(connection.query("pragma foreign_key_check").all()).toEqual([]);
    expect(connection.query("pragma journal_mode").all()).toEqual([{ journal_mode: "wal" }]);
    expect(connection.query("select max(number) as n from schema_migrations").get()).toEqual({
      n: newest,
    });
  }
});

describe("a restore is refused, and leaves nothing,", () => {
  test("into a folder that holds anything, which stays as it was", async () => {
    const bytes = await backupOf(from);
    cpSync(from, to, { recursive: true });
    const before = contents(to);
    expect(await refusal(restore(bytes))).toContain(`${to} is not empty (it holds "picloud.db`);
    expect(contents(to)).toEqual(before);
    const other = join(folder.path, "other");
    lockDataDir(other).release();
    writeFileSync(join(other, "letter.txt"), "dear grandmother");
    expect(await refusal(restore(bytes, { dir: other }))).toContain('it holds "letter.txt"');
    expect(readdirSync(other).sort()).toEqual(["letter.txt", "lock.db"]);
  });

  test("when the backup is of a newer schema, with both numbers", async () => {
    await (await openMain(from, { migrations: upgradeMigrations })).close();
    const { length } = upgradeMigrations;
    const bytes = await backup(openSqliteSnapshot({ dir: from, schemaMax: length }));
    expect(await refusal(restore(bytes))).toBe(
      `The backup has schema ${length}, and this PiCloud knows schemas up to ${newest}: use the newer PiCloud that wrote it.`,
    );
    const check = checkBackup({ source: source(bytes), schemaMax: newest, onProgress: nothing });
    expect(await refusal(check)).toContain(`has schema ${length}`);
    expect(existsSync(to)).toBe(false);
  });

  test("when a byte was flipped anywhere, or the end is missing", async () => {
    const bytes = await backupOf(from);
    for (let round = 0; round < 200; round += 1) {
      const at = (round * 7_919) % bytes.length;
      const bad = Buffer.from(bytes);
      bad.writeUInt8(bad.readUInt8(at) ^ (1 << (round % 8)), at);
      const check = checkBackup({ source: source(bad), schemaMax: newest, onProgress: nothing });
      expect(await refusal(check)).not.toBe("restored");
      if (round % 10 > 0) continue;
      expect(await refusal(restore(bad))).not.toBe("restored");
      expect(await refusal(restore(bytes.subarray(0, at)))).not.toBe("restored");
      expectNothing();
    }
  }, 30_000);

  test("when it is interrupted", async () => {
    const stopped = new AbortController();
    stopped.abort();
    const bytes = await backupOf(from);
    expect(await refusal(restore(bytes, { signal: stopped.signal }))).toContain("interrupted");
    expectNothing();
  });
});

describe("a backup that another program made", () => {
  const header: BackupHeader = {
    product: "0",
    schema: 1,
    engine: "sqlite",
    created_at: "",
    public_base_url: null,
  };

  /** The tables of schema 1, with these rows and changes. */
  function made(
    change: (tables: Map<string, { columns: string[]; rows: SqlValue[][] }>) => void,
  ): Buffer {
    using connection = new Connection(":memory:");
    connection.run(sqliteMigrations[0]?.text ?? "");
    const tables = new Map(
      "accounts apps kv routes script_versions scripts settings".split(" ").map((name) => {
        const columns = connection
          .query<{ name: string }, []>(`pragma table_info(${name})`)
          .all()
          .map((column) => column.name);
        return [name, { columns, rows: [] as SqlValue[][] }];
      }),
    );
    change(tables);
    const encoder = new BackupEncoder();
    const pieces: (Buffer | null)[] = [encoder.begin(header)];
    for (const [name, { columns, rows }] of tables) {
      pieces.push(encoder.table({ name, columns }));
      for (const row of rows) pieces.push(encoder.row(row));
      pieces.push(encoder.flush());
    }
    pieces.push(encoder.end(new Map([...tables].map(([name, { rows }]) => [name, rows.length]))));
    return Buffer.concat(pieces.filter((piece) => piece !== null));
  }

  test("is restored when it is right", async () => {
    await restore(made((tables) => tables.get("settings")?.rows.push(["a", "1"])));
    expect(contents(to).get("settings")).toEqual([{ name: "a", value: "1" }]);
  });

  const app = ["app-1", "default", "Default", 1];
  const wrong: Record<string, [Parameters<typeof made>[0], string]> = {
    "a table that its schema has not": [
      (tables) => tables.set('x"; drop table apps; --', { columns: ["a"], rows: [] }),
      "is not as its schema has it",
    ],
    "a table that no backup holds": [
      (tables) => tables.set("schema_migrations", { columns: ["number"], rows: [[9]] }),
      "is not as its schema has it",
    ],
    "a table without one of its columns": [
      (tables) => tables.get("apps")?.columns.pop(),
      "is not as its schema has it",
    ],
    "a column that its schema has not": [
      (tables) => tables.get("settings")?.columns.splice(1, 1, "value) values (1, 2); --"),
      "is not as its schema has it",
    ],
    "not all tables": [(tables) => tables.delete("kv"), "lacks the table kv"],
    "a row that a rule of the schema refuses": [
      (tables) => tables.get("apps")?.rows.push(["app-1", "Not A Slug", "Default", 1]),
      "has a row that the table apps does not take",
    ],
    "a row of another type": [
      (tables) => tables.get("apps")?.rows.push(["app-1", "default", "Default", "soon"]),
      "has a row that the table apps does not take",
    ],
    "a row twice": [
      (tables) => tables.get("apps")?.rows.push(app, app),
      "has a row that the table apps does not take",
    ],
    "a row that refers to none": [
      (tables) => tables.get("kv")?.rows.push(["app-9", "c", "k", 1, 1, "1"]),
      "a row of kv refers to one of apps that is not there",
    ],
  };
  for (const [what, [change, message]] of Object.entries(wrong)) {
    test(`is refused with ${what}`, async () => {
      expect(await refusal(restore(made(change)))).toContain(message);
      expectNothing();
    });
  }
});

describe("a backup", () => {
  test("that fails leaves nothing, and says why", async () => {
    const sink = new MemorySink();
    sink.write = () => Promise.reject(new PicError("unavailable", "the disk is full"));
    const snapshot = openSqliteSnapshot({ dir: from, schemaMax: newest });
    expect(await refusal(backup(snapshot, { sink }))).toBe("the disk is full");
    expect(sink.ended).toBe("discarded");
  });

  test("ends when it is interrupted, also while its reader stands still", async () => {
    const stop = new AbortController();
    const sink = new MemorySink();
    sink.write = () => {
      queueMicrotask(() => stop.abort());
      return new Promise(() => {});
    };
    const snapshot = openSqliteSnapshot({ dir: from, schemaMax: newest });
    const { signal } = stop;
    expect(await refusal(backup(snapshot, { sink, signal }))).toContain("it was interrupted");
    expect(sink.ended).toBe("discarded");
  });

  test("rests twice as long as it works", async () => {
    const rests: number[] = [];
    let time = 0;
    const clock = { now: () => 0, monotonic: () => (time += 5) };
    const rest = async (ms: number): Promise<void> => void rests.push(ms);
    await backup(openSqliteSnapshot({ dir: from, schemaMax: newest }), { clock, rest });
    expect(rests.length).toBeGreaterThan(8);
    expect(new Set(rests)).toEqual(new Set([10]));
  });

  test("of a folder without a database is refused, and makes none", async () => {
    const snapshot = async () => openSqliteSnapshot({ dir: to, schemaMax: newest });
    expect(await codeOf(snapshot())).toBe("not_found");
    expect(existsSync(to)).toBe(false);
  });
});
