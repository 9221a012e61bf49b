/**
 * The one connection that is always there: it holds this server's share of the database
 * (postgres-lock.ts), hears what other servers announce, and shows whether the database lives. When it is
 * lost it is opened anew for as long as it takes; nothing else opens connections meanwhile.
 *
 * Over a silent network the database notices a loss later than we do. Until then a transaction of such a
 * ghost stays open and keeps the rows locked that it wrote, and nobody else can write them: this server's
 * own ghosts are ended, by the name that no other server's sessions have.
 *
 * What was announced while nobody listened is made up for with the payload "*". A connection that hears
 * nothing any more does not answer either: the sign of life that is asked for every so often finds it out.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import {
  postgresGhostsMax,
  postgresRetryMsMax,
  postgresRetryMsMin,
  postgresSignEveryMs,
  postgresSignMsMax,
  postgresStatementMsMax,
  postgresWaitReportMs,
} from "../domain/limits.ts";
import type { PostgresConnection, PostgresConnectionOptions } from "./postgres-connection.ts";
import { isAnswer, lost, reasonOf, refusalOf, translate } from "./postgres-errors.ts";
import { PostgresListeners } from "./postgres-listen.ts";
import { MigrationFailed, type ServerLock, Unusable } from "./postgres-lock.ts";
import { sleep } from "./postgres-rate.ts";
import { Refused } from "./postgres-socket.ts";
import { sql } from "./sql.ts";

export interface PostgresKeeperOptions {
  /** For messages, without credentials. */
  label: string;
  /** In the name of every session of this process, and of no other. */
  name: string;
  clock: Clock;
  log: Logger;
  lock: ServerLock;
  open: (
    more: Pick<PostgresConnectionOptions, "onEnd" | "onNotify" | "signal">,
  ) => Promise<PostgresConnection>;
  /** What is asked of the server before it is used. Throws PicError. */
  check: (connection: PostgresConnection) => Promise<void>;
  /** Other connections may be opened. */
  onReady: () => void;
  /** No other connection may be opened. */
  onAway: () => void;
  /** A try to open it failed; `isSilent` when nobody answered at all. */
  onFailed: (error: Error, isSilent: boolean) => void;
  /** The database does not answer: what other connections wait for will not come. */
  onSilent: (error: Error, since: number) => void;
  /** Another has the database for itself, or a newer PiCloud has migrated it. */
  onFatal: (error: Error) => void;
}

export class PostgresKeeper {
  readonly listeners: PostgresListeners;
  #connection: PostgresConnection | null = null;
  #isAsking = false;
  /** Processes of the server whose connections to us are lost, and who may not know it yet. */
  readonly #ghosts = new Set<number>();
  #running: Promise<void> = Promise.resolve();
  #signTimer: ReturnType<typeof setInterval> | null = null;
  readonly #closing = new AbortController();

  constructor(private readonly options: PostgresKeeperOptions) {
    this.listeners = new PostgresListeners(options.name, options.log, () => this.#connection);
  }

  /** Waits for the database. Throws PicError with a message for the person who starts the server. */
  async start(signal?: AbortSignal): Promise<void> {
    const report = createReporter("waiting for the database", this.options);
    for (let wait = postgresRetryMsMin; ; wait = Math.min(2 * wait, postgresRetryMsMax)) {
      if (signal?.aborted === true) throw lost("The wait for the database was ended.");
      try {
        await this.#connect(true, signal ?? this.#closing.signal);
        break;
      } catch (error) {
        if (error instanceof MigrationFailed) throw error.cause;
        if (error instanceof Unusable) throw lost(error.message);
        const refusal = error instanceof Refused ? error.message : refusalOf(error);
        if (refusal !== null)
          throw lost(`PICLOUD_DATABASE_URL, ${this.options.label}: ${refusal}.`);
        report(error);
      }
      await sleep(wait, signal);
    }
    this.#signTimer = setInterval(() => void this.sign(), postgresSignEveryMs);
    this.#signTimer.unref();
  }

  /** Asks the database for a sign of life, unless that is under way. Never rejects. */
  async sign(): Promise<void> {
    const connection = this.#connection;
    if (connection === null || this.#isAsking) return;
    const { clock } = this.options;
    const began = clock.monotonic();
    this.#isAsking = true;
    const isAlive = await connection.ping(postgresSignMsMax);
    this.#isAsking = false;
    const isSilent = !isAlive && clock.monotonic() - began >= postgresSignMsMax;
    if (isSilent) this.options.onSilent(lost("The database does not answer."), began);
  }

  /** A connection of this process was lost: `pid` of the server ends, as soon as it can be told. */
  bury(pid: number): void {
    if (pid === 0) return;
    this.#ghosts.add(pid);
    const [oldest] = this.#ghosts;
    if (this.#ghosts.size > postgresGhostsMax && oldest !== undefined) this.#ghosts.delete(oldest);
    if (this.#connection !== null) this.#endGhosts(this.#connection).catch(() => {});
  }

  /** May be called twice. */
  async close(): Promise<void> {
    this.#closing.abort();
    if (this.#signTimer !== null) clearInterval(this.#signTimer);
    this.listeners.clear();
    await this.#connection?.close();
    await this.#running;
  }

  get #isClosing(): boolean {
    return this.#closing.signal.aborted;
  }

  /** `signal` gives up while nobody has answered. */
  async #connect(isFirst: boolean, signal: AbortSignal): Promise<void> {
    const { open, check, onReady } = this.options;
    const hooks = {
      onNotify: (channel: string, payload: string) => this.listeners.heard(channel, payload),
      onEnd: () => this.#ended(connection),
    };
    let connection: PostgresConnection | null = null;
    const opened = await open({ ...hooks, signal });
    try {
      if (isFirst) await check(opened);
      await this.#endGhosts(opened);
      const { lock } = this.options;
      await (isFirst ? lock.join(opened, signal) : lock.rejoin(opened, signal));
      await this.listeners.begin(opened);
      if (this.#isClosing) throw lost("The database is closed.");
    } catch (error) {
      await opened.close();
      throw error;
    }
    connection = opened;
    this.#connection = opened;
    if (opened.isOver) return this.#ended(opened);
    onReady();
  }

  #ended(connection: PostgresConnection | null): void {
    if (connection === null || this.#connection !== connection) return;
    this.#connection = null;
    if (this.#isClosing) return;
    this.options.onAway();
    this.#running = this.#reconnect();
  }

  async #reconnect(): Promise<void> {
    const { label, log, onFailed, onFatal } = this.options;
    const report = createReporter("the database is away", this.options);
    let wait = 0;
    while (!this.#isClosing) {
      try {
        await this.#connect(false, this.#closing.signal);
        log.info("the database is back", { database: label });
        this.listeners.tellAll();
        return;
      } catch (error) {
        if (this.#isClosing) return;
        if (error instanceof Unusable) return onFatal(lost(error.message));
        report(error);
        const told = translate(error);
        onFailed(told instanceof Error ? told : lost(reasonOf(error)), !isAnswer(error));
      }
      wait = Math.min(Math.max(2 * wait, postgresRetryMsMin), postgresRetryMsMax);
      await sleep(wait, this.#closing.signal);
    }
  }

  /** Throws when `connection` is lost, too. */
  async #endGhosts(connection: PostgresConnection): Promise<void> {
    const pids = [...this.#ghosts];
    if (pids.length === 0) return;
    // By its name as well: the number may be another process by now.
    const ended = sql`select pg_terminate_backend(pid) from pg_stat_activity
      where pid in ${sql.list(pids)} and application_name like ${`% ${this.options.name}`}`;
    await connection.execute(ended, { msMax: postgresStatementMsMax });
    for (const pid of pids) this.#ghosts.delete(pid);
  }
}

/** Says what is waited for, and why: at once, then every so often. */
export function createReporter(
  message: string,
  { clock, log, label }: Pick<PostgresKeeperOptions, "clock" | "log" | "label">,
): (reason: unknown) => void {
  let reportedAt = Number.NEGATIVE_INFINITY;
  return (reason) => {
    const now = clock.monotonic();
    if (now - reportedAt < postgresWaitReportMs) return;
    reportedAt = now;
    log.warn(message, { database: label, reason: reasonOf(reason) });
  };
}
