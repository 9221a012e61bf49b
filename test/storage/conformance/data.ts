import { expect, test } from "bun:test";
import type { DataSource } from "../../../src/domain/data.ts";
import { insertApp } from "../../../src/storage/apps.ts";
import {
  countRecords,
  getRecords,
  listCollections,
  listRecords,
} from "../../../src/storage/data.ts";
import { insertDoc } from "../../../src/storage/docs.ts";
import { setKv } from "../../../src/storage/kv.ts";
import type { Database } from "../../../src/storage/port.ts";
import { app, type Engine, opener, seed } from "./engine.ts";

const now = 1_000;

/** `collection key` pairs, for one app; of both kinds, so that one is never taken for the other. */
async function fill(db: Database, app_id: string, pairs: readonly string[]): Promise<void> {
  await db.tx(async (tx) => {
    for (const pair of pairs) {
      const [collection = "", key = ""] = pair.split(" ");
      const value = `{"of":${JSON.stringify(`${app_id} ${pair}`)}}`;
      await setKv(tx, app_id, collection, key, { value, expires_at: null, now: 5 });
      await insertDoc(tx, { app_id, collection, id: key }, { value, now: 5 });
    }
  });
}

async function open2(engine: () => Promise<{ db: Database }>): Promise<Database> {
  const { db } = await engine();
  await seed(db);
  await db.tx((tx) => insertApp(tx, { ...app, id: "app-2", slug: "other" }));
  return db;
}

export function dataConformance(engine: Engine): void {
  const open = opener(engine);
  const sources: DataSource[] = ["kv", "docs"];

  test.each(sources)(
    "collections of %s are found by name, by code point, after a name",
    async (source) => {
      const db = await open2(open);
      await fill(db, app.id, ["b 1", "b 2", "a 1", "～ 1", "😀 1", "A 1"]);
      await fill(db, "app-2", ["c 1", "a 9"]);
      const names = (after: string, limit: number) =>
        listCollections(db, source, { app_id: app.id, after, limit });
      expect(await names("", 10)).toEqual(["A", "a", "b", "～", "😀"]);
      expect(await names("", 2)).toEqual(["A", "a"]);
      expect(await names("a", 2)).toEqual(["b", "～"]);
      expect(await names("😀", 2)).toEqual([]);
      expect(await listCollections(db, source, { app_id: "none", after: "", limit: 9 })).toEqual(
        [],
      );
    },
  );

  test.each(sources)(
    "records of %s are listed in order, of one collection or of all",
    async (source) => {
      const db = await open2(open);
      await fill(db, app.id, ["a b", "a a", "ab a", "b 😀", "b ～", "b é"]);
      await fill(db, "app-2", ["a c"]);
      const list = async (
        collection: string | null,
        more: { prefix?: string; after?: [string, string]; limit?: number } = {},
      ): Promise<string[]> => {
        const { prefix = "", after, limit = 10 } = more;
        const rows = await listRecords(db, source, {
          app_id: app.id,
          collection,
          prefix,
          after: after === undefined ? null : { collection: after[0], key: after[1] },
          limit,
          now,
        });
        return rows.map((row) => `${row.collection} ${row.key}`);
      };
      const all = ["a a", "a b", "ab a", "b é", "b ～", "b 😀"];
      expect(await list(null)).toEqual(all);
      for (let at = 0; at < all.length; at += 1) {
        const after = (all[at] as string).split(" ") as [string, string];
        expect(await list(null, { after, limit: 2 })).toEqual(all.slice(at + 1, at + 3));
      }
      expect(await list("b")).toEqual(["b é", "b ～", "b 😀"]);
      expect(await list("b", { after: ["b", "é"], limit: 1 })).toEqual(["b ～"]);
      expect(await list("b", { prefix: "😀" })).toEqual(["b 😀"]);
      expect(await list("a", { prefix: "%" })).toEqual([]);
      expect(await list("a' or '1'='1")).toEqual([]);
    },
  );

  test("a record comes with its times and its version; a document never expires", async () => {
    const db = await open2(open);
    await fill(db, app.id, ["c k"]);
    await db.tx((tx) => setKv(tx, app.id, "c", "k", { value: "2", expires_at: 2_000, now: 7 }));
    const range = { app_id: app.id, collection: "c", prefix: "", after: null, limit: 9, now };
    expect(await listRecords(db, "kv", range)).toEqual([
      { collection: "c", key: "k", value: "2", version: 2, updated_at: 7, expires_at: 2_000 },
    ]);
    const [document] = await listRecords(db, "docs", range);
    expect(document).toEqual({
      collection: "c",
      key: "k",
      value: '{"of":"app-1 c k"}',
      version: 1,
      updated_at: 5,
      expires_at: null,
    });
  });

  test("what has expired is neither listed nor counted", async () => {
    const db = await open2(open);
    const set = (key: string, expires_at: number | null) =>
      db.tx((tx) => setKv(tx, app.id, "c", key, { value: '"é"', expires_at, now: 5 }));
    await set("a", now);
    await set("b", now + 1);
    await set("c", null);
    const range = { app_id: app.id, collection: "c", prefix: "", after: null, limit: 9, now };
    expect((await listRecords(db, "kv", range)).map(({ key }) => key)).toEqual(["b", "c"]);
    const keys = { app_id: app.id, collection: "c", keys: ["a", "b"], now };
    expect((await getRecords(db, "kv", keys)).map(({ key }) => key)).toEqual(["b"]);
    const place = { app_id: app.id, collection: "c", now };
    // one byte of a key, and a letter of two bytes in quotes
    expect(await countRecords(db, "kv", { ...place, max: 9 })).toEqual({ records: 2, bytes: 10 });
    expect(await countRecords(db, "kv", { ...place, max: 1 })).toEqual({ records: 1, bytes: 5 });
    const none = { app_id: "app-2", collection: "c", now, max: 9 };
    expect(await countRecords(db, "kv", none)).toEqual({ records: 0, bytes: 0 });
    expect(await countRecords(db, "docs", none)).toEqual({ records: 0, bytes: 0 });
  });

  test.each(sources)(
    "records of %s are found by their keys, of one collection of one app",
    async (source) => {
      const db = await open2(open);
      await fill(db, app.id, ["c a", "c ü😀", "d b"]);
      await fill(db, "app-2", ["c b"]);
      const get = async (keys: string[]): Promise<string[]> => {
        const rows = await getRecords(db, source, { app_id: app.id, collection: "c", keys, now });
        return rows.map(({ key, value }) => `${key} ${value}`).toSorted();
      };
      expect(await get(["b", "ü😀", "a", "%", "a"])).toEqual([
        'a {"of":"app-1 c a"}',
        'ü😀 {"of":"app-1 c ü😀"}',
      ]);
      expect(await get([])).toEqual([]);
    },
  );

  test("what a list may have seen is noted", async () => {
    const db = await open2(open);
    const writer = { seq: 0 };
    await db.tx((tx) => setKv(tx, app.id, "c", "k", { value: "1", expires_at: null, now }), {
      seen: writer,
    });
    const reader = { seq: 0 };
    const range = { app_id: app.id, collection: null, prefix: "", after: null, limit: 9, now };
    expect(await listRecords(db, "kv", range, reader)).toHaveLength(1);
    expect(reader.seq).toBeGreaterThanOrEqual(writer.seq);
  });
}
