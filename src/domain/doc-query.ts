/**
 * Queries of documents: a subset of MongoDB's language. Together with doc-matcher.ts this decides which
 * documents a query finds, on every engine; an index only says which ones are worth a look (doc-plans.ts).
 *
 * A comparison holds for a path when it holds for any value there, or for any element of an array
 * there; $ne, $nin and $not hold when the comparison does not. Ranges compare within one type. null is found
 * by null and by what is missing.
 */
import {
  compareText,
  compareValues,
  type DocObject,
  type DocPath,
  type DocValue,
  isShallow,
  parsePath,
  sortValue,
} from "./doc-values.ts";
import { PicError } from "./errors.ts";
import {
  docConditionsMax,
  docDepthMax,
  docFieldBytesMax,
  docInValuesMax,
  docQueryDepthMax,
  docSortFieldsMax,
} from "./limits.ts";

export type Comparison = "$eq" | "$gt" | "$gte" | "$lt" | "$lte";

export type DocCondition =
  | { readonly kind: "all" | "any"; readonly parts: readonly DocCondition[] }
  | { readonly kind: "not"; readonly part: DocCondition }
  | { readonly kind: "exists"; readonly path: DocPath }
  | {
      readonly kind: "compare";
      readonly path: DocPath;
      readonly operator: Comparison;
      readonly operand: DocValue;
    }
  | { readonly kind: "in"; readonly path: DocPath; readonly operands: readonly DocValue[] };

export interface DocSortField {
  readonly path: DocPath;
  readonly direction: 1 | -1;
}

/** Ties are broken by id, in the direction of the last field; without a field, ascending. */
export type DocSort = readonly DocSortField[];

export interface DocQuery {
  readonly condition: DocCondition;
  /** Conditions in it: what one document costs. */
  readonly conditions: number;
}

const comparisons = ["$eq", "$gt", "$gte", "$lt", "$lte"] as const satisfies Comparison[];
const operators: readonly string[] = [...comparisons, "$ne", "$in", "$nin", "$exists", "$not"];

/** Throws PicError `docs_invalid_query` that names the path and the rule. */
export function parseWhere(where: unknown): DocQuery {
  const count = { conditions: 0 };
  const condition =
    where === undefined || where === null
      ? ({ kind: "all", parts: [] } as const)
      : parseFilter(where, "where", 0, count);
  return { condition, conditions: count.conditions };
}

interface Count {
  conditions: number;
}

function parseFilter(filter: unknown, at: string, depth: number, count: Count): DocCondition {
  const parts: DocCondition[] = [];
  const object = objectAt(filter, at);
  for (const name of Object.keys(object)) {
    const here = below(at, name);
    const value = object[name];
    if (name === "$and" || name === "$or") {
      const filters = listAt(value, here, depth);
      parts.push({
        kind: name === "$and" ? "all" : "any",
        parts: filters.map((one, index) => parseFilter(one, `${here}.${index}`, depth + 1, count)),
      });
    } else if (name.startsWith("$")) {
      throw refuse(here, "is not an operator that can stand here; $and and $or can");
    } else {
      parts.push(parseField(pathAt(name, here), value, here, depth, count));
    }
  }
  return parts.length === 1 ? (parts[0] as DocCondition) : { kind: "all", parts };
}

function listAt(value: unknown, at: string, depth: number): unknown[] {
  if (!Array.isArray(value) || value.length === 0) {
    throw refuse(at, "must be an array of at least one condition");
  }
  if (value.length > docConditionsMax) throw tooMany(at);
  if (depth >= docQueryDepthMax) {
    throw refuse(at, `nests conditions deeper than ${docQueryDepthMax} levels`);
  }
  return value;
}

/** A value to be equal to, or an object of operators. */
function parseField(
  path: DocPath,
  value: unknown,
  at: string,
  depth: number,
  count: Count,
): DocCondition {
  if (!isOperators(value, at)) {
    return { kind: "compare", path, operator: "$eq", operand: operandAt(value, at, count) };
  }
  const parts = Object.keys(value).map((name) =>
    parseOperator(path, name, value[name], below(at, name), depth, count),
  );
  return parts.length === 1 ? (parts[0] as DocCondition) : { kind: "all", parts };
}

function isOperators(value: unknown, at: string): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const names = Object.keys(value);
  const found = names.filter((name) => name.startsWith("$"));
  if (found.length === 0) return false;
  if (found.length === names.length) return true;
  throw refuse(at, "mixes operators and members; an object to be equal to belongs into $eq");
}

function parseOperator(
  path: DocPath,
  name: string,
  value: unknown,
  at: string,
  depth: number,
  count: Count,
): DocCondition {
  const equal = (): DocCondition => {
    return { kind: "compare", path, operator: "$eq", operand: operandAt(value, at, count) };
  };
  switch (name) {
    case "$ne":
      return { kind: "not", part: equal() };
    case "$in":
      return parseIn(path, value, at, count);
    case "$nin":
      return { kind: "not", part: parseIn(path, value, at, count) };
    case "$exists": {
      if (typeof value !== "boolean") throw refuse(at, "must be true or false");
      counted(at, count);
      const part: DocCondition = { kind: "exists", path };
      return value ? part : { kind: "not", part };
    }
    case "$not": {
      if (depth >= docQueryDepthMax) {
        throw refuse(at, `nests conditions deeper than ${docQueryDepthMax} levels`);
      }
      const isGood = typeof value === "object" && value !== null && isOperators(value, at);
      if (!isGood) throw refuse(at, "must be an object of operators");
      return { kind: "not", part: parseField(path, value, at, depth + 1, count) };
    }
    default: {
      const operator = comparisons.find((one) => one === name);
      if (operator === undefined) {
        throw refuse(at, `is not an operator; there are ${operators.join(", ")}`);
      }
      return { kind: "compare", path, operator, operand: operandAt(value, at, count) };
    }
  }
}

function parseIn(path: DocPath, value: unknown, at: string, count: Count): DocCondition {
  if (!Array.isArray(value)) throw refuse(at, "must be an array of values");
  if (value.length > docInValuesMax) {
    throw refuse(at, `must not have more than ${docInValuesMax} values`);
  }
  counted(at, count);
  const operands = value.map((one, index) => {
    // The others are found in a set; each of these is compared with every element.
    if (index > 0 && typeof one === "object" && one !== null) counted(at, count);
    return shallowAt(one, `${at}.${index}`);
  });
  return { kind: "in", path, operands };
}

function operandAt(value: unknown, at: string, count: Count): DocValue {
  counted(at, count);
  return shallowAt(value, at);
}

function shallowAt(value: unknown, at: string): DocValue {
  if (isShallow(value)) return value as DocValue;
  throw refuse(at, `must not nest deeper than ${docDepthMax} levels`);
}

function counted(at: string, count: Count): void {
  count.conditions += 1;
  if (count.conditions > docConditionsMax) throw tooMany(at);
}

/** Fields in their order, `{ name: 1, age: -1 }`. Throws PicError `docs_invalid_query`. */
export function parseSort(sort: unknown): DocSort {
  if (sort === undefined || sort === null) return [];
  const object = objectAt(sort, "sort");
  const names = Object.keys(object);
  if (names.length > docSortFieldsMax) {
    throw refuse("sort", `must not have more than ${docSortFieldsMax} fields`);
  }
  return names.map((name) => {
    const here = below("sort", name);
    const direction = object[name];
    if (name.startsWith("$")) throw refuse(here, "is not the path of a member");
    if (direction !== 1 && direction !== -1) {
      throw refuse(here, "must be 1 (ascending) or -1 (descending)");
    }
    return { path: pathAt(name, here), direction };
  });
}

function objectAt(value: unknown, at: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw refuse(at, "must be an object");
}

function pathAt(name: string, at: string): DocPath {
  const path = parsePath(name);
  if (path === null) throw refuse(at, `must not be longer than ${docFieldBytesMax} bytes`);
  return path;
}

function below(at: string, name: string): string {
  return `${at}.${name.length > 64 ? `${name.slice(0, 64)}…` : name}`;
}

function tooMany(at: string): PicError {
  return refuse(at, `is one condition too many: ${docConditionsMax} are allowed`);
}

/** The error for one part of a query. */
export function refuse(path: string, message: string): PicError {
  const text = `${path}: ${message}`.toWellFormed();
  return new PicError("docs_invalid_query", text, {
    errors: [{ path: path.toWellFormed(), message }],
  });
}

/** A document's place in a sort. */
export interface DocPosition {
  /** One for each field. */
  readonly values: readonly DocValue[];
  readonly id: string;
}

export function positionOf(sort: DocSort, id: string, document: DocObject): DocPosition {
  return { values: sort.map(({ path, direction }) => sortValue(document, path, direction)), id };
}

export function comparePositions(sort: DocSort, a: DocPosition, b: DocPosition): number {
  for (const [index, { direction }] of sort.entries()) {
    const difference = compareValues(a.values[index], b.values[index]) * direction;
    if (difference !== 0) return difference;
  }
  return compareText(a.id, b.id) * (sort.at(-1)?.direction ?? 1);
}
