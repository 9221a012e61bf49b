/** Headers, query and body, as a script gets to see them. */
import { afterAll, describe, expect, test } from "bun:test";
import { sessionCookieName as sessionCookie } from "../../src/domain/credentials.ts";
import { PicError } from "../../src/domain/errors.ts";
import { bodyBytesMax, bodySmallBytesMax } from "../../src/domain/limits.ts";
import type { InvocationRequest } from "../../src/execution/api.ts";
import { BodyBudget } from "../../src/http/request-body.ts";
import { GOOD_TOKEN, setup } from "./gateway-fixture.ts";

const pi = setup();
afterAll(() => pi[Symbol.asyncDispose]());

function seen(): InvocationRequest {
  const request = pi.started.at(-1)?.request;
  if (request === undefined) throw new Error("nothing was started");
  return request;
}

async function headersSeen(headers: Record<string, string>): Promise<Record<string, string>> {
  expect((await pi.get("/hello", headers)).status).toBe(200);
  return seen().headers;
}

describe("headers", () => {
  test("have lower-case names and keep what they say", async () => {
    const headers = await headersSeen({ "X-Custom": "A, b", "User-Agent": "u", "X-Latin": "\xe4" });
    expect({ ...headers }).toEqual({
      host: "a",
      "x-custom": "A, b",
      "user-agent": "u",
      "x-latin": "ä",
    });
  });

  test("of the connection are not passed on, nor what Connection names", async () => {
    const headers = await headersSeen({
      Connection: "keep-alive, X-Hop",
      "X-Hop": "1",
      "Keep-Alive": "timeout=5",
      TE: "trailers",
      Trailer: "x",
      "Proxy-Connection": "keep-alive",
      "Proxy-Authorization": "Basic eDp5",
      "X-Kept": "1",
    });
    expect(Object.keys(headers).sort()).toEqual(["host", "x-kept"]);
  });

  test("called __proto__ or constructor are values like others", async () => {
    const headers = await headersSeen({ ["__proto__"]: "x", constructor: "y" });
    expect(JSON.stringify(headers)).toContain('"__proto__":"x"');
    expect(JSON.stringify(headers)).toContain('"constructor":"y"');
  });

  test("forwarded ones are passed as they came and change nothing", async () => {
    await headersSeen({ "X-Forwarded-Host": "tenant.test", "X-Forwarded-Proto": "https" });
    expect(seen().host).toBe("a");
    expect(seen().headers["x-forwarded-host"]).toBe("tenant.test");
  });
});

const API_KEY = `pic_${"a2".repeat(26)}`;

describe("PiCloud's own credentials never reach a script", () => {
  for (const value of [
    `Bearer ${GOOD_TOKEN}`,
    `bearer   ${GOOD_TOKEN}`,
    `Bearer ${API_KEY}`,
    `bearer ${API_KEY}`,
    `BEARER   ${API_KEY}`,
    `Bearer\t${API_KEY}`,
    API_KEY,
    `Basic ${Buffer.from(`${API_KEY}:`).toString("base64")}`,
    `basic ${Buffer.from(`x:${API_KEY}`).toString("base64url")}`,
    `Bearer other,${API_KEY}`,
    "Bearer pic_abcdef",
    GOOD_TOKEN,
    `Token token="${GOOD_TOKEN}"`,
    `Basic ${Buffer.from(`user:${GOOD_TOKEN}`).toString("base64")}`,
    `Bearer other, Bearer ${GOOD_TOKEN}`,
  ]) {
    test(`authorization: ${value.slice(0, 30)}`, async () => {
      expect((await headersSeen({ Authorization: value })).authorization).toBeUndefined();
    });
  }

  test("two authorization headers, one of them ours", async () => {
    await pi.send(
      `GET /hello HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nAuthorization: Bearer ${GOOD_TOKEN}\r\n\r\n`,
    );
    expect(JSON.stringify(seen())).not.toContain(GOOD_TOKEN);
  });

  test("of a call that they let in, with the key in the answer to nobody", async () => {
    for (const scheme of ["Bearer", "bearer", "BEARER"]) {
      const before = pi.started.length;
      const headers = { Authorization: `${scheme} ${GOOD_TOKEN}`, "Proxy-Authorization": API_KEY };
      expect((await pi.get("/api/v1/execute/closed", headers)).status).toBe(200);
      expect(pi.started.length).toBe(before + 1);
      expect(JSON.stringify(pi.started.at(-1))).not.toMatch(/pcs_|pic_/);
    }
  });

  test("another's authorization is the script's business", async () => {
    for (const value of [
      "Bearer eyJhbGciOi.x.y",
      "Basic dXNlcjpwYXNz",
      "Bearer topic_x",
      "Bearer xpcs_1",
    ]) {
      expect((await headersSeen({ Authorization: value })).authorization).toBe(value);
    }
  });

  for (const [sent, kept] of [
    [`${sessionCookie}=${GOOD_TOKEN}`, undefined],
    [`a=1; ${sessionCookie}=${GOOD_TOKEN}; b=2`, "a=1; b=2"],
    [`a=1;${sessionCookie}=${GOOD_TOKEN}`, "a=1"],
    [` ${sessionCookie} = ${GOOD_TOKEN};c="d;e"`, 'c="d; e"'],
    [`x${sessionCookie}=1`, `x${sessionCookie}=1`],
    ["a=1; b=2;c=3", "a=1; b=2;c=3"],
    [`${sessionCookie}`, undefined],
    [`${sessionCookie}=${API_KEY}; a=1`, "a=1"],
  ] as const) {
    test(`cookie: ${sent.slice(0, 40)}`, async () => {
      expect((await headersSeen({ Cookie: sent })).cookie).toBe(kept as string);
    });
  }

  test("in several cookie headers", async () => {
    await pi.send(
      `GET /hello HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nCookie: ${sessionCookie}=${GOOD_TOKEN}\r\n\r\n`,
    );
    expect(seen().headers.cookie).toBe("a=1");
  });
});

describe("request ids", () => {
  test("a harmless one is kept, another is replaced", async () => {
    await pi.get("/hello", { "X-Request-Id": "abc-1.2:3_4" });
    expect(pi.started.at(-1)?.request_id).toBe("abc-1.2:3_4");
    for (const bad of ["a b", "", "a\tb", "<script>", "x".repeat(129), "a, b"]) {
      await pi.get("/hello", { "X-Request-Id": bad });
      expect(pi.started.at(-1)?.request_id).toMatch(/^id-/);
    }
  });
});

describe("query", () => {
  test("the last value in query, all in queries", async () => {
    await pi.get("/hello?a=1&b=x+y%26&a=2&c&__proto__=p&=e&%ff=1");
    expect(JSON.parse(JSON.stringify(seen().query))).toEqual(
      JSON.parse('{"a":"2","b":"x y&","c":"","__proto__":"p","":"e","\uFFFD":"1"}'),
    );
    expect(seen().queries.a).toEqual(["1", "2"]);
    await pi.get("/hello?");
    expect(seen().query).toEqual({});
  });
});

describe("bodies by content type", () => {
  async function bodyOf(type: string, body: string | Buffer): Promise<[unknown, string | null]> {
    expect((await pi.post("/hello", type, body)).status).toBe(200);
    return [JSON.parse(seen().body_json), seen().body_base64];
  }
  const base64 = (body: string | Buffer): string => Buffer.from(body as string).toString("base64");

  test("JSON is passed on as the very text that came", async () => {
    const text = ' {"a" : 1.0, "b":"\\ud800", "n": 12345678901234567890, "a": 2}\n';
    for (const type of [
      "application/json",
      "Application/JSON; charset=utf-8",
      "application/ld+json",
    ]) {
      await pi.post("/hello", type, text);
      expect(seen().body_json).toBe(text);
      expect(seen().body_base64).toBeNull();
    }
    expect(await bodyOf("application/json", Buffer.from("\ufeff[1]"))).toEqual([[1], null]);
  });

  test("malformed JSON is 400 and the script does not run", async () => {
    const before = pi.started.length;
    for (const text of [
      "{",
      "nul",
      "1},{",
      "\u0000",
      "'a'",
      " ",
      "[".repeat(1_000_000),
      "\ufeff\ufeff1",
    ]) {
      const reply = await pi.post("/hello", "application/json", text);
      expect(reply.status).toBe(400);
      expect(JSON.parse(reply.body).code).toBe("malformed_request");
    }
    const notUtf8 = Buffer.from([0x22, 0xff, 0x22]);
    expect((await pi.post("/hello", "application/json", notUtf8)).status).toBe(400);
    expect(pi.started.length).toBe(before);
  });

  test("forms become objects; several values become an array", async () => {
    const type = "application/x-www-form-urlencoded";
    expect(await bodyOf(type, "a=1&b=x+y&b=2&c")).toEqual([
      { a: "1", b: ["x y", "2"], c: "" },
      null,
    ]);
    expect(JSON.stringify((await bodyOf(type, "__proto__=x"))[0])).toBe('{"__proto__":"x"}');
    expect((await pi.post("/hello", type, Buffer.from([0xff]))).status).toBe(400);
  });

  test("multipart forms become objects, files with their bytes in base64", async () => {
    const part = (head: string, value: string): string =>
      `--B\r\nContent-Disposition: form-data; ${head}\r\n\r\n${value}\r\n`;
    const body = `${part('name="a"', "1")}${part('name="f"; filename="x.png"\r\nContent-Type: image/png', "\u0001")}--B--\r\n`;
    expect(await bodyOf("multipart/form-data; boundary=B", body)).toEqual([
      { a: "1", f: { filename: "x.png", contentType: "image/png", base64: "AQ==" } },
      null,
    ]);
    for (const type of ["multipart/form-data", "multipart/form-data; boundary=C"]) {
      expect((await pi.post("/hello", type, body)).status).toBe(400);
    }
  });

  test("text is a string, by its charset", async () => {
    expect(await bodyOf("text/plain", "käse \u0000 \ud83d\udca9")).toEqual([
      "käse \u0000 💩",
      null,
    ]);
    expect(await bodyOf("application/xml", "<a/>")).toEqual(["<a/>", null]);
    expect(await bodyOf("text/csv; charset=iso-8859-1", Buffer.from([0xe4]))).toEqual(["ä", null]);
    expect(await bodyOf('text/plain; charset="UTF-8"', "a")).toEqual(["a", null]);
  });

  test("text that its charset does not allow, or of an unknown one, loses no byte", async () => {
    const bytes = Buffer.from([0x61, 0xff]);
    expect(await bodyOf("text/plain", bytes)).toEqual([null, base64(bytes)]);
    expect(await bodyOf("text/plain; charset=klingon", "a")).toEqual([null, base64("a")]);
  });

  test("anything else is base64", async () => {
    const bytes = Buffer.from([0, 1, 254, 255]);
    for (const type of ["application/octet-stream", "image/png", "", "nonsense", "text/", ";"]) {
      expect(await bodyOf(type, bytes)).toEqual([null, base64(bytes)]);
    }
  });

  test("a compressed body is not guessed at", async () => {
    const zipped = Bun.gzipSync(Buffer.from("{}"));
    const head = `POST /hello HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: ${zipped.length}\r\n\r\n`;
    expect((await pi.send(Buffer.concat([Buffer.from(head), zipped]))).status).toBe(200);
    expect([seen().body_json, seen().body_base64]).toEqual(["null", base64(Buffer.from(zipped))]);
  });

  test("nothing is null, however it is said", async () => {
    expect(await bodyOf("application/json", "")).toEqual([null, null]);
    await pi.send("POST /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(seen().body_json).toBe("null");
    const chunked = "Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    await pi.send(`POST /hello HTTP/1.1\r\nHost: a\r\n${chunked}`);
    expect([seen().body_json, seen().body_base64]).toEqual(["null", null]);
  });

  test("chunks are put together", async () => {
    await pi.send(
      "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n3\r\n,2]\r\n0\r\n\r\n",
    );
    expect(seen().body_json).toBe("[1,2]");
  });

  for (const method of ["PUT", "PATCH", "DELETE", "OPTIONS"]) {
    test(`${method} has a body, too`, async () => {
      await pi.send(
        `${method} /hello HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi`,
      );
      expect([seen().method, seen().body_json]).toEqual([method, '"hi"']);
    });
  }
});

describe("the body cap", () => {
  const chunk = Buffer.concat([
    Buffer.from("10000\r\n"),
    Buffer.alloc(0x10000, "a"),
    Buffer.from("\r\n"),
  ]);

  test("an announced length above it is refused before the body comes", async () => {
    const before = pi.started.length;
    const reply = await pi.send(
      `POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: ${bodyBytesMax + 1}\r\n\r\n`,
    );
    expect(reply.status).toBe(413);
    expect(JSON.parse(reply.body).code).toBe("body_too_large");
    expect(reply.headers.connection).toBe("close");
    expect(pi.started.length).toBe(before);
  });

  test("a body of exactly the cap passes", async () => {
    const reply = await pi.post("/hello", "image/png", Buffer.alloc(bodyBytesMax, 1));
    expect(reply.status).toBe(200);
    expect(seen().body_base64?.length).toBe(Math.ceil(bodyBytesMax / 3) * 4);
  });

  test("chunks above it are refused without being gathered", async () => {
    const before = pi.started.length;
    const many = Array.from({ length: bodyBytesMax / 0x10000 + 8 }, () => chunk);
    const head = Buffer.from(
      "POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    const reply = await pi.send(Buffer.concat([head, ...many]));
    expect(reply.status).toBe(413);
    expect(JSON.parse(reply.body).code).toBe("body_too_large");
    expect(pi.started.length).toBe(before);
  });
});

describe("large bodies under way", () => {
  test("are bounded together, small ones always pass, and an end gives the room back", () => {
    const budget = new BodyBudget(1_000_000);
    const first = budget.hold();
    first.grow(600_000);
    first.grow(600_000);
    const second = budget.hold();
    expect(() => second.grow(500_000)).toThrow(PicError);
    second.grow(bodySmallBytesMax);
    second.grow(400_000);
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    second.grow(1_000_000);
    second[Symbol.dispose]();
    budget.hold().grow(1_000_000);
  });
});
