/** What a name that people read may hold: it ends up in logs, stack traces and on pages. */
import { invalidField } from "./errors.ts";
import { nameCharsMax } from "./limits.ts";

/**
 * Control characters, line separators, and the marks that reorder text (a name that reads
 * differently from what it is).
 */
const unreadable = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\u202a-\u202e\u2066-\u2069]/u;

/** Throws PicError `invalid` for the field `path`. */
export function checkName(path: string, name: string): void {
  if (name.length === 0 || name.length > nameCharsMax) {
    throw invalidField(path, `must be 1 to ${nameCharsMax} characters long`);
  }
  if (unreadable.test(name)) {
    throw invalidField(path, "must not contain control, line or direction characters");
  }
  if (name.trim() !== name) throw invalidField(path, "must not begin or end with a space");
}

/** True for a text any database can keep and any JSON reader can read. */
export function isStorableText(text: string): boolean {
  return text.isWellFormed() && !text.includes("\0");
}
