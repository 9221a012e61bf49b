/** The port on PostgreSQL: which connections do what, and until when. */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { counters } from "../base/metrics.ts";
import { postgresPayloadBytesMax } from "../domain/limits.ts";
import type { Database, Seen, Tx, Writer } from "./port.ts";
import type { PostgresResult } from "./postgres-connection.ts";
import { lost } from "./postgres-errors.ts";
import type { PostgresListeners } from "./postgres-listen.ts";
import { postgresOutbox } from "./postgres-outbox.ts";
import type { PostgresPool } from "./postgres-pool.ts";
import { PostgresTx, runTx } from "./postgres-tx.ts";
import { type Statement, sql } from "./sql.ts";

export interface PostgresDatabaseOptions {
  /** In the names of its channels. */
  name: string;
  clock: Clock;
  log: Logger;
  /** May be the same one. */
  pools: { writers: PostgresPool; readers: PostgresPool; scanners: PostgresPool };
  listeners: PostgresListeners;
  version: number;
  /** What `sizeBytes` asks, as `bytes`. */
  size: Statement<{ bytes: number }>;
  bounds: { queryMsMax: number; txMsMax: number; scanRowsMax: number };
  /** Called when there is work: somebody watches that it ends. */
  onWork: () => void;
}

export class PostgresDatabase implements Database {
  readonly isShared = true;
  readonly outbox = postgresOutbox;
  /** Commits that this process was told of. What can be read is durable, so nobody waits for a number. */
  #committed = 0;
  #closing: Promise<void> | null = null;

  constructor(private readonly options: PostgresDatabaseOptions) {}

  async get<Row>(statement: Statement<Row>, seen?: Seen): Promise<Row | null> {
    const { rows } = await this.#execute(this.options.pools.readers, statement);
    this.#note(seen);
    return (rows[0] as Row | undefined) ?? null;
  }

  async all<Row>(statement: Statement<Row>, seen?: Seen): Promise<Row[]> {
    const { rows } = await this.#execute(this.options.pools.readers, statement);
    this.#note(seen);
    return rows as Row[];
  }

  async scan<Row>(statement: Statement<Row>, seen?: Seen): Promise<Row[]> {
    const { pools, bounds } = this.options;
    const { rows } = await this.#execute(pools.scanners, statement, bounds.scanRowsMax);
    this.#note(seen);
    return rows as Row[];
  }

  async tx<T>(fn: (tx: Tx) => Promise<T>, options: { seen?: Seen } = {}): Promise<T> {
    this.#assertOpen();
    const { clock, log, pools, bounds, onWork } = this.options;
    const { queryMsMax, txMsMax } = bounds;
    const last = clock.monotonic() + queryMsMax;
    onWork();
    try {
      return await pools.writers.use(last, (connection) => {
        const deadline = Math.min(last, clock.monotonic() + txMsMax);
        return runTx(connection, this.#counted(fn), { clock, log, deadline, queryMsMax });
      });
    } finally {
      this.#note(options.seen);
    }
  }

  autocommit(seen: Seen): Writer {
    const write = async (statement: Statement<unknown>): Promise<PostgresResult> => {
      const result = await this.#execute(this.options.pools.writers, statement);
      counters.commits += 1;
      this.#committed += 1;
      this.#note(seen);
      return result;
    };
    return {
      get: async <Row>(statement: Statement<Row>) =>
        ((await write(statement)).rows[0] as Row | undefined) ?? null,
      run: async (statement) => ({ changes: (await write(statement)).changes }),
    };
  }

  /** Differs because PostgreSQL answers a commit when it is durable, and shows it to nobody before. */
  durable(_seen: Seen): Promise<void> {
    return Promise.resolve();
  }

  isDurable(_seen: Seen): boolean {
    return true;
  }

  /** Differs because listeners may be in other processes, and a commit may go unanswered. */
  async notify(tx: Tx, channel: string, payload: string): Promise<void> {
    if (!(tx instanceof PostgresTx)) throw new Error("a transaction of another engine");
    const { listeners } = this.options;
    const name = this.#channel(channel);
    const { number, text } = listeners.envelop(payload);
    if (Buffer.byteLength(text) > postgresPayloadBytesMax) {
      throw new Error("a notification's payload is too long");
    }
    tx.afterCommit(() => listeners.tell(name, payload));
    tx.onDoubt(() => listeners.doubt(name, number));
    await tx.all(sql`select pg_notify(${name}, ${text})`);
  }

  listen(channel: string, fn: (payload: string) => void): Promise<() => void> {
    return this.options.listeners.add(this.#channel(channel), fn);
  }

  schemaVersion(): number {
    return this.options.version;
  }

  async sizeBytes(): Promise<number> {
    const { rows } = await this.#execute(this.options.pools.scanners, this.options.size);
    return Number(rows[0]?.bytes ?? 0);
  }

  /** Differs because PostgreSQL reclaims by itself. */
  reclaim(): Promise<boolean> {
    return Promise.resolve(false);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { writers, readers, scanners } = this.options.pools;
    await Promise.all([...new Set([writers, readers, scanners])].map((pool) => pool.close()));
  }

  async #execute(
    pool: PostgresPool,
    statement: Statement<unknown>,
    rowsMax?: number,
  ): Promise<PostgresResult> {
    this.#assertOpen();
    const { clock, bounds, onWork } = this.options;
    const deadline = clock.monotonic() + bounds.queryMsMax;
    onWork();
    return pool.use(deadline, (connection) => {
      const msMax = Math.max(1, deadline - clock.monotonic());
      return connection.execute(statement, rowsMax === undefined ? { msMax } : { msMax, rowsMax });
    });
  }

  /** Counts the commit before anybody hears of it. */
  #counted<T>(fn: (tx: Tx) => Promise<T>): (tx: PostgresTx) => Promise<T> {
    return (tx) => {
      tx.afterCommit(() => {
        this.#committed += 1;
      });
      return fn(tx);
    };
  }

  #note(seen: Seen | undefined): void {
    if (seen !== undefined && seen.seq < this.#committed) seen.seq = this.#committed;
  }

  #channel(channel: string): string {
    return `picloud_${this.options.name}_${channel}`;
  }

  #assertOpen(): void {
    if (this.#closing !== null) throw lost("The database is closed.");
  }
}
