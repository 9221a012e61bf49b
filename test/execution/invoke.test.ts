import { describe, expect, test } from "bun:test";
import { PicError } from "../../src/domain/errors.ts";
import { LIMIT_DEFAULTS } from "../../src/domain/limits.ts";
import type { InvocationInput, InvocationResult } from "../../src/execution/api.ts";
import { STATUS } from "../../src/http/errors.ts";
import type { Job, Outcome } from "../../src/sandbox/api.ts";
import type { Seen } from "../../src/storage/port.ts";
import { input, outcome, request, settled } from "./fakes.ts";
import { runnable, setup } from "./invoker.ts";

async function refusalOf(promise: Promise<unknown>): Promise<PicError> {
  const error = await promise.then(
    () => new Error("it resolved"),
    (reason) => reason,
  );
  if (!(error instanceof PicError)) throw error;
  return error;
}

describe("ctx", () => {
  const ctxOf = async (over: Partial<InvocationInput>) => {
    const { invoker, world } = setup();
    await invoker.invoke(input(over));
    return (world.jobs[0] as Job).input;
  };

  test("has every member that scripts are promised, and no other", async () => {
    const text = await ctxOf({
      request_id: 'request "1"',
      request: request({
        method: "POST",
        host: "sub.example.com",
        path: "/greet/zoë",
        headers: { "content-type": "application/json", "x-y": 'quo"te' },
        query: { a: "2" },
        queries: { a: ["1", "2"] },
        params: { name: "zoë" },
        rest: "x/y",
        body_json: '{"n":[1,2,{"deep":null}]}',
      }),
    });
    expect(JSON.parse(text)).toEqual({
      executionId: "execution-1",
      requestId: 'request "1"',
      scriptId: "script-1",
      scriptName: "hello",
      scriptVersion: 3,
      appId: "app-1",
      sdkVersion: "1.0",
      invocation: "route",
      request: {
        method: "POST",
        host: "sub.example.com",
        path: "/greet/zoë",
        headers: { "content-type": "application/json", "x-y": 'quo"te' },
        query: { a: "2" },
        queries: { a: ["1", "2"] },
        params: { name: "zoë" },
        rest: "x/y",
        body: { n: [1, 2, { deep: null }] },
        bodyBase64: null,
      },
    });
  });

  test("passes the body's text through as it is", async () => {
    const body = '{ "big": 12345678901234567890, "a": 1, "a": 2 }';
    expect(await ctxOf({ request: request({ body_json: body }) })).toContain(`"body":${body}}`);
  });

  test("a binary body is bodyBase64, an absent one null", async () => {
    const binary = JSON.parse(await ctxOf({ request: request({ body_base64: "AAE=" }) }));
    expect(binary.request).toMatchObject({ body: null, bodyBase64: "AAE=" });
    expect(JSON.parse(await ctxOf({})).request).toMatchObject({ body: null, bodyBase64: null });
  });

  test("hostile names and values stay data", async () => {
    const headers = JSON.parse(
      '{"__proto__":"x","a\\"},\\"appId\\":\\"other":"\\u0000\\ud800\\u2028"}',
    );
    const ctx = JSON.parse(
      await ctxOf({ request_id: '","appId":"other', request: request({ headers }) }),
    );
    expect(ctx.appId).toBe("app-1");
    expect(ctx.requestId).toBe('","appId":"other');
    expect(Object.keys(ctx.request.headers)).toEqual(["__proto__", 'a"},"appId":"other']);
  });
});

describe("the job", () => {
  test("carries the script's own app, limits and a deadline from the moment the gate admits", async () => {
    const { invoker, world, time, gate } = setup({ running: 1 });
    gate.acquire("other", "request", null);
    const answer = invoker.invoke(input());
    time.advance(700);
    gate.leave("other", "request");
    await answer;
    const job = world.jobs[0] as Job;
    expect(job.deadline).toBe(700 + LIMIT_DEFAULTS.timeout_ms);
    expect(job.limits).toEqual(LIMIT_DEFAULTS);
    expect(job.cx).toEqual({
      app_id: "app-1",
      script_id: "script-1",
      execution_id: "execution-1",
      delivery: null,
      seen: { seq: 0 },
    });
    expect(world.records[0]).toMatchObject({ duration_ms: 0, started_at: 1_700_000_000_000 });
  });

  test("runs the version that is active when it is let in, not when it came", async () => {
    const { invoker, world, gate } = setup({ running: 1 });
    gate.acquire("other", "request", null);
    const answer = invoker.invoke(input());
    await settled();
    world.scripts.set("script-1", runnable({ version: 4, program_id: "script-1@4" }));
    gate.leave("other", "request");
    await answer;
    expect(world.jobs[0]?.program_id).toBe("script-1@4");
    expect(world.records[0]?.version).toBe(4);
  });

  test("a script deleted while its caller waited is not found, and the slot comes back", async () => {
    const { invoker, world, gate } = setup({ running: 1 });
    gate.acquire("other", "request", null);
    const answer = refusalOf(invoker.invoke(input()));
    await settled();
    world.scripts.delete("script-1");
    gate.leave("other", "request");
    expect((await answer).code).toBe("not_found");
    expect(gate.stats()).toMatchObject({ running: 0, waiting: 0 });
  });
});

describe("outcomes", () => {
  test("success is the script's answer", async () => {
    const { invoker, world } = setup();
    world.run = async () =>
      outcome({ status_code: 201, headers: { "x-a": "b" }, body_kind: "text", body: "made" });
    expect(await invoker.invoke(input())).toEqual({
      execution_id: "execution-1",
      status_code: 201,
      headers: { "x-a": "b" },
      body_kind: "text",
      body: "made",
    });
    expect(world.records[0]).toMatchObject({ status: "success", status_code: 201, error: null });
  });

  const secret = { name: "Error", message: "secret at /srv/x.ts", stack: "secret stack" };
  test.each([
    ["error", {}, "script_error", 502, false],
    [
      "error",
      { error: { ...secret, code: "module_unavailable" } },
      "module_unavailable",
      502,
      false,
    ],
    ["timeout", {}, "timeout", 504, false],
    ["budget_exceeded", { budget: "memory_mb" }, "budget_exceeded", 507, false],
    ["sandbox_lost", {}, "sandbox_lost", 503, true],
  ] as const)("%s is answered and recorded", async (status, over, code, statusCode, hasRetry) => {
    const { invoker, world, gate } = setup();
    world.run = async () => outcome({ status, error: secret, ...over });
    const error = await refusalOf(invoker.invoke(input()));
    expect(error.code).toBe(code);
    expect(error.details.extra).toEqual({ execution_id: "execution-1" });
    expect(error.details.retry_after_s !== undefined).toBe(hasRetry);
    expect(JSON.stringify([error.message, error.details])).not.toContain("secret");
    expect(world.records[0]).toMatchObject({ id: "execution-1", status, status_code: statusCode });
    expect(world.records[0]?.outcome?.error?.stack).toBe("secret stack");
    expect(gate.stats().running).toBe(0);
  });

  test.each([
    ["timeout", null, "timeout_ms is 10000"],
    ["budget_exceeded", "cpu_ms", "cpu_ms is 1000"],
    ["budget_exceeded", "memory_mb", "memory_mb is 32"],
    ["budget_exceeded", "response_kb", "response_kb is 4096"],
    ["budget_exceeded", "host_calls", "host_calls is 1000"],
  ] as const)(
    "the record of %s names the limit that was reached: %s",
    async (status, budget, why) => {
      const { invoker, world } = setup();
      world.run = async () => outcome({ status, budget });
      const error = await refusalOf(invoker.invoke(input()));
      expect(error.message).not.toContain(why);
      expect(world.records[0]?.error?.message).toEndWith(`: ${why}`);
    },
  );

  test.each([0, 99, 101, 199, 600, 1e9, 200.5, Number.NaN, -1])(
    "status code %p is the script's error",
    async (statusCode) => {
      const { invoker, world } = setup();
      world.run = async () => outcome({ status_code: statusCode });
      expect((await refusalOf(invoker.invoke(input()))).code).toBe("script_error");
      expect(world.records[0]).toMatchObject({ status: "error", status_code: 502 });
      expect(world.records[0]?.error?.message).toContain("status code");
    },
  );

  test.each([
    "script_error",
    "module_unavailable",
    "timeout",
    "budget_exceeded",
    "overloaded",
    "sandbox_lost",
    "unavailable",
    "internal",
  ] as const)("the record of %s has the status that its caller gets", async (code) => {
    const { invoker, world } = setup();
    world.run = () => Promise.reject(new PicError(code, "no"));
    expect((await refusalOf(invoker.invoke(input()))).code).toBe(code);
    expect(world.records[0]?.status_code).toBe(STATUS[code]);
  });

  test("a pool that is stopping is unavailable", async () => {
    const { invoker, world } = setup();
    world.run = () => Promise.reject(new PicError("unavailable", "The server is stopping"));
    expect((await refusalOf(invoker.invoke(input()))).code).toBe("unavailable");
    expect(world.records[0]).toMatchObject({ status: "sandbox_lost", status_code: 503 });
  });

  test("a program that does not load is module unavailable", async () => {
    const { invoker, world } = setup();
    world.run = () => Promise.reject(new PicError("module_unavailable", "A module is unavailable"));
    expect((await refusalOf(invoker.invoke(input()))).code).toBe("module_unavailable");
    expect(world.records[0]).toMatchObject({ status: "error", status_code: 502 });
  });

  test("a defect is logged in full, answered without a word of it, and recorded", async () => {
    const { invoker, world, gate } = setup();
    world.run = () => Promise.reject(new Error("secret defect"));
    const error = await refusalOf(invoker.invoke(input()));
    expect(error.code).toBe("internal");
    expect(error.message).not.toContain("secret");
    expect(world.errors).toHaveLength(1);
    expect(world.records[0]).toMatchObject({ status: "error", status_code: 500 });
    expect(gate.stats().running).toBe(0);
  });

  test("unknown scripts and modules are not found and run nothing", async () => {
    const { invoker, world } = setup();
    world.scripts.set("module-1", runnable({ kind: "module" }));
    for (const script_id of ["nothing", "module-1", "__proto__", ""]) {
      expect((await refusalOf(invoker.invoke(input({ script_id })))).code).toBe("not_found");
    }
    expect(world.jobs).toHaveLength(0);
    expect(world.records).toHaveLength(0);
  });
});

describe("a full gate", () => {
  test("is overloaded with Retry-After, and leaves a record", async () => {
    const { invoker, world, gate } = setup({ running: 1, waiting: 1 });
    gate.acquire("other", "request", null);
    const waiting = invoker.invoke(input());
    const error = await refusalOf(invoker.invoke(input()));
    expect(error.code).toBe("overloaded");
    expect(error.details.retry_after_s).toBeGreaterThan(0);
    expect(error.details.extra).toEqual({ execution_id: "execution-2" });
    expect(world.records).toHaveLength(1);
    expect(world.records[0]).toMatchObject({
      id: "execution-2",
      status: "overloaded",
      status_code: 503,
      outcome: null,
    });
    gate.leave("other", "request");
    await waiting;
  });

  test("a caller who leaves while waiting is never run", async () => {
    const { invoker, world, gate } = setup({ running: 1 });
    const caller = new AbortController();
    gate.acquire("other", "request", null);
    const answer = refusalOf(invoker.invoke(input({ signal: caller.signal })));
    await settled();
    caller.abort();
    gate.leave("other", "request");
    expect((await answer).code).toBe("overloaded");
    expect(world.jobs).toHaveLength(0);
    expect(world.records[0]).toMatchObject({ status: "overloaded", abandoned: true });
    expect(gate.stats().running).toBe(0);
  });

  test("one app's slow executions leave room for another app", async () => {
    const { invoker, world, gate } = setup({ running: 4 });
    world.scripts.set("script-2", runnable({ script_id: "script-2", app_id: "app-2" }));
    const finish: (() => void)[] = [];
    world.run = (job) =>
      job.cx.app_id === "app-2"
        ? Promise.resolve(outcome())
        : new Promise((resolve) => finish.push(() => resolve(outcome())));
    const slow = Array.from({ length: 10 }, () => invoker.invoke(input()));
    expect((await invoker.invoke(input({ script_id: "script-2" }))).status_code).toBe(200);
    expect(gate.stats()).toMatchObject({ running: 2, waiting: 8 });
    while (finish.length > 0) {
      finish.pop()?.();
      await settled();
    }
    await Promise.all(slow);
    expect(gate.stats()).toMatchObject({ running: 0, waiting: 0 });
  });
});

describe("durability", () => {
  /** An execution that commits `seq` and then ends as `ended` says. */
  const writing =
    (seq: number, ended: Partial<Outcome> = {}) =>
    async (job: Job) => {
      (job.cx.seen as Seen).seq = seq;
      return outcome(ended);
    };

  test.each(["success", "error", "timeout", "budget_exceeded", "sandbox_lost"] as const)(
    "nothing leaves before what an execution saw is on the disk: %s",
    async (status) => {
      const { invoker, world, sync } = setup();
      world.run = writing(7, { status });
      let left: unknown = null;
      const answer: Promise<InvocationResult | PicError> = invoker
        .invoke(input())
        .catch((error) => error);
      void answer.then((value) => {
        left = value;
      });
      await settled();
      expect(left).toBeNull();
      expect(world.records).toHaveLength(0);
      sync(6);
      await settled();
      expect(left).toBeNull();
      sync(7);
      await answer;
      expect(world.records[0]?.status).toBe(status);
    },
  );

  test("what is durable already is not waited for", async () => {
    const { invoker, world } = setup();
    world.durableSeq = 9;
    world.run = writing(9);
    await invoker.invoke(input());
    expect(world.waits).toHaveLength(0);
  });

  test("a script that was saved a moment ago counts as seen", async () => {
    const { invoker, world, sync } = setup();
    world.scripts.set("script-1", runnable({ seen_seq: 5 }));
    const answer = invoker.invoke(input());
    await settled();
    expect(world.waits.map(({ seq }) => seq)).toEqual([5]);
    sync(5);
    await answer;
  });

  test("a database that is lost meanwhile is unavailable, never the result", async () => {
    const { invoker, world, gate } = setup();
    world.run = writing(7);
    const answer = refusalOf(invoker.invoke(input()));
    await settled();
    world.waits[0]?.reject(new Error("secret disk"));
    const error = await answer;
    expect(error.code).toBe("unavailable");
    expect(error.message).not.toContain("secret");
    expect(error.details.retry_after_s).toBeGreaterThan(0);
    expect(world.records[0]).toMatchObject({ status: "error", status_code: 503 });
    expect(gate.stats().running).toBe(0);
  });
});

describe("records", () => {
  test("a caller who left while it ran: the execution ends, its record says abandoned", async () => {
    const { invoker, world } = setup();
    const caller = new AbortController();
    let finish = (): void => {};
    world.run = () =>
      new Promise((resolve) => {
        finish = () => resolve(outcome());
      });
    const answer = invoker.invoke(input({ signal: caller.signal }));
    await settled();
    caller.abort();
    finish();
    expect((await answer).status_code).toBe(200);
    expect(world.records[0]).toMatchObject({ status: "success", abandoned: true });
  });

  test("are handed over before the caller has its answer", async () => {
    const { invoker, world } = setup();
    const recordedAt = invoker.invoke(input()).then(() => world.records.length);
    expect(await recordedAt).toBe(1);
  });

  test("are not even made when the sample does not want them", async () => {
    const { invoker, world } = setup();
    world.keeps = false;
    await invoker.invoke(input());
    expect(world.records).toHaveLength(0);
  });
});

test("an invocation costs little on top of its sandbox", async () => {
  const { invoker, world } = setup();
  world.keeps = false;
  const done = outcome();
  world.run = () => {
    world.jobs.length = 0;
    return Promise.resolve(done);
  };
  const one = input({
    request: request({
      headers: {
        host: "pi:8080",
        "user-agent": "curl/8.5.0",
        accept: "*/*",
        "accept-encoding": "gzip, deflate, br",
        connection: "keep-alive",
        "x-request-id": "0123456789abcdef",
      },
      query: { page: "2" },
      queries: { page: ["2"] },
    }),
  });
  const rounds = 20_000;
  let best = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < 4; attempt += 1) {
    const from = performance.now();
    for (let i = 0; i < rounds; i += 1) await invoker.invoke(one);
    best = Math.min(best, ((performance.now() - from) * 1_000) / rounds);
  }
  // 5 is the aim; the bound has room for a busy machine
  expect(best).toBeLessThan(50);
}, 10_000);
