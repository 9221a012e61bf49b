import { expect, test } from "bun:test";
import { getSetting, setSetting } from "../../../src/storage/settings.ts";
import { sql } from "../../../src/storage/sql.ts";
import { codeOf, type Engine, messageOf, opener } from "./engine.ts";

/** In the order of code points, which is not that of UTF-16: U+FF5E is below U+1F600. */
const ordered = ["A", "Z", "a", "e\u0301", "z", "ß", "é", "я", "中", "～", "😀", "\u{10ffff}"];

export function valueConformance(engine: Engine): void {
  const open = opener(engine);

  test("text comes back as it was given: quotes, JSON, every plane of Unicode, empty", async () => {
    const { db } = await open();
    const texts = [
      "",
      "'; drop table apps; --",
      '{"a":"\\u0000"}',
      "\u0001\u007f\ufeff\ufffd",
      "?$1",
    ];
    for (const text of [...texts, ...ordered, ordered.join("")]) {
      await db.tx((tx) => setSetting(tx, "t", text));
      expect(await getSetting(db, "t")).toBe(text);
      expect(await db.scan(sql`select value from settings`)).toEqual([{ value: text }]);
    }
  });

  test("text sorts by code point", async () => {
    const { db } = await open();
    await db.tx(async (tx) => {
      for (const text of [...ordered].reverse()) await setSetting(tx, text, "");
    });
    const rows = await db.scan(sql<{ name: string }>`select name from settings order by name`);
    expect(rows.map((row) => row.name)).toEqual(ordered);
    const above = await db.all(sql`select name from settings where name > ${"～"}`);
    expect(above).toHaveLength(2);
  });

  test("NUL and half of a surrogate pair are refused, in writes and in reads", async () => {
    const { db } = await open();
    for (const text of ["a\0b", "\0", "\ud800", "a\udc00", "\udc00\ud800"]) {
      expect(await codeOf(db.tx((tx) => setSetting(tx, "t", text)))).toBe("invalid");
      expect(await codeOf(getSetting(db, text))).toBe("invalid");
      expect(await codeOf(db.scan(sql`select ${text} as t`))).toBe("invalid");
    }
    expect(await getSetting(db, "t")).toBeNull();
  });

  test("numbers keep their value; what SQL cannot keep is an assertion failure", async () => {
    const { db } = await open();
    const counted = await db.get(sql<{ n: number }>`select count(*) as n from settings`);
    expect(counted).toEqual({ n: 0 });
    for (const number of [Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, -(2 ** 60)]) {
      const bad = db.get(sql`select name from settings where name = ${number}`);
      expect(await messageOf(bad)).toContain("a number that SQL cannot keep");
    }
    const missing = undefined as unknown as null;
    const bad = db.get(sql`select name from settings where name = ${missing}`);
    expect(await messageOf(bad)).toContain("a value that SQL cannot keep");
  });

  test("a row that is not there is null; lists of values may be empty", async () => {
    const { db } = await open();
    await db.tx(async (tx) => {
      await setSetting(tx, "a", "1");
      await setSetting(tx, "b", "2");
    });
    const named = (names: string[]) =>
      db.all(sql`select name from settings where name in ${sql.list(names)}`);
    expect(await db.get(sql`select name from settings where name = ${"c"}`)).toBeNull();
    expect(await named([])).toEqual([]);
    expect(await named(["a", "b", "c"])).toHaveLength(2);
    // More than a cache of statements holds.
    for (let count = 1; count < 400; count += 1) {
      expect(await named(Array.from({ length: count }, () => "a"))).toHaveLength(1);
    }
  });
}
