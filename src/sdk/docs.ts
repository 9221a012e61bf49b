/** `docs`: documents that are found by what is in them. Every call is one transaction of the server. */
import { hostCall } from "./host.ts";

// <declarations>
/** A document as it is kept: an object of JSON with its id. */
export type Doc<T extends object = Record<string, unknown>> = T & { id: string };

/** A document with the version of its last write. */
export interface DocEntry<T extends object = Record<string, unknown>> {
  id: string;
  value: Doc<T>;
  /** 1 for the first write of an id, one more for each further one. */
  version: number;
}

/** What a value is compared with: all of the operators that are given must hold. */
export interface DocOperators {
  /** Equal. null is equal to what is missing. */
  $eq?: unknown;
  $ne?: unknown;
  /** Ranges hold for values of the same type: numbers by size, strings by code point. */
  $gt?: unknown;
  $gte?: unknown;
  $lt?: unknown;
  $lte?: unknown;
  /** Equal to one of at most 200. */
  $in?: readonly unknown[];
  $nin?: readonly unknown[];
  $exists?: boolean;
  $not?: DocOperators;
}

/**
 * Which documents are found: a part of MongoDB's query language. Members are paths (`address.city`,
 * `items.0.name`) with the value to be equal to, or operators; all of them must hold. A path goes into
 * arrays: `{ "items.name": "x" }` finds a document when any of its items has that name, `{ tags: "x" }` when
 * any of its tags is "x". At most 100 conditions, and 8 levels of $and, $or and $not.
 */
export interface DocFilter {
  $and?: readonly DocFilter[];
  $or?: readonly DocFilter[];
  [path: string]: unknown;
}

/**
 * Up to 4 paths: 1 ascending, -1 descending. null and missing come before numbers, strings, objects, arrays
 * and booleans. An array counts as its least element ascending, its greatest descending. Ties are broken by id.
 */
export type DocSort = Record<string, 1 | -1>;

export interface DocFindOptions {
  where?: DocFilter;
  /** Without it the order is that of ids, or of an index that serves. */
  sort?: DocSort;
  /** At most 200; 50 when it is left out. */
  limit?: number;
  /** `nextCursor` of the page before; `where` and `sort` must be the same. */
  cursor?: string | null;
}

export interface DocPage<T extends object = Record<string, unknown>> {
  /** May be fewer than `limit`, or none, even when there are more. */
  items: Doc<T>[];
  /** Give it to the next `find`; null when there is no more. */
  nextCursor: string | null;
}

export interface DocIndexState {
  field: string;
  /** An index serves when it is ready. */
  state: "building" | "ready";
}

/** How a find is served. */
export interface DocExplanation {
  /** The field whose index serves; null: none does. */
  index: string | null;
  serves: ("where" | "sort")[];
  /** Documents of the whole collection are read, one by one. */
  scan: boolean;
  /** All that is found is read before the first one is known. */
  sortsInMemory: boolean;
  /** What the find is sorted by; empty: by id. */
  order: DocSort;
}

/**
 * Documents by id, and by what is in them. A document is an object of at most 256 KiB of JSON, its `id` a string
 * of at most 512 bytes. Errors carry a stable `code`: `docs_invalid_id`, `docs_invalid_value`,
 * `docs_value_too_large`, `docs_exists`, `docs_not_found`, `docs_version_conflict`, `docs_invalid_query`,
 * `docs_query_too_large` (an index helps), `docs_index_limit`, `quota_exceeded`.
 */
export interface DocsCollection<T extends object = Record<string, unknown>> {
  /** Without an `id` it gets one that sorts by time. `docs_exists` when there is one with this id. */
  insert(document: T & { id?: string }): Promise<Doc<T>>;
  /** The document, or null. */
  get(id: string): Promise<Doc<T> | null>;
  /** The document with its version, or null. */
  getEntry(id: string): Promise<DocEntry<T> | null>;
  /** `docs_not_found` when there is none; with `ifVersion`, `docs_version_conflict` for another one. */
  replace(id: string, document: T, options?: { ifVersion?: number }): Promise<Doc<T>>;
  /** Merges by RFC 7396: a null removes a member, objects are merged, all else is replaced. */
  patch(id: string, changes: object, options?: { ifVersion?: number }): Promise<Doc<T>>;
  /** True when there was one. */
  delete(id: string, options?: { ifVersion?: number }): Promise<boolean>;
  find(options?: DocFindOptions): Promise<DocPage<T>>;
  /** The first document, or null. */
  findOne(options?: Omit<DocFindOptions, "limit" | "cursor">): Promise<Doc<T> | null>;
  count(options?: { where?: DocFilter }): Promise<number>;
  /** Finds by this field become fast. Does nothing when there is one; at most 8 in a collection. */
  createIndex(field: string): Promise<DocIndexState>;
  /** True when there was one. */
  dropIndex(field: string): Promise<boolean>;
  indexes(): Promise<DocIndexState[]>;
  explain(options?: { where?: DocFilter; sort?: DocSort }): Promise<DocExplanation>;
}

/** The app's documents. */
export interface Docs {
  collection<T extends object = Record<string, unknown>>(name: string): DocsCollection<T>;
}
// </declarations>

export const docs: Docs = {
  collection<T extends object>(name: string): DocsCollection<T> {
    const call = <R>(method: string, args: object): Promise<R> =>
      hostCall(`docs.${method}`, { collection: name, ...args }) as Promise<R>;
    return {
      insert: (document) => call("insert", { document }),
      get: (id) => call("get", { id }),
      getEntry: (id) => call("getEntry", { id }),
      replace: (id, document, { ifVersion } = {}) => call("replace", { id, document, ifVersion }),
      patch: (id, changes, { ifVersion } = {}) => call("patch", { id, changes, ifVersion }),
      delete: (id, { ifVersion } = {}) => call("delete", { id, ifVersion }),
      find: ({ where, sort, limit, cursor } = {}) => call("find", { where, sort, limit, cursor }),
      findOne: async ({ where, sort } = {}) => {
        let cursor: string | null = null;
        do {
          // A page may end before it has found anything.
          const page: DocPage<T> = await call("find", { where, sort, limit: 1, cursor });
          if (page.items.length > 0) return page.items[0] as Doc<T>;
          cursor = page.nextCursor;
        } while (cursor !== null);
        return null;
      },
      count: ({ where } = {}) => call("count", { where }),
      createIndex: (field) => call("createIndex", { field }),
      dropIndex: (field) => call("dropIndex", { field }),
      indexes: () => call("indexes", {}),
      explain: ({ where, sort } = {}) => call("explain", { where, sort }),
    };
  },
};
