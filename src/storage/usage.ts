/** What an app's data fills: its entries, its documents, and the events that wait or have failed. */
import { usageChunkRows } from "../domain/limits.ts";
import type { Database } from "./port.ts";
import { type SqlValue, type Statement, sql } from "./sql.ts";

export interface Fill {
  rows: number;
  /** Of names, keys, values and payloads, as they are before an engine packs them. */
  bytes: number;
}

/**
 * Walks through all rows of the app, a chunk at a time, so that no read is long. Expired entries do not
 * count. `isOver` ends it early; then it resolves to null.
 */
export async function measureFill(
  db: Database,
  app_id: string,
  { now, isOver }: { now: number; isOver: () => boolean },
): Promise<Fill | null> {
  const fill: Fill = { rows: 0, bytes: 0 };
  for (const part of parts) {
    let after: Key | null = part.first;
    while (after !== null) {
      if (isOver()) return null;
      const [row]: (Fill & Key)[] = await db.scan(part.chunk(app_id, after, now));
      fill.rows += row?.rows ?? 0;
      fill.bytes += row?.bytes ?? 0;
      after = row === undefined || row.rows < usageChunkRows ? null : row;
    }
  }
  return fill;
}

/** Where a chunk ended: the columns of an index after the app's id. */
interface Key {
  a: SqlValue;
  b: SqlValue;
  c: SqlValue;
}

interface Part {
  /** Before every row. */
  first: Key;
  chunk(app_id: string, after: Key, now: number): Statement<Fill & Key>;
}

const parts: readonly Part[] = [
  {
    first: { a: "", b: "", c: null },
    chunk: (app_id, { a, b }, now) =>
      total(sql<never>`select collection as a, key as b, null as c,
          octet_length(collection) + octet_length(key) + octet_length(value) as bytes
        from kv where app_id = ${app_id} and (collection, key) > (${a}, ${b})
          and (expires_at is null or expires_at > ${now})
        order by collection, key limit ${usageChunkRows}`),
  },
  {
    first: { a: "", b: "", c: null },
    chunk: (app_id, { a, b }) =>
      total(sql<never>`select collection as a, id as b, null as c,
          octet_length(collection) + octet_length(id) + octet_length(value) as bytes
        from docs where app_id = ${app_id} and (collection, id) > (${a}, ${b})
        order by collection, id limit ${usageChunkRows}`),
  },
  {
    first: { a: -1, b: "", c: "" },
    chunk: (app_id, { a, b, c }) =>
      total(sql<never>`select due_at as a, event_id as b, trigger_id as c,
          octet_length(payload) as bytes
        from outbox where app_id = ${app_id} and (due_at, event_id, trigger_id) > (${a}, ${b}, ${c})
        order by due_at, event_id, trigger_id limit ${usageChunkRows}`),
  },
  {
    first: { a: -1, b: "", c: null },
    chunk: (app_id, { a, b }) =>
      total(sql<never>`select created_at as a, id as b, null as c, octet_length(payload) as bytes
        from dead_letters where app_id = ${app_id} and (created_at, id) > (${a}, ${b})
        order by created_at, id limit ${usageChunkRows}`),
  },
];

function total(rows: Statement<never>): Statement<Fill & Key> {
  return sql<Fill & Key>`select count(*) over () as rows, sum(bytes) over () as bytes, a, b, c
    from (${rows}) as chunk order by a desc, b desc, c desc limit 1`;
}
