/**
 * The dispatcher: claims deliveries, has them executed, settles them.
 *
 * Model: one turn is one transaction, which settles what has ended and claims for the slots that are
 * free: many deliveries share one commit and one sync. Turns follow each other while there is something to
 * do. Then it sleeps until a commit announces a delivery, a slot comes free for one that waits, one has
 * ended, or the next is due: an idle dispatcher has no timer and sends no SQL. Only where other servers
 * share the database it also renews its leases and looks around every `leaseRenewMs`, as messages can be
 * lost, and so can servers.
 *
 * Invariants:
 * - what is claimed is held in memory until it is settled, or its lease was lost;
 * - it claims no more than can be executed at once, so that nothing claimed waits for a slot;
 * - a database that is away costs waits and nothing else: settlements are tried until they succeed.
 *
 * Neither a claim nor a settlement is waited for to be durable. One that a power cut undoes is done again:
 * deliveries are made at least once. What a handler wrote is in an earlier commit than its settlement, so
 * that a settlement is never all that is left.
 *
 * Waits are told by a clock that does not jump: the time at the start and what has passed since.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { PicError } from "../domain/errors.ts";
import {
  claimPerAppMax,
  dispatchStopMsMax,
  drainMsMax,
  gatherTurnsMax,
  retryWaitMsMax,
} from "../domain/limits.ts";
import type { Invoker } from "../execution/api.ts";
import type { Gate } from "../execution/gate.ts";
import { type StartTimer, startTimer } from "../execution/timers.ts";
import { appsWithDeliveries, outboxChannel, recoverHeld } from "../storage/outbox.ts";
import type { Database } from "../storage/port.ts";
import { Admission } from "./admission.ts";
import { Backoff, retryMs } from "./backoff.ts";
import { InFlight } from "./in-flight.ts";
import type { Settlement, Verdict } from "./settle.ts";
import { SettleSync } from "./settle-sync.ts";
import {
  type DispatcherStep,
  isEmpty,
  partsOf,
  type Turn,
  type TurnResult,
  transact,
} from "./turn.ts";
import { Unsettled } from "./unsettled.ts";

export interface DispatcherOptions {
  db: Database;
  invoker: Pick<Invoker, "deliver">;
  gate: Pick<Gate, "free" | "freeFor" | "most" | "whenLeft">;
  clock: Clock;
  log: Logger;
  newId: () => string;
  /** 0 to 1 */
  random?: () => number;
  startTimer?: StartTimer;
  /** For tests: called at each step, and may throw. */
  failpoint?: (name: DispatcherStep) => void;
}

export interface DispatcherStats {
  /** Deliveries whose handlers run. */
  running: number;
  /** Those that have ended and are not settled yet. */
  settling: number;
  /** Apps that may have more than there are slots for. */
  apps_waiting: number;
  /** Since the start: handled; failed and to be tried again; failed for good. */
  done: number;
  retried: number;
  dead: number;
}

export interface Dispatcher {
  /** Resolves after the first turn; never rejects. May be called twice. */
  start(): Promise<void>;
  /**
   * Claims nothing more, waits for what runs, at most `drainMs`, gives back what then still runs, and
   * settles. May be called twice; it does not start again.
   */
  stop(drainMs?: number): Promise<void>;
  /** One turn. Resolves to whether there was anything to do; rejects with what the database rejects with. */
  runOnce(): Promise<boolean>;
  stats(): DispatcherStats;
}

export function createDispatcher(options: DispatcherOptions): Dispatcher {
  return new Loop(options);
}

class Loop implements Dispatcher {
  readonly #owner: string;
  readonly #startTimer: StartTimer;
  readonly #inFlight: InFlight;
  readonly #unsettled = new Unsettled();
  readonly #admission: Admission;
  readonly #sync: SettleSync;
  /** Turns of the event loop that the next turn has waited. */
  #gathering = 0;
  /** The clock of waits, less the monotonic one. */
  readonly #offset: number;
  #state: "new" | "started" | "stopping" | "stopped" = "new";
  #isPrepared = false;
  #mustLook = true;
  #mustRenew = false;
  /** For turns that fail. */
  readonly #backoff = new Backoff();
  #isTurning = false;
  #isWoken = false;
  /** At rest, with apps that may have more than there are slots for. */
  #waitsForSlot = false;
  #timer: { at: number; cancel: () => void } | null = null;
  #cancelBeat: (() => void) | null = null;
  #stopListening: (() => void) | null = null;
  /** What a stop waits for. */
  #awaited: { condition: () => boolean; resolve: () => void } | null = null;
  #stopped: Promise<void> | null = null;
  readonly #settled: Record<Verdict["kind"], number> = { done: 0, returned: 0, retry: 0, dead: 0 };

  constructor(private readonly options: DispatcherOptions) {
    const { db, invoker, clock, log, newId, random = Math.random, failpoint } = options;
    this.#owner = newId();
    this.#startTimer = options.startTimer ?? startTimer;
    this.#sync = new SettleSync({ ...options, startTimer: this.#startTimer });
    this.#offset = clock.now() - clock.monotonic();
    const onEnd = (settlement: Settlement): void => {
      this.#unsettled.add(settlement);
      this.#beginNext(settlement.delivery.app_id);
      this.#wake();
    };
    this.#inFlight = new InFlight({ db, invoker, clock, log, random, failpoint, onEnd });
    this.#admission = new Admission({ ...options, inFlight: this.#inFlight });
  }

  async start(): Promise<void> {
    if (this.#state !== "new") return;
    this.#state = "started";
    const { db } = this.options;
    const stopListening = await db.listen(outboxChannel, (payload) => this.#hear(payload));
    if (this.#isStopping()) return stopListening();
    this.#stopListening = stopListening;
    if (db.outbox.leaseRenewMs !== null) this.#beat(db.outbox.leaseRenewMs);
    if (this.#isTurning) return;
    this.#isTurning = true;
    await this.#turn();
  }

  stop(drainMs = drainMsMax): Promise<void> {
    this.#stopped ??= this.#stop(drainMs);
    return this.#stopped;
  }

  async runOnce(): Promise<boolean> {
    if (this.#mustLook && !this.#isStopping()) await this.#look();
    const turn = this.#gather();
    if (!isEmpty(turn)) await this.#carryOut(turn);
    const failed = this.#unsettled.takeFailed(this.options.clock.monotonic());
    for (const { settlement, tries } of failed) {
      const turn = { settlements: [settlement], claims: [], renewals: [], ...this.#taken() };
      await this.#carryOutAlone(turn, tries);
    }
    return !isEmpty(turn) || failed.length > 0;
  }

  stats(): DispatcherStats {
    const { done, retry, dead } = this.#settled;
    return {
      running: this.#inFlight.size,
      settling: this.#unsettled.size,
      apps_waiting: this.#admission.apps.size,
      done,
      retried: retry,
      dead,
    };
  }

  async #stop(drainMs: number): Promise<void> {
    this.#state = "stopping";
    this.#stopListening?.();
    this.#admission.apps.clear();
    // A turn may be about to begin what it claims.
    await this.#until(() => this.#inFlight.size === 0 && !this.#isTurning, drainMs);
    this.#inFlight.giveUp();
    await this.#until(() => this.#unsettled.size === 0 && !this.#isTurning, dispatchStopMsMax);
    this.#state = "stopped";
    this.#sync.sync();
    this.#cancelBeat?.();
    this.#timer?.cancel();
    this.#timer = null;
  }

  /** Resolves when it is so, which is looked at after each turn, or after so long. */
  async #until(condition: () => boolean, ms: number): Promise<void> {
    if (condition()) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#awaited = { condition, resolve };
    const cancel = this.#startTimer(resolve, ms);
    this.#wake();
    await promise;
    cancel();
    this.#awaited = null;
  }

  #isStopping(): boolean {
    return this.#state === "stopping" || this.#state === "stopped";
  }

  #hear(payload: string): void {
    if (payload === "*") {
      // The database was away and is back.
      this.#mustLook = true;
      this.#mustRenew = true;
      this.#backoff.end();
    } else if (!this.#admission.apps.add(payload) && this.#waitsForSlot) {
      // It waits already, and whoever leaves the gate wakes it: a write need not pay for a turn.
      return;
    }
    this.#wake();
  }

  /** Soon: what else happens in this turn of the event loop shares the transaction. */
  #wake(): void {
    if (this.#state === "new" || this.#state === "stopped") return;
    this.#isWoken = true;
    this.#waitsForSlot = false;
    if (this.#isTurning) return;
    this.#isTurning = true;
    setImmediate(() => void this.#turn());
  }

  /** Never rejects. */
  async #turn(): Promise<void> {
    if (this.#mayGather()) {
      this.#gathering += 1;
      setImmediate(() => void this.#turn());
      return;
    }
    this.#gathering = 0;
    this.#isWoken = false;
    let isBusy = false;
    if (!this.#isPaused()) {
      try {
        isBusy = await this.runOnce();
        this.#backoff.succeeded();
      } catch (error) {
        this.#pause(error);
      }
    }
    this.#isTurning = false;
    if (this.#awaited?.condition() === true) this.#awaited.resolve();
    if ((isBusy || this.#isWoken) && !this.#isPaused()) this.#wake();
    else this.#rest();
  }

  /** While there is enough read ahead, a turn waits a moment for more to settle: it costs the same. */
  #mayGather(): boolean {
    return (
      this.#gathering < gatherTurnsMax &&
      this.#inFlight.size > 0 &&
      this.#unsettled.size < claimPerAppMax &&
      this.#admission.hasPlenty
    );
  }

  #isPaused(): boolean {
    return this.#backoff.isWaiting(this.options.clock.monotonic());
  }

  #pause(error: unknown): void {
    const { clock, log } = this.options;
    const isFirst = this.#backoff.failed(clock.monotonic());
    if (!isUnavailable(error)) log.error("the dispatcher failed; it goes on", { error });
    else if (isFirst) log.warn("deliveries wait for the database", { error });
  }

  /** Nothing can be done now: sees to it that it is woken when there is. */
  #rest(): void {
    const { gate, clock } = this.options;
    this.#waitsForSlot = this.#admission.apps.size > 0;
    if (this.#waitsForSlot) gate.whenLeft(() => this.#wake());
    let at = Math.min(
      this.#admission.apps.nextAt() ?? Number.POSITIVE_INFINITY,
      this.#unsettled.nextAt(),
    );
    if (this.#isPaused()) at = this.#backoff.until;
    if (this.#timer?.at === at) return;
    this.#timer?.cancel();
    this.#timer = null;
    if (at === Number.POSITIVE_INFINITY || this.#state === "stopped") return;
    const wait = Math.min(Math.max(0, at - clock.monotonic()), retryWaitMsMax);
    const cancel = this.#startTimer(() => {
      this.#timer = null;
      this.#wake();
    }, wait);
    this.#timer = { at, cancel };
  }

  /** Where leases have an end. */
  #beat(every_ms: number): void {
    this.#cancelBeat = this.#startTimer(() => {
      this.#mustLook = true;
      this.#mustRenew = true;
      this.#beat(every_ms);
      this.#wake();
    }, every_ms);
  }

  /** Learns which apps have deliveries. */
  async #look(): Promise<void> {
    const { db } = this.options;
    if (!this.#isPrepared) {
      if (db.outbox.claimsInMemory) await db.tx((tx) => recoverHeld(tx, db.outbox));
      const clampWaits = db.outbox.clampWaits(this.#now());
      if (clampWaits !== null) await db.tx((tx) => tx.run(clampWaits));
      this.#isPrepared = true;
    }
    this.#mustLook = false;
    try {
      for (const app_id of await appsWithDeliveries(db)) this.#admission.apps.add(app_id);
    } catch (error) {
      this.#mustLook = true;
      throw error;
    }
  }

  /** Takes all that can be done now. */
  #gather(): Turn {
    const settlements = this.#unsettled.take();
    const renewals = this.#mustRenew ? this.#inFlight.all() : [];
    this.#mustRenew = false;
    while (this.#beginNext());
    const taken = this.#taken();
    const claims = this.#isStopping() ? [] : this.#admission.plan(this.#unsettled.failed);
    return { settlements, claims, renewals, ...taken };
  }

  /** Begins one that was read ahead. False: there is none, or not now. */
  #beginNext(app_id?: string): boolean {
    // What has ended and is not settled is handled again after a crash: that has a bound, too.
    const isFull = this.#unsettled.size > claimPerAppMax;
    return !isFull && !this.#isStopping() && !this.#isPaused() && this.#admission.beginNext(app_id);
  }

  /** What is not to be claimed again, but for what is being settled. */
  #taken(): Pick<Turn, "held" | "ahead"> {
    const failed = this.#unsettled.failedDeliveries();
    return { held: [...this.#inFlight.all(), ...failed], ahead: this.#admission.ahead() };
  }

  /** Rejects when the database is away: everything is as before then. */
  async #carryOut(turn: Turn): Promise<void> {
    try {
      this.#apply(await this.#transact(turn));
    } catch (error) {
      if (isUnavailable(error)) {
        this.#putBack(turn);
        throw error;
      }
      // One part must not keep the others from being done.
      this.options.log.warn("a turn failed; its parts are done one by one", { error });
      for (const part of partsOf(turn)) await this.#carryOutAlone(part, 0);
    }
  }

  /** Never rejects. */
  async #carryOutAlone(part: Turn, tries: number): Promise<void> {
    const { clock, log } = this.options;
    try {
      this.#apply(await this.#transact(part));
    } catch (error) {
      const now = clock.monotonic();
      for (const one of part.settlements) this.#unsettled.addFailed(one, tries, now);
      for (const { app_id } of part.claims)
        this.#admission.apps.addAt(app_id, now + retryMs(tries));
      if (!isUnavailable(error)) log.error("the dispatcher failed; it goes on", { error });
    }
  }

  #transact(turn: Turn): Promise<TurnResult> {
    const { db, clock, log, newId, failpoint } = this.options;
    return transact({ db, clock, log, newId, failpoint, owner: this.#owner }, turn, this.#now());
  }

  #putBack({ settlements, claims, renewals }: Turn): void {
    this.#unsettled.add(...settlements);
    for (const { app_id } of claims) this.#admission.apps.add(app_id);
    if (renewals.length > 0) this.#mustRenew = true;
  }

  #apply({ settled, lost, claimed, seen }: TurnResult): void {
    const { clock, log } = this.options;
    const now = clock.monotonic();
    for (const { delivery, verdict } of settled) {
      this.#settled[verdict.kind] += 1;
      if ("wait_ms" in verdict) this.#admission.apps.addAt(delivery.app_id, now + verdict.wait_ms);
    }
    for (const { event_id, trigger_id, app_id } of lost) {
      log.debug("a lease was lost", { event_id, trigger_id, app_id });
    }
    for (const claim of claimed) this.#admission.admit(claim);
    if (settled.length === 0) return;
    this.#sync.settled(seen, this.#inFlight.size === 0);
    this.#reach("after_settle");
  }

  /** Here nothing is left to be undone. */
  #reach(step: DispatcherStep): void {
    try {
      this.options.failpoint?.(step);
    } catch (error) {
      this.options.log.error("the dispatcher failed; it goes on", { error });
    }
  }

  /** On the clock that waits are told by. */
  #now(): number {
    return Math.floor(this.#offset + this.options.clock.monotonic());
  }
}

function isUnavailable(error: unknown): boolean {
  return error instanceof PicError && error.code === "unavailable";
}
