import { describe, expect, test } from "bun:test";
import { silentLogger } from "../../src/base/log.ts";
import { Usage } from "../../src/bindings/usage.ts";
import { PicError } from "../../src/domain/errors.ts";
import {
  usageAppsMax,
  usageChunkRows,
  usageRestMs,
  usageRowBytesMin,
  usageSharedMs,
} from "../../src/domain/limits.ts";
import { setKv } from "../../src/storage/kv.ts";
import type { Database } from "../../src/storage/port.ts";
import { sql } from "../../src/storage/sql.ts";
import { measureFill } from "../../src/storage/usage.ts";
import { openFolder } from "../execution/folder.ts";
import { FakeClock } from "../services/fakes.ts";
import { callOf, composeForTest, context, emitted, seedTrigger } from "./composed.ts";
import { ENGINES, opener } from "./engines.ts";

/** A database of which only its size and its answers to measurements are known. */
function fake({ rows_max = 100, bytes_max = 10_000, isShared = true } = {}) {
  const clock = new FakeClock();
  const world = { rows: 0, bytes: 0, size: 1e12, measured: 0, error: null as Error | null };
  let gate: Promise<void> = Promise.resolve();
  const db = {
    isShared,
    sizeBytes: async () => world.size,
    scan: async (statement: { texts: readonly string[] }) => {
      if (!statement.texts.join("?").includes("from kv")) return [];
      world.measured += 1;
      const { rows, bytes } = world;
      await gate;
      if (world.error !== null) throw world.error;
      return rows === 0 ? [] : [{ rows, bytes, a: "", b: "", c: null }];
    },
  } as unknown as Database;
  const usage = new Usage({ db, clock, log: silentLogger, rows_max, bytes_max });
  /** Holds measurements up until it is called. */
  const hold = (): (() => void) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    gate = promise;
    return resolve;
  };
  /** The first write of an app, and the measurement that it begins. */
  const begin = async (): Promise<void> => {
    expect(usage.admit("a", one)).toBeNull();
    await usage.admit("a", { rows: rows_max + 1, bytes: 0 })?.catch(() => {});
    clock.pass(usageRestMs);
  };
  return { usage, clock, world, hold, begin };
}

/** What is under way in the background has come as far as it can. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
}

const one = { rows: 1, bytes: 10 };

const codeOf = (work: Promise<unknown> | null): Promise<unknown> =>
  Promise.resolve(work).catch((error) => {
    if (error instanceof PicError) return error.code;
    throw error;
  });

describe("the estimate", () => {
  test("is what was measured and what was written since", async () => {
    const { usage, world, begin } = fake();
    world.rows = 90;
    await begin();
    for (let index = 0; index < 10; index += 1) {
      expect(usage.admit("a", one)).toBeNull();
      usage.add("a", one);
    }
    world.rows = 100;
    expect(await codeOf(usage.admit("a", one))).toBe("quota_exceeded");
    expect(usage.admit("b", one)).toBeNull();
  });

  test("holds for a share of it, too", async () => {
    const { usage, world, begin } = fake();
    world.rows = 90;
    await begin();
    expect(await codeOf(usage.admit("a", one, 0.9))).toBe("quota_exceeded");
    expect(usage.admit("a", one)).toBeNull();
    usage.add("a", { rows: -1, bytes: 0 });
    expect(usage.admit("a", one, 0.9)).toBeNull();
  });

  test("refuses only what a measurement of the last seconds confirms, at most one of them", async () => {
    const { usage, world, clock, begin } = fake();
    world.rows = 50;
    await begin();
    // overwritten and deleted meanwhile, as far as nobody has told
    usage.add("a", { rows: 60, bytes: 0 });
    const before = world.measured;
    await usage.admit("a", one);
    expect(world.measured).toBe(before + 1);
    clock.pass(usageRestMs);
    world.rows = 100;
    usage.add("a", { rows: 60, bytes: 0 });
    for (let index = 0; index < 5; index += 1) {
      expect(await codeOf(usage.admit("a", one))).toBe("quota_exceeded");
    }
    expect(world.measured).toBe(before + 2);
    world.rows = 10;
    expect(await codeOf(usage.admit("a", one))).toBe("quota_exceeded");
    clock.pass(usageRestMs);
    expect(await codeOf(usage.admit("a", one))).toBeUndefined();
  });

  test("many that ask at once share one measurement", async () => {
    const { usage, world, hold, begin } = fake();
    world.rows = 100;
    await begin();
    const before = world.measured;
    const release = hold();
    const asked = Array.from({ length: 50 }, () => codeOf(usage.admit("a", one)));
    release();
    expect(new Set(await Promise.all(asked))).toEqual(new Set(["quota_exceeded"]));
    expect(world.measured).toBe(before + 1);
  });

  test("what is deleted while it is measured is taken off; what is added is not counted twice", async () => {
    const { usage, world, clock, hold, begin } = fake();
    world.rows = 100;
    await begin();
    const release = hold();
    const asked = codeOf(usage.admit("a", one));
    await turns();
    usage.add("a", { rows: -50, bytes: 0 });
    usage.add("a", { rows: 5, bytes: 0 });
    release();
    expect(await asked).toBeUndefined();
    expect(usage.admit("a", { rows: 50, bytes: 0 })).toBeNull();
    expect(await codeOf(usage.admit("a", { rows: 51, bytes: 0 }))).toBe("quota_exceeded");
    clock.pass(usageRestMs);
    world.rows = 55;
    expect(await codeOf(usage.admit("a", { rows: 51, bytes: 0 }))).toBe("quota_exceeded");
    expect(usage.admit("a", { rows: 45, bytes: 0 })).toBeNull();
  });

  test("what makes the data smaller is never refused", async () => {
    const { usage, world, begin } = fake();
    world.rows = 1_000;
    world.bytes = 1e6;
    await begin();
    expect(usage.admit("a", { rows: 0, bytes: -1 })).toBeNull();
    expect(usage.admit("a", { rows: -1, bytes: -10 })).toBeNull();
    expect(await codeOf(usage.admit("a", { rows: 0, bytes: 1 }))).toBe("quota_exceeded");
    expect(await codeOf(usage.admit("a", { rows: 1, bytes: -10 }))).toBe("quota_exceeded");
  });

  test("the error names the bound, what is used and what to do", async () => {
    const { usage, world, clock, begin } = fake({ rows_max: 1_000, bytes_max: 3 * 1024 ** 2 });
    world.rows = 1_000;
    world.bytes = 2.5 * 1024 ** 2;
    await begin();
    const message = (delta: typeof one) =>
      Promise.resolve(usage.admit("a", delta)).then(String, (error) => error.message as string);
    expect(await message(one)).toBe(
      "The app may keep 1,000 rows (entries, documents, and events that wait or have failed) and has 1,000: delete some, or raise PICLOUD_APP_DATA_ROWS",
    );
    clock.pass(usageRestMs);
    expect(await message({ rows: 0, bytes: 1024 ** 2 })).toBe(
      "The app may keep 3 MB (entries, documents, and events that wait or have failed) and has 2 MB: delete some, or raise PICLOUD_APP_DATA_MB",
    );
  });

  test("a measurement that fails is a refusal of its own, and the next one is tried", async () => {
    const { usage, world, clock, begin } = fake();
    world.rows = 100;
    await begin();
    world.error = new PicError("unavailable", "away");
    expect(await codeOf(usage.admit("a", one))).toBe("unavailable");
    world.error = null;
    world.rows = 5;
    clock.pass(usageRestMs);
    expect(await codeOf(usage.admit("a", one))).toBeUndefined();
  });

  test("a long measurement is followed by a longer rest", async () => {
    const { usage, world, clock, hold, begin } = fake();
    world.rows = 100;
    await begin();
    const release = hold();
    const asked = codeOf(usage.admit("a", one));
    clock.pass(10_000);
    release();
    expect(await asked).toBe("quota_exceeded");
    const before = world.measured;
    clock.pass(60_000);
    expect(await codeOf(usage.admit("a", one))).toBe("quota_exceeded");
    expect(world.measured).toBe(before);
    clock.pass(30_000);
    expect(await codeOf(usage.admit("a", one))).toBe("quota_exceeded");
    expect(world.measured).toBe(before + 1);
  });

  test("holds so many apps and no more", async () => {
    const { usage, world } = fake();
    const measured = async (app: string): Promise<number> => {
      const before = world.measured;
      usage.admit(app, one);
      await turns();
      return world.measured - before;
    };
    for (let index = 0; index < usageAppsMax + 10; index += 1) {
      expect(await measured(`app ${index}`)).toBe(1);
    }
    expect(await measured(`app ${usageAppsMax}`)).toBe(0);
    expect(await measured("app 0")).toBe(1);
    await usage.stop();
    expect(await measured("app 1")).toBe(0);
  });
});

describe("a measurement", () => {
  test("of a shared database comes again while the app writes, and only then", async () => {
    const { usage, world, clock, begin } = fake();
    await begin();
    const before = world.measured;
    clock.pass(usageSharedMs - usageRestMs - 1);
    usage.admit("a", one);
    await turns();
    expect(world.measured).toBe(before);
    clock.pass(1);
    usage.admit("a", one);
    usage.admit("a", one);
    await turns();
    expect(world.measured).toBe(before + 1);
    clock.pass(10 * usageSharedMs);
    await turns();
    expect(world.measured).toBe(before + 1);
  });

  test("of a database of one's own comes again only where the estimate has grown near a bound", async () => {
    const { usage, world, clock, begin } = fake({ isShared: false });
    world.rows = 10;
    await begin();
    const before = world.measured;
    clock.pass(24 * 3_600_000);
    usage.add("a", { rows: 39, bytes: 0 });
    expect(usage.isNear("a")).toBe(false);
    usage.admit("a", one);
    await turns();
    expect(world.measured).toBe(before);
    usage.add("a", one);
    expect(usage.isNear("a")).toBe(true);
    usage.admit("a", one);
    await turns();
    expect(world.measured).toBe(before + 1);
  });

  test("is not needed while the whole file is too small for half of a bound", async () => {
    const { usage, world, clock } = fake({ isShared: false, bytes_max: 1e6, rows_max: 1_000 });
    world.size = 400 * usageRowBytesMin;
    expect(usage.admit("a", one)).toBeNull();
    await turns();
    expect(usage.admit("a", { rows: 600, bytes: 0 })).toBeNull();
    expect(world.measured).toBe(0);
    // but what the file could hold refuses nobody: then the rows are counted
    expect(await codeOf(usage.admit("a", { rows: 601, bytes: 0 }))).toBeUndefined();
    expect(world.measured).toBe(1);
    world.size = 500 * usageRowBytesMin;
    usage.add("a", { rows: 500, bytes: 0 });
    clock.pass(usageRestMs);
    usage.admit("a", one);
    await turns();
    expect(world.measured).toBe(2);
  });
});

for (const engine of ENGINES) {
  describe.skipIf(engine.missing !== null)(`${engine.name}: what an app's data fills`, () => {
    const { open, defer } = opener(engine);

    test("is all its entries, documents, waiting events and letters, and of nobody else", async () => {
      const db = await open();
      expect(await fillOf(db, 1)).toEqual({ rows: 0, bytes: 0 });
      await db.tx(async (tx) => {
        const entry = { value: '"é"', expires_at: null, now: 1 };
        await setKv(tx, "app-1", "c", "k", entry);
        await setKv(tx, "app-1", "c", "😀", { ...entry, expires_at: 100 });
        await setKv(tx, "app-1", "d", "gone", { ...entry, expires_at: 50 });
        await setKv(tx, "app-2", "c", "k", entry);
        await tx.run(sql`insert into docs (app_id, collection, id, version, updated_at, value)
          values ('app-1', 'docs', 'id', 1, 1, '{}'), ('app-2', 'docs', 'id', 1, 1, '{}')`);
        for (const [event, app] of [
          ["e1", 1],
          ["e2", 1],
          ["e3", 2],
        ]) {
          await tx.run(sql`insert into outbox (event_id, trigger_id, app_id, script_id, source, type,
              depth, root_execution_id, created_at, due_at, attempt, attempt_base, crashes, fence,
              payload)
            values (${event as string}, 't', ${`app-${app}`}, ${`script-${app}`}, 'kv', 'insert', 0,
              'r', 1, 0, 0, 0, 0, 0, '{"é":1}')`);
        }
        await tx.run(sql`insert into dead_letters (id, app_id, event_id, trigger_id, script_id,
            source, type, state, attempts, error, depth, root_execution_id, event_at, created_at,
            updated_at, payload)
          values ('l', 'app-1', 'e9', 't', 'script-1', 'kv', 'insert', 'open', 1, '{}', 0, 'r', 1, 1,
            1, '{"a":1}')`);
        await tx.run(sql`insert into event_attempts (event_id, trigger_id, number, app_id,
            execution_id, status, error, started_at, duration_ms)
          values ('e9', 't', 1, 'app-1', 'x', 'error', '{"b":2}', 1, 1),
            ('e9', 't', 2, 'app-1', 'x', 'error', null, 1, 1)`);
        await tx.run(sql`insert into tx_results (event_id, trigger_id, ordinal, app_id, result)
          values ('e1', 't', 1, 'app-1', '"ü"')`);
        await tx.run(sql`insert into doc_indexes (app_id, collection, field, state, built_to, multikey,
            created_at)
          values ('app-1', 'docs', 'f', 'ready', '', 0, 1)`);
        await tx.run(sql`insert into doc_index_entries (app_id, collection, field, type, number, text,
            doc_id)
          values ('app-1', 'docs', 'f', 1, 2.5, '', 'id'), ('app-1', 'docs', 'f', 2, 0, 'é', 'id')`);
      });
      const kv = 1 + 1 + 4 + (1 + 4 + 4);
      const docs = 4 + 2 + 2;
      const events = 8 + 8 + (7 + 2);
      const attempts = 7 + 4;
      const entries = 2 * (4 + 1 + 2) + 2;
      const bytes = kv + docs + events + attempts + entries;
      expect(await fillOf(db, 1)).toEqual({ rows: 6, bytes });
      expect(await fillOf(db, 2)).toEqual({ rows: 3, bytes: 6 + docs + 8 });
    });

    test("is read in chunks, to the last row", async () => {
      const db = await open();
      const rows = 2 * usageChunkRows;
      for (const collection of ["a", "b"]) {
        await db.tx(async (tx) => {
          for (let index = 0; index <= rows / 2; index += 1) {
            const key = String(index).padStart(5, "0");
            await setKv(tx, "app-1", collection, key, { value: "1", expires_at: null, now: 1 });
          }
        });
      }
      expect(await fillOf(db, 1)).toEqual({ rows: rows + 2, bytes: 7 * (rows + 2) });
      const answers = [false, false];
      const over = { now: 60, isOver: () => answers.shift() ?? true };
      expect(await measureFill(db, "app-1", over)).toBeNull();
    }, 30_000);

    test("bounds what its scripts write: with triggers and without, until something is deleted", async () => {
      const db = await open();
      const clock = new FakeClock();
      const composed = await composeForTest({ db, clock, rows_max: 10 });
      defer(composed.stop);
      const at = (name: string, key: string, app: number, more = {}): Promise<unknown> =>
        callOf(composed.kv, name, context(app), { collection: "c", key, value: 1, ...more });
      /** What was written while a measurement ran is not counted before the next one. */
      const measured = async (app: string): Promise<void> => {
        // first the one that runs ends: with the time that passes it would have taken long
        for (const _ of [1, 2]) {
          await codeOf(composed.usage.admit(app, { rows: 11, bytes: 0 }));
          clock.pass(usageRestMs);
        }
      };
      const keys = Array.from({ length: 10 }, (_, index) => `k${index}`);
      for (const key of keys) await at("set", key, 1);
      await measured("app-1");
      expect(await codeOf(at("set", "more", 1))).toBe("quota_exceeded");
      expect(await codeOf(at("increment", "more", 1))).toBe("quota_exceeded");
      // what is there may still be changed
      expect(await at("set", "k0", 1)).toBe(2);
      expect(await at("increment", "k0", 1)).toBe(2);
      expect(await at("set", "k1", 2)).toBe(1);
      expect(await at("delete", "k1", 1)).toBe(true);
      expect(await at("set", "more", 1)).toBe(1);
      expect(await codeOf(at("set", "k1", 1))).toBe("quota_exceeded");

      // a write and its two events are three rows, or none
      await seedTrigger(db, { id: "t1", app: 2 });
      await seedTrigger(db, { id: "t2", app: 2 });
      while (composed.live.idsFor("app-2", "kv", "c")?.length !== 2) await Bun.sleep(1);
      for (const key of ["a", "b", "c"]) await at("set", key, 2);
      await measured("app-2");
      expect(await codeOf(at("set", "d", 2))).toBe("quota_exceeded");
      expect(await at("has", "d", 2)).toBe(false);
      expect(await emitted(db)).toHaveLength(6);
      await db.tx((tx) => tx.run(sql`delete from outbox`));
      clock.pass(usageRestMs);
      expect(await at("set", "d", 2)).toBe(1);
    });
  });
}

test("bytes: overwriting a large value by a small one makes room, at once", async () => {
  await using folder = await openFolder();
  const clock = new FakeClock();
  const mb = 1024 * 1024;
  const composed = await composeForTest({ db: folder.db, clock, bytes_max: mb });
  const set = (key: string, length: number): Promise<unknown> =>
    callOf(composed.kv, "set", context(), { collection: "c", key, value: "x".repeat(length) });
  const outcome = async (key: string, length: number): Promise<unknown> => {
    // the measurement that runs ends, and the next one counts what was written meanwhile
    await codeOf(composed.usage.admit("app-1", { rows: 0, bytes: mb + 1 }));
    clock.pass(usageRestMs);
    return codeOf(set(key, length));
  };
  // overwrites below half of the bound count whole, and refuse nobody
  for (let round = 0; round < 20; round += 1) expect(await outcome("a", 250_000)).toBe(round + 1);
  for (const key of ["b", "c", "d"]) expect(await outcome(key, 250_000)).toBe(1);
  const more = [];
  for (const key of ["e", "f", "g"]) more.push(await outcome(key, 250_000));
  expect(more.at(-1)).toBe("quota_exceeded");
  expect(more.filter((version) => version === 1).length).toBeLessThanOrEqual(1);
  for (const key of ["a", "b"]) await set(key, 10);
  expect(await set("g", 240_000)).toBe(1);
  await composed.stop();
});

function fillOf(db: Database, app: number) {
  return measureFill(db, `app-${app}`, { now: 60, isOver: () => false });
}
