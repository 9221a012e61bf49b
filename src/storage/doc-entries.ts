/**
 * Reads of documents by an index: which of them may be found, in the order of ids or of the index. Who
 * reads compares the documents themselves.
 */
import { compareKeys, firstKey, type IndexKey, manyType } from "../domain/doc-index-keys.ts";
import type { Candidates, KeyRange } from "../domain/doc-plans.ts";
import { docTypes } from "../domain/doc-values.ts";
import type { DocIndexPlace } from "./doc-indexes.ts";
import type { DocText } from "./docs.ts";
import type { Database, Seen } from "./port.ts";
import { type Statement, sql } from "./sql.ts";

/** A document with the key of the entry by which it was found. */
export interface EntryRow extends DocText, IndexKey {}

/** Entries of candidates, but no more than `limit`; each is of another document when `isExact`. */
export async function countEntries(
  db: Database,
  place: DocIndexPlace,
  candidates: Candidates,
  limit: number | null,
  seen?: Seen,
): Promise<number> {
  const groups = groupsOf(candidates);
  if (groups.length === 0) return 0;
  const bound = limit === null ? sql.empty : sql<never>`limit ${limit}`;
  const [row] = await db.scan(
    sql<{ count: number }>`select count(*) as count from (
      select doc_id from (${union(place, groups, sql.empty, sql<never>`union all`)}) as entries
      ${bound}) as counted`,
    seen,
  );
  return row?.count ?? 0;
}

/** Ids of the documents that candidates tell of, each once, by id, from the one after `after`. */
export async function listCandidateIds(
  db: Database,
  place: DocIndexPlace,
  candidates: Candidates,
  { after, limit }: { after: string; limit: number },
  seen?: Seen,
): Promise<string[]> {
  const groups = groupsOf(candidates);
  if (groups.length === 0) return [];
  const from = sql<never>`and doc_id > ${after}`;
  const rows = await db.scan(
    sql<{ id: string }>`select distinct doc_id as id
      from (${union(place, groups, from, sql<never>`union all`)}) as entries
      order by doc_id limit ${limit}`,
    seen,
  );
  return rows.map(({ id }) => id);
}

/** Documents at one key, by id. The key serves the order: no more is read than is asked for. */
export async function listDocsAtKey(
  db: Database,
  { app_id, collection, field }: DocIndexPlace,
  { type, number, text }: IndexKey,
  { after, limit }: { after: string; limit: number },
  seen?: Seen,
): Promise<DocText[]> {
  return db.scan(
    sql<DocText>`select e.doc_id as id, ${documentOf(app_id, collection)}
      from (select e.doc_id from doc_index_entries as e
        where e.app_id = ${app_id} and e.collection = ${collection} and e.field = ${field}
          and e.type = ${type} and e.number = ${number} and e.text = ${text}
          and e.doc_id > ${after}
        order by e.doc_id limit ${limit}) as e
      order by e.doc_id`,
    seen,
  );
}

/**
 * The document of an entry. Not by a join: PostgreSQL, before it has statistics, joins by reading all
 * documents of the collection for each entry.
 */
function documentOf(app_id: string, collection: string): Statement<never> {
  return sql<never>`(select d.value from docs as d
    where d.app_id = ${app_id} and d.collection = ${collection} and d.id = e.doc_id) as value`;
}

/** Those of these ids that there are, in any order. */
export async function listDocsById(
  db: Database,
  { app_id, collection }: { app_id: string; collection: string },
  ids: readonly string[],
  seen?: Seen,
): Promise<DocText[]> {
  const rows = padded(ids).map((id) => sql<never>`(${id})`);
  const list = rows.reduce((all, row) => sql<never>`${all}, ${row}`);
  const found = await db.scan(
    sql<{
      id: string;
      value: string | null;
    }>`select e.doc_id as id, ${documentOf(app_id, collection)}
      from (select distinct column1 as doc_id from (values ${list}) as listed) as e`,
    seen,
  );
  return found.filter((row): row is DocText => row.value !== null);
}

/** An entry's place; without an id it is before all entries of the key, or with `isBehind` after them. */
export interface EntryPosition {
  key: IndexKey;
  id: string | null;
  isBehind?: boolean;
}

/** Documents by key and id, ascending or descending, from `from` up to the other end of the range. */
export function listDocsInOrder(
  db: Database,
  { app_id, collection, field }: DocIndexPlace,
  { range, from, direction, limit }: EntryWalk,
  seen?: Seen,
): Promise<EntryRow[]> {
  const isUp = direction === 1;
  const low = isUp ? (from ?? startOf(range)) : startOf(range);
  const high = isUp ? endOf(range) : (from ?? endOf(range));
  const order = isUp
    ? sql<never>`e.type, e.number, e.text, e.doc_id`
    : sql<never>`e.type desc, e.number desc, e.text desc, e.doc_id desc`;
  return db.scan(
    sql<EntryRow>`select e.type, e.number, e.text, e.doc_id as id,
        ${documentOf(app_id, collection)}
      from (select e.type, e.number, e.text, e.doc_id from doc_index_entries as e
        where e.app_id = ${app_id} and e.collection = ${collection} and e.field = ${field}
          and ${behind(low)} and ${before(high)}
        order by ${order} limit ${limit}) as e
      order by ${order}`,
    seen,
  );
}

export interface EntryWalk {
  range: KeyRange;
  /** Where to go on; null: from the end of the range at which the direction begins. */
  from: EntryPosition | null;
  direction: 1 | -1;
  limit: number;
}

/** Every key there is, but that of documents with too many. */
export const wholeRange: KeyRange = {
  lower: { key: firstKey(docTypes.null), isIncluded: true },
  upper: { key: firstKey(manyType), isIncluded: false },
};

function startOf({ lower }: KeyRange): EntryPosition {
  return { key: lower.key, id: null, isBehind: !lower.isIncluded };
}

function endOf({ upper }: KeyRange): EntryPosition {
  return { key: upper.key, id: null, isBehind: upper.isIncluded };
}

// One comparison of a whole row for each side: an engine seeks by it.

function behind({ key, id, isBehind }: EntryPosition): Statement<never> {
  const { type, number, text } = key;
  if (id === null && isBehind === true) {
    return sql<never>`(e.type, e.number, e.text) > (${type}, ${number}, ${text})`;
  }
  return sql<never>`(e.type, e.number, e.text, e.doc_id)
    > (${type}, ${number}, ${text}, ${id ?? ""})`;
}

function before({ key, id, isBehind }: EntryPosition): Statement<never> {
  const { type, number, text } = key;
  if (id !== null) {
    return sql<never>`(e.type, e.number, e.text, e.doc_id) < (${type}, ${number}, ${text}, ${id})`;
  }
  return isBehind === true
    ? sql<never>`(e.type, e.number, e.text) <= (${type}, ${number}, ${text})`
    : sql<never>`(e.type, e.number, e.text) < (${type}, ${number}, ${text})`;
}

/** Conditions on entries, one of which holds; an engine seeks by each. */
function groupsOf({ index, points, range }: Candidates): Statement<never>[] {
  const groups = points === null ? [] : pointGroups(points);
  if (range !== null && !isEmpty(range)) {
    groups.push(sql<never>`${behind(startOf(range))} and ${before(endOf(range))}`);
  }
  if (index.multikey === 2) groups.push(sql<never>`e.type = ${manyType}`);
  return groups;
}

function isEmpty({ lower, upper }: KeyRange): boolean {
  return compareKeys(lower.key, upper.key) > 0;
}

/** Texts of one type and number together, and numbers without a text. */
function pointGroups(points: readonly IndexKey[]): Statement<never>[] {
  const plain = points.filter(({ type, text }) => type === docTypes.number && text === "");
  const others = new Map<string, IndexKey[]>();
  for (const key of points) {
    if (key.type === docTypes.number && key.text === "") continue;
    const name = `${key.type} ${key.number}`;
    others.set(name, [...(others.get(name) ?? []), key]);
  }
  const groups = [...others.values()].map((keys) => {
    const { type, number } = keys[0] as IndexKey;
    const texts = padded(keys.map(({ text }) => text));
    return sql<never>`e.type = ${type} and e.number = ${number} and e.text in ${sql.list(texts)}`;
  });
  if (plain.length === 0) return groups;
  const numbers = padded(plain.map(({ number }) => number));
  const group = sql<never>`e.type = ${docTypes.number} and e.number in ${sql.list(numbers)}
    and e.text = ''`;
  return [...groups, group];
}

/** To a power of two, so that a connection keeps a few prepared statements and not one for each length. */
function padded<T extends string | number>(values: readonly T[]): T[] {
  const length = 2 ** Math.ceil(Math.log2(values.length));
  return [...values, ...new Array<T>(length - values.length).fill(values.at(-1) as T)];
}

function union(
  { app_id, collection, field }: DocIndexPlace,
  groups: readonly Statement<never>[],
  more: Statement<never>,
  between: Statement<never>,
): Statement<never> {
  return groups.reduce((all, group, index) => {
    const one = sql<never>`select e.doc_id from doc_index_entries as e
      where e.app_id = ${app_id} and e.collection = ${collection} and e.field = ${field}
        and ${group} ${more}`;
    return index === 0 ? one : sql<never>`${all} ${between} ${one}`;
  }, sql.empty);
}
