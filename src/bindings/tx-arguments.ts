/** What a guest's transaction sends, checked member by member: all of it is the script's to forge. */
import type { Clock } from "../base/clock.ts";
import type { DeliveryContext } from "../domain/bindings.ts";
import { PicError } from "../domain/errors.ts";
import { txKeysMax, txResultBytesMax } from "../domain/limits.ts";
import { docsCollection, docsDocument, docsId } from "./docs-arguments.ts";
import { kvExpiry, kvPlace, kvValueJson, member } from "./kv-arguments.ts";

export type TxSource = "kv" | "docs";

export interface TxPlace {
  source: TxSource;
  collection: string;
  key: string;
}

/** A record that a transaction has read, or writes, or both. */
export interface TxRecord extends TxPlace {
  /** What was there; version 0 for nothing. Null: it was not read. */
  read: { version: number; digest: string } | null;
  /** What is to be there; value null for nothing. Null: it is not written. */
  write: { value: string | null; expires_at: number | null | "kept" } | null;
}

export interface TxCommit {
  /** In one order for all transactions, each record once. */
  records: TxRecord[];
  /** Of the handler of an event: what to record, as JSON text of { value? }. */
  result: { ordinal: number; json: string } | null;
}

/** The number of a `tx` in its handler. Throws PicError `tx_invalid`. */
export function readOrdinal(args: unknown): number {
  return positive(member(args, "ordinal"), "ordinal");
}

/** How often the function has run. Throws PicError `tx_invalid`. */
export function readRun(args: unknown): number {
  return positive(member(args, "run"), "run");
}

/** Throws PicError `tx_invalid`, `tx_too_large`, and what a bad place is refused with. */
export function readPlaces(args: unknown): TxPlace[] {
  return list(args, "records").map(placeOf);
}

/** What was read, once for each record. Throws as `readPlaces`. */
export function readReads(args: unknown): TxRecord[] {
  return merge(list(args, "reads"), [], null);
}

/** Throws as `readPlaces`, and what a bad value is refused with. */
export function readCommit(
  args: unknown,
  { clock, delivery }: { clock: Clock; delivery: DeliveryContext | null },
): TxCommit {
  const reads = list(args, "reads");
  const records = merge(reads, list(args, "writes"), clock.now());
  if (records.length > txKeysMax) throw tooManyKeys();
  records.sort(byPlace);
  return { records, result: delivery === null ? null : readResult(args) };
}

function readResult(args: unknown): { ordinal: number; json: string } {
  const result = member(args, "result");
  if (typeof result !== "object" || result === null || Array.isArray(result)) {
    throw invalid("A tx of an event's handler has a result: it cannot be called at the top level");
  }
  const value = member(result, "value");
  const json = JSON.stringify(value === undefined ? {} : { value });
  if (Buffer.byteLength(json) > txResultBytesMax) {
    throw new PicError(
      "tx_too_large",
      `What a tx resolves to is longer than ${txResultBytesMax} bytes as JSON`,
    );
  }
  return { ordinal: readOrdinal(args), json };
}

/** @param now for the expiry of what is written */
function merge(reads: unknown[], writes: unknown[], now: number | null): TxRecord[] {
  const records = new Map<string, TxRecord>();
  const recordOf = (args: unknown): TxRecord => {
    const place = placeOf(args);
    const name = JSON.stringify([place.source, place.collection, place.key]);
    const record = records.get(name) ?? { ...place, read: null, write: null };
    records.set(name, record);
    return record;
  };
  for (const args of reads) {
    const record = recordOf(args);
    if (record.read !== null) throw invalid("A record was read twice");
    record.read = readOf(args);
  }
  for (const args of writes) {
    const record = recordOf(args);
    if (record.write !== null) throw invalid("A record is written twice");
    record.write = writeOf(args, record, now ?? 0);
  }
  return [...records.values()];
}

function readOf(args: unknown): { version: number; digest: string } {
  const version = member(args, "version");
  const digest = member(args, "digest");
  if (typeof version !== "number" || !Number.isSafeInteger(version) || version < 0) {
    throw invalid("version must be one that was read");
  }
  if (typeof digest !== "string") throw invalid("digest must be one that was read");
  return { version, digest };
}

function writeOf(
  args: unknown,
  { source, key }: TxPlace,
  now: number,
): NonNullable<TxRecord["write"]> {
  const op = member(args, "op");
  if (op === "delete") return { value: null, expires_at: null };
  if (op !== "put") throw invalid('op must be "put" or "delete"');
  const value = member(args, "value");
  if (source === "docs") {
    const { json } = docsDocument(value, { id: key, isFixed: true });
    return { value: json, expires_at: null };
  }
  const ttl = member(args, "ttl");
  return { value: kvValueJson(value), expires_at: ttl === "kept" ? "kept" : kvExpiry(ttl, now) };
}

function placeOf(args: unknown): TxPlace {
  const source = member(args, "source");
  if (source === "kv") return { source, ...kvPlace(args) };
  if (source === "docs") {
    const collection = docsCollection(member(args, "collection"));
    return { source, collection, key: docsId(member(args, "key")) };
  }
  throw invalid('source must be "kv" or "docs"');
}

function list(args: unknown, name: string): unknown[] {
  const items = member(args, name);
  if (!Array.isArray(items)) throw invalid(`${name} must be a list`);
  if (items.length > txKeysMax) throw tooManyKeys();
  return items;
}

function positive(value: unknown, name: string): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 1) return value;
  throw invalid(`${name} must be a whole number from 1`);
}

/** By code unit: any order will do that is the same for all. */
function byPlace(a: TxPlace, b: TxPlace): number {
  return (
    compare(a.source, b.source) || compare(a.collection, b.collection) || compare(a.key, b.key)
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function invalid(message: string): PicError {
  return new PicError("tx_invalid", message);
}

function tooManyKeys(): PicError {
  return new PicError("tx_too_large", `A transaction may have ${txKeysMax} keys at most`);
}
