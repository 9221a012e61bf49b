/**
 * The API's document (OpenAPI 3.1): what the endpoints declare, put into OpenAPI's words and collected
 * by @elysiajs/swagger. docs/openapi.json is its text; a test compares them.
 *
 * Loaded by its first request and by tests, never with the admin plane. The plugin answers 500 for a
 * route whose `body` is an arktype schema, so everything stands in the routes' `detail`, as JSON
 * Schema. Where one schema holds another that has a name, it refers to it.
 */
import { swagger } from "@elysiajs/swagger";
import { Elysia } from "elysia";
import type { Schema } from "../../schema/arktype.ts";
import { apiDocumentVersion } from "../api-version.ts";
import { type AdminAppOptions, declaredEndpoints } from "./app.ts";
import { type Endpoint, errorsOf, type MediaType } from "./endpoint.ts";
import { accessOf, anyCredential, securitySchemes } from "./openapi-access.ts";
import { referring } from "./openapi-json-schema.ts";
import { pathParameters, queryParameters, sharedParameters } from "./openapi-parameters.ts";
import {
  problemResponses,
  problemSchemas,
  responseObject,
  responsesOf,
} from "./openapi-problems.ts";
import { jsonContent, linesContent, namedSchemas } from "./openapi-schemas.ts";
import { type Operation, systemOperations } from "./openapi-system.ts";

const prefix = "/api/v1/admin";
const specPath = "/document";

/** What the API is, for who reads its document before anything else. */
const description = `Everything that PiCloud can be told to do, over HTTP.

**Credentials.** \`POST ${prefix}/auth/login\` gives a token, which every other call takes as
\`Authorization: Bearer\`, and so is an API key given. On the admin listener the cookie of the login
counts as well; there, what changes something must come from a page of that listener.

**Who may.** Each call has an action (\`x-picloud-action\`), which asks for a role and, of an API key, for
scopes. What the caller may not see is 404, what they may see but not do is 403 that says what is missing.
Lists hold only what the caller sees.

**Errors** are problem documents (RFC 9457). Programs tell them apart by \`code\`.

**Lists** come in pages: \`limit\` says how long one is, \`next_cursor\` is the \`cursor\` of the next, and
null on the last. **Times** are ISO 8601 in UTC. Members may be added to any answer; ignore those you
do not know.

**Imports and exports** are JSON Lines (\`application/x-ndjson\`): each line is a value of the schema that
stands there. An export that fails midway ends without its last chunk, so that no program takes a part for
the whole. An import is no transaction: it is written in batches, and stops at the first line that cannot
be. The problem says the \`line\`, and how many were \`imported\`, \`updated\` and \`skipped\` before it;
mended, it may be sent again with \`mode=merge\`, which writes only what differs.`;

const tags = [
  { name: "auth", description: "One's own sessions and password, and the first account" },
  { name: "accounts", description: "Who may log in, and with which role" },
  { name: "api_keys", description: "What programs log in with" },
  { name: "apps", description: "What keeps scripts, their routes and their data together" },
  { name: "members", description: "Who belongs to an app, and with which role" },
  { name: "hosts", description: "Hosts that belong to one app alone" },
  { name: "deployments", description: "An app's scripts, routes and triggers at once" },
  { name: "scripts", description: "Scripts, their versions and what happened when they ran" },
  { name: "routes", description: "Which requests run which script" },
  { name: "kv", description: "An app's entries: looked at, edited, imported and exported" },
  { name: "docs", description: "An app's documents: looked at, edited, imported and exported" },
  { name: "triggers", description: "Which events run which script" },
  { name: "dead_letters", description: "Events whose last attempt failed" },
  { name: "executions", description: "Running scripts, and one run by its id" },
  { name: "audit", description: "What was changed, by whom and from where" },
  { name: "system", description: "The server itself" },
];

const SUCCESS_TEXTS = {
  200: "Done",
  201: "Made",
  204: "Done, and there is nothing to say",
} as const;

/** Their answers set or clear the session cookie. */
const COOKIE_OPERATIONS = new Set(["auth.login", "auth.setup", "auth.logout"]);

/** The document as text, the same at every call. It takes some work: keep the answer. */
export async function openApiDocument(): Promise<string> {
  // The declarations alone: no handler runs, so no service is touched.
  const endpoints = declaredEndpoints({} as AdminAppOptions);
  const operations = [...endpoints.map(operationOf), ...systemOperations];
  const made = await collected(operations);
  const document = {
    ...made,
    paths: sorted(made.paths),
    components: components(endpoints, operations, made.paths),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/** What the plugin makes of the operations: everything but the components. */
async function collected(operations: readonly Operation[]): Promise<{ paths: object }> {
  const documentation = {
    // The plugin writes 3.0.3; arktype's JSON Schema is 2020-12, which is that of 3.1.
    openapi: "3.1.0",
    info: {
      title: "PiCloud",
      version: apiDocumentVersion,
      description,
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/", description: "This PiCloud" }],
    security: anyCredential,
    tags,
  };
  const app = new Elysia().use(
    swagger({ specPath, excludeStaticFile: false, excludeMethods: [], documentation }),
  );
  for (const { method, path, detail } of operations) app.route(method, path, () => "", { detail });
  const answer = await app.handle(new Request(`http://picloud.invalid${specPath}`));
  // The plugin promises an OpenAPI object; the linter in the tests judges the rest of it.
  return (await answer.json()) as { paths: object };
}

function operationOf(declared: Endpoint): Operation {
  const { method, operation, action, path, status, summary, body, bodyType } = declared;
  const errors = [...errorsOf(declared)];
  const parameters = [...pathParameters(path), ...queryParameters(declared.query)];
  return {
    method,
    path: prefix + path,
    errors,
    detail: {
      tags: [operation.split(".", 1)[0] as string],
      operationId: operation,
      summary,
      ...accessOf(action),
      ...(parameters.length === 0 ? {} : { parameters }),
      ...(body === null
        ? {}
        : { requestBody: { required: true, content: contentOf(body, bodyType) } }),
      responses: { [status]: success(declared), ...responsesOf(errors) },
    },
  };
}

function success({ status, output, outputType, operation }: Endpoint): object {
  const headers = {
    ...(status === 201 ? { Location: text("Its address") } : {}),
    ...(COOKIE_OPERATIONS.has(operation)
      ? { "Set-Cookie": text("On the admin listener: the session of the browser") }
      : {}),
  };
  return {
    description: SUCCESS_TEXTS[status],
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
    ...(output === null ? {} : { content: contentOf(output, outputType) }),
  };
}

function contentOf(schema: Schema<unknown>, mediaType: MediaType): object {
  return mediaType === "application/json" ? jsonContent(schema) : linesContent(schema);
}

function components(
  endpoints: readonly Endpoint[],
  operations: readonly Operation[],
  paths: object,
): object {
  const codes = new Set(operations.flatMap(({ errors }) => errors));
  const schemas = [...namedSchemas, ...problemSchemas(codes)];
  const responses = byName(
    operations.flatMap(({ errors }) => problemResponses(errors)),
    responseObject,
  );
  const uses = JSON.stringify([paths, responses]);
  const shown = schemas.filter(({ name }) => uses.includes(`"#/components/examples/${name}"`));
  return {
    schemas: byName(schemas, referring(schemas)),
    examples: byName(shown, ({ example }) => ({ value: example })),
    parameters: sorted(sharedParameters(endpoints.map(({ query }) => query))),
    responses,
    securitySchemes,
  };
}

function byName<T extends { name: string }>(all: readonly T[], value: (one: T) => unknown): object {
  return sorted(Object.fromEntries(all.map((one) => [one.name, value(one)])));
}

/** Maps whose order means nothing are sorted, so that the text changes only with what it says. */
function sorted(map: object): object {
  return Object.fromEntries(Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function text(description: string): object {
  return { description, schema: { type: "string" } };
}
