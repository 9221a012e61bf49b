/** How the gateway and the dispatcher have a script run. */
import type { Delivery } from "../domain/events.ts";
import type { Invocation } from "../domain/executions.ts";
import type { BodyKind } from "../sandbox/protocol.ts";
import type { DeliveryReport } from "./delivery.ts";

/** A request as the gateway understood it, credentials already stripped. */
export interface InvocationRequest {
  method: string;
  /** No port. */
  host: string;
  path: string;
  /** Lower-case names. */
  headers: Record<string, string>;
  /** Last value of each name. */
  query: Record<string, string>;
  /** All values of each name. */
  queries: Record<string, string[]>;
  params: Record<string, string>;
  rest: string;
  /**
   * `body` as JSON text (`null` when empty), ready to be put into ctx without being parsed again,
   * or base64 for binary.
   */
  body_json: string;
  body_base64: string | null;
}

/** The payload of a delivery of source "route", as JSON. */
export interface DeferredRequest extends InvocationRequest {
  request_id: string;
}

export interface InvocationInput {
  invocation: Invocation;
  script_id: string;
  request_id: string;
  request: InvocationRequest;
  /** Aborted when the caller disconnects: the execution goes on, its record says `abandoned`. */
  signal: AbortSignal | null;
}

/** What a body is when its script names no content type. */
export const BODY_TYPES = {
  none: null,
  json: "application/json",
  text: "text/plain; charset=utf-8",
  base64: "application/octet-stream",
} as const satisfies Record<BodyKind, string | null>;

export interface InvocationResult {
  execution_id: string;
  status_code: number;
  headers: Record<string, string>;
  body_kind: BodyKind;
  body: string;
}

export interface Invoker {
  /**
   * Gate, sandbox, durability, record. Resolves only when everything the execution saw is durable.
   * Throws PicError: not_found, overloaded, script_error, timeout, budget_exceeded, sandbox_lost,
   * each with `details.extra.execution_id` when there is an execution.
   */
  invoke(input: InvocationInput): Promise<InvocationResult>;
  /** One attempt at a delivery that its holder has claimed, with the same guarantees. Never throws. */
  deliver(delivery: Delivery): Promise<DeliveryReport>;
}
