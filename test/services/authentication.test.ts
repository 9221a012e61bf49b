import { describe, expect, test } from "bun:test";
import type { LogFields, Logger } from "../../src/base/log.ts";
import { silentLogger } from "../../src/base/log.ts";
import { countersSince, snapshotCounters } from "../../src/base/metrics.ts";
import { type AppRole, SCOPES, type Scope } from "../../src/domain/access.ts";
import type { InstanceRole } from "../../src/domain/accounts.ts";
import { credentialTouchMs } from "../../src/domain/limits.ts";
import { Authentication } from "../../src/services/authentication.ts";
import type { Database } from "../../src/storage/port.ts";
import { sql } from "../../src/storage/sql.ts";
import { addAccount, addKey } from "./credentials.ts";
import { codeOf, owner, setup } from "./fakes.ts";

const app = { kind: "app", ref: "default" } as const;

async function ready(role: InstanceRole = "member", membership: AppRole | null = "editor") {
  const t = await setup();
  const app_id = (await t.apps.get("default")).id;
  const memberships = membership === null ? {} : { [app_id]: membership };
  const account = await addAccount(t.db, role, memberships);
  const { raw, id } = await addKey(t.db, account);
  const { token } = await t.sessions.create(account);
  const run = (statement: ReturnType<typeof sql>) => t.db.tx((tx) => tx.run(statement));
  return { ...t, app_id, account, raw, key_id: id, token, run };
}

/** Nobody waits for a touch: it is written when a transaction that came later is through. */
async function touched(db: Database): Promise<void> {
  await db.tx((tx) => tx.get(sql`select 1 as one`));
}

describe("an API key", () => {
  test("says who acts, with what, for which app, from where, by one statement", async () => {
    await using t = await ready();
    const origin = { address: "10.0.0.7", request_id: "r-1" };
    await t.authentication.authenticate(t.raw);
    await touched(t.db);
    const before = snapshotCounters();
    const found = await t.authentication.authenticate(t.raw, app, origin);
    expect(countersSince(before).sqlStatements).toBe(1);
    expect(found).toEqual({
      actor: {
        account_id: t.account.id,
        username: t.account.username,
        role: "member",
        memberships: new Map([[t.app_id, "editor"]]),
        session_hash: null,
        key: {
          id: t.key_id,
          prefix: t.raw.slice(4, 12),
          scopes: SCOPES,
          app_id: null,
          expires_at: null,
        },
        ...origin,
      },
      resource_app_id: t.app_id,
    });
  });

  test("is good until the moment at which it expires", async () => {
    await using t = await ready();
    const expires_at = t.clock.now() + 1_000;
    const { raw } = await addKey(t.db, t.account, { expires_at });
    t.clock.pass(999);
    expect(await t.authentication.authenticate(raw)).not.toBeNull();
    t.clock.pass(1);
    expect(await t.authentication.authenticate(raw)).toBeNull();
    // It does not slide as a session does.
    expect(await t.authentication.authenticate(t.raw)).not.toBeNull();
  });

  test("is written at most once a minute that it is used, the first time at once", async () => {
    await using t = await ready();
    const used = () => t.db.get(sql`select last_used_at as at from api_keys`);
    expect(await used()).toEqual({ at: null });
    const before = snapshotCounters();
    const many = Array.from({ length: 50 }, () => t.authentication.authenticate(t.raw));
    await Promise.all(many);
    await touched(t.db);
    expect(await used()).toEqual({ at: t.clock.now() });
    for (let round = 0; round < 50; round += 1) await t.authentication.authenticate(t.raw);
    t.clock.pass(credentialTouchMs - 1);
    await t.authentication.authenticate(t.raw);
    await touched(t.db);
    expect(countersSince(before).commits).toBe(1);
    t.clock.pass(1);
    await t.authentication.authenticate(t.raw);
    await touched(t.db);
    expect(countersSince(before).commits).toBe(2);
    expect(await used()).toEqual({ at: t.clock.now() });
  });

  test("ends with the row, with its app and with its account", async () => {
    await using t = await ready();
    await t.run(sql`insert into apps (id, slug, name, created_at) values ('a2', 'two', 'Two', 0)`);
    const bound = await addKey(t.db, t.account, { app_id: "a2" });
    expect(await t.authentication.authenticate(bound.raw)).not.toBeNull();
    await t.run(sql`delete from apps where id = 'a2'`);
    expect(await t.authentication.authenticate(bound.raw)).toBeNull();
    expect(await t.authentication.authenticate(t.raw)).not.toBeNull();
    await t.run(sql`delete from accounts where id = ${t.account.id}`);
    expect(await t.authentication.authenticate(t.raw)).toBeNull();
  });

  test("is nothing that only looks like one, and what cannot be one costs no statement", async () => {
    await using t = await ready();
    const other = `pic_${"a".repeat(52)}`;
    const changed = `${t.raw.slice(0, -1)}${t.raw.endsWith("a") ? "b" : "a"}`;
    const foreign = `${t.raw.slice(0, 12)}${"a".repeat(44)}`;
    for (const token of [other, changed, foreign]) {
      expect(await t.authentication.authenticate(token)).toBeNull();
    }
    const before = snapshotCounters();
    for (const token of [
      t.raw.toUpperCase(),
      t.raw.slice(0, -1),
      `${t.raw}a`,
      ` ${t.raw}`,
      `${t.raw}\n`,
      t.raw.replace("pic_", "PIC_"),
      t.raw.replace("pic_", "pcs_"),
      t.raw.replace("pic_", ""),
      t.raw.slice(0, 12),
      "pic_",
      "pic_' or 1=1 --",
      `pic_${"\0".repeat(52)}`,
      `pic_${"é".repeat(52)}`,
      `pic_${"a".repeat(1e6)}`,
    ]) {
      expect(await t.authentication.authenticate(token)).toBeNull();
    }
    expect(countersSince(before).sqlStatements).toBe(0);
  });
});

describe.each(["session", "API key"] as const)("with a %s", (kind) => {
  const credentialOf = (t: { token: string; raw: string }) =>
    kind === "session" ? t.token : t.raw;

  test("a demotion counts with the very next request, and so does a promotion", async () => {
    await using t = await ready("admin", null);
    const role = async () =>
      (await t.authentication.authenticate(credentialOf(t)))?.actor.role ?? null;
    expect(await role()).toBe("admin");
    await t.run(sql`update accounts set role = 'member' where id = ${t.account.id}`);
    expect(await role()).toBe("member");
    await t.run(sql`update accounts set role = 'owner' where id = ${t.account.id}`);
    expect(await role()).toBe("owner");
  });

  test("a membership that is lost or lowered counts with the very next request", async () => {
    await using t = await ready();
    const membership = async () =>
      (await t.authentication.authenticate(credentialOf(t)))?.actor.memberships.get(t.app_id);
    expect(await membership()).toBe("editor");
    await t.run(sql`update app_members set role = 'viewer'`);
    expect(await membership()).toBe("viewer");
    await t.run(sql`delete from app_members`);
    expect(await membership()).toBeUndefined();
  });

  test("an account that is deactivated is out with the very next request", async () => {
    await using t = await ready();
    await t.authentication.authenticate(credentialOf(t));
    await t.run(sql`update accounts set is_active = 0 where id = ${t.account.id}`);
    expect(await t.authentication.authenticate(credentialOf(t))).toBeNull();
    const refused = t.authentication.authoriseScript(credentialOf(t), "script.execute", "x");
    expect(await codeOf(refused)).toBe("unauthenticated");
  });

  test("a touch that fails is logged without the credential, and refuses nobody", async () => {
    await using t = await ready();
    t.clock.pass(credentialTouchMs);
    const logged: { message: string; fields: LogFields | undefined }[] = [];
    const log: Logger = {
      ...silentLogger,
      warn: (message, fields) => void logged.push({ message, fields }),
    };
    const db = new Proxy(t.db, {
      get: (from, name) =>
        name === "tx"
          ? () => Promise.reject(new Error("the disk is full"))
          : Reflect.get(from, name).bind(from),
    });
    const authentication = new Authentication({
      db,
      clock: t.storedClock,
      log,
      session_ttl_hours: 1,
    });
    for (let round = 0; round < 2; round += 1) {
      expect(await authentication.authenticate(credentialOf(t))).not.toBeNull();
      // What was not written is tried again, but only after it failed.
      await Promise.resolve();
      await Promise.resolve();
    }
    expect(logged.length).toBeGreaterThan(0);
    expect(JSON.stringify(logged)).not.toContain(credentialOf(t).slice(4));
  });
});

describe("a script is run", () => {
  async function scripted(membership: AppRole | null, role: InstanceRole = "member") {
    const t = await ready(role, membership);
    const { script } = await t.scripts.create(await owner(t.db), { name: "a", source: "" });
    const judge = (token: string | null, id = script.id) =>
      codeOf(t.authentication.authoriseScript(token, "script.execute", id));
    const keyOf = async (scopes: readonly Scope[], app_id: string | null = null) =>
      (await addKey(t.db, t.account, { scopes, app_id })).raw;
    return { ...t, script, judge, keyOf };
  }

  test("by nobody without a good credential, whether or not there is such a script", async () => {
    await using t = await scripted("admin");
    for (const token of [null, "", "x", `pcs_${"a".repeat(43)}`, `pic_${"a".repeat(52)}`]) {
      expect(await t.judge(token)).toBe("unauthenticated");
      expect(await t.judge(token, "nothing")).toBe("unauthenticated");
    }
  });

  test("by who may, with a session or with a key for it, by one statement", async () => {
    await using t = await scripted("editor");
    const key = await t.keyOf(["script:execute"]);
    const bound = await t.keyOf(["script:execute"], t.app_id);
    for (const token of [t.token, key, bound]) {
      await t.judge(token);
      await touched(t.db);
      const before = snapshotCounters();
      expect(await t.judge(token)).toBe("none");
      expect(countersSince(before).sqlStatements).toBe(1);
    }
  });

  test("not by who sees the app only, nor with a key for something else", async () => {
    await using viewer = await scripted("viewer");
    expect(await viewer.judge(viewer.token)).toBe("forbidden");
    expect(await viewer.judge(viewer.raw)).toBe("forbidden");
    await using t = await scripted("admin");
    const others = SCOPES.filter((scope) => scope !== "script:execute");
    expect(await t.judge(await t.keyOf(others))).toBe("forbidden");
  });

  test("is not found by who does not see its app, as if it were not there", async () => {
    await using t = await scripted(null);
    const messageOf = async (token: string, id: string) => {
      const judged = t.authentication.authoriseScript(token, "script.execute", id);
      return judged.then(String, String);
    };
    for (const token of [t.token, t.raw]) {
      expect(await t.judge(token)).toBe("not_found");
      expect(await messageOf(token, t.script.id)).toBe(await messageOf(token, "nothing"));
    }
  });

  test("is not found with a key that is bound to another app, also of an owner", async () => {
    await using t = await scripted(null, "owner");
    await t.run(sql`insert into apps (id, slug, name, created_at) values ('a2', 'two', 'Two', 0)`);
    expect(await t.judge(t.token)).toBe("none");
    expect(await t.judge(await t.keyOf(["script:execute"], "a2"))).toBe("not_found");
  });
});
