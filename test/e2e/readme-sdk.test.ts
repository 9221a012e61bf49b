/**
 * The README's section on the SDK, word for word: its scripts are saved, its calls of the API are made, and
 * then they are used: requests are answered and events arrive.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { WireAccepted, WireAsyncExecution } from "../../src/schema/async-executions.ts";
import { startServer, type TestServer } from "./server.ts";
import { until } from "./steps.ts";

const msMax = 15_000;

let server: TestServer;
/** By the order of the section: what each call of the API answered, and the script it was for. */
const made: { script_id: string; path: string; id: string }[] = [];

beforeAll(async () => {
  server = await startServer();
  let script_id = "";
  for (const { kind, text } of blocks()) {
    if (kind === "ts") script_id = await saveScript(text);
    else made.push({ script_id, ...(await call(text.replaceAll("…", script_id))) });
  }
}, 60_000);

afterAll(async () => {
  await server[Symbol.asyncDispose]();
}, 30_000);

function blocks(): { kind: string; text: string }[] {
  const readme = readFileSync(resolve(import.meta.dir, "../../README.md"), "utf8");
  const section = readme.match(/## The SDK\n([\s\S]*?)\n## /)?.[1] ?? "";
  return [...section.matchAll(/```(ts|http)\n([\s\S]*?)```/g)].map(([, kind = "", text = ""]) => ({
    kind,
    text,
  }));
}

async function saveScript(source: string): Promise<string> {
  const name = source.match(/^\/\/ (\w+)\.ts/)?.[1] ?? "notes";
  return (await server.client.scripts.create({ app: "default", name, source })).id;
}

/** `POST /path` and a body of JSON below it. */
async function call(text: string): Promise<{ path: string; id: string }> {
  const [, method = "", path = "", body = ""] = text.match(/^(\w+) (\S+)\n([\s\S]*)$/) ?? [];
  const headers = {
    authorization: `Bearer ${server.token}`,
    "content-type": "application/json",
  };
  const response = await fetch(server.url + path, { method, headers, body });
  expect([response.status, path]).toEqual([201, path]);
  return { path, id: ((await response.json()) as { id: string }).id };
}

function send(method: string, path: string, body?: unknown): Promise<Response> {
  const headers = { "content-type": "application/json" };
  const json = body === undefined ? {} : { body: JSON.stringify(body) };
  return fetch(server.url + path, { method, headers, ...json });
}

interface Found {
  items: { id: string; item: string; count: number; state: string }[];
}

async function ordersThatAre(state: string): Promise<Found["items"]> {
  return ((await (await send("GET", `/orders?state=${state}`)).json()) as Found).items;
}

async function stock(): Promise<unknown> {
  return (await server.client.kv.get("default", { collection: "stock", key: "tea" })).value;
}

test("every block is a script that was saved, or a call that was answered", () => {
  expect(made.map(({ path }) => path.replace(/scripts\/[^/]+/, "scripts/…"))).toEqual([
    "/api/v1/admin/scripts/…/routes",
    "/api/v1/admin/scripts/…/routes",
    "/api/v1/admin/scripts/…/routes",
    "/api/v1/admin/apps/default/triggers/docs",
    "/api/v1/admin/apps/default/triggers/cron",
  ]);
});

test("notes are kept", async () => {
  expect((await send("GET", "/notes/1")).status).toBe(404);
  expect((await send("PUT", "/notes/1", { text: "milk" })).status).toBe(204);
  expect((await send("PUT", "/notes/1", {})).status).toBe(422);
  expect(await (await send("GET", "/notes/1")).json()).toMatchObject({ text: "milk" });
});

test("a new document starts its handler, whose writes are one", async () => {
  await server.client.kv.set("default", { collection: "stock", key: "tea", value: 5 });
  expect((await send("POST", "/orders", { item: "tea", count: 2 })).status).toBe(200);
  const shipped = await until("the event", msMax, async () => {
    const found = await ordersThatAre("shipped");
    return found.length > 0 ? found : null;
  });
  expect(shipped).toMatchObject([{ item: "tea", count: 2 }]);
  expect(await stock()).toBe(3);
});

test("a request of the asynchronous route is accepted, run, and asked after", async () => {
  const response = await send("POST", "/orders/later", { item: "tea", count: 1 });
  expect(response.status).toBe(202);
  const { status_url } = (await response.json()) as WireAccepted;
  const done = await until("the order", msMax, async () => {
    const found = (await (await fetch(status_url)).json()) as WireAsyncExecution;
    return found.status === "pending" ? null : found;
  });
  expect(done).toMatchObject({ status: "success", status_code: 200 });
  const { id } = JSON.parse(done.response?.body ?? "") as { id: string };
  await until("its event", msMax, async () => {
    const shipped = await ordersThatAre("shipped");
    return shipped.some((order) => order.id === id) ? true : null;
  });
  expect(await stock()).toBe(2);
});

test("a handler that fails has written nothing, and its event is tried again", async () => {
  const ship = made.find(({ path }) => path.endsWith("/docs"));
  await server.client.triggers.docs.update("default", ship?.id ?? "", {
    retry: { max_attempts: 2, base_ms: 10 },
  });
  await send("POST", "/orders", { item: "tea", count: 3 });
  const letter = await until("the dead letter", msMax, async () => {
    return (await server.client.deadLetters.list("default")).items[0] ?? null;
  });
  expect(letter).toMatchObject({ attempts: 2, error: { message: "tea is sold out" } });
  expect(await ordersThatAre("placed")).toMatchObject([{ item: "tea", count: 3 }]);
  expect(await stock()).toBe(2);
});

test("the tick of the cron trigger arrives", async () => {
  const { id = "", script_id = "" } = made.find(({ path }) => path.endsWith("/cron")) ?? {};
  // Nobody waits for a weekday's morning.
  await server.client.triggers.cron.update("default", id, { expression: "* * * * * *" });
  const record = await until("the execution", msMax, async () => {
    const { items } = await server.client.scripts.logs(script_id);
    return items[0] ?? null;
  });
  expect(record).toMatchObject({ invocation: "event", status: "success" });
  expect(record.logs[0]).toMatchObject({ message: "orders to ship" });
});
