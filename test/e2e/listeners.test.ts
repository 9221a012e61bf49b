/** What each of the two listeners serves, to whom, and how an account comes into being. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { PicClient } from "../../src/client.ts";
import { exchange, type Reply } from "../http/gateway-fixture.ts";
import { adminLogin, startServer, type TestServer } from "./server.ts";
import { deploy, problemOf, refusal } from "./steps.ts";

const api = "/api/v1/admin";
const cookieName = "picloud_session";

let server: TestServer;
let catchAll: string;

beforeAll(async () => {
  server = await startServer();
  const { script } = await deploy(server.client, {
    name: "everything",
    source: "export default ({ request }) => [request.host, request.path]",
    path: "/*",
  });
  catchAll = script.id;
});

afterAll(() => server[Symbol.asyncDispose]());

function login(base: string, more: Partial<typeof adminLogin> = {}): Promise<Response> {
  return fetch(`${base}${api}/auth/login`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...adminLogin, ...more }),
  });
}

/** A fresh session as a browser holds it. */
async function browserCookie(): Promise<string> {
  const response = await login(server.adminUrl);
  const [pair = ""] = (response.headers.get("set-cookie") ?? "").split(";");
  return pair;
}

function get(base: string, path: string, headers: Record<string, string>): Promise<Response> {
  return fetch(`${base}${api}${path}`, { headers, redirect: "manual" });
}

describe("a session", () => {
  test("is a cookie on the admin listener alone, and nothing but HTTP may read it", async () => {
    const admin = await login(server.adminUrl);
    expect(admin.status).toBe(200);
    const [pair, ...attributes] = (admin.headers.get("set-cookie") ?? "").split("; ");
    const { token, account } = (await admin.json()) as { token: string; account: object };
    expect(pair).toBe(`${cookieName}=${token}`);
    expect(attributes.sort()).toEqual(["HttpOnly", "Path=/", "SameSite=Strict"]);
    expect(account).toMatchObject({ username: "admin", is_active: true });
    expect(JSON.stringify(account)).not.toMatch(/hash|argon|password/i);
    expect(token).toMatch(/^pcs_[A-Za-z0-9_-]{43}$/);
    const open = await login(server.url);
    expect([open.status, open.headers.get("set-cookie")]).toEqual([200, null]);
  });

  test("counts as a cookie on the admin listener, and only as a bearer token in public", async () => {
    const cookie = await browserCookie();
    const [, token] = cookie.split("=");
    expect((await get(server.adminUrl, "/auth/me", { cookie })).status).toBe(200);
    const refused = await get(server.url, "/auth/me", { cookie });
    expect(refused.status).toBe(401);
    expect((await problemOf(refused)).code).toBe("unauthenticated");
    for (const base of [server.url, server.adminUrl]) {
      const bearer = { authorization: `Bearer ${token}` };
      expect((await get(base, "/auth/me", bearer)).status).toBe(200);
    }
  });

  test("of a browser changes things only from a page of this host", async () => {
    const cookie = await browserCookie();
    const create = (headers: Record<string, string>): Promise<Response> =>
      fetch(`${server.adminUrl}${api}/apps`, {
        method: "POST",
        headers: { "content-type": "application/json", cookie, ...headers },
        body: JSON.stringify({ slug: `from-${Object.keys(headers).length}`, name: "From a page" }),
      });
    expect((await create({})).status).toBe(403);
    for (const origin of ["http://evil.example", "null", server.url, `${server.adminUrl}.evil`]) {
      const refused = await create({ origin });
      expect(`${origin} ${refused.status}`).toBe(`${origin} 403`);
    }
    expect((await create({ origin: server.adminUrl })).status).toBe(201);
    // A program that sends its token itself needs no origin; one that sends a wrong one has no
    // session, whatever cookie comes along.
    expect(
      (await create({ authorization: "Bearer pcs_wrong", origin: server.adminUrl })).status,
    ).toBe(401);
  });

  test("ends with a logout, on both listeners at once", async () => {
    const cookie = await browserCookie();
    const token = cookie.slice(cookieName.length + 1);
    const out = await fetch(`${server.adminUrl}${api}/auth/logout`, {
      method: "POST",
      headers: { cookie, origin: server.adminUrl },
    });
    expect(out.status).toBe(204);
    expect(out.headers.get("set-cookie")).toContain(`${cookieName}=; Max-Age=0`);
    expect((await get(server.adminUrl, "/auth/me", { cookie })).status).toBe(401);
    const bearer = { authorization: `Bearer ${token}` };
    expect((await get(server.url, "/auth/me", bearer)).status).toBe(401);
    expect(
      (await fetch(`${server.url}/api/v1/execute/${catchAll}`, { headers: bearer })).status,
    ).toBe(401);
    // Another session of the same account goes on.
    expect(await server.client.auth.me()).toMatchObject({ username: "admin" });
  });

  test("is refused to a wrong password and to an unknown name in the same words", async () => {
    const wrong = await problemOf(await login(server.url, { password: "wrong password" as never }));
    const nobody = await problemOf(await login(server.url, { username: "nobody" as never }));
    expect({ ...wrong, instance: "" }).toEqual({ ...nobody, instance: "" });
    expect(wrong).toMatchObject({ status: 401, code: "invalid_credentials" });
  });

  test("is not to be guessed: the failures of a name are counted, the owner still gets in", async () => {
    const guess = (): Promise<Response> => login(server.url, { username: "guessed" as never });
    const statuses: number[] = [];
    let last: Response | null = null;
    for (let tries = 0; tries < 12; tries += 1) {
      last = await guess();
      statuses.push(last.status);
    }
    expect(statuses).toEqual([...Array.from({ length: 10 }, () => 401), 429, 429]);
    expect(Number(last?.headers.get("retry-after"))).toBeGreaterThan(60);
    expect((await problemOf(last as Response)).code).toBe("too_many_attempts");
    expect((await login(server.url)).status).toBe(200);
  });
});

describe("the admin API", () => {
  test.each([
    ["GET", "/auth/me"],
    ["POST", "/auth/logout"],
    ["GET", "/apps"],
    ["POST", "/apps"],
    ["GET", "/apps/default"],
    ["DELETE", "/apps/default"],
    ["GET", "/scripts"],
    ["POST", "/scripts"],
    ["GET", "/scripts/x"],
    ["PATCH", "/scripts/x"],
    ["DELETE", "/scripts/x"],
    ["GET", "/scripts/x/versions"],
    ["GET", "/scripts/x/versions/1"],
    ["POST", "/scripts/x/rollback"],
    ["POST", "/scripts/x/routes"],
    ["GET", "/scripts/x/routes"],
    ["GET", "/scripts/x/logs"],
    ["GET", "/routes/x"],
    ["DELETE", "/routes/x"],
    ["POST", "/routes/check"],
    ["POST", "/routes/match"],
    ["GET", "/executions/x"],
  ])("%s %s is nothing to anonymous callers, on either listener", async (method, path) => {
    for (const base of [server.url, server.adminUrl]) {
      const response = await fetch(`${base}${api}${path}`, { method });
      expect(response.status).toBe(401);
      expect((await problemOf(response)).code).toBe("unauthenticated");
    }
  });

  test("answers what it does not have as JSON", async () => {
    const bearer = { authorization: `Bearer ${server.token}` };
    for (const path of ["/api", "/api/v2/admin/apps", "/api/v1/admin/nothing", "/api/v1"]) {
      const response = await fetch(`${server.url}${path}`, { headers: bearer });
      expect(`${path} ${response.status}`).toBe(`${path} 404`);
      expect((await problemOf(response)).code).toBe("not_found");
    }
    const wrong = await fetch(`${server.url}${api}/apps`, { method: "PUT", headers: bearer });
    expect([wrong.status, wrong.headers.get("allow")]).toEqual([405, "GET, HEAD, POST"]);
  });
});

describe("the admin listener", () => {
  test("serves no user route and executes nothing", async () => {
    expect((await fetch(`${server.url}/anything`)).status).toBe(200);
    for (const path of ["/anything", `/api/v1/execute/${catchAll}`, "/x/../anything"]) {
      const response = await fetch(`${server.adminUrl}${path}`, {
        headers: { authorization: `Bearer ${server.token}` },
      });
      expect(`${path} ${response.status}`).toBe(`${path} 404`);
      expect(response.headers.get("x-picloud-execution-id")).toBeNull();
    }
  });

  test("has the page, and the public one leads to it", async () => {
    const root = await fetch(`${server.adminUrl}/`, { redirect: "manual" });
    expect([root.status, root.headers.get("location")]).toEqual([302, "/admin/"]);
    const page = await fetch(`${server.adminUrl}/admin/`);
    expect(page.status).toBe(200);
    expect(page.headers.get("content-security-policy")).toContain("default-src 'none'");
    const { port } = new URL(server.adminUrl);
    const redirected = await fetch(`${server.url}/admin/`, { redirect: "manual" });
    expect([redirected.status, redirected.headers.get("location")]).toEqual([
      302,
      `http://127.0.0.1:${port}/admin/`,
    ]);
  });
});

test("both listeners say that they are well and what they are", async () => {
  for (const base of [server.url, server.adminUrl]) {
    expect(await (await fetch(`${base}/healthz`)).text()).toBe("ok");
    expect(await (await fetch(`${base}/version`)).json()).toEqual({
      product: expect.stringMatching(/^\d+\.\d+\.\d+/),
      sdk: "1.0",
      api: "1",
      schema: expect.any(Number),
      wire: expect.any(String),
      public_base_url: null,
    });
    expect((await fetch(`${base}/healthz`, { method: "POST" })).status).toBe(405);
  }
});

describe("over a raw socket", () => {
  const send = (head: string): Promise<Reply> =>
    exchange(Number(new URL(server.url).port), `${head}\r\n\r\n`);
  const ask = (target: string): Promise<Reply> => send(`GET ${target} HTTP/1.1\r\nHost: pi`);

  const reserved = [
    ...["/api", "/api/", "/%61pi", "/%61%50i/../api", "/./api/x", "/x/../api", "/x/%2e%2e/api"],
    ...["/\\api", "/x\\..\\api/v1", "http://evil/api/x", "/api?/hello", "/api/v1/execute"],
    ...["/admin", "/%61dmin/", "/x/..%2fadmin", "/tools", "/tools/x", "/my%2druns", "/my-runs/1"],
    ...["/healthz/x", "/version/", "/HEALTHZ/../healthz/y", "//api", "/api%00", "/api%2f"],
    ...["/api%5cx", "/metrics", "/metrics/", "/%6Detrics"],
  ];
  test.each(reserved)("a reserved path reaches no script: %s", async (target) => {
    const reply = await ask(target);
    expect(reply.headers["x-picloud-execution-id"]).toBeUndefined();
    expect([302, 400, 401, 404]).toContain(reply.status);
  });

  test("what is ambiguous is 400, what is clear is one path for all", async () => {
    for (const target of ["/a//b", "/a%2fb", "/a%5Cb", "/a%00", "/%zz", "/%c0%af", "/a#b"]) {
      expect(`${target} ${(await ask(target)).status}`).toBe(`${target} 400`);
    }
    for (const target of ["/%41b", "/x/../Ab", "/./Ab", "/x/%2e%2e/Ab", "http://other:1/Ab"]) {
      expect(`${target} ${(await ask(target)).body}`).toBe(`${target} ["pi","/Ab"]`);
    }
  });

  test("a Host that is missing, doubled or malformed is 400; others are one host", async () => {
    for (const host of [
      "",
      "Host: a\r\nHost: b",
      "Host: a,b",
      "Host: a b",
      "Host: a:x",
      "Host: %61",
    ]) {
      const reply = await send(`GET /x HTTP/1.1${host === "" ? "" : "\r\n"}${host}`);
      expect(`${host} ${reply.status}`).toBe(`${host} 400`);
    }
    for (const host of ["PI", "pi.", "pi:80", "Pi.:8080"]) {
      const reply = await send(`GET /x HTTP/1.1\r\nHost: ${host}`);
      expect(reply.body).toBe('["pi","/x"]');
    }
  });

  test("a request inside a request is not believed", async () => {
    const hidden = "GET /hidden HTTP/1.1\r\nHost: pi\r\n\r\n";
    for (const lines of [
      `Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${hidden}`,
      `Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`,
      `Content-Length: -1\r\n\r\n`,
      `Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
    ]) {
      const reply = await send(`POST /x HTTP/1.1\r\nHost: pi\r\n${lines}`);
      expect(`${lines} ${reply.status}`).toBe(`${lines} 400`);
      expect(reply.raw).not.toContain("/hidden");
    }
  });
});

describe("while there is no account", () => {
  const none = { PICLOUD_ADMIN_USERNAME: "", PICLOUD_ADMIN_PASSWORD: "" };
  const start = (dataDir: string): Promise<TestServer> =>
    startServer({ env: none, anonymous: true, dataDir });

  function linkOf(started: TestServer): URL {
    const lines = started.output().split("\n");
    const links = lines.filter((line) => line.startsWith(`${started.adminUrl}/admin/setup?token=`));
    if (links.length !== 1) throw new Error(`not one setup link in:\n${started.output()}`);
    return new URL(links[0] as string);
  }

  function submit(
    link: URL,
    fields: Record<string, string>,
    origin = link.origin,
  ): Promise<Response> {
    return fetch(`${link.origin}/admin/setup`, {
      method: "POST",
      headers: { origin, "content-type": "application/x-www-form-urlencoded" },
      body: new URLSearchParams({ token: link.searchParams.get("token") ?? "", ...fields }),
      redirect: "manual",
    });
  }

  const owner = { username: "ada", password: "a long password" };

  test("every start prints a link; only the newest works, once, from its own page", async () => {
    // The data folder outlives two servers; the outer one deletes it.
    await using keeper = await startServer({ env: none, anonymous: true });
    const { dataDir } = keeper;
    const early = linkOf(keeper);
    expect(await keeper.stop()).toBe(0);

    await using first = await start(dataDir);
    const link = linkOf(first);
    expect(link.searchParams.get("token")).not.toBe(early.searchParams.get("token"));
    const stale = new URL(link);
    stale.searchParams.set("token", early.searchParams.get("token") ?? "");
    for (const refused of [stale, new URL("/admin/setup?token=", link)]) {
      expect((await fetch(refused)).status).toBe(403);
      expect((await submit(refused, owner)).status).toBe(403);
    }
    // Nobody has a session, and no password opens one.
    expect((await login(first.url)).status).toBe(401);
    const form = await fetch(link);
    expect(form.status).toBe(200);
    expect(form.headers.get("referrer-policy")).toBe("same-origin");
    expect(await form.text()).toContain('name="password"');
    // The public listener has no such page.
    expect(
      (await fetch(`${first.url}/admin/setup${link.search}`, { redirect: "manual" })).status,
    ).toBe(302);
    expect((await submit(link, owner, "http://evil.example")).status).toBe(403);
    const short = await submit(link, { username: "ada", password: "short" });
    expect(short.status).toBe(422);
    expect(await short.text()).toContain('value="ada"');

    const both = await Promise.all([submit(link, owner), submit(link, owner)]);
    expect(both.map((response) => response.status).sort()).toEqual([303, 403]);
    const made = both.find((response) => response.status === 303);
    const [cookie = ""] = (made?.headers.get("set-cookie") ?? "").split(";");
    const me = await fetch(`${first.adminUrl}${api}/auth/me`, { headers: { cookie } });
    expect(await me.json()).toMatchObject({ username: "ada", role: "owner" });
    expect((await fetch(link)).status).toBe(403);
    expect((await submit(link, { ...owner, username: "eve" })).status).toBe(403);
    expect(first.output()).not.toContain(owner.password);
    expect(await first.stop()).toBe(0);

    await using second = await start(dataDir);
    expect(second.output()).not.toContain("setup");
    const client = new PicClient({ base_url: second.url });
    expect((await client.auth.login(owner)).account.username).toBe("ada");
  }, 30_000);

  test("the API makes it too, and the token stands in no record of the log", async () => {
    await using fresh = await startServer({ env: none, anonymous: true });
    const token = linkOf(fresh).searchParams.get("token") ?? "";
    const client = new PicClient({ base_url: fresh.url });
    expect((await refusal(client.auth.setup({ token: "pcsetup_wrong", ...owner }))).status).toBe(
      403,
    );
    const short = await refusal(client.auth.setup({ token, username: "ada", password: "short" }));
    expect(short.problem?.errors?.[0]?.path).toBe("password");
    expect((await client.auth.setup({ token, ...owner })).account.role).toBe("owner");
    expect(await client.auth.me()).toMatchObject({ username: "ada" });
    expect((await refusal(client.auth.setup({ token, ...owner }))).status).toBe(403);
    expect(JSON.stringify(fresh.log())).not.toContain(token);
  });
});
