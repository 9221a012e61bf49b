/**
 * What people do with the records of an app, be they entries or documents: look at them, change one,
 * clear a collection. A change is made by the code of the scripts' bindings, so that it emits events,
 * counts in quotas and raises versions; and it is durable when the promise resolves.
 *
 * Names and keys were checked by whoever calls; apps were found.
 */
import type { Clock } from "../base/clock.ts";
import type { RecordWrites, StoredRecord } from "../bindings/kv-writes.ts";
import type { Usage } from "../bindings/usage.ts";
import type { Actor } from "../domain/accounts.ts";
import type { AuditedChange } from "../domain/audit.ts";
import type { BindingContext } from "../domain/bindings.ts";
import type { DataRecord, DataSource } from "../domain/data.ts";
import { type ErrorCode, invalidField, PicError } from "../domain/errors.ts";
import {
  dataClearRowsMax,
  dataCountRowsMax,
  dataWriteTriesMax,
  kvListBytesMax,
  kvListScanRowsMax,
  saveTriesMax,
} from "../domain/limits.ts";
import { decodeCursor, encodeCursor, type Page, type PageRequest } from "../domain/pages.ts";
import { countRecords, listCollections, listRecords } from "../storage/data.ts";
import type { Database, Tx } from "../storage/port.ts";
import { TransactionConflict } from "../storage/transaction-conflict.ts";
import type { Audit } from "./audit.ts";

export interface DataRecordsOptions {
  db: Database;
  clock: Clock;
  usage: Usage;
  source: DataSource;
  writes: RecordWrites;
  /** The same without events. */
  quiet: RecordWrites;
  /** What a wrong `if_version` is. */
  conflict: ErrorCode;
  audit: Audit;
}

export interface CollectionSize {
  name: string;
  /** Counted up to dataCountRowsMax, and so are bytes. */
  records: number;
  /** Of keys and values. */
  bytes: number;
  /** There is more than was counted. */
  more: boolean;
}

export interface RecordPlace {
  collection: string;
  key: string;
}

export interface RecordEdit extends RecordPlace {
  /** For the audit trail: what is done, `kv.set`. */
  action: string;
  /** JSON text from what is there, or null to delete it. Throws PicError for what cannot be. */
  value: (previous: StoredRecord | null) => string | null;
  /** Absent: never. */
  expires_at?: (previous: StoredRecord | null) => number | null;
  /** 0: nothing; null: whatever is there. */
  if_version: number | null;
}

export interface ClearedRecords {
  count: number;
  /** There are some left: another call goes on. */
  more: boolean;
}

/** Whose data, and who edits, for the events: the request stands for the execution. */
export function editContext(
  app_id: string,
  { request_id }: Pick<Actor, "request_id">,
): BindingContext {
  return { app_id, script_id: "", execution_id: request_id, delivery: null, seen: { seq: 0 } };
}

/** What the audit trail calls one of them. */
const recordNoun = { kv: "entry", docs: "document" } as const;

/** What is done to a collection, or to all of an app (null), for the audit trail. */
export function collectionChange(
  verb: string,
  source: DataSource,
  { app_id, collection }: { app_id: string; collection: string | null },
): AuditedChange {
  const target = { kind: "collection", id: collection ?? "*" };
  return { action: `${source}.${verb}`, target, app_id };
}

/** Runs a transaction of many records, a few times when others want the same ones in another order. */
export async function repeated<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof TransactionConflict) || tries >= saveTriesMax) throw error;
    }
  }
}

export class DataRecords {
  constructor(private readonly options: DataRecordsOptions) {}

  /** By name. A page ends early once much was counted. Throws PicError `invalid` (a bad cursor). */
  async collections(app_id: string, page: PageRequest): Promise<Page<CollectionSize>> {
    const { db, clock, source } = this.options;
    const [after] = page.cursor === null ? [""] : decodeCursor(page.cursor, ["string"]);
    const names = await listCollections(db, source, { app_id, after, limit: page.limit + 1 });
    const items: CollectionSize[] = [];
    let counted = 0;
    let last = after;
    for (const name of names.slice(0, page.limit)) {
      const max = dataCountRowsMax;
      const place = { app_id, collection: name, now: clock.now(), max: max + 1 };
      const { records, bytes } = await countRecords(db, source, place);
      last = name;
      counted += records;
      // Nothing but expired entries is nothing.
      if (records > 0) {
        items.push({ name, records: Math.min(records, max), bytes, more: records > max });
      }
      if (counted >= max) break;
    }
    return {
      items,
      next_cursor: names.at(-1) === last || names.length === 0 ? null : encodeCursor([last]),
    };
  }

  /** By key. A page ends early when its values are large. Throws PicError `invalid` (a bad cursor). */
  async list(
    app_id: string,
    { collection, prefix }: { collection: string; prefix: string },
    page: PageRequest,
  ): Promise<Page<DataRecord>> {
    const { db, clock, source } = this.options;
    let after = page.cursor === null ? null : decodeCursor(page.cursor, ["string"])[0];
    if (after !== null && !after.startsWith(prefix)) {
      throw invalidField("cursor", "is not a cursor of this list");
    }
    const items: DataRecord[] = [];
    let bytes = 0;
    for (;;) {
      const limit = Math.min(kvListScanRowsMax, page.limit + 1 - items.length);
      const rows = await listRecords(db, source, {
        app_id,
        collection,
        prefix,
        after: after === null ? null : { collection, key: after },
        limit,
        now: clock.now(),
      });
      for (const row of rows) {
        const isFull = items.length > 0 && bytes >= kvListBytesMax;
        if (isFull || items.length === page.limit) {
          return { items, next_cursor: encodeCursor([after ?? ""]) };
        }
        items.push(row);
        bytes += row.value.length;
        after = row.key;
      }
      if (rows.length < limit) return { items, next_cursor: null };
    }
  }

  /** Null when there is none. */
  async get(app_id: string, { collection, key }: RecordPlace): Promise<DataRecord | null> {
    const { db, clock, source } = this.options;
    const range = { app_id, collection, prefix: key, after: null, limit: 1, now: clock.now() };
    const [row] = await listRecords(db, source, range);
    return row?.key === key ? row : null;
  }

  /**
   * Resolves to the new version, 0 for nothing. Throws PicError `quota_exceeded`, the conflict of the
   * kind for a wrong `if_version`, and what `edit.value` throws.
   */
  edit(actor: Actor, app_id: string, edit: RecordEdit): Promise<number> {
    const { db, usage, source, audit } = this.options;
    const cx = editContext(app_id, actor);
    const { action, collection, key } = edit;
    return usage.within(app_id, () =>
      db.tx(async (tx) => {
        const version = await this.#edit(tx, cx, edit);
        const target = { kind: recordNoun[source], id: key };
        await audit.record(tx, actor, { action, target, app_id, detail: { collection, version } });
        return version;
      }),
    );
  }

  async #edit(tx: Tx, cx: BindingContext, edit: RecordEdit): Promise<number> {
    const { writes, conflict } = this.options;
    const { collection, key, if_version } = edit;
    for (let tries = 0; tries < dataWriteTriesMax; tries += 1) {
      const previous = await writes.read(tx, cx.app_id, collection, key);
      const value = edit.value(previous);
      const found = previous?.version ?? 0;
      if (if_version !== null && found !== if_version) {
        const message = `The version is ${found}, not ${if_version}`;
        throw new PicError(conflict, message, { extra: { version: found } });
      }
      const expires_at = edit.expires_at?.(previous) ?? null;
      const change = { collection, key, previous, value, expires_at };
      const version = await writes.replace(tx, cx, change);
      if (version !== null) return version;
    }
    throw new PicError("unavailable", "The value is changing too fast; try again");
  }

  /** Deletes a bounded part of a collection. */
  async clear(
    actor: Actor,
    app_id: string,
    { collection, emit }: { collection: string; emit: boolean },
  ): Promise<ClearedRecords> {
    const { db, clock, source, usage, audit } = this.options;
    const cx = editContext(app_id, actor);
    const writes = emit ? this.options.writes : this.options.quiet;
    const told = audit.long(actor, collectionChange("clear", source, { app_id, collection }));
    let count = 0;
    let after: RecordPlace | null = null;
    for (;;) {
      const range = { app_id: cx.app_id, collection, prefix: "", after, now: clock.now() };
      const rows: DataRecord[] = await listRecords(db, source, {
        ...range,
        limit: kvListScanRowsMax,
      });
      const last = rows.at(-1);
      if (last === undefined || count >= dataClearRowsMax) {
        const cleared = { count, more: last !== undefined };
        await told.end({ ...cleared });
        return cleared;
      }
      after = last;
      const isLast = rows.length < kvListScanRowsMax;
      const deleteRows = async (tx: Tx) => {
        let deleted = 0;
        for (const row of rows) {
          // What somebody has written since it was read stays.
          const change = { collection, key: row.key, previous: row, value: null };
          if ((await writes.replace(tx, cx, change)) !== null) deleted += 1;
        }
        const whole = isLast ? { count: count + deleted, more: false } : null;
        return { value: deleted, isChange: deleted > 0, whole };
      };
      count += await repeated(() => usage.within(app_id, () => told.step(deleteRows)));
      if (isLast) {
        await told.end({ count, more: false });
        return { count, more: false };
      }
    }
  }
}
