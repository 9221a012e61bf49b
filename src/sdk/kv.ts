/** `kv`: data that stays. Every call is one transaction of the server; nothing is cached here. */
import { hostCall } from "./host.ts";

// <declarations>
/** One value with the version of its last write. */
export interface KvEntry<T = unknown> {
  key: string;
  value: T;
  /** 1 for the first write of a key, one more for each further one. */
  version: number;
}

/** Part of a collection, in the order of its keys (by code point). */
export interface KvPage<T = unknown> {
  items: KvEntry<T>[];
  /** Give it to the next `list`; null when there is no more. */
  nextCursor: string | null;
}

/** When and how long a value is written. */
export interface KvSetOptions {
  /** Seconds until the value is gone, from 0.001 to ten years. Without it the value stays. */
  ttl?: number;
  /** Write only in the place of this version; 0: only if there is no value. Else `kv_version_conflict`. */
  ifVersion?: number;
}

/**
 * Values by key. Values are JSON of at most 256 KiB, keys have at most 512 bytes. Errors carry a stable
 * `code`: `kv_invalid_key`, `kv_invalid_value`, `kv_value_too_large`, `kv_not_a_number`,
 * `kv_version_conflict`, `quota_exceeded`.
 *
 * A value whose `ttl` has passed is gone for everybody at that moment; its key begins at version 1 again,
 * and no trigger is told.
 */
export interface KvCollection<T = unknown> {
  /** The value, or null. */
  get(key: string): Promise<T | null>;
  /** The value with its version, or null. */
  getEntry(key: string): Promise<KvEntry<T> | null>;
  /** Values of at most 100 keys, or null, in the order of the keys; together at most 4 MiB. */
  getMany(keys: readonly string[]): Promise<(T | null)[]>;
  /** Resolves to the version that was written, for the next `ifVersion`. Without `ttl` an old one ends. */
  set(key: string, value: T, options?: KvSetOptions): Promise<{ version: number }>;
  /** True when there was a value. */
  delete(key: string, options?: { ifVersion?: number }): Promise<boolean>;
  has(key: string): Promise<boolean>;
  /**
   * Adds to a number, atomically; a missing one counts as 0, and gets the `ttl`. The time of one that is
   * there does not change. Resolves to the sum.
   */
  increment(key: string, by?: number, options?: { ttl?: number }): Promise<number>;
  list(options?: { prefix?: string; limit?: number; cursor?: string | null }): Promise<KvPage<T>>;
}

/** The app's key-value data. */
export interface Kv {
  collection<T = unknown>(name: string): KvCollection<T>;
}
// </declarations>

export const kv: Kv = {
  collection<T>(name: string): KvCollection<T> {
    const call = <R>(method: string, args: object): Promise<R> =>
      hostCall(`kv.${method}`, { collection: name, ...args }) as Promise<R>;
    return {
      get: (key) => call("get", { key }),
      getEntry: (key) => call("getEntry", { key }),
      getMany: (keys) => call("getMany", { keys }),
      set: async (key, value, { ttl, ifVersion } = {}) => ({
        version: await call<number>("set", { key, value, ttl, ifVersion }),
      }),
      delete: (key, { ifVersion } = {}) => call("delete", { key, ifVersion }),
      has: (key) => call("has", { key }),
      increment: (key, by = 1, { ttl } = {}) => call("increment", { key, by, ttl }),
      list: ({ prefix, limit, cursor } = {}) => call("list", { prefix, limit, cursor }),
    };
  },
};
