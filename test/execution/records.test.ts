import { describe, expect, test } from "bun:test";
import { type Logger, silentLogger } from "../../src/base/log.ts";
import { PicError } from "../../src/domain/errors.ts";
import type { ExecutionStatus } from "../../src/domain/executions.ts";
import {
  recordBriefChars,
  recordBufferBytesMax,
  recordBufferMax,
  recordFailureBytesMax,
  recordFlushCount,
  recordFlushMs,
  recordRetryMsMax,
  recordSuccessesPerSecondMax,
  recordTriesMax,
} from "../../src/domain/limits.ts";
import { encodeCursor } from "../../src/domain/pages.ts";
import type { ErrorMapper, FinishedExecution } from "../../src/execution/recording.ts";
import { ExecutionRecords } from "../../src/execution/records.ts";
import type { Database } from "../../src/storage/port.ts";
import { FakeTime, finished, outcome, request, settled, until } from "./fakes.ts";
import { openFolder } from "./folder.ts";

const asIs: ErrorMapper = async (error) => error;

/** The real database behind a switch: transactions fail while `isDown`, or wait while `isStuck`. */
async function setup(options: { mapError?: ErrorMapper } = {}) {
  const folder = await openFolder();
  const time = new FakeTime();
  const sink = {
    isDown: false,
    refuses: (_sql: string): boolean => false,
    stuck: null as Promise<void> | null,
    transactions: 0,
  };
  const logs: Database = {
    isShared: folder.logs.isShared,
    outbox: folder.logs.outbox,
    get: (statement, seen) => folder.logs.get(statement, seen),
    all: (statement, seen) => folder.logs.all(statement, seen),
    scan: (statement, seen) => folder.logs.scan(statement, seen),
    tx: async (fn, txOptions) => {
      sink.transactions += 1;
      if (sink.stuck !== null) await sink.stuck;
      if (sink.isDown) throw new PicError("unavailable", "The disk is gone");
      return folder.logs.tx(async (tx) => {
        return fn({
          ...tx,
          get: (statement) => tx.get(statement),
          all: (statement) => tx.all(statement),
          afterCommit: (after) => tx.afterCommit(after),
          run: (statement) => {
            if (sink.refuses(String(statement.values[0]))) throw new Error("refused");
            return tx.run(statement);
          },
        });
      }, txOptions);
    },
    autocommit: (seen) => folder.logs.autocommit(seen),
    durable: (seen) => folder.logs.durable(seen),
    isDurable: (seen) => folder.logs.isDurable(seen),
    notify: (tx, channel, payload) => folder.logs.notify(tx, channel, payload),
    listen: (channel, fn) => folder.logs.listen(channel, fn),
    schemaVersion: () => folder.logs.schemaVersion(),
    sizeBytes: () => folder.logs.sizeBytes(),
    reclaim: () => folder.logs.reclaim(),
    close: () => folder.logs.close(),
  };
  const lines: string[] = [];
  const log: Logger = {
    ...silentLogger,
    info: (message) => void lines.push(`info ${message}`),
    warn: (message) => void lines.push(`warn ${message}`),
    error: (message) => void lines.push(`error ${message}`),
  };
  const records = new ExecutionRecords({
    logs,
    clock: time,
    log,
    mapError: options.mapError ?? asIs,
    startTimer: time.startTimer,
  });
  return {
    records,
    time,
    sink,
    lines,
    logs,
    [Symbol.asyncDispose]: async () => {
      sink.stuck = null;
      await records.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

const failure = (over = {}) =>
  finished({ status: "error", outcome: outcome({ status: "error" }), ...over });
const page = (limit = 200, cursor: string | null = null) => ({ limit, cursor });

describe("writing", () => {
  test("nothing to write: no timer, no transaction", async () => {
    await using bundle = await setup();
    expect(bundle.time.timers).toBe(0);
    bundle.records.add(finished());
    bundle.time.advance(recordFlushMs);
    await until(() => bundle.records.stats().written === 1);
    await settled();
    expect(bundle.time.timers).toBe(0);
    expect(bundle.sink.transactions).toBe(1);
  });

  test("what came within a second is one transaction", async () => {
    await using bundle = await setup();
    for (let i = 0; i < 50; i += 1) bundle.records.add(finished());
    expect(bundle.time.timers).toBe(1);
    bundle.time.advance(recordFlushMs - 1);
    await settled();
    expect(bundle.sink.transactions).toBe(0);
    bundle.time.advance(1);
    await until(() => bundle.records.stats().written === 50);
    expect(bundle.sink.transactions).toBe(1);
  });

  test("200 records do not wait for the second", async () => {
    await using bundle = await setup();
    for (let i = 0; i < recordFlushCount; i += 1) bundle.records.add(finished());
    await until(() => bundle.records.stats().written === recordFlushCount);
    expect(bundle.sink.transactions).toBe(1);
  });

  test("nothing heavy happens while a record is handed over", async () => {
    let mapped = 0;
    await using bundle = await setup({
      mapError: async (error) => {
        mapped += 1;
        return error;
      },
    });
    const error = { name: "Error", message: "m", stack: "s" };
    for (let i = 0; i < recordFlushCount; i += 1) {
      bundle.records.add(failure({ outcome: outcome({ status: "error", error }) }));
    }
    await Promise.resolve();
    expect(mapped).toBe(0);
    await bundle.records.flush();
    expect(mapped).toBe(recordFlushCount);
  });

  test("a stop writes what is buffered, takes nothing more, and may be called twice", async () => {
    await using bundle = await setup();
    const kept = finished();
    bundle.records.add(kept);
    await bundle.records.stop();
    await bundle.records.stop();
    bundle.records.add(finished());
    expect(bundle.records.stats()).toMatchObject({ written: 1, buffered: 0 });
    expect((await bundle.records.get(kept.id))?.id).toBe(kept.id);
    expect(bundle.time.timers).toBe(0);
  });

  test("a stop gives up on a stuck sink after its bound", async () => {
    await using bundle = await setup();
    let release = (): void => {};
    bundle.sink.stuck = new Promise((resolve) => {
      release = resolve;
    });
    bundle.records.add(finished());
    const stopped = bundle.records.stop();
    await settled();
    bundle.time.advance(60_000);
    await stopped;
    expect(bundle.lines).toContain("warn execution records were not written");
    release();
  });
});

describe("sampling", () => {
  const keep = (records: ExecutionRecords, status: ExecutionStatus, times: number, now: number) => {
    let kept = 0;
    for (let i = 0; i < times; i += 1) if (records.admits("script-1", status, now)) kept += 1;
    return kept;
  };

  test("of one script's successes 20 a second are kept, all are counted", async () => {
    await using bundle = await setup();
    expect(keep(bundle.records, "success", 500, 0)).toBe(recordSuccessesPerSecondMax);
    expect(keep(bundle.records, "success", 500, 1_000)).toBe(recordSuccessesPerSecondMax);
    expect(bundle.records.counts("script-1")).toMatchObject({
      by_status: { success: 1_000 },
      sampled_out: 1_000 - 2 * recordSuccessesPerSecondMax,
    });
    expect(bundle.records.stats().sampled_out).toBe(960);
  });

  test("they spread over the second", async () => {
    await using bundle = await setup();
    keep(bundle.records, "success", 500, 0);
    const kept = Array.from({ length: 10 }, (_, tenth) =>
      keep(bundle.records, "success", 50, 100 * (tenth + 1)),
    );
    expect(kept).toEqual(Array(10).fill(2));
  });

  test("another script has its own part, and failures are all kept", async () => {
    await using bundle = await setup();
    keep(bundle.records, "success", 500, 0);
    expect(bundle.records.admits("script-2", "success", 0)).toBe(true);
    for (const status of ["error", "timeout", "budget_exceeded", "sandbox_lost"] as const) {
      expect(keep(bundle.records, status, 100, 0)).toBe(100);
    }
  });

  test("refusals of a full gate are sampled apart from successes", async () => {
    await using bundle = await setup();
    keep(bundle.records, "success", 500, 0);
    expect(keep(bundle.records, "overloaded", 500, 0)).toBe(recordSuccessesPerSecondMax);
  });

  test("no number of scripts takes unbounded memory", async () => {
    await using bundle = await setup();
    for (let i = 0; i < 10_000; i += 1) bundle.records.admits(`script-${i}`, "success", 0);
    expect(bundle.records.counts("script-1")).toBeNull();
    expect(bundle.records.counts("script-9999")).not.toBeNull();
  });
});

describe("overflow", () => {
  test("drops the oldest successes first and counts them", async () => {
    await using bundle = await setup();
    bundle.sink.isDown = true;
    const first = failure();
    bundle.records.add(first);
    const oldest = finished();
    bundle.records.add(oldest);
    for (let i = 0; i < recordBufferMax; i += 1) bundle.records.add(finished());
    expect(bundle.records.stats()).toMatchObject({
      buffered: recordBufferMax,
      dropped_successes: 2,
      dropped_failures: 0,
    });
    expect(await bundle.records.get(first.id)).not.toBeNull();
    expect(await bundle.records.get(oldest.id)).toBeNull();
  });

  test("drops the oldest failures when there is nothing else", async () => {
    await using bundle = await setup();
    bundle.sink.isDown = true;
    for (let i = 0; i < recordBufferMax + 5; i += 1) bundle.records.add(failure());
    expect(bundle.records.stats()).toMatchObject({
      buffered: recordBufferMax,
      dropped_failures: 5,
    });
  });

  test("is bounded in bytes: logs at their ceiling do not fill the memory", async () => {
    await using bundle = await setup();
    bundle.sink.isDown = true;
    const message = "x".repeat(1_000_000);
    for (let i = 0; i < 40; i += 1) {
      const logs = [{ level: "info" as const, message, fields: null, at: 1 }];
      bundle.records.add(finished({ outcome: outcome({ logs }) }));
    }
    expect(bundle.records.stats().buffered_bytes).toBeLessThanOrEqual(recordBufferBytesMax);
    expect(bundle.records.stats().buffered).toBe(16);
  });
});

describe("a failing sink", () => {
  test("is retried with growing waits, said once, and loses nothing that fits", async () => {
    await using bundle = await setup();
    bundle.sink.isDown = true;
    const all = Array.from({ length: 10 }, () => finished());
    for (const one of all) bundle.records.add(one);
    const waits: number[] = [];
    for (let attempt = 1; attempt <= 8; attempt += 1) {
      const wait = bundle.time.nextIn as number;
      waits.push(wait);
      bundle.time.advance(wait);
      await until(() => bundle.sink.transactions === attempt && bundle.time.timers === 1);
    }
    expect(waits.slice(0, 6)).toEqual([1_000, 1_000, 2_000, 4_000, 8_000, 16_000]);
    expect(Math.max(...waits)).toBeLessThanOrEqual(recordRetryMsMax);
    expect(bundle.lines.filter((line) => line.startsWith("error"))).toHaveLength(1);
    expect(bundle.records.stats()).toMatchObject({ is_failing: true });
    bundle.sink.isDown = false;
    await bundle.records.flush();
    expect(bundle.records.stats()).toMatchObject({ is_failing: false, buffered: 0 });
    expect(bundle.lines.filter((line) => line.startsWith("info"))).toHaveLength(1);
  });

  test("that is away for long costs no record, however often it was tried", async () => {
    await using bundle = await setup();
    bundle.sink.isDown = true;
    bundle.records.add(failure());
    for (let attempt = 0; attempt < 3 * recordTriesMax; attempt += 1) await bundle.records.flush();
    expect(bundle.records.stats()).toMatchObject({ buffered: 1, dropped_failures: 0 });
    bundle.sink.isDown = false;
    await bundle.records.flush();
    expect(bundle.records.stats()).toMatchObject({ buffered: 0, written: 1, dropped_failures: 0 });
  });

  test("positions that cannot be read now are read when the record is written", async () => {
    let isAway = true;
    const mapError: ErrorMapper = async (error) => {
      if (isAway) throw new PicError("unavailable", "The database is away");
      return { ...error, stack: "at mine (script:3:4)" };
    };
    await using bundle = await setup({ mapError });
    const thrown = { name: "Error", message: "no", stack: "at compiled", code: "" };
    const one = failure({ outcome: outcome({ status: "error", error: thrown }) });
    bundle.records.add(one);
    await bundle.records.flush();
    expect(bundle.records.stats()).toMatchObject({ buffered: 1, is_failing: true });
    isAway = false;
    await bundle.records.flush();
    expect((await bundle.records.get(one.id))?.error?.stack).toBe("at mine (script:3:4)");
  });

  test("does not fail or hold up whoever adds, and reads go around it", async () => {
    await using bundle = await setup();
    bundle.sink.isDown = true;
    const one = finished();
    bundle.records.add(one);
    await bundle.records.flush();
    expect((await bundle.records.list("script-1", page())).items.map(({ id }) => id)).toEqual([
      one.id,
    ]);
    expect((await bundle.records.get(one.id))?.id).toBe(one.id);
  });

  test("a record that is refused for its own sake is given up; the others are written", async () => {
    await using bundle = await setup();
    const all = Array.from({ length: 9 }, () => finished());
    const poison = all[4] as (typeof all)[number];
    bundle.sink.refuses = (id) => id === poison.id;
    for (const one of all) bundle.records.add(one);
    for (let attempt = 0; attempt < 40 && bundle.records.stats().buffered > 0; attempt += 1) {
      await bundle.records.flush();
    }
    expect(bundle.records.stats()).toMatchObject({
      buffered: 0,
      buffered_bytes: 0,
      written: 8,
      dropped_successes: 1,
    });
  });

  test("logs nested beyond measure lose their record, not their caller", async () => {
    await using bundle = await setup();
    let fields: Record<string, unknown> = {};
    for (let depth = 0; depth < 200_000; depth += 1) fields = { fields };
    const logs = [{ level: "info" as const, message: "m", fields, at: 1 }];
    expect(() => bundle.records.add(finished({ outcome: outcome({ logs }) }))).not.toThrow();
    bundle.records.add(finished());
    await bundle.records.flush();
    await until(() => bundle.records.stats().buffered === 0);
    expect(bundle.records.stats().written).toBeGreaterThanOrEqual(1);
  });
});

describe("failures that strangers can cause", () => {
  const heavy = () =>
    failure({
      request: request({
        headers: { pad: "p".repeat(10_000) },
        body_json: `"${"b".repeat(5_000)}"`,
      }),
      outcome: outcome({
        status: "error",
        error: { name: "E", message: "m".repeat(4_000), stack: "s".repeat(8_000) },
        logs: [{ level: "info", message: "x".repeat(1_000), fields: null, at: 5 }],
      }),
    });

  test("are all recorded, in brief once they take too much, and in full again later", async () => {
    await using bundle = await setup();
    const each = 28_000;
    const full = Math.floor(recordFailureBytesMax / each);
    const all = Array.from({ length: full + 100 }, heavy);
    let bytes = 0;
    bundle.records.watchWrites((written) => {
      bytes += written;
    });
    for (const one of all) bundle.records.add(one);
    await bundle.records.flush();
    expect(bytes).toBeLessThan(recordFailureBytesMax + all.length * 4_000);
    const first = await bundle.records.get((all[0] as FinishedExecution).id);
    const last = await bundle.records.get((all.at(-1) as FinishedExecution).id);
    expect(first?.request?.headers.pad).toBeDefined();
    expect(last).toMatchObject({ status: "error", logs_dropped: 1 });
    expect(last?.request).toMatchObject({ method: "GET", headers: {}, body: null });
    expect(last?.error?.message).toBe("m".repeat(recordBriefChars));
    expect(last?.logs[0]?.message).toContain("in brief");
    // Another script has an allowance of its own.
    const other = { ...heavy(), script_id: "script-2" };
    bundle.records.add(other);
    bundle.time.advance(60_000);
    const later = heavy();
    bundle.records.add(later);
    for (const { id } of [other, later]) {
      expect((await bundle.records.get(id))?.request?.headers.pad).toBeDefined();
    }
  });
});

describe("reading", () => {
  test("lists newest first, what is buffered included, page by page without gap or repeat", async () => {
    await using bundle = await setup();
    const all = Array.from({ length: 25 }, () => finished());
    for (const one of all.slice(0, 10)) bundle.records.add(one);
    await bundle.records.flush();
    bundle.sink.isDown = true;
    for (const one of all.slice(10)) bundle.records.add(one);
    bundle.records.add(finished({ script_id: "script-2" }));
    await bundle.records.flush();
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const answer = await bundle.records.list("script-1", page(4, cursor));
      expect(answer.items.length).toBeLessThanOrEqual(4);
      seen.push(...answer.items.map(({ id }) => id));
      cursor = answer.next_cursor;
    } while (cursor !== null);
    expect(seen).toEqual(all.map(({ id }) => id).reverse());
  });

  test("a list sees the execution that ended just before it", async () => {
    await using bundle = await setup();
    const one = finished();
    bundle.records.add(one);
    const { items } = await bundle.records.list("script-1", page());
    expect(items.map(({ id }) => id)).toEqual([one.id]);
    expect(bundle.records.stats().written).toBe(1);
  });

  test("a record reads the same from the buffer and from the database", async () => {
    await using bundle = await setup();
    const one = failure({
      abandoned: true,
      outcome: outcome({
        status: "error",
        error: { name: "E", message: "nul \0 lone \ud800 end", stack: "s", code: "kv_invalid_key" },
        logs: [{ level: "warn", message: "wörld 😀", fields: { a: [1, null] }, at: 5 }],
      }),
    });
    bundle.records.add(one);
    const buffered = await bundle.records.get(one.id);
    await bundle.records.flush();
    expect(bundle.records.stats()).toMatchObject({ buffered: 0, written: 1 });
    expect(await bundle.records.get(one.id)).toEqual(buffered);
  });

  test("while a write is under way its records are readable, once", async () => {
    await using bundle = await setup();
    let release = (): void => {};
    bundle.sink.stuck = new Promise((resolve) => {
      release = resolve;
    });
    const one = finished();
    bundle.records.add(one);
    const flushed = bundle.records.flush();
    await until(() => bundle.sink.transactions === 1);
    const listed = bundle.records.list("script-1", page());
    await settled();
    bundle.time.advance(10_000);
    expect((await listed).items.map(({ id }) => id)).toEqual([one.id]);
    expect((await bundle.records.get(one.id))?.id).toBe(one.id);
    release();
    await flushed;
    expect((await bundle.records.list("script-1", page())).items).toHaveLength(1);
  });

  test("what was never there is null; a bad limit or cursor is refused", async () => {
    await using bundle = await setup();
    expect(await bundle.records.get("nothing")).toBeNull();
    for (const bad of [
      page(0),
      page(201),
      page(1.5),
      page(5, "garbage"),
      page(5, encodeCursor(["x"])),
    ]) {
      const refusal = await bundle.records.list("script-1", bad).catch((error) => error);
      expect(refusal).toBeInstanceOf(PicError);
      expect(refusal.code).toBe("invalid");
    }
  });
});
