/** What a trigger becomes by what is given: defaults filled in, checked, with its next tick. */
import { invalidField } from "../domain/errors.ts";
import { RETRY_DEFAULT, type RetryPolicy } from "../domain/events.ts";
import {
  type CronOverlap,
  checkCollectionPattern,
  checkRetry,
  DATA_OPERATIONS,
  type DataOperation,
  type Trigger,
  type TriggerKind,
} from "../domain/triggers.ts";

/** What an update changes; what is absent stays. What its kind does not have is not looked at. */
export interface TriggerPatch {
  script_id?: string;
  enabled?: boolean;
  collection?: string;
  operations?: DataOperation[];
  expression?: string;
  timezone?: string;
  overlap?: CronOverlap;
  /** Null: the default. */
  retry?: Partial<RetryPolicy> | null;
}

/** What is absent has a default: every collection and operation, UTC, skip, enabled. */
export type TriggerInput = TriggerPatch & { script_id: string };

export type CronRules = typeof import("../domain/cron.ts");

/** What knows expressions and time zones is not in memory before it is used. */
export function loadCron(): Promise<CronRules> {
  return import("../domain/cron.ts");
}

export async function cronOf(kind: TriggerKind): Promise<CronRules | null> {
  return kind === "cron" ? loadCron() : null;
}

/** A trigger of which only what has a default is filled in. */
export function emptyTrigger(
  kind: TriggerKind,
  base: Omit<Extract<Trigger, { kind: "dead_letter" }>, "kind">,
): Trigger {
  const retry = { ...RETRY_DEFAULT };
  if (kind === "dead_letter") return { ...base, kind };
  if (kind !== "cron") {
    return { ...base, kind, collection: "*", operations: [...DATA_OPERATIONS], retry };
  }
  return {
    ...base,
    kind,
    expression: "",
    timezone: "UTC",
    overlap: "skip",
    retry,
    next_at: null,
    last_at: null,
  };
}

/** The trigger with what is given. */
export function patchedTrigger(trigger: Trigger, patch: TriggerPatch): Trigger {
  const { script_id = trigger.script_id, enabled = trigger.is_enabled } = patch;
  const base = { script_id, is_enabled: enabled };
  if (trigger.kind === "dead_letter") return { ...trigger, ...base };
  const retry = patchedRetry(trigger.retry, patch.retry);
  if (trigger.kind === "cron") {
    const { expression = trigger.expression, timezone = trigger.timezone } = patch;
    const { overlap = trigger.overlap } = patch;
    return { ...trigger, ...base, expression, timezone, overlap, retry };
  }
  const { collection = trigger.collection, operations: named = trigger.operations } = patch;
  const operations = DATA_OPERATIONS.filter((operation) => named.includes(operation));
  return { ...trigger, ...base, collection, operations, retry };
}

function patchedRetry(current: RetryPolicy, patch: TriggerPatch["retry"]): RetryPolicy {
  if (patch === undefined) return current;
  return patch === null ? { ...RETRY_DEFAULT } : { ...current, ...patch };
}

/** Throws PicError `invalid`. @param cron null unless the trigger is one */
export function checkTrigger(trigger: Trigger, cron: CronRules | null): void {
  if (trigger.kind === "dead_letter") return;
  if (trigger.kind === "cron") cron?.checkCron(trigger);
  else {
    checkCollectionPattern(trigger.collection);
    if (trigger.operations.length === 0) {
      throw invalidField("operations", `must name one of ${DATA_OPERATIONS.join(", ")} at least`);
    }
  }
  checkRetry(trigger.retry);
}

/** Null while it is not enabled. */
export function firstTick(trigger: Trigger, cron: CronRules | null, now: number): number | null {
  if (trigger.kind !== "cron" || cron === null || !trigger.is_enabled) return null;
  return cron.nextTick(trigger.expression, trigger.timezone, now);
}

/** Only then is its next tick computed anew: else it is the scheduler's, which may just move it. */
export function hasOtherTicks(before: Trigger, after: Trigger): boolean {
  if (before.kind !== "cron" || after.kind !== "cron") return false;
  return (
    before.expression !== after.expression ||
    before.timezone !== after.timezone ||
    before.is_enabled !== after.is_enabled
  );
}
