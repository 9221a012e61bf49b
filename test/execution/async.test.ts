import { afterEach, describe, expect, test } from "bun:test";
import { sha256Hex } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/log.ts";
import { PicError } from "../../src/domain/errors.ts";
import {
  asyncBodyBytesMax,
  asyncCountStep,
  asyncDataShare,
  asyncFullMs,
  asyncKeptMax,
  asyncPendingMax,
} from "../../src/domain/limits.ts";
import type { DeferredRequest } from "../../src/execution/api.ts";
import { AsyncRuns } from "../../src/execution/async.ts";
import { asyncResponse } from "../../src/execution/recording.ts";
import { finishAsyncExecution } from "../../src/storage/async-executions.ts";
import { outboxChannel } from "../../src/storage/outbox.ts";
import type { Database } from "../../src/storage/port.ts";
import { sql } from "../../src/storage/sql.ts";
import { FakeTime, request } from "./fakes.ts";
import { type Folder, openFolder } from "./folder.ts";
import { runnable } from "./invoker.ts";

const folders: Folder[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await folder[Symbol.asyncDispose]();
});

async function setup() {
  const folder = await openFolder();
  folders.push(folder);
  const time = new FakeTime();
  const world = {
    script: runnable() as ReturnType<typeof runnable> | null,
    scans: 0,
    admit: (): Promise<void> | null => null,
    added: [] as unknown[],
    shares: [] as (number | undefined)[],
  };
  const db: Database = new Proxy(folder.db, {
    get: (target, name) => {
      if (name === "scan") world.scans += 1;
      const member = Reflect.get(target, name) as unknown;
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
  const script = () => {
    if (world.script === null) throw new PicError("not_found", "There is no such script");
    return world.script;
  };
  let made = 0;
  const runs = new AsyncRuns({
    db,
    catalog: { cached: () => undefined, get: async () => script() },
    usage: {
      admit: (_app, _delta, share) => {
        world.shares.push(share);
        return world.admit();
      },
      add: (...added) => void world.added.push(added),
    },
    clock: time,
    log: silentLogger,
    newId: () => `execution-${String(++made).padStart(6, "0")}`,
  });
  return { db: folder.db, runs, time, world };
}

const asked: DeferredRequest = {
  request_id: "request-1",
  ...request({ body_json: '{"n":1e400}' }),
};

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "none",
    (error: unknown) => (error instanceof PicError ? error.code : String(error)),
  );
}

async function rowsOf(db: Database): Promise<number[]> {
  const count = async (table: "outbox" | "async_executions"): Promise<number> => {
    const of = table === "outbox" ? sql<never>`outbox` : sql<never>`async_executions`;
    return (await db.get(sql<{ n: number }>`select count(*) as n from ${of}`))?.n ?? -1;
  };
  return [await count("outbox"), await count("async_executions")];
}

test("a body that grows as it is kept is refused, and leaves nothing", async () => {
  const { db, runs, world } = await setup();
  // A control character takes seven bytes of JSON in JSON: 60 such requests took 1.4 GB of memory.
  const body_json = JSON.stringify("\u0001".repeat(asyncBodyBytesMax / 2));
  const accepted = runs.accept("script-1", { ...asked, ...request({ body_json }) });
  expect(await codeOf(accepted)).toBe("body_too_large");
  expect(await rowsOf(db)).toEqual([0, 0]);
  expect(world.shares).toEqual([]);
});

test("requests fill only a share of what their app may keep", async () => {
  const { runs, world } = await setup();
  await runs.accept("script-1", asked);
  expect(world.shares).toEqual([asyncDataShare]);
});

/** As if so many requests of app 1 waited. */
async function fill(db: Database, rows: number, prefix = "filled-"): Promise<void> {
  await db.tx(async (tx) => {
    await tx.run(sql`with recursive n (i) as (select 1 union all select i + 1 from n where i < ${rows})
      insert into async_executions (id, app_id, script_id, token_hash, status, attempts, created_at)
      select ${prefix} || printf('%06d', i), 'app-1', 'script-1', printf('%064x', i), 'pending', 0, 1 from n`);
  });
}

describe("accepting", () => {
  test("leaves a delivery and what its caller may ask after, and wakes the dispatcher", async () => {
    const { db, runs, world, time } = await setup();
    const heard: string[] = [];
    const stop = await db.listen(outboxChannel, (app_id) => heard.push(app_id));
    const { execution_id, token } = await runs.accept("script-1", asked);
    expect(token).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(heard).toEqual(["app-1"]);
    stop();
    const [row] = await db.all(sql<Record<string, unknown>>`select * from outbox`);
    expect(row).toMatchObject({
      event_id: execution_id,
      trigger_id: "",
      app_id: "app-1",
      script_id: "script-1",
      source: "route",
      type: "fire",
      depth: 0,
      root_execution_id: execution_id,
      created_at: time.now(),
      due_at: 0,
      attempt: 0,
      lease_owner: null,
      dead_letter_id: null,
    });
    const payload = String(row?.payload);
    expect(JSON.parse(payload)).toEqual(asked);
    expect(JSON.parse(row?.retry as string)).toMatchObject({ max_attempts: 5 });
    expect(world.added).toEqual([["app-1", { rows: 1, bytes: payload.length }]]);
    const [kept] = await db.all(
      sql<{ token_hash: string }>`select token_hash from async_executions`,
    );
    expect(kept?.token_hash).toBe(sha256Hex(token));
  });

  test("takes nothing in for a script that is gone, a module, or one deleted meanwhile", async () => {
    const { db, runs, world } = await setup();
    for (const script of [
      null,
      runnable({ kind: "module" }),
      runnable({ script_id: "script-9" }),
      runnable({ app_id: "app-2" }),
    ]) {
      world.script = script;
      expect(await codeOf(runs.accept(script?.script_id ?? "script-1", asked))).toBe("not_found");
    }
    expect(await rowsOf(db)).toEqual([0, 0]);
  });

  test("tells a caller of a full app to come again, and nothing of why", async () => {
    const { db, runs, world } = await setup();
    world.admit = () => Promise.reject(new PicError("quota_exceeded", "has 9 GB"));
    const error = await runs.accept("script-1", asked).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "overloaded", details: { retry_after_s: 5 } });
    expect(String(error)).not.toContain("GB");
    world.admit = () => Promise.reject(new PicError("unavailable", "away"));
    expect(await codeOf(runs.accept("script-1", asked))).toBe("unavailable");
    expect([await rowsOf(db), world.added]).toEqual([[0, 0], []]);
  });
});

describe("an app has a bounded number of requests waiting", () => {
  test("that are counted once for many", async () => {
    const { db, runs, world } = await setup();
    const burst = Array.from({ length: 200 }, () => runs.accept("script-1", asked));
    await Promise.all(burst);
    expect(await rowsOf(db)).toEqual([200, 200]);
    expect(world.scans).toBe(1);
  });

  test("and refuses more without looking again, until there may be room", async () => {
    const { db, runs, time, world } = await setup();
    await fill(db, asyncPendingMax - 3);
    const burst = Array.from({ length: 20 }, () => codeOf(runs.accept("script-1", asked)));
    const codes = await Promise.all(burst);
    expect(codes.filter((code) => code === "none")).toHaveLength(3);
    expect(codes.filter((code) => code === "overloaded")).toHaveLength(17);
    const { scans } = world;
    expect(await codeOf(runs.accept("script-1", asked))).toBe("overloaded");
    expect(world.scans).toBe(scans);
    world.script = runnable({ app_id: "app-2", script_id: "script-2" });
    expect(await codeOf(runs.accept("script-2", asked))).toBe("none");
    world.script = runnable();
    time.advance(asyncFullMs);
    expect(await codeOf(runs.accept("script-1", asked))).toBe("overloaded");
    await db.tx((tx) =>
      tx.run(sql`update async_executions set status = 'failed', finished_at = 1
      where id like 'filled-%'`),
    );
    time.advance(asyncFullMs);
    expect(await codeOf(runs.accept("script-1", asked))).toBe("none");
    expect(asyncCountStep).toBeLessThan(asyncPendingMax);
  });

  test("and of what has finished only the newest are kept", async () => {
    const { db, runs } = await setup();
    await fill(db, asyncKeptMax + 700);
    await db.tx((tx) => tx.run(sql`update async_executions set status = 'success'`));
    await fill(db, 5, "waits-");
    await runs.accept("script-1", asked);
    expect((await rowsOf(db))[1]).toBe(asyncKeptMax + 6);
    const oldest = sql<{ id: string }>`select min(id) as id from async_executions
      where status = 'success'`;
    expect((await db.get(oldest))?.id).toBe("filled-000701");
  });

  test("a database that is away is no full app", async () => {
    const { runs, world } = await setup();
    const close = folders.splice(0);
    for (const folder of close) await folder[Symbol.asyncDispose]();
    expect(await codeOf(runs.accept("script-1", asked))).toBe("unavailable");
    expect(world.added).toEqual([]);
  });
});

describe("asking", () => {
  test("is answered to who has the token, from the first moment on", async () => {
    const { db, runs } = await setup();
    const one = await runs.accept("script-1", asked);
    const two = await runs.accept("script-1", asked);
    expect(await runs.find(one.execution_id, one.token)).toMatchObject({ status: "pending" });
    await db.tx((tx) =>
      finishAsyncExecution(tx, one.execution_id, {
        status: "success",
        attempts: 1,
        status_code: 201,
        response: { headers: {}, body: "x", truncated: false },
        now: 5,
      }),
    );
    expect(await runs.find(one.execution_id, one.token)).toMatchObject({
      status: "success",
      status_code: 201,
      response: { body: "x" },
    });
    expect(await runs.find(one.execution_id, two.token)).toBeNull();
    expect(await runs.find(two.execution_id, one.token)).toBeNull();
    expect(await runs.find(one.execution_id, sha256Hex(one.token))).toBeNull();
    expect(await runs.find(one.execution_id, "")).toBeNull();
  });
});

describe("what is kept of an answer", () => {
  const answer = { execution_id: "e", status_code: 200, headers: {}, body: "" };

  test("is cut, in whole characters, and says so", () => {
    const body = "é".repeat(5_000);
    const kept = asyncResponse({ ...answer, body_kind: "text", body });
    expect(kept.truncated).toBe(true);
    expect(kept.body).toBe("é".repeat(4_096));
    const small = asyncResponse({ ...answer, body_kind: "json", body: '{"n":1}' });
    expect(small).toMatchObject({ body: '{"n":1}', truncated: false });
  });

  test("has as many headers as there is room for, and says when there are more", () => {
    const value = "v".repeat(4_000);
    const headers = { a: value, b: value, c: value, d: "x" };
    const kept = asyncResponse({ ...answer, body_kind: "none", headers });
    expect(kept).toEqual({ headers: { a: value, b: value }, body: null, truncated: true });
  });

  test("names the type of the body, which its script may have chosen", () => {
    const typeOf = (body_kind: "none" | "json" | "text" | "base64", headers = {}) =>
      asyncResponse({ ...answer, body_kind, headers }).headers["content-type"];
    expect([typeOf("none"), typeOf("json"), typeOf("base64")]).toEqual([
      undefined,
      "application/json",
      "application/octet-stream",
    ]);
    expect(typeOf("text", { "Content-Type": "text/html" })).toBe("text/html");
    expect(asyncResponse({ ...answer, body_kind: "none" }).body).toBeNull();
  });
});
