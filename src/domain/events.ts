/**
 * Events and their deliveries. An event is one change, one tick or one request; a delivery is an event
 * for one trigger, and is settled once: done, or a dead letter.
 */
export type EventSource = "kv" | "docs" | "cron" | "dead_letter" | "route";
export type EventType = "insert" | "update" | "delete" | "fire";

/** Of a delivery; a request of an asynchronous route has no trigger, and "" here. */
export interface DeliveryKey {
  event_id: string;
  trigger_id: string;
}

/** What finds the row of a delivery, as long as nobody has claimed it anew or given it back. */
export interface DeliveryClaim extends DeliveryKey {
  app_id: string;
  /** When it may be claimed, or from when on it might have been: epoch ms, 0 for at once. */
  due_at: number;
  /** One more with each claim. */
  fence: number;
}

/** What waits in the outbox. */
export interface Delivery extends DeliveryClaim {
  script_id: string;
  source: EventSource;
  type: EventType;
  /** 0 for what a request or a tick caused; one more for what its handler causes. */
  depth: number;
  /** Of the execution that began the chain; the event's own id for a tick. */
  root_execution_id: string;
  /** When it happened, epoch ms. */
  created_at: number;
  /** Attempts that have been made, over all replays. */
  attempt: number;
  /** Attempts that had been made when the policy began to count: those before a replay. */
  attempt_base: number;
  /** Times that its holder ended without a word. */
  crashes: number;
  /** Null: one attempt. */
  retry: RetryPolicy | null;
  /** The letter that is replayed by this. */
  dead_letter_id: string | null;
  /** JSON text of an object: the members of `ctx.event` that its source adds, or `ctx.request`. */
  payload: string;
}

export type Backoff = "exponential" | "linear" | "constant";

export interface RetryPolicy {
  max_attempts: number;
  backoff: Backoff;
  base_ms: number;
  max_ms: number;
  /** 0 to 1: the part of a wait that is random. */
  jitter: number;
}

export const RETRY_DEFAULT: Readonly<RetryPolicy> = Object.freeze({
  max_attempts: 5,
  backoff: "exponential",
  base_ms: 1_000,
  max_ms: 300_000,
  jitter: 0.2,
});

/**
 * How long to wait after the attempt of this number (1 for the first) has failed, in ms.
 * @param random 0 to 1
 */
export function retryDelayMs(policy: RetryPolicy, attempt: number, random: number): number {
  const { backoff, base_ms, max_ms, jitter } = policy;
  const factor =
    backoff === "constant" ? 1 : backoff === "linear" ? attempt : 2 ** Math.min(attempt - 1, 52);
  const wait = Math.min(max_ms, base_ms * factor);
  return Math.round(wait * (1 - jitter + 2 * jitter * random));
}
