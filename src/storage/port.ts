import type { DeliveryClaim } from "../domain/events.ts";
import type { SqlValue, Statement } from "./sql.ts";

/**
 * The storage port. Stores are functions over `Reader` and `Tx`; a service or a binding opens the
 * transaction. One text of SQL serves every engine (see sql.ts); only compose.ts names an engine.
 *
 * Errors of statements: PicError `conflict` when a unique index or a foreign key refuses, `invalid`
 * for text that no engine keeps as it is (NUL, lone surrogates), `unavailable` when the engine
 * cannot work (disk full, damaged, gone; TransactionConflict when it would the next time). Anything else is
 * a defect and comes as it is.
 */

/** The newest commit somebody has seen. Grows only; `durable(seen)` waits for it. */
export interface Seen {
  seq: number;
}

export interface Reader {
  /** All rows. `seen` matters outside a transaction; inside one it is noted at the commit. */
  all<Row>(statement: Statement<Row>, seen?: Seen): Promise<Row[]>;
  /** The first row, or null. */
  get<Row>(statement: Statement<Row>, seen?: Seen): Promise<Row | null>;
}

/** Takes statements that change rows. */
export interface Writer {
  /** The first row that the statement returns, or null. */
  get<Row>(statement: Statement<Row>): Promise<Row | null>;
  run(statement: Statement<unknown>): Promise<{ changes: number }>;
}

/**
 * An open transaction. Its functions may be awaited; nothing else may be, while it is open. After a
 * statement has failed the transaction can only be rolled back, also when `fn` catches the error:
 * what an engine does with the rest would differ.
 */
export interface Tx extends Reader, Writer {
  get<Row>(statement: Statement<Row>, seen?: Seen): Promise<Row | null>;
  /** Called after the commit, before `tx` resolves, in order; never after a rollback. */
  afterCommit(fn: () => void): void;
  /**
   * Until this transaction ends, no other one on any node gets past a lock of the same name; past a
   * shared one those that take it shared, too.
   */
  lock(name: string, mode?: "exclusive" | "shared"): Promise<void>;
}

export interface Database {
  /** Other processes may work on the same database. */
  readonly isShared: boolean;
  /** How deliveries are claimed here. */
  readonly outbox: OutboxEngine;
  /** A point read on the calling thread. With `seen`, notes the newest commit it may have seen. */
  get<Row>(statement: Statement<Row>, seen?: Seen): Promise<Row | null>;
  all<Row>(statement: Statement<Row>, seen?: Seen): Promise<Row[]>;
  /** A read that may touch many rows: never blocks the calling thread. */
  scan<Row>(statement: Statement<Row>, seen?: Seen): Promise<Row[]>;
  /**
   * One transaction. Others may run at the same time, each statement sees what was committed before it:
   * who decides by what he has read takes `Tx.lock`, or writes under the condition that it is still so.
   * Without `seen` the promise resolves when the commit is durable; with `seen` it
   * resolves at the commit, and the caller owes a `durable(seen)` before it tells anybody.
   * Throws PicError `unavailable` when the queue is full, the deadline passed or the engine is gone.
   */
  tx<T>(fn: (tx: Tx) => Promise<T>, options?: { seen?: Seen }): Promise<T>;
  /**
   * Each statement is a transaction of its own; otherwise as `tx` with `seen`. For where one statement
   * is all there is: it costs half of a transaction.
   */
  autocommit(seen: Seen): Writer;
  /** Resolves when all that `seen` covers is durable; at once when it already is. */
  durable(seen: Seen): Promise<void>;
  /** True when `durable(seen)` would resolve at once: lets a hot path skip a promise. */
  isDurable(seen: Seen): boolean;
  /** Tells every listener, in this process and in others on the same database, after the commit. */
  notify(tx: Tx, channel: string, payload: string): Promise<void>;
  /**
   * Returns a function that stops listening. The payload "*" says that messages may have been missed, as
   * the connection was lost or a commit went unanswered: anything may have changed.
   */
  listen(channel: string, fn: (payload: string) => void): Promise<() => void>;
  /** The highest migration that is applied. */
  schemaVersion(): number;
  /** Bytes on disk, for the size bounds and for the dashboard. */
  sizeBytes(): Promise<number>;
  /** Gives pages of deleted rows back to the file system, a bounded step; resolves false when nothing is left. */
  reclaim(): Promise<boolean>;
  /** Waits for queued work, syncs, closes. May be called twice. */
  close(): Promise<void>;
}

/**
 * Where the engines differ about the outbox: who else may claim, and whose clock leases are told by.
 * `now` is the caller's time, epoch ms; an engine with a clock of its own does not use it.
 */
export interface OutboxEngine {
  /** How often a lease has to be renewed; null when leases end with the process. */
  readonly leaseRenewMs: number | null;
  /** Claims write nothing: only this process knows what it holds, and it has to leave that out. */
  readonly claimsInMemory: boolean;
  /**
   * Claims at most `limit` due deliveries of an app, oldest first, and returns their rows (in any order):
   * all columns of OutboxRow (outbox.ts). One that another holder has left behind counts as a crash.
   * Where claims are in memory: so many more as are `held`, which may be among them.
   */
  claim(claim: {
    app_id: string;
    owner: string;
    now: number;
    limit: number;
    held: number;
  }): Statement<Record<string, unknown>>;
  /** A condition: the row of a delivery, by the key that its table has here. */
  rowOf(claim: Omit<DeliveryClaim, "fence">): Statement<never>;
  /** The row of a claim that is still held, which nobody claims before the transaction ends. */
  holdLease(held: DeliveryClaim): Statement;
  /** An expression: the value of due_at after a wait of so many ms. */
  dueIn(ms: number, now: number): Statement<never>;
  /** Of one app: how long until something more can be claimed; `ms` is null when there is nothing. */
  msUntilDue(app_id: string, now: number): Statement<{ ms: number | null }>;
  /**
   * Run at the start: puts an end to waits that are longer than any policy asks for, as the clock that they
   * were told by was ahead of `now`. Null: the clock is the database's own.
   */
  clampWaits(now: number): Statement | null;
}

/** A table as a backup holds it: its columns, in the order of the values of its rows. */
export interface TableShape {
  readonly name: string;
  readonly columns: readonly string[];
}

/**
 * What a backup reads: one moment of a whole database, for a process beside the server. It takes no
 * lock that a server waits for, and changes nothing.
 */
export interface Snapshot {
  readonly engine: string;
  /** The schema's number. */
  readonly schema: number;
  /** Every table of the schema but those that backups leave out (tables.ts), by name. */
  readonly tables: readonly TableShape[];
  /** All rows of a table of `tables`, each read when it is asked for. */
  rows(table: TableShape): AsyncIterable<readonly SqlValue[]>;
  /** May be called twice. */
  close(): Promise<void>;
}

/** What a restore fills: a new database, which nobody sees before `commit`. */
export interface Restoration {
  /** The tables that the backup has to bring, as they are in the backup's schema, by name. */
  readonly tables: readonly TableShape[];
  /** Throws PicError `invalid` for a row that the schema refuses. */
  insert(table: TableShape, rows: readonly (readonly SqlValue[])[]): Promise<void>;
  /**
   * Verifies references, counts (table → rows) and what the engine can say of its own files, migrates to
   * this executable's schema, and puts the database in its place, durably. Throws PicError `invalid`.
   */
  commit(counts: ReadonlyMap<string, number>): Promise<void>;
  /** Leaves nothing behind; does nothing after `commit`. May be called twice. */
  discard(): Promise<void>;
}
