/** Execution records on the wire. */
import { type } from "./arktype.ts";

const texts = type({ "[string]": "string" });

const logEntry = type({
  level: "'debug' | 'info' | 'warn' | 'error'",
  message: "string",
  fields: "object | null",
  at: "string",
});

const recordedRequest = type({
  method: "string",
  host: "string",
  path: "string",
  headers: texts,
  query: texts,
  params: texts,
  body: "string | null",
  truncated: "boolean",
});

const recordedEvent = type({
  id: "string",
  source: "'kv' | 'docs' | 'cron' | 'dead_letter' | 'route'",
  type: "'insert' | 'update' | 'delete' | 'fire'",
  attempt: "number",
  trigger_id: "string",
  depth: "number",
  body: "string | null",
  truncated: "boolean",
});

const recordedResponse = type({
  headers: texts,
  body: "string | null",
  truncated: "boolean",
});

const guestError = type({
  name: "string",
  message: "string",
  stack: "string",
  "code?": "string",
});

export const execution = type({
  id: "string",
  app_id: "string",
  script_id: "string",
  version: "number",
  request_id: "string",
  invocation: "'route' | 'execute' | 'event'",
  status: "'success' | 'error' | 'timeout' | 'budget_exceeded' | 'overloaded' | 'sandbox_lost'",
  status_code: "number",
  started_at: "string",
  duration_ms: "number",
  cpu_ms: "number",
  memory_bytes: "number",
  request: recordedRequest.or("null"),
  event: recordedEvent.or("null"),
  response: recordedResponse.or("null"),
  logs: logEntry.array(),
  logs_dropped: "number",
  error: guestError.or("null"),
  abandoned: "boolean",
});
export type WireExecution = typeof execution.infer;

export const executionPage = type({ items: execution.array(), next_cursor: "string | null" });
