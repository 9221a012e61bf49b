import { afterEach, describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { newId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/log.ts";
import { createDocsWrites } from "../../src/bindings/docs-writes.ts";
import { createTxBinding } from "../../src/bindings/tx.ts";
import type { BindingContext } from "../../src/domain/bindings.ts";
import { PicError } from "../../src/domain/errors.ts";
import type { Delivery } from "../../src/domain/events.ts";
import {
  txConflictWaitMsMax,
  txKeysMax,
  txReadBytesMax,
  txResultBytesMax,
  txTriesMax,
} from "../../src/domain/limits.ts";
import { insertApp } from "../../src/storage/apps.ts";
import { claimDeliveries, insertDelivery, returnDelivery } from "../../src/storage/outbox.ts";
import type { Database, Reader } from "../../src/storage/port.ts";
import { openPostgres } from "../../src/storage/postgres.ts";
import { insertScript, insertVersion } from "../../src/storage/scripts.ts";
import { sql } from "../../src/storage/sql.ts";
import { FakeTime } from "../execution/fakes.ts";
import { openFolder, scriptOf } from "../execution/folder.ts";
import { postgresMissing, testPostgres } from "../postgres.ts";
import { until } from "../storage/postgres-setup.ts";
import { callOf, composeForTest, context, emitted, seedTrigger } from "./composed.ts";

type Answer = { value: string; version: number; digest: string } | null;
type Place = { source: "kv" | "docs"; collection: string; key: string };
type Verdict = { state: string; value?: unknown };
interface Read extends Place {
  version: number;
  digest: string;
}

const engines: { name: string; missing: string | null; open(): Promise<Opened> }[] = [
  { name: "SQLite", missing: null, open: openFolder },
  { name: "PostgreSQL", missing: postgresMissing(), open: openServer },
];

interface Opened {
  db: Database;
  [Symbol.asyncDispose](): Promise<void>;
}

async function openServer(): Promise<Opened> {
  const server = await testPostgres();
  const name = await server.createDatabase();
  const { db, close } = await openPostgres({
    url: server.url(name),
    clock: systemClock,
    log: silentLogger,
  });
  await db.tx(async (tx) => {
    for (const number of [1, 2]) {
      const app_id = `app-${number}`;
      await insertApp(tx, { id: app_id, slug: app_id, name: app_id, created_at: 1 });
      const { script, version } = scriptOf({ id: `script-${number}`, app_id });
      await insertScript(tx, script);
      await insertVersion(tx, version);
    }
  });
  return {
    db,
    [Symbol.asyncDispose]: async () => {
      await close();
      await server.dropDatabase(name);
    },
  };
}

const entry = (key: string, collection = "c"): Place => ({ source: "kv", collection, key });
const put = (place: Place, value: unknown, more: object = {}) => ({
  ...place,
  op: "put",
  value,
  ...more,
});

/** The code of the PicError that it rejects with, or what it resolves to. */
const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.catch((error) => {
    if (error instanceof PicError) return error.code;
    throw error;
  });

for (const engine of engines) {
  describe.skipIf(engine.missing !== null)(engine.name, () => {
    const ends: (() => Promise<void>)[] = [];
    afterEach(async () => {
      for (const end of ends.splice(0).reverse()) await end();
    });

    async function setup(limits: { bytes_max?: number } = {}) {
      const opened = await engine.open();
      ends.push(() => opened[Symbol.asyncDispose]());
      const { db } = opened;
      const clock = new FakeTime();
      const composed = await composeForTest({ db, clock, ...limits });
      ends.push(composed.stop);
      const waits: number[] = [];
      const binding = createTxBinding({
        db,
        clock,
        kv: composed.writes,
        docs: createDocsWrites({ clock, emission: composed.emission, usage: composed.usage }),
        usage: composed.usage,
        random: () => 1,
        wait: async (ms) => void waits.push(ms),
      });
      const call = (name: string, args: unknown, cx = context()) => callOf(binding, name, cx, args);
      const read = async (places: Place[], cx = context()): Promise<Read[]> => {
        const answers = (await call("read", { records: places }, cx)) as Answer[];
        return places.map((place, index) => {
          const { version, digest } = answers[index] ?? { version: 0, digest: "" };
          return { ...place, version, digest };
        });
      };
      const commit = (args: object, cx = context()): Promise<Verdict> =>
        call("commit", { run: 1, reads: [], writes: [], ...args }, cx) as Promise<Verdict>;
      const kv = (name: string, key: string, more: object = {}, cx = context()) =>
        callOf(composed.kv, name, cx, { collection: "c", key, ...more });
      return { ...composed, db, clock, waits, binding, call, read, commit, kv };
    }

    /** A delivery that somebody claims; its context as a handler's. */
    async function claimed({ db, clock }: { db: Database; clock: FakeTime }, event_id = newId()) {
      await db.tx((tx) => insertDelivery(tx, deliveryOf(event_id)));
      return claim({ db, clock });
    }

    async function claim({
      db,
      clock,
    }: {
      db: Database;
      clock: FakeTime;
    }): Promise<BindingContext> {
      const claim = { app_id: "app-1", owner: "me", now: clock.now(), limit: 1 };
      const [delivery] = await db.tx((tx) => claimDeliveries(tx, db.outbox, claim));
      if (delivery === undefined) throw new Error("nothing to claim");
      return { ...context(), delivery: { ...delivery, has_results: false } };
    }

    describe("read", () => {
      test("answers each record with its version, and null for what is not there", async () => {
        const { call, kv } = await setup();
        await kv("set", "a", { value: { x: 1 } });
        await kv("set", "a", { value: { x: 2 } });
        const places = [entry("a"), entry("b"), entry("a", "other")];
        const [found, ...rest] = (await call("read", { records: places })) as Answer[];
        expect(found).toMatchObject({ value: '{"x":2}', version: 2 });
        expect(rest).toEqual([null, null]);
      });

      test("ends early with large values, never without one, and notes what it has seen", async () => {
        const { call, kv } = await setup();
        const cx = context();
        const keys = ["a", "b", "c", "d", "e", "f"];
        const value = "x".repeat(200_000);
        for (const key of keys) await kv("set", key, { value }, cx);
        const reader = context();
        const answers = await call("read", { records: keys.map((key) => entry(key)) }, reader);
        expect((answers as Answer[]).length).toBe(Math.ceil(txReadBytesMax / (value.length + 2)));
        expect(reader.seen.seq).toBeGreaterThan(0);
      });
    });

    describe("commit", () => {
      test("writes all, with one event for each change, exact in what was there before", async () => {
        const { db, kv, read, commit } = await setup();
        await kv("set", "old", { value: 1 });
        await kv("set", "gone", { value: 2 });
        await seedTrigger(db, { id: "t" });
        const reads = await read([entry("old"), entry("new"), entry("gone")]);
        const cx = context();
        const writes = [
          put(entry("old"), 10),
          put(entry("new"), 20),
          { ...entry("gone"), op: "delete" },
          put(entry("blind"), 30),
          { ...entry("never there"), op: "delete" },
        ];
        expect(await commit({ reads, writes }, cx)).toEqual({ state: "committed" });
        expect(cx.seen.seq).toBeGreaterThan(0);
        const events = await emitted(db);
        const told = events.map(({ type, key, value, previous }) => [key, type, previous, value]);
        expect(told.sort()).toEqual([
          ["blind", "insert", null, 30],
          ["gone", "delete", 2, null],
          ["new", "insert", null, 20],
          ["old", "update", 1, 10],
        ]);
        expect(await kv("getEntry", "old")).toMatchObject({ value: 10, version: 2 });
        expect(await kv("has", "gone")).toBe(false);
      });

      test.each([
        ["changed", { value: 5 }],
        ["written again with the same value", { value: 1 }],
      ])("writes nothing when a record was %s", async (_, change) => {
        const { db, kv, read, commit, waits } = await setup();
        await kv("set", "a", { value: 1 });
        await seedTrigger(db, { id: "t" });
        const reads = await read([entry("a"), entry("b")]);
        await kv("set", "a", change);
        const before = (await emitted(db)).length;
        const writes = [put(entry("b"), 1), put(entry("0"), 1)];
        expect(await commit({ reads, writes })).toEqual({ state: "conflict" });
        expect(await kv("has", "b")).toBe(false);
        expect(await kv("has", "0")).toBe(false);
        expect(await emitted(db)).toHaveLength(before);
        expect(waits).toEqual([txConflictWaitMsMax / (txTriesMax - 1)]);
      });

      test("notices a record that appeared, one that is gone, and one made anew", async () => {
        const { kv, read, commit } = await setup();
        const appears = await read([entry("appears")]);
        await kv("set", "appears", { value: 1 });
        await kv("set", "gone", { value: 1 });
        const gone = await read([entry("gone")]);
        await kv("delete", "gone");
        await kv("set", "anew", { value: "first" });
        const anew = await read([entry("anew")]);
        await kv("delete", "anew");
        await kv("set", "anew", { value: "second" });
        for (const reads of [appears, gone, anew]) {
          const [place] = reads as [Read];
          const { source, collection, key } = place;
          const writes = [put({ source, collection, key }, 2)];
          expect(await commit({ reads, writes })).toEqual({ state: "conflict" });
          expect(await commit({ reads, writes: [put(entry("x"), 2)] })).toEqual({
            state: "conflict",
          });
        }
        expect(await kv("getEntry", "anew")).toMatchObject({ value: "second", version: 1 });
        expect(await kv("has", "x")).toBe(false);
      });

      test("an entry that expires between its read and the commit is a conflict", async () => {
        const { kv, read, commit, clock } = await setup();
        await kv("set", "a", { value: 1, ttl: 10 });
        const reads = await read([entry("a")]);
        clock.advance(9_999);
        expect(await commit({ reads, writes: [put(entry("b"), 1)] })).toEqual({
          state: "committed",
        });
        clock.advance(1);
        expect(await commit({ reads, writes: [put(entry("a"), 2)] })).toEqual({
          state: "conflict",
        });
        const again = await read([entry("a")]);
        expect(again[0]?.version).toBe(0);
        expect(await commit({ reads: again, writes: [put(entry("a"), 2)] })).toEqual({
          state: "committed",
        });
        expect(await kv("getEntry", "a")).toMatchObject({ value: 2, version: 1 });
      });

      test("a ttl begins with the commit, and is kept, set or ended as the write says", async () => {
        const { db, kv, commit, clock } = await setup();
        for (const key of ["kept", "set", "ended"]) await kv("set", key, { value: 1, ttl: 10 });
        const writes = [
          put(entry("kept"), 2, { ttl: "kept" }),
          put(entry("set"), 2, { ttl: 60 }),
          put(entry("ended"), 2),
          put(entry("new"), 2, { ttl: "kept" }),
        ];
        await commit({ writes });
        const rows = await db.all(
          sql<{
            key: string;
            expires_at: number | null;
          }>`select key, expires_at from kv order by key`,
        );
        expect(rows).toEqual([
          { key: "ended", expires_at: null },
          { key: "kept", expires_at: clock.now() + 10_000 },
          { key: "new", expires_at: null },
          { key: "set", expires_at: clock.now() + 60_000 },
        ]);
      });

      test("the last of the runs is told tx_conflict, and waits grow with the runs", async () => {
        const { kv, read, commit, waits } = await setup();
        const reads = await read([entry("a")]);
        await kv("set", "a", { value: 1 });
        for (let run = 1; run < txTriesMax; run += 1) {
          expect(await commit({ run, reads })).toEqual({ state: "conflict" });
        }
        expect(await codeOf(commit({ run: txTriesMax, reads }))).toBe("tx_conflict");
        expect(waits).toEqual([1, 2, 3, 4].map((run) => (txConflictWaitMsMax * run) / 4));
      });

      test("a hundred keys fit, one more does not", async () => {
        const { db, commit } = await setup();
        const many = (count: number) =>
          Array.from({ length: count }, (_, index) => put(entry(`k${index}`), index));
        expect(await commit({ writes: many(txKeysMax) })).toEqual({ state: "committed" });
        const reads = [{ ...entry("other"), version: 0, digest: "" }];
        for (const args of [
          { writes: many(txKeysMax + 1) },
          { writes: many(txKeysMax), reads },
          { reads: many(txKeysMax + 1) },
        ]) {
          expect(await codeOf(commit(args))).toBe("tx_too_large");
        }
        expect(await db.get(sql`select count(*) as count from kv`)).toEqual({ count: txKeysMax });
      });

      test("over the app's quota nothing is written", async () => {
        const { db, clock } = await setup();
        const composed = await composeForTest({ db, clock, rows_max: 2 });
        ends.push(composed.stop);
        const { writes: kv, usage } = composed;
        const parts = { db, clock, kv, docs: kv, usage, random: () => 0, wait: async () => {} };
        const binding = createTxBinding(parts);
        const writes = ["a", "b", "c"].map((key) => put(entry(key), 1));
        const commit = (writes: object[]) =>
          codeOf(callOf(binding, "commit", context(), { run: 1, reads: [], writes }));
        expect(await commit(writes)).toBe("quota_exceeded");
        expect(await commit(writes.slice(0, 2))).toEqual({ state: "committed" });
      });
    });

    describe("documents", () => {
      const document = (key: string): Place => ({ source: "docs", collection: "c", key });

      test("are read, checked and written as entries are, with their events", async () => {
        const { db, kv, read, commit, call } = await setup();
        await seedTrigger(db, { id: "t", kind: "docs" });
        const first = await read([document("a"), entry("a")]);
        expect(first.map(({ version }) => version)).toEqual([0, 0]);
        const writes = [put(document("a"), { n: 1 }), put(entry("a"), 1)];
        expect(await commit({ reads: first, writes })).toEqual({ state: "committed" });
        expect(await commit({ reads: first, writes })).toEqual({ state: "conflict" });
        const [found] = (await call("read", { records: [document("a")] })) as Answer[];
        expect(found).toMatchObject({ value: '{"id":"a","n":1}', version: 1 });
        const second = await read([document("a")]);
        await commit({ reads: second, writes: [put(document("a"), { id: "a", n: 2 })] });
        await commit({ writes: [{ ...document("a"), op: "delete" }] });
        expect(await commit({ reads: second })).toEqual({ state: "conflict" });
        expect(await kv("get", "a")).toBe(1);
        const told = (await emitted(db)).map(({ type, key, previous, value }) => [
          type,
          key,
          previous,
          value,
        ]);
        expect(told).toEqual([
          ["insert", "a", null, { id: "a", n: 1 }],
          ["update", "a", { id: "a", n: 1 }, { id: "a", n: 2 }],
          ["delete", "a", { id: "a", n: 2 }, null],
        ]);
      });

      test("that break the rules are refused with all that was to be written", async () => {
        const { db, commit } = await setup();
        for (const [write, code] of [
          [{ ...document(""), op: "put", value: {} }, "docs_invalid_id"],
          [{ ...document("a\0"), op: "put", value: {} }, "docs_invalid_id"],
          [{ ...document("a"), op: "put", value: { id: "b" } }, "docs_invalid_id"],
          [{ ...document("a"), op: "put", value: [] }, "docs_invalid_value"],
          [{ ...document("a"), op: "put", value: null }, "docs_invalid_value"],
          [{ ...document("a"), op: "put" }, "docs_invalid_value"],
          [put(document("a"), { x: "x".repeat(256 * 1024) }), "docs_value_too_large"],
        ] as const) {
          expect(await codeOf(commit({ writes: [put(entry("a"), 1), write] }))).toBe(code);
        }
        expect(await db.get(sql`select count(*) as count from kv`)).toEqual({ count: 0 });
      });
    });

    describe("check", () => {
      test("says whether what was read is still so", async () => {
        const { kv, read, call, waits } = await setup();
        await kv("set", "a", { value: 1 });
        const reads = await read([entry("a"), entry("b")]);
        expect(await call("check", { run: 1, reads })).toEqual({ state: "committed" });
        await kv("set", "b", { value: 1 });
        expect(await call("check", { run: 1, reads })).toEqual({ state: "conflict" });
        expect(waits).toHaveLength(1);
        expect(await codeOf(call("check", { run: txTriesMax, reads }))).toBe("tx_conflict");
      });
    });

    describe("among many", () => {
      test("16 writers move money between 4 accounts, and none is made or lost", async () => {
        const { kv, read, call } = await setup();
        const accounts = ["a", "b", "c", "d"];
        for (const key of accounts) await kv("set", key, { value: 100 });
        const done = { moved: 0, conflicts: 0, refused: 0 };
        const transfer = async (from: string, to: string, amount: number): Promise<void> => {
          for (let run = 1; run <= txTriesMax; run += 1) {
            const answers = (await call("read", {
              records: [entry(from), entry(to)],
            })) as NonNullable<Answer>[];
            const [source, target] = answers.map(({ value }) => Number(value)) as [number, number];
            const reads = [from, to].map((key, index) => {
              const { version, digest } = answers[index] as NonNullable<Answer>;
              return { ...entry(key), version, digest };
            });
            // In the order of the script, which is not that of the locks.
            const writes = [put(entry(from), source - amount), put(entry(to), target + amount)];
            const verdict = await codeOf(call("commit", { run, reads, writes }));
            if (verdict === "tx_conflict") done.refused += 1;
            else if ((verdict as Verdict).state === "committed") {
              done.moved += 1;
              return;
            } else done.conflicts += 1;
          }
        };
        const writer = async (number: number): Promise<void> => {
          for (let turn = 0; turn < 10; turn += 1) {
            const from = accounts[(number + turn) % 4] as string;
            const to = accounts[(number + turn + 1 + (turn % 3)) % 4] as string;
            await transfer(from, to, (number % 5) + 1);
          }
        };
        await Promise.all(Array.from({ length: 16 }, (_, number) => writer(number)));
        const found = (await Promise.all(accounts.map((key) => kv("get", key)))) as number[];
        expect(found.reduce((sum, value) => sum + value, 0)).toBe(400);
        expect(done.moved + done.refused).toBe(160);
        expect(done.moved).toBeGreaterThan(0);
        expect(done.conflicts).toBeGreaterThan(0);
        const versions = (await read(accounts.map((key) => entry(key)))).map((one) => one.version);
        expect(versions.reduce((sum, version) => sum + version, 0)).toBe(4 + 2 * done.moved);
      });

      test("two that each read what the other writes do not both commit", async () => {
        const { kv, read, commit } = await setup();
        for (let round = 0; round < 20; round += 1) {
          await kv("set", "a", { value: 1 });
          await kv("set", "b", { value: 1 });
          // On call is somebody, always: each goes only while the other stays.
          const reads = await read([entry("a"), entry("b")]);
          const verdicts = await Promise.all([
            commit({ reads, writes: [put(entry("a"), 0)] }),
            commit({ reads, writes: [put(entry("b"), 0)] }),
          ]);
          expect(verdicts.map(({ state }) => state).sort()).toEqual(["committed", "conflict"]);
        }
      });

      test("blind writes of all take the place of whatever is there, and each is told of it", async () => {
        const { db, kv, commit } = await setup();
        await seedTrigger(db, { id: "t" });
        await Promise.all(
          Array.from({ length: 16 }, (_, number) =>
            number % 2 === 0
              ? commit({ writes: [put(entry("a"), number), put(entry("b"), number)] })
              : kv("set", "a", { value: number }),
          ),
        );
        const events = (await emitted(db)).filter(({ key }) => key === "a");
        expect(events).toHaveLength(16);
        // A chain from nothing to what is there now: each value was there once, and was replaced once.
        const replaced = events.map(({ previous }) => previous);
        const last = await kv("get", "a");
        const written = events.map(({ value }) => value).filter((value) => value !== last);
        expect(new Set(replaced)).toEqual(new Set([null, ...written]));
        expect(new Set(replaced).size).toBe(16);
      });
    });

    describe("in the handler of an event", () => {
      const result = { value: { sum: 1 } };
      const writes = [put(entry("effect"), 1)];

      test("the result is recorded with the writes, and found by begin", async () => {
        const it = await setup();
        const cx = await claimed(it);
        expect(await it.call("begin", { ordinal: 1 }, cx)).toBeNull();
        expect(cx.delivery?.has_results).toBe(false);
        await it.commit({ writes, ordinal: 1, result }, cx);
        expect(cx.delivery?.has_results).toBe(true);
        const again = {
          ...cx,
          delivery: { ...(cx.delivery as never as Delivery), has_results: false },
        };
        expect(await it.call("begin", { ordinal: 1 }, again)).toEqual({
          state: "recorded",
          value: { sum: 1 },
        });
        expect(again.delivery.has_results).toBe(true);
        expect(await it.call("begin", { ordinal: 2 }, cx)).toBeNull();
      });

      test("a second commit of one number writes nothing and answers the first result", async () => {
        const it = await setup();
        const cx = await claimed(it);
        await it.commit({ writes, ordinal: 1, result: {} }, cx);
        const other = { writes: [put(entry("effect"), 2)], ordinal: 1, result };
        expect(await it.commit(other, cx)).toEqual({ state: "recorded" });
        expect(await it.kv("getEntry", "effect")).toMatchObject({ value: 1, version: 1 });
      });

      test("a conflict records nothing", async () => {
        const it = await setup();
        const cx = await claimed(it);
        const reads = await it.read([entry("a")]);
        await it.kv("set", "a", { value: 1 });
        expect(await it.commit({ reads, writes, ordinal: 1, result }, cx)).toEqual({
          state: "conflict",
        });
        expect(await it.call("begin", { ordinal: 1 }, cx)).toBeNull();
        expect(await it.kv("has", "effect")).toBe(false);
      });

      test("results count as data of the app: however many, they fill no disk", async () => {
        const { db, clock, commit } = await setup({ bytes_max: 500_000 });
        const cx = await claimed({ db, clock });
        const verdicts: unknown[] = [];
        for (let ordinal = 1; ordinal <= 5; ordinal += 1) {
          const result = { value: "x".repeat(200_000) };
          verdicts.push(await codeOf(commit({ ordinal, result }, cx)));
        }
        const committed = { state: "committed" };
        const refused = "quota_exceeded";
        expect(verdicts).toEqual([committed, committed, refused, refused, refused]);
      });

      test("who has lost the lease writes nothing, whoever has it now", async () => {
        const it = await setup();
        const lost = await claimed(it);
        const held = { ...(lost.delivery as never as Delivery), now: it.clock.now() };
        await it.db.tx((tx) =>
          returnDelivery(tx, it.db.outbox, { ...held, attempt: 0, wait_ms: 0 }),
        );
        const args = { writes, ordinal: 1, result };
        expect(await codeOf(it.commit(args, lost))).toBe("lease_lost");
        const holder = await claim(it);
        expect(await codeOf(it.commit(args, lost))).toBe("lease_lost");
        expect(await it.kv("has", "effect")).toBe(false);
        expect(await it.commit(args, holder)).toEqual({ state: "committed" });
        expect(await it.kv("get", "effect")).toBe(1);
      });

      test("nobody claims the event while a commit of its handler is open", async () => {
        const it = await setup();
        const cx = await claimed(it);
        // The lease has ended, as when its holder was held up; on SQLite it ends with the process.
        await it.db.tx((tx) => tx.run(sql`update outbox set due_at = 0`));
        const claims: Promise<Delivery[]>[] = [];
        const kv = {
          ...it.writes,
          async read(r: Reader, ...rest: [string, string, string]) {
            const claim = { app_id: "app-1", owner: "other", now: it.clock.now(), limit: 1 };
            if (claims.length === 0) {
              claims.push(it.db.tx((tx) => claimDeliveries(tx, it.db.outbox, claim)));
              // On PostgreSQL the claim ends meanwhile, on SQLite it waits for this transaction.
              if (it.db.isShared) await claims[0];
            }
            return it.writes.read(r, ...rest);
          },
        };
        const { db, clock, usage } = it;
        const parts = { db, clock, kv, docs: kv, usage, random: () => 0, wait: async () => {} };
        const args = { run: 1, reads: [], writes, ordinal: 1, result };
        const verdict = await callOf(createTxBinding(parts), "commit", cx, args);
        expect(verdict).toEqual({ state: "committed" });
        const taken = await claims[0];
        expect(taken).toHaveLength(it.db.isShared ? 0 : 1);
      });

      test("results are bounded, must be there, and are numbered", async () => {
        const it = await setup();
        const cx = await claimed(it);
        const fits = "x".repeat(txResultBytesMax - '{"value":""}'.length);
        for (const [args, code] of [
          [{ ordinal: 1 }, "tx_invalid"],
          [{ ordinal: 1, result: null }, "tx_invalid"],
          [{ ordinal: 1, result: [] }, "tx_invalid"],
          [{ ordinal: 1, result: "{}" }, "tx_invalid"],
          [{ result }, "tx_invalid"],
          [{ ordinal: 1, result: { value: `${fits}x` } }, "tx_too_large"],
          [{ ordinal: 1, result: { value: "€".repeat(txResultBytesMax / 3) } }, "tx_too_large"],
        ] as const) {
          expect(await codeOf(it.commit({ writes, ...args }, cx))).toBe(code);
        }
        expect(await it.kv("has", "effect")).toBe(false);
        const commit = { writes, ordinal: 1, result: { value: fits } };
        expect(await it.commit(commit, cx)).toEqual({ state: "committed" });
      });

      test("the events that it writes are one deeper, and of the same chain", async () => {
        const it = await setup();
        const cx = await claimed(it);
        await seedTrigger(it.db, { id: "t", collection: "c" });
        await it.commit({ writes, ordinal: 1, result }, cx);
        const [event] = (await emitted(it.db)).filter(({ source }) => source === "kv");
        expect(event).toMatchObject({ depth: 4, root_execution_id: "root", key: "effect" });
      });
    });

    describe("what a script may forge", () => {
      test("two apps never meet: neither in reads, nor in checks, nor in writes", async () => {
        const { kv, read, commit, call } = await setup();
        const [one, two] = [context(1), context(2)];
        await kv("set", "k", { value: "one" }, one);
        const forged = { app_id: "app-1", app: "app-1", cx: one };
        const records = [{ ...entry("k"), ...forged }];
        expect(await call("read", { records, ...forged }, two)).toEqual([null]);
        const reads = await read([entry("k")], one);
        expect(await call("check", { run: 1, reads, ...forged }, two)).toEqual({
          state: "conflict",
        });
        expect(await commit({ reads, writes: [put(entry("k"), 2)], ...forged }, two)).toEqual({
          state: "conflict",
        });
        await commit({ writes: [{ ...put(entry("k"), "two"), ...forged }], ...forged }, two);
        expect(await kv("get", "k", {}, one)).toBe("one");
        expect(await kv("get", "k", {}, two)).toBe("two");
      });

      test("a delivery of its own choice is none", async () => {
        const it = await setup();
        const cx = await claimed(it);
        await it.commit({ writes: [], ordinal: 1, result: { value: "secret" } }, cx);
        const { event_id, trigger_id, fence } = cx.delivery as NonNullable<typeof cx.delivery>;
        const forged = { ordinal: 1, event_id, trigger_id, fence, delivery: cx.delivery };
        for (const other of [context(1), context(2)]) {
          expect(await it.call("begin", forged, other)).toBeNull();
          const commit = { ...forged, result: { value: 1 } };
          expect(await it.commit(commit, other)).toEqual({ state: "committed" });
        }
        expect(await it.call("begin", { ordinal: 1 }, cx)).toMatchObject({ value: "secret" });
      });

      const places: [unknown, string][] = [
        [undefined, "tx_invalid"],
        [null, "tx_invalid"],
        ["k", "tx_invalid"],
        [[], "tx_invalid"],
        [{}, "tx_invalid"],
        [{ source: "users", collection: "c", key: "k" }, "tx_invalid"],
        [{ source: "__proto__", collection: "c", key: "k" }, "tx_invalid"],
        [Object.create(entry("k")), "tx_invalid"],
        [{ source: "kv", collection: "c" }, "kv_invalid_key"],
        [{ source: "kv", collection: "c", key: "" }, "kv_invalid_key"],
        [{ source: "kv", collection: "c", key: "a\0b" }, "kv_invalid_key"],
        [{ source: "kv", collection: "\ud800", key: "k" }, "kv_invalid_key"],
        [{ source: "kv", collection: "c", key: "x".repeat(513) }, "kv_invalid_key"],
        [{ source: "kv", collection: ["c"], key: "k" }, "kv_invalid_key"],
      ];

      test("places that are none are refused everywhere", async () => {
        const { call } = await setup();
        const more = { version: 0, digest: "", op: "put", value: 1 };
        for (const [place, code] of places) {
          const proto = Object.getPrototypeOf(Object(place));
          const isObject = typeof place === "object" && place !== null;
          const record = isObject ? Object.assign(Object.create(proto), place, more) : place;
          for (const [name, args] of [
            ["read", { records: [place] }],
            ["check", { run: 1, reads: [record] }],
            ["commit", { run: 1, reads: [record], writes: [] }],
            ["commit", { run: 1, reads: [], writes: [record] }],
          ] as const) {
            expect([place, name, await codeOf(call(name, args))]).toEqual([place, name, code]);
          }
        }
      });

      test("arguments that are none are refused, whatever they are", async () => {
        const { call, db } = await setup();
        const good = { ...entry("k"), version: 0, digest: "" };
        const bad: [string, unknown][] = [
          ...[undefined, null, 5, "x", [], {}].flatMap((args): [string, unknown][] => [
            ["begin", args],
            ["read", args],
            ["check", args],
            ["commit", args],
          ]),
          ...[0, -1, 1.5, "1", null, Number.NaN, 2 ** 53].flatMap((n): [string, unknown][] => [
            ["begin", { ordinal: n }],
            ["check", { run: n, reads: [] }],
            ["commit", { run: n, reads: [], writes: [] }],
          ]),
          ["read", { records: { length: 1, 0: entry("k") } }],
          ["commit", { run: 1, reads: [], writes: "x" }],
          ["commit", { run: 1, reads: [good, good], writes: [] }],
          ["commit", { run: 1, reads: [], writes: [put(entry("k"), 1), put(entry("k"), 2)] }],
          ["commit", { run: 1, reads: [], writes: [{ ...entry("k"), op: "drop" }] }],
          ["commit", { run: 1, reads: [], writes: [{ ...entry("k"), value: 1 }] }],
          ...[-1, 1.5, "0", null, undefined, 1e300].map((version): [string, unknown] => [
            "commit",
            { run: 1, reads: [{ ...good, version }], writes: [] },
          ]),
          ["commit", { run: 1, reads: [{ ...good, digest: 5 }], writes: [] }],
        ];
        for (const [name, args] of bad) {
          expect([name, args, await codeOf(call(name, args))]).toEqual([name, args, "tx_invalid"]);
        }
        const values: [object, string][] = [
          [{}, "kv_invalid_value"],
          [{ value: "x".repeat(256 * 1024) }, "kv_value_too_large"],
          [{ value: 1, ttl: "5" }, "invalid"],
          [{ value: 1, ttl: -1 }, "invalid"],
          [{ value: 1, ttl: {} }, "invalid"],
        ];
        for (const [more, code] of values) {
          const writes = [{ ...entry("k"), op: "put", ...more }];
          expect(await codeOf(call("commit", { run: 1, reads: [], writes }))).toBe(code);
        }
        expect(await db.get(sql`select count(*) as count from kv`)).toEqual({ count: 0 });
      });

      test("only a commit counts as an effect", async () => {
        const { binding } = await setup();
        expect(binding.name).toBe("tx");
        const effects = Object.entries(binding.methods).map(([name, { effect }]) => [name, effect]);
        expect(Object.fromEntries(effects)).toEqual({
          begin: false,
          read: false,
          check: false,
          commit: true,
        });
      });
    });

    // SQLite has one writer, and no deadlocks.
    if (engine.name === "PostgreSQL") {
      test("a deadlock with another transaction is a conflict", async () => {
        const { db, kv, commit } = await setup();
        for (const key of ["a", "b"]) await kv("set", key, { value: 1 });
        const [holds, waits] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
        const touch = (key: string) => sql`update kv set updated_at = 2 where key = ${key}`;
        const other = db.tx(async (tx) => {
          await tx.run(touch("b"));
          holds.resolve();
          await waits.promise;
          await tx.run(touch("a"));
        });
        await holds.promise;
        const committing = commit({ writes: [put(entry("a"), 2), put(entry("b"), 2)] });
        // Who waits first finds the circle, after PostgreSQL's deadlock_timeout.
        await until(async () => {
          const text = sql`select pid from pg_locks where not granted`;
          return (await db.get(text)) === null ? null : true;
        });
        waits.resolve();
        expect(await committing).toEqual({ state: "conflict" });
        await other;
        expect(await kv("get", "a")).toBe(1);
      });
    }
  });
}

function deliveryOf(event_id: string): Delivery {
  return {
    event_id,
    trigger_id: "trigger-1",
    app_id: "app-1",
    script_id: "script-1",
    source: "cron",
    type: "fire",
    depth: 3,
    root_execution_id: "root",
    created_at: 1,
    attempt: 0,
    attempt_base: 0,
    crashes: 0,
    fence: 0,
    retry: null,
    due_at: 0,
    dead_letter_id: null,
    payload: "{}",
  };
}
