/** `apps`. */
import { roleIn } from "../../domain/access.ts";
import type { Actor } from "../../domain/accounts.ts";
import type { App } from "../../domain/apps.ts";
import {
  app,
  appDeleteQuery,
  appInput,
  appPage,
  appPatch,
  type WireApp,
} from "../../schema/apps.ts";
import { pageQuery } from "../../schema/pages.ts";
import type { Apps } from "../../services/apps.ts";
import { created, type Endpoint, endpoint, none, ok } from "./endpoint.ts";
import { isoTime } from "./times.ts";

export function appEndpoints(apps: Apps): Endpoint[] {
  return [
    endpoint({
      operation: "apps.create",
      method: "POST",
      path: "/apps",
      summary: "Make an app",
      action: "app.create",
      input: { body: appInput },
      output: app,
      status: 201,
      errors: ["conflict"],
      handle: async ({ actor, body }) => {
        const made = await apps.create(actor, body);
        return created(`/apps/${made.id}`, toApp(made, actor));
      },
    }),
    endpoint({
      operation: "apps.list",
      method: "GET",
      path: "/apps",
      summary: "The apps that the caller sees, by slug",
      action: "app.read",
      input: { query: pageQuery },
      output: appPage,
      errors: [],
      handle: async ({ actor, page }) => {
        const found = await apps.list(actor, page);
        const items = found.items.map((one) => toApp(one, actor));
        return ok({ items, next_cursor: found.next_cursor });
      },
    }),
    endpoint({
      operation: "apps.get",
      method: "GET",
      path: "/apps/:app",
      summary: "One app, by id or slug",
      action: "app.read",
      output: app,
      errors: ["not_found"],
      handle: async ({ actor, params }) => ok(toApp(await apps.get(params.app as string), actor)),
    }),
    endpoint({
      operation: "apps.update",
      method: "PATCH",
      path: "/apps/:app",
      summary: "Rename an app; the app `default` keeps its slug",
      action: "app.write",
      input: { body: appPatch },
      output: app,
      errors: ["not_found", "conflict"],
      handle: async ({ actor, params, body }) =>
        ok(toApp(await apps.update(actor, params.app as string, body), actor)),
    }),
    endpoint({
      operation: "apps.delete",
      method: "DELETE",
      path: "/apps/:app",
      summary: "Delete an app; with force=true also one that is not empty",
      action: "app.delete",
      input: { query: appDeleteQuery },
      errors: ["not_found", "conflict"],
      handle: async ({ actor, params, query }) => {
        await apps.delete(actor, params.app as string, { force: query.force === "true" });
        return none();
      },
    }),
  ];
}

function toApp(from: App, actor: Actor): WireApp {
  const role = roleIn(actor, from.id);
  if (role === null) throw new Error("An app was found for somebody who may not see it");
  return {
    id: from.id,
    slug: from.slug,
    name: from.name,
    created_at: isoTime(from.created_at),
    role,
  };
}
