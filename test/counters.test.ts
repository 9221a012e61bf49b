/**
 * What an operation costs in statements, messages, syncs and bytes, whatever the machine. A bound
 * may fall; raising one is a decision to be explained in the commit.
 */
import { expect, test } from "bun:test";
import { statSync } from "node:fs";
import { type Cost, measureCounters } from "../bench/counters.ts";
import { systemClock } from "../src/base/clock.ts";
import { countersSince, snapshotCounters } from "../src/base/metrics.ts";
import { insertApp } from "../src/storage/apps.ts";
import { insertScript, insertVersion } from "../src/storage/scripts.ts";
import { callOf, composeForTest, context, emitted, seedTrigger } from "./bindings/composed.ts";
import { until } from "./execution/fakes.ts";
import { scriptOf } from "./execution/folder.ts";
import { makeFolder, openBoth } from "./storage/sqlite-folder.ts";

const PAGE_BYTES = 4096 + 24;

test("no operation costs more statements, messages, syncs or bytes than it did", async () => {
  const report = await measureCounters();
  expectCost(report.request, { sql: 0, commits: 0, fsyncs: 0, sent: 1, received: 1, wal: 0 });
  // one upsert, which is its own transaction; run and reply; call and done
  expectCost(report.kv_write, {
    sql: 1,
    commits: 1,
    fsyncs: 1,
    sent: 2,
    received: 2,
    wal: 1.2 * PAGE_BYTES,
  });
  expectCost(report.kv_write_shared, {
    sql: 1,
    commits: 1,
    fsyncs: 0.25,
    sent: 2,
    received: 2,
    wal: 1.2 * PAGE_BYTES,
  });
  // one statement says who saves, another tells the audit trail: a page, and one of each of its indexes
  expectCost(report.save, {
    sql: 11,
    commits: 1,
    fsyncs: 1,
    sent: 2,
    received: 2,
    wal: 10 * PAGE_BYTES,
  });
  expectCost(report.idle_minute, { sql: 0, commits: 0, fsyncs: 0, sent: 0, received: 0, wal: 0 });
}, 30_000);

test("a kv write that emits an event costs four statements more, and not one sync", async () => {
  const folder = makeFolder();
  const { db, close } = await openBoth(folder.path);
  await db.tx(async (tx) => {
    await insertApp(tx, { id: "app-1", slug: "app-1", name: "app-1", created_at: 1 });
    const { script, version } = scriptOf();
    await insertScript(tx, script);
    await insertVersion(tx, version);
  });
  const { kv, live, stop } = await composeForTest({ db, clock: systemClock });
  const write = async (key: number): Promise<void> => {
    const cx = context();
    await callOf(kv, "set", cx, { collection: "c", key: String(key), value: 1 });
    await db.durable(cx.seen);
  };
  const cost = async (from: number): Promise<Bound> => {
    await write(from);
    const before = snapshotCounters();
    const walBefore = statSync(`${folder.path}/picloud.db-wal`).size;
    for (let index = 1; index <= 100; index += 1) await write(from + index);
    const spent = countersSince(before);
    const wal = statSync(`${folder.path}/picloud.db-wal`).size - walBefore;
    const { sqlStatements, commits, fsyncs } = spent;
    return {
      sql: sqlStatements / 100,
      commits: commits / 100,
      fsyncs: fsyncs / 100,
      sent: 0,
      received: 0,
      wal: wal / 100,
    };
  };
  const plain = await cost(1_000);
  expect(plain).toMatchObject({ sql: 1, commits: 1, fsyncs: 1 });
  await seedTrigger(db, { id: "t1", collection: "other" });
  await until(() => live.idsFor("app-1", "kv", "other")?.length === 1);
  // a trigger on another collection costs nothing
  expect(await cost(2_000)).toMatchObject({ sql: 1, commits: 1, fsyncs: 1 });
  await seedTrigger(db, { id: "t2" });
  await until(() => live.idsFor("app-1", "kv", "c")?.length === 1);
  const told = await cost(3_000);
  // begin, what was there, the write, the delivery, commit
  expect(told).toMatchObject({ sql: 5, commits: 1, fsyncs: 1 });
  // a page of the entries, of the outbox and of its index, and now and then a new one
  expect(told.wal).toBeLessThanOrEqual(3.8 * PAGE_BYTES);
  expect(await emitted(db)).toHaveLength(101);
  await stop();
  await close();
  folder.remove();
});

interface Bound {
  sql: number;
  commits: number;
  fsyncs: number;
  sent: number;
  received: number;
  wal: number;
}

function expectCost(cost: Cost, bound: Bound): void {
  expect(cost.sql_statements).toBeLessThanOrEqual(bound.sql);
  expect(cost.commits).toBeLessThanOrEqual(bound.commits);
  expect(cost.fsyncs).toBeLessThanOrEqual(bound.fsyncs);
  expect(cost.ipc_sent).toBeLessThanOrEqual(bound.sent);
  expect(cost.ipc_received).toBeLessThanOrEqual(bound.received);
  expect(cost.wal_bytes).toBeLessThanOrEqual(bound.wal);
}
