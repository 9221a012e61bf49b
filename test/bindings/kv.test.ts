import { describe, expect, test } from "bun:test";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { PicError } from "../../src/domain/errors.ts";
import {
  kvCollectionBytesMax,
  kvKeyBytesMax,
  kvListBytesMax,
  kvListsPerAppMax,
  kvListsWaitingMax,
  kvValueBytesMax,
} from "../../src/domain/limits.ts";
import { openFolder } from "../execution/folder.ts";
import { callOf, composeForTest, context } from "./composed.ts";

type Args = Record<string, unknown>;

async function setup(clock: Clock = systemClock) {
  const folder = await openFolder();
  const composed = await composeForTest({ db: folder.db, clock });
  const call = (name: string, args: unknown, cx = context(1)): Promise<unknown> =>
    callOf(composed.kv, name, cx, args);
  /** In collection "c" of app 1. */
  const at = (name: string, key: unknown, more: Args = {}): Promise<unknown> =>
    call(name, { collection: "c", key, ...more });
  const end = async (): Promise<void> => {
    await composed.stop();
    await folder[Symbol.asyncDispose]();
  };
  return { ...folder, ...composed, context, call, at, [Symbol.asyncDispose]: end };
}

type Listed = {
  items: { key: string; value: unknown; version: number }[];
  nextCursor: string | null;
};

const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    (value) => ({ resolved: value }),
    (error) => (error instanceof PicError ? error.code : error),
  );

const KEYS = [
  "a",
  " ",
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "'; drop table kv; --",
  '"',
  "%",
  "_",
  "a/../b",
  "..",
  "\n",
  "\u0001",
  "é",
  "e\u0301",
  "😀",
  "\uffff",
  "\u{10ffff}",
  "null",
  "app-2",
  "x".repeat(kvKeyBytesMax),
  "€".repeat(Math.floor(kvKeyBytesMax / 3)),
];

describe("values", () => {
  test.each([
    [null],
    [true],
    [0],
    [-1.5],
    [1e300],
    [""],
    ["text"],
    ["nul \0 and lone \ud800 surrogate"],
    [[]],
    [[1, [2, [3]]]],
    [{ a: { b: null } }],
    [JSON.parse('{"__proto__":{"x":1},"constructor":"y"}')],
  ])("%j comes back as it went in", async (value) => {
    await using bundle = await setup();
    await bundle.at("set", "k", { value });
    expect(JSON.stringify(await bundle.at("get", "k"))).toBe(JSON.stringify(value));
  });

  test("a missing entry is null everywhere; a stored null is an entry", async () => {
    await using bundle = await setup();
    expect(await bundle.at("get", "k")).toBeNull();
    expect(await bundle.at("getEntry", "k")).toBeNull();
    expect(await bundle.at("has", "k")).toBe(false);
    expect(await bundle.at("delete", "k")).toBe(false);
    await bundle.at("set", "k", { value: null });
    expect(await bundle.at("get", "k")).toBeNull();
    expect(await bundle.at("has", "k")).toBe(true);
    expect(await bundle.at("getEntry", "k")).toEqual({ key: "k", value: null, version: 1 });
    expect(await bundle.at("delete", "k")).toBe(true);
    expect(await bundle.at("has", "k")).toBe(false);
  });

  test("each write raises the version", async () => {
    await using bundle = await setup();
    expect(await bundle.at("set", "k", { value: 1 })).toBe(1);
    expect(await bundle.at("set", "k", { value: 1 })).toBe(2);
    await bundle.at("increment", "k");
    expect(await bundle.at("getEntry", "k")).toEqual({ key: "k", value: 2, version: 3 });
  });

  test("at most 256 KiB of JSON, to the byte", async () => {
    await using bundle = await setup();
    const fits = "x".repeat(kvValueBytesMax - 2);
    await bundle.at("set", "k", { value: fits });
    expect(await bundle.at("get", "k")).toBe(fits);
    for (const value of [
      `${fits}x`,
      "€".repeat(kvValueBytesMax / 3),
      Array(kvValueBytesMax).fill(0),
    ]) {
      expect(await codeOf(bundle.at("set", "k", { value }))).toBe("kv_value_too_large");
    }
    expect(await bundle.at("get", "k")).toBe(fits);
  });

  test("undefined is refused, and so is what nobody can print", async () => {
    await using bundle = await setup();
    expect(await codeOf(bundle.at("set", "k"))).toBe("kv_invalid_value");
    expect(await codeOf(bundle.at("set", "k", { value: undefined }))).toBe("kv_invalid_value");
    const cyclic: Args = {};
    cyclic.self = cyclic;
    expect(await codeOf(bundle.at("set", "k", { value: cyclic }))).toBe("kv_invalid_value");
    expect(await bundle.at("has", "k")).toBe(false);
  });
});

describe("names", () => {
  const longKey = "x".repeat(kvKeyBytesMax + 1);
  const longName = "x".repeat(kvCollectionBytesMax + 1);
  const bad: unknown[] = [
    "",
    "a\0b",
    "\ud800",
    "x\udc00y",
    1,
    null,
    true,
    {},
    [],
    ["a"],
    { length: 1 },
  ];
  const methods = ["get", "getEntry", "has", "set", "delete", "increment"];

  test.each(methods)("kv.%s refuses keys and collections that are no names", async (name) => {
    await using bundle = await setup();
    for (const key of [...bad, undefined, longKey, "€".repeat(kvKeyBytesMax / 3 + 1)]) {
      expect(await codeOf(bundle.call(name, { collection: "c", key, value: 1 }))).toBe(
        "kv_invalid_key",
      );
    }
    for (const collection of [...bad, undefined, longName]) {
      expect(await codeOf(bundle.call(name, { collection, key: "k", value: 1 }))).toBe(
        "kv_invalid_key",
      );
    }
  });

  test("arguments that are no object, or only look like one, are refused", async () => {
    await using bundle = await setup();
    const inherited = Object.create({ collection: "c", key: "k", value: 1 });
    for (const args of [
      undefined,
      null,
      0,
      "c",
      [],
      ["c", "k"],
      {},
      inherited,
      { __proto__: null },
    ]) {
      for (const name of [...methods, "list"]) {
        expect(await codeOf(bundle.call(name, args))).toBe("kv_invalid_key");
      }
    }
  });

  test("only what is promised can be called", async () => {
    await using bundle = await setup();
    expect(Object.keys(bundle.kv.methods).sort()).toEqual([
      "delete",
      "get",
      "getEntry",
      "getMany",
      "has",
      "increment",
      "list",
      "set",
    ]);
    const effects = Object.entries(bundle.kv.methods).filter(([, method]) => method.effect);
    expect(effects.map(([name]) => name).sort()).toEqual(["delete", "increment", "set"]);
  });
});

describe("isolation", () => {
  test("no key and no argument reaches another app's data", async () => {
    await using bundle = await setup();
    const [one, two] = [bundle.context(1), bundle.context(2)];
    for (const collection of ["c", "app-1", "__proto__", "C"]) {
      for (const key of KEYS) {
        const args = { collection, key, app_id: "app-1", app: "app-1", cx: one, seen: one.seen };
        await bundle.call("set", { ...args, value: `one ${key}` }, one);
        expect(await bundle.call("get", args, two)).toBeNull();
        expect(await bundle.call("delete", args, two)).toBe(false);
        await bundle.call("set", { ...args, value: `two ${key}` }, two);
        expect(await bundle.call("get", args, one)).toBe(`one ${key}`);
        expect(await bundle.call("delete", args, two)).toBe(true);
        expect(await bundle.call("has", args, one)).toBe(true);
      }
    }
    expect(((await bundle.call("list", { collection: "c" }, two)) as Listed).items).toEqual([]);
  });

  test("each key is its own, in each collection", async () => {
    await using bundle = await setup();
    for (const [index, key] of KEYS.entries()) await bundle.at("set", key, { value: index });
    for (const [index, key] of KEYS.entries()) expect(await bundle.at("get", key)).toBe(index);
    expect(await bundle.call("get", { collection: "c2", key: "a" })).toBeNull();
  });
});

describe("increment", () => {
  test("counts from nothing, by one or by what is said", async () => {
    await using bundle = await setup();
    expect(await bundle.at("increment", "k")).toBe(1);
    expect(await bundle.at("increment", "k", { by: 2.5 })).toBe(3.5);
    expect(await bundle.at("increment", "k", { by: -10 })).toBe(-6.5);
    expect(await bundle.at("get", "k")).toBe(-6.5);
  });

  test("is atomic among many", async () => {
    await using bundle = await setup();
    const sums = await Promise.all(Array.from({ length: 200 }, () => bundle.at("increment", "k")));
    expect(new Set(sums).size).toBe(200);
    expect(await bundle.at("get", "k")).toBe(200);
  });

  test.each([["1"], [null], [[]], [{}], [true]])(
    "of the value %j is refused and changes nothing",
    async (value) => {
      await using bundle = await setup();
      await bundle.at("set", "k", { value });
      expect(await codeOf(bundle.at("increment", "k"))).toBe("kv_not_a_number");
      expect(await bundle.at("getEntry", "k")).toEqual({ key: "k", value, version: 1 });
    },
  );

  test("by what is no finite number is refused", async () => {
    await using bundle = await setup();
    for (const by of ["1", {}, [], true, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(await codeOf(bundle.at("increment", "k", { by }))).toBe("kv_not_a_number");
    }
    await bundle.at("set", "k", { value: 1.7e308 });
    expect(await codeOf(bundle.at("increment", "k", { by: 1.7e308 }))).toBe("kv_not_a_number");
    expect(await bundle.at("get", "k")).toBe(1.7e308);
  });
});

describe("list", () => {
  const keysOf = (listed: unknown): string[] => (listed as Listed).items.map(({ key }) => key);

  test("is by code point, page by page, without gap or repeat", async () => {
    await using bundle = await setup();
    for (const key of KEYS) await bundle.at("set", key, { value: key.length });
    const sorted = [...KEYS].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const page = (await bundle.call("list", { collection: "c", limit: 4, cursor })) as Listed;
      expect(page.items.length).toBeLessThanOrEqual(4);
      seen.push(...page.items.map(({ key }) => key));
      cursor = page.nextCursor;
    } while (cursor !== null);
    expect(seen).toEqual(sorted);
  });

  test("takes a prefix literally", async () => {
    await using bundle = await setup();
    for (const key of ["a%1", "a%2", "ab", "a_", "A%3", "b"])
      await bundle.at("set", key, { value: 1 });
    expect(keysOf(await bundle.call("list", { collection: "c", prefix: "a%" }))).toEqual([
      "a%1",
      "a%2",
    ]);
    expect(keysOf(await bundle.call("list", { collection: "c", prefix: "a_" }))).toEqual(["a_"]);
    expect(keysOf(await bundle.call("list", { collection: "c", prefix: "" }))).toHaveLength(6);
    expect(keysOf(await bundle.call("list", { collection: "c", prefix: "z" }))).toEqual([]);
  });

  test("answers 50 items when not asked, 200 at most", async () => {
    await using bundle = await setup();
    await Promise.all(
      Array.from({ length: 210 }, (_, i) => bundle.at("set", `k${i}`, { value: i })),
    );
    const first = (await bundle.call("list", { collection: "c" })) as Listed;
    expect(first.items).toHaveLength(50);
    expect(first.nextCursor).not.toBeNull();
    const most = (await bundle.call("list", { collection: "c", limit: 200 })) as Listed;
    expect(most.items).toHaveLength(200);
    const rest = (await bundle.call("list", {
      collection: "c",
      limit: 200,
      cursor: most.nextCursor,
    })) as Listed;
    expect(rest.items).toHaveLength(10);
    expect(rest.nextCursor).toBeNull();
    expect(new Set([...keysOf(most), ...keysOf(rest)]).size).toBe(210);
  });

  test("a page of large values ends early and goes on with its cursor", async () => {
    await using bundle = await setup();
    const value = "x".repeat(200_000);
    for (let i = 0; i < 20; i += 1) await bundle.at("set", `k${i + 10}`, { value });
    const seen: string[] = [];
    let cursor: string | null = null;
    let pages = 0;
    do {
      const page = (await bundle.call("list", { collection: "c", limit: 200, cursor })) as Listed;
      expect(JSON.stringify(page).length).toBeLessThan(kvListBytesMax + 2 * kvValueBytesMax);
      seen.push(...keysOf(page));
      cursor = page.nextCursor;
      pages += 1;
    } while (cursor !== null);
    expect(pages).toBeGreaterThan(1);
    expect(seen).toEqual(Array.from({ length: 20 }, (_, i) => `k${i + 10}`));
  });

  test("refuses limits, prefixes and cursors that it cannot mean", async () => {
    await using bundle = await setup();
    for (const limit of [0, -1, 201, 1.5, 1e300, "5", {}, Number.NaN, true]) {
      expect(await codeOf(bundle.call("list", { collection: "c", limit }))).toBe("invalid");
    }
    for (const prefix of [1, {}, "\0", "\ud800", "x".repeat(kvKeyBytesMax + 1)]) {
      expect(await codeOf(bundle.call("list", { collection: "c", prefix }))).toBe("kv_invalid_key");
    }
    const cursors = [
      "!",
      "a=",
      5,
      {},
      "x".repeat(5_000),
      "YQ==",
      "_____w",
      Buffer.from("\0").toString("base64url"),
    ];
    for (const cursor of cursors) {
      const code = await codeOf(bundle.call("list", { collection: "c", cursor }));
      expect(["invalid", "kv_invalid_key"]).toContain(code as string);
    }
  });
});

describe("durability", () => {
  test("writes and reads note what they saw, and do not wait for it", async () => {
    await using bundle = await setup();
    const cx = bundle.context(1);
    await bundle.call("set", { collection: "c", key: "k", value: 1 }, cx);
    const afterSet = cx.seen.seq;
    expect(afterSet).toBeGreaterThan(0);
    await bundle.call("increment", { collection: "c", key: "k" }, cx);
    expect(cx.seen.seq).toBeGreaterThan(afterSet);
    for (const name of ["get", "getEntry", "has", "list"]) {
      const reader = bundle.context(1);
      await bundle.call(name, { collection: "c", key: "k" }, reader);
      expect(reader.seen.seq).toBe(cx.seen.seq);
    }
    await bundle.db.durable(cx.seen);
  });

  test("a refused call writes nothing and sees nothing", async () => {
    await using bundle = await setup();
    const cx = bundle.context(1);
    await codeOf(bundle.call("set", { collection: "c", key: "" }, cx));
    expect(cx.seen.seq).toBe(0);
  });

  test("an app that was deleted meanwhile is a refusal, not a defect", async () => {
    await using bundle = await setup();
    const cx = { ...bundle.context(1), app_id: "app-gone" };
    const code = await codeOf(bundle.call("set", { collection: "c", key: "k", value: 1 }, cx));
    expect(typeof code).toBe("string");
  });
});

describe("lists of one app", () => {
  test("take turns, so that another app's list waits for two of them and not for all", async () => {
    await using kv = await setup();
    for (let index = 0; index < 8; index += 1) {
      await kv.at("set", `k${index}`, { value: "x".repeat(kvValueBytesMax - 2) });
    }
    let over = 0;
    const flood = Array.from({ length: 200 }, () =>
      kv.call("list", { collection: "c", limit: 4 }).then(() => {
        over += 1;
      }),
    );
    await kv.call("list", { collection: "c" }, kv.context(2));
    expect(over).toBeLessThan(20);
    await Promise.all(flood);
    expect(over).toBe(200);
  });

  test("wait within a bound", async () => {
    await using kv = await setup();
    const flood = Array.from({ length: kvListsPerAppMax + kvListsWaitingMax + 1 }, () =>
      codeOf(kv.call("list", { collection: "c" })),
    );
    expect(await flood.at(-1)).toBe("unavailable");
    const ends = await Promise.all(flood);
    expect(ends.filter((end) => end === "unavailable").length).toBe(1);
  });
});
