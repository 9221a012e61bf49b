import { describe, expect, test } from "bun:test";
import { loginFailuresPerAccountMax } from "../../../src/domain/limits.ts";
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
    });
    expect(await t.anonymous.auth.me()).toEqual(login.account);
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
