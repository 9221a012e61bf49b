import { expect, test } from "bun:test";
import { insertApp } from "../../../src/storage/apps.ts";
import { deleteKv, getKv, listKv, prefixEnd, replaceKv, setKv } from "../../../src/storage/kv.ts";
import type { Database } from "../../../src/storage/port.ts";
import { app, codeOf, type Engine, messageOf, opener, seed } from "./engine.ts";

export function kvConformance(engine: Engine): void {
  const open = opener(engine);

  test("each write of a key raises its version; deleting begins anew", async () => {
    const { db } = await open();
    await seed(db);
    const set = (value: string) => db.tx((tx) => setKv(tx, app.id, "c", "k", value, 5));
    expect(await getKv(db, app.id, "c", "k")).toBeNull();
    expect(await set("1")).toBe(1);
    expect(await set('{"a":"\\u0000"}')).toBe(2);
    expect(await getKv(db, app.id, "c", "k")).toEqual({ value: '{"a":"\\u0000"}', version: 2 });
    expect(await db.tx((tx) => deleteKv(tx, app.id, "c", "k"))).toBe(true);
    expect(await db.tx((tx) => deleteKv(tx, app.id, "c", "k"))).toBe(false);
    expect(await set("3")).toBe(1);
  });

  test("a value is replaced only while it is the one that was read", async () => {
    const { db } = await open();
    await seed(db);
    const replace = (old_json: string | null, value_json: string) =>
      db.tx((tx) => replaceKv(tx, app.id, "c", "k", { old_json, value_json, now: 5 }));
    expect(await replace("1", "2")).toBe(false);
    expect(await replace(null, "1")).toBe(true);
    expect(await replace(null, "7")).toBe(false);
    expect(await replace("2", "7")).toBe(false);
    expect(await replace("1", "2")).toBe(true);
    expect(await getKv(db, app.id, "c", "k")).toEqual({ value: "2", version: 2 });
    expect(
      await codeOf(
        db.tx((tx) =>
          replaceKv(tx, "app-9", "c", "k", { old_json: null, value_json: "1", now: 5 }),
        ),
      ),
    ).toBe("conflict");
  });

  test("apps and collections are apart, and an unknown app has none", async () => {
    const { db } = await open();
    await seed(db);
    await db.tx(async (tx) => {
      await insertApp(tx, { ...app, id: "app-2", slug: "other" });
      await setKv(tx, app.id, "c", "k", "1", 1);
      await setKv(tx, app.id, "C", "k", "2", 1);
      await setKv(tx, "app-2", "c", "k", "3", 1);
    });
    expect((await getKv(db, app.id, "c", "k"))?.value).toBe("1");
    expect((await getKv(db, app.id, "C", "k"))?.value).toBe("2");
    expect((await getKv(db, "app-2", "c", "k"))?.value).toBe("3");
    const lost = db.tx((tx) => setKv(tx, "app-9", "c", "k", "1", 1));
    expect(await codeOf(lost)).toBe("conflict");
  });

  test("what a read may have seen is noted", async () => {
    const { db } = await open();
    await seed(db);
    const writer = { seq: 0 };
    await db.tx((tx) => setKv(tx, app.id, "c", "k", "1", 1), { seen: writer });
    const point = { seq: 0 };
    const list = { seq: 0 };
    await getKv(db, app.id, "c", "k", point);
    await listKv(db, app.id, "c", { prefix: "", limit: 1, after: null }, list);
    expect(point.seq).toBeGreaterThanOrEqual(writer.seq);
    expect(list.seq).toBeGreaterThanOrEqual(writer.seq);
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
      await setKv(tx, app.id, "c", "a", "1", 1);
      await setKv(tx, app.id, "c", "e", "1", 1);
      await deleteKv(tx, app.id, "c", "d");
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
      messageOf(db.tx((tx) => setKv(tx, app.id, collection, key, value, 1)));
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

async function fill(db: Database, names: readonly string[]): Promise<void> {
  await seed(db);
  await db.tx(async (tx) => {
    for (const name of names) await setKv(tx, app.id, "c", name, "1", 1);
    await setKv(tx, app.id, "other", "a", "1", 1);
  });
}

async function keys(db: Database, range: Parameters<typeof listKv>[3]): Promise<string[]> {
  return (await listKv(db, app.id, "c", range)).map((row) => row.key);
}
