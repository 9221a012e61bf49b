/** Which index serves a find: decided by how many documents each would have it read. */

import { compareKeys, type IndexKey } from "../domain/doc-index-keys.ts";
import {
  type Candidates,
  candidatesOf,
  idsOf,
  type KeyRange,
  type PlanIndex,
} from "../domain/doc-plans.ts";
import type { DocQuery, DocSort, DocSortField } from "../domain/doc-query.ts";
import { compareText, parsePath } from "../domain/doc-values.ts";
import { docIdBytesMax, docSortedRowsPreferred } from "../domain/limits.ts";
import { wholeRange } from "../storage/doc-entries.ts";

export type DocsSource =
  /** All documents, by id. */
  | { readonly kind: "scan"; readonly direction: 1 | -1 }
  /** Those of these ids, by id. */
  | { readonly kind: "ids"; readonly ids: readonly string[] }
  /** Those with one of some keys, by id. */
  | { readonly kind: "keys"; readonly candidates: Candidates }
  /** Those in a range of an index, in its order. */
  | {
      readonly kind: "order";
      readonly index: PlanIndex;
      readonly range: KeyRange;
      readonly direction: 1 | -1;
    };

export interface DocsPlan {
  readonly source: DocsSource;
  /** What the find is sorted by, whoever does it. */
  readonly sort: DocSort;
  /** The source is not in that order. */
  readonly isSortedInMemory: boolean;
}

export interface PlanRequest {
  readonly query: DocQuery;
  /** Null: any order, as long as it is one. */
  readonly sort: DocSort | null;
  readonly indexes: readonly PlanIndex[];
  /** Entries of candidates, counted up to a limit. */
  readonly count: (candidates: Candidates, limit: number) => Promise<number>;
}

export async function planFind(request: PlanRequest): Promise<DocsPlan> {
  const { query, sort, indexes } = request;
  const ids = idsOf(query);
  if (ids !== null) return planIds(ids, sort ?? []);
  const all = candidatesOf(query, indexes);
  const [first] = sort ?? [];
  if (sort === null || first === undefined || isById(first, 1)) {
    const best = all.length === 0 ? null : (await smallest(request, all)).candidates;
    return best === null ? scan(sort ?? [], 1) : unsorted(best, sort);
  }
  const index = indexes.find(({ field }) => field === first.path.text);
  const own = all.find((one) => one.index === index && one.index.multikey === 0);
  const inItsOrder = (): DocsPlan | null => {
    if (isById(first, -1)) return scan(sort, -1);
    return index === undefined
      ? null
      : inOrder(sort, index, own === undefined ? wholeRange : rangeOf(own));
  };
  const isClear = all.length === 0 || (own !== undefined && all.length === 1);
  if (isClear) return inItsOrder() ?? sortedInMemory({ kind: "scan", direction: 1 }, sort);
  const { candidates, count } = await smallest(request, all);
  const isSmall = candidates !== own && count <= docSortedRowsPreferred;
  const keys = sortedInMemory({ kind: "keys", candidates }, sort);
  return isSmall ? keys : (inItsOrder() ?? keys);
}

/** A document's member `id` is its id, which is the order of all of them. */
function isById({ path, direction }: DocSortField, wanted: 1 | -1): boolean {
  return path.text === "id" && direction === wanted;
}

/** Ids that there may be, in their order. */
function planIds(ids: readonly string[], sort: DocSort): DocsPlan {
  const known = ids.filter(isStorable).sort(compareText);
  const [first] = sort;
  const isSorted = first === undefined || isById(first, 1);
  return { source: { kind: "ids", ids: known }, sort, isSortedInMemory: !isSorted };
}

function isStorable(id: string): boolean {
  return (
    id !== "" && id.isWellFormed() && !id.includes("\0") && Buffer.byteLength(id) <= docIdBytesMax
  );
}

function scan(sort: DocSort, direction: 1 | -1): DocsPlan {
  return { source: { kind: "scan", direction }, sort, isSortedInMemory: false };
}

function sortedInMemory(source: DocsSource, sort: DocSort): DocsPlan {
  return { source, sort, isSortedInMemory: true };
}

/**
 * A range is read in the order of its index, which then is the order of the find; but for an index with
 * several entries of one document, which would be found several times.
 */
function unsorted(candidates: Candidates, sort: DocSort | null): DocsPlan {
  const { index, range } = candidates;
  const path = parsePath(index.field);
  if (sort !== null || range === null || path === null || index.multikey > 0) {
    return { source: { kind: "keys", candidates }, sort: sort ?? [], isSortedInMemory: false };
  }
  return inOrder([{ path, direction: 1 }], index, range);
}

function inOrder(sort: DocSort, index: PlanIndex, range: KeyRange): DocsPlan {
  const direction = sort[0]?.direction ?? 1;
  return { source: { kind: "order", index, range, direction }, sort, isSortedInMemory: false };
}

function rangeOf({ points, range }: Candidates): KeyRange {
  if (range !== null) return range;
  const keys = [...(points ?? [])].sort(compareKeys);
  const [least, greatest] = [keys[0], keys.at(-1)];
  // No key at all: nothing is found.
  if (least === undefined || greatest === undefined) return nothing;
  return bounds(least, greatest);
}

function bounds(least: IndexKey, greatest: IndexKey): KeyRange {
  return {
    lower: { key: least, isIncluded: true },
    upper: { key: greatest, isIncluded: true },
  };
}

const nothing: KeyRange = {
  lower: wholeRange.lower,
  upper: { ...wholeRange.lower, isIncluded: false },
};

/** One alone is not counted: it is the best in any case, and `count` is then infinite. */
async function smallest(
  { sort, count }: PlanRequest,
  all: readonly Candidates[],
): Promise<{ candidates: Candidates; count: number }> {
  let best: { candidates: Candidates; count: number } | null = null;
  const isCounted = all.length > 1 || (sort !== null && sort.length > 0);
  for (const candidates of all) {
    const limit = Math.min(best?.count ?? Number.POSITIVE_INFINITY, docSortedRowsPreferred + 1);
    const found = isCounted ? await count(candidates, limit) : Number.POSITIVE_INFINITY;
    if (best === null || found < best.count) best = { candidates, count: found };
  }
  if (best === null) throw new Error("there are no candidates to choose from");
  return best;
}
