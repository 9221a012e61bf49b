/** What becomes of deliveries, on SQLite. Crashes, failpoints and several servers have files beside this. */
import { describe, expect, test } from "bun:test";
import type { Clock } from "../../src/base/clock.ts";
import { counters } from "../../src/base/metrics.ts";
import { PicError } from "../../src/domain/errors.ts";
import type { Delivery } from "../../src/domain/events.ts";
import {
  deliveryBusyWaitMs,
  deliveryCrashesMax,
  drainMsMax,
  gateRunningMax,
} from "../../src/domain/limits.ts";
import type { DeliveryReport } from "../../src/execution/delivery.ts";
import { insertAsyncExecution } from "../../src/storage/async-executions.ts";
import { countDeadLetters, listDeadLetters } from "../../src/storage/dead-letters.ts";
import { listAttempts } from "../../src/storage/event-attempts.ts";
import { getTxResult, insertDelivery, insertTxResult } from "../../src/storage/outbox.ts";
import type { Database, Tx } from "../../src/storage/port.ts";
import { sql } from "../../src/storage/sql.ts";
import { insertTrigger } from "../../src/storage/triggers.ts";
import { FakeTime, settled, until } from "../execution/fakes.ts";
import { openFolder } from "../execution/folder.ts";
import {
  busy,
  type DispatchingOptions,
  delivery,
  dispatching,
  failure,
  policy,
  report,
} from "./dispatching.ts";

async function setup(options: DispatchingOptions & { wrap?: (db: Database) => Database } = {}) {
  const folder = await openFolder();
  const { wrap = (db: Database) => db, ...rest } = options;
  const world = dispatching(wrap(folder.db), rest);
  return Object.assign(world, {
    /** Without what `wrap` does. */
    real: folder.db,
    /** Until nothing more happens by itself. */
    idle: async () => {
      const isIdle = (): boolean => {
        const { running, settling } = world.dispatcher.stats();
        return running + settling === 0;
      };
      // Between two turns it can look idle.
      for (let looks = 0; looks < 2; looks = isIdle() ? looks + 1 : 0) {
        await until(isIdle);
        await settled();
      }
    },
    [Symbol.asyncDispose]: async () => {
      let isStopped = false;
      void world.dispatcher.stop(0).then(() => {
        isStopped = true;
      });
      for (; !isStopped; world.time.advance(1_000)) await settled();
      await folder[Symbol.asyncDispose]();
    },
  });
}

/** Handlers that end when a test says so. */
function held() {
  const waiting: { delivery: Delivery; end: (with_: DeliveryReport) => void }[] = [];
  return {
    waiting,
    handler: (one: Delivery) =>
      new Promise<DeliveryReport>((end) => waiting.push({ delivery: one, end })),
    endAll: () => {
      for (const { end } of waiting.splice(0)) end(report());
    },
  };
}

async function letters(db: Database) {
  return (await listDeadLetters(db, { app_id: "app-1" }, { limit: 50, cursor: null })).items;
}

async function addHandler(db: Database, id = "handler-1"): Promise<void> {
  await db.tx((tx) =>
    insertTrigger(tx, {
      ...{ id, kind: "dead_letter", app_id: "app-1", script_id: "script-1", is_enabled: true },
      ...{ registered_by: null, created_at: 1, updated_at: 1 },
    }),
  );
}

describe("a delivery", () => {
  test("is handled once, and nothing is left of it", async () => {
    await using world = await setup();
    await world.dispatcher.start();
    const one = delivery({ payload: '{"value":"ü\\u0000"}' });
    await world.emit(one);
    await world.idle();
    expect(world.delivered).toEqual([{ ...one, fence: 0 }]);
    expect(await world.rows()).toEqual([]);
    expect(world.dispatcher.stats()).toMatchObject({ done: 1, retried: 0, dead: 0 });
  });

  test("that was there before the start is handled, and without a loop by one turn", async () => {
    await using world = await setup();
    await world.emit(delivery());
    expect(await world.dispatcher.runOnce()).toBe(true);
    await until(() => world.dispatcher.stats().settling === 1);
    expect(await world.dispatcher.runOnce()).toBe(true);
    expect(await world.rows()).toEqual([]);
    await world.emit(delivery());
    await world.dispatcher.start();
    await world.dispatcher.start();
    await world.idle();
    expect(await world.dispatcher.runOnce()).toBe(false);
  });

  test("comes after those that are older", async () => {
    await using world = await setup({ running: 2 });
    const hold = held();
    world.handler = hold.handler;
    const all = Array.from({ length: 9 }, () => delivery());
    await world.emit(...all.toReversed());
    await world.dispatcher.start();
    for (let i = 0; i < all.length; i += 1) {
      await until(() => hold.waiting.length === 1);
      hold.endAll();
    }
    await world.idle();
    expect(world.delivered.map(({ event_id }) => event_id)).toEqual(
      all.map(({ event_id }) => event_id),
    );
  });

  test("leaves no results of tx behind", async () => {
    await using world = await setup();
    const [one, other] = [delivery(), delivery()];
    const keep = (tx: Tx, which: Delivery) =>
      insertTxResult(tx, "app-1", which, { ordinal: 1, result: "1" });
    world.handler = async (which) => {
      await world.db.tx((tx) => keep(tx, which));
      return report({ has_results: true });
    };
    await world.dispatcher.start();
    await world.emit(one);
    await world.idle();
    expect(await getTxResult(world.db, one, 1)).toBeNull();
    // Those of an attempt of which nobody has reported, too.
    world.handler = () => report();
    await world.db.tx((tx) => keep(tx, other));
    await world.emit({ ...other, fence: 1 });
    await world.idle();
    expect(await getTxResult(world.db, other, 1)).toBeNull();
  });

  test("of a script that is deleted meanwhile is dropped without a word", async () => {
    await using world = await setup();
    const hold = held();
    world.handler = hold.handler;
    await world.dispatcher.start();
    await world.emit(delivery({ retry: null }));
    await until(() => hold.waiting.length === 1);
    await world.db.tx((tx) => tx.run(sql`delete from scripts where id = 'script-1'`));
    hold.waiting[0]?.end(failure());
    await world.idle();
    expect(world.dispatcher.stats()).toMatchObject({ settling: 0, dead: 0 });
    expect(await letters(world.db)).toEqual([]);
    expect(world.lines).toEqual([]);
  });
});

describe("fairness", () => {
  test("an app with 10,000 deliveries keeps another from nothing", async () => {
    await using world = await setup();
    const many = Array.from({ length: 10_000 }, () => delivery());
    await world.emit(...many);
    const hold = held();
    world.handler = hold.handler;
    await world.dispatcher.start();
    await until(() => hold.waiting.length === gateRunningMax / 2);
    await settled();
    // No more than its share, though slots are free, and nothing is claimed that could not run.
    expect(hold.waiting.length).toBe(gateRunningMax / 2);
    expect(world.dispatcher.stats().running).toBe(gateRunningMax / 2);
    await world.emit(delivery({ app_id: "app-2" }));
    await until(() => hold.waiting.some((one) => one.delivery.app_id === "app-2"));
    world.handler = () => report();
    hold.endAll();
    await until(() => world.dispatcher.stats().done === many.length + 1);
    expect(await world.rows()).toEqual([]);
  }, 30_000);

  test("where slots are few, apps take turns", async () => {
    await using world = await setup({ running: 2 });
    await world.emit(
      ...Array.from({ length: 6 }, () => delivery()),
      ...Array.from({ length: 3 }, () => delivery({ app_id: "app-2" })),
    );
    const hold = held();
    world.handler = hold.handler;
    await world.dispatcher.start();
    for (let i = 0; i < 9; i += 1) {
      await until(() => hold.waiting.length > 0);
      hold.waiting.shift()?.end(report());
      await settled();
    }
    await world.idle();
    const second = world.delivered.map(({ app_id }) => app_id).lastIndexOf("app-2");
    expect(second).toBeLessThanOrEqual(6);
  });

  test("requests that hold the gate cost a delivery no attempt; a slot that comes free wakes it", async () => {
    await using world = await setup({ running: 4 });
    const { gate } = world;
    for (const app_id of ["app-1", "app-1", "app-2"]) gate.acquire(app_id, "request", null);
    await world.dispatcher.start();
    // The app's own requests have its share.
    await world.emit(delivery());
    await settled();
    expect(world.delivered).toEqual([]);
    expect((await world.rows())[0]).toMatchObject({ lease_owner: null, attempt: 0 });
    expect(world.time.timers).toBe(0);
    gate.leave("app-2", "request");
    await settled();
    expect(world.delivered).toEqual([]);
    gate.leave("app-1", "request");
    await world.idle();
    expect(world.delivered).toHaveLength(1);
    gate.leave("app-1", "request");
  });
});

describe("a failure", () => {
  test("is tried again after the waits of its policy, and leaves no trace when that succeeds", async () => {
    await using world = await setup();
    const times: number[] = [];
    world.handler = () => {
      times.push(world.time.monotonic());
      return times.length < 3 ? failure() : report();
    };
    const one = delivery({ retry: { ...policy, max_attempts: 9 } });
    await world.dispatcher.start();
    await world.emit(one);
    await world.idle();
    expect(await world.rows()).toMatchObject([{ attempt: 1, lease_owner: null }]);
    expect(await listAttempts(world.db, "app-1", one)).toMatchObject([
      { number: 1, status: "error", error: { message: "boom" } },
    ]);
    for (const wait of [1_000, 2_000]) {
      expect(world.time.nextIn).toBe(wait);
      world.time.advance(wait);
      await settled();
      await world.idle();
    }
    expect(times).toEqual([0, 1_000, 3_000]);
    expect(world.delivered.map(({ attempt }) => attempt)).toEqual([0, 1, 2]);
    expect(await world.rows()).toEqual([]);
    expect(await listAttempts(world.db, "app-1", one)).toEqual([]);
    expect(world.time.timers).toBe(0);
  });

  test("that nobody is to blame for waits shortly and costs no attempt", async () => {
    await using world = await setup();
    const one = delivery({ retry: null });
    world.handler = () => (world.delivered.length < 4 ? busy : report());
    await world.dispatcher.start();
    await world.emit(one);
    for (let i = 0; i < 3; i += 1) {
      await world.idle();
      expect(await world.rows()).toMatchObject([{ attempt: 0, lease_owner: null }]);
      expect(world.time.nextIn).toBe(deliveryBusyWaitMs);
      world.time.advance(deliveryBusyWaitMs);
      await settled();
    }
    await world.idle();
    expect(world.dispatcher.stats()).toMatchObject({ done: 1, retried: 0, dead: 0 });
    expect(await listAttempts(world.db, "app-1", one)).toEqual([]);
  });

  test("of the last attempt makes a dead letter, with every attempt", async () => {
    await using world = await setup();
    let tries = 0;
    world.handler = () => {
      tries += 1;
      // Poison: its sandbox is lost each time.
      return failure({
        status: "sandbox_lost",
        execution_id: `x${tries}`,
        error: { status: "sandbox_lost", code: "sandbox_lost", message: `lost ${tries}` },
      });
    };
    const one = delivery({ depth: 3 });
    await world.dispatcher.start();
    await world.emit(one);
    for (const wait of [1_000, 2_000]) {
      await world.idle();
      world.time.advance(wait);
      await settled();
    }
    await world.idle();
    expect(await world.rows()).toEqual([]);
    const [letter] = await letters(world.db);
    const { event_id, trigger_id, app_id, script_id, source, type, depth, payload } = one;
    expect(letter).toMatchObject({
      ...{ event_id, trigger_id, app_id, script_id, source, type, depth, payload },
      ...{ state: "open", attempts: 3, retry: policy, event_at: one.created_at, note: null },
      error: { status: "sandbox_lost", code: "sandbox_lost", message: "lost 3" },
      created_at: world.time.now(),
    });
    const attempts = await listAttempts(world.db, "app-1", one);
    expect(attempts.map((made) => [made.number, made.execution_id])).toEqual([
      [1, "x1"],
      [2, "x2"],
      [3, "x3"],
    ]);
    expect(world.dispatcher.stats()).toMatchObject({ retried: 2, dead: 1 });
    expect(world.lines).toEqual(["a delivery became a dead letter"]);
  });

  test("of an invoker that breaks its word is one of the handler: it has an end", async () => {
    await using world = await setup();
    world.handler = () => Promise.reject(new Error("a defect"));
    await world.dispatcher.start();
    await world.emit(delivery({ retry: null }));
    await world.idle();
    expect(await letters(world.db)).toMatchObject([{ error: { code: "internal" } }]);
  });
});

describe("a dead letter", () => {
  test("is told to each handler of its app, with the event as its own handler saw it", async () => {
    await using world = await setup();
    await addHandler(world.db, "handler-1");
    await addHandler(world.db, "handler-2");
    world.handler = (one) => (one.source === "kv" ? failure() : report());
    const one = delivery({ retry: null, depth: 2, payload: '{"collection":"c","value":[1]}' });
    await world.dispatcher.start();
    await world.emit(one);
    await until(() => world.delivered.length === 3);
    await world.idle();
    const [letter] = await letters(world.db);
    expect(letter?.state).toBe("open");
    const told = world.delivered.slice(1);
    expect(told.map(({ trigger_id }) => trigger_id)).toEqual(["handler-1", "handler-2"]);
    expect(told[0]).toMatchObject({
      ...{ source: "dead_letter", type: "fire", depth: 3, retry: null, attempt: 0 },
      ...{ root_execution_id: "root-1", dead_letter_id: letter?.id as string },
    });
    expect(told[0]?.event_id).not.toBe(one.event_id);
    expect(JSON.parse(told[0]?.payload ?? "")).toEqual({
      deadLetter: {
        ...{ id: letter?.id, source: "kv", type: "insert", scriptId: "script-1" },
        ...{ triggerId: "trigger-1", attempts: 1 },
        error: { status: "error", code: null, message: "boom" },
        event: {
          ...{ id: one.event_id, source: "kv", type: "insert", depth: 2, attempt: 1 },
          at: new Date(one.created_at).toISOString(),
          ...{ rootExecutionId: "root-1", collection: "c", value: [1] },
        },
      },
    });
  });

  test("whose handler fails is marked, and nothing new is started", async () => {
    await using world = await setup();
    await addHandler(world.db);
    world.handler = () => failure();
    await world.dispatcher.start();
    const one = delivery({ retry: null });
    await world.emit(one);
    await until(() => world.delivered.length === 2);
    await world.idle();
    expect(await letters(world.db)).toMatchObject([{ state: "handler_failed", attempts: 1 }]);
    expect(await world.rows()).toEqual([]);
    expect(world.delivered).toHaveLength(2);
    const handled = world.delivered[1] as Delivery;
    expect(await listAttempts(world.db, "app-1", handled)).toEqual([]);
  });

  test("at the end of a chain is told to nobody, and the log says so", async () => {
    await using world = await setup();
    await addHandler(world.db);
    world.handler = () => failure();
    await world.dispatcher.start();
    await world.emit(delivery({ retry: null, depth: 8 }));
    await world.idle();
    expect(world.delivered).toHaveLength(1);
    expect(await letters(world.db)).toMatchObject([{ state: "open", depth: 8 }]);
    expect(world.lines.some((line) => line.includes("chain of events ended"))).toBe(true);
  });

  /** A letter that is being replayed, as services/dead-letters.ts does it. */
  const replayed = async (world: Awaited<ReturnType<typeof setup>>): Promise<Delivery> => {
    const one = delivery({ retry: { ...policy, max_attempts: 1 } });
    world.handler = (which) => (which.source === "kv" ? failure() : report());
    await world.dispatcher.start();
    await world.emit(one);
    await world.idle();
    const [letter] = await letters(world.db);
    await world.db.tx((tx) => tx.run(sql`update dead_letters set state = 'replaying'`));
    const dead_letter_id = letter?.id as string;
    return { ...one, attempt: 1, attempt_base: 1, fence: 100, dead_letter_id };
  };

  test("is replayed when its delivery succeeds, and keeps its attempts", async () => {
    await using world = await setup();
    const again = await replayed(world);
    world.handler = () => report();
    await world.emit(again);
    await world.idle();
    expect(await letters(world.db)).toMatchObject([{ state: "replayed", attempts: 1 }]);
    expect(await listAttempts(world.db, "app-1", again)).toHaveLength(1);
    expect(await world.rows()).toEqual([]);
  });

  test("is open again when the replay fails, and its handlers run again", async () => {
    await using world = await setup();
    const again = await replayed(world);
    await addHandler(world.db);
    world.time.advance(5_000);
    const error = { status: "timeout", code: "timeout", message: "late" };
    world.handler = (one) =>
      one.source === "kv" ? failure({ status: "timeout", error }) : report();
    await world.emit(again);
    await until(() => world.delivered.length === 3);
    await world.idle();
    expect(await letters(world.db)).toMatchObject([
      { id: again.dead_letter_id, state: "open", attempts: 2, error, updated_at: world.time.now() },
    ]);
    const attempts = await listAttempts(world.db, "app-1", again);
    expect(attempts.map(({ number }) => number)).toEqual([1, 2]);
    expect(world.delivered[2]).toMatchObject({ source: "dead_letter", trigger_id: "handler-1" });
  });
});

describe("an asynchronous route", () => {
  const begin = async (db: Database, id: string) => {
    await db.tx((tx) =>
      insertAsyncExecution(tx, {
        ...{ id, app_id: "app-1", script_id: "script-1", created_at: 1 },
        token_hash: "0f".repeat(32),
      }),
    );
    const request = { method: "POST", host: "pi", path: "/p", headers: {}, query: {}, queries: {} };
    const rest = { params: {}, rest: "", body_json: '{"n":1}', body_base64: null };
    return delivery({
      ...{ event_id: id, trigger_id: "", source: "route", type: "fire" },
      payload: JSON.stringify({ ...request, ...rest, request_id: "r1" }),
    });
  };
  const status = (db: Database) =>
    db.get(sql<Record<string, unknown>>`select status, attempts, status_code, response, finished_at
      from async_executions`);

  test("tells its caller of attempts that failed, and of the answer", async () => {
    await using world = await setup();
    world.handler = () => failure();
    await world.dispatcher.start();
    await world.emit(await begin(world.db, "x1"));
    await world.idle();
    expect(await status(world.db)).toMatchObject({ status: "pending", attempts: 1 });
    const headers = { "content-type": "text/plain" };
    const answer = { execution_id: "x1", status_code: 201, body_kind: "text", body: "hi" } as const;
    world.handler = () => report({ result: { ...answer, headers } });
    world.time.advance(1_000);
    await settled();
    await world.idle();
    const found = await status(world.db);
    expect(found).toMatchObject({ status: "success", attempts: 2, status_code: 201 });
    expect(found?.finished_at).toBe(world.time.now());
    const response = JSON.parse(String(found?.response));
    expect(response).toEqual({ headers, body: "hi", truncated: false });
  });

  test("has failed when its last attempt has, and its letter shows the request", async () => {
    await using world = await setup();
    await addHandler(world.db);
    world.handler = (one) => (one.source === "route" ? failure() : report());
    await world.dispatcher.start();
    await world.emit({ ...(await begin(world.db, "x1")), retry: null });
    await until(() => world.delivered.length === 2);
    await world.idle();
    expect(await status(world.db)).toMatchObject({ status: "failed", attempts: 1, response: null });
    const { deadLetter } = JSON.parse(world.delivered[1]?.payload ?? "");
    expect(deadLetter.event).toMatchObject({
      source: "route",
      request: { method: "POST", path: "/p", body: { n: 1 }, bodyBase64: null },
    });
  });
});

describe("a holder that vanished", () => {
  test("costs its delivery no attempt, until that has happened too often", async () => {
    await using world = await setup();
    const one = delivery({ retry: { ...policy, max_attempts: 2 } });
    await world.emit(one);
    const vanish = async () => {
      const claimed = dispatching(world.db);
      claimed.handler = () => new Promise(() => {});
      await claimed.dispatcher.runOnce();
      await settled();
      return claimed.delivered.length;
    };
    // Each of these is killed while the handler runs; the next finds what it left behind.
    for (let crashes = 0; crashes < deliveryCrashesMax; crashes += 1) {
      expect(await vanish()).toBe(1);
      expect(await world.rows()).toMatchObject([{ attempt: 0, crashes }]);
    }
    await world.dispatcher.start();
    await world.idle();
    expect(world.delivered).toEqual([]);
    const crashes = deliveryCrashesMax - 1;
    expect(await world.rows()).toMatchObject([{ attempt: 1, crashes, lease_owner: null }]);
    expect(await listAttempts(world.db, "app-1", one)).toMatchObject([
      { number: 1, status: "sandbox_lost", execution_id: "" },
    ]);
    // It is executed once more, and when that holder vanishes, too, that was its last attempt.
    await world.db.tx((tx) => tx.run(sql`update outbox set due_at = 0`));
    expect(await vanish()).toBe(1);
    const last = dispatching(world.db);
    await last.dispatcher.start();
    await until(() => last.dispatcher.stats().dead === 1);
    expect(last.delivered).toEqual([]);
    expect(await letters(world.db)).toMatchObject([{ attempts: 2 }]);
    await last.dispatcher.stop();
  });
});

describe("while the database is away", () => {
  /** Transactions fail while `away` says so. */
  const failing = (world: { away: PicError | Error | null; tried: number }) => (db: Database) => {
    const wrapped = Object.create(db) as Database;
    Object.assign(wrapped, {
      outbox: db.outbox,
      get: db.get.bind(db),
      all: db.all.bind(db),
      scan: db.scan.bind(db),
      durable: db.durable.bind(db),
      notify: db.notify.bind(db),
      listen: db.listen.bind(db),
      tx: (fn: never, options: never) => {
        world.tried += 1;
        return world.away === null ? db.tx(fn, options) : Promise.reject(world.away);
      },
    });
    return wrapped;
  };
  const gone = new PicError("unavailable", "The disk is full.");

  test("settlements are kept, and tried with growing waits until they succeed", async () => {
    const state = { away: null as Error | null, tried: 0 };
    await using world = await setup({ wrap: failing(state) });
    const hold = held();
    world.handler = hold.handler;
    await world.dispatcher.start();
    await world.emit(delivery(), delivery(), delivery());
    await until(() => hold.waiting.length === 3);
    state.away = gone;
    hold.endAll();
    const waits: (number | null)[] = [];
    for (let i = 0; i < 8; i += 1) {
      await until(() => world.time.nextIn !== null);
      waits.push(world.time.nextIn);
      const before = state.tried;
      world.time.advance(world.time.nextIn ?? 0);
      await until(() => state.tried > before);
      await settled();
    }
    expect(waits).toEqual([100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    expect(world.dispatcher.stats()).toMatchObject({ settling: 3, done: 0 });
    expect(world.lines).toEqual(["deliveries wait for the database"]);
    state.away = null;
    world.time.advance(5_000);
    await world.idle();
    expect(world.dispatcher.stats()).toMatchObject({ settling: 0, done: 3 });
    expect(await world.rows()).toEqual([]);
    expect(world.delivered).toHaveLength(3);
    expect(world.time.timers).toBe(0);
  });

  test("a start looks again until it has seen what waits", async () => {
    const state = { away: null as Error | null, tried: 0 };
    await using world = await setup({ wrap: failing(state) });
    await world.emit(delivery());
    state.away = gone;
    await world.dispatcher.start();
    expect(world.delivered).toEqual([]);
    state.away = null;
    world.time.advance(100);
    await until(() => world.dispatcher.stats().done === 1);
    expect(world.time.timers).toBe(0);
  });

  test("a stop does not wait for it for ever", async () => {
    const state = { away: null as Error | null, tried: 0 };
    await using world = await setup({ wrap: failing(state) });
    const hold = held();
    world.handler = hold.handler;
    await world.dispatcher.start();
    await world.emit(delivery());
    await until(() => hold.waiting.length === 1);
    state.away = gone;
    hold.endAll();
    let isStopped = false;
    void world.dispatcher.stop().then(() => {
      isStopped = true;
    });
    for (let i = 0; i < 100 && !isStopped; i += 1) {
      world.time.advance(100);
      await settled();
    }
    expect(isStopped).toBe(true);
    expect(world.time.timers).toBe(0);
  });

  test("one settlement that a defect keeps from being written holds up no other", async () => {
    await using world = await setup();
    const [bad, good] = [delivery(), delivery()];
    world.handler = (one) =>
      // No column takes this.
      one.event_id === bad.event_id ? failure({ started_at: Number.NaN }) : report();
    await world.dispatcher.start();
    await world.emit(bad, good);
    await until(() => world.dispatcher.stats().done === 1);
    await settled();
    expect(world.dispatcher.stats()).toMatchObject({ settling: 1, running: 0 });
    await world.emit(delivery());
    await until(() => world.dispatcher.stats().done === 2);
    expect(world.time.nextIn).toBeLessThanOrEqual(100);
    world.time.advance(100);
    await until(() => world.time.nextIn === 200);
    expect(world.dispatcher.stats().settling).toBe(1);
  });
});

describe("a stop", () => {
  test("waits for what runs, settles it, and leaves the rest", async () => {
    await using world = await setup({ running: 2 });
    const hold = held();
    world.handler = hold.handler;
    await world.dispatcher.start();
    await world.emit(delivery(), delivery(), delivery());
    await until(() => hold.waiting.length === 1);
    const stopping = Promise.all([world.dispatcher.stop(), world.dispatcher.stop()]);
    await settled();
    hold.endAll();
    await stopping;
    expect(world.delivered).toHaveLength(1);
    expect(await world.rows()).toMatchObject([
      { lease_owner: null, attempt: 0, crashes: 0 },
      { lease_owner: null, attempt: 0, crashes: 0 },
    ]);
    expect(world.time.timers).toBe(0);
    await world.emit(delivery());
    await settled();
    expect(await world.rows()).toHaveLength(3);
  });

  test("gives back what runs too long; whoever ran it holds it no more", async () => {
    await using world = await setup();
    const hold = held();
    world.handler = hold.handler;
    await world.dispatcher.start();
    await world.emit(delivery());
    await until(() => hold.waiting.length === 1);
    const stopping = world.dispatcher.stop();
    await settled();
    world.time.advance(drainMsMax);
    await stopping;
    expect(await world.rows()).toMatchObject([{ lease_owner: null, attempt: 0, crashes: 0 }]);
    hold.endAll();
    await settled();
    expect(await world.rows()).toHaveLength(1);
  });
});

describe("time", () => {
  test("an idle dispatcher has no timer, sends no SQL and writes nothing", async () => {
    await using world = await setup();
    await world.dispatcher.start();
    await world.emit(...Array.from({ length: 50 }, () => delivery()));
    await world.idle();
    const before = { ...counters };
    world.time.advance(10 * 60_000);
    await settled();
    expect(world.time.timers).toBe(0);
    expect({ ...counters }).toEqual(before);
  });

  test("a wait is as long as it was meant to be, however the clock is set meanwhile", async () => {
    for (const jump of [365 * 24 * 3_600_000, -365 * 24 * 3_600_000]) {
      let offset = 0;
      const time = new FakeTime();
      const clock: Clock = { now: () => time.now() + offset, monotonic: time.monotonic };
      await using world = await setup({ time, clock });
      world.handler = () => (world.delivered.length < 2 ? failure() : report());
      await world.dispatcher.start();
      await world.emit(delivery());
      await until(() => world.dispatcher.stats().retried === 1);
      offset = jump;
      await settled();
      expect(world.time.nextIn).toBe(1_000);
      world.time.advance(999);
      await settled();
      expect(world.delivered).toHaveLength(1);
      world.time.advance(1);
      await until(() => world.dispatcher.stats().done === 1);
    }
  });

  test("a wait that an earlier boot told by a clock a year ahead is no longer than its policy's", async () => {
    await using world = await setup();
    await world.db.tx(async (tx) => {
      await insertDelivery(tx, delivery({ attempt: 1 }));
      await tx.run(sql`update outbox set due_at = ${world.time.now() + 365 * 24 * 3_600_000}`);
    });
    await world.dispatcher.start();
    await settled();
    expect(world.time.nextIn).toBe(2 * policy.max_ms);
    world.time.advance(2 * policy.max_ms);
    await until(() => world.dispatcher.stats().done === 1);
  });
});

test("letters are counted for each app", async () => {
  await using world = await setup();
  world.handler = () => failure();
  await world.dispatcher.start();
  await world.emit(delivery({ retry: null }), delivery({ retry: null, app_id: "app-2" }));
  await world.idle();
  expect((await countDeadLetters(world.db, "app-1")).open).toBe(1);
  expect((await countDeadLetters(world.db, "app-2")).open).toBe(1);
});
