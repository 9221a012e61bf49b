import type { EventSource, EventType } from "./events.ts";

export type ExecutionStatus =
  | "success"
  | "error"
  | "timeout"
  | "budget_exceeded"
  | "overloaded"
  | "sandbox_lost";

export type Invocation = "route" | "execute" | "event";
export type GuestLogLevel = "debug" | "info" | "warn" | "error";

/** One line a script wrote with log.* or console.*. */
export interface LogEntry {
  level: GuestLogLevel;
  message: string;
  /** A JSON object, or null. */
  fields: Record<string, unknown> | null;
  /** Epoch milliseconds. */
  at: number;
}

/** What a script threw, in the author's own lines and columns once mapped. */
export interface GuestError {
  name: string;
  message: string;
  stack: string;
  /** A stable code, when the SDK threw it (`kv_value_too_large`, …). */
  code?: string;
}

/** Which budget an execution broke, for status `budget_exceeded`. */
export type Budget = "cpu_ms" | "memory_mb" | "response_kb" | "host_calls";

export interface RecordedRequest {
  method: string;
  host: string;
  path: string;
  headers: Record<string, string>;
  query: Record<string, string>;
  params: Record<string, string>;
  /** At most recordBodyBytesMax bytes; `truncated` says when there was more. */
  body: string | null;
  truncated: boolean;
}

export interface RecordedResponse {
  headers: Record<string, string>;
  body: string | null;
  truncated: boolean;
}

/** What a handler ran for. */
export interface RecordedEvent {
  /** The same for all its attempts. */
  id: string;
  source: EventSource;
  type: EventType;
  /** 1 for the first. */
  attempt: number;
  /** "" for a request of an asynchronous route. */
  trigger_id: string;
  depth: number;
  /** What its source adds to `ctx.event`, as JSON text; null for a request, and in a brief record. */
  body: string | null;
  truncated: boolean;
}

/** What is kept of one execution. Redacted before it is made. */
export interface ExecutionRecord {
  id: string;
  app_id: string;
  script_id: string;
  version: number;
  request_id: string;
  invocation: Invocation;
  status: ExecutionStatus;
  status_code: number;
  /** Epoch milliseconds. */
  started_at: number;
  duration_ms: number;
  cpu_ms: number;
  memory_bytes: number;
  /** Null for an event. */
  request: RecordedRequest | null;
  /** Null for what a caller waited for. */
  event: RecordedEvent | null;
  response: RecordedResponse | null;
  logs: LogEntry[];
  logs_dropped: number;
  error: GuestError | null;
  /** The caller had gone before the answer was ready. */
  abandoned: boolean;
}
