/**
 * What events cost: a write that is told to a trigger, the way from its commit to its handler, and how
 * fast a full outbox is worked off, each against its floor in the same process.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../src/base/clock.ts";
import { newId } from "../src/base/ids.ts";
import { silentLogger } from "../src/base/log.ts";
import { countersSince, snapshotCounters } from "../src/base/metrics.ts";
import { RETRY_DEFAULT } from "../src/domain/events.ts";
import {
  gateAppShare,
  gateEventShare,
  gateRunningMax,
  LIMIT_DEFAULTS,
} from "../src/domain/limits.ts";
import { insertDelivery } from "../src/storage/outbox.ts";
import { openPostgres } from "../src/storage/postgres.ts";
import { sql } from "../src/storage/sql.ts";
import { openSqliteFolder } from "../src/storage/sqlite.ts";
import { fdatasync } from "../src/storage/sqlite-sync.ts";
import { postgresMissing, testPostgres } from "../test/postgres.ts";
import {
  contextOf,
  type EventParts,
  eventApp,
  handlerScript,
  openParts,
  quietApp,
} from "./event-floor.ts";
import { spawnLoad } from "./load.ts";
import { sleeperScript, trivialScript, writeScript } from "./scripts.ts";
import { type BenchServer, deploy, startBenchServer } from "./server.ts";
import { fixed, median, type Row } from "./table.ts";

export interface EventSettings {
  seconds: number;
  rounds: number;
}

/** Writes under way at a time. */
const writers = 16;
/** So that requests have as many as there are writers, and events the rest. */
const slots = 64;
/** Until all sleepers have begun. */
const parkMs = 1_000;
const drained = 20_000;
const probes = 300;
/** Between two probes: everything is at rest again. */
const probePauseMs = 5;
const drainMsMax = 60_000;

export async function eventRows({ seconds, rounds }: EventSettings): Promise<Row[]> {
  return [
    await requestRow(seconds, rounds),
    ...(await onSqlite("trivial", (parts) => writeRows(parts, seconds, rounds))),
    ...(await onSqlite("trivial", (parts) => drainRows(parts, rounds))),
    ...(await onSqlite("probing", async (parts, syncs) => [
      await latencyRow("SQLite", parts, syncs),
    ])),
    ...(await onPostgres()),
  ];
}

/** What a handler is called with, so that the floor reads as much. */
const handlerContext = JSON.stringify({
  executionId: newId(),
  requestId: newId(),
  scriptId: handlerScript,
  scriptName: "handler",
  scriptVersion: 1,
  appId: eventApp,
  sdkVersion: "1.0",
  invocation: "event",
  event: {
    id: newId(),
    source: "kv",
    type: "insert",
    at: new Date().toISOString(),
    depth: 0,
    rootExecutionId: newId(),
    attempt: 1,
    collection: "orders",
    key: "k1",
    value: 1,
    previous: null,
  },
});

type Bench = (parts: EventParts, syncs: number[]) => Promise<Row[]>;

async function onSqlite(handler: "trivial" | "probing", bench: Bench): Promise<Row[]> {
  const dir = mkdtempSync(join(tmpdir(), "picloud-events-"));
  const syncs: number[] = [];
  const opened = await openSqliteFolder({
    dir,
    durability: "full",
    clock: systemClock,
    log: silentLogger,
    fdatasync: async (fd) => {
      const began = performance.now();
      await fdatasync(fd);
      syncs.push(performance.now() - began);
    },
  });
  const parts = await openParts(opened, handler);
  try {
    return await bench(parts, syncs);
  } finally {
    await parts.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function onPostgres(): Promise<Row[]> {
  const missing = postgresMissing();
  if (missing !== null) {
    const what = "commit to handler, PostgreSQL";
    return [{ what, target: "<= 3 ms", measured: missing, reached: null, detail: "" }];
  }
  const server = await testPostgres();
  const name = await server.createDatabase();
  const opened = await openPostgres({
    url: server.url(name),
    clock: systemClock,
    log: silentLogger,
  });
  const parts = await openParts(opened, "probing");
  try {
    return [await latencyRow("PostgreSQL", parts, [])];
  } finally {
    await parts.close();
    await server.dropDatabase(name);
  }
}

/**
 * A request that writes an entry, in an app without a trigger and in one with. Handlers that wait
 * hold every slot that events have, so that what is emitted stays where it is.
 */
export async function requestRow(seconds: number, rounds: number): Promise<Row> {
  const server = await startBenchServer({ env: { PICLOUD_MAX_CONCURRENCY: String(slots) } });
  try {
    for (const slug of ["quiet", "told", "parked-0", "parked-1"]) {
      await server.api("POST", "apps", { slug, name: slug });
    }
    for (const app of ["quiet", "told"]) {
      await deploy(server, { app, name: "write", source: writeScript, path: `/${app}/:key` });
    }
    const handler = { app: "told", name: "handler", source: trivialScript };
    const { id: script_id } = await server.api<{ id: string }>("POST", "scripts", handler);
    await server.api("POST", "apps/told/triggers/kv", { script_id, collection: "orders" });
    await park(server);
    const rate = async (app: string): Promise<number> => {
      const requests = Array.from({ length: 256 }, (_, key) => ({
        method: "GET",
        path: `/${app}/k${key}`,
      }));
      const load = { port: server.publicPort, connections: writers, seconds, requests };
      const { rps, errors } = await spawnLoad(load);
      if (errors > 0) throw new Error(`${errors} writes of ${app} failed`);
      return rps;
    };
    for (const app of ["quiet", "told"]) await rate(app);
    const pairs: [quiet: number, told: number][] = [];
    for (let round = 0; round < rounds; round += 1) {
      pairs.push([await rate("quiet"), await rate("told")]);
    }
    const cost = median(pairs.map(([quiet, told]) => quiet / told));
    const [quiet, told] = [0, 1].map((side) => median(pairs.map((pair) => pair[side] as number)));
    return {
      what: "a kv write that emits one outbox row, whole request",
      target: "<= 1.5 x without a trigger",
      measured: `${fixed(cost)} x`,
      reached: cost <= 1.5,
      detail: `${fixed(told ?? 0, 0)}/s against ${fixed(quiet ?? 0, 0)}/s`,
    };
  } finally {
    process.kill(server.pid, "SIGKILL");
    await server[Symbol.asyncDispose]();
  }
}

/** Takes all slots that events may have: half of those that one app may have, twice. */
async function park(server: BenchServer): Promise<void> {
  const timeout_ms = 300_000;
  for (const app of ["parked-0", "parked-1"]) {
    const sleeper = { app, name: "sleeper", source: sleeperScript, limits: { timeout_ms } };
    const { id } = await server.api<{ id: string }>("POST", "scripts", sleeper);
    await server.api("POST", `scripts/${id}/routes`, { path: `/${app}`, dispatch_mode: "async" });
    const url = `http://127.0.0.1:${server.publicPort}/${app}`;
    const calls = Array.from({ length: (slots * (1 - gateEventShare)) / 2 }, () => fetch(url));
    for (const { status } of await Promise.all(calls)) {
      if (status !== 202) throw new Error(`a sleeper answers ${status}`);
    }
  }
  await Bun.sleep(parkMs);
}

/** The same write in an app without a trigger and in one with; nobody handles what is emitted. */
async function writeRows(parts: EventParts, seconds: number, rounds: number): Promise<Row[]> {
  const ratios: number[] = [];
  const costs: Record<string, number[]> = { [quietApp]: [], [eventApp]: [] };
  const syncs: Record<string, number[]> = { [quietApp]: [], [eventApp]: [] };
  for (const app of [quietApp, eventApp]) await write(parts, app, 0.5);
  for (let round = 0; round < rounds; round += 1) {
    const [quiet, told] = [
      await write(parts, quietApp, seconds),
      await write(parts, eventApp, seconds),
    ];
    ratios.push(told.us / quiet.us);
    for (const [app, one] of [
      [quietApp, quiet],
      [eventApp, told],
    ] as const) {
      costs[app]?.push(one.us);
      syncs[app]?.push(one.syncs);
    }
    await parts.db.tx((tx) => tx.run(sql`delete from outbox`));
  }
  const of = (values: Record<string, number[]>, app: string): number => median(values[app] ?? []);
  const [quietSyncs, toldSyncs] = [of(syncs, quietApp), of(syncs, eventApp)];
  return [
    {
      what: "the statements of that write alone, 16 at a time",
      target: "same fsyncs",
      measured: `${fixed(median(ratios))} x`,
      reached: toldSyncs <= quietSyncs * 1.1,
      detail:
        `${fixed(of(costs, eventApp), 1)} µs against ${fixed(of(costs, quietApp), 1)} µs durable; ` +
        `fsyncs a write ${fixed(toldSyncs, 3)} against ${fixed(quietSyncs, 3)}`,
    },
  ];
}

async function write(
  { db, bindings }: EventParts,
  app: string,
  seconds: number,
): Promise<{ us: number; syncs: number }> {
  const kv = bindings.bindings.find(({ name }) => name === "kv");
  const set = kv?.methods.set;
  if (set === undefined) throw new Error("there is no kv.set");
  const before = snapshotCounters();
  const began = performance.now();
  const end = began + seconds * 1000;
  let writes = 0;
  await Promise.all(
    Array.from({ length: writers }, async (_, writer) => {
      for (let number = 0; performance.now() < end; number += 1) {
        const cx = contextOf(app);
        const key = `${writer}-${number % 64}`;
        await set.call(cx, { collection: "orders", key, value: { number, text: "an order" } });
        await db.durable(cx.seen);
        writes += 1;
      }
    }),
  );
  const ms = performance.now() - began;
  return { us: (ms * 1000) / writes, syncs: countersSince(before).fsyncs / writes };
}

/** A full outbox against the pool alone, with as many executions under way as one app may have. */
async function drainRows(parts: EventParts, rounds: number): Promise<Row[]> {
  const ratios: number[] = [];
  const rates: number[] = [];
  const floors: number[] = [];
  await poolAlone(parts, 2_000);
  for (let round = 0; round < rounds; round += 1) {
    const floor = await poolAlone(parts, drained);
    await preload(parts, drained);
    const dispatcher = parts.dispatcher();
    const began = performance.now();
    await dispatcher.start();
    while (dispatcher.stats().done < drained) {
      if (performance.now() - began > drainMsMax) throw new Error("the outbox is not worked off");
      await Bun.sleep(1);
    }
    const rate = (drained / (performance.now() - began)) * 1000;
    await dispatcher.stop();
    ratios.push(rate / floor);
    rates.push(rate);
    floors.push(floor);
  }
  return [
    {
      what: `drain of ${drained} deliveries, trivial handler`,
      target: ">= 0.5 x the pool alone",
      measured: fixed(median(ratios), 3),
      reached: median(ratios) >= 0.5,
      detail: `${fixed(median(rates), 0)}/s against ${fixed(median(floors), 0)}/s`,
    },
  ];
}

async function poolAlone({ pool }: EventParts, executions: number): Promise<number> {
  const code = "export default function () {}";
  const program = { id: "floor", app_id: eventApp, entry: "floor", modules: { floor: code } };
  const began = performance.now();
  let left = executions;
  await Promise.all(
    Array.from({ length: gateRunningMax * gateAppShare }, async () => {
      while (left > 0) {
        left -= 1;
        const outcome = await pool.run({
          cx: contextOf(eventApp),
          program_id: program.id,
          loadProgram: () => Promise.resolve(program),
          input: handlerContext,
          limits: LIMIT_DEFAULTS,
          deadline: performance.now() + 10_000,
        });
        if (outcome.status !== "success") throw new Error(`the floor ends as ${outcome.status}`);
      }
    }),
  );
  return (executions / (performance.now() - began)) * 1000;
}

async function preload({ db }: EventParts, count: number): Promise<void> {
  for (let from = 0; from < count; from += 1_000) {
    await db.tx(async (tx) => {
      for (let number = from; number < from + 1_000; number += 1) {
        const id = newId();
        await insertDelivery(tx, {
          event_id: id,
          trigger_id: "trigger",
          app_id: eventApp,
          script_id: handlerScript,
          source: "kv",
          type: "insert",
          depth: 0,
          root_execution_id: id,
          created_at: Date.now(),
          attempt: 0,
          attempt_base: 0,
          crashes: 0,
          fence: 0,
          retry: RETRY_DEFAULT,
          due_at: 0,
          dead_letter_id: null,
          payload: `{"collection":"orders","key":"k${number}","value":1,"previous":null}`,
        });
      }
    });
  }
}

/** From the moment at which the write's call resolves, at its commit, to the handler's first host call. */
async function latencyRow(engine: string, parts: EventParts, syncs: number[]): Promise<Row> {
  const set = parts.bindings.bindings.find(({ name }) => name === "kv")?.methods.set;
  if (set === undefined) throw new Error("there is no kv.set");
  const dispatcher = parts.dispatcher();
  await dispatcher.start();
  const took: number[] = [];
  for (let probe = 0; probe < probes; probe += 1) {
    const { promise, resolve } = Promise.withResolvers<number>();
    parts.onHandler = resolve;
    const cx = contextOf(eventApp);
    const written = set
      .call(cx, { collection: "orders", key: "probe", value: probe })
      .then(() => performance.now());
    void written.then(() => parts.db.durable(cx.seen));
    const [committed, started] = await Promise.all([written, promise]);
    took.push(started - committed);
    await Bun.sleep(probePauseMs);
  }
  await dispatcher.stop();
  const p50 = median(took);
  const bound = engine === "SQLite" ? 0.5 + median(syncs) : 3;
  return {
    what: `commit to handler, idle, p50, ${engine}`,
    target: engine === "SQLite" ? `<= 0.5 ms + a sync = ${fixed(bound)} ms` : "<= 3 ms",
    measured: `${fixed(p50)} ms`,
    reached: p50 <= bound,
    detail: `p99 ${fixed(took.sort((a, b) => a - b)[Math.floor(took.length * 0.99)] ?? 0)} ms`,
  };
}
