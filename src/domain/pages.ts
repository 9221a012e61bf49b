/**
 * Pages of a list, by keyset: a cursor holds the sort key of the last item, so that a page never
 * skips or repeats an item that was there all along, whatever is inserted meanwhile.
 */
import { invalidField } from "./errors.ts";
import { cursorCharsMax, listLimitMax } from "./limits.ts";

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

export interface PageRequest {
  /** 1 to listLimitMax. */
  limit: number;
  /** What an earlier page gave as `next_cursor`; null for the first page. */
  cursor: string | null;
}

type Shape = readonly ("string" | "number")[];
type Keys<S extends Shape> = { -readonly [I in keyof S]: S[I] extends "string" ? string : number };

/** An opaque cursor (base64url) that holds a sort key. */
export function encodeCursor(keys: readonly (string | number)[]): string {
  return Buffer.from(JSON.stringify(keys)).toString("base64url");
}

/** The sort key inside a cursor. Throws PicError `invalid` with path "cursor" for anything we did not make. */
export function decodeCursor<const S extends Shape>(cursor: string, shape: S): Keys<S> {
  const keys = cursor.length <= cursorCharsMax ? parse(cursor) : undefined;
  if (
    !Array.isArray(keys) ||
    keys.length !== shape.length ||
    !keys.every((key, index) => isKey(key, shape[index]))
  ) {
    throw invalidField("cursor", "is not a cursor of this list");
  }
  return keys as Keys<S>;
}

/** Throws PicError `invalid` with path "limit" unless 1 ≤ limit ≤ listLimitMax. */
export function checkLimit(limit: number): void {
  if (!Number.isInteger(limit) || limit < 1 || limit > listLimitMax) {
    throw invalidField("limit", `must be a whole number from 1 to ${listLimitMax}`);
  }
}

/** Makes a page of up to `limit` + 1 rows that were read: the extra one says that there are more. */
export function pageOf<Row, T>(
  rows: readonly Row[],
  limit: number,
  options: { item: (row: Row) => T; key: (row: Row) => readonly (string | number)[] },
): Page<T> {
  const kept = rows.slice(0, limit);
  const last = rows.length > limit ? kept.at(-1) : undefined;
  return {
    items: kept.map(options.item),
    next_cursor: last === undefined ? null : encodeCursor(options.key(last)),
  };
}

function parse(cursor: string): unknown {
  if (!/^[A-Za-z0-9_-]+$/.test(cursor)) return undefined;
  try {
    return JSON.parse(Buffer.from(cursor, "base64url").toString("utf8"));
  } catch {
    return undefined;
  }
}

function isKey(key: unknown, type: "string" | "number" | undefined): boolean {
  if (type === "number") return Number.isSafeInteger(key);
  return typeof key === "string" && key.isWellFormed() && !key.includes("\0");
}
