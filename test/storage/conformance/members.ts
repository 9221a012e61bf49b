import { expect, test } from "bun:test";
import type { Visibility } from "../../../src/domain/access.ts";
import type { Account } from "../../../src/domain/accounts.ts";
import type { Member } from "../../../src/domain/members.ts";
import { insertAccount } from "../../../src/storage/accounts.ts";
import { insertApp } from "../../../src/storage/apps.ts";
import {
  deleteMember,
  getMember,
  listMembers,
  listMemberships,
  lockMembers,
  putMember,
} from "../../../src/storage/members.ts";
import type { Database } from "../../../src/storage/port.ts";
import { sql } from "../../../src/storage/sql.ts";
import { app, codeOf, type Engine, messageOf, opener } from "./engine.ts";

export function memberConformance(engine: Engine): void {
  const open = opener(engine);

  test("a member comes back with its account; another role keeps when and by whom it was made", async () => {
    const { db } = await open();
    await seedMembers(db);
    await put(db, member("a1", { role: "viewer", created_by: "a2" }));
    const made = {
      app_id: app.id,
      account_id: "a1",
      username: "user-a1",
      account_role: "member",
      role: "viewer",
      is_active: true,
      created_at: 5,
      created_by: "a2",
    };
    expect(await getMember(db, app.id, "a1")).toEqual(made as Member);
    await put(db, member("a1", { role: "admin", created_at: 9, created_by: "a3" }));
    expect(await getMember(db, app.id, "a1")).toEqual({ ...made, role: "admin" } as Member);
    expect(await getMember(db, "app-2", "a1")).toBeNull();
    expect(await getMember(db, app.id, "a2")).toBeNull();
  });

  test("a member needs an app, an account and a role that there is", async () => {
    const { db } = await open();
    await seedMembers(db);
    for (const bad of [{ app_id: "app-9" }, { account_id: "a9" }]) {
      expect(await codeOf(put(db, { ...member("a1"), ...bad }))).toBe("conflict");
    }
    for (const role of ["owner", "", "ADMIN"] as never[]) {
      expect(await messageOf(put(db, member("a1", { role })))).toContain("onstraint");
    }
  });

  test("members of an app are listed by username, in pages, those switched off among them", async () => {
    const { db } = await open();
    await seedMembers(db);
    await put(db, member("a3"), member("a1"), member("a2"), member("a1", { app_id: "app-2" }));
    const first = await listMembers(db, app.id, { limit: 2, cursor: null });
    const second = await listMembers(db, app.id, { limit: 2, cursor: first.next_cursor });
    expect(first.items.map(({ username }) => username)).toEqual(["user-a1", "user-a2"]);
    expect(second.items).toMatchObject([{ username: "user-a3", is_active: false }]);
    expect(second.next_cursor).toBeNull();
    expect((await listMembers(db, "app-9", { limit: 2, cursor: null })).items).toEqual([]);
    const bad = listMembers(db, app.id, { limit: 2, cursor: "WzFd" });
    expect(await codeOf(bad)).toBe("invalid");
  });

  test("a membership ends alone, with its app or with its account; who made it may go", async () => {
    const { db } = await open();
    await seedMembers(db);
    await put(db, member("a1", { role: "editor", created_by: "a3" }), member("a2"));
    await put(db, member("a1", { app_id: "app-2" }));
    await db.tx((tx) => tx.run(sql`delete from accounts where id = ${"a3"}`));
    expect((await getMember(db, app.id, "a1"))?.created_by).toBeNull();
    expect(await db.tx((tx) => deleteMember(tx, app.id, "a1"))).toBe("editor");
    expect(await db.tx((tx) => deleteMember(tx, app.id, "a1"))).toBeNull();
    expect(await getMember(db, "app-2", "a1")).not.toBeNull();
    await db.tx((tx) => tx.run(sql`delete from apps where id = ${"app-2"}`));
    expect(await getMember(db, "app-2", "a1")).toBeNull();
    await db.tx((tx) => tx.run(sql`delete from accounts where id = ${"a2"}`));
    expect(await getMember(db, app.id, "a2")).toBeNull();
  });

  test("the memberships of an account are told by slug, those that are visible, so many", async () => {
    const { db } = await open();
    await seedMembers(db);
    await put(db, member("a1"), member("a1", { app_id: "app-2", role: "admin" }), member("a2"));
    const of = async (visibility: Visibility, limit = 10) =>
      (await listMemberships(db, "a1", visibility, limit)).map(({ slug }) => slug);
    expect(await of("all")).toEqual(["blog", "default"]);
    expect(await of("all", 1)).toEqual(["blog"]);
    expect(await of({ app_ids: [app.id] })).toEqual(["default"]);
    expect(await of({ app_ids: [] })).toEqual([]);
    expect(await listMemberships(db, "a1", { app_ids: ["app-2"] }, 1)).toEqual([
      { app_id: "app-2", slug: "blog", role: "admin" },
    ]);
  });

  test("who holds the lock changes the members of an app alone", async () => {
    const { db } = await open();
    await seedMembers(db);
    await put(db, member("a1", { role: "viewer" }));
    const roles = ["editor", "admin", "viewer", "editor", "admin"] as const;
    const seen: (string | undefined)[] = [];
    await Promise.all(
      roles.map((role) =>
        db.tx(async (tx) => {
          await lockMembers(tx, app.id);
          const before = (await getMember(tx, app.id, "a1"))?.role;
          await putMember(tx, member("a1", { role }));
          tx.afterCommit(() => void seen.push(before));
        }),
      ),
    );
    // Each saw what the one before it left behind: all but the last role were seen once.
    const last = (await getMember(db, app.id, "a1"))?.role as string;
    expect([...seen, last].sort()).toEqual(["viewer", ...roles].sort());
  });
}

async function seedMembers(db: Database): Promise<void> {
  await db.tx(async (tx) => {
    await insertApp(tx, app);
    await insertApp(tx, { ...app, id: "app-2", slug: "blog" });
    for (const id of ["a1", "a2", "a3"]) await insertAccount(tx, account(id));
  });
}

async function put(db: Database, ...members: ReturnType<typeof member>[]): Promise<void> {
  await db.tx(async (tx) => {
    for (const one of members) await putMember(tx, one);
  });
}

function account(id: string): Account {
  return {
    id,
    username: `user-${id}`,
    password_hash: "none",
    role: "member",
    is_active: id !== "a3",
    created_at: 1,
    nomination: null,
  };
}

function member(account_id: string, more: Partial<Member> = {}) {
  const made = { app_id: app.id, role: "editor", created_at: 5, created_by: null } as const;
  return { ...made, account_id, ...more };
}
