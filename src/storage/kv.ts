/** Key-value data of apps. Limits and the meaning of values belong to the binding. */
import type { Database, Reader, Seen, Writer } from "./port.ts";
import { sql } from "./sql.ts";

export interface KvEntry {
  key: string;
  /** JSON text. */
  value: string;
  /** 1 after the first write, one more after each further one. */
  version: number;
}

export interface KvRange {
  prefix: string;
  limit: number;
  /** Only keys that sort after this one. */
  after: string | null;
}

export function getKv(
  r: Reader,
  app_id: string,
  collection: string,
  key: string,
  seen?: Seen,
): Promise<Omit<KvEntry, "key"> | null> {
  return r.get(
    sql<Omit<KvEntry, "key">>`select value, version from kv
      where app_id = ${app_id} and collection = ${collection} and key = ${key}`,
    seen,
  );
}

/** The version it has now. Throws PicError `conflict` when there is no such app. */
export async function setKv(
  w: Writer,
  app_id: string,
  collection: string,
  key: string,
  value_json: string,
  now: number,
): Promise<number> {
  const row = await w.get(sql<{ version: number }>`insert into kv
      (app_id, collection, key, version, updated_at, value)
    values (${app_id}, ${collection}, ${key}, 1, ${now}, ${value_json})
    on conflict (app_id, collection, key) do update
      set value = excluded.value, version = kv.version + 1, updated_at = excluded.updated_at
    returning version`);
  if (row === null) throw new Error("an upsert returned no row");
  return row.version;
}

/**
 * Puts `value_json` in the place of `old_json` (null: of nothing). Resolves false when something else is
 * there by now: what a transaction has read another may change before it writes, where there are
 * several at a time.
 */
export async function replaceKv(
  w: Writer,
  app_id: string,
  collection: string,
  key: string,
  { old_json, value_json, now }: { old_json: string | null; value_json: string; now: number },
): Promise<boolean> {
  const { changes } = await w.run(
    old_json === null
      ? sql`insert into kv (app_id, collection, key, version, updated_at, value)
          values (${app_id}, ${collection}, ${key}, 1, ${now}, ${value_json})
          on conflict (app_id, collection, key) do nothing`
      : sql`update kv set value = ${value_json}, version = version + 1, updated_at = ${now}
          where app_id = ${app_id} and collection = ${collection} and key = ${key}
            and value = ${old_json}`,
  );
  return changes > 0;
}

/** Resolves false when there was none. */
export async function deleteKv(
  w: Writer,
  app_id: string,
  collection: string,
  key: string,
): Promise<boolean> {
  const { changes } = await w.run(sql`delete from kv
    where app_id = ${app_id} and collection = ${collection} and key = ${key}`);
  return changes > 0;
}

/** Keys by code point. */
export function listKv(
  db: Database,
  app_id: string,
  collection: string,
  range: KvRange,
  seen?: Seen,
): Promise<KvEntry[]> {
  const end = prefixEnd(range.prefix);
  const before = end === null ? sql.empty : sql<never>`and key < ${end}`;
  // Two bounds on one side would make SQLite seek by the first and walk to the second.
  const from =
    range.after !== null && !isBefore(range.after, range.prefix)
      ? sql<never>`and key > ${range.after}`
      : sql<never>`and key >= ${range.prefix}`;
  return db.scan(
    sql<KvEntry>`select key, value, version from kv
      where app_id = ${app_id} and collection = ${collection} ${from} ${before}
      order by key limit ${range.limit}`,
    seen,
  );
}

/**
 * The least text, by code point, that sorts after every text with this prefix; null when there is
 * none. A range and not LIKE: `%` and `_` mean themselves, and an index serves it.
 */
export function prefixEnd(prefix: string): string | null {
  const points = [...prefix].map((character) => character.codePointAt(0) as number);
  for (;;) {
    const last = points.pop();
    if (last === undefined) return null;
    if (last === 0x10ffff) continue;
    // Surrogates are no characters: the code point after U+D7FF is U+E000.
    points.push(last === 0xd7ff ? 0xe000 : last + 1);
    return String.fromCodePoint(...points);
  }
}

/** By code point, as the engines compare; JavaScript's own `<` compares UTF-16 units. */
function isBefore(a: string, b: string): boolean {
  return Buffer.compare(Buffer.from(a), Buffer.from(b)) < 0;
}
