/** ISO 8601 on the wire, epoch milliseconds within. */
import { invalidField } from "../../domain/errors.ts";
import { parseTime } from "../../domain/times.ts";

/** Epoch milliseconds as ISO 8601 in UTC. */
export function isoTime(epochMs: number): string {
  return new Date(epochMs).toISOString();
}

/** The epoch milliseconds of an ISO 8601 time. Throws PicError `invalid` for the field `path`. */
export function readTime(path: string, text: string): number {
  const time = parseTime(text);
  if (time !== null) return time;
  throw invalidField(path, "must be a time in ISO 8601, with its zone: 2026-03-01T12:00:00Z");
}
