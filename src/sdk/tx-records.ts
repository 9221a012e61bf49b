/**
 * What one run of a transaction's function has read and written. Reads go to the host, those of one
 * turn together, each record once; writes stay here until the commit, and are seen by later reads.
 */
import { callWithText, codedError, nothing, parse, stringify } from "./host.ts";

/** The bound of the host, which has the last word: here it only fails earlier. */
const KEYS_MAX = 100;

export type TxSource = "kv" | "docs";

/** One record. */
export interface TxRecord {
  readonly source: TxSource;
  readonly collection: string;
  readonly key: string;
  /** What the host has, 0 for nothing; null: it was not asked. */
  version: number | null;
  /** Of the value with that version: tells a record from one that took its place. */
  digest: string;
  /** JSON text as the function sees it, null for nothing; undefined: not known yet. */
  json: string | null | undefined;
  isWritten: boolean;
  /** Of an entry that is written: seconds, null for ever, or what it had before. */
  ttl: number | null | "kept";
  /** Under way, or over. */
  reading: Promise<void> | null;
}

/** What the host says of a record; null: there is none. */
type Answer = { value: string; version: number; digest: string } | null;

const NativePromise = Promise;

export class TxRecords {
  /** The function has ended. */
  #isEnded = false;
  /** What it had begun by then is over, too. */
  #isClosed = false;
  readonly #byName = nothing() as Record<string, TxRecord | undefined>;
  readonly #all: TxRecord[] = [];
  #asked: TxRecord[] = [];
  #batch: Promise<void> | null = null;
  #operations = 0;
  #whenIdle: (() => void) | null = null;

  /** Runs an operation of the function; what is called at once in it sees its arguments as they are. */
  async run<T>(operation: () => T | Promise<T>): Promise<T> {
    if (this.#isEnded) throw over();
    this.#operations += 1;
    try {
      return await operation();
    } finally {
      this.#operations -= 1;
      if (this.#operations === 0) this.#whenIdle?.();
    }
  }

  /** A record, of which nothing needs to be known. */
  record(source: TxSource, collection: string, key: string): TxRecord {
    if (typeof collection !== "string") throw badName(source, "The collection's name");
    if (typeof key !== "string") throw badName(source, source === "kv" ? "The key" : "The id");
    const name = `${source} ${collection.length} ${collection} ${key}`;
    const known = this.#byName[name];
    if (known !== undefined) return known;
    if (this.#all.length >= KEYS_MAX) {
      throw codedError("tx_too_large", `A transaction may have ${KEYS_MAX} keys at most`);
    }
    const record: TxRecord = {
      source,
      collection,
      key,
      version: null,
      digest: "",
      json: undefined,
      isWritten: false,
      ttl: null,
      reading: null,
    };
    this.#byName[name] = record;
    this.#all[this.#all.length] = record;
    return record;
  }

  /** The same, with what it holds: `json` is not undefined. */
  async read(source: TxSource, collection: string, key: string): Promise<TxRecord> {
    const record = this.record(source, collection, key);
    if (record.json !== undefined) return record;
    if (record.reading === null) {
      this.#asked[this.#asked.length] = record;
      this.#batch ??= this.#readAsked();
      record.reading = this.#batch;
    }
    await record.reading;
    return record;
  }

  /** A record that has a new name: nothing is there, or there is a conflict. */
  absent(source: TxSource, collection: string, key: string): TxRecord {
    const record = this.record(source, collection, key);
    record.version = 0;
    record.json = null;
    return record;
  }

  /** @param json null: nothing */
  write(record: TxRecord, json: string | null, ttl: TxRecord["ttl"] = null): void {
    if (this.#isClosed) throw over();
    record.json = json;
    record.isWritten = true;
    record.ttl = ttl;
  }

  /** The function is through: resolves when what it did not wait for is over, too. */
  async finish(): Promise<void> {
    this.#isEnded = true;
    if (this.#operations > 0) {
      await new NativePromise<void>((resolve) => {
        this.#whenIdle = resolve;
      });
    }
  }

  /** Nothing can be done with it any more. */
  close(): void {
    this.#isEnded = true;
    this.#isClosed = true;
  }

  get isEmpty(): boolean {
    return this.#all.length === 0;
  }

  get hasWrites(): boolean {
    return this.#some((record) => record.isWritten);
  }

  /** More than one was read: what was seen may never have been so at one time. */
  get mayBeTorn(): boolean {
    let reads = 0;
    this.#some((record) => {
      if (record.version !== null) reads += 1;
      return false;
    });
    return reads > 1;
  }

  /** JSON text of what was read. */
  readsJson(): string {
    return this.#list((record) => {
      if (record.version === null) return null;
      return `"version":${record.version},"digest":${stringify(record.digest)}`;
    });
  }

  /** JSON text of what is to be written. */
  writesJson(): string {
    return this.#list(({ isWritten, json, ttl }) => {
      if (!isWritten) return null;
      if (json === null || json === undefined) return '"op":"delete"';
      return `"op":"put","value":${json}${ttl === null ? "" : `,"ttl":${stringify(ttl)}`}`;
    });
  }

  async #readAsked(): Promise<void> {
    // Whatever else is asked for in this turn comes along.
    await undefined;
    const records = this.#asked;
    this.#asked = [];
    this.#batch = null;
    for (let from = 0; from < records.length; ) {
      const answers = (await callWithText("tx.read", () => {
        return `{"records":${listJson(records, from, () => "")}}`;
      })) as Answer[];
      for (let index = 0; index < answers.length; index += 1) {
        note(records[from + index] as TxRecord, answers[index] as Answer);
      }
      from += answers.length;
    }
  }

  #some(is: (record: TxRecord) => boolean): boolean {
    for (let index = 0; index < this.#all.length; index += 1) {
      if (is(this.#all[index] as TxRecord)) return true;
    }
    return false;
  }

  #list(members: (record: TxRecord) => string | null): string {
    return listJson(this.#all, 0, members);
  }
}

function over(): Error {
  return codedError("tx_invalid", "The transaction is over: its function has ended");
}

/** What is written meanwhile stays. */
function note(record: TxRecord, answer: Answer): void {
  record.version = answer === null ? 0 : answer.version;
  record.digest = answer === null ? "" : answer.digest;
  if (!record.isWritten) record.json = answer === null ? null : answer.value;
}

function listJson(
  records: readonly TxRecord[],
  from: number,
  members: (record: TxRecord) => string | null,
): string {
  let list = "";
  for (let index = from; index < records.length; index += 1) {
    const record = records[index] as TxRecord;
    const more = members(record);
    if (more === null) continue;
    const { source, collection, key } = record;
    const place = `"source":"${source}","collection":${stringify(collection)},"key":${stringify(key)}`;
    list += `${list === "" ? "" : ","}{${place}${more === "" ? "" : `,${more}`}}`;
  }
  return `[${list}]`;
}

/** True when there was something. */
export function remove(records: TxRecords, record: TxRecord): boolean {
  if (record.json === null) return false;
  records.write(record, null);
  return true;
}

/** A value as JSON text. Throws what JSON.stringify throws, and PicError's code for undefined. */
export function valueJson(source: TxSource, value: unknown): string {
  const json: string | undefined = stringify(value);
  if (json !== undefined) return json;
  throw codedError(`${source}_invalid_value`, "The value is undefined: JSON has no such value");
}

/** The value of a record, a new copy each time; null for nothing. */
export function valueIn<T>({ json }: TxRecord): T | null {
  return json === null || json === undefined ? null : (parse(json) as T);
}

function badName(source: TxSource, what: string): Error {
  const code = source === "kv" ? "kv_invalid_key" : "docs_invalid_id";
  return codedError(code, `${what} must be a string`);
}
