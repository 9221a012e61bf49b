import { describe, expect, test } from "bun:test";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { PicError } from "../../src/domain/errors.ts";
import {
  kvCollectionBytesMax,
  kvKeyBytesMax,
  kvListBytesMax,
  kvListsPerAppMax,
  kvListsWaitingMax,
  kvManyBytesMax,
  kvManyKeysMax,
  kvValueBytesMax,
  ttlSecondsMax,
} from "../../src/domain/limits.ts";
import { until } from "../execution/fakes.ts";
import { openFolder } from "../execution/folder.ts";
import { callOf, composeForTest, context, emitted, seedTrigger } from "./composed.ts";

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
      for (const name of [...methods, "getMany", "list"]) {
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
  test.each(["without triggers", "with triggers"])(
    "no method, key or argument reaches another app's data (%s)",
    async (name) => {
      await using bundle = await setup();
      if (name === "with triggers") {
        for (const app of [1, 2]) await seedTrigger(bundle.db, { id: `t${app}`, app });
        await until(() => bundle.live.idsFor("app-2", "kv", "c")?.length === 1);
      }
      const [one, two] = [bundle.context(1), bundle.context(2)];
      const names = ["c", "app-1", "app-2/c", "__proto__", "C", "../app-1", "c'--", "é".repeat(64)];
      for (const collection of names) {
        for (const key of KEYS) {
          const forged = { app_id: "app-1", app: "app-1", cx: one, seen: one.seen };
          const args = { collection, key, keys: [key], ...forged };
          await bundle.call("set", { ...args, value: 1, ttl: 1_000 }, one);
          expect(await bundle.call("get", args, two)).toBeNull();
          expect(await bundle.call("getEntry", args, two)).toBeNull();
          expect(await bundle.call("getMany", args, two)).toEqual([null]);
          expect(await bundle.call("has", args, two)).toBe(false);
          expect(await bundle.call("delete", args, two)).toBe(false);
          const update = { ...args, value: 2, ifVersion: 1 };
          expect(await codeOf(bundle.call("set", update, two))).toBe("kv_version_conflict");
          expect(await bundle.call("increment", { ...args, by: 10 }, two)).toBe(10);
          expect(await bundle.call("increment", args, one)).toBe(2);
          expect(await bundle.call("set", { ...update, ifVersion: 1 }, two)).toBe(2);
          expect(await bundle.call("getMany", args, one)).toEqual([2]);
          expect(await bundle.call("delete", { ...args, ifVersion: 2 }, two)).toBe(true);
          expect(await bundle.call("get", args, one)).toBe(2);
        }
        const listed = (await bundle.call("list", { collection }, two)) as Listed;
        expect(listed.items).toEqual([]);
      }
      const wrong = (await emitted(bundle.db)).filter(
        ({ app_id, script_id, trigger_id }) =>
          `${app_id} ${script_id} ${trigger_id}` !==
          (app_id === "app-1" ? "app-1 script-1 t1" : "app-2 script-2 t2"),
      );
      expect(wrong).toEqual([]);
    },
  );

  test("each key is its own, in each collection", async () => {
    await using bundle = await setup();
    for (const [index, key] of KEYS.entries()) await bundle.at("set", key, { value: index });
    for (const [index, key] of KEYS.entries()) expect(await bundle.at("get", key)).toBe(index);
    expect(await bundle.call("get", { collection: "c2", key: "a" })).toBeNull();
  });
});

describe("versions", () => {
  test("set resolves to the version, and writes only in the place of the one asked for", async () => {
    await using bundle = await setup();
    expect(await codeOf(bundle.at("set", "k", { value: 1, ifVersion: 1 }))).toBe(
      "kv_version_conflict",
    );
    expect(await bundle.at("set", "k", { value: 1, ifVersion: 0 })).toBe(1);
    expect(await bundle.at("set", "k", { value: 2, ifVersion: 1 })).toBe(2);
    for (const ifVersion of [0, 1, 3, Number.MAX_SAFE_INTEGER]) {
      expect(await codeOf(bundle.at("set", "k", { value: 3, ifVersion }))).toBe(
        "kv_version_conflict",
      );
      expect(await codeOf(bundle.at("delete", "k", { ifVersion }))).toBe("kv_version_conflict");
    }
    expect(await bundle.at("getEntry", "k")).toEqual({ key: "k", value: 2, version: 2 });
    expect(await bundle.at("set", "k", { value: 3, ifVersion: null })).toBe(3);
    expect(await bundle.at("delete", "k", { ifVersion: 3 })).toBe(true);
    expect(await bundle.at("delete", "k", { ifVersion: 0 })).toBe(false);
    expect(await codeOf(bundle.at("delete", "k", { ifVersion: 3 }))).toBe("kv_version_conflict");
  });

  test("the error says which version there is", async () => {
    await using bundle = await setup();
    const message = (args: Args) => bundle.at("set", "k", args).catch((error) => error.message);
    expect(await message({ value: 1, ifVersion: 4 })).toEndWith("there is no entry");
    await bundle.at("set", "k", { value: 1 });
    expect(await message({ value: 1, ifVersion: 4 })).toEndWith("it has version 1");
  });

  test("what is no version is refused", async () => {
    await using bundle = await setup();
    for (const ifVersion of [-1, 1.5, "1", true, {}, [], Number.NaN, 2 ** 53]) {
      expect(await codeOf(bundle.at("set", "k", { value: 1, ifVersion }))).toBe("invalid");
      expect(await codeOf(bundle.at("delete", "k", { ifVersion }))).toBe("invalid");
    }
    expect(await bundle.at("has", "k")).toBe(false);
  });
});

describe("time to live", () => {
  async function timed() {
    const time = { now: 1_000_000 };
    const bundle = await setup({ ...systemClock, now: () => time.now });
    return {
      ...bundle,
      pass: (ms: number): void => {
        time.now += ms;
      },
    };
  }

  test("an entry is there until its time and absent from then on, for every method", async () => {
    await using bundle = await timed();
    await bundle.at("set", "k", { value: 7 });
    await bundle.at("set", "k", { value: 7, ttl: 1.5 });
    const seen = async () => [
      await bundle.at("get", "k"),
      await bundle.at("getEntry", "k"),
      await bundle.at("has", "k"),
      await bundle.call("getMany", { collection: "c", keys: ["k"] }),
      ((await bundle.call("list", { collection: "c" })) as Listed).items.length,
    ];
    bundle.pass(1_499);
    expect(await seen()).toEqual([7, { key: "k", value: 7, version: 2 }, true, [7], 1]);
    bundle.pass(1);
    expect(await seen()).toEqual([null, null, false, [null], 0]);
    expect(await codeOf(bundle.at("set", "k", { value: 1, ifVersion: 2 }))).toBe(
      "kv_version_conflict",
    );
    expect(await bundle.at("delete", "k")).toBe(false);
    expect(await bundle.at("delete", "k", { ifVersion: 0 })).toBe(false);
    expect(await bundle.at("set", "k", { value: 8, ifVersion: 0 })).toBe(1);
  });

  test("a set without it keeps the value for good; one with it begins anew", async () => {
    await using bundle = await timed();
    await bundle.at("set", "a", { value: 1, ttl: 1 });
    await bundle.at("set", "a", { value: 2 });
    await bundle.at("set", "b", { value: 1, ttl: 1 });
    bundle.pass(900);
    await bundle.at("set", "b", { value: 2, ttl: 1 });
    bundle.pass(900);
    expect(await bundle.at("get", "b")).toBe(2);
    bundle.pass(1e9);
    expect(await bundle.at("get", "a")).toBe(2);
    expect(await bundle.at("get", "b")).toBeNull();
  });

  test("a count keeps the time of its first; a new one takes its own", async () => {
    await using bundle = await timed();
    expect(await bundle.at("increment", "n", { ttl: 60 })).toBe(1);
    bundle.pass(59_999);
    expect(await bundle.at("increment", "n", { ttl: 60 })).toBe(2);
    expect(await bundle.at("increment", "n")).toBe(3);
    bundle.pass(1);
    expect(await bundle.at("increment", "n")).toBe(1);
    bundle.pass(1e9);
    expect(await bundle.at("increment", "n", { ttl: 1 })).toBe(2);
    bundle.pass(1e9);
    expect(await bundle.at("get", "n")).toBe(2);
  });

  test("is seconds within its bounds, and nothing else", async () => {
    await using bundle = await timed();
    for (const ttl of [0, -1, 0.0009, ttlSecondsMax + 1, 1e300, "60", {}, [], true, Number.NaN]) {
      for (const name of ["set", "increment"]) {
        expect(await codeOf(bundle.at(name, "k", { value: 1, ttl }))).toBe("invalid");
      }
    }
    expect(await bundle.at("has", "k")).toBe(false);
    await bundle.at("set", "k", { value: 1, ttl: ttlSecondsMax });
    await bundle.at("set", "short", { value: 1, ttl: 0.001 });
    expect(await bundle.at("has", "short")).toBe(true);
    bundle.pass(1);
    expect(await bundle.at("has", "short")).toBe(false);
    await bundle.at("set", "none", { value: 1, ttl: null });
    bundle.pass((ttlSecondsMax - 1) * 1_000);
    expect(await bundle.at("has", "k")).toBe(true);
    expect(await bundle.at("has", "none")).toBe(true);
  });
});

describe("getMany", () => {
  const many = (bundle: Awaited<ReturnType<typeof setup>>, keys: unknown) =>
    bundle.call("getMany", { collection: "c", keys });

  test("answers values in the order of the keys, null for what is missing, twice what is asked twice", async () => {
    await using bundle = await setup();
    for (const [index, key] of KEYS.entries()) await bundle.at("set", key, { value: index });
    await bundle.at("set", "stored null", { value: null });
    expect(await many(bundle, KEYS)).toEqual(KEYS.map((_, index) => index));
    expect(await many(bundle, ["b", "a", "stored null", "a", "😀"])).toEqual([
      null,
      0,
      null,
      0,
      KEYS.indexOf("😀"),
    ]);
    expect(await many(bundle, [])).toEqual([]);
    const most = Array.from({ length: kvManyKeysMax }, (_, index) => `none ${index}`);
    expect(await many(bundle, most)).toEqual(most.map(() => null));
  });

  test("long values come along, up to a bound on all of them", async () => {
    await using bundle = await setup();
    const value = "x".repeat(kvValueBytesMax - 2);
    const fit = Math.floor(kvManyBytesMax / kvValueBytesMax);
    const keys = Array.from({ length: fit + 1 }, (_, index) => `k${index}`);
    for (const key of keys) await bundle.at("set", key, { value });
    await bundle.at("set", "short", { value: 1 });
    const read = (await many(bundle, ["short", ...keys.slice(0, fit - 1)])) as unknown[];
    expect(read[0]).toBe(1);
    expect(new Set(read.slice(1))).toEqual(new Set([value]));
    expect(await codeOf(many(bundle, keys))).toBe("kv_value_too_large");
    const repeated = Array.from({ length: fit + 1 }, () => "k0");
    expect(await codeOf(many(bundle, repeated))).toBe("kv_value_too_large");
  });

  test("refuses what are no keys, and too many", async () => {
    await using bundle = await setup();
    for (const keys of [undefined, null, "a", {}, { length: 1, 0: "a" }, 5]) {
      expect(await codeOf(many(bundle, keys))).toBe("invalid");
    }
    for (const key of ["", "\0", "\ud800", 1, null, "x".repeat(kvKeyBytesMax + 1)]) {
      expect(await codeOf(many(bundle, ["a", key]))).toBe("kv_invalid_key");
    }
    const tooMany = Array.from({ length: kvManyKeysMax + 1 }, () => "a");
    expect(await codeOf(many(bundle, tooMany))).toBe("invalid");
    expect(await codeOf(bundle.call("getMany", { collection: "", keys: ["a"] }))).toBe(
      "kv_invalid_key",
    );
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
    for (const name of ["get", "getEntry", "getMany", "has", "list"]) {
      const reader = bundle.context(1);
      await bundle.call(name, { collection: "c", key: "k", keys: ["k"] }, reader);
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
