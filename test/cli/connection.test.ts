/** The way to a server: which one, with which token, and what is made of answers that are none. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cliRowsMax } from "../../src/domain/limits.ts";
import { newUser } from "./pic-runs.ts";

const token = `pic_${"a".repeat(52)}`;
const problem = (status: number, body: unknown) =>
  new Response(JSON.stringify(body), {
    status,
    headers: { "content-type": "application/problem+json" },
  });

/** A server that answers as it is told, and notes who asked. */
function answering(answer: (request: Request) => Response | Promise<Response>) {
  const tokens: (string | null)[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: (request) => {
      tokens.push(request.headers.get("authorization"));
      return answer(request);
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    tokens,
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}

const account = { id: "1", username: "ada", role: "owner", is_active: true, created_at: "" };

describe("an answer that is none of a PiCloud is said to be one, with exit code 7", () => {
  const json = { "content-type": "application/json" };
  const answers: [what: string, answer: () => Response, said: string][] = [
    [
      "a page",
      () => new Response("<html>", { headers: { "content-type": "text/html" } }),
      "text/html",
    ],
    ["bytes", () => new Response(new Uint8Array([1])), "octet-stream"],
    ["a page that says 404", () => new Response("<html>", { status: 404 }), "answered 404"],
    ["JSON that says 404", () => Response.json({ error: "no" }, { status: 404 }), "answered 404"],
    ["other JSON", () => Response.json({ hello: 1 }), "without an account"],
    ["null", () => Response.json(null), "without an account"],
    ["nothing", () => new Response(null, { status: 204 }), "without an account"],
    ["damaged JSON", () => new Response("{", { headers: json }), "damaged JSON"],
    ["a damaged problem", () => problem(422, null), "answered 422"],
    ["a problem without words", () => problem(422, { code: "invalid" }), "answered 422"],
    ["a proxy without a server", () => new Response("bad", { status: 502 }), "A proxy"],
  ];
  for (const [what, answer, said] of answers) {
    test(what, async () => {
      await using server = answering(answer);
      using user = newUser({ env: { PICLOUD_URL: server.url, PICLOUD_TOKEN: token } });
      const { code, out, err } = await user.pic(["whoami"]);
      expect({ code, out }).toEqual({ code: 7, out: "" });
      expect(err).toContain(said);
      expect(err).toContain(server.url);
      expect(err).toContain("\n→ ");
    });
  }

  // A reader of JSON Lines takes what comes; nobody reads them here.
  for (const type of ["application/json", "application/x-ndjson"]) {
    test(`one without an end, ${type}, is not read to its end`, async () => {
      await using server = answering(
        () =>
          new Response(
            new ReadableStream({ pull: (c) => c.enqueue(new Uint8Array(4 * 1024 * 1024)) }),
            { headers: { "content-type": type } },
          ),
      );
      using user = newUser({ env: { PICLOUD_URL: server.url, PICLOUD_TOKEN: token } });
      const { code, err } = await user.pic(["whoami"]);
      expect({ code, err }).toMatchObject({ code: 7, err: expect.stringContaining("no PiCloud") });
    });
  }

  test("a list that goes on for ever, be it with empty pages, has an end", async () => {
    let asked = 0;
    await using server = answering(() => {
      asked += 1;
      return Response.json({ items: [], next_cursor: `c${asked}` });
    });
    using user = newUser({ env: { PICLOUD_URL: server.url, PICLOUD_TOKEN: token } });
    const { code, out, err } = await user.pic(["scripts", "ls", "--all"]);
    expect({ code, out, asked }).toEqual({ code: 0, out: "", asked: cliRowsMax });
    expect(err).toContain("there are more");
  });
});

describe("an address that nobody answers at ends with 7 and the cause", () => {
  const addresses: [url: string, cause: string][] = [
    ["http://127.0.0.1:1", "refused"],
    ["http://no-such-host.invalid", "no such host"],
  ];
  for (const [url, cause] of addresses) {
    test(url, async () => {
      using user = newUser({ env: { PICLOUD_TOKEN: token } });
      const { code, out, err } = await user.pic(["whoami", "--url", url]);
      expect({ code, out }).toEqual({ code: 7, out: "" });
      expect(err).toContain(`${url} cannot be reached: `);
      expect(err).toContain(cause);
    });
  }

  test("TLS where there is none", async () => {
    await using server = answering(() => Response.json(account));
    using user = newUser({ env: { PICLOUD_TOKEN: token } });
    const { code, err } = await user.pic(["whoami", "--url", server.url.replace("http", "https")]);
    expect({ code, said: err.includes("TLS") }).toEqual({ code: 7, said: true });
  });

  test("a server that never answers is given up", async () => {
    using user = newUser({
      env: { PICLOUD_URL: "http://pi:8080", PICLOUD_TOKEN: token },
      // As if the time were over: nothing else ends this request.
      fetch: () => Promise.reject(Object.assign(new Error("timed out"), { code: "ETIMEDOUT" })),
    });
    const { code, err } = await user.pic(["whoami"]);
    expect({ code, said: err.includes("timed out") }).toEqual({ code: 7, said: true });
  });
});

describe("a redirect", () => {
  let elsewhere: ReturnType<typeof answering>;
  beforeAll(() => {
    elsewhere = answering(() => Response.json(account));
  });
  afterAll(() => elsewhere[Symbol.asyncDispose]());

  for (const status of [301, 302, 303, 307, 308]) {
    test(`${status} is not followed, and the token stays`, async () => {
      await using server = answering(
        () => new Response(null, { status, headers: { location: `${elsewhere.url}/x` } }),
      );
      using user = newUser({ env: { PICLOUD_URL: server.url, PICLOUD_TOKEN: token } });
      const { code, err } = await user.pic(["whoami"]);
      expect(code).toBe(7);
      expect(err).toContain(`redirects to ${elsewhere.url}`);
      expect(elsewhere.tokens).toEqual([]);
    });
  }
});

describe("which server and which token", () => {
  test("the variables are enough; the file is not even read", async () => {
    await using server = answering(() => Response.json(account));
    using user = newUser({ env: { PICLOUD_URL: server.url, PICLOUD_TOKEN: ` ${token}\n` } });
    await Bun.write(user.credentials, "{ not JSON");
    expect((await user.pic(["whoami"])).code).toBe(0);
    expect(server.tokens).toEqual([`Bearer ${token}`]);
  });

  test("a stored token goes to its own server alone", async () => {
    await using one = answering(() => Response.json(account));
    await using two = answering(() => Response.json(account));
    using user = newUser();
    expect((await user.pic(["login", "--url", one.url, "--token", token])).code).toBe(0);
    one.tokens.length = 0;
    for (const [args, env] of [
      [["--url", two.url], {}],
      [[], { PICLOUD_URL: two.url }],
      [["--url", one.url.replace("127.0.0.1", "localhost")], {}],
    ] as const) {
      const { code, err } = await user.pic(["whoami", ...args], { env });
      expect(code).toBe(3);
      expect(err).toContain("→ pic login --url ");
    }
    expect({ one: one.tokens, two: two.tokens }).toEqual({ one: [], two: [] });
    expect((await user.pic(["whoami", "--url", `${one.url}/admin/`])).code).toBe(0);
    expect(one.tokens).toEqual([`Bearer ${token}`]);
  });

  test("the flag wins over the variable, the variable over the file", async () => {
    await using file = answering(() => Response.json({ ...account, username: "file" }));
    await using variable = answering(() => Response.json({ ...account, username: "variable" }));
    await using flag = answering(() => Response.json({ ...account, username: "flag" }));
    using user = newUser();
    for (const { url } of [flag, variable, file]) {
      await user.pic(["login", "--url", url, "--token", token]);
    }
    const name = async (args: string[], env: Record<string, string> = {}) =>
      JSON.parse((await user.pic(["whoami", "-o", "json", ...args], { env })).out).username;
    const env = { PICLOUD_URL: variable.url };
    expect([await name([]), await name([], env), await name(["--url", flag.url], env)]).toEqual([
      "file",
      "variable",
      "flag",
    ]);
  });

  test("what is no address or no token is a wrong command line, and a token is never shown", async () => {
    using user = newUser({ env: { PICLOUD_TOKEN: token } });
    for (const url of ["", "ftp://pi", "http://[", "http://ada:secret@pi", "http://"]) {
      const { code, err } = await user.pic(["whoami", "--url", url]);
      expect([url, code, err.includes("--url")]).toEqual([url, 2, true]);
    }
    for (const bad of ["two words", "bad\u0000", "umläut"]) {
      const env = { PICLOUD_URL: "http://127.0.0.1:1", PICLOUD_TOKEN: bad };
      const { code, err } = await user.pic(["whoami"], { env });
      expect([code, err.includes("PICLOUD_TOKEN"), err.includes(bad)]).toEqual([2, true, false]);
    }
  });

  test("nobody is signed in: 3, and how to", async () => {
    using user = newUser();
    const { code, err } = await user.pic(["whoami"]);
    expect(code).toBe(3);
    expect(err).toContain("→ pic login --url ");
  });
});

describe("a problem of the server", () => {
  const cases: [status: number, code: string, exit: number][] = [
    [400, "malformed_request", 1],
    [401, "unauthenticated", 3],
    [403, "forbidden", 4],
    [404, "not_found", 5],
    [409, "conflict", 6],
    [409, "route_conflict", 6],
    [422, "invalid", 1],
    [429, "too_many_attempts", 1],
    [500, "internal", 1],
    [503, "unavailable", 1],
    [418, "constructor", 1],
  ];
  for (const [status, code, exit] of cases) {
    test(`${status} ${code} ends with ${exit}, says what happened and what to do next`, async () => {
      await using server = answering(() => problem(status, { detail: "So it is", code, status }));
      using user = newUser({ env: { PICLOUD_URL: server.url, PICLOUD_TOKEN: token } });
      const ran = await user.pic(["whoami"]);
      expect({ code: ran.code, out: ran.out }).toEqual({ code: exit, out: "" });
      expect(ran.err).toMatch(/^error: So it is\n→ \S.*\n$/);
    });
  }

  test("a token of the environment that is not good is said to be the environment's", async () => {
    await using server = answering(() => problem(401, { detail: "No", code: "unauthenticated" }));
    using user = newUser({ env: { PICLOUD_URL: server.url, PICLOUD_TOKEN: token } });
    expect((await user.pic(["whoami"])).err).toContain("PICLOUD_TOKEN");
  });

  test("its fields are shown line by line with their place, and without what a terminal obeys", async () => {
    const errors = [
      { path: "source", message: "unexpected \u001b[2Jtoken", line: 3, column: 14 },
      { path: "limits.cpu_ms", message: "too much\nerror: fake" },
      null,
      "text",
    ];
    const detail = "\u001b]0;title\u0007No\u202e good\r\n";
    await using server = answering(() => problem(422, { detail, code: "invalid", errors }));
    using user = newUser({ env: { PICLOUD_URL: server.url, PICLOUD_TOKEN: token } });
    const { code, err } = await user.pic(["whoami"]);
    expect(code).toBe(1);
    expect(err.split("\n").slice(0, 3)).toEqual([
      "error: No good ",
      "  source:3:14: unexpected token",
      "  limits.cpu_ms: too much error: fake",
    ]);
  });
});
