/**
 * The gate: how many executions run at once, and who is next.
 *
 * Model: a slot is held by an (app, class). `acquire` answers at once when it can, else it waits in
 * a bounded line, at most `waitMsMax`; who finds no place in the line is refused at once.
 *
 * Bounds, on slots and all checked in one place (`#admits`):
 * - at most `running` slots are held;
 * - an app holds at most `appShare` of them (and of the places in the line);
 * - each class, requests and events, leaves `eventShare` of them to the other: a storm of events
 *   never shuts out requests, nor the reverse.
 *
 * Invariant: while a slot is free, no waiter could take it (`leave` hands it on before it returns).
 * So a newcomer who is admitted overtakes nobody who could have run in its place.
 *
 * Fairness: waiters are first come first served within an app, round robin among apps. An app at
 * its bound keeps its place in the round.
 *
 * The way without waiting is synchronous and allocates nothing. There is one timer, and only while
 * somebody waits: all wait equally long, so the first in line is the first to give up. Who leaves while
 * waiting is noticed when it matters, at its turn or when its place is needed: a listener on every
 * caller's signal cost a tenth of a request.
 */
import type { Clock } from "../base/clock.ts";
import { PicError } from "../domain/errors.ts";
import {
  gateAppShare,
  gateEventShare,
  gateIdleAppsMax,
  gateRetryAfterS,
  gateRunningMax,
  gateWaitingMax,
  gateWaitMsMax,
} from "../domain/limits.ts";
import { type StartTimer, startTimer } from "./timers.ts";

export type GateClass = "request" | "event";

export interface GateOptions {
  clock: Clock;
  /** Slots (PICLOUD_MAX_CONCURRENCY). */
  running?: number;
  waiting?: number;
  waitMsMax?: number;
  startTimer?: StartTimer;
}

export interface GateStats {
  running: number;
  waiting: number;
  /** Refused since the start: no place in the line, or waited too long. */
  refused: number;
}

interface AppState {
  running: number;
  waiting: number;
  lines: Record<GateClass, Waiter[]>;
}

interface Waiter {
  app_id: string;
  class: GateClass;
  gives_up_at: number;
  signal: AbortSignal | null;
  grant: () => void;
  refuse: (error: PicError) => void;
}

const CLASSES: readonly GateClass[] = ["request", "event"];

export class Gate {
  readonly #clock: Clock;
  readonly #startTimer: StartTimer;
  readonly #runningMax: number;
  readonly #appRunningMax: number;
  readonly #classRunningMax: number;
  readonly #waitingMax: number;
  readonly #appWaitingMax: number;
  readonly #waitMsMax: number;

  readonly #apps = new Map<string, AppState>();
  /** Slots held by each class. */
  readonly #held: Record<GateClass, number> = { request: 0, event: 0 };
  /** Apps with waiters of a class, in the order in which their turn comes. */
  readonly #turns: Record<GateClass, string[]> = { request: [], event: [] };
  /** All waiters, in order of arrival and therefore of giving up. */
  readonly #line: Waiter[] = [];
  #stopTimer: (() => void) | null = null;
  #refused = 0;
  #whenLeft: (() => void) | null = null;

  constructor(options: GateOptions) {
    this.#clock = options.clock;
    this.#startTimer = options.startTimer ?? startTimer;
    this.#runningMax = options.running ?? gateRunningMax;
    this.#waitingMax = options.waiting ?? gateWaitingMax;
    this.#waitMsMax = options.waitMsMax ?? gateWaitMsMax;
    if (!(this.#runningMax >= 1)) throw new Error("a gate needs at least one slot");
    this.#appRunningMax = Math.max(1, Math.floor(this.#runningMax * gateAppShare));
    this.#appWaitingMax = Math.max(1, Math.floor(this.#waitingMax * gateAppShare));
    this.#classRunningMax = this.#runningMax - Math.floor(this.#runningMax * gateEventShare);
  }

  /**
   * Takes a slot; whoever got one owes a `leave`. Null: taken at once. A promise: resolves when it
   * is taken, and rejects with PicError `overloaded` when that takes too long or the caller left.
   * Throws the same when the line is full.
   */
  acquire(appId: string, gateClass: GateClass, signal: AbortSignal | null): Promise<void> | null {
    const app = this.#app(appId);
    if (this.#admits(app, gateClass)) {
      this.#take(app, gateClass);
      return null;
    }
    if (signal?.aborted === true) throw callerLeft();
    if (this.#isFull(app)) this.#clearLeft();
    if (this.#isFull(app)) {
      this.#refused += 1;
      throw overloaded("Too many executions are running and waiting");
    }
    return this.#wait(app, appId, gateClass, signal);
  }

  /** Gives a slot back and hands it to whose turn it is. */
  leave(appId: string, gateClass: GateClass): void {
    const app = this.#apps.get(appId);
    if (app === undefined || app.running === 0 || this.#held[gateClass] === 0) {
      throw new Error("left a gate that was not entered");
    }
    app.running -= 1;
    this.#held[gateClass] -= 1;
    if (this.#line.length > 0) this.#handOn();
    if (this.#whenLeft !== null && this.free("event") > 0) this.#tellLeft(this.#whenLeft);
  }

  /** Free slots for a class: what a dispatcher may claim. */
  free(gateClass: GateClass): number {
    const all = this.#runningMax - this.#held.request - this.#held.event;
    return Math.min(all, this.#classRunningMax - this.#held[gateClass]);
  }

  /** How many of the free slots one app may take. */
  freeFor(appId: string): number {
    return this.#appRunningMax - (this.#apps.get(appId)?.running ?? 0);
  }

  /** Slots that a class, and an app, can hold at most. */
  most(): { class: number; app: number } {
    return { class: this.#classRunningMax, app: this.#appRunningMax };
  }

  /** Calls `fn` once, when a slot was given back and an event may take one. Only the last `fn` is called. */
  whenLeft(fn: () => void): void {
    this.#whenLeft = fn;
  }

  stats(): GateStats {
    return {
      running: this.#held.request + this.#held.event,
      waiting: this.#line.length,
      refused: this.#refused,
    };
  }

  #app(appId: string): AppState {
    let app = this.#apps.get(appId);
    if (app === undefined) {
      if (this.#apps.size >= gateIdleAppsMax) this.#forgetIdleApps();
      app = { running: 0, waiting: 0, lines: { request: [], event: [] } };
      this.#apps.set(appId, app);
    }
    return app;
  }

  #forgetIdleApps(): void {
    for (const [appId, app] of this.#apps) {
      if (app.running === 0 && app.waiting === 0) this.#apps.delete(appId);
    }
  }

  #admits(app: AppState, gateClass: GateClass): boolean {
    return (
      this.#held.request + this.#held.event < this.#runningMax &&
      this.#held[gateClass] < this.#classRunningMax &&
      app.running < this.#appRunningMax
    );
  }

  #take(app: AppState, gateClass: GateClass): void {
    app.running += 1;
    this.#held[gateClass] += 1;
  }

  #wait(
    app: AppState,
    appId: string,
    gateClass: GateClass,
    signal: AbortSignal | null,
  ): Promise<void> {
    return new Promise((grant, refuse) => {
      const waiter: Waiter = {
        app_id: appId,
        class: gateClass,
        gives_up_at: this.#clock.monotonic() + this.#waitMsMax,
        signal,
        grant,
        refuse,
      };
      const line = app.lines[gateClass];
      if (line.length === 0) this.#turns[gateClass].push(appId);
      line.push(waiter);
      app.waiting += 1;
      this.#line.push(waiter);
      if (this.#stopTimer === null) this.#armTimer();
    });
  }

  /** Fills free slots. Requests first: each class has its own part, so neither can starve. */
  #handOn(): void {
    for (const gateClass of CLASSES) {
      for (let next = this.#next(gateClass); next !== null; next = this.#next(gateClass)) {
        this.#remove(next);
        if (next.signal?.aborted === true) {
          next.refuse(callerLeft());
          continue;
        }
        this.#take(this.#app(next.app_id), gateClass);
        next.grant();
      }
    }
  }

  /** The waiter whose turn it is, with the turn passed on to the apps behind; or null. */
  #next(gateClass: GateClass): Waiter | null {
    const turns = this.#turns[gateClass];
    for (let index = 0; index < turns.length; index += 1) {
      const appId = turns[index] as string;
      const app = this.#app(appId);
      const first = app.lines[gateClass][0];
      if (first === undefined || !this.#admits(app, gateClass)) continue;
      if (turns.length > 1) {
        drop(turns, appId);
        turns.push(appId);
      }
      return first;
    }
    return null;
  }

  #remove(waiter: Waiter): void {
    const app = this.#app(waiter.app_id);
    const line = app.lines[waiter.class];
    drop(line, waiter);
    app.waiting -= 1;
    if (line.length === 0) drop(this.#turns[waiter.class], waiter.app_id);
    drop(this.#line, waiter);
    if (this.#line.length === 0) {
      this.#stopTimer?.();
      this.#stopTimer = null;
    }
  }

  #tellLeft(fn: () => void): void {
    this.#whenLeft = null;
    fn();
  }

  #isFull(app: AppState): boolean {
    return this.#line.length >= this.#waitingMax || app.waiting >= this.#appWaitingMax;
  }

  /** Takes those out of the line whose callers have left. */
  #clearLeft(): void {
    for (const waiter of this.#line.filter(({ signal }) => signal?.aborted === true)) {
      this.#remove(waiter);
      waiter.refuse(callerLeft());
    }
  }

  #armTimer(): void {
    const [first] = this.#line;
    if (first === undefined) return;
    const wait = Math.max(0, first.gives_up_at - this.#clock.monotonic());
    this.#stopTimer = this.#startTimer(() => {
      this.#stopTimer = null;
      const now = this.#clock.monotonic();
      for (;;) {
        const [waiter] = this.#line;
        if (waiter === undefined || waiter.gives_up_at > now) break;
        this.#remove(waiter);
        this.#refused += 1;
        waiter.refuse(overloaded("No execution slot came free in time"));
      }
      if (this.#line.length > 0) this.#armTimer();
    }, wait);
  }
}

/** Takes one item out, in place: these lists change with every request. */
function drop<T>(list: T[], item: T): void {
  const at = list.indexOf(item);
  if (at !== -1) list.copyWithin(at, at + 1).pop();
}

function overloaded(message: string): PicError {
  return new PicError("overloaded", message, { retry_after_s: gateRetryAfterS });
}

function callerLeft(): PicError {
  return new PicError("overloaded", "The caller left before the execution began", {
    retry_after_s: gateRetryAfterS,
  });
}
