/**
 * What callers of asynchronous routes are told: that their request was accepted, and later how it went.
 * Whoever has the address may ask, with no other credentials.
 */
import type { AsyncExecution } from "../domain/async-executions.ts";
import { PicError } from "../domain/errors.ts";
import type { Accepted, AsyncRuns } from "../execution/async.ts";
import type { WireAccepted, WireAsyncExecution } from "../schema/async-executions.ts";

const folder = "/api/v1/executions";
/** An id (UUID) and a token (32 bytes in base64url): nothing else is looked up. */
const STATUS_PATH =
  /^\/api\/v1\/executions\/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\/([A-Za-z0-9_-]{43})$/;
const NO_STORE = { "cache-control": "no-store" };

/**
 * @param publicBaseUrl null: the address is the one that the caller has used
 */
export function acceptedResponse(
  { execution_id, token }: Accepted,
  request: Request,
  publicBaseUrl: string | null,
): Response {
  const base = publicBaseUrl?.replace(/\/+$/, "") ?? `http://${request.headers.get("host")}`;
  const status_url = `${base}${folder}/${execution_id}/${token}`;
  const body: WireAccepted = { execution_id, status_url };
  const headers = { ...NO_STORE, location: status_url, "x-picloud-execution-id": execution_id };
  return Response.json(body, { status: 202, headers });
}

/** Not of the admin API, whose executions have addresses of their own. */
export function isStatusPath(path: string): boolean {
  return path.startsWith(`${folder}/`) || path === folder;
}

/** Throws PicError `not_found` for whatever is wrong with the address. */
export async function statusResponse(
  path: string,
  asyncRuns: Pick<AsyncRuns, "find">,
): Promise<Response> {
  const [, id, token] = STATUS_PATH.exec(path) ?? [];
  const found = id === undefined || token === undefined ? null : await asyncRuns.find(id, token);
  if (found === null) throw new PicError("not_found", "There is no such execution");
  return Response.json(toWire(found), { headers: NO_STORE });
}

function toWire(from: AsyncExecution): WireAsyncExecution {
  return {
    execution_id: from.id,
    status: from.status,
    attempts: from.attempts,
    status_code: from.status_code,
    created_at: new Date(from.created_at).toISOString(),
    finished_at: from.finished_at === null ? null : new Date(from.finished_at).toISOString(),
    response: from.response,
  };
}
