/** `scripts/{id}/routes`, `routes/{id}`, `routes/check`, `routes/match`. */
import { PicError } from "../../domain/errors.ts";
import type { Route } from "../../domain/routes.ts";
import { pageQuery } from "../../schema/pages.ts";
import {
  checkInput,
  checkOutput,
  createdRoute,
  matchInput,
  matchOutput,
  route,
  routeInput,
  routePage,
  type WireRoute,
} from "../../schema/routes.ts";
import type { Routes } from "../../services/routes.ts";
import { created, type Endpoint, endpoint, none, ok } from "./endpoint.ts";
import { isoTime } from "./times.ts";

export function routeEndpoints(routes: Routes): Endpoint[] {
  return [...ofScript(routes), ...single(routes), ...questions(routes)];
}

function ofScript(routes: Routes): Endpoint[] {
  return [
    endpoint({
      operation: "routes.create",
      method: "POST",
      path: "/scripts/:id/routes",
      summary: "Route requests to a script; kinds are detected when absent",
      action: "route.write",
      input: { body: routeInput },
      output: createdRoute,
      status: 201,
      errors: ["not_found", "conflict", "route_conflict"],
      handle: async ({ actor, params, body }) => {
        const made = await routes
          .create(actor, params.id as string, body)
          .catch((error: unknown) => {
            throw withWireRoutes(error);
          });
        return created(`/routes/${made.route.id}`, {
          ...toRoute(made.route),
          warning: made.warning,
        });
      },
    }),
    endpoint({
      operation: "routes.list",
      method: "GET",
      path: "/scripts/:id/routes",
      summary: "The routes of a script, oldest first",
      action: "route.read",
      input: { query: pageQuery },
      output: routePage,
      errors: ["not_found"],
      handle: async ({ params, page }) => {
        const found = await routes.listOfScript(params.id as string, page);
        return ok({ items: found.items.map(toRoute), next_cursor: found.next_cursor });
      },
    }),
  ];
}

function single(routes: Routes): Endpoint[] {
  return [
    endpoint({
      operation: "routes.get",
      method: "GET",
      path: "/routes/:id",
      summary: "One route",
      action: "route.read",
      output: route,
      errors: ["not_found"],
      handle: async ({ params }) => ok(toRoute(await routes.get(params.id as string))),
    }),
    endpoint({
      operation: "routes.delete",
      method: "DELETE",
      path: "/routes/:id",
      summary: "Delete a route",
      action: "route.write",
      errors: ["not_found"],
      handle: async ({ actor, params }) => {
        await routes.delete(actor, params.id as string);
        return none();
      },
    }),
  ];
}

function questions(routes: Routes): Endpoint[] {
  return [
    endpoint({
      operation: "routes.check",
      method: "POST",
      path: "/routes/check",
      summary: "Whether a route could be made, and which one stands against it",
      action: "route.read",
      input: { body: checkInput },
      output: checkOutput,
      errors: ["not_found"],
      handle: async ({ actor, body }) => {
        const found = await routes.check(actor, body);
        const conflict = found.conflicting_route;
        return ok({
          ok: conflict === null && !found.hidden && !found.host_taken,
          conflicting_route: conflict === null ? null : toRoute(conflict),
          hidden: found.hidden,
          host_taken: found.host_taken,
          host_app_id: found.host_app_id,
          path_kind: found.route.path_kind,
          host_kind: found.route.host_kind,
          warning: found.warning,
        });
      },
    }),
    endpoint({
      operation: "routes.match",
      method: "POST",
      path: "/routes/match",
      summary: "Which route a request would take",
      action: "route.read",
      input: { body: matchInput },
      output: matchOutput,
      errors: [],
      handle: async ({ actor, body }) => {
        const { match, hidden } = routes.match(actor, body);
        return ok({
          route: match === null ? null : toRoute(match.route),
          script_id: match?.route.script_id ?? null,
          params: match?.params ?? null,
          rest: match?.rest ?? null,
          hidden,
        });
      },
    }),
  ];
}

/** The error of a conflict may carry routes; the wire has its own times. */
export function withWireRoutes(error: unknown): unknown {
  if (!(error instanceof PicError)) return error;
  const { extra = {} } = error.details;
  const { conflicting_route: route, conflicting_routes: routes } = extra as ConflictingRoutes;
  if (route == null && routes === undefined) return error;
  return new PicError(error.code, error.message, {
    ...error.details,
    extra: {
      ...extra,
      ...(route == null ? {} : { conflicting_route: toRoute(route) }),
      ...(routes === undefined ? {} : { conflicting_routes: routes.map(toRoute) }),
    },
  });
}

interface ConflictingRoutes {
  conflicting_route?: Route | null;
  conflicting_routes?: readonly Route[];
}

function toRoute(from: Route): WireRoute {
  return {
    id: from.id,
    app_id: from.app_id,
    script_id: from.script_id,
    path: from.path,
    path_kind: from.path_kind,
    method: from.method,
    host: from.host,
    host_kind: from.host_kind,
    host_param_name: from.host_param_name,
    dispatch_mode: from.dispatch_mode,
    created_at: isoTime(from.created_at),
    created_by: from.created_by,
  };
}
