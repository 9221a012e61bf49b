/**
 * API keys: `pic_` and 52 characters of base32, which are 256 random bits. The first eight are kept as
 * they are, to find the key by and to show which one it is; of the rest only the SHA-256.
 */
import { SCOPES, type Scope } from "./access.ts";
import { apiKeyPrefix } from "./credentials.ts";
import { invalidField, PicError } from "./errors.ts";
import { checkName } from "./names.ts";

export interface ApiKey {
  id: string;
  account_id: string;
  /** Null: for every app that its account belongs to. */
  app_id: string | null;
  name: string;
  /** The first eight characters after `pic_`. */
  prefix: string;
  scopes: readonly Scope[];
  created_at: number;
  /** Null: never. */
  expires_at: number | null;
  /** Null: not yet. Written at most once a minute. */
  last_used_at: number | null;
}

/** What a key is for. */
type Power = Pick<ApiKey, "scopes" | "app_id">;

const prefixChars = 8;
const pattern = /^pic_([a-z2-7]{8})([a-z2-7]{44})$/;
const alphabet = "abcdefghijklmnopqrstuvwxyz234567";

/** The parts of a raw key, or null for what cannot be one. */
export function parseApiKey(raw: string): { prefix: string; secret: string } | null {
  const [, prefix, secret] = pattern.exec(raw) ?? [];
  return prefix === undefined || secret === undefined ? null : { prefix, secret };
}

/** @param bytes 32, random */
export function formatApiKey(bytes: Uint8Array): { raw: string; prefix: string; secret: string } {
  const text = base32(bytes);
  const [prefix, secret] = [text.slice(0, prefixChars), text.slice(prefixChars)];
  return { raw: `${apiKeyPrefix}${text}`, prefix, secret };
}

/** Throws PicError `invalid`. */
export function checkApiKey(key: {
  name: string;
  scopes: readonly string[];
  app_id: string | null;
  expires_at: number | null;
  now: number;
}): void {
  const { name, scopes, app_id, expires_at, now } = key;
  checkName("name", name);
  if (scopes.length === 0) throw invalidField("scopes", "must name at least one scope");
  for (const scope of scopes) {
    if (!SCOPES.includes(scope as Scope))
      throw invalidField("scopes", `there is no scope ${scope}`);
  }
  if (app_id !== null && scopes.includes("instance:admin")) {
    throw invalidField("scopes", "a key that is bound to an app cannot have instance:admin");
  }
  if (expires_at !== null && expires_at <= now) {
    throw invalidField("expires_at", "must be in the future");
  }
}

/** Throws PicError `forbidden`: a key hands on no more than it has itself. */
export function checkHandedOn(
  by: Power & { expires_at: number | null },
  made: Power & { expires_at: number | null },
): void {
  const outlives =
    by.expires_at !== null && (made.expires_at === null || made.expires_at > by.expires_at);
  if (outlives || !isWithin(by, made)) {
    throw new PicError(
      "forbidden",
      "A key makes only keys with its own scopes, for its own app, that expire no later than it does",
    );
  }
}

/** True when the second can do nothing that the first cannot. */
export function isWithin(by: Power, other: Power): boolean {
  const isWider = by.app_id !== null && other.app_id !== by.app_id;
  return !isWider && other.scopes.every((scope) => by.scopes.includes(scope));
}

/** As they are kept: each once, by name. */
export function sortedScopes(scopes: readonly string[]): Scope[] {
  return SCOPES.filter((scope) => scopes.includes(scope)).sort();
}

/** RFC 4648, in small letters and without padding. */
function base32(bytes: Uint8Array): string {
  let [text, held, bits] = ["", 0, 0];
  for (const byte of bytes) {
    held = ((held << 8) | byte) & 0xfff;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += alphabet[(held >> bits) & 31];
    }
  }
  return bits === 0 ? text : text + alphabet[(held << (5 - bits)) & 31];
}
