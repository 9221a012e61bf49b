/**
 * Reads a backup into a new database, or just to its end. What is read is checked frame by frame
 * (backup-format.ts), and the database is seen by nobody before all of it has been checked.
 */
import { PicError } from "../domain/errors.ts";
import type { Restoration, TableShape } from "../storage/port.ts";
import { checkSchema } from "../storage/tables.ts";
import { type BackupHeader, type BackupPart, readBackup } from "./backup-format.ts";

export interface RestoreOptions {
  source: AsyncIterable<Uint8Array>;
  /** The newest schema that this executable knows. */
  schemaMax: number;
  /** A new database of this schema. */
  begin: (schema: number) => Promise<Restoration>;
  signal: AbortSignal;
  onProgress: (rows: number) => void;
}

export interface RestoreSummary {
  header: BackupHeader;
  rows: number;
  tables: number;
}

/**
 * Resolves when the database is in its place, complete and durable. Throws PicError with the reason;
 * then nothing is left of it.
 */
export async function restoreBackup(options: RestoreOptions): Promise<RestoreSummary> {
  const parts = readBackup(options.source);
  const header = await readHeader(parts, options.schemaMax);
  const restoration = await options.begin(header.schema);
  try {
    const counts = await insertAll(parts, restoration, options);
    await restoration.commit(counts);
    return { header, rows: sum(counts), tables: counts.size };
  } finally {
    await restoration.discard();
  }
}

/** Reads a backup to its end and restores nothing. Throws PicError with what is wrong with it. */
export async function checkBackup(
  options: Pick<RestoreOptions, "source" | "schemaMax" | "onProgress">,
): Promise<RestoreSummary> {
  const parts = readBackup(options.source);
  const header = await readHeader(parts, options.schemaMax);
  let rows = 0;
  let tables = 0;
  for await (const part of parts) {
    if (part.kind === "table") tables += 1;
    if (part.kind !== "rows") continue;
    rows += part.rows.length;
    options.onProgress(rows);
  }
  return { header, rows, tables };
}

async function readHeader(
  parts: AsyncGenerator<BackupPart>,
  schemaMax: number,
): Promise<BackupHeader> {
  const { value } = await parts.next();
  // readBackup gives the header first, or throws.
  if (value?.kind !== "header") throw new Error("a backup that does not begin with its header");
  checkSchema("The backup", value.header.schema, schemaMax);
  return value.header;
}

/** Rows by table; the end of the backup has been read, so these are all. */
async function insertAll(
  parts: AsyncGenerator<BackupPart>,
  restoration: Restoration,
  { signal, onProgress }: RestoreOptions,
): Promise<ReadonlyMap<string, number>> {
  const expected = new Map(restoration.tables.map((table) => [table.name, table]));
  let table: TableShape | null = null;
  let rows = 0;
  for await (const part of parts) {
    if (signal.aborted) throw interrupted();
    if (part.kind === "table") {
      table = part.table;
      checkShape(table, expected.get(table.name));
    } else if (part.kind === "rows" && table !== null) {
      await restoration.insert(table, part.rows);
      rows += part.rows.length;
      onProgress(rows);
    } else if (part.kind === "end") {
      checkComplete(expected, part.counts);
      return part.counts;
    }
  }
  throw new Error("a backup without its end");
}

/** Names from the backup become SQL only when the schema has them. */
function checkShape(table: TableShape, expected: TableShape | undefined): void {
  const columns = [...(expected?.columns ?? [])].sort();
  const isSame =
    columns.length === table.columns.length &&
    [...table.columns].sort().every((column, index) => column === columns[index]);
  if (isSame) return;
  throw new PicError(
    "invalid",
    `The backup's table ${JSON.stringify(table.name)} is not as its schema has it: it was made by another build.`,
  );
}

function checkComplete(
  expected: ReadonlyMap<string, TableShape>,
  counts: ReadonlyMap<string, number>,
): void {
  const missing = [...expected.keys()].find((name) => !counts.has(name));
  if (missing === undefined) return;
  throw new PicError(
    "invalid",
    `The backup lacks the table ${missing}: it was made by another build.`,
  );
}

function interrupted(): PicError {
  return new PicError("unavailable", "The restore was interrupted.");
}

function sum(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((total, count) => total + count, 0);
}
