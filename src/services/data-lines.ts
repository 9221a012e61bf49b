/**
 * Records as JSON Lines, one on each line:
 *
 *   {"collection":"c","key":"k","value":…}        an entry; `"expires_at":"2026-03-01T12:00:00.000Z"` when it has one
 *   {"collection":"c","id":"d","value":…}         a document
 *
 * Lines end with LF or CRLF, empty ones mean nothing. Values are printed as they are stored, so that what
 * was exported is imported as the same text.
 */
import { docsCollection, docsDocument, docsId } from "../bindings/docs-arguments.ts";
import { kvCollection, kvKey, kvValueJson, member } from "../bindings/kv-arguments.ts";
import type { DataRecord, DataSource } from "../domain/data.ts";
import { invalidField, PicError } from "../domain/errors.ts";
import { importLineBytesMax, importLinesPerTurn, ttlSecondsMax } from "../domain/limits.ts";
import { parseTime } from "../domain/times.ts";

/** One record to be written, checked. */
export interface RecordLine {
  collection: string;
  key: string;
  /** JSON text. */
  value: string;
  expires_at: number | null;
}

export interface Line {
  /** From 1. */
  number: number;
  /** Without its end. */
  text: string;
}

const lineFeed = 0x0a;

/** The line of a record, with its end. */
export function printRecord(source: DataSource, record: DataRecord): string {
  const { collection, key, value, expires_at } = record;
  const name = source === "kv" ? "key" : "id";
  const expiry = expires_at === null ? "" : `,"expires_at":"${new Date(expires_at).toISOString()}"`;
  return `{"collection":${JSON.stringify(collection)},"${name}":${JSON.stringify(key)},"value":${value}${expiry}}\n`;
}

/**
 * What a line says. Throws PicError `invalid`, and what the script's own checks throw.
 * @param collection the only one; null: each line names its own
 */
export function parseRecord(
  source: DataSource,
  text: string,
  { collection, now }: { collection: string | null; now: number },
): RecordLine {
  const line = parsed(text);
  const members = source === "kv" ? ["key", "expires_at"] : ["id"];
  const unknown = Object.keys(line).find(
    (name) => !["collection", "value", ...members].includes(name),
  );
  if (unknown !== undefined) {
    const known = ["collection", ...members.slice(0, 1), "value", ...members.slice(1)];
    throw badLine(`has a member that is none of ${known.join(", ")}`);
  }
  return source === "kv" ? entryOf(line, collection, now) : documentOf(line, collection);
}

function entryOf(line: object, collection: string | null, now: number): RecordLine {
  return {
    collection: collection ?? kvCollection(member(line, "collection")),
    key: kvKey(member(line, "key")),
    value: kvValueJson(member(line, "value")),
    expires_at: expiryOf(member(line, "expires_at"), now),
  };
}

/** A document's id stands in the line, in the document, or in both. */
function documentOf(line: object, collection: string | null): RecordLine {
  const value = member(line, "value");
  const id = docsId(member(line, "id") ?? member(value, "id"));
  return {
    collection: collection ?? docsCollection(member(line, "collection")),
    key: id,
    value: docsDocument(value, { id, isFixed: true }).json,
    expires_at: null,
  };
}

/** Of names alone. */
export const collectionCheck: Readonly<Record<DataSource, (name: unknown) => string>> = {
  kv: kvCollection,
  docs: docsCollection,
};

function parsed(text: string): object {
  let line: unknown;
  try {
    line = JSON.parse(text);
  } catch {
    throw badLine("is not JSON");
  }
  if (typeof line === "object" && line !== null && !Array.isArray(line)) return line;
  throw badLine("is not a JSON object");
}

function expiryOf(value: unknown, now: number): number | null {
  if (value === undefined || value === null) return null;
  const at = typeof value === "string" ? parseTime(value) : null;
  if (at === null) throw invalidField("expires_at", "must be a time in ISO 8601");
  if (at > now + ttlSecondsMax * 1_000) {
    throw invalidField("expires_at", `must be within ${ttlSecondsMax} seconds from now`);
  }
  return at;
}

/**
 * The lines of a body that arrives in pieces, with the numbers they have in it; holds one line and one
 * piece. Empty lines, too, leave the event loop its turns: 50 MB of them took it 4 s. Throws PicError `invalid` with the line for one that is too long or no UTF-8.
 */
export async function* readLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Line> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const rest: Uint8Array[] = [];
  let restBytes = 0;
  let number = 1;
  const lineOf = (bytes: Uint8Array): Line => {
    try {
      const text = decoder.decode(bytes);
      return { number, text: text.endsWith("\r") ? text.slice(0, -1) : text };
    } catch {
      throw atLine(number, badLine("is not UTF-8"));
    }
  };
  for await (const chunk of chunks) {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(lineFeed, start);
      const piece = chunk.subarray(start, end === -1 ? undefined : end);
      if (restBytes + piece.byteLength > importLineBytesMax) throw tooLong(number);
      if (end === -1) {
        // A copy: the piece would keep its whole chunk in memory.
        if (piece.byteLength > 0) rest.push(piece.slice());
        restBytes += piece.byteLength;
        break;
      }
      const line = lineOf(rest.length === 0 ? piece : Buffer.concat([...rest, piece]));
      rest.length = 0;
      restBytes = 0;
      start = end + 1;
      if (line.text !== "") yield line;
      number += 1;
      if (number % importLinesPerTurn === 0) await turn();
    }
  }
  if (restBytes === 0) return;
  const line = lineOf(Buffer.concat(rest));
  if (line.text !== "") yield line;
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function tooLong(number: number): PicError {
  return atLine(number, badLine(`is longer than ${importLineBytesMax} bytes`));
}

function badLine(message: string): PicError {
  return new PicError("invalid", `it ${message}`, { errors: [{ path: "line", message }] });
}

/** An error that says which line it is about. */
export function atLine(number: number, error: PicError): PicError {
  const { details, code, message } = error;
  const errors = (details.errors ?? [{ path: "line", message }]).map((one) => ({
    ...one,
    line: number,
  }));
  return new PicError(code, `Line ${number}: ${message}`, {
    ...details,
    errors,
    extra: { ...details.extra, line: number },
  });
}
