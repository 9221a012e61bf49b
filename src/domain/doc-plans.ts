/**
 * What an index can tell about a query: keys that every document found has one of. It may tell of more
 * documents than are found, never of fewer.
 *
 * Only conditions that hold for all that is found are looked at: those of the query itself and of its $and.
 */
import {
  compareKeys,
  firstKey,
  type IndexKey,
  indexKey,
  isExact,
  nameOf,
} from "./doc-index-keys.ts";
import type { DocCondition, DocQuery } from "./doc-query.ts";
import { type DocValue, docTypes, typeOf } from "./doc-values.ts";

export interface PlanIndex {
  readonly field: string;
  readonly multikey: 0 | 1 | 2;
}

export interface KeyBound {
  readonly key: IndexKey;
  readonly isIncluded: boolean;
}

export interface KeyRange {
  readonly lower: KeyBound;
  readonly upper: KeyBound;
}

/** The keys of one index; either points or a range is set. */
export interface Candidates {
  readonly index: PlanIndex;
  readonly points: readonly IndexKey[] | null;
  readonly range: KeyRange | null;
  /** Each entry with such a key is one document that is found, and there are no others. */
  readonly isExact: boolean;
}

type Served = Extract<DocCondition, { kind: "compare" | "in" }>;

/** One for each index that can narrow the query down. */
export function candidatesOf({ condition }: DocQuery, indexes: readonly PlanIndex[]): Candidates[] {
  const all = conjunctsOf(condition);
  return indexes.flatMap((index) => {
    const own = all.filter(
      (one): one is Served =>
        (one.kind === "compare" || one.kind === "in") && one.path.text === index.field,
    );
    const found = byPoints(index, own, all.length) ?? byRange(index, own, all.length);
    return found === null ? [] : [found];
  });
}

/** The only ids that a document found can have; null: any. */
export function idsOf({ condition }: DocQuery): string[] | null {
  for (const one of conjunctsOf(condition)) {
    if ((one.kind !== "compare" && one.kind !== "in") || one.path.text !== "id") continue;
    const operands = one.kind === "in" ? one.operands : [one.operand];
    if (one.kind === "compare" && one.operator !== "$eq") continue;
    return [...new Set(operands.filter((operand) => typeof operand === "string"))];
  }
  return null;
}

function conjunctsOf(condition: DocCondition): DocCondition[] {
  return condition.kind === "all" ? condition.parts.flatMap(conjunctsOf) : [condition];
}

function byPoints(index: PlanIndex, own: readonly Served[], all: number): Candidates | null {
  let best: IndexKey[] | null = null;
  for (const one of own) {
    const points = pointsOf(one);
    if (points !== null && (best === null || points.length < best.length)) best = points;
  }
  if (best === null) return null;
  const isWhole = all === 1 && best.every(isExact) && best.every(({ type }) => type > 0);
  const isOnce = index.multikey === 0 || (index.multikey === 1 && best.length <= 1);
  return { index, points: best, range: null, isExact: isWhole && isOnce };
}

/** Null: a range. */
function pointsOf(one: Served): IndexKey[] | null {
  const operands = one.kind === "in" ? one.operands : one.operator === "$eq" ? [one.operand] : null;
  if (operands === null) return nullRange(one as Extract<Served, { kind: "compare" }>);
  return distinct(operands.flatMap(pointsAt));
}

/** The ranges of null hold null alone, or nothing. */
function nullRange({ operator, operand }: Extract<Served, { kind: "compare" }>): IndexKey[] | null {
  if (operand !== null) return null;
  return operator === "$gte" || operator === "$lte" ? [indexKey(null)] : [];
}

/** An array is equal to a whole one, which is indexed by its elements, or to an element that is an array. */
function pointsAt(operand: DocValue): IndexKey[] {
  if (!Array.isArray(operand)) return [indexKey(operand)];
  return [indexKey(operand[0] ?? null), indexKey(operand)];
}

function distinct(keys: readonly IndexKey[]): IndexKey[] {
  return [...new Map(keys.map((key) => [nameOf(key), key])).values()];
}

function byRange(index: PlanIndex, own: readonly Served[], all: number): Candidates | null {
  let range: KeyRange | null = null;
  let isWhole = index.multikey === 0 && own.length === all;
  for (const one of own) {
    const next = one.kind === "compare" ? rangeOf(one) : null;
    if (next === null) {
      isWhole = false;
      continue;
    }
    if (one.kind === "compare" && !isExact(indexKey(one.operand))) isWhole = false;
    range = range === null ? next : both(range, next);
    // Of several values one may hold the first condition and another one the second.
    if (index.multikey > 0) break;
  }
  return range === null ? null : { index, points: null, range, isExact: isWhole };
}

function rangeOf({ operator, operand }: Extract<Served, { kind: "compare" }>): KeyRange | null {
  const type = typeOf(operand);
  if (type === docTypes.array) return null;
  const key = indexKey(operand);
  const whole: KeyRange = {
    lower: { key: firstKey(type), isIncluded: true },
    upper: { key: firstKey(type + 1), isIncluded: false },
  };
  if (type === docTypes.object) return whole;
  const own = { key, isIncluded: operator === "$gte" || operator === "$lte" || !isExact(key) };
  const isLower = operator === "$gt" || operator === "$gte";
  return isLower ? { ...whole, lower: own } : { ...whole, upper: own };
}

function both(a: KeyRange, b: KeyRange): KeyRange {
  return {
    lower: isTighter(a.lower, b.lower, 1) ? a.lower : b.lower,
    upper: isTighter(a.upper, b.upper, -1) ? a.upper : b.upper,
  };
}

function isTighter(a: KeyBound, b: KeyBound, side: 1 | -1): boolean {
  const difference = compareKeys(a.key, b.key) * side;
  return difference > 0 || (difference === 0 && !a.isIncluded);
}
