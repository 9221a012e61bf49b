/** What a script answers, and what becomes of failures. */
import { afterAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { sessionCookieName as sessionCookie } from "../../src/domain/credentials.ts";
import { PicError } from "../../src/domain/errors.ts";
import { setup } from "./gateway-fixture.ts";

const pi = setup();
afterAll(() => pi[Symbol.asyncDispose]());

describe("a script's answer", () => {
  test("has its status, headers and body, and the id of the execution", async () => {
    pi.answer({ status_code: 201, headers: { "X-Mine": "1", Location: "/x" }, body: "[1]" });
    const reply = await pi.get("/hello");
    expect(reply.status).toBe(201);
    expect(reply.body).toBe("[1]");
    expect(reply.headers["content-type"]).toBe("application/json");
    expect(reply.headers["x-mine"]).toBe("1");
    expect(reply.headers.location).toBe("/x");
    expect(reply.headers["x-picloud-execution-id"]).toBe("execution-1");
  });

  test("has a content type that fits, unless it names its own", async () => {
    for (const [body_kind, body, type, sent] of [
      ["text", "käse", "text/plain; charset=utf-8", "k\xc3\xa4se"],
      ["base64", "AP8=", "application/octet-stream", "\0\xff"],
      ["json", "null", "application/json", "null"],
      ["none", "", undefined, ""],
    ] as const) {
      pi.answer({ body_kind, body });
      const reply = await pi.get("/hello");
      expect(reply.headers["content-type"]).toBe(type as string);
      expect(reply.body).toBe(sent);
    }
    pi.answer({ body_kind: "text", body: "<p>", headers: { "Content-Type": "text/html" } });
    expect((await pi.get("/hello")).headers["content-type"]).toBe("text/html");
  });

  test("cannot touch the connection, the framing or PiCloud's own headers", async () => {
    pi.answer({
      body: "[1]",
      headers: {
        Connection: "upgrade",
        "Keep-Alive": "x",
        "Content-Length": "1",
        "Transfer-Encoding": "chunked",
        Upgrade: "websocket",
        Trailer: "x",
        TE: "x",
        "X-PiCloud-Execution-Id": "forged",
        "x-picloud-other": "1",
      },
    });
    const reply = await pi.get("/hello");
    expect(reply.body).toBe("[1]");
    expect(reply.headers["content-length"]).toBe("3");
    expect(reply.headers["x-picloud-execution-id"]).toBe("execution-1");
    for (const name of [
      "connection",
      "keep-alive",
      "transfer-encoding",
      "upgrade",
      "trailer",
      "te",
      "x-picloud-other",
    ]) {
      expect(reply.headers[name]).toBeUndefined();
    }
  });

  test("cannot split the answer with header names or values", async () => {
    pi.answer({
      headers: {
        "x-a": "1\r\nset-cookie: evil=1",
        "x-b": "1\nx: y",
        "x-c": "\0",
        "x-d": "snow☃",
        "bad name": "1",
        "bad\r\nname": "1",
        "": "1",
        "x:y": "1",
        __proto__: "1",
        "x-ok": "tab\tand \xe4",
      },
    });
    const reply = await pi.get("/hello");
    expect(reply.status).toBe(200);
    expect(Object.keys(reply.headers).sort()).toEqual(
      ["content-length", "content-type", "date", "x-ok", "x-picloud-execution-id"].sort(),
    );
  });

  test("sets cookies, but not PiCloud's", async () => {
    pi.answer({ headers: { "Set-Cookie": "mine=1; Path=/" } });
    expect((await pi.get("/hello")).headers["set-cookie"]).toBe("mine=1; Path=/");
    for (const cookie of [
      `${sessionCookie}=x`,
      ` ${sessionCookie} =x`,
      `${sessionCookie.toUpperCase()}=x`,
      `=${sessionCookie}=x`,
      sessionCookie,
    ]) {
      pi.answer({ headers: { "set-cookie": cookie } });
      expect((await pi.get("/hello")).headers["set-cookie"]).toBeUndefined();
    }
  });

  test("204, 205 and 304 carry no body", async () => {
    for (const status_code of [204, 205, 304]) {
      pi.answer({ status_code });
      const raw = await pi.sendAndReadAll(
        "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
      );
      expect(raw).toStartWith(`HTTP/1.1 ${status_code}`);
      expect(raw).not.toContain("hello");
      expect(raw.toLowerCase()).not.toContain("content-type");
    }
  });

  test("to HEAD has the headers and the length of the body, and no body", async () => {
    pi.answer({ body: "[1,2]" });
    const raw = await pi.sendAndReadAll(
      "HEAD /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    expect(raw.toLowerCase()).toContain("content-length: 5");
    expect(raw.toLowerCase()).toContain("content-type: application/json");
    expect(raw).not.toContain("[1,2]");
  });
});

describe("failures", () => {
  test("of an execution are problems with its id, and say nothing more", async () => {
    for (const [code, status] of [
      ["script_error", 502],
      ["timeout", 504],
      ["budget_exceeded", 507],
      ["sandbox_lost", 503],
      ["module_unavailable", 502],
      ["not_found", 404],
    ] as const) {
      pi.answer(() => {
        throw new PicError(code, "Shown", {
          extra: { execution_id: "failed-1" },
          cause: new Error("secret"),
        });
      });
      const reply = await pi.get("/hello", { "X-Request-Id": "r-1" });
      expect(reply.status).toBe(status);
      expect(reply.headers["content-type"]).toBe("application/problem+json");
      expect(reply.headers["x-picloud-execution-id"]).toBe("failed-1");
      expect(JSON.parse(reply.body)).toMatchObject({
        code,
        status,
        detail: "Shown",
        instance: "r-1",
      });
      expect(reply.raw).not.toContain("secret");
    }
  });

  test("a full gate says when to come back", async () => {
    pi.answer(() => {
      throw new PicError("overloaded", "Busy", { retry_after_s: 2 });
    });
    const reply = await pi.get("/hello");
    expect([reply.status, reply.headers["retry-after"]]).toEqual([503, "2"]);
  });

  test("what nobody expected is 500 with an id, and whole in the log alone", async () => {
    const cause = new Error("the secret inside");
    pi.answer(() => {
      throw cause;
    });
    const reply = await pi.get("/hello");
    const problem = JSON.parse(reply.body);
    expect([reply.status, problem.code, problem.detail]).toEqual([
      500,
      "internal",
      "Internal error",
    ]);
    expect(reply.raw).not.toContain("secret");
    expect(pi.logged.at(-1)?.fields).toMatchObject({ error: cause, request_id: problem.instance });
  });

  test("the expected is not logged", async () => {
    const before = pi.logged.length;
    await pi.get("//");
    expect(pi.logged.length).toBe(before);
  });
});

test("a caller that goes away aborts the signal and not the execution", async () => {
  const aborted = Promise.withResolvers<void>();
  const entered = Promise.withResolvers<void>();
  const done = Promise.withResolvers<void>();
  pi.answer(async (input) => {
    input.signal?.addEventListener("abort", () => aborted.resolve());
    entered.resolve();
    await aborted.promise;
    done.resolve();
    return {};
  });
  const socket = connect(pi.servers.publicPort, "127.0.0.1");
  socket.write("POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na");
  await entered.promise;
  expect(pi.started.at(-1)?.signal?.aborted).toBe(false);
  socket.destroy();
  await done.promise;
  expect(pi.started.at(-1)?.signal?.aborted).toBe(true);
});

test("a caller that goes away in the middle of its body starts nothing", async () => {
  const before = pi.started.length;
  const socket = connect(pi.servers.publicPort, "127.0.0.1");
  await new Promise<void>((sent) => {
    socket.write("POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\na", () => sent());
  });
  socket.destroy();
  pi.answer({});
  expect((await pi.get("/hello")).status).toBe(200);
  expect(pi.started.length).toBe(before + 1);
  expect(pi.logged.filter(({ message }) => message.includes("failed")).length).toBeLessThan(2);
});
