/**
 * Makes a backup: all rows of one moment of a database, table after table, in the format of
 * backup-format.ts. Bounded memory: one block, and what the engine holds of one batch.
 *
 * It is the least important process of the machine: after each block it rests twice as long as the
 * block took, because a low priority alone counts for nothing between control groups, nor on the machine
 * of a database that is elsewhere.
 */
import type { Clock } from "../base/clock.ts";
import { PicError } from "../domain/errors.ts";
import { backupRestShare } from "../domain/limits.ts";
import type { Snapshot } from "../storage/port.ts";
import type { BackupSink } from "./backup-file.ts";
import { BackupEncoder } from "./backup-format.ts";

export interface BackupOptions {
  /** Not closed here. */
  snapshot: Snapshot;
  sink: BackupSink;
  facts: { product: string; public_base_url: string | null };
  clock: Clock;
  /** Ends it; then `sink` is discarded. */
  signal: AbortSignal;
  rest: (ms: number) => Promise<void>;
  onProgress: (progress: Progress) => void;
}

export interface Progress {
  rows: number;
  /** Of the file. */
  bytes: number;
}

export interface BackupSummary extends Progress {
  tables: number;
  schema: number;
}

/** Resolves when the backup is whole and lasts. Throws PicError; then nothing is left of it. */
export async function writeBackup(options: BackupOptions): Promise<BackupSummary> {
  const { snapshot, sink, signal } = options;
  try {
    const progress = await untilAborted(signal, writeAll(options));
    await sink.commit();
    return { ...progress, tables: snapshot.tables.length, schema: snapshot.schema };
  } catch (error) {
    sink.discard();
    throw error;
  }
}

async function writeAll(options: BackupOptions): Promise<Progress> {
  const { snapshot, sink, facts, clock, signal, rest, onProgress } = options;
  const encoder = new BackupEncoder();
  const counts = new Map<string, number>();
  const progress: Progress = { rows: 0, bytes: 0 };
  let began = clock.monotonic();
  const put = async (bytes: Buffer | null): Promise<void> => {
    if (bytes === null) return;
    // Never after an abort: the file is closed then.
    signal.throwIfAborted();
    await sink.write(bytes);
    progress.bytes += bytes.length;
    onProgress(progress);
    await rest((clock.monotonic() - began) * backupRestShare);
    began = clock.monotonic();
  };
  const { engine, schema } = snapshot;
  const created_at = new Date(clock.now()).toISOString();
  await put(encoder.begin({ ...facts, schema, engine, created_at }));
  for (const table of snapshot.tables) {
    await put(encoder.table(table));
    let count = 0;
    for await (const row of snapshot.rows(table)) {
      count += 1;
      progress.rows += 1;
      const block = encoder.row(row);
      if (block !== null) await put(block);
    }
    await put(encoder.flush());
    counts.set(table.name, count);
  }
  await put(encoder.end(counts));
  return progress;
}

/** A reader that stands still must not keep the database's log from ending. */
function untilAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = (): void => {
    const isLate = signal.reason instanceof DOMException && signal.reason.name === "TimeoutError";
    const reason = isLate ? "it took too long" : "it was interrupted";
    reject(new PicError("unavailable", `The backup was not made: ${reason}.`));
  };
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  // Whichever loses has nobody who waits for it.
  work.catch(() => {});
  promise.catch(() => {});
  return Promise.race([promise, work]);
}
