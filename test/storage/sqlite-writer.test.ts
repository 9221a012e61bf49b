import { Database as Connection } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { Tx } from "../../src/storage/port.ts";
import { sql } from "../../src/storage/sql.ts";
import { SqliteConnection } from "../../src/storage/sqlite-connection.ts";
import { SqliteWriter, type SqliteWriterOptions } from "../../src/storage/sqlite-writer.ts";
import { codeOf } from "./conformance/engine.ts";
import { makeFolder } from "./sqlite-folder.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

function setup(more: Partial<SqliteWriterOptions> = {}) {
  const folder = makeFolder();
  const path = join(folder.path, "x.db");
  const connection = new SqliteConnection(path);
  connection.exec(
    "pragma journal_mode = wal; pragma synchronous = off; create table t (n integer) strict",
  );
  cleanups.push(() => {
    connection.close();
    folder.remove();
  });
  const writer = new SqliteWriter(connection, {
    clock: systemClock,
    log: silentLogger,
    queueMax: 10_000,
    txMsMax: 5_000,
    onCommit: () => {},
    ...more,
  });
  return { writer, connection, path };
}

const insert = (tx: Tx) => tx.run(sql`insert into t (n) values (1)`);
const forEver = () => new Promise<never>(() => {});

test("a long queue gives the event loop its turns", async () => {
  const { writer } = setup();
  let turns = 0;
  let working = true;
  const all = Promise.all(Array.from({ length: 2_000 }, () => writer.run(insert)));
  const done = all.finally(() => {
    working = false;
  });
  while (working) {
    await new Promise((resolve) => setImmediate(resolve));
    turns += 1;
  }
  await done;
  expect(turns).toBeGreaterThan(1);
});

test("a long transaction gives the event loop its turns, and no other one comes between", async () => {
  const { writer, connection } = setup();
  const order: string[] = [];
  const long = writer.run(async (tx) => {
    // A pause now and then, whichever way the statements are awaited.
    for (let index = 0; index < 3_000; index += 1) {
      await Promise.all(Array.from({ length: 20 }, () => insert(tx)));
      await insert(tx);
    }
    order.push("long");
  });
  let turns = 0;
  const other = writer.run(async (tx) => {
    await insert(tx);
    order.push("other");
  });
  let isDone = false;
  const done = Promise.all([long, other]).finally(() => {
    isDone = true;
  });
  while (!isDone) {
    await new Promise((resolve) => setImmediate(resolve));
    if (order.length === 0) turns += 1;
  }
  await done;
  expect(order).toEqual(["long", "other"]);
  expect(turns).toBeGreaterThan(1);
  expect(connection.get(sql<{ n: number }>`select count(*) as n from t`)?.n).toBe(3_000 * 21 + 1);
});

test("who waits behind a transaction that hangs is refused in time, and it is rolled back", async () => {
  let at = 0;
  const clock = { now: () => 0, monotonic: () => at };
  const { writer, connection } = setup({ txMsMax: 20, clock });
  const stuck = writer.run(async (tx) => {
    await insert(tx);
    await forEver();
  });
  const behind = [writer.run(insert), writer.run(insert)];
  at = 25;
  const outcomes = await Promise.all([stuck, ...behind].map(codeOf));
  expect(outcomes).toEqual(["unavailable", "unavailable", "unavailable"]);
  await writer.drained();
  expect(connection.get(sql`select count(*) as n from t`)).toEqual({ n: 0 });
  await writer.run(insert);
  expect(connection.get(sql`select count(*) as n from t`)).toEqual({ n: 1 });
});

test("a function that fails after its deadline is not an unhandled rejection", async () => {
  const { writer } = setup({ txMsMax: 20 });
  let fail = (): void => {};
  const late = writer.run(
    () =>
      new Promise((_, reject) => {
        fail = () => reject(new Error("late"));
      }),
  );
  expect(await codeOf(late)).toBe("unavailable");
  fail();
  await new Promise((resolve) => setImmediate(resolve));
  await writer.run(insert);
});

test("no transaction begins while the writer is paused, and failing work ends the pause", async () => {
  const { writer, connection } = setup();
  const work = Promise.withResolvers<void>();
  const paused = writer.pauseFor(() => work.promise);
  const waiting = writer.run(insert);
  await new Promise((resolve) => setImmediate(resolve));
  expect(connection.get(sql`select count(*) as n from t`)).toEqual({ n: 0 });
  work.reject(new Error("the thread died"));
  await paused;
  await waiting;
  expect(connection.get(sql`select count(*) as n from t`)).toEqual({ n: 1 });
});

test("a database that another program holds is refused, and the writer goes on", async () => {
  const { writer, connection, path } = setup();
  connection.exec("pragma busy_timeout = 10");
  const other = new Connection(path);
  other.run("begin immediate");
  expect(await codeOf(writer.run(insert))).toBe("unavailable");
  other.run("rollback");
  other.close();
  await writer.run(insert);
});

test("a long queue keeps its order", async () => {
  const { writer } = setup();
  const order: number[] = [];
  await Promise.all(
    Array.from({ length: 3_000 }, (_, index) =>
      writer.run(async () => {
        order.push(index);
      }),
    ),
  );
  expect(order).toEqual(Array.from({ length: 3_000 }, (_, index) => index));
});
