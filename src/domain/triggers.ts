/** Triggers: which events run which script. Cron's own rules are in domain/cron.ts. */
import { invalidField } from "./errors.ts";
import type { EventType, RetryPolicy } from "./events.ts";
import {
  kvCollectionBytesMax,
  retryAttemptsMax,
  retryWaitMsMax,
  retryWaitMsMin,
} from "./limits.ts";

export type TriggerKind = "kv" | "docs" | "cron" | "dead_letter";
export type DataOperation = Exclude<EventType, "fire">;
export type CronOverlap = "skip" | "queue";

export const TRIGGER_KINDS = [
  "kv",
  "docs",
  "cron",
  "dead_letter",
] as const satisfies readonly TriggerKind[];
export const DATA_OPERATIONS = [
  "insert",
  "update",
  "delete",
] as const satisfies readonly DataOperation[];

interface TriggerBase {
  id: string;
  app_id: string;
  script_id: string;
  is_enabled: boolean;
  /** The account that made it. */
  registered_by: string | null;
  created_at: number;
  updated_at: number;
}

export interface DataTrigger extends TriggerBase {
  kind: "kv" | "docs";
  /** A collection's name; a star at its end stands for any rest. */
  collection: string;
  operations: DataOperation[];
  retry: RetryPolicy;
}

export interface CronTrigger extends TriggerBase {
  kind: "cron";
  /** Six fields, the first of them seconds; five mean second 0. */
  expression: string;
  /** IANA. */
  timezone: string;
  overlap: CronOverlap;
  retry: RetryPolicy;
  /** Null while it is not enabled, and when it has no further tick. */
  next_at: number | null;
  /** The tick that was fired last. */
  last_at: number | null;
}

export interface DeadLetterTrigger extends TriggerBase {
  kind: "dead_letter";
}

export type Trigger = DataTrigger | CronTrigger | DeadLetterTrigger;

/** Throws PicError `invalid` for field `collection`. */
export function checkCollectionPattern(pattern: string): void {
  const refuse = (rule: string) => invalidField("collection", rule);
  if (pattern === "") throw refuse("must not be empty; * stands for every collection");
  if (Buffer.byteLength(pattern) > kvCollectionBytesMax) {
    throw refuse(`must not be longer than ${kvCollectionBytesMax} bytes`);
  }
  if (pattern.includes("\0") || !pattern.isWellFormed()) {
    throw refuse("must not contain a NUL character or a lone surrogate");
  }
  if (pattern.slice(0, -1).includes("*")) throw refuse("a star may only stand at the end");
}

/** Whether a pattern is one for this collection. The twin of the SQL in storage/outbox.ts. */
export function matchesCollection(pattern: string, collection: string): boolean {
  return pattern.endsWith("*")
    ? collection.startsWith(pattern.slice(0, -1))
    : collection === pattern;
}

/** Throws PicError `invalid` that names the field below `retry`. */
export function checkRetry(retry: RetryPolicy): void {
  const { max_attempts, base_ms, max_ms, jitter } = retry;
  whole("retry.max_attempts", max_attempts, 1, retryAttemptsMax);
  whole("retry.base_ms", base_ms, retryWaitMsMin, retryWaitMsMax);
  whole("retry.max_ms", max_ms, base_ms, retryWaitMsMax);
  if (!(jitter >= 0 && jitter <= 1)) throw invalidField("retry.jitter", "must be from 0 to 1");
}

function whole(path: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw invalidField(path, `must be a whole number from ${min} to ${max}`);
}
