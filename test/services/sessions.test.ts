import { describe, expect, test } from "bun:test";
import { countersSince, snapshotCounters } from "../../src/base/metrics.ts";
import { sessionCacheMs, sessionTouchMs } from "../../src/domain/limits.ts";
import type { Database } from "../../src/storage/port.ts";
import { sql } from "../../src/storage/sql.ts";
import { firstAccount, setup, startServices } from "./fakes.ts";

const hour = 3_600_000;

async function loggedIn(options: { ttl_hours?: number } = {}) {
  const t = await setup(options);
  const account = await firstAccount(t.accounts);
  const { token } = await t.sessions.create(account);
  return { ...t, account, token, [Symbol.asyncDispose]: t[Symbol.asyncDispose] };
}

/** Nobody waits for a touch: it is written when a transaction that came later is through. */
async function touched(db: Database): Promise<void> {
  await db.tx((tx) => tx.get(sql`select 1 as one`));
}

describe("a session", () => {
  test("is stored only as a hash", async () => {
    await using t = await loggedIn();
    const rows = await t.db.all(sql`select * from sessions`);
    expect(JSON.stringify(rows)).not.toContain(t.token.slice(4));
    expect(t.token).toMatch(/^pcs_[\w-]{43}$/);
  });

  test("slides while it is used, and ends when it was not used for its time", async () => {
    await using t = await loggedIn({ ttl_hours: 1 });
    for (let round = 0; round < 5; round += 1) {
      t.clock.pass(hour - 1_000);
      expect(await t.sessions.authenticate(t.token)).toMatchObject({ username: "ada" });
      await touched(t.db);
    }
    t.clock.pass(hour);
    expect(await t.sessions.authenticate(t.token)).toBeNull();
  });

  test("is written at most once a minute", async () => {
    await using t = await loggedIn();
    t.clock.pass(sessionTouchMs);
    const before = snapshotCounters();
    for (let round = 0; round < 50; round += 1) await t.sessions.authenticate(t.token);
    await touched(t.db);
    expect(countersSince(before).commits).toBe(1);
    t.clock.pass(sessionTouchMs - 1);
    await t.sessions.authenticate(t.token);
    await touched(t.db);
    expect(countersSince(before).commits).toBe(1);
  });

  test("lets its request through at once when the touch takes long", async () => {
    await using t = await loggedIn();
    t.clock.pass(sessionTouchMs);
    const held = Promise.withResolvers<void>();
    const blocker = t.db.tx(() => held.promise);
    expect(await t.sessions.authenticate(t.token)).toMatchObject({ username: "ada" });
    held.resolve();
    await blocker;
    await touched(t.db);
  });

  test("is asked of the database once while it is in the cache", async () => {
    await using t = await loggedIn();
    await t.sessions.authenticate(t.token);
    const before = snapshotCounters();
    for (let round = 0; round < 50; round += 1) await t.sessions.authenticate(t.token);
    expect(countersSince(before).sqlStatements).toBe(0);
  });

  test("ends at once with logout, whatever the cache holds", async () => {
    await using t = await loggedIn();
    const actor = await t.sessions.authenticate(t.token);
    if (actor === null) throw new Error("no session");
    const during = t.sessions.authenticate(t.token);
    await t.sessions.logout(actor);
    await during;
    expect(await t.sessions.authenticate(t.token)).toBeNull();
  });

  test("that another process ended is refused soon", async () => {
    await using t = await loggedIn();
    await t.sessions.authenticate(t.token);
    await t.db.tx((tx) => tx.run(sql`delete from sessions`));
    t.clock.pass(sessionCacheMs);
    expect(await t.sessions.authenticate(t.token)).toBeNull();
  });

  test("of an account that is switched off is refused", async () => {
    await using t = await loggedIn();
    await t.db.tx((tx) => tx.run(sql`update accounts set is_active = 0`));
    expect(await t.sessions.authenticate(t.token)).toBeNull();
  });

  test.each([
    "",
    "pcs_",
    "pic_abc",
    `pcs_${"a".repeat(43)}`,
    "pcs_' or 1=1",
    "\0",
    "x".repeat(1e5),
  ])("is not opened by %p", async (token) => {
    await using t = await loggedIn();
    expect(await t.sessions.authenticate(token)).toBeNull();
  });

  test("that expired is deleted with the next login", async () => {
    await using t = await loggedIn();
    t.clock.pass(25 * hour);
    await t.sessions.create(t.account);
    const rows = await t.db.all(sql`select * from sessions`);
    expect(rows).toHaveLength(1);
  });
});

describe("after a start in 1970", () => {
  test("a live session goes on, an expired one stays expired", async () => {
    await using t = await loggedIn({ ttl_hours: 1 });
    t.clock.pass(2 * hour);
    const { token: live } = await t.sessions.create(t.account);
    t.clock.wall = 1_000;
    const later = await startServices(t.db, t.clock, 1);
    expect(await later.sessions.authenticate(live)).toMatchObject({ username: "ada" });
    expect(await later.sessions.authenticate(t.token)).toBeNull();
    t.clock.pass(10 * hour);
    expect(await later.sessions.authenticate(live)).toMatchObject({ username: "ada" });
  });

  test("a session made there expires when real time has caught up", async () => {
    await using t = await loggedIn({ ttl_hours: 1 });
    const real = t.clock.wall;
    t.clock.wall = 1_000;
    const later = await startServices(t.db, t.clock, 1);
    const { token } = await later.sessions.create(t.account);
    expect(await later.sessions.authenticate(token)).not.toBeNull();
    t.clock.wall = real + 2 * hour;
    expect(await later.sessions.authenticate(token)).toBeNull();
  });
});
