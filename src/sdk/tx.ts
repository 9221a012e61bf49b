/**
 * `tx`: reads and writes of several records as one, optimistically. Nothing is held open on the server:
 * the function runs here, and one call at its end checks that all it read is still so, and writes. Else
 * the function runs again.
 *
 * One runs at a time, in the order of the calls: the number of a `tx` is what a later attempt of an event's
 * handler gets the recorded result by. While a function runs, no other call leaves the script, as it
 * would happen again with each run.
 */
import { callWithText, codedError, parse, setBarrier, stringify } from "./host.ts";
import { docsCollection, type TxDocsCollection } from "./tx-docs.ts";
import { remove, TxRecords, valueIn, valueJson } from "./tx-records.ts";

// <declarations>
/** Entries of a collection, inside a transaction. */
export interface TxKvCollection<T = unknown> {
  /** The value, or null. */
  get(key: string): Promise<T | null>;
  has(key: string): Promise<boolean>;
  /** @param options.ttl seconds until it expires; never when left out */
  set(key: string, value: T, options?: { ttl?: number }): Promise<void>;
  /** True when there was a value. */
  delete(key: string): Promise<boolean>;
  /** Adds to a number; a missing one counts as 0, and gets the `ttl`. Resolves to the sum. */
  increment(key: string, by?: number, options?: { ttl?: number }): Promise<number>;
}

/** What a transaction's function reads and writes with. Writes happen when the function has ended. */
export interface Tx {
  readonly kv: { collection<T = unknown>(name: string): TxKvCollection<T> };
  readonly docs: {
    collection<T extends object = Record<string, unknown>>(name: string): TxDocsCollection<T>;
  };
}

/**
 * Runs a function whose reads and writes happen as one, or not at all. It runs again when others have
 * changed meanwhile what it read, five times at most (`tx_conflict`): it should do nothing else. Inside
 * it only `t` may be used (`tx_invalid`), with 100 keys at most (`tx_too_large`). Resolves to what the
 * function resolved to, as JSON. In the handler of an event the writes happen once, however often the
 * event is tried: a later attempt gets the recorded result of its first, second, … `tx`.
 */
export type RunTx = <T>(fn: (t: Tx) => T | Promise<T>) => Promise<T>;
// </declarations>

/** What the host makes of a run. */
interface Verdict {
  state: "committed" | "conflict" | "recorded";
  /** Of a recorded one; absent when its function resolved to undefined. */
  value?: unknown;
}

const { isFinite: isFiniteNumber } = Number;

/** What is handled is a delivery: what `tx` resolve to is recorded. */
let isDelivery = false;
/** The number of the last `tx`. */
let ordinals = 0;
let last: Promise<unknown> | null = null;
/** The function of a `tx` is running. */
let isInside = false;

/** Called before the handler is. */
export function beginTx(delivery: boolean): void {
  isDelivery = delivery;
}

export const tx: RunTx = async function tx<T>(fn: (t: Tx) => T | Promise<T>): Promise<T> {
  if (typeof fn !== "function") throw new TypeError("tx takes a function");
  if (isInside) refuseInside();
  ordinals += 1;
  const done = inTurn(last, ordinals, fn);
  last = done;
  return await done;
};

async function inTurn<T>(
  before: Promise<unknown> | null,
  ordinal: number,
  fn: (t: Tx) => T | Promise<T>,
): Promise<T> {
  try {
    await before;
  } catch {
    // Its caller is told.
  }
  if (isDelivery) {
    const recorded = (await call("tx.begin", () => `{"ordinal":${ordinal}}`)) as Verdict | null;
    if (recorded !== null) return recorded.value as T;
  }
  for (let run = 1; ; run += 1) {
    const result = await runOnce(fn, ordinal, run);
    if (result !== null) return result.value as T;
  }
}

/** What it resolves to; null: others came between. */
async function runOnce(
  fn: (t: Tx) => unknown,
  ordinal: number,
  run: number,
): Promise<{ value?: unknown } | null> {
  const records = new TxRecords();
  let json: string | undefined;
  try {
    json = await runFunction(fn, records);
  } catch (error) {
    if (await isTorn(records, run)) return null;
    throw error;
  }
  const verdict = await commit(records, { ordinal, run, json });
  if (verdict.state === "conflict") return null;
  if (verdict.state === "recorded") return verdict;
  return json === undefined ? {} : { value: parse(json) };
}

/** JSON text of what the function resolves to. */
async function runFunction(
  fn: (t: Tx) => unknown,
  records: TxRecords,
): Promise<string | undefined> {
  isInside = true;
  setBarrier(refuseInside);
  try {
    const value = await fn(handleOf(records));
    await records.finish();
    return resultJson(value);
  } finally {
    records.close();
    isInside = false;
    setBarrier(null);
  }
}

function refuseInside(): never {
  throw codedError(
    "tx_invalid",
    "While the function of a tx runs only its t may be used, and no other tx begins",
  );
}

/**
 * A function that failed may have seen what never was: one record from before a change, another from
 * after. Then it failed for that, and runs again.
 */
async function isTorn(records: TxRecords, run: number): Promise<boolean> {
  if (!records.mayBeTorn) return false;
  try {
    const { state } = await check(records, run);
    return state === "conflict";
  } catch (error) {
    // It cannot be known; what the function threw is the better answer, but for this.
    if ((error as { code?: unknown }).code === "tx_conflict") throw error;
    return false;
  }
}

function check(records: TxRecords, run: number): Promise<Verdict> {
  const text = () => `{"run":${run},"reads":${records.readsJson()}}`;
  return call("tx.check", text) as Promise<Verdict>;
}

async function commit(
  records: TxRecords,
  { ordinal, run, json }: { ordinal: number; run: number; json: string | undefined },
): Promise<Verdict> {
  if (!isDelivery) {
    if (records.isEmpty) return { state: "committed" };
    if (!records.hasWrites) return check(records, run);
  }
  const result = json === undefined ? "{}" : `{"value":${json}}`;
  const recorded = isDelivery ? `,"ordinal":${ordinal},"result":${result}` : "";
  return (await call("tx.commit", () => {
    return `{"run":${run},"reads":${records.readsJson()},"writes":${records.writesJson()}${recorded}}`;
  })) as Verdict;
}

/** A refusal without a code is that of this process: there is no room for the arguments. */
async function call(name: string, makeText: () => string): Promise<unknown> {
  try {
    return await callWithText(name, makeText);
  } catch (error) {
    if ((error as { code?: unknown }).code !== undefined) throw error;
    throw codedError("tx_too_large", (error as Error).message);
  }
}

/** As a later attempt would get it from the record. */
function resultJson(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  const json: string | undefined = stringify(value);
  if (json !== undefined) return json;
  throw codedError("tx_invalid", `What a tx resolves to must be JSON: it is a ${typeof value}`);
}

function handleOf(records: TxRecords): Tx {
  return {
    kv: { collection: <T>(name: string) => kvCollection<T>(records, name) },
    docs: { collection: <T extends object>(name: string) => docsCollection<T>(records, name) },
  };
}

function kvCollection<T>(records: TxRecords, name: string): TxKvCollection<T> {
  const read = (key: string) => records.read("kv", name, key);
  return {
    get: (key) => records.run(async () => valueIn<T>(await read(key))),
    has: (key) => records.run(async () => (await read(key)).json !== null),
    set: (key, value, { ttl } = {}) =>
      records.run(() => {
        records.write(records.record("kv", name, key), valueJson("kv", value), ttl ?? null);
      }),
    delete: (key) => records.run(async () => remove(records, await read(key))),
    increment: (key, by = 1, { ttl } = {}) =>
      records.run(async () => {
        const record = await read(key);
        const { json, isWritten } = record;
        const sum = sumOf(valueIn(record), json === null, by);
        const kept = isWritten ? record.ttl : "kept";
        records.write(record, stringify(sum), json === null ? (ttl ?? null) : kept);
        return sum;
      }),
  };
}

function sumOf(old: unknown, isMissing: boolean, by: number): number {
  const from = isMissing ? 0 : old;
  if (typeof by !== "number" || !isFiniteNumber(by))
    throw notANumber("increment takes a finite number");
  if (typeof from !== "number") throw notANumber("The value is not a number");
  const sum = from + by;
  if (!isFiniteNumber(sum)) throw notANumber("The sum is not a finite number");
  return sum;
}

function notANumber(message: string): Error {
  return codedError("kv_not_a_number", message);
}
