import { describe, expect, test } from "bun:test";
import { createMaintenance } from "../../src/background/maintenance.ts";
import { newId } from "../../src/base/ids.ts";
import { type Logger, silentLogger } from "../../src/base/log.ts";
import type { Account } from "../../src/domain/accounts.ts";
import {
  apiKeyRetentionDays,
  deadLetterRetentionDays,
  maintenanceChunkRows,
  maintenanceChunksMax,
  maintenanceEveryMs,
  maintenanceFirstMs,
  maintenanceIdleEveryMs,
  maintenanceLogMbMin,
  maintenanceSoonMs,
  maintenanceWrittenShare,
} from "../../src/domain/limits.ts";
import { toRecord } from "../../src/execution/recording.ts";
import { Audit } from "../../src/services/audit.ts";
import { insertAccount } from "../../src/storage/accounts.ts";
import { insertApiKey } from "../../src/storage/api-keys.ts";
import { auditBytes } from "../../src/storage/audit.ts";
import { appendExecutions } from "../../src/storage/executions.ts";
import type { Database, Tx } from "../../src/storage/port.ts";
import { insertSession } from "../../src/storage/sessions.ts";
import { getSetting, setSetting } from "../../src/storage/settings.ts";
import { sql } from "../../src/storage/sql.ts";
import { FakeTime, finished, outcome, settled, until } from "../execution/fakes.ts";
import { openFolder } from "../execution/folder.ts";

const dayMs = 24 * 3_600_000;

const ada: Account = {
  id: "account-1",
  username: "ada",
  password_hash: "x",
  role: "owner",
  is_active: true,
  created_at: 1,
  nomination: null,
};

async function setup(options: { log_max_mb?: number; audit_max_mb?: number } = {}) {
  const folder = await openFolder();
  const time = new FakeTime();
  const world = { activity: 0, transactions: 0, isBroken: false };
  const counted = (db: Database): Database => {
    const wrapped = Object.create(db) as Database;
    wrapped.get = (statement, seen) => db.get(statement, seen);
    wrapped.scan = (statement, seen) => db.scan(statement, seen);
    wrapped.sizeBytes = () => db.sizeBytes();
    wrapped.reclaim = () => db.reclaim();
    wrapped.tx = (fn, txOptions) => {
      world.transactions += 1;
      if (world.isBroken) return Promise.reject(new Error("broken"));
      return db.tx(fn, txOptions);
    };
    return wrapped;
  };
  const lines: string[] = [];
  const warnings: unknown[] = [];
  const log: Logger = {
    ...silentLogger,
    error: (message) => void lines.push(message),
    warn: (...warning) => void warnings.push(warning),
  };
  const audit = new Audit({ db: folder.db, clock: time, newId });
  const maintenance = createMaintenance({
    db: counted(folder.db),
    logs: counted(folder.logs),
    clock: time,
    storeTime: (tx: Tx) => setSetting(tx, "last_time", String(time.now())),
    log,
    log_retention_days: 7,
    log_max_mb: options.log_max_mb ?? 256,
    audit_retention_days: 365,
    audit_max_mb: options.audit_max_mb ?? 64,
    tellPurged: (tx, purged) => audit.purged(tx, purged),
    activity: () => world.activity,
    startTimer: time.startTimer,
  });
  /** Records that started so many days before now. */
  const addRecords = async (count: number, daysAgo: number, body = "x"): Promise<void> => {
    const records = await Promise.all(
      Array.from({ length: count }, () =>
        toRecord(
          finished({
            started_at: time.now() - daysAgo * dayMs,
            outcome: outcome({ body_kind: "text", body }),
          }),
          async (error) => error,
        ),
      ),
    );
    await folder.logs.tx((tx) => appendExecutions(tx, records));
  };
  /** Entries of about 2 KB, a millisecond apart from then on. */
  const addEntries = (count: number, since: number): Promise<void> => {
    const clock = { at: since, now: () => clock.at++, monotonic: () => 0 };
    const past = new Audit({ db: folder.db, clock, newId });
    const target = { kind: "x", id: "1" };
    const detail = { text: Array(4).fill("x".repeat(450)) };
    return folder.db.tx(async (tx) => {
      for (let index = 0; index < count; index += 1) {
        await past.record(tx, "system", { action: "noun.verb", target, detail });
      }
    });
  };
  const count = async (db: Database, table: "executions" | "sessions"): Promise<number> => {
    const statement =
      table === "executions"
        ? sql<{ n: number }>`select count(*) as n from executions`
        : sql<{ n: number }>`select count(*) as n from sessions`;
    return (await db.get(statement))?.n ?? -1;
  };
  return {
    maintenance,
    time,
    world,
    lines,
    warnings,
    audit,
    addEntries,
    db: folder.db,
    logs: folder.logs,
    addRecords,
    count,
    [Symbol.asyncDispose]: async () => {
      await maintenance.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

describe("a run", () => {
  test("deletes records past their age, in chunks, and keeps the others", async () => {
    await using bundle = await setup();
    await bundle.addRecords(maintenanceChunkRows + 10, 8);
    await bundle.addRecords(5, 6);
    const report = await bundle.maintenance.runOnce();
    expect(report).toMatchObject({
      records_deleted_by_age: maintenanceChunkRows + 10,
      records_deleted_by_size: 0,
    });
    expect(await bundle.count(bundle.logs, "executions")).toBe(5);
    expect(await bundle.maintenance.runOnce()).toMatchObject({ records_deleted_by_age: 0 });
  });

  test("deletes the oldest records over the size, gives the space back, keeps the newest", async () => {
    // a bound below the smallest that means anything is taken as that one
    await using bundle = await setup({ log_max_mb: 1 });
    const body = "b".repeat(7_000);
    for (let batch = 0; batch < 24; batch += 1) await bundle.addRecords(125, 1, body);
    const bytesMax = maintenanceLogMbMin * 1024 * 1024;
    expect(await bundle.logs.sizeBytes()).toBeGreaterThan(bytesMax);
    const newest = finished({ started_at: bundle.time.now() });
    const record = await toRecord(newest, async (error) => error);
    await bundle.logs.tx((tx) => appendExecutions(tx, [record]));
    expect((await bundle.maintenance.runOnce()).records_deleted_by_size).toBeGreaterThan(0);
    const left = await bundle.count(bundle.logs, "executions");
    expect(left * body.length).toBeLessThan(bytesMax);
    expect(left * body.length).toBeGreaterThan(bytesMax / 4);
    const pages = await bundle.logs.get(sql<{ page_count: number }>`pragma page_count`);
    expect((pages?.page_count ?? 0) * 4_096).toBeLessThan(bytesMax);
    expect(
      await bundle.logs.get(sql`select id from executions where id = ${newest.id}`),
    ).not.toBeNull();
  }, 20_000);

  test("deletes expired sessions and leaves the others", async () => {
    await using bundle = await setup();
    const now = bundle.time.now();
    await bundle.db.tx(async (tx) => {
      await insertAccount(tx, ada);
      for (const [index, expires_at] of [now - 1, now, now + 1].entries()) {
        await insertSession(tx, {
          token_hash: `${index}`.repeat(64),
          account_id: "account-1",
          created_at: 1,
          expires_at,
          last_seen_at: 1,
          address: "",
          user_agent: "",
        });
      }
    });
    expect((await bundle.maintenance.runOnce()).sessions_deleted).toBe(2);
    expect(await bundle.count(bundle.db, "sessions")).toBe(1);
  });

  test("deletes keys that expired a while ago; those of late stay to be seen", async () => {
    await using bundle = await setup();
    const old = bundle.time.now() - apiKeyRetentionDays * dayMs;
    await bundle.db.tx(async (tx) => {
      await insertAccount(tx, ada);
      for (const [index, expires_at] of [old - 1, old, old + 1, null].entries()) {
        await insertApiKey(tx, {
          id: `key-${index}`,
          account_id: ada.id,
          app_id: null,
          name: "k",
          prefix: `${index}`.repeat(8),
          secret_hash: `${index}`.repeat(64),
          scopes: ["log:read"],
          created_at: 1,
          expires_at,
          last_used_at: null,
        });
      }
    });
    expect((await bundle.maintenance.runOnce()).api_keys_deleted).toBe(2);
    expect((await bundle.maintenance.runOnce()).api_keys_deleted).toBe(0);
    const left = await bundle.db.all(sql`select id from api_keys order by id`);
    expect(left).toEqual([{ id: "key-2" }, { id: "key-3" }]);
  });

  test("deletes the audit trail past its age, in chunks, and writes nothing when all is younger", async () => {
    await using bundle = await setup();
    const { db, maintenance, time, world } = bundle;
    const now = time.now();
    const addAt = (at: number) =>
      db.tx(async (tx) => {
        const audit = new Audit({ db, clock: { now: () => at, monotonic: () => 0 }, newId });
        for (let index = 0; index < maintenanceChunkRows + 1; index += 1) {
          await audit.record(tx, "system", { action: "noun.verb", target: { kind: "x", id: "1" } });
        }
      });
    await addAt(now - 365 * dayMs);
    world.transactions = 0;
    expect((await maintenance.runOnce()).audit_entries_deleted).toBe(0);
    const idle = world.transactions;
    await addAt(now - 365 * dayMs - 1);
    world.transactions = 0;
    expect((await maintenance.runOnce()).audit_entries_deleted).toBe(maintenanceChunkRows + 1);
    expect(world.transactions).toBe(idle + 2);
    const left = await db.get(sql<{ n: number }>`select count(*) as n from audit`);
    expect(left?.n).toBe(maintenanceChunkRows + 1);
  });

  test("deletes the oldest of an audit trail over its size, and says so in it and in the log", async () => {
    await using bundle = await setup({ audit_max_mb: 1 });
    const { db, maintenance, time, warnings } = bundle;
    const since = time.now() - dayMs;
    await bundle.addEntries(1_500, since);
    const deleted = (await maintenance.runOnce()).audit_entries_deleted_by_size;
    expect(deleted).toBeGreaterThan(2 * maintenanceChunkRows);
    const up_to = (entries: number) => new Date(since + entries - 1).toISOString();
    const page = { limit: 200, cursor: null };
    const told = await bundle.audit.list({ action: "audit.purged" }, page);
    const last = deleted - 2 * maintenanceChunkRows;
    const details = [maintenanceChunkRows, maintenanceChunkRows, last].map((entries, chunk) => ({
      entries,
      up_to: up_to(chunk * maintenanceChunkRows + entries),
    }));
    const byTime = told.items.map(({ detail }) => detail as { up_to: string });
    expect(byTime.toSorted((a, b) => (a.up_to < b.up_to ? -1 : 1))).toEqual(details);
    expect(new Set(told.items.map(({ credential }) => credential))).toEqual(new Set(["system"]));
    expect(warnings).toEqual([
      [expect.any(String), { entries: deleted, up_to: up_to(deleted), max_mb: 1 }],
    ]);
    const oldest = await db.get(sql<{ at: number }>`select at from audit order by at limit 1`);
    expect(oldest?.at).toBe(since + deleted);
    const bytes = await auditBytes(db);
    expect(bytes).toBeLessThan(0.91 * 1024 * 1024);
    expect(bytes).toBeGreaterThan(0.89 * 1024 * 1024);
    // It fits now: there is nothing to do, and nothing to tell.
    expect((await maintenance.runOnce()).audit_entries_deleted_by_size).toBe(0);
    expect(warnings).toHaveLength(1);
  });

  test("tells of no entry that goes because of its age, however large the trail was", async () => {
    await using bundle = await setup({ audit_max_mb: 1 });
    const { maintenance, time, warnings } = bundle;
    await bundle.addEntries(1_500, time.now() - 366 * dayMs);
    const report = await maintenance.runOnce();
    expect(report).toMatchObject({
      audit_entries_deleted: 1_500,
      audit_entries_deleted_by_size: 0,
    });
    expect((await bundle.audit.list({}, { limit: 1, cursor: null })).items).toEqual([]);
    expect(warnings).toEqual([]);
  });

  test("deletes nothing of the audit trail that it cannot tell", async () => {
    await using bundle = await setup({ audit_max_mb: 1 });
    await bundle.addEntries(1_500, bundle.time.now());
    bundle.audit.purged = () => Promise.reject(new Error("broken"));
    await expect(bundle.maintenance.runOnce()).rejects.toThrow("broken");
    const left = await bundle.db.get(sql<{ n: number }>`select count(*) as n from audit`);
    expect(left?.n).toBe(1_500);
    expect(bundle.warnings).toEqual([]);
  });

  test("deletes entries whose time has come, in chunks, and asks for nothing when there are none", async () => {
    await using bundle = await setup();
    const { db, time, world } = bundle;
    const add = (expires_at: number | null, prefix: string, count: number): Promise<unknown> =>
      db.tx((tx) =>
        tx.run(sql`with recursive n (i) as (select 1 union all select i + 1 from n where i < ${count})
          insert into kv (app_id, collection, key, version, updated_at, value, expires_at)
          select 'app-1', 'c', ${prefix} || i, 1, 1, '1', ${expires_at} from n`),
      );
    const keys = async (): Promise<number> =>
      (await db.get(sql<{ n: number }>`select count(*) as n from kv`))?.n ?? -1;
    await add(time.now() + 1, "later", 3);
    await add(null, "never", 3);
    const { transactions } = world;
    expect((await bundle.maintenance.runOnce()).entries_expired).toBe(0);
    const idle = world.transactions - transactions;
    await add(time.now(), "over", maintenanceChunkRows + 10);
    const before = world.transactions;
    const report = await bundle.maintenance.runOnce();
    expect(report.entries_expired).toBe(maintenanceChunkRows + 10);
    expect(world.transactions - before).toBe(idle + 2);
    expect(await keys()).toBe(6);
  });

  test("deletes asynchronous executions that nobody asks after any more, in chunks", async () => {
    await using bundle = await setup();
    const { db, time } = bundle;
    const add = (daysAgo: number, count: number, status: string): Promise<unknown> => {
      const at = time.now() - daysAgo * dayMs;
      const hex = at.toString(16).padStart(12, "0");
      const id = `${hex.slice(0, 8)}-${hex.slice(8)}-`;
      return db.tx((tx) =>
        tx.run(sql`with recursive n (i) as (select 1 union all select i + 1 from n where i < ${count})
          insert into async_executions (id, app_id, script_id, token_hash, status, attempts, created_at)
          select ${id} || i, 'app-1', 'script-1', printf('%064x', i), ${status}, 1, ${at} from n`),
      );
    };
    await add(deadLetterRetentionDays + 1, maintenanceChunkRows + 10, "success");
    await add(deadLetterRetentionDays + 2, 2, "pending");
    await add(deadLetterRetentionDays - 1, 3, "failed");
    const report = await bundle.maintenance.runOnce();
    expect(report.async_executions_deleted).toBe(maintenanceChunkRows + 10);
    const left = await db.all(sql<{ status: string }>`select status from async_executions`);
    expect(left.map(({ status }) => status).sort()).toEqual(
      "failed failed failed pending pending".split(" "),
    );
  });

  test("deletes dead letters that are long over, with their attempts, and what a script left", async () => {
    await using bundle = await setup();
    const { db, time } = bundle;
    const ended = time.now() - (deadLetterRetentionDays + 1) * dayMs;
    const add = async (id: string, state: string, updated_at: number) => {
      await db.tx((tx) =>
        tx.run(sql`insert into dead_letters (id, app_id, event_id, trigger_id, script_id, source, type,
            state, attempts, error, depth, root_execution_id, event_at, created_at, updated_at, payload)
          values (${id}, 'app-1', ${id}, 't', 'script-1', 'kv', 'insert', ${state}, 1, '{}', 0, 'r', 1,
            1, ${updated_at}, '{}')`),
      );
      await addAttempt(id);
    };
    const addAttempt = (id: string) =>
      db.tx((tx) =>
        tx.run(sql`insert into event_attempts (event_id, trigger_id, number, app_id, execution_id,
            status, started_at, duration_ms) values (${id}, 't', 1, 'app-1', 'e', 'error', 1, 1)`),
      );
    await add("replayed", "replayed", ended);
    await add("resolved", "resolved", ended);
    await add("open", "open", ended);
    await add("young", "resolved", ended + 2 * dayMs);
    await addAttempt("nobody's");
    const report = await bundle.maintenance.runOnce();
    expect(report).toMatchObject({ dead_letters_deleted: 2, attempts_deleted: 1 });
    const left = await db.all(sql<{ id: string }>`select id from dead_letters order by id`);
    expect(left.map(({ id }) => id)).toEqual(["open", "young"]);
    const attempts = await db.all(sql<{ event_id: string }>`select event_id from event_attempts`);
    expect(attempts.map(({ event_id }) => event_id).sort()).toEqual(["open", "young"]);
    expect(await bundle.maintenance.runOnce()).toMatchObject({
      dead_letters_deleted: 0,
      attempts_deleted: 0,
    });
  });
});

describe("the loop", () => {
  const tick = async (bundle: Awaited<ReturnType<typeof setup>>): Promise<void> => {
    await until(() => bundle.time.nextIn !== null);
    bundle.time.advance(bundle.time.nextIn as number);
    await until(() => bundle.time.timers === 1);
    await settled();
  };

  test("runs shortly after the start, then rarely; start and stop may be called twice", async () => {
    await using bundle = await setup();
    bundle.maintenance.start();
    bundle.maintenance.start();
    expect(bundle.time.timers).toBe(1);
    expect(bundle.time.nextIn).toBe(maintenanceFirstMs);
    await tick(bundle);
    expect(bundle.world.transactions).toBeGreaterThan(0);
    expect(bundle.time.nextIn).toBe(maintenanceEveryMs);
    await bundle.maintenance.stop();
    await bundle.maintenance.stop();
    expect(bundle.time.timers).toBe(0);
    bundle.maintenance.start();
    expect(bundle.time.timers).toBe(1);
  });

  test("an idle server is left alone, but for once a day", async () => {
    await using bundle = await setup();
    bundle.maintenance.start();
    await tick(bundle);
    const first = bundle.world.transactions;
    const ticksADay = maintenanceIdleEveryMs / maintenanceEveryMs;
    for (let i = 0; i < ticksADay - 1; i += 1) await tick(bundle);
    expect(bundle.world.transactions).toBe(first);
    await tick(bundle);
    expect(bundle.world.transactions).toBeGreaterThan(first);
    expect(await getSetting(bundle.db, "last_time")).toBeNull();
  });

  test("after activity it runs, and stores the time along with it", async () => {
    await using bundle = await setup();
    bundle.maintenance.start();
    await tick(bundle);
    expect(await getSetting(bundle.db, "last_time")).toBeNull();
    const before = bundle.world.transactions;
    bundle.world.activity += 1;
    await tick(bundle);
    expect(bundle.world.transactions).toBeGreaterThan(before);
    expect(await getSetting(bundle.db, "last_time")).toBe(String(bundle.time.now()));
  });

  test("more expired entries than one run deletes have the next one come soon", async () => {
    await using bundle = await setup();
    const { db, time } = bundle;
    const most = maintenanceChunksMax * maintenanceChunkRows;
    await db.tx((tx) =>
      tx.run(sql`with recursive n (i) as (select 1 union all select i + 1 from n
          where i < ${most + 1})
        insert into kv (app_id, collection, key, version, updated_at, value, expires_at)
        select 'app-1', 'c', 'k' || i, 1, 1, '1', 1 from n`),
    );
    bundle.maintenance.start();
    time.advance(maintenanceFirstMs);
    await until(() => time.timers === 1);
    expect(time.nextIn).toBe(maintenanceSoonMs);
    await tick(bundle);
    expect(await db.get(sql`select 1 as one from kv limit 1`)).toBeNull();
    expect(time.nextIn).toBe(maintenanceEveryMs);
  }, 60_000);

  test("a failed run is logged, and the next one comes all the same", async () => {
    await using bundle = await setup();
    bundle.world.isBroken = true;
    bundle.maintenance.start();
    await tick(bundle);
    expect(bundle.lines).toHaveLength(1);
    bundle.world.isBroken = false;
    await bundle.addRecords(3, 8);
    bundle.world.activity += 1;
    await tick(bundle);
    expect(await bundle.count(bundle.logs, "executions")).toBe(0);
  });

  test("a stop ends a run at its next chunk", async () => {
    await using bundle = await setup();
    await bundle.addRecords(3 * maintenanceChunkRows, 8);
    bundle.maintenance.start();
    bundle.time.advance(maintenanceFirstMs);
    await bundle.maintenance.stop();
    expect(bundle.time.timers).toBe(0);
    expect(await bundle.count(bundle.logs, "executions")).toBeGreaterThan(0);
  });

  test("a flood of records has a run come soon, again and again, but not after a stop", async () => {
    await using bundle = await setup({ log_max_mb: 1 });
    const { maintenance, time, world } = bundle;
    maintenance.start();
    await tick(bundle);
    const enough = maintenanceLogMbMin * 1024 * 1024 * maintenanceWrittenShare;
    for (let round = 0; round < 3; round += 1) {
      await bundle.addRecords(10, 8);
      world.activity += 10;
      maintenance.wrote(enough / 2);
      expect(time.nextIn).toBe(maintenanceEveryMs);
      maintenance.wrote(enough / 2);
      expect(time.nextIn).toBe(maintenanceSoonMs);
      maintenance.wrote(enough);
      expect(time.timers).toBe(1);
      await tick(bundle);
      expect(await bundle.count(bundle.logs, "executions")).toBe(0);
    }
    await maintenance.stop();
    maintenance.wrote(enough);
    expect(time.timers).toBe(0);
  });

  test("a flood of the audit trail has a run come soon, which keeps it within its size", async () => {
    await using bundle = await setup({ audit_max_mb: 1 });
    const { audit, maintenance, time, world } = bundle;
    audit.watchWrites((bytes) => maintenance.audited(bytes));
    maintenance.start();
    await tick(bundle);
    await bundle.addEntries(1_500, time.now() - dayMs);
    world.activity += 1;
    maintenance.audited(1024 * 1024 * maintenanceWrittenShare - 1_000);
    expect(time.nextIn).toBe(maintenanceEveryMs);
    const change = { action: "noun.verb", target: { kind: "x", id: "x".repeat(512) } };
    const giveUp = bundle.db.tx(async (tx) => {
      for (let round = 0; round < 3; round += 1) await audit.record(tx, "system", change);
      throw new Error("given up");
    });
    await expect(giveUp).rejects.toThrow("given up");
    expect(time.nextIn).toBe(maintenanceEveryMs);
    for (let round = 0; round < 3; round += 1) {
      await bundle.db.tx((tx) => audit.record(tx, "system", change));
    }
    expect(time.nextIn).toBe(maintenanceSoonMs);
    await tick(bundle);
    expect(await auditBytes(bundle.db)).toBeLessThan(1024 * 1024);
    expect(bundle.warnings).toHaveLength(1);
    expect(time.nextIn).toBe(maintenanceEveryMs);
  });
});
