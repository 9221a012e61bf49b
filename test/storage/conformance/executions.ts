import { expect, test } from "bun:test";
import type { ExecutionRecord } from "../../../src/domain/executions.ts";
import { recordListBytesMax } from "../../../src/domain/limits.ts";
import {
  appendExecutions,
  deleteExecutionsBefore,
  deleteExecutionsOfScript,
  deleteOldestExecutions,
  getExecution,
  listExecutions,
} from "../../../src/storage/executions.ts";
import { codeOf, type Engine, messageOf, opener } from "./engine.ts";

export function executionConformance(engine: Engine): void {
  const open = opener(engine);

  test("a record comes back as it was written, with and without its heavy parts", async () => {
    const { logs } = await open();
    const full = record(1, {
      status: "error",
      abandoned: true,
      duration_ms: 1.25,
      request: {
        method: "GET",
        host: "h",
        path: "/\u{1f600}",
        headers: { a: "b" },
        query: {},
        params: {},
        body: "\0\ud800",
        truncated: true,
      },
      response: { headers: {}, body: null, truncated: false },
      logs: [{ level: "info", message: "hi", fields: { n: 1 }, at: 5 }],
      error: { name: "Error", message: "boom", stack: "at x", code: "kv_invalid_key" },
    });
    const ofEvent = record(3, {
      invocation: "event",
      event: {
        id: "e1",
        source: "kv",
        type: "delete",
        attempt: 2,
        trigger_id: "t1",
        depth: 3,
        body: '{"key":"\0\ud800"}',
        truncated: true,
      },
    });
    await logs.tx((tx) => appendExecutions(tx, [full, record(2), ofEvent]));
    expect(await getExecution(logs, full.id)).toEqual(full);
    expect(await getExecution(logs, ofEvent.id)).toEqual(ofEvent);
    expect(await getExecution(logs, record(2).id)).toEqual(record(2));
    expect(await getExecution(logs, "none")).toBeNull();
  });

  test("a record that is written twice is kept as it was", async () => {
    const { logs } = await open();
    await logs.tx((tx) => appendExecutions(tx, [record(1), record(1, { status_code: 500 })]));
    await logs.tx((tx) => appendExecutions(tx, [record(1, { status_code: 500 }), record(2)]));
    expect((await getExecution(logs, record(1).id))?.status_code).toBe(200);
    expect(await getExecution(logs, record(2).id)).not.toBeNull();
  });

  test("a page of large records ends early, and the next goes on where it ended", async () => {
    const { logs } = await open();
    const message = "é".repeat(recordListBytesMax / 8);
    const entry = { level: "info" as const, message, fields: null, at: 1 };
    const large = (number: number, entries: number) =>
      record(number, { started_at: number, logs: Array(entries).fill(entry) });
    const all = [large(1, 0), large(2, 3), large(3, 2), large(4, 6), large(5, 1), large(6, 1)];
    await logs.tx((tx) => appendExecutions(tx, all));
    const pages: string[][] = [];
    let cursor: string | null = null;
    do {
      const answer = await listExecutions(logs, { script_id: "s1" }, { limit: 200, cursor });
      pages.push(answer.items.map(({ id }) => id));
      cursor = answer.next_cursor;
    } while (cursor !== null);
    expect(pages).toEqual([[6, 5], [4], [3], [2, 1]].map((page) => page.map((n) => record(n).id)));
  });

  test("a script's records are listed newest first; a cursor survives new ones", async () => {
    const { logs } = await open();
    const sameTime = { started_at: 7 };
    await logs.tx((tx) =>
      appendExecutions(tx, [
        record(1),
        record(3, sameTime),
        record(2, sameTime),
        record(4, { started_at: 8 }),
        record(5, { script_id: "other" }),
      ]),
    );
    const list = (limit: number, cursor: string | null) =>
      listExecutions(logs, { script_id: "s1" }, { limit, cursor });
    const first = await list(2, null);
    await logs.tx((tx) => appendExecutions(tx, [record(9, { started_at: 9 })]));
    const second = await list(2, first.next_cursor);
    const ids = [...first.items, ...second.items].map((one) => one.id);
    expect(ids).toEqual([4, 3, 2, 1].map((number) => record(number).id));
    expect(second.next_cursor).toBeNull();
    expect(await codeOf(list(2, "bad"))).toBe("invalid");
  });

  test("old records are deleted in chunks, by age, by number and by script", async () => {
    const { logs } = await open();
    const all = Array.from({ length: 12 }, (_, index) => record(index));
    await logs.tx((tx) => appendExecutions(tx, all));
    const before = (epoch: number, limit: number) =>
      logs.tx((tx) => deleteExecutionsBefore(tx, epoch, limit));
    expect(await before(5, 3)).toBe(3);
    expect(await before(5, 3)).toBe(2);
    expect(await before(5, 3)).toBe(0);
    expect(await getExecution(logs, record(4).id)).toBeNull();
    expect(await getExecution(logs, record(5).id)).not.toBeNull();
    expect(await logs.tx((tx) => deleteOldestExecutions(tx, 2))).toBe(2);
    expect(await getExecution(logs, record(6).id)).toBeNull();
    await logs.tx((tx) => appendExecutions(tx, [record(20, { script_id: "other" })]));
    const ofScript = () => logs.tx((tx) => deleteExecutionsOfScript(tx, "s1", 3));
    expect([await ofScript(), await ofScript(), await ofScript()]).toEqual([3, 2, 0]);
    expect(await getExecution(logs, record(20).id)).not.toBeNull();
  });

  test("the schema refuses an unknown status or invocation", async () => {
    const { logs } = await open();
    for (const bad of [{ status: "ok" as "success" }, { invocation: "cron" as "route" }]) {
      const work = logs.tx((tx) => appendExecutions(tx, [record(1, bad)]));
      expect(await messageOf(work)).toContain("onstraint");
    }
  });
}

/** Ids sort by their number, which is also the time. */
function record(number: number, more: Partial<ExecutionRecord> = {}): ExecutionRecord {
  return {
    id: `01900000-0000-7000-8000-${String(number).padStart(12, "0")}`,
    app_id: "app-1",
    script_id: "s1",
    version: 1,
    request_id: "req",
    invocation: "route",
    status: "success",
    status_code: 200,
    started_at: number,
    duration_ms: 2,
    cpu_ms: 0.5,
    memory_bytes: 1_000,
    request: null,
    event: null,
    response: null,
    logs: [],
    logs_dropped: 0,
    error: null,
    abandoned: false,
    ...more,
  };
}
