/** `apps`. */
import type { App } from "../../domain/apps.ts";
import { app, appDeleteQuery, appInput, appPage, type WireApp } from "../../schema/apps.ts";
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
      action: "app.write",
      input: { body: appInput },
      output: app,
      status: 201,
      errors: ["conflict"],
      handle: async ({ body }) => {
        const made = await apps.create(body);
        return created(`/apps/${made.id}`, toApp(made));
      },
    }),
    endpoint({
      operation: "apps.list",
      method: "GET",
      path: "/apps",
      summary: "All apps, by slug",
      action: "app.read",
      input: { query: pageQuery },
      output: appPage,
      errors: [],
      handle: async ({ page }) => {
        const found = await apps.list(page);
        return ok({ items: found.items.map(toApp), next_cursor: found.next_cursor });
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
      handle: async ({ params }) => ok(toApp(await apps.get(params.app as string))),
    }),
    endpoint({
      operation: "apps.delete",
      method: "DELETE",
      path: "/apps/:app",
      summary: "Delete an app; with force=true also one that is not empty",
      action: "app.write",
      input: { query: appDeleteQuery },
      errors: ["not_found", "conflict"],
      handle: async ({ params, query }) => {
        await apps.delete(params.app as string, { force: query.force === "true" });
        return none();
      },
    }),
  ];
}

function toApp(from: App): WireApp {
  return {
    id: from.id,
    slug: from.slug,
    name: from.name,
    created_at: isoTime(from.created_at),
  };
}
