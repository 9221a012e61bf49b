/** Documents one by one, as a plan reads them: a batch at a time, as they are needed. */
import type { DocCursor } from "../domain/doc-cursors.ts";
import { type IndexKey, indexKey, isExact } from "../domain/doc-index-keys.ts";
import type { Candidates } from "../domain/doc-plans.ts";
import { compareText } from "../domain/doc-values.ts";
import { docScanIdsMax, docScanRowsMax } from "../domain/limits.ts";
import {
  type EntryPosition,
  listCandidateIds,
  listDocsAtKey,
  listDocsById,
  listDocsInOrder,
} from "../storage/doc-entries.ts";
import { type DocText, listDocs, listDocsDown } from "../storage/docs.ts";
import type { Database, Seen } from "../storage/port.ts";
import type { DocsPlan } from "./docs-plan.ts";

export interface DocsRequest {
  place: { app_id: string; collection: string };
  cx: { seen: Seen };
  cursor: DocCursor | null;
  /** Documents that are wanted: the first batch needs no more than one more. */
  limit: number;
}

type Row = DocText & Partial<IndexKey>;

export async function* readDocs(
  db: Database,
  request: DocsRequest,
  plan: DocsPlan,
): AsyncGenerator<Row, void> {
  for await (const rows of batchesOf(db, request, plan)) yield* rows;
}

function batchesOf(
  db: Database,
  request: DocsRequest,
  plan: DocsPlan,
): AsyncGenerator<Row[], void> {
  const { source } = plan;
  if (source.kind === "order") return ordered(db, request, plan);
  const from = plan.isSortedInMemory ? "" : (request.cursor?.position.id ?? "");
  if (source.kind === "ids") {
    const ids = source.ids.filter((id) => from === "" || compareText(id, from) > 0);
    return byIds(db, request, ids);
  }
  if (source.kind === "keys" && !isOneKey(source.candidates)) {
    return byCandidates(db, request, source.candidates, from);
  }
  return byId(db, request, plan, from);
}

async function* byId(
  db: Database,
  { place, cx, limit }: DocsRequest,
  { source, isSortedInMemory }: DocsPlan,
  from: string,
): AsyncGenerator<Row[], void> {
  const read = (at: string, size: number): Promise<DocText[]> => {
    const range = { after: at, limit: size };
    if (source.kind === "keys") {
      const { index, points } = source.candidates;
      const key = points?.[0] as IndexKey;
      return listDocsAtKey(db, { ...place, field: index.field }, key, range, cx.seen);
    }
    return source.kind === "scan" && source.direction === -1
      ? listDocsDown(db, place, { before: at, limit: size }, cx.seen)
      : listDocs(db, place, range, cx.seen);
  };
  let at = from;
  let size = isSortedInMemory ? docScanRowsMax : Math.min(docScanRowsMax, limit + 1);
  while (true) {
    const rows = await read(at, size);
    yield rows;
    if (rows.length < size) return;
    at = (rows.at(-1) as DocText).id;
    size = docScanRowsMax;
  }
}

async function* byIds(
  db: Database,
  { place, cx }: DocsRequest,
  ids: readonly string[],
): AsyncGenerator<Row[], void> {
  for (let at = 0; at < ids.length; at += docScanRowsMax) {
    const rows = await listDocsById(db, place, ids.slice(at, at + docScanRowsMax), cx.seen);
    yield rows.sort((a, b) => compareText(a.id, b.id));
  }
}

/** Its entries are in the order of ids, and each is of another document. */
function isOneKey({ points, index }: Candidates): boolean {
  return points?.length === 1 && index.multikey < 2;
}

async function* byCandidates(
  db: Database,
  request: DocsRequest,
  candidates: Candidates,
  from: string,
): AsyncGenerator<Row[], void> {
  const { place, cx } = request;
  const entries = { ...place, field: candidates.index.field };
  let after = from;
  while (true) {
    const range = { after, limit: docScanIdsMax };
    const ids = await listCandidateIds(db, entries, candidates, range, cx.seen);
    yield* byIds(db, request, ids);
    if (ids.length < docScanIdsMax) return;
    after = ids.at(-1) as string;
  }
}

async function* ordered(
  db: Database,
  { place, cx, cursor, limit }: DocsRequest,
  { source, sort }: DocsPlan,
): AsyncGenerator<Row[], void> {
  if (source.kind !== "order") return;
  const { index, range, direction } = source;
  const entries = { ...place, field: index.field };
  let from = positionAt(cursor, sort.length);
  let size = Math.min(docScanRowsMax, limit + 1);
  while (true) {
    const walk = { range, from, direction, limit: size };
    const rows = await listDocsInOrder(db, entries, walk, cx.seen);
    yield rows;
    const last = rows.at(-1);
    if (last === undefined || rows.length < size) return;
    from = { key: last, id: last.id };
    size = docScanRowsMax;
  }
}

/**
 * Where an index goes on behind a cursor. Documents whose keys are equal may come in another order than
 * that of the sort: then at the beginning, or the end, of the key.
 */
function positionAt(cursor: DocCursor | null, fields: number): EntryPosition | null {
  if (cursor === null) return null;
  const { values, id } = cursor.position;
  const key = indexKey(values[0]);
  if (fields === 1 && isExact(key)) return { key, id };
  return { key, id: null, isBehind: cursor.sort[0]?.direction === -1 };
}
