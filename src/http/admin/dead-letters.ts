/** `apps/{app}/dead-letters`. */
import type { EventAttempt } from "../../domain/dead-letters.ts";
import {
  type DeadLetterFilterInput,
  deadLetter,
  deadLetterBatch,
  deadLetterCounts,
  deadLetterNote,
  deadLetterPage,
  deadLetterProgress,
  deadLetterPurge,
  deadLetterQuery,
  type WireDeadLetter,
  type WireWholeDeadLetter,
  wholeDeadLetter,
} from "../../schema/dead-letters.ts";
import type {
  DeadLetterQuery,
  DeadLetters,
  DeadLetterView,
  WholeDeadLetter,
} from "../../services/dead-letters.ts";
import { type Endpoint, endpoint, ok } from "./endpoint.ts";
import { isoTime, readTime } from "./times.ts";

const path = "/apps/:app/dead-letters";

export function deadLetterEndpoints(deadLetters: DeadLetters): Endpoint[] {
  return [...reads(deadLetters), ...single(deadLetters), ...many(deadLetters)];
}

function reads(deadLetters: DeadLetters): Endpoint[] {
  return [
    endpoint({
      operation: "dead_letters.list",
      method: "GET",
      path,
      summary:
        "The dead letters of an app, newest first; long members of their events are left out",
      action: "dead_letter.read",
      input: { query: deadLetterQuery },
      output: deadLetterPage,
      errors: ["not_found"],
      handle: async ({ params, query, page }) => {
        const { limit: _limit, cursor: _cursor, ...filter } = query;
        const found = await deadLetters.list(params.app as string, readFilter(filter), page);
        return ok({ items: found.items.map(toDeadLetter), next_cursor: found.next_cursor });
      },
    }),
    endpoint({
      operation: "dead_letters.counts",
      method: "GET",
      path: `${path}/counts`,
      summary: "How many dead letters an app has, by state",
      action: "dead_letter.read",
      output: deadLetterCounts,
      errors: ["not_found"],
      handle: async ({ params }) => ok(await deadLetters.counts(params.app as string)),
    }),
    endpoint({
      operation: "dead_letters.get",
      method: "GET",
      path: `${path}/:id`,
      summary: "One dead letter, with its whole event and its attempts",
      action: "dead_letter.read",
      output: wholeDeadLetter,
      errors: ["not_found"],
      handle: async ({ params }) =>
        ok(toWhole(await deadLetters.get(params.app as string, params.id as string))),
    }),
  ];
}

function single(deadLetters: DeadLetters): Endpoint[] {
  const address = (params: Readonly<Record<string, string>>) => ({
    app: params.app as string,
    id: params.id as string,
  });
  return [
    endpoint({
      operation: "dead_letters.replay",
      method: "POST",
      path: `${path}/:id/replay`,
      summary: "Deliver the event of a dead letter once more",
      action: "dead_letter.write",
      input: { body: deadLetterNote },
      output: deadLetter,
      errors: ["not_found", "conflict"],
      handle: async ({ actor, params, body }) =>
        ok(toDeadLetter(await deadLetters.replay(actor, address(params), body.note))),
    }),
    endpoint({
      operation: "dead_letters.resolve",
      method: "POST",
      path: `${path}/:id/resolve`,
      summary: "Note that nothing more has to be done about a dead letter",
      action: "dead_letter.write",
      input: { body: deadLetterNote },
      output: deadLetter,
      errors: ["not_found", "conflict"],
      handle: async ({ actor, params, body }) =>
        ok(toDeadLetter(await deadLetters.resolve(actor, address(params), body.note))),
    }),
  ];
}

function many(deadLetters: DeadLetters): Endpoint[] {
  return [
    endpoint({
      operation: "dead_letters.replay_all",
      method: "POST",
      path: `${path}/replay`,
      summary: "Replay the dead letters of a filter; an empty one is all",
      action: "dead_letter.write",
      input: { body: deadLetterBatch },
      output: deadLetterProgress,
      errors: ["not_found"],
      handle: async ({ actor, params, body }) => {
        const query = readFilter(body.filter, "filter.");
        const { note } = body;
        return ok(await deadLetters.replayAll(actor, params.app as string, { query, note }));
      },
    }),
    endpoint({
      operation: "dead_letters.resolve_all",
      method: "POST",
      path: `${path}/resolve`,
      summary: "Resolve the dead letters of a filter; an empty one is all",
      action: "dead_letter.write",
      input: { body: deadLetterBatch },
      output: deadLetterProgress,
      errors: ["not_found"],
      handle: async ({ actor, params, body }) => {
        const query = readFilter(body.filter, "filter.");
        const { note } = body;
        return ok(await deadLetters.resolveAll(actor, params.app as string, { query, note }));
      },
    }),
    endpoint({
      operation: "dead_letters.purge",
      method: "POST",
      path: `${path}/purge`,
      summary:
        "Delete dead letters that have not changed since a time: those that are replayed or resolved, or those of a state",
      action: "dead_letter.write",
      input: { body: deadLetterPurge },
      output: deadLetterProgress,
      errors: ["not_found"],
      handle: async ({ actor, params, body }) => {
        const before = readTime("before", body.before);
        const { state } = body;
        const purge = { before, ...(state === undefined ? {} : { state }) };
        return ok(await deadLetters.purge(actor, params.app as string, purge));
      },
    }),
  ];
}

/** Throws PicError `invalid`. @param prefix of the path that an error names */
function readFilter(filter: DeadLetterFilterInput, prefix = ""): DeadLetterQuery {
  const { since, until, ...rest } = filter;
  return {
    ...rest,
    ...(since === undefined ? {} : { since: readTime(`${prefix}since`, since) }),
    ...(until === undefined ? {} : { until: readTime(`${prefix}until`, until) }),
  };
}

function toDeadLetter({ letter, event, is_cut }: DeadLetterView): WireDeadLetter {
  const { id, app_id, event_id, trigger_id, script_id, source, type, state, attempts } = letter;
  return {
    ...{ id, app_id, event_id, script_id, source, type, state, attempts },
    trigger_id: trigger_id === "" ? null : trigger_id,
    error: letter.error,
    root_execution_id: letter.root_execution_id,
    event_at: isoTime(letter.event_at),
    created_at: isoTime(letter.created_at),
    updated_at: isoTime(letter.updated_at),
    resolved_by: letter.resolved_by,
    note: letter.note,
    event,
    event_cut: is_cut,
  };
}

function toWhole(whole: WholeDeadLetter): WireWholeDeadLetter {
  return { ...toDeadLetter(whole), history: whole.history.map(toAttempt) };
}

function toAttempt(from: EventAttempt): WireWholeDeadLetter["history"][number] {
  const { number, execution_id, status, error, started_at, duration_ms } = from;
  return { number, execution_id, status, error, started_at: isoTime(started_at), duration_ms };
}
