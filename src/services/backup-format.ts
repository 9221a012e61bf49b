/**
 * The file of a backup: one line of text, then frames. Every byte is covered by a checksum, and each
 * checksum covers the one before it, so that a flipped byte, a cut, and frames that were left out,
 * repeated or exchanged are found at the frame where they are.
 *
 *   picloud-backup 1\n
 *   frame…        kind (1 byte), length of the text (4, big endian), length as stored (4), stored
 *                 bytes, SHA-256 (32) of the checksum before and of all of this frame before here
 *
 *   H   header, JSON: what made the backup, when, of what; stored as it is
 *   T   a table begins, JSON: { name, columns }; stored as it is
 *   R   rows of that table, each a line with a JSON array of its values; Zstandard
 *   E   the end, JSON: rows by table; stored as it is, and nothing follows
 *
 * A checksum is no signature: whoever can write the file can make a whole new one.
 */
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { PicError } from "../domain/errors.ts";
import { backupBlockBytes, backupBlockBytesMax } from "../domain/limits.ts";
import type { TableShape } from "../storage/port.ts";
import type { SqlValue } from "../storage/sql.ts";

export const backupFormat = 1;

export interface BackupHeader {
  /** Version of the PiCloud that wrote it. */
  product: string;
  /** Number of the schema that the rows are of. */
  schema: number;
  engine: string;
  /** ISO 8601. */
  created_at: string;
  /** What people called it; null when that was not configured. */
  public_base_url: string | null;
}

export type BackupPart =
  | { kind: "header"; header: BackupHeader }
  | { kind: "table"; table: TableShape }
  | { kind: "rows"; rows: SqlValue[][] }
  /** The backup is whole. */
  | { kind: "end"; counts: ReadonlyMap<string, number> };

const magic = "picloud-backup ";
const firstLine = `${magic}${backupFormat}\n`;
const firstLineBytesMax = 64;
const headBytes = 9;
const digestBytes = 32;
const kinds = { header: 0x48, table: 0x54, rows: 0x52, end: 0x45 } as const;
/** Zstandard's default level: on a Pi it compresses faster than a card is read. */
const zstdOptions = { params: { [constants.ZSTD_c_compressionLevel]: 3 } };
/** Stored bytes are never much longer than the text; a longer claim is damage. */
const storedBytesMax = backupBlockBytesMax + 64 * 1024;

/** Makes the bytes of a backup, in order. */
export class BackupEncoder {
  #digest = sha256([Buffer.from(firstLine)]);
  #lines: string[] = [];
  #chars = 0;

  begin(header: BackupHeader): Buffer {
    return Buffer.concat([Buffer.from(firstLine), this.#json(kinds.header, header)]);
  }

  table({ name, columns }: TableShape): Buffer {
    return this.#json(kinds.table, { name, columns });
  }

  /** A block, once enough rows have come for one; else null. */
  row(values: readonly SqlValue[]): Buffer | null {
    const line = JSON.stringify(values.map(storable));
    this.#lines.push(line);
    this.#chars += line.length;
    return this.#chars < backupBlockBytes ? null : this.flush();
  }

  /** The rows that wait, at the end of a table; null when there are none. */
  flush(): Buffer | null {
    if (this.#lines.length === 0) return null;
    const text = Buffer.from(this.#lines.join("\n"));
    this.#lines = [];
    this.#chars = 0;
    return this.#frame(kinds.rows, text, zstdCompressSync(text, zstdOptions));
  }

  end(counts: ReadonlyMap<string, number>): Buffer {
    return this.#json(kinds.end, { rows: Object.fromEntries(counts) });
  }

  #json(kind: number, value: object): Buffer {
    const text = Buffer.from(JSON.stringify(value));
    return this.#frame(kind, text, text);
  }

  #frame(kind: number, text: Buffer, stored: Buffer): Buffer {
    if (text.length > backupBlockBytesMax) throw new Error("a row is larger than a block may be");
    const head = frameHead(kind, text.length, stored.length);
    this.#digest = sha256([this.#digest, head, stored]);
    return Buffer.concat([head, stored, this.#digest]);
  }
}

/**
 * The parts of a backup, each checked before it is given out; the end comes last, or the backup is
 * not whole. Throws PicError `invalid` for what is no backup, of a newer format, cut or damaged.
 */
export async function* readBackup(source: AsyncIterable<Uint8Array>): AsyncGenerator<BackupPart> {
  const bytes = new ByteReader(source);
  let digest = sha256([await readFirstLine(bytes)]);
  let last: number | null = null;
  let table: TableShape | null = null;
  const claimed = new Counts();
  for (;;) {
    const at = bytes.offset;
    const frame = await readFrame(bytes, digest);
    digest = frame.digest;
    if (!mayFollow(frame.kind, last)) throw damaged(at);
    last = frame.kind;
    const part = parsePart(frame, table, at);
    if (part.kind === "table") {
      table = part.table;
      claimed.begin(table.name, at);
    } else if (part.kind === "rows") {
      claimed.add(part.rows.length);
    } else if (part.kind === "end") {
      claimed.check(part.counts, at);
      if (!(await bytes.ended())) throw damaged(bytes.offset);
      yield part;
      return;
    }
    yield part;
  }
}

// ---------------------------------------------------------------------------------------------
// frames

interface Frame {
  kind: number;
  text: string;
  digest: Buffer;
}

async function readFirstLine(bytes: ByteReader): Promise<Buffer> {
  const line = await bytes.takeLine(firstLineBytesMax);
  const number = line?.toString("latin1").match(/^picloud-backup ([1-9][0-9]{0,5})\n$/)?.[1];
  if (line === null || number === undefined) {
    throw new PicError("invalid", "This is no backup of PiCloud, or its beginning is damaged.");
  }
  if (Number(number) !== backupFormat) {
    throw new PicError(
      "invalid",
      `The backup has format ${number}, and this PiCloud knows format ${backupFormat}: use a newer PiCloud.`,
    );
  }
  return line;
}

async function readFrame(bytes: ByteReader, before: Buffer): Promise<Frame> {
  const at = bytes.offset;
  const head = await bytes.take(headBytes);
  const kind = head.readUInt8(0);
  const textBytes = head.readUInt32BE(1);
  const storedBytes = head.readUInt32BE(5);
  if (textBytes > backupBlockBytesMax || storedBytes > storedBytesMax) throw damaged(at);
  const stored = await bytes.take(storedBytes);
  const digest = await bytes.take(digestBytes);
  if (!sha256([before, head, stored]).equals(digest)) throw damaged(at);
  if (kind !== kinds.rows) return { kind, text: stored.toString("utf8"), digest };
  try {
    const text = zstdDecompressSync(stored, { maxOutputLength: textBytes });
    return { kind, text: text.toString("utf8"), digest };
  } catch (error) {
    throw damaged(at, error);
  }
}

/** H, then tables with their rows, then E. */
function mayFollow(kind: number, last: number | null): boolean {
  if (kind === kinds.header) return last === null;
  if (kind === kinds.table || kind === kinds.end) return last !== null;
  return kind === kinds.rows && (last === kinds.table || last === kinds.rows);
}

/** Checked bytes whose content is wrong all the same were not written by PiCloud. */
function parsePart({ kind, text }: Frame, table: TableShape | null, at: number): BackupPart {
  try {
    if (kind === kinds.rows) {
      return { kind: "rows", rows: text.split("\n").map((line) => parseRow(line, table)) };
    }
    const value = record(JSON.parse(text));
    if (kind === kinds.header) return { kind: "header", header: parseHeader(value) };
    if (kind === kinds.table) return { kind: "table", table: parseTable(value) };
    const counts = Object.entries(record(value.rows)).map(
      ([name, count]) => [name, natural(count)] as const,
    );
    return { kind: "end", counts: new Map(counts) };
  } catch (error) {
    throw damaged(at, error);
  }
}

function parseHeader(value: Record<string, unknown>): BackupHeader {
  const { product, schema, engine, created_at, public_base_url } = value;
  if (natural(schema) === 0) throw new Error("a schema that is none");
  return {
    product: string(product),
    schema: natural(schema),
    engine: string(engine),
    created_at: string(created_at),
    public_base_url: public_base_url === null ? null : string(public_base_url),
  };
}

function parseTable({ name, columns }: Record<string, unknown>): TableShape {
  if (!Array.isArray(columns)) throw new Error("a table without columns");
  return { name: string(name), columns: columns.map(string) };
}

function parseRow(line: string, table: TableShape | null): SqlValue[] {
  const values: unknown = JSON.parse(line);
  if (!Array.isArray(values) || values.length !== table?.columns.length) {
    throw new Error("a row of another width");
  }
  return values.map(sqlValue);
}

function sqlValue(value: unknown): SqlValue {
  if (value === null || typeof value === "string" || typeof value === "number") return value;
  return Buffer.from(string(record(value).base64), "base64");
}

/** What JSON can say. A number that would come back as another one is a defect. */
function storable(value: SqlValue): unknown {
  if (value === null || typeof value === "string") return value;
  if (typeof value !== "number") return { base64: Buffer.from(value).toString("base64") };
  const kept = Number.isInteger(value) ? Number.isSafeInteger(value) : Number.isFinite(value);
  if (!kept) throw new Error(`a number that a backup cannot keep: ${value}`);
  return value;
}

function record(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null) throw new Error("no object");
  return value as Record<string, unknown>;
}

function string(value: unknown): string {
  if (typeof value !== "string") throw new Error("no text");
  return value;
}

function natural(value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    throw new Error("no count");
  }
  return value;
}

// ---------------------------------------------------------------------------------------------
// bytes

/** What was read must be what the end says. */
class Counts {
  readonly #rows = new Map<string, number>();
  #current = "";

  begin(name: string, at: number): void {
    if (this.#rows.has(name)) throw damaged(at);
    this.#rows.set(name, 0);
    this.#current = name;
  }

  add(count: number): void {
    this.#rows.set(this.#current, (this.#rows.get(this.#current) ?? 0) + count);
  }

  check(counts: ReadonlyMap<string, number>, at: number): void {
    const isSame = [...this.#rows].every(([name, count]) => counts.get(name) === count);
    if (!isSame || counts.size !== this.#rows.size) throw damaged(at);
  }
}

/** Takes exact numbers of bytes from a stream; holds one frame and one chunk at most. */
class ByteReader {
  offset = 0;
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#chunks = source[Symbol.asyncIterator]();
  }

  async take(count: number): Promise<Buffer> {
    const pieces = [this.#rest];
    let have = this.#rest.length;
    while (have < count) {
      const chunk = await this.#next();
      if (chunk === null) throw cut(this.offset + have);
      pieces.push(chunk);
      have += chunk.length;
    }
    const all = pieces.length === 1 ? this.#rest : Buffer.concat(pieces, have);
    this.#rest = all.subarray(count);
    this.offset += count;
    return all.subarray(0, count);
  }

  /** Through the line feed; null when there is none within `max` bytes. */
  async takeLine(max: number): Promise<Buffer | null> {
    for (let count = 1; count <= max; count += 1) {
      while (this.#rest.length < count) {
        const chunk = await this.#next();
        if (chunk === null) return null;
        this.#rest = Buffer.concat([this.#rest, chunk]);
      }
      if (this.#rest[count - 1] === 0x0a) return this.take(count);
    }
    return null;
  }

  async ended(): Promise<boolean> {
    return this.#rest.length === 0 && (await this.#next()) === null;
  }

  /** The next chunk that is not empty. */
  async #next(): Promise<Buffer | null> {
    for (;;) {
      const { done, value } = await this.#chunks.next();
      if (done === true) return null;
      if (value.length > 0) return Buffer.from(value.buffer, value.byteOffset, value.length);
    }
  }
}

function frameHead(kind: number, textBytes: number, storedBytes: number): Buffer {
  const head = Buffer.alloc(headBytes);
  head.writeUInt8(kind, 0);
  head.writeUInt32BE(textBytes, 1);
  head.writeUInt32BE(storedBytes, 5);
  return head;
}

function sha256(parts: readonly Buffer[]): Buffer {
  const hasher = new Bun.CryptoHasher("sha256");
  for (const part of parts) hasher.update(part);
  return hasher.digest();
}

function damaged(offset: number, cause?: unknown): PicError {
  return new PicError("invalid", `The backup is damaged at or after byte ${offset}.`, { cause });
}

function cut(offset: number): PicError {
  return new PicError("invalid", `The backup is not whole: it ends after ${offset} bytes.`);
}
