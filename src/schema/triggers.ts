/** Triggers on the wire. Numbers and patterns are judged by domain/triggers.ts and domain/cron.ts. */
import { type } from "./arktype.ts";

const operation = type("'insert' | 'update' | 'delete'");
const backoff = type("'exponential' | 'linear' | 'constant'");
const overlap = type("'skip' | 'queue'");

export const retryPolicy = type({
  max_attempts: "number",
  backoff,
  base_ms: "number",
  max_ms: "number",
  jitter: "number",
});

/** What is absent is that of the default, in an update that of the trigger; null is the default. */
const retryInput = type({
  "+": "reject",
  "max_attempts?": "number",
  "backoff?": backoff,
  "base_ms?": "number",
  "max_ms?": "number",
  "jitter?": "number",
}).or("null");

const trigger = type({
  id: "string",
  app_id: "string",
  script_id: "string",
  enabled: "boolean",
  registered_by: "string | null",
  created_at: "string",
  updated_at: "string",
});

// merge() takes over what is said about other members: each of these says it.
export const settings = type({ "+": "reject", "enabled?": "boolean" });
const target = type({ "+": "reject", script_id: "1 <= string <= 64" });
const targetPatch = type({ "+": "reject", "script_id?": "1 <= string <= 64" });

export const dataTrigger = trigger.merge({
  kind: "'kv' | 'docs'",
  collection: "string",
  operations: operation.array(),
  retry: retryPolicy,
});
export type WireDataTrigger = typeof dataTrigger.infer;

export const dataSettings = settings.merge({
  "+": "reject",
  "collection?": "string",
  "operations?": operation.array(),
  "retry?": retryInput,
});
export const dataTriggerInput = dataSettings.merge(target);
export type DataTriggerInput = typeof dataTriggerInput.infer;
export const dataTriggerPatch = dataSettings.merge(targetPatch);
export type DataTriggerPatch = typeof dataTriggerPatch.infer;

/** Times are null while there is none. */
export const cronTrigger = trigger.merge({
  kind: "'cron'",
  expression: "string",
  timezone: "string",
  overlap,
  retry: retryPolicy,
  next_at: "string | null",
  last_at: "string | null",
});
export type WireCronTrigger = typeof cronTrigger.infer;

export const cronSettings = settings.merge({
  "+": "reject",
  "timezone?": "string",
  "overlap?": overlap,
  "retry?": retryInput,
});
export const cronTriggerInput = cronSettings
  .merge(target)
  .merge({ "+": "reject", expression: "string" });
export type CronTriggerInput = typeof cronTriggerInput.infer;
export const cronTriggerPatch = cronSettings
  .merge(targetPatch)
  .merge({ "+": "reject", "expression?": "string" });
export type CronTriggerPatch = typeof cronTriggerPatch.infer;

export const deadLetterTrigger = trigger.merge({ kind: "'dead_letter'" });
export type WireDeadLetterTrigger = typeof deadLetterTrigger.infer;
export const deadLetterTriggerInput = settings.merge(target);
export type DeadLetterTriggerInput = typeof deadLetterTriggerInput.infer;
export const deadLetterTriggerPatch = settings.merge(targetPatch);
export type DeadLetterTriggerPatch = typeof deadLetterTriggerPatch.infer;

export type WireTrigger = WireDataTrigger | WireCronTrigger | WireDeadLetterTrigger;

const page = { next_cursor: "string | null" } as const;
export const dataTriggerPage = type({ items: dataTrigger.array(), ...page });
export const cronTriggerPage = type({ items: cronTrigger.array(), ...page });
export const deadLetterTriggerPage = type({ items: deadLetterTrigger.array(), ...page });
export const triggerPage = type({
  items: dataTrigger.or(cronTrigger).or(deadLetterTrigger).array(),
  ...page,
});

export const cronPreviewInput = type({
  "+": "reject",
  expression: "string",
  "timezone?": "string",
});
export type CronPreviewInput = typeof cronPreviewInput.infer;

/** The next ticks; fewer when there are no more. */
export const cronPreview = type({ next: "string[]" });
export type WireCronPreview = typeof cronPreview.infer;
