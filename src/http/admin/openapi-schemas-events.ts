/** The named schemas of triggers and dead letters (see openapi-schemas.ts). Loaded with the document alone. */
import { RETRY_DEFAULT } from "../../domain/events.ts";
import {
  deadLetter,
  deadLetterBatch,
  deadLetterCounts,
  deadLetterFilter,
  deadLetterNote,
  deadLetterPage,
  deadLetterProgress,
  deadLetterPurge,
  type WireDeadLetter,
  wholeDeadLetter,
} from "../../schema/dead-letters.ts";
import {
  cronPreview,
  cronPreviewInput,
  cronTrigger,
  cronTriggerInput,
  cronTriggerPage,
  cronTriggerPatch,
  dataTrigger,
  dataTriggerInput,
  dataTriggerPage,
  dataTriggerPatch,
  deadLetterTrigger,
  deadLetterTriggerInput,
  deadLetterTriggerPage,
  deadLetterTriggerPatch,
  retryPolicy,
  triggerPage,
  type WireCronTrigger,
  type WireDataTrigger,
  type WireDeadLetterTrigger,
} from "../../schema/triggers.ts";
import {
  exampleTime as at,
  exampleIds,
  lastPage,
  type NamedSchema,
  named,
} from "./openapi-examples.ts";

const base = {
  id: exampleIds.trigger,
  app_id: exampleIds.app,
  script_id: exampleIds.script,
  enabled: true,
  registered_by: exampleIds.account,
  created_at: at,
  updated_at: at,
};

const onOrders: WireDataTrigger = {
  ...base,
  kind: "kv",
  collection: "orders",
  operations: ["insert", "update"],
  retry: { ...RETRY_DEFAULT },
};

const everyMorning: WireCronTrigger = {
  ...base,
  kind: "cron",
  expression: "0 30 6 * * *",
  timezone: "Europe/Berlin",
  overlap: "skip",
  retry: { ...RETRY_DEFAULT },
  next_at: "2026-03-02T05:30:00.000Z",
  last_at: "2026-03-01T05:30:00.000Z",
};

const onFailure: WireDeadLetterTrigger = { ...base, kind: "dead_letter" };

const refused: WireDeadLetter = {
  id: exampleIds.dead_letter,
  app_id: exampleIds.app,
  event_id: exampleIds.event,
  trigger_id: exampleIds.trigger,
  script_id: exampleIds.script,
  source: "kv",
  type: "insert",
  state: "open",
  attempts: 5,
  error: { status: "error", code: null, message: "The printer is out of paper" },
  root_execution_id: exampleIds.execution,
  event_at: at,
  created_at: "2026-03-01T12:00:16.000Z",
  updated_at: "2026-03-01T12:00:16.000Z",
  resolved_by: null,
  note: null,
  event: {
    id: exampleIds.event,
    source: "kv",
    type: "insert",
    at,
    depth: 0,
    rootExecutionId: exampleIds.execution,
    attempt: 5,
    collection: "orders",
    key: "1001",
    value: { cups: 2 },
    previous: null,
  },
  event_cut: false,
};

const triggerSchemas = [
  named(
    "RetryPolicy",
    "How often a failed event is tried again, and after which waits",
    retryPolicy,
    {
      ...RETRY_DEFAULT,
    },
  ),
  named("DataTrigger", "Which changes of data run a script", dataTrigger, onOrders),
  named("DataTriggerInput", "A trigger on data to make", dataTriggerInput, {
    script_id: exampleIds.script,
    collection: "orders",
    operations: ["insert", "update"],
  }),
  named("DataTriggerPatch", "What shall change; the rest stays as it is", dataTriggerPatch, {
    retry: { max_attempts: 3 },
  }),
  named("DataTriggerPage", "Triggers on data", dataTriggerPage, {
    items: [onOrders],
    ...lastPage,
  }),
  named("CronTrigger", "When a script runs", cronTrigger, everyMorning),
  named(
    "CronTriggerInput",
    "A trigger on times to make; six fields, seconds first",
    cronTriggerInput,
    {
      script_id: exampleIds.script,
      expression: "0 30 6 * * *",
      timezone: "Europe/Berlin",
    },
  ),
  named("CronTriggerPatch", "What shall change; the rest stays as it is", cronTriggerPatch, {
    enabled: false,
  }),
  named("CronTriggerPage", "Triggers on times", cronTriggerPage, {
    items: [everyMorning],
    ...lastPage,
  }),
  named("CronPreviewInput", "An expression to try", cronPreviewInput, {
    expression: "0 30 6 * * *",
    timezone: "Europe/Berlin",
  }),
  named("CronPreview", "Its next ticks", cronPreview, {
    next: ["2026-03-02T05:30:00.000Z", "2026-03-03T05:30:00.000Z"],
  }),
  named("DeadLetterTrigger", "A script that is told of dead letters", deadLetterTrigger, onFailure),
  named("DeadLetterTriggerInput", "A trigger on dead letters to make", deadLetterTriggerInput, {
    script_id: exampleIds.script,
  }),
  named(
    "DeadLetterTriggerPatch",
    "What shall change; the rest stays as it is",
    deadLetterTriggerPatch,
    { enabled: false },
  ),
  named("DeadLetterTriggerPage", "Triggers on dead letters", deadLetterTriggerPage, {
    items: [onFailure],
    ...lastPage,
  }),
  named("TriggerPage", "Triggers of every kind", triggerPage, {
    items: [onOrders, everyMorning, onFailure],
    ...lastPage,
  }),
];

const letterSchemas = [
  named(
    "DeadLetter",
    "An event whose last attempt failed; a list leaves out what is long in it",
    deadLetter,
    refused,
  ),
  named("WholeDeadLetter", "A dead letter with its attempts", wholeDeadLetter, {
    ...refused,
    history: [
      {
        number: 5,
        execution_id: exampleIds.execution,
        status: "error",
        error: refused.error,
        started_at: "2026-03-01T12:00:15.998Z",
        duration_ms: 1.7,
      },
    ],
  }),
  named("DeadLetterPage", "Dead letters", deadLetterPage, { items: [refused], ...lastPage }),
  named("DeadLetterCounts", "How many dead letters there are, by state", deadLetterCounts, {
    open: 1,
    handler_failed: 0,
    replaying: 0,
    replayed: 12,
    resolved: 3,
  }),
  named("DeadLetterNoteInput", "Why, for who looks at it later", deadLetterNote, {
    note: "Paper is in again",
  }),
  named("DeadLetterFilter", "Which dead letters; empty is all", deadLetterFilter, {
    state: "open",
    since: at,
  }),
  named("DeadLetterBatch", "Dead letters to work on, and why", deadLetterBatch, {
    filter: { script_id: exampleIds.script },
    note: "Paper is in again",
  }),
  named("DeadLetterPurge", "Those that have not changed since `before`", deadLetterPurge, {
    before: at,
  }),
  named("DeadLetterProgress", "How many it were, and whether more are left", deadLetterProgress, {
    count: 17,
    more: false,
  }),
];

export const eventSchemas: readonly NamedSchema[] = [...triggerSchemas, ...letterSchemas];
