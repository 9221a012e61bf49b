/**
 * What an app's data fills: its entries, its documents and their indexes, the events that wait or have
 * failed, and what attempts to handle them have left.
 */
import { usageChunkRows } from "../domain/limits.ts";
import type { Database } from "./port.ts";
import { type SqlValue, type Statement, sql } from "./sql.ts";

export interface Fill {
  /** Entries, documents and events: what belongs to one of them counts in bytes alone. */
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
      if (part.isCounted) fill.rows += row?.rows ?? 0;
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
  d: SqlValue;
  e: SqlValue;
  f: SqlValue;
}

interface Part {
  isCounted: boolean;
  /** Before every row. */
  first: Key;
  chunk(app_id: string, after: Key, now: number): Statement<Fill & Key>;
}

const rest = { c: null, d: null, e: null, f: null };
const noRest = sql<never>`null as d, null as e, null as f`;
const limit = sql<never>`limit ${usageChunkRows}`;

const parts: readonly Part[] = [
  {
    isCounted: true,
    first: { a: "", b: "", ...rest },
    chunk: (app_id, { a, b }, now) =>
      total(sql<never>`select collection as a, key as b, null as c, ${noRest},
          octet_length(collection) + octet_length(key) + octet_length(value) as bytes
        from kv where app_id = ${app_id} and (collection, key) > (${a}, ${b})
          and (expires_at is null or expires_at > ${now})
        order by collection, key ${limit}`),
  },
  {
    isCounted: true,
    first: { a: "", b: "", ...rest },
    chunk: (app_id, { a, b }) =>
      total(sql<never>`select collection as a, id as b, null as c, ${noRest},
          octet_length(collection) + octet_length(id) + octet_length(value) as bytes
        from docs where app_id = ${app_id} and (collection, id) > (${a}, ${b})
        order by collection, id ${limit}`),
  },
  {
    isCounted: false,
    first: { a: "", b: "", c: -1, d: 0, e: "", f: "" },
    chunk: (app_id, { a, b, c, d, e, f }) =>
      total(sql<never>`select collection as a, field as b, type as c, number as d, text as e,
          doc_id as f, octet_length(collection) + octet_length(field) + octet_length(text)
            + octet_length(doc_id) as bytes
        from doc_index_entries where app_id = ${app_id}
          and (collection, field, type, number, text, doc_id)
            > (${a}, ${b}, ${c}, ${d}, ${e}, ${f})
        order by collection, field, type, number, text, doc_id ${limit}`),
  },
  {
    isCounted: true,
    first: { a: -1, b: "", ...rest, c: "" },
    chunk: (app_id, { a, b, c }) =>
      total(sql<never>`select due_at as a, event_id as b, trigger_id as c, ${noRest},
          octet_length(payload) as bytes
        from outbox where app_id = ${app_id} and (due_at, event_id, trigger_id) > (${a}, ${b}, ${c})
        order by due_at, event_id, trigger_id ${limit}`),
  },
  {
    isCounted: true,
    first: { a: -1, b: "", ...rest },
    chunk: (app_id, { a, b }) =>
      total(sql<never>`select created_at as a, id as b, null as c, ${noRest},
          octet_length(payload) + octet_length(error) as bytes
        from dead_letters where app_id = ${app_id} and (created_at, id) > (${a}, ${b})
        order by created_at, id ${limit}`),
  },
  {
    isCounted: false,
    first: { a: "", b: "", ...rest, c: 0 },
    chunk: (app_id, { a, b, c }) =>
      total(sql<never>`select event_id as a, trigger_id as b, number as c, ${noRest},
          octet_length(coalesce(error, '')) as bytes
        from event_attempts where app_id = ${app_id}
          and (event_id, trigger_id, number) > (${a}, ${b}, ${c})
        order by event_id, trigger_id, number ${limit}`),
  },
  {
    isCounted: false,
    first: { a: "", b: "", ...rest, c: 0 },
    chunk: (app_id, { a, b, c }) =>
      total(sql<never>`select event_id as a, trigger_id as b, ordinal as c, ${noRest},
          octet_length(result) as bytes
        from tx_results where app_id = ${app_id}
          and (event_id, trigger_id, ordinal) > (${a}, ${b}, ${c})
        order by event_id, trigger_id, ordinal ${limit}`),
  },
];

function total(rows: Statement<never>): Statement<Fill & Key> {
  return sql<
    Fill & Key
  >`select count(*) over () as rows, sum(bytes) over () as bytes, a, b, c, d, e, f
    from (${rows}) as chunk order by a desc, b desc, c desc, d desc, e desc, f desc limit 1`;
}
