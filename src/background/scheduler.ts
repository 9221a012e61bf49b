/**
 * Fires cron triggers. Which tick comes next is stored with the trigger: who moves it from one tick to the
 * following (compare and set) inserts the delivery in the same transaction, so that a tick fires once,
 * whatever number of servers there are and whatever their clocks do.
 *
 *   asleep ── the next tick, a change of triggers ──→ running ──→ asleep until the next tick
 *                                                        └─ the database is away ──→ tries again
 *
 * A firing stands for all ticks since the last one (or since the trigger was changed): those that nobody
 * was there for, and those left out because of `overlap`. Its `tick` is the latest of them. The
 * next one is the first after now: a missed period fires once.
 *
 * What is due is told by `clock`, which may be set at any time and never shows less than the last time
 * stored. Timers run on the monotonic one, so they look at the other every minute. Without a tick to
 * come there is no timer; without one that has come nothing is read or written.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { PicError } from "../domain/errors.ts";
import {
  cronQueuedMax,
  listLimitMax,
  schedulerRetryMsMax,
  schedulerRetryMsMin,
  schedulerSleepMsMax,
} from "../domain/limits.ts";
import type { CronTrigger } from "../domain/triggers.ts";
import { type StartTimer, startTimer } from "../execution/timers.ts";
import { countTicksOfTrigger, insertDelivery, outboxChannel } from "../storage/outbox.ts";
import type { Database, Seen, Tx } from "../storage/port.ts";
import { dueTriggers, fireCron, nextCronAt, triggersChannel } from "../storage/triggers.ts";

export interface SchedulerOptions {
  db: Database;
  /** Never behind the last time stored (services/clock.ts). */
  clock: Clock;
  /** Stores the time of that clock. */
  storeTime: (tx: Tx) => Promise<void>;
  newId: () => string;
  log: Logger;
  startTimer?: StartTimer;
}

export interface SchedulerReport {
  fired: number;
  /** Not fired, as earlier ticks of the trigger still wait or run. */
  skipped: number;
  /** The next tick of all triggers, epoch ms, or null. */
  next_at: number | null;
}

export interface Scheduler {
  /** Fires what was missed; when the database is away, later. May be called twice. */
  start(): Promise<void>;
  /** Waits for what is under way. May be called twice. */
  stop(): Promise<void>;
  /** Fires all that is due. Throws what the database says. */
  runOnce(): Promise<SchedulerReport>;
}

/** What a trigger does now: the tick it fires, how many it stands for, and the tick after it. */
interface Firing {
  tick: number;
  ticks: number;
  next_at: number | null;
}

export function createScheduler(options: SchedulerOptions): Scheduler {
  return new Loop(options);
}

class Loop implements Scheduler {
  readonly #startTimer: StartTimer;
  #isStarted = false;
  #stopListening: (() => void) | null = null;
  #cancelTimer: (() => void) | null = null;
  #running: Promise<void> | null = null;
  /** Something may have changed since the run that is under way began. */
  #again = false;
  /** Runs that failed since the last that did not. */
  #failures = 0;
  #nextAt: number | null = null;

  constructor(private readonly options: SchedulerOptions) {
    this.#startTimer = options.startTimer ?? startTimer;
  }

  async start(): Promise<void> {
    if (this.#isStarted) return;
    this.#isStarted = true;
    const stop = await this.options.db.listen(triggersChannel, () => this.#wake());
    if (!this.#isStarted) return stop();
    this.#stopListening = stop;
    this.#wake();
    await this.#running;
  }

  async stop(): Promise<void> {
    this.#isStarted = false;
    this.#stopListening?.();
    this.#stopListening = null;
    this.#disarm();
    await this.#running;
  }

  async runOnce(): Promise<SchedulerReport> {
    const { db, clock } = this.options;
    const report: SchedulerReport = { fired: 0, skipped: 0, next_at: null };
    const seen: Seen = { seq: 0 };
    for (let isMore = true; isMore; ) {
      const due = await dueTriggers(db, clock.now());
      const failures: unknown[] = [];
      for (const trigger of due) {
        const outcome = await this.#fire(trigger, seen).catch((error: unknown) => {
          if (error instanceof PicError && error.code === "unavailable") throw error;
          // One that cannot be fired is in nobody's way.
          failures.push(error);
        });
        if (outcome === "fired" || outcome === "skipped") report[outcome] += 1;
      }
      if (failures.length > 0) throw failures[0];
      isMore = due.length === listLimitMax;
    }
    await db.durable(seen);
    report.next_at = await nextCronAt(db);
    return report;
  }

  async #fire(trigger: CronTrigger, seen: Seen): Promise<"fired" | "skipped" | "moved"> {
    const { db, log, clock, newId, storeTime } = this.options;
    const { app_id, script_id, id, retry, overlap, next_at: expected_next_at } = trigger;
    if (expected_next_at === null) throw new Error("a cron trigger that is due has no tick");
    const now = clock.now();
    const { tick, ticks, next_at } = await planFiring(trigger, { now, log });
    const waitingMax = overlap === "skip" ? 1 : cronQueuedMax;
    const outcome = await db.tx(
      async (tx) => {
        const isHeldUp = (await countTicksOfTrigger(tx, id, waitingMax)) >= waitingMax;
        const last_at = isHeldUp ? trigger.last_at : tick;
        if (!(await fireCron(tx, id, { expected_next_at, next_at, last_at }))) return "moved";
        if (isHeldUp) return "skipped";
        const { expression, timezone } = trigger;
        const cron = { expression, timezone, tick: new Date(tick).toISOString(), ticks };
        const event_id = newId();
        await insertDelivery(tx, {
          ...{ event_id, trigger_id: id, app_id, script_id, source: "cron", type: "fire" },
          ...{ depth: 0, root_execution_id: event_id, created_at: now, due_at: 0, retry },
          ...{ attempt: 0, attempt_base: 0, crashes: 0, fence: 0, dead_letter_id: null },
          payload: JSON.stringify({ cron }),
        });
        await db.notify(tx, outboxChannel, app_id);
        await storeTime(tx);
        return "fired";
      },
      { seen },
    );
    if (outcome === "skipped") {
      log.debug("a tick was left out: earlier ones still wait or run", { app_id, trigger_id: id });
    }
    return outcome;
  }

  #wake(): void {
    if (!this.#isStarted) return;
    this.#again = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
    });
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { log } = this.options;
    this.#disarm();
    while (this.#again && this.#isStarted) {
      this.#again = false;
      try {
        this.#nextAt = (await this.runOnce()).next_at;
        if (this.#failures > 0) log.info("cron triggers fire again");
        this.#failures = 0;
      } catch (error) {
        this.#failures += 1;
        if (this.#failures === 1) log.warn("cron triggers could not be fired", { error });
      }
    }
    this.#arm();
  }

  #arm(): void {
    this.#disarm();
    if (!this.#isStarted) return;
    if (this.#failures > 0) {
      const wait = Math.min(schedulerRetryMsMin * 2 ** (this.#failures - 1), schedulerRetryMsMax);
      this.#cancelTimer = this.#startTimer(() => this.#wake(), wait);
      return;
    }
    const nextAt = this.#nextAt;
    if (nextAt === null) return;
    const wait = Math.min(Math.max(0, nextAt - this.options.clock.now()), schedulerSleepMsMax);
    this.#cancelTimer = this.#startTimer(() => {
      if (this.options.clock.now() >= nextAt) this.#wake();
      else this.#arm();
    }, wait);
  }

  #disarm(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
  }
}

/** A trigger that was stored and cannot be understood any more gets no further tick. */
async function planFiring(
  trigger: CronTrigger,
  { now, log }: { now: number; log: Logger },
): Promise<Firing> {
  const { expression, timezone, created_at, updated_at } = trigger;
  const due = trigger.next_at ?? now;
  try {
    const { lastTick, nextTick, ticksBetween } = await import("../domain/cron.ts");
    const tick = Math.max(due, lastTick(expression, timezone, now) ?? due);
    const since = Math.max(trigger.last_at ?? created_at, updated_at);
    const ticks = ticksBetween(expression, timezone, since, tick, Number.MAX_SAFE_INTEGER);
    // A clock that was set back can make it none.
    return { tick, ticks: Math.max(1, ticks), next_at: nextTick(expression, timezone, now) };
  } catch (error) {
    log.error("a cron trigger has no further ticks", { trigger_id: trigger.id, error });
    return { tick: due, ticks: 1, next_at: null };
  }
}
