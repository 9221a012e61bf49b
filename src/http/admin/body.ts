/** Reads a JSON body within a bound. */
import { PicError } from "../../domain/errors.ts";
import { importBytesMax } from "../../domain/limits.ts";

/**
 * Throws PicError `unsupported_media_type`, `body_too_large`, `malformed_request`. No message holds
 * a piece of the body: it may be a password.
 */
export async function readJson(request: Request, bytesMax: number): Promise<unknown> {
  if (!isJson(request.headers.get("content-type"))) {
    throw new PicError("unsupported_media_type", "The body must be application/json");
  }
  const bytes = await readBytes(request, bytesMax);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new PicError("malformed_request", "The body is not valid JSON in UTF-8");
  }
}

const linesTypes = /^(?:application\/x-ndjson|text\/plain)\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?$/i;

/**
 * A body of JSON Lines as it arrives: nothing is read ahead of who asks for it. Throws PicError
 * `unsupported_media_type` at once, `body_too_large`, and `malformed_request` when the caller has gone.
 */
export function readChunks(request: Request): AsyncIterable<Uint8Array> {
  if (!linesTypes.test(request.headers.get("content-type") ?? "")) {
    throw new PicError(
      "unsupported_media_type",
      "The body must be application/x-ndjson or text/plain",
    );
  }
  if (Number(request.headers.get("content-length") ?? 0) > importBytesMax) throw importTooLarge();
  return counted(request.body);
}

async function* counted(body: ReadableStream<Uint8Array> | null): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  try {
    for await (const chunk of body ?? []) {
      bytes += chunk.byteLength;
      if (bytes > importBytesMax) throw importTooLarge();
      yield chunk;
    }
  } catch (error) {
    if (error instanceof PicError) throw error;
    throw new PicError("malformed_request", "The body could not be read", { cause: error });
  }
}

function importTooLarge(): PicError {
  return new PicError("body_too_large", `The body must be at most ${importBytesMax} bytes long`);
}

/** The whole body. Throws PicError `body_too_large`. */
export async function readBytes(request: Request, bytesMax: number): Promise<Uint8Array> {
  const tooLarge = (): PicError =>
    new PicError("body_too_large", `The body must be at most ${bytesMax} bytes long`);
  if (Number(request.headers.get("content-length") ?? 0) > bytesMax) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of request.body ?? []) {
    length += chunk.byteLength;
    if (length > bytesMax) throw tooLarge();
    chunks.push(chunk);
  }
  return chunks.length === 1 ? (chunks[0] as Uint8Array) : Buffer.concat(chunks, length);
}

function isJson(contentType: string | null): boolean {
  return /^application\/json\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?$/i.test(contentType ?? "");
}
