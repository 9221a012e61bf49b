/** What a request means, in every spelling that Bun lets through. Raw sockets throughout. */
import { afterAll, describe, expect, test } from "bun:test";
import { setup } from "./gateway-fixture.ts";

const pi = setup();
afterAll(() => pi[Symbol.asyncDispose]());

async function statusOf(bytes: string): Promise<number> {
  return (await pi.send(bytes)).status;
}

const withHost = (host: string): string => `GET /hello HTTP/1.1\r\nHost: ${host}\r\n\r\n`;

describe("hosts", () => {
  test("are lower-case, without port and trailing dot", async () => {
    for (const [sent, seen] of [
      ["a", "a"],
      ["pi:8080", "pi"],
      ["A.Example.COM.:80", "a.example.com"],
      ["[::1]:8080", "[::1]"],
      ["127.0.0.1", "127.0.0.1"],
    ] as const) {
      expect(await statusOf(withHost(sent))).toBe(200);
      expect(pi.started.at(-1)?.request.host).toBe(seen);
    }
  });

  test("choose the route", async () => {
    await pi.send("GET /who HTTP/1.1\r\nHost: TENANT.test.:99\r\n\r\n");
    const tenant = pi.started.at(-1)?.script_id;
    await pi.send("GET /who HTTP/1.1\r\nHost: other.test\r\n\r\n");
    expect(pi.started.at(-1)?.script_id).not.toBe(tenant as string);
  });

  test("that are missing, doubled or malformed are 400 and start nothing", async () => {
    const before = pi.started.length;
    for (const host of [
      ...[
        "",
        " ",
        "a b",
        "a,b",
        "a/b",
        "a?b",
        "a#b",
        "a@b",
        "u:p@b",
        "a\\b",
        "%61",
        "a:x",
        "a:99999",
      ],
      ...["[::1", "::1", "a..b", ".", "127.1", "0x7f.1", "1.2.3.4.5", "xn--", "\xe4.de", "*"],
    ]) {
      expect(`${host} ${await statusOf(withHost(host))}`).toBe(`${host} 400`);
    }
    expect(await statusOf("GET /hello HTTP/1.1\r\n\r\n")).toBe(400);
    expect(await statusOf("GET /hello HTTP/1.0\r\n\r\n")).toBe(400);
    expect(await statusOf("GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")).toBe(400);
    expect(await statusOf("GET /hello HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n")).toBe(400);
    expect(pi.started.length).toBe(before);
  });

  test("HTTP/1.0 with a host is served", async () => {
    expect(await statusOf("GET /hello HTTP/1.0\r\nHost: a\r\n\r\n")).toBe(200);
  });
});

describe("paths", () => {
  test("spellings of one path reach one route, and the script sees one spelling", async () => {
    for (const [target, seen] of [
      ["/hello", "/hello"],
      ["/%68ello", "/hello"],
      ["/x/../hello", "/hello"],
      ["/x/%2e%2E/hello", "/hello"],
      ["/./hello", "/hello"],
      ["http://elsewhere:99/hello", "/hello"],
      ["/files/a|b", "/files/a%7Cb"],
      ["/files/%c3%a4", "/files/%C3%A4"],
      // Bun makes a slash of a backslash before anybody is asked.
      ["/files\\x", "/files/x"],
    ] as const) {
      expect(`${target} ${(await pi.get(target)).status}`).toBe(`${target} 200`);
      expect(pi.started.at(-1)?.request.path).toBe(seen);
      expect(pi.started.at(-1)?.request.host).toBe("a");
    }
  });

  test("params and rest are decoded once", async () => {
    await pi.get("/users/k%C3%A4s%252fe");
    expect(pi.started.at(-1)?.request.params).toEqual({ id: "käs%2fe" });
    await pi.get("/files/a%20b/c");
    expect(pi.started.at(-1)?.request.rest).toBe("a b/c");
  });

  const ambiguous = [
    ...[
      "//",
      "//hello",
      "/hello//",
      "/files//x",
      "/\\hello",
      "/%2fhello",
      "/files/%2F",
      "/%5chello",
    ],
    ...["/files/%5C", "/%00", "/files/%00x", "/%", "/%zz", "/%4", "/%ff", "/%c0%af", "/hello#x"],
    ...["/hello?x#y", "http:///%2f", "/\xe4%zz"],
  ];
  for (const target of ambiguous) {
    test(`${JSON.stringify(target)} is 400 and starts nothing`, async () => {
      const before = pi.started.length;
      const reply = await pi.get(target);
      expect(reply.status).toBe(400);
      expect(JSON.parse(reply.body).code).toBe("malformed_request");
      expect(pi.started.length).toBe(before);
    });
  }

  test("a path that Bun left unresolved because of the host is not believed", async () => {
    for (const host of ["xn--", "1.2.3.4.5", "a:99999", "%zz"]) {
      for (const path of ["/x/../api", "/\\api", "/hello"]) {
        expect(await statusOf(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`)).toBe(400);
      }
    }
  });

  test("what Bun refuses itself starts nothing", async () => {
    const before = pi.started.length;
    for (const line of [
      ...["GET * HTTP/1.1", "OPTIONS * HTTP/1.1", "GET hello HTTP/1.1", "GET \\hello HTTP/1.1"],
      ...[
        "GET ftp://a/hello HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /a\0 HTTP/1.1",
        "GET /hello HTTP/2.0",
      ],
    ]) {
      expect(await statusOf(`${line}\r\nHost: a\r\n\r\n`)).toBeGreaterThanOrEqual(400);
    }
    expect(pi.started.length).toBe(before);
  });
});

describe("reserved paths never reach a route, in no spelling", () => {
  const spellings = [
    ...[
      "/api",
      "/api/",
      "/api/x",
      "/%61pi/x",
      "/%61%70%69",
      "/./api",
      "/x/../api/x",
      "/x/%2e%2e/api",
    ],
    ...[
      "http://evil/api/x",
      "/api/v1",
      "/api/v2/admin/me",
      "/admin",
      "/admin/",
      "/%61dmin/x",
      "/healthz",
    ],
    ...["/healthz/", "/healthz/x", "/version", "/version/x", "/metrics", "/tools", "/tools/x"],
    ...[
      "/my-runs",
      "/my%2Druns/1",
      "/x\\..\\api",
      "/api?x=/hello",
      "/api/v1/execute",
      "/api/v1/execute/",
    ],
  ];
  for (const target of spellings) {
    test(target, async () => {
      const before = pi.started.length;
      const reply = await pi.get(target);
      expect(reply.status).not.toBe(500);
      expect(pi.started.length).toBe(before);
    });
  }

  test("what only looks like one is the user's", async () => {
    for (const target of [
      "/API",
      "/apis",
      "/api;x",
      "/x/api",
      "/Admin/",
      "/%2541pi",
      "/api%20",
      "/api%3f",
    ]) {
      const before = pi.started.length;
      expect((await pi.get(target)).status).toBe(200);
      expect(pi.started.length).toBe(before + 1);
    }
  });
});

describe("methods", () => {
  test("405 names what is there, HEAD follows GET, ANY takes all", async () => {
    await using strict = setup(["GET /a", "POST /a", "/any"]);
    const refused = await strict.send("DELETE /a HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(refused.status).toBe(405);
    expect(refused.headers.allow).toBe("GET, HEAD, POST");
    expect((await strict.send("OPTIONS /a HTTP/1.1\r\nHost: a\r\n\r\n")).status).toBe(405);
    expect((await strict.send("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n")).status).toBe(200);
    expect(strict.started.at(-1)?.request.method).toBe("HEAD");
    expect((await strict.send("PROPFIND /any HTTP/1.1\r\nHost: a\r\n\r\n")).status).toBe(200);
    expect((await strict.get("/b")).status).toBe(404);
  });

  test("TRACE and CONNECT reach nobody", async () => {
    const before = pi.started.length;
    expect(await statusOf("TRACE /hello HTTP/1.1\r\nHost: a\r\n\r\n")).toBe(405);
    expect(await statusOf("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n")).toBe(400);
    expect(pi.started.length).toBe(before);
  });
});

describe("requests hidden in requests", () => {
  const POST = "POST /hello HTTP/1.1\r\nHost: a\r\n";
  for (const [name, bytes] of [
    ["two lengths", `${POST}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`],
    ["two equal lengths", `${POST}Content-Length: 1\r\nContent-Length: 1\r\n\r\na`],
    [
      "length and chunks",
      `${POST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    ["an odd transfer encoding", `${POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    ["a signed length", `${POST}Content-Length: +1\r\n\r\na`],
    ["a space before the colon", "GET /hello HTTP/1.1\r\nHost : a\r\n\r\n"],
    ["a folded header", "GET /hello HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"],
  ] as const) {
    test(`${name}: refused`, async () => {
      const before = pi.started.length;
      expect(await statusOf(bytes)).toBe(400);
      expect(pi.started.length).toBe(before);
    });
  }

  test("the body of a GET is no second request, and no body either", async () => {
    const before = pi.started.length;
    const hidden = "GET /hello?hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    const raw = await pi.sendAndReadAll(
      `GET /hello?first HTTP/1.1\r\nHost: a\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}` +
        "GET /hello?second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    expect(raw.match(/HTTP\/1\.1 200/g)?.length).toBe(2);
    const seen = pi.started.slice(before).map(({ request }) => Object.keys(request.query).join());
    expect(seen).toEqual(["first", "second"]);
    expect(pi.started.at(-1)?.request.body_json).toBe("null");
  });
});
