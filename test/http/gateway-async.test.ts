/** Asynchronous routes: what is accepted and refused, and the address at which one asks how it went. */
import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { PicError } from "../../src/domain/errors.ts";
import { asyncBodyBytesMax } from "../../src/domain/limits.ts";
import { ACCEPTED, setup } from "./gateway-fixture.ts";

let refusal: PicError | null = null;
const accept = (): void => {
  if (refusal !== null) throw refusal;
};
const routes = ["/later", "POST /jobs/:name", "/later-files/*"];
const pi = setup(["/hello", "GET /jobs/:name"], { asyncRoutes: routes, accept });
const named = setup([], { asyncRoutes: ["/later"], publicBaseUrl: "https://pi.example.com/" });
afterAll(() => Promise.all([pi, named].map((one) => one[Symbol.asyncDispose]())));
beforeEach(() => {
  refusal = null;
  pi.deferred.length = 0;
  pi.started.length = 0;
});

const { execution_id, token } = ACCEPTED;
const statusPath = `/api/v1/executions/${execution_id}/${token}`;

describe("a request of an asynchronous route", () => {
  test("is accepted with an id and an address, and not run", async () => {
    const reply = await pi.post("/jobs/caf%C3%A9?a=1&a=2", "application/json", '{"n": 1e400}');
    expect(reply.status).toBe(202);
    const status_url = `http://a${statusPath}`;
    expect(JSON.parse(reply.body)).toEqual({ execution_id, status_url });
    expect(reply.headers).toMatchObject({
      location: status_url,
      "x-picloud-execution-id": execution_id,
      "cache-control": "no-store",
      "content-type": "application/json;charset=utf-8",
    });
    expect(pi.started).toHaveLength(0);
    expect(pi.deferred.map(({ request }) => request)).toEqual([
      {
        request_id: expect.stringMatching(/^id-/),
        method: "POST",
        host: "a",
        path: "/jobs/caf%C3%A9",
        headers: { host: "a", "content-type": "application/json", "content-length": "12" },
        query: { a: "2" },
        queries: { a: ["1", "2"] },
        params: { name: "café" },
        rest: "",
        body_json: '{"n": 1e400}',
        body_base64: null,
      },
    ]);
  });

  test("names the address that its caller knows, or the one that is configured", async () => {
    const asked = await pi.send("GET /later HTTP/1.1\r\nHost: PI.local:8080\r\n\r\n");
    expect(asked.headers.location).toBe(`http://PI.local:8080${statusPath}`);
    expect((await named.get("/later")).headers.location).toBe(
      `https://pi.example.com${statusPath}`,
    );
  });

  test("keeps the caller's request id, and none of PiCloud's credentials", async () => {
    const secret = `pcs_${"a".repeat(43)}`;
    await pi.get("/later-files/a/b", {
      "X-Request-Id": "mine",
      Authorization: `Bearer ${secret}`,
      Cookie: `picloud_session=${secret}; other=1`,
    });
    expect(pi.deferred[0]?.request).toMatchObject({ request_id: "mine", rest: "a/b" });
    expect(JSON.stringify(pi.deferred)).not.toContain(secret);
  });

  test("takes methods as any route: HEAD without a body, OPTIONS, 405 for the rest", async () => {
    const head = await pi.send("HEAD /later HTTP/1.1\r\nHost: a\r\n\r\n");
    expect([head.status, head.body]).toEqual([202, ""]);
    const options = await pi.send("OPTIONS /later HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(options.status).toBe(202);
    expect((await pi.get("/jobs/x")).status).toBe(200);
    const put = await pi.send("PUT /jobs/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    expect([put.status, put.headers.allow]).toEqual([405, "GET, HEAD, POST"]);
    expect(pi.deferred.map(({ request }) => request.method)).toEqual(["HEAD", "OPTIONS"]);
    expect(pi.started).toHaveLength(1);
  });

  test("has a smaller body than one that is waited for; the refusal names the bound", async () => {
    const body = "x".repeat(asyncBodyBytesMax);
    expect((await pi.post("/later", "text/plain", body)).status).toBe(202);
    const reply = await pi.post("/later", "text/plain", `${body}x`);
    expect([reply.status, JSON.parse(reply.body).code]).toEqual([413, "body_too_large"]);
    expect(JSON.parse(reply.body).detail).toContain(String(asyncBodyBytesMax));
    const size = asyncBodyBytesMax / 2 + 1;
    const chunk = `${size.toString(16)}\r\n${"x".repeat(size)}\r\n`;
    const chunked = await pi.send(
      `POST /later HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}${chunk}0\r\n\r\n`,
    );
    expect(chunked.status).toBe(413);
    expect((await pi.post("/hello", "text/plain", `${body}x`)).status).toBe(200);
    expect(pi.deferred).toHaveLength(1);
  });

  test("is refused as one that is waited for", async () => {
    expect((await pi.post("/later", "application/json", "{")).status).toBe(400);
    refusal = new PicError("overloaded", "Too many requests wait to be run", { retry_after_s: 5 });
    const full = await pi.get("/later");
    expect([full.status, full.headers["retry-after"]]).toEqual([503, "5"]);
    refusal = new PicError("not_found", "This script is a module; modules are not executed");
    expect((await pi.get("/later")).status).toBe(404);
    expect(pi.deferred).toHaveLength(0);
  });
});

describe("the address of its status", () => {
  test("answers whoever has it, and is never stored", async () => {
    const reply = await pi.get(statusPath);
    expect(reply.status).toBe(200);
    expect(reply.headers["cache-control"]).toBe("no-store");
    expect(JSON.parse(reply.body)).toEqual({
      execution_id,
      status: "success",
      attempts: 2,
      status_code: 201,
      created_at: "2023-11-14T22:13:20.000Z",
      finished_at: "2023-11-14T22:13:21.000Z",
      response: {
        headers: { "content-type": "application/json" },
        body: '{"n":1}',
        truncated: false,
      },
    });
  });

  test("says the same of everything that is wrong, and asks nobody else", async () => {
    const asked = pi.adminCalls.length;
    const detailOf = async (path: string): Promise<string> => {
      const reply = await pi.get(path);
      expect(reply.status).toBe(404);
      expect(reply.headers["cache-control"]).toBe("no-store");
      const { instance: _, ...problem } = JSON.parse(reply.body) as Record<string, string>;
      return JSON.stringify(problem);
    };
    const other = token.replace(/^t/, "u");
    const details = await Promise.all(
      [
        `/api/v1/executions/${execution_id}/${other}`,
        `/api/v1/executions/${execution_id.replace(/^0/, "1")}/${token}`,
        `/api/v1/executions/${execution_id}/${token}/`,
        `/api/v1/executions/${execution_id}/${token}/x`,
        `/api/v1/executions/${execution_id}/${token.slice(1)}`,
        `/api/v1/executions/${execution_id}/${token}%27`,
        `/api/v1/executions/${execution_id}/`,
        `/api/v1/executions/${execution_id}`,
        `/api/v1/executions/${execution_id.toUpperCase()}/${token}`,
        `/api/v1/executions/x'%20or%201=1/${token}`,
        "/api/v1/executions/",
        "/api/v1/executions",
      ].map(detailOf),
    );
    expect(new Set(details).size).toBe(1);
    expect(pi.adminCalls).toHaveLength(asked);
  });

  test("can only be read", async () => {
    const posted = await pi.post(statusPath, "application/json", "{}");
    expect([posted.status, posted.headers.allow]).toEqual([405, "GET, HEAD"]);
    const head = await pi.send(`HEAD ${statusPath} HTTP/1.1\r\nHost: a\r\n\r\n`);
    expect([head.status, head.body]).toEqual([200, ""]);
  });

  test("is none of the admin listener, and no other address of the admin API", async () => {
    expect((await pi.getAdmin(statusPath)).status).toBe(404);
    expect((await pi.get(`/api/v1/admin/executions/${execution_id}`)).body).toBe("admin");
  });
});
