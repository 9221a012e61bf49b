/** Asynchronous routes as their callers meet them: accepted at once, run later, asked after. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import type { PicClient } from "../../src/client.ts";
import type { WireAccepted, WireAsyncExecution } from "../../src/schema/async-executions.ts";
import { engine } from "./engine.ts";
import { startServer, type TestServer } from "./server.ts";
import { problemOf, until } from "./steps.ts";

let server: TestServer;
let client: PicClient;

beforeAll(async () => {
  server = await startServer();
  client = server.client;
}, 60_000);

afterAll(async () => {
  await server[Symbol.asyncDispose]();
}, 30_000);

/** A script behind an asynchronous route of its name. */
async function deployAsync(on: PicClient, name: string, source: string): Promise<string> {
  const { id } = await on.scripts.create({ app: "default", name, kind: "endpoint", source });
  await on.routes.create(id, { path: `/${name}/*`, dispatch_mode: "async" });
  return id;
}

async function accepted(response: Response): Promise<WireAccepted> {
  expect(response.status).toBe(202);
  const body = (await response.json()) as WireAccepted;
  expect(response.headers.get("location")).toBe(body.status_url);
  expect(response.headers.get("x-picloud-execution-id")).toBe(body.execution_id);
  return body;
}

async function statusOf({ status_url }: WireAccepted): Promise<WireAsyncExecution> {
  const response = await fetch(status_url);
  expect([response.status, response.headers.get("cache-control")]).toEqual([200, "no-store"]);
  return (await response.json()) as WireAsyncExecution;
}

function finished(of: WireAccepted, msMax = 10_000): Promise<WireAsyncExecution> {
  return until("its end", msMax, async () => {
    const status = await statusOf(of);
    return status.status === "pending" ? null : status;
  });
}

describe("a request of an asynchronous route", () => {
  test("is run with its request, and its answer is kept for its caller", async () => {
    await deployAsync(
      client,
      "echo",
      `export default (ctx) => ({
        statusCode: 201,
        headers: { "x-made": "yes" },
        body: { ...ctx.request, headers: ctx.request.headers["x-a"], id: ctx.executionId,
          invocation: ctx.invocation, event: ctx.event ?? null, asked: ctx.requestId },
      });`,
    );
    const one = await accepted(
      await fetch(`${server.url}/echo/a/b?q=1`, {
        method: "POST",
        headers: { "content-type": "application/json", "x-a": "ä?", "x-request-id": "mine" },
        body: '{"n":[1,"\\u0000"]}',
      }),
    );
    expect(one.status_url).toStartWith(server.url);
    const status = await finished(one);
    expect(status).toMatchObject({ status: "success", attempts: 1, status_code: 201 });
    expect(status.response).toMatchObject({
      headers: { "content-type": "application/json", "x-made": "yes" },
      truncated: false,
    });
    expect(JSON.parse(status.response?.body ?? "")).toMatchObject({
      method: "POST",
      rest: "a/b",
      query: { q: "1" },
      body: { n: [1, "\0"] },
      id: one.execution_id,
      invocation: "route",
      event: null,
      asked: "mine",
    });
    const record = await client.executions.get(one.execution_id);
    expect(record).toMatchObject({
      invocation: "route",
      request_id: "mine",
      status: "success",
      status_code: 201,
      request: { path: "/echo/a/b", body: '{"n":[1,"\\u0000"]}' },
      event: { id: one.execution_id, source: "route", attempt: 1, trigger_id: "", body: null },
      abandoned: false,
    });
  });

  test("is tried again after a failure, under the same id for who asks", async () => {
    const scriptId = await deployAsync(
      client,
      "second-try",
      `import { kv } from "picloud";
       export default async ({ executionId }) => {
         const n = await kv.collection("tries").increment("n");
         if (n === 1) throw new Error("not yet");
         return { n, executionId };
       };`,
    );
    const one = await accepted(await fetch(`${server.url}/second-try/x`));
    const failed = await until("the first attempt", 10_000, async () => {
      const status = await statusOf(one);
      return status.attempts === 1 ? status : null;
    });
    expect(failed).toMatchObject({ status: "pending", response: null, finished_at: null });
    const status = await finished(one);
    expect(status).toMatchObject({ status: "success", attempts: 2, status_code: 200 });
    const { n, executionId } = JSON.parse(status.response?.body ?? "") as Record<string, unknown>;
    expect([n, executionId === one.execution_id]).toEqual([2, false]);
    const { items } = await client.scripts.logs(scriptId);
    expect(items.map(({ id, status: ended }) => [id, ended])).toEqual([
      [String(executionId), "success"],
      [one.execution_id, "error"],
    ]);
    expect(items[1]).toMatchObject({ status_code: 502, error: { message: "not yet" } });
  }, 20_000);

  test("says nothing to who does not know its token", async () => {
    await deployAsync(client, "quiet", "export default () => 'secret';");
    const one = await accepted(await fetch(`${server.url}/quiet/x`));
    const two = await accepted(await fetch(`${server.url}/quiet/y`));
    await finished(one);
    const [token, other] = [one, two].map(
      ({ status_url }) => status_url.split("/").at(-1) as string,
    );
    for (const path of [
      `${one.execution_id}/${other}`,
      `${two.execution_id}/${token}`,
      `${one.execution_id}/${(token as string).toLowerCase()}x`,
      one.execution_id,
    ]) {
      const problem = await problemOf(await fetch(`${server.url}/api/v1/executions/${path}`));
      expect([problem.status, problem.detail]).toEqual([404, "There is no such execution"]);
    }
    const asRecord = await fetch(`${server.url}/api/v1/admin/executions/${one.execution_id}`);
    expect(asRecord.status).toBe(401);
  });

  test("whose caller leaves before its body has come is not taken in", async () => {
    const scriptId = await deployAsync(client, "half", "export default () => 1;");
    const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
    const head = "POST /half/x HTTP/1.1\r\nHost: pi\r\nContent-Type: text/plain\r\n";
    await new Promise<void>((sent) =>
      socket.write(`${head}Content-Length: 10\r\n\r\nhalf`, () => sent()),
    );
    socket.destroy();
    const whole = await accepted(await fetch(`${server.url}/half/y`));
    await finished(whole);
    const { items } = await client.scripts.logs(scriptId);
    expect(items.map(({ id }) => id)).toEqual([whole.execution_id]);
  });

  test("is gone with its script", async () => {
    const scriptId = await deployAsync(client, "gone", "export default () => 1;");
    const one = await accepted(await fetch(`${server.url}/gone/x`));
    await finished(one);
    await client.scripts.delete(scriptId);
    expect((await fetch(one.status_url)).status).toBe(404);
    expect((await fetch(`${server.url}/gone/x`)).status).toBe(404);
  });
});

// On PostgreSQL the leases of the killed server last for half a minute: crash.test.ts waits for that.
test.skipIf(engine === "postgres")(
  "what was accepted is run after the server was killed",
  async () => {
    await using killed = await startServer();
    await deployAsync(
      killed.client,
      "slow",
      `import { kv } from "picloud";
     export default async ({ request }) => {
       const c = kv.collection("slow");
       await c.increment("begun");
       if (!(await c.get("go"))) await new Promise((done) => setTimeout(done, 8_000));
       return await c.increment("ended");
     };`,
    );
    const source = `import { kv } from "picloud";
    export default async ({ request }) => {
      const c = kv.collection("slow");
      if (request.method === "PUT") await c.set("go", true);
      return (await c.get("begun")) ?? 0;
    };`;
    const { id } = await killed.client.scripts.create({
      app: "default",
      name: "look",
      kind: "endpoint",
      source,
    });
    await killed.client.routes.create(id, { path: "/look" });
    const all = await Promise.all(
      Array.from({ length: 4 }, async () => accepted(await fetch(`${killed.url}/slow/x`))),
    );
    await until("one has begun", 5_000, async () =>
      Number(await (await fetch(`${killed.url}/look`)).json()) > 0 ? true : null,
    );
    await fetch(`${killed.url}/look`, { method: "PUT" });
    await killed.kill9();
    await using again = await startServer({ dataDir: killed.dataDir });
    for (const one of all) {
      const path = new URL(one.status_url).pathname;
      const status = await finished({ ...one, status_url: again.url + path }, 40_000);
      expect(status).toMatchObject({ status: "success", status_code: 200 });
    }
  },
  90_000,
);
