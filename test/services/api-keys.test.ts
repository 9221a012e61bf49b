/** API keys: what is made, who sees what, who revokes what, and that rights are those of this moment. */
import { describe, expect, test } from "bun:test";
import { sha256Hex } from "../../src/base/ids.ts";
import { type AppRole, SCOPES, type Scope } from "../../src/domain/access.ts";
import type { Account, Actor, InstanceRole } from "../../src/domain/accounts.ts";
import { apiKeysPerAccountMax, credentialTouchMs } from "../../src/domain/limits.ts";
import { ApiKeys } from "../../src/services/api-keys.ts";
import { listApiKeys } from "../../src/storage/api-keys.ts";
import { sql } from "../../src/storage/sql.ts";
import { addAccount } from "./credentials.ts";
import { codeOf, setup } from "./fakes.ts";

const whole = { limit: 200, cursor: null };
const origin = { address: "10.0.0.7", request_id: "request-7" };

/** Two apps, and whoever is asked for. */
async function ready() {
  const t = await setup();
  const chief = await addAccount(t.db, "owner");
  const as = async (token: string): Promise<Actor> => {
    const found = await t.authentication.authenticate(token, { kind: "none" }, origin);
    if (found === null) throw new Error("the token is no good");
    return found.actor;
  };
  const session = async (account: Account): Promise<Actor> =>
    as((await t.sessions.create(account)).token);
  const owner = await session(chief);
  const blog = await t.apps.create(owner, { slug: "blog", name: "Blog" });
  const shop = await t.apps.create(owner, { slug: "shop", name: "Shop" });
  const someone = async (role: InstanceRole, memberships: Record<string, AppRole> = {}) => {
    const account = await addAccount(t.db, role, memberships);
    return { account, actor: await session(account) };
  };
  /** A key of this actor, and the actor who comes with it. */
  const keyed = async (
    actor: Actor,
    given: { scopes?: readonly Scope[]; app?: string; expires_at?: number } = {},
  ) => {
    const made = await t.apiKeys.create(actor, { name: "k", scopes: ["script:read"], ...given });
    return { id: made.key.id, raw: made.raw_token, actor: () => as(made.raw_token) };
  };
  const listed = async (actor: Actor, asked: { app?: string; account?: string } = {}) =>
    (await t.apiKeys.list(actor, asked, whole)).items.map(({ id }) => id).sort();
  return {
    ...t,
    ...{ owner, blog, shop, someone, keyed, listed, as },
    [Symbol.asyncDispose]: t[Symbol.asyncDispose],
  };
}

describe("a key that is made", () => {
  test("is what was asked for, works, and is kept as a hash alone", async () => {
    await using t = await ready();
    const { actor } = await t.someone("member", { [t.blog.id]: "editor" });
    const { key, raw_token } = await t.apiKeys.create(actor, {
      name: "deploy",
      scopes: ["script:write", "log:read", "script:write"],
      app: "blog",
      expires_at: t.clock.now() + 1_000,
    });
    expect(key).toEqual({
      id: expect.any(String),
      account_id: actor.account_id,
      username: actor.username,
      account_role: "member",
      app_id: t.blog.id,
      app: "blog",
      name: "deploy",
      prefix: raw_token.slice(4, 12),
      scopes: ["log:read", "script:write"],
      created_at: t.clock.now(),
      expires_at: t.clock.now() + 1_000,
      is_expired: false,
      last_used_at: null,
    });
    expect(await t.as(raw_token)).toMatchObject({
      account_id: actor.account_id,
      session_hash: null,
      key: { id: key.id, scopes: key.scopes, app_id: t.blog.id },
    });
    const rows = await t.db.all<{ secret_hash: string }>(sql`select * from api_keys`);
    expect(rows[0]?.secret_hash).toBe(sha256Hex(raw_token.slice(12)));
    expect(JSON.stringify(rows)).not.toContain(raw_token.slice(12));
  });

  test("is told in the audit trail, and so is its end; the key itself is not", async () => {
    await using t = await ready();
    const { actor } = await t.someone("member", { [t.blog.id]: "admin" });
    const { key, raw_token } = await t.apiKeys.create(actor, {
      name: "deploy",
      scopes: ["app:admin"],
      app: t.blog.id,
    });
    await t.apiKeys.delete(t.owner, key.id);
    const told = await t.db.all<Record<string, string>>(
      sql`select * from audit where action like 'api_key.%' order by id`,
    );
    expect(told).toMatchObject([
      {
        action: "api_key.create",
        actor_id: actor.account_id,
        address: origin.address,
        target_kind: "api_key",
        target_id: key.id,
        target_name: "deploy",
        app_id: t.blog.id,
      },
      { action: "api_key.delete", actor_id: t.owner.account_id, target_name: "deploy" },
    ]);
    const text = JSON.stringify(told);
    expect(text).toContain(key.prefix);
    expect([text.includes(raw_token.slice(12)), text.includes("pic_")]).toEqual([false, false]);
  });

  test.each<[string, object, string]>([
    ["no scope", { scopes: [] }, "invalid"],
    ["an unknown scope", { scopes: ["script:*"] }, "invalid"],
    ["no name", { name: "" }, "invalid"],
    ["a name with a line break", { name: "a\nb" }, "invalid"],
    ["an end that is past", { expires_at: Date.parse("2030-01-01T00:00:00Z") }, "invalid"],
    ["an app and instance:admin", { app: "blog", scopes: ["instance:admin"] }, "invalid"],
    ["an unknown app", { app: "nothing" }, "not_found"],
    ["an app of others", { app: "shop" }, "not_found"],
    ["a strange app", { app: "' or 1=1 --" }, "not_found"],
  ])("is refused with %s", async (_name, more, code) => {
    await using t = await ready();
    const { actor } = await t.someone("member", { [t.blog.id]: "editor" });
    const input = { name: "k", scopes: ["script:read"], ...more };
    expect(await codeOf(t.apiKeys.create(actor, input))).toBe(code);
    expect(await t.listed(actor)).toEqual([]);
  });

  test("is one of a hundred: many at the same time do not pass the bound", async () => {
    await using t = await ready();
    const { actor } = await t.someone("member");
    const input = { name: "same", scopes: ["script:read"] };
    const codes = await Promise.all(
      Array.from({ length: apiKeysPerAccountMax + 5 }, () =>
        codeOf(t.apiKeys.create(actor, input)),
      ),
    );
    expect(codes.filter((code) => code === "none")).toHaveLength(apiKeysPerAccountMax);
    expect(codes.filter((code) => code === "conflict")).toHaveLength(5);
    const [first] = await t.listed(actor);
    await t.apiKeys.delete(actor, first as string);
    expect(await codeOf(t.apiKeys.create(actor, input))).toBe("none");
    // Others are not held up by it.
    expect(await codeOf(t.apiKeys.create(t.owner, input))).toBe("none");
  });

  test("has a prefix that no other has", async () => {
    await using t = await ready();
    const given = [0, 0, 0, 1, 2].map((byte) => new Uint8Array(32).fill(byte));
    const newSecret = () => given.shift() as Uint8Array;
    const { db, storedClock: clock, audit } = t;
    let id = 0;
    const keys = new ApiKeys({ db, clock, audit, newSecret, newId: () => `id-${id++}` });
    const made = async () => {
      const input = { name: "k", scopes: ["script:read"] };
      return (await keys.create(t.owner, input)).key.prefix;
    };
    expect([await made(), await made()]).toEqual(["aaaaaaaa", "aeaqcaib"]);
  });

  test("is none when the account was switched off meanwhile", async () => {
    await using t = await ready();
    const { account, actor } = await t.someone("member");
    await t.db.tx((tx) => tx.run(sql`update accounts set is_active = 0 where id = ${account.id}`));
    const input = { name: "k", scopes: ["script:read"] };
    expect(await codeOf(t.apiKeys.create(actor, input))).toBe("unauthenticated");
  });
});

describe("whoever is shut out while he makes a key", () => {
  const input = { name: "k", scopes: ["app:admin"] };

  test("makes none with a key that is revoked", async () => {
    await using t = await ready();
    const key = await t.keyed(t.owner, { scopes: ["app:admin"] });
    const actor = await key.actor();
    await t.apiKeys.delete(t.owner, key.id);
    expect(await codeOf(t.apiKeys.create(actor, input))).toBe("unauthenticated");
  });

  test("makes none with a session that has ended", async () => {
    await using t = await ready();
    const { actor } = await t.someone("admin");
    await t.accountAdmin.update(t.owner, actor.account_id, { password: "a new one for all" });
    expect(await codeOf(t.apiKeys.create(actor, input))).toBe("unauthenticated");
    expect(await t.listed(t.owner, { account: actor.account_id })).toEqual([]);
  });
});

describe("a key that makes keys", () => {
  test("hands on no more than it has", async () => {
    await using t = await ready();
    const { actor } = await t.someone("member", { [t.blog.id]: "admin", [t.shop.id]: "admin" });
    const expires_at = t.clock.now() + 10_000;
    const scopes: Scope[] = ["app:admin", "log:read"];
    const maker = await (await t.keyed(actor, { scopes, app: "blog", expires_at })).actor();
    const make = (more: object) =>
      codeOf(
        t.apiKeys.create(maker, {
          name: "k",
          scopes: ["log:read"],
          app: "blog",
          expires_at,
          ...more,
        }),
      );
    expect(await make({})).toBe("none");
    expect(await make({ expires_at: expires_at - 1 })).toBe("none");
    expect(await make({ scopes: ["script:read"] })).toBe("forbidden");
    expect(await make({ scopes })).toBe("none");
    expect(await make({ expires_at: null })).toBe("forbidden");
    expect(await make({ expires_at: expires_at + 1 })).toBe("forbidden");
    expect(await make({ app: null })).toBe("forbidden");
    expect(await make({ app: "shop" })).toBe("not_found");
  });
});

describe("a list", () => {
  test("of one's own has all of them and no others', expired ones marked", async () => {
    await using t = await ready();
    const { actor } = await t.someone("member", { [t.blog.id]: "viewer" });
    const short = await t.keyed(actor, { expires_at: t.clock.now() + 1_000 });
    const long = await t.keyed(actor, { app: "blog" });
    await t.keyed(t.owner, { app: "blog" });
    t.clock.pass(1_000);
    const { items } = await t.apiKeys.list(actor, {}, whole);
    expect(Object.fromEntries(items.map((key) => [key.id, key.is_expired]))).toEqual({
      [short.id]: true,
      [long.id]: false,
    });
    expect(await t.authentication.authenticate(short.raw)).toBeNull();
    expect(await t.listed(actor, { account: actor.username })).toEqual([long.id, short.id].sort());
    expect(await t.listed(actor, { account: actor.account_id })).toHaveLength(2);
  });

  test("comes in pages", async () => {
    await using t = await ready();
    const made: string[] = [];
    for (let round = 0; round < 5; round += 1) {
      made.unshift((await t.keyed(t.owner)).id);
      t.clock.pass(1);
    }
    const read: string[] = [];
    let cursor: string | null = null;
    do {
      const page = await t.apiKeys.list(t.owner, {}, { limit: 2, cursor });
      read.push(...page.items.map(({ id }) => id));
      cursor = page.next_cursor;
    } while (cursor !== null);
    expect(read).toEqual(made);
    const bad = t.apiKeys.list(t.owner, {}, { limit: 2, cursor: "x" });
    expect(await codeOf(bad)).toBe("invalid");
  });

  test("of an app is for its admins, and has the keys that are bound to it, whosever they are", async () => {
    await using t = await ready();
    const admin = await t.someone("member", { [t.blog.id]: "admin" });
    const editor = await t.someone("member", { [t.blog.id]: "editor" });
    const stranger = await t.someone("member", { [t.shop.id]: "admin" });
    const ofEditor = await t.keyed(editor.actor, { app: "blog" });
    const ofOwner = await t.keyed(t.owner, { app: "blog" });
    await t.keyed(editor.actor);
    await t.keyed(stranger.actor, { app: "shop" });
    for (const who of [admin.actor, t.owner]) {
      expect(await t.listed(who, { app: "blog" })).toEqual([ofEditor.id, ofOwner.id].sort());
      const own = { app: t.blog.id, account: editor.actor.username };
      expect(await t.listed(who, own)).toEqual([ofEditor.id]);
      expect(await t.listed(who, { app: "blog", account: "nobody" })).toEqual([]);
    }
    const code = (actor: Actor, app: string) => codeOf(t.apiKeys.list(actor, { app }, whole));
    expect(await code(editor.actor, "blog")).toBe("forbidden");
    expect(await code(stranger.actor, "blog")).toBe("not_found");
    expect(await code(admin.actor, "nothing")).toBe("not_found");
  });

  test("of an account is for admins of the instance; that of an owner for owners", async () => {
    await using t = await ready();
    const admin = await t.someone("admin");
    const member = await t.someone("member", { [t.blog.id]: "admin" });
    const ofMember = await t.keyed(member.actor);
    const ofOwner = await t.keyed(t.owner);
    const account = member.actor.username;
    expect(await t.listed(admin.actor, { account })).toEqual([ofMember.id]);
    expect(await t.listed(t.owner, { account: member.actor.account_id })).toEqual([ofMember.id]);
    const code = (actor: Actor, ref: string) =>
      codeOf(t.apiKeys.list(actor, { account: ref }, whole));
    expect(await code(admin.actor, t.owner.username)).toBe("forbidden");
    expect(await code(admin.actor, "nobody")).toBe("not_found");
    // Who may not ask learns no names: the same for one that exists and for one that does not.
    expect(await code(member.actor, t.owner.username)).toBe("forbidden");
    expect(await code(member.actor, "nobody")).toBe("forbidden");
    expect(await t.listed(t.owner, { account: t.owner.username })).toEqual([ofOwner.id]);
  });

  test("by a key that is bound to an app has what is of that app", async () => {
    await using t = await ready();
    const both = { [t.blog.id]: "admin", [t.shop.id]: "admin" } as const;
    const { actor } = await t.someone("member", both);
    const blog = await t.keyed(actor, { app: "blog", scopes: ["app:admin"] });
    const shop = await t.keyed(actor, { app: "shop" });
    const free = await t.keyed(actor);
    const caller = await blog.actor();
    expect(await t.listed(caller)).toEqual([blog.id]);
    expect(await t.listed(caller, { account: actor.username })).toEqual([blog.id]);
    expect(await t.listed(caller, { app: "blog" })).toEqual([blog.id]);
    expect(await codeOf(t.apiKeys.list(caller, { app: "shop" }, whole))).toBe("not_found");
    for (const id of [shop.id, free.id]) {
      expect(await codeOf(t.apiKeys.get(caller, id))).toBe("not_found");
      expect(await codeOf(t.apiKeys.delete(caller, id))).toBe("not_found");
    }
    expect(await t.listed(actor)).toEqual([blog.id, free.id, shop.id].sort());
  });

  test("does not show the slug of an app that its reader no longer sees", async () => {
    await using t = await ready();
    const { account, actor } = await t.someone("member", { [t.blog.id]: "viewer" });
    const key = await t.keyed(actor, { app: "blog" });
    await t.members.delete(t.owner, { app: "blog", account: account.username });
    const left = await t.as((await t.sessions.create(account)).token);
    expect(await t.apiKeys.get(left, key.id)).toMatchObject({ app_id: t.blog.id, app: null });
    // It can do nothing any more, but it is still its owner's to revoke.
    await t.apiKeys.delete(left, key.id);
  });
});

describe("a key is seen and revoked", () => {
  test("by its owner, by an admin of its app, by an admin of the instance, by nobody else", async () => {
    await using t = await ready();
    const holder = await t.someone("member", { [t.blog.id]: "viewer" });
    const everybody: [string, Actor, boolean][] = [
      ["its owner", holder.actor, true],
      ["an admin of its app", (await t.someone("member", { [t.blog.id]: "admin" })).actor, true],
      ["an admin of the instance", (await t.someone("admin")).actor, true],
      ["an owner", t.owner, true],
      ["an editor of its app", (await t.someone("member", { [t.blog.id]: "editor" })).actor, false],
      [
        "an admin of another app",
        (await t.someone("member", { [t.shop.id]: "admin" })).actor,
        false,
      ],
      ["somebody", (await t.someone("member")).actor, false],
    ];
    for (const [name, actor, may] of everybody) {
      const { id } = await t.keyed(holder.actor, { app: "blog" });
      const codes = [
        await codeOf(t.apiKeys.get(actor, id)),
        await codeOf(t.apiKeys.delete(actor, id)),
      ];
      expect([name, ...codes]).toEqual([
        name,
        ...(may ? ["none", "none"] : ["not_found", "not_found"]),
      ]);
      expect((await t.db.all(sql`select id from api_keys where id = ${id}`)).length).toBe(
        may ? 0 : 1,
      );
    }
  });

  test("when it is bound to no app: not by admins of apps, and that of an owner by owners alone", async () => {
    await using t = await ready();
    const admin = await t.someone("admin");
    const appAdmin = await t.someone("member", { [t.blog.id]: "admin" });
    const second = await t.someone("owner");
    const ofOwner = await t.keyed(t.owner);
    for (const { actor } of [admin, appAdmin]) {
      expect(await codeOf(t.apiKeys.get(actor, ofOwner.id))).toBe("not_found");
      expect(await codeOf(t.apiKeys.delete(actor, ofOwner.id))).toBe("not_found");
    }
    expect(await codeOf(t.apiKeys.delete(second.actor, ofOwner.id))).toBe("none");
    // One that is bound to an app is, as any of that app, for its admins.
    const bound = await t.keyed(t.owner, { app: "blog" });
    expect(await codeOf(t.apiKeys.delete(appAdmin.actor, bound.id))).toBe("none");
  });

  test("by a key: itself always; others of its account when they can do no more", async () => {
    await using t = await ready();
    const { actor } = await t.someone("member", { [t.blog.id]: "editor" });
    const reader = await t.keyed(actor, { scopes: ["script:read"] });
    const keeper = await t.keyed(actor, { scopes: ["app:admin", "script:read"] });
    const writer = await t.keyed(actor, { scopes: ["script:write"] });
    expect(await codeOf(t.apiKeys.get(await reader.actor(), keeper.id))).toBe("none");
    expect(await codeOf(t.apiKeys.delete(await reader.actor(), keeper.id))).toBe("forbidden");
    expect(await codeOf(t.apiKeys.delete(await keeper.actor(), writer.id))).toBe("forbidden");
    const other = await t.keyed(actor, { scopes: ["script:read"] });
    expect(await codeOf(t.apiKeys.delete(await keeper.actor(), other.id))).toBe("none");
    expect(await codeOf(t.apiKeys.delete(await reader.actor(), reader.id))).toBe("none");
    expect(await t.authentication.authenticate(reader.raw)).toBeNull();
  });

  test("once, when two try at the same time", async () => {
    await using t = await ready();
    const { id } = await t.keyed(t.owner);
    const codes = [1, 2, 3].map(() => codeOf(t.apiKeys.delete(t.owner, id)));
    expect((await Promise.all(codes)).sort()).toEqual(["none", "not_found", "not_found"]);
    const told = sql`select id from audit where action = 'api_key.delete'`;
    expect(await t.db.all(told)).toHaveLength(1);
  });

  test.each(["", "x", "' or 1=1 --", "0".repeat(10_000), "__proto__"])(
    "never under the id %#",
    async (id) => {
      await using t = await ready();
      await t.keyed(t.owner);
      expect(await codeOf(t.apiKeys.get(t.owner, id))).toBe("not_found");
      expect(await codeOf(t.apiKeys.delete(t.owner, id))).toBe("not_found");
    },
  );

  test("and logs out: it revokes itself, also when somebody was quicker", async () => {
    await using t = await ready();
    const key = await t.keyed(t.owner);
    const actor = await key.actor();
    await t.apiKeys.end(actor);
    expect(await t.authentication.authenticate(key.raw)).toBeNull();
    await t.apiKeys.end(actor);
    expect(await t.db.all(sql`select id from audit where action = 'api_key.delete'`)).toHaveLength(
      1,
    );
  });
});

describe("what a key may", () => {
  test("is what its account may at this moment, and it is asked anew each time", async () => {
    await using t = await ready();
    const { account, actor } = await t.someone("member", { [t.blog.id]: "admin" });
    const key = await t.keyed(actor, { scopes: SCOPES });
    const may = async () => codeOf(t.apiKeys.list(await key.actor(), { app: "blog" }, whole));
    expect(await may()).toBe("none");
    await t.members.put(t.owner, { app: "blog", account: account.id }, { role: "editor" });
    expect(await may()).toBe("forbidden");
    await t.members.delete(t.owner, { app: "blog", account: account.id });
    expect(await may()).toBe("not_found");
    await t.members.put(t.owner, { app: "blog", account: account.id }, { role: "admin" });
    expect(await may()).toBe("none");
    await t.accountAdmin.update(t.owner, account.id, { is_active: false });
    expect(await t.authentication.authenticate(key.raw)).toBeNull();
    // Not even when the account comes back.
    await t.accountAdmin.update(t.owner, account.id, { is_active: true });
    expect(await t.authentication.authenticate(key.raw)).toBeNull();
    expect((await listApiKeys(t.db, { account_id: account.id }, whole)).items).toEqual([]);
  });

  test("of a demoted admin is gone with the role", async () => {
    await using t = await ready();
    const { account, actor } = await t.someone("admin");
    const key = await t.keyed(actor, { scopes: ["instance:admin", "app:admin"] });
    const asked = { account: (await t.someone("member")).actor.username };
    const may = async () => codeOf(t.apiKeys.list(await key.actor(), asked, whole));
    expect(await may()).toBe("none");
    await t.accountAdmin.update(t.owner, account.id, { role: "member" });
    expect(await may()).toBe("forbidden");
    expect(await codeOf(t.apiKeys.list(await key.actor(), { app: "blog" }, whole))).toBe(
      "not_found",
    );
  });

  test("and when it was last used is written at most once a minute", async () => {
    await using t = await ready();
    const key = await t.keyed(t.owner);
    const used = async () => {
      await t.authentication.authenticate(key.raw);
      // Nobody waits for it: it is written when a transaction that came later is through.
      await t.db.tx((tx) => tx.get(sql`select 1 as one`));
      return (await t.apiKeys.get(t.owner, key.id)).last_used_at;
    };
    const first = t.clock.now();
    expect(await used()).toBe(first);
    t.clock.pass(credentialTouchMs - 1);
    expect(await used()).toBe(first);
    t.clock.pass(1);
    expect(await used()).toBe(first + credentialTouchMs);
  });
});
