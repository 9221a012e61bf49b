/**
 * The one place where an error becomes an HTTP answer: RFC 9457 `application/problem+json`.
 * `type` is `about:blank` (the title is the status's own phrase); programs tell problems apart by
 * `code`. `instance` is the id of the request, which the server's log has, too.
 */
import { type ErrorCode, PicError } from "../domain/errors.ts";

export const STATUS = {
  malformed_request: 400,
  invalid: 422,
  invalid_source: 422,
  limit_above_ceiling: 422,
  body_too_large: 413,
  unsupported_media_type: 415,
  unauthenticated: 401,
  invalid_credentials: 401,
  forbidden: 403,
  too_many_attempts: 429,
  not_found: 404,
  method_not_allowed: 405,
  conflict: 409,
  route_conflict: 409,
  version_conflict: 409,
  script_error: 502,
  timeout: 504,
  budget_exceeded: 507,
  overloaded: 503,
  sandbox_lost: 503,
  module_unavailable: 502,
  kv_invalid_key: 422,
  kv_invalid_value: 422,
  kv_value_too_large: 422,
  kv_not_a_number: 409,
  kv_version_conflict: 409,
  docs_invalid_id: 422,
  docs_invalid_value: 422,
  docs_value_too_large: 422,
  docs_invalid_query: 422,
  docs_query_too_large: 422,
  docs_not_found: 404,
  docs_exists: 409,
  docs_version_conflict: 409,
  docs_index_limit: 409,
  tx_conflict: 409,
  tx_too_large: 422,
  tx_invalid: 422,
  lease_lost: 409,
  quota_exceeded: 507,
  host_call_budget: 507,
  unavailable: 503,
  internal: 500,
} as const satisfies Record<ErrorCode, number>;

const TITLES: Readonly<Record<(typeof STATUS)[ErrorCode], string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  500: "Internal Server Error",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  507: "Insufficient Storage",
};

/** For a 503 whose thrower named no time. */
const retryAfterDefaultS = 1;

export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: ErrorCode;
  instance: string;
  [member: string]: unknown;
}

/** The problem document of an error. What is not a PicError is answered as `internal`. */
export function problemDocument(error: unknown, instance: string): Problem {
  const { code, message, details } = expected(error);
  const status = STATUS[code];
  return {
    ...details.extra,
    type: "about:blank",
    title: TITLES[status],
    status,
    detail: message,
    code,
    instance,
    ...(details.errors === undefined ? {} : { errors: details.errors }),
  };
}

/**
 * The answer to a failed request. The caller logs what is not a PicError: here it is only hidden.
 * @param instance the request's id
 */
export function problemResponse(error: unknown, instance: string): Response {
  const { code, details } = expected(error);
  const document = problemDocument(error, instance);
  const headers: Record<string, string> = {
    "content-type": "application/problem+json",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  };
  const retryAfter = details.retry_after_s ?? (document.status === 503 ? retryAfterDefaultS : null);
  if (retryAfter !== null) headers["retry-after"] = String(Math.ceil(retryAfter));
  if (code === "method_not_allowed") headers.allow = (details.allow ?? []).join(", ");
  if (document.status === 401) headers["www-authenticate"] = "Bearer";
  // The rest of the body is not read, so nothing else can come on this connection.
  if (code === "body_too_large") headers.connection = "close";
  const executionId = details.extra?.execution_id;
  if (typeof executionId === "string") headers["x-picloud-execution-id"] = executionId;
  return new Response(JSON.stringify(document), { status: document.status, headers });
}

function expected(error: unknown): PicError {
  if (error instanceof PicError && error.code !== "internal") return error;
  const extra = error instanceof PicError ? error.details.extra : undefined;
  return new PicError("internal", "Internal error", extra === undefined ? {} : { extra });
}
