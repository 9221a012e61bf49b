/** The check of large JSON bodies agrees with JSON.parse, and neither builds nor blocks. */
import { describe, expect, test } from "bun:test";
import { bodyJsonDepthMax } from "../../src/domain/limits.ts";
import { isJson } from "../../src/http/json-check.ts";

function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

const GOOD = [
  "null",
  " true ",
  "\t\n\r false",
  "0",
  "-0",
  "-12.5e+30",
  "1E9",
  '""',
  '"a\\u00e9\\"\\\\\\/\\b\\f\\n\\r\\t"',
  '"\u2028\u007f\ud800"',
  "[]",
  "[ ]",
  "{}",
  "{ }",
  '[1,[2,{}],{"a":[]}]',
  '{"a":1,"a":{"__proto__":null},"":""}',
];
const BAD = [
  "",
  " ",
  "nul",
  "nulll",
  "01",
  "-",
  "+1",
  "1.",
  ".5",
  "1e",
  "0x1",
  "NaN",
  "Infinity",
  "'a'",
  '"a',
  '"\\x41"',
  '"\\u12g4"',
  '"\\',
  '"a\nb"',
  '"\u0000"',
  "[",
  "]",
  "[,]",
  "[1,]",
  "[1 2]",
  "[1}",
  "{",
  "{]",
  "{1:1}",
  '{"a"}',
  '{"a":}',
  '{"a":1,}',
  '{"a":1 "b":2}',
  '{"a" 1}',
  "{,}",
  "1 2",
  "[] []",
  "null,",
  "\u00a0null",
  "\ufeffnull",
  "/**/null",
  "undefined",
];

describe("a text is JSON", () => {
  test.each(GOOD)("%j", async (text) => {
    expect(parses(text)).toBe(true);
    expect(await isJson(text)).toBe(true);
  });
});

describe("a text is no JSON", () => {
  test.each(BAD)("%j", async (text) => {
    expect(parses(text)).toBe(false);
    expect(await isJson(text)).toBe(false);
  });
});

test("it agrees with JSON.parse on texts with a character changed, left out or put in", async () => {
  const whole = '{"a":[1,-2.5e3,true,null,"x\\u0041\\n"],"b":{"c":{},"d":[[]]},"e":""}';
  const pieces = [...'{}[]:,"\\ue01-+.tfn \n\u0001x'];
  for (let at = 0; at <= whole.length; at += 1) {
    const [before, after] = [whole.slice(0, at), whole.slice(at + 1)];
    for (const text of [
      before + after,
      ...pieces.flatMap((piece) => [before + piece + after, before + piece + whole.slice(at)]),
    ]) {
      expect([text, await isJson(text)]).toEqual([text, parses(text)]);
    }
  }
});

test("depth is bounded", async () => {
  const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
  expect(await isJson(nested(bodyJsonDepthMax))).toBe(true);
  expect(await isJson(nested(bodyJsonDepthMax + 1))).toBe(false);
  expect(await isJson("[".repeat(5_000_000))).toBe(false);
});

test("the event loop gets its turns while a large text is checked", async () => {
  const text = `[${"[],".repeat(1_000_000)}[]]`;
  let turns = 0;
  let isDone = false;
  const count = (): void => {
    turns += 1;
    if (!isDone) setImmediate(count);
  };
  setImmediate(count);
  expect(await isJson(text)).toBe(true);
  isDone = true;
  expect(turns).toBeGreaterThan(8);
});
