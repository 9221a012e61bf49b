/**
 * No call reaches another app's data, whatever it is asked for. The calls are enumerated from the
 * bindings and from the declared endpoints themselves: a new one without a case here fails.
 *
 * Both apps hold a record of one name, and the second a record and a collection of a name that the first
 * has not. Asked by the first app, that name must be answered as one that is nowhere.
 */
import { describe, expect, test } from "bun:test";
import type { BindingContext } from "../../src/domain/bindings.ts";
import { declaredEndpoints } from "../../src/http/admin/app.ts";
import type { Database } from "../../src/storage/port.ts";
import { sql } from "../../src/storage/sql.ts";
import { ask, serve } from "../http/admin/server.ts";
import { appIds, by, type DataTest, onEachEngine } from "../services/data-setup.ts";

/** The same length, so that answers differ in nothing else. */
const onlyTwo = "only-two";
const nowhere = "no-where";
const shared = "shared";
const names = [onlyTwo, nowhere, shared] as const;

type Case = (name: string) => object;

const place: Case = (key) => ({ collection: "c", key });
const document: Case = (id) => ({ collection: "c", id });

/** What a script sends, for a name: of a record, or of a collection where there is no record. */
const bindingCases: Readonly<Record<string, Case>> = {
  "kv.get": place,
  "kv.getEntry": place,
  "kv.getMany": (key) => ({ collection: "c", keys: [key, key] }),
  "kv.has": place,
  "kv.list": (prefix) => ({ collection: "c", prefix }),
  "kv.set": (key) => ({ collection: "c", key, value: "new" }),
  "kv.delete": place,
  "kv.increment": (key) => ({ collection: "numbers", key }),
  "docs.get": document,
  "docs.getEntry": document,
  "docs.find": (id) => ({ collection: "c", where: { id } }),
  "docs.count": (collection) => ({ collection }),
  "docs.explain": (collection) => ({ collection, where: { text: 1 } }),
  "docs.indexes": (collection) => ({ collection }),
  "docs.insert": (id) => ({ collection: "c", document: { id, text: "new" } }),
  "docs.replace": (id) => ({ collection: "c", id, document: { text: "new" } }),
  "docs.patch": (id) => ({ collection: "c", id, changes: { more: 1 } }),
  "docs.delete": document,
  "docs.createIndex": (collection) => ({ collection, field: "other" }),
  "docs.dropIndex": (collection) => ({ collection, field: "text" }),
  "tx.begin": () => ({ ordinal: 1 }),
  "tx.read": (key) => ({
    records: [
      { source: "kv", collection: "c", key },
      { source: "docs", collection: "c", key },
    ],
  }),
  "tx.check": (key) => ({
    run: 1,
    reads: [{ source: "kv", collection: "c", key, version: 0, digest: "" }],
  }),
  "tx.commit": (key) => ({
    run: 1,
    reads: [],
    writes: [
      { source: "kv", op: "put", collection: "c", key, value: "new" },
      { source: "docs", op: "put", collection: "c", key, value: { text: "new" } },
    ],
  }),
};

interface Call {
  query?: Record<string, string>;
  body?: unknown;
}

/** What a person sends. */
const endpointCases: Readonly<Record<string, (name: string) => Call>> = {
  "kv.collections": () => ({}),
  "kv.entries": (collection) => ({ query: { collection } }),
  "kv.get": (key) => ({ query: { collection: "c", key } }),
  "kv.set": (key) => ({ body: { collection: "c", key, value: "new" } }),
  "kv.delete": (key) => ({ query: { collection: "c", key } }),
  "kv.clear": (collection) => ({ query: { collection, confirm: collection } }),
  "kv.export": (collection) => ({ query: { collection } }),
  "kv.import": (key) => ({
    query: { mode: "merge" },
    body: JSON.stringify({ collection: "c", key, value: "new" }),
  }),
  "docs.collections": () => ({}),
  "docs.find": (collection) => ({ body: { collection } }),
  "docs.count": (collection) => ({ body: { collection } }),
  "docs.explain": (collection) => ({ body: { collection, where: { text: 1 } } }),
  "docs.get": (id) => ({ query: { collection: "c", id } }),
  "docs.insert": (id) => ({ body: { collection: "c", value: { id, text: "new" } } }),
  "docs.replace": (id) => ({ body: { collection: "c", id, value: { text: "new" } } }),
  "docs.patch": (id) => ({ body: { collection: "c", id, patch: { more: 1 } } }),
  "docs.delete": (id) => ({ query: { collection: "c", id } }),
  "docs.clear": (collection) => ({ query: { collection, confirm: collection } }),
  "docs.indexes": (collection) => ({ query: { collection } }),
  "docs.createIndex": (collection) => ({ body: { collection, field: "other" } }),
  "docs.dropIndex": (collection) => ({ query: { collection, field: "text" } }),
  "docs.export": (collection) => ({ query: { collection } }),
  "docs.import": (id) => ({
    query: { mode: "merge" },
    body: JSON.stringify({ collection: "c", id, value: { text: "new" } }),
  }),
};

/** All that an app keeps, as text. */
async function kept(db: Database, app_id: string): Promise<string> {
  const rows = await Promise.all([
    db.all(sql`select * from kv where app_id = ${app_id} order by collection, key`),
    db.all(sql`select * from docs where app_id = ${app_id} order by collection, id`),
    db.all(sql`select * from doc_indexes where app_id = ${app_id} order by collection, field`),
    db.all(sql`select * from doc_index_entries where app_id = ${app_id}
      order by collection, field, type, number, text, doc_id`),
    db.all(sql`select event_id, payload from outbox where app_id = ${app_id} order by event_id`),
  ]);
  return JSON.stringify(rows);
}

/** Each app's records say whose they are. */
async function fill({ kv, docs }: Pick<DataTest, "kv" | "docs">): Promise<void> {
  for (const [app, own] of [
    ["one", [shared]],
    ["two", [shared, onlyTwo]],
  ] as const) {
    const text = `text-of-${app}`;
    for (const name of own) {
      for (const collection of ["c", name]) {
        await kv.set(by("r"), app, { collection, key: name, value: text });
        await docs.insert(by("r"), app, { collection, value: { id: name, text } });
      }
      await kv.set(by("r"), app, { collection: "numbers", key: name, value: 7 });
      await docs.createIndex(by("r"), app, { collection: name, field: "text" });
    }
  }
}

/** What is the same, whatever the name was. */
function nameless(answer: unknown): string {
  let text = JSON.stringify(answer) ?? "undefined";
  for (const name of names) text = text.replaceAll(name, "name");
  return text.replace(/"instance":"[^"]*"/, "");
}

onEachEngine("a script's calls", (open) => {
  const contextOf = (app: keyof typeof appIds): BindingContext => ({
    app_id: appIds[app],
    script_id: `script-${app}`,
    execution_id: "execution",
    delivery: null,
    seen: { seq: 0 },
  });

  async function outcome(work: Promise<unknown>): Promise<object> {
    return work.then(
      (value) => ({ value }),
      (error: { code?: string }) => ({ error: error.code ?? String(error) }),
    );
  }

  test("each has a case", async () => {
    const { bindings } = await open();
    const all = bindings.flatMap(({ name, methods }) =>
      Object.keys(methods).map((method) => `${name}.${method}`),
    );
    expect(Object.keys(bindingCases).toSorted()).toEqual(all.toSorted());
  });

  test("none reaches another app", async () => {
    const t = await open();
    await fill(t);
    const before = await kept(t.db, appIds.two);
    expect(before).toContain("text-of-two");
    for (const { name, methods } of t.bindings) {
      for (const [method, { call }] of Object.entries(methods)) {
        const argsOf = bindingCases[`${name}.${method}`] as Case;
        const answers: string[] = [];
        for (const asked of names) {
          // What a script says about its app means nothing.
          const args = { ...argsOf(asked), app_id: appIds.two, app: "two" };
          const answer = await outcome(call(contextOf("one"), args));
          expect(JSON.stringify(answer)).not.toContain("text-of-two");
          answers.push(nameless(answer));
          expect([name, method, (await kept(t.db, appIds.two)) === before]).toEqual([
            name,
            method,
            true,
          ]);
        }
        const [ofOnlyTwo, ofNowhere] = answers;
        expect([name, method, ofOnlyTwo]).toEqual([name, method, ofNowhere]);
      }
    }
  }, 30_000);

  test("each reaches its own app: the cases would show what they look for", async () => {
    const t = await open();
    await fill(t);
    const all = t.bindings.flatMap(({ name, methods }) =>
      Object.entries(methods).map(([method, { call, effect }]) => ({
        operation: `${name}.${method}`,
        call,
        effect,
      })),
    );
    // Reads first: a write takes away what they look for.
    for (const { operation, call, effect } of all.toSorted((a, b) => +a.effect - +b.effect)) {
      const argsOf = bindingCases[operation] as Case;
      const before = await kept(t.db, appIds.two);
      const answer = await outcome(call(contextOf("two"), argsOf(onlyTwo)));
      const missing = await outcome(call(contextOf("two"), argsOf(nowhere)));
      const isChanged = (await kept(t.db, appIds.two)) !== before;
      const isSeen = nameless(answer) !== nameless(missing);
      // Results of `tx` belong to an event, not to a name.
      const isVisible = operation === "tx.begin" || (effect ? isChanged : isSeen);
      expect([operation, isVisible]).toEqual([operation, true]);
    }
  }, 30_000);
});

describe("the admin API", () => {
  const isData = /^\/apps\/:app\/(?:kv|docs)(?:\/|$)/;
  // Declarations alone: no service is called.
  const endpoints = declaredEndpoints({} as Parameters<typeof declaredEndpoints>[0]).filter(
    ({ path }) => isData.test(path),
  );

  test("each call for data has a case", () => {
    const all = endpoints.map(({ operation }) => operation);
    expect(Object.keys(endpointCases).toSorted()).toEqual(all.toSorted());
  });

  test("no call reaches another app than the one in its address", async () => {
    await using t = await serve();
    for (const slug of ["one", "two"]) await t.client.apps.create({ slug, name: slug });
    await fill(t);
    const two = await t.client.apps.get("two");
    const before = await kept(t.db, two.id);
    expect(before).toContain("text-of-two");
    for (const { operation, method, path, bodyType } of endpoints) {
      const answers: string[] = [];
      for (const asked of names) {
        const call = endpointCases[operation]?.(asked) ?? {};
        const query = new URLSearchParams(call.query).toString();
        const url = `${t.publicUrl}/api/v1/admin${path.replace(":app", "one")}?${query}`;
        const answer = await ask(url, method, {
          token: t.token,
          headers: { "x-app": "two" },
          ...(call.body === undefined
            ? {}
            : { body: call.body, headers: { "content-type": bodyType } }),
        });
        expect([operation, answer.status < 500]).toEqual([operation, true]);
        expect([operation, answer.text.includes("text-of-two")]).toEqual([operation, false]);
        expect([operation, (await kept(t.db, two.id)) === before]).toEqual([operation, true]);
        answers.push(nameless([answer.status, answer.json ?? answer.text]));
      }
      const [ofOnlyTwo, ofNowhere] = answers;
      expect([operation, ofOnlyTwo]).toEqual([operation, ofNowhere]);
    }
  }, 30_000);
});
