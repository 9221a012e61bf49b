/** `scripts/{id}/logs` and `executions/{id}`. */
import type { ExecutionRecord } from "../../domain/executions.ts";
import { execution, executionPage, type WireExecution } from "../../schema/executions.ts";
import { pageQuery } from "../../schema/pages.ts";
import type { Executions } from "../../services/executions.ts";
import { type Endpoint, endpoint, ok } from "./endpoint.ts";
import { isoTime } from "./times.ts";

export function executionEndpoints(executions: Executions): Endpoint[] {
  return [
    endpoint({
      operation: "scripts.logs",
      method: "GET",
      path: "/scripts/:id/logs",
      summary: "What happened when a script ran, newest first",
      action: "execution.read",
      input: { query: pageQuery },
      output: executionPage,
      errors: ["not_found"],
      handle: async ({ params, page }) => {
        const found = await executions.listOfScript(params.id as string, page);
        return ok({ items: found.items.map(toExecution), next_cursor: found.next_cursor });
      },
    }),
    endpoint({
      operation: "executions.get",
      method: "GET",
      path: "/executions/:id",
      summary: "One execution",
      action: "execution.read",
      output: execution,
      errors: ["not_found"],
      handle: async ({ actor, params }) =>
        ok(toExecution(await executions.get(actor, params.id as string))),
    }),
  ];
}

function toExecution(from: ExecutionRecord): WireExecution {
  return {
    id: from.id,
    app_id: from.app_id,
    script_id: from.script_id,
    version: from.version,
    request_id: from.request_id,
    invocation: from.invocation,
    status: from.status,
    status_code: from.status_code,
    started_at: isoTime(from.started_at),
    duration_ms: from.duration_ms,
    cpu_ms: from.cpu_ms,
    memory_bytes: from.memory_bytes,
    request: from.request,
    event: from.event,
    response: from.response,
    logs: from.logs.map((entry) => ({ ...entry, at: isoTime(entry.at) })),
    logs_dropped: from.logs_dropped,
    error: from.error,
    abandoned: from.abandoned,
  };
}
