import { describe, expect, test } from "bun:test";
import { createLogger } from "../../src/base/log.ts";

function setup(format: "json" | "pretty") {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  const log = createLogger({ format, level: "debug", now: () => 0, write });
  return { log, text: () => lines.join("") };
}

/** Clears a terminal, forges a record, and turns text around. */
const HOSTILE =
  'x\u001b[2J\r\n{"level":"error","message":"forged"}\u009b31m\u2028\u2029\u202e\u2066\u200f\u0000\u007f';
// biome-ignore lint/suspicious/noControlCharactersInRegex: the test is about them
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069\u200e\u200f]/;

function withoutColours(text: string): string {
  return ["90", "33", "31", "0"].reduce((left, code) => left.replaceAll(`\x1b[${code}m`, ""), text);
}

describe("what a stranger sent", () => {
  test("stays one record of JSON, and is whole in it", () => {
    const { log, text } = setup("json");
    log.warn("A login failed", { username: HOSTILE, nested: { [HOSTILE]: [HOSTILE] } });
    expect(text().trimEnd()).not.toMatch(INVISIBLE);
    expect(JSON.parse(text())).toMatchObject({
      username: HOSTILE,
      nested: { [HOSTILE]: [HOSTILE] },
    });
  });

  test("cannot begin a line or steer the terminal", () => {
    const { log, text } = setup("pretty");
    log.child({ fixed: HOSTILE }).warn(HOSTILE, { username: HOSTILE, nested: [HOSTILE] });
    log.error("failed", { error: new Error(HOSTILE), nothing: undefined });
    const [first = "", ...rest] = withoutColours(text()).trimEnd().split("\n");
    expect(first).not.toMatch(INVISIBLE);
    expect(first).toContain("x\\u001b[2J\\u000d\\u000a");
    const [second = "", ...stack] = rest;
    expect(second).toBe("00:00:00.000 error failed");
    for (const line of stack) {
      expect(line).not.toMatch(INVISIBLE);
      expect(line).toStartWith("    ");
    }
  });
});

test("records below the level are not written, and fixed fields come first", () => {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  const log = createLogger({ format: "json", level: "warn", now: () => 0, write });
  log.info("not this");
  log.child({ part: "a" }).error("this", { n: 1n, error: new TypeError("bad") });
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    {
      at: "1970-01-01T00:00:00.000Z",
      level: "error",
      message: "this",
      part: "a",
      n: "1",
      error: { name: "TypeError", message: "bad", stack: expect.any(String) },
    },
  ]);
});
