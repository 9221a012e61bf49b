/**
 * The closed set of expected failures. Anything else is a defect: it is logged in full and answered
 * as `internal` with an id. Only http/errors.ts maps a code to an HTTP status.
 */
export type ErrorCode =
  // what the caller sent
  | "malformed_request"
  | "invalid"
  | "invalid_source"
  | "limit_above_ceiling"
  | "body_too_large"
  | "unsupported_media_type"
  // who the caller is
  | "unauthenticated"
  | "invalid_credentials"
  | "forbidden"
  | "too_many_attempts"
  // what exists
  | "not_found"
  | "method_not_allowed"
  | "conflict"
  | "route_conflict"
  | "version_conflict"
  // what happened to an execution
  | "script_error"
  | "timeout"
  | "budget_exceeded"
  | "overloaded"
  | "sandbox_lost"
  | "module_unavailable"
  // what a host call can be refused for
  | "kv_invalid_key"
  | "kv_invalid_value"
  | "kv_value_too_large"
  | "kv_not_a_number"
  | "kv_version_conflict"
  | "docs_invalid_id"
  | "docs_invalid_value"
  | "docs_value_too_large"
  | "docs_invalid_query"
  | "docs_query_too_large"
  | "docs_not_found"
  | "docs_exists"
  | "docs_version_conflict"
  | "docs_index_limit"
  | "tx_conflict"
  | "tx_too_large"
  | "tx_invalid"
  | "lease_lost"
  | "quota_exceeded"
  | "host_call_budget"
  // the machine
  | "unavailable"
  | "internal";

/**
 * One problem with one field. `path` is dotted (`limits.cpu_ms`, `scripts[2].source`), line and column are
 * 1-based.
 */
export interface FieldError {
  path: string;
  message: string;
  /** Where the author keeps it, as he named it. */
  file?: string;
  line?: number;
  column?: number;
}

export interface PicErrorDetails {
  errors?: FieldError[];
  /** More members of the problem document, in snake_case (`conflicting_route`, …). */
  extra?: Record<string, unknown>;
  /** Becomes `Retry-After`, whole seconds. */
  retry_after_s?: number;
  /** Becomes `Allow`. */
  allow?: string[];
  cause?: unknown;
}

/** An expected failure. `message` is shown to the caller: no internals, no secrets. */
export class PicError extends Error {
  override readonly name = "PicError";
  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly details: PicErrorDetails = {},
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
  }
}

/** The error for one bad field. */
export function invalidField(path: string, message: string): PicError {
  return new PicError("invalid", `${path}: ${message}`, { errors: [{ path, message }] });
}
