/**
 * Writes of documents inside a transaction: with their index entries and their events. What the binding
 * uses, but for collections that have neither, and `tx` and the admin API always.
 */
import type { Clock } from "../base/clock.ts";
import type { BindingContext } from "../domain/bindings.ts";
import type { DocObject } from "../domain/doc-values.ts";
import { listDocIndexes, lockDocs, writeEntries } from "../storage/doc-indexes.ts";
import { type DocPlace, deleteDoc, getDoc, insertDoc, updateDoc } from "../storage/docs.ts";
import type { Tx } from "../storage/port.ts";
import type { Emission } from "./emission.ts";
import type { RecordChange, RecordWrites } from "./kv-writes.ts";
import type { Usage, UsageDelta } from "./usage.ts";

export interface DocsWritesOptions {
  clock: Clock;
  emission: Emission;
  usage: Usage;
}

/** Values are documents as docs-arguments.ts checks them. */
export function createDocsWrites({ clock, emission, usage }: DocsWritesOptions): RecordWrites {
  return {
    read: (r, app_id, collection, key, seen) => getDoc(r, { app_id, collection, id: key }, seen),
    replace: async (tx, cx, change) => {
      const { app_id } = cx;
      const { collection, key, value } = change;
      const place = { app_id, collection, id: key };
      if (change.previous === null && value === null) {
        return (await getDoc(tx, place)) === null ? 0 : null;
      }
      // Sent together: the indexes are read behind the lock.
      const [, indexes] = await Promise.all([
        lockDocs(tx, app_id, collection, "shared"),
        listDocIndexes(tx, app_id, collection),
      ]);
      const version = await write(tx, place, change, clock.now());
      if (version === null) return null;
      const previous = change.previous?.value ?? null;
      usage.take(tx, app_id, docsDelta(collection, key, previous, value));
      if (indexes.length > 0) {
        const [before, after] = [parsed(previous), parsed(value)];
        let bytes = 0;
        for (const index of indexes) {
          bytes += await writeEntries(tx, index, { id: key, before, after });
        }
        // 8 indexes of 50 values each fill seventy times what the document does.
        usage.take(tx, app_id, { rows: 0, bytes });
      }
      await emit(tx, cx, change);
      return version;
    },
  };

  async function emit(tx: Tx, cx: BindingContext, change: RecordChange): Promise<void> {
    if (!emission.isNeeded(cx.app_id, "docs", change.collection)) return;
    const { collection, key, value } = change;
    const previous = change.previous?.value ?? null;
    const type = previous === null ? "insert" : value === null ? "delete" : "update";
    await emission.emit(tx, cx, { source: "docs", type, collection, key, value, previous });
  }
}

async function write(
  tx: Tx,
  place: DocPlace,
  { previous, value }: RecordChange,
  now: number,
): Promise<number | null> {
  if (previous === null) {
    return (await insertDoc(tx, place, { value: value as string, now })) ? 1 : null;
  }
  if (value === null) return (await deleteDoc(tx, place, previous)) ? 0 : null;
  return updateDoc(tx, place, { previous, value, now });
}

function parsed(value: string | null): DocObject | null {
  return value === null ? null : (JSON.parse(value) as DocObject);
}

/** What a write adds to an app's data; null: nothing was there, or nothing will be. */
export function docsDelta(
  collection: string,
  id: string,
  previous: string | null,
  value: string | null,
): UsageDelta {
  const before = previous === null ? 0 : Buffer.byteLength(previous);
  const after = value === null ? 0 : Buffer.byteLength(value);
  if (previous !== null && value !== null) return { rows: 0, bytes: after - before };
  const names = Buffer.byteLength(collection) + Buffer.byteLength(id);
  return value === null
    ? { rows: -1, bytes: -(names + before) }
    : { rows: 1, bytes: names + after };
}
