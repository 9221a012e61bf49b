import { expect, test } from "bun:test";
import { Lookahead } from "../../src/background/lookahead.ts";
import { lookaheadMax, lookaheadMsMax } from "../../src/domain/limits.ts";
import { delivery } from "./dispatching.ts";

const some = (count: number) => Array.from({ length: count }, () => delivery());

test("gives what was read, in order, to the app it is of, and to no other", () => {
  const ahead = new Lookahead();
  const [first, second] = some(2);
  ahead.add("app-1", [first, second] as never, true, 0);
  expect(ahead.take("app-2", 1)).toBeNull();
  expect(ahead.take("app-1", 1)).toBe(first as never);
  expect(ahead.all()).toEqual([second] as never);
  expect(ahead.take("app-1", 1)).toBe(second as never);
  expect(ahead.take("app-1", 1)).toBeNull();
});

test("forgets what was read long ago: it may have been deleted since", () => {
  const ahead = new Lookahead();
  ahead.add("app-1", some(3), false, 0);
  expect(ahead.take("app-1", lookaheadMsMax + 1)).toBeNull();
  expect(ahead.size).toBe(0);
});

test("drops what is of another app when that one is read", () => {
  const ahead = new Lookahead();
  ahead.add("app-1", some(3), false, 0);
  const other = some(1);
  ahead.add("app-2", other, true, 0);
  expect(ahead.take("app-1", 0)).toBeNull();
  expect(ahead.all()).toEqual(other);
});

test("wants more when little is left, and none when there was nothing behind", () => {
  const ahead = new Lookahead();
  expect(ahead.wanted("app-1", 0)).toBe(lookaheadMax);
  ahead.add("app-1", some(lookaheadMax), false, 0);
  expect(ahead.wanted("app-1", 0)).toBe(0);
  expect(ahead.wanted("app-2", 0)).toBe(lookaheadMax);
  for (let taken = 0; taken < lookaheadMax - 1; taken += 1) ahead.take("app-1", 0);
  expect(ahead.wanted("app-1", 0)).toBe(lookaheadMax);
  const last = new Lookahead();
  last.add("app-1", some(1), true, 0);
  expect(last.wanted("app-1", 0)).toBe(0);
});

test("what is shown is a moment's: what begins later is in it still", () => {
  const ahead = new Lookahead();
  ahead.add("app-1", some(2), true, 0);
  const shown = ahead.all();
  ahead.take("app-1", 0);
  expect(shown).toHaveLength(2);
});
