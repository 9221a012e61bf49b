/**
 * What the child answers a guest at once, inside its entry: randomness, digests, and the conversions
 * that would be slow in the guest (UTF-8, base64, hex, URLs). Everything here is a pure function of
 * its arguments or fresh randomness; arguments are hostile.
 */
import { randomFillSync, randomUUID } from "node:crypto";
import { guestAnswerBytesMax, guestUrlCharsMax } from "../domain/limits.ts";
import {
  OP_BYTES_TO_TEXT,
  OP_DIGEST,
  OP_RANDOM_BYTES,
  OP_RANDOM_UUID,
  OP_TEXT_TO_BYTES,
  OP_URL_PARSE,
  OP_URL_SET,
  OP_UTF8_DECODE,
  OP_UTF8_ENCODE,
  REFUSED,
} from "../sdk/operations.ts";

/** Reads the arguments that come after the operation's number. */
export interface AnswerArguments {
  text(index: number): string;
  number(index: number): number;
  /** Null when it is no ArrayBuffer. */
  bytes(index: number): Buffer | null;
}

const RANDOM_BYTES_MAX = 65_536;
const DIGESTS: Readonly<Record<string, "sha1" | "sha256" | "sha384" | "sha512">> = {
  "SHA-1": "sha1",
  "SHA-256": "sha256",
  "SHA-384": "sha384",
  "SHA-512": "sha512",
};
const NOT_HEX = /[^0-9a-fA-F]/;
const BASE64_URL = /^[A-Za-z0-9_-]*={0,2}$/;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;
const ASCII_WHITESPACE = /[\t\n\f\r ]+/g;
const URL_PARTS = [
  "href",
  "origin",
  "protocol",
  "username",
  "password",
  "host",
  "hostname",
  "port",
  "pathname",
  "search",
  "hash",
] as const;
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
const utf8Fatal = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

/** True when the answer is randomness, which no image may hold. */
export function needsRandomness(operation: number): boolean {
  return operation === OP_RANDOM_BYTES || operation === OP_RANDOM_UUID;
}

/** The answer: text, bytes, or a text that begins with REFUSED. Null: there is no such operation. */
export function answer(operation: number, args: AnswerArguments): string | Uint8Array | null {
  switch (operation) {
    case OP_RANDOM_BYTES:
      return randomFillSync(Buffer.alloc(clamp(args.number(1), RANDOM_BYTES_MAX)));
    case OP_RANDOM_UUID:
      return randomUUID();
    case OP_DIGEST:
      return digest(args.text(1), args.bytes(2));
    case OP_UTF8_ENCODE:
      return withText(args.text(1), (text) => Buffer.from(text, "utf8"));
    case OP_UTF8_DECODE:
      return withBytes(args.bytes(1), (bytes) => decode(bytes, args.number(2) === 1));
    case OP_BYTES_TO_TEXT:
      return withBytes(args.bytes(1), (bytes) => bytes.toString(encodingOf(args.text(2))));
    case OP_TEXT_TO_BYTES:
      return withText(args.text(1), (text) => toBytes(text, args.text(2)));
    case OP_URL_PARSE:
      return withUrlArguments(args.text(1), parseUrl);
    case OP_URL_SET:
      return withUrlArguments(args.text(1), setUrlPart);
    default:
      return null;
  }
}

function digest(algorithm: string, bytes: Buffer | null): string | Uint8Array {
  const name = Object.hasOwn(DIGESTS, algorithm) ? DIGESTS[algorithm] : undefined;
  if (name === undefined) return refuse("The algorithm is not supported");
  return withBytes(bytes, (data) => new Bun.CryptoHasher(name).update(data).digest());
}

function decode(bytes: Buffer, fatal: boolean): string {
  try {
    return JSON.stringify((fatal ? utf8Fatal : utf8).decode(bytes));
  } catch {
    return refuse("The bytes are not valid UTF-8");
  }
}

function toBytes(text: string, encoding: string): string | Uint8Array {
  if (encoding === "hex") {
    const isHex = text.length % 2 === 0 && !NOT_HEX.test(text);
    return isHex ? Buffer.from(text, "hex") : refuse("The text is not hexadecimal");
  }
  if (encoding === "base64url") {
    const plain = text.replaceAll("+", "-").replaceAll("/", "_");
    return isBase64(plain, BASE64_URL) ? Buffer.from(plain, "base64url") : notBase64();
  }
  // Forgiving base64 decode, Infra Standard §7.
  const plain = text.replace(ASCII_WHITESPACE, "");
  return isBase64(plain, BASE64) ? Buffer.from(plain, "base64") : notBase64();
}

/** Padding, where there is any, completes the last group; one character over is no byte. */
function isBase64(text: string, alphabet: RegExp): boolean {
  if (!alphabet.test(text)) return false;
  return text.endsWith("=") ? text.length % 4 === 0 : text.length % 4 !== 1;
}

function parseUrl([url, base]: string[]): string {
  const parsed = URL.parse(url as string, base ?? undefined);
  return parsed === null ? refuse("Invalid URL") : partsOf(parsed);
}

function setUrlPart([href, part, value]: string[]): string {
  const parsed = URL.parse(href as string);
  const known = URL_PARTS.find((name) => name === part && name !== "origin");
  if (parsed === null || known === undefined) return refuse("Invalid URL");
  (parsed as unknown as Record<string, string>)[known] = value as string;
  return partsOf(parsed);
}

function partsOf(url: URL): string {
  return JSON.stringify(Object.fromEntries(URL_PARTS.map((part) => [part, url[part]])));
}

function withUrlArguments(json: string, then: (args: string[]) => string): string {
  if (json.length > guestUrlCharsMax) return refuse("The URL is too long");
  const args: unknown = JSON.parse(json);
  return Array.isArray(args) ? then(args) : refuse("Invalid URL");
}

function withText(json: string, then: (text: string) => string | Uint8Array): string | Uint8Array {
  if (json.length > guestAnswerBytesMax) return refuse("The text is too long");
  return then(String(JSON.parse(json)));
}

function withBytes<T>(bytes: Buffer | null, then: (bytes: Buffer) => T): T | string {
  if (bytes === null) return refuse("The bytes cannot be read");
  return bytes.length > guestAnswerBytesMax ? refuse("The bytes are too many") : then(bytes);
}

function encodingOf(name: string): "hex" | "base64" | "base64url" {
  return name === "hex" || name === "base64url" ? name : "base64";
}

function notBase64(): string {
  return refuse("The text is not base64");
}

function refuse(why: string): string {
  return REFUSED + why;
}

function clamp(value: number, max: number): number {
  return value >= 0 && value <= max ? Math.floor(value) : 0;
}
