import { expect, test } from "bun:test";
import { DocIndexBuilder } from "../../src/background/doc-indexes.ts";
import { silentLogger } from "../../src/base/log.ts";
import { PicError } from "../../src/domain/errors.ts";
import { docIndexRetryMsMax, docIndexRetryMsMin } from "../../src/domain/limits.ts";
import { insertDoc } from "../../src/storage/docs.ts";
import type { Database } from "../../src/storage/port.ts";
import { sql } from "../../src/storage/sql.ts";
import { entryFaults, setupDocs, unlimited } from "../bindings/docs-setup.ts";
import { FakeTime, settled, until } from "../execution/fakes.ts";
import { openFolder } from "../execution/folder.ts";

async function setup() {
  const folder = await openFolder();
  const time = new FakeTime();
  const make = (db: Database = folder.db) =>
    new DocIndexBuilder({
      db,
      usage: unlimited,
      clock: time,
      log: silentLogger,
      startTimer: time.startTimer,
    });
  const fill = async (count: number): Promise<void> => {
    await folder.db.tx(async (tx) => {
      for (let n = 0; n < count; n += 1) {
        const id = `d${String(n).padStart(4, "0")}`;
        const place = { app_id: "app-1", collection: "c", id };
        await insertDoc(tx, place, { value: JSON.stringify({ id, n }), now: 1 });
      }
    });
  };
  return { ...folder, ...setupDocs(folder.db), time, make, fill };
}

test("it sleeps without a timer while there is nothing to build, and wakes for a new index", async () => {
  await using bundle = await setup();
  const { call, time } = bundle;
  await bundle.fill(300);
  const builder = bundle.make();
  await builder.start();
  await builder.idle();
  expect(time.timers).toBe(0);
  expect(await call("createIndex", { field: "n" })).toMatchObject({ state: "building" });
  await builder.idle();
  expect(await call("indexes")).toEqual([{ field: "n", state: "ready" }]);
  expect(await entryFaults(bundle.db)).toEqual([]);
  expect(time.timers).toBe(0);
  await builder.stop();
  await builder.stop();
});

test("stopped in the middle it ends at its step; the next one goes on from there", async () => {
  await using bundle = await setup();
  const { db, call } = bundle;
  await bundle.fill(2_000);
  await call("createIndex", { field: "n" });
  const builder = bundle.make();
  await builder.start();
  const builtTo = async () =>
    (await db.get(
      sql<{ built_to: string; state: string }>`select built_to, state from doc_indexes`,
    )) ?? {
      built_to: "",
      state: "",
    };
  const began = (await builtTo()).built_to;
  while ((await builtTo()).built_to === began)
    await new Promise((resolve) => setImmediate(resolve));
  await builder.stop();
  const stopped = await builtTo();
  expect(stopped.state).toBe("building");
  await settled();
  expect(await builtTo()).toEqual(stopped);
  const next = bundle.make();
  await next.start();
  await next.idle();
  expect((await builtTo()).state).toBe("ready");
  expect(await entryFaults(db)).toEqual([]);
  await next.stop();
});

test("while the database is away it tries again, ever more rarely", async () => {
  await using bundle = await setup();
  const { db, call, time } = bundle;
  await bundle.fill(300);
  await call("createIndex", { field: "n" });
  let isAway = true;
  let tries = 0;
  const away = new Proxy(db, {
    get(target, name) {
      const value = Reflect.get(target, name) as unknown;
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        if (name === "all") tries += 1;
        if (name === "all" && isAway) return Promise.reject(new PicError("unavailable", "away"));
        return Reflect.apply(value, target, args) as unknown;
      };
    },
  });
  const builder = bundle.make(away);
  await builder.start();
  const waits: (number | null)[] = [];
  for (let round = 1; round <= 8; round += 1) {
    await until(() => tries === round && time.timers === 1);
    waits.push(time.nextIn);
    if (round === 8) isAway = false;
    time.advance(docIndexRetryMsMax);
  }
  expect(waits.slice(0, 2)).toEqual([docIndexRetryMsMin, docIndexRetryMsMin * 2]);
  expect(waits.at(-1)).toBe(docIndexRetryMsMax);
  await builder.idle();
  expect(await call("indexes")).toEqual([{ field: "n", state: "ready" }]);
  expect(time.timers).toBe(0);
  await builder.stop();
});

test("requests come between two steps", async () => {
  await using bundle = await setup();
  await bundle.fill(1_000);
  await bundle.call("createIndex", { field: "n" });
  const builder = bundle.make();
  await builder.start();
  let between = 0;
  const ended = builder.idle().then(() => true);
  const tick = (): Promise<boolean> => new Promise((resolve) => setImmediate(() => resolve(false)));
  while (!(await Promise.race([ended, tick()]))) between += 1;
  expect(between).toBeGreaterThan(10);
  await builder.stop();
});
