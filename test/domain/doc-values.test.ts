import { describe, expect, test } from "bun:test";
import {
  compareKeys,
  type IndexKey,
  indexKey,
  isExact,
  keysOf,
  manyKey,
} from "../../src/domain/doc-index-keys.ts";
import {
  compareValues,
  type DocObject,
  type DocValue,
  isShallow,
  mergePatch,
  parsePath,
  valuesAt,
} from "../../src/domain/doc-values.ts";
import { docDepthMax, docIndexKeysMax, docIndexTextCharsMax } from "../../src/domain/limits.ts";
import { values } from "../storage/conformance/docs-cases.ts";

/** As both engines sort: numbers by size, text by its bytes. */
function compareAsStored(a: IndexKey, b: IndexKey): number {
  return (
    a.type - b.type ||
    a.number - b.number ||
    Buffer.compare(Buffer.from(a.text), Buffer.from(b.text))
  );
}

/** Numbers of a generator with a known seed (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const units = [
  "\0",
  "\u0001",
  "\u0002",
  "a",
  "é",
  "\ud7ff",
  "\ud800",
  "\udbff",
  "\udc00",
  "\udfff",
  "\ue000",
  "\uffff",
  "😀",
  "\u{10ffff}",
];

function randomText(random: () => number): string {
  const common = random() < 0.3 ? "é".repeat(docIndexTextCharsMax - 2) : "";
  const length = Math.floor(random() * 5);
  return common + Array.from({ length }, () => units[Math.floor(random() * units.length)]).join("");
}

describe("keys of an index", () => {
  const given = values.filter((value): value is DocValue => value !== undefined);

  test("sort as the values do, and say when they stand for one value alone", () => {
    for (const a of given) {
      for (const b of given) {
        const [x, y] = [indexKey(a), indexKey(b)];
        const order = Math.sign(compareValues(a, b));
        const stored = Math.sign(compareAsStored(x, y));
        expect(Math.sign(compareKeys(x, y))).toBe(stored);
        if (stored !== 0) expect(stored).toBe(order);
        else if (isExact(x)) expect(order).toBe(0);
      }
    }
  });

  test("the same for 20,000 pairs of texts and of numbers by chance", () => {
    const random = randomOf(7);
    const number = () => {
      const view = new DataView(new ArrayBuffer(8));
      view.setUint32(0, random() * 2 ** 32);
      view.setUint32(4, random() * 2 ** 32);
      const made = view.getFloat64(0);
      return Number.isFinite(made) ? made : 0;
    };
    for (let round = 0; round < 20_000; round += 1) {
      const isText = round % 2 === 0;
      const [a, b] = isText ? [randomText(random), randomText(random)] : [number(), number()];
      const [x, y] = [indexKey(a), indexKey(b)];
      const stored = Math.sign(compareAsStored(x, y));
      const order = Math.sign(compareValues(a, b));
      if (stored === 0 && isExact(x)) expect(order).toBe(0);
      else if (stored !== 0) expect([a, b, stored]).toEqual([a, b, order]);
    }
  });

  test("can be kept by every engine: no NUL, no half of a pair, a bounded length, safe numbers", () => {
    const random = randomOf(11);
    const texts = Array.from({ length: 2_000 }, () => randomText(random));
    for (const value of [...given, ...texts]) {
      const { text, number } = indexKey(value);
      expect(text.isWellFormed() && !text.includes("\0")).toBe(true);
      expect(Buffer.byteLength(text)).toBeLessThanOrEqual(4 * docIndexTextCharsMax);
      expect(Number.isInteger(number) && !Number.isSafeInteger(number)).toBe(false);
    }
  });

  test("of one document: each once, null for nothing, few for many", () => {
    const path = parsePath("a");
    if (path === null) throw new Error("a path that is too long");
    const keys = (a?: DocValue) => keysOf(a === undefined ? {} : { a }, path);
    const nothing = indexKey(null);
    expect(keys()).toEqual([nothing]);
    expect(keys([])).toEqual([nothing]);
    expect(keys([1, 1, -0, 0])).toEqual([indexKey(1), indexKey(0)]);
    expect(keys(Array.from({ length: docIndexKeysMax }, (_, n) => n))).toHaveLength(
      docIndexKeysMax,
    );
    const many = Array.from({ length: docIndexKeysMax + 1 }, (_, n) => n);
    expect(keys(many)).toEqual([indexKey(0), indexKey(docIndexKeysMax), manyKey]);
    expect(keys(Array(10_000).fill("x"))).toEqual([indexKey("x")]);
  });
});

describe("a merge patch", () => {
  // RFC 7396, appendix A, those whose target and patch are objects.
  test.each([
    ['{"a":"b"}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'],
    ['{"a":"b"}', '{"a":null}', "{}"],
    ['{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'],
    ['{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'],
    ['{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'],
    ['{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'],
    ['{"e":null}', '{"a":1}', '{"e":null,"a":1}'],
    ["{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'],
    ["{}", '{"__proto__":{"x":1}}', '{"__proto__":{"x":1}}'],
    ['{"__proto__":{"y":2}}', '{"__proto__":{"x":1}}', '{"__proto__":{"y":2,"x":1}}'],
    ['{"__proto__":1}', '{"__proto__":null}', "{}"],
    ['{"a":1}', '{"constructor":{"name":"x"}}', '{"a":1,"constructor":{"name":"x"}}'],
  ])("%s and %s make %s", (target, patch, result) => {
    const before = JSON.parse(target) as DocObject;
    expect(JSON.stringify(mergePatch(before, JSON.parse(patch) as DocObject))).toBe(result);
    expect(JSON.stringify(before)).toBe(target);
    expect(({} as Record<string, unknown>).x).toBeUndefined();
  });
});

test("a number that is an element and a member is followed both ways, and each place once", () => {
  // Both ways at each of 45 levels are 2^45 ways: whoever asked waited for ever, and everybody else.
  let value: DocValue = 7;
  for (let level = 0; level < 45; level += 1) value = [{ "0": value }];
  const at = (parts: number) => {
    const path = parsePath(new Array(parts).fill("0").join("."));
    return path === null ? null : valuesAt({ "0": value }, path);
  };
  expect(at(docDepthMax)).toEqual([]);
  expect(at(60)).toContain(7);
  expect(at(91)).toEqual([7]);
});

test("what nests too deep is told without going to its end", () => {
  const nested = (levels: number) => JSON.parse("[".repeat(levels) + "]".repeat(levels)) as unknown;
  expect(isShallow(nested(docDepthMax))).toBe(true);
  expect(isShallow(nested(docDepthMax + 1))).toBe(false);
  expect(isShallow(nested(100_000))).toBe(false);
  expect(isShallow({ a: { b: nested(docDepthMax) } })).toBe(false);
});
