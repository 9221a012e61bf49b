import { expect, test } from "bun:test";
import { insertApp } from "../../../src/storage/apps.ts";
import {
  deleteExpiredKv,
  deleteKv,
  deleteKvExactly,
  deleteKvVersion,
  getKv,
  getShortKv,
  hasExpiredKv,
  insertKv,
  type KvRange,
  listKv,
  prefixEnd,
  replaceKv,
  scanKv,
  setKv,
  updateKv,
} from "../../../src/storage/kv.ts";
import type { Database, Reader, Writer } from "../../../src/storage/port.ts";
import { app, codeOf, type Engine, messageOf, opener, seed } from "./engine.ts";

export function kvConformance(engine: Engine): void {
  const open = opener(engine);

  test("each write of a key raises its version; deleting begins anew", async () => {
    const { db } = await open();
    await seed(db);
    const set = (value: string) => db.tx((tx) => put(tx, "k", value));
    expect(await read(db, "k")).toBeNull();
    expect(await set("1")).toBe(1);
    expect(await set('{"a":"\\u0000"}')).toBe(2);
    expect(await read(db, "k")).toEqual({
      value: '{"a":"\\u0000"}',
      version: 2,
      expires_at: null,
    });
    expect(await db.tx((tx) => deleteKv(tx, app.id, "c", "k", now))).toBe(14);
    expect(await db.tx((tx) => deleteKv(tx, app.id, "c", "k", now))).toBeNull();
    expect(await set("3")).toBe(1);
  });

  test("a value is replaced and deleted only while it is what was read", async () => {
    const { db } = await open();
    await seed(db);
    const at = [app.id, "c", "k"] as const;
    const replace = (value: string, version: number, to: string) =>
      db.tx((tx) =>
        replaceKv(tx, ...at, { value: to, expires_at: null, now, previous: { value, version } }),
      );
    const remove = (value: string, version: number) =>
      db.tx((tx) => deleteKvExactly(tx, ...at, { previous: { value, version }, now }));
    expect(await replace("1", 1, "2")).toBeNull();
    expect(await remove("1", 1)).toBe(false);
    await db.tx((tx) => put(tx, "k", "1"));
    expect(await replace("1", 2, "7")).toBeNull();
    // the same version, of an entry that was deleted and made again
    expect(await replace("0", 1, "7")).toBeNull();
    expect(await replace("1", 1, "2")).toBe(2);
    expect(await read(db, "k")).toMatchObject({ value: "2", version: 2 });
    expect(await remove("2", 1)).toBe(false);
    expect(await remove("1", 2)).toBe(false);
    expect(await remove("2", 2)).toBe(true);
    expect(await read(db, "k")).toBeNull();
  });

  test("a write under a version happens at that version alone", async () => {
    const { db } = await open();
    await seed(db);
    const at = [app.id, "c", "k"] as const;
    const entry = (value: string) => ({ value, expires_at: null, now });
    const insert = (value: string) => db.tx((tx) => insertKv(tx, ...at, entry(value)));
    const update = (version: number, value: string) =>
      db.tx((tx) => updateKv(tx, ...at, { ...entry(value), version }));
    const remove = (version: number) => db.tx((tx) => deleteKvVersion(tx, ...at, { version, now }));
    expect(await update(1, "0")).toBeNull();
    expect(await insert("1")).toBe(1);
    expect(await insert("2")).toBeNull();
    expect(await update(2, "3")).toBeNull();
    expect(await update(1, "4")).toBe(2);
    expect(await remove(1)).toBeNull();
    expect(await read(db, "k")).toMatchObject({ value: "4", version: 2 });
    expect(await remove(2)).toBe(1);
    expect(await codeOf(db.tx((tx) => insertKv(tx, "app-9", "c", "k", entry("1"))))).toBe(
      "conflict",
    );
  });

  test("of writers under one version, from nothing or from something, one succeeds", async () => {
    const { db } = await open();
    await seed(db);
    const at = [app.id, "c", "k"] as const;
    const race = async (write: (w: Writer, value: string) => Promise<number | null>) => {
      const values = Array.from({ length: 20 }, (_, index) => String(index));
      const won = await Promise.all(values.map((value) => write(db.autocommit({ seq: 0 }), value)));
      const winners = values.filter((_, index) => won[index] !== null);
      expect(winners).toHaveLength(1);
      expect((await read(db, "k"))?.value).toBe(winners[0] as string);
    };
    await race((w, value) => insertKv(w, ...at, { value, expires_at: null, now }));
    await race((w, value) => updateKv(w, ...at, { value, expires_at: null, now, version: 1 }));
  });

  test("from its time on an entry is absent for every statement, and its key begins anew", async () => {
    const { db } = await open();
    await seed(db);
    const at = [app.id, "c", "k"] as const;
    const previous = { value: '"old"', version: 2 };
    const expiring = async (): Promise<void> => {
      await db.tx(async (tx) => {
        await deleteKv(tx, ...at, 0);
        await put(tx, "k", "1");
        await setKv(tx, ...at, { value: previous.value, expires_at: 100, now });
      });
    };
    const present = async (time: number): Promise<unknown[]> => [
      (await getKv(db, ...at, time))?.value ?? null,
      (await getShortKv(db, app.id, "c", { keys: ["k"], now: time, valueBytesMax: 9 })).length,
      (await scanKv(db, app.id, "c", { keys: ["k"], now: time })).length,
      (await keys(db, { prefix: "", limit: 5, after: null, now: time })).length,
    ];
    await expiring();
    expect(await present(99)).toEqual(['"old"', 1, 1, 1]);
    expect(await present(100)).toEqual([null, 0, 0, 0]);
    const late = { value: '"new"', expires_at: null, now: 100 };
    const w = db.autocommit({ seq: 0 });
    expect(await updateKv(w, ...at, { ...late, version: 2 })).toBeNull();
    expect(await replaceKv(w, ...at, { ...late, previous })).toBeNull();
    expect(await deleteKv(w, ...at, 100)).toBeNull();
    expect(await deleteKvVersion(w, ...at, { version: 2, now: 100 })).toBeNull();
    expect(await deleteKvExactly(w, ...at, { previous, now: 100 })).toBe(false);
    expect(await insertKv(w, ...at, { ...late, now: 99 })).toBeNull();
    expect(await insertKv(w, ...at, late)).toBe(1);
    expect(await getKv(db, ...at, 1_000)).toEqual({
      value: '"new"',
      version: 1,
      expires_at: null,
    });
    await expiring();
    expect(await setKv(w, ...at, { ...late, expires_at: 200 })).toBe(1);
    expect(await setKv(w, ...at, { ...late, now: 150 })).toBe(2);
    expect(await getKv(db, ...at, 9_999)).toMatchObject({ expires_at: null });
  });

  test("rows whose time has come are deleted, some at a time, and no others", async () => {
    const { db } = await open();
    await seed(db);
    expect(await hasExpiredKv(db, 1e15)).toBe(false);
    await db.tx(async (tx) => {
      await insertApp(tx, { ...app, id: "app-2", slug: "other" });
      for (let index = 0; index < 10; index += 1) {
        const one = { value: "1", expires_at: 100 + index, now };
        await setKv(tx, index % 2 === 0 ? app.id : "app-2", "c", `k${index}`, one);
      }
      await put(tx, "stays", "1");
    });
    const sweep = (limit: number) => db.tx((tx) => deleteExpiredKv(tx, 105, limit));
    expect(await hasExpiredKv(db, 99)).toBe(false);
    expect(await hasExpiredKv(db, 105)).toBe(true);
    expect(await sweep(4)).toBe(4);
    expect(await sweep(4)).toBe(2);
    expect(await sweep(4)).toBe(0);
    expect(await hasExpiredKv(db, 105)).toBe(false);
    expect(await keys(db, { prefix: "", limit: 50, after: null, now: 0 })).toEqual([
      "k6",
      "k8",
      "stays",
    ]);
  });

  test("many keys are read at once, long values apart, and twice the same key is one row", async () => {
    const { db } = await open();
    await fill(db, ["a", "b", "é", "😀"]);
    await db.tx((tx) => put(tx, "long", `"${"é".repeat(10)}"`));
    const many = async (wanted: string[]) => {
      const asked = { keys: wanted, now, valueBytesMax: 21 };
      const rows = await getShortKv(db, app.id, "c", asked);
      return rows.map(({ key, value }) => `${key}=${value}`).sort();
    };
    expect(await many(["a"])).toEqual(["a=1"]);
    expect(await many(["é", "none", "😀", "a", "a", "long"])).toEqual([
      "a=1",
      "long=null",
      "é=1",
      "😀=1",
    ]);
    expect(await many([])).toEqual([]);
    const scanned = await scanKv(db, app.id, "c", { keys: ["long", "none", "b"], now });
    expect(scanned.map(({ key }) => key).sort()).toEqual(["b", "long"]);
    expect(await many(Array.from({ length: 100 }, (_, index) => `k${index}`))).toEqual([]);
  });

  test("apps and collections are apart, and an unknown app has none", async () => {
    const { db } = await open();
    await seed(db);
    const entry = (value: string) => ({ value, expires_at: null, now });
    await db.tx(async (tx) => {
      await insertApp(tx, { ...app, id: "app-2", slug: "other" });
      await setKv(tx, app.id, "c", "k", entry("1"));
      await setKv(tx, app.id, "C", "k", entry("2"));
      await setKv(tx, "app-2", "c", "k", entry("3"));
    });
    const get = async (app_id: string, collection: string) =>
      (await getKv(db, app_id, collection, "k", now))?.value;
    expect(await get(app.id, "c")).toBe("1");
    expect(await get(app.id, "C")).toBe("2");
    expect(await get("app-2", "c")).toBe("3");
    const lost = db.tx((tx) => setKv(tx, "app-9", "c", "k", entry("1")));
    expect(await codeOf(lost)).toBe("conflict");
  });

  test("what a read may have seen is noted", async () => {
    const { db } = await open();
    await seed(db);
    const writer = { seq: 0 };
    await db.tx((tx) => put(tx, "k", "1"), { seen: writer });
    const [point, list, many, scanned] = [{ seq: 0 }, { seq: 0 }, { seq: 0 }, { seq: 0 }];
    await getKv(db, app.id, "c", "k", now, point);
    await listKv(db, app.id, "c", { prefix: "", limit: 1, after: null, now }, list);
    await getShortKv(db, app.id, "c", { keys: ["k"], now, valueBytesMax: 1 }, many);
    await scanKv(db, app.id, "c", { keys: ["k"], now }, scanned);
    for (const { seq } of [point, list, many, scanned]) {
      expect(seq).toBeGreaterThanOrEqual(writer.seq);
    }
  });

  test("keys are listed by code point, after a key, up to a limit", async () => {
    const { db } = await open();
    await fill(db, ["b", "a", "～", "😀", "é", "Z"]);
    const list = (limit: number, after: string | null) => keys(db, { prefix: "", limit, after });
    expect(await list(10, null)).toEqual(["Z", "a", "b", "é", "～", "😀"]);
    expect(await list(2, null)).toEqual(["Z", "a"]);
    expect(await list(2, "a")).toEqual(["b", "é"]);
    expect(await list(2, "～")).toEqual(["😀"]);
    expect(await list(2, "😀")).toEqual([]);
  });

  test("a prefix means itself: no wildcards, case counts, astral characters too", async () => {
    const { db } = await open();
    const all = [
      "%",
      "%a",
      "_",
      "_a",
      "a",
      "A",
      "ab",
      "a%b",
      "\\",
      "😀",
      "😀a",
      "😁",
      "\u{10ffff}z",
    ];
    await fill(db, [...all, "\ud7ffa", "\ue000"]);
    const list = (prefix: string, after: string | null = null) =>
      keys(db, { prefix, limit: 50, after });
    expect(await list("%")).toEqual(["%", "%a"]);
    expect(await list("_")).toEqual(["_", "_a"]);
    expect(await list("a")).toEqual(["a", "a%b", "ab"]);
    expect(await list("a%")).toEqual(["a%b"]);
    expect(await list("\\")).toEqual(["\\"]);
    expect(await list("😀")).toEqual(["😀", "😀a"]);
    expect(await list("\u{10ffff}")).toEqual(["\u{10ffff}z"]);
    expect(await list("\ud7ff")).toEqual(["\ud7ffa"]);
    expect(await list("")).toHaveLength(15);
    expect(await list("a", "a")).toEqual(["a%b", "ab"]);
    expect(await list("a", "A")).toEqual(["a", "a%b", "ab"]);
    expect(await list("a", "b")).toEqual([]);
    expect(await list("😀", "～")).toEqual(["😀", "😀a"]);
  });

  test("the end of a prefix is the next text of its length", () => {
    expect(prefixEnd("")).toBeNull();
    expect(prefixEnd("ab")).toBe("ac");
    expect(prefixEnd("a\ud7ff")).toBe("a\ue000");
    expect(prefixEnd("a\uffff")).toBe("a\u{10000}");
    expect(prefixEnd("a\u{10ffff}")).toBe("b");
    expect(prefixEnd("\u{10ffff}\u{10ffff}")).toBeNull();
  });

  test("a listing goes on where it stopped, whatever is written meanwhile", async () => {
    const { db } = await open();
    await fill(db, ["b", "d", "f"]);
    const first = await keys(db, { prefix: "", limit: 2, after: null });
    await db.tx(async (tx) => {
      await put(tx, "a", "1");
      await put(tx, "e", "1");
      await deleteKv(tx, app.id, "c", "d", now);
    });
    const second = await keys(db, { prefix: "", limit: 2, after: first.at(-1) ?? null });
    expect([first, second]).toEqual([
      ["b", "d"],
      ["e", "f"],
    ]);
  });

  test("the schema refuses keys, collections and values beyond their bounds", async () => {
    const { db } = await open();
    await seed(db);
    const set = (collection: string, key: string, value: string) =>
      messageOf(
        db.tx((tx) => setKv(tx, app.id, collection, key, { value, expires_at: null, now })),
      );
    expect(await set("c", "", "1")).toContain("onstraint");
    expect(await set("", "k", "1")).toContain("onstraint");
    expect(await set("c", "é".repeat(257), "1")).toContain("onstraint");
    expect(await set("c".repeat(129), "k", "1")).toContain("onstraint");
    expect(await set("c", "k", `"${"x".repeat(262_143)}"`)).toContain("onstraint");
    expect(await set("c".repeat(128), "é".repeat(256), `"${"x".repeat(262_142)}"`)).toBe(
      "resolved",
    );
  });
}

const now = 5;

function put(w: Writer, key: string, value: string): Promise<number> {
  return setKv(w, app.id, "c", key, { value, expires_at: null, now });
}

function read(r: Reader, key: string) {
  return getKv(r, app.id, "c", key, now);
}

async function fill(db: Database, names: readonly string[]): Promise<void> {
  await seed(db);
  await db.tx(async (tx) => {
    for (const name of names) await put(tx, name, "1");
    await setKv(tx, app.id, "other", "a", { value: "1", expires_at: null, now });
  });
}

async function keys(db: Database, range: Omit<KvRange, "now"> & { now?: number }) {
  return (await listKv(db, app.id, "c", { now, ...range })).map((row) => row.key);
}
