/** Members over HTTP: each address as its admin, as a member, as a stranger, with bad input. */
import { describe, expect, test } from "bun:test";
import { addAccount } from "../../services/credentials.ts";
import { ask, serve } from "./server.ts";

const api = "/api/v1/admin";

async function ready() {
  const t = await serve();
  const blog = await t.client.apps.create({ slug: "blog", name: "Blog" });
  const send = (method: string, path: string, token: string, body?: unknown) =>
    ask(`${t.publicUrl}${api}${path}`, method, { token, ...(body === undefined ? {} : { body }) });
  const tokenOf = async (role: "admin" | "editor" | "viewer" | null) => {
    const account = await addAccount(t.db, "member", role === null ? {} : { [blog.id]: role });
    return { account, token: (await t.sessions.create(account)).token };
  };
  return { ...t, blog, send, tokenOf, [Symbol.asyncDispose]: t[Symbol.asyncDispose] };
}

describe("apps/{app}/members", () => {
  test("makes, lists, changes and removes one", async () => {
    await using t = await ready();
    const { username, id } = await addAccount(t.db, "member");
    const made = await t.client.members.put("blog", username, { role: "viewer" });
    expect(made).toEqual({
      account_id: id,
      username,
      account_role: "member",
      role: "viewer",
      is_active: true,
      created_at: "2030-01-01T00:00:00.000Z",
      created_by: t.account?.id as string,
      warning: null,
    });
    const changed = await t.client.members.put(t.blog.id, id, { role: "editor" });
    expect(changed.role).toBe("editor");
    const { warning: _, ...listed } = changed;
    expect(await t.client.members.list("blog")).toEqual({ items: [listed], next_cursor: null });
    await t.client.members.delete("blog", username);
    expect((await t.client.members.list("blog")).items).toEqual([]);
    const again = t.client.members.delete("blog", username);
    await expect(again).rejects.toMatchObject({ status: 404, code: "not_found" });
  });

  test("comes in pages, by username", async () => {
    await using t = await ready();
    const made: string[] = [];
    for (let round = 0; round < 5; round += 1)
      made.push((await t.tokenOf("viewer")).account.username);
    const read: string[] = [];
    let cursor: string | null = null;
    do {
      const page = await t.client.members.list("blog", { limit: 2, cursor });
      read.push(...page.items.map(({ username }) => username));
      cursor = page.next_cursor;
    } while (cursor !== null);
    expect(read).toEqual(made.sort());
  });

  test("says that it changes nothing for an admin of the instance", async () => {
    await using t = await ready();
    const answer = await t.client.members.put("blog", "ada", { role: "viewer" });
    expect(answer.account_role).toBe("owner");
    expect(answer.warning).toContain("admin of every app");
  });

  test("is read by members, written by admins, and not there for others", async () => {
    await using t = await ready();
    const other = await addAccount(t.db, "member");
    const path = `/apps/blog/members/${other.username}`;
    for (const [role, read, write, leave] of [
      ["admin", 200, 200, 204],
      ["editor", 200, 403, 204],
      ["viewer", 200, 403, 204],
      [null, 404, 404, 404],
    ] as const) {
      const { account, token } = await t.tokenOf(role);
      const statuses = [
        (await t.send("GET", "/apps/blog/members", token)).status,
        (await t.send("PUT", path, token, { role: "viewer" })).status,
        (await t.send("DELETE", `/apps/blog/members/${account.id}`, token)).status,
      ];
      expect([role, ...statuses]).toEqual([role, read, write, leave]);
      expect((await t.send("GET", "/apps/blog", token)).status).toBe(404);
    }
  });

  test("shows an app to whoever becomes its member with the very next request", async () => {
    await using t = await ready();
    const { account, token } = await t.tokenOf(null);
    expect((await t.send("GET", "/apps/blog", token)).status).toBe(404);
    await t.client.members.put("blog", account.username, { role: "viewer" });
    expect((await t.send("GET", "/apps/blog", token)).status).toBe(200);
    const { json } = await t.send("GET", "/auth/me", token);
    expect(json.memberships).toEqual([{ app_id: t.blog.id, app: "blog", role: "viewer" }]);
  });

  test.each<object>([
    {},
    { role: "owner" },
    { role: "" },
    { role: ["admin"] },
    { role: null },
    { role: "admin", account: "eve" },
    { role: "admin", username: "eve" },
  ])("refuses %j", async (body) => {
    await using t = await ready();
    const { account } = await t.tokenOf(null);
    const answer = await t.send("PUT", `/apps/blog/members/${account.id}`, t.token, body);
    expect([answer.status, answer.json.code]).toEqual([422, "invalid"]);
  });

  test("is a conflict for an account that is switched off, and not found for none", async () => {
    await using t = await ready();
    const { account } = await t.tokenOf(null);
    await t.client.accounts.update(account.id, { is_active: false });
    const put = async (ref: string) =>
      (await t.send("PUT", `/apps/blog/members/${ref}`, t.token, { role: "viewer" })).status;
    expect(await put(account.username)).toBe(409);
    for (const ref of ["nobody", "%00", "a%2Fb", "%27%20or%201=1", "x".repeat(2_000), "ADA"]) {
      expect([ref, await put(ref)]).toEqual([ref, 404]);
    }
  });
});
