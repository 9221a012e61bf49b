import { expect, test } from "bun:test";
import { turnsHalfLifeMs } from "../../src/domain/limits.ts";
import { Turns } from "../../src/sandbox/turns.ts";

test("use adds up, and counts half after a while", () => {
  const turns = new Turns();
  expect(turns.used("app", 0)).toBe(0);
  turns.charge("app", 8, 0);
  turns.charge("app", 4, 0);
  turns.charge("other", 1, 0);
  expect(turns.used("app", 0)).toBe(12);
  expect(turns.used("app", turnsHalfLifeMs)).toBeCloseTo(6);
  expect(turns.used("other", 0)).toBe(1);
});

test("no number of apps makes it remember more than a bounded number of them", () => {
  const turns = new Turns();
  for (let index = 0; index < 1_000; index += 1) turns.charge(`app-${index}`, 10, index);
  let remembered = 0;
  for (let index = 0; index < 1_000; index += 1) {
    if (turns.used(`app-${index}`, 1_000) > 0) remembered += 1;
  }
  expect(remembered).toBe(64);
});
