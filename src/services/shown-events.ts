/** The event of a dead letter as people see it. */
import { type DeadLetter, deliveryOf } from "../domain/dead-letters.ts";
import type { InvocationRequest } from "../execution/api.ts";
import { eventJson } from "../execution/ctx.ts";
import {
  redactHeaders,
  redactQuery,
  redactText,
  redactUrl,
  secretValues,
} from "../execution/redaction.ts";

type Members = Record<string, unknown>;

/** `ctx.request`, as far as it can hold credentials. */
type ShownRequest = Members &
  Pick<InvocationRequest, "path" | "headers" | "query" | "queries"> & { body: unknown };

/**
 * What the handler saw in its last attempt: `ctx.event`, and of an asynchronous route `ctx.request` in
 * it, without credentials. Members that are longer as JSON than `memberCharsMax` are left out.
 */
export function shownEvent(
  letter: DeadLetter,
  memberCharsMax: number,
): { event: Members; is_cut: boolean } {
  const event = JSON.parse(eventJson(deliveryOf(letter, 0), letter.attempts)) as Members;
  if (letter.source !== "route") return cut(event, memberCharsMax);
  // eventJson has just written it.
  const request = cut(redacted(event.request as ShownRequest), memberCharsMax);
  return { event: { ...event, request: request.event }, is_cut: request.is_cut };
}

function cut(members: Members, charsMax: number): { event: Members; is_cut: boolean } {
  if (charsMax === Number.POSITIVE_INFINITY) return { event: members, is_cut: false };
  const all = Object.entries(members);
  const kept = all.filter(([, value]) => JSON.stringify(value).length <= charsMax);
  return { event: Object.fromEntries(kept), is_cut: kept.length < all.length };
}

/** Hides what the record of an execution hides. */
function redacted(request: ShownRequest): Members {
  const { path, headers, query, queries } = request;
  const secrets = secretValues({ headers, query });
  return {
    ...request,
    path: redactUrl(path),
    headers: redactHeaders(headers),
    query: redactQuery(query),
    queries: redactedQueries(queries),
    body: redactedTexts(request.body, secrets),
  };
}

function redactedQueries(queries: Readonly<Record<string, string[]>>): Record<string, string[]> {
  const shown = Object.entries(queries).map(([name, values]): [string, string[]] => [
    name,
    values.map((value) => redactQuery({ [name]: value })[name] ?? ""),
  ]);
  return Object.fromEntries(shown);
}

/** Text by text: a credential may look like a piece of JSON. Names stay as they are. */
function redactedTexts(value: unknown, secrets: readonly string[]): unknown {
  if (secrets.length === 0) return value;
  return JSON.parse(JSON.stringify(value), (_name, inner: unknown) =>
    typeof inner === "string" ? redactText(inner, secrets) : inner,
  );
}
