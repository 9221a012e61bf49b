import { describe, expect, test } from "bun:test";
import { countersSince, snapshotCounters } from "../../../src/base/metrics.ts";
import type { ResourceRef } from "../../../src/domain/access.ts";
import type { Account } from "../../../src/domain/accounts.ts";
import type { Route } from "../../../src/domain/routes.ts";
import {
  readKeyAccess,
  readPresentAccess,
  readSessionAccess,
} from "../../../src/storage/access.ts";
import { insertAccount } from "../../../src/storage/accounts.ts";
import { insertApiKey } from "../../../src/storage/api-keys.ts";
import { insertApp } from "../../../src/storage/apps.ts";
import { putMember } from "../../../src/storage/members.ts";
import type { Database } from "../../../src/storage/port.ts";
import { insertRoute } from "../../../src/storage/routes.ts";
import { insertSession } from "../../../src/storage/sessions.ts";
import { sql } from "../../../src/storage/sql.ts";
import { app, codeOf, type Engine, opener, script, seed } from "./engine.ts";

type Open = ReturnType<typeof opener>;

const none: ResourceRef = { kind: "none" };
const token_hash = "a".repeat(64);
const good = { prefix: "abcdefgh", secret_hash: "b".repeat(64) };
const appId = "0198a7e2-3c4d-7e5f-8a9b-0c1d2e3f4a5b";

export function accessConformance(engine: Engine): void {
  const open = opener(engine);
  describe("a session", () => sessionTests(open));
  describe("an API key", () => keyTests(open));
  describe("who was let in", () => presentTests(open));
  describe("what a call names", () => resourceTests(open));
}

function sessionTests(open: Open): void {
  test("is read with its account and its memberships in one statement", async () => {
    const { db } = await open();
    await seedAccess(db, { role: "member" });
    await join(db, "app-1", "viewer");
    await join(db, "app-2", "admin");
    const resource = { kind: "app", ref: "default" } as const;
    // A connection that is new says more than was asked.
    await readSessionAccess(db, token_hash, resource);
    const before = snapshotCounters();
    const found = await readSessionAccess(db, token_hash, resource);
    expect(countersSince(before).sqlStatements).toBe(1);
    expect(found).toEqual({
      account_id: "a1",
      username: "user-a1",
      role: "member",
      memberships: new Map([
        ["app-1", "viewer"],
        ["app-2", "admin"],
      ]),
      resource_app_id: app.id,
      expires_at: 100,
      used_at: 50,
      key: null,
    });
  });

  test("of a member of nothing has no memberships; those of others are not among them", async () => {
    const { db } = await open();
    await seedAccess(db, { role: "member" });
    await db.tx(async (tx) => {
      await insertAccount(tx, account({ id: "a2", username: "user-a2" }));
      const membership = { account_id: "a2", role: "admin" as const };
      await putMember(tx, { ...membership, app_id: app.id, created_at: 1, created_by: null });
    });
    expect((await readSessionAccess(db, token_hash, none))?.memberships).toEqual(new Map());
    await addKey(db, {});
    expect((await readKeyAccess(db, good, none))?.memberships).toEqual(new Map());
  });

  test.each(["admin", "owner"] as const)(
    "of an %s comes in one row, whatever it belongs to",
    async (role) => {
      const { db } = await open();
      await seedAccess(db, { role });
      for (const id of ["app-1", "app-2"]) await join(db, id, "viewer");
      const found = await readSessionAccess(db, token_hash, none);
      expect(found).toMatchObject({ role, memberships: new Map(), resource_app_id: null });
    },
  );

  test("of a member of hundreds of apps has them all", async () => {
    const { db } = await open();
    await seedAccess(db, { role: "member" });
    const ids = Array.from({ length: 300 }, (_, index) => `app-n${index}`);
    await db.tx(async (tx) => {
      for (const id of ids) {
        await insertApp(tx, { ...app, id, slug: id });
        const role = "editor";
        await putMember(tx, {
          app_id: id,
          account_id: "a1",
          role,
          created_at: 1,
          created_by: null,
        });
      }
    });
    const found = await readSessionAccess(db, token_hash, { kind: "app", ref: "app-n7" });
    expect([...(found?.memberships.keys() ?? [])].sort()).toEqual(ids.sort());
    expect(found?.resource_app_id).toBe("app-n7");
  });

  test("of an account that is not active is none, and so is an unknown one", async () => {
    const { db } = await open();
    await seedAccess(db, { is_active: false });
    for (const hash of [token_hash, "c".repeat(64), "", "' or 1=1 --", token_hash.toUpperCase()]) {
      expect(await readSessionAccess(db, hash, none)).toBeNull();
    }
    await db.tx((tx) => tx.run(sql`update accounts set is_active = 1`));
    expect(await readSessionAccess(db, token_hash, none)).not.toBeNull();
  });

  test("is read as it is now: a role and a membership that are gone are gone", async () => {
    const { db } = await open();
    await seedAccess(db, { role: "member" });
    await join(db, app.id, "admin");
    expect((await readSessionAccess(db, token_hash, none))?.memberships.size).toBe(1);
    await db.tx((tx) => tx.run(sql`delete from app_members`));
    expect((await readSessionAccess(db, token_hash, none))?.memberships.size).toBe(0);
    await db.tx((tx) => tx.run(sql`update accounts set role = 'admin'`));
    expect((await readSessionAccess(db, token_hash, none))?.role).toBe("admin");
  });
}

function presentTests(open: Open): void {
  test("has the rights of now, by session or by key, and none when that has ended", async () => {
    const { db } = await open();
    await seedAccess(db, { role: "member" });
    await addKey(db, {});
    const key = (await readKeyAccess(db, good, none))?.key ?? null;
    expect(key).not.toBeNull();
    const credentials = [
      { key: null, session_hash: token_hash },
      { key, session_hash: null },
    ];
    const memberships = async () =>
      Promise.all(credentials.map(async (one) => (await readPresentAccess(db, one))?.memberships));
    expect(await memberships()).toEqual([new Map(), new Map()]);
    await join(db, app.id, "admin");
    const admin = new Map([[app.id, "admin" as const]]);
    expect(await memberships()).toEqual([admin, admin]);
    expect((await readPresentAccess(db, { key, session_hash: null }))?.key).toEqual(key);
    await db.tx((tx) => tx.run(sql`update accounts set is_active = 0`));
    expect(await memberships()).toEqual([undefined, undefined]);
    await db.tx((tx) => tx.run(sql`update accounts set is_active = 1`));
    await db.tx((tx) => tx.run(sql`delete from sessions`));
    expect(await memberships()).toEqual([undefined, admin]);
    await db.tx((tx) => tx.run(sql`delete from api_keys`));
    expect(await memberships()).toEqual([undefined, undefined]);
    expect(await readPresentAccess(db, { key: null, session_hash: null })).toBeNull();
  });
}

function keyTests(open: Open): void {
  test("is read with its scopes, its app, its account and its memberships", async () => {
    const { db } = await open();
    await seedAccess(db, { role: "member" });
    await join(db, app.id, "editor");
    const scopes = ["script:read", "log:read"] as const;
    await addKey(db, { app_id: app.id, scopes, expires_at: 70, last_used_at: 60 });
    const resource = { kind: "app", ref: "other" } as const;
    await readKeyAccess(db, good, resource);
    const before = snapshotCounters();
    const found = await readKeyAccess(db, good, resource);
    expect(countersSince(before).sqlStatements).toBe(1);
    expect(found).toEqual({
      account_id: "a1",
      username: "user-a1",
      role: "member",
      memberships: new Map([[app.id, "editor"]]),
      resource_app_id: "app-2",
      expires_at: 70,
      used_at: 60,
      key: { id: "k1", prefix: "abcdefgh", scopes, app_id: app.id, expires_at: 70 },
    });
  });

  test("is known by both of its parts, and by nothing like them", async () => {
    const { db } = await open();
    await seedAccess(db, {});
    await addKey(db, {});
    expect(await readKeyAccess(db, good, none)).toMatchObject({ key: { app_id: null } });
    for (const bad of [
      { ...good, prefix: "abcdefgi" },
      { ...good, prefix: "ABCDEFGH" },
      { ...good, prefix: "" },
      { ...good, prefix: "%" },
      { ...good, prefix: "abcdefgh' --" },
      { ...good, secret_hash: "c".repeat(64) },
      { ...good, secret_hash: "" },
      { ...good, secret_hash: "' or 1=1 --" },
    ]) {
      expect(await readKeyAccess(db, bad, none)).toBeNull();
    }
  });

  test("of an account that is not active is none; one goes with its account and with its app", async () => {
    const { db } = await open();
    await seedAccess(db, {});
    await addKey(db, { app_id: "app-2" });
    await db.tx((tx) => tx.run(sql`update accounts set is_active = 0`));
    expect(await readKeyAccess(db, good, none)).toBeNull();
    await db.tx((tx) => tx.run(sql`update accounts set is_active = 1`));
    expect(await readKeyAccess(db, good, none)).not.toBeNull();
    await db.tx((tx) => tx.run(sql`delete from apps where id = 'app-2'`));
    expect(await readKeyAccess(db, good, none)).toBeNull();
    await addKey(db, {});
    await db.tx((tx) => tx.run(sql`delete from accounts`));
    expect(await readKeyAccess(db, good, none)).toBeNull();
  });
}

function resourceTests(open: Open): void {
  const cases: [string, ResourceRef, string | null][] = [
    ["an app by its id", { kind: "app", ref: appId }, appId],
    ["an app by its slug", { kind: "app", ref: "other" }, "app-2"],
    ["an app whose slug is unknown", { kind: "app", ref: "nothing" }, null],
    ["an app whose id is unknown", { kind: "app", ref: appId.replace("0198", "0199") }, null],
    ["an app by its id in capitals", { kind: "app", ref: appId.toUpperCase() }, null],
    ["an app by an id that is none", { kind: "app", ref: "app-2" }, null],
    ["an app by its slug in capitals", { kind: "app", ref: "OTHER" }, null],
    ["a script", { kind: "script", id: "s1" }, "app-1"],
    ["an unknown script", { kind: "script", id: "s9" }, null],
    ["a script by the id of a route", { kind: "script", id: "r1" }, null],
    ["a route", { kind: "route", id: "r1" }, "app-1"],
    ["an unknown route", { kind: "route", id: "s1" }, null],
    ["nothing", none, null],
    ["an empty text", { kind: "app", ref: "" }, null],
    ["a text that is SQL", { kind: "app", ref: "' or 1=1 --" }, null],
    ["a pattern", { kind: "script", id: "%" }, null],
    ["a long text", { kind: "route", id: "x".repeat(100_000) }, null],
  ];

  test.each(cases)("is found: %s", async (_name, resource, expected) => {
    const { db } = await open();
    await seedAccess(db, { role: "member" });
    await addKey(db, {});
    for (const found of [
      await readSessionAccess(db, token_hash, resource),
      await readKeyAccess(db, good, resource),
    ]) {
      // Who asks is known, whether or not there is what they ask for.
      expect(found).toMatchObject({ account_id: "a1", resource_app_id: expected });
    }
  });

  test.each(["a\0b", "\ud800"])("is refused when no engine keeps it: %j", async (text) => {
    const { db } = await open();
    await seedAccess(db, {});
    const read = readSessionAccess(db, token_hash, { kind: "script", id: text });
    expect(await codeOf(read)).toBe("invalid");
  });
}

/** An account with a session, two apps and one with an id as they are made, a script and a route. */
async function seedAccess(db: Database, of: Partial<Account>): Promise<void> {
  await seed(db, script("s1"));
  await db.tx(async (tx) => {
    await insertApp(tx, { ...app, id: "app-2", slug: "other" });
    await insertApp(tx, { ...app, id: appId, slug: "third" });
    await insertRoute(tx, route);
    await insertAccount(tx, account(of));
    await insertSession(tx, {
      token_hash,
      account_id: "a1",
      created_at: 1,
      expires_at: 100,
      last_seen_at: 50,
      address: "",
      user_agent: "",
    });
  });
}

async function join(db: Database, app_id: string, role: "admin" | "editor" | "viewer") {
  const member = { app_id, account_id: "a1", role, created_at: 1, created_by: null };
  await db.tx((tx) => putMember(tx, member));
}

async function addKey(db: Database, more: Partial<Parameters<typeof insertApiKey>[1]>) {
  const key = {
    id: "k1",
    account_id: "a1",
    app_id: null,
    name: "a key",
    scopes: ["instance:admin"] as const,
    created_at: 1,
    expires_at: null,
    last_used_at: null,
  };
  await db.tx((tx) => insertApiKey(tx, { ...key, ...good, ...more }));
}

function account(more: Partial<Account>): Account {
  return {
    id: "a1",
    username: "user-a1",
    password_hash: "none",
    role: "owner",
    is_active: true,
    created_at: 1,
    nomination: null,
    ...more,
  };
}

const route: Route = {
  id: "r1",
  app_id: app.id,
  script_id: "s1",
  path: "/a",
  path_kind: "exact",
  method: "GET",
  host: "",
  host_kind: "any",
  host_param_name: null,
  dispatch_mode: "sync",
  created_at: 1,
  created_by: null,
};
