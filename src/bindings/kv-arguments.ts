/**
 * What a script or a person sends about entries, checked member by member: the same rules for `kv`, for
 * `tx` and for the admin API.
 */
import { invalidField, PicError } from "../domain/errors.ts";
import {
  kvCollectionBytesMax,
  kvCursorCharsMax,
  kvKeyBytesMax,
  kvListLimitDefault,
  kvListLimitMax,
  kvManyKeysMax,
  kvValueBytesMax,
  ttlSecondsMax,
  ttlSecondsMin,
} from "../domain/limits.ts";

/** Own members only: nothing that a prototype holds is an argument. */
export function member(args: unknown, name: string): unknown {
  if (typeof args !== "object" || args === null || !Object.hasOwn(args, name)) return undefined;
  return (args as Record<string, unknown>)[name];
}

/** Throws PicError `kv_invalid_key`. */
export function kvPlace(args: unknown): { collection: string; key: string } {
  return { collection: kvCollection(member(args, "collection")), key: kvKey(member(args, "key")) };
}

/** Throws PicError `kv_invalid_key`. */
export function kvCollection(value: unknown): string {
  return text(value, "The collection's name", kvCollectionBytesMax);
}

/** Throws PicError `kv_invalid_key`. */
export function kvKey(value: unknown): string {
  return text(value, "The key", kvKeyBytesMax);
}

/** Throws PicError `kv_invalid_key`, `invalid`. */
export function kvKeys(value: unknown): string[] {
  if (!Array.isArray(value)) throw invalidField("keys", "must be an array");
  if (value.length > kvManyKeysMax) {
    throw invalidField("keys", `must not be more than ${kvManyKeysMax}`);
  }
  return value.map(kvKey);
}

/** The value as JSON text. Throws PicError `kv_invalid_value`, `kv_value_too_large`. */
export function kvValueJson(value: unknown): string {
  if (value === undefined) {
    throw new PicError("kv_invalid_value", "The value is undefined: JSON has no such value");
  }
  const json = printed(value);
  if (json.length > kvValueBytesMax || Buffer.byteLength(json) > kvValueBytesMax) {
    throw new PicError(
      "kv_value_too_large",
      `The value is longer than ${kvValueBytesMax} bytes as JSON`,
    );
  }
  return json;
}

/** A value nested deep enough overflows the stack of whoever prints it: that is the script's error. */
function printed(value: unknown): string {
  try {
    const json: string | undefined = JSON.stringify(value);
    if (json !== undefined) return json;
  } catch {}
  throw new PicError("kv_invalid_value", "The value cannot be written as JSON");
}

/** When an entry expires that is written now, epoch ms; null for never. Throws PicError `invalid`. */
export function kvExpiry(ttl: unknown, now: number): number | null {
  if (ttl === undefined || ttl === null) return null;
  if (!isFiniteNumber(ttl) || ttl < ttlSecondsMin || ttl > ttlSecondsMax) {
    throw invalidField("ttl", `must be seconds, from ${ttlSecondsMin} to ${ttlSecondsMax}`);
  }
  return now + Math.ceil(ttl * 1_000);
}

/** The version that a write asks for, 0 for nothing; null: any. Throws PicError `invalid`. */
export function kvIfVersion(ifVersion: unknown): number | null {
  if (ifVersion === undefined || ifVersion === null) return null;
  if (typeof ifVersion !== "number" || !Number.isSafeInteger(ifVersion) || ifVersion < 0) {
    throw invalidField("ifVersion", "must be a version, or 0 for no entry");
  }
  return ifVersion;
}

/** Throws PicError `kv_not_a_number`. */
export function kvIncrement(by: unknown): number {
  const number = by ?? 1;
  if (isFiniteNumber(number)) return number;
  throw new PicError("kv_not_a_number", "increment takes a finite number");
}

export function isFiniteNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

/** Of a list; "" is every key's. Throws PicError `kv_invalid_key`. */
export function kvPrefix(value: unknown): string {
  const prefix = value ?? "";
  if (typeof prefix !== "string") throw badKey("The prefix must be a string");
  return checkedText(prefix, "The prefix", kvKeyBytesMax);
}

/** Items of a page. Throws PicError `invalid`. */
export function kvLimit(value: unknown): number {
  const limit = value ?? kvListLimitDefault;
  if (
    typeof limit !== "number" ||
    !Number.isInteger(limit) ||
    limit < 1 ||
    limit > kvListLimitMax
  ) {
    throw invalidField("limit", `must be a whole number from 1 to ${kvListLimitMax}`);
  }
  return limit;
}

/** What a list that ended with this key goes on from. */
export function kvCursorAfter(key: string): string {
  return Buffer.from(key).toString("base64url");
}

/** The key in a cursor that we made, null for none. Throws PicError `invalid` for whatever else it is. */
export function kvCursorKey(value: unknown): string | null {
  const cursor = value ?? null;
  if (cursor === null) return null;
  const isOurs =
    typeof cursor === "string" &&
    cursor.length <= kvCursorCharsMax &&
    /^[A-Za-z0-9_-]+$/.test(cursor);
  if (!isOurs) throw badCursor();
  const key = Buffer.from(cursor, "base64url").toString("utf8");
  // decoding is lenient; only what encodes to the same text again is one of ours
  if (kvCursorAfter(key) !== cursor) throw badCursor();
  return text(key, "The cursor's key", kvKeyBytesMax);
}

function badCursor(): PicError {
  return invalidField("cursor", "is not a cursor of this list");
}

/** Text that every engine stores and compares alike: not empty, no NUL, no lone surrogates. */
function text(value: unknown, what: string, bytesMax: number): string {
  if (typeof value !== "string") throw badKey(`${what} must be a string`);
  if (value === "") throw badKey(`${what} must not be empty`);
  return checkedText(value, what, bytesMax);
}

function checkedText(value: string, what: string, bytesMax: number): string {
  if (
    value.length > bytesMax ||
    (value.length * 3 > bytesMax && Buffer.byteLength(value) > bytesMax)
  ) {
    throw badKey(`${what} is longer than ${bytesMax} bytes`);
  }
  if (value.includes("\0")) throw badKey(`${what} must not contain a NUL character`);
  if (!value.isWellFormed()) throw badKey(`${what} must not contain a lone surrogate`);
  return value;
}

function badKey(message: string): PicError {
  return new PicError("kv_invalid_key", message);
}
