/**
 * The routes and the hosts of apps in memory, so ordered that conflicts are found fast; and a draft of
 * them: what a transaction that is still open has done to them.
 */
import type { AppHost } from "../domain/app-hosts.ts";
import { parseHost, parsePath, type Route, type RoutePattern } from "../domain/routes.ts";
import { conflictsWith } from "../routing/conflict.ts";
import { HostOwners } from "../routing/host-owners.ts";

/** What a transaction did to routes and hosts. */
export type RouteChange =
  | { add: Route }
  | { drop: string }
  | { drop_script: string }
  /** With its hosts. */
  | { drop_app: string }
  | { add_host: AppHost }
  /** As it is stored. */
  | { drop_host: string };

/** Not in any route, as no text with NUL is kept. */
const parameterMark = "\u0000";

export class RouteIndex {
  readonly #routes = new Map<string, Route>();
  readonly #buckets = new Map<string, Map<string, Route>>();
  readonly hosts = new HostOwners();

  routes(): IterableIterator<Route> {
    return this.#routes.values();
  }

  /** Throws PicError `invalid` for an added route or host that is not understood. */
  apply(change: RouteChange): void {
    if ("add" in change) this.#add(change.add);
    else if ("drop" in change) this.#drop((route) => route.id === change.drop, change.drop);
    else if ("drop_script" in change) this.#drop((route) => route.script_id === change.drop_script);
    else if ("add_host" in change) this.hosts.add(change.add_host);
    else if ("drop_host" in change) this.hosts.remove(change.drop_host);
    else {
      this.#drop((route) => route.app_id === change.drop_app);
      this.hosts.removeApp(change.drop_app);
    }
  }

  /** The routes that may not exist together with `candidate`. */
  *conflicting(candidate: RoutePattern): Generator<Route> {
    for (const key of this.#conflictKeys(candidate)) {
      for (const route of this.#buckets.get(key)?.values() ?? []) {
        if (conflictsWith(candidate, route)) yield route;
      }
    }
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
}

/**
 * What a write of routes sees: what is committed, with what this transaction has staged. It is certain
 * within that transaction, and means nothing after it.
 */
export class RouteDraft {
  readonly #staged: RouteChange[] = [];
  readonly #added = new RouteIndex();
  readonly #dropped = new Set<string>();
  #hosts: HostOwners | null = null;

  constructor(private readonly committed: RouteIndex) {}

  /** In order. */
  get staged(): readonly RouteChange[] {
    return this.#staged;
  }

  /** To be called beside the statement that writes the change: what is asked later sees it. */
  stage(change: RouteChange): void {
    this.#staged.push(change);
    if ("add_host" in change) this.#ownHosts().add(change.add_host);
    else if ("drop_host" in change) this.#ownHosts().remove(change.drop_host);
    else this.#added.apply(change);
    if ("drop" in change) this.#dropped.add(change.drop);
    if ("drop_script" in change) this.#dropped.add(change.drop_script);
    if ("drop_app" in change) {
      this.#dropped.add(change.drop_app);
      this.#ownHosts().removeApp(change.drop_app);
    }
  }

  /** Which app a host belongs to. Not to be changed but by `stage`. */
  get hosts(): HostOwners {
    return this.#hosts ?? this.committed.hosts;
  }

  *routes(): Generator<Route> {
    for (const route of this.committed.routes()) if (!this.#isDropped(route)) yield route;
    yield* this.#added.routes();
  }

  /** A route that may not exist together with `candidate`, or null. */
  findConflict(candidate: RoutePattern): Route | null {
    for (const route of this.committed.conflicting(candidate)) {
      if (!this.#isDropped(route)) return route;
    }
    for (const route of this.#added.conflicting(candidate)) return route;
    return null;
  }

  countOfApp(app_id: string): number {
    let count = 0;
    for (const route of this.routes()) if (route.app_id === app_id) count += 1;
    return count;
  }

  /** All ids are of one kind of UUID: those of routes, scripts and apps are never the same. */
  #isDropped({ id, script_id, app_id }: Route): boolean {
    const dropped = this.#dropped;
    if (dropped.size === 0) return false;
    return dropped.has(id) || dropped.has(script_id) || dropped.has(app_id);
  }

  #ownHosts(): HostOwners {
    this.#hosts ??= new HostOwners(this.committed.hosts.values());
    return this.#hosts;
  }
}

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
