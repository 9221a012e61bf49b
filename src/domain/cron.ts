/**
 * Cron expressions, by croner: six fields, the first of them seconds; five mean second 0. Loaded when
 * the first one is looked at (`await import`): croner and the time zones behind it take 12 MB and 20 ms,
 * which a server without cron triggers does not need.
 *
 * Over a change of the clocks (as croner and Vixie cron have it): an expression that names one time of
 * day fires once a day, after the gap when its time is left out, the first time when its time comes
 * twice. Any other one goes by what the clock on the wall shows: it skips what is left out, and
 * fires both times.
 *
 * Times are epoch ms; a tick is a whole second.
 */
import { Cron, CronDate, CronPattern } from "croner";
import { invalidField } from "./errors.ts";
import {
  cronCountDaysMax,
  cronExpressionCharsMax,
  cronStepsMax,
  cronTimezoneCharsMax,
} from "./limits.ts";

const dayMs = 86_400_000;
/** From here on every expression that ever fires has a tick: the calendar repeats after 400 years. */
const anyTimeMs = Date.UTC(2000, 0, 1);

/** Throws PicError `invalid` for field `expression` or `timezone`. */
export function checkCron({
  expression,
  timezone,
}: {
  expression: string;
  timezone: string;
}): void {
  checkTimezone(timezone);
  const refuse = (rule: string) => invalidField("expression", rule);
  if (expression.length > cronExpressionCharsMax) {
    throw refuse(`must not be longer than ${cronExpressionCharsMax} characters`);
  }
  // Printable ASCII alone: croner takes line breaks for spaces, and upper-cases what it reads.
  if (!/^[ -~]*$/.test(expression)) throw refuse("must not contain other characters than ASCII");
  const count = fieldsOf(expression).length;
  if (count !== 5 && count !== 6) {
    throw refuse(
      "must have 6 fields: second, minute, hour, day of month, month, day of week; or 5, without the second",
    );
  }
  let next: Date | null;
  try {
    next = open(expression, timezone).nextRun(new Date(anyTimeMs));
  } catch (error) {
    throw refuse(`is not a cron expression: ${reasonOf(error)}`);
  }
  if (next === null) throw refuse("never fires: there is no such day");
}

/** The first tick after a time, or null when there is none. */
export function nextTick(expression: string, timezone: string, afterMs: number): number | null {
  return open(expression, timezone).nextRun(new Date(afterMs))?.getTime() ?? null;
}

/** The first `count` ticks after a time; fewer when there are no more. */
export function nextTicks(
  expression: string,
  timezone: string,
  afterMs: number,
  count: number,
): number[] {
  const cron = open(expression, timezone);
  return cron.nextRuns(count, new Date(afterMs)).map((tick) => tick.getTime());
}

/** The last tick up to a time, itself included; null when there is none. */
export function lastTick(expression: string, timezone: string, atMs: number): number | null {
  // croner looks before the whole second
  const after = new Date(Math.floor(atMs / 1_000) * 1_000 + 1_000);
  return open(expression, timezone).previousRuns(1, after)[0]?.getTime() ?? null;
}

/**
 * How many ticks there are after one time and up to another, itself included, but at most `max`. Exact
 * for the last ten years of the span; ticks before them are not counted.
 */
export function ticksBetween(
  expression: string,
  timezone: string,
  afterMs: number,
  toMs: number,
  max: number,
): number {
  const fromMs = Math.max(afterMs, toMs - cronCountDaysMax * dayMs);
  const cron = open(expression, timezone);
  // One that names one time of day has a tick a day at most: these steps are enough for all of them.
  const stepsMax = patternOf(expression).isFixedTime ? cronCountDaysMax : cronStepsMax;
  let at = new Date(fromMs);
  for (let count = 0; count < Math.min(max, stepsMax); count += 1) {
    const next = cron.nextRun(at);
    if (next === null || next.getTime() > toMs) return count;
    at = next;
  }
  if (max <= stepsMax) return max;
  return Math.min(max, countByDays(expression, timezone, fromMs, toMs));
}

/**
 * By arithmetic, as a step takes 50 µs and a year has 31 million seconds: between two changes of the
 * clocks the time on the wall runs evenly, and each day that fits has the same ticks.
 */
function countByDays(expression: string, timezone: string, afterMs: number, toMs: number): number {
  const count = evenCounter(expression);
  let total = 0;
  let first = Math.floor(afterMs / 1_000) * 1_000 + 1_000;
  while (first <= toMs) {
    const offset = offsetMs(first, timezone);
    const last = lastOfOffset(first, toMs, timezone);
    total += count(first + offset, last + offset);
    first = last + 1_000;
  }
  return total;
}

/** The last second, up to `toMs`, before the clocks change. No zone changes them twice within a day. */
function lastOfOffset(firstMs: number, toMs: number, timezone: string): number {
  const offset = offsetMs(firstMs, timezone);
  const end = Math.floor(toMs / 1_000) * 1_000;
  let last = firstMs;
  let other = Number.POSITIVE_INFINITY;
  while (last < end && other === Number.POSITIVE_INFINITY) {
    const probe = Math.min(last + dayMs, end);
    if (offsetMs(probe, timezone) === offset) last = probe;
    else other = probe;
  }
  while (other - last > 1_000 && other !== Number.POSITIVE_INFINITY) {
    const middle = last + Math.floor((other - last) / 2_000) * 1_000;
    if (offsetMs(middle, timezone) === offset) last = middle;
    else other = middle;
  }
  return last;
}

/** Counts ticks from one second on the wall to another, both included, as if there were no zones. */
function evenCounter(expression: string): (firstMs: number, lastMs: number) => number {
  const days = open(`0 0 0 ${fieldsOf(expression).slice(-3).join(" ")}`, "UTC");
  const { hour, minute, second } = patternOf(expression);
  const ones = (field: readonly number[], end: number) =>
    field.slice(0, end).reduce((sum, one) => sum + one, 0);
  const perMinute = ones(second, 60);
  const perHour = ones(minute, 60) * perMinute;
  const perDay = ones(hour, 24) * perHour;
  const before = (ms: number) => {
    const s = Math.floor((ms % dayMs) / 1_000);
    const [h, m] = [Math.floor(s / 3_600), Math.floor(s / 60) % 60];
    const inMinute = minute[m] === 1 ? ones(second, s % 60) : 0;
    const inHour = hour[h] === 1 ? ones(minute, m) * perMinute + inMinute : 0;
    return ones(hour, h) * perHour + inHour;
  };
  return (firstMs, lastMs) => {
    const end = lastMs + 1_000;
    const [firstDay, endDay] = [firstMs, end].map((ms) => ms - (ms % dayMs)) as [number, number];
    let total = 0;
    let day = days.nextRun(new Date(firstDay - 1_000));
    for (; day !== null && day.getTime() <= endDay; day = days.nextRun(day)) {
      if (day.getTime() < endDay) total += perDay;
      else total += before(end);
      if (day.getTime() === firstDay) total -= before(firstMs);
    }
    return total;
  };
}

/** How far the wall is ahead of UTC at an instant. */
function offsetMs(ms: number, timezone: string): number {
  const wall = new CronDate(new Date(ms), timezone);
  const { year, month, day, hour, minute, second } = wall;
  return Date.UTC(year, month, day, hour, minute, second) - Math.floor(ms / 1_000) * 1_000;
}

function checkTimezone(timezone: string): void {
  const refuse = (rule: string) => invalidField("timezone", rule);
  if (timezone.length > cronTimezoneCharsMax) {
    throw refuse(`must not be longer than ${cronTimezoneCharsMax} characters`);
  }
  // What the engine takes besides the names: +02:00, which knows no summer time.
  const isName = /^[A-Za-z][A-Za-z0-9_+/-]*$/.test(timezone);
  try {
    if (isName) new Intl.DateTimeFormat("en", { timeZone: timezone });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw refuse("is not the name of a time zone, such as Europe/Berlin");
  }
  if (!isName) throw refuse("must be the name of a time zone, such as Europe/Berlin");
}

function open(expression: string, timezone: string): Cron {
  return new Cron(expression, { timezone, paused: true, mode: "5-or-6-parts" });
}

function patternOf(expression: string): CronPattern {
  return new CronPattern(expression, undefined, { mode: "5-or-6-parts" });
}

function fieldsOf(expression: string): string[] {
  return expression.split(" ").filter((field) => field !== "");
}

/** "CronPattern: configuration entry 1 (H) contains illegal characters." without where it comes from. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) throw error;
  return error.message.replace(/^CronPattern: /, "");
}
