/** Reads a JSON body within a bound. */
import { PicError } from "../../domain/errors.ts";

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
