/**
 * The one connection that writes, behind a bounded queue. A transaction owns it from BEGIN to
 * COMMIT. Its function awaits only its own SQL, which is synchronous: mostly all of it runs within one
 * turn of the event loop. A long one, such as 100 documents with 40,000 entries of indexes, gives others
 * theirs every txSliceMs; other transactions wait. One that awaits something else holds those up, too,
 * until the deadline rolls it back.
 *
 * Invariants: SQL runs only inside the open transaction, and never after it ended; after a failed
 * statement nothing is committed.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { counters } from "../base/metrics.ts";
import { PicError } from "../domain/errors.ts";
import { txSliceMs, writerSliceMs } from "../domain/limits.ts";
import type { Tx } from "./port.ts";
import type { Statement } from "./sql.ts";
import { sql } from "./sql.ts";
import { type SqliteConnection, translate } from "./sqlite-connection.ts";

export interface SqliteWriterOptions {
  clock: Clock;
  log: Logger;
  queueMax: number;
  txMsMax: number;
  /** After each commit that changed something; `pages` estimates what it added to the log. */
  onCommit: (pages: number) => void;
}

interface Job {
  fn: (tx: Tx) => Promise<unknown>;
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
  /** When its wait ends, on the monotonic clock; its run has as long again. */
  deadline: number;
}

interface ActiveJob {
  deadline: number;
  expire: () => void;
}

const begin = sql`begin immediate`;
const commit = sql`commit`;
const rollback = sql`rollback`;

export class SqliteWriter {
  readonly #queue: Job[] = [];
  /** Jobs before this index of the queue are gone. */
  #head = 0;
  #active: ActiveJob | null = null;
  #pumping = false;
  #paused: Promise<void> | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #idle: PromiseWithResolvers<void> | null = null;

  constructor(
    private readonly connection: SqliteConnection,
    private readonly options: SqliteWriterOptions,
  ) {}

  /** No transaction is open at this moment. */
  get closed(): boolean {
    return this.#active === null;
  }

  /** Nothing runs or waits: what comes now is before nobody. */
  get idle(): boolean {
    return !this.#pumping && this.#paused === null;
  }

  /** One statement as a transaction of its own, only while `idle`. Throws what the statement throws. */
  runAlone<T>(statement: Statement<unknown>, step: (connection: SqliteConnection) => T): T {
    if (!this.idle) throw new Error("a statement before others that wait");
    const value = step(this.connection);
    if (this.connection.lastKind !== "read") {
      counters.commits += 1;
      this.options.onCommit(estimatePages(statement));
    }
    return value;
  }

  /** Resolves at the commit, after what `afterCommit` was given. */
  run<T>(fn: (tx: Tx) => Promise<T>): Promise<T> {
    if (this.#queue.length - this.#head >= this.options.queueMax) {
      return Promise.reject(new PicError("unavailable", "Too many transactions are waiting."));
    }
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({
        fn,
        resolve: resolve as (value: unknown) => void,
        reject,
        deadline: this.options.clock.monotonic() + this.options.txMsMax,
      });
      this.#watch();
      if (!this.#pumping) void this.#pump();
    });
  }

  /** No transaction begins until `work` is done. Resolves when it is; never rejects. */
  async pauseFor(work: () => Promise<void>): Promise<void> {
    const done = Promise.withResolvers<void>();
    this.#paused = done.promise;
    try {
      await work();
    } catch (error) {
      this.options.log.warn("work beside the writer failed", { error });
    } finally {
      this.#paused = null;
      done.resolve();
    }
  }

  /** Resolves when nothing runs or waits. */
  drained(): Promise<void> {
    if (!this.#pumping) return Promise.resolve();
    this.#idle ??= Promise.withResolvers<void>();
    return this.#idle.promise;
  }

  async #pump(): Promise<void> {
    this.#pumping = true;
    const { clock } = this.options;
    let sliceEnd = clock.monotonic() + writerSliceMs;
    for (;;) {
      while (this.#paused !== null) await this.#paused;
      const job = this.#take();
      if (job === null) break;
      await this.#runJob(job);
      if (clock.monotonic() < sliceEnd) continue;
      await new Promise<void>((resolve) => setImmediate(resolve));
      sliceEnd = clock.monotonic() + writerSliceMs;
    }
    this.#pumping = false;
    this.#idle?.resolve();
    this.#idle = null;
  }

  #take(): Job | null {
    const job = this.#queue[this.#head];
    if (job === undefined) return null;
    this.#head += 1;
    if (this.#head === this.#queue.length || this.#head > 1_024) {
      this.#queue.splice(0, this.#head);
      this.#head = 0;
    }
    return job;
  }

  /** Resolves when the transaction has ended, however it did. */
  #runJob(job: Job): Promise<void> {
    return new Promise((next) => {
      const tx = new SqliteTx(this.connection, this.options.clock);
      const finish = (settle: () => void): void => {
        if (!tx.open) return;
        settle();
        this.#active = null;
        next();
      };
      const fail = (error: unknown): void => finish(() => this.#rollback(job, tx, error));
      try {
        this.connection.run(begin);
        tx.open = true;
      } catch (error) {
        job.reject(error);
        next();
        return;
      }
      const deadline = this.options.clock.monotonic() + this.options.txMsMax;
      this.#active = { deadline, expire: () => fail(expired("ran")) };
      try {
        job.fn(tx).then((value) => finish(() => this.#commit(job, tx, value)), fail);
      } catch (error) {
        fail(error);
      }
    });
  }

  #commit(job: Job, tx: SqliteTx, value: unknown): void {
    if (tx.failure !== null) {
      this.#rollback(job, tx, tx.failure.error);
      return;
    }
    tx.open = false;
    try {
      this.connection.run(commit);
    } catch (error) {
      this.#rollback(job, tx, error);
      return;
    }
    if (tx.pages > 0) {
      counters.commits += 1;
      this.options.onCommit(tx.pages);
    }
    for (const fn of tx.afterCommitFns) this.#call(fn);
    job.resolve(value);
  }

  #rollback(job: Job, tx: SqliteTx, error: unknown): void {
    tx.open = false;
    try {
      // After a full disk SQLite may have rolled back by itself.
      if (this.connection.raw.inTransaction) this.connection.run(rollback);
    } catch (failure) {
      this.options.log.error("a rollback failed", { error: failure });
    }
    job.reject(translate(error));
  }

  #call(fn: () => void): void {
    try {
      fn();
    } catch (error) {
      this.options.log.error("a function after a commit failed", { error });
    }
  }

  /** One timer for all deadlines: those of the queue come in its order. */
  #watch(): void {
    if (this.#timer !== null) return;
    const next = Math.min(
      this.#active?.deadline ?? Number.POSITIVE_INFINITY,
      this.#queue[this.#head]?.deadline ?? Number.POSITIVE_INFINITY,
    );
    if (next === Number.POSITIVE_INFINITY) return;
    const delay = Math.max(1, next - this.options.clock.monotonic());
    this.#timer = setTimeout(() => this.#expire(), Math.ceil(delay));
    this.#timer.unref();
  }

  #expire(): void {
    this.#timer = null;
    const now = this.options.clock.monotonic();
    for (;;) {
      const job = this.#queue[this.#head];
      if (job === undefined || job.deadline > now) break;
      this.#take();
      job.reject(expired("waited"));
    }
    if (this.#active !== null && this.#active.deadline <= now) {
      this.options.log.error("a transaction passed its deadline and was rolled back");
      this.#active.expire();
    }
    this.#watch();
  }
}

/** The handle that a transaction's function gets. */
class SqliteTx implements Tx {
  open = false;
  /** The first statement that failed: nothing is committed after it. */
  failure: { error: unknown } | null = null;
  readonly afterCommitFns: (() => void)[] = [];
  /** Pages that were probably written; 0 when nothing was. */
  pages = 0;
  #sliceEnd: number;
  /** What waits for the next turn waits for the same one. */
  #turn: Promise<void> | null = null;

  constructor(
    private readonly connection: SqliteConnection,
    private readonly clock: Clock,
  ) {
    this.#sliceEnd = clock.monotonic() + txSliceMs;
  }

  get<Row>(statement: Statement<Row>): Promise<Row | null> {
    return this.#step(() => {
      const row = this.connection.get(statement);
      if (this.connection.lastKind !== "read") this.pages += estimatePages(statement);
      return row;
    });
  }

  all<Row>(statement: Statement<Row>): Promise<Row[]> {
    return this.#step(() => {
      const rows = this.connection.all(statement);
      if (this.connection.lastKind !== "read") this.pages += estimatePages(statement);
      return rows;
    });
  }

  run(statement: Statement<unknown>): Promise<{ changes: number }> {
    return this.#step(() => {
      const result = this.connection.run(statement);
      const wrote = result.changes > 0 || this.connection.lastKind === "other";
      if (wrote) this.pages += estimatePages(statement);
      return result;
    });
  }

  afterCommit(fn: () => void): void {
    this.#assertOpen();
    this.afterCommitFns.push(fn);
  }

  /** Differs because one writer at a time is all that SQLite has: this transaction has every lock. */
  lock(_name: string): Promise<void> {
    this.#assertOpen();
    return Promise.resolve();
  }

  #step<T>(execute: () => T): Promise<T> {
    try {
      this.#assertOpen();
      if (this.failure !== null) throw this.failure.error;
      const result = execute();
      if (this.#turn === null && this.clock.monotonic() < this.#sliceEnd)
        return Promise.resolve(result);
      return this.#nextTurn().then(() => result);
    } catch (error) {
      this.failure ??= { error };
      return Promise.reject(error);
    }
  }

  #nextTurn(): Promise<void> {
    this.#turn ??= new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
      this.#turn = null;
      this.#sliceEnd = this.clock.monotonic() + txSliceMs;
    });
    return this.#turn;
  }

  #assertOpen(): void {
    if (!this.open) throw new Error("SQL on a transaction that has ended");
  }
}

/** A leaf, a page of an index, and what the values fill; deletes may touch more, and rarely matter. */
function estimatePages(statement: Statement<unknown>): number {
  let bytes = 0;
  for (const value of statement.values) {
    if (typeof value === "string") bytes += value.length;
    else if (value instanceof Uint8Array) bytes += value.byteLength;
  }
  return 2 + Math.floor(bytes / 4096);
}

function expired(what: "waited" | "ran"): PicError {
  return new PicError("unavailable", `The transaction ${what} too long.`);
}
