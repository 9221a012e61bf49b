/** `base64`, and the global `atob` and `btoa`. */
import { DOMException } from "./exceptions.ts";
import { ask, stringify } from "./host.ts";
import { OP_BYTES_TO_TEXT, OP_TEXT_TO_BYTES } from "./operations.ts";
import { bytesOf, decodeLatin1, encodeLatin1, utf8Bytes } from "./text.ts";

// <declarations>
/** Base64 of bytes, RFC 4648. */
export interface Base64 {
  /** A string is encoded as UTF-8. `url`: the URL-safe alphabet, without padding. */
  encode(data: string | ArrayBuffer | ArrayBufferView, options?: { url?: boolean }): string;
  /** Either alphabet, with or without padding. Throws TypeError for anything else. */
  decode(text: string): Uint8Array;
}
// </declarations>

// <globals>
/** A binary string (one character a byte) from base64. Throws InvalidCharacterError. */
export type Atob = (data: string) => string;
/** A binary string to base64. Throws InvalidCharacterError for a character above U+00FF. */
export type Btoa = (data: string) => string;
// </globals>

export const base64: Base64 = {
  encode(data, options) {
    const bytes = typeof data === "string" ? utf8Bytes(data) : bytesOf(data);
    return ask(refusal, OP_BYTES_TO_TEXT, bytes, options?.url ? "base64url" : "base64") as string;
  },
  decode(text) {
    const bytes = ask(refusal, OP_TEXT_TO_BYTES, stringify(String(text)), "base64url");
    return new Uint8Array(bytes as ArrayBuffer);
  },
};

export const atob: Atob = function atob(data) {
  const bytes = ask(invalidCharacter, OP_TEXT_TO_BYTES, stringify(String(data)), "base64");
  return decodeLatin1(bytes as ArrayBuffer);
};

export const btoa: Btoa = function btoa(data) {
  const bytes = encodeLatin1(String(data));
  if (bytes === null) throw invalidCharacter("The string holds a character above U+00FF");
  return ask(invalidCharacter, OP_BYTES_TO_TEXT, bytes, "base64") as string;
};

function refusal(message: string): Error {
  return new TypeError(message);
}

function invalidCharacter(message: string): Error {
  return new DOMException(message, "InvalidCharacterError") as unknown as Error;
}
