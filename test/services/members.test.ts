/** Members of apps: who becomes one, who leaves, and what that changes for them at once. */
import { describe, expect, test } from "bun:test";
import { type AppRole, can } from "../../src/domain/access.ts";
import type { Account, Actor, InstanceRole } from "../../src/domain/accounts.ts";
import { membershipsShownMax } from "../../src/domain/limits.ts";
import { sql } from "../../src/storage/sql.ts";
import { addAccount } from "./credentials.ts";
import { codeOf, setup } from "./fakes.ts";

const whole = { limit: 200, cursor: null };

async function ready() {
  const t = await setup();
  /** With the rights of this moment. */
  const as = async (account: Account): Promise<Actor> => {
    const { token } = await t.sessions.create(account);
    const found = await t.authentication.authenticate(token);
    if (found === null) throw new Error("the session is no good");
    return found.actor;
  };
  const owner = await as(await addAccount(t.db, "owner"));
  const blog = await t.apps.create(owner, { slug: "blog", name: "Blog" });
  const someone = async (role: InstanceRole, memberships: Record<string, AppRole> = {}) => {
    const account = await addAccount(t.db, role, memberships);
    return { account, actor: await as(account) };
  };
  const told = () =>
    t.db.all<{ action: string; target_name: string; app_id: string; detail: string }>(
      sql`select action, target_name, app_id, detail from audit where action like 'member.%' order by id`,
    );
  return { ...t, owner, blog, as, someone, told, [Symbol.asyncDispose]: t[Symbol.asyncDispose] };
}

describe("a member", () => {
  test("is made by id or username, gets another role, and is told of in the audit trail", async () => {
    await using t = await ready();
    const { account } = await t.someone("member");
    const { id, username } = account;
    const made = await t.members.put(
      t.owner,
      { app: "blog", account: username },
      { role: "viewer" },
    );
    expect(made).toEqual({
      member: {
        app_id: t.blog.id,
        account_id: id,
        username,
        account_role: "member",
        role: "viewer",
        is_active: true,
        created_at: t.clock.now(),
        created_by: t.owner.account_id,
      },
      warning: null,
    });
    const other = await t.someone("member", { [t.blog.id]: "admin" });
    t.clock.pass(1_000);
    const again = await t.members.put(
      other.actor,
      { app: t.blog.id, account: id },
      { role: "admin" },
    );
    expect(again.member).toEqual({ ...made.member, role: "admin" });
    // The same once more changes nothing.
    await t.members.put(t.owner, { app: "blog", account: id }, { role: "admin" });
    await t.members.delete(t.owner, { app: "blog", account: id });
    const common = { target_name: username, app_id: t.blog.id };
    expect(await t.told()).toEqual([
      { ...common, action: "member.put", detail: '{"old_role":null,"new_role":"viewer"}' },
      { ...common, action: "member.put", detail: '{"old_role":"viewer","new_role":"admin"}' },
      { ...common, action: "member.delete", detail: '{"old_role":"admin"}' },
    ]);
  });

  test("may do what the role says with the very next request", async () => {
    await using t = await ready();
    const { account } = await t.someone("member");
    const verdict = async () => can(await t.as(account), "script.write", { app_id: t.blog.id });
    const address = { app: "blog", account: account.id };
    expect(await verdict()).toBe("hidden");
    await t.members.put(t.owner, address, { role: "viewer" });
    expect(await verdict()).toBe("denied");
    await t.members.put(t.owner, address, { role: "editor" });
    expect(await verdict()).toBe("allowed");
    await t.members.delete(t.owner, address);
    expect(await verdict()).toBe("hidden");
  });

  test("is an account that there is, and that is active", async () => {
    await using t = await ready();
    const { account } = await t.someone("member");
    const put = (ref: string, app = "blog") =>
      codeOf(t.members.put(t.owner, { app, account: ref }, { role: "viewer" }));
    for (const ref of ["nobody", "", "' or 1=1 --", account.id.replace(/.$/, "x"), "__proto__"]) {
      expect([ref, await put(ref)]).toEqual([ref, "not_found"]);
    }
    expect(await put(account.username, "nothing")).toBe("not_found");
    await t.accountAdmin.update(t.owner, account.id, { is_active: false });
    expect(await put(account.username)).toBe("conflict");
    expect((await t.members.list("blog", whole)).items).toEqual([]);
  });

  test("may be an admin of the instance, and whoever does it is told that it changes nothing", async () => {
    await using t = await ready();
    for (const role of ["admin", "owner"] as const) {
      const { account, actor } = await t.someone(role);
      const put = await t.members.put(
        t.owner,
        { app: "blog", account: account.username },
        { role: "viewer" },
      );
      expect(put.warning).toContain(`the instance role ${role}`);
      expect(put.member.account_role).toBe(role);
      expect(can(await t.as(account), "app.delete", { app_id: t.blog.id })).toBe("allowed");
      expect(await t.members.ofActor(actor)).toBeNull();
    }
    const { account } = await t.someone("admin");
    await t.members.put(t.owner, { app: "blog", account: account.id }, { role: "viewer" });
    // And it is there when the role is taken away.
    await t.accountAdmin.update(t.owner, account.id, { role: "member" });
    const actor = await t.as(account);
    expect(can(actor, "script.read", { app_id: t.blog.id })).toBe("allowed");
    expect(can(actor, "script.write", { app_id: t.blog.id })).toBe("denied");
  });

  test("who is switched off stays listed, as such", async () => {
    await using t = await ready();
    const { account } = await t.someone("member", { [t.blog.id]: "editor" });
    await t.accountAdmin.update(t.owner, account.id, { is_active: false });
    expect((await t.members.list("blog", whole)).items).toMatchObject([
      { username: account.username, is_active: false, role: "editor" },
    ]);
  });
});

describe("a member leaves", () => {
  test("by himself, whatever his role, and without asking", async () => {
    await using t = await ready();
    for (const role of ["viewer", "editor", "admin"] as const) {
      const { account, actor } = await t.someone("member", { [t.blog.id]: role });
      await t.members.delete(actor, { app: "blog", account: account.username });
      expect(await codeOf(t.members.delete(actor, { app: "blog", account: account.id }))).toBe(
        "not_found",
      );
    }
    expect((await t.members.list("blog", whole)).items).toEqual([]);
  });

  test("by an admin of the app alone; others learn no names", async () => {
    await using t = await ready();
    const { account } = await t.someone("member", { [t.blog.id]: "viewer" });
    const remove = (actor: Actor, ref: string) =>
      codeOf(t.members.delete(actor, { app: "blog", account: ref }));
    for (const role of ["viewer", "editor"] as const) {
      const { actor } = await t.someone("member", { [t.blog.id]: role });
      for (const ref of [account.id, account.username, "nobody", t.owner.username]) {
        expect(await remove(actor, ref)).toBe("forbidden");
      }
    }
    const admin = await t.someone("member", { [t.blog.id]: "admin" });
    expect(await remove(admin.actor, "nobody")).toBe("not_found");
    expect(await remove(admin.actor, t.owner.username)).toBe("not_found");
    expect(await remove(admin.actor, account.username)).toBe("none");
  });

  test("also when nobody is left who administers the app: admins of the instance are", async () => {
    await using t = await ready();
    const { account, actor } = await t.someone("member", { [t.blog.id]: "admin" });
    await t.members.delete(actor, { app: "blog", account: account.id });
    await t.members.put(t.owner, { app: "blog", account: account.id }, { role: "admin" });
    expect((await t.members.list("blog", whole)).items).toHaveLength(1);
  });

  test("is no other account whose id is his username", async () => {
    await using t = await ready();
    const { account } = await t.someone("member", { [t.blog.id]: "admin" });
    const { actor } = await t.someone("member", { [t.blog.id]: "viewer" });
    // As a PiCloud from before usernames were kept apart from ids could have let it in.
    const posing = { ...actor, username: account.id };
    const removal = t.members.delete(posing, { app: "blog", account: account.id });
    expect(await codeOf(removal)).toBe("forbidden");
  });
});

describe("what an account is told of its apps", () => {
  test("is where it belongs, by slug, and of a bound key that one app", async () => {
    await using t = await ready();
    const shop = await t.apps.create(t.owner, { slug: "a-shop", name: "Shop" });
    await t.apps.create(t.owner, { slug: "other", name: "Other" });
    const memberships = { [t.blog.id]: "viewer", [shop.id]: "admin" } as const;
    const { actor } = await t.someone("member", memberships);
    const all = [
      { app_id: shop.id, slug: "a-shop", role: "admin" as const },
      { app_id: t.blog.id, slug: "blog", role: "viewer" as const },
    ];
    expect(await t.members.ofActor(actor)).toEqual({ items: all, more: false });
    const { raw_token } = await t.apiKeys.create(actor, {
      name: "k",
      scopes: ["log:read"],
      app: "blog",
    });
    const keyed = (await t.authentication.authenticate(raw_token))?.actor as Actor;
    expect(await t.members.ofActor(keyed)).toEqual({ items: [all[1] as never], more: false });
    const left = { ...keyed, memberships: new Map() };
    expect(await t.members.ofActor(left)).toEqual({ items: [], more: false });
  });

  test("ends at a bound, and says so", async () => {
    await using t = await ready();
    const ids: string[] = [];
    for (let number = 0; number <= membershipsShownMax; number += 1) {
      ids.push((await t.apps.create(t.owner, { slug: `app-${number}`, name: "A" })).id);
    }
    const memberships = Object.fromEntries(ids.map((id) => [id, "viewer" as const]));
    const { actor } = await t.someone("member", memberships);
    const found = await t.members.ofActor(actor);
    expect([found?.items.length, found?.more]).toEqual([membershipsShownMax, true]);
  });
});
