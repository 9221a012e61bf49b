/**
 * Writes of entries inside a transaction, with their events: what the binding uses where an app has
 * triggers, and `tx` and the admin API always.
 */
import type { Clock } from "../base/clock.ts";
import type { BindingContext } from "../domain/bindings.ts";
import { deleteKvExactly, getKv, insertKv, replaceKv } from "../storage/kv.ts";
import type { Reader, Seen, Tx } from "../storage/port.ts";
import type { Emission } from "./emission.ts";
import type { Usage, UsageDelta } from "./usage.ts";

/** An entry or a document, as it was read. */
export interface StoredRecord {
  /** JSON text. */
  value: string;
  version: number;
  /** Of an entry: epoch ms, or null for never. */
  expires_at?: number | null;
}

export interface RecordChange {
  collection: string;
  /** Of a document: its id. */
  key: string;
  /** What was read, and is to be there still; null: nothing. */
  previous: StoredRecord | null;
  /** JSON text; null: nothing. */
  value: string | null;
  /** Of an entry; never when it is left out. */
  expires_at?: number | null;
}

export interface RecordWrites {
  /** Null when there is none; an expired entry is none. */
  read(
    r: Reader,
    app_id: string,
    collection: string,
    key: string,
    seen?: Seen,
  ): Promise<StoredRecord | null>;
  /**
   * Puts `value` in the place of `previous`, with its event, and counts it. Resolves to the new version,
   * 0 for nothing, or null when something else is there by now. Throws PicError `quota_exceeded`; the
   * transaction is run by `Usage.within`.
   */
  replace(tx: Tx, cx: BindingContext, change: RecordChange): Promise<number | null>;
}

export interface KvWritesOptions {
  clock: Clock;
  emission: Emission;
  usage: Usage;
}

export function createKvWrites({ clock, emission, usage }: KvWritesOptions): RecordWrites {
  return {
    read: (r, app_id, collection, key, seen) =>
      getKv(r, app_id, collection, key, clock.now(), seen),
    replace: async (tx, cx, change) => {
      const { collection, key, value } = change;
      const version = await write(tx, cx.app_id, change, clock.now());
      if (version === null || (change.previous === null && value === null)) return version;
      const previous = change.previous?.value ?? null;
      usage.take(tx, cx.app_id, kvDelta(collection, key, previous, value));
      if (!emission.isNeeded(cx.app_id, "kv", change.collection)) return version;
      const type = previous === null ? "insert" : value === null ? "delete" : "update";
      await emission.emit(tx, cx, { source: "kv", type, collection, key, value, previous });
      return version;
    },
  };
}

async function write(
  tx: Tx,
  app_id: string,
  { collection, key, previous, value, expires_at = null }: RecordChange,
  now: number,
): Promise<number | null> {
  if (value === null) {
    if (previous === null) {
      return (await getKv(tx, app_id, collection, key, now)) === null ? 0 : null;
    }
    return (await deleteKvExactly(tx, app_id, collection, key, { previous, now })) ? 0 : null;
  }
  const entry = { value, expires_at, now };
  return previous === null
    ? insertKv(tx, app_id, collection, key, entry)
    : replaceKv(tx, app_id, collection, key, { ...entry, previous });
}

/** What a write adds to an app's data; null: nothing was there, or nothing will be. */
export function kvDelta(
  collection: string,
  key: string,
  previous: string | null,
  value: string | null,
): UsageDelta {
  const before = previous === null ? 0 : Buffer.byteLength(previous);
  const after = value === null ? 0 : Buffer.byteLength(value);
  if (previous !== null && value !== null) return { rows: 0, bytes: after - before };
  const names = Buffer.byteLength(collection) + Buffer.byteLength(key);
  if (previous === value) return { rows: 0, bytes: 0 };
  return value === null
    ? { rows: -1, bytes: -(names + before) }
    : { rows: 1, bytes: names + after };
}
