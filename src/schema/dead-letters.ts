/** Dead letters on the wire. */
import { deadLetterNoteCharsMax } from "../domain/limits.ts";
import { type } from "./arktype.ts";

const state = type("'open' | 'handler_failed' | 'replaying' | 'replayed' | 'resolved'");
/** A letter that is just replayed cannot be purged. */
const purgedState = type("'open' | 'handler_failed' | 'replayed' | 'resolved'");
const source = type("'kv' | 'docs' | 'cron' | 'dead_letter' | 'route'");
const note = `string <= ${deadLetterNoteCharsMax}` as const;

const deliveryError = type({ status: "string", code: "string | null", message: "string" });

/** The event is as `ctx.event` had it; a list leaves its long members out, and says so in `event_cut`. */
export const deadLetter = type({
  id: "string",
  app_id: "string",
  event_id: "string",
  /** Null: a request of an asynchronous route. */
  trigger_id: "string | null",
  script_id: "string",
  source,
  type: "'insert' | 'update' | 'delete' | 'fire'",
  state,
  attempts: "number",
  error: deliveryError,
  root_execution_id: "string",
  event_at: "string",
  created_at: "string",
  updated_at: "string",
  resolved_by: "string | null",
  note: "string | null",
  event: "object",
  event_cut: "boolean",
});
export type WireDeadLetter = typeof deadLetter.infer;

const attempt = type({
  number: "number",
  execution_id: "string",
  status: "string",
  error: deliveryError.or("null"),
  started_at: "string",
  duration_ms: "number",
});

export const wholeDeadLetter = deadLetter.merge({ history: attempt.array() });
export type WireWholeDeadLetter = typeof wholeDeadLetter.infer;

export const deadLetterPage = type({ items: deadLetter.array(), next_cursor: "string | null" });

export const deadLetterCounts = type({
  open: "number",
  handler_failed: "number",
  replaying: "number",
  replayed: "number",
  resolved: "number",
});
export type WireDeadLetterCounts = typeof deadLetterCounts.infer;

/** Times are ISO 8601; `since` belongs to the span, `until` does not. */
const filter = {
  "state?": state,
  "source?": source,
  "script_id?": "string <= 64",
  "trigger_id?": "string <= 64",
  "since?": "string <= 64",
  "until?": "string <= 64",
} as const;

export const deadLetterFilter = type({ "+": "reject", ...filter });
export type DeadLetterFilterInput = typeof deadLetterFilter.infer;

export const deadLetterQuery = type({
  "+": "reject",
  "limit?": "string",
  "cursor?": "string <= 1024",
  ...filter,
});

export const deadLetterNote = type({ "+": "reject", "note?": note });
export type DeadLetterNoteInput = typeof deadLetterNote.infer;

/** An empty filter means all letters of the app. */
export const deadLetterBatch = type({ "+": "reject", filter: deadLetterFilter, "note?": note });
export type DeadLetterBatchInput = typeof deadLetterBatch.infer;

export const deadLetterPurge = type({
  "+": "reject",
  before: "string <= 64",
  "state?": purgedState,
});
export type DeadLetterPurgeInput = typeof deadLetterPurge.infer;

/** `more`: the call did as much as one may, and there is more of it to do. */
export const deadLetterProgress = type({ count: "number", more: "boolean" });
export type WireDeadLetterProgress = typeof deadLetterProgress.infer;
