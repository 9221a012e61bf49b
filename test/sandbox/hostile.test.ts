/**
 * Scripts that mean harm, and that the child itself can stop. What never reaches QuickJS's interrupt
 * handler is the parent's to kill: pool.test.ts and hostile-process.test.ts.
 */
import { beforeAll, describe, expect, test } from "bun:test";
import { type Bundle, handler, setup } from "./child-setup.ts";

interface Attack {
  name: string;
  source: string;
  /** `status` or `status/budget`; several when the engine's build decides. */
  ends: string[];
}

const attack = (name: string, body: string, ...ends: string[]): Attack => ({
  name,
  source: handler(body),
  ends,
});
const CPU = "budget_exceeded/cpu_ms";
const MEMORY = "budget_exceeded/memory_mb";

const ATTACKS: Attack[] = [
  attack("an endless loop", "for (;;);", CPU),
  attack("a loop in finally", "for (;;) { try { for (;;); } finally { continue; } }", CPU),
  attack("a loop in catch", "while (true) { try { while (true); } catch {} }", CPU),
  attack("a catastrophic regular expression", "/^(a+)+$/.test('a'.repeat(40) + 'b')", CPU),
  attack(
    "a regular expression in an endless loop",
    "for (;;) /(x+x+)+y/.test('x'.repeat(30))",
    CPU,
  ),
  attack("an endless generator", "for (const x of (function* () { for (;;) yield 1; })());", CPU),
  attack("an endless promise chain", "const f = () => Promise.resolve().then(f); await f();", CPU),
  attack("an endless await loop", "for (;;) await null;", CPU),
  attack(
    "endless microtasks",
    "const f = () => queueMicrotask(f); f(); await new Promise(() => {})",
    CPU,
  ),
  attack("a sort that loops", "[3, 2, 1].sort(() => { for (;;); })", CPU),
  attack("a valueOf that loops", "+{ valueOf() { for (;;); } }", CPU),
  attack("a then getter that loops", "return { get then() { for (;;); } }", CPU),
  attack("a toJSON that loops", "return { toJSON() { for (;;); } }", CPU),
  attack("a statusCode getter that loops", "return { get statusCode() { for (;;); } }", CPU),
  attack(
    "a header getter that loops",
    "return { statusCode: 200, headers: { get a() { for (;;); } } }",
    CPU,
  ),
  attack("a message getter that loops", "throw { get message() { for (;;); } }", CPU),
  attack("a stack getter that loops", "throw { message: '', get stack() { for (;;); } }", CPU),
  attack("a proxy that loops", "throw new Proxy({}, { get() { for (;;); } })", CPU),
  attack("a toString of a logged value that loops", "console.log({ get a() { for (;;); } })", CPU),
  attack("a loop after the result", "queueMicrotask(() => { for (;;); }); return 1", CPU),
  attack(
    "endless timers",
    "const f = () => setTimeout(f, 0); f(); await new Promise(() => {})",
    "timeout",
  ),
  attack("a log flood", "for (;;) console.log('x'.repeat(1000))", CPU),
  attack("string doubling", "let s = 'x'; for (;;) s += s", MEMORY),
  attack(
    "string doubling with flattening",
    "let s = 'xy'; for (;;) { s += s; s.charCodeAt(1) }",
    MEMORY,
  ),
  attack("an array that grows", "const a = []; for (;;) a.push({})", MEMORY, CPU),
  attack("typed arrays", "const a = []; for (;;) a.push(new Uint8Array(1 << 20))", MEMORY),
  attack(
    "memory errors that are caught",
    "const a = []; for (;;) { try { a.push(new Uint8Array(1 << 22)) } catch {} }",
    MEMORY,
  ),
  attack(
    "memory errors that are caught and answered",
    "const a = []; try { for (;;) a.push(new Float64Array(1 << 20)) } catch { return 'fine' }",
    MEMORY,
  ),
  attack("one large buffer", "new ArrayBuffer(1 << 30)", MEMORY),
  attack(
    "a resizable buffer",
    "new ArrayBuffer(8, { maxByteLength: 2 ** 31 - 1 }).resize(2 ** 31 - 1)",
    MEMORY,
    "error",
  ),
  attack("a BigInt blow-up", "let n = 3n; for (;;) n *= n", MEMORY, CPU, "error"),
  attack("a shift of a BigInt", "1n << 2n ** 40n", MEMORY, CPU, "error"),
  attack(
    "a map that grows",
    "const m = new Map(); for (let i = 0; ; i++) m.set(i, [i])",
    MEMORY,
    CPU,
  ),
  attack("padding", "'x'.padEnd(2 ** 30 - 2, 'abc').length", MEMORY, "error"),
  attack("many small strings", "const a = []; for (let i = 0; ; i++) a.push('k' + i)", MEMORY, CPU),
  attack("deep recursion", "const f = () => f() + 1; f()", "error"),
  attack(
    "deep recursion that is caught",
    "const f = () => { try { f() } finally { f() } }; f()",
    CPU,
    "error",
  ),
  attack("getters that recurse", "const o = { get a() { return this.a } }; o.a", "error"),
  attack(
    "proxies of proxies",
    "let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); p.x",
    "error",
    CPU,
    MEMORY,
  ),
  attack("nested JSON", "JSON.parse('['.repeat(1e6))", "error", MEMORY, CPU),
  attack(
    "nested arrays as a result",
    "let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return a",
    "error",
    MEMORY,
    CPU,
  ),
  attack("nested source", "new Function('['.repeat(1e5))", "error", MEMORY),
  attack(
    "a nested regular expression",
    "new RegExp('(?:'.repeat(1e5) + ')'.repeat(1e5))",
    "error",
    MEMORY,
  ),
  attack("nested template functions", "eval('('.repeat(2e4) + ')'.repeat(2e4))", "error", MEMORY),
  attack(
    "a bound chain",
    "let f = () => 1; for (let i = 0; i < 1e5; i++) f = f.bind(); f()",
    "error",
    MEMORY,
    CPU,
  ),
  attack("a promise that never settles", "await new Promise(() => {})", "error"),
  attack("an oversized response", "return 'x'.repeat(5 << 20)", "budget_exceeded/response_kb"),
  attack(
    "a flood of host calls",
    "for (;;) ctx.kv ?? (await import('picloud')).kv.collection('c').get('k')",
    "budget_exceeded/host_calls",
  ),
  attack("a process", "return constructor.constructor('return process')()", "error"),
  attack("a require", "return (0, eval)('require')('fs')", "error"),
  attack("the host function", "return __host(-3, 'x')", "error"),
  attack("the guest's entries", "return __guest.run('{}')", "error"),
  attack(
    "an SDK file",
    "return (await import('\\u0001picloud/host.ts')).host(0, '{}', '1')",
    "error",
  ),
  attack("an SDK file, relative", "return await import('./host.ts')", "error"),
  attack("a file", "return await import('/etc/passwd')", "error"),
  attack("a million timers", "for (let i = 0; i < 1e6; i++) setTimeout(() => {}, 1)", "error"),
  attack(
    "a getter that throws from an error",
    "throw { get message() { throw 1 }, get name() { throw 2 } }",
    "error",
  ),
  attack(
    "a revoked proxy",
    "const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); throw proxy",
    "error",
  ),
  attack(
    "a revoked proxy as a result",
    "const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); return proxy",
    "error",
  ),
];

/** Says whether all of it is as it was at the start. */
const HEALTHY = handler(`
  const { kv } = await import("picloud");
  const names = [typeof URL, typeof JSON.stringify, typeof Promise.prototype.then, [].map.length];
  return [names, await kv.collection("c").get("k"), Object.keys(Object.prototype).length, 1 + 1];
`);
const HEALTHY_RESULT = [
  ["function", "function", "function", 1],
  { collection: "c", key: "k" },
  0,
  2,
];

describe("a hostile script is stopped, and the next execution is whole:", () => {
  let bundle: Bundle;
  beforeAll(async () => {
    bundle = await setup();
  });

  test.each(ATTACKS.map((item) => [item.name, item] as const))(
    "%s",
    async (_, item) => {
      // What should meet the memory limit must have the time to get there on a busy machine.
      const limits = {
        cpu_ms: item.ends[0] === CPU ? 40 : 500,
        timeout_ms: item.ends[0] === "timeout" ? 200 : 20_000,
      };
      for (let round = 0; round < 2; round += 1) {
        const done = await bundle.run(item.source, { limits });
        const end = done.budget === undefined ? done.status : `${done.status}/${done.budget}`;
        expect(item.ends).toContain(end);
        const healthy = await bundle.run(HEALTHY);
        expect(healthy).toMatchObject({ status: "success", value: HEALTHY_RESULT });
      }
    },
    30_000,
  );
});

describe("a top level that means harm", () => {
  test.each([
    ["an endless loop", "for (;;); export default () => 1", CPU],
    [
      "typed arrays",
      "const a = []; for (;;) a.push(new Uint8Array(1 << 20)); export default () => 1",
      MEMORY,
    ],
    ["a wait for ever", "await new Promise(() => {}); export default () => 1", "error"],
    ["an endless chain", "for (;;) await null; export default () => 1", CPU],
    [
      "a loop after randomness",
      "try { crypto.randomUUID() } catch {} for (;;); export default () => 1",
      CPU,
    ],
  ])("is stopped: %s", async (_, source, end) => {
    const bundle = await setup();
    for (let round = 0; round < 2; round += 1) {
      const done = await bundle.run(source, { limits: { cpu_ms: 60 } });
      expect(done.budget === undefined ? done.status : `${done.status}/${done.budget}`).toBe(end);
      expect(await bundle.run(HEALTHY)).toMatchObject({ status: "success", value: HEALTHY_RESULT });
    }
  });
});
