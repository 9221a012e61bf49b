import { describe, expect, test } from "bun:test";
import { DocIndexBuilder } from "../../src/background/doc-indexes.ts";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { DocObject } from "../../src/domain/doc-values.ts";
import {
  docBytesMax,
  docDepthMax,
  docFindLimitMax,
  docFindRowsMax,
  docIdBytesMax,
  docIndexesPerAppMax,
  docIndexesPerCollectionMax,
  docPageBytesMax,
} from "../../src/domain/limits.ts";
import { insertDoc } from "../../src/storage/docs.ts";
import type { Database } from "../../src/storage/port.ts";
import { sql } from "../../src/storage/sql.ts";
import { openFolder } from "../execution/folder.ts";
import { type Args, codeOf, type Found, setupDocs, unlimited } from "./docs-setup.ts";

async function setup(options: Parameters<typeof setupDocs>[1] = {}) {
  const folder = await openFolder();
  return { ...folder, ...setupDocs(folder.db, options) };
}

/** Past the binding, a thousand in a transaction. */
async function fill(db: Database, count: number, of: (n: number) => object): Promise<void> {
  for (let from = 0; from < count; from += 1_000) {
    await db.tx(async (tx) => {
      for (let n = from; n < Math.min(count, from + 1_000); n += 1) {
        const id = `d${String(n).padStart(6, "0")}`;
        const place = { app_id: "app-1", collection: "c", id };
        await insertDoc(tx, place, { value: JSON.stringify({ id, ...of(n) }), now: 1 });
      }
    });
  }
}

const messageOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "resolved",
    (error) => String(error),
  );

describe("documents", () => {
  test("come back as they went in; without an id they get one", async () => {
    await using bundle = await setup();
    const { call } = bundle;
    expect(await call("insert", { document: { b: 1 } })).toEqual({ id: "id-000001", b: 1 });
    const text =
      '{"__proto__":{"x":1},"id":"own","":"\\u0000\\ud800","constructor":null,"a.b":{"$x":1e+308}}';
    const document = JSON.parse(text) as DocObject;
    await call("insert", { document });
    expect(JSON.stringify(await call("get", { id: "own" }))).toBe(text);
    expect(await call("getEntry", { id: "own" })).toEqual({
      id: "own",
      value: document,
      version: 1,
    });
    expect(await call("get", { id: "none" })).toBeNull();
    expect(await call("getEntry", { id: "none" })).toBeNull();
  });

  test("are inserted once, replaced and patched while they are there", async () => {
    await using bundle = await setup();
    const { call } = bundle;
    await call("insert", { document: { id: "d", a: 1, o: { x: 1, y: 2 } } });
    expect(await codeOf(call("insert", { document: { id: "d" } }))).toBe("docs_exists");
    expect(await call("patch", { id: "d", changes: { a: null, o: { x: 3 } } })).toEqual({
      id: "d",
      o: { x: 3, y: 2 },
    });
    expect(await call("replace", { id: "d", document: { z: 1 } })).toEqual({ id: "d", z: 1 });
    expect(await call("getEntry", { id: "d" })).toMatchObject({ version: 3 });
    expect(await call("delete", { id: "d" })).toBe(true);
    expect(await call("delete", { id: "d" })).toBe(false);
    expect(await codeOf(call("replace", { id: "d", document: {} }))).toBe("docs_not_found");
    expect(await codeOf(call("patch", { id: "d", changes: {} }))).toBe("docs_not_found");
    await call("insert", { document: { id: "d" } });
    expect(await call("getEntry", { id: "d" })).toMatchObject({ version: 1 });
  });

  test("keep their id", async () => {
    await using bundle = await setup();
    const { call } = bundle;
    await call("insert", { document: { id: "d", a: 1 } });
    for (const id of ["e", null, 5]) {
      expect(await codeOf(call("patch", { id: "d", changes: { id } }))).toBe("docs_invalid_id");
      expect(await codeOf(call("replace", { id: "d", document: { id } }))).toBe("docs_invalid_id");
    }
    expect(await call("patch", { id: "d", changes: { id: "d", a: 2 } })).toEqual({ id: "d", a: 2 });
  });

  test("are written only over the version that is asked for", async () => {
    await using bundle = await setup();
    const { call } = bundle;
    await call("insert", { document: { id: "d", n: 1 } });
    const conflict = "docs_version_conflict";
    expect(await codeOf(call("replace", { id: "d", document: {}, ifVersion: 2 }))).toBe(conflict);
    expect(await codeOf(call("patch", { id: "d", changes: {}, ifVersion: 2 }))).toBe(conflict);
    expect(await codeOf(call("delete", { id: "d", ifVersion: 2 }))).toBe(conflict);
    await call("replace", { id: "d", document: { n: 2 }, ifVersion: 1 });
    await call("patch", { id: "d", changes: { n: 3 }, ifVersion: 2 });
    expect(await call("delete", { id: "d", ifVersion: 3 })).toBe(true);
    expect(await call("delete", { id: "d", ifVersion: 3 })).toBe(false);
    for (const ifVersion of [0, -1, 1.5, "1", {}, 2 ** 53]) {
      expect(await codeOf(call("delete", { id: "d", ifVersion }))).toBe("invalid");
    }
  });
});

describe("hostile arguments", () => {
  const bad = ["", "\0", "a\0b", "\ud800", "x".repeat(docIdBytesMax + 1), 5, null, {}, [], true];

  test("ids and names are text of a bounded length", async () => {
    await using bundle = await setup();
    const { call } = bundle;
    for (const name of bad) {
      expect(await codeOf(call("get", { id: name }))).toBe("docs_invalid_id");
      const more: Args = { id: "d", document: {}, changes: {}, field: "a", collection: name };
      for (const method of bundle.methods) {
        expect(await codeOf(call(method, more))).toBe("docs_invalid_id");
      }
      expect(await codeOf(call("insert", { document: { id: name } }))).toBe("docs_invalid_id");
    }
    for (const id of ["../x", "' or 1=1", "__proto__", "😀", "app-2", "é".repeat(256)]) {
      expect(await call("insert", { document: { id } })).toEqual({ id });
      expect(await call("get", { id })).toEqual({ id });
    }
  });

  test("a document is an object, not too deep and not too large", async () => {
    await using bundle = await setup();
    const { call } = bundle;
    for (const document of [undefined, null, [], "x", 5]) {
      expect(await codeOf(call("insert", { document }))).toBe("docs_invalid_value");
    }
    const nested = (levels: number): unknown => JSON.parse("[".repeat(levels) + "]".repeat(levels));
    expect(await codeOf(call("insert", { document: { id: "d", a: nested(docDepthMax) } }))).toBe(
      "docs_invalid_value",
    );
    await call("insert", { document: { id: "deep", a: nested(docDepthMax - 1) } });
    expect(await codeOf(call("patch", { id: "deep", changes: { a: nested(docDepthMax) } }))).toBe(
      "docs_invalid_value",
    );
    const fits = "x".repeat(docBytesMax - '{"id":"d","a":""}'.length);
    await call("insert", { document: { id: "d", a: fits } });
    const large = "docs_value_too_large";
    expect(await codeOf(call("insert", { document: { id: "e", a: `${fits}x` } }))).toBe(large);
    expect(await codeOf(call("patch", { id: "d", changes: { b: 1 } }))).toBe(large);
    expect(await codeOf(call("replace", { id: "d", document: { a: `${fits}x` } }))).toBe(large);
  });

  test("limits, fields and cursors", async () => {
    await using bundle = await setup();
    const { call } = bundle;
    for (const limit of [0, -1, 1.5, docFindLimitMax + 1, "5", {}]) {
      expect(await codeOf(call("find", { limit }))).toBe("invalid");
    }
    for (const field of ["", "$a", "a\0", "\ud800", "x".repeat(257), 5, null, {}]) {
      expect(await codeOf(call("createIndex", { field }))).toBe("invalid");
      expect(await codeOf(call("dropIndex", { field }))).toBe("invalid");
    }
    for (const cursor of ["", "x", 5, {}, "AAAA"]) {
      expect(await codeOf(call("find", { cursor }))).toBe("docs_invalid_query");
    }
    expect(await messageOf(call("find", { where: { a: { $foo: 1 } } }))).toContain(
      "where.a.$foo: ",
    );
    expect(await codeOf(call("count", { where: { $where: "x" } }))).toBe("docs_invalid_query");
    expect(await codeOf(call("explain", { sort: { a: 0 } }))).toBe("docs_invalid_query");
  });
});

describe("finds", () => {
  test("go on where they stopped, whatever is written meanwhile", async () => {
    await using bundle = await setup();
    const { call } = bundle;
    for (const n of [1, 3, 5, 7, 9]) await call("insert", { document: { id: `d${n}`, n } });
    await call("createIndex", { field: "n" });
    for (const args of [
      { sort: { n: -1 } },
      { where: { n: { $gt: 0 } } },
      {},
      { sort: { id: -1 } },
    ]) {
      const first = await call<Found>("find", { ...args, limit: 2 });
      const last = first.items.at(-1) as DocObject;
      await call("delete", { id: last.id });
      const page = await call<Found>("find", { ...args, limit: 9, cursor: first.nextCursor });
      await call("insert", { document: last });
      const seen = [...first.items, ...page.items].map(({ id }) => id);
      expect(new Set(seen).size).toBe(seen.length);
      expect(["d1", "d3", "d5", "d7", "d9"].every((id) => seen.includes(id))).toBe(true);
    }
  });

  test("an index that comes or goes between two pages changes nothing", async () => {
    await using bundle = await setup();
    const { call } = bundle;
    for (let n = 0; n < 30; n += 1) await call("insert", { document: { id: `d${n}`, n: n % 10 } });
    const args = { where: { n: { $gte: 3 } }, limit: 5 };
    await call("createIndex", { field: "n" });
    const first = await call<Found>("find", args);
    await call("dropIndex", { field: "n" });
    const second = await call<Found>("find", { ...args, cursor: first.nextCursor });
    await call("createIndex", { field: "n" });
    const third = await call<Found>("find", { ...args, limit: 50, cursor: second.nextCursor });
    const values = [...first.items, ...second.items, ...third.items].map(({ n }) => n);
    expect(values).toEqual([3, 4, 5, 6, 7, 8, 9].flatMap((n) => [n, n, n]));
    expect(third.nextCursor).toBeNull();
  });

  test("explain says which index serves, and for what", async () => {
    await using bundle = await setup();
    const { call } = bundle;
    await fill(bundle.db, 1_500, (n) => ({ a: n % 2, b: n, c: n % 100, t: [n % 3, "x"] }));
    for (const field of ["a", "b", "t"]) {
      await call("createIndex", { field });
      await finishIndexes(bundle.db);
    }
    const explain = async (where: object, sort?: object) => {
      const { index, serves, scan, sortsInMemory } = await call<{
        index: string | null;
        serves: string[];
        scan: boolean;
        sortsInMemory: boolean;
      }>("explain", { where, sort });
      return [index, serves.join("+"), scan, sortsInMemory];
    };
    expect(await explain({})).toEqual([null, "", true, false]);
    expect(await explain({ c: 1 })).toEqual([null, "", true, false]);
    expect(await explain({ c: 1 }, { c: 1 })).toEqual([null, "", true, true]);
    expect(await explain({ $or: [{ a: 1 }] })).toEqual([null, "", true, false]);
    expect(await explain({ b: 7 })).toEqual(["b", "where", false, false]);
    expect(await explain({ b: { $gt: 7 } })).toEqual(["b", "where+sort", false, false]);
    expect(await explain({ b: { $gt: 7 } }, { b: -1, c: 1 })).toEqual([
      "b",
      "where+sort",
      false,
      false,
    ]);
    expect(await explain({ c: 1 }, { b: 1 })).toEqual(["b", "sort", false, false]);
    // The fewer documents win.
    expect(await explain({ a: 1, b: 7 })).toEqual(["b", "where", false, false]);
    expect(await explain({ b: { $in: [1, 2] } }, { c: 1 })).toEqual(["b", "where", false, true]);
    expect(await explain({ a: 1 }, { b: 1 })).toEqual(["a", "where", false, true]);
    // Several entries for one document: a range tells of it several times.
    expect(await explain({ t: { $gt: 0 } })).toEqual(["t", "where", false, false]);
    expect(await explain({ id: "d000001" })).toEqual(["id", "where", false, false]);
    expect(await explain({}, { id: -1 })).toEqual(["id", "sort", true, false]);
  });

  test("read a bounded part of a large collection, and say which index would help", async () => {
    await using bundle = await setup();
    const { call } = bundle;
    const count = docFindRowsMax + 500;
    await fill(bundle.db, count, (n) => ({ n, last: n === count - 1 }));
    const first = await call<Found>("find", { where: { last: true } });
    expect(first.items).toEqual([]);
    expect(first.nextCursor).not.toBeNull();
    const second = await call<Found>("find", { where: { last: true }, cursor: first.nextCursor });
    expect(second.items.map(({ n }) => n)).toEqual([count - 1]);
    expect(second.nextCursor).toBeNull();
    expect(await codeOf(call("find", { sort: { n: 1 } }))).toBe("docs_query_too_large");
    expect(await messageOf(call("find", { sort: { n: 1 } }))).toContain('create an index on "n"');
    expect(await messageOf(call("count", { where: { last: false } }))).toContain('index on "last"');
    expect(await call("count")).toBe(count);
    await call("createIndex", { field: "n" });
    await finishIndexes(bundle.db);
    const sorted = await call<Found>("find", { sort: { n: -1 }, limit: 2 });
    expect(sorted.items.map(({ n }) => n)).toEqual([count - 1, count - 2]);
    expect(await call("count", { where: { n: { $gte: 10 } } })).toBe(count - 10);
    // In the order of an index a page may end early, too, and goes on.
    const late = await bundle.findAll({ where: { last: true }, sort: { n: 1 } });
    expect(late.map(({ n }) => n)).toEqual([count - 1]);
  }, 60_000);

  test("a page ends early when its documents are large", async () => {
    await using bundle = await setup();
    await fill(bundle.db, 12, (n) => ({ n, pad: "x".repeat(docBytesMax - 100) }));
    for (const sort of [undefined, { n: -1 }] as const) {
      const page = await bundle.call<Found>("find", { sort, limit: 12 });
      expect(page.items.length).toBe(Math.ceil(docPageBytesMax / docBytesMax) + 1);
      const all = await bundle.findAll({ sort, limit: 12 });
      expect(all).toHaveLength(12);
    }
  });

  test("the event loop has its turns while much is compared", async () => {
    await using bundle = await setup();
    await fill(bundle.db, 3_000, (n) => ({ n, list: Array.from({ length: 100 }, (_, m) => m) }));
    let turns = 0;
    let isOver = false;
    const count = (): void => {
      turns += 1;
      if (!isOver) setImmediate(count);
    };
    setImmediate(count);
    await bundle.call("find", { where: { list: 5_000 } });
    isOver = true;
    expect(turns).toBeGreaterThan(20);
  });
});

describe("events", () => {
  test("tell of every change, with what was there before", async () => {
    await using bundle = await setup({ emits: true });
    const { call, events } = bundle;
    await call("insert", { document: { id: "d", n: 1 } });
    await call("replace", { id: "d", document: { n: 2 } });
    await call("patch", { id: "d", changes: { n: 3 } });
    await call("delete", { id: "d" });
    await call("delete", { id: "d" });
    await codeOf(call("replace", { id: "d", document: {} }));
    const of = (type: string, previous: number | null, value: number | null) => {
      const text = (n: number | null) => (n === null ? null : `{"id":"d","n":${n}}`);
      return {
        source: "docs",
        type,
        collection: "c",
        key: "d",
        previous: text(previous),
        value: text(value),
      };
    };
    expect(events as unknown[]).toEqual([
      of("insert", null, 1),
      of("update", 1, 2),
      of("update", 2, 3),
      of("delete", 3, null),
    ]);
  });
});

describe("bounds", () => {
  test("an app keeps so many rows, and can delete when it is full", async () => {
    for (const emits of [false, true]) {
      await using bundle = await setup({ rows_max: 3, emits });
      const { call } = bundle;
      for (const id of ["a", "b", "c"]) await call("insert", { document: { id } });
      expect(await codeOf(call("insert", { document: { id: "d" } }))).toBe("quota_exceeded");
      await call("patch", { id: "a", changes: { n: 1 } });
      await call("delete", { id: "a" });
      await call("insert", { document: { id: "d" } });
      expect(await call("count")).toBe(3);
    }
  });

  test("so many bytes", async () => {
    await using bundle = await setup({ bytes_max: 100_000 });
    const { call } = bundle;
    await call("insert", { document: { id: "a", pad: "x".repeat(60_000) } });
    const more = call("insert", { document: { id: "b", pad: "x".repeat(60_000) } });
    expect(await codeOf(more)).toBe("quota_exceeded");
    await call("replace", { id: "a", document: {} });
    await call("insert", { document: { id: "b", pad: "x".repeat(60_000) } });
  });

  test("so many bytes, entries of indexes included: they are many times the document", async () => {
    await using bundle = await setup({ bytes_max: 100_000 });
    const { call } = bundle;
    const tags = Array.from({ length: 50 }, (_, index) => `${"x".repeat(100)}${index}`);
    await call("createIndex", { field: "tags" });
    const codes: unknown[] = [];
    for (let n = 0; n < 12; n += 1) {
      const document = { id: `${"i".repeat(200)}${n}`, tags };
      codes.push(await codeOf(call("insert", { document })));
    }
    // Of the documents alone there would be room for more than 12.
    expect(codes.at(-1)).toBe("quota_exceeded");
    expect(await call("count")).toBeLessThan(6);
  });

  test("an index that finds no room is dropped again, and the documents stay", async () => {
    await using bundle = await setup({ bytes_max: 1_200_000 });
    const { call, db, usage } = bundle;
    const tags = Array.from({ length: 20 }, (_, index) => `${"x".repeat(100)}${index}`);
    // What is written while the first measurement runs does not count.
    await usage.admit("app-1", { rows: 10 ** 9, bytes: 0 })?.catch(() => {});
    for (let n = 0; n < 400; n += 1) await call("insert", { document: { id: `${n}`, tags } });
    const created = await codeOf(call("createIndex", { field: "tags" }));
    expect(created).toEqual({ resolved: { field: "tags", state: "building" } });
    const builder = new DocIndexBuilder({ db, usage, clock: systemClock, log: silentLogger });
    await builder.start();
    await builder.idle();
    await builder.stop();
    expect(await call("indexes")).toEqual([]);
    expect(await call("count")).toBe(400);
    const [left] = await db.all(sql<{ n: number }>`select count(*) as n from doc_index_entries`);
    expect(left?.n).toBe(0);
  });

  test("a long document under many conditions leaves the event loop its turns", async () => {
    await using bundle = await setup();
    const { call } = bundle;
    const a = Array.from({ length: 40_000 }, () => [7]);
    await call("insert", { document: { id: "long", a } });
    const $or = Array.from({ length: 80 }, (_, n) => ({ a: { $lt: [-n] } }));
    let turns = 0;
    let isDone = false;
    const found = call<Found>("find", { where: { $or: [...$or, { a: [7] }] } }).finally(() => {
      isDone = true;
    });
    while (!isDone) {
      await new Promise((resolve) => setImmediate(resolve));
      turns += 1;
    }
    expect((await found).items.map(({ id }) => id)).toEqual(["long"]);
    expect(await call("count", { where: { $or } })).toBe(0);
    // As one piece it was some four: those of the reads.
    expect(turns).toBeGreaterThan(10);
  });

  test("so many indexes in a collection, and in all of them", async () => {
    await using bundle = await setup();
    const { call } = bundle;
    const create = (collection: number, field: number) =>
      codeOf(call("createIndex", { collection: `c${collection}`, field: `f${field}` }));
    for (let field = 0; field < docIndexesPerCollectionMax; field += 1) {
      expect(await create(0, field)).toEqual({ resolved: { field: `f${field}`, state: "ready" } });
    }
    expect(await create(0, 99)).toBe("docs_index_limit");
    expect(await create(0, 1)).toMatchObject({ resolved: { state: "ready" } });
    await call("dropIndex", { collection: "c0", field: "f0" });
    expect(await create(0, 99)).toMatchObject({ resolved: { state: "ready" } });
    const collections = docIndexesPerAppMax / docIndexesPerCollectionMax;
    for (let collection = 1; collection < collections; collection += 1) {
      for (let field = 0; field < docIndexesPerCollectionMax; field += 1) {
        await create(collection, field);
      }
    }
    expect(await create(99, 0)).toBe("docs_index_limit");
  });
});

async function finishIndexes(db: Database): Promise<void> {
  const builder = new DocIndexBuilder({
    db,
    usage: unlimited,
    clock: systemClock,
    log: silentLogger,
  });
  await builder.start();
  await builder.idle();
  await builder.stop();
}
