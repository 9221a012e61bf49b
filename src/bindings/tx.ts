/**
 * `tx`: the host's part of a guest's transactions, which are optimistic. `read` says what is there,
 * with its version; the function runs in the guest; `commit` checks in one transaction that all that was
 * read is still so, and writes. Between two calls nothing is held.
 *
 * In the handler of an event `commit` also checks that the event is still this holder's (the fence of its
 * claim), and records the result: so the writes of one `tx` happen once, however often the event is
 * tried. `begin` finds what an earlier attempt has recorded.
 *
 * Where several transactions run at a time, those that share a record commit one after another, by locks
 * in the order of their records: what one has checked stays so until its commit. Other writes change one
 * record at a time, and need none.
 */
import type { Clock } from "../base/clock.ts";
import { sha256Hex } from "../base/ids.ts";
import type { Binding, BindingContext, DeliveryContext } from "../domain/bindings.ts";
import { PicError } from "../domain/errors.ts";
import {
  dataWriteTriesMax,
  txConflictWaitMsMax,
  txReadBytesMax,
  txTriesMax,
} from "../domain/limits.ts";
import { getTxResult, holdsLease, insertTxResult } from "../storage/outbox.ts";
import type { Database, Reader, Tx } from "../storage/port.ts";
import { TransactionConflict } from "../storage/transaction-conflict.ts";
import type { RecordChange, RecordWrites, StoredRecord } from "./kv-writes.ts";
import {
  readCommit,
  readOrdinal,
  readPlaces,
  readReads,
  readRun,
  type TxCommit,
  type TxPlace,
  type TxRecord,
} from "./tx-arguments.ts";
import type { Usage } from "./usage.ts";

export interface TxBindingOptions {
  db: Database;
  clock: Clock;
  kv: RecordWrites;
  docs: RecordWrites;
  usage: Pick<Usage, "within" | "take">;
  /** 0 to 1. */
  random: () => number;
  /** Resolves after so many ms. */
  wait: (ms: number) => Promise<void>;
}

/** What `read` answers for a record. */
interface TxAnswer {
  /** JSON text. */
  value: string;
  version: number;
  digest: string;
}

/** What `check` and `commit` answer: what they made of the run. */
type TxVerdict =
  | { state: "committed" }
  | { state: "conflict" }
  /** An earlier attempt has done it. */
  | { state: "recorded"; value?: unknown };

/** Ends the parent's transaction: something was not as it had been read. */
class Conflict extends Error {}

export function createTxBinding(options: TxBindingOptions): Binding {
  return {
    name: "tx",
    methods: {
      begin: { effect: false, call: (cx, args) => begin(options, cx, args) },
      read: { effect: false, call: (cx, args) => read(options, cx, args) },
      check: { effect: false, call: (cx, args) => check(options, cx, args) },
      commit: { effect: true, call: (cx, args) => commit(options, cx, args) },
    },
  };
}

async function begin(
  { db }: TxBindingOptions,
  { delivery, seen }: BindingContext,
  args: unknown,
): Promise<TxVerdict | null> {
  const ordinal = readOrdinal(args);
  if (delivery === null) return null;
  const result = await getTxResult(db, delivery, ordinal, seen);
  return result === null ? null : recorded(delivery, result);
}

/** Ends early once the values are many bytes, but never without one. */
async function read(
  options: TxBindingOptions,
  cx: BindingContext,
  args: unknown,
): Promise<(TxAnswer | null)[]> {
  const answers: (TxAnswer | null)[] = [];
  let bytes = 0;
  for (const place of readPlaces(args)) {
    const record = await readRecord(options, options.db, cx, place);
    answers.push(record === null ? null : answerOf(record));
    bytes += record?.value.length ?? 0;
    if (bytes >= txReadBytesMax) break;
  }
  return answers;
}

/** Of a run that wrote nothing, or failed: whether all it read was so at one moment. */
async function check(
  options: TxBindingOptions,
  cx: BindingContext,
  args: unknown,
): Promise<TxVerdict> {
  const run = readRun(args);
  for (const record of readReads(args)) {
    const found = await readRecord(options, options.db, cx, record);
    if (!isSame(record, found)) return conflict(options, run);
  }
  return { state: "committed" };
}

async function commit(
  options: TxBindingOptions,
  cx: BindingContext,
  args: unknown,
): Promise<TxVerdict> {
  const run = readRun(args);
  const commit = readCommit(args, { clock: options.clock, delivery: cx.delivery });
  // Before the commit: when its answer is lost, nobody knows whether there is a result.
  if (cx.delivery !== null) cx.delivery.has_results = true;
  try {
    return await options.usage.within(cx.app_id, () =>
      options.db.tx((tx) => apply(options, tx, cx, commit), { seen: cx.seen }),
    );
  } catch (error) {
    if (error instanceof Conflict || error instanceof TransactionConflict) {
      return conflict(options, run);
    }
    throw error;
  }
}

/** Throws PicError `tx_conflict` after the last run. */
async function conflict({ random, wait }: TxBindingOptions, run: number): Promise<TxVerdict> {
  if (run >= txTriesMax) {
    throw new PicError("tx_conflict", `Others changed the same data ${txTriesMax} times meanwhile`);
  }
  await wait((random() * txConflictWaitMsMax * run) / (txTriesMax - 1));
  return { state: "conflict" };
}

async function apply(
  options: TxBindingOptions,
  tx: Tx,
  cx: BindingContext,
  { records, result }: TxCommit,
): Promise<TxVerdict> {
  const { app_id, delivery } = cx;
  if (delivery !== null && result !== null) {
    if (!(await holdsLease(tx, options.db.outbox, delivery))) {
      throw new PicError("lease_lost", "The event is handled elsewhere by now");
    }
    const earlier = await getTxResult(tx, delivery, result.ordinal);
    if (earlier !== null) return recorded(delivery, earlier);
    options.usage.take(tx, app_id, { rows: 0, bytes: Buffer.byteLength(result.json) });
    await insertTxResult(tx, app_id, delivery, { ordinal: result.ordinal, result: result.json });
  }
  // One record alone is checked and written by one statement.
  if (records.length > 1) {
    const mode = ({ write }: TxRecord) => (write === null ? "shared" : "exclusive");
    await Promise.all(records.map((record) => tx.lock(lockName(app_id, record), mode(record))));
  }
  for (const record of records) await applyRecord(options, tx, cx, record);
  return { state: "committed" };
}

/** Throws Conflict. */
async function applyRecord(
  options: TxBindingOptions,
  tx: Tx,
  cx: BindingContext,
  record: TxRecord,
): Promise<void> {
  for (let tries = 0; tries < dataWriteTriesMax; tries += 1) {
    const previous = await readRecord(options, tx, cx, record);
    if (!isSame(record, previous)) throw new Conflict();
    if (record.write === null) return;
    const change = changeOf(record, record.write, previous);
    if (change === null) return;
    if ((await options[record.source].replace(tx, cx, change)) !== null) return;
    // What was never read may change: the write takes the place of whatever is there.
    if (record.read !== null) throw new Conflict();
  }
  throw new Conflict();
}

/** Null: nothing takes the place of nothing. */
function changeOf(
  { collection, key }: TxRecord,
  { value, expires_at }: NonNullable<TxRecord["write"]>,
  previous: StoredRecord | null,
): RecordChange | null {
  if (value === null && previous === null) return null;
  const kept = previous?.expires_at ?? null;
  const change = { collection, key, previous, value };
  return { ...change, expires_at: expires_at === "kept" ? kept : expires_at };
}

function readRecord(
  options: TxBindingOptions,
  r: Reader,
  { app_id, seen }: BindingContext,
  { source, collection, key }: TxPlace,
): Promise<StoredRecord | null> {
  return options[source].read(r, app_id, collection, key, seen);
}

/** What was read, if anything was, is there. */
function isSame({ read }: TxRecord, found: StoredRecord | null): boolean {
  if (read === null) return true;
  if (found === null) return read.version === 0;
  return read.version === found.version && read.digest === digestOf(found);
}

function answerOf(record: StoredRecord): TxAnswer {
  return { value: record.value, version: record.version, digest: digestOf(record) };
}

/** Versions begin at 1 again when a record is made anew: the value tells one from the other. */
function digestOf({ value }: StoredRecord): string {
  return sha256Hex(value).slice(0, 32);
}

function recorded(delivery: DeliveryContext, result: string): TxVerdict {
  delivery.has_results = true;
  return { state: "recorded", ...(JSON.parse(result) as { value?: unknown }) };
}

function lockName(app_id: string, { source, collection, key }: TxPlace): string {
  return `tx ${app_id} ${source} ${collection.length} ${collection} ${key}`;
}
