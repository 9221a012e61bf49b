import { afterEach, describe, expect, test } from "bun:test";
import { countersSince, snapshotCounters } from "../../src/base/metrics.ts";
import type { Database } from "../../src/storage/port.ts";
import { getSetting, setSetting } from "../../src/storage/settings.ts";
import { sql } from "../../src/storage/sql.ts";
import type { SqliteOptions } from "../../src/storage/sqlite.ts";
import { codeOf } from "./conformance/engine.ts";
import { makeFolder, openMain } from "./sqlite-folder.ts";

/** A disk whose syncs end when the test says so. */
class Disk {
  readonly begun: PromiseWithResolvers<void>[] = [];
  #watchers: (() => void)[] = [];

  fdatasync = (): Promise<void> => {
    const sync = Promise.withResolvers<void>();
    this.begun.push(sync);
    for (const watcher of this.#watchers.splice(0)) watcher();
    return sync.promise;
  };

  /** Resolves when that many syncs have begun. */
  async reached(count: number): Promise<void> {
    while (this.begun.length < count) {
      await new Promise<void>((resolve) => this.#watchers.push(resolve));
    }
  }

  finish(index: number): void {
    this.begun[index]?.resolve();
  }
}

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

async function setup(more: Partial<SqliteOptions> = {}): Promise<{ db: Database; disk: Disk }> {
  const folder = makeFolder();
  const disk = new Disk();
  const db = await openMain(folder.path, { fdatasync: () => disk.fdatasync(), ...more });
  cleanups.push(async () => {
    const closed = db.close();
    // Whatever still waits for the disk is let go.
    disk.fdatasync = () => Promise.resolve();
    for (const sync of disk.begun) sync.resolve();
    await closed;
    folder.remove();
  });
  return { db, disk };
}

/** Whether a promise has settled, after everything that is ready to run has run. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  promise.then(
    () => {
      settled = true;
    },
    () => {
      settled = true;
    },
  );
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
  return settled;
}

const write = (db: Database, name = "a") => db.tx((tx) => setSetting(tx, name, "1"));

describe("group commit", () => {
  test("a transaction resolves only after a sync that began after its commit", async () => {
    const { db, disk } = await setup();
    const first = write(db, "a");
    await disk.reached(1);
    const second = write(db, "b");
    expect(await isSettled(first)).toBe(false);
    // Committed while the first sync was in flight: that one does not count for it.
    expect(await getSetting(db, "b")).toBe("1");
    disk.finish(0);
    await first;
    expect(await isSettled(second)).toBe(false);
    await disk.reached(2);
    disk.finish(1);
    await second;
    expect(disk.begun).toHaveLength(2);
  });

  test("one sync is in flight at a time, and all that commit meanwhile share the next", async () => {
    const { db, disk } = await setup();
    const first = write(db);
    await disk.reached(1);
    const rest = Array.from({ length: 50 }, (_, index) => write(db, `s${index}`));
    expect(await isSettled(rest[49] as Promise<void>)).toBe(false);
    expect(disk.begun).toHaveLength(1);
    disk.finish(0);
    await first;
    await disk.reached(2);
    disk.finish(1);
    await Promise.all(rest);
    expect(disk.begun).toHaveLength(2);
  });

  test("with seen a transaction resolves at its commit, and the caller waits when it must", async () => {
    const { db, disk } = await setup();
    const seen = { seq: 0 };
    expect(db.isDurable(seen)).toBe(true);
    await db.tx((tx) => setSetting(tx, "a", "1"), { seen });
    expect(db.isDurable(seen)).toBe(false);
    const durable = db.durable(seen);
    await disk.reached(1);
    expect(await isSettled(durable)).toBe(false);
    disk.finish(0);
    await durable;
    expect(db.isDurable(seen)).toBe(true);
    await db.durable(seen);
    expect(disk.begun).toHaveLength(1);
  });

  test("who only read waits for what was read", async () => {
    const { db, disk } = await setup();
    await db.tx((tx) => setSetting(tx, "a", "1"), { seen: { seq: 0 } });
    const readers = [{ seq: 0 }, { seq: 0 }, { seq: 0 }, { seq: 0 }] as const;
    await db.get(sql`select name from settings`, readers[0]);
    await db.all(sql`select name from settings`, readers[1]);
    await db.scan(sql`select name from settings`, readers[2]);
    await db.tx((tx) => getSetting(tx, "a"), { seen: readers[3] });
    for (const seen of readers) expect(db.isDurable(seen)).toBe(false);
    // A transaction without seen waits too, even when it wrote nothing or failed.
    const reading = db.tx((tx) => getSetting(tx, "a"));
    const failing = codeOf(db.tx((tx) => tx.run(sql`insert into settings values ('a', '')`)));
    expect(await isSettled(Promise.race([reading, failing]))).toBe(false);
    await disk.reached(1);
    disk.finish(0);
    expect(await reading).toBe("1");
    expect(await failing).toBe("conflict");
    for (const seen of readers) expect(db.isDurable(seen)).toBe(true);
  });

  test("what changes nothing costs no sync and is no commit", async () => {
    const { db, disk } = await setup();
    const before = snapshotCounters();
    await db.tx(async (tx) => {
      await getSetting(tx, "a");
      await tx.run(sql`delete from settings where name = 'a'`);
      await tx.run(sql`update settings set value = '' where name = 'a'`);
    });
    expect(disk.begun).toHaveLength(0);
    expect(countersSince(before)).toMatchObject({ commits: 0, fsyncs: 0, sqlStatements: 5 });
  });

  test("nothing waits with durability normal", async () => {
    const { db, disk } = await setup({ durability: "normal" });
    const seen = { seq: 0 };
    await write(db);
    await db.tx((tx) => setSetting(tx, "b", "1"), { seen });
    expect(db.isDurable(seen)).toBe(true);
    await db.durable(seen);
    expect(disk.begun).toHaveLength(0);
  });

  test("16 writers need at most a quarter of an fsync per acknowledgement", async () => {
    const { db } = await setup({
      fdatasync: () => new Promise((resolve) => setImmediate(resolve)),
    });
    const before = snapshotCounters();
    let left = 800;
    const writer = async (): Promise<void> => {
      while (left-- > 0) await write(db, `s${left % 50}`);
    };
    await Promise.all(Array.from({ length: 16 }, writer));
    const { commits, fsyncs, sqlStatements } = countersSince(before);
    expect(commits).toBe(800);
    expect(fsyncs).toBeLessThanOrEqual(200);
    expect(sqlStatements).toBe(3 * 800);
  });
});

describe("a failed fdatasync", () => {
  test("stops all acknowledgements for ever and tells the process once", async () => {
    const fatal: Error[] = [];
    let syncs = 0;
    const { db } = await setup({
      onFatal: (error) => fatal.push(error),
      fdatasync: async () => {
        syncs += 1;
        // Only the first one fails: a kernel may report a lost page a single time.
        if (syncs === 1) throw new Error("EIO");
      },
    });
    const seen = { seq: 0 };
    await db.tx((tx) => setSetting(tx, "a", "1"), { seen });
    const waiting = [write(db, "b"), db.durable(seen), write(db, "c")];
    expect(await Promise.all(waiting.map(codeOf))).toEqual(Array(3).fill("unavailable"));
    expect(await codeOf(write(db, "d"))).toBe("unavailable");
    expect(await codeOf(db.durable(seen))).toBe("unavailable");
    expect(db.isDurable({ seq: 0 })).toBe(false);
    expect(fatal.map((error) => error.message)).toEqual(["EIO"]);
    expect(syncs).toBe(1);
  });
});
