/**
 * Indexes of documents: what there is, and their entries. An index is built, and dropped, in steps.
 *
 * Invariants: a document that is written while its collection has an index has its entries in it, in
 * whatever state the index is; while it is built, so has every document up to and including built_to.
 * Whoever writes documents holds the collection's lock shared from before it reads the indexes to its
 * commit; whoever makes, builds or drops an index holds it alone. So no write is under way that does
 * not know of a new index, and none between the reading and the indexing of a document.
 */
import { type IndexKey, keysOf, manyType, nameOf } from "../domain/doc-index-keys.ts";
import { type DocObject, parsePath } from "../domain/doc-values.ts";
import { docIndexBuildRows, docIndexDropRows } from "../domain/limits.ts";
import type { Reader, Seen, Tx } from "./port.ts";
import { sql } from "./sql.ts";

/** The channel on which work on indexes is announced, with the app's id. */
export const docIndexesChannel = "doc_indexes";

export interface DocIndexPlace {
  app_id: string;
  collection: string;
  field: string;
}

export interface DocIndex extends DocIndexPlace {
  state: "building" | "ready" | "dropping";
  built_to: string;
  /** Entries of one document at most: one (0), several (1), more than are kept (2). */
  multikey: 0 | 1 | 2;
  created_at: number;
}

export function lockDocs(
  tx: Tx,
  app_id: string,
  collection: string,
  mode: "exclusive" | "shared",
): Promise<void> {
  return tx.lock(`docs ${app_id} ${collection}`, mode);
}

/** All of a collection, by field. */
export function listDocIndexes(
  r: Reader,
  app_id: string,
  collection: string,
  seen?: Seen,
): Promise<DocIndex[]> {
  return r.all(
    sql<DocIndex>`select app_id, collection, field, state, built_to, multikey, created_at
      from doc_indexes where app_id = ${app_id} and collection = ${collection} order by field`,
    seen,
  );
}

/** Those that wait for a step, the oldest first. */
export function listUnfinishedDocIndexes(r: Reader, limit: number): Promise<DocIndex[]> {
  return r.all(
    sql<DocIndex>`select app_id, collection, field, state, built_to, multikey, created_at
      from doc_indexes where state <> 'ready' order by created_at limit ${limit}`,
  );
}

export async function countDocIndexes(r: Reader, app_id: string): Promise<number> {
  const row = await r.get(
    sql<{ count: number }>`select count(*) as count from doc_indexes where app_id = ${app_id}`,
  );
  return row?.count ?? 0;
}

/** Under the lock of the collection: a new one, or one that is dropped, is to be built. */
export async function beginDocIndex(tx: Tx, place: DocIndexPlace, now: number): Promise<void> {
  const { app_id, collection, field } = place;
  await tx.run(sql`insert into doc_indexes
      (app_id, collection, field, state, built_to, multikey, created_at)
    values (${app_id}, ${collection}, ${field}, 'building', '', 0, ${now})
    on conflict (app_id, collection, field) do update
      set state = 'building', built_to = '', created_at = excluded.created_at`);
}

/** Under the lock of the collection. Resolves false when there is none. */
export async function beginDocIndexDrop(
  tx: Tx,
  { app_id, collection, field }: DocIndexPlace,
): Promise<boolean> {
  const { changes } = await tx.run(sql`update doc_indexes set state = 'dropping'
    where app_id = ${app_id} and collection = ${collection} and field = ${field}
      and state <> 'dropping'`);
  return changes > 0;
}

export interface DocIndexStep {
  /** Nothing is left to do, or the index is gone. */
  isDone: boolean;
  /** What its entries fill more than before; what dropping gives back is not counted. */
  bytes: number;
}

/** One step of building or dropping; takes the lock. */
export async function stepDocIndex(tx: Tx, place: DocIndexPlace): Promise<DocIndexStep> {
  const { app_id, collection, field } = place;
  await lockDocs(tx, app_id, collection, "exclusive");
  const index = await tx.get(
    sql<DocIndex>`select app_id, collection, field, state, built_to, multikey, created_at
      from doc_indexes
      where app_id = ${app_id} and collection = ${collection} and field = ${field}`,
  );
  if (index === null || index.state === "ready") return { isDone: true, bytes: 0 };
  return index.state === "building"
    ? build(tx, index)
    : { isDone: await drop(tx, index), bytes: 0 };
}

async function build(tx: Tx, index: DocIndex): Promise<DocIndexStep> {
  const { app_id, collection, field } = index;
  const rows = await tx.all(
    sql<{ id: string; value: string }>`select id, value from docs
      where app_id = ${app_id} and collection = ${collection} and id > ${index.built_to}
      order by id limit ${docIndexBuildRows}`,
  );
  let bytes = 0;
  for (const { id, value } of rows) {
    const after = JSON.parse(value) as DocObject;
    bytes += await writeEntries(tx, index, { id, before: null, after });
  }
  const isDone = rows.length < docIndexBuildRows;
  const state = isDone ? "ready" : "building";
  await tx.run(sql`update doc_indexes
    set state = ${state}, built_to = ${rows.at(-1)?.id ?? index.built_to}
    where app_id = ${app_id} and collection = ${collection} and field = ${field}`);
  return { isDone, bytes };
}

async function drop(tx: Tx, { app_id, collection, field }: DocIndex): Promise<boolean> {
  // A range is one seek on every engine; a list of the keys to delete is not.
  const last = await tx.get(
    sql<IndexKey & { doc_id: string }>`select type, number, text, doc_id from doc_index_entries
      where app_id = ${app_id} and collection = ${collection} and field = ${field}
      order by type, number, text, doc_id limit 1 offset ${docIndexDropRows - 1}`,
  );
  if (last !== null) {
    await tx.run(sql`delete from doc_index_entries
      where app_id = ${app_id} and collection = ${collection} and field = ${field}
        and (type, number, text, doc_id)
          <= (${last.type}, ${last.number}, ${last.text}, ${last.doc_id})`);
    return false;
  }
  await tx.run(sql`delete from doc_index_entries
    where app_id = ${app_id} and collection = ${collection} and field = ${field}`);
  await tx.run(sql`delete from doc_indexes
    where app_id = ${app_id} and collection = ${collection} and field = ${field}`);
  return true;
}

export interface DocChange {
  id: string;
  /** Null: there was none. */
  before: DocObject | null;
  /** Null: there is none. */
  after: DocObject | null;
}

/**
 * Makes an index say of a document what it is now. Only entries that differ are written. Resolves to how
 * many bytes it fills more than before.
 */
export async function writeEntries(tx: Tx, index: DocIndex, change: DocChange): Promise<number> {
  const path = parsePath(index.field);
  if (path === null) throw new Error("the path of an index is too long");
  const { id, before, after } = change;
  const old = new Map(before === null ? [] : keysOf(before, path).map((key) => [nameOf(key), key]));
  const keys = after === null ? [] : keysOf(after, path);
  // Sent one behind the other, not awaited one by one: a round trip each would be one too many.
  const steps: Promise<unknown>[] = [];
  const names = [index.collection, index.field, id].reduce((sum, name) => sum + bytesOf(name), 0);
  let bytes = 0;
  for (const key of keys) {
    if (old.delete(nameOf(key))) continue;
    steps.push(insertEntry(tx, index, key, id));
    bytes += names + bytesOf(key.text);
  }
  for (const key of old.values()) {
    steps.push(deleteEntry(tx, index, key, id));
    bytes -= names + bytesOf(key.text);
  }
  const multikey = keys.length <= 1 ? 0 : keys.at(-1)?.type === manyType ? 2 : 1;
  if (multikey > index.multikey) steps.push(raiseMultikey(tx, index, multikey));
  await Promise.all(steps);
  return bytes;
}

function bytesOf(text: string): number {
  return Buffer.byteLength(text);
}

/** While an index is built, the entry may be there already. */
function insertEntry(
  tx: Tx,
  { app_id, collection, field }: DocIndexPlace,
  { type, number, text }: IndexKey,
  doc_id: string,
): Promise<unknown> {
  return tx.run(sql`insert into doc_index_entries
      (app_id, collection, field, type, number, text, doc_id)
    values (${app_id}, ${collection}, ${field}, ${type}, ${number}, ${text}, ${doc_id})
    on conflict (app_id, collection, field, type, number, text, doc_id) do nothing`);
}

function deleteEntry(
  tx: Tx,
  { app_id, collection, field }: DocIndexPlace,
  { type, number, text }: IndexKey,
  doc_id: string,
): Promise<unknown> {
  return tx.run(sql`delete from doc_index_entries
    where app_id = ${app_id} and collection = ${collection} and field = ${field}
      and type = ${type} and number = ${number} and text = ${text} and doc_id = ${doc_id}`);
}

function raiseMultikey(
  tx: Tx,
  { app_id, collection, field }: DocIndexPlace,
  multikey: number,
): Promise<unknown> {
  return tx.run(sql`update doc_indexes set multikey = ${multikey}
    where app_id = ${app_id} and collection = ${collection} and field = ${field}
      and multikey < ${multikey}`);
}
