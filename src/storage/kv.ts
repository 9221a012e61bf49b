/**
 * Key-value data of apps. Limits and the meaning of values belong to the binding.
 *
 * Invariant: an entry whose time has come is no entry, whether or not its row is deleted yet: no read
 * shows it, no condition holds for it, and what is written in its place begins at version 1.
 */
import type { Database, Reader, Seen, Tx, Writer } from "./port.ts";
import { sql } from "./sql.ts";

export interface KvEntry {
  key: string;
  /** JSON text. */
  value: string;
  /** 1 after the first write, one more after each further one. */
  version: number;
  /** Epoch ms; null: never. */
  expires_at: number | null;
}

export type KvRecord = Omit<KvEntry, "key">;

export interface KvWrite {
  /** JSON text. */
  value: string;
  expires_at: number | null;
  now: number;
}

export interface KvRange {
  prefix: string;
  limit: number;
  /** Only keys that sort after this one. */
  after: string | null;
  now: number;
}

export function getKv(
  r: Reader,
  app_id: string,
  collection: string,
  key: string,
  now: number,
  seen?: Seen,
): Promise<KvRecord | null> {
  return r.get(
    sql<KvRecord>`select value, version, expires_at from kv
      where app_id = ${app_id} and collection = ${collection} and key = ${key}
        and (expires_at is null or expires_at > ${now})`,
    seen,
  );
}

/**
 * Entries of these keys, in any order. A value of more than `valueBytesMax` bytes is null: that one does
 * not belong on the thread of the caller.
 */
export function getShortKv(
  r: Reader,
  app_id: string,
  collection: string,
  { keys, now, valueBytesMax }: { keys: readonly string[]; now: number; valueBytesMax: number },
  seen?: Seen,
): Promise<{ key: string; value: string | null }[]> {
  return r.all(
    sql<{ key: string; value: string | null }>`select key,
        case when octet_length(value) <= ${valueBytesMax} then value end as value
      from kv where app_id = ${app_id} and collection = ${collection}
        and key in ${sql.list(paddedKeys(keys))} and (expires_at is null or expires_at > ${now})`,
    seen,
  );
}

/** Entries of these keys, in any order, not on the thread of the caller. */
export function scanKv(
  db: Database,
  app_id: string,
  collection: string,
  { keys, now }: { keys: readonly string[]; now: number },
  seen?: Seen,
): Promise<{ key: string; value: string }[]> {
  return db.scan(
    sql<{ key: string; value: string }>`select key, value from kv
      where app_id = ${app_id} and collection = ${collection}
        and key in ${sql.list(paddedKeys(keys))} and (expires_at is null or expires_at > ${now})`,
    seen,
  );
}

/** To a power of two, so that a connection keeps a few prepared statements and not one for each length. */
function paddedKeys(keys: readonly string[]): string[] {
  const length = 2 ** Math.ceil(Math.log2(Math.max(1, keys.length)));
  const last = keys.at(-1) ?? "";
  return [...keys, ...new Array<string>(length - keys.length).fill(last)];
}

/** The version it has now. Throws PicError `conflict` when there is no such app. */
export async function setKv(
  w: Writer,
  app_id: string,
  collection: string,
  key: string,
  { value, expires_at, now }: KvWrite,
): Promise<number> {
  const row = await w.get(sql<{ version: number }>`insert into kv
      (app_id, collection, key, version, updated_at, value, expires_at)
    values (${app_id}, ${collection}, ${key}, 1, ${now}, ${value}, ${expires_at})
    on conflict (app_id, collection, key) do update
      set value = excluded.value, updated_at = excluded.updated_at,
        expires_at = excluded.expires_at,
        version = case when kv.expires_at <= excluded.updated_at then 1 else kv.version + 1 end
    returning version`);
  if (row === null) throw new Error("an upsert returned no row");
  return row.version;
}

/** The same, only when there is none. Resolves to its version, or null. */
export async function insertKv(
  w: Writer,
  app_id: string,
  collection: string,
  key: string,
  { value, expires_at, now }: KvWrite,
): Promise<number | null> {
  const row = await w.get(sql<{ version: number }>`insert into kv
      (app_id, collection, key, version, updated_at, value, expires_at)
    values (${app_id}, ${collection}, ${key}, 1, ${now}, ${value}, ${expires_at})
    on conflict (app_id, collection, key) do update
      set value = excluded.value, updated_at = excluded.updated_at,
        expires_at = excluded.expires_at, version = 1
      where kv.expires_at <= excluded.updated_at
    returning version`);
  return row?.version ?? null;
}

/** The same, only in the place of this version. Resolves to the new one, or null. */
export async function updateKv(
  w: Writer,
  app_id: string,
  collection: string,
  key: string,
  { value, expires_at, now, version }: KvWrite & { version: number },
): Promise<number | null> {
  const row = await w.get(sql<{ version: number }>`update kv
    set value = ${value}, version = version + 1, updated_at = ${now}, expires_at = ${expires_at}
    where app_id = ${app_id} and collection = ${collection} and key = ${key}
      and version = ${version} and (expires_at is null or expires_at > ${now})
    returning version`);
  return row?.version ?? null;
}

/**
 * The same, only in the place of what was read. What a transaction has read another may change before it
 * writes, where there are several at a time; and a version alone may be that of an entry
 * which was deleted and made again. Resolves to the new version, or null.
 */
export async function replaceKv(
  w: Writer,
  app_id: string,
  collection: string,
  key: string,
  { value, expires_at, now, previous }: KvWrite & { previous: Pick<KvRecord, "value" | "version"> },
): Promise<number | null> {
  const row = await w.get(sql<{ version: number }>`update kv
    set value = ${value}, version = version + 1, updated_at = ${now}, expires_at = ${expires_at}
    where app_id = ${app_id} and collection = ${collection} and key = ${key}
      and version = ${previous.version} and value = ${previous.value}
      and (expires_at is null or expires_at > ${now})
    returning version`);
  return row?.version ?? null;
}

/** Resolves to the bytes of the value, or null when there was none. */
export async function deleteKv(
  w: Writer,
  app_id: string,
  collection: string,
  key: string,
  now: number,
): Promise<number | null> {
  const row = await w.get(sql<{ bytes: number }>`delete from kv
    where app_id = ${app_id} and collection = ${collection} and key = ${key}
      and (expires_at is null or expires_at > ${now})
    returning octet_length(value) as bytes`);
  return row?.bytes ?? null;
}

/** The same, only of this version. */
export async function deleteKvVersion(
  w: Writer,
  app_id: string,
  collection: string,
  key: string,
  { version, now }: { version: number; now: number },
): Promise<number | null> {
  const row = await w.get(sql<{ bytes: number }>`delete from kv
    where app_id = ${app_id} and collection = ${collection} and key = ${key}
      and version = ${version} and (expires_at is null or expires_at > ${now})
    returning octet_length(value) as bytes`);
  return row?.bytes ?? null;
}

/** Only what was read, as `replaceKv`. Resolves false when something else is there. */
export async function deleteKvExactly(
  w: Writer,
  app_id: string,
  collection: string,
  key: string,
  { previous, now }: { previous: Pick<KvRecord, "value" | "version">; now: number },
): Promise<boolean> {
  const { changes } = await w.run(sql`delete from kv
    where app_id = ${app_id} and collection = ${collection} and key = ${key}
      and version = ${previous.version} and value = ${previous.value}
      and (expires_at is null or expires_at > ${now})`);
  return changes > 0;
}

/** Whether any app has rows of entries whose time has come. */
export async function hasExpiredKv(r: Reader, now: number): Promise<boolean> {
  return (await r.get(sql`select 1 as one from kv where expires_at <= ${now} limit 1`)) !== null;
}

/** Deletes at most so many of them, the oldest first. Resolves to how many there were. */
export async function deleteExpiredKv(tx: Tx, now: number, limit: number): Promise<number> {
  // What was written anew after it was chosen stays, by the first condition.
  const { changes } = await tx.run(sql`delete from kv
    where expires_at <= ${now} and (app_id, collection, key) in (
      select app_id, collection, key from kv where expires_at <= ${now}
      order by expires_at limit ${limit})`);
  return changes;
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
    sql<KvEntry>`select key, value, version, expires_at from kv
      where app_id = ${app_id} and collection = ${collection} ${from} ${before}
        and (expires_at is null or expires_at > ${range.now})
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
