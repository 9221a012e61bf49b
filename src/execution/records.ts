/**
 * The sink of execution records: a bounded buffer in memory, written to the logs' database in one
 * transaction after a second or 200 records. Best effort by design: nothing here ever fails or
 * delays an execution, and what must not be lost is not kept here.
 *
 * An entry is in `#failures` or `#others` (oldest first), or in `#writing` while its transaction
 * runs. Reads look at all three and then at the database; the database ignores an id it has.
 *
 * States: resting (buffer empty, no timer) → waiting (one timer) → writing → resting or waiting;
 * after a failed write the timer's wait doubles, up to a bound. When the buffer overflows, the
 * oldest successes go first, failures last, and both are counted.
 *
 * A record that the database refuses for its own sake must not hold the others back: each failure
 * halves the batch, and a batch of one that keeps failing is given up.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { PicError } from "../domain/errors.ts";
import type { ExecutionRecord, ExecutionStatus } from "../domain/executions.ts";
import {
  recordBufferBytesMax,
  recordBufferMax,
  recordDropReportMs,
  recordFlushCount,
  recordFlushMs,
  recordPrepareCount,
  recordReadFlushMsMax,
  recordRetryMsMax,
  recordRetryMsMin,
  recordStopMsMax,
  recordTriesMax,
} from "../domain/limits.ts";
import { checkLimit, decodeCursor, type Page, type PageRequest, pageOf } from "../domain/pages.ts";
import { appendExecutions, getExecution, listExecutions } from "../storage/executions.ts";
import type { Database } from "../storage/port.ts";
import { brief, FailureAllowance } from "./allowance.ts";
import {
  type ErrorMapper,
  type FinishedExecution,
  heldBytes,
  isFailure,
  lighten,
  newestFirst,
  toRecord,
} from "./recording.ts";
import { type ExecutionCounts, RecordSampler } from "./sampling.ts";
import { type StartTimer, startTimer } from "./timers.ts";

export interface ExecutionRecordsOptions {
  /** The logs' database. */
  logs: Database;
  clock: Clock;
  log: Logger;
  mapError: ErrorMapper;
  startTimer?: StartTimer;
}

export interface RecordStats {
  buffered: number;
  buffered_bytes: number;
  /** Since the start. */
  written: number;
  sampled_out: number;
  dropped_successes: number;
  dropped_failures: number;
  is_failing: boolean;
}

interface Entry {
  finished: FinishedExecution;
  bytes: number;
  /** Made once, by whoever needs it first: a write or a read. */
  record: Promise<ExecutionRecord> | null;
}

type Entries = Map<string, Entry>;

export class ExecutionRecords {
  readonly #options: ExecutionRecordsOptions;
  readonly #startTimer: StartTimer;
  readonly #sampler = new RecordSampler();
  readonly #allowance = new FailureAllowance();

  #failures: Entries = new Map();
  /** Successes and refusals. */
  #others: Entries = new Map();
  #writing: Entries = new Map();
  #bytes = 0;

  #cancelTimer: (() => void) | null = null;
  #draining: Promise<void> | null = null;
  /** Consecutive failed writes. */
  #failed = 0;
  #batchMax = recordFlushCount;
  #isStopped = false;
  #onWritten: (bytes: number) => void = () => {};

  #written = 0;
  #droppedSuccesses = 0;
  #droppedFailures = 0;
  #dropsReported = 0;
  #dropsReportedAt = Number.NEGATIVE_INFINITY;

  constructor(options: ExecutionRecordsOptions) {
    this.#options = options;
    this.#startTimer = options.startTimer ?? startTimer;
  }

  /** Counts an execution that ended at `monotonicNow`; true when `add` should be called for it. */
  admits(scriptId: string, status: ExecutionStatus, monotonicNow: number): boolean {
    return this.#sampler.admits(scriptId, status, monotonicNow);
  }

  /** Takes a record into the buffer. Never throws, never waits. */
  add(finished: FinishedExecution): void {
    if (this.#isStopped) return;
    try {
      this.#put(lighten(finished));
    } catch (error) {
      // logs nested too deep to be measured, and whatever else a script may come upon
      this.#count(finished.status);
      this.#options.log.warn("an execution record could not be kept", { error, id: finished.id });
    }
  }

  /** `fn` is told of every write, in bytes (about): what they add up to may have to go again soon. */
  watchWrites(fn: (bytes: number) => void): void {
    this.#onWritten = fn;
  }

  /** Null when it was never kept, or is gone. */
  async get(id: string): Promise<ExecutionRecord | null> {
    const entry = this.#failures.get(id) ?? this.#others.get(id) ?? this.#writing.get(id);
    return entry === undefined ? getExecution(this.#options.logs, id) : this.#recordOf(entry);
  }

  /** Newest first, the buffer included. Throws PicError `invalid` for a bad limit or cursor. */
  async list(scriptId: string, page: PageRequest): Promise<Page<ExecutionRecord>> {
    checkLimit(page.limit);
    const from = page.cursor === null ? null : decodeCursor(page.cursor, ["number", "string"]);
    if (this.#buffered(scriptId, from).length > 0) await this.#flushForRead();
    const buffered = this.#buffered(scriptId, from);
    const written = await listExecutions(this.#options.logs, { script_id: scriptId }, page);
    if (buffered.length === 0) return written;
    const known = new Set(written.items.map((record) => record.id));
    // Where the written ones go on after this page, so does what is older than its last one.
    const last = written.next_cursor === null ? undefined : written.items.at(-1);
    const waiting = buffered
      .filter(({ finished }) => !known.has(finished.id))
      .filter(({ finished }) => last === undefined || newestFirst(finished, last) < 0)
      .sort((a, b) => newestFirst(a.finished, b.finished))
      .slice(0, page.limit + 1);
    const records = await Promise.all(waiting.map((entry) => this.#recordOf(entry)));
    const merged = [...written.items, ...records].sort(newestFirst);
    const key = (record: ExecutionRecord): [number, string] => [record.started_at, record.id];
    const cut = pageOf(merged, page.limit, { item: (record) => record, key });
    if (cut.next_cursor !== null || written.next_cursor === null) return cut;
    return { items: cut.items, next_cursor: written.next_cursor };
  }

  /** Exact counts since the start, kept or not; null when the script has not run. */
  counts(scriptId: string): ExecutionCounts | null {
    return this.#sampler.counts(scriptId);
  }

  stats(): RecordStats {
    return {
      buffered: this.#size(),
      buffered_bytes: this.#bytes,
      written: this.#written,
      sampled_out: this.#sampler.sampledOut,
      dropped_successes: this.#droppedSuccesses,
      dropped_failures: this.#droppedFailures,
      is_failing: this.#failed > 0,
    };
  }

  /** Writes what is buffered now. Resolves also when that failed: see `stats`. */
  async flush(): Promise<void> {
    if (this.#draining !== null) await this.#draining;
    if (this.#waiting() > 0) await this.#drain();
  }

  /** Takes nothing more and writes what there is, within a bound. May be called twice. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#within(this.flush(), recordStopMsMax);
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    const lost = this.#size();
    if (lost > 0) this.#options.log.warn("execution records were not written", { lost });
    this.#failures.clear();
    this.#others.clear();
  }

  #put(light: FinishedExecution): void {
    const entry: Entry = { finished: light, bytes: heldBytes(light), record: null };
    if (isFailure(light)) {
      const now = this.#options.clock.monotonic();
      if (!this.#allowance.takes(light.script_id, entry.bytes, now)) {
        entry.finished = brief(light);
        entry.bytes = heldBytes(entry.finished);
      }
    }
    (isFailure(light) ? this.#failures : this.#others).set(light.id, entry);
    this.#bytes += entry.bytes;
    while (this.#size() > recordBufferMax || this.#bytes > recordBufferBytesMax) {
      if (!this.#dropOldest()) break;
    }
    this.#schedule();
  }

  /** Counts a record that is lost. */
  #count(status: ExecutionStatus): void {
    if (isFailure({ status })) this.#droppedFailures += 1;
    else this.#droppedSuccesses += 1;
  }

  #size(): number {
    return this.#waiting() + this.#writing.size;
  }

  #waiting(): number {
    return this.#failures.size + this.#others.size;
  }

  /** Of one script, and only what a list that goes on at `from` has not shown yet. */
  #buffered(scriptId: string, from: readonly [number, string] | null): Entry[] {
    const next = from === null ? null : { started_at: from[0], id: from[1] };
    return [this.#failures, this.#others, this.#writing].flatMap((entries) =>
      [...entries.values()].filter(
        ({ finished }) =>
          finished.script_id === scriptId && (next === null || newestFirst(next, finished) < 0),
      ),
    );
  }

  #recordOf(entry: Entry): Promise<ExecutionRecord> {
    entry.record ??= toRecord(entry.finished, this.#options.mapError).catch((error: unknown) => {
      entry.record = null;
      throw error;
    });
    return entry.record;
  }

  #dropOldest(): boolean {
    const from = this.#others.size > 0 ? this.#others : this.#failures;
    const [oldest] = from;
    if (oldest === undefined) return false;
    const [id, entry] = oldest;
    from.delete(id);
    this.#bytes -= entry.bytes;
    this.#count(entry.finished.status);
    return true;
  }

  /** Sets the timer when there is something to wait for; a full batch waits only for its turn. */
  #schedule(): void {
    if (this.#draining !== null || this.#waiting() === 0) return;
    const isFull = this.#failed === 0 && this.#waiting() >= recordFlushCount;
    if (isFull) {
      void this.#drain();
    } else if (this.#cancelTimer === null && !this.#isStopped) {
      const retry = recordRetryMsMin * 2 ** Math.max(0, this.#failed - 1);
      const wait = this.#failed === 0 ? recordFlushMs : Math.min(recordRetryMsMax, retry);
      this.#cancelTimer = this.#startTimer(() => {
        this.#cancelTimer = null;
        void this.#drain();
      }, wait);
    }
  }

  /** Writes what is buffered when it begins, and then schedules the rest. Never rejects. */
  #drain(): Promise<void> {
    this.#draining ??= this.#write().finally(() => {
      this.#draining = null;
      this.#reportDrops();
      this.#schedule();
    });
    return this.#draining;
  }

  async #write(): Promise<void> {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    // Whoever called is an execution that has not handed over its response yet.
    await turn();
    for (let left = this.#waiting(); left > 0; ) {
      const batch = this.#take(Math.min(left, this.#batchMax));
      left -= batch.size;
      if (batch.size === 0) return;
      this.#writing = batch;
      try {
        await this.#append(batch);
        this.#succeed(batch);
      } catch (error) {
        this.#fail(batch, error);
        return;
      }
    }
  }

  async #append(batch: Entries): Promise<void> {
    const records: ExecutionRecord[] = [];
    for (const entry of batch.values()) {
      records.push(await this.#recordOf(entry));
      if (records.length % recordPrepareCount === 0) await turn();
    }
    // Resolves at the commit: a record is not worth a sync of its own.
    await this.#options.logs.tx((tx) => appendExecutions(tx, records), { seen: { seq: 0 } });
  }

  /** Failures first: they are worth more. */
  #take(count: number): Entries {
    const batch: Entries = new Map();
    for (const from of [this.#failures, this.#others]) {
      for (const [id, entry] of from) {
        if (batch.size >= count) return batch;
        batch.set(id, entry);
        from.delete(id);
      }
    }
    return batch;
  }

  #succeed(batch: Entries): void {
    let bytes = 0;
    for (const entry of batch.values()) bytes += entry.bytes;
    this.#onWritten(bytes);
    this.#release(batch);
    this.#written += batch.size;
    this.#batchMax = recordFlushCount;
    if (this.#failed > 0) this.#options.log.info("execution records are written again");
    this.#failed = 0;
  }

  #fail(batch: Entries, error: unknown): void {
    this.#failed += 1;
    if (this.#failed === 1) {
      this.#options.log.error("execution records cannot be written; they wait in memory", {
        error,
      });
    }
    // A database that is away says nothing against the record.
    const isAway = error instanceof PicError && error.code === "unavailable";
    const isHopeless = !isAway && batch.size === 1 && this.#failed >= recordTriesMax;
    if (isHopeless) {
      for (const { finished } of batch.values()) this.#count(finished.status);
      this.#release(batch);
      return;
    }
    this.#batchMax = Math.max(1, Math.floor(batch.size / 2));
    this.#writing = new Map();
    // back to the front of their lines
    const [failures, others] = [this.#failures, this.#others];
    this.#failures = new Map();
    this.#others = new Map();
    for (const [id, entry] of batch) {
      (isFailure(entry.finished) ? this.#failures : this.#others).set(id, entry);
    }
    for (const [id, entry] of failures) this.#failures.set(id, entry);
    for (const [id, entry] of others) this.#others.set(id, entry);
  }

  #release(batch: Entries): void {
    for (const entry of batch.values()) this.#bytes -= entry.bytes;
    this.#writing = new Map();
  }

  #reportDrops(): void {
    const drops = this.#droppedSuccesses + this.#droppedFailures;
    const now = this.#options.clock.monotonic();
    if (drops === this.#dropsReported || now - this.#dropsReportedAt < recordDropReportMs) return;
    this.#options.log.warn("execution records were dropped", {
      dropped: drops - this.#dropsReported,
    });
    this.#dropsReported = drops;
    this.#dropsReportedAt = now;
  }

  async #flushForRead(): Promise<void> {
    if (this.#failed === 0) await this.#within(this.flush(), recordReadFlushMsMax);
  }

  #within(work: Promise<void>, ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#startTimer(resolve, ms);
      void work.finally(() => {
        cancel();
        resolve();
      });
    });
  }
}

/** Lets everything that is due now happen first. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
