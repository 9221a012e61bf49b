/**
 * Who works with a database: an advisory lock of PostgreSQL, which goes with the connection that holds
 * it, however its process ends.
 *
 * Servers share the lock, any number of them. Who needs the database alone takes it for itself: a server
 * that migrates, before it shares the lock, and a restore. So what a server knows of the schema
 * holds for as long as it has its share; one that lost its connection looks again when it has a share
 * again, and ends when a newer PiCloud has migrated meanwhile.
 */
import type { Clock } from "../base/clock.ts";
import {
  postgresGhostWaitMsMax,
  postgresRetryMsMin,
  postgresStatementMsMax,
} from "../domain/limits.ts";
import type { PostgresConnection } from "./postgres-connection.ts";
import { lost } from "./postgres-errors.ts";
import { sleep } from "./postgres-rate.ts";
import { type Statement, sql } from "./sql.ts";

/** "PiCl": our advisory locks. The second number says which. */
export const lockSpace = 0x5069436c;
export const serverLock = 1;
/** Held by each migration, also by those of a restore. */
export const migrationLock = 2;

/** The database's schema, beside the one that this executable knows. */
export type SchemaAge = "same" | "older" | "newer";

export interface ServerLockOptions {
  /** In the name of every session of this process, and of no other. */
  name: string;
  /** For messages, without credentials. */
  label: string;
  clock: Clock;
  /** How long one that is just ending is waited for. */
  waitMsMax: number;
  age: (connection: PostgresConnection) => Promise<SchemaAge>;
  /** Brings the schema to the one that is known, or checks that it is. Throws PicError. */
  migrate: () => Promise<void>;
  /** Says what is waited for. */
  report: (reason: string) => void;
}

/** The database cannot be used by this server; the message says why, for a person. */
export class Unusable extends Error {}

/** `cause` is what a migration threw. */
export class MigrationFailed extends Error {}

interface Holder {
  pid: number;
  name: string;
  lock: number;
  mode: string;
}

export class ServerLock {
  constructor(private readonly options: ServerLockOptions) {}

  /** At the start: migrates when nobody else is there. Throws Unusable, MigrationFailed. */
  async join(connection: PostgresConnection, signal: AbortSignal): Promise<void> {
    const { age } = this.options;
    const wait = this.#patience(connection, signal);
    for (;;) {
      const found = await age(connection);
      if (found === "older") {
        if (await this.#migrateAlone(connection)) return;
      } else if (await taken(connection, tryShare)) {
        // Nobody migrates from here on; somebody may have, between the look and the lock.
        if ((await age(connection)) === found) return await this.#migrate();
        await run(connection, releaseShare);
        continue;
      }
      await wait(found);
    }
  }

  /** After a connection was lost. Throws Unusable when the schema is another one by now. */
  async rejoin(connection: PostgresConnection, signal: AbortSignal): Promise<void> {
    const { age, label } = this.options;
    const wait = this.#patience(connection, signal);
    while (!(await taken(connection, tryShare))) await wait("same");
    const found = await age(connection);
    if (found === "same") return;
    throw new Unusable(
      found === "newer"
        ? `A newer PiCloud has migrated the ${label}: this one cannot work with it any more.`
        : `The ${label} is not the one that it was: its schema is older now.`,
    );
  }

  async #migrateAlone(connection: PostgresConnection): Promise<boolean> {
    if (!(await taken(connection, tryAlone))) return false;
    await this.#migrate();
    // Its own lock is in nobody's own way: there is no moment without one.
    await run(connection, tryShare);
    await run(connection, releaseAlone);
    return true;
  }

  async #migrate(): Promise<void> {
    try {
      await this.options.migrate();
    } catch (error) {
      throw new MigrationFailed("", { cause: error });
    }
  }

  /** Waits a little for those in the way. Throws Unusable when they stay. */
  #patience(
    connection: PostgresConnection,
    signal: AbortSignal,
  ): (found: SchemaAge) => Promise<void> {
    const { clock, waitMsMax, name, label, report } = this.options;
    let since = clock.monotonic();
    return async (found) => {
      const holders = await holdersOf(connection);
      const isGhost = (holder: Holder) => holder.name.endsWith(` ${name}`);
      const ghosts = holders.filter(isGhost);
      const now = clock.monotonic();
      if (holders.some((one) => one.lock === migrationLock && !one.name.endsWith(restoreName))) {
        report("another PiCloud is migrating it");
        since = now;
      }
      if (now - since >= (ghosts.length > 0 ? postgresGhostWaitMsMax : waitMsMax)) {
        const isShared = holders.some((one) => one.lock === serverLock && one.mode === "ShareLock");
        throw new Unusable(
          found === "older" && isShared
            ? `Another PiCloud, an older one, uses this database (${label}): stop all of them before this one migrates it.`
            : `Another PiCloud uses this database (${label}).`,
        );
      }
      for (const { pid } of ghosts) await run(connection, sql`select pg_terminate_backend(${pid})`);
      await sleep(postgresRetryMsMin, signal);
      if (signal.aborted) throw lost("The wait for the database was ended.");
    };
  }
}

/** How the session of a restore is called: it is not waited for. */
const restoreName = " backup";

async function taken(
  connection: PostgresConnection,
  lock: Statement<{ taken: boolean }>,
): Promise<boolean> {
  return (await run(connection, lock))[0]?.taken === true;
}

async function holdersOf(connection: PostgresConnection): Promise<Holder[]> {
  return (await run(connection, lockHolders)) as unknown as Holder[];
}

async function run(
  connection: PostgresConnection,
  statement: Statement<unknown>,
): Promise<Record<string, unknown>[]> {
  return (await connection.execute(statement, { msMax: postgresStatementMsMax })).rows;
}

const tryShare = sql<{
  taken: boolean;
}>`select pg_try_advisory_lock_shared(${lockSpace}, ${serverLock}) as taken`;
const tryAlone = sql<{
  taken: boolean;
}>`select pg_try_advisory_lock(${lockSpace}, ${serverLock}) as taken`;
const releaseShare = sql`select pg_advisory_unlock_shared(${lockSpace}, ${serverLock})`;
const releaseAlone = sql`select pg_advisory_unlock(${lockSpace}, ${serverLock})`;

const lockHolders = sql`select a.pid, a.application_name as name, l.mode,
    l.objid::integer as lock
  from pg_locks as l join pg_stat_activity as a on a.pid = l.pid
  where l.locktype = 'advisory' and l.granted and a.pid <> pg_backend_pid()
    and l.database = (select d.oid from pg_database as d where d.datname = current_database())
    and l.classid = ${lockSpace} and l.objid in (${serverLock}, ${migrationLock})
    and l.objsubid = 2`;
