/**
 * Connections of one kind, at most so many, and a bounded queue of callers that wait for one.
 *
 * A connection is opened when somebody waits and none is free. One that rested, or that stood beside
 * one that failed, must answer before it is given out: a query that went into a dead connection
 * would be lost for all of its time, and whether it ran could not be told.
 *
 * While the database is away (`pause`) nothing is opened here: the keeper alone tries
 * (postgres-keeper.ts), and each of its failures refuses those that wait. So nobody waits longer than
 * one try, and a thousand waiting callers are not a thousand connections.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import {
  postgresIdleMsMax,
  postgresPingMsMax,
  postgresRestMs,
  postgresRetryMsMax,
  postgresRetryMsMin,
} from "../domain/limits.ts";
import type { PostgresConnection } from "./postgres-connection.ts";
import { lost, reasonOf, translate } from "./postgres-errors.ts";

export interface PostgresPoolOptions {
  connectionsMax: number;
  queueMax: number;
  clock: Clock;
  log: Logger;
  /** Opens one; tells `onEnd` when it is over. */
  open: (
    onEnd: (connection: PostgresConnection) => void,
    signal: AbortSignal,
  ) => Promise<PostgresConnection>;
}

interface Waiter {
  since: number;
  resolve: (connection: PostgresConnection) => void;
  reject: (error: Error) => void;
  timer: ReturnType<typeof setTimeout>;
}

export class PostgresPool {
  /** The one used last is used first: the others may rest and be closed. */
  readonly #free: PostgresConnection[] = [];
  /** Those that work, and since when. */
  readonly #busy = new Map<PostgresConnection, number>();
  readonly #waiters: Waiter[] = [];
  #opening = 0;
  #openings = new AbortController();
  /** Openings that failed since the last that did not. */
  #failures = 0;
  /** Free ones that must first show that they live. */
  #checking = 0;
  #isPaused = false;
  #ended: Error | null = null;
  #isClosing = false;
  #retry: ReturnType<typeof setTimeout> | null = null;
  #idleTimer: ReturnType<typeof setTimeout> | null = null;
  #drained: PromiseWithResolvers<void> | null = null;

  constructor(private readonly options: PostgresPoolOptions) {}

  /** When the oldest call that is under way began to work or to wait, on the monotonic clock; or null. */
  get busySince(): number | null {
    // In the order in which they were given out.
    const [working] = this.#busy.values();
    const waiting = this.#waiters[0]?.since;
    if (working === undefined || waiting === undefined) return working ?? waiting ?? null;
    return Math.min(working, waiting);
  }

  /**
   * Runs `work` on a connection that nobody else has meanwhile. Throws PicError `unavailable` when the
   * queue is full, when `deadline` (on the monotonic clock) passes first, and when the database is away.
   */
  async use<T>(deadline: number, work: (connection: PostgresConnection) => Promise<T>): Promise<T> {
    const connection = await this.#acquire(deadline);
    try {
      return await work(connection);
    } finally {
      this.#release(connection);
    }
  }

  /** Nothing is opened until `resume`. */
  pause(): void {
    this.#isPaused = true;
    this.#stopRetrying();
    this.#giveUpOpenings();
    this.suspect();
  }

  resume(): void {
    this.#isPaused = false;
    this.#serve();
  }

  /** Those that wait are refused, when nothing is left that could serve them. */
  refuse(error: Error): void {
    if (this.#busy.size + this.#checking > 0) return;
    for (const waiter of this.#waiters.splice(0)) {
      clearTimeout(waiter.timer);
      waiter.reject(error);
    }
    this.#checkDrained();
  }

  /** Every connection must show that it lives before it is given out again. */
  suspect(): void {
    for (const connection of this.#free) connection.isSuspect = true;
    for (const connection of this.#busy.keys()) connection.isSuspect = true;
  }

  /**
   * The database has not answered since `since`: what works and has heard nothing after it either is
   * rejected, what is being opened is given up, and the rest must show that it lives.
   */
  reset(error: Error, since: number): void {
    this.#giveUpOpenings();
    this.suspect();
    for (const connection of [...this.#busy.keys()]) {
      // Whenever its query began: one sent into the silence would wait for all of its time.
      if (connection.answeredAt <= since) connection.destroy(error);
    }
  }

  /** For good: everything is rejected, now and from now on. */
  end(error: Error): void {
    this.pause();
    this.#ended = error;
    for (const connection of [...this.#busy.keys()]) connection.destroy(error);
    this.refuse(error);
  }

  /** Waits for those that work and wait, and ends. Nothing may be asked for after it. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#drained ??= Promise.withResolvers<void>();
    this.#checkDrained();
    await this.#drained.promise;
    this.#stopRetrying();
    if (this.#idleTimer !== null) clearTimeout(this.#idleTimer);
    await Promise.all(this.#free.splice(0).map((connection) => connection.close()));
  }

  #acquire(deadline: number): Promise<PostgresConnection> {
    const { queueMax, clock } = this.options;
    if (this.#ended !== null) return Promise.reject(this.#ended);
    if (this.#waiters.length === 0) {
      const fresh = this.#takeFresh();
      if (fresh !== null) return Promise.resolve(fresh);
    }
    if (this.#waiters.length >= queueMax) {
      return Promise.reject(lost("Too many queries are waiting for the database."));
    }
    return new Promise((resolve, reject) => {
      const expire = (): void => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        reject(lost("The database had no connection free in time."));
        this.#checkDrained();
      };
      const ms = Math.max(0, deadline - clock.monotonic());
      const since = clock.monotonic();
      const waiter: Waiter = { since, resolve, reject, timer: setTimeout(expire, ms) };
      this.#waiters.push(waiter);
      this.#serve();
    });
  }

  #release(connection: PostgresConnection): void {
    this.#busy.delete(connection);
    if (connection.isOver) this.#serve();
    else this.#give(connection);
    this.#checkDrained();
  }

  /** To the first that waits, else to the free ones. */
  #give(connection: PostgresConnection): void {
    this.#free.push(connection);
    this.#serve();
    if (this.#free.length > 1) this.#closeIdleLater();
  }

  /** One that has just worked: it lives, as far as anybody can know. */
  #takeFresh(): PostgresConnection | null {
    const connection = this.#free.at(-1);
    if (connection === undefined || this.#mustShowLife(connection)) return null;
    this.#free.pop();
    this.#busy.set(connection, this.options.clock.monotonic());
    return connection;
  }

  /** Does what can be done for those that wait. */
  #serve(): void {
    while (this.#waiters.length > 0) {
      const fresh = this.#takeFresh();
      if (fresh === null) break;
      this.#handOut(fresh);
    }
    let wanted = this.#waiters.length - this.#checking;
    for (; wanted > 0 && this.#free.length > 0; wanted -= 1) {
      void this.#check(this.#free.pop() as PostgresConnection);
    }
    for (wanted -= this.#opening; wanted > 0 && this.#mayOpen(); wanted -= 1) void this.#open();
  }

  #handOut(connection: PostgresConnection): void {
    const waiter = this.#waiters.shift();
    if (waiter === undefined) throw new Error("nobody waits for a connection");
    clearTimeout(waiter.timer);
    waiter.resolve(connection);
  }

  #mustShowLife(connection: PostgresConnection): boolean {
    const rested = this.options.clock.monotonic() - connection.answeredAt;
    return connection.isSuspect || rested > postgresRestMs;
  }

  async #check(connection: PostgresConnection): Promise<void> {
    this.#checking += 1;
    const isAlive = await connection.ping(postgresPingMsMax);
    this.#checking -= 1;
    if (isAlive) return this.#give(connection);
    this.suspect();
    this.#serve();
    this.#checkDrained();
  }

  #mayOpen(): boolean {
    const all = this.#free.length + this.#busy.size + this.#checking + this.#opening;
    return all < this.options.connectionsMax && !this.#isPaused && this.#retry === null;
  }

  async #open(): Promise<void> {
    this.#opening += 1;
    try {
      const { signal } = this.#openings;
      const connection = await this.options.open((over) => this.#forget(over), signal);
      this.#opening -= 1;
      this.#failures = 0;
      if (!connection.isOver) this.#give(connection);
      else this.#serve();
    } catch (error) {
      this.#opening -= 1;
      this.#failed(error);
    }
    this.#checkDrained();
  }

  /** The database is there, and yet takes no further connection. */
  #failed(error: unknown): void {
    if (this.#isPaused) return;
    const reason = reasonOf(error);
    const told = translate(error);
    this.refuse(told instanceof Error ? told : lost(reason));
    if (this.#retry !== null) return;
    const isFirst = this.#failures === 0;
    if (isFirst) {
      this.options.log.warn("a connection to the database could not be opened", { reason });
    }
    const wait = Math.min(postgresRetryMsMin * 2 ** this.#failures, postgresRetryMsMax);
    this.#failures += 1;
    this.#retry = setTimeout(() => {
      this.#retry = null;
      this.#serve();
    }, wait);
  }

  #forget(connection: PostgresConnection): void {
    const index = this.#free.indexOf(connection);
    if (index >= 0) this.#free.splice(index, 1);
  }

  #giveUpOpenings(): void {
    this.#openings.abort();
    this.#openings = new AbortController();
  }

  #stopRetrying(): void {
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#retry = null;
  }

  #closeIdleLater(): void {
    if (this.#idleTimer !== null || this.#isClosing) return;
    this.#idleTimer = setTimeout(() => {
      this.#idleTimer = null;
      const now = this.options.clock.monotonic();
      for (const connection of this.#free.slice(0, -1)) {
        if (now - connection.answeredAt >= postgresIdleMsMax) void connection.close();
      }
      if (this.#free.length > 1) this.#closeIdleLater();
    }, postgresIdleMsMax);
    this.#idleTimer.unref();
  }

  #checkDrained(): void {
    if (this.#drained === null) return;
    if (this.#busy.size + this.#waiters.length + this.#opening + this.#checking > 0) return;
    this.#drained.resolve();
  }
}
