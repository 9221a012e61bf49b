import { describe, expect, test } from "bun:test";
import { handler, makeProgram, setup } from "./child-setup.ts";

describe("a handler's result", () => {
  test.each([
    ["an object is JSON with 200", "return { a: [1, null] }", 200, "json", '{"a":[1,null]}'],
    ["null is JSON too", "return null", 200, "json", "null"],
    ["a string is a JSON string", "return 'a\\0\\ud800'", 200, "json", '"a\\u0000\\ud800"'],
    ["undefined is 204", "return", 204, "none", ""],
    [
      "a numeric statusCode chooses the status",
      "return { statusCode: 201, body: [1] }",
      201,
      "json",
      "[1]",
    ],
    [
      "a textual statusCode is data",
      "return { statusCode: '201' }",
      200,
      "json",
      '{"statusCode":"201"}',
    ],
    ["no body is none", "return { statusCode: 404 }", 404, "none", ""],
    ["a null body is JSON", "return { statusCode: 200, body: null }", 200, "json", "null"],
    [
      "a string with a content type is itself",
      "return { statusCode: 200, headers: { 'Content-Type': 'text/html' }, body: '<ä\\0\"' }",
      200,
      "text",
      '<ä\0"',
    ],
    ["a string without one is JSON", "return { statusCode: 200, body: 'x' }", 200, "json", '"x"'],
    ["base64 is bytes", "return { statusCode: 200, bodyBase64: 'AAH/' }", 200, "base64", "AAH/"],
    ["a promise is waited for", "return Promise.resolve({ a: 1 })", 200, "json", '{"a":1}'],
    ["toJSON is heard", "return { toJSON: () => [1] }", 200, "json", "[1]"],
  ])("%s", async (_, body, status_code, body_kind, text) => {
    const { run } = await setup();
    const done = await run(handler(body));
    expect(done).toMatchObject({
      status: "success",
      status_code,
      body_kind,
      body: text,
      error: null,
    });
  });

  test.each([
    ["statusCode", "return { statusCode: 99 }"],
    ["statusCode", "return { statusCode: 600 }"],
    ["statusCode", "return { statusCode: 200.5 }"],
    ["statusCode", "return { statusCode: NaN }"],
    ["BigInt", "return 5n"],
    ["circular", "const a = {}; a.a = a; return a"],
    ["function", "return () => 1"],
    ["symbol", "return Symbol()"],
    ["header", "return { statusCode: 200, headers: { a: 'b\\r\\nc: d' } }"],
    ["header", "return { statusCode: 200, headers: { a: 'b\\0' } }"],
    ["header", "return { statusCode: 200, headers: { a: '\\u0100' } }"],
    ["header", "return { statusCode: 200, headers: { 'a b': 'c' } }"],
    ["header", "return { statusCode: 200, headers: { a: ['b', 'c'] } }"],
    ["headers", "return { statusCode: 200, headers: 5 }"],
    ["base64", "return { statusCode: 200, bodyBase64: 'a-_!' }"],
    ["bodyBase64", "return { statusCode: 200, bodyBase64: 5 }"],
    [
      "headers",
      "const h = {}; for (let i = 0; i < 200; i++) h['a' + i] = 'b'; return { statusCode: 200, headers: h }",
    ],
  ])("is refused with a word about the %s", async (word, body) => {
    const { run } = await setup();
    const done = await run(handler(body));
    expect(done).toMatchObject({ status: "error", status_code: 0 });
    expect(done.error?.message).toContain(word);
  });

  test("headers are lower-case and their values text", async () => {
    const { run } = await setup();
    const { headers } = await run(
      handler(
        "return { statusCode: 200, headers: { 'X-A': 5, __proto__: null, b: 'c', d: undefined } }",
      ),
    );
    expect(headers).toEqual({ "x-a": "5", b: "c" });
  });

  test("is whole although the script broke every global", async () => {
    const { run } = await setup();
    const source = handler(`
      Object.prototype.toJSON = () => "polluted";
      Object.defineProperty(Object.prototype, "status", { get: () => 500 });
      Array.prototype.push = String.prototype.slice = Promise.prototype.then = () => { throw 1 };
      RegExp.prototype.exec = () => null; Map.prototype.get = Map.prototype.set = () => 5;
      for (const name of Object.getOwnPropertyNames(globalThis)) { try { delete globalThis[name] } catch {} }
      return { __proto__: null, statusCode: 201, headers: { a: "b" }, body: [1] };`);
    for (let round = 0; round < 2; round += 1) {
      const done = await run(source);
      expect(done).toMatchObject({ status: "success", status_code: 201, headers: { a: "b" } });
    }
  });
});

describe("an error", () => {
  test("carries name, message and the author's frames with line and column", async () => {
    const { run } = await setup();
    const main = 'import { boom } from "lib";\nexport default function start() {\n  boom();\n}';
    const lib = 'export function boom() {\n  throw new RangeError("no");\n}';
    const { error } = await run(main, { modules: { lib } });
    expect(error).toMatchObject({ name: "RangeError", message: "no" });
    expect(error?.stack).toBe("    at boom (lib:2:23)\n    at start (main:3:7)");
  });

  test.each([
    ["throw 5", "5"],
    ["throw null", "null"],
    ["throw undefined", "undefined"],
    ["throw 'text'", "text"],
    ["throw { a: 1 }", '{"a":1}'],
    ["throw Symbol('s')", "Symbol(s)"],
    ["throw { message: 'm', name: 5 }", "m"],
    ["return Promise.reject(7)", "7"],
  ])("may be anything: %s", async (body, message) => {
    const { run } = await setup();
    const done = await run(handler(body));
    expect(done).toMatchObject({ status: "error", error: { name: "Error", message } });
  });

  test("is bounded", async () => {
    const { run } = await setup();
    const { error } = await run(
      handler(
        "const e = new Error('m'.repeat(1e6)); e.stack = 's'.repeat(1e6); e.name = 'n'.repeat(1e6); throw e",
      ),
    );
    expect(error?.message.length).toBeLessThanOrEqual(4_096);
    expect(error?.stack.length).toBeLessThanOrEqual(8_192);
    expect(error?.name.length).toBeLessThanOrEqual(64);
  });

  test("in the source names the place", async () => {
    const { run } = await setup();
    const { status, error } = await run("export default () => {\n  let = ;\n}");
    expect(status).toBe("error");
    expect(error?.name).toBe("SyntaxError");
    expect(error?.stack).toContain("main:2:");
  });

  test("that nobody catches in a promise or a timer ends nothing", async () => {
    const { run } = await setup();
    const done = await run(
      handler(
        "Promise.reject(1); setTimeout(() => { throw new Error('x') }, 1); await new Promise((r) => setTimeout(r, 10)); return 1",
      ),
    );
    expect(done).toMatchObject({ status: "success", body: "1" });
    expect(done.logs[0]?.message).toContain("x");
  });
});

describe("modules", () => {
  test("are evaluated once, statically and dynamically imported alike", async () => {
    const { run } = await setup();
    const counter = "globalThis.count = (globalThis.count ?? 0) + 1; export const n = 5;";
    const done = await run(
      'import { n } from "lib"; import { m } from "other"; export default async () => [n, m, (await import("late")).n, (await import("lib")).n, globalThis.count]',
      {
        modules: {
          lib: counter,
          late: counter,
          other: 'import { n } from "lib"; export const m = n + 1;',
        },
      },
    );
    expect(done.value).toEqual([5, 6, 5, 5, 2]);
  });

  test("that do not exist are named", async () => {
    const { run } = await setup();
    const still = await run('import "nope"; export default () => 1');
    expect(still.error?.message).toBe('Module "nope" not found');
    const late = await run('export default async () => (await import("nope")).x');
    expect(late.error?.message).toBe('Module "nope" not found');
    const caught = await run('export default () => import("nope").catch((e) => e.message)');
    expect(caught.value).toBe('Module "nope" not found');
    const inherited = await run('import "toString"; export default () => 1');
    expect(inherited.error?.message).toBe('Module "toString" not found');
  });

  test("may be called like the SDK's parts, and an entry like the SDK", async () => {
    const { run } = await setup();
    const done = await run('import { log } from "log"; export default () => log', {
      modules: { log: "export const log = 1" },
    });
    expect(done.value).toBe(1);
  });

  test("may have an entry that is called like the SDK", async () => {
    const { executions, run } = await setup();
    const source = 'import { log } from "picloud"; export default () => typeof log.info';
    const { id } = makeProgram(source);
    executions.addProgram(
      { id, app_id: "app", entry: "picloud", modules: { picloud: source } },
      10,
    );
    expect((await run(source)).value).toBe("function");
  });

  test("need a function as the entry's default export", async () => {
    const { run } = await setup();
    for (const source of ["export const a = 1", "export default 5", ""]) {
      const { status, error } = await run(source);
      expect(status).toBe("error");
      expect(error?.message).toBe("The script's default export must be a function");
    }
  });
});

describe("the top level", () => {
  test("is evaluated once for an image, and its state is fresh in every execution", async () => {
    const { run } = await setup();
    const source = "let n = 0; const at = Date.now(); export default () => [++n, at]";
    const first = await run(source);
    await Bun.sleep(2);
    const second = await run(source);
    expect(first.value).toEqual(second.value);
    expect((first.value as number[])[0]).toBe(1);
  });

  test.each([
    ["Math.random()", "const x = Math.random();"],
    ["randomUUID", "const x = crypto.randomUUID();"],
    ["getRandomValues", "const x = [...crypto.getRandomValues(new Uint8Array(8))].join();"],
    ["randomness behind a catch", "let x; try { x = crypto.randomUUID() } catch { x = 'frozen' }"],
  ])("that needs %s is evaluated anew each time", async (_, top) => {
    const { run } = await setup();
    const source = `${top} export default () => x`;
    const values = [await run(source), await run(source), await run(source)].map(
      (done) => done.body,
    );
    expect(new Set(values).size).toBe(3);
    expect(values.join()).not.toContain("frozen");
  });

  test("may call the host and wait, when it is evaluated anew", async () => {
    const { run, entries } = await setup();
    const source = `import { kv, log } from "picloud";
      log.info("loading");
      const n = await kv.collection("c").get("k");
      await new Promise((resolve) => setTimeout(resolve, 1));
      export default () => n.key`;
    for (let round = 0; round < 2; round += 1) {
      const done = await run(source);
      expect(done).toMatchObject({ status: "success", body: '"k"', host_calls: 1 });
      expect(done.logs.map((line) => line.message)).toEqual(["loading"]);
    }
    expect(entries()).toBeGreaterThan(6);
  });

  test("fails the same way each time", async () => {
    const { run } = await setup();
    for (let round = 0; round < 2; round += 1) {
      const done = await run("throw new Error('top'); export default () => 1");
      expect(done).toMatchObject({ status: "error", error: { message: "top" } });
    }
  });

  test("that meets a limit may pass with a larger one", async () => {
    const { run } = await setup();
    const source =
      "const a = []; for (let i = 0; i < 4; i++) a.push(new Uint8Array(1 << 20)); export default () => a.length";
    expect(await run(source, { limits: { memory_mb: 2 } })).toMatchObject({ budget: "memory_mb" });
    expect(await run(source, { limits: { memory_mb: 16 } })).toMatchObject({ value: 4 });
  });
});

describe("host calls", () => {
  test("that were not awaited finish before the result leaves, timers do not", async () => {
    const { run, calls, reply } = await setup({ answer: null });
    let done = false;
    const source = `import { kv } from "picloud"; export default () => {
      kv.collection("c").set("a", 1).then(() => kv.collection("c").set("b", 2));
      setTimeout(() => kv.collection("c").set("never", 1), 60_000);
      return "result" }`;
    const running = run(source).then((outcome) => {
      done = true;
      return outcome;
    });
    expect(calls.map((call) => call.args.key)).toEqual(["a"]);
    reply(calls[0] as never, null);
    expect(calls.map((call) => call.args.key)).toEqual(["a", "b"]);
    await Bun.sleep(1);
    expect(done).toBe(false);
    reply(calls[1] as never, null);
    expect(await running).toMatchObject({ status: "success", body: '"result"', host_calls: 2 });
  });

  test("fail with the binding's name, message and code", async () => {
    const { run } = await setup({
      answer: () =>
        Object.assign(new Error("too long"), { name: "PicError", code: "kv_invalid_key" }),
    });
    const source = handler(`const { kv } = await import("picloud");
      try { await kv.collection("c").get("k") } catch (e) { return [e instanceof Error, e.name, e.message, e.code] }`);
    expect((await run(source)).value).toEqual([true, "PicError", "too long", "kv_invalid_key"]);
    const thrown = await run(
      handler('const { kv } = await import("picloud"); await kv.collection("c").get("k")'),
    );
    expect(thrown.error).toMatchObject({ message: "too long", code: "kv_invalid_key" });
  });

  test("that come too late, twice, or for nobody are dropped", async () => {
    const { run, calls, reply, executions } = await setup({ answer: null });
    const source = handler(
      'const { kv } = await import("picloud"); return await kv.collection("c").get("k")',
    );
    const first = run(source);
    const [call] = calls;
    reply(call as never, 1);
    reply(call as never, 2);
    expect((await first).value).toBe(1);
    const second = run(source);
    reply(call as never, 3);
    executions.reply(999_999, { call: 1, ok: true, json: "4" });
    executions.reply(calls[1]?.execution ?? 0, { call: 77, ok: true, json: "5" });
    reply(calls[1] as never, 6);
    expect((await second).value).toBe(6);
  });

  test("whose answers come to a cancelled execution are dropped", async () => {
    const { run, calls, reply, executions } = await setup({ answer: null });
    const running = run(
      handler('const { kv } = await import("picloud"); return await kv.collection("c").get("k")'),
    );
    executions.cancel(calls[0]?.execution ?? 0);
    expect(await running).toMatchObject({ status: "timeout" });
    reply(calls[0] as never, 1);
    expect(executions.running).toBe(0);
  });

  test("above the budget end the execution", async () => {
    const { run } = await setup();
    const source = handler(`const { kv } = await import("picloud"); let n = 0;
      for (let i = 0; i < 6; i++) { try { await kv.collection("c").get("k"); n++ } catch {} } return n`);
    expect(await run(source, { limits: { host_calls: 6 } })).toMatchObject({
      value: 6,
      host_calls: 6,
    });
    expect(await run(source, { limits: { host_calls: 5 } })).toMatchObject({
      status: "budget_exceeded",
      budget: "host_calls",
      host_calls: 5,
    });
    expect(await run(source, { limits: { host_calls: 0 } })).toMatchObject({
      budget: "host_calls",
    });
  });

  test("with too large arguments are refused", async () => {
    const { run } = await setup();
    const source = handler(`const { kv } = await import("picloud");
      return kv.collection("c").set("k", "x".repeat(3 << 20)).catch((e) => e.message)`);
    expect((await run(source)).value).toContain("too large");
  });
});

describe("limits", () => {
  test("cpu_ms counts all entries of an execution together", async () => {
    const { run } = await setup();
    const source = handler(`for (;;) {
      const end = Date.now() + 15; while (Date.now() < end);
      await new Promise((resolve) => setTimeout(resolve, 1)) }`);
    const done = await run(source, { limits: { cpu_ms: 60, timeout_ms: 5_000 } });
    expect(done).toMatchObject({ status: "budget_exceeded", budget: "cpu_ms" });
    expect(done.cpu_ms).toBeGreaterThan(55);
  });

  test("timeout_ms ends an execution that waits, and one that runs", async () => {
    const { run } = await setup({ answer: null });
    const waits = handler(
      'const { kv } = await import("picloud"); await kv.collection("c").get("k")',
    );
    expect(await run(waits, { timeout_ms: 20 })).toMatchObject({ status: "timeout" });
    expect(await run(handler("for (;;);"), { timeout_ms: 20 })).toMatchObject({
      status: "timeout",
    });
  });

  test("a wait for nothing fails at once", async () => {
    const { run } = await setup();
    const started = performance.now();
    const done = await run(handler("await new Promise(() => {})"));
    expect(done.error?.message).toBe("The handler waits for something that can never happen");
    expect(performance.now() - started).toBeLessThan(2_000);
  });

  test("log_kb drops and counts", async () => {
    const { run } = await setup();
    const source = handler("for (let i = 0; i < 100; i++) console.log('x'.repeat(100))");
    const done = await run(source, { limits: { log_kb: 1 } });
    expect(done.logs.length + done.logs_dropped).toBe(100);
    expect(done.logs.length).toBeGreaterThan(5);
    expect(JSON.stringify(done.logs).length).toBeLessThan(2_048);
    expect((await run(source, { limits: { log_kb: 0 } })).logs_dropped).toBe(100);
  });

  test("response_kb counts the body's bytes", async () => {
    const { run } = await setup();
    const body = (chars: number) =>
      handler(
        `return { statusCode: 200, headers: { "content-type": "text/plain" }, body: "ä".repeat(${chars}) }`,
      );
    expect((await run(body(512), { limits: { response_kb: 1 } })).status).toBe("success");
    expect(await run(body(513), { limits: { response_kb: 1 } })).toMatchObject({
      budget: "response_kb",
    });
  });

  test("memory_mb holds below what a sandbox has at first, and up to the ceiling", async () => {
    const { run } = await setup();
    const fill = (megabytes: number) =>
      handler(
        `const a = []; for (let i = 0; i < ${megabytes}; i++) a.push(new Uint8Array(1 << 20)); return a.length`,
      );
    expect(await run(fill(1), { limits: { memory_mb: 3 } })).toMatchObject({ value: 1 });
    expect(await run(fill(4), { limits: { memory_mb: 3 } })).toMatchObject({ budget: "memory_mb" });
    expect(await run(fill(60), { limits: { memory_mb: 64, cpu_ms: 20_000 } })).toMatchObject({
      value: 60,
    });
    expect(await run(fill(64), { limits: { memory_mb: 64, cpu_ms: 20_000 } })).toMatchObject({
      budget: "memory_mb",
    });
    expect(await run(fill(25), { limits: { cpu_ms: 20_000 } })).toMatchObject({ value: 25 });
  });
});

describe("many executions at once", () => {
  test("1,000 interleaved ones each get their own answers, in random order", async () => {
    const { run, calls, reply } = await setup({ answer: null });
    const source = `import { kv } from "picloud";
      const kept = [];
      export default async (ctx) => {
        const items = await Promise.all([0, 1].map((n) => kv.collection("c").get(ctx.id + "/" + n)));
        kept.push(...items);
        kept.push(await kv.collection("c").get(ctx.id + "/last"));
        return kept.join() }`;
    const running = Array.from({ length: 1_000 }, (_, id) => run(source, { ctx: { id } }));
    // As many as may wait at the same time do, before the first is answered.
    for (let before = -1; before < calls.length; await Bun.sleep(20)) before = calls.length;
    const answered = { all: false };
    const all = Promise.all(running).finally(() => {
      answered.all = true;
    });
    while (!answered.all) {
      const [call] = calls.splice(Math.floor(Math.random() * calls.length), 1);
      if (call === undefined) await Bun.sleep(0);
      else reply(call, call.args.key);
    }
    const values = (await all).map((done) => done.value);
    expect(values).toEqual(Array.from({ length: 1_000 }, (_, id) => `${id}/0,${id}/1,${id}/last`));
  });

  test("500 programs answer out of one child", async () => {
    const { run } = await setup({ image_cache_mb: 512 });
    for (let round = 0; round < 2; round += 1) {
      for (let index = 0; index < 500; index += 1) {
        const done = await run(handler(`return ${index} + ctx.add`), { ctx: { add: 1 } });
        expect(done.value).toBe(index + 1);
      }
    }
  });

  const shares = [1, 0.25];
  test.each(shares)("large suspended ones are bounded, and all end: memory x %p", async (share) => {
    const { run, calls, reply } = await setup({ answer: null, memory_share: share });
    const source = `import { kv } from "picloud"; export default async (ctx) => {
      const keep = new Uint8Array(12 << 20).fill(ctx.id); await kv.collection("c").get(String(ctx.id));
      return [0, 1e6, 5e6, 12e6].every((at) => keep[at] === ctx.id) && ctx.id }`;
    const limits = { cpu_ms: 20_000, timeout_ms: 20_000 };
    const running = Array.from({ length: 12 }, (_, id) =>
      run(source, { ctx: { id: id + 1 }, limits }),
    );
    const answered = new Set<number>();
    while (answered.size < 12) {
      for (const call of calls.splice(0)) {
        answered.add(call.execution);
        reply(call, null);
      }
      await Bun.sleep(1);
    }
    const values = (await Promise.all(running)).map((done) => done.value);
    expect(values).toEqual(Array.from({ length: 12 }, (_, id) => id + 1));
  });
});

describe("programs", () => {
  test("that are not here are asked for, and the run waits", async () => {
    const { run, executions, needs } = await setup();
    const source = handler("return 1");
    const program = makeProgram(source);
    expect((await run(source)).value).toBe(1);
    executions.programs.forget(program.id);
    const header = { program: program.id, timeout_ms: 1_000 };
    const { promise, resolve } = Promise.withResolvers<string>();
    const done = executions.running;
    expect(done).toBe(0);
    executions.run(
      1_000_001,
      { ...header, limits: (await import("../../src/domain/limits.ts")).LIMIT_DEFAULTS },
      "{}",
    );
    expect(needs).toEqual([program.id]);
    expect(executions.running).toBe(1);
    setImmediate(() => resolve("added"));
    await promise;
    executions.addProgram(program, 10);
    expect(executions.running).toBe(0);
  });

  test("keep their images within the cache, and work without", async () => {
    const { run, executions } = await setup({ image_cache_mb: 1 });
    for (let index = 0; index < 20; index += 1) await run(handler(`return ${index}`));
    expect(executions.programs.imageBytes).toBeLessThanOrEqual(1024 * 1024);
    expect(executions.programs.count).toBe(20);
    expect((await run(handler("return 0"))).value).toBe(0);
  });
});
