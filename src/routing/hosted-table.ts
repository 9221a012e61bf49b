/**
 * The table of all routes, where some hosts belong to apps. On a host of an app only its routes are
 * asked: such an app has a table of its own, with what could serve there. So no request pays for the
 * routes of others, and as long as no app has a host there is one table, as if there were no hosts.
 */
import type { AppHost } from "../domain/app-hosts.ts";
import { parseHost, type Route } from "../domain/routes.ts";
import type { MatchResult, RoutingTable } from "./api.ts";
import { HostOwners } from "./host-owners.ts";
import { type CompileOptions, compileTable } from "./table.ts";

/** As compileTable; a route whose host lies in one of another app serves nothing. */
export function compileHostedTable(
  routes: Iterable<Route>,
  hosts: Iterable<AppHost>,
  options: CompileOptions = {},
): RoutingTable {
  const owners = new HostOwners(hosts);
  if (owners.size === 0) return compileTable(routes, options);
  return new HostedTable(routes, owners, options);
}

class HostedTable implements RoutingTable {
  /** For the hosts that belong to nobody. */
  readonly #open: RoutingTable;
  /** By app. */
  readonly #hosted = new Map<string, RoutingTable>();
  readonly size: number;

  constructor(
    routes: Iterable<Route>,
    private readonly owners: HostOwners,
    options: CompileOptions,
  ) {
    const bad = new Set<Route>();
    // One that is in two tables is told of once.
    const onBadRoute = (route: Route, error: unknown): void => {
      if (!bad.has(route)) options.onBadRoute?.(route, error);
      bad.add(route);
    };
    const { open, hosted, count } = partition(routes, owners, onBadRoute);
    this.#open = compileTable(open, { ...options, onBadRoute });
    for (const [app_id, its] of hosted) {
      this.#hosted.set(app_id, compileTable(its, { ...options, onBadRoute }));
    }
    this.size = count - bad.size;
  }

  match(method: string, host: string, path: string): MatchResult {
    const owner = this.owners.ownerOf(host);
    if (owner === null) return this.#open.match(method, host, path);
    return (this.#hosted.get(owner.app_id) as RoutingTable).match(method, host, path);
  }
}

/** What each table gets. A route that could serve in and outside of its app's hosts is in two of them. */
function partition(
  routes: Iterable<Route>,
  owners: HostOwners,
  onBadRoute: (route: Route, error: unknown) => void,
) {
  const open: Route[] = [];
  const hosted = new Map<string, Route[]>();
  for (const { app_id } of owners.values()) hosted.set(app_id, []);
  let count = 0;
  for (const route of routes) {
    count += 1;
    try {
      const host = parseHost(route.host, route.host_kind);
      const cover = owners.coverOf(host);
      if (cover === null) open.push(route);
      // A wildcard may reach into a host of its app wherever it begins.
      const isElsewhere = host.kind === "strict" && cover?.app_id !== route.app_id;
      if (!isElsewhere) hosted.get(route.app_id)?.push(route);
    } catch (error) {
      onBadRoute(route, error);
    }
  }
  return { open, hosted, count };
}
