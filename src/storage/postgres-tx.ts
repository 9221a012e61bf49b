/**
 * A transaction on a connection of its own. READ COMMITTED: each statement sees what was committed
 * before it. What must not run beside itself takes a lock by name (`Tx.lock`).
 *
 * Invariants: SQL runs only while the transaction is open; after a failed statement nothing is
 * committed, also when the function caught the error; past the deadline the connection is destroyed,
 * and the server rolls back what it had.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { counters } from "../base/metrics.ts";
import { PicError } from "../domain/errors.ts";
import { postgresPingMsMax } from "../domain/limits.ts";
import type { Tx } from "./port.ts";
import type { PostgresConnection, PostgresResult } from "./postgres-connection.ts";
import { codeOf, isAnswer, lost, translate } from "./postgres-errors.ts";
import { lockSpace } from "./postgres-lock.ts";
import { type Statement, sql } from "./sql.ts";

export interface PostgresTxOptions {
  clock: Clock;
  log: Logger;
  /** On the monotonic clock. */
  deadline: number;
  queryMsMax: number;
}

/** Runs `fn` in a transaction. The commit has happened, and is durable, when this resolves. */
export async function runTx<T>(
  connection: PostgresConnection,
  fn: (tx: PostgresTx) => Promise<T>,
  options: PostgresTxOptions,
): Promise<T> {
  const tx = new PostgresTx(connection, options);
  const expired = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    options.log.error("a transaction passed its deadline and was rolled back");
    const error = lost("The transaction ran too long.");
    expired.reject(error);
    connection.destroy(error);
  }, tx.msLeft());
  try {
    // Sent along with the first statement, not before it.
    const began = connection.run("begin isolation level read committed", [], {
      msMax: tx.msLeft(),
    });
    began.catch(() => {});
    const value = await Promise.race([call(fn, tx), expired.promise]);
    await began;
    await tx.settled();
    if (tx.failure !== null) throw tx.failure.error;
    await commit(connection, tx);
    return value;
  } catch (error) {
    await rollback(connection, tx);
    throw translate(error);
  } finally {
    clearTimeout(timer);
  }
}

/** A function that throws before its first await rejects, too. */
async function call<T>(fn: (tx: PostgresTx) => Promise<T>, tx: PostgresTx): Promise<T> {
  return fn(tx);
}

async function commit(connection: PostgresConnection, tx: PostgresTx): Promise<void> {
  tx.state = "committing";
  let result: PostgresResult;
  try {
    result = await connection.run("commit", [], { msMax: tx.msLeft() });
  } catch (error) {
    if (mayHaveCommitted(error)) tx.doubt();
    throw error;
  }
  tx.state = "ended";
  if (result.command !== "COMMIT") throw new Error("a commit rolled back");
  counters.commits += 1;
  tx.committed();
}

/** PostgreSQL's own refusal is a rollback; silence, and a server that is stopping, may be anything. */
function mayHaveCommitted(error: unknown): boolean {
  const told = error instanceof PicError ? error.details.cause : error;
  return !isAnswer(told) || codeOf(told).startsWith("57");
}

async function rollback(connection: PostgresConnection, tx: PostgresTx): Promise<void> {
  const isOpen = tx.state === "open";
  tx.state = "ended";
  if (connection.isOver || !isOpen) return;
  try {
    await connection.run("rollback", [], { msMax: postgresPingMsMax });
  } catch {
    connection.destroy(lost("The connection to the database failed."));
  }
}

/** The handle that a transaction's function gets. */
export class PostgresTx implements Tx {
  state: "open" | "committing" | "ended" = "open";
  /** The first statement that failed: nothing is committed after it. */
  failure: { error: unknown } | null = null;
  #last: Promise<PostgresResult> | null = null;
  readonly #afterCommit: (() => void)[] = [];
  readonly #onDoubt: (() => void)[] = [];

  constructor(
    private readonly connection: PostgresConnection,
    private readonly options: PostgresTxOptions,
  ) {}

  async get<Row>(statement: Statement<Row>): Promise<Row | null> {
    return ((await this.#execute(statement)).rows[0] as Row | undefined) ?? null;
  }

  async all<Row>(statement: Statement<Row>): Promise<Row[]> {
    return (await this.#execute(statement)).rows as Row[];
  }

  async run(statement: Statement<unknown>): Promise<{ changes: number }> {
    return { changes: (await this.#execute(statement)).changes };
  }

  afterCommit(fn: () => void): void {
    this.#assertOpen();
    this.#afterCommit.push(fn);
  }

  /** Called instead, when the commit was not answered and may have happened. */
  onDoubt(fn: () => void): void {
    this.#onDoubt.push(fn);
  }

  /** Differs because SQLite has one writer. Names that share a number wait for each other, no more. */
  async lock(name: string, mode: "exclusive" | "shared" = "exclusive"): Promise<void> {
    const number = lockNumber(name);
    await this.#execute(
      mode === "shared"
        ? sql`select pg_advisory_xact_lock_shared(${lockSpace}, ${number})`
        : sql`select pg_advisory_xact_lock(${lockSpace}, ${number})`,
    );
  }

  msLeft(): number {
    const { deadline, clock } = this.options;
    return Math.max(1, deadline - clock.monotonic());
  }

  committed(): void {
    for (const fn of this.#afterCommit) this.#call(fn);
  }

  doubt(): void {
    for (const fn of this.#onDoubt) this.#call(fn);
  }

  /** Resolves when all statements have ended, those that nobody awaited, too. */
  async settled(): Promise<void> {
    // They end in the order in which they were sent.
    await this.#last?.catch(() => {});
  }

  #execute(statement: Statement<unknown>): Promise<PostgresResult> {
    this.#last = this.#step(statement);
    return this.#last;
  }

  async #step(statement: Statement<unknown>): Promise<PostgresResult> {
    try {
      this.#assertOpen();
      if (this.failure !== null) throw this.failure.error;
      const msMax = Math.min(this.options.queryMsMax, this.msLeft());
      return await this.connection.execute(statement, { msMax });
    } catch (error) {
      this.failure ??= { error };
      throw error;
    }
  }

  #call(fn: () => void): void {
    try {
      fn();
    } catch (error) {
      this.options.log.error("a function after a commit failed", { error });
    }
  }

  #assertOpen(): void {
    if (this.state !== "open") throw new Error("SQL on a transaction that has ended");
  }
}

/** 31 bits, of which the first few thousand are kept for locks without a name. */
function lockNumber(name: string): number {
  const hash = Number(Bun.hash.xxHash32(name)) & 0x7fffffff;
  return hash < 4_096 ? hash + 4_096 : hash;
}
