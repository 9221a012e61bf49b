/** The life of a script as its author sees it: made, routed, called, edited, broken, read, rolled back. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { PicClient } from "../../src/client.ts";
import { startServer, type TestServer } from "./server.ts";
import { deploy, problemOf, recordOf, refusal } from "./steps.ts";

let server: TestServer;
let client: PicClient;

beforeAll(async () => {
  server = await startServer();
  client = server.client;
});

afterAll(() => server[Symbol.asyncDispose]());

const greeting = (word: string): string => `
export default function (ctx) {
  return { ${word}: ctx.request.params.name, version: ctx.scriptVersion };
}
`;

/** What it throws is made at line 23, column 13; blank lines, comments, an interface and an enum stand before. */
const broken = `// What an order costs.

/*
 * Prices are in cents.
 */
interface Item {
  readonly price: number;
  readonly count?: number;
}

enum Currency {
  Euro = "EUR",
  Pound = "GBP",
}

type Total = { cents: number; currency: Currency };

function total(items: readonly Item[]): Total {
  const cents = items.reduce((sum: number, item: Item) => sum + item.price * (item.count ?? 1), 0);

  if (cents > 100) {
    // Nobody pays that much.
  throw new RangeError(\`too dear: \${cents as number}\`);
  }
  return { cents, currency: Currency.Euro };
}

export default async function (ctx: { request: { body: { items: Item[] } } }): Promise<Total> {
  await Promise.resolve();
  console.log("adding up", ctx.request.body.items.length);
  return total(ctx.request.body.items);
}
`;

describe("a script", () => {
  test("is made, routed, called, edited, broken, read about, rolled back and deleted", async () => {
    const { script, route } = await deploy(client, {
      name: "life",
      source: greeting("hello"),
      path: "/life/:name",
    });
    expect(script).toMatchObject({ app: "default", kind: "endpoint", warnings: [] });
    expect(script.active_version.number).toBe(1);
    expect(route).toMatchObject({ path_kind: "param", method: "ANY", warning: null });

    const url = `${server.url}/life/Ada`;
    const first = await fetch(url);
    expect(first.status).toBe(200);
    expect(await first.json()).toEqual({ hello: "Ada", version: 1 });

    const edited = await client.scripts.update(script.id, {
      source: greeting("welcome"),
      if_version: 1,
    });
    expect(edited.active_version.number).toBe(2);
    expect(await (await fetch(url)).json()).toEqual({ welcome: "Ada", version: 2 });

    await client.scripts.update(script.id, { source: broken, if_version: 2 });
    const failed = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ items: [{ price: 99, count: 2 }] }),
    });
    await expectFailure(failed);

    const back = await client.scripts.rollback(script.id, { version: 1, if_version: 3 });
    expect(back.active_version.number).toBe(4);
    expect(await (await fetch(url)).json()).toEqual({ hello: "Ada", version: 4 });
    const { items } = await client.scripts.versions(script.id);
    expect(items.map((version) => version.number)).toEqual([4, 3, 2, 1]);
    expect((await client.scripts.version(script.id, 3)).source).toBe(broken);

    await client.scripts.delete(script.id);
    expect((await problemOf(await fetch(url))).code).toBe("not_found");
    expect((await refusal(client.scripts.get(script.id))).status).toBe(404);
    expect((await refusal(client.routes.get(route.id))).status).toBe(404);
  });

  async function expectFailure(response: Response): Promise<void> {
    expect(response.status).toBe(502);
    const problem = await problemOf(response.clone() as Response);
    expect(problem.code).toBe("script_error");
    expect(problem.execution_id).toBe(response.headers.get("x-picloud-execution-id"));
    // Neither the message nor a position nor our own machinery.
    expect(JSON.stringify(problem)).not.toMatch(/dear|RangeError|:23|life|quickjs|sandbox|\.ts/i);

    const record = await recordOf(client, response);
    expect(record).toMatchObject({ status: "error", status_code: 502, version: 3 });
    expect(record.error).toMatchObject({ name: "RangeError", message: "too dear: 198" });
    const [top, next] = record.error?.stack.split("\n").slice(-3) ?? [];
    expect(`${top}`).toContain("life:23:13");
    expect(`${next}`).toContain("life:31:10");
    expect(record.logs.map(({ level, message }) => [level, message])).toEqual([
      ["info", "adding up 1"],
    ]);
    expect(record.request).toMatchObject({ method: "POST", path: "/life/Ada" });
  }

  test("that is not TypeScript is refused with line and column", async () => {
    const source = "export default function () {\n  const a: number = 1;\n  return a +;\n}\n";
    const refused = await refusal(client.scripts.create({ name: "invalid", source }));
    expect(refused.status).toBe(422);
    expect(refused.code).toBe("invalid_source");
    expect(refused.problem?.errors?.[0]).toMatchObject({ path: "source", line: 3, column: 13 });
    expect((await client.scripts.list({ q: "invalid" })).items).toEqual([]);
  });

  test("without a handler is refused, and an update that is refused changes nothing", async () => {
    const made = await client.scripts.create({ name: "kept", source: greeting("kept") });
    const refused = await refusal(
      client.scripts.update(made.id, { source: "export const a = 1;", name: "other" }),
    );
    expect(refused.code).toBe("invalid_source");
    const kept = await client.scripts.get(made.id);
    expect(kept).toMatchObject({ name: "kept", source: greeting("kept") });
    expect(kept.active_version.number).toBe(1);
  });

  test("cannot have limits above the ceilings, which are named", async () => {
    const refused = await refusal(
      client.scripts.create({
        name: "greedy",
        source: greeting("greedy"),
        limits: { memory_mb: 65, timeout_ms: 300_001, cpu_ms: 30_000 },
      }),
    );
    expect(refused).toMatchObject({ status: 422, code: "limit_above_ceiling" });
    expect(refused.problem?.errors).toEqual([
      { path: "limits.memory_mb", message: "65 is above the ceiling of 64" },
      { path: "limits.timeout_ms", message: "300001 is above the ceiling of 300000" },
    ]);
  });

  test("is not overwritten by who has seen an older version", async () => {
    const made = await client.scripts.create({ name: "guarded", source: greeting("one") });
    await client.scripts.update(made.id, { source: greeting("two"), if_version: 1 });
    const late = await refusal(
      client.scripts.update(made.id, { source: greeting("three"), if_version: 1 }),
    );
    expect(late).toMatchObject({ status: 409, code: "version_conflict" });
    expect(late.problem?.active_version).toBe(2);
  });

  test("needs a name that is free, a body that is JSON, and members that are known", async () => {
    await client.scripts.create({ name: "taken", source: greeting("taken") });
    const taken = await refusal(
      client.scripts.create({ name: "taken", source: greeting("taken") }),
    );
    expect(taken).toMatchObject({ status: 409, code: "conflict" });
    const post = (body: string, type = "application/json"): Promise<Response> =>
      fetch(`${server.url}/api/v1/admin/scripts`, {
        method: "POST",
        headers: { authorization: `Bearer ${server.token}`, "content-type": type },
        body,
      });
    expect((await problemOf(await post("{"))).code).toBe("malformed_request");
    expect((await problemOf(await post("{}", "text/plain"))).status).toBe(415);
    const unknown = await problemOf(await post('{"name":"a","source":"","colour":"red"}'));
    expect(unknown.errors).toContainEqual({ path: "colour", message: "is not known here" });
  });
});

describe("a route", () => {
  test("that could match what another matches is refused, and the other is named", async () => {
    const { script, route } = await deploy(client, {
      name: "first",
      source: greeting("first"),
      path: "/conflict/:id",
    });
    const wanted = { path: "/conflict/:other", method: "GET" } as const;
    expect(await client.routes.check(wanted)).toMatchObject({
      ok: false,
      conflicting_route: { id: route.id },
    });
    const refused = await refusal(client.routes.create(script.id, wanted));
    expect(refused).toMatchObject({ status: 409, code: "route_conflict" });
    expect(refused.problem?.conflicting_route).toMatchObject({ id: route.id, path: route.path });
    expect(await client.routes.check({ path: "/conflict/:id/more" })).toMatchObject({ ok: true });
    expect(
      await client.routes.match({ method: "GET", url: "http://pi/conflict/a%20b?x=1" }),
    ).toMatchObject({ script_id: script.id, params: { id: "a b" }, rest: "" });
    expect(await client.routes.match({ method: "GET", url: "/nowhere" })).toEqual({
      route: null,
      script_id: null,
      params: null,
      rest: null,
      hidden: false,
    });
  });

  test("with a bad pattern is refused with the reason, a reserved one too", async () => {
    const { id } = await client.scripts.create({ name: "patterns", source: greeting("p") });
    for (const path of ["/a:b", "/:a/*", "/{name}", "/a//b", "/api/x", "/admin", "/%61pi"]) {
      const refused = await refusal(client.routes.create(id, { path }));
      expect(`${path} ${refused.status}`).toBe(`${path} 422`);
      expect(refused.problem?.errors?.[0]?.path).toBe("path");
    }
  });

  test("answers HEAD as GET without a body, and other methods with 405", async () => {
    const { id } = await client.scripts.create({ name: "methods", source: greeting("m") });
    await client.routes.create(id, { path: "/methods/:name", method: "GET" });
    await client.routes.create(id, { path: "/methods/:name", method: "PUT" });
    const url = `${server.url}/methods/x`;
    const [get, head, post] = await Promise.all(
      ["GET", "HEAD", "POST"].map((method) => fetch(url, { method })),
    );
    expect(head?.status).toBe(200);
    expect(head?.headers.get("content-length")).toBe(String((await get?.text())?.length));
    expect(await head?.text()).toBe("");
    expect(post?.status).toBe(405);
    expect(post?.headers.get("allow")).toBe("GET, HEAD, PUT");
    expect((await problemOf(post as Response)).code).toBe("method_not_allowed");
  });

  test("that is deleted is gone with the answer", async () => {
    const { route } = await deploy(client, {
      name: "gone",
      source: greeting("gone"),
      path: "/gone/:name",
    });
    expect((await fetch(`${server.url}/gone/x`)).status).toBe(200);
    await client.routes.delete(route.id);
    expect((await fetch(`${server.url}/gone/x`)).status).toBe(404);
  });
});

describe("execute", () => {
  test("needs a token that may, unless the script is public", async () => {
    const { id } = await client.scripts.create({
      name: "executed",
      source:
        "export default (ctx) => [ctx.invocation, ctx.request.method, ctx.request.headers.authorization ?? null]",
    });
    const execute = (headers: Record<string, string> = {}): Promise<Response> =>
      fetch(`${server.url}/api/v1/execute/${id}`, { method: "PUT", headers });
    const anonymous = await execute();
    expect(anonymous.status).toBe(401);
    expect(anonymous.headers.get("www-authenticate")).toBe("Bearer");
    expect((await execute({ authorization: "Bearer pcs_wrong" })).status).toBe(401);
    expect((await execute({ cookie: `picloud_session=${server.token}` })).status).toBe(401);
    const allowed = await execute({ authorization: `Bearer ${server.token}` });
    expect(await allowed.json()).toEqual(["execute", "PUT", null]);

    await client.scripts.update(id, { public_execute: true });
    expect(await (await execute()).json()).toEqual(["execute", "PUT", null]);
    // A token of another system is the script's business.
    const foreign = await execute({ authorization: "Bearer other" });
    expect(await foreign.json()).toEqual(["execute", "PUT", "Bearer other"]);
    await client.scripts.update(id, { public_execute: false });
    expect((await execute()).status).toBe(401);
    // Who may not execute does not learn what exists.
    expect((await fetch(`${server.url}/api/v1/execute/nothing`)).status).toBe(401);
  });
});

describe("what a handler gets and gives", () => {
  test("bodies by their type, queries, results of every kind", async () => {
    const { route } = await deploy(client, {
      name: "echo",
      source: `export default ({ request }) => {
        const { query, queries, rest, body, bodyBase64 } = request;
        switch (query.as) {
          case "nothing": return undefined;
          case "text": return { statusCode: 201, headers: { "content-type": "text/css", "x-own": "1" }, body: "a{}" };
          case "much": return { statusCode: 200, headers: { "content-type": "text/plain" }, body: "x".repeat(4_000_000) };
          case "bytes": return { statusCode: 200, bodyBase64: "AP8=" };
          default: return { query, queries, rest, body, bodyBase64 };
        }
      }`,
      path: "/echo/*",
    });
    expect(route.path_kind).toBe("prefix");
    const url = `${server.url}/echo`;
    expect((await fetch(url)).status).toBe(404);
    const plain = await fetch(`${url}/a/b?x=1&x=2`);
    expect(await plain.json()).toEqual({
      query: { x: "2" },
      queries: { x: ["1", "2"] },
      rest: "a/b",
      body: null,
      bodyBase64: null,
    });
    const send = (type: string, body: string | Uint8Array): Promise<Response> =>
      fetch(`${url}/`, { method: "POST", headers: { "content-type": type }, body });
    expect(await (await send("application/json", '{"a":[1,"\\u0000"]}')).json()).toMatchObject({
      body: { a: [1, "\0"] },
      rest: "",
    });
    expect(await (await send("text/plain", "käse")).json()).toMatchObject({ body: "käse" });
    expect(await (await send("image/png", new Uint8Array([0, 255]))).json()).toMatchObject({
      body: null,
      bodyBase64: "AP8=",
    });
    expect((await problemOf(await send("application/json", "{"))).status).toBe(400);
    expect((await fetch(`${url}/?as=nothing`)).status).toBe(204);
    const text = await fetch(`${url}/?as=text`);
    expect([text.status, text.headers.get("content-type"), await text.text()]).toEqual([
      201,
      "text/css",
      "a{}",
    ]);
    expect(text.headers.get("x-own")).toBe("1");
    expect(await (await fetch(`${url}/?as=bytes`)).bytes()).toEqual(new Uint8Array([0, 255]));
    expect(await (await fetch(`${url}/?as=much`)).text()).toBe("x".repeat(4_000_000));
  });

  test("a body above the cap is 413, and the next request is answered", async () => {
    const { status } = await fetch(`${server.url}/echo/`, {
      method: "POST",
      body: new Uint8Array(10 * 1024 * 1024 + 1),
    });
    expect(status).toBe(413);
    expect((await fetch(`${server.url}/echo/`)).status).toBe(200);
  });
});

describe("records", () => {
  test("list the newest first, page, and hold neither credentials nor their echoes", async () => {
    const { script } = await deploy(client, {
      name: "leaky",
      source: `export default ({ request }) => {
        console.log("headers", request.headers);
        console.log("token is " + request.query.token);
        if (request.query.fail) throw new Error("with " + request.headers.cookie);
        return { statusCode: 200, headers: { "set-cookie": "id=" + request.headers["x-api-key"] }, body: request.headers };
      }`,
      path: "/leaky",
    });
    const secrets = {
      authorization: "Bearer foreign-secret-authorization",
      cookie: "session=foreign-secret-cookie; theme=dark",
      "x-api-key": "foreign-secret-api-key",
      "proxy-authorization": "Basic foreign-secret-proxy",
    };
    const query = "token=foreign-secret-query-token&page=7";
    const good = await fetch(`${server.url}/leaky?${query}`, { headers: secrets });
    expect(good.status).toBe(200);
    const bad = await fetch(`${server.url}/leaky?${query}&fail=1`, { headers: secrets });
    expect(bad.status).toBe(502);

    const page = await client.scripts.logs(script.id, { limit: 1 });
    expect(page.items.map(({ status }) => status)).toEqual(["error"]);
    const rest = await client.scripts.logs(script.id, { limit: 1, cursor: page.next_cursor });
    expect(rest.items.map(({ status }) => status)).toEqual(["success"]);
    for (const record of [...page.items, ...rest.items]) {
      expect(JSON.stringify(record)).not.toContain("foreign-secret");
      expect(record.request?.query).toMatchObject({ token: "[redacted]", page: "7" });
      expect(record.request?.headers.cookie).toBe("[redacted]");
      expect(record.id).toMatch(/^[0-9a-f-]{36}$/);
    }
    expect(await recordOf(client, bad)).toEqual(page.items[0] as never);
    expect((await refusal(client.executions.get("nothing"))).status).toBe(404);
  });

  test("a session of PiCloud itself never reaches a script", async () => {
    const response = await fetch(`${server.url}/echo-headers`, {
      headers: {
        authorization: `Bearer ${server.token}`,
        cookie: `picloud_session=${server.token}; mine=1`,
      },
    });
    expect(response.status).toBe(404);
    await deploy(client, {
      name: "echo-headers",
      source: "export default ({ request }) => request.headers",
      path: "/echo-headers",
    });
    const seen = await fetch(`${server.url}/echo-headers`, {
      headers: {
        authorization: `Bearer ${server.token}`,
        cookie: `picloud_session=${server.token}; mine=1`,
      },
    });
    const headers = (await seen.json()) as Record<string, string>;
    expect(headers.cookie).toBe("mine=1");
    expect(headers.authorization).toBeUndefined();
    expect(JSON.stringify(headers)).not.toContain(server.token);
  });
});

describe("an app", () => {
  const counting = `import { kv } from "picloud";
    export default async () => kv.collection("own").increment("n");`;

  test("has data of its own, is not deleted by mistake, and takes everything with it", async () => {
    const { apps } = client;
    expect((await refusal(apps.create({ slug: "Not A Slug", name: "x" }))).status).toBe(422);
    await apps.create({ slug: "shop", name: "Shop" });
    expect((await refusal(apps.create({ slug: "shop", name: "x" }))).code).toBe("conflict");
    expect((await apps.list()).items.map(({ slug }) => slug)).toEqual(["default", "shop"]);
    const { script } = await deploy(client, {
      app: "shop",
      name: "own",
      source: counting,
      path: "/shop",
    });
    await deploy(client, { name: "own", source: counting, path: "/not-shop" });
    const count = async (path: string): Promise<unknown> => (await fetch(server.url + path)).json();
    expect([await count("/shop"), await count("/shop"), await count("/not-shop")]).toEqual([
      1, 2, 1,
    ]);

    const refused = await refusal(apps.delete("shop"));
    expect(refused).toMatchObject({ status: 409, code: "conflict" });
    expect(refused.problem?.would_delete).toEqual({
      scripts: 1,
      triggers: 0,
      routes: 1,
      dead_letters: 0,
      docs: 0,
      kv_entries: 1,
      members: 0,
      api_keys: 0,
      hosts: 0,
    });
    expect(await count("/shop")).toBe(3);
    await apps.delete("shop", { force: true });
    expect((await fetch(`${server.url}/shop`)).status).toBe(404);
    expect((await refusal(client.scripts.get(script.id))).status).toBe(404);
    expect((await refusal(apps.get("shop"))).status).toBe(404);
    expect((await refusal(apps.delete("default", { force: true }))).status).toBe(409);

    await apps.create({ slug: "shop", name: "Another" });
    await deploy(client, { app: "shop", name: "own", source: counting, path: "/shop" });
    expect([await count("/shop"), await count("/not-shop")]).toEqual([1, 2]);
  });
});

test("kv outlives a restart, and so do scripts, routes, records and sessions", async () => {
  const source = `import { kv } from "picloud";
    export default async ({ request }) => {
      const c = kv.collection("counts");
      const n = await c.increment(request.params.name);
      const page = await c.list({ limit: 2 });
      return { n, has: await c.has("nobody"), keys: page.items.map((item) => item.key) };
    }`;
  const { script } = await deploy(client, { name: "counter", source, path: "/count/:name" });
  const count = async (name: string): Promise<unknown> =>
    (await fetch(`${server.url}/count/${name}`)).json();
  expect(await count("a")).toEqual({ n: 1, has: false, keys: ["a"] });
  expect(await count("a")).toEqual({ n: 2, has: false, keys: ["a"] });
  expect(await count("käse")).toEqual({ n: 1, has: false, keys: ["a", "käse"] });

  expect(await server.stop()).toBe(0);
  const { dataDir } = server;
  const again = await startServer({ dataDir });
  const { token } = server;
  // afterAll ends the second one; the first folder goes with the first server's disposal.
  const first = server;
  server = {
    ...again,
    [Symbol.asyncDispose]: async () => {
      await again[Symbol.asyncDispose]();
      await first[Symbol.asyncDispose]();
    },
  };
  expect(await count("a")).toEqual({ n: 3, has: false, keys: ["a", "käse"] });
  const sameSession = new PicClient({ base_url: server.url, token });
  expect(await sameSession.auth.me()).toMatchObject({ username: "admin" });
  const { items } = await sameSession.scripts.logs(script.id);
  expect(items.length).toBe(4);
});
