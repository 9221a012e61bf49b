/**
 * One spelling for every path. The gateway and the route patterns both pass through here, so that
 * what is compared is equal whenever RFC 3986 §6.2.2 calls it equal: unreserved escapes are decoded,
 * the others have upper-case digits, characters that may not stand in a path are escaped.
 *
 * What two readers could take for different paths is refused: `//`, `%2f`, `%5c`, `%00`,
 * backslashes, dot segments, broken escapes, escapes that are not UTF-8.
 */
import { PicError } from "./errors.ts";

/** Paths of the system, the bare name and its subtree, on every host. */
export const RESERVED_NAMES: ReadonlySet<string> = new Set([
  "api",
  "admin",
  "healthz",
  "version",
  "metrics",
  "tools",
  "my-runs",
]);

const SAFE_PATH = /^\/[A-Za-z0-9\-._~!$&'()*+,;=:@/]*$/;
const SAFE_CHARACTER = /[A-Za-z0-9\-._~!$&'()*+,;=:@/]/;
const UNRESERVED = /[A-Za-z0-9\-._~]/;
const DOT_SEGMENT = /\/\.{1,2}(?:\/|$)/;
const HEX_PAIR = /^[0-9A-Fa-f]{2}$/;
const HIGH_ESCAPE = /%[89A-F]/;

/**
 * The canonical spelling of a path. Idempotent.
 * Throws PicError `malformed_request` for what is ambiguous or broken.
 */
export function normalisePath(path: string): string {
  if (SAFE_PATH.test(path)) {
    if (!path.includes("//") && !path.includes("/.")) return path;
    return checked(path);
  }
  if (path.charCodeAt(0) !== 0x2f) throw malformed("the path must begin with a slash");
  let out = "";
  for (let index = 0; index < path.length; ) {
    const character = path[index] as string;
    if (character === "%") {
      out += normaliseEscape(path.slice(index + 1, index + 3));
      index += 3;
    } else if (SAFE_CHARACTER.test(character)) {
      out += character;
      index += 1;
    } else {
      const whole = String.fromCodePoint(path.codePointAt(index) as number);
      out += escapeCharacter(whole);
      index += whole.length;
    }
  }
  if (HIGH_ESCAPE.test(out)) refuseBrokenUtf8(out);
  return checked(out);
}

/** True when the first segment of a canonical path belongs to the system. */
export function isReservedPath(path: string): boolean {
  return RESERVED_NAMES.has(firstSegment(path));
}

/** `greet` of `/greet/you`; "" of `/`. */
export function firstSegment(path: string): string {
  const end = path.indexOf("/", 1);
  return end === -1 ? path.slice(1) : path.slice(1, end);
}

/** Decodes a piece of a canonical path; never throws for one. */
export function decodePiece(piece: string): string {
  return piece.includes("%") ? decodeURIComponent(piece) : piece;
}

function checked(path: string): string {
  if (path.includes("//")) throw malformed("the path has an empty segment (`//`)");
  if (DOT_SEGMENT.test(path)) throw malformed("the path has a `.` or `..` segment");
  return path;
}

function normaliseEscape(digits: string): string {
  if (!HEX_PAIR.test(digits)) throw malformed("the path has a broken percent-escape");
  const code = Number.parseInt(digits, 16);
  if (code === 0x00 || code === 0x2f || code === 0x5c) {
    throw malformed(`the path has an escape that is not accepted (%${digits})`);
  }
  const character = String.fromCharCode(code);
  return code < 0x80 && UNRESERVED.test(character) ? character : `%${digits.toUpperCase()}`;
}

/** Escapes what may stand in a typed pattern, or what Bun leaves raw, but not in a path. */
function escapeCharacter(character: string): string {
  if (character === "\\") throw malformed("the path has a backslash");
  if (character === "?" || character === "#") {
    throw malformed(`the path has a raw \`${character}\``);
  }
  const code = character.codePointAt(0) as number;
  if (code <= 0x20 || code === 0x7f) {
    throw malformed("the path has a space or a control character; escape it");
  }
  if (code >= 0xd800 && code <= 0xdfff) throw malformed("the path has half a surrogate pair");
  return encodeURIComponent(character);
}

function refuseBrokenUtf8(path: string): void {
  try {
    decodeURIComponent(path);
  } catch {
    throw malformed("the path has escapes that are not UTF-8");
  }
}

function malformed(message: string): PicError {
  return new PicError("malformed_request", message);
}
