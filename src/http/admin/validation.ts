/** Turns what a caller sent into checked values, or into one error that lists every bad field. */
import type { ArkError, ArkErrors } from "arktype";
import { type FieldError, invalidField, PicError } from "../../domain/errors.ts";
import { fieldErrorsMax, listLimitDefault, listLimitMax } from "../../domain/limits.ts";
import { isStorableText } from "../../domain/names.ts";
import type { PageRequest } from "../../domain/pages.ts";
import { type as ark, type Schema } from "../../schema/arktype.ts";

/**
 * `data` as the schema describes it. Without a schema nothing may be given.
 * Throws PicError `invalid` with `errors`; values are never repeated in a message.
 * @param allowed.values members that hold any JSON value, and whose inside is not judged
 * @param allowed.lists members, at any depth, that may be empty lists
 */
export function checked<T>(
  schema: Schema<T> | null,
  data: unknown,
  allowed: { values?: readonly string[] | undefined; lists?: readonly string[] | undefined } = {},
): T | undefined {
  if (schema === null) {
    const [name] = Object.keys(data ?? {});
    if (name !== undefined) throw invalidField(name, "is not known here");
    return undefined;
  }
  const out = schema(data);
  const { values = [], lists = [] } = allowed;
  const errors =
    out instanceof ark.errors ? fieldErrors(out) : missedErrors(without(values, data), lists);
  const [first] = errors;
  if (first === undefined) return data as T;
  throw new PicError("invalid", `${first.path === "" ? "body" : first.path}: ${first.message}`, {
    errors: errors.slice(0, fieldErrorsMax),
  });
}

/** The query as an object of texts. Throws PicError `invalid` for a name that stands there twice. */
export function readQuery(url: string): Record<string, string> {
  const start = url.indexOf("?");
  const query: Record<string, string> = {};
  if (start === -1) return query;
  for (const [name, value] of new URLSearchParams(url.slice(start))) {
    if (Object.hasOwn(query, name)) throw invalidField(name, "stands there twice");
    Object.defineProperty(query, name, { value, enumerable: true });
  }
  return query;
}

/** Throws PicError `invalid`. The store judges the cursor. */
export function readPage(query: Record<string, string>): PageRequest {
  const { limit: text, cursor } = query;
  const limit = text === undefined ? listLimitDefault : /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (limit < 1 || limit > listLimitMax) {
    throw invalidField("limit", `must be a whole number from 1 to ${listLimitMax}`);
  }
  return { limit, cursor: cursor ?? null };
}

function fieldErrors(errors: ArkErrors): FieldError[] {
  return [...errors]
    .flatMap(innermost)
    .map((error) => ({ path: pathOf(error.path), message: messageOf(error) }));
}

/** Of `object | null`, what is wrong inside of the object, rather than that it is neither. */
function innermost(error: ArkError): ArkError[] {
  if (error.code !== "union") return [error];
  const union = error as ArkError<"union">;
  const inside = (union.errors as ArkError[]).filter(
    (inner) => inner.path.length > error.path.length,
  );
  return inside.length === 0 ? [error] : inside.flatMap(innermost);
}

function messageOf(error: ArkError): string {
  if (error.code === "predicate" && error.expected === "removed") return "is not known here";
  if (error.code === "required") return "is missing";
  // A union's own text names the field and repeats the value.
  if (error.code === "union") return `must be ${[...new Set(alternatives(error))].join(" or ")}`;
  return `must be ${error.expected}`;
}

function alternatives(error: ArkError): string[] {
  if (error.code !== "union") return [error.expected];
  const union = error as ArkError<"union">;
  return union.errors.flatMap((inner) => alternatives(inner as ArkError));
}

/** `limits.cpu_ms`, `scripts[2].source`. */
function pathOf(path: Iterable<PropertyKey>): string {
  let text = "";
  for (const key of path) {
    if (typeof key === "number") text += `[${key}]`;
    else text += text === "" ? String(key) : `.${String(key)}`;
  }
  return text;
}

function without(members: readonly string[], data: unknown): unknown {
  const isObject = typeof data === "object" && data !== null && !Array.isArray(data);
  if (members.length === 0 || !isObject) return data;
  return Object.fromEntries(Object.entries(data).filter(([name]) => !members.includes(name)));
}

/**
 * What a schema lets through: an empty list counts as an object without members; and a database may
 * refuse, or cut, what JSON can carry: NUL and halves of surrogate pairs.
 */
function missedErrors(
  data: unknown,
  lists: readonly string[],
  path: readonly (string | number)[] = [],
): FieldError[] {
  const wrong = (message: string): FieldError[] => [{ path: pathOf(path), message }];
  if (typeof data === "string") {
    return isStorableText(data) ? [] : wrong("must not contain NUL or half a surrogate pair");
  }
  if (typeof data !== "object" || data === null) return [];
  if (Array.isArray(data)) {
    const isEmpty = data.length === 0 && !lists.includes(String(path.at(-1)));
    if (isEmpty) return wrong("must not be an empty list");
    return data.flatMap((value, index) => missedErrors(value, lists, [...path, index]));
  }
  return Object.entries(data).flatMap(([name, value]) =>
    missedErrors(value, lists, [...path, name]),
  );
}
