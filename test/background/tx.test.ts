/**
 * Exactly once: the process that handles an event is killed between every two steps of its handler, and
 * another one goes on. However often the handler has begun, each of its `tx` has happened once.
 */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { Delivery, RetryPolicy } from "../../src/domain/events.ts";
import { insertApp } from "../../src/storage/apps.ts";
import { insertDelivery } from "../../src/storage/outbox.ts";
import type { Database } from "../../src/storage/port.ts";
import { openPostgres } from "../../src/storage/postgres.ts";
import { insertScript, insertVersion } from "../../src/storage/scripts.ts";
import { sql } from "../../src/storage/sql.ts";
import { openSqliteFolder } from "../../src/storage/sqlite.ts";
import { seedTrigger } from "../bindings/composed.ts";
import { request } from "../execution/fakes.ts";
import { scriptOf } from "../execution/folder.ts";
import { postgresMissing, testPostgres } from "../postgres.ts";

const steps = [
  "after claim",
  "before begin 1",
  "after begin 1",
  "before commit 1",
  "inside money",
  "after commit 1",
  "before begin 2",
  "after begin 2",
  "before commit 2",
  "inside effects",
  "after commit 2",
  "before settle",
  "after settle",
];

/** Two `tx`, and what each of its attempts that got so far was told by them. Also of a route that runs later. */
const handler = `import { kv, tx } from "picloud";
export default async ({ event, request, executionId }) => {
  const id = event?.id ?? request.rest;
  const first = await tx(async (t) => {
    const money = t.kv.collection("money");
    await money.increment("from " + id, -1);
    await money.increment("to " + id, 1);
    return { by: executionId, at: Math.random() };
  });
  const second = await tx(async (t) => {
    await t.kv.collection("effects").increment(id);
    return { by: executionId, at: Math.random(), first };
  });
  await kv.collection("told").set(id + " " + executionId, second);
};`;

/** Of the trigger on what the second one writes. */
const listener = `import { tx } from "picloud";
export default ({ event }) => tx((t) => t.kv.collection("heard").increment(event.key));`;

/** A delivery whose holder is killed again and again fails for it. */
const retry: RetryPolicy = {
  max_attempts: 50,
  backoff: "constant",
  base_ms: 1,
  max_ms: 1,
  jitter: 0,
};

interface Store {
  /** What the process is given. */
  place: string;
  open(): Promise<{ db: Database; close(): Promise<void> }>;
  remove(): Promise<void>;
}

const around = { clock: systemClock, log: silentLogger };

async function newFolder(): Promise<Store> {
  const place = mkdtempSync(join(tmpdir(), "picloud-tx-"));
  return {
    place,
    open: () => openSqliteFolder({ dir: place, durability: "full", ...around }),
    remove: async () => rmSync(place, { recursive: true, force: true }),
  };
}

async function newDatabase(): Promise<Store> {
  const server = await testPostgres();
  const name = await server.createDatabase();
  const place = server.url(name);
  return {
    place,
    open: () => openPostgres({ url: place, ...around }),
    remove: () => server.dropDatabase(name),
  };
}

const engines = [
  { name: "SQLite", missing: null, make: newFolder },
  { name: "PostgreSQL", missing: postgresMissing(), make: newDatabase },
];

describe.each(engines)("$name", ({ missing, make }) => {
  test.skipIf(missing !== null)(
    "each tx of a handler happens once, whenever its process is killed",
    async () => {
      const store = await make();
      try {
        await within(store, seed);
        for (const [index, step] of steps.entries()) {
          await within(store, async (db) => {
            await db.tx((tx) => insertDelivery(tx, deliveryOf(`event-${index}`, index % 2 === 1)));
            await endLeases(db);
          });
          expect([step, await run(store, `event-${index}`, step)]).toEqual([step, "SIGKILL"]);
        }
        await within(store, endLeases);
        expect(await run(store, "", "none")).toBe("0");
        await within(store, check);
      } finally {
        await store.remove();
      }
    },
    120_000,
  );
});

/** What the events have left behind. */
async function check(db: Database): Promise<void> {
  const entries = await db.all(
    sql<{ collection: string; key: string; value: string }>`select collection, key, value from kv`,
  );
  const of = (collection: string): Map<string, unknown> =>
    new Map(
      entries
        .filter((entry) => entry.collection === collection)
        .map(({ key, value }) => [key, JSON.parse(value)]),
    );
  const [money, effects, heard, told] = [of("money"), of("effects"), of("heard"), of("told")];
  for (const [index, step] of steps.entries()) {
    const id = `event-${index}`;
    expect([step, money.get(`from ${id}`), money.get(`to ${id}`)]).toEqual([step, -1, 1]);
    expect([step, effects.get(id), heard.get(id)]).toEqual([step, 1, 1]);
    const answers = [...told].filter(([key]) => key.startsWith(`${id} `)).map(([, value]) => value);
    expect(answers.length).toBeGreaterThan(0);
    for (const answer of answers) expect(answer).toEqual(answers[0]);
  }
  // Killed after all was done, the handler ran again, and was told the same.
  const again = [...told.keys()].filter((key) => key.startsWith("event-11 "));
  expect(again.length).toBeGreaterThanOrEqual(2);
  expect(await db.get(sql`select count(*) as count from tx_results`)).toEqual({ count: 0 });
  expect(await db.get(sql`select count(*) as count from dead_letters`)).toEqual({ count: 0 });
}

/** How a process ended: the signal, or its code. */
async function run({ place }: Store, event: string, step: string): Promise<string> {
  await using victim = Bun.spawn(
    [process.execPath, join(import.meta.dir, "tx-victim.ts"), place, event, step],
    { stdout: "ignore", stderr: "inherit", env: { PATH: process.env.PATH ?? "" } },
  );
  await victim.exited;
  return String(victim.signalCode ?? victim.exitCode);
}

async function within(store: Store, work: (db: Database) => Promise<void>): Promise<void> {
  const { db, close } = await store.open();
  try {
    await work(db);
  } finally {
    await close();
  }
}

/** As after their time: on PostgreSQL a killed holder's leases last for 30 s. */
async function endLeases(db: Database): Promise<void> {
  await db.tx((tx) => tx.run(sql`update outbox set due_at = 0`));
}

async function seed(db: Database): Promise<void> {
  await db.tx(async (tx) => {
    await insertApp(tx, { id: "app-1", slug: "app-1", name: "app-1", created_at: 1 });
    for (const [id, code] of [
      ["handler", handler],
      ["script-1", listener],
    ] as const) {
      const { script, version } = scriptOf({ id, name: id, code, imports: ["picloud"] });
      await insertScript(tx, script);
      await insertVersion(tx, version);
    }
  });
  await seedTrigger(db, { id: "listens", collection: "effects" });
  await db.tx((tx) => tx.run(sql`update triggers set retry = ${JSON.stringify(retry)}`));
}

function deliveryOf(event_id: string, isRoute: boolean): Delivery {
  const deferred = { ...request({ rest: event_id }), request_id: "request-1" };
  return {
    event_id,
    trigger_id: isRoute ? "" : "trigger-1",
    app_id: "app-1",
    script_id: "handler",
    source: isRoute ? "route" : "cron",
    type: "fire",
    depth: 0,
    root_execution_id: event_id,
    created_at: 1,
    attempt: 0,
    attempt_base: 0,
    crashes: 0,
    fence: 0,
    retry,
    due_at: 0,
    dead_letter_id: null,
    payload: isRoute ? JSON.stringify(deferred) : "{}",
  };
}
