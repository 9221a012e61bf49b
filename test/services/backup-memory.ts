/** Backups in memory, for the tests of what is in them. */
import { systemClock } from "../../src/base/clock.ts";
import { PicError } from "../../src/domain/errors.ts";
import { type BackupOptions, writeBackup } from "../../src/services/backup.ts";
import type { BackupSink } from "../../src/services/backup-file.ts";
import { readBackup } from "../../src/services/backup-format.ts";
import type { Snapshot } from "../../src/storage/port.ts";

export const never = new AbortController().signal;
export const nothing = (): void => {};

export class MemorySink implements BackupSink {
  readonly pieces: Uint8Array[] = [];
  ended: "committed" | "discarded" | null = null;
  async write(bytes: Uint8Array): Promise<void> {
    this.pieces.push(bytes);
  }
  async commit(): Promise<void> {
    this.ended = "committed";
  }
  discard(): void {
    this.ended ??= "discarded";
  }
}

/** Closes the snapshot. */
export async function backup(
  snapshot: Snapshot,
  more: Partial<BackupOptions> = {},
): Promise<Buffer> {
  const sink = new MemorySink();
  try {
    await writeBackup({
      snapshot,
      sink,
      facts: { product: "1.2.3", public_base_url: null },
      clock: systemClock,
      signal: never,
      rest: async () => {},
      onProgress: nothing,
      ...more,
    });
  } finally {
    await snapshot.close();
  }
  return Buffer.concat(sink.pieces);
}

export async function* source(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 1_000) yield bytes.subarray(at, at + 1_000);
}

/** Table → its rows, whatever their order. */
export async function rowsOf(bytes: Buffer): Promise<Map<string, string[]>> {
  const tables = new Map<string, string[]>();
  let rows: string[] = [];
  for await (const part of readBackup(source(bytes))) {
    if (part.kind === "table") {
      rows = [];
      tables.set(`${part.table.name} (${part.table.columns})`, rows);
    } else if (part.kind === "rows") {
      rows.push(...part.rows.map((row) => JSON.stringify(row)));
    }
  }
  for (const list of tables.values()) list.sort();
  return tables;
}

/** The message of the PicError that `work` rejects with; "restored" when it does not. */
export async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof PicError) return error.message;
    throw error;
  }
  return "restored";
}
