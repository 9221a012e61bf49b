import { describe, expect, test } from "bun:test";
import type { ExecutionRecord } from "../../src/domain/executions.ts";
import { recordBodyBytesMax, recordErrorBytesMax } from "../../src/domain/limits.ts";
import {
  type ErrorMapper,
  type FinishedExecution,
  heldBytes,
  lighten,
  toRecord,
  truncateUtf8,
} from "../../src/execution/recording.ts";
import { redactHeaders, redactQuery, redactUrl } from "../../src/execution/redaction.ts";
import { finished, outcome, request } from "./fakes.ts";

const asIs: ErrorMapper = async (error) => error;

function record(over: Partial<FinishedExecution>): Promise<ExecutionRecord> {
  return toRecord(lighten(finished(over)), asIs);
}

describe("redaction by name", () => {
  test("takes the values of credential headers, whatever their case", () => {
    expect(
      redactHeaders({
        Authorization: "Bearer abc",
        cookie: "a=b",
        "Set-Cookie": "sid=1",
        "proxy-authorization": "Basic x",
        "X-API-Key": "k",
        accept: "*/*",
      }),
    ).toEqual({
      Authorization: "[redacted]",
      cookie: "[redacted]",
      "Set-Cookie": "[redacted]",
      "proxy-authorization": "[redacted]",
      "X-API-Key": "[redacted]",
      accept: "*/*",
    });
  });

  test("takes query parameters named like a credential and leaves the others", () => {
    expect(
      redactQuery({
        token: "1",
        access_token: "2",
        API_KEY: "3",
        clientSecret: "4",
        password: "5",
        key: "6",
        page: "7",
        sort: "8",
      }),
    ).toEqual({
      token: "[redacted]",
      access_token: "[redacted]",
      API_KEY: "[redacted]",
      clientSecret: "[redacted]",
      password: "[redacted]",
      key: "[redacted]",
      page: "7",
      sort: "8",
    });
  });

  test.each([
    ["/a?token=x&page=2", "/a?token=[redacted]&page=2"],
    ["/a?page=2&api_key=x#f", "/a?page=2&api_key=[redacted]#f"],
    ["/a?tok%65n=x", "/a?tok%65n=[redacted]"],
    ["https://pi/a?b=1;secret=x;c=2", "https://pi/a?b=1;secret=[redacted];c=2"],
    ["/a?password=", "/a?password=[redacted]"],
    ["/a?%E0%A4%A=x&token=y", "/a?%E0%A4%A=x&token=[redacted]"],
    ["/tokens/a=b", "/tokens/a=b"],
    ["/plain", "/plain"],
  ])("%s becomes %s", (url, expected) => {
    expect(redactUrl(url)).toBe(expected);
  });

  test("reaches URLs in headers of request and response", async () => {
    const { request: recorded, response } = await record({
      request: request({ headers: { referer: "http://pi/a?token=abc" } }),
      outcome: outcome({ headers: { location: "/next?secret=abc", "set-cookie": "sid=abc" } }),
    });
    expect(recorded?.headers).toEqual({ referer: "http://pi/a?token=[redacted]" });
    expect(response?.headers).toEqual({
      location: "/next?secret=[redacted]",
      "set-cookie": "[redacted]",
    });
  });

  test("a header called __proto__ stays a header", async () => {
    const headers = JSON.parse('{"__proto__":"x","constructor":"y"}') as Record<string, string>;
    const { request: recorded } = await record({ request: request({ headers }) });
    expect(JSON.stringify(recorded?.headers)).toBe('{"__proto__":"x","constructor":"y"}');
  });
});

describe("redaction by value", () => {
  const token = "pq-0123456789abcdef";
  const secretRequest = request({
    headers: { authorization: `Bearer ${token}`, cookie: 'theme=dark; sid="quo\\te-8765"' },
    query: { access_token: "query-token-0123456789", key: "short" },
  });

  test("an echo of the headers does not put a credential into the record", async () => {
    const { response } = await record({
      request: secretRequest,
      outcome: outcome({ body: JSON.stringify({ headers: secretRequest.headers, key: "short" }) }),
    });
    expect(response?.body).not.toContain(token);
    expect(response?.body).not.toContain("8765");
    expect(response?.body).toContain('"key":"short"');
  });

  test("neither do logs, their fields at any depth, nor errors", async () => {
    const made = await record({
      request: secretRequest,
      status: "error",
      outcome: outcome({
        status: "error",
        logs: [
          {
            level: "info",
            message: `got ${token}`,
            fields: { headers: { Authorization: "other" }, list: [{ t: `x ${token}` }], n: 1 },
            at: 1,
          },
        ],
        error: { name: "Error", message: `bad ${token}`, stack: `Error: bad ${token}\n    at f` },
      }),
    });
    expect(JSON.stringify(made)).not.toContain(token);
    expect(made.logs[0]).toEqual({
      level: "info",
      message: "got [redacted]",
      fields: {
        headers: { Authorization: "[redacted]" },
        list: [{ t: "x [redacted]" }],
        n: 1,
      },
      at: 1,
    });
    expect(made.error?.message).toBe("bad [redacted]");
  });

  test("a credential that stands across the truncation does not leave its beginning", async () => {
    const body = `${"x".repeat(recordBodyBytesMax - 8)}${token}${"y".repeat(100_000)}`;
    const { response } = await record({
      request: secretRequest,
      outcome: outcome({ body_kind: "text", body }),
    });
    expect(response?.body).not.toContain("pq-0");
    expect(response?.truncated).toBe(true);
  });

  test("replacement patterns in a secret are taken as text", async () => {
    const odd = "$&$1$$(.*)+?";
    const { response } = await record({
      request: request({ headers: { "x-api-key": odd } }),
      outcome: outcome({ body_kind: "text", body: `<${odd}>` }),
    });
    expect(response?.body).toBe("<[redacted]>");
  });
});

describe("an event in a record", () => {
  const eventOf = async (payload: string | null) =>
    (await record({ invocation: "event", request: null, event: { ...event, payload } })).event;
  const event = {
    id: "event-1",
    source: "kv",
    type: "insert",
    attempt: 1,
    trigger_id: "trigger-1",
    depth: 0,
  } as const;

  test("has its payload, whole and as it came when there is nothing to hide", async () => {
    const payload = '{"collection":"c","key":"token","value":{"n":1e400,"authorised":"by me"}}';
    expect(await eventOf(payload)).toEqual({ ...event, body: payload, truncated: false });
    expect(await eventOf(null)).toEqual({ ...event, body: null, truncated: false });
  });

  test("has no header that carries a credential, whatever its value and its case", async () => {
    const headers = {
      Authorization: 'Bearer "secret\\',
      "set-cookie": "sid=secret",
      cookie: "",
      "X-API-Key": 'sec"ret',
      accept: "*/*",
    };
    const made = await eventOf(JSON.stringify({ key: "k", value: { headers, text: "cookie" } }));
    expect(JSON.parse(made?.body ?? "")).toEqual({
      key: "k",
      value: {
        headers: {
          Authorization: "[redacted]",
          "set-cookie": "[redacted]",
          cookie: "[redacted]",
          "X-API-Key": "[redacted]",
          accept: "*/*",
        },
        text: "cookie",
      },
    });
  });

  test("is cut, also where a credential would have been cut in half", async () => {
    const long = await eventOf(JSON.stringify({ value: "é".repeat(recordBodyBytesMax) }));
    expect(Buffer.byteLength(long?.body ?? "")).toBeLessThanOrEqual(recordBodyBytesMax);
    expect(long?.truncated).toBe(true);
    for (const end of ["x", "\\", '"']) {
      const text = JSON.stringify({ a: "x".repeat(7_000), cookie: `secret${end.repeat(50_000)}` });
      const made = await eventOf(text);
      expect(made?.body).toEndWith('"cookie":"[redacted]"');
      expect(made?.truncated).toBe(true);
    }
  });

  test("does not hold a large payload while it waits", () => {
    const payload = JSON.stringify({ value: "x".repeat(1_000_000) });
    const light = lighten(finished({ request: null, event: { ...event, payload } }));
    expect(heldBytes(light)).toBeLessThan(32 * 1_024);
    expect(heldBytes(light)).toBeGreaterThan(recordBodyBytesMax);
  });
});

describe("truncation", () => {
  test.each(["a", "é", "€", "😀"])("never cuts %s in half", (character) => {
    for (let bytesMax = 1; bytesMax < 24; bytesMax += 1) {
      const { text, truncated } = truncateUtf8(character.repeat(20), bytesMax);
      expect(Buffer.byteLength(text)).toBeLessThanOrEqual(bytesMax);
      expect(text).toBe(character.repeat([...text].length));
      expect(truncated).toBe([...text].length < 20);
    }
  });

  test("keeps what fits exactly", () => {
    expect(truncateUtf8("ééé", 6)).toEqual({ text: "ééé", truncated: false });
    expect(truncateUtf8("ééé", 5)).toEqual({ text: "éé", truncated: true });
    expect(truncateUtf8("", 0)).toEqual({ text: "", truncated: false });
  });

  test("a record keeps 8 KiB of each body and says so", async () => {
    const made = await record({
      request: request({ body_json: `"${"€".repeat(1_000_000)}"` }),
      outcome: outcome({ body_kind: "text", body: "€".repeat(1_000_000) }),
    });
    for (const side of [made.request, made.response]) {
      expect(Buffer.byteLength(side?.body ?? "")).toBeLessThanOrEqual(recordBodyBytesMax);
      expect(Buffer.byteLength(side?.body ?? "")).toBeGreaterThan(recordBodyBytesMax - 4);
      expect(side?.truncated).toBe(true);
      expect(side?.body).not.toContain("\ufffd");
    }
  });

  test("an execution that waits for its record does not hold a large body", () => {
    const light = lighten(
      finished({
        request: request({ body_base64: "QUJD".repeat(1_000_000) }),
        outcome: outcome({ body: "x".repeat(4_000_000) }),
      }),
    );
    expect(heldBytes(light)).toBeLessThan(100_000);
  });

  test("a small body is kept whole and not marked", async () => {
    const made = await record({ request: request({ body_json: '{"a":1}' }) });
    expect(made.request).toMatchObject({ body: '{"a":1}', truncated: false });
    expect(made.response).toMatchObject({ body: '{"hello":"world"}', truncated: false });
  });

  test("headers, messages and stacks that a script makes endless are cut", async () => {
    const headers = Object.fromEntries(
      Array.from({ length: 5_000 }, (_, i) => [`h${i}`, "v".repeat(10_000)]),
    );
    const ok = await record({ outcome: outcome({ headers }) });
    expect(JSON.stringify(ok.response).length).toBeLessThan(300_000);
    const big = "e".repeat(1_000_000);
    const failed = await record({
      status: "error",
      outcome: outcome({ status: "error", error: { name: big, message: big, stack: big } }),
    });
    expect(JSON.stringify(failed.error).length).toBeLessThan(3 * recordErrorBytesMax);
  });

  test("figures that are no numbers do not spoil a record", async () => {
    const made = await record({
      duration_ms: Number.NaN,
      outcome: outcome({ cpu_ms: Number.POSITIVE_INFINITY, memory_bytes: 1.5, logs_dropped: -0.5 }),
    });
    expect(made).toMatchObject({ duration_ms: 0, cpu_ms: 0, memory_bytes: 1 });
  });
});

describe("errors", () => {
  const error = { name: "TypeError", message: "no", stack: "at f (hello:1:1)" };
  const failed = { status: "error" as const, outcome: outcome({ status: "error", error }) };

  test("are recorded with the author's positions", async () => {
    const made = await toRecord(finished(failed), async (thrown, of) => ({
      ...thrown,
      stack: `at f (${of.script_name}:10:3)`,
    }));
    expect(made.error?.stack).toBe("at f (hello:10:3)");
    expect(made.response).toBeNull();
  });

  test("keep their own positions when the map cannot be had", async () => {
    const made = await toRecord(finished(failed), () => Promise.reject(new Error("gone")));
    expect(made.error).toEqual(error);
  });
});

test("what a handler of dead letters prints of the request in its event shows no credential", async () => {
  const headers = { authorization: "Bearer secret-1", accept: "x" };
  const logs = [
    { level: "info" as const, message: `got ${JSON.stringify({ headers })}`, fields: null, at: 1 },
  ];
  const event = {
    ...{ id: "event-1", source: "dead_letter" as const, type: "fire" as const, attempt: 1 },
    ...{ trigger_id: "trigger-1", depth: 1, payload: "{}" },
  };
  const made = await record({ request: null, event, outcome: outcome({ logs }) });
  expect(made.logs[0]?.message).toContain('"accept":"x"');
  expect(made.logs[0]?.message).not.toContain("secret-1");
});

describe("PiCloud's own credentials", () => {
  const key = `pic_${"abcdefgh234567".repeat(4).slice(0, 52)}`;
  const session = `pcs_${"Ab_-9".repeat(9).slice(0, 43)}`;

  test("are in no part of a record, under whatever name they came", async () => {
    for (const own of [key, session]) {
      const made = await record({
        status: "error",
        request: request({
          host: `${own}.lan`,
          path: `/u/${own}/x?page=${own}`,
          headers: { "x-forwarded": `for ${own}`, [own]: "name" },
          query: { page: own, [own]: "" },
          params: { id: own },
          body_json: JSON.stringify(`a=1&b=${own}&c=2`),
        }),
        outcome: outcome({
          status: "error",
          logs: [{ level: "info", message: own, fields: { [own]: [{ a: own }] }, at: 1 }],
          error: { name: own, message: `no ${own}`, stack: `at ${own}` },
        }),
      });
      expect(JSON.stringify(made)).not.toContain(own);
      expect(made.request).toMatchObject({
        path: "/u/[redacted]/x?page=[redacted]",
        params: { id: "[redacted]" },
        body: '"a=1&b=[redacted]&c=2"',
      });
      const answered = await record({ outcome: outcome({ headers: { a: own }, body: own }) });
      expect(JSON.stringify(answered)).not.toContain(own);
    }
  });

  test("are told from what only looks alike", async () => {
    const body = `"pic_of_me.png pcs_ ${key.slice(0, -1)} ${key.toUpperCase()} pic_abcdefgh"`;
    const made = await record({ request: request({ body_json: body }) });
    expect(made.request?.body).toBe(body);
  });

  test("leave no beginning where a text full of them was cut", async () => {
    for (const own of [key, session]) {
      for (let shift = 0; shift < 60; shift += 1) {
        const body = "x".repeat(shift) + `${own} `.repeat(4_000);
        const { response } = await record({ outcome: outcome({ body_kind: "text", body }) });
        expect(response?.body).not.toContain(own.slice(0, 5));
      }
    }
  });

  test("cost no more than linear time in a text that is made to look like them", () => {
    for (const part of [
      "pic_",
      "pcs_",
      "pic_a",
      `${key.slice(0, -1)}_`,
      "pcs_pic_",
      `pcs_${"-".repeat(42)}.`,
    ]) {
      const text = part.repeat(2_000_000 / part.length);
      expect(redactUrl(text).length).toBeGreaterThan(0);
    }
  });
});
