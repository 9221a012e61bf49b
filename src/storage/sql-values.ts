/** What may be bound to a statement, on every engine. */
import { PicError } from "../domain/errors.ts";
import type { SqlValue } from "./sql.ts";

/**
 * Refuses what would be stored as something else: SQLite's functions end a text at NUL, its driver
 * turns a lone surrogate into U+FFFD, NaN into null. PostgreSQL refuses all of them.
 */
export function checkValues(values: readonly SqlValue[]): void {
  for (const value of values) {
    if (typeof value === "string") {
      if (!value.isWellFormed() || value.includes("\0")) {
        throw new PicError("invalid", "Text must not contain NUL or half of a surrogate pair.");
      }
    } else if (typeof value === "number") {
      const kept = Number.isInteger(value) ? Number.isSafeInteger(value) : Number.isFinite(value);
      if (!kept) throw new Error(`a number that SQL cannot keep: ${value}`);
    } else if (value !== null && !(value instanceof Uint8Array)) {
      throw new Error(`a value that SQL cannot keep: ${typeof value}`);
    }
  }
}
