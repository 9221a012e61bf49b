/**
 * `ctx` as JSON text, put together by hand: bodies and payloads arrive as JSON text and are never
 * parsed and printed again, and what is the same for every execution of a script is printed once with it.
 */
import type { Delivery } from "../domain/events.ts";
import type { Invocation } from "../domain/executions.ts";
import type { InvocationRequest } from "./api.ts";

/** What ctx says of a request. */
interface CtxInput {
  invocation: Invocation;
  request_id: string;
  request: InvocationRequest;
}

/**
 * @param executionId made by us: needs no escaping
 * @param scriptJson members of the script, JSON text without braces
 * @param sdkVersionJson a JSON string
 */
export function ctxJson(
  executionId: string,
  scriptJson: string,
  sdkVersionJson: string,
  { invocation, request_id, request }: CtxInput,
): string {
  return (
    `{"executionId":"${executionId}","requestId":${JSON.stringify(request_id)},${scriptJson},` +
    `"sdkVersion":${sdkVersionJson},"invocation":"${invocation}","request":${requestJson(request)}}`
  );
}

/** The same for an event, whose own id stands for that of a request. */
export function eventCtxJson(
  executionId: string,
  scriptJson: string,
  sdkVersionJson: string,
  delivery: Delivery,
): string {
  return (
    `{"executionId":"${executionId}","requestId":${JSON.stringify(delivery.event_id)},${scriptJson},` +
    `"sdkVersion":${sdkVersionJson},"invocation":"event",` +
    `"event":${eventJson(delivery, delivery.attempt + 1)}}`
  );
}

/**
 * `ctx.event`: what its source adds comes after what all events have. Of an asynchronous route's request,
 * which is an event to nobody but its dead letter, that is `request`.
 */
export function eventJson(delivery: Delivery, attempt: number): string {
  const { event_id: id, source, type, depth, root_execution_id: rootExecutionId } = delivery;
  const at = new Date(delivery.created_at).toISOString();
  const fixed = JSON.stringify({ id, source, type, at, depth, rootExecutionId, attempt });
  return fixed.slice(0, -1) + followingMembers(delivery);
}

/** Members of an object as they follow others: with a comma before and a brace behind. */
function followingMembers({ source, payload }: Delivery): string {
  if (!payload.startsWith("{") || !payload.endsWith("}")) {
    throw new Error("The payload of a delivery is an object");
  }
  if (source === "route") {
    return `,"request":${requestJson(JSON.parse(payload) as InvocationRequest)}}`;
  }
  return EMPTY.test(payload) ? "}" : `,${payload.slice(1)}`;
}

const EMPTY = /^\{\s*\}$/;

/** `ctx.request`. */
function requestJson(request: InvocationRequest): string {
  const { method, host, path, headers, query, queries, params, rest } = request;
  const bodyBase64 = request.body_base64;
  // One call: nine small ones took twice as long.
  const json = JSON.stringify({
    method,
    host,
    path,
    headers,
    query,
    queries,
    params,
    rest,
    bodyBase64,
  });
  return `${json.slice(0, -1)},"body":${request.body_json}}`;
}
