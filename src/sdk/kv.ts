/** `kv`: data that stays. Every call is one transaction of the server; nothing is cached here. */
import { hostCall } from "./host.ts";

// <declarations>
/** One value with the version of its last write. */
export interface KvEntry<T = unknown> {
  key: string;
  value: T;
  version: number;
}

/** Part of a collection, in the order of its keys (by code point). */
export interface KvPage<T = unknown> {
  items: KvEntry<T>[];
  /** Give it to the next `list`; null when there is no more. */
  nextCursor: string | null;
}

/** Values by key. Values are JSON; errors carry a stable `code` (`kv_invalid_key`, …). */
export interface KvCollection<T = unknown> {
  /** The value, or null. */
  get(key: string): Promise<T | null>;
  /** The value with its version, or null. */
  getEntry(key: string): Promise<KvEntry<T> | null>;
  set(key: string, value: T): Promise<void>;
  /** True when there was a value. */
  delete(key: string): Promise<boolean>;
  has(key: string): Promise<boolean>;
  /** Adds to a number, atomically; a missing one counts as 0. Resolves to the sum. */
  increment(key: string, by?: number): Promise<number>;
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
      set: async (key, value) => void (await call("set", { key, value })),
      delete: (key) => call("delete", { key }),
      has: (key) => call("has", { key }),
      increment: (key, by = 1) => call("increment", { key, by }),
      list: ({ prefix, limit, cursor } = {}) => call("list", { prefix, limit, cursor }),
    };
  },
};
