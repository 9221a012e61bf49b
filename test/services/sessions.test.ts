import { describe, expect, test } from "bun:test";
import { countersSince, snapshotCounters } from "../../src/base/metrics.ts";
import { credentialTouchMs, userAgentCharsMax } from "../../src/domain/limits.ts";
import type { Database } from "../../src/storage/port.ts";
import { sql } from "../../src/storage/sql.ts";
import { codeOf, firstAccount, setup, startServices } from "./fakes.ts";
import { audited, person } from "./people.ts";

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
      expect(await t.authentication.authenticate(t.token)).toMatchObject({
        actor: { username: "ada" },
      });
      await touched(t.db);
    }
    t.clock.pass(hour);
    expect(await t.authentication.authenticate(t.token)).toBeNull();
  });

  test("is written at most once a minute", async () => {
    await using t = await loggedIn();
    t.clock.pass(credentialTouchMs);
    const before = snapshotCounters();
    for (let round = 0; round < 50; round += 1) await t.authentication.authenticate(t.token);
    await touched(t.db);
    expect(countersSince(before).commits).toBe(1);
    t.clock.pass(credentialTouchMs - 1);
    await t.authentication.authenticate(t.token);
    await touched(t.db);
    expect(countersSince(before).commits).toBe(1);
  });

  test("lets its request through at once when the touch takes long", async () => {
    await using t = await loggedIn();
    t.clock.pass(credentialTouchMs);
    const held = Promise.withResolvers<void>();
    const blocker = t.db.tx(() => held.promise);
    expect(await t.authentication.authenticate(t.token)).toMatchObject({
      actor: { username: "ada" },
    });
    held.resolve();
    await blocker;
    await touched(t.db);
  });

  test("is read with all that judges it by one statement, and nothing of it is kept", async () => {
    await using t = await loggedIn();
    const before = snapshotCounters();
    await t.authentication.authenticate(t.token, { kind: "app", ref: "default" });
    expect(countersSince(before).sqlStatements).toBe(1);
    await t.db.tx((tx) => tx.run(sql`delete from sessions`));
    expect(await t.authentication.authenticate(t.token)).toBeNull();
  });

  test("ends at once with logout", async () => {
    await using t = await loggedIn();
    const found = await t.authentication.authenticate(t.token);
    if (found === null) throw new Error("no session");
    await t.accounts.logout(found.actor);
    expect(await t.authentication.authenticate(t.token)).toBeNull();
  });

  test("of an account that is switched off is refused", async () => {
    await using t = await loggedIn();
    await t.db.tx((tx) => tx.run(sql`update accounts set is_active = 0`));
    expect(await t.authentication.authenticate(t.token)).toBeNull();
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
    expect(await t.authentication.authenticate(token)).toBeNull();
  });

  test("that expired is deleted with the next login", async () => {
    await using t = await loggedIn();
    t.clock.pass(25 * hour);
    await t.sessions.create(t.account);
    const rows = await t.db.all(sql`select * from sessions`);
    expect(rows).toHaveLength(1);
  });
});

describe("one's own sessions", () => {
  const firstPage = { limit: 9, cursor: null };

  /** Three of ada's, of which the first one asks, and one of somebody else. */
  async function several() {
    const t = await setup();
    const ada = await person(t.db, "ada", "owner");
    const mia = await person(t.db, "mia");
    await t.db.tx((tx) => tx.run(sql`delete from sessions`));
    const places = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    const opened = [];
    for (const address of places) {
      t.clock.pass(1_000);
      const place = { address, user_agent: `browser at ${address}` };
      opened.push(await t.sessions.create({ id: ada.account_id }, place));
    }
    const other = await t.sessions.create({ id: mia.account_id });
    const asking = { ...ada, session_hash: opened[0]?.token_hash ?? "" };
    return { ...t, ada: asking, mia, opened, other, [Symbol.asyncDispose]: t[Symbol.asyncDispose] };
  }

  test("are listed newest first with where they were opened, and which one asks", async () => {
    await using t = await several();
    const { items } = await t.sessions.list(t.ada, firstPage);
    expect(items.map((one) => one.address)).toEqual(["10.0.0.3", "10.0.0.2", "10.0.0.1"]);
    expect(items.map((one) => one.current)).toEqual([false, false, true]);
    expect(items.map((one) => one.id)).toEqual(
      t.opened.map((one) => one.token_hash.slice(0, 32)).reverse(),
    );
    t.clock.pass(24 * hour - 1_500);
    const later = await t.sessions.list(t.ada, firstPage);
    expect(later.items.map((one) => one.address)).toEqual(["10.0.0.3", "10.0.0.2"]);
  });

  test("end one by one, and one's own alone", async () => {
    await using t = await several();
    const id = t.opened[1]?.token_hash.slice(0, 32) ?? "";
    expect(await codeOf(t.sessions.end(t.mia, id))).toBe("not_found");
    expect(await codeOf(t.sessions.end(t.ada, id))).toBe("none");
    expect(await codeOf(t.sessions.end(t.ada, id))).toBe("not_found");
    for (const wrong of ["", "%", "' or 1=1", "\0", t.opened[0]?.token ?? ""]) {
      expect(await codeOf(t.sessions.end(t.ada, wrong))).not.toBe("none");
    }
    expect(await t.authentication.authenticate(t.opened[1]?.token ?? "")).toBeNull();
    expect(await t.authentication.authenticate(t.opened[2]?.token ?? "")).not.toBeNull();
    expect(await audited(t.db, "session.")).toMatchObject([
      { action: "session.end", actor_name: "ada" },
    ]);
  });

  test("end all at once but the one that asks", async () => {
    await using t = await several();
    expect(await t.sessions.endOthers(t.ada)).toBe(2);
    expect(await t.sessions.endOthers(t.ada)).toBe(0);
    expect(await t.authentication.authenticate(t.opened[0]?.token ?? "")).not.toBeNull();
    expect(await t.authentication.authenticate(t.opened[1]?.token ?? "")).toBeNull();
    expect(await t.authentication.authenticate(t.other.token)).not.toBeNull();
    expect(await audited(t.db, "session.")).toMatchObject([
      { action: "session.end_others", detail: { sessions: 2 } },
    ]);
  });

  test.each([
    ["x".repeat(100_000), "x".repeat(userAgentCharsMax)],
    ["a\nb\0c\u202ed", "a b c d"],
    [
      `${"x".repeat(userAgentCharsMax - 1)}\ud83d\ude00`,
      `${"x".repeat(userAgentCharsMax - 1)}\ufffd`,
    ],
    ["'); drop table sessions; --", "'); drop table sessions; --"],
  ])("take what a stranger calls itself as one bounded line", async (user_agent, kept) => {
    await using t = await setup();
    const ada = await person(t.db, "ada");
    await t.sessions.create({ id: ada.account_id }, { address: user_agent, user_agent });
    const [session] = (await t.sessions.list(ada, firstPage)).items;
    expect(session?.user_agent).toBe(kept);
    expect(session?.address.length).toBeLessThanOrEqual(64);
  });
});

describe("after a start in 1970", () => {
  test("a live session goes on, an expired one stays expired", async () => {
    await using t = await loggedIn({ ttl_hours: 1 });
    t.clock.pass(2 * hour);
    const { token: live } = await t.sessions.create(t.account);
    t.clock.wall = 1_000;
    const later = await startServices(t.db, t.clock, 1);
    expect(await later.authentication.authenticate(live)).toMatchObject({
      actor: { username: "ada" },
    });
    expect(await later.authentication.authenticate(t.token)).toBeNull();
    t.clock.pass(10 * hour);
    expect(await later.authentication.authenticate(live)).toMatchObject({
      actor: { username: "ada" },
    });
  });

  test("a session made there expires when real time has caught up", async () => {
    await using t = await loggedIn({ ttl_hours: 1 });
    const real = t.clock.wall;
    t.clock.wall = 1_000;
    const later = await startServices(t.db, t.clock, 1);
    const { token } = await later.sessions.create(t.account);
    expect(await later.authentication.authenticate(token)).not.toBeNull();
    t.clock.wall = real + 2 * hour;
    expect(await later.authentication.authenticate(token)).toBeNull();
  });
});
