import { Database as Connection } from "bun:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sqliteMigrations } from "../../src/storage/migrations.ts";
import { getSetting, setSetting } from "../../src/storage/settings.ts";
import { sql } from "../../src/storage/sql.ts";
import { codeOf, messageOf } from "./conformance/engine.ts";
import { type Folder, makeFolder, openBoth, openMain } from "./sqlite-folder.ts";

let folder: Folder;
let path: string;
beforeEach(() => {
  folder = makeFolder();
  path = join(folder.path, "picloud.db");
});
afterEach(() => folder.remove());

describe("opening", () => {
  test("makes both databases, and finds the data again; close leaves no log behind", async () => {
    const first = await openBoth(folder.path);
    await first.db.tx((tx) => setSetting(tx, "a", "1"));
    await first.logs.scan(sql`select id from executions`);
    expect(readdirSync(folder.path)).toContain("picloud.db-wal");
    await first.close();
    expect(readdirSync(folder.path).sort()).toEqual(["logs.db", "picloud.db"]);
    const second = await openBoth(folder.path);
    expect(await getSetting(second.db, "a")).toBe("1");
    expect(second.db.schemaVersion()).toBe(sqliteMigrations.length);
    await second.close();
  });

  test("a database of another program is refused and left as it was", async () => {
    const foreign = new Connection(path, { create: true });
    foreign.run("create table notes (text)");
    foreign.close();
    const before = readFileSync(path);
    const message = await messageOf(openMain(folder.path));
    expect(message).toContain("database of another program");
    expect(message).toContain(path);
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  test("an empty file of another program, marked by its application id, is refused too", async () => {
    const foreign = new Connection(path, { create: true });
    foreign.run("pragma application_id = 7");
    foreign.close();
    expect(await messageOf(openMain(folder.path))).toContain("database of another program");
  });

  test("a file that is no database is refused and left as it was", async () => {
    const text = "I am a letter to my grandmother. ".repeat(200);
    writeFileSync(path, text);
    expect(await messageOf(openMain(folder.path))).toContain("not a database");
    expect(readFileSync(path, "utf8")).toBe(text);
  });

  test("a folder in the place of the file, or a folder that is missing, is a clear error", async () => {
    mkdirSync(path);
    expect(await codeOf(openMain(folder.path))).toBe("unavailable");
    const missing = await messageOf(openMain(join(folder.path, "missing")));
    expect(missing).toContain("cannot be opened");
    expect(missing).toContain("missing");
  });

  test("an empty file is a new database", async () => {
    writeFileSync(path, "");
    const db = await openMain(folder.path);
    await db.tx((tx) => setSetting(tx, "a", "1"));
    await db.close();
  });

  test("a damaged database is a clear error, not a crash", async () => {
    const db = await openMain(folder.path);
    await db.close();
    const bytes = readFileSync(path);
    bytes.fill(0xa5, 100, bytes.length);
    writeFileSync(path, bytes);
    expect(await messageOf(openMain(folder.path))).toContain("damaged");
  });

  test("a page that is damaged later fails its own reads only", async () => {
    const db = await openMain(folder.path);
    await db.tx(async (tx) => {
      await setSetting(tx, "a", "1");
      await tx.run(sql`create table later (text)`);
      for (let index = 0; index < 200; index += 1) {
        await tx.run(sql`insert into later values (${"x".repeat(1_000)})`);
      }
    });
    const root = await db.get(
      sql<{ page: number }>`select rootpage as page from sqlite_schema where name = 'later'`,
    );
    await db.close();
    const bytes = readFileSync(path);
    const start = ((root?.page ?? 0) - 1) * 4096;
    bytes.fill(0xa5, start, start + 4096);
    writeFileSync(path, bytes);
    const again = await openMain(folder.path);
    expect(await codeOf(again.all(sql`select text from later`))).toBe("unavailable");
    expect(await codeOf(again.scan(sql`select text from later`))).toBe("unavailable");
    expect(await getSetting(again, "a")).toBe("1");
    await again.close();
  });

  test("a file that cannot be written is a clear error", async () => {
    const db = await openMain(folder.path);
    await db.close();
    // Works for root as well, who may write whatever the mode says: the folder of a log is in the way.
    mkdirSync(`${path}-wal`);
    expect(await codeOf(openMain(folder.path))).toBe("unavailable");
  });
});

describe("a full disk", () => {
  test("rolls the transaction back, and everything works again when there is space", async () => {
    const db = await openMain(folder.path);
    await db.tx((tx) => setSetting(tx, "a", "1"));
    await db.tx((tx) => tx.all(sql`pragma max_page_count = 1`));
    const big = db.tx(async (tx) => {
      await setSetting(tx, "a", "2");
      await setSetting(tx, "big", "x".repeat(100_000));
    });
    const message = await messageOf(big);
    expect(message).toContain("disk is full");
    expect(await getSetting(db, "a")).toBe("1");
    const alone = sql`insert into settings (name, value) values (${"b"}, ${"x".repeat(100_000)})`;
    expect(await messageOf(db.autocommit({ seq: 0 }).run(alone))).toContain("disk is full");
    const returning = db.autocommit({ seq: 0 }).get(sql`${alone} returning name`);
    expect(await messageOf(returning)).toContain("disk is full");
    expect(await getSetting(db, "b")).toBeNull();
    await db.tx((tx) => tx.all(sql`pragma max_page_count = 1000000`));
    await db.tx((tx) => setSetting(tx, "big", "x".repeat(100_000)));
    expect((await getSetting(db, "big"))?.length).toBe(100_000);
    await db.close();
  });
});

describe("the connections", () => {
  test("the reader cannot write", async () => {
    const db = await openMain(folder.path);
    const sneaky = db.get(sql`insert into settings (name, value) values ('a', '1')`);
    expect(await codeOf(sneaky)).toBe("unavailable");
    const scanned = db.scan(
      sql`insert into settings (name, value) values ('a', '1') returning name`,
    );
    expect(await codeOf(scanned)).toBe("unavailable");
    expect(await getSetting(db, "a")).toBeNull();
    await db.close();
  });

  test("deleted rows give their pages back to the file system, in bounded steps", async () => {
    const { logs, close } = await openBoth(folder.path);
    await logs.tx(async (tx) => {
      await tx.run(sql`create table ballast (text)`);
      for (let index = 0; index < 500; index += 1) {
        await tx.run(sql`insert into ballast values (${"x".repeat(4_000)})`);
      }
    });
    await logs.tx((tx) => tx.run(sql`delete from ballast`));
    const pages = async () =>
      (await logs.get(sql<{ page_count: number }>`pragma page_count`))?.page_count ?? 0;
    const full = await pages();
    let steps = 1;
    while (await logs.reclaim()) steps += 1;
    expect(steps).toBeGreaterThan(4);
    expect(await pages()).toBeLessThan(full - 450);
    await close();
    expect(existsSync(path)).toBe(true);
  });

  test("what has no incremental vacuum reclaims nothing", async () => {
    const db = await openMain(folder.path);
    expect(await db.reclaim()).toBe(false);
    await db.close();
  });
});
