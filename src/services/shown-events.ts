/** The event of a dead letter as people see it. */
import { type DeadLetter, deliveryOf } from "../domain/dead-letters.ts";
import type { InvocationRequest } from "../execution/api.ts";
import { eventJson } from "../execution/ctx.ts";
import {
  redactHeaders,
  redactParams,
  redactQuery,
  redactText,
  redactUrl,
  secretValues,
} from "../execution/redaction.ts";

type Members = Record<string, unknown>;

/** `ctx.request`, as far as it can hold credentials. */
type ShownRequest = Members &
  Pick<InvocationRequest, "path" | "headers" | "query" | "queries" | "params"> & { body: unknown };

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
    path: redactText(redactUrl(path), secrets),
    headers: redactHeaders(headers),
    query: redactQuery(query),
    queries: redactedQueries(queries),
    params: redactParams(request.params, secrets),
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

/**
 * Text by text: a secret may look like a piece of JSON, and names stay as they are. PiCloud's own
 * credentials do not look like that: they go first, also from names.
 */
function redactedTexts(value: unknown, secrets: readonly string[]): unknown {
  const text = JSON.stringify(value);
  const withoutOwn = redactText(text, []);
  if (secrets.length === 0 && withoutOwn === text) return value;
  return JSON.parse(withoutOwn, (_name, inner: unknown) =>
    typeof inner === "string" ? redactText(inner, secrets) : inner,
  );
}
