import { describe, expect, test } from "bun:test";
import { formatCursor, parseCursor } from "../../src/domain/doc-cursors.ts";
import { createMatcher, createSlowMatcher } from "../../src/domain/doc-matcher.ts";
import { candidatesOf } from "../../src/domain/doc-plans.ts";
import { comparePositions, parseSort, parseWhere, positionOf } from "../../src/domain/doc-query.ts";
import { compareText, type DocObject } from "../../src/domain/doc-values.ts";
import { PicError } from "../../src/domain/errors.ts";
import { docConditionsMax, docInValuesMax, docQueryDepthMax } from "../../src/domain/limits.ts";

/** Which of the documents, told apart by `id`, a filter finds. */
function found(documents: Record<string, unknown>, where: unknown): string[] {
  const matches = createMatcher(parseWhere(where));
  return Object.entries(documents)
    .filter(([id, document]) => matches({ id, ...(document as DocObject) }))
    .map(([id]) => id);
}

function refusal(parse: () => unknown): { code: string; message: string } | null {
  try {
    parse();
    return null;
  } catch (error) {
    if (!(error instanceof PicError)) throw error;
    return { code: error.code, message: error.message };
  }
}

test("what is compared condition by condition finds the same, and asks for turns", async () => {
  const documents: DocObject[] = [
    { a: 1, b: "x" },
    { a: [1, [2], { c: 3 }], b: null },
    { a: { c: 3 } },
    { b: ["x", "y"], d: { e: [{ f: 1 }, { f: 2 }] } },
    {},
  ];
  const filters = [
    {},
    { a: 1 },
    { a: { $ne: 1 } },
    { a: { $in: [[2], { c: 3 }, 9] } },
    { a: { $nin: [[2], { c: 3 }, 9] } },
    { $or: [{ a: { $gt: 0 } }, { b: { $exists: false } }] },
    { $and: [{ b: "x" }, { "d.e.f": { $not: { $lt: 2, $gt: 1 } } }] },
    { $or: [{ $and: [{ a: null }, { b: "y" }] }, { a: { $not: { $exists: true } } }] },
  ];
  let turns = 0;
  const turn = async () => {
    turns += 1;
  };
  for (const where of filters) {
    const query = parseWhere(where);
    const slow = createSlowMatcher(query, turn);
    const found = await Promise.all(documents.map((one) => createSlowMatcher(query, turn)(one)));
    expect(found).toEqual(documents.map(createMatcher(query)));
    expect(await slow(documents[0] as DocObject)).toBe(found[0] as boolean);
  }
  expect(turns).toBeGreaterThan(documents.length * filters.length);
});

test("each array or object of an $in is a condition: all elements are compared with it", () => {
  const arrays = (count: number) => Array.from({ length: count }, (_, index) => [index]);
  expect(parseWhere({ a: { $in: arrays(docConditionsMax) } }).conditions).toBe(docConditionsMax);
  expect(refusal(() => parseWhere({ a: { $in: arrays(docConditionsMax + 1) } }))?.code).toBe(
    "docs_invalid_query",
  );
  expect(parseWhere({ a: { $in: new Array(docInValuesMax).fill(1) } }).conditions).toBe(1);
});

describe("equality", () => {
  const documents = {
    number: { a: 1 },
    text: { a: "1" },
    truth: { a: true },
    nothing: { a: null },
    missing: {},
    empty: { a: [] },
    array: { a: [1, 2] },
    nested: { a: [[1, 2]] },
    nulls: { a: [null] },
    object: { a: { b: 1, c: 2 } },
    other: { a: { c: 2, b: 1 } },
  };
  test.each([
    [{ a: 1 }, ["number", "array"]],
    [{ a: "1" }, ["text"]],
    [{ a: true }, ["truth"]],
    [{ a: null }, ["nothing", "missing", "nulls"]],
    [{ a: [] }, ["empty"]],
    [{ a: [1, 2] }, ["array", "nested"]],
    [{ a: [[1, 2]] }, ["nested"]],
    [{ a: { b: 1, c: 2 } }, ["object"]],
    [{ a: { $eq: { c: 2, b: 1 } } }, ["other"]],
    [{ a: { b: 1 } }, []],
    [{ a: { $in: [1, "1", null] } }, ["number", "text", "nothing", "missing", "array", "nulls"]],
    [{ a: { $in: [[1, 2], { c: 2, b: 1 }] } }, ["array", "nested", "other"]],
    [{ a: { $exists: false } }, ["missing"]],
    [{ a: -0 }, []],
    [{ "a.length": 2 }, []],
  ])("%j", (where, ids) => {
    expect(found(documents, where)).toEqual(ids);
  });

  test("what a comparison does not find its negation does", () => {
    const all = Object.keys(documents);
    for (const operand of [1, "1", true, null, [], [1, 2], { b: 1, c: 2 }]) {
      const equal = found(documents, { a: { $eq: operand } });
      const rest = all.filter((id) => !equal.includes(id));
      expect(found(documents, { a: { $ne: operand } })).toEqual(rest);
      expect(found(documents, { a: { $nin: [operand] } })).toEqual(rest);
      expect(found(documents, { a: { $not: { $eq: operand } } })).toEqual(rest);
      expect(found(documents, { a: { $not: { $not: { $eq: operand } } } })).toEqual(equal);
    }
  });
});

describe("ranges", () => {
  const documents = {
    small: { a: -1e308 },
    zero: { a: -0 },
    tiny: { a: 5e-324 },
    two: { a: 2 },
    ten: { a: 10 },
    large: { a: 2 ** 53 + 2 },
    textTwo: { a: "2" },
    textTen: { a: "10" },
    tilde: { a: "～" },
    smile: { a: "😀" },
    no: { a: false },
    yes: { a: true },
    nothing: { a: null },
    missing: {},
    array: { a: [1, 20] },
    object: { a: { b: 1 } },
    pair: { a: [[1], [3]] },
  };
  test.each([
    [{ a: { $gt: 2 } }, ["ten", "large", "array"]],
    [{ a: { $gte: 2, $lt: 10 } }, ["two", "array"]],
    [{ a: { $gt: 2 ** 53 } }, ["large"]],
    [{ a: { $lt: 0 } }, ["small"]],
    [{ a: { $gte: 0, $lte: 0 } }, ["zero"]],
    [{ a: { $gt: 0, $lt: 1e-300 } }, ["tiny"]],
    [{ a: { $gt: "10" } }, ["textTwo", "tilde", "smile"]],
    [{ a: { $gt: "～" } }, ["smile"]],
    [{ a: { $lt: "2" } }, ["textTen"]],
    [{ a: { $gt: false } }, ["yes"]],
    [{ a: { $lte: true } }, ["no", "yes"]],
    [{ a: { $gt: null } }, []],
    [{ a: { $gte: null } }, ["nothing", "missing"]],
    [{ a: { $gt: { b: 0 } } }, ["object"]],
    [{ a: { $gt: [2] } }, ["pair"]],
    [{ a: { $lt: [2] } }, ["array", "pair"]],
    [
      { a: { $not: { $gte: 2 } } },
      Object.keys(documents).filter((id) => !["two", "ten", "large", "array"].includes(id)),
    ],
  ])("%j", (where, ids) => {
    expect(found(documents, where)).toEqual(ids);
  });
});

describe("paths", () => {
  const documents = {
    deep: { a: { b: 1 } },
    array: { a: [{ b: 1 }, { b: [2, 3] }, {}] },
    plain: { a: [1, "x"] },
    number: { a: 4 },
    empty: { a: [] },
    objects: { a: {} },
    index: { a: { "0": { b: 1 } } },
    odd: { "a.b": 1, "": { "": 5 }, $a: 7 },
    proto: JSON.parse('{"__proto__":{"b":1},"a":{"constructor":{"name":"x"}}}') as object,
  };
  test.each([
    [{ "a.b": 1 }, ["deep", "array"]],
    [{ "a.b": 3 }, ["array"]],
    [{ "a.0.b": 1 }, ["array", "index"]],
    [{ "a.1.b.0": 2 }, ["array"]],
    [{ "a.0": 1 }, ["plain"]],
    [{ "a.00": 1 }, []],
    [{ "a.b": null }, ["array", "number", "objects", "index", "odd", "proto"]],
    [{ "a.b": { $exists: true } }, ["deep", "array"]],
    [{ "a.5": { $exists: true } }, []],
    [{ ".": 5 }, ["odd"]],
    [{ "__proto__.b": 1 }, ["proto"]],
    [{ "a.constructor.name": "x" }, ["proto"]],
    [{ "a.constructor": { $exists: true } }, ["proto"]],
    [{ "a.hasOwnProperty": { $exists: true } }, []],
    [{ "toString.name": "toString" }, []],
  ])("%j", (where, ids) => {
    expect(found(documents, where)).toEqual(ids);
  });

  test("$and, $or and fields together", () => {
    const where = { $or: [{ "a.b": 1 }, { $and: [{ a: { $gt: 3 } }, { a: { $lt: 5 } }] }] };
    expect(found(documents, where)).toEqual(["deep", "array", "number"]);
    expect(found(documents, { a: 4, $or: [{ b: null }] })).toEqual(["number"]);
  });
});

describe("what is refused, with the path and the rule", () => {
  const nested = (levels: number): object =>
    levels === 0 ? { a: 1 } : { $and: [nested(levels - 1)] };
  const negated = (levels: number): object =>
    levels === 0 ? { $eq: 1 } : { $not: negated(levels - 1) };
  test.each([
    [5, "where"],
    [[], "where"],
    ["a = 1", "where"],
    [{ $where: "1" }, "where.$where"],
    [{ $nor: [{ a: 1 }] }, "where.$nor"],
    [{ $not: { a: 1 } }, "where.$not"],
    [{ a: { $regex: "x" } }, "where.a.$regex"],
    [{ a: { $gt: 1, b: 2 } }, "where.a"],
    [{ $and: [] }, "where.$and"],
    [{ $or: {} }, "where.$or"],
    [{ $or: [{ a: 1 }, 7] }, "where.$or.1"],
    [{ a: { $in: 1 } }, "where.a.$in"],
    [{ a: { $in: Array(docInValuesMax + 1).fill(0) } }, "where.a.$in"],
    [{ a: { $exists: 1 } }, "where.a.$exists"],
    [{ a: { $not: 1 } }, "where.a.$not"],
    [{ a: { $not: {} } }, "where.a.$not"],
    [{ ["x".repeat(300)]: 1 }, `where.${"x".repeat(64)}…`],
    [nested(docQueryDepthMax + 1), "where.$and.0"],
    [{ a: negated(docQueryDepthMax + 1) }, "where.a.$not"],
    [
      Object.fromEntries(Array.from({ length: docConditionsMax + 1 }, (_, n) => [`f${n}`, 1])),
      "where.f100",
    ],
    [{ a: { $eq: JSON.parse("[".repeat(5_000) + "]".repeat(5_000)) } }, "where.a.$eq"],
    [{ a: JSON.parse(`${'{"a":'.repeat(5_000)}1${"}".repeat(5_000)}`) }, "where.a"],
  ])("case %#", (where, path) => {
    const refused = refusal(() => parseWhere(where));
    expect(refused?.code).toBe("docs_invalid_query");
    expect(refused?.message.startsWith(path)).toBe(true);
  });

  test("what is just allowed", () => {
    expect(refusal(() => parseWhere(nested(docQueryDepthMax)))).toBeNull();
    expect(refusal(() => parseWhere({ a: negated(docQueryDepthMax) }))).toBeNull();
    expect(refusal(() => parseWhere({ a: { $in: Array(docInValuesMax).fill(0) } }))).toBeNull();
    expect(refusal(() => parseWhere(null))).toBeNull();
  });

  test.each([
    [[], "sort"],
    ["a", "sort"],
    [{ a: 2 }, "sort.a"],
    [{ a: "1" }, "sort.a"],
    [{ $a: 1 }, "sort.$a"],
    [{ a: 1, b: 1, c: 1, d: 1, e: 1 }, "sort"],
  ])("sort %j", (sort, path) => {
    expect(refusal(() => parseSort(sort))?.message.startsWith(`${path}: `)).toBe(true);
  });
});

test("the order of types, of arrays by their least or greatest element, and ties by id", () => {
  const documents: DocObject[] = [
    { id: "missing" },
    { id: "empty", a: [] },
    { id: "null", a: null },
    { id: "array", a: [5, -3] },
    { id: "-1", a: -1 },
    { id: "2", a: 2 },
    { id: "text", a: "a" },
    { id: "z", a: "z" },
    { id: "smile", a: "😀" },
    { id: "object", a: {} },
    { id: "nested", a: [[1]] },
    { id: "false", a: false },
    { id: "true", a: true },
  ];
  const ordered = (sort: object) => {
    const parsed = parseSort(sort);
    return [...documents]
      .map((document) => positionOf(parsed, document.id as string, document))
      .sort((a, b) => comparePositions(parsed, a, b))
      .map(({ id }) => id)
      .join(" ");
  };
  expect(ordered({ a: 1 })).toBe(
    "empty missing null array -1 2 text z smile object nested false true",
  );
  expect(ordered({ a: -1 })).toBe(
    "true false nested object smile z text array 2 -1 null missing empty",
  );
});

test("text is compared by code point, halves of surrogate pairs included", () => {
  const ordered = [
    "",
    "A",
    "a",
    "e\u0301",
    "z",
    "é",
    "\ud7ff",
    "\ud83d",
    "\ud83dA",
    "\ud83dB",
    "\udc00",
    "\ue000",
    "\uffff",
    "😀",
    "😀a",
    "\u{10ffff}",
  ];
  for (const [i, a] of ordered.entries()) {
    for (const [j, b] of ordered.entries()) {
      expect(Math.sign(compareText(a, b))).toBe(Math.sign(i - j));
    }
  }
});

describe("cursors", () => {
  const sort = parseSort({ a: 1, b: -1 });
  const position = { values: ["\ud800😀", { x: [1] }], id: "d" };

  test("come back as they went", () => {
    const cursor = formatCursor({ sort, position });
    expect(parseCursor(cursor, sort)).toEqual({ sort, position });
    expect(parseCursor(cursor, null)).toEqual({ sort, position });
    expect(parseCursor(null, sort)).toBeNull();
  });

  test("of another sort, or made up, are refused", () => {
    const cursor = formatCursor({ sort, position });
    const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
    for (const bad of [
      "",
      "x",
      5,
      {},
      `${cursor}=`,
      `${cursor}A`,
      encode(null),
      encode([[], [], ""]),
      encode([[], [], "\0"]),
      encode([[], [], "x".repeat(513)]),
      encode([[["a", 1]], [], "d"]),
      encode([
        [
          ["a", 1],
          ["a", 1],
        ],
        [1, 1],
        "d",
      ]),
      encode([[["a", 3]], [1], "d"]),
      encode([["a"], [1], "d"]),
      encode([[["a", 1]], [JSON.parse("[".repeat(200) + "]".repeat(200))], "d"]),
      "A".repeat(1_000_000),
    ]) {
      expect(refusal(() => parseCursor(bad, null))?.code).toBe("docs_invalid_query");
    }
    expect(refusal(() => parseCursor(cursor, parseSort({ a: 1 })))?.code).toBe(
      "docs_invalid_query",
    );
    expect(refusal(() => parseCursor(cursor, []))?.code).toBe("docs_invalid_query");
  });

  test("that would be too long are an error, not a wrong page", () => {
    const long = { values: ["x".repeat(400_000)], id: "d" };
    const refused = refusal(() => formatCursor({ sort: parseSort({ a: 1 }), position: long }));
    expect(refused?.code).toBe("docs_query_too_large");
  });
});

describe("an index serves conditions that hold for all that is found, and no others", () => {
  const served = (where: unknown) =>
    candidatesOf(parseWhere(where), [{ field: "a", multikey: 0 }]).length > 0;
  test.each([
    [{ a: 1 }],
    [{ $and: [{ $and: [{ a: 1 }] }, { b: 1 }] }],
    [{ a: { $in: [] } }],
    [{ a: null }],
    [{ a: { $gt: {} } }],
    [{ a: [1, 2] }],
  ])("%j is served", (where) => {
    expect(served(where)).toBe(true);
  });
  test.each([
    [{}],
    [{ b: 1 }],
    [{ $or: [{ a: 1 }, { b: 1 }] }],
    [{ a: { $ne: 1 } }],
    [{ a: { $exists: true } }],
    [{ a: { $not: { $gt: 1 } } }],
    [{ "a.b": 1 }],
    [{ a: { $gt: [1] } }],
  ])("%j is not", (where) => {
    expect(served(where)).toBe(false);
  });
});
