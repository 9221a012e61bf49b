/** API keys over HTTP: each address as anonymous, as the right one, as others, with bad input. */
import { describe, expect, test } from "bun:test";
import { silentLogger } from "../../../src/base/log.ts";
import { PicClient } from "../../../src/client.ts";
import { SCOPES, type Scope } from "../../../src/domain/access.ts";
import { apiKeysPerAccountMax } from "../../../src/domain/limits.ts";
import { addAccount, addKey } from "../../services/credentials.ts";
import { ask, serve } from "./server.ts";

const api = "/api/v1/admin";

async function ready() {
  const t = await serve();
  const blog = await t.client.apps.create({ slug: "blog", name: "Blog" });
  const shop = await t.client.apps.create({ slug: "shop", name: "Shop" });
  const clientOf = (token: string) => new PicClient({ base_url: t.publicUrl, token });
  const send = (method: string, path: string, token: string, body?: unknown) =>
    ask(`${t.publicUrl}${api}${path}`, method, { token, ...(body === undefined ? {} : { body }) });
  return { ...t, blog, shop, clientOf, send, [Symbol.asyncDispose]: t[Symbol.asyncDispose] };
}

describe("api-keys", () => {
  test("makes one, shows it without the key, lists it and revokes it", async () => {
    await using t = await ready();
    const body = {
      name: "deploy",
      scopes: ["script:write", "log:read"],
      app: "blog",
      expires_at: "2031-01-01T02:00:00+02:00",
    };
    const made = await t.send("POST", "/api-keys", t.token, body);
    expect(made.status).toBe(201);
    expect(made.headers.get("location")).toBe(`${api}/api-keys/${made.json.id}`);
    expect(made.headers.get("cache-control")).toBe("no-store");
    const { raw_token, ...shown } = made.json;
    expect(raw_token).toMatch(/^pic_[a-z2-7]{52}$/);
    expect(shown).toEqual({
      id: expect.any(String),
      account_id: t.account?.id,
      username: "ada",
      name: "deploy",
      prefix: raw_token.slice(4, 12),
      scopes: ["log:read", "script:write"],
      app_id: t.blog.id,
      app: "blog",
      created_at: "2030-01-01T00:00:00.000Z",
      expires_at: "2031-01-01T00:00:00.000Z",
      is_expired: false,
      last_used_at: null,
    });
    expect(await t.client.apiKeys.get(shown.id)).toEqual(shown);
    expect(await t.client.apiKeys.list()).toEqual({ items: [shown], next_cursor: null });
    expect((await t.clientOf(raw_token).auth.me()).username).toBe("ada");
    await t.client.apiKeys.delete(shown.id);
    await expect(t.clientOf(raw_token).auth.me()).rejects.toMatchObject({ status: 401 });
    await expect(t.client.apiKeys.get(shown.id)).rejects.toMatchObject({ status: 404 });
  });

  test.each<[string, object]>([
    ["scopes", { scopes: [] }],
    ["scopes", { scopes: "script:read" }],
    ["scopes[0]", { scopes: ["script:*"] }],
    ["scopes[0]", { scopes: [["script:read"]] }],
    ["scopes", { scopes: Array(65).fill("script:read") }],
    ["scopes", { scopes: ["instance:admin"], app: "blog" }],
    ["name", { name: "" }],
    ["name", { name: " padded" }],
    ["name", { name: "x".repeat(129) }],
    ["name", { name: "a\u0000b" }],
    ["name", { name: "a\u202eb" }],
    ["expires_at", { expires_at: "2029-12-31T23:59:59Z" }],
    ["expires_at", { expires_at: "2030-01-01T00:00:00Z" }],
    ["expires_at", { expires_at: "tomorrow" }],
    ["expires_at", { expires_at: "2031-01-01" }],
    ["expires_at", { expires_at: "2031-01-01T00:00:00" }],
    ["expires_at", { expires_at: "2031-13-01T00:00:00Z" }],
    ["expires_at", { expires_at: 1_900_000_000_000 }],
    ["app", { app: "" }],
    ["app", { app: 5 }],
    ["account", { account: "eve" }],
    ["raw_token", { raw_token: `pic_${"a".repeat(52)}` }],
    ["prefix", { prefix: "aaaaaaaa" }],
  ])("names the field %s when it refuses %j", async (path, more) => {
    await using t = await ready();
    const body = { name: "k", scopes: ["script:read"], ...more };
    const answer = await t.send("POST", "/api-keys", t.token, body);
    expect([answer.status, answer.json.code]).toEqual([422, "invalid"]);
    const paths: string[] = answer.json.errors.map((error: { path: string }) => error.path);
    expect(paths).toContain(path);
  });

  test("is a clear conflict when there are too many", async () => {
    await using t = await ready();
    for (let number = 0; number < apiKeysPerAccountMax; number += 1) {
      await addKey(t.db, t.account as { id: string });
    }
    const body = { name: "k", scopes: ["script:read"] };
    const answer = await t.send("POST", "/api-keys", t.token, body);
    expect([answer.status, answer.json.code]).toEqual([409, "conflict"]);
    expect(answer.json.detail).toContain("at most 100 API keys");
  });

  test("never says a key in an error, and never logs one", async () => {
    const lines: string[] = [];
    const write = (...said: unknown[]) => void lines.push(JSON.stringify(said));
    const log = { ...silentLogger, debug: write, info: write, warn: write, error: write };
    await using t = await serve({ log });
    const { raw_token: raw } = await t.client.apiKeys.create({ name: "k", scopes: ["log:read"] });
    const answers: string[] = [];
    const asked = async (method: string, path: string, body?: unknown) => {
      const sent = { token: raw, ...(body === undefined ? {} : { body }) };
      answers.push((await ask(`${t.publicUrl}${api}${path}`, method, sent)).text);
    };
    await asked("GET", "/auth/me");
    await asked("GET", "/api-keys");
    await asked("POST", "/api-keys", { name: raw, scopes: ["script:read"] });
    await asked("POST", "/api-keys", { name: "k", scopes: [raw] });
    await asked("GET", `/api-keys?account=${raw}`);
    await asked("GET", `/api-keys/${raw}`);
    await asked("DELETE", `/apps/${raw}`);
    await asked("POST", "/auth/logout");
    await asked("GET", "/auth/me");
    expect([...answers, ...lines].filter((text) => text.includes(raw.slice(12)))).toEqual([]);
    expect(answers.some((text) => text.includes(raw.slice(4, 12)))).toBe(true);
  });
});

describe("who acts with a key", () => {
  test("is told so by auth.me, and of which apps the account is a member", async () => {
    await using t = await ready();
    const account = await addAccount(t.db, "member", {
      [t.blog.id]: "viewer",
      [t.shop.id]: "admin",
    });
    const free = await addKey(t.db, account, { scopes: ["log:read"] });
    const bound = await addKey(t.db, account, { scopes: ["script:read"], app_id: t.shop.id });
    const inShop = { app_id: t.shop.id, app: "shop", role: "admin" as const };
    const inBlog = { app_id: t.blog.id, app: "blog", role: "viewer" as const };
    expect(await t.clientOf(free.raw).auth.me()).toMatchObject({
      username: account.username,
      key: {
        id: free.id,
        prefix: free.raw.slice(4, 12),
        scopes: ["log:read"],
        app_id: null,
        expires_at: null,
      },
      memberships: [inBlog, inShop],
      more_memberships: false,
    });
    expect(await t.clientOf(bound.raw).auth.me()).toMatchObject({
      key: { app_id: t.shop.id },
      memberships: [inShop],
    });
    const { token } = await t.sessions.create(account);
    expect(await t.clientOf(token).auth.me()).toMatchObject({
      key: null,
      memberships: [inBlog, inShop],
    });
  });

  test("logs out by revoking it, on either listener, and the account's session goes on", async () => {
    await using t = await ready();
    for (const url of [t.publicUrl, t.adminUrl]) {
      const { raw } = await addKey(t.db, t.account as { id: string });
      const answer = await ask(`${url}${api}/auth/logout`, "POST", { token: raw });
      expect(answer.status).toBe(204);
      expect((await t.send("GET", "/auth/me", raw)).status).toBe(401);
    }
    expect((await t.send("GET", "/auth/me", t.token)).status).toBe(200);
  });

  test("of one app is answered 404 for all of another, lists among it", async () => {
    await using t = await ready();
    const script = await t.client.scripts.create({ app: "shop", name: "s", source: "" });
    const { raw } = await addKey(t.db, t.account as { id: string }, {
      scopes: SCOPES.filter((scope) => scope !== "instance:admin"),
      app_id: t.blog.id,
    });
    for (const [method, path, body] of [
      ["GET", "/apps/shop"],
      ["DELETE", "/apps/shop?force=true"],
      ["GET", "/apps/shop/members"],
      ["PUT", "/apps/shop/members/ada", { role: "admin" }],
      ["DELETE", "/apps/shop/members/ada"],
      ["GET", "/apps/shop/triggers"],
      ["GET", "/apps/shop/kv"],
      ["GET", "/apps/shop/docs"],
      ["GET", "/apps/shop/dead-letters"],
      ["GET", "/api-keys?app=shop"],
      ["POST", "/api-keys", { name: "k", scopes: ["script:read"], app: "shop" }],
      ["GET", "/scripts?app=shop"],
      ["GET", `/scripts/${script.id}`],
      ["GET", `/scripts/${script.id}/logs`],
      ["POST", "/scripts", { app: "shop", name: "t", source: "" }],
    ] as const) {
      const answer = await t.send(method, path, raw, body);
      expect([method, path, answer.status]).toEqual([method, path, 404]);
    }
    const blog = await t.send("GET", "/apps/blog", raw);
    expect(blog.status).toBe(200);
    for (const path of ["/apps", "/scripts"]) {
      const slugs = (await t.send("GET", path, raw)).json.items;
      expect([path, JSON.stringify(slugs).includes(t.shop.id)]).toEqual([path, false]);
    }
    expect((await t.send("POST", "/apps", raw, { slug: "new", name: "New" })).status).toBe(403);
  });

  test("has lost what its account loses with the very next request", async () => {
    await using t = await ready();
    const account = await addAccount(t.db, "member", { [t.blog.id]: "editor" });
    const { raw } = await addKey(t.db, account);
    const body = { app: "blog", name: "s", source: "" };
    const made = await t.send("POST", "/scripts", raw, body);
    expect(made.status).toBe(201);
    const path = `/scripts/${made.json.id}`;
    const save = async () => (await t.send("PATCH", path, raw, { source: "x" })).status;
    const read = async () => (await t.send("GET", path, raw)).status;
    expect([await read(), await save()]).toEqual([200, 200]);
    await t.client.members.put("blog", account.username, { role: "viewer" });
    expect([await read(), await save()]).toEqual([200, 403]);
    await t.client.members.delete("blog", account.username);
    expect([await read(), await save()]).toEqual([404, 404]);
    expect((await t.send("GET", "/scripts", raw)).json.items).toEqual([]);
    expect((await t.send("GET", "/apps", raw)).json.items).toEqual([]);
  });

  test.each<[string, readonly Scope[], number]>([
    ["app:admin", ["app:admin"], 201],
    ["instance:admin", ["instance:admin"], 403],
    ["others", ["script:read", "script:write", "script:execute", "route:write", "log:read"], 403],
  ])("with %s makes a key for itself, or does not", async (_name, scopes, status) => {
    await using t = await ready();
    const { raw } = await addKey(t.db, t.account as { id: string }, { scopes });
    const body = { name: "k", scopes: ["app:admin"] };
    const answer = await t.send("POST", "/api-keys", raw, body);
    expect(answer.status).toBe(status);
    if (status === 403) expect(answer.json.detail).toMatch(/scope/);
  });

  test("is nobody once it has expired", async () => {
    await using t = await ready();
    const expires_at = t.clock.now() + 1_000;
    const { raw, id } = await addKey(t.db, t.account as { id: string }, { expires_at });
    expect((await t.send("GET", "/auth/me", raw)).status).toBe(200);
    t.clock.pass(1_000);
    expect((await t.send("GET", "/auth/me", raw)).status).toBe(401);
    expect(await t.client.apiKeys.get(id)).toMatchObject({ is_expired: true });
  });
});
