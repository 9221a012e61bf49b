import { expect, test } from "bun:test";
import { DocIndexBuilder } from "../../../src/background/doc-indexes.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { silentLogger } from "../../../src/base/log.ts";
import { createMatcher } from "../../../src/domain/doc-matcher.ts";
import {
  comparePositions,
  parseSort,
  parseWhere,
  positionOf,
} from "../../../src/domain/doc-query.ts";
import { compareText, type DocObject, type DocValue } from "../../../src/domain/doc-values.ts";
import { insertApp } from "../../../src/storage/apps.ts";
import { stepDocIndex } from "../../../src/storage/doc-indexes.ts";
import { deleteDoc, getDoc, insertDoc, updateDoc } from "../../../src/storage/docs.ts";
import type { Database } from "../../../src/storage/port.ts";
import { sql } from "../../../src/storage/sql.ts";
import {
  codeOf,
  type DocsSetup,
  entryFaults,
  setupDocs,
  unlimited,
} from "../../bindings/docs-setup.ts";
import { filters, sorts, values } from "./docs-cases.ts";
import { app, type Engine, messageOf, opener, seed } from "./engine.ts";

export function docsConformance(engine: Engine): void {
  const open = opener(engine);
  const setup = async (options: Parameters<typeof setupDocs>[1] = {}) => {
    const { db } = await open();
    await seed(db);
    await db.tx((tx) => insertApp(tx, { ...app, id: "app-2", slug: "other" }));
    return { db, ...setupDocs(db, options) };
  };

  test("a document is written in the place of what was read, and of nothing else", async () => {
    const { db } = await setup();
    const place = { app_id: app.id, collection: "c", id: "d" };
    const insert = (value: string) => db.tx((tx) => insertDoc(tx, place, { value, now: 1 }));
    const update = (version: number, old: string, value: string) =>
      db.tx((tx) => updateDoc(tx, place, { previous: { version, value: old }, value, now: 1 }));
    expect(await insert('{"n":1}')).toBe(true);
    expect(await insert('{"n":2}')).toBe(false);
    expect(await update(1, '{"n":1}', '{"n":2}')).toBe(2);
    expect(await update(1, '{"n":1}', '{"n":3}')).toBeNull();
    expect(await update(2, '{"n":1}', '{"n":3}')).toBeNull();
    const remove = (version: number, value: string) =>
      db.tx((tx) => deleteDoc(tx, place, { version, value }));
    expect(await remove(2, '{"n":1}')).toBe(false);
    expect(await remove(2, '{"n":2}')).toBe(true);
    expect(await getDoc(db, place)).toBeNull();
  });

  test("every query finds the same by a scan, by an index, in every order and page by page", async () => {
    const bundle = await setup();
    const documents = await fillCases(bundle);
    const run = async (label: string) => {
      for (const where of filters) {
        for (const sort of isSimple(where) ? sorts.slice(0, 3) : sorts) {
          await checkFind(bundle, documents, { where, sort, label });
        }
      }
    };
    await run("scan");
    for (const field of ["a", "b", "a.b"]) await bundle.call("createIndex", { field });
    await buildAll(bundle.db);
    expect(await entryFaults(bundle.db)).toEqual([]);
    await run("indexes");
  }, 120_000);

  test("the same of documents with one value each, which an index serves by ranges", async () => {
    const bundle = await setup();
    const documents = await fillCases(bundle, (value) => !Array.isArray(value));
    for (const field of ["a", "b"]) await bundle.call("createIndex", { field });
    await buildAll(bundle.db);
    const where = { a: { $gt: 0 } };
    expect(await bundle.call("explain", { where })).toMatchObject({ index: "a", scan: false });
    for (const where of filters) {
      for (const sort of sorts.slice(0, isSimple(where) ? 3 : 4)) {
        await checkFind(bundle, documents, { where, sort, label: "single values" });
      }
    }
  }, 120_000);

  test("an index is built in steps, goes on where it was stopped, and knows what is written meanwhile", async () => {
    const bundle = await setup();
    const { db, call } = bundle;
    await insertMany(bundle, 200);
    expect(await call("createIndex", { field: "n" })).toEqual({ field: "n", state: "building" });
    expect(await call("createIndex", { field: "n" })).toEqual({ field: "n", state: "building" });
    expect(await call("explain", { where: { n: 1 } })).toMatchObject({ index: null, scan: true });
    const place = { app_id: app.id, collection: "c", field: "n" };
    expect((await db.tx((tx) => stepDocIndex(tx, place))).isDone).toBe(false);
    // Before the place that it has come to, behind it, and new ones on both sides.
    await call("replace", { id: "n-010", document: { n: "changed" } });
    await call("replace", { id: "n-190", document: { n: [1, 2, 3] } });
    await call("delete", { id: "n-011" });
    await call("delete", { id: "n-191" });
    await call("insert", { document: { id: "a", n: 5 } });
    await call("insert", { document: { id: "z", n: 5 } });
    // Another process, after a restart.
    const builder = new DocIndexBuilder({
      db,
      usage: unlimited,
      clock: systemClock,
      log: silentLogger,
    });
    await builder.start();
    await builder.idle();
    await builder.stop();
    expect(await call("indexes")).toEqual([{ field: "n", state: "ready" }]);
    expect(await entryFaults(db)).toEqual([]);
    expect(await call("explain", { where: { n: 1 } })).toMatchObject({ index: "n", scan: false });
  });

  test("writers and builders at the same time leave no entry out and none behind", async () => {
    const bundle = await setup();
    const { db, call } = bundle;
    await insertMany(bundle, 150);
    const builders = [1, 2].map(
      () => new DocIndexBuilder({ db, usage: unlimited, clock: systemClock, log: silentLogger }),
    );
    for (const builder of builders) await builder.start();
    const writes: Promise<unknown>[] = [];
    for (let round = 0; round < 60; round += 1) {
      const id = `n-${String((round * 7) % 150).padStart(3, "0")}`;
      const n = round % 3 === 0 ? [round, round + 1] : round;
      writes.push(codeOf(call("patch", { id, changes: { n } })));
      if (round % 4 === 0) writes.push(codeOf(call("delete", { id })));
      if (round % 5 === 0) writes.push(call("insert", { document: { n: `new ${round}` } }));
      if (round === 20) writes.push(call("createIndex", { field: "n" }));
      if (round === 25) writes.push(call("createIndex", { field: "m" }));
      if (round === 30) writes.push(call("dropIndex", { field: "m" }));
      if (round % 10 === 9) await Promise.all(writes);
    }
    await Promise.all(writes);
    for (const builder of builders) {
      await builder.idle();
      await builder.stop();
    }
    await buildAll(db);
    expect(await call("indexes")).toEqual([{ field: "n", state: "ready" }]);
    expect(await entryFaults(db)).toEqual([]);
  }, 30_000);

  test("an index is dropped while it is built, and made again while it is dropped", async () => {
    const bundle = await setup();
    const { db, call } = bundle;
    await insertMany(bundle, 700);
    await call("createIndex", { field: "n" });
    await buildAll(db);
    expect(await call("dropIndex", { field: "n" })).toBe(true);
    expect(await call("dropIndex", { field: "n" })).toBe(false);
    expect(await call("indexes")).toEqual([]);
    await call("patch", { id: "n-001", changes: { n: "while dropping" } });
    expect(await call("createIndex", { field: "n" })).toMatchObject({ state: "building" });
    await call("patch", { id: "n-002", changes: { n: "while building" } });
    await buildAll(db);
    expect(await entryFaults(db)).toEqual([]);
    await call("createIndex", { field: "m" });
    expect(await call("dropIndex", { field: "m" })).toBe(true);
    await buildAll(db);
    expect(await call("indexes")).toEqual([{ field: "n", state: "ready" }]);
    expect(await entryFaults(db)).toEqual([]);
    expect(await call("dropIndex", { field: "n" })).toBe(true);
    await buildAll(db);
    expect(await db.all(sql`select field from doc_indexes`)).toEqual([]);
    expect(await db.all(sql`select doc_id from doc_index_entries`)).toEqual([]);
  }, 30_000);

  test("of many writers of one document each replaces what another one left", async () => {
    const { call, events } = await setup({ emits: true });
    await call("insert", { document: { id: "d", n: 0 } });
    const work = Array.from({ length: 24 }, (_, index) =>
      call("patch", { id: "d", changes: { [`m${index}`]: index } }),
    );
    await Promise.all(work);
    const entry = await call<{ version: number; value: DocObject }>("getEntry", { id: "d" });
    expect(entry.version).toBe(25);
    expect(Object.keys(entry.value)).toHaveLength(26);
    const byPrevious = new Map(events.map((event) => [event.previous, event]));
    expect(byPrevious.size).toBe(25);
    let length = 0;
    let last: string | null = null;
    for (let next = byPrevious.get(null); next !== undefined; next = byPrevious.get(last)) {
      last = next.value;
      length += 1;
    }
    expect([length, last]).toEqual([25, JSON.stringify(entry.value)]);
  }, 30_000);

  test("of writers that ask for the same version one wins", async () => {
    const { call } = await setup();
    await call("insert", { document: { id: "d", n: 0 } });
    const results = await Promise.all(
      Array.from({ length: 12 }, (_, n) =>
        codeOf(call("replace", { id: "d", document: { n }, ifVersion: 1 })),
      ),
    );
    expect(results.filter((one) => one === "docs_version_conflict")).toHaveLength(11);
    const inserts = await Promise.all(
      Array.from({ length: 12 }, () => codeOf(call("insert", { document: { id: "e" } }))),
    );
    expect(inserts.filter((one) => one === "docs_exists")).toHaveLength(11);
  });

  test("no method of one app reaches another one's documents or indexes", async () => {
    const { db, call, methods } = await setup();
    await call("insert", { document: { id: "d", n: 1 } });
    await call("createIndex", { field: "n" });
    const other = (method: string, args: Record<string, unknown> = {}) =>
      codeOf(call(method, { id: "d", ...args }, "app-2"));
    const results: Record<string, unknown> = {
      get: await other("get"),
      getEntry: await other("getEntry"),
      replace: await other("replace", { document: {} }),
      patch: await other("patch", { changes: {} }),
      delete: await other("delete"),
      find: await other("find"),
      count: await other("count"),
      indexes: await other("indexes"),
      dropIndex: await other("dropIndex", { field: "n" }),
      explain: await other("explain", { where: { n: 1 } }),
      createIndex: await other("createIndex", { field: "m" }),
      insert: await other("insert", { document: { id: "d", n: 2 } }),
    };
    expect(Object.keys(results).sort()).toEqual([...methods].sort());
    expect(results).toMatchObject({
      get: { resolved: null },
      getEntry: { resolved: null },
      replace: "docs_not_found",
      patch: "docs_not_found",
      delete: { resolved: false },
      find: { resolved: { items: [], nextCursor: null } },
      count: { resolved: 0 },
      indexes: { resolved: [] },
      dropIndex: { resolved: false },
      explain: { resolved: { scan: true } },
      insert: { resolved: { id: "d", n: 2 } },
    });
    expect(await call("get", { id: "d" })).toEqual({ id: "d", n: 1 });
    expect(await call("indexes")).toEqual([{ field: "n", state: "ready" }]);
    expect(await call("find", { where: { n: { $gt: 0 } } })).toMatchObject({
      items: [{ id: "d", n: 1 }],
    });
    expect(await entryFaults(db)).toEqual([]);
  });

  test("the schema refuses what is beyond its bounds, and an unknown app has no documents", async () => {
    const { db } = await setup();
    const insert = (
      place: Partial<{ app_id: string; collection: string; id: string }>,
      value = "{}",
    ) =>
      messageOf(
        db.tx((tx) =>
          insertDoc(tx, { app_id: app.id, collection: "c", id: "d", ...place }, { value, now: 1 }),
        ),
      );
    expect(await insert({ id: "" })).toContain("onstraint");
    expect(await insert({ id: "é".repeat(257) })).toContain("onstraint");
    expect(await insert({ collection: "" })).toContain("onstraint");
    expect(await insert({ collection: "c".repeat(129) })).toContain("onstraint");
    expect(await insert({}, `"${"x".repeat(262_143)}"`)).toContain("onstraint");
    expect(await insert({ app_id: "app-9" })).toContain("refers");
    expect(await insert({ id: "é".repeat(256) }, `"${"x".repeat(262_142)}"`)).toBe("resolved");
  });
}

type Bundle = DocsSetup & { db: Database };

async function fillCases(
  { call }: Bundle,
  isWanted: (value: DocValue | undefined) => boolean = () => true,
): Promise<DocObject[]> {
  const wanted = values.filter(isWanted);
  const documents = wanted.map((value, index): DocObject => {
    const id = `d${String(index).padStart(2, "0")}`;
    return { id, ...(value === undefined ? {} : { a: value }), b: index % 7 };
  });
  // Not in the order of ids.
  for (const document of [...documents].reverse()) await call("insert", { document });
  return documents.map((document) => JSON.parse(JSON.stringify(document)) as DocObject);
}

interface Case {
  where: unknown;
  sort: Record<string, 1 | -1> | undefined;
  label: string;
}

/** Brute force over all documents says what has to be found, and in which order. */
async function checkFind(bundle: Bundle, documents: DocObject[], one: Case): Promise<void> {
  const { where, label } = one;
  const matches = createMatcher(parseWhere(where));
  const wanted = documents.filter(matches);
  const limit = 25;
  const found = await bundle.findAll({ where, ...(one.sort && { sort: one.sort }), limit });
  const shown = (list: DocObject[]) => ({
    label,
    where,
    sort: one.sort,
    ids: list.map(({ id }) => id),
  });
  if (one.sort === undefined) {
    const byId = (a: DocObject, b: DocObject) => compareText(a.id as string, b.id as string);
    expect(shown([...found].sort(byId))).toEqual(shown(wanted.sort(byId)));
    expect(await bundle.call("count", { where })).toBe(wanted.length);
    return;
  }
  const sort = parseSort(one.sort);
  const placed = wanted.map((document) => ({
    document,
    position: positionOf(sort, document.id as string, document),
  }));
  placed.sort((a, b) => comparePositions(sort, a.position, b.position));
  expect(shown(found)).toEqual(shown(placed.map(({ document }) => document)));
}

/** One operator and one operand: there are hundreds of these. */
function isSimple(where: unknown): boolean {
  return JSON.stringify(where).startsWith('{"a":{');
}

async function insertMany({ call }: Bundle, count: number): Promise<void> {
  const work: Promise<unknown>[] = [];
  for (let n = 0; n < count; n += 1) {
    const id = `n-${String(n).padStart(3, "0")}`;
    work.push(call("insert", { document: { id, n, m: n % 5 } }));
    if (work.length === 50) await Promise.all(work.splice(0));
  }
  await Promise.all(work);
}

async function buildAll(db: Database): Promise<void> {
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
