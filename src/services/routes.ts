/**
 * Routes: which requests run which script. The rules are in domain/routes.ts and routing/. Of another
 * app's routes and hosts a caller is told only that there are some, unless they may read them.
 */
import type { Clock } from "../base/clock.ts";
import { authorise, can } from "../domain/access.ts";
import type { Actor } from "../domain/accounts.ts";
import { PicError } from "../domain/errors.ts";
import type { Page, PageRequest } from "../domain/pages.ts";
import {
  type CheckedRoute,
  checkRoute,
  parseHost,
  type Route,
  type RouteInput,
  type RoutePattern,
} from "../domain/routes.ts";
import type { Script } from "../domain/scripts.ts";
import type { RouteMatch, RoutingTable } from "../routing/api.ts";
import type { HostOwners } from "../routing/host-owners.ts";
import { matchUrl } from "../routing/match-url.ts";
import { getApp } from "../storage/apps.ts";
import type { Database, Tx } from "../storage/port.ts";
import {
  deleteRoute,
  getRoute,
  insertRoute,
  listRoutesOfScript,
  updateRoute,
} from "../storage/routes.ts";
import { getScript } from "../storage/scripts.ts";
import type { Audit } from "./audit.ts";
import type { LiveRoutes } from "./live-routes.ts";
import type { RouteDraft } from "./route-index.ts";

export interface RoutesOptions {
  db: Database;
  clock: Clock;
  newId: () => string;
  live: LiveRoutes;
  audit: Audit;
}

export interface CreatedRoute {
  route: Route;
  warning: string | null;
}

/** What stands against a route that somebody wants. */
export interface RouteCheck extends CheckedRoute {
  conflicting_route: Route | null;
  /** There is a conflicting route, of an app that the caller may not read. */
  hidden: boolean;
  /** The host belongs to another app. */
  host_taken: boolean;
  /** That app; null also when the caller may not read it. */
  host_app_id: string | null;
}

/** Where a request would go. */
export interface ShownMatch {
  match: RouteMatch | null;
  /** It would reach a route of an app that the caller may not read. */
  hidden: boolean;
}

/** An open write of routes (LiveRoutes.write), by whom. */
export interface OpenRouteWrite {
  tx: Tx;
  draft: RouteDraft;
  actor: Actor;
}

export class Routes {
  constructor(private readonly options: RoutesOptions) {}

  /** The table of this moment, for the gateway. */
  table(): RoutingTable {
    return this.options.live.table();
  }

  /**
   * The table in memory has the route when this resolves. Throws PicError `not_found`, `invalid`,
   * `conflict` (the host belongs to another app), `route_conflict` (with `conflicting_route`).
   */
  async create(actor: Actor, scriptId: string, input: RouteInput): Promise<CreatedRoute> {
    const checked = checkRoute(input);
    const route = await this.options.live.write(async (tx, draft) => {
      const script = await getScript(tx, scriptId);
      if (script === null) throw noScript();
      const open = { tx, draft, actor };
      return { value: await addRoute(this.options, open, { script, checked }), change: null };
    });
    return { route, warning: checked.warning };
  }

  /** Throws PicError `not_found`. */
  async get(id: string): Promise<Route> {
    const route = await getRoute(this.options.db, id);
    if (route === null) throw noRoute();
    return route;
  }

  /** Oldest first. Throws PicError `not_found`. */
  async listOfScript(scriptId: string, page: PageRequest): Promise<Page<Route>> {
    if ((await getScript(this.options.db, scriptId)) === null) throw noScript();
    return listRoutesOfScript(this.options.db, scriptId, page);
  }

  /** The table in memory has lost the route when this resolves. Throws PicError `not_found`. */
  async delete(actor: Actor, id: string): Promise<void> {
    const route = await this.get(id);
    await this.options.live.write(async (tx, draft) => {
      await dropRoute(this.options, { tx, draft, actor }, route);
      return { value: undefined, change: null };
    });
  }

  /**
   * What `create` would say. Throws PicError `invalid`; `not_found` for a script that the caller may not
   * see.
   * @param input.script_id whose route it shall be; absent: hosts of apps are judged as for an app without
   */
  async check(actor: Actor, input: RouteInput & { script_id?: string }): Promise<RouteCheck> {
    const { db, live } = this.options;
    const { script_id, ...wanted } = input;
    const checked = checkRoute(wanted);
    const script = script_id === undefined ? null : await getScript(db, script_id);
    if (script_id !== undefined) {
      if (script === null) throw noScript();
      authorise(actor, "route.read", { app_id: script.app_id }, "script");
    }
    const conflict = live.findConflict(checked.route);
    const hidden = conflict !== null && !mayRead(actor, conflict.app_id);
    const owner = foreignOwner(live.hosts(), checked.route, script?.app_id ?? null);
    return {
      ...checked,
      conflicting_route: hidden ? null : conflict,
      hidden,
      host_taken: owner !== null,
      host_app_id: owner !== null && mayRead(actor, owner.app_id) ? owner.app_id : null,
    };
  }

  /**
   * Which route a request would take, judged as the gateway would. Null for nothing, for a method
   * that is not allowed, and for the system's own paths. Throws PicError `invalid`.
   * @param input.url absolute, or a path alone
   */
  match(actor: Actor, input: { method: string; url: string }): ShownMatch {
    const match = matchUrl(this.table(), input.method, input.url);
    const hidden = match !== null && !mayRead(actor, match.route.app_id);
    return { match: hidden ? null : match, hidden };
  }
}

/**
 * Makes a route of a script within an open write, and stages it in the draft: the next one is judged by
 * it, too. Throws PicError `invalid`, `conflict`, `route_conflict`.
 */
export async function addRoute(
  { clock, newId, audit }: Pick<RoutesOptions, "clock" | "newId" | "audit">,
  { tx, draft, actor }: OpenRouteWrite,
  { script, checked }: { script: Pick<Script, "id" | "app_id" | "kind">; checked: CheckedRoute },
): Promise<Route> {
  if (script.kind === "module") throw new PicError("invalid", "A module cannot have a route");
  const owner = foreignOwner(draft.hosts, checked.route, script.app_id);
  if (owner !== null) throw await hostTaken(tx, { actor, owner, host: checked.route.host });
  const conflict = draft.findConflict(checked.route);
  if (conflict !== null) throw routeConflict(actor, conflict);
  const added: Route = {
    ...checked.route,
    id: newId(),
    app_id: script.app_id,
    script_id: script.id,
    created_at: clock.now(),
    created_by: actor.account_id,
  };
  await insertRoute(tx, added);
  draft.stage({ add: added });
  await audit.record(tx, actor, { action: "route.create", ...audited(added) });
  return added;
}

/**
 * Changes a route within an open write, and stages that. It still gets requests that no other route gets.
 * Throws PicError `not_found`, and as `addRoute` does.
 */
export async function changeRoute(
  { audit }: Pick<RoutesOptions, "audit">,
  { tx, draft, actor }: OpenRouteWrite,
  { before, after }: { before: Route; after: Route },
): Promise<void> {
  draft.stage({ drop: before.id });
  const owner = foreignOwner(draft.hosts, after, after.app_id);
  if (owner !== null) throw await hostTaken(tx, { actor, owner, host: after.host });
  const conflict = draft.findConflict(after);
  if (conflict !== null) throw routeConflict(actor, conflict);
  if (!(await updateRoute(tx, after))) throw noRoute();
  draft.stage({ add: after });
  const { detail, ...about } = audited(after);
  const moved = before.script_id === after.script_id ? {} : { script_id_before: before.script_id };
  await audit.record(tx, actor, {
    action: "route.update",
    ...about,
    detail: { ...detail, ...moved },
  });
}

/** Deletes a route within an open write, and stages that. Throws PicError `not_found`. */
export async function dropRoute(
  { audit }: Pick<RoutesOptions, "audit">,
  { tx, draft, actor }: OpenRouteWrite,
  route: Route,
): Promise<void> {
  if (!(await deleteRoute(tx, route.id))) throw noRoute();
  draft.stage({ drop: route.id });
  await audit.record(tx, actor, { action: "route.delete", ...audited(route) });
}

/** The host of another app that a route's host lies in, or null. */
function foreignOwner(hosts: HostOwners, route: RoutePattern, app_id: string | null) {
  const owner = hosts.coverOf(parseHost(route.host, route.host_kind));
  return owner === null || owner.app_id === app_id ? null : owner;
}

function mayRead(actor: Actor, app_id: string): boolean {
  return can(actor, "route.read", { app_id }) === "allowed";
}

async function hostTaken(
  tx: Tx,
  { actor, owner, host }: { actor: Actor; owner: { app_id: string; host: string }; host: string },
): Promise<PicError> {
  const app = mayRead(actor, owner.app_id) ? await getApp(tx, owner.app_id) : null;
  const whose = app === null ? "another app" : `the app ${app.slug}, as ${owner.host}`;
  return new PicError("conflict", `The host ${host} belongs to ${whose}`);
}

function routeConflict(actor: Actor, conflict: Route): PicError {
  const hidden = !mayRead(actor, conflict.app_id);
  const other = hidden ? "a route of another app" : shown(conflict);
  return new PicError("route_conflict", `One request could match both this route and ${other}`, {
    extra: { conflicting_route: hidden ? null : conflict, hidden },
  });
}

function audited(route: Route) {
  const { id, app_id, script_id, host_kind, path_kind, dispatch_mode } = route;
  return {
    target: { kind: "route", id, name: shown(route) },
    app_id,
    detail: { script_id, host_kind, path_kind, dispatch_mode },
  };
}

function shown({ method, host, path }: Route): string {
  return `${method} ${host}${path}`;
}

function noScript(): PicError {
  return new PicError("not_found", "There is no such script");
}

function noRoute(): PicError {
  return new PicError("not_found", "There is no such route");
}
