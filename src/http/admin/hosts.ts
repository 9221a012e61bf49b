/** `apps/{app}/hosts`. */
import type { AppHost } from "../../domain/app-hosts.ts";
import {
  appHost,
  appHostInput,
  appHostPage,
  appHostQuery,
  type WireAppHost,
} from "../../schema/hosts.ts";
import { pageQuery } from "../../schema/pages.ts";
import type { Hosts } from "../../services/hosts.ts";
import { created, type Endpoint, endpoint, none, ok } from "./endpoint.ts";
import { withWireRoutes } from "./routes.ts";
import { isoTime } from "./times.ts";

export function hostEndpoints(hosts: Hosts): Endpoint[] {
  return [
    endpoint({
      operation: "hosts.list",
      method: "GET",
      path: "/apps/:app/hosts",
      summary: "The hosts on which only the app's routes serve, by name",
      action: "host.read",
      input: { query: pageQuery },
      output: appHostPage,
      errors: ["not_found"],
      handle: async ({ params, page }) => {
        const found = await hosts.list(params.app as string, page);
        return ok({ items: found.items.map(toHost), next_cursor: found.next_cursor });
      },
    }),
    endpoint({
      operation: "hosts.add",
      method: "POST",
      path: "/apps/:app/hosts",
      summary: "Give the app a host: a name, or `*.` and a name for all below it",
      action: "host.write",
      input: { body: appHostInput },
      output: appHost,
      status: 201,
      errors: ["not_found", "conflict"],
      handle: async ({ actor, params, body }) => {
        const made = await hosts
          .add(actor, params.app as string, body.host)
          .catch((error: unknown) => {
            throw withWireRoutes(error);
          });
        return created(`/apps/${made.app_id}/hosts`, toHost(made));
      },
    }),
    endpoint({
      operation: "hosts.remove",
      method: "DELETE",
      path: "/apps/:app/hosts",
      summary: "Take a host from the app; its routes stay",
      action: "host.write",
      input: { query: appHostQuery },
      errors: ["not_found"],
      handle: async ({ actor, params, query }) => {
        await hosts.remove(actor, params.app as string, query.host);
        return none();
      },
    }),
  ];
}

function toHost(from: AppHost): WireAppHost {
  return {
    host: from.host,
    app_id: from.app_id,
    created_at: isoTime(from.created_at),
    created_by: from.created_by,
  };
}
