/**
 * Entries and documents as people look at them: collections with their sizes, and records with their
 * times, by collection and key. One text serves both kinds, which differ in the name of the key and in
 * that only entries expire.
 */
import type { DataRecord, DataSource } from "../domain/data.ts";
import { prefixEnd } from "./kv.ts";
import type { Database, Seen } from "./port.ts";
import { type Statement, sql } from "./sql.ts";

export interface DataRange {
  app_id: string;
  /** Null: all of them, in order. */
  collection: string | null;
  prefix: string;
  /** Only what sorts after this one. */
  after: { collection: string; key: string } | null;
  limit: number;
  now: number;
}

export interface DataCount {
  records: number;
  /** Of keys and values. */
  bytes: number;
}

interface Shape {
  table: Statement<never>;
  key: Statement<never>;
  expires_at: Statement<never>;
  live(now: number): Statement<never>;
}

const shapes: Readonly<Record<DataSource, Shape>> = {
  kv: {
    table: sql<never>`kv`,
    key: sql<never>`key`,
    expires_at: sql<never>`expires_at`,
    live: (now) => sql<never>`and (expires_at is null or expires_at > ${now})`,
  },
  docs: {
    table: sql<never>`docs`,
    key: sql<never>`id`,
    expires_at: sql<never>`null`,
    live: () => sql.empty,
  },
};

/** By collection and key, each by code point. */
export function listRecords(
  db: Database,
  source: DataSource,
  range: DataRange,
  seen?: Seen,
): Promise<DataRecord[]> {
  const { table, key, expires_at, live } = shapes[source];
  return db.scan(
    sql<DataRecord>`select collection, ${key} as key, value, version, updated_at,
        ${expires_at} as expires_at
      from ${table} where app_id = ${range.app_id} ${bounds(range, key)} ${live(range.now)}
      order by collection, ${key} limit ${range.limit}`,
    seen,
  );
}

function bounds({ collection, prefix, after }: DataRange, key: Statement<never>): Statement<never> {
  if (collection === null) {
    if (after === null) return sql.empty;
    return sql<never>`and (collection, ${key}) > (${after.collection}, ${after.key})`;
  }
  const end = prefixEnd(prefix);
  const before = end === null ? sql.empty : sql<never>`and ${key} < ${end}`;
  // One lower bound: with two SQLite would seek by the first and walk to the second.
  const from =
    after === null ? sql<never>`and ${key} >= ${prefix}` : sql<never>`and ${key} > ${after.key}`;
  return sql<never>`and collection = ${collection} ${from} ${before}`;
}

/** Those of these keys that there are, in any order. */
export function getRecords(
  db: Database,
  source: DataSource,
  from: { app_id: string; collection: string; keys: readonly string[]; now: number },
): Promise<DataRecord[]> {
  const { table, key, expires_at, live } = shapes[source];
  return db.scan(
    sql<DataRecord>`select collection, ${key} as key, value, version, updated_at,
        ${expires_at} as expires_at
      from ${table} where app_id = ${from.app_id} and collection = ${from.collection}
        and ${key} in ${sql.list(from.keys)} ${live(from.now)}`,
  );
}

/** Names of collections that sort after `after`, by code point: one look-up each, whatever they hold. */
export async function listCollections(
  db: Database,
  source: DataSource,
  { app_id, after, limit }: { app_id: string; after: string; limit: number },
): Promise<string[]> {
  const { table } = shapes[source];
  const rows = await db.scan(sql<{ name: string }>`with recursive names (name) as (
      select min(collection) from ${table} where app_id = ${app_id} and collection > ${after}
      union all
      select (select min(collection) from ${table}
        where app_id = ${app_id} and collection > names.name)
      from names where names.name is not null)
    select name from names where name is not null limit ${limit}`);
  return rows.map(({ name }) => name);
}

/** What a collection holds, counted up to `max` records. */
export async function countRecords(
  db: Database,
  source: DataSource,
  {
    app_id,
    collection,
    now,
    max,
  }: { app_id: string; collection: string; now: number; max: number },
): Promise<DataCount> {
  const { table, key, live } = shapes[source];
  const [row] = await db.scan(
    sql<DataCount>`select count(*) as records, coalesce(sum(bytes), 0) as bytes from (
      select octet_length(${key}) + octet_length(value) as bytes from ${table}
      where app_id = ${app_id} and collection = ${collection} ${live(now)}
      limit ${max}) as counted`,
  );
  return row ?? { records: 0, bytes: 0 };
}
