import { afterEach, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import type { Logger } from "../../src/base/log.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { Database } from "../../src/storage/port.ts";
import { getSetting, setSetting } from "../../src/storage/settings.ts";
import { type Statement, sql } from "../../src/storage/sql.ts";
import type { SqliteOptions } from "../../src/storage/sqlite.ts";
import { SqliteScan } from "../../src/storage/sqlite-scan.ts";
import { codeOf, messageOf } from "./conformance/engine.ts";
import { makeFolder, openMain } from "./sqlite-folder.ts";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

async function setup(more: Partial<SqliteOptions> = {}): Promise<{ db: Database; path: string }> {
  const folder = makeFolder();
  const db = await openMain(folder.path, more);
  cleanups.push(async () => {
    await db.close();
    folder.remove();
  });
  return { db, path: folder.path };
}

/** Counts to `rows` inside SQLite: one row, and as much time as wanted. */
function count(rows: number): Statement<{ n: number }> {
  return sql`with recursive c(n) as (select 1 union all select n + 1 from c where n < ${rows})
    select count(*) as n from c`;
}

/** That many rows. */
function series(rows: number): Statement<{ n: number; text: string }> {
  return sql`with recursive c(n) as (select 1 union all select n + 1 from c where n < ${rows})
    select n, 'x' as text from c`;
}

describe("scans", () => {
  test("do not block the calling thread", async () => {
    const { db } = await setup();
    await db.scan(count(1));
    let turns = 0;
    let scanning = true;
    const scanned = db.scan(count(1_000_000)).finally(() => {
      scanning = false;
    });
    while (scanning) {
      await getSetting(db, "a");
      turns += 1;
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await scanned).toEqual([{ n: 1_000_000 }]);
    expect(turns).toBeGreaterThan(50);
  });

  test("long answers arrive whole and in order", async () => {
    const { db } = await setup();
    const [many, few] = await Promise.all([db.scan(series(20_000)), db.scan(series(3))]);
    expect(many.map((row) => row.n)).toEqual(Array.from({ length: 20_000 }, (_, n) => n + 1));
    expect(few.map((row) => row.n)).toEqual([1, 2, 3]);
  });

  test("more rows than the bound are refused, and the thread lives on", async () => {
    const { db } = await setup({ bounds: { scanRowsMax: 1_000 } });
    expect(await codeOf(db.scan(series(1_001)))).toBe("unavailable");
    expect(await db.scan(series(1_000))).toHaveLength(1_000);
  });

  test("one past its deadline fails with its thread, and another one answers", async () => {
    const { db, path } = await setup({ bounds: { scanMsMax: 300 } });
    await db.scan(count(1));
    const slow = codeOf(db.scan(count(20_000_000)));
    expect(await slow).toBe("unavailable");
    expect(await eventually(() => codeOf(db.scan(series(2))))).toBe("resolved");
    // The thread that was killed left nothing open: the last connection removes the log.
    await db.close();
    expect(existsSync(`${path}/picloud.db-wal`)).toBe(false);
  });

  test("a full queue refuses at once", async () => {
    const { db } = await setup({ bounds: { scanQueueMax: 2 } });
    const outcomes = await Promise.all(
      Array.from({ length: 10 }, () => codeOf(db.scan(series(1)))),
    );
    expect(outcomes.filter((outcome) => outcome === "resolved")).toHaveLength(3);
    expect(outcomes.filter((outcome) => outcome === "unavailable")).toHaveLength(7);
  });

  test("a statement that fails, or returns a blob, fails alone", async () => {
    const { db } = await setup();
    const outcomes = await Promise.all([
      messageOf(db.scan(sql`select * from missing`)),
      codeOf(db.scan(sql`select x'00' as blob`)),
      codeOf(db.scan(series(1))),
    ]);
    expect(outcomes[0]).toContain("no such table");
    expect(outcomes.slice(1)).toEqual(["unavailable", "resolved"]);
  });

  test("closing ends what waits, and the thread", async () => {
    const { db } = await setup();
    const waiting = [count(2_000_000), series(1), series(1)].map((one) => codeOf(db.scan(one)));
    await db.close();
    expect(await Promise.all(waiting)).toEqual(Array(3).fill("unavailable"));
  });
});

describe("the scan thread", () => {
  const options = {
    pragmas: "pragma query_only = on",
    queueMax: 10,
    msMax: 5_000,
    rowsMax: 100,
    idleMs: 20,
  };

  test("starts on first need and ends after rest", async () => {
    const { path } = await setup();
    const scan = new SqliteScan({ ...options, path: `${path}/picloud.db` });
    expect(scan.running).toBe(false);
    for (let round = 0; round < 2; round += 1) {
      await scan.scan(series(1));
      expect(scan.running).toBe(true);
      await eventually(async () => (scan.running ? "running" : "resolved"));
      expect(scan.running).toBe(false);
    }
    await scan.close();
    await scan.close();
    expect(await codeOf(scan.scan(series(1)))).toBe("unavailable");
  });

  test("a thread that cannot work fails its request, and each later one tries anew", async () => {
    const { path } = await setup();
    const scan = new SqliteScan({ ...options, path: `${path}/missing.db` });
    expect(await codeOf(scan.scan(series(1)))).toBe("unavailable");
    const both = [scan.scan(series(1)), scan.scan(series(1))].map(codeOf);
    expect(await Promise.all(both)).toEqual(["unavailable", "unavailable"]);
    await scan.close();
  });
});

describe("checkpoints", () => {
  test("run in the thread while writers go on, and keep the log within a bound", async () => {
    const warnings: string[] = [];
    const log: Logger = { ...silentLogger, warn: (message) => void warnings.push(message) };
    const { db, path } = await setup({ log, durability: "normal", bounds: { walPagesMax: 200 } });
    let largest = 0;
    for (let round = 0; round < 4_000; round += 1) {
      await db.tx((tx) => setSetting(tx, `s${round % 500}`, "x".repeat(1_000)));
      if (round % 50 !== 0) continue;
      largest = Math.max(largest, Bun.file(`${path}/picloud.db-wal`).size);
      await new Promise((resolve) => setImmediate(resolve));
    }
    // Without checkpoints it would hold 8,000 pages, 33 MB.
    expect(largest).toBeLessThan(16 * 1024 * 1024);
    expect(warnings).toEqual([]);
    expect(await db.scan(sql`select name from settings`)).toHaveLength(500);
  });
});

/** Polls until `attempt` says "resolved", at most 10 s. */
async function eventually(attempt: () => Promise<string>): Promise<string> {
  const end = performance.now() + 10_000;
  for (;;) {
    const outcome = await attempt();
    if (outcome === "resolved" || performance.now() > end) return outcome;
    await Bun.sleep(5);
  }
}
