/**
 * What a script or a person sends about documents, checked member by member: the same rules for `docs`,
 * for `tx` and for the admin API. Queries have a file of their own (domain/doc-query.ts).
 */
import { type DocObject, type DocPath, isShallow, parsePath } from "../domain/doc-values.ts";
import { invalidField, PicError } from "../domain/errors.ts";
import {
  docBytesMax,
  docDepthMax,
  docFieldBytesMax,
  docFindLimitDefault,
  docFindLimitMax,
  docIdBytesMax,
  kvCollectionBytesMax,
} from "../domain/limits.ts";

/** Own members only: nothing that a prototype holds is an argument. */
export function docsMember(args: unknown, name: string): unknown {
  if (typeof args !== "object" || args === null || !Object.hasOwn(args, name)) return undefined;
  return (args as Record<string, unknown>)[name];
}

/** Throws PicError `docs_invalid_id`. */
export function docsPlace(args: unknown): { collection: string; id: string } {
  return {
    collection: docsCollection(docsMember(args, "collection")),
    id: docsId(docsMember(args, "id")),
  };
}

/** Throws PicError `docs_invalid_id`. */
export function docsCollection(value: unknown): string {
  return text(value, "The collection's name", kvCollectionBytesMax);
}

/** Throws PicError `docs_invalid_id`. */
export function docsId(value: unknown): string {
  return text(value, "The id", docIdBytesMax);
}

export interface CheckedDocument {
  id: string;
  document: DocObject;
  json: string;
}

/**
 * A whole document: its `id` is the one that is given, or else `id`, which is put before its other
 * members. With `isFixed` it may not be another one. Throws PicError `docs_invalid_id`,
 * `docs_invalid_value`, `docs_value_too_large`.
 */
export function docsDocument(
  value: unknown,
  { id, isFixed }: { id: string; isFixed: boolean },
): CheckedDocument {
  const given = docsObject(value, "A document");
  if (!Object.hasOwn(given, "id")) return checked(id, { id, ...given });
  const own = docsId(given.id);
  if (isFixed && own !== id) {
    throw new PicError("docs_invalid_id", "The document's id is not the one that is written");
  }
  return checked(own, given);
}

/** An object of JSON that nests no deeper than documents may. Throws PicError `docs_invalid_value`. */
export function docsObject(value: unknown, what: string): DocObject {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new PicError("docs_invalid_value", `${what} must be an object`);
  }
  if (!isShallow(value)) {
    throw new PicError(
      "docs_invalid_value",
      `${what} must not nest deeper than ${docDepthMax} levels`,
    );
  }
  return value as DocObject;
}

function checked(id: string, document: DocObject): CheckedDocument {
  const json = printed(document);
  if (json.length > docBytesMax || Buffer.byteLength(json) > docBytesMax) {
    throw new PicError(
      "docs_value_too_large",
      `The document is longer than ${docBytesMax} bytes as JSON`,
    );
  }
  return { id, document, json };
}

function printed(document: DocObject): string {
  try {
    return JSON.stringify(document);
  } catch {
    throw new PicError("docs_invalid_value", "The document cannot be written as JSON");
  }
}

/** The version that a write asks for; null: any. Throws PicError `invalid`. */
export function docsIfVersion(value: unknown): number | null {
  if (value === undefined || value === null) return null;
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 1) {
    throw invalidField("ifVersion", "must be a version");
  }
  return value;
}

/** Documents of a page. Throws PicError `invalid`. */
export function docsLimit(value: unknown): number {
  const limit = value ?? docFindLimitDefault;
  const isGood = typeof limit === "number" && Number.isInteger(limit);
  if (!isGood || limit < 1 || limit > docFindLimitMax) {
    throw invalidField("limit", `must be a whole number from 1 to ${docFindLimitMax}`);
  }
  return limit;
}

/** A path that can be indexed. Throws PicError `invalid`. */
export function docsField(value: unknown): DocPath {
  if (typeof value !== "string" || value === "") {
    throw invalidField("field", "must be the path of a member, such as address.city");
  }
  const path = parsePath(value);
  if (path === null)
    throw invalidField("field", `must not be longer than ${docFieldBytesMax} bytes`);
  if (value.includes("\0") || !value.isWellFormed()) {
    throw invalidField("field", "must not contain a NUL character or a lone surrogate");
  }
  if (value.startsWith("$")) throw invalidField("field", "must not begin with $");
  return path;
}

/** Text that every engine stores and compares alike: not empty, no NUL, no lone surrogates. */
function text(value: unknown, what: string, bytesMax: number): string {
  const refuse = (rule: string) => new PicError("docs_invalid_id", `${what} ${rule}`);
  if (typeof value !== "string") throw refuse("must be a string");
  if (value === "") throw refuse("must not be empty");
  if (value.length > bytesMax || Buffer.byteLength(value) > bytesMax) {
    throw refuse(`is longer than ${bytesMax} bytes`);
  }
  if (value.includes("\0")) throw refuse("must not contain a NUL character");
  if (!value.isWellFormed()) throw refuse("must not contain a lone surrogate");
  return value;
}
