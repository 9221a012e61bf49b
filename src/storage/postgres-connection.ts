/**
 * One connection to PostgreSQL, used once: a client of its own with a socket of its own. When either
 * fails, or an answer does not come in time, everything that is under way is rejected and the
 * connection is over; who needs another one opens it (postgres-pool.ts).
 *
 * The client alone would reconnect by itself, without end or bound, and wait for ever for an answer on
 * a connection whose other side is gone. So it gets a socket once, and every query a deadline.
 */
import type { Socket } from "node:net";
import postgres from "postgres";
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { counters } from "../base/metrics.ts";
import {
  postgresConnectMsMax,
  postgresGoneMsMax,
  postgresIdleTxMsMax,
  postgresLockMsMax,
  postgresStatementMsMax,
  statementCacheMax,
} from "../domain/limits.ts";
import { lost, translate } from "./postgres-errors.ts";
import { openSocket } from "./postgres-socket.ts";
import type { PostgresTarget } from "./postgres-target.ts";
import type { SqlValue, Statement } from "./sql.ts";
import { checkValues } from "./sql-values.ts";

export interface PostgresConnectionOptions {
  target: PostgresTarget;
  clock: Clock;
  log: Logger;
  /** Names this process in the server's list of sessions. */
  name: string;
  /** Further settings of the session. */
  settings?: Readonly<Record<string, string>>;
  connectMsMax?: number;
  /** Gives the opening up. */
  signal?: AbortSignal;
  onNotify?: (channel: string, payload: string) => void;
  /** Called once, when the connection is over: why, or null when we closed it; and `pid`. */
  onEnd?: (error: Error | null, pid: number) => void;
}

export interface PostgresResult {
  rows: Record<string, unknown>[];
  /** Rows that were changed. */
  changes: number;
  /** What the server did: "COMMIT", "ROLLBACK", … */
  command: string;
}

type Query = ReturnType<postgres.Sql["unsafe"]>;

export class PostgresConnection {
  /** Of the server's process. */
  pid = 0;
  /** When it last answered, on the monotonic clock. */
  answeredAt = 0;
  /** Something happened to others like it: it must show that it lives. */
  isSuspect = false;
  #over = false;
  #failure: Error | null = null;
  #socket: Socket | null = null;
  readonly #client: postgres.Sql;
  readonly #pending = new Set<(error: Error) => void>();
  /** Composed texts that the server has prepared; those of templates are bounded by our code. */
  readonly #prepared = new Set<string>();

  private constructor(private readonly options: PostgresConnectionOptions) {
    this.#client = postgres(
      clientOptions(options, {
        socket: () => this.#openSocket(),
        onclose: () => this.#end(lost("The connection to the database was lost.")),
      }),
    );
  }

  /** Throws what the system, the client or PostgreSQL said, untranslated; PicError when it took too long. */
  static async open(options: PostgresConnectionOptions): Promise<PostgresConnection> {
    const connection = new PostgresConnection(options);
    const msMax = options.connectMsMax ?? postgresConnectMsMax;
    const { signal } = options;
    const abort = (): void => connection.destroy(lost("The database does not answer."));
    signal?.addEventListener("abort", abort);
    if (signal?.aborted === true) abort();
    try {
      const { rows } = await connection.#run("select pg_backend_pid() as pid", [], { msMax });
      connection.pid = Number(rows[0]?.pid);
      return connection;
    } catch (error) {
      connection.destroy(lost("The connection to the database failed."));
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  get isOver(): boolean {
    return this.#over;
  }

  /**
   * Throws PicError and what the port says of statements. After `msMax` the connection is destroyed.
   * @param options.rowsMax more rows are an error, which also ends the connection
   */
  async execute(
    statement: Statement<unknown>,
    options: { msMax: number; rowsMax?: number },
  ): Promise<PostgresResult> {
    const { texts, values } = statement;
    checkValues(values);
    const text = render(texts);
    const isPrepared = "raw" in texts || this.#mayPrepare(text);
    return this.run(text, values, { ...options, isPrepared });
  }

  /** A text without the checks of `execute`; without values it may hold several statements. */
  async run(
    text: string,
    values: readonly SqlValue[],
    options: { msMax: number; rowsMax?: number; isPrepared?: boolean },
  ): Promise<PostgresResult> {
    try {
      return await this.#run(text, values, options);
    } catch (error) {
      throw translate(error);
    }
  }

  /** Resolves false, and ends the connection, when no answer comes in time. */
  async ping(msMax: number): Promise<boolean> {
    try {
      await this.#run("select 1", [], { msMax });
      this.isSuspect = false;
      return true;
    } catch (error) {
      this.destroy(error instanceof Error ? error : lost("The connection to the database failed."));
      return false;
    }
  }

  /** Everything under way is rejected with `error`. May be called twice. */
  destroy(error: Error): void {
    this.#end(error);
    this.#socket?.destroy();
  }

  /** Says goodbye, for when nothing is under way. May be called twice. */
  async close(): Promise<void> {
    if (this.#over) return;
    this.#over = true;
    this.options.onEnd?.(null, this.pid);
    await this.#client.end({ timeout: 1 }).catch(() => {});
    this.#socket?.destroy();
  }

  #run(
    text: string,
    values: readonly SqlValue[],
    options: { msMax: number; rowsMax?: number; isPrepared?: boolean },
  ): Promise<PostgresResult> {
    const { msMax, rowsMax, isPrepared = false } = options;
    if (this.#over) {
      return Promise.reject(this.#failure ?? lost("The connection to the database is closed."));
    }
    counters.sqlStatements += 1;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => this.destroy(lost("The database did not answer in time.")),
        msMax,
      );
      const settle = (): void => {
        clearTimeout(timer);
        this.#pending.delete(fail);
        this.answeredAt = this.options.clock.monotonic();
      };
      const fail = (error: Error): void => {
        settle();
        reject(error);
      };
      this.#pending.add(fail);
      const query = this.#client.unsafe(text, values as (string | number | null | Uint8Array)[], {
        prepare: isPrepared,
      });
      // For an error the client would keep this query's text for ever, as the origin of its stack.
      Object.defineProperty(query, "origin", { value: "" });
      const rows = rowsMax === undefined ? null : this.#collect(query, rowsMax);
      query.then((result) => {
        settle();
        resolve({
          rows: rows ?? [...result],
          changes: result.count ?? 0,
          command: result.command ?? "",
        });
      }, fail);
    });
  }

  /** Rows one by one, so that no answer is longer than its bound. */
  #collect(query: Query, rowsMax: number): Record<string, unknown>[] {
    const rows: Record<string, unknown>[] = [];
    void query
      .forEach((row) => {
        if (rows.length < rowsMax) rows.push(row);
        else this.destroy(lost("There are too many rows to read."));
      })
      .catch(() => {});
    return rows;
  }

  #mayPrepare(text: string): boolean {
    if (this.#prepared.has(text)) return true;
    if (this.#prepared.size >= statementCacheMax) return false;
    this.#prepared.add(text);
    return true;
  }

  #end(error: Error): void {
    if (this.#over) return;
    this.#over = true;
    this.#failure = error;
    for (const fail of [...this.#pending]) fail(error);
    this.options.onEnd?.(error, this.pid);
  }

  #openSocket(): Promise<Socket> {
    if (this.#socket !== null || this.#over) throw lost("The connection to the database was lost.");
    const { raw, ready } = openSocket(this.options.target);
    this.#socket = raw;
    return ready;
  }
}

const rendered = new WeakMap<readonly string[], string>();

/** The text as PostgreSQL wants it: $1, $2, … */
export function render(texts: readonly string[]): string {
  const known = rendered.get(texts);
  if (known !== undefined) return known;
  let text = texts[0] ?? "";
  for (let index = 1; index < texts.length; index += 1) text += `$${index}${texts[index]}`;
  if ("raw" in texts) rendered.set(texts, text);
  return text;
}

interface ClientHooks {
  socket: () => Promise<Socket>;
  onclose: () => void;
}

/** Every option is given, so that none is read from the environment (PGSSLMODE, …). */
function clientOptions(options: PostgresConnectionOptions, hooks: ClientHooks) {
  const { target, name, settings, log } = options;
  const { host, port, user, password, database } = target;
  const numbers = { to: 20, from: [20, 1700], parse: Number, serialize: String };
  return {
    host,
    port,
    user,
    pass: password,
    database,
    // The socket is encrypted before the client gets it.
    ssl: false,
    sslnegotiation: null,
    ...hooks,
    max: 1,
    idle_timeout: 0,
    max_lifetime: null,
    // Ours is in `open`.
    connect_timeout: 0,
    keep_alive: null,
    fetch_types: false,
    no_subscribe: true,
    debug: false,
    prepare: true,
    // int8 and numeric: what we count and store is below 2^53.
    types: { numbers },
    onnotice: ({ message }: { message?: string }) =>
      log.debug("a notice of the database", { notice: message }),
    onnotify: options.onNotify,
    connection: {
      ...(target.options === "" ? {} : { options: target.options }),
      ...sessionSettings,
      ...settings,
      application_name: `${printable(target.application_name)} ${name}`,
    },
  } as unknown as postgres.Options<Record<string, never>>;
}

/** What makes the server end by itself what we have given up, or what lost us. */
const sessionSettings: Readonly<Record<string, string>> = {
  statement_timeout: String(postgresStatementMsMax),
  lock_timeout: String(postgresLockMsMax),
  idle_in_transaction_session_timeout: String(postgresIdleTxMsMax),
  tcp_keepalives_idle: "5",
  tcp_keepalives_interval: "2",
  tcp_keepalives_count: "3",
  tcp_user_timeout: String(postgresGoneMsMax),
  // Our texts are of this form, whatever the database's default.
  standard_conforming_strings: "on",
};

/** The server cuts names at 63 bytes; ours must stay whole behind it. */
function printable(text: string): string {
  return text.replace(/[^ -~]/g, "?").slice(0, 40);
}
