import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { PicError } from "../../src/domain/errors.ts";
import type { Database } from "../../src/storage/port.ts";
import { sql } from "../../src/storage/sql.ts";
import { triggersChannel } from "../../src/storage/triggers.ts";
import { until } from "../execution/fakes.ts";
import {
  callOf,
  composeForTest,
  context,
  type EmittedRow,
  emitted,
  seedTrigger,
} from "./composed.ts";
import { ENGINES, opener } from "./engines.ts";

type Args = Record<string, unknown>;

for (const engine of ENGINES) {
  describe.skipIf(engine.missing !== null)(`${engine.name}: writes and their events`, () => {
    const { open, defer } = opener(engine);

    async function setup({ trigger = true } = {}) {
      const db = await open();
      const clock = { ...systemClock, now: () => time.now };
      const time = { now: 1_000_000 };
      const composed = await composeForTest({ db, clock });
      defer(composed.stop);
      if (trigger) await seedTrigger(db, { id: "t1" });
      await until(() => composed.live.mayHave("app-1", "kv", "c") === trigger);
      const at = (name: string, key: string, more: Args = {}, app = 1): Promise<unknown> =>
        callOf(composed.kv, name, context(app), { collection: "c", key, ...more });
      return { db, time, at, ...composed };
    }

    test("each write says what it was, what is there and what was", async () => {
      const { db, at } = await setup();
      expect(await at("set", "k", { value: { a: [1] } })).toBe(1);
      expect(await at("set", "k", { value: null })).toBe(2);
      expect(await at("delete", "k")).toBe(true);
      expect(await at("delete", "k")).toBe(false);
      expect(await at("increment", "n", { by: 2 })).toBe(2);
      expect(await at("increment", "n", { by: 3 })).toBe(5);
      const told = await emitted(db);
      expect(told.map(brief)).toEqual([
        ["insert", "k", { a: [1] }, null],
        ["update", "k", null, { a: [1] }],
        ["delete", "k", null, null],
        ["insert", "n", 2, null],
        ["update", "n", 5, 2],
      ]);
      expect(told[0]).toMatchObject({
        trigger_id: "t1",
        app_id: "app-1",
        script_id: "script-1",
        source: "kv",
        depth: 0,
        root_execution_id: "execution-1",
        collection: "c",
      });
      expect(new Set(told.map(({ event_id }) => event_id)).size).toBe(5);
    });

    test("what is refused tells nobody anything", async () => {
      const { db, at } = await setup();
      await at("set", "k", { value: "text" });
      expect(await codeOf(at("set", "k", { value: 1, ifVersion: 2 }))).toBe("kv_version_conflict");
      expect(await codeOf(at("set", "k", { value: 1, ifVersion: 0 }))).toBe("kv_version_conflict");
      expect(await codeOf(at("delete", "k", { ifVersion: 7 }))).toBe("kv_version_conflict");
      expect(await codeOf(at("delete", "none", { ifVersion: 1 }))).toBe("kv_version_conflict");
      expect(await codeOf(at("increment", "k"))).toBe("kv_not_a_number");
      expect(await emitted(db)).toHaveLength(1);
      expect(await at("set", "k", { value: 2, ifVersion: 1 })).toBe(2);
      expect(await at("delete", "k", { ifVersion: 2 })).toBe(true);
      expect(await at("delete", "k", { ifVersion: 0 })).toBe(false);
      expect((await emitted(db)).map(({ type }) => type)).toEqual(["insert", "update", "delete"]);
    });

    test("an entry whose time has come is nothing to an event: no previous, an insert, no delete", async () => {
      const { db, at, time } = await setup();
      await at("set", "k", { value: "old", ttl: 10 });
      time.now += 10_000;
      expect(await at("delete", "k")).toBe(false);
      expect(await at("set", "k", { value: "new", ifVersion: 0, ttl: 1 })).toBe(1);
      time.now += 1_000;
      expect(await at("increment", "k")).toBe(1);
      expect((await emitted(db)).map(brief)).toEqual([
        ["insert", "k", "old", null],
        ["insert", "k", "new", null],
        ["insert", "k", 1, null],
      ]);
    });

    test("a trigger counts from its commit to its end, for its own app and collections", async () => {
      const { db, at, live } = await setup({ trigger: false });
      await at("set", "k", { value: 1 });
      await seedTrigger(db, { id: "t1", collection: "c*", on_update: 0 });
      await seedTrigger(db, { id: "t2", collection: "other" });
      await seedTrigger(db, { id: "t3", is_enabled: 0 });
      await until(() => live.idsFor("app-1", "kv", "c")?.length === 1);
      await at("set", "k", { value: 2 });
      await at("set", "k", { value: 3 }, 2);
      await at("delete", "k");
      await db.tx(async (tx) => {
        await tx.run(sql`delete from triggers where id = 't1'`);
        await db.notify(tx, triggersChannel, "app-1");
      });
      await until(() => live.idsFor("app-1", "kv", "c")?.length === 0);
      await at("set", "k", { value: 4 });
      expect((await emitted(db)).map(brief)).toEqual([["delete", "k", null, 2]]);
    });

    test("20 counts at once: each event's previous is the value of the one before", async () => {
      const { db, at } = await setup();
      await Promise.all(Array.from({ length: 20 }, () => at("increment", "n")));
      expect(await at("get", "n")).toBe(20);
      const links = (await emitted(db)).map(({ previous, value }) => [previous, value]);
      const inOrder = links.sort((a, b) => Number(a[1]) - Number(b[1]));
      expect(inOrder).toEqual(Array.from({ length: 20 }, (_, i) => [i === 0 ? null : i, i + 1]));
    });

    test("sets and deletes at once leave one unbroken chain of previous values", async () => {
      const { db, at } = await setup();
      await Promise.all(
        Array.from({ length: 40 }, (_, index) =>
          index % 4 === 3 ? at("delete", "k") : at("set", "k", { value: index }),
        ),
      );
      const told = await emitted(db);
      const last = await at("get", "k");
      // every value is written once, so that each link names the one before it
      const befores = told.filter(({ previous }) => previous !== null);
      expect(new Set(befores.map(({ previous }) => previous)).size).toBe(befores.length);
      const written = told.filter(({ type }) => type !== "delete").map(({ value }) => value);
      expect(written).toHaveLength(30);
      const replaced = new Set(befores.map(({ previous }) => previous));
      expect(written.filter((value) => !replaced.has(value))).toEqual(last === null ? [] : [last]);
      const deletes = told.filter(({ type }) => type === "delete").length;
      const inserts = told.filter(({ type }) => type === "insert").length;
      expect(inserts - deletes).toBe(last === null ? 0 : 1);
    });

    test("of 20 writes under one version one succeeds, and it alone is told of", async () => {
      const { db, at } = await setup();
      for (const version of [0, 1, 2]) {
        const codes = await Promise.all(
          Array.from({ length: 20 }, (_, index) =>
            codeOf(at("set", "k", { value: `${version} ${index}`, ifVersion: version })),
          ),
        );
        expect(codes.filter((code) => code === version + 1)).toHaveLength(1);
        expect(codes.filter((code) => code === "kv_version_conflict")).toHaveLength(19);
      }
      const told = await emitted(db);
      expect(told.map(({ previous }) => previous)).toEqual([null, told[0]?.value, told[1]?.value]);
    });

    test("nobody is told of a write that was rolled back", async () => {
      const { db, writes } = await setup();
      const rolledBack = db.tx(async (tx) => {
        const change = { collection: "c", key: "k", previous: null, value: "1" };
        expect(await writes.replace(tx, context(), change)).toBe(1);
        throw new PicError("tx_conflict", "no");
      });
      expect(await codeOf(rolledBack)).toBe("tx_conflict");
      expect(await emitted(db)).toEqual([]);
      expect(await count(db)).toBe(0);
    });

    test("a replacement happens only in the place of exactly what was read", async () => {
      const { db, at, writes } = await setup();
      const replace = (previous: { value: string; version: number } | null, value: string | null) =>
        db.tx((tx) =>
          writes.replace(tx, context(), { collection: "c", key: "k", previous, value }),
        );
      expect(await replace({ value: "1", version: 1 }, "2")).toBeNull();
      expect(await replace(null, null)).toBe(0);
      await at("set", "k", { value: 1 });
      await at("delete", "k");
      await at("set", "k", { value: 2 });
      // deleted and made again: the same version, another value
      expect(await replace({ value: "1", version: 1 }, "3")).toBeNull();
      expect(await replace({ value: "1", version: 1 }, null)).toBeNull();
      expect(await replace(null, "3")).toBeNull();
      expect(await replace(null, null)).toBeNull();
      expect(await replace({ value: "2", version: 1 }, "3")).toBe(2);
      expect(await replace({ value: "3", version: 2 }, null)).toBe(0);
      expect((await emitted(db)).map(({ type }) => type)).toEqual([
        "insert",
        "delete",
        "insert",
        "update",
        "delete",
      ]);
    });
  });
}

const brief = ({ type, key, value, previous }: EmittedRow) => [type, key, value, previous];

async function count(db: Database): Promise<number> {
  return (await db.get(sql<{ n: number }>`select count(*) as n from kv`))?.n ?? -1;
}

function codeOf(work: Promise<unknown>): Promise<unknown> {
  return work.catch((error) => {
    if (error instanceof PicError) return error.code;
    throw error;
  });
}
