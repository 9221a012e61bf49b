/**
 * Documents of apps, as JSON text. What a write means for the indexes is in bindings/docs-writes.ts: a
 * statement here that writes says under which condition, and resolves to null when it does not hold.
 */
import type { Database, Reader, Seen, Writer } from "./port.ts";
import { sql } from "./sql.ts";

export interface DocRow {
  id: string;
  /** JSON text. */
  value: string;
  /** 1 after the first write, one more after each further one. */
  version: number;
}

export type DocRecord = Omit<DocRow, "id">;
export type DocText = Omit<DocRow, "version">;

export interface DocPlace {
  app_id: string;
  collection: string;
  id: string;
}

export function getDoc(
  r: Reader,
  { app_id, collection, id }: DocPlace,
  seen?: Seen,
): Promise<DocRecord | null> {
  return r.get(
    sql<DocRecord>`select value, version from docs
      where app_id = ${app_id} and collection = ${collection} and id = ${id}`,
    seen,
  );
}

/** Resolves false when there is one. Throws PicError `conflict` when there is no such app. */
export async function insertDoc(
  w: Writer,
  { app_id, collection, id }: DocPlace,
  { value, now }: { value: string; now: number },
): Promise<boolean> {
  const { changes } = await w.run(sql`insert into docs
      (app_id, collection, id, version, updated_at, value)
    values (${app_id}, ${collection}, ${id}, 1, ${now}, ${value})
    on conflict (app_id, collection, id) do nothing`);
  return changes > 0;
}

/**
 * Puts a value in the place of the one that was read: what is kept beside a document depends on it. A
 * version alone could be that of a document which was deleted and made again. Resolves to the new
 * version, or null when something else is there.
 */
export async function updateDoc(
  w: Writer,
  { app_id, collection, id }: DocPlace,
  { previous, value, now }: { previous: DocRecord; value: string; now: number },
): Promise<number | null> {
  const row = await w.get(sql<{ version: number }>`update docs
    set value = ${value}, version = version + 1, updated_at = ${now}
    where app_id = ${app_id} and collection = ${collection} and id = ${id}
      and version = ${previous.version} and value = ${previous.value}
    returning version`);
  return row?.version ?? null;
}

/** Resolves false when something else than what was read is there. */
export async function deleteDoc(
  w: Writer,
  { app_id, collection, id }: DocPlace,
  previous: DocRecord,
): Promise<boolean> {
  const { changes } = await w.run(sql`delete from docs
    where app_id = ${app_id} and collection = ${collection} and id = ${id}
      and version = ${previous.version} and value = ${previous.value}`);
  return changes > 0;
}

// The same for a collection without any index: one statement that is right by itself only where there
// is one writer (an index that another transaction is about to make is not seen).

/** Resolves false when there is one, or when the collection has an index. */
export async function insertPlainDoc(
  w: Writer,
  { app_id, collection, id }: DocPlace,
  { value, now }: { value: string; now: number },
): Promise<boolean> {
  const { changes } = await w.run(sql`insert into docs
      (app_id, collection, id, version, updated_at, value)
    select ${app_id}, ${collection}, ${id}, 1, ${now}, ${value}
    where not exists (select 1 from doc_indexes
      where app_id = ${app_id} and collection = ${collection})
    on conflict (app_id, collection, id) do nothing`);
  return changes > 0;
}

/** Resolves to the new version; null, too, when the collection has an index. */
export async function updatePlainDoc(
  w: Writer,
  { app_id, collection, id }: DocPlace,
  { previous, value, now }: { previous: DocRecord; value: string; now: number },
): Promise<number | null> {
  const row = await w.get(sql<{ version: number }>`update docs
    set value = ${value}, version = version + 1, updated_at = ${now}
    where app_id = ${app_id} and collection = ${collection} and id = ${id}
      and version = ${previous.version} and value = ${previous.value}
      and not exists (select 1 from doc_indexes
        where app_id = ${app_id} and collection = ${collection})
    returning version`);
  return row?.version ?? null;
}

/** Resolves false, too, when the collection has an index. */
export async function deletePlainDoc(
  w: Writer,
  { app_id, collection, id }: DocPlace,
  previous: DocRecord,
): Promise<boolean> {
  const { changes } = await w.run(sql`delete from docs
    where app_id = ${app_id} and collection = ${collection} and id = ${id}
      and version = ${previous.version} and value = ${previous.value}
      and not exists (select 1 from doc_indexes
        where app_id = ${app_id} and collection = ${collection})`);
  return changes > 0;
}

/** By id, by code point, from the one after `after` ("": from the first). */
export function listDocs(
  db: Database,
  { app_id, collection }: { app_id: string; collection: string },
  { after, limit }: { after: string; limit: number },
  seen?: Seen,
): Promise<DocRow[]> {
  return db.scan(
    sql<DocRow>`select id, value, version from docs
      where app_id = ${app_id} and collection = ${collection} and id > ${after}
      order by id limit ${limit}`,
    seen,
  );
}

/** From the one before `before` ("": from the last) down. */
export function listDocsDown(
  db: Database,
  { app_id, collection }: { app_id: string; collection: string },
  { before, limit }: { before: string; limit: number },
  seen?: Seen,
): Promise<DocRow[]> {
  const bound = before === "" ? sql.empty : sql<never>`and id < ${before}`;
  return db.scan(
    sql<DocRow>`select id, value, version from docs
      where app_id = ${app_id} and collection = ${collection} ${bound}
      order by id desc limit ${limit}`,
    seen,
  );
}

export async function countDocs(
  db: Database,
  { app_id, collection }: { app_id: string; collection: string },
  seen?: Seen,
): Promise<number> {
  const [row] = await db.scan(
    sql<{ count: number }>`select count(*) as count from docs
      where app_id = ${app_id} and collection = ${collection}`,
    seen,
  );
  return row?.count ?? 0;
}
