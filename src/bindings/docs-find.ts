/**
 * Finds: an index or the ids say in which order documents are read, domain/doc-query.ts which of them are
 * found. Documents are read in bounded batches beside the event loop, and compared in slices.
 *
 * Invariant: a page is a part of one order, from the cursor's place on, without a gap. A find whose
 * index was dropped, or has become one of several entries for a document, meanwhile begins again.
 */
import type { Clock } from "../base/clock.ts";
import type { BindingContext } from "../domain/bindings.ts";
import { type DocCursor, formatCursor, isAfter, parseCursor } from "../domain/doc-cursors.ts";
import { compareKeys, type IndexKey, indexKey, isExact } from "../domain/doc-index-keys.ts";
import { createMatcher, createSlowMatcher } from "../domain/doc-matcher.ts";
import { type Candidates, candidatesOf } from "../domain/doc-plans.ts";
import {
  type DocPosition,
  type DocQuery,
  type DocSort,
  parseSort,
  parseWhere,
  positionOf,
} from "../domain/doc-query.ts";
import { type DocObject, type DocValue, sortableValues } from "../domain/doc-values.ts";
import { PicError } from "../domain/errors.ts";
import { docAtOnceChars, docFindRowsMax, docFindTriesMax } from "../domain/limits.ts";
import { countEntries } from "../storage/doc-entries.ts";
import { type DocIndex, listDocIndexes } from "../storage/doc-indexes.ts";
import { countDocs, type DocText } from "../storage/docs.ts";
import type { Database } from "../storage/port.ts";
import { docsCollection, docsLimit, docsMember } from "./docs-arguments.ts";
import { DocsBudget, DocsPage } from "./docs-page.ts";
import { type DocsPlan, type DocsSource, planFind } from "./docs-plan.ts";
import { readDocs } from "./docs-source.ts";

export interface DocsFindOptions {
  db: Database;
  clock: Clock;
}

export interface FoundDocs {
  items: DocObject[];
  nextCursor: string | null;
}

interface Find {
  place: { app_id: string; collection: string };
  cx: Pick<BindingContext, "app_id" | "seen">;
  query: DocQuery;
  cursor: DocCursor | null;
  limit: number;
}

/** Arguments `collection`, `where`, `sort`, `limit`, `cursor`. */
export async function findDocs(
  options: DocsFindOptions,
  cx: Find["cx"],
  args: unknown,
): Promise<FoundDocs> {
  const given = docsMember(args, "sort");
  const sort = given === undefined || given === null ? null : parseSort(given);
  const cursor = parseCursor(docsMember(args, "cursor"), sort);
  const limit = docsLimit(docsMember(args, "limit"));
  const find: Find = { ...findOf(cx, args), cursor, limit };
  return steadily(options, find, async (indexes) => {
    const plan = await planOf(options, find, sort ?? cursor?.sort ?? null, indexes);
    return { value: await readPage(options, find, plan), used: indexOf(plan.source) };
  });
}

/** Arguments `collection`, `where`. */
export async function countFound(
  options: DocsFindOptions,
  cx: Find["cx"],
  args: unknown,
): Promise<number> {
  const { db } = options;
  const find = { ...findOf(cx, args), cursor: null, limit: 1 };
  const { place, query } = find;
  if (query.conditions === 0) return countDocs(db, place, cx.seen);
  return steadily(options, find, async (indexes) => {
    const exact = candidatesOf(query, indexes).find(({ isExact }) => isExact);
    if (exact !== undefined) {
      const entries = { ...place, field: exact.index.field };
      const value = await countEntries(db, entries, exact, null, cx.seen);
      return { value, used: exact.index.field };
    }
    const plan = await planOf(options, find, [], indexes);
    return { value: await countRead(options, find, plan.source), used: indexOf(plan.source) };
  });
}

export interface DocsExplanation {
  /** The field whose index serves; null: the whole collection is read. */
  index: string | null;
  serves: ("where" | "sort")[];
  scan: boolean;
  sortsInMemory: boolean;
  /** What the find is sorted by; nothing: by id. */
  order: Record<string, 1 | -1>;
}

/** Arguments `collection`, `where`, `sort`. */
export async function explainFind(
  options: DocsFindOptions,
  cx: Find["cx"],
  args: unknown,
): Promise<DocsExplanation> {
  const given = docsMember(args, "sort");
  const sort = given === undefined || given === null ? null : parseSort(given);
  const find = { ...findOf(cx, args), cursor: null, limit: 1 };
  const { app_id, collection } = find.place;
  const indexes = ready(await listDocIndexes(options.db, app_id, collection, cx.seen));
  const plan = await planOf(options, find, sort, indexes);
  return {
    ...serviceOf(find.query, plan, indexes),
    sortsInMemory: plan.isSortedInMemory,
    order: Object.fromEntries(plan.sort.map(({ path, direction }) => [path.text, direction])),
  };
}

function serviceOf(
  query: DocQuery,
  { source, sort, isSortedInMemory }: DocsPlan,
  indexes: readonly DocIndex[],
): Pick<DocsExplanation, "index" | "serves" | "scan"> {
  if (source.kind === "keys") {
    return { index: source.candidates.index.field, serves: ["where"], scan: false };
  }
  if (source.kind === "ids") return { index: "id", serves: ["where"], scan: false };
  if (source.kind === "scan") {
    const isById = sort.length > 0 && !isSortedInMemory;
    return { index: isById ? "id" : null, serves: isById ? ["sort"] : [], scan: true };
  }
  const { field, multikey } = source.index;
  const all = candidatesOf(query, indexes);
  const isNarrowed = multikey === 0 && all.some(({ index }) => index.field === field);
  return { index: field, serves: isNarrowed ? ["where", "sort"] : ["sort"], scan: false };
}

function findOf(cx: Find["cx"], args: unknown): Pick<Find, "place" | "cx" | "query"> {
  const collection = docsCollection(docsMember(args, "collection"));
  const query = parseWhere(docsMember(args, "where"));
  return { place: { app_id: cx.app_id, collection }, cx, query };
}

function planOf(
  { db }: DocsFindOptions,
  { place, query, cx }: Find,
  sort: DocSort | null,
  indexes: readonly DocIndex[],
): Promise<DocsPlan> {
  const count = (candidates: Candidates, limit: number) =>
    countEntries(db, { ...place, field: candidates.index.field }, candidates, limit, cx.seen);
  return planFind({ query, sort, indexes, count });
}

/** Runs a find again when the index that it used was not the same at its end. */
async function steadily<T>(
  { db }: DocsFindOptions,
  { place, cx }: Find,
  run: (indexes: readonly DocIndex[]) => Promise<{ value: T; used: string | null }>,
): Promise<T> {
  const list = async () => ready(await listDocIndexes(db, place.app_id, place.collection, cx.seen));
  let before = await list();
  for (let tries = 0; tries < docFindTriesMax; tries += 1) {
    const { value, used } = await run(before);
    if (used === null) return value;
    const after = await list();
    const stateOf = (indexes: readonly DocIndex[]) => {
      const index = indexes.find(({ field }) => field === used);
      return index === undefined ? null : `${index.created_at} ${index.multikey}`;
    };
    if (stateOf(before) === stateOf(after)) return value;
    before = after;
  }
  throw new PicError("unavailable", "The indexes are changing too fast; try again");
}

function ready(indexes: readonly DocIndex[]): DocIndex[] {
  return indexes.filter(({ state }) => state === "ready");
}

function indexOf(source: DocsSource): string | null {
  if (source.kind === "scan" || source.kind === "ids") return null;
  return source.kind === "keys" ? source.candidates.index.field : source.index.field;
}

/** One document of a source, with its place in the sort. */
interface Examined {
  row: DocText & Partial<IndexKey>;
  document: DocObject;
  position: DocPosition;
  /** False: this entry is not the one by which the document is sorted. */
  isOwn: boolean;
}

async function readPage(options: DocsFindOptions, find: Find, plan: DocsPlan): Promise<FoundDocs> {
  const { query, cursor, limit } = find;
  const { sort, isSortedInMemory } = plan;
  const page = new DocsPage(sort, limit);
  const budget = new DocsBudget(options.clock, query.conditions);
  const matches = matcherOf(query, budget);
  const seen = { last: null as Examined | null, isOut: false };
  for await (const row of readDocs(options.db, find, plan)) {
    if (page.isFull && canEnd(plan, seen.last, row)) {
      page.hasMore = true;
      break;
    }
    if (budget.isSpent) {
      if (isSortedInMemory || !isStreamed(plan, row)) throw tooLarge(find, plan);
      seen.isOut = true;
      break;
    }
    const examined = examine(plan, row);
    seen.last = examined;
    budget.spend(row.value.length);
    const { document, position } = examined;
    if (examined.isOwn && isAfter(cursor, sort, position)) {
      const match = matches(document, row.value.length);
      if (typeof match === "boolean" ? match : await match) {
        page.add({ document, position, bytes: row.value.length });
      }
    }
    const turn = budget.turn();
    if (turn !== null) await turn;
  }
  const items = page.items.map(({ document }) => document);
  const end = seen.isOut ? seen.last?.position : page.hasMore ? page.items.at(-1)?.position : null;
  if (end === null || end === undefined) return { items, nextCursor: null };
  return { items, nextCursor: formatCursor({ sort, position: end }) };
}

function examine({ source, sort }: DocsPlan, row: DocText & Partial<IndexKey>): Examined {
  const document = JSON.parse(row.value) as DocObject;
  const position = positionOf(sort, row.id, document);
  if (source.kind !== "order") return { row, document, position, isOwn: true };
  const key = keyOf(row);
  if (compareKeys(indexKey(position.values[0]), key) === 0) {
    return { row, document, position, isOwn: true };
  }
  // A place for a cursor: the value of this very entry.
  const path = sort[0]?.path;
  const values = path === undefined ? [] : sortableValues(document, path);
  const value = values.find((one) => compareKeys(indexKey(one), key) === 0) ?? null;
  return { row, document, position: { values: [value as DocValue], id: row.id }, isOwn: false };
}

function keyOf({ type = 0, number = 0, text = "" }: Partial<IndexKey>): IndexKey {
  return { type, number, text };
}

/** Rows come in the very order of the sort, not only in that of its first field's keys. */
function isStreamed({ source, sort, isSortedInMemory }: DocsPlan, row: Partial<IndexKey>): boolean {
  if (isSortedInMemory) return false;
  return source.kind !== "order" || (sort.length === 1 && isExact(keyOf(row)));
}

/** A full page changes no more: all that is to come is behind it. */
function canEnd(plan: DocsPlan, last: Examined | null, row: DocText & Partial<IndexKey>): boolean {
  if (plan.isSortedInMemory) return false;
  return isStreamed(plan, row) || (last !== null && compareKeys(keyOf(last.row), keyOf(row)) !== 0);
}

async function countRead(
  options: DocsFindOptions,
  find: Find,
  source: DocsSource,
): Promise<number> {
  const { query } = find;
  const budget = new DocsBudget(options.clock, query.conditions);
  const matches = matcherOf(query, budget);
  const plan: DocsPlan = { source, sort: [], isSortedInMemory: true };
  let count = 0;
  for await (const row of readDocs(options.db, find, plan)) {
    if (budget.isSpent) throw tooLarge(find, plan);
    budget.spend(row.value.length);
    const match = matches(JSON.parse(row.value) as DocObject, row.value.length);
    if (typeof match === "boolean" ? match : await match) count += 1;
    const turn = budget.turn();
    if (turn !== null) await turn;
  }
  return count;
}

/** A promise only for what takes longer than a slice. */
function matcherOf(
  query: DocQuery,
  budget: DocsBudget,
): (document: DocObject, chars: number) => boolean | Promise<boolean> {
  const [atOnce, slowly] = [createMatcher(query), createSlowMatcher(query, () => budget.turn())];
  return (document, chars) =>
    chars * query.conditions > docAtOnceChars ? slowly(document) : atOnce(document);
}

/** Says what to do about it. */
function tooLarge({ query }: Find, { sort, source }: DocsPlan): PicError {
  const field = sort[0]?.path.text ?? fieldOf(query) ?? "id";
  const used = indexOf(source);
  const advice =
    used === field
      ? `the index on ${JSON.stringify(field)} leaves too many: narrow the query`
      : `create an index on ${JSON.stringify(field)}, or narrow the query`;
  return new PicError(
    "docs_query_too_large",
    `The query has to read more than ${docFindRowsMax} documents, or too many bytes of them: ${advice}`.toWellFormed(),
  );
}

function fieldOf({ condition }: DocQuery): string | null {
  const queue = [condition];
  for (let one = queue.shift(); one !== undefined; one = queue.shift()) {
    if ("parts" in one) queue.push(...one.parts);
    else if ("part" in one) queue.push(one.part);
    else return one.path.text;
  }
  return null;
}
