/**
 * All routes and the hosts of apps in memory: the table the gateway asks, and an index that finds
 * conflicts.
 *
 * Every write of routes or hosts goes through `write`: one transaction at a time, which also raises a
 * revision kept in the database. A transaction that finds another revision than the one in memory
 * (another process wrote) is given up, memory is read anew, and it runs again. So a conflict is
 * judged in memory, in microseconds at 10,000 routes, and still against what is committed.
 *
 * The table is replaced whole, before `write` returns. Writes that come together share one rebuild.
 *
 * Two things leave memory behind the database: a commit whose answer was lost with the connection, and
 * messages that nobody heard while the database was away (the payload "*" says so). Both are followed
 * by a look at the revision, repeated until it succeeds.
 */
import type { Logger } from "../base/log.ts";
import { PicError } from "../domain/errors.ts";
import { routesRereadMs, routeWriteTriesMax } from "../domain/limits.ts";
import type { Route, RoutePattern } from "../domain/routes.ts";
import { type StartTimer, startTimer } from "../execution/timers.ts";
import type { RoutingTable } from "../routing/api.ts";
import type { HostOwners } from "../routing/host-owners.ts";
import { compileHostedTable } from "../routing/hosted-table.ts";
import { allHosts } from "../storage/hosts.ts";
import type { Database, Reader, Tx } from "../storage/port.ts";
import { allRoutes, lockRoutes } from "../storage/routes.ts";
import { getSetting, setSetting } from "../storage/settings.ts";
import { type RouteChange, RouteDraft, RouteIndex } from "./route-index.ts";

export interface RouteWrite<T> {
  value: T;
  /**
   * What was done besides what was staged in the draft. Null: nothing; nothing staged either, and
   * nothing was changed at all.
   */
  change: RouteChange | readonly RouteChange[] | null;
}

export type WriteRoutes<T> = (tx: Tx, draft: RouteDraft) => Promise<RouteWrite<T>>;

const channel = "routes";
/** Instead of a revision: messages may have been missed. */
const anything = "*";
const settingName = "routes_revision";

class Outdated extends Error {}

export class LiveRoutes {
  #index = new RouteIndex();
  #revision = 0;
  #table: RoutingTable = compileHostedTable([], []);
  #rebuild: Promise<void> | null = null;
  #reload: Promise<void> | null = null;
  #isStopped = false;
  #cancelRetry: (() => void) | null = null;

  constructor(private readonly options: { db: Database; log: Logger; startTimer?: StartTimer }) {}

  /** Reads all routes and follows what other processes write. Returns a function that stops that. */
  async start(): Promise<() => void> {
    const stop = await this.options.db.listen(channel, (revision) => this.#follow(revision));
    await this.#readAll();
    return () => {
      this.#isStopped = true;
      this.#cancelRetry?.();
      stop();
    };
  }

  /** The table of this moment. */
  table(): RoutingTable {
    return this.#table;
  }

  /** Which app a host belongs to, at this moment. */
  hosts(): HostOwners {
    return this.#index.hosts;
  }

  /** A route that may not exist together with `candidate`, or null. Inside `write` ask the draft. */
  findConflict(candidate: RoutePattern): Route | null {
    return new RouteDraft(this.#index).findConflict(candidate);
  }

  /**
   * Runs `fn` in a transaction that alone writes routes; returns when the table shows its changes. It
   * may run again from the start. With several changes, `fn` stages each one in the draft right when it
   * writes it, and judges the next by the draft:
   *
   *   const added = draft.findConflict(pattern) === null ? … : refuse();
   *   await insertRoute(tx, added);
   *   draft.stage({ add: added });
   *   …
   *   return { value, change: null };
   */
  async write<T>(fn: WriteRoutes<T>): Promise<T> {
    for (let tries = 1; ; tries += 1) {
      try {
        const value = await this.options.db.tx((tx) => this.#writeIn(tx, fn));
        await this.#rebuilt();
        return value;
      } catch (error) {
        if (isUnavailable(error)) this.#catchUp();
        if (!(error instanceof Outdated)) throw error;
        if (tries >= routeWriteTriesMax) {
          throw new PicError("unavailable", "The routes are changing too fast", {
            retry_after_s: 1,
          });
        }
        await this.#readAll();
      }
    }
  }

  async #writeIn<T>(tx: Tx, fn: WriteRoutes<T>): Promise<T> {
    await lockRoutes(tx);
    if ((await readRevision(tx)) !== this.#revision) throw new Outdated();
    const draft = new RouteDraft(this.#index);
    const { value, change } = await fn(tx, draft);
    const changes = [...draft.staged, ...(change === null ? [] : [change].flat())];
    if (changes.length === 0) return value;
    const revision = this.#revision + 1;
    await setSetting(tx, settingName, String(revision));
    tx.afterCommit(() => {
      for (const each of changes) this.#index.apply(each);
      this.#revision = revision;
    });
    await this.options.db.notify(tx, channel, String(revision));
    return value;
  }

  /** Resolves when a table is in place that was built after this call. */
  #rebuilt(): Promise<void> {
    this.#rebuild ??= new Promise((resolve, reject) => {
      setImmediate(() => {
        this.#rebuild = null;
        try {
          this.#table = compileHostedTable(this.#index.routes(), this.#index.hosts.values());
          resolve();
        } catch (error) {
          reject(error);
        }
      });
    });
    return this.#rebuild;
  }

  /** What another process wrote; our own writes are in memory already. */
  #follow(revision: string): void {
    setImmediate(() => {
      if (revision === anything || Number(revision) > this.#revision) this.#catchUp();
    });
  }

  /** Compares with the database, and again until that has succeeded. */
  #catchUp(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = null;
    this.#readIfBehind().catch((error: unknown) => {
      if (this.#isStopped || this.#cancelRetry !== null) return;
      this.options.log.warn("The routes could not be read anew; it is tried again", { error });
      const start = this.options.startTimer ?? startTimer;
      this.#cancelRetry = start(() => this.#catchUp(), routesRereadMs);
    });
  }

  async #readIfBehind(): Promise<void> {
    // What is being read already may have been read too early.
    await this.#reload?.catch(() => {});
    if ((await readRevision(this.options.db)) !== this.#revision) await this.#readAll();
  }

  async #readAll(): Promise<void> {
    this.#reload ??= this.#readOnce().finally(() => {
      this.#reload = null;
    });
    await this.#reload;
  }

  async #readOnce(): Promise<void> {
    const { db } = this.options;
    const before = this.#revision;
    // The revision first: routes that are newer than it are found out by the next write.
    const revision = await readRevision(db);
    const routes = await allRoutes(db);
    const hosts = await allHosts(db);
    // A write of this process that committed meanwhile proves that memory was right all along.
    if (this.#revision !== before) return;
    this.#index = new RouteIndex();
    for (const add_host of hosts) this.#applyStored({ add_host });
    for (const add of routes) this.#applyStored({ add });
    this.#revision = revision;
    await this.#rebuilt();
  }

  /** What today's rules refuse is left out; it must not keep the rest from serving. */
  #applyStored(change: RouteChange): void {
    try {
      this.#index.apply(change);
    } catch (error) {
      this.options.log.error("A stored route or host is not understood", { change, error });
    }
  }
}

function isUnavailable(error: unknown): boolean {
  return error instanceof PicError && error.code === "unavailable";
}

async function readRevision(reader: Reader): Promise<number> {
  return Number((await getSetting(reader, settingName)) ?? 0);
}
