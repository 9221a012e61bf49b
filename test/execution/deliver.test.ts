import { describe, expect, test } from "bun:test";
import { PicError } from "../../src/domain/errors.ts";
import type { Delivery } from "../../src/domain/events.ts";
import { recordErrorBytesMax } from "../../src/domain/limits.ts";
import { ModuleUnavailable } from "../../src/domain/modules.ts";
import type { Job, Outcome } from "../../src/sandbox/api.ts";
import { deferred, delivery, input, outcome, request } from "./fakes.ts";
import { runnable, setup } from "./invoker.ts";

const guestError = { name: "Error", message: "boom", stack: "at handler" };

describe("ctx", () => {
  const ctxOf = async (of: Delivery): Promise<Record<string, unknown>> => {
    const { invoker, world } = setup();
    await invoker.deliver(of);
    return JSON.parse((world.jobs[0] as Job).input) as Record<string, unknown>;
  };

  test("of an event has what all have, and what its source adds", async () => {
    const payload =
      '{"collection":"c","key":"a\\u0000\\"b","value":{"n":1e400},"previous":"\\ud800"}';
    const ctx = await ctxOf(delivery({ attempt: 2, root_execution_id: 'x"y', payload }));
    expect(ctx).toEqual({
      executionId: "execution-1",
      requestId: "event-1",
      scriptId: "script-1",
      scriptName: "hello",
      scriptVersion: 3,
      appId: "app-1",
      sdkVersion: "1.0",
      invocation: "event",
      event: {
        id: "event-1",
        source: "kv",
        type: "update",
        at: "2023-11-14T22:13:20.123Z",
        depth: 2,
        rootExecutionId: 'x"y',
        attempt: 3,
        collection: "c",
        key: 'a\0"b',
        // JSON text is passed on, never printed again
        value: { n: Number.POSITIVE_INFINITY },
        previous: "\ud800",
      },
    });
  });

  test("of an event without members of its own is whole", async () => {
    const ctx = await ctxOf(delivery({ source: "cron", type: "fire", payload: "{ }" }));
    expect(Object.keys(ctx.event as object)).toEqual(
      "id source type at depth rootExecutionId attempt".split(" "),
    );
  });

  test("of a request that was put off is that of a request, under the id its caller has", async () => {
    const asked = request({
      method: "POST",
      headers: { "x-a": "ä" },
      params: JSON.parse('{"__proto__":"p"}') as Record<string, string>,
      body_json: '{"n": 1e400}',
    });
    const { invoker, world } = setup();
    await invoker.invoke(input({ request_id: "request-9", request: asked }));
    await invoker.deliver(deferred(asked));
    const [now, later] = world.jobs.map((job) => job.input);
    expect(later).toBe((now as string).replace("execution-1", "event-1"));
  });

  test("a payload that is no object is a defect, and ends as an attempt", async () => {
    for (const payload of ["", "[]", "null", '{"a":1', '"{}"']) {
      const { invoker, world, gate } = setup();
      const report = await invoker.deliver(delivery({ payload }));
      expect(report).toMatchObject({ status: "error", counts: true, error: { code: "internal" } });
      expect(report.error?.message).toBe("Internal error");
      expect([world.jobs.length, world.errors.length, gate.stats().running]).toEqual([0, 1, 0]);
    }
  });
});

describe("a delivery", () => {
  test("runs with what its host calls need to know of it, and says what they did", async () => {
    const { invoker, world, time } = setup();
    world.run = async ({ cx }) => {
      expect(cx).toMatchObject({ app_id: "app-1", script_id: "script-1" });
      expect(cx.delivery).toEqual({
        app_id: "app-1",
        due_at: 0,
        event_id: "event-1",
        trigger_id: "trigger-1",
        depth: 2,
        root_execution_id: "root-1",
        fence: 7,
        has_results: false,
      });
      if (cx.delivery !== null) cx.delivery.has_results = true;
      time.advance(12);
      return outcome();
    };
    expect(await invoker.deliver(delivery())).toEqual({
      execution_id: "execution-1",
      status: "success",
      counts: true,
      error: null,
      result: {
        execution_id: "execution-1",
        status_code: 200,
        headers: {},
        body_kind: "json",
        body: '{"hello":"world"}',
      },
      started_at: 1_700_000_000_000,
      duration_ms: 12,
      has_results: true,
    });
  });

  test("what a caller waits for is no delivery", async () => {
    const { invoker, world } = setup();
    await invoker.invoke(input());
    expect((world.jobs[0] as Job).cx.delivery).toBeNull();
  });

  test("is handled whatever status the handler answers with", async () => {
    const { invoker, world } = setup();
    world.run = async () => outcome({ status_code: 503 });
    const report = await invoker.deliver(delivery());
    expect(report).toMatchObject({ status: "success", error: null, result: { status_code: 503 } });
  });

  test("is reported at once: what it wrote is durable before its settlement is", async () => {
    const { invoker, world, gate } = setup();
    world.run = async ({ cx }) => {
      cx.seen.seq = 5;
      return outcome();
    };
    expect((await invoker.deliver(delivery())).status).toBe("success");
    expect([world.waits.length, world.records.length, gate.stats().running]).toEqual([0, 1, 0]);
  });

  test("takes a slot of the events, and gives it back whatever happens", async () => {
    for (const fail of [null, new Error("a defect"), new PicError("unavailable", "stopped")]) {
      const { invoker, world, gate } = setup({ running: 4 });
      const before = gate.free("event");
      world.run = async () => {
        expect(gate.free("event")).toBe(before - 1);
        if (fail !== null) throw fail;
        return outcome();
      };
      await invoker.deliver(delivery());
      expect(gate.free("event")).toBe(before);
    }
  });

  test("runs the version that is active once it has its slot", async () => {
    const { invoker, world, gate } = setup({ running: 1 });
    gate.acquire("app-2", "request", null);
    const report = invoker.deliver(delivery());
    world.scripts.set("script-1", runnable({ version: 4, program_id: "script-1@4" }));
    gate.leave("app-2", "request");
    await report;
    expect(world.jobs.map((job) => job.program_id)).toEqual(["script-1@4"]);
  });
});

describe("an attempt counts", () => {
  const reportOf = async (run: () => Promise<Outcome>, of = delivery()) => {
    const { invoker, world, gate } = setup();
    world.run = run;
    const report = await invoker.deliver(of);
    expect(gate.stats().running).toBe(0);
    return { report, world };
  };
  const ends = (over: Partial<Outcome>) => () => Promise.resolve(outcome(over));
  const fails = (error: unknown) => (): Promise<Outcome> => Promise.reject(error);

  test.each([
    ["the handler threw", ends({ status: "error", error: guestError }), "error", "script_error"],
    [
      "it threw what has a code",
      ends({ status: "error", error: { ...guestError, code: "kv_value_too_large" } }),
      "error",
      "kv_value_too_large",
    ],
    ["it took too long", ends({ status: "timeout", entered: false }), "timeout", "timeout"],
    [
      "it used up a budget",
      ends({ status: "budget_exceeded", budget: "cpu_ms" }),
      "budget_exceeded",
      "budget_exceeded",
    ],
    ["it answered nonsense", ends({ status_code: 99 }), "error", "script_error"],
    [
      "its sandbox was lost with it inside",
      ends({ status: "sandbox_lost", entered: true }),
      "sandbox_lost",
      "sandbox_lost",
    ],
    [
      "a module is missing",
      fails(new ModuleUnavailable('There is no module "m"')),
      "error",
      "module_unavailable",
    ],
    ["there is a defect", fails(new TypeError("secret internals")), "error", "internal"],
  ])("when %s", async (_, run, status, code) => {
    const { report, world } = await reportOf(run);
    expect(report).toMatchObject({ status, counts: true, result: null, error: { status, code } });
    expect(world.records[0]).toMatchObject({ id: report.execution_id, status });
    expect(JSON.stringify(report)).not.toContain("internals");
  });

  test.each([
    ["its sandbox was lost before it began", ends({ status: "sandbox_lost", entered: false })],
    ["the pool is stopping", fails(new PicError("unavailable", "the sandbox pool has stopped"))],
    [
      "the database was away when a module was read",
      fails(new ModuleUnavailable("module unavailable", new PicError("unavailable", "away"))),
    ],
  ])("not when %s", async (_, run) => {
    const { report, world } = await reportOf(run);
    expect(report).toMatchObject({ counts: false, result: null });
    expect(report.error).not.toBeNull();
    expect(world.records).toHaveLength(1);
  });

  test("not when there was no slot; that leaves no record", async () => {
    const { invoker, gate, world, time } = setup({ running: 1, waiting: 1 });
    gate.acquire("app-1", "request", null);
    const waits = invoker.deliver(delivery());
    const full = await invoker.deliver(delivery({ event_id: "event-2" }));
    time.advance(60_000);
    for (const report of [full, await waits]) {
      expect(report).toMatchObject({ status: "overloaded", counts: false, result: null });
      expect(report.error).toMatchObject({ status: "overloaded", code: "overloaded" });
    }
    expect([world.records.length, world.jobs.length]).toEqual([0, 0]);
  });

  test("when the script is gone or a module; not when nobody could look", async () => {
    const gone = setup();
    gone.world.isCached = false;
    gone.world.scripts.clear();
    expect(await gone.invoker.deliver(delivery())).toMatchObject({
      counts: true,
      status: "error",
      error: { code: "not_found" },
    });
    const module = setup();
    module.world.scripts.set("script-1", runnable({ kind: "module" }));
    expect(await module.invoker.deliver(delivery())).toMatchObject({
      counts: true,
      error: { code: "not_found" },
    });
    const away = setup();
    away.world.isCached = false;
    away.world.scripts.get = () => {
      throw new PicError("unavailable", "The database is unavailable");
    };
    expect(await away.invoker.deliver(delivery())).toMatchObject({
      counts: false,
      error: { code: "unavailable" },
    });
    for (const { gate, world } of [gone, module, away]) {
      expect([gate.stats().running, world.records.length]).toEqual([0, 0]);
    }
  });
});

describe("the error of a report", () => {
  const errorOf = async (message: string, of: Delivery) => {
    const { invoker, world } = setup();
    world.run = async () => outcome({ status: "error", error: { ...guestError, message } });
    return (await invoker.deliver(of)).error;
  };

  test("is as long as in a record at most", async () => {
    const error = await errorOf("é".repeat(recordErrorBytesMax), delivery());
    expect(Buffer.byteLength(error?.message ?? "")).toBe(recordErrorBytesMax);
  });

  test("has no credentials of the request", async () => {
    const asked = deferred({ headers: { authorization: "Bearer 0123456789abcdef" } });
    const error = await errorOf("refused: 0123456789abcdef", asked);
    expect(error?.message).toBe("refused: [redacted]");
  });

  test("names the limit that was broken", async () => {
    const { invoker, world } = setup();
    world.run = async () => outcome({ status: "budget_exceeded", budget: "memory_mb" });
    expect((await invoker.deliver(delivery())).error?.message).toContain("memory_mb is 32");
  });
});

describe("the record of a delivery", () => {
  const recordOf = async (of: Delivery, over: Partial<Outcome> = {}) => {
    const { invoker, world } = setup();
    world.run = async () => outcome(over);
    const { execution_id } = await invoker.deliver(of);
    const [record] = world.records;
    expect(record?.id).toBe(execution_id);
    return record;
  };

  test("has the event instead of a request", async () => {
    const record = await recordOf(delivery({ attempt: 1 }));
    expect(record).toMatchObject({
      invocation: "event",
      request_id: "event-1",
      request: null,
      abandoned: false,
      event: {
        id: "event-1",
        source: "kv",
        type: "update",
        attempt: 2,
        trigger_id: "trigger-1",
        depth: 2,
        payload: '{"collection":"c","key":"k","value":{"n":1},"previous":null}',
      },
    });
  });

  test("of a request that was put off has both, and the request's own id", async () => {
    const record = await recordOf(deferred({ path: "/later" }));
    expect(record).toMatchObject({
      id: "event-1",
      invocation: "route",
      request_id: "request-9",
      request: { path: "/later" },
      event: { source: "route", attempt: 1, trigger_id: "", payload: null },
    });
    expect(record?.request).not.toHaveProperty("request_id");
  });

  test("of a dead letter leaves its event to the letter", async () => {
    const payload =
      '{"deadLetter":{"id":"d","error":{"message":"a,\\"event\\":b"},"event":{"request":{"headers":{"cookie":"x"}}}}}';
    const record = await recordOf(delivery({ source: "dead_letter", type: "fire", payload }));
    expect(record?.event?.payload).toBe(
      '{"deadLetter":{"id":"d","error":{"message":"a,\\"event\\":b"}}}',
    );
  });

  test("has the id that the caller was given at the first attempt alone", async () => {
    for (const [more, id] of [
      [{}, "event-1"],
      [{ attempt: 1 }, "execution-1"],
      // a holder that vanished may have left a record
      [{ crashes: 1 }, "execution-1"],
    ] as const) {
      expect((await recordOf(deferred({}, more)))?.id).toBe(id);
    }
  });

  test("of a first attempt that did not begin leaves that id to the next", async () => {
    const lost = { status: "sandbox_lost", entered: false } as const;
    expect((await recordOf(deferred(), lost))?.id).toBe("execution-1");
    expect((await recordOf(deferred(), { ...lost, entered: true }))?.id).toBe("event-1");
  });
});
