/**
 * The body as scripts see it, by its content type:
 *
 *   JSON (`application/json`, `+json`)      its value; malformed → 400 before the script runs
 *   form (`x-www-form-urlencoded`)          an object; a name given several times has an array
 *   form with files (`multipart/form-data`) the same; a file is `{ filename, contentType, base64 }`
 *   text (`text/*`, XML, YAML, …)           a string, decoded by its charset (UTF-8, UTF-16, Latin-1)
 *   anything else, compressed bodies, and   null, and base64 beside it: nothing is guessed,
 *   text that its charset does not allow    and no byte is lost
 *   nothing                                 null
 *
 * JSON stays the text that came: it is checked, and put into ctx without being printed again.
 * A body of GET or HEAD has no meaning (RFC 9110 §9.3.1); Bun drops it before we are asked.
 */
import { PicError } from "../domain/errors.ts";
import {
  bodiesHeldBytesMax,
  bodiesRetryAfterS,
  bodyBytesMax,
  bodyFormFieldsMax,
  bodySmallBytesMax,
} from "../domain/limits.ts";
import { isJson } from "./json-check.ts";

export interface GuestBody {
  body_json: string;
  body_base64: string | null;
}

const EMPTY: GuestBody = Object.freeze({ body_json: "null", body_base64: null });
const JSON_TYPE = /^(?:application\/json|[^/]+\/[^/]+\+json)$/;
const TEXT_TYPE =
  /^(?:text\/.+|[^/]+\/[^/]+\+(?:xml|yaml)|application\/(?:xml|yaml|toml|javascript|ecmascript|graphql|sql|x-ndjson|ndjson|jsonl|x-yaml|x-sh))$/;
const CHARSET = /;\s*charset\s*=\s*"?([^\s";]+)/i;

/**
 * What all large bodies together hold in memory. Small ones always pass: slow senders of large bodies
 * can keep each other out, but nobody else, and they cannot use up the machine's memory.
 */
export class BodyBudget {
  #heldBytes = 0;

  constructor(private readonly heldBytesMax = bodiesHeldBytesMax) {}

  /** For one body; dispose of it when the request is answered. */
  hold(): BodyHold {
    return new BodyHold(
      (bytes) => {
        if (this.#heldBytes + bytes > this.heldBytesMax) throw full();
        this.#heldBytes += bytes;
      },
      (bytes) => {
        this.#heldBytes -= bytes;
      },
    );
  }
}

export class BodyHold implements Disposable {
  #bytes = 0;

  constructor(
    private readonly take: (bytes: number) => void,
    private readonly give: (bytes: number) => void,
  ) {}

  /** Makes room for a body of `bytes` in all. Throws PicError `overloaded`. */
  grow(bytes: number): void {
    if (bytes <= bodySmallBytesMax || bytes <= this.#bytes) return;
    this.take(bytes - this.#bytes);
    this.#bytes = bytes;
  }

  [Symbol.dispose](): void {
    this.give(this.#bytes);
    this.#bytes = 0;
  }
}

/**
 * Reads and parses. Throws PicError `body_too_large`, without holding more than the cap,
 * `overloaded` and `malformed_request`.
 */
export async function readGuestBody(
  request: Request,
  hold: BodyHold,
  bytesMax = bodyBytesMax,
): Promise<GuestBody> {
  const bytes = await readBytes(request, hold, bytesMax);
  if (bytes === null || bytes.byteLength === 0) return EMPTY;
  const contentType = request.headers.get("content-type") ?? "";
  const encoding = request.headers.get("content-encoding");
  if (encoding !== null && encoding.toLowerCase() !== "identity") return binary(bytes);
  const end = contentType.indexOf(";");
  const type = (end === -1 ? contentType : contentType.slice(0, end)).trim().toLowerCase();
  if (JSON_TYPE.test(type)) return json(bytes, contentType);
  if (type === "application/x-www-form-urlencoded") return form(bytes, contentType);
  if (type === "multipart/form-data") return multipart(bytes, contentType);
  const text = TEXT_TYPE.test(type) ? decode(bytes, contentType) : null;
  return text === null ? binary(bytes) : { body_json: JSON.stringify(text), body_base64: null };
}

/** The bytes of a body within the cap; null when there is none. */
async function readBytes(
  request: Request,
  hold: BodyHold,
  bytesMax: number,
): Promise<Uint8Array | null> {
  const length = declaredLength(request.headers, bytesMax);
  if (length === 0) return null;
  try {
    if (length === null) return await readChunks(request.body, hold, bytesMax);
    hold.grow(length);
    return await request.bytes();
  } catch (error) {
    if (error instanceof PicError) throw error;
    throw new PicError("malformed_request", "The body could not be read", { cause: error });
  }
}

/**
 * The length that was announced, 0 for no body, null for chunks.
 * Throws PicError `body_too_large`, and `malformed_request` for two lengths, be they equal.
 */
function declaredLength(headers: Headers, bytesMax: number): number | null {
  const text = headers.get("content-length");
  if (text === null) return headers.has("transfer-encoding") ? null : 0;
  const length = /^[0-9]{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(length)) throw malformed("The Content-Length header is malformed");
  if (length > bytesMax) throw tooLarge(bytesMax);
  return length;
}

async function readChunks(
  body: ReadableStream<Uint8Array> | null,
  hold: BodyHold,
  bytesMax: number,
): Promise<Uint8Array | null> {
  if (body === null) return null;
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  // Leaving the loop cancels the stream, so nothing more is taken from the socket.
  for await (const chunk of body) {
    bytes += chunk.byteLength;
    if (bytes > bytesMax) throw tooLarge(bytesMax);
    hold.grow(bytes);
    chunks.push(chunk);
  }
  return chunks.length === 1 ? (chunks[0] as Uint8Array) : Buffer.concat(chunks, bytes);
}

async function json(bytes: Uint8Array, contentType: string): Promise<GuestBody> {
  const text = decode(bytes, contentType);
  if (text === null) throw malformed("The body is not valid UTF-8");
  const isValid = text.length <= bodySmallBytesMax ? isSmallJson(text) : await isJson(text);
  // Too deep to be parsed counts as malformed, too.
  if (!isValid) throw malformed("The body is not valid JSON");
  return { body_json: text, body_base64: null };
}

/** What JSON.parse makes is thrown away: quickest for a small text, and ruinous for a large one. */
function isSmallJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function form(bytes: Uint8Array, contentType: string): GuestBody {
  const text = decode(bytes, contentType);
  if (text === null) throw malformed("The form is not valid UTF-8");
  refuseManyFields(text.matchAll(/&/g));
  return gathered(new URLSearchParams(text));
}

/** Throws PicError `malformed_request` before any field is made into an object. */
function refuseManyFields(marks: Iterator<unknown>): void {
  for (let count = 0; marks.next().done !== true; count += 1) {
    if (count < bodyFormFieldsMax) continue;
    throw malformed(`The form has more than ${bodyFormFieldsMax} fields`);
  }
}

async function multipart(bytes: Uint8Array, contentType: string): Promise<GuestBody> {
  const { buffer, byteOffset, byteLength } = bytes;
  const text = Buffer.from(buffer, byteOffset, byteLength).toString("latin1");
  // A part without this header has no name, and is no field.
  refuseManyFields(text.matchAll(/content-disposition/gi));
  const fields: [string, unknown][] = [];
  try {
    const parts = await new Response(new Blob([bytes as Uint8Array<ArrayBuffer>]), {
      headers: { "content-type": contentType },
    }).formData();
    for (const [name, part] of parts) {
      fields.push([name, typeof part === "string" ? part : await fileField(part)]);
    }
  } catch (error) {
    throw new PicError("malformed_request", "The form is malformed", { cause: error });
  }
  return gathered(fields);
}

/** `contentType` is what the file's name suggests: Bun 1.4.4 does not say what its part claimed. */
async function fileField(file: File): Promise<Record<string, string>> {
  const base64 = Buffer.from(await file.arrayBuffer()).toString("base64");
  return { filename: file.name, contentType: file.type, base64 };
}

/** One value stays itself, several become an array. Any name is safe: there is no prototype. */
function gathered(fields: Iterable<[string, unknown]>): GuestBody {
  const all: Record<string, unknown[]> = Object.create(null);
  for (const [name, value] of fields) {
    const values = all[name];
    if (values === undefined) all[name] = [value];
    else values.push(value);
  }
  const object: Record<string, unknown> = Object.create(null);
  for (const [name, values] of Object.entries(all)) {
    object[name] = values.length === 1 ? values[0] : values;
  }
  return { body_json: JSON.stringify(object), body_base64: null };
}

function binary(bytes: Uint8Array): GuestBody {
  const { buffer, byteOffset, byteLength } = bytes;
  return {
    body_json: "null",
    body_base64: Buffer.from(buffer, byteOffset, byteLength).toString("base64"),
  };
}

/** The text, or null when the charset is unknown or does not allow these bytes. */
function decode(bytes: Uint8Array, contentType: string): string | null {
  const charset = CHARSET.exec(contentType)?.[1] ?? "utf-8";
  try {
    return new TextDecoder(charset as "utf-8", { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

function malformed(message: string): PicError {
  return new PicError("malformed_request", message);
}

function tooLarge(bytesMax: number): PicError {
  return new PicError("body_too_large", `The body is larger than ${bytesMax} bytes`);
}

function full(): PicError {
  return new PicError("overloaded", "Too many large bodies are under way", {
    retry_after_s: bodiesRetryAfterS,
  });
}
