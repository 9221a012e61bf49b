/**
 * The named schemas of the API's document, each with an example of its values. The schemas are the
 * arktype declarations that the endpoints themselves check with; here they only get their names.
 * Loaded with the document alone.
 */
import { LIMIT_DEFAULTS } from "../../domain/limits.ts";
import { app, appInput, appPage, appPatch, type WireApp } from "../../schema/apps.ts";
import type { Schema } from "../../schema/arktype.ts";
import { asyncExecution } from "../../schema/async-executions.ts";
import { execution, executionPage, type WireExecution } from "../../schema/executions.ts";
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
import {
  rollbackInput,
  savedScript,
  script,
  scriptInput,
  scriptPage,
  scriptPatch,
  scriptRefs,
  scriptSummary,
  version,
  versionPage,
  versionSummary,
  type WireScriptSummary,
  type WireVersionSummary,
} from "../../schema/scripts.ts";
import { versions } from "../../schema/versions.ts";
import { linesType } from "./endpoint.ts";
import {
  exampleTime as at,
  exampleIds,
  lastPage,
  type NamedSchema,
  named,
} from "./openapi-examples.ts";
import { accessSchemas } from "./openapi-schemas-access.ts";
import { dataSchemas } from "./openapi-schemas-data.ts";
import { eventSchemas } from "./openapi-schemas-events.ts";

const source =
  'import { kv } from "picloud";\n\nexport default async (ctx) => ({\n' +
  '  visits: await kv.collection("visits").increment(ctx.request.params.page),\n});\n';

const shop: WireApp = {
  id: exampleIds.app,
  slug: "shop",
  name: "The shop",
  created_at: at,
  role: "admin",
};

const visits: WireScriptSummary = {
  id: exampleIds.script,
  app_id: exampleIds.app,
  app: "shop",
  name: "visits",
  kind: "endpoint",
  description: "Counts visits of each page",
  limits: { timeout_ms: 5_000 },
  effective_limits: { ...LIMIT_DEFAULTS, timeout_ms: 5_000 },
  public_execute: false,
  active_version: { number: 2, created_at: at, created_by: exampleIds.account },
  created_at: at,
  updated_at: at,
};

const secondVersion = {
  number: 2,
  kind: "endpoint",
  created_at: at,
  created_by: exampleIds.account,
  source_bytes: Buffer.byteLength(source),
} as const;

const listedVersion: WireVersionSummary = { ...secondVersion, created_by_name: "ada" };

/** What a conflict shows, too. */
export const exampleRoute: WireRoute = {
  id: exampleIds.route,
  app_id: exampleIds.app,
  script_id: exampleIds.script,
  path: "/visits/:page",
  path_kind: "param",
  method: "ANY",
  host: "",
  host_kind: "any",
  host_param_name: null,
  dispatch_mode: "sync",
  created_at: at,
  created_by: exampleIds.account,
};

const visit: WireExecution = {
  id: exampleIds.execution,
  app_id: exampleIds.app,
  script_id: exampleIds.script,
  version: 2,
  request_id: exampleIds.request,
  invocation: "route",
  status: "success",
  status_code: 200,
  started_at: at,
  duration_ms: 1.9,
  cpu_ms: 0.4,
  memory_bytes: 1_310_720,
  request: {
    method: "GET",
    host: "raspberrypi.local",
    path: "/visits/home",
    headers: { accept: "*/*", authorization: "[redacted]" },
    query: {},
    params: { page: "home" },
    body: null,
    truncated: false,
  },
  event: null,
  response: {
    headers: { "content-type": "application/json" },
    body: '{"visits":1}',
    truncated: false,
  },
  logs: [{ level: "info", message: "visit", fields: { page: "home" }, at }],
  logs_dropped: 0,
  error: null,
  abandoned: false,
};

const appSchemas = [
  named("App", "Scripts that share routes and data", app, shop),
  named("AppInput", "An app to make", appInput, { slug: "shop", name: "The shop" }),
  named("AppPatch", "What shall change; the rest stays as it is", appPatch, { slug: "store" }),
  named("AppPage", "Apps", appPage, { items: [shop], ...lastPage }),
];

const scriptSchemas = [
  named("ScriptSummary", "A script without its source", scriptSummary, visits),
  named("Script", "A script with the source of its active version", script, { ...visits, source }),
  named("SavedScript", "A script as saved, and what its author should know", savedScript, {
    ...visits,
    source,
    warnings: [],
  }),
  named("ScriptPage", "Scripts", scriptPage, { items: [visits], ...lastPage }),
  named("ScriptInput", "A script to make, in TypeScript or JavaScript", scriptInput, {
    app: "shop",
    name: "visits",
    source,
    description: "Counts visits of each page",
    limits: { timeout_ms: 5_000 },
  }),
  named("ScriptPatch", "What shall change; the rest stays as it is", scriptPatch, {
    source,
    if_version: 1,
  }),
  named("ScriptRefs", "Scripts by name, without a page after them", scriptRefs, {
    items: [{ id: exampleIds.script, name: "visits", kind: "endpoint" }],
  }),
  named("RollbackInput", "The version to go back to", rollbackInput, { version: 1 }),
  named("VersionSummary", "A version without its source", versionSummary, listedVersion),
  named("Version", "A version; it never changes", version, {
    ...secondVersion,
    script_id: exampleIds.script,
    source,
    imports: [],
  }),
  named("VersionPage", "Versions of a script", versionPage, {
    items: [listedVersion],
    ...lastPage,
  }),
];

const routeSchemas = [
  named("Route", "Which requests run a script", route, exampleRoute),
  named("CreatedRoute", "A route as made, and what looks odd about it", createdRoute, {
    ...exampleRoute,
    warning: null,
  }),
  named("RoutePage", "Routes of a script", routePage, { items: [exampleRoute], ...lastPage }),
  named("RouteInput", "A route to make", routeInput, { path: "/visits/:page" }),
  named("RouteCheckInput", "A route to judge, and whose it shall be", checkInput, {
    path: "/visits/:page",
    script_id: exampleIds.script,
  }),
  named("RouteCheck", "Whether a route could be made", checkOutput, {
    ok: false,
    conflicting_route: exampleRoute,
    hidden: false,
    host_taken: false,
    host_app_id: null,
    path_kind: "param",
    host_kind: "any",
    warning: null,
  }),
  named("RouteMatchInput", "A request to try", matchInput, { method: "GET", url: "/visits/home" }),
  named("RouteMatch", "The route it takes; all null when it takes none", matchOutput, {
    route: exampleRoute,
    script_id: exampleIds.script,
    params: { page: "home" },
    rest: "",
    hidden: false,
  }),
];

const otherSchemas = [
  named("Execution", "What happened when a script ran, credentials redacted", execution, visit),
  named("ExecutionPage", "Executions of a script", executionPage, { items: [visit], ...lastPage }),
  named("AsyncExecution", "How a request of an asynchronous route went", asyncExecution, {
    execution_id: exampleIds.execution,
    status: "success",
    attempts: 1,
    status_code: 200,
    created_at: at,
    finished_at: at,
    response: {
      headers: { "content-type": "application/json" },
      body: '{"imported":3}',
      truncated: false,
    },
  }),
  named("Versions", "What changes for users, independently of each other", versions, {
    product: "0.1.0",
    sdk: "1.0",
    api: "1",
    schema: 1,
    wire: "1",
    public_base_url: null,
  }),
];

export const namedSchemas: readonly NamedSchema[] = [
  ...accessSchemas,
  ...appSchemas,
  ...scriptSchemas,
  ...routeSchemas,
  ...eventSchemas,
  ...dataSchemas,
  ...otherSchemas,
];

/** Throws for a schema without a name: whoever declares a call names here what it takes and gives. */
export function namedSchema(schema: Schema<unknown>): NamedSchema {
  const found = namedSchemas.find((one) => one.schema === schema);
  if (found === undefined) throw new Error("A schema of the API has no name in openapi-schemas.ts");
  return found;
}

/** The content of a request or an answer that is JSON of this schema. */
export function jsonContent(schema: Schema<unknown>): object {
  const { name } = namedSchema(schema);
  return {
    "application/json": {
      schema: { $ref: `#/components/schemas/${name}` },
      examples: { [name]: { $ref: `#/components/examples/${name}` } },
    },
  };
}

/** The same in JSON Lines: to a program a text, of which each line is such a value. */
export function linesContent(schema: Schema<unknown>): object {
  const { name, example } = namedSchema(schema);
  return {
    [linesType]: {
      schema: {
        type: "string",
        description: `Lines, each the JSON of a ${name}`,
        contentMediaType: linesType,
        contentSchema: { $ref: `#/components/schemas/${name}` },
      },
      example: `${JSON.stringify(example)}\n`,
    },
  };
}
