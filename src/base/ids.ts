import { randomBytes } from "node:crypto";

/** A new id: UUIDv7 as text (RFC 9562), so that ids sort by the time they were made. */
export function newId(): string {
  return Bun.randomUUIDv7();
}

/** A secret token: `prefix` and 32 random bytes in base64url (43 characters). */
export function newToken(prefix: string): string {
  return prefix + randomBytes(32).toString("base64url");
}

/** 32 random bytes. */
export function newSecret(): Uint8Array {
  return randomBytes(32);
}

/** SHA-256 of a text, as lower-case hex. Tokens are stored only in this form. */
export function sha256Hex(text: string): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex");
}
