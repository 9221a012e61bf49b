/** PiCloud's own addresses on both listeners, and the execute call. */
import { afterAll, describe, expect, test } from "bun:test";
import { GOOD_TOKEN, setup } from "./gateway-fixture.ts";

const pi = setup();
afterAll(() => pi[Symbol.asyncDispose]());

const bearer = { Authorization: `Bearer ${GOOD_TOKEN}` };

describe("on both listeners", () => {
  for (const get of [pi.get, pi.getAdmin]) {
    test("healthz and version answer, and only to be read", async () => {
      const health = await get("/healthz");
      expect([health.status, health.body]).toEqual([200, "ok"]);
      const version = await get("/version?x");
      expect([version.status, JSON.parse(version.body)]).toEqual([200, { product: "0.1.0" }]);
      expect(version.headers["content-type"]).toStartWith("application/json");
      expect((await get("/healthz/x")).status).toBe(404);
      const posted = await pi.send("POST /version HTTP/1.1\r\nHost: a\r\n\r\n");
      expect([posted.status, posted.headers.allow]).toEqual([405, "GET, HEAD"]);
      expect((await pi.send("HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n")).status).toBe(200);
    });

    test("any /api/* but /api/v1/* is a 404 in JSON, as are names kept for later", async () => {
      for (const target of [
        "/api",
        "/api/",
        "/api/v2/x",
        "/api/v1",
        "/metrics",
        "/tools",
        "/my-runs/1",
      ]) {
        const reply = await get(target);
        expect(reply.status).toBe(404);
        expect(reply.headers["content-type"]).toBe("application/problem+json");
        expect(JSON.parse(reply.body).code).toBe("not_found");
      }
    });
  }
});

describe("the admin plane", () => {
  test("gets the canonical path under a safe host, whatever the caller's host", async () => {
    for (const host of ["pi", "a", "a.very.long.host.example.com:8080"]) {
      const reply = await pi.send(
        `PATCH /x/../%61pi/v1/admin/scripts?q=%41 HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`,
      );
      expect(reply.body).toBe("admin");
      expect(pi.adminCalls.at(-1)).toMatchObject({
        method: "PATCH",
        url: "http://picloud.invalid/api/v1/admin/scripts?q=%41",
        body: "{}",
        listener: "public",
        remote_address: "127.0.0.1",
      });
      expect(pi.adminCalls.at(-1)?.headers.host).toBe(host);
    }
  });

  test("sees cookies on its own listener only, and tokens on both", async () => {
    const headers = { Cookie: "picloud_session=x", ...bearer };
    await pi.get("/api/v1/admin/apps", headers);
    expect(pi.adminCalls.at(-1)?.headers.cookie).toBeUndefined();
    expect(pi.adminCalls.at(-1)?.headers.authorization).toBe(bearer.Authorization);
    await pi.getAdmin("/api/v1/admin/apps", headers);
    expect(pi.adminCalls.at(-1)).toMatchObject({ listener: "admin" });
    expect(pi.adminCalls.at(-1)?.headers.cookie).toBe("picloud_session=x");
  });

  test("is loaded by its first request, and again after it failed to load", async () => {
    let loads = 0;
    await using other = setup(["/*"], {
      admin: async () => {
        loads += 1;
        if (loads === 1) throw new Error("no memory");
        return { handle: async () => new Response("late") };
      },
    });
    await other.get("/healthz");
    await other.get("/hello");
    expect(loads).toBe(0);
    expect((await other.get("/api/v1/admin/apps")).status).toBe(500);
    expect((await other.get("/api/v1/admin/apps")).body).toBe("late");
    await other.get("/api/v1/admin/apps");
    expect(loads).toBe(2);
  });

  test("/admin/ in public leads to the other listener, on the same host", async () => {
    const port = pi.servers.adminPort;
    for (const [host, target, location] of [
      ["pi.local:8080", "/admin", `http://pi.local:${port}/admin/`],
      ["[::1]:80", "/admin/x?y=1", `http://[::1]:${port}/admin/x?y=1`],
    ] as const) {
      const reply = await pi.send(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      expect([reply.status, reply.headers.location]).toEqual([302, location]);
    }
    expect((await pi.send("POST /admin/ HTTP/1.1\r\nHost: a\r\n\r\n")).status).toBe(405);
    expect((await pi.getAdmin("/admin/x")).body).toBe("admin");
    expect((await pi.getAdmin("/")).headers.location).toBe("/admin/");
  });

  test("the admin listener serves no user route and executes nothing", async () => {
    const before = pi.started.length;
    for (const target of ["/hello", "/files/x", "/API", "/api/v1/execute/open", "/x"]) {
      expect((await pi.getAdmin(target, bearer)).status).toBe(404);
    }
    expect(pi.started.length).toBe(before);
  });
});

describe("execute", () => {
  test("a public script runs for anybody, with any method", async () => {
    const reply = await pi.send(
      "DELETE /api/v1/execute/open?x=1 HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\n1",
    );
    expect(reply.status).toBe(200);
    expect(pi.started.at(-1)).toMatchObject({
      invocation: "execute",
      script_id: "open",
      request: { method: "DELETE", path: "/api/v1/execute/open", body_json: '"1"', rest: "" },
    });
  });

  test("another needs a token that may, which the script does not see", async () => {
    const before = pi.started.length;
    for (const headers of [
      {},
      { Authorization: "Bearer wrong" },
      { Cookie: `picloud_session=${GOOD_TOKEN}` },
    ]) {
      const reply = await pi.get("/api/v1/execute/closed", headers);
      expect(reply.status).toBe(401);
      expect(reply.headers["www-authenticate"]).toBe("Bearer");
    }
    expect(pi.started.length).toBe(before);
    expect((await pi.get("/api/v1/execute/closed", bearer)).status).toBe(200);
    expect(JSON.stringify(pi.started.at(-1)?.request)).not.toContain(GOOD_TOKEN);
  });

  test("two credentials are none, also when both are good, and so is one in another place", async () => {
    const before = pi.started.length;
    const target = "/api/v1/execute/closed";
    const twice = `Authorization: Bearer ${GOOD_TOKEN}\r\n`.repeat(2);
    const head = `GET ${target} HTTP/1.1\r\nHost: a\r\n`;
    expect((await pi.send(`${head}${twice}\r\n`)).status).toBe(401);
    for (const headers of [
      { Authorization: `Bearer ${GOOD_TOKEN},` },
      { Authorization: `Bearer ${GOOD_TOKEN} x` },
      { Authorization: `Bearer\t${GOOD_TOKEN}` },
      { Authorization: `Bearer${GOOD_TOKEN}` },
      { Authorization: GOOD_TOKEN },
      { Authorization: `Basic ${Buffer.from(`x:${GOOD_TOKEN}`).toString("base64")}` },
      { "X-Api-Key": GOOD_TOKEN },
      { "Proxy-Authorization": `Bearer ${GOOD_TOKEN}` },
    ]) {
      expect((await pi.get(target, headers)).status).toBe(401);
    }
    expect((await pi.get(`${target}?token=${GOOD_TOKEN}&access_token=${GOOD_TOKEN}`)).status).toBe(
      401,
    );
    expect(pi.started.length).toBe(before);
  });

  test("whether a script exists is told only to who may execute", async () => {
    expect((await pi.get("/api/v1/execute/nothing")).status).toBe(401);
    expect((await pi.get("/api/v1/execute/nothing", bearer)).status).toBe(404);
    expect((await pi.get("/api/v1/execute/__proto__", bearer)).status).toBe(404);
  });

  test("takes nothing after the id", async () => {
    for (const target of [
      "/api/v1/execute",
      "/api/v1/execute/",
      "/api/v1/execute/open/",
      "/api/v1/execute/open/x",
    ]) {
      expect((await pi.get(target, bearer)).status).toBe(404);
    }
  });
});

test("where nothing is routed there is a 404 problem", async () => {
  await using empty = setup([]);
  for (const target of ["/", "/x"]) {
    const reply = await empty.get(target);
    expect([reply.status, JSON.parse(reply.body).code]).toEqual([404, "not_found"]);
  }
});
