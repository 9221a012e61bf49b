/**
 * How an index keeps values: as keys of (type, number, text) that sort, on every engine, as the values
 * do. What these keys are is part of the schema: a document's entries are found again by computing
 * them from it, so that another rule needs a migration that builds all indexes anew.
 *
 * A key may stand for several values: of objects, of arrays, and of texts that are equal for docIndexTextCharsMax
 * characters. Who reads an index compares the values themselves.
 */
import {
  compareText,
  compareValues,
  type DocObject,
  type DocPath,
  type DocValue,
  docTypes,
  sortableValues,
  typeOf,
} from "./doc-values.ts";
import { docIndexKeysMax, docIndexTextCharsMax } from "./limits.ts";

export interface IndexKey {
  readonly type: number;
  readonly number: number;
  readonly text: string;
}

/** Above every type: an entry that says its document has too many values for an entry each. */
export const manyType = 6;
export const manyKey: IndexKey = { type: manyType, number: 0, text: "" };

const numberMax = Number.MAX_SAFE_INTEGER;

/** Before every key of a type. */
export function firstKey(type: number): IndexKey {
  return { type, number: -numberMax, text: "" };
}

/**
 * Numbers from ±(2^53 - 1) on have this as their number, and their order in the text: no engine's
 * driver takes larger whole numbers without a doubt.
 */
export function indexKey(value: DocValue | undefined): IndexKey {
  const type = typeOf(value);
  if (type === docTypes.string) return { type, number: 0, text: keyText(value as string) };
  if (type === docTypes.boolean) return { type, number: value === true ? 1 : 0, text: "" };
  if (type !== docTypes.number) return { type, number: 0, text: "" };
  const number = value as number;
  if (Math.abs(number) < numberMax) return { type, number: number === 0 ? 0 : number, text: "" };
  return { type, number: number < 0 ? -numberMax : numberMax, text: orderedHex(number) };
}

/** True when all values with this key are equal. */
export function isExact({ type, text }: IndexKey): boolean {
  if (type === docTypes.string)
    return pointsUpTo(text, docIndexTextCharsMax) < docIndexTextCharsMax;
  return type !== docTypes.object && type !== docTypes.array;
}

export function compareKeys(a: IndexKey, b: IndexKey): number {
  return a.type - b.type || a.number - b.number || compareText(a.text, b.text);
}

/** The keys of a document in one index, each once; at least one, and `manyKey` among them for many. */
export function keysOf(document: DocObject, path: DocPath): IndexKey[] {
  const values = sortableValues(document, path);
  if (values.length === 1) return [indexKey(values[0])];
  const keys = new Map<string, IndexKey>();
  for (const value of values) {
    const key = indexKey(value);
    keys.set(nameOf(key), key);
    if (keys.size > docIndexKeysMax) return extremes(values);
  }
  return [...keys.values()];
}

/** Text that tells keys apart. */
export function nameOf({ type, number, text }: IndexKey): string {
  return `${type} ${number} ${text}`;
}

/** The ends are kept, since a document is sorted by one of them. */
function extremes(values: readonly DocValue[]): IndexKey[] {
  let least = values[0] as DocValue;
  let greatest = least;
  for (const value of values) {
    if (compareValues(value, least) < 0) least = value;
    else if (compareValues(value, greatest) > 0) greatest = value;
  }
  return [indexKey(least), indexKey(greatest), manyKey];
}

/**
 * Text that no engine keeps (NUL, half of a surrogate pair) is written with others, in the same order:
 * U+0000 and U+0001 behind a U+0001, a half behind U+D7FF and U+0002. Cut at a number of characters:
 * a cut at a number of bytes would put "z" before "😀" where only the first fits.
 */
function keyText(text: string): string {
  const isPlain = text.length < docIndexTextCharsMax && text.isWellFormed() && !special.test(text);
  if (isPlain) return text;
  let kept = "";
  let left = docIndexTextCharsMax;
  for (const character of text) {
    for (const part of escaped(character)) {
      if (left === 0) return kept;
      kept += part;
      left -= 1;
    }
  }
  return kept;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it looks for
const special = /[\u0000\u0001\ud7ff]/;

function escaped(character: string): string {
  const point = character.codePointAt(0) as number;
  if (point === 0) return "\u0001\u0001";
  if (point === 1) return "\u0001\u0002";
  if (point === 0xd7ff) return "\ud7ff\u0001";
  if (point < 0xd800 || point > 0xdfff) return character;
  return `\ud7ff\u0002${String.fromCharCode(0x100 + point - 0xd800)}`;
}

function pointsUpTo(text: string, max: number): number {
  if (text.length < max) return text.length;
  let points = 0;
  for (const _ of text) {
    points += 1;
    if (points === max) break;
  }
  return points;
}

/** The 64 bits of a number, so that text sorts as numbers do. */
function orderedHex(number: number): string {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, number);
  const bits = view.getBigUint64(0);
  const ordered = number < 0 ? ~bits & 0xffff_ffff_ffff_ffffn : bits | 0x8000_0000_0000_0000n;
  return ordered.toString(16).padStart(16, "0");
}
