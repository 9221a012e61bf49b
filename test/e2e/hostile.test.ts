/**
 * Hostile scripts over HTTP: each is stopped by its deadline and 250 ms (and what a busy machine adds,
 * see slackMs), with the status that its deed has; its record says why; and a neighbour, asked without
 * pause before, during and after, never sees anything but 200.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { killGraceMs, type ScriptLimits } from "../../src/domain/limits.ts";
import { startServer, type TestServer } from "./server.ts";
import { deploy, problemOf, recordOf, refusal, until } from "./steps.ts";

/** A kill is reaped in 2 ms and the pool looks every 10; the rest is for a machine that is shared. */
const slackMs = 500;
const limits = { memory_mb: 16, cpu_ms: 200, timeout_ms: 500 } satisfies Partial<ScriptLimits>;
/** For what ends by itself, or by another limit, on however busy a machine. */
const patient = { ...limits, cpu_ms: 5_000, timeout_ms: 10_000 };
const neighbourEveryMs = 20;

let server: TestServer;
let neighbour: Neighbour;
let attacks = 0;

beforeAll(async () => {
  server = await startServer({ env: { PICLOUD_SANDBOXES: "2" } });
  await server.client.apps.create({ slug: "bad", name: "The attacker" });
  await deploy(server.client, {
    name: "neighbour",
    source: `import { kv } from "picloud";
      export default async () => ({ n: await kv.collection("visits").increment("n"), sum: [1, 2].map((x) => x + 1) });`,
    path: "/neighbour",
  });
  neighbour = startNeighbour();
  await neighbour.answered(3);
});

afterAll(async () => {
  neighbour.stop();
  await neighbour.ended;
  await server[Symbol.asyncDispose]();
});

interface Neighbour {
  /** Everything that was not a 200 with the right body. */
  readonly failures: string[];
  readonly slowestMs: number;
  /** Resolves when so many more answers have come. */
  answered(count: number): Promise<void>;
  stop(): void;
  ended: Promise<void>;
}

/** Asks at a steady rate, whether or not the last answer has come. */
function startNeighbour(): Neighbour {
  const failures: string[] = [];
  let answers = 0;
  let slowestMs = 0;
  let isStopped = false;
  const underWay = new Set<Promise<void>>();
  const ask = async (): Promise<void> => {
    const began = performance.now();
    try {
      const response = await fetch(`${server.url}/neighbour`);
      const text = await response.text();
      if (response.status !== 200 || !/^{"n":\d+,"sum":\[2,3\]}$/.test(text)) {
        failures.push(`${response.status} ${text}`);
      }
    } catch (error) {
      failures.push(String(error));
    }
    slowestMs = Math.max(slowestMs, performance.now() - began);
    answers += 1;
  };
  const ended = (async () => {
    while (!isStopped) {
      const one = ask().finally(() => underWay.delete(one));
      underWay.add(one);
      await Bun.sleep(neighbourEveryMs);
    }
    await Promise.all(underWay);
  })();
  return {
    failures,
    get slowestMs() {
      return slowestMs;
    },
    answered: async (count) => {
      const wanted = answers + count;
      await until("the neighbour is answered", 10_000, () => (answers >= wanted ? true : null));
    },
    stop: () => {
      isStopped = true;
    },
    ended,
  };
}

/** Deploys a script of the attacker's app and calls it once. */
async function attack(source: string, own: Partial<ScriptLimits> = {}) {
  attacks += 1;
  const path = `/attack-${attacks}`;
  await deploy(server.client, {
    app: "bad",
    name: `attack-${attacks}`,
    source,
    path,
    limits: { ...limits, ...own },
  });
  const began = performance.now();
  const response = await fetch(`${server.url}${path}`);
  const text = await response.text();
  const tookMs = performance.now() - began;
  const record = await recordOf(server.client, response);
  return { response, text, tookMs, record, url: `${server.url}${path}` };
}

const handler = (body: string): string =>
  `import { kv, log } from "picloud";\nvoid kv, log;\nexport default async function (ctx) {\n${body}\n}\n`;

/** Stopped from outside of it: by the clock, or by its CPU budget. */
const stopped = [504, 507];
/** Ended by itself, or by its memory. */
const failed = [502, 507];

/** What it does, its handler's body, and the statuses it may end with. */
const ATTACKS: [string, string, number[]][] = [
  ["an endless loop", "for (;;);", stopped],
  ["a loop in try and finally", "for (;;) { try { for (;;); } finally { continue; } }", stopped],
  ["a catastrophic regex", "return /^(a+)+$/.test('a'.repeat(40) + 'b');", stopped],
  ["indexOf over 2**53 holes", "return [].indexOf.call({ length: 2 ** 53 - 1 }, 1);", stopped],
  ["includes over 2**53 holes", "return [].includes.call({ length: 2 ** 53 - 1 }, 1);", stopped],
  ["reverse of 2**53 holes", "return [].reverse.call({ length: 2 ** 53 - 1 });", stopped],
  ["a join of 5e8 holes", "return new Array(5e8).join('').length;", stopped],
  ["a BigInt that squares itself", "let n = 3n; for (;;) n *= n;", [...stopped, 502]],
  ["a string that doubles", "let s = 'x'; for (;;) s += s;", failed],
  ["typed arrays", "const a = []; for (;;) a.push(new Uint8Array(1e6).fill(1));", failed],
  ["deep recursion", "const f = () => f() + 1; return f();", failed],
  ["a getter that recurses", "const o = { get a() { return this.a; } }; return o.a;", failed],
  [
    "a proxy that is its own prototype",
    "const p = new Proxy({}, { getPrototypeOf: () => p }); return p instanceof Array;",
    [...failed, 504],
  ],
  [
    "a chain of proxies",
    "let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); return p.x;",
    [...failed, 504, 204],
  ],
  ["nested JSON", "return JSON.parse('['.repeat(1e6));", failed],
  ["a nested answer", "let o = {}; for (let i = 0; i < 1e5; i++) o = { o }; return o;", failed],
  ["nested source", "return eval('('.repeat(1e5) + ')'.repeat(1e5));", failed],
  ["a promise that never settles", "return new Promise(() => {});", [502]],
  ["a timer past the deadline", "return new Promise((r) => setTimeout(r, 1e8));", [504]],
  ["an endless promise chain", "const f = () => Promise.resolve().then(f); return f();", stopped],
  [
    "endless microtasks",
    "const f = () => queueMicrotask(f); f(); await new Promise(() => {});",
    stopped,
  ],
  ["a log flood", "for (;;) console.log('x'.repeat(10000));", stopped],
  ["an oversized response", "return 'x'.repeat(4096 * 1024);", [507]],
  ["a toJSON that loops", "return { toJSON() { for (;;); } };", stopped],
  ["a then getter that loops", "return { get then() { for (;;); } };", stopped],
  ["a message getter that loops", "throw { get message() { for (;;); } };", stopped],
  [
    "a stack getter that loops",
    "throw Object.defineProperty(new Error('x'), 'stack', { get() { for (;;); } });",
    stopped,
  ],
  ["a flood of host calls", "for (;;) await kv.collection('c').get('k');", [507]],
  [
    "a flood of host calls that nobody awaits",
    "for (;;) kv.collection('c').increment('k').catch(() => {});",
    [507],
  ],
  ["the way to process", "return constructor.constructor('return process')().pid;", [502]],
  [
    "the way to require",
    "return (0, eval)('require')('node:fs').readFileSync('/etc/passwd');",
    [502],
  ],
  ["the way to a file", "return await (0, eval)('import(\\'/etc/passwd\\')');", [502]],
];

describe("is stopped in time with the right status, and harms nobody else:", () => {
  test.each(ATTACKS)("%s", async (_, body, statuses) => {
    const own = statuses.includes(504) ? limits : patient;
    const { response, text, tookMs, record } = await attack(handler(body), own);
    expect(statuses).toContain(response.status);
    expect(tookMs).toBeLessThan(own.timeout_ms + killGraceMs + slackMs);
    if (response.status === 204) return;
    expectSaysWhy(record, response.status);
    // The caller learns nothing of it but the code.
    const problem = JSON.parse(text) as { code: string; detail: string };
    expect(problem.detail).not.toMatch(/quickjs|child|kill|wasm|stack/i);
    await expectNeighbourWell();
  });
});

test("what breaks a limit first decides the status", async () => {
  const loop = handler("for (;;);");
  const byCpu = await attack(loop, { cpu_ms: 50, timeout_ms: 5_000 });
  expect([byCpu.response.status, byCpu.record.error?.message]).toEqual([
    507,
    "The script used up one of its budgets: cpu_ms is 50",
  ]);
  const byTime = await attack(loop, { cpu_ms: 5_000, timeout_ms: 100 });
  expect([byTime.response.status, byTime.record.error?.message]).toEqual([
    504,
    "The script did not finish in time: timeout_ms is 100",
  ]);
});

function expectSaysWhy(record: Awaited<ReturnType<typeof recordOf>>, status: number): void {
  const statuses = { 502: "error", 504: "timeout", 507: "budget_exceeded" } as const;
  expect(record.status).toBe(statuses[status as keyof typeof statuses]);
  expect(record.status_code).toBe(status);
  const why = record.error?.message ?? "";
  if (status === 504) expect(why).toContain("timeout_ms is ");
  if (status === 507) expect(why).toMatch(/: (?:cpu_ms|memory_mb|response_kb|host_calls) is \d+$/);
  expect(why).not.toBe("");
}

async function expectNeighbourWell(): Promise<void> {
  await neighbour.answered(2);
  expect(neighbour.failures).toEqual([]);
}

describe("saving", () => {
  test.each([
    ["nested arrays", `export default () => ${"[".repeat(50_000)}${"]".repeat(50_000)};`],
    ["nested blocks", `export default () => { ${"{".repeat(100_000)}${"}".repeat(100_000)} };`],
    ["nested types", `export default (a: ${"Array<".repeat(20_000)}0${">".repeat(20_000)}) => a;`],
    [
      "an enum whose members double",
      `enum E { a0 = "${"x".repeat(1_000)}", ${Array.from({ length: 30 }, (_, i) => `a${i + 1} = a${i} + a${i}`).join(", ")} }\nexport default () => E.a30;`,
    ],
    ["a megabyte of a regex", `export default () => /${"(a+)+".repeat(200_000)}$/.test("a");`],
  ])(
    "%s ends within its bounds, and neither callers nor other authors notice",
    async (_, source) => {
      attacks += 1;
      const name = `saved-${attacks}`;
      const saving = server.client.scripts.create({ app: "bad", name, source }).then(
        (saved) => server.client.scripts.delete(saved.id),
        async (error) => expect((await refusal(Promise.reject(error))).status).toBe(422),
      );
      const other = await server.client.scripts.create({
        name: `other-${attacks}`,
        source: "export default () => 1",
      });
      expect(other.active_version.number).toBe(1);
      await saving;
      await expectNeighbourWell();
    },
  );

  test("a top level that loops is stopped like a handler", async () => {
    const { response, tookMs, record } = await attack(
      "const n = (() => { for (;;); })();\nexport default () => n;",
    );
    expect(stopped).toContain(response.status);
    expect(tookMs).toBeLessThan(limits.timeout_ms + killGraceMs + slackMs);
    expectSaysWhy(record, response.status);
    await expectNeighbourWell();
  });
});

describe("what one execution does to its world", () => {
  const probe = `return { polluted: ({}).polluted ?? null, mapped: [1].map((x) => x + 1), json: JSON.stringify({ a: 1 }),
    settled: await Promise.resolve(3), kept: globalThis.kept ?? null, date: typeof Date, kv: await kv.collection("c").has("none") };`;
  const clean = {
    polluted: null,
    mapped: [2],
    json: '{"a":1}',
    settled: 3,
    kept: null,
    date: "function",
    kv: false,
  };
  const spoil = `
    globalThis.kept = "kept"; Object.prototype.polluted = 1;
    Array.prototype.map = () => "mine"; Array.prototype.push = () => { throw 1; };
    Promise.prototype.then = function () { return this; };
    JSON.stringify = () => "mine"; JSON.parse = () => "mine";
    Map.prototype.get = Map.prototype.set = () => { throw 1; };
    Object.defineProperty(Object.prototype, "toJSON", { get() { return () => "mine"; } });
    for (const name of Object.getOwnPropertyNames(globalThis)) {
      try { globalThis[name] = 1; } catch {}
      try { delete globalThis[name]; } catch {}
    }
    return 1;`;

  test("is gone for the next one, of the same script and of any other", async () => {
    const source = handler(`if (ctx.request.query.spoil) { ${spoil} }\n${probe}`);
    const { url, response, text } = await attack(source, patient);
    expect([response.status, JSON.parse(text)]).toEqual([200, clean]);
    for (let round = 0; round < 4; round += 1) {
      const spoiled = await fetch(`${url}?spoil=1`);
      // What it answers is its own affair; that it is answered is ours.
      expect([200, 502]).toContain(spoiled.status);
      expect(await (await fetch(url)).json()).toEqual(clean);
      expect(JSON.parse((await attack(handler(probe), patient)).text)).toEqual(clean);
    }
    await expectNeighbourWell();
  });

  test("leaves no byte for a later one to read", async () => {
    const secret = "S3CR3T-S3CR3T-S3CR3T";
    const generous = { cpu_ms: 5_000, timeout_ms: 20_000, memory_mb: 32 };
    const victim = await attack(
      handler(`const keep = []; for (let i = 0; i < 2000; i++) keep.push("${secret}" + i + ctx.request.query.x);
        new Uint8Array(4_000_000).fill(83); return keep.length;`),
      generous,
    );
    const thief = await attack(
      handler(`let found = 0;
        for (const size of [16, 1024, 65536, 1e6, 4e6]) {
          const bytes = new Uint8Array(size);
          for (let i = 0; i < size; i++) if (bytes[i] !== 0) found++;
          const grown = new ArrayBuffer(8, { maxByteLength: size }); grown.resize(size);
          for (const byte of new Uint8Array(grown)) if (byte !== 0) found++;
        }
        const holes = new Array(1e4); for (const hole of holes) if (hole !== undefined) found++;
        return found;`),
      generous,
    );
    expect(thief.text).toBe("0");
    for (let round = 0; round < 5; round += 1) {
      expect(await (await fetch(`${victim.url}?x=${round}`)).text()).toBe("2000");
      expect(await (await fetch(thief.url)).text()).toBe("0");
    }
  });

  test("cannot reach a later one by a late reply", async () => {
    const source = handler(`
      const c = kv.collection("late");
      if (ctx.request.query.set) { await c.set("secret", "SECRET"); await c.set("own", "mine"); return "set"; }
      if (ctx.request.query.leave) { for (let i = 0; i < 50; i++) c.get("secret").then(() => {}); for (;;); }
      const [own, ...all] = await Promise.all([c.get("own"), ...Array.from({ length: 20 }, () => c.get("own"))]);
      await new Promise((resolve) => setTimeout(resolve, 30));
      return [own, ...all].every((value) => value === "mine") ? "clean" : [own, ...all];`);
    const { url } = await attack(source, { cpu_ms: 100, timeout_ms: 10_000 });
    expect(await (await fetch(`${url}?set=1`)).text()).toBe('"set"');
    for (let round = 0; round < 5; round += 1) {
      const left = fetch(`${url}?leave=1`);
      const clean = await Promise.all([fetch(url), fetch(url)]);
      expect(await Promise.all(clean.map((response) => response.text()))).toEqual([
        '"clean"',
        '"clean"',
      ]);
      expect(stopped).toContain((await left).status);
      expect(await (await fetch(url)).text()).toBe('"clean"');
    }
    await expectNeighbourWell();
  });

  test("stays in its app: no name leads to another's data", async () => {
    const { text } = await attack(
      handler(`const found = [];
        for (const name of ["visits", "../default/visits", "default/visits", "default\\u0001visits"]) {
          found.push(await kv.collection(name).get("n").catch((error) => error.code));
        }
        return found;`),
      patient,
    );
    expect(JSON.parse(text)).toEqual([null, null, null, null]);
  });
});

describe("a crowd of attackers", () => {
  test("harms neither the neighbour nor the server", async () => {
    const { url } = await attack(handler("return [].indexOf.call({ length: 2 ** 53 - 1 }, 1);"));
    const statuses = await Promise.all(
      Array.from({ length: 12 }, async () => {
        const response = await fetch(url);
        await response.body?.cancel();
        return response.status;
      }),
    );
    for (const status of statuses) expect([503, 504, 507]).toContain(status);
    await expectNeighbourWell();
  });

  test("meets a server whose every child still answers", async () => {
    const answers = await Promise.all(
      Array.from({ length: 40 }, () => fetch(`${server.url}/neighbour`)),
    );
    expect(answers.map((response) => response.status)).toEqual(Array(40).fill(200));
    expect((await problemOf(await fetch(`${server.url}/nowhere`))).status).toBe(404);
    const worrying = server.log().filter(({ level }) => level === "error");
    expect(worrying).toEqual([]);
  });
});

test("through all of it the neighbour was answered, and never kept waiting for long", () => {
  expect(neighbour.failures).toEqual([]);
  // A neighbour that shares the child of a first offence waits for its end and for one restart.
  expect(neighbour.slowestMs).toBeLessThan(limits.timeout_ms + killGraceMs + 2 * slackMs);
});
