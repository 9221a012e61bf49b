/**
 * The PostgreSQL engine: a keeper that holds this server's share of the database and knows whether it
 * lives (postgres-keeper.ts), and pools of connections for writes, point reads, scans and execution
 * records. Several servers may work on one database.
 *
 * Invariants: nobody waits longer than `queryMsMax`, whatever the network does; connections are opened
 * only while the keeper holds its share, at most postgresConnectsPerSecondMax a second; the password
 * is in no message and no log.
 *
 * What runs beside itself: transactions, on as many connections as there are writers. A service that
 * decides by what it has read takes `Tx.lock`; SQLite, with its one writer, would not need it.
 */
import type { Clock } from "../base/clock.ts";
import { newId } from "../base/ids.ts";
import type { Logger } from "../base/log.ts";
import {
  postgresConnectMsMax,
  postgresConnectsPerSecondMax,
  postgresLockWaitMsMax,
  postgresLogsMax,
  postgresQueryMsMax,
  postgresQueueMax,
  postgresReadersMax,
  postgresScannersMax,
  postgresSignMsMax,
  postgresSlowMs,
  postgresTxMsMax,
  postgresWritersMax,
  scanRowsMax,
} from "../domain/limits.ts";
import { postgresLogsMigrations, postgresMigrations } from "./migrations.ts";
import { type Migration, migrate } from "./migrator.ts";
import type { Database } from "./port.ts";
import { PostgresConnection, type PostgresConnectionOptions } from "./postgres-connection.ts";
import { PostgresDatabase } from "./postgres-database.ts";
import { codeOf, lost, translate } from "./postgres-errors.ts";
import { createReporter, PostgresKeeper } from "./postgres-keeper.ts";
import { ServerLock } from "./postgres-lock.ts";
import { logsSchema, migrationEngine, migrationSettings, schemaAge } from "./postgres-migrate.ts";
import { PostgresPool, type PostgresPoolOptions } from "./postgres-pool.ts";
import { ConnectRate } from "./postgres-rate.ts";
import { Refused } from "./postgres-socket.ts";
import { type PostgresTarget, parseTarget } from "./postgres-target.ts";
import { sql } from "./sql.ts";

export interface PostgresOptions {
  /** PICLOUD_DATABASE_URL. */
  url: string;
  clock: Clock;
  log: Logger;
  /** The database cannot be used by this server any more: the process must stop. */
  onFatal?: (error: Error) => void;
  /** For tests: smaller bounds. */
  bounds?: Partial<PostgresBounds>;
  /** Ends the wait for the database at the start. */
  signal?: AbortSignal;
}

export interface PostgresBounds {
  queryMsMax: number;
  txMsMax: number;
  queueMax: number;
  writersMax: number;
  readersMax: number;
  scanRowsMax: number;
  connectMsMax: number;
  lockWaitMsMax: number;
}

export interface PostgresDatabases {
  db: Database;
  /** Execution records, best effort. */
  logs: Database;
  close(): Promise<void>;
}

const versionMin = 13;

/**
 * Waits until the database can be reached and migrates it, unless that is done. Throws PicError
 * `unavailable`, with a message for the person who starts the server, when it refuses us, is being
 * restored, is too old, has a newer schema, or an older one that another PiCloud works with; `invalid`
 * for an address that is none.
 */
export async function openPostgres(options: PostgresOptions): Promise<PostgresDatabases> {
  const engine = new PostgresEngine(options, parseTarget(options.url));
  try {
    return await engine.open();
  } catch (error) {
    await engine.close();
    throw error;
  }
}

class PostgresEngine {
  /** Which process this is, for the server and among messages. */
  readonly #name = newId().replaceAll("-", "").slice(-16);
  readonly #bounds: PostgresBounds;
  readonly #rate: ConnectRate;
  readonly #keeper: PostgresKeeper;
  readonly #pools: PostgresPool[] = [];
  readonly #databases: PostgresDatabase[] = [];
  /** Overrides what the database or the user is set to: see `#check`. */
  #settings: Record<string, string> = {};
  #watch: ReturnType<typeof setTimeout> | null = null;
  #closing: Promise<void> | null = null;

  constructor(
    private readonly options: PostgresOptions,
    private readonly target: PostgresTarget,
  ) {
    const { clock, log, onFatal } = options;
    this.#bounds = { ...defaults, ...options.bounds };
    this.#rate = new ConnectRate(clock, postgresConnectsPerSecondMax);
    this.#keeper = new PostgresKeeper({
      label: target.label,
      name: this.#name,
      clock,
      log,
      lock: this.#lock(),
      open: (hooks) => this.#connect({ ...hooks }),
      check: (connection) => this.#check(connection),
      onReady: () => this.#each((pool) => pool.resume()),
      onAway: () => this.#each((pool) => pool.pause()),
      onFailed: (error, isSilent) => this.#failed(error, isSilent),
      onSilent: (error, since) => this.#each((pool) => pool.reset(error, since)),
      onFatal: (error) => {
        this.#each((pool) => pool.end(error));
        onFatal?.(error);
      },
    });
  }

  async open(): Promise<PostgresDatabases> {
    const { signal } = this.options;
    await this.#keeper.start(signal);
    const { writersMax, readersMax } = this.#bounds;
    const logsPool = this.#pool(postgresLogsMax, { search_path: logsSchema });
    const databases = {
      db: this.#database("main", postgresMigrations.length, mainSize, {
        writers: this.#pool(writersMax),
        readers: this.#pool(readersMax),
        scanners: this.#pool(postgresScannersMax),
      }),
      logs: this.#database("logs", postgresLogsMigrations.length, logsSize, {
        writers: logsPool,
        readers: logsPool,
        scanners: logsPool,
      }),
    };
    return { ...databases, close: () => this.close() };
  }

  /** May be called twice. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      await Promise.all(this.#databases.map((database) => database.close()));
      if (this.#watch !== null) clearTimeout(this.#watch);
      await this.#keeper.close();
    })();
    return this.#closing;
  }

  async #connect(
    more: Pick<PostgresConnectionOptions, "onEnd" | "onNotify" | "settings" | "signal">,
  ): Promise<PostgresConnection> {
    const { clock, log } = this.options;
    await this.#rate.turn(more.signal);
    return PostgresConnection.open({
      target: this.target,
      clock,
      log,
      name: this.#name,
      connectMsMax: this.#bounds.connectMsMax,
      ...more,
      onEnd: (error, pid) => {
        if (error !== null) this.#keeper.bury(pid);
        more.onEnd?.(error, pid);
      },
      settings: { ...this.#settings, ...more.settings },
    });
  }

  /** What a server must be. Throws Refused. */
  async #check(connection: PostgresConnection): Promise<void> {
    const { log } = this.options;
    const { rows } = await connection.execute(serverFacts, { msMax: this.#bounds.queryMsMax });
    const facts = rows[0] as unknown as ServerFacts;
    const version = Math.floor(facts.version / 10_000);
    if (version < versionMin) {
      throw new Refused(`it is PostgreSQL ${version}, and PiCloud needs ${versionMin} or newer`);
    }
    if (facts.encoding !== "UTF8") {
      throw new Refused(`its encoding is ${facts.encoding}, and PiCloud needs UTF8`);
    }
    if (facts.is_standby) throw new Refused("it is a standby, which cannot be written");
    if (facts.synchronous_commit === "off") {
      this.#settings = { synchronous_commit: "on" };
      log.warn("synchronous_commit is off in the database; PiCloud switches it on for itself");
    }
    if (facts.fsync === "off") {
      log.warn("fsync is off in the database: a power failure may destroy it");
    }
  }

  #lock(): ServerLock {
    const { clock, log } = this.options;
    const { label } = this.target;
    const { lockWaitMsMax } = this.#bounds;
    const known = { main: postgresMigrations.length, logs: postgresLogsMigrations.length };
    return new ServerLock({
      ...{ name: this.#name, label, clock, waitMsMax: lockWaitMsMax },
      age: (connection) => schemaAge(connection, known),
      migrate: async () => {
        await this.#migrate(postgresMigrations, null);
        await this.#migrate(postgresLogsMigrations, logsSchema);
      },
      report: createReporter("waiting for the database", { clock, log, label }),
    });
  }

  async #migrate(migrations: readonly Migration[], schema: string | null): Promise<void> {
    const { clock } = this.options;
    let connection: PostgresConnection | null = null;
    try {
      connection = await this.#connect({ settings: migrationSettings });
      const engine = migrationEngine(connection, this.target.label, schema);
      await migrate(engine, migrations, () => clock.now());
    } catch (error) {
      if (codeOf(error) !== "42501") throw translate(error);
      throw lost(`${this.target.label}: this user may not make tables: ${String(error)}.`);
    } finally {
      await connection?.close();
    }
  }

  #pool(connectionsMax: number, settings: Record<string, string> = {}): PostgresPool {
    const { clock, log } = this.options;
    const { queueMax } = this.#bounds;
    const open: PostgresPoolOptions["open"] = async (onEnd, signal) => {
      let connection: PostgresConnection | null = null;
      const ended = (): void => {
        if (connection !== null) onEnd(connection);
      };
      connection = await this.#connect({ settings, onEnd: ended, signal });
      return connection;
    };
    const pool = new PostgresPool({ connectionsMax, queueMax, clock, log, open });
    this.#pools.push(pool);
    return pool;
  }

  #database(
    name: string,
    version: number,
    size: typeof mainSize,
    pools: { writers: PostgresPool; readers: PostgresPool; scanners: PostgresPool },
  ): PostgresDatabase {
    const { clock, log } = this.options;
    const database = new PostgresDatabase({
      name,
      clock,
      log,
      pools,
      listeners: this.#keeper.listeners,
      version,
      size,
      bounds: this.#bounds,
      onWork: () => this.#watchWork(),
    });
    this.#databases.push(database);
    return database;
  }

  #each(step: (pool: PostgresPool) => void): void {
    for (const pool of this.#pools) step(pool);
  }

  #failed(error: Error, isSilent: boolean): void {
    // Nobody answers a new connection: nor what waits for an answer on an old one.
    const since = this.options.clock.monotonic() - postgresSignMsMax;
    if (isSilent) this.#each((pool) => pool.reset(error, since));
    this.#each((pool) => pool.refuse(error));
  }

  /** While something takes long, the database must show that it lives; ends by itself. */
  #watchWork(): void {
    if (this.#watch !== null) return;
    this.#watch = setTimeout(() => {
      this.#watch = null;
      if (this.#pools.some((pool) => this.#isWorkingFor(pool, postgresSlowMs)))
        void this.#keeper.sign();
      if (this.#pools.some((pool) => pool.busySince !== null)) this.#watchWork();
    }, postgresSlowMs);
    this.#watch.unref();
  }

  #isWorkingFor(pool: PostgresPool, ms: number): boolean {
    return pool.busySince !== null && this.options.clock.monotonic() - pool.busySince >= ms;
  }
}

const defaults: PostgresBounds = {
  queryMsMax: postgresQueryMsMax,
  txMsMax: postgresTxMsMax,
  queueMax: postgresQueueMax,
  writersMax: postgresWritersMax,
  readersMax: postgresReadersMax,
  scanRowsMax,
  connectMsMax: postgresConnectMsMax,
  lockWaitMsMax: postgresLockWaitMsMax,
};

interface ServerFacts {
  version: number;
  encoding: string;
  synchronous_commit: string;
  fsync: string;
  is_standby: boolean;
}

const serverFacts = sql`select current_setting('server_version_num')::integer as version,
  current_setting('server_encoding') as encoding, current_setting('fsync') as fsync,
  current_setting('synchronous_commit') as synchronous_commit, pg_is_in_recovery() as is_standby`;

/** The tables and indexes of the default schema, on the disk. */
const mainSize = sql<{
  bytes: number;
}>`select coalesce(sum(pg_total_relation_size(c.oid)), 0) as bytes
  from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
  where n.nspname = current_schema() and c.relkind = 'r'`;

/**
 * What the records themselves fill. Differs because files of PostgreSQL keep their size when rows are
 * deleted, and use the room again: a bound on the files would have every record deleted.
 */
const logsSize = sql<{ bytes: number }>`select coalesce(sum(256 + pg_column_size(logs)
    + coalesce(pg_column_size(request), 0) + coalesce(pg_column_size(response), 0)
    + coalesce(pg_column_size(error), 0)), 0) as bytes
  from executions`;
