/** A dispatcher over a real database, with handlers that a test decides about, in time that stands still. */
import {
  createDispatcher,
  type Dispatcher,
  type DispatcherOptions,
} from "../../src/background/dispatcher.ts";
import type { Clock } from "../../src/base/clock.ts";
import { type Logger, silentLogger } from "../../src/base/log.ts";
import type { Delivery, RetryPolicy } from "../../src/domain/events.ts";
import type { DeliveryReport } from "../../src/execution/delivery.ts";
import { Gate } from "../../src/execution/gate.ts";
import { insertDelivery, outboxChannel } from "../../src/storage/outbox.ts";
import type { Database, Tx } from "../../src/storage/port.ts";
import { sql } from "../../src/storage/sql.ts";
import { FakeTime } from "../execution/fakes.ts";

export const policy: RetryPolicy = {
  max_attempts: 3,
  backoff: "exponential",
  base_ms: 1_000,
  max_ms: 60_000,
  jitter: 0,
};

let made = 0;
let owners = 0;

/** Each older than the next. */
export function delivery(over: Partial<Delivery> = {}): Delivery {
  made += 1;
  return {
    event_id: `event-${String(made).padStart(8, "0")}`,
    trigger_id: "trigger-1",
    app_id: "app-1",
    script_id: `script-${(over.app_id ?? "app-1").at(-1)}`,
    source: "kv",
    type: "insert",
    depth: 0,
    root_execution_id: "root-1",
    created_at: 1_700_000_000_000,
    attempt: 0,
    attempt_base: 0,
    crashes: 0,
    fence: 0,
    retry: policy,
    due_at: 0,
    dead_letter_id: null,
    payload: '{"collection":"c","key":"k","value":1,"previous":null}',
    ...over,
  };
}

export function report(over: Partial<DeliveryReport> = {}): DeliveryReport {
  made += 1;
  return {
    execution_id: `execution-${made}`,
    status: "success",
    counts: true,
    error: null,
    result: null,
    started_at: 1_700_000_000_500,
    duration_ms: 1.5,
    has_results: false,
    ...over,
  };
}

/** The handler threw. */
export function failure(over: Partial<DeliveryReport> = {}): DeliveryReport {
  const error = { status: "error", code: null, message: "boom" };
  return report({ status: "error", error, ...over });
}

export const busy = failure({
  status: "overloaded",
  counts: false,
  error: { status: "overloaded", code: "overloaded", message: "full" },
});

export interface Dispatching {
  db: Database;
  time: FakeTime;
  gate: Gate;
  dispatcher: Dispatcher;
  /** What handlers were called with, in order. */
  delivered: Delivery[];
  /** Messages of the log, from info on. */
  lines: string[];
  /** What handlers do; they succeed at once when a test says nothing. */
  handler: (delivery: Delivery) => DeliveryReport | Promise<DeliveryReport>;
  /** In one transaction, announced. */
  emit(...deliveries: Delivery[]): Promise<void>;
  rows(): Promise<Waiting[]>;
}

export interface Waiting {
  event_id: string;
  attempt: number;
  crashes: number;
  due_at: number;
  lease_owner: string | null;
}

export interface DispatchingOptions extends Partial<DispatcherOptions> {
  running?: number;
  time?: FakeTime;
}

/** The dispatcher is not started. */
export function dispatching(db: Database, options: DispatchingOptions = {}): Dispatching {
  const { time = new FakeTime() } = options;
  const clock: Clock = options.clock ?? time;
  const gate = new Gate({
    clock: time,
    running: options.running ?? 32,
    startTimer: time.startTimer,
  });
  const lines: string[] = [];
  const line = (message: string): void => void lines.push(message);
  const log: Logger = { ...silentLogger, info: line, warn: line, error: line };
  owners += 1;
  const owner = `dispatcher-${owners}`;
  let ids = 0;
  const world: Dispatching = {
    db,
    time,
    gate,
    delivered: [],
    lines,
    handler: () => report(),
    emit: (...deliveries) => db.tx((tx) => insertAll(db, tx, deliveries)),
    rows: () =>
      db.all(sql<Waiting>`select event_id, attempt, crashes, due_at, lease_owner from outbox
        order by event_id, trigger_id`),
    dispatcher: createDispatcher({
      db,
      gate,
      clock,
      log,
      newId: () => {
        ids += 1;
        return `${owner}-id-${String(ids).padStart(8, "0")}`;
      },
      random: () => 0.5,
      startTimer: time.startTimer,
      invoker: {
        async deliver(one) {
          const wait = gate.acquire(one.app_id, "event", null);
          if (wait !== null) await wait;
          try {
            world.delivered.push(one);
            return await world.handler(one);
          } finally {
            gate.leave(one.app_id, "event");
          }
        },
      },
      ...options,
    }),
  };
  return world;
}

export async function insertAll(db: Database, tx: Tx, deliveries: Delivery[]): Promise<void> {
  for (const one of deliveries) await insertDelivery(tx, one);
  for (const app_id of new Set(deliveries.map((one) => one.app_id))) {
    await db.notify(tx, outboxChannel, app_id);
  }
}
