/**
 * From a finished execution to the record that is kept of it: truncated, redacted, its error in the
 * author's own lines. All of it happens after the response was handed over, and only for
 * executions that are kept.
 */
import type { AsyncResponse } from "../domain/async-executions.ts";
import { PicError } from "../domain/errors.ts";
import type {
  ExecutionRecord,
  ExecutionStatus,
  GuestError,
  Invocation,
  LogEntry,
  RecordedEvent,
  RecordedRequest,
  RecordedResponse,
} from "../domain/executions.ts";
import {
  recordBodyBytesMax,
  recordErrorBytesMax,
  recordHeaderCharsMax,
  recordHeadersMax,
  recordSlackBytesMax,
} from "../domain/limits.ts";
import type { Outcome } from "../sandbox/api.ts";
import { BODY_TYPES, type InvocationRequest, type InvocationResult } from "./api.ts";
import type { ModuleSet } from "./modules.ts";
import {
  redactCutEnd,
  redactError,
  redactHeaders,
  redactLog,
  redactParams,
  redactPayload,
  redactQuery,
  redactText,
  redactUrl,
  secretValues,
} from "./redaction.ts";

/** Why a handler ran. */
export interface FinishedEvent extends Omit<RecordedEvent, "body" | "truncated"> {
  /** JSON text; null when the request has it all. */
  payload: string | null;
}

/** What `invoke` and `deliver` hand over: references, no work done yet. */
export interface FinishedExecution {
  id: string;
  app_id: string;
  script_id: string;
  script_name: string;
  version: number;
  /** Of the program that ran; null when it imported none. */
  modules: ModuleSet | null;
  request_id: string;
  invocation: Invocation;
  status: ExecutionStatus;
  status_code: number;
  started_at: number;
  duration_ms: number;
  /** Null for an event. */
  request: InvocationRequest | null;
  /** Null for what a caller waited for. */
  event: FinishedEvent | null;
  /** Null when no sandbox was entered. */
  outcome: Outcome | null;
  /** Instead of the outcome's: why the server itself failed the execution. */
  error: GuestError | null;
  abandoned: boolean;
}

/** Maps an error's positions, which are those of the compiled code, to the author's. */
export type ErrorMapper = (
  error: GuestError,
  of: Pick<FinishedExecution, "script_id" | "script_name" | "version" | "modules">,
) => Promise<GuestError>;

/**
 * The same, without the large texts: a record waits up to a second and must not hold a body of
 * 10 MiB for that long. Small ones stay as they are, without a copy.
 */
export function lighten(finished: FinishedExecution): FinishedExecution {
  const { request, event, outcome } = finished;
  const light = { ...finished };
  if (
    request !== null &&
    (isLarge(request.body_json) || (request.body_base64 !== null && isLarge(request.body_base64)))
  ) {
    light.request = {
      ...request,
      body_json: cutWithSlack(request.body_json),
      body_base64: request.body_base64 === null ? null : cutWithSlack(request.body_base64),
    };
  }
  if (event?.payload != null && isLarge(event.payload)) {
    light.event = { ...event, payload: cutWithSlack(event.payload) };
  }
  if (outcome !== null && isLarge(outcome.body)) {
    light.outcome = { ...outcome, body: cutWithSlack(outcome.body) };
  }
  return light;
}

/** Roughly what a lightened execution holds in memory. */
export function heldBytes({ request, event, outcome }: FinishedExecution): number {
  let chars = 1_024 + (event?.payload?.length ?? 0);
  if (request !== null) {
    chars += request.body_json.length + (request.body_base64?.length ?? 0);
    for (const name in request.headers) chars += name.length + (request.headers[name]?.length ?? 0);
  }
  if (outcome === null) return chars;
  chars += outcome.body.length;
  for (const name in outcome.headers) chars += name.length + (outcome.headers[name]?.length ?? 0);
  if (outcome.error !== null) chars += outcome.error.message.length + outcome.error.stack.length;
  for (const entry of outcome.logs) {
    chars += 64 + entry.message.length + heldChars(entry.fields, 0);
  }
  return chars;
}

/** Without printing it: this runs before the response is handed over. */
function heldChars(value: unknown, depth: number): number {
  if (typeof value === "string") return 16 + value.length;
  if (typeof value !== "object" || value === null || depth >= measuredDepthMax) return 8;
  let chars = 16;
  for (const name in value) {
    chars += name.length + heldChars((value as Record<string, unknown>)[name], depth + 1);
  }
  return chars;
}

/** Fields nested deeper are not kept either (see redaction); until then log_kb bounds them. */
const measuredDepthMax = 8;

/** Throws PicError `unavailable` when the positions cannot be read now; anything else is survived. */
export async function toRecord(
  finished: FinishedExecution,
  mapError: ErrorMapper,
): Promise<ExecutionRecord> {
  const { request, event, outcome } = finished;
  const secrets = request === null ? [] : secretValues(request);
  const thrown = finished.error ?? (await mapped(finished, mapError));
  return {
    id: finished.id,
    app_id: finished.app_id,
    script_id: finished.script_id,
    version: finished.version,
    request_id: finished.request_id,
    invocation: finished.invocation,
    status: finished.status,
    status_code: Math.trunc(finite(finished.status_code)),
    started_at: finished.started_at,
    duration_ms: hundredths(finished.duration_ms),
    cpu_ms: hundredths(outcome?.cpu_ms ?? 0),
    memory_bytes: Math.trunc(finite(outcome?.memory_bytes ?? 0)),
    request: request === null ? null : recordedRequest(request, secrets),
    event: event === null ? null : recordedEvent(event, secrets),
    response: finished.status === "success" ? recordedResponse(outcome, secrets) : null,
    logs: recordedLogs(finished, secrets),
    logs_dropped: Math.trunc(finite(outcome?.logs_dropped ?? 0)),
    error: thrown === null ? null : recordedError(thrown, secrets),
    abandoned: finished.abandoned,
  };
}

/**
 * What is kept of an answer for the caller of an asynchronous route: as much as in a record, but his
 * credentials are his own.
 */
export function asyncResponse({ headers, body_kind, body }: InvocationResult): AsyncResponse {
  const type = BODY_TYPES[body_kind];
  const kept: [string, string][] = type === null ? [] : [["content-type", type]];
  let room = recordBodyBytesMax;
  for (const [name, value] of Object.entries(headers)) {
    room -= name.length + value.length;
    if (room >= 0) kept.push([name.toLowerCase(), value]);
  }
  const cut = truncateUtf8(body, recordBodyBytesMax);
  return {
    headers: Object.fromEntries(kept),
    body: body_kind === "none" ? null : cut.text,
    truncated: cut.truncated || room < 0,
  };
}

/**
 * At most `bytesMax` bytes of UTF-8, never half a character. The result shares no memory with a
 * longer text.
 */
export function truncateUtf8(text: string, bytesMax: number): { text: string; truncated: boolean } {
  if (text.length * 3 <= bytesMax) return { text, truncated: false };
  const bytes = Buffer.allocUnsafe(bytesMax);
  const { read, written } = encoder.encodeInto(text, bytes);
  if (read === text.length) return { text, truncated: false };
  return { text: bytes.toString("utf8", 0, written), truncated: true };
}

/** What is always recorded, and dropped last. */
export function isFailure({ status }: { status: ExecutionStatus }): boolean {
  return status !== "success" && status !== "overloaded";
}

/** The order of lists. */
export function newestFirst(
  a: { started_at: number; id: string },
  b: { started_at: number; id: string },
): number {
  if (a.started_at !== b.started_at) return b.started_at - a.started_at;
  if (a.id === b.id) return 0;
  return a.id < b.id ? 1 : -1;
}

const encoder = new TextEncoder();

/** Figures come from a child: a column that takes only numbers must not refuse the record. */
function finite(value: number): number {
  return Number.isFinite(value) ? value : 0;
}

function hundredths(value: number): number {
  return Math.round(finite(value) * 100) / 100;
}

function isLarge(text: string): boolean {
  return text.length > recordBodyBytesMax + recordSlackBytesMax;
}

function cutWithSlack(text: string): string {
  return truncateUtf8(text, recordBodyBytesMax + recordSlackBytesMax).text;
}

async function mapped(
  finished: FinishedExecution,
  mapError: ErrorMapper,
): Promise<GuestError | null> {
  const error = finished.outcome?.error ?? null;
  if (error === null) return null;
  try {
    return await mapError(error, finished);
  } catch (failure) {
    // a database that is away comes back, and then the record can be written, too
    if (failure instanceof PicError && failure.code === "unavailable") throw failure;
    // positions of the compiled code are better than no record
    return error;
  }
}

function recordedRequest(request: InvocationRequest, secrets: readonly string[]): RecordedRequest {
  const text = request.body_base64 ?? (request.body_json === "null" ? null : request.body_json);
  return {
    method: request.method,
    host: redactText(request.host, secrets),
    path: redactText(redactUrl(request.path), secrets),
    headers: recordedHeaders(request.headers),
    query: redactQuery(request.query),
    params: redactParams(request.params, secrets),
    ...recordedBody(text, secrets),
  };
}

function recordedEvent(event: FinishedEvent, secrets: readonly string[]): RecordedEvent {
  const { payload, ...rest } = event;
  return { ...rest, ...recordedBody(payload, secrets, redactPayload) };
}

function recordedResponse(
  outcome: Outcome | null,
  secrets: readonly string[],
): RecordedResponse | null {
  if (outcome === null) return null;
  const headers = recordedHeaders(outcome.headers);
  for (const name in headers) headers[name] = redactText(headers[name] ?? "", secrets);
  return {
    headers,
    ...recordedBody(outcome.body_kind === "none" ? null : outcome.body, secrets),
  };
}

function recordedBody(
  body: string | null,
  secrets: readonly string[],
  redact = redactText,
): { body: string | null; truncated: boolean } {
  if (body === null) return { body: null, truncated: false };
  const isCut = isCutWithSlack(body);
  const cut = truncateUtf8(redact(isCut ? redactCutEnd(body) : body, secrets), recordBodyBytesMax);
  // cut once with slack already, and shortened below the bound since: it is still not the whole
  return { body: cut.text, truncated: cut.truncated || isCut };
}

/** Whether `lighten` may have cut this text: it then fills the bound but for half a character. */
function isCutWithSlack(text: string): boolean {
  return Buffer.byteLength(text) > recordBodyBytesMax + recordSlackBytesMax - 4;
}

function recordedHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  const redacted = Object.entries(redactHeaders(headers)).slice(0, recordHeadersMax);
  return Object.fromEntries(
    redacted.map(([name, value]) => [
      name.slice(0, recordHeaderCharsMax),
      value.length > recordHeaderCharsMax ? `${value.slice(0, recordHeaderCharsMax)}…` : value,
    ]),
  );
}

/** A handler of dead letters may print its event, and the headers of the request in it. */
function recordedLogs(
  { outcome, event }: FinishedExecution,
  secrets: readonly string[],
): LogEntry[] {
  const logs = (outcome?.logs ?? []).map((entry) => redactLog(entry, secrets));
  if (event?.source !== "dead_letter") return logs;
  return logs.map((entry) => ({ ...entry, message: redactPayload(entry.message, secrets) }));
}

/** Cut, and without credentials. */
export function recordedError(error: GuestError, secrets: readonly string[]): GuestError {
  const redacted = redactError(error, secrets);
  return {
    ...redacted,
    name: redacted.name.slice(0, 256),
    message: truncateUtf8(redacted.message, recordErrorBytesMax).text,
    stack: truncateUtf8(redacted.stack, recordErrorBytesMax).text,
  };
}
