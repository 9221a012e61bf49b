import { expect, test } from "bun:test";
import { handler, setup } from "../sandbox/child-setup.ts";

async function logs(body: string): Promise<[level: string, message: string, fields: unknown][]> {
  const { run } = await setup();
  const done = await run(`import { log } from "picloud"; ${handler(body)}`);
  expect(done.status).toBe("success");
  return done.logs.map((line) => [line.level, line.message, line.fields]);
}

test("log and console write lines with their level", async () => {
  const lines = await logs(`log.debug("a"); log.info("b", { n: 1 }); log.warn("c"); log.error("d");
    console.log("e", 1); console.info("f"); console.debug("g"); console.trace("h"); console.warn("i"); console.error("j"); console.dir({ k: 1 });
    console.assert(1 === 1, "no"); console.assert(false, "l")`);
  expect(lines).toEqual([
    ["debug", "a", null],
    ["info", "b", { n: 1 }],
    ["warn", "c", null],
    ["error", "d", null],
    ["info", "e 1", null],
    ["info", "f", null],
    ["debug", "g", null],
    ["debug", "h", null],
    ["warn", "i", null],
    ["error", "j", null],
    ["info", '{"k":1}', null],
    ["error", "Assertion failed: l", null],
  ]);
});

test("values of every kind are written out, bounded", async () => {
  const lines = await logs(`const cycle = {}; cycle.self = cycle;
    console.log(undefined, null, 5n, -0, Symbol("s"), () => 1, class A {}, [1, "x"], new Map([[1, 2]]), new Set(["a"]), /x/g);
    console.log(new Uint8Array([1, 2]), { get bad() { throw 1 } }, new Date(0));
    console.log(cycle); console.log(new Error("boom")); console.log("x".repeat(1e5)); console.log(new Array(500).fill(1));`);
  const messages = lines.map(([, message]) => message);
  expect(messages[0]).toBe(
    'undefined null 5n -0 Symbol(s) [Function (anonymous)] [class A] [1,"x"] Map [[1,2]] Set ["a"] /x/g',
  );
  expect(messages[1]).toBe('Uint8Array [1,2] [unreadable] "1970-01-01T00:00:00.000Z"');
  expect(messages[2]).toContain("[Object]");
  expect(messages[3]).toMatch(/^Error: boom\n +at /);
  expect(messages[4]?.length).toBe(32 * 1024);
  expect(messages[5]).toContain("400 more");
});

test("fields that JSON cannot hold are written as text", async () => {
  const lines = await logs(`const cycle = {}; cycle.self = cycle;
    log.info("a", { n: 5n }); log.info("b", cycle); log.info("c", "text"); log.info("d", [1]); log.info("e", null);
    log.info("f", { toJSON() { throw 1 } }); log.info("g", { a: "\\0\\ud800" })`);
  expect(lines.map(([, , fields]) => fields)).toEqual([
    { value: '{"n":5n}' },
    { value: expect.stringContaining("[Object]") },
    { value: "text" },
    { value: "[1]" },
    { value: "null" },
    { value: expect.any(String) },
    { a: "\0\ud800" },
  ]);
});
