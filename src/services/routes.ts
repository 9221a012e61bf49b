/** Routes: which requests run which script. The rules are in domain/routes.ts and routing/. */
import type { Clock } from "../base/clock.ts";
import type { Actor } from "../domain/accounts.ts";
import { PicError } from "../domain/errors.ts";
import type { Page, PageRequest } from "../domain/pages.ts";
import { type CheckedRoute, checkRoute, type Route, type RouteInput } from "../domain/routes.ts";
import type { RouteMatch, RoutingTable } from "../routing/api.ts";
import { matchUrl } from "../routing/match-url.ts";
import type { Database } from "../storage/port.ts";
import { deleteRoute, getRoute, insertRoute, listRoutesOfScript } from "../storage/routes.ts";
import { getScript } from "../storage/scripts.ts";
import type { LiveRoutes } from "./live-routes.ts";

export interface RoutesOptions {
  db: Database;
  clock: Clock;
  newId: () => string;
  live: LiveRoutes;
}

export interface CreatedRoute {
  route: Route;
  warning: string | null;
}

export interface RouteCheck extends CheckedRoute {
  conflicting_route: Route | null;
}

export class Routes {
  constructor(private readonly options: RoutesOptions) {}

  /** The table of this moment, for the gateway. */
  table(): RoutingTable {
    return this.options.live.table();
  }

  /**
   * The table in memory has the route when this resolves.
   * Throws PicError `not_found`, `invalid`, `route_conflict` (with `conflicting_route`).
   */
  async create(actor: Actor, scriptId: string, input: RouteInput): Promise<CreatedRoute> {
    const { clock, newId, live } = this.options;
    const checked = checkRoute(input);
    const route = await live.write(async (tx) => {
      const script = await getScript(tx, scriptId);
      if (script === null) throw new PicError("not_found", "There is no such script");
      if (script.kind === "module") {
        throw new PicError("invalid", "A module cannot have a route");
      }
      const conflict = live.findConflict(checked.route);
      if (conflict !== null) throw routeConflict(conflict);
      const added: Route = {
        ...checked.route,
        id: newId(),
        app_id: script.app_id,
        script_id: script.id,
        created_at: clock.now(),
        created_by: actor.account_id,
      };
      await insertRoute(tx, added);
      return { value: added, change: { add: added } };
    });
    return { route, warning: checked.warning };
  }

  /** Throws PicError `not_found`. */
  async get(id: string): Promise<Route> {
    const route = await getRoute(this.options.db, id);
    if (route === null) throw new PicError("not_found", "There is no such route");
    return route;
  }

  /** Oldest first. Throws PicError `not_found`. */
  async listOfScript(scriptId: string, page: PageRequest): Promise<Page<Route>> {
    if ((await getScript(this.options.db, scriptId)) === null) {
      throw new PicError("not_found", "There is no such script");
    }
    return listRoutesOfScript(this.options.db, scriptId, page);
  }

  /** The table in memory has lost the route when this resolves. Throws PicError `not_found`. */
  async delete(id: string): Promise<void> {
    await this.get(id);
    await this.options.live.write(async (tx) => {
      if (!(await deleteRoute(tx, id))) throw new PicError("not_found", "There is no such route");
      return { value: undefined, change: { drop: id } };
    });
  }

  /** What `create` would say. Throws PicError `invalid`. */
  check(input: RouteInput): RouteCheck {
    const checked = checkRoute(input);
    return { ...checked, conflicting_route: this.options.live.findConflict(checked.route) };
  }

  /**
   * Which route a request would take, judged as the gateway would. Null for nothing, for a method
   * that is not allowed, and for the system's own paths. Throws PicError `invalid`.
   * @param input.url absolute, or a path alone
   */
  match(input: { method: string; url: string }): RouteMatch | null {
    return matchUrl(this.table(), input.method, input.url);
  }
}

function routeConflict(conflict: Route): PicError {
  return new PicError(
    "route_conflict",
    `One request could match both this route and ${conflict.method} ${conflict.host}${conflict.path}`,
    { extra: { conflicting_route: conflict } },
  );
}
