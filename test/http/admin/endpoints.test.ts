/** What holds for every declared call: who may, and what happens to bad input. */
import { describe, expect, test } from "bun:test";
import { newId } from "../../../src/base/ids.ts";
import type { Actor } from "../../../src/domain/accounts.ts";
import { declaredEndpoints } from "../../../src/http/admin/app.ts";
import type { Endpoint } from "../../../src/http/admin/endpoint.ts";
import { ask, serve } from "./server.ts";

const api = "/api/v1/admin";
// Declarations alone: no service is called.
const endpoints = declaredEndpoints({} as Parameters<typeof declaredEndpoints>[0]);
const named = endpoints.map(
  (declared) => [`${declared.method} ${declared.path}`, declared] as const,
);
const guarded = named.filter(([, declared]) => declared.action !== null);
const withBody = named.filter(
  ([, { body, bodyType }]) => body !== null && bodyType === "application/json",
);

/** The address with ids that fit nothing. */
function address(declared: Endpoint): string {
  return api + declared.path.replace(/:\w+/g, () => newId());
}

/** A server with a script and a route, and addresses whose app is there: bodies are judged after it. */
async function ready() {
  const t = await serve();
  const actor = (await t.authentication.authenticate(t.token))?.actor as Actor;
  const { script } = await t.scripts.create(actor, { name: "a", source: "" });
  const { route } = await t.routes.create(actor, script.id, { path: "/a" });
  const knownAddress = (declared: Endpoint): string =>
    address({
      ...declared,
      path: declared.path
        .replace("/apps/:app", "/apps/default")
        .replace("/scripts/:id", `/scripts/${script.id}`)
        .replace("/routes/:id", `/routes/${route.id}`),
    });
  return { ...t, script, knownAddress };
}

/** The members that its query must have. */
function neededQuery({ query }: Endpoint): string {
  const { required = [], properties = {} } = (query?.toJsonSchema() ?? {}) as {
    required?: string[];
    properties?: Record<string, { enum?: string[] }>;
  };
  const members = required.map((name) => `${name}=${properties[name]?.enum?.[0] ?? "x"}`);
  return members.length === 0 ? "" : `?${members.join("&")}`;
}

describe("every call that needs a session", () => {
  test("answers 401 to anybody without one, before it looks at anything else", async () => {
    await using t = await serve();
    for (const [name, declared] of guarded) {
      for (const token of [undefined, "", "pcs_x", `pcs_${"a".repeat(43)}`, "Bearer", "\u00ff"]) {
        const answer = await ask(t.publicUrl + address(declared), declared.method, {
          ...(token === undefined ? {} : { token }),
          ...(declared.body === null ? {} : { body: "{not json" }),
        });
        expect([name, answer.status, answer.json?.code]).toEqual([name, 401, "unauthenticated"]);
      }
    }
  });

  test("answers 401 to an expired session", async () => {
    await using t = await serve();
    t.clock.pass(25 * 3_600_000);
    for (const [name, declared] of guarded) {
      const { token } = t;
      const answer = await ask(t.publicUrl + address(declared), declared.method, { token });
      expect([name, answer.status]).toEqual([name, 401]);
    }
  });

  test("ignores the cookie on the public listener", async () => {
    await using t = await serve();
    for (const [name, declared] of guarded) {
      const answer = await ask(t.publicUrl + address(declared), declared.method, {
        headers: { cookie: `picloud_session=${t.token}`, origin: t.publicUrl },
      });
      expect([name, answer.status]).toEqual([name, 401]);
    }
  });

  test("refuses a cookie that comes from a page of another host, when it changes something", async () => {
    await using t = await serve();
    for (const [name, declared] of guarded.filter(([, found]) => found.method !== "GET")) {
      for (const origin of [null, "null", "http://evil.example", "http://127.0.0.1:1", "x"]) {
        const answer = await ask(t.adminUrl + address(declared), declared.method, {
          headers: {
            cookie: `picloud_session=${t.token}`,
            ...(origin === null ? {} : { origin }),
          },
        });
        expect([name, origin, answer.status]).toEqual([name, origin, 403]);
      }
    }
  });

  test("answers 404 to ids that are unknown or could be none", async () => {
    await using t = await serve();
    const wanting = guarded.filter(
      ([, declared]) => declared.path.includes(":") && declared.body === null,
    );
    for (const [name, declared] of wanting) {
      for (const id of [newId(), "x", "%00", "a%2Fb", "%27%20or%201=1", "%zz", "x".repeat(2_000)]) {
        const path = api + declared.path.replace(/:\w+/g, id) + neededQuery(declared);
        const answer = await ask(t.publicUrl + path, declared.method, { token: t.token });
        expect([name, id, answer.status]).toEqual([name, id, 404]);
      }
    }
  });

  test("refuses query members it does not know, and ones given twice", async () => {
    await using t = await ready();
    for (const [name, declared] of guarded.filter(([, found]) => found.body === null)) {
      for (const query of ["?nonsense=1", "?limit=1&limit=2", "?__proto__=1"]) {
        const url = t.publicUrl + t.knownAddress(declared) + query;
        const answer = await ask(url, declared.method, { token: t.token });
        expect([name, query, answer.status]).toEqual([name, query, 422]);
      }
    }
  });
});

describe("every list", () => {
  test("refuses limits and cursors that are none", async () => {
    await using t = await ready();
    const { script } = t;
    const lists = [
      "/apps",
      "/scripts",
      ...["versions", "routes", "triggers"].map((part) => `/scripts/${script.id}/${part}`),
      ...["triggers", "triggers/cron", "dead-letters"].map((part) => `/apps/default/${part}`),
    ];
    for (const path of [...lists, `/scripts/${script.id}/logs`]) {
      for (const limit of ["0", "201", "-1", "1.5", "abc", "", "1e2", "99999999999"]) {
        const url = `${t.publicUrl}${api}${path}?limit=${limit}`;
        const answer = await ask(url, "GET", { token: t.token });
        expect([path, limit, answer.status]).toEqual([path, limit, 422]);
        expect(answer.json.errors[0].path).toBe("limit");
      }
      const most = await ask(`${t.publicUrl}${api}${path}?limit=200`, "GET", { token: t.token });
      expect(most.json.next_cursor).toBeNull();
    }
    for (const path of lists) {
      for (const cursor of ["x", "%00", "W10", "eyJhIjoxfQ", "x".repeat(3_000)]) {
        const url = `${t.publicUrl}${api}${path}?cursor=${cursor}`;
        const answer = await ask(url, "GET", { token: t.token });
        expect([path, cursor, answer.status]).toEqual([path, cursor, 422]);
      }
    }
  });
});

describe("every body", () => {
  test.each(withBody)("of %s is refused when it is malformed", async (_name, declared) => {
    await using t = await ready();
    const url = t.publicUrl + t.knownAddress(declared);
    const send = (body: string, headers: Record<string, string> = {}) =>
      ask(url, declared.method, { token: t.token, body, headers });
    for (const body of ["", "{", "nonsense", '{"a":1}}', "[".repeat(10_000)]) {
      const answer = await send(body);
      expect([body.slice(0, 9), answer.status]).toEqual([body.slice(0, 9), 400]);
    }
    for (const body of ["null", "5", '"x"', "[]", "[{}]"]) {
      const answer = await send(body);
      expect([body, answer.status, answer.json.code]).toEqual([body, 422, "invalid"]);
    }
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"]) {
      expect((await send("{}", { "content-type": type })).status).toBe(415);
    }
    for (const body of ['{"nonsense":1}', '{"__proto__":{"a":1}}', '{"constructor":1}']) {
      const answer = await send(body);
      const member = Object.getOwnPropertyNames(JSON.parse(body))[0];
      expect(answer.status).toBe(422);
      expect(answer.json.errors).toContainEqual({ path: member, message: "is not known here" });
    }
  });

  test.each(withBody)("of %s is cut off when it is huge", async (_name, declared) => {
    await using t = await ready();
    const url = t.publicUrl + t.knownAddress(declared);
    const body = `{"a":"${"x".repeat(declared.bodyBytesMax)}"}`;
    const answer = await ask(url, declared.method, { token: t.token, body });
    expect(answer.status).toBe(413);
  });

  test("that comes in pieces without a length is cut off too", async () => {
    await using t = await serve();
    let sent = 0;
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        sent += 65_536;
        if (sent > 64 * 1024 * 1024) controller.close();
        else controller.enqueue(new Uint8Array(65_536).fill(32));
      },
    });
    const response = await fetch(`${t.publicUrl}${api}/auth/login`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    }).catch(() => null);
    // The server may close the connection before it has read everything.
    if (response !== null) expect(response.status).toBe(413);
  });

  test("lists every bad field, and repeats no value", async () => {
    await using t = await serve();
    const answer = await ask(`${t.publicUrl}${api}/scripts`, "POST", {
      token: t.token,
      body: { name: 5, source: "x", kind: "secret-kind", limits: { cpu_ms: "secret", speed: 1 } },
    });
    expect(answer.status).toBe(422);
    expect(answer.headers.get("content-type")).toContain("application/problem+json");
    expect(answer.json.errors.map((error: { path: string }) => error.path).sort()).toEqual([
      "kind",
      "limits.cpu_ms",
      "limits.speed",
      "name",
    ]);
    expect(answer.text).not.toContain("secret");
  });

  test("with NUL or half a surrogate pair in a text is refused, and its field named", async () => {
    await using t = await serve();
    for (const bad of ["a\\u0000b", "\\ud800"]) {
      const body = `{"name":"a","source":"${bad}","description":"${bad}"}`;
      const answer = await ask(`${t.publicUrl}${api}/scripts`, "POST", { token: t.token, body });
      expect(answer.status).toBe(422);
      expect(answer.json.errors.map((error: { path: string }) => error.path)).toEqual([
        "source",
        "description",
      ]);
    }
  });

  test("with a list where an object belongs is refused", async () => {
    await using t = await serve();
    for (const limits of ["[]", "[1]"]) {
      const body = `{"name":"a","source":"","limits":${limits}}`;
      const answer = await ask(`${t.publicUrl}${api}/scripts`, "POST", { token: t.token, body });
      expect([limits, answer.status]).toEqual([limits, 422]);
    }
  });

  test("that is no UTF-8 is refused", async () => {
    await using t = await serve();
    const response = await fetch(`${t.publicUrl}${api}/auth/login`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: new Uint8Array([0x22, 0xff, 0xfe, 0x22]),
    });
    expect(response.status).toBe(400);
  });
});

describe("addresses", () => {
  test("that are unknown answer 404, known ones with another method 405", async () => {
    await using t = await serve();
    const { token } = t;
    expect((await ask(`${t.publicUrl}${api}/nothing`, "GET", { token })).json.code).toBe(
      "not_found",
    );
    const answer = await ask(`${t.publicUrl}${api}/apps`, "DELETE", { token });
    expect([answer.status, answer.headers.get("allow")]).toEqual([405, "GET, HEAD, POST"]);
  });

  test("answer HEAD as GET without a body", async () => {
    await using t = await serve();
    const answer = await ask(`${t.publicUrl}${api}/apps`, "HEAD", { token: t.token });
    expect([answer.status, answer.text]).toEqual([200, ""]);
  });

  test.each(["pi", "a", "localhost:8080", "xn--nxasmq6b"])(
    "work under the host %p",
    async (host) => {
      await using t = await serve();
      const answer = await ask(`${t.publicUrl}${api}/auth/me`, "GET", {
        token: t.token,
        headers: { host },
      });
      expect(answer.json.username).toBe("ada");
    },
  );
});

test("every schema describes itself as JSON Schema, for the documentation", () => {
  for (const { body, query, output } of endpoints) {
    for (const schema of [body, query, output]) {
      if (schema !== null) expect(schema.toJsonSchema()).toHaveProperty("type", "object");
    }
  }
});
