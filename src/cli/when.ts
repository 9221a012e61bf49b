/** Times as people type them: `90d` from now, `2h` ago, or a date of ISO 8601. */
import { usageFailure } from "./failures.ts";

const units: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

/** Epoch ms. @param option that it was given with, for the message */
export function timeAgo(text: string, now: number, option: string): number {
  return parse(text, (ms) => now - ms, option);
}

/** Epoch ms. @param option that it was given with, for the message */
export function timeAhead(text: string, now: number, option: string): number {
  return parse(text, (ms) => now + ms, option);
}

function parse(text: string, from: (ms: number) => number, option: string): number {
  const [, count = "", unit = ""] = /^(\d{1,6})([smhdw])$/.exec(text) ?? [];
  const isDate = /^\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:?\d\d)?)?$/.test(text);
  const time = isDate ? Date.parse(text) : from(Number(count) * (units[unit] ?? Number.NaN));
  // What a Date can hold, and what ISO 8601 writes with four digits of year.
  if (Number.isFinite(time) && time >= 0 && time < 253_402_300_800_000) return time;
  throw usageFailure(
    `${option}: ${text} is no time`,
    "like 30m, 2h, 7d, 2030-01-31 or 2030-01-31T12:00:00Z",
  );
}
