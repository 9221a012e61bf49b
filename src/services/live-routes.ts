/**
 * All routes in memory: the table the gateway asks, and an index that finds conflicts.
 *
 * Every write of routes goes through `write`: one transaction at a time, which also raises a
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
import { parseHost, parsePath, type Route, type RoutePattern } from "../domain/routes.ts";
import { type StartTimer, startTimer } from "../execution/timers.ts";
import type { RoutingTable } from "../routing/api.ts";
import { findConflict } from "../routing/conflict.ts";
import { compileTable } from "../routing/table.ts";
import type { Database, Reader, Tx } from "../storage/port.ts";
import { allRoutes, lockRoutes } from "../storage/routes.ts";
import { getSetting, setSetting } from "../storage/settings.ts";

/** What a transaction did to the routes. */
export type RouteChange =
  | { add: Route }
  | { drop: string }
  | { drop_script: string }
  | { drop_app: string };

export interface RouteWrite<T> {
  value: T;
  /** Null: nothing was changed. */
  change: RouteChange | null;
}

const channel = "routes";
/** Instead of a revision: messages may have been missed. */
const anything = "*";
const settingName = "routes_revision";

class Outdated extends Error {}

export class LiveRoutes {
  #routes = new Map<string, Route>();
  #buckets = new Map<string, Map<string, Route>>();
  #revision = 0;
  #table: RoutingTable = compileTable([]);
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

  countOfApp(appId: string): number {
    let count = 0;
    for (const route of this.#routes.values()) if (route.app_id === appId) count += 1;
    return count;
  }

  /** A route that may not exist together with `candidate`, or null. Inside `write` it is certain. */
  findConflict(candidate: RoutePattern): Route | null {
    for (const key of this.#conflictKeys(candidate)) {
      const found = findConflict(candidate, this.#buckets.get(key)?.values() ?? []);
      if (found !== null) return found;
    }
    return null;
  }

  /** Runs `fn` in a transaction that alone writes routes; returns when the table shows its change. */
  async write<T>(fn: (tx: Tx) => Promise<RouteWrite<T>>): Promise<T> {
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

  async #writeIn<T>(tx: Tx, fn: (tx: Tx) => Promise<RouteWrite<T>>): Promise<T> {
    await lockRoutes(tx);
    if ((await readRevision(tx)) !== this.#revision) throw new Outdated();
    const { value, change } = await fn(tx);
    if (change === null) return value;
    const revision = this.#revision + 1;
    await setSetting(tx, settingName, String(revision));
    tx.afterCommit(() => {
      this.#apply(change);
      this.#revision = revision;
    });
    await this.options.db.notify(tx, channel, String(revision));
    return value;
  }

  #apply(change: RouteChange): void {
    if ("add" in change) this.#add(change.add);
    else if ("drop" in change) this.#drop((route) => route.id === change.drop, change.drop);
    else if ("drop_script" in change) this.#drop((route) => route.script_id === change.drop_script);
    else this.#drop((route) => route.app_id === change.drop_app);
  }

  #add(route: Route): void {
    const key = bucketKey(route);
    this.#routes.set(route.id, route);
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) this.#buckets.set(key, new Map([[route.id, route]]));
    else bucket.set(route.id, route);
  }

  #drop(matches: (route: Route) => boolean, id?: string): void {
    const known = id === undefined ? this.#routes.values() : [this.#routes.get(id)];
    for (const route of [...known]) {
      if (route === undefined || !matches(route)) continue;
      this.#routes.delete(route.id);
      const key = bucketKey(route);
      const bucket = this.#buckets.get(key);
      bucket?.delete(route.id);
      if (bucket?.size === 0) this.#buckets.delete(key);
    }
  }

  /** The buckets in which something could conflict. */
  #conflictKeys(candidate: RoutePattern): Iterable<string> {
    const key = bucketKey(candidate);
    if (candidate.path_kind !== "param") return [key];
    const [group, first] = splitKey(key);
    // A literal first segment meets its equals and parameters; a parameter meets everything.
    if (first !== parameterMark) return [key, `${group}\n${parameterMark}`];
    return [...this.#buckets.keys()].filter((other) => splitKey(other)[0] === group);
  }

  /** Resolves when a table is in place that was built after this call. */
  #rebuilt(): Promise<void> {
    this.#rebuild ??= new Promise((resolve, reject) => {
      setImmediate(() => {
        this.#rebuild = null;
        try {
          this.#table = compileTable(this.#routes.values());
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
    // A write of this process that committed meanwhile proves that memory was right all along.
    if (this.#revision !== before) return;
    this.#routes = new Map();
    this.#buckets = new Map();
    for (const route of routes) this.#addStored(route);
    this.#revision = revision;
    await this.#rebuilt();
  }

  /** A route that today's rules refuse is left out; it must not keep the others from serving. */
  #addStored(route: Route): void {
    try {
      this.#add(route);
    } catch (error) {
      this.options.log.error("A stored route is not understood", { route_id: route.id, error });
    }
  }
}

const parameterMark = "\u0000";

/** Routes in different buckets never conflict, but for parameters in the first segment. */
function bucketKey(route: RoutePattern): string {
  const host = parseHost(route.host, route.host_kind);
  const path = parsePath(route.path, route.path_kind);
  const where = `${route.path_kind} ${host.kind} ${host.name}`;
  if (path.kind !== "param") return `${where}\n${path.literal}`;
  return `${where} ${path.segments.length}\n${path.segments[0] ?? parameterMark}`;
}

function splitKey(key: string): [group: string, first: string] {
  const end = key.indexOf("\n");
  return [key.slice(0, end), key.slice(end + 1)];
}

function isUnavailable(error: unknown): boolean {
  return error instanceof PicError && error.code === "unavailable";
}

async function readRevision(reader: Reader): Promise<number> {
  return Number((await getSetting(reader, settingName)) ?? 0);
}
