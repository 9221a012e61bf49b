/**
 * What the API's document says about calls that are no endpoints of the admin plane: the server's
 * own addresses, which answer before the admin plane is loaded, the document itself, and the data
 * plane's `execute`. Loaded with the document alone.
 */

import type { Action } from "../../domain/access.ts";
import type { ErrorCode } from "../../domain/errors.ts";
import {
  asyncKeptMax,
  bodyBytesMax,
  deadLetterRetentionDays,
  recordBodyBytesMax,
} from "../../domain/limits.ts";
import { asyncExecution } from "../../schema/async-executions.ts";
import { versions } from "../../schema/versions.ts";
import { accessText } from "./openapi-access.ts";
import { exampleIds, exampleToken } from "./openapi-examples.ts";
import { responsesOf } from "./openapi-problems.ts";
import { jsonContent } from "./openapi-schemas.ts";

/** One operation, as @elysiajs/swagger collects it. */
export interface Operation {
  method: string;
  path: string;
  errors: readonly ErrorCode[];
  /** The operation object of OpenAPI. */
  detail: object;
}

/** What a body or an answer may be besides JSON. */
const anyContent = {
  "application/json": { schema: {}, example: { name: "home" } },
  "text/plain": { schema: { type: "string" }, example: "home" },
  "application/octet-stream": { schema: { type: "string", format: "binary" } },
};

const executeErrors: readonly ErrorCode[] = [
  "malformed_request",
  "unauthenticated",
  "forbidden",
  "not_found",
  "script_error",
  "module_unavailable",
  "timeout",
  "budget_exceeded",
  "overloaded",
  "sandbox_lost",
  "unavailable",
  "internal",
];

export const systemOperations: readonly Operation[] = [
  anonymous("system.health", "/healthz", {
    summary: "Whether the server serves",
    description: "Answers as soon as scripts can run, and needs no database to do it.",
    content: { "text/plain": { schema: { const: "ok", type: "string" }, example: "ok" } },
  }),
  anonymous("system.version", "/version", {
    summary: "The versions of this PiCloud",
    description: "They change independently of each other.",
    content: jsonContent(versions),
  }),
  {
    method: "GET",
    path: "/api/v1/admin/openapi.json",
    errors: ["malformed_request", "unauthenticated", "internal"],
    detail: {
      tags: ["system"],
      operationId: "system.document",
      summary: "This document",
      description:
        "Needs any session or API key on the public listener and nothing on the admin listener.",
      security: [{ token: [] }, { key: [] }, {}],
      responses: {
        200: { description: "OK", content: { "application/json": { schema: { type: "object" } } } },
        ...responsesOf(["malformed_request", "unauthenticated", "internal"]),
      },
    },
  },
  ...["GET", "POST", "PUT", "PATCH", "DELETE"].map(execute),
  asyncStatus(),
];

function anonymous(
  operationId: string,
  path: string,
  { content, ...text }: { summary: string; description: string; content: object },
): Operation {
  const errors: ErrorCode[] = ["malformed_request"];
  const responses = { 200: { description: "OK", content }, ...responsesOf(errors) };
  const detail = { tags: ["system"], operationId, ...text, security: [], responses };
  return { method: "GET", path, errors, detail };
}

function asyncStatus(): Operation {
  const errors: ErrorCode[] = ["malformed_request", "not_found", "unavailable", "internal"];
  const parameter = (name: string, description: string, example: string): object => ({
    name,
    in: "path",
    required: true,
    description,
    schema: { type: "string" },
    example,
  });
  return {
    method: "GET",
    path: "/api/v1/executions/:id/:token",
    errors,
    detail: {
      tags: ["executions"],
      operationId: "executions.status",
      summary: "How a request of an asynchronous route went",
      description:
        "The `status_url` of its 202, on the public listener alone. The address is all that is needed: " +
        `a wrong token is answered as an id that does not exist. It is kept for ${deadLetterRetentionDays} days, of an app the newest ${asyncKeptMax}. ` +
        "`response` is what the script answered, its body cut at " +
        `${recordBodyBytesMax / 1_024} KiB (a binary one in base64).`,
      security: [],
      parameters: [
        parameter("id", "Id of the execution", exampleIds.execution),
        parameter("token", "The token of the address", exampleToken),
      ],
      responses: {
        200: { description: "OK", content: jsonContent(asyncExecution) },
        ...responsesOf(errors),
      },
    },
  };
}

function execute(method: string): Operation {
  const hasBody = method !== "GET";
  const errors = hasBody ? [...executeErrors, "body_too_large" as const] : executeErrors;
  const executionId = {
    description: "The execution: `executions.get` tells what happened",
    schema: { type: "string" },
    example: exampleIds.execution,
  };
  return {
    method,
    path: "/api/v1/execute/:script_id",
    errors,
    detail: {
      tags: ["executions"],
      operationId: `execute.${method.toLowerCase()}`,
      summary: `Run a script with ${method}`,
      description:
        "On the public listener alone; any method runs the script, also those that are not listed. " +
        "Whoever calls a script with `public_execute` needs no credential. " +
        `Any other one: ${accessText("script.execute")} ` +
        "What the script returns is the answer, whatever its status; the query, the headers and the " +
        `body (at most ${bodyBytesMax / 1_048_576} MiB) are its \`ctx.request\`.`,
      security: [{ token: [] }, { key: [] }, {}],
      "x-picloud-action": "script.execute" satisfies Action,
      parameters: [
        {
          name: "script_id",
          in: "path",
          required: true,
          description: "Id of the script",
          schema: { type: "string" },
          example: exampleIds.script,
        },
      ],
      ...(hasBody ? { requestBody: { required: false, content: anyContent } } : {}),
      responses: {
        200: {
          description: "What the script returned",
          headers: { "x-picloud-execution-id": executionId },
          content: anyContent,
        },
        204: {
          description: "The script returned nothing",
          headers: { "x-picloud-execution-id": executionId },
        },
        ...responsesOf(errors),
      },
    },
  };
}
