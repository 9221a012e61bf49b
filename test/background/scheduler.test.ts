import { describe, expect, test } from "bun:test";
import { createScheduler, type Scheduler } from "../../src/background/scheduler.ts";
import { newId } from "../../src/base/ids.ts";
import { createLogger } from "../../src/base/log.ts";
import { PicError } from "../../src/domain/errors.ts";
import { RETRY_DEFAULT } from "../../src/domain/events.ts";
import {
  cronQueuedMax,
  listLimitMax,
  schedulerRetryMsMax,
  schedulerRetryMsMin,
  schedulerSleepMsMax,
} from "../../src/domain/limits.ts";
import type { CronTrigger } from "../../src/domain/triggers.ts";
import { StoredClock } from "../../src/services/clock.ts";
import { type OutboxRow, outboxChannel } from "../../src/storage/outbox.ts";
import type { Database } from "../../src/storage/port.ts";
import { getSetting } from "../../src/storage/settings.ts";
import { sql } from "../../src/storage/sql.ts";
import {
  deleteTrigger,
  getTrigger,
  insertTrigger,
  setNextAt,
  triggersChannel,
} from "../../src/storage/triggers.ts";
import { FakeTime, settled, until } from "../execution/fakes.ts";
import { openFolder } from "../execution/folder.ts";
import { script, seed as seedApp } from "../storage/conformance/engine.ts";
import { test as postgresTest, setup as setupPostgres } from "../storage/postgres-setup.ts";

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
/** A whole hour. */
const noon = Date.parse("2025-06-01T12:00:00Z");

/** Time whose wall clock can be set, as a person or NTP does: its timers do not notice. */
class WallTime extends FakeTime {
  jump = 0;
  override now = (): number => noon + this.monotonic() + this.jump;
}

function trigger(over: Partial<CronTrigger> = {}): CronTrigger {
  return {
    id: "trigger-1",
    app_id: "app-1",
    script_id: "script-1",
    kind: "cron",
    is_enabled: true,
    expression: "0 0 * * * *",
    timezone: "UTC",
    overlap: "queue",
    retry: RETRY_DEFAULT,
    next_at: noon + hourMs,
    last_at: null,
    registered_by: null,
    created_at: noon,
    updated_at: noon,
    ...over,
  };
}

interface Faults {
  isAway: boolean;
  reads: number;
  transactions: number;
}

/** A database that can be away, and counts what is asked of it. */
function watched(db: Database, faults: Faults): Database {
  const ask = <T>(run: () => Promise<T>): Promise<T> =>
    faults.isAway ? Promise.reject(new PicError("unavailable", "away")) : run();
  const wrapped = Object.create(db) as Database;
  wrapped.get = (statement, seen) => {
    faults.reads += 1;
    return ask(() => db.get(statement, seen));
  };
  wrapped.all = (statement, seen) => {
    faults.reads += 1;
    return ask(() => db.all(statement, seen));
  };
  wrapped.tx = (fn, options) => {
    faults.transactions += 1;
    return ask(() => db.tx(fn, options));
  };
  wrapped.durable = (seen) => db.durable(seen);
  wrapped.listen = (channel, fn) => db.listen(channel, fn);
  wrapped.notify = (tx, channel, payload) => db.notify(tx, channel, payload);
  return wrapped;
}

async function setup(...triggers: CronTrigger[]) {
  const folder = await openFolder();
  const { db } = folder;
  const time = new WallTime();
  const faults: Faults = { isAway: false, reads: 0, transactions: 0 };
  const lines: string[] = [];
  const log = createLogger({
    format: "json",
    level: "debug",
    write: (line) => void lines.push(line),
    now: time.now,
  });
  const clock = new StoredClock(db, time);
  const make = (): Scheduler =>
    createScheduler({
      db: watched(db, faults),
      clock,
      storeTime: (tx) => clock.store(tx),
      newId,
      log,
      startTimer: time.startTimer,
    });
  const scheduler = make();
  const add = (one: CronTrigger): Promise<void> =>
    db.tx(async (tx) => {
      await insertTrigger(tx, one);
      await db.notify(tx, triggersChannel, one.app_id);
    });
  for (const one of triggers) await add(one);
  const waiting = () =>
    db.all(sql<OutboxRow>`select * from outbox order by created_at, event_id, trigger_id`);
  return {
    ...{ db, time, faults, lines, scheduler, make, add, waiting, clock },
    /** What the payloads of all deliveries say. */
    firings: async () => (await waiting()).map((row) => JSON.parse(row.payload).cron),
    stored: async (id = "trigger-1") => (await getTrigger(db, id)) as CronTrigger,
    handled: () => db.tx((tx) => tx.run(sql`delete from outbox`)),
    /** Lets time pass, and what it starts end. */
    pass: async (ms: number) => {
      time.advance(ms);
      await quiet();
    },
    [Symbol.asyncDispose]: async () => {
      await scheduler.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** The first firing loads croner; everything after it is a few turns. */
async function quiet(): Promise<void> {
  for (let round = 0; round < 20; round += 1) {
    await Bun.sleep(1);
    await settled();
  }
}

describe("a tick", () => {
  test("fires once, at its time, as an event of its own", async () => {
    await using bundle = await setup(trigger());
    const announced: string[] = [];
    await bundle.db.listen(outboxChannel, (app_id) => void announced.push(app_id));
    await bundle.scheduler.start();
    await bundle.pass(hourMs - 1);
    expect(await bundle.waiting()).toEqual([]);
    await bundle.pass(1);
    const rows = await bundle.waiting();
    expect(rows).toHaveLength(1);
    const [row] = rows as [OutboxRow];
    expect(row).toMatchObject({
      ...{ trigger_id: "trigger-1", app_id: "app-1", script_id: "script-1" },
      ...{ source: "cron", type: "fire", depth: 0, attempt: 0, fence: 0, crashes: 0 },
      ...{ created_at: noon + hourMs, root_execution_id: row.event_id, dead_letter_id: null },
    });
    expect(JSON.parse(row.retry as string)).toEqual(RETRY_DEFAULT);
    expect(JSON.parse(row.payload)).toEqual({
      cron: {
        ...{ expression: "0 0 * * * *", timezone: "UTC" },
        ...{ tick: "2025-06-01T13:00:00.000Z", ticks: 1 },
      },
    });
    expect(announced).toEqual(["app-1"]);
    expect(await bundle.stored()).toMatchObject({
      next_at: noon + 2 * hourMs,
      last_at: noon + hourMs,
    });
    expect(await getSetting(bundle.db, "last_time")).toBe(String(noon + hourMs));
  });

  test("comes again and again, and each stands for itself", async () => {
    await using bundle = await setup(trigger({ expression: "* * * * * *", next_at: noon + 1_000 }));
    await bundle.scheduler.start();
    for (let second = 0; second < 5; second += 1) await bundle.pass(1_000);
    const firings = await bundle.firings();
    expect(firings.map(({ ticks }) => ticks)).toEqual([1, 1, 1, 1, 1]);
    expect(new Set(firings.map(({ tick }) => tick)).size).toBe(5);
  });

  test("fires once when several schedulers see it at the same moment", async () => {
    await using bundle = await setup(
      ...Array.from({ length: 20 }, (_, index) => trigger({ id: `trigger-${index}` })),
    );
    const schedulers = Array.from({ length: 4 }, () => bundle.make());
    bundle.time.jump = hourMs;
    const reports = await Promise.all(schedulers.map((one) => one.runOnce()));
    expect(reports.reduce((sum, { fired }) => sum + fired, 0)).toBe(20);
    expect(await bundle.waiting()).toHaveLength(20);
  });

  test("of more triggers than one look takes: all of them fire", async () => {
    const many = Array.from({ length: listLimitMax + 50 }, (_, index) =>
      trigger({ id: `trigger-${index}`, app_id: "app-2", script_id: "script-2" }),
    );
    await using bundle = await setup(...many);
    bundle.time.jump = hourMs;
    expect((await bundle.scheduler.runOnce()).fired).toBe(many.length);
    expect((await bundle.scheduler.runOnce()).fired).toBe(0);
  });

  test("that a trigger's zone shifts is told in UTC", async () => {
    const expression = "0 30 2 * * *";
    const due = Date.parse("2025-10-26T00:30:00Z");
    await using bundle = await setup(
      trigger({ expression, timezone: "Europe/Berlin", next_at: due }),
    );
    bundle.time.jump = due - noon;
    await bundle.scheduler.runOnce();
    expect((await bundle.stored()).next_at).toBe(Date.parse("2025-10-27T01:30:00Z"));
  });
});

describe("what was missed", () => {
  test("fires once, at the start, and says for how many ticks and which was the last", async () => {
    await using bundle = await setup(trigger({ last_at: noon, next_at: noon + hourMs }));
    bundle.time.jump = 10 * hourMs + 5 * minuteMs;
    await bundle.scheduler.start();
    expect(await bundle.firings()).toEqual([
      {
        ...{ expression: "0 0 * * * *", timezone: "UTC" },
        ...{ tick: "2025-06-01T22:00:00.000Z", ticks: 10 },
      },
    ]);
    expect((await bundle.stored()).next_at).toBe(noon + 11 * hourMs);
    await bundle.pass(minuteMs);
    expect(await bundle.waiting()).toHaveLength(1);
  });

  test("is counted when it is a year of seconds, without going through them", async () => {
    const year = 365 * 24 * hourMs;
    await using bundle = await setup(
      trigger({ expression: "* * * * * *", last_at: noon, next_at: noon + 1_000 }),
    );
    bundle.time.jump = year;
    await bundle.scheduler.runOnce();
    expect((await bundle.firings())[0].ticks).toBe(year / 1_000);
  });

  test("while a trigger was disabled is not counted", async () => {
    const changed = noon + 5 * hourMs;
    await using bundle = await setup(
      trigger({ last_at: noon, updated_at: changed, next_at: noon + 6 * hourMs }),
    );
    bundle.time.jump = 6 * hourMs;
    await bundle.scheduler.runOnce();
    expect((await bundle.firings())[0].ticks).toBe(1);
  });

  test("is noticed within a minute when the clock is set forward", async () => {
    await using bundle = await setup(trigger());
    await bundle.scheduler.start();
    expect(bundle.time.nextIn).toBe(schedulerSleepMsMax);
    bundle.time.jump = 3 * hourMs;
    await bundle.pass(schedulerSleepMsMax);
    expect((await bundle.firings()).map(({ ticks }) => ticks)).toEqual([3]);
  });
});

describe("a clock that is set back", () => {
  test("fires no tick a second time, and goes on when time has caught up", async () => {
    await using bundle = await setup(trigger());
    await bundle.scheduler.start();
    await bundle.pass(hourMs);
    expect(await bundle.waiting()).toHaveLength(1);
    bundle.time.jump = -2 * hourMs;
    for (let passed = 0; passed < 3 * hourMs - 1; passed += 10 * minuteMs) {
      await bundle.pass(Math.min(10 * minuteMs, 3 * hourMs - 1 - passed));
    }
    expect(await bundle.waiting()).toHaveLength(1);
    await bundle.pass(1);
    expect((await bundle.firings()).map(({ ticks }) => ticks)).toEqual([1, 1]);
  });

  test("at a boot in 1970 fires nothing before the last time stored is past", async () => {
    await using bundle = await setup(trigger());
    await bundle.db.tx((tx) => bundle.clock.store(tx));
    bundle.time.jump = -noon;
    const clock = new StoredClock(bundle.db, bundle.time);
    await clock.load();
    const scheduler = createScheduler({
      ...{ db: bundle.db, clock, storeTime: (tx) => clock.store(tx), newId },
      log: createLogger({ format: "json", level: "error", write: () => {}, now: Date.now }),
      startTimer: bundle.time.startTimer,
    });
    expect((await scheduler.runOnce()).fired).toBe(0);
    bundle.time.jump = hourMs;
    expect((await scheduler.runOnce()).fired).toBe(1);
  });
});

describe("overlap", () => {
  test("skip leaves ticks out while one waits; the next firing stands for them, too", async () => {
    await using bundle = await setup(trigger({ overlap: "skip" }));
    await bundle.scheduler.start();
    await bundle.pass(hourMs);
    await bundle.pass(hourMs);
    await bundle.pass(hourMs);
    expect((await bundle.firings()).map(({ ticks }) => ticks)).toEqual([1]);
    expect(bundle.lines.filter((line) => line.includes("left out"))).toHaveLength(2);
    await bundle.handled();
    await bundle.pass(hourMs);
    expect(await bundle.firings()).toMatchObject([{ tick: "2025-06-01T16:00:00.000Z", ticks: 3 }]);
  });

  test("queue fires every tick, until too many wait", async () => {
    await using bundle = await setup(trigger({ expression: "* * * * * *", next_at: noon + 1_000 }));
    for (let second = 1; second <= cronQueuedMax + 3; second += 1) {
      bundle.time.jump = second * 1_000;
      await bundle.scheduler.runOnce();
    }
    expect(await bundle.waiting()).toHaveLength(cronQueuedMax);
    await bundle.handled();
    bundle.time.jump += 1_000;
    await bundle.scheduler.runOnce();
    expect((await bundle.firings())[0].ticks).toBe(4);
  });

  test("of one trigger holds up no other", async () => {
    const other = { id: "trigger-2", app_id: "app-2", script_id: "script-2" };
    await using bundle = await setup(
      trigger({ overlap: "skip" }),
      trigger({ ...other, overlap: "skip" }),
    );
    bundle.time.jump = hourMs;
    await bundle.scheduler.runOnce();
    await bundle.db.tx((tx) => tx.run(sql`delete from outbox where app_id = ${"app-2"}`));
    bundle.time.jump = 2 * hourMs;
    expect(await bundle.scheduler.runOnce()).toMatchObject({ fired: 1, skipped: 1 });
  });
});

describe("the scheduler", () => {
  test("without a tick to come has no timer, and asks the database nothing", async () => {
    await using bundle = await setup(
      trigger({ id: "trigger-1", is_enabled: false, next_at: null }),
    );
    await bundle.scheduler.start();
    const { reads, transactions } = bundle.faults;
    expect(bundle.time.timers).toBe(0);
    await bundle.pass(24 * hourMs);
    expect(bundle.faults).toEqual({ isAway: false, reads, transactions });
    expect(transactions).toBe(0);
  });

  test("with a tick far away wakes up once a minute and touches no database", async () => {
    await using bundle = await setup(trigger());
    await bundle.scheduler.start();
    const { reads } = bundle.faults;
    await bundle.pass(59 * minuteMs);
    expect(bundle.faults).toMatchObject({ reads, transactions: 0 });
    expect(bundle.time.timers).toBe(1);
  });

  test("hears of new, changed and deleted triggers", async () => {
    await using bundle = await setup();
    const { db, time } = bundle;
    await bundle.scheduler.start();
    expect(time.timers).toBe(0);
    await bundle.add(trigger({ next_at: noon + 30_000 }));
    await until(() => time.nextIn === 30_000);
    await db.tx(async (tx) => {
      await setNextAt(tx, "trigger-1", noon + 5_000);
      await db.notify(tx, triggersChannel, "*");
    });
    await until(() => time.nextIn === 5_000);
    await db.tx(async (tx) => {
      await deleteTrigger(tx, "trigger-1");
      await db.notify(tx, triggersChannel, "app-1");
    });
    await until(() => time.timers === 0);
  });

  test("tries again with growing waits while the database is away, and makes up for it", async () => {
    await using bundle = await setup(trigger());
    await bundle.scheduler.start();
    bundle.faults.isAway = true;
    await bundle.pass(hourMs);
    const waits: (number | null)[] = [];
    for (let round = 0; round < 10; round += 1) {
      waits.push(bundle.time.nextIn);
      await bundle.pass(bundle.time.nextIn ?? 0);
    }
    expect(waits.slice(0, 3)).toEqual([1, 2, 4].map((factor) => factor * schedulerRetryMsMin));
    expect(waits.at(-1)).toBe(schedulerRetryMsMax);
    bundle.time.jump = 5 * hourMs;
    bundle.faults.isAway = false;
    await bundle.pass(schedulerRetryMsMax);
    expect((await bundle.firings()).map(({ ticks }) => ticks)).toEqual([6]);
    expect(bundle.lines.filter((line) => line.includes("could not be fired"))).toHaveLength(1);
  });

  test("that starts while the database is away fires what is due when it is back", async () => {
    await using bundle = await setup(trigger({ next_at: noon }));
    bundle.faults.isAway = true;
    await bundle.scheduler.start();
    expect(await bundle.waiting()).toEqual([]);
    bundle.faults.isAway = false;
    await bundle.pass(schedulerRetryMsMin);
    expect(await bundle.waiting()).toHaveLength(1);
  });

  test("fires the others when a trigger cannot be understood, and leaves that one alone", async () => {
    await using bundle = await setup(
      trigger({ expression: "no cron expression", next_at: noon - 1 }),
      trigger({ id: "trigger-2", timezone: "Atlantis/Centre", next_at: noon - 1 }),
      trigger({ id: "trigger-3", next_at: noon }),
    );
    await bundle.scheduler.start();
    expect(await bundle.waiting()).toHaveLength(3);
    expect((await bundle.stored("trigger-1")).next_at).toBeNull();
    expect((await bundle.stored("trigger-2")).next_at).toBeNull();
    expect((await bundle.stored("trigger-3")).next_at).toBe(noon + hourMs);
    expect(bundle.lines.filter((line) => line.includes("no further ticks"))).toHaveLength(2);
  });

  test("may be started and stopped twice, and does nothing after a stop", async () => {
    await using bundle = await setup(trigger());
    await Promise.all([bundle.scheduler.start(), bundle.scheduler.start()]);
    expect(bundle.time.timers).toBe(1);
    await Promise.all([bundle.scheduler.stop(), bundle.scheduler.stop()]);
    expect(bundle.time.timers).toBe(0);
    await bundle.pass(2 * hourMs);
    await bundle.add(trigger({ id: "trigger-2", next_at: noon }));
    await settled();
    expect(await bundle.waiting()).toEqual([]);
    await bundle.scheduler.start();
    expect(await bundle.waiting()).toHaveLength(2);
  });
});

describe("two servers on one PostgreSQL", () => {
  postgresTest("fire each tick once, also when they look at the same moment", async () => {
    const postgres = await setupPostgres();
    try {
      const servers = await Promise.all([postgres.open(), postgres.open()]);
      const [{ db }] = servers;
      await seedApp(db, script("script-1"));
      const time = new WallTime();
      const schedulers = servers.map((server) =>
        createScheduler({
          ...{ db: server.db, clock: time, storeTime: () => Promise.resolve(), newId },
          log: createLogger({ format: "json", level: "error", write: () => {}, now: Date.now }),
          startTimer: time.startTimer,
        }),
      );
      const ids = Array.from({ length: 10 }, (_, index) => `trigger-${index}`);
      for (const id of ids) {
        await db.tx((tx) =>
          insertTrigger(tx, trigger({ id, expression: "* * * * * *", next_at: noon + 1_000 })),
        );
      }
      for (let second = 1; second <= 10; second += 1) {
        time.jump = second * 1_000;
        await Promise.all(schedulers.map((one) => one.runOnce()));
      }
      const rows = await db.all(sql<OutboxRow>`select * from outbox`);
      const fired = rows.map((row) => `${row.trigger_id} ${JSON.parse(row.payload).cron.tick}`);
      expect(fired).toHaveLength(100);
      expect(new Set(fired).size).toBe(100);
    } finally {
      await postgres.end();
    }
  });
});
