/** Time that stands still, and a database that decides itself when something is durable. */
import type { Clock } from "../../src/base/clock.ts";
import { type Delivery, RETRY_DEFAULT } from "../../src/domain/events.ts";
import type { InvocationInput, InvocationRequest } from "../../src/execution/api.ts";
import type { FinishedExecution } from "../../src/execution/recording.ts";
import type { StartTimer } from "../../src/execution/timers.ts";
import type { Outcome } from "../../src/sandbox/api.ts";

/** A clock and its timers; only `advance` moves them. */
export class FakeTime implements Clock {
  #at = 0;
  readonly #timers = new Set<{ at: number; fn: () => void }>();

  now = (): number => 1_700_000_000_000 + this.#at;
  monotonic = (): number => this.#at;

  startTimer: StartTimer = (fn, ms) => {
    const timer = { at: this.#at + ms, fn };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  };

  get timers(): number {
    return this.#timers.size;
  }

  /** How long until the next timer; null when there is none. */
  get nextIn(): number | null {
    const next = this.#next();
    return next === null ? null : next.at - this.#at;
  }

  advance(ms: number): void {
    const end = this.#at + ms;
    for (let next = this.#next(); next !== null && next.at <= end; next = this.#next()) {
      this.#timers.delete(next);
      this.#at = Math.max(this.#at, next.at);
      next.fn();
    }
    this.#at = end;
  }

  #next(): { at: number; fn: () => void } | null {
    return [...this.#timers].sort((a, b) => a.at - b.at)[0] ?? null;
  }
}

export function request(over: Partial<InvocationRequest> = {}): InvocationRequest {
  return {
    method: "GET",
    host: "pi",
    path: "/hello",
    headers: { accept: "*/*" },
    query: {},
    queries: {},
    params: {},
    rest: "",
    body_json: "null",
    body_base64: null,
    ...over,
  };
}

export function input(over: Partial<InvocationInput> = {}): InvocationInput {
  return {
    invocation: "route",
    script_id: "script-1",
    request_id: "request-1",
    request: request(),
    signal: null,
    ...over,
  };
}

/** A change of a record, claimed for its first attempt. */
export function delivery(over: Partial<Delivery> = {}): Delivery {
  return {
    event_id: "event-1",
    trigger_id: "trigger-1",
    app_id: "app-1",
    script_id: "script-1",
    source: "kv",
    type: "update",
    depth: 2,
    root_execution_id: "root-1",
    created_at: 1_700_000_000_123,
    attempt: 0,
    attempt_base: 0,
    crashes: 0,
    fence: 7,
    retry: RETRY_DEFAULT,
    due_at: 0,
    dead_letter_id: null,
    payload: '{"collection":"c","key":"k","value":{"n":1},"previous":null}',
    ...over,
  };
}

/** A request of an asynchronous route. */
export function deferred(
  over: Partial<InvocationRequest> = {},
  more: Partial<Delivery> = {},
): Delivery {
  const payload = JSON.stringify({ request_id: "request-9", ...request(over) });
  return delivery({ trigger_id: "", source: "route", type: "fire", depth: 0, payload, ...more });
}

export function outcome(over: Partial<Outcome> = {}): Outcome {
  return {
    status: "success",
    budget: null,
    status_code: 200,
    headers: {},
    body_kind: "json",
    body: '{"hello":"world"}',
    error: null,
    logs: [],
    logs_dropped: 0,
    cpu_ms: 0.3,
    memory_bytes: 4_096,
    host_calls: 0,
    entered: true,
    ...over,
  };
}

let made = 0;

/** Each later than the one before. */
export function finished(over: Partial<FinishedExecution> = {}): FinishedExecution {
  made += 1;
  return {
    id: `execution-${String(made).padStart(8, "0")}`,
    app_id: "app-1",
    script_id: "script-1",
    script_name: "hello",
    version: 1,
    modules: null,
    request_id: "request-1",
    invocation: "route",
    status: "success",
    status_code: 200,
    started_at: 1_700_000_000_000 + made,
    duration_ms: 1.5,
    request: request(),
    event: null,
    outcome: outcome(),
    error: null,
    abandoned: false,
    ...over,
  };
}

/** Resolves once `condition` holds; fails after five seconds. */
export async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 5_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`never came true: ${condition}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Lets everything that can run now run. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
