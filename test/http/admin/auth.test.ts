import { describe, expect, test } from "bun:test";
import { loginFailuresPerAccountMax } from "../../../src/domain/limits.ts";
import { addKey } from "../../services/credentials.ts";
import { password } from "../../services/fakes.ts";
import { ask, serve } from "./server.ts";

const api = "/api/v1/admin";
const right = { username: "ada", password };

describe("login", () => {
  test("answers a token, its end and the account, and no hash", async () => {
    await using t = await serve();
    const login = await t.anonymous.auth.login(right);
    expect(login.token).toMatch(/^pcs_/);
    expect(login.expires_at).toBe("2030-01-02T00:00:00.000Z");
    expect(login.account).toEqual({
      id: expect.any(String),
      username: "ada",
      role: "owner",
      is_active: true,
      created_at: "2030-01-01T00:00:00.000Z",
      nomination: null,
    });
    const asSession = { key: null, memberships: null, more_memberships: false };
    expect(await t.anonymous.auth.me()).toEqual({ ...login.account, ...asSession });
  });

  test("sets the cookie on the admin listener alone", async () => {
    await using t = await serve();
    const open = await ask(`${t.publicUrl}${api}/auth/login`, "POST", { body: right });
    expect(open.headers.get("set-cookie")).toBeNull();
    const admin = await ask(`${t.adminUrl}${api}/auth/login`, "POST", { body: right });
    expect(admin.headers.get("set-cookie")).toBe(
      `picloud_session=${admin.json.token}; Path=/; HttpOnly; SameSite=Strict`,
    );
  });

  test("marks the cookie Secure behind https", async () => {
    await using t = await serve({ publicBaseUrl: "https://pi.example" });
    const admin = await ask(`${t.adminUrl}${api}/auth/login`, "POST", { body: right });
    expect(admin.headers.get("set-cookie")).toEndWith("; Secure");
  });

  test("is 401 for a wrong password, then 429 with a time to wait", async () => {
    await using t = await serve();
    const wrong = { username: "eve", password: "wrong password" };
    const url = `${t.publicUrl}${api}/auth/login`;
    for (let round = 0; round < loginFailuresPerAccountMax; round += 1) {
      const answer = await ask(url, "POST", { body: wrong });
      expect([answer.status, answer.json.code]).toEqual([401, "invalid_credentials"]);
    }
    const answer = await ask(url, "POST", { body: wrong });
    expect([answer.status, answer.json.code]).toEqual([429, "too_many_attempts"]);
    expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
    // Another account is not locked by that.
    await t.anonymous.auth.login(right);
  });

  test.each<object>([
    { username: "ada" },
    { username: ["ada"], password },
    { username: "ada", password: { $ne: null } },
    { username: "ada", password: "" },
    { username: "ada", password: "x".repeat(257) },
    { username: "ada\0", password },
    { ...right, remember: true },
  ])("refuses %p", async (body) => {
    await using t = await serve();
    const answer = await ask(`${t.publicUrl}${api}/auth/login`, "POST", { body });
    expect(answer.status).toBe(422);
  });
});

describe("a session in a browser", () => {
  test("works by cookie on the admin listener, and changes things from its own pages", async () => {
    await using t = await serve();
    const headers = { cookie: `other=1; picloud_session=${t.token}` };
    const me = await ask(`${t.adminUrl}${api}/auth/me`, "GET", { headers });
    expect(me.json.username).toBe("ada");
    const made = await ask(`${t.adminUrl}${api}/apps`, "POST", {
      headers: { ...headers, origin: t.adminUrl },
      body: { slug: "blog", name: "Blog" },
    });
    expect(made.status).toBe(201);
  });

  test("works behind a proxy that shows another host", async () => {
    await using t = await serve({ publicBaseUrl: "https://pi.example" });
    const headers = {
      cookie: `picloud_session=${t.token}`,
      origin: "https://admin.pi.example",
      "sec-fetch-site": "same-origin",
    };
    const body = { slug: "blog", name: "Blog" };
    const made = await ask(`${t.adminUrl}${api}/apps`, "POST", { headers, body });
    expect(made.status).toBe(201);
  });

  test("does not save a wrong bearer token", async () => {
    await using t = await serve();
    const headers = { cookie: `picloud_session=${t.token}` };
    const answer = await ask(`${t.adminUrl}${api}/auth/me`, "GET", { headers, token: "pcs_x" });
    expect(answer.status).toBe(401);
  });
});

describe("a login that brings a session along", () => {
  test("ends it, by cookie on the admin listener and by bearer on both", async () => {
    await using t = await serve();
    const isGood = async (token: string) =>
      (await ask(`${t.publicUrl}${api}/auth/me`, "GET", { token })).status === 200;
    const [first, second, third] = await Promise.all(
      [1, 2, 3].map(() => t.sessions.create({ id: t.account?.id ?? "" })),
    );
    const cookie = `picloud_session=${first?.token}`;
    // The cookie counts for nothing on the public listener.
    await ask(`${t.publicUrl}${api}/auth/login`, "POST", { headers: { cookie }, body: right });
    expect(await isGood(first?.token ?? "")).toBe(true);
    await ask(`${t.adminUrl}${api}/auth/login`, "POST", { headers: { cookie }, body: right });
    expect(await isGood(first?.token ?? "")).toBe(false);
    for (const [url, token = ""] of [
      [t.publicUrl, second?.token],
      [t.adminUrl, third?.token],
    ]) {
      const wrong = { ...right, password: "wrong password" };
      await ask(`${url}${api}/auth/login`, "POST", { token, body: wrong });
      expect(await isGood(token)).toBe(true);
      expect((await ask(`${url}${api}/auth/login`, "POST", { token, body: right })).status).toBe(
        200,
      );
      expect(await isGood(token)).toBe(false);
    }
    expect(await isGood(t.token)).toBe(true);
  });

  test("keeps an API key, and takes a bad token for none", async () => {
    await using t = await serve();
    const key = await addKey(t.db, { id: t.account?.id ?? "" });
    for (const token of [key.raw, "pcs_x", "x".repeat(4_000), "'%20or%201=1"]) {
      const answer = await ask(`${t.publicUrl}${api}/auth/login`, "POST", { token, body: right });
      expect(answer.status).toBe(200);
    }
    expect((await ask(`${t.publicUrl}${api}/auth/me`, "GET", { token: key.raw })).status).toBe(200);
  });
});

describe("one's own sessions", () => {
  test("are listed with where they are, and end", async () => {
    await using t = await serve();
    const login = await ask(`${t.publicUrl}${api}/auth/login`, "POST", {
      headers: { "user-agent": "a browser" },
      body: right,
    });
    const { items } = await t.client.auth.sessions();
    expect(items).toContainEqual({
      id: expect.stringMatching(/^[0-9a-f]{32}$/),
      current: false,
      created_at: "2030-01-01T00:00:00.000Z",
      last_seen_at: "2030-01-01T00:00:00.000Z",
      expires_at: "2030-01-02T00:00:00.000Z",
      address: "127.0.0.1",
      user_agent: "a browser",
    });
    expect(items.filter((one) => one.current)).toHaveLength(1);
    expect(JSON.stringify(items)).not.toContain(login.json.token.slice(4));
    const other = items.find((one) => one.user_agent === "a browser");
    await t.client.auth.endSession(other?.id ?? "");
    const after = await ask(`${t.publicUrl}${api}/auth/me`, "GET", { token: login.json.token });
    expect(after.status).toBe(401);
    expect(await t.client.auth.endOtherSessions()).toEqual({ count: 1 });
    expect((await t.client.auth.sessions()).items).toHaveLength(1);
  });

  test("come in pages", async () => {
    await using t = await serve();
    for (let index = 0; index < 3; index += 1) {
      await t.sessions.create({ id: t.account?.id ?? "" });
    }
    const first = await t.client.auth.sessions({ limit: 3 });
    const second = await t.client.auth.sessions({ limit: 3, cursor: first.next_cursor });
    const ids = [...first.items, ...second.items].map((one) => one.id);
    expect([ids.length, new Set(ids).size]).toEqual([5, 5]);
  });

  test.each(["x", "%00", "..", "' or 1=1", "0".repeat(32), "0".repeat(65)])(
    "are not ended by %p",
    async (id) => {
      await using t = await serve();
      const url = `${t.publicUrl}${api}/auth/sessions/${encodeURIComponent(id)}`;
      const { status } = await ask(url, "DELETE", { token: t.token });
      expect([400, 404, 405]).toContain(status);
      expect((await t.client.auth.me()).username).toBe("ada");
    },
  );

  test("are nobody's with an API key", async () => {
    await using t = await serve();
    const { raw } = await addKey(t.db, { id: t.account?.id ?? "" });
    for (const [method, path, body] of [
      ["GET", "/auth/sessions", undefined],
      ["DELETE", "/auth/sessions", undefined],
      ["POST", "/auth/password", { old_password: password, new_password: "another password" }],
    ] as const) {
      const answer = await ask(`${t.publicUrl}${api}${path}`, method, { token: raw, body });
      expect([answer.status, answer.json.detail]).toEqual([
        403,
        "This needs a session: an API key may not do it",
      ]);
    }
  });
});

describe("one's own password", () => {
  const next = { old_password: password, new_password: "another password" };

  test("is changed with the old one, and the other sessions end", async () => {
    await using t = await serve();
    const other = await t.anonymous.auth.login(right);
    await t.client.auth.changePassword(next);
    expect((await t.client.auth.me()).username).toBe("ada");
    const after = await ask(`${t.publicUrl}${api}/auth/me`, "GET", { token: other.token });
    expect(after.status).toBe(401);
    await expect(t.anonymous.auth.login(right)).rejects.toMatchObject({ status: 401 });
  });

  test("stays when the old one is wrong, which is a field's fault and not the session's", async () => {
    await using t = await serve();
    const url = `${t.publicUrl}${api}/auth/password`;
    const body = { ...next, old_password: "wrong password" };
    const answer = await ask(url, "POST", { token: t.token, body });
    expect([answer.status, answer.json.errors]).toEqual([
      422,
      [{ path: "old_password", message: "is wrong" }],
    ]);
    for (let round = 1; round < loginFailuresPerAccountMax; round += 1) {
      await ask(url, "POST", { token: t.token, body });
    }
    const locked = await ask(url, "POST", { token: t.token, body: next });
    expect(locked.status).toBe(429);
  });

  test.each<object>([
    {},
    { new_password: "another password" },
    { ...next, new_password: "short" },
    { ...next, new_password: "x".repeat(257) },
    { ...next, new_password: ["another password"] },
    { ...next, old_password: null },
    { ...next, old_password: "wrong\0" },
    { ...next, username: "eve" },
  ])("is not changed by %p", async (body) => {
    await using t = await serve();
    const url = `${t.publicUrl}${api}/auth/password`;
    expect((await ask(url, "POST", { token: t.token, body })).status).toBe(422);
  });
});

describe("logout", () => {
  test("ends the session at once and clears the cookie", async () => {
    await using t = await serve();
    const answer = await ask(`${t.adminUrl}${api}/auth/logout`, "POST", {
      headers: { cookie: `picloud_session=${t.token}`, origin: t.adminUrl },
    });
    expect(answer.status).toBe(204);
    expect(answer.headers.get("set-cookie")).toStartWith("picloud_session=; Max-Age=0;");
    await expect(t.client.auth.me()).rejects.toMatchObject({ status: 401 });
  });
});

describe("setup", () => {
  test("over the API makes the first account once", async () => {
    await using t = await serve({ account: false });
    const token = (await t.accounts.start(null)).setup_token as string;
    const login = await t.anonymous.auth.setup({ token, ...right });
    expect(login.account.role).toBe("owner");
    expect((await t.anonymous.auth.me()).username).toBe("ada");
    const again = t.anonymous.auth.setup({ token, username: "eve", password });
    await expect(again).rejects.toMatchObject({ status: 403, code: "forbidden" });
  });

  test("as a form makes the first account and opens a session", async () => {
    await using t = await serve({ account: false });
    const token = (await t.accounts.start(null)).setup_token as string;
    const page = await ask(`${t.adminUrl}/admin/setup?token=${token}`, "GET");
    expect(page.status).toBe(200);
    expect(page.text).toContain(`value="${token}"`);
    expect(page.headers.get("content-security-policy")).toContain("default-src 'none'");
    expect(page.headers.get("referrer-policy")).toBe("same-origin");
    const submit = (form: Record<string, string>, origin = t.adminUrl) =>
      ask(`${t.adminUrl}/admin/setup`, "POST", {
        headers: { "content-type": "application/x-www-form-urlencoded", origin },
        body: new URLSearchParams(form).toString(),
      });
    const foreign = await submit({ token, ...right }, "http://evil.example");
    expect(foreign.status).toBe(403);
    const short = await submit({ token, username: '"><b>', password: "short" });
    expect(short.status).toBe(422);
    expect(short.text).not.toContain("<b>");
    expect(short.text).not.toContain("short");
    const done = await submit({ token, ...right });
    expect([done.status, done.headers.get("location")]).toEqual([303, "/admin/"]);
    const cookie = (done.headers.get("set-cookie") ?? "").split(";")[0] as string;
    const me = await ask(`${t.adminUrl}${api}/auth/me`, "GET", { headers: { cookie } });
    expect(me.json.username).toBe("ada");
    expect((await submit({ token, username: "eve", password })).status).toBe(403);
    expect((await ask(`${t.adminUrl}/admin/setup?token=${token}`, "GET")).status).toBe(403);
  });

  test.each(["", "x", "pcsetup_' or 1=1", "%00", "x".repeat(5_000)])(
    "shows no form for the token %p",
    async (token) => {
      await using t = await serve({ account: false });
      await t.accounts.start(null);
      const page = await ask(`${t.adminUrl}/admin/setup?token=${token}`, "GET");
      expect([page.status, page.text.includes("<form")]).toEqual([403, false]);
    },
  );
});

describe("the plain page", () => {
  test("says that PiCloud runs, on the admin listener alone", async () => {
    await using t = await serve();
    const page = await ask(`${t.adminUrl}/admin/`, "GET");
    expect(page.status).toBe(200);
    expect(page.text).toContain("/api/v1/admin");
    expect((await ask(`${t.adminUrl}/admin`, "GET")).headers.get("location")).toBe("/admin/");
    expect((await ask(`${t.adminUrl}/admin/x`, "GET")).status).toBe(404);
    expect((await ask(`${t.publicUrl}/admin/`, "GET")).status).toBe(404);
  });
});
