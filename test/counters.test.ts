/**
 * What an operation costs in statements, messages, syncs and bytes, whatever the machine. A bound
 * may fall; raising one is a decision to be explained in the commit.
 */
import { expect, test } from "bun:test";
import { type Cost, measureCounters } from "../bench/counters.ts";

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
  expectCost(report.save, {
    sql: 9,
    commits: 1,
    fsyncs: 1,
    sent: 2,
    received: 2,
    wal: 8 * PAGE_BYTES,
  });
  expectCost(report.idle_minute, { sql: 0, commits: 0, fsyncs: 0, sent: 0, received: 0, wal: 0 });
}, 30_000);

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
