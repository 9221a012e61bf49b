/** Several dispatchers on one PostgreSQL: leases that end and are renewed, messages that are lost. */
import { afterAll, beforeAll, beforeEach, describe, expect } from "bun:test";
import { leaseRenewMs } from "../../src/domain/limits.ts";
import type { DeliveryReport } from "../../src/execution/delivery.ts";
import { listDeadLetters } from "../../src/storage/dead-letters.ts";
import { insertDelivery } from "../../src/storage/outbox.ts";
import type { Database } from "../../src/storage/port.ts";
import { sql } from "../../src/storage/sql.ts";
import { settled, until } from "../execution/fakes.ts";
import { postgresMissing } from "../postgres.ts";
import { script, seed } from "../storage/conformance/engine.ts";
import { until as eventually, type Setup, setup, test } from "../storage/postgres-setup.ts";
import { type Dispatching, delivery, dispatching, failure, policy, report } from "./dispatching.ts";

let database: Setup;
let db: Database;

beforeAll(async () => {
  if (postgresMissing() !== null) return;
  database = await setup();
  ({ db } = await database.open());
  await seed(db, script("script-1"));
});

beforeEach(async () => {
  if (postgresMissing() !== null) return;
  await db.tx(async (tx) => {
    await tx.run(sql`delete from outbox`);
    await tx.run(sql`delete from dead_letters`);
  });
});

afterAll(async () => {
  await database?.end();
});

/** Dispatchers as two servers have them, which end with the test. */
async function servers(count: number) {
  const worlds = Array.from({ length: count }, () => dispatching(db));
  for (const { dispatcher } of worlds) await dispatcher.start();
  return Object.assign(worlds, {
    [Symbol.asyncDispose]: async () => {
      for (const { dispatcher, time } of worlds) {
        let isStopped = false;
        void dispatcher.stop(0).then(() => {
          isStopped = true;
        });
        for (; !isStopped; time.advance(100)) await Bun.sleep(1);
      }
    },
  }) as Dispatching[] & AsyncDisposable;
}

/** A beat later: leases are renewed, lost messages are made up for. */
function beat(world: Dispatching): void {
  world.time.advance(leaseRenewMs);
}

/** Handlers that do not end. */
function hanging(world: Dispatching) {
  const ends: ((with_: DeliveryReport) => void)[] = [];
  world.handler = () => new Promise<DeliveryReport>((end) => ends.push(end));
  return ends;
}

const leaseEnds = async (): Promise<number> =>
  (await db.get(sql<{ due_at: number }>`select max(due_at) as due_at from outbox`))?.due_at ?? 0;

describe("dispatchers on PostgreSQL", () => {
  test("share the work and never handle the same delivery", async () => {
    await using worlds = await servers(2);
    const [one, two] = worlds as [Dispatching, Dispatching] & AsyncDisposable;
    for (let i = 0; i < 10; i += 1) await one.emit(...Array.from({ length: 50 }, () => delivery()));
    await until(() => one.dispatcher.stats().done + two.dispatcher.stats().done === 500);
    const ids = [...one.delivered, ...two.delivered].map(({ event_id }) => event_id);
    expect(ids).toHaveLength(500);
    expect(new Set(ids).size).toBe(500);
    expect(await one.rows()).toEqual([]);
    expect([...one.lines, ...two.lines]).toEqual([]);
  }, 20_000);

  test("renew the leases of what runs", async () => {
    await using worlds = await servers(1);
    const [one] = worlds as [Dispatching] & AsyncDisposable;
    const ends = hanging(one);
    await one.emit(delivery());
    await until(() => ends.length === 1);
    await db.tx((tx) => tx.run(sql`update outbox set due_at = due_at - 20000`));
    const before = await leaseEnds();
    beat(one);
    await eventually(async () => ((await leaseEnds()) > before + 15_000 ? true : null));
    ends[0]?.(report());
    await until(() => one.dispatcher.stats().done === 1);
  });

  test("take over what another one has left behind, which then has no say in it", async () => {
    await using worlds = await servers(2);
    const [lost, other] = worlds as [Dispatching, Dispatching] & AsyncDisposable;
    const ends = hanging(lost);
    const others = hanging(other);
    await lost.emit(delivery());
    await until(() => ends.length + others.length === 1);
    const [holder, heir] = ends.length === 1 ? [lost, other] : [other, lost];
    const [held] = [...ends, ...others];
    heir.handler = () => report();
    await db.tx((tx) => tx.run(sql`update outbox set due_at = 1`));
    beat(heir);
    await until(() => heir.dispatcher.stats().done === 1);
    expect(heir.delivered).toMatchObject([{ crashes: 1, fence: 2, attempt: 0 }]);
    held?.(failure());
    await until(() => holder.dispatcher.stats().running === 0);
    await until(() => holder.dispatcher.stats().settling === 0);
    await settled();
    expect(holder.dispatcher.stats()).toMatchObject({ done: 0, retried: 0, dead: 0 });
    expect(await holder.rows()).toEqual([]);
  });

  test("find what was announced to nobody", async () => {
    await using worlds = await servers(1);
    const [one] = worlds as [Dispatching] & AsyncDisposable;
    await db.tx((tx) => insertDelivery(tx, delivery()));
    await settled();
    expect(one.delivered).toEqual([]);
    beat(one);
    await until(() => one.dispatcher.stats().done === 1);
  });

  test("wait, retry and give up by the database's own clock", async () => {
    await using worlds = await servers(1);
    const [one] = worlds as [Dispatching] & AsyncDisposable;
    one.handler = () => failure();
    await one.emit(delivery({ retry: { ...policy, base_ms: 20, max_attempts: 3 } }));
    while (one.dispatcher.stats().dead === 0) {
      one.time.advance(5);
      await Bun.sleep(5);
    }
    expect(one.delivered.map(({ attempt }) => attempt)).toEqual([0, 1, 2]);
    const { items } = await listDeadLetters(db, { app_id: "app-1" }, { limit: 9, cursor: null });
    expect(items).toMatchObject([{ attempts: 3, state: "open", source: "kv" }]);
  }, 20_000);
});
