import { expect, test } from "bun:test";
import type { AsyncEnding } from "../../../src/domain/async-executions.ts";
import { insertApp } from "../../../src/storage/apps.ts";
import {
  countAsyncAttempts,
  countPendingAsyncExecutions,
  deleteAsyncExecutionsBefore,
  finishAsyncExecution,
  getAsyncExecution,
  insertAsyncExecution,
  trimAsyncExecutions,
} from "../../../src/storage/async-executions.ts";
import type { Database } from "../../../src/storage/port.ts";
import { deleteScript } from "../../../src/storage/scripts.ts";
import { app, codeOf, type Engine, messageOf, opener, script, seed } from "./engine.ts";

export function asyncExecutionConformance(engine: Engine): void {
  const open = opener(engine);
  const setup = async (): Promise<Database> => {
    const { db } = await open();
    await seed(db, script("s1"), script("s2"));
    return db;
  };

  test("one is pending until it has finished, and then keeps what its script answered", async () => {
    const db = await setup();
    await insert(db, 1);
    expect(await find(db, 1)).toEqual({
      id: idOf(1),
      app_id: app.id,
      script_id: "s1",
      status: "pending",
      attempts: 0,
      status_code: null,
      created_at: begin + 1,
      finished_at: null,
      response: null,
    });
    expect(await db.tx((tx) => countAsyncAttempts(tx, idOf(1), 2))).toBe(true);
    expect(await find(db, 1)).toMatchObject({ status: "pending", attempts: 2 });
    const response = {
      headers: { "x-a": "\u{1f600}" },
      body: '{"a":"\0\ud800"}',
      truncated: true,
    };
    expect(await finish(db, 1, { attempts: 3, status_code: 201, response, now: 9 })).toBe(true);
    expect(await find(db, 1)).toMatchObject({
      status: "success",
      attempts: 3,
      status_code: 201,
      finished_at: 9,
      response,
    });
  });

  test("it is found by its id together with its token, and by nothing else", async () => {
    const db = await setup();
    await insert(db, 1);
    await insert(db, 2);
    for (const [id, token_hash] of [
      [idOf(1), hashOf(2)],
      [idOf(2), hashOf(1)],
      [idOf(3), hashOf(1)],
      [idOf(1), hashOf(3)],
      [idOf(1), ""],
      ["", hashOf(1)],
    ] as const) {
      expect(await getAsyncExecution(db, { id, token_hash })).toBeNull();
    }
  });

  test("a success is final; a failure may be replayed; what is gone is missed by nobody", async () => {
    const db = await setup();
    await insert(db, 1);
    expect(await finish(db, 1, { status: "failed", attempts: 5, now: 5 })).toBe(true);
    expect(await db.tx((tx) => countAsyncAttempts(tx, idOf(1), 6))).toBe(false);
    expect(await finish(db, 1, { status: "failed", attempts: 10, now: 6 })).toBe(true);
    expect(await find(db, 1)).toMatchObject({ status: "failed", attempts: 10, finished_at: 6 });
    expect(await finish(db, 1, { status: "success", attempts: 11, now: 7 })).toBe(true);
    expect(await finish(db, 1, { status: "failed", attempts: 12, now: 8 })).toBe(false);
    expect(await find(db, 1)).toMatchObject({ status: "success", attempts: 11, finished_at: 7 });
    expect(await finish(db, 9, {})).toBe(false);
    expect(await db.tx((tx) => countAsyncAttempts(tx, idOf(9), 1))).toBe(false);
  });

  test("what waits is counted by app, up to a bound", async () => {
    const db = await setup();
    await db.tx((tx) => insertApp(tx, { ...app, id: "app-2", slug: "other" }));
    for (const number of [1, 2, 3, 4]) await insert(db, number);
    await finish(db, 2, {});
    await finish(db, 3, { status: "failed" });
    expect(await countPendingAsyncExecutions(db, app.id, 100)).toBe(2);
    expect(await countPendingAsyncExecutions(db, app.id, 1)).toBe(1);
    expect(await countPendingAsyncExecutions(db, "app-2", 100)).toBe(0);
  });

  test("the oldest that have finished are deleted in chunks; what waits is kept", async () => {
    const db = await setup();
    for (const number of [1, 2, 3, 4, 5]) await insert(db, number);
    for (const number of [1, 3, 4, 5]) await finish(db, number, {});
    const purge = () => db.tx((tx) => deleteAsyncExecutionsBefore(tx, begin + 5, 2));
    expect([await purge(), await purge(), await purge()]).toEqual([2, 1, 0]);
    expect(await find(db, 2)).not.toBeNull();
    expect(await find(db, 5)).not.toBeNull();
    const early = db.tx((tx) => deleteAsyncExecutionsBefore(tx, -1, 2));
    expect(await early).toBe(0);
  });

  test("of an app the newest of a status are kept", async () => {
    const db = await setup();
    await db.tx((tx) => insertApp(tx, { ...app, id: "app-2", slug: "other" }));
    for (const number of [1, 2, 3, 4, 5, 6]) await insert(db, number);
    for (const number of [1, 2, 3, 4]) await finish(db, number, {});
    await finish(db, 5, { status: "failed" });
    const trim = (app_id: string, status: "success" | "failed", limit: number) =>
      db.tx((tx) => trimAsyncExecutions(tx, { app_id, status, keep: 1, limit }));
    expect(await trim("app-2", "success", 9)).toBe(0);
    expect(await trim(app.id, "failed", 9)).toBe(0);
    expect([await trim(app.id, "success", 2), await trim(app.id, "success", 2)]).toEqual([2, 1]);
    const left = await Promise.all([1, 2, 3, 4, 5, 6].map((number) => find(db, number)));
    expect(left.map((one) => one?.status ?? null)).toEqual([
      null,
      null,
      null,
      "success",
      "failed",
      "pending",
    ]);
  });

  test("one of another app's script, of none, or of a known id is refused", async () => {
    const db = await setup();
    await db.tx((tx) => insertApp(tx, { ...app, id: "app-2", slug: "other" }));
    await insert(db, 1);
    for (const bad of [{ app_id: "app-2" }, { script_id: "s9" }, { id: idOf(1) }]) {
      expect(await codeOf(insert(db, 2, bad))).toBe("conflict");
    }
    // the digest alone is stored, never a token
    expect(await messageOf(insert(db, 2, { token_hash: "A".repeat(43) }))).toContain("onstraint");
  });

  test("they go with their script", async () => {
    const db = await setup();
    await insert(db, 1);
    await insert(db, 2, { script_id: "s2" });
    await db.tx((tx) => deleteScript(tx, "s1"));
    expect(await find(db, 1)).toBeNull();
    expect(await find(db, 2)).not.toBeNull();
  });
}

const begin = Date.parse("2030-01-01T00:00:00Z");

type Inserted = Parameters<typeof insertAsyncExecution>[1];

function insert(db: Database, number: number, more: Partial<Inserted> = {}): Promise<void> {
  return db.tx((tx) =>
    insertAsyncExecution(tx, {
      id: idOf(number),
      app_id: app.id,
      script_id: "s1",
      token_hash: hashOf(number),
      created_at: begin + number,
      ...more,
    }),
  );
}

function finish(db: Database, number: number, ending: Partial<AsyncEnding>): Promise<boolean> {
  return db.tx((tx) =>
    finishAsyncExecution(tx, idOf(number), {
      status: "success",
      attempts: 1,
      status_code: null,
      response: null,
      now: 10,
      ...ending,
    }),
  );
}

function find(db: Database, number: number) {
  return getAsyncExecution(db, { id: idOf(number), token_hash: hashOf(number) });
}

/** As newId makes them: the time, then anything. */
function idOf(number: number): string {
  const time = (begin + number).toString(16).padStart(12, "0");
  return `${time.slice(0, 8)}-${time.slice(8)}-7fff-8000-000000000000`;
}

function hashOf(number: number): string {
  return number.toString(16).padStart(64, "0");
}
