/**
 * Import and export of an app's entries and documents as JSON Lines (data-lines.ts).
 *
 * An export walks by collection and key and is no snapshot: what is written meanwhile is in it or not.
 * Each record in it is durable. It holds one piece, which is made when the one before was taken.
 *
 * An import writes batches, each of them a transaction, by the code of the scripts' bindings. It is not
 * atomic as a whole: what stops it stops it at a line, and what stands before that line is
 * imported; so does a caller who leaves, but for the last batch. Running it again with mode "merge" goes
 * on: what is there already, and is the same, is not written again.
 *
 * Both are told in the audit trail: an export because it carries the data out.
 */
import type { Clock } from "../base/clock.ts";
import type { RecordWrites, StoredRecord } from "../bindings/kv-writes.ts";
import type { Usage } from "../bindings/usage.ts";
import type { Actor } from "../domain/accounts.ts";
import type { BindingContext } from "../domain/bindings.ts";
import type { DataRecord, DataSource } from "../domain/data.ts";
import { PicError } from "../domain/errors.ts";
import {
  bodiesRetryAfterS,
  dataBatchBytes,
  dataBatchRows,
  dataTransfersMax,
  dataWriteTriesMax,
  exportScanRows,
} from "../domain/limits.ts";
import { type DataRange, listRecords } from "../storage/data.ts";
import type { Database, Reader, Tx } from "../storage/port.ts";
import { findApp } from "./apps.ts";
import type { Audit, LongChange } from "./audit.ts";
import {
  atLine,
  collectionCheck,
  parseRecord,
  printRecord,
  type RecordLine,
  readLines,
} from "./data-lines.ts";
import { collectionChange, editContext, repeated } from "./data-records.ts";

export interface DataTransferOptions {
  db: Database;
  clock: Clock;
  usage: Usage;
  writes: Readonly<Record<DataSource, RecordWrites>>;
  /** The same without events. */
  quiet: Readonly<Record<DataSource, RecordWrites>>;
  audit: Audit;
}

/** What happens to a record that is there already, and is another. */
export type ImportMode = "merge" | "skip" | "fail";

export interface ImportOptions {
  mode: ImportMode;
  /** All goes there, whatever the lines say. Null: where each line says. */
  collection: string | null;
  /** Checks everything, and writes nothing. */
  dry_run: boolean;
  /** Each change is an event, as if a script had made it. */
  emit: boolean;
}

export interface ImportCounts {
  /** New ones. */
  imported: number;
  updated: number;
  /** Left alone: they were there, or their time has come. */
  skipped: number;
}

export interface DataExport {
  file_name: string;
  /** Whoever does not read to the end calls `return`. */
  chunks: AsyncGenerator<Uint8Array>;
}

interface NumberedRecord extends RecordLine {
  line: number;
}

/** One to be written, and what is there. */
interface FoundRecord {
  record: NumberedRecord;
  previous: StoredRecord | null;
}

/** One import under way. */
interface Import extends ImportOptions {
  source: DataSource;
  cx: BindingContext;
  writes: RecordWrites;
  counts: ImportCounts;
  told: LongChange;
}

type Outcome = keyof ImportCounts;

export class DataTransfer {
  #underWay = 0;

  constructor(private readonly options: DataTransferOptions) {}

  /** Throws PicError `not_found`, `overloaded`, and for a bad name what scripts get. */
  async export(
    actor: Actor,
    app: string,
    source: DataSource,
    collection: string | null,
  ): Promise<DataExport> {
    const { db, audit } = this.options;
    const { id, slug } = await findApp(db, app);
    const name = collection === null ? null : collectionCheck[source](collection);
    const chunks = this.#chunks(source, id, name);
    // To its first yield, with the first rows in its hands: what fails before it is an answer of its
    // own, and from here on `return` ends it.
    await chunks.next();
    const change = collectionChange("export", source, { app_id: id, collection: name });
    try {
      await db.tx((tx) => audit.record(tx, actor, change));
    } catch (error) {
      await chunks.return(undefined);
      throw error;
    }
    return { file_name: fileName([slug, source, ...(name === null ? [] : [name])]), chunks };
  }

  async *#chunks(
    source: DataSource,
    app_id: string,
    collection: string | null,
  ): AsyncGenerator<Uint8Array> {
    using _ = this.#begin();
    let rows = await this.#read(source, { app_id, collection, after: null });
    yield new Uint8Array(0);
    while (rows.length > 0) {
      yield Buffer.from(rows.map((row) => printRecord(source, row)).join(""));
      const last = rows.at(-1);
      if (last === undefined || rows.length < exportScanRows) return;
      rows = await this.#read(source, { app_id, collection, after: last });
    }
  }

  /** The next rows, durable. */
  async #read(
    source: DataSource,
    from: Pick<DataRange, "app_id" | "collection" | "after">,
  ): Promise<DataRecord[]> {
    const { db, clock } = this.options;
    const seen = { seq: 0 };
    const range = { ...from, prefix: "", limit: exportScanRows, now: clock.now() };
    const rows = await listRecords(db, source, range, seen);
    if (!db.isDurable(seen)) await db.durable(seen);
    return rows;
  }

  /**
   * Throws PicError `not_found`, `overloaded`, what reading the chunks throws, and for a bad line what is
   * wrong with it, together with `line` and the counts of what was imported before it.
   */
  async import(
    actor: Actor,
    app: string,
    source: DataSource,
    request: { chunks: AsyncIterable<Uint8Array> } & ImportOptions,
  ): Promise<ImportCounts> {
    const { db, writes, quiet, audit } = this.options;
    const { chunks, ...options } = request;
    const { id: app_id } = await findApp(db, app);
    const collection =
      options.collection === null ? null : collectionCheck[source](options.collection);
    const change = collectionChange("import", source, { app_id, collection });
    const { mode, emit } = options;
    const under: Import = {
      ...options,
      source,
      collection,
      cx: editContext(app_id, actor),
      writes: (emit ? writes : quiet)[source],
      counts: { imported: 0, updated: 0, skipped: 0 },
      told: audit.long(actor, { ...change, detail: { mode, emit } }),
    };
    using _ = this.#begin();
    try {
      await this.#readAll(under, chunks);
      await under.told.end({ ...under.counts });
      return under.counts;
    } catch (error) {
      // Should this fail too, that it was begun is told already.
      await under.told.end({ state: "failed", ...under.counts }).catch(() => {});
      throw error instanceof PicError ? withCounts(error, under.counts) : error;
    } finally {
      const { seen } = under.cx;
      if (!db.isDurable(seen)) await db.durable(seen);
    }
  }

  async #readAll(under: Import, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const { clock } = this.options;
    const { source, collection } = under;
    let batch: NumberedRecord[] = [];
    let bytes = 0;
    const write = async ({ isLast }: { isLast: boolean }): Promise<void> => {
      const full = batch;
      batch = [];
      bytes = 0;
      await this.#writeBatch(under, full, isLast);
    };
    try {
      for await (const { number, text } of readLines(chunks)) {
        const now = clock.now();
        const record = checkedAt(number, () => parseRecord(source, text, { collection, now }));
        if (record.expires_at !== null && record.expires_at <= now) {
          under.counts.skipped += 1;
          continue;
        }
        batch.push({ ...record, line: number });
        bytes += text.length;
        if (batch.length >= dataBatchRows || bytes >= dataBatchBytes)
          await write({ isLast: false });
      }
    } catch (error) {
      // Whatever stands before a bad line is imported; a caller who has left gets whole batches.
      if (isOfLine(error)) await write({ isLast: false });
      throw error;
    }
    await write({ isLast: true });
  }

  /** All of it; or, when a line cannot be, what stands before that line, and then throws. */
  async #writeBatch(
    under: Import,
    records: readonly NumberedRecord[],
    isLast: boolean,
  ): Promise<void> {
    // One order for all: two imports that wait for each other's rows would never end on PostgreSQL.
    let left = records.toSorted(byPlace);
    let failure: unknown = null;
    while (left.length > 0) {
      try {
        under.counts = sumOf(
          under.counts,
          await this.#transact(under, left, isLast && failure === null),
        );
        break;
      } catch (error) {
        failure = error;
        const bad = lineOf(error);
        left = bad === null ? [] : left.filter(({ line }) => line < bad);
      }
    }
    // Between two batches everybody else gets a turn: nothing above needs to wait for one.
    await new Promise<void>((resolve) => setImmediate(resolve));
    if (failure !== null) throw failure;
  }

  async #transact(
    under: Import,
    records: readonly NumberedRecord[],
    isLast: boolean,
  ): Promise<ImportCounts> {
    const { db, usage } = this.options;
    const { cx, told } = under;
    let at = 0;
    const each = async (r: Reader, work: (one: FoundRecord) => Promise<Outcome>) => {
      const counts: ImportCounts = { imported: 0, updated: 0, skipped: 0 };
      for (const one of await this.#findAll(r, under, records)) {
        at = one.record.line;
        counts[await work(one)] += 1;
      }
      return counts;
    };
    try {
      if (under.dry_run) return await each(db, async (one) => outcomeOf(under.mode, one));
      const write = async (tx: Tx) => {
        const value = await each(tx, (one) => this.#write(tx, under, one));
        const whole = isLast ? sumOf(under.counts, value) : null;
        return { value, isChange: value.imported + value.updated > 0, whole };
      };
      const step = () => told.step(write, { seen: cx.seen });
      return await repeated(() => usage.within(cx.app_id, step));
    } catch (error) {
      throw error instanceof PicError && !isPassing(error) ? atLine(at, error) : error;
    }
  }

  /** Asked for together: on PostgreSQL a round trip for each of them was half of the time. */
  #findAll(
    r: Reader,
    { writes, cx }: Import,
    records: readonly NumberedRecord[],
  ): Promise<FoundRecord[]> {
    return Promise.all(
      records.map(async (record) => ({
        record,
        previous: await writes.read(r, cx.app_id, record.collection, record.key),
      })),
    );
  }

  async #write(tx: Tx, under: Import, found: FoundRecord): Promise<Outcome> {
    const { writes, cx } = under;
    const { line: _, ...change } = found.record;
    let { previous } = found;
    for (let tries = 0; tries < dataWriteTriesMax; tries += 1) {
      const outcome = outcomeOf(under.mode, { record: change, previous });
      if (outcome === "skipped") return outcome;
      if ((await writes.replace(tx, cx, { ...change, previous })) !== null) return outcome;
      // Somebody was faster, or an earlier line of this batch has the same name.
      previous = await writes.read(tx, cx.app_id, change.collection, change.key);
    }
    throw new PicError("unavailable", "The value is changing too fast; try again");
  }

  /** Throws PicError `overloaded`. */
  #begin(): Disposable {
    if (this.#underWay >= dataTransfersMax) {
      throw new PicError("overloaded", "Too many imports and exports are under way", {
        retry_after_s: bodiesRetryAfterS,
      });
    }
    this.#underWay += 1;
    return {
      [Symbol.dispose]: () => {
        this.#underWay -= 1;
      },
    };
  }
}

/**
 * What becomes of a record; in a dry run, as far as the lines of one file do not meet each other. Throws
 * PicError `conflict`.
 */
function outcomeOf(
  mode: ImportMode,
  { record, previous }: { record: RecordLine; previous: StoredRecord | null },
): Outcome {
  if (previous === null) return "imported";
  if (mode === "fail") throw new PicError("conflict", "There is such a record already");
  const isSame =
    previous.value === record.value && (previous.expires_at ?? null) === record.expires_at;
  return mode === "skip" || isSame ? "skipped" : "updated";
}

function checkedAt<T>(number: number, check: () => T): T {
  try {
    return check();
  } catch (error) {
    throw error instanceof PicError ? atLine(number, error) : error;
  }
}

/** What a line is not to blame for: the same file may pass the next time. */
function isPassing({ code }: PicError): boolean {
  return code === "unavailable";
}

function lineOf(error: unknown): number | null {
  const line = error instanceof PicError ? error.details.extra?.line : undefined;
  return typeof line === "number" ? line : null;
}

function isOfLine(error: unknown): boolean {
  return lineOf(error) !== null;
}

function withCounts(error: PicError, counts: ImportCounts): PicError {
  const { code, message, details } = error;
  return new PicError(code, message, { ...details, extra: { ...details.extra, ...counts } });
}

function sumOf(one: ImportCounts, other: ImportCounts) {
  return {
    imported: one.imported + other.imported,
    updated: one.updated + other.updated,
    skipped: one.skipped + other.skipped,
  };
}

function byPlace(a: RecordLine, b: RecordLine): number {
  if (a.collection !== b.collection) return a.collection < b.collection ? -1 : 1;
  return a.key === b.key ? 0 : a.key < b.key ? -1 : 1;
}

/** Names that any file system and any header takes; the rest is left away. */
function fileName(parts: readonly string[]): string {
  const fit = parts.filter((part) => /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/.test(part));
  return `${fit.join("-")}.jsonl`;
}
