import { describe, expect, test } from "bun:test";
import { Cron } from "croner";
import { checkCron, lastTick, nextTick, nextTicks, ticksBetween } from "../../src/domain/cron.ts";
import { PicError } from "../../src/domain/errors.ts";
import { cronCountDaysMax, cronExpressionCharsMax } from "../../src/domain/limits.ts";

const iso = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());
const at = (text: string) => Date.parse(text);

/** The field that is refused, and why. */
function refusal(expression: string, timezone = "UTC"): string {
  try {
    checkCron({ expression, timezone });
    return "accepted";
  } catch (error) {
    if (error instanceof PicError && error.code === "invalid") return error.message;
    throw error;
  }
}

describe("an expression", () => {
  test("has six fields, the first of them seconds; five mean second 0", () => {
    const from = at("2025-03-29T12:00:00Z");
    expect(iso(nextTick("30 15 10 * * *", "UTC", from))).toBe("2025-03-30T10:15:30.000Z");
    expect(iso(nextTick("15 10 * * *", "UTC", from))).toBe("2025-03-30T10:15:00.000Z");
    expect(refusal("* * * * * *")).toBe("accepted");
    expect(refusal("* * * * *")).toBe("accepted");
  });

  test.each([
    ["@daily"],
    ["2030-01-01T00:00:00Z"],
    [""],
    ["   "],
    ["* * * *"],
    ["0 0 0 1 1 * 2030"],
    ["* * * * * * * *"],
  ])("with another number of fields is refused: %j", (expression) => {
    expect(refusal(expression)).toStartWith("expression: must have 6 fields");
  });

  test.each([
    ["60 * * * * *"],
    ["* 24 * * *"],
    ["* * 0 * *"],
    ["* * 32 * *"],
    ["* * * 13 *"],
    ["* * * * 8"],
    ["*/0 * * * *"],
    ["5/5 * * * *"],
    ["9-3 * * * *"],
    ["H * * * *"],
    ["MON * * * *"],
    ["-1 * * * *"],
    ["1e1 * * * *"],
    ["0x1 * * * *"],
    ["'; drop table triggers; -- * * *"],
    ["__proto__ * * * *"],
    ["constructor * * * *"],
    ["1,,2 * * * *"],
    ["99999999999999999999 * * * *"],
    ["NaN * * * *"],
  ])("that croner cannot read is refused: %j", (expression) => {
    const told = refusal(expression);
    expect(told).toStartWith("expression: ");
    expect(told).not.toContain("CronPattern");
  });

  test.each([
    ["0 0 * * *\n"],
    ["0\t0 * * *"],
    ["0\u00a00 * * *"],
    ["0 0 * * \0"],
    ["0 0 * * ١"],
    ["0 0 * * \ud800"],
  ])("of other characters than ASCII is refused: %j", (expression) => {
    expect(refusal(expression)).toContain("ASCII");
  });

  test("that is too long is refused, and one of the largest size is looked at in no time", () => {
    const longest = `${"0-59/7,".repeat(34)}1 * * * *`;
    expect(longest.length).toBeLessThanOrEqual(cronExpressionCharsMax);
    expect(refusal(longest)).toBe("accepted");
    expect(refusal(`${"1,".repeat(cronExpressionCharsMax)}1 * * * *`)).toContain("longer than");
  });

  test.each([["0 0 30 2 *"], ["0 0 31 4,6,9,11 *"], ["0 0 0 31 2 +MON"], ["0 0 0 30 2 +5#5"]])(
    "that never fires is refused: %s",
    (expression) => {
      expect(refusal(expression)).toContain("never fires");
    },
  );

  test("that fires once in decades is accepted", () => {
    expect(refusal("0 0 0 29 2 +MON#5")).toBe("accepted");
    expect(iso(nextTick("0 0 0 29 2 +MON#5", "UTC", at("2025-01-01")))).toBe(
      "2044-02-29T00:00:00.000Z",
    );
  });
});

describe("a time zone", () => {
  test.each([["UTC"], ["Europe/Berlin"], ["America/Argentina/Buenos_Aires"], ["Etc/GMT+5"]])(
    "is one by its IANA name: %s",
    (timezone) => {
      expect(refusal("* * * * *", timezone)).toBe("accepted");
    },
  );

  test.each([
    [""],
    ["+02:00"],
    ["-0530"],
    ["GMT+2"],
    ["Z"],
    ["Europe/Nowhere"],
    ["Europe/Berlin\0"],
    [" UTC"],
    ["../../etc/localtime"],
    ["__proto__"],
    ["\ud800"],
    ["x".repeat(10_000)],
  ])("that is none is refused: %j", (timezone) => {
    expect(refusal("* * * * *", timezone)).toStartWith("timezone: ");
  });
});

describe("ticks", () => {
  test("come after a time, never at it, whatever its milliseconds", () => {
    const noon = at("2025-06-01T12:00:00Z");
    for (const [from, to] of [
      [noon - 1_000, noon],
      [noon - 1, noon],
      [noon, noon + 86_400_000],
      [noon + 1, noon + 86_400_000],
    ] as const) {
      expect(nextTick("0 12 * * *", "UTC", from)).toBe(to);
    }
    expect(nextTicks("0 12 * * *", "UTC", noon, 5).map(iso)).toEqual(
      [2, 3, 4, 5, 6].map((day) => `2025-06-0${day}T12:00:00.000Z`),
    );
  });

  test("are looked up backwards, the time itself included", () => {
    const noon = at("2025-06-01T12:00:00Z");
    expect(lastTick("0 12 * * *", "UTC", noon)).toBe(noon);
    expect(lastTick("0 12 * * *", "UTC", noon + 999)).toBe(noon);
    expect(lastTick("0 12 * * *", "UTC", noon - 1)).toBe(noon - 86_400_000);
  });

  test("are counted to the end of a span, which is included, and not from its start", () => {
    const noon = at("2025-06-01T12:00:00Z");
    const count = (from: number, to: number) =>
      ticksBetween("0 12 * * *", "UTC", from, to, 1_000_000);
    expect(count(noon, noon)).toBe(0);
    expect(count(noon - 1, noon)).toBe(1);
    expect(count(noon, noon + 86_400_000)).toBe(1);
    expect(count(noon + 10 * 86_400_000, noon)).toBe(0);
  });

  test("are counted without going through them: a year of seconds, and all since 1970", () => {
    const end = at("2025-06-01T00:00:00Z");
    const year = ticksBetween("* * * * * *", "Europe/Berlin", end - 365 * 86_400_000, end, 1e12);
    expect(year).toBe(365 * 86_400);
    expect(ticksBetween("* * * * * *", "Europe/Berlin", 0, end, 1e12)).toBe(
      cronCountDaysMax * 86_400,
    );
    expect(ticksBetween("0 12 * * *", "Europe/Berlin", 0, end, 1e12)).toBe(cronCountDaysMax);
    expect(ticksBetween("* * * * * *", "Europe/Berlin", 0, end, 1_000)).toBe(1_000);
    expect(ticksBetween("* * * * * *", "Europe/Berlin", 0, end, 3)).toBe(3);
  });
});

// Each span holds a change of the clocks of at least one of the zones.
const zones = [
  ...["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"],
  ...["Asia/Kathmandu", "Pacific/Chatham"],
];
const spans = [
  ...["2025-03-29T20:00:00Z", "2025-10-25T20:00:00Z", "2025-11-01T22:13:14Z"],
  ...["2025-03-08T22:00:00Z", "2025-04-05T10:00:00Z", "2025-10-04T08:00:00Z"],
  ...["2025-02-22T20:00:01Z", "2025-04-05T23:00:00Z"],
];

describe("over a change of the clocks", () => {
  test("what is counted by days is what is counted one by one", () => {
    const expressions = [
      ...["7 * * * * *", "*/30 */2 1-3,11-23 * * *", "30 15,45 1,2,3 * * 0"],
      ...["0 * * * *", "*/5 59 0-23/2 L * *", "0,30 30 2 * * *", "0 30 2 * * *", "0 0 0 1W * *"],
    ];
    for (const timezone of zones) {
      for (const expression of expressions) {
        for (const [index, span] of spans.entries()) {
          const from = at(span) + index * 333;
          const to = from + 11 * 3_600_000 + index * 97_123;
          const cron = new Cron(expression, { timezone, paused: true });
          let expected = 0;
          let tick = cron.nextRun(new Date(from));
          for (; tick !== null && tick.getTime() <= to; tick = cron.nextRun(tick)) expected += 1;
          const told = { timezone, expression, span, count: expected };
          const count = ticksBetween(expression, timezone, from, to, 1e9);
          expect({ ...told, count }).toEqual(told);
        }
      }
    }
  }, 60_000);

  test("one that goes by the clock on the wall ticks on: none is lost and none comes twice", () => {
    for (const timezone of zones) {
      for (const span of spans) {
        const from = at(span);
        const ticks = nextTicks("*/10 * * * *", timezone, from, 72);
        const steps = new Set(ticks.slice(1).map((tick, index) => tick - (ticks[index] as number)));
        expect({ timezone, span, steps: [...steps] }).toEqual({ timezone, span, steps: [600_000] });
      }
    }
  });

  test.each([
    // The hour from 2 to 3 is left out: at once after it.
    ["Europe/Berlin", "0 30 2 * * *", "2025-03-29T12:00:00Z", "2025-03-30T01:00:00.000Z"],
    ["America/New_York", "0 30 2 * * *", "2025-03-08T12:00:00Z", "2025-03-09T07:00:00.000Z"],
    ["Australia/Lord_Howe", "0 15 2 * * *", "2025-10-04T12:00:00Z", "2025-10-04T15:30:00.000Z"],
    // The hour comes twice: the first time.
    ["Europe/Berlin", "0 30 2 * * *", "2025-10-25T12:00:00Z", "2025-10-26T00:30:00.000Z"],
    ["America/New_York", "0 30 1 * * *", "2025-11-01T12:00:00Z", "2025-11-02T05:30:00.000Z"],
    ["Australia/Lord_Howe", "0 45 1 * * *", "2025-04-05T12:00:00Z", "2025-04-05T14:45:00.000Z"],
    // In the month of fasting: back, and forth.
    ["Africa/Casablanca", "0 30 2 * * *", "2025-02-22T12:00:00Z", "2025-02-23T01:30:00.000Z"],
    ["Africa/Casablanca", "0 30 2 * * *", "2025-04-05T12:00:00Z", "2025-04-06T02:00:00.000Z"],
  ])("%s: one time of day (%s) comes once that day, and once the next", (...given) => {
    const [timezone, expression, from, first] = given;
    const [tick, next] = nextTicks(expression, timezone, at(from), 2);
    expect(iso(tick ?? null)).toBe(first);
    const hours = ((next as number) - (tick as number)) / 3_600_000;
    expect(hours).toBeGreaterThanOrEqual(23);
    expect(hours).toBeLessThanOrEqual(25);
    expect(lastTick(expression, timezone, (next as number) - 1)).toBe(tick as number);
  });

  test("every day of ten years has its tick, once, in every zone", () => {
    for (const timezone of zones) {
      const from = at("2020-01-01T00:00:00Z");
      const to = at("2030-01-01T00:00:00Z");
      const count = ticksBetween("0 30 2 * * *", timezone, from, to, 1e9);
      expect({ timezone, count }).toEqual({ timezone, count: 3_653 });
    }
  });
});
