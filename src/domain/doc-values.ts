/**
 * Values in documents: their types, their order, and where a path leads.
 *
 * The order is MongoDB's, of the types that JSON has: null and missing, numbers, strings, objects,
 * arrays, booleans. Documents are checked to nest no deeper than docDepthMax, so that what follows may
 * recurse.
 */
import { docDepthMax, docFieldBytesMax } from "./limits.ts";

export type DocValue = null | boolean | number | string | DocValue[] | DocObject;
export interface DocObject {
  [key: string]: DocValue;
}

/** Ranks in the order of types. */
export const docTypes = {
  null: 0,
  number: 1,
  string: 2,
  object: 3,
  array: 4,
  boolean: 5,
} as const;
export type DocType = (typeof docTypes)[keyof typeof docTypes];

/** Where a value is looked for: member names, from outside to inside. */
export interface DocPath {
  readonly text: string;
  readonly parts: readonly string[];
  /** A part is a whole number, and may stand for an element of an array. */
  readonly hasIndex: boolean;
}

/** Of a missing value, too. */
export function typeOf(value: DocValue | undefined): DocType {
  if (value === undefined || value === null) return docTypes.null;
  if (typeof value === "number") return docTypes.number;
  if (typeof value === "string") return docTypes.string;
  if (typeof value === "boolean") return docTypes.boolean;
  return Array.isArray(value) ? docTypes.array : docTypes.object;
}

/** Below, at or above zero. Objects compare member by member in their order: type, name, value. */
export function compareValues(a: DocValue | undefined, b: DocValue | undefined): number {
  const type = typeOf(a);
  const difference = type - typeOf(b);
  if (difference !== 0) return difference;
  switch (type) {
    case docTypes.null:
      return 0;
    case docTypes.string:
      return compareText(a as string, b as string);
    case docTypes.array:
      return compareArrays(a as DocValue[], b as DocValue[]);
    case docTypes.object:
      return compareObjects(a as DocObject, b as DocObject);
    default: {
      const [x, y] = [Number(a), Number(b)];
      return x < y ? -1 : x > y ? 1 : 0;
    }
  }
}

function compareArrays(a: DocValue[], b: DocValue[]): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index += 1) {
    const difference = compareValues(a[index], b[index]);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

function compareObjects(a: DocObject, b: DocObject): number {
  const names = Object.keys(a);
  const others = Object.keys(b);
  const length = Math.min(names.length, others.length);
  for (let index = 0; index < length; index += 1) {
    const name = names[index] as string;
    const other = others[index] as string;
    const [x, y] = [a[name], b[other]];
    const difference = typeOf(x) - typeOf(y) || compareText(name, other) || compareValues(x, y);
    if (difference !== 0) return difference;
  }
  return names.length - others.length;
}

/**
 * By code point, as the engines compare; JavaScript's own `<` compares UTF-16 units. Half of a surrogate
 * pair is a code point of its own.
 */
export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  let at = 0;
  while (at < length && a.charCodeAt(at) === b.charCodeAt(at)) at += 1;
  if (at === length) return a.length - b.length;
  // The half before the difference may be a pair in one of them.
  const start = at > 0 && (a.charCodeAt(at - 1) & 0xfc00) === 0xd800 ? at - 1 : at;
  return pointAt(a, start) - pointAt(b, start) || pointAt(a, at) - pointAt(b, at);
}

function pointAt(text: string, index: number): number {
  return text.codePointAt(index) as number;
}

/** Null: no document has such a path. Empty parts are empty names. */
export function parsePath(text: string): DocPath | null {
  if (text.length > docFieldBytesMax || Buffer.byteLength(text) > docFieldBytesMax) return null;
  const parts = text.split(".");
  return { text, parts, hasIndex: parts.some((part) => wholeNumber.test(part)) };
}

const wholeNumber = /^(?:0|[1-9]\d{0,8})$/;

/**
 * The values at a path; undefined for each place where it is missing. A part that is a whole number
 * stands for that element of an array; any part goes on into all objects that are elements of one.
 * Empty when arrays on the way have no such element and no object.
 */
export function valuesAt(document: DocObject, path: DocPath): (DocValue | undefined)[] {
  const found: (DocValue | undefined)[] = [];
  walk(document, 0, { path, found, been: path.hasIndex ? new Map() : null });
  return found;
}

interface Walk {
  path: DocPath;
  found: (DocValue | undefined)[];
  /**
   * Arrays, and the parts of the path at which they were come to. A number leads into one object as an element
   * and as a member: without this, arrays in arrays were walked 2^depth times, some 50 levels for years.
   */
  been: Map<DocValue[], Set<number>> | null;
}

function walk(value: DocValue, depth: number, on: Walk): void {
  const part = on.path.parts[depth];
  if (part === undefined) on.found.push(value);
  else if (Array.isArray(value)) walkArray(value, part, depth, on);
  else if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) {
    on.found.push(undefined);
  } else walk(value[part] as DocValue, depth + 1, on);
}

function walkArray(array: DocValue[], part: string, depth: number, on: Walk): void {
  if (on.been !== null && !isFirst(on.been, array, depth)) return;
  const isIndex = on.path.hasIndex && wholeNumber.test(part);
  const element = isIndex ? array[Number(part)] : undefined;
  if (element !== undefined) {
    const isEnd = depth + 1 === on.path.parts.length;
    if (isEnd || (typeof element === "object" && element !== null)) walk(element, depth + 1, on);
  }
  for (const one of array) {
    if (typeof one !== "object" || one === null || Array.isArray(one)) continue;
    // An object without a member of the name "0" is no reason to find something missing.
    if (!isIndex || Object.hasOwn(one, part)) walk(one, depth, on);
  }
}

function isFirst(been: Map<DocValue[], Set<number>>, array: DocValue[], depth: number): boolean {
  const depths = been.get(array) ?? new Set();
  if (depths.has(depth)) return false;
  been.set(array, depths.add(depth));
  return true;
}

/**
 * What a document is sorted and indexed by: each value at the path, of an array its elements; null for
 * what is missing and for an empty array. Never empty.
 */
export function sortableValues(document: DocObject, path: DocPath): DocValue[] {
  const found: DocValue[] = [];
  for (const value of valuesAt(document, path)) {
    if (!Array.isArray(value)) found.push(value ?? null);
    else if (value.length === 0) found.push(null);
    else for (const element of value) found.push(element);
  }
  return found.length === 0 ? [null] : found;
}

/** The least of them when ascending (1), the greatest when descending (-1). */
export function sortValue(document: DocObject, path: DocPath, direction: 1 | -1): DocValue {
  const values = sortableValues(document, path);
  let best = values[0] as DocValue;
  for (let index = 1; index < values.length; index += 1) {
    const value = values[index] as DocValue;
    if (compareValues(value, best) * direction < 0) best = value;
  }
  return best;
}

/** Whether a value nests no deeper than documents may. */
export function isShallow(value: unknown, levels = docDepthMax): boolean {
  if (typeof value !== "object" || value === null) return true;
  if (levels === 0) return false;
  for (const member of Array.isArray(value) ? value : Object.values(value)) {
    if (!isShallow(member, levels - 1)) return false;
  }
  return true;
}

/** RFC 7396. Neither argument is changed; the result may share parts with both. */
export function mergePatch(target: DocObject, patch: DocObject): DocObject {
  const merged: DocObject = { ...target };
  for (const name of Object.keys(patch)) {
    const change = patch[name] as DocValue;
    if (change === null) {
      delete merged[name];
      continue;
    }
    const old = Object.hasOwn(merged, name) ? merged[name] : undefined;
    const value = isObject(change) ? mergePatch(isObject(old) ? old : {}, change) : change;
    // An assignment to `__proto__` would not make a member.
    Object.defineProperty(merged, name, {
      value,
      configurable: true,
      enumerable: true,
      writable: true,
    });
  }
  return merged;
}

function isObject(value: DocValue | undefined): value is DocObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
