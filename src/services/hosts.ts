/**
 * Hosts of apps: an instance admin gives them, and on them only the app's routes serve. A host is known
 * to the table before a change returns, as routes are (live-routes.ts).
 */
import type { Clock } from "../base/clock.ts";
import { can } from "../domain/access.ts";
import type { Actor } from "../domain/accounts.ts";
import { type AppHost, hostText, isInside, parseAppHost } from "../domain/app-hosts.ts";
import type { App } from "../domain/apps.ts";
import { PicError } from "../domain/errors.ts";
import { appHostsMax, conflictingRoutesShownMax } from "../domain/limits.ts";
import type { Page, PageRequest } from "../domain/pages.ts";
import { type HostPattern, parseHost, type Route } from "../domain/routes.ts";
import { getApp } from "../storage/apps.ts";
import { deleteHost, insertHost, listHostsOfApp } from "../storage/hosts.ts";
import type { Database, Tx } from "../storage/port.ts";
import { findApp } from "./apps.ts";
import type { Audit } from "./audit.ts";
import type { LiveRoutes } from "./live-routes.ts";
import type { RouteDraft } from "./route-index.ts";

export interface HostsOptions {
  db: Database;
  clock: Clock;
  live: LiveRoutes;
  audit: Audit;
}

export class Hosts {
  constructor(private readonly options: HostsOptions) {}

  /** By name. Throws PicError `not_found` (the app), `invalid` (a bad cursor). */
  async list(ref: string, page: PageRequest): Promise<Page<AppHost>> {
    const { db } = this.options;
    const app = await findApp(db, ref);
    return listHostsOfApp(db, app.id, page);
  }

  /**
   * Gives a host to an app. Throws PicError `not_found` (the app), `invalid`, `conflict`: it is given
   * already, the app has as many as it may, or routes of other apps are on it (`routes`, and of those
   * that the actor may read the first, `conflicting_routes`).
   * @param typed `blog.home.lan`, or `*.blog.home.lan` for all below it
   */
  async add(actor: Actor, ref: string, typed: string): Promise<AppHost> {
    const { db, live, clock, audit } = this.options;
    const pattern = parseAppHost(typed);
    const app = await findApp(db, ref);
    return live.write(async (tx, draft) => {
      if ((await getApp(tx, app.id)) === null) throw noApp();
      await refuseGiven(tx, { actor, app, held: draft.hosts.get(pattern) });
      if (draft.hosts.ofApp(app.id).length >= appHostsMax) {
        throw new PicError("conflict", `An app has at most ${appHostsMax} hosts`);
      }
      const added: AppHost = {
        host: hostText(pattern),
        app_id: app.id,
        created_at: clock.now(),
        created_by: actor.account_id,
      };
      await insertHost(tx, added);
      draft.stage({ add_host: added });
      refuseRouted(actor, routesBelow(draft, pattern, app.id), added.host);
      await audit.record(tx, actor, { action: "host.add", ...audited(app, added.host) });
      return { value: added, change: null };
    });
  }

  /** Its routes stay. Throws PicError `not_found`, `invalid`. */
  async remove(actor: Actor, ref: string, typed: string): Promise<void> {
    const { db, live, audit } = this.options;
    const host = hostText(parseAppHost(typed));
    const app = await findApp(db, ref);
    await live.write(async (tx) => {
      if (!(await deleteHost(tx, { app_id: app.id, host }))) {
        throw new PicError("not_found", "The app has no such host");
      }
      await audit.record(tx, actor, { action: "host.remove", ...audited(app, host) });
      return { value: undefined, change: { drop_host: host } };
    });
  }
}

/** The routes of other apps that would not be reached any more, now that the pattern is staged. */
function routesBelow(draft: RouteDraft, pattern: HostPattern, app_id: string): Route[] {
  const found: Route[] = [];
  for (const route of draft.routes()) {
    if (route.app_id === app_id || route.host_kind === "any") continue;
    const host = parseHost(route.host, route.host_kind);
    if (!isInside(host, pattern)) continue;
    // One that a more specific host of its own app covers is reached as before.
    if (draft.hosts.coverOf(host)?.app_id !== route.app_id) found.push(route);
  }
  return found;
}

async function refuseGiven(
  tx: Tx,
  { actor, app, held }: { actor: Actor; app: App; held: AppHost | null },
): Promise<void> {
  if (held === null) return;
  if (held.app_id === app.id) {
    throw new PicError("conflict", `The app has the host ${held.host} already`);
  }
  const visible = can(actor, "host.read", { app_id: held.app_id }) === "allowed";
  const other = visible ? await getApp(tx, held.app_id) : null;
  const whose = other === null ? "another app" : `the app ${other.slug}`;
  throw new PicError("conflict", `The host ${held.host} belongs to ${whose}`);
}

function refuseRouted(actor: Actor, routes: readonly Route[], host: string): void {
  if (routes.length === 0) return;
  const readable = routes.filter(
    ({ app_id }) => can(actor, "route.read", { app_id }) === "allowed",
  );
  const count = routes.length === 1 ? "a route" : `${routes.length} routes`;
  throw new PicError(
    "conflict",
    `There ${routes.length === 1 ? "is" : "are"} ${count} of other apps on ${host}`,
    {
      extra: {
        routes: routes.length,
        conflicting_routes: readable.slice(0, conflictingRoutesShownMax),
      },
    },
  );
}

function audited(app: App, host: string) {
  return { target: { kind: "host", id: host, name: host }, app_id: app.id };
}

function noApp(): PicError {
  return new PicError("not_found", "There is no such app");
}
