import { expect, test } from "bun:test";
import type { Delivery } from "../../../src/domain/events.ts";
import { deliveryCrashesMax, leaseMs } from "../../../src/domain/limits.ts";
import { insertApp } from "../../../src/storage/apps.ts";
import {
  appsWithDeliveries,
  claimDeliveries,
  countTicksOfTrigger,
  deleteDeliveriesOfTrigger,
  deleteDelivery,
  deleteTxResults,
  emitChange,
  emitChangeTo,
  getTxResult,
  holdsLease,
  insertDelivery,
  insertTxResult,
  isWanted,
  noteHeld,
  recoverHeld,
  renewLease,
  returnDelivery,
} from "../../../src/storage/outbox.ts";
import type { Database } from "../../../src/storage/port.ts";
import { sql } from "../../../src/storage/sql.ts";
import { insertTrigger } from "../../../src/storage/triggers.ts";
import { delivery, policy } from "../../background/dispatching.ts";
import { app, codeOf, type Engine, opener, script, seed } from "./engine.ts";

/** Of a database whose engine has a clock of its own, this one is not used. */
const now = Date.now();

const of = (more: Partial<Delivery> = {}) => delivery({ script_id: "s1", ...more });

export function outboxConformance(engine: Engine): void {
  const open = opener(engine);
  const setup = async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    return db;
  };

  test("a claim takes the oldest that are due, once, with all that was inserted", async () => {
    const db = await setup();
    const first = of({ payload: '{"value":"\\u0000\\ud800ü"}', retry: null, dead_letter_id: "d1" });
    const [second, third] = [of({ attempt: 2, attempt_base: 1 }), of()];
    await insert(db, third, first, second);
    expect(await claim(db, 2)).toEqual([
      { ...first, fence: firstFence(db) },
      { ...second, fence: firstFence(db) },
    ]);
    expect((await claim(db, 8)).map(({ event_id }) => event_id)).toEqual([third.event_id]);
    expect(await claim(db, 8)).toEqual([]);
    expect(await claim(db, 8, { app_id: "app-9" })).toEqual([]);
  });

  test("one event has one delivery for each trigger", async () => {
    const db = await setup();
    const one = of();
    await insert(db, one, { ...one, trigger_id: "t2" });
    expect(await codeOf(insert(db, one))).toBe("conflict");
    expect(await codeOf(insert(db, of({ app_id: "app-9" })))).toBe("conflict");
    expect((await claim(db, 8)).map(({ trigger_id }) => trigger_id)).toEqual(["t2", "trigger-1"]);
  });

  test("the ticks of a trigger that wait or run are counted, up to a bound, and no other event", async () => {
    const db = await setup();
    const tick = (more: Partial<Delivery> = {}) => of({ source: "cron", type: "fire", ...more });
    const count = (max: number) => countTicksOfTrigger(db, "trigger-1", max);
    expect(await count(1)).toBe(0);
    await insert(db, of(), tick({ trigger_id: "t2" }));
    expect(await count(5)).toBe(0);
    await insert(db, tick(), tick(), tick());
    await claim(db, 2);
    expect([await count(1), await count(3), await count(5)]).toEqual([1, 3, 3]);
  });

  test("who lost a lease can neither settle nor renew it", async () => {
    const db = await setup();
    await insert(db, of());
    const [held] = (await claim(db, 1)) as [Delivery];
    expect(await holds(db, held)).toBe(true);
    expect(await renew(db, held)).toBe(true);
    expect(await giveBack(db, held, 0)).toBe(true);
    // Nobody holds it now, though nobody has claimed it since.
    expect(await holds(db, held)).toBe(false);
    expect(await renew(db, held)).toBe(false);
    const [again] = (await claim(db, 1)) as [Delivery];
    expect(again.fence).toBeGreaterThan(held.fence);
    expect(await holds(db, held)).toBe(false);
    expect(await giveBack(db, held, 0)).toBe(false);
    expect(await remove(db, held)).toBe(false);
    expect(await remove(db, again)).toBe(true);
    expect(await remove(db, again)).toBe(false);
  });

  test("what is given back waits, and says for how long", async () => {
    const db = await setup();
    expect(await untilDue(db)).toBeNull();
    await insert(db, of());
    const [held] = (await claim(db, 1)) as [Delivery];
    await giveBack(db, { ...held, attempt: 1 }, 60_000);
    expect(await claim(db, 8)).toEqual([]);
    const wait = (await untilDue(db)) ?? 0;
    expect(wait).toBeGreaterThan(50_000);
    expect(wait).toBeLessThanOrEqual(60_000);
  });

  test("crashes are kept one below the bound by whoever gives a delivery back", async () => {
    const db = await setup();
    await insert(db, of({ crashes: 1 }), of({ crashes: deliveryCrashesMax + 2 }));
    for (const held of await claim(db, 8)) await giveBack(db, { ...held, attempt: 1 }, 0);
    const crashes = (await claim(db, 8)).map((one) => [one.attempt, one.crashes]);
    expect(crashes).toEqual([
      [1, 1],
      [1, deliveryCrashesMax - 1],
    ]);
  });

  test("a delivery that its holder has left behind comes back, and counts as a crash", async () => {
    const db = await setup();
    await insert(db, of(), of());
    const [held] = (await claim(db, 1)) as [Delivery];
    await leaveBehind(db);
    const [again, fresh] = (await claim(db, 8)).sort((a, b) => b.crashes - a.crashes);
    expect(again).toEqual({ ...held, crashes: 1, fence: held.fence + 1 });
    expect(fresh).toMatchObject({ crashes: 0, fence: firstFence(db) });
    expect(await remove(db, held)).toBe(false);
  });

  test("transactions that claim at the same time never get the same delivery", async () => {
    const db = await setup();
    await insert(db, ...Array.from({ length: 40 }, () => of()));
    const claims = await Promise.all(Array.from({ length: 12 }, () => claim(db, 8)));
    const ids = claims.flat().map(({ event_id }) => event_id);
    while (ids.length < 40) {
      const more = await claim(db, 8);
      expect(more.length).toBeGreaterThan(0);
      ids.push(...more.map(({ event_id }) => event_id));
    }
    expect(new Set(ids).size).toBe(40);
  });

  test("waits longer than their policy are clamped where the clock is ours", async () => {
    const db = await setup();
    await insert(db, of());
    const [held] = (await claim(db, 1)) as [Delivery];
    await giveBack(db, held, 365 * 24 * 3_600_000);
    const clamp = db.outbox.clampWaits(now);
    expect(clamp === null).toBe(db.isShared);
    if (clamp === null) return;
    await db.tx((tx) => tx.run(clamp));
    expect(await untilDue(db)).toBe(2 * policy.max_ms);
    const none = await db.tx((tx) => tx.run(clamp));
    expect(none.changes).toBe(0);
  });

  test("apps that have deliveries are known, whether these are due or not", async () => {
    const db = await setup();
    await db.tx((tx) => insertApp(tx, { ...app, id: "app-2", slug: "other" }));
    expect(await appsWithDeliveries(db)).toEqual([]);
    await insert(db, of());
    await claim(db, 8);
    expect(await appsWithDeliveries(db)).toEqual(["app-1"]);
  });

  test("a change is emitted to each trigger that wants it, and to no other", async () => {
    const db = await setup();
    await db.tx(async (tx) => {
      for (const [id, collection, on, is_enabled] of [
        ["t-exact", "a_%", "insert", true],
        ["t-all", "*", "insert", true],
        ["t-prefix", "a_*", "insert", true],
        ["t-other", "a_", "insert", true],
        ["t-case", "A*", "insert", true],
        ["t-update", "*", "update", true],
        ["t-off", "*", "insert", false],
      ] as const) {
        const times = { created_at: 1, updated_at: 1 };
        const owner = { app_id: app.id, script_id: "s1", registered_by: null };
        const operations = [on];
        const kind = "kv" as const;
        await insertTrigger(tx, {
          ...{ id, kind, collection, operations, is_enabled, retry: policy },
          ...owner,
          ...times,
        });
      }
    });
    const change = {
      event_id: "e1",
      app_id: app.id,
      source: "kv",
      type: "insert",
      collection: "a_%",
      depth: 3,
      root_execution_id: "x1",
      now: 5,
      payload: "{}",
    } as const;
    expect(await db.tx((tx) => emitChange(tx, change, 100))).toBe(3);
    const claimed = await claim(db, 8);
    expect(claimed.map((one) => one.trigger_id)).toEqual(["t-all", "t-exact", "t-prefix"]);
    expect(claimed[0]).toEqual(
      delivery({
        event_id: "e1",
        trigger_id: "t-all",
        script_id: "s1",
        depth: 3,
        root_execution_id: "x1",
        created_at: 5,
        fence: firstFence(db),
        payload: "{}",
      }),
    );
    const ids = ["t-exact", "t-off", "none"];
    const other = { ...change, event_id: "e2" };
    expect(await db.tx((tx) => emitChangeTo(tx, other, ids, 100))).toBe(1);
    expect((await claim(db, 8)).map((one) => one.trigger_id)).toEqual(["t-exact"]);
    expect(await isWanted(db, { ...change, type: "update" })).toBe(true);
    expect(await isWanted(db, { ...change, type: "delete" })).toBe(false);
    expect(await isWanted(db, { ...change, source: "docs" })).toBe(false);
    expect(await isWanted(db, { ...change, app_id: "app-2" })).toBe(false);
  });

  test("results of tx are kept once for each ordinal, and deleted with their delivery", async () => {
    const db = await setup();
    const key = { event_id: "e1", trigger_id: "t1" };
    const add = (ordinal: number, result: string) =>
      db.tx((tx) => insertTxResult(tx, app.id, key, { ordinal, result }));
    await add(1, '{"a":"\\u0000"}');
    await add(2, "null");
    expect(await codeOf(add(1, "2"))).toBe("conflict");
    expect(await getTxResult(db, key, 1)).toBe('{"a":"\\u0000"}');
    expect(await getTxResult(db, key, 2)).toBe("null");
    expect(await getTxResult(db, key, 3)).toBeNull();
    expect(await getTxResult(db, { ...key, trigger_id: "t2" }, 1)).toBeNull();
    await db.tx((tx) => deleteTxResults(tx, { ...key, trigger_id: "t2" }));
    expect(await getTxResult(db, key, 1)).not.toBeNull();
    await db.tx((tx) => deleteTxResults(tx, key));
    expect(await getTxResult(db, key, 1)).toBeNull();
  });

  test("what waits for a trigger goes with it, and leaves other triggers alone", async () => {
    const db = await setup();
    const [gone, kept] = [of(), of({ trigger_id: "t2" })];
    await insert(db, gone, kept);
    await db.tx(async (tx) => {
      await insertTxResult(tx, app.id, gone, { ordinal: 1, result: "1" });
      await insertTxResult(tx, app.id, kept, { ordinal: 1, result: "1" });
    });
    const drop = () => db.tx((tx) => deleteDeliveriesOfTrigger(tx, app.id, gone.trigger_id));
    expect(await drop()).toBe(1);
    expect(await drop()).toBe(0);
    expect(await getTxResult(db, gone, 1)).toBeNull();
    expect(await getTxResult(db, kept, 1)).toBe("1");
    expect((await claim(db, 8)).map(({ trigger_id }) => trigger_id)).toEqual(["t2"]);
  });
}

function insert(db: Database, ...deliveries: Delivery[]): Promise<void> {
  return db.tx(async (tx) => {
    for (const one of deliveries) await insertDelivery(tx, one);
  });
}

/** What this process has claimed: where claims are in memory, nobody else knows. */
const claimed = new WeakMap<Database, Delivery[]>();

function claim(db: Database, limit: number, more: { app_id?: string } = {}): Promise<Delivery[]> {
  const wanted = { app_id: app.id, owner: "o1", now, limit, ...more };
  return db.tx(async (tx) => {
    const held = claimed.get(db) ?? [];
    const found = await claimDeliveries(tx, db.outbox, wanted, held);
    claimed.set(db, [...held, ...found]);
    if (!db.outbox.claimsInMemory) return found.map(withoutLeaseEnd);
    await noteHeld(tx, [...held, ...found]);
    return found;
  });
}

/** On PostgreSQL `due_at` of a claim is when its lease ends, by the clock of the database. */
function withoutLeaseEnd(claimed: Delivery): Delivery {
  expect(claimed.due_at).toBeGreaterThan(0);
  return { ...claimed, due_at: 0 };
}

function letGo(db: Database, { event_id, trigger_id }: Delivery): void {
  const isOther = (one: Delivery) => one.event_id !== event_id || one.trigger_id !== trigger_id;
  claimed.set(db, (claimed.get(db) ?? []).filter(isOther));
}

function firstFence(db: Database): number {
  return db.outbox.claimsInMemory ? 0 : 1;
}

function remove(db: Database, held: Delivery): Promise<boolean> {
  letGo(db, held);
  return db.tx((tx) => deleteDelivery(tx, db.outbox, held));
}

function holds(db: Database, held: Delivery): Promise<boolean> {
  return db.tx((tx) => holdsLease(tx, db.outbox, held));
}

function renew(db: Database, held: Delivery): Promise<boolean> {
  return db.tx((tx) => renewLease(tx, db.outbox, { ...held, now, lease_ms: leaseMs }));
}

function giveBack(db: Database, held: Delivery, wait_ms: number): Promise<boolean> {
  letGo(db, held);
  return db.tx((tx) => returnDelivery(tx, db.outbox, { ...held, now, wait_ms }));
}

async function untilDue(db: Database): Promise<number | null> {
  return (await db.get(db.outbox.msUntilDue(app.id, now)))?.ms ?? null;
}

/** The holder is gone: its lease is over, or void at the next start. */
async function leaveBehind(db: Database): Promise<void> {
  claimed.delete(db);
  await db.tx(async (tx) => {
    if (db.outbox.claimsInMemory) await recoverHeld(tx, db.outbox);
    else await tx.run(sql`update outbox set due_at = 1 where lease_owner is not null`);
  });
}
