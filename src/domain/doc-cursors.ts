/**
 * Cursors of finds: the place of the last document in its order, and that order. They hold no state of
 * the server, so that they go on after whatever was written, and by whatever index there is by then.
 */
import {
  comparePositions,
  type DocPosition,
  type DocSort,
  parseSort,
  refuse,
} from "./doc-query.ts";
import { type DocValue, isShallow } from "./doc-values.ts";
import { PicError } from "./errors.ts";
import { docCursorCharsMax, docIdBytesMax } from "./limits.ts";

export interface DocCursor {
  readonly sort: DocSort;
  readonly position: DocPosition;
}

/** Throws PicError `docs_query_too_large` when the values are too long to go on from. */
export function formatCursor({ sort, position }: DocCursor): string {
  const text = JSON.stringify([sortText(sort), position.values, position.id]);
  const cursor = Buffer.from(text).toString("base64url");
  if (cursor.length <= docCursorCharsMax) return cursor;
  throw new PicError(
    "docs_query_too_large",
    `The values of ${sort.map(({ path }) => path.text).join(", ")} are too long to page by`,
  );
}

/**
 * A cursor that we made, for this sort or for a find that named none (null). Throws PicError
 * `docs_invalid_query`.
 */
export function parseCursor(value: unknown, sort: DocSort | null): DocCursor | null {
  if (value === undefined || value === null) return null;
  const bad = refuse("cursor", "is not a cursor of a find");
  if (typeof value !== "string" || value.length > docCursorCharsMax) throw bad;
  const parts = decoded(value);
  if (!Array.isArray(parts) || parts.length !== 3) throw bad;
  const [fields, values, id] = parts as [unknown, unknown, unknown];
  const isId = typeof id === "string" && id !== "" && Buffer.byteLength(id) <= docIdBytesMax;
  if (!isId || !id.isWellFormed() || id.includes("\0")) throw bad;
  if (!Array.isArray(fields) || !Array.isArray(values) || !isShallow(values)) throw bad;
  const own = parseSort(Object.fromEntries(fields.map(pairOf)));
  if (own.length !== values.length || own.length !== fields.length) throw bad;
  if (sort !== null && !isSameSort(sort, own)) {
    throw refuse("cursor", "is of a find with another sort");
  }
  return { sort: own, position: { values: values as DocValue[], id } };
}

/** Own members only, also of the name `__proto__`. */
function pairOf(field: unknown): [string, unknown] {
  const isPair = Array.isArray(field) && field.length === 2 && typeof field[0] === "string";
  if (!isPair) throw refuse("cursor", "is not a cursor of a find");
  return field as [string, unknown];
}

function decoded(cursor: string): unknown {
  const text = Buffer.from(cursor, "base64url").toString("utf8");
  // decoding is lenient; only what encodes to the same text again is one of ours
  if (Buffer.from(text).toString("base64url") !== cursor) return null;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}

function isSameSort(a: DocSort, b: DocSort): boolean {
  return JSON.stringify(sortText(a)) === JSON.stringify(sortText(b));
}

function sortText(sort: DocSort): [string, number][] {
  return sort.map(({ path, direction }) => [path.text, direction]);
}

/** Whether a place is behind the cursor's. */
export function isAfter(cursor: DocCursor | null, sort: DocSort, position: DocPosition): boolean {
  return cursor === null || comparePositions(sort, position, cursor.position) > 0;
}
