/** Dead letters: deliveries whose last attempt has failed. */
import type { Delivery, DeliveryKey, EventSource, EventType, RetryPolicy } from "./events.ts";

/**
 *   open ─┬→ replaying ─┬→ replayed
 *         │             └→ open (it failed again), handler_failed (so did the handler)
 *         ├→ handler_failed → replaying, resolved
 *         └→ resolved
 */
export type DeadLetterState = "open" | "handler_failed" | "replaying" | "replayed" | "resolved";

/** From which states a person may take a letter to another. */
export const REPLAYABLE: readonly DeadLetterState[] = ["open", "handler_failed"];
export const RESOLVABLE: readonly DeadLetterState[] = ["open", "handler_failed"];
/** What is over, and may be purged by age. */
export const SETTLED: readonly DeadLetterState[] = ["replayed", "resolved"];

/** Why the last attempt failed: what the execution's record says in brief. */
export interface DeliveryError {
  /** An execution's status. */
  status: string;
  /** A stable code, or null. */
  code: string | null;
  message: string;
}

export interface DeadLetter extends DeliveryKey {
  id: string;
  app_id: string;
  script_id: string;
  source: EventSource;
  type: EventType;
  state: DeadLetterState;
  attempts: number;
  error: DeliveryError;
  depth: number;
  root_execution_id: string;
  event_at: number;
  created_at: number;
  updated_at: number;
  resolved_by: string | null;
  note: string | null;
  retry: RetryPolicy | null;
  payload: string;
}

/** One attempt that failed. */
export interface EventAttempt extends DeliveryKey {
  number: number;
  app_id: string;
  execution_id: string;
  status: string;
  error: DeliveryError | null;
  started_at: number;
  duration_ms: number;
}

/** The delivery that a replay puts back. Its policy counts anew, its attempts are counted on. */
export function deliveryOf(letter: DeadLetter, fence: number): Delivery {
  return {
    event_id: letter.event_id,
    trigger_id: letter.trigger_id,
    app_id: letter.app_id,
    script_id: letter.script_id,
    source: letter.source,
    type: letter.type,
    depth: letter.depth,
    root_execution_id: letter.root_execution_id,
    created_at: letter.event_at,
    due_at: 0,
    attempt: letter.attempts,
    attempt_base: letter.attempts,
    crashes: 0,
    fence,
    retry: letter.retry,
    dead_letter_id: letter.id,
    payload: letter.payload,
  };
}
