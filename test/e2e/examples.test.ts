/** The examples, deployed and used as their reader would; docs/examples/hello has start.test.ts. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { resolve } from "node:path";
import { deployFolder } from "../../scripts/deploy.ts";
import type { WireAccepted, WireAsyncExecution } from "../../src/schema/async-executions.ts";
import { startServer, type TestServer } from "./server.ts";
import { until } from "./steps.ts";

const examples = resolve(import.meta.dir, "../../docs/examples");
const msMax = 15_000;

let server: TestServer;

beforeAll(async () => {
  server = await startServer();
}, 60_000);

afterAll(async () => {
  await server[Symbol.asyncDispose]();
}, 30_000);

function post(path: string, body: unknown): Promise<Response> {
  const headers = { "content-type": "application/json" };
  return fetch(server.url + path, { method: "POST", headers, body: JSON.stringify(body) });
}

test("the example with a module is deployed and adds up", async () => {
  const deployed = await deployFolder(server.client, `${examples}/cart`);
  expect(deployed.map(({ change }) => change)).toEqual(["created", "created"]);
  const response = await post("/cart", [
    { name: "pie", cents: 250, count: 2 },
    { name: "tea", cents: 99 },
  ]);
  expect(await response.json()).toEqual({ cents: 599, total: "5.99 €" });
  const again = await deployFolder(server.client, `${examples}/cart`);
  expect(again.map(({ change }) => change)).toEqual(["unchanged", "unchanged"]);
});

describe("the example with events", () => {
  let reportTriggerId = "";

  async function restock(item: string, count: unknown): Promise<WireAsyncExecution> {
    const response = await post(`/stock/${item}`, { count });
    expect(response.status).toBe(202);
    const { status_url } = (await response.json()) as WireAccepted;
    return until("the restocking", msMax, async () => {
      const found = (await (await fetch(status_url)).json()) as WireAsyncExecution;
      return found.status === "pending" ? null : found;
    });
  }

  async function order(item: string, count: number): Promise<string> {
    const response = await post("/orders", { item, count });
    expect(response.status).toBe(201);
    const placed = (await response.json()) as { id: string };
    expect(placed).toEqual({ id: placed.id, item, count, state: "placed" } as typeof placed);
    return placed.id;
  }

  /** Resolves to its state, when that is no longer "placed". */
  function decided(id: string): Promise<string> {
    return until("the order", msMax, async () => {
      const { state } = (await (await fetch(`${server.url}/orders/${id}`)).json()) as {
        state: string;
      };
      return state === "placed" ? null : state;
    });
  }

  async function stockOf(item: string): Promise<unknown> {
    const { value } = await server.client.kv.get("default", { collection: "stock", key: item });
    return value;
  }

  test("is deployed with its triggers, and a second time changes nothing", async () => {
    const deploy = async () =>
      (await deployFolder(server.client, `${examples}/orders`)).map(({ change }) => change);
    expect(await deploy()).toEqual(Array(5).fill("created"));
    const triggers = await server.client.triggers.list("default");
    expect(triggers.items.map(({ kind }) => kind).toSorted()).toEqual([
      "cron",
      "dead_letter",
      "docs",
    ]);
    expect(await deploy()).toEqual(Array(5).fill("unchanged"));
    expect(await server.client.triggers.list("default")).toEqual(triggers);
    reportTriggerId = triggers.items.find(({ kind }) => kind === "cron")?.id ?? "";
  });

  test("adds to the stock later, and tells who asks", async () => {
    const done = await restock("tea", 5);
    expect(done).toMatchObject({ status: "success", attempts: 1, status_code: 200 });
    expect(done.response?.body).toBe('{"item":"tea","stock":5}');
    expect(await restock("tea", "five")).toMatchObject({ status: "success", status_code: 422 });
    expect(await stockOf("tea")).toBe(5);
  });

  test("ships what is there, together with the change of the stock", async () => {
    expect(await decided(await order("tea", 2))).toBe("shipped");
    expect(await stockOf("tea")).toBe(3);
    expect((await post("/orders", { item: "tea", count: -1 })).status).toBe(422);
    expect((await fetch(`${server.url}/orders/none`)).status).toBe(404);
  });

  test("cancels what is not, after the last attempt", async () => {
    expect(await decided(await order("tea", 100))).toBe("cancelled");
    expect(await stockOf("tea")).toBe(3);
    const { items } = await server.client.deadLetters.list("default");
    expect(items).toMatchObject([
      {
        state: "open",
        source: "docs",
        attempts: 3,
        error: { message: "tea: not enough in stock" },
      },
    ]);
  });

  test("reports at each tick", async () => {
    const { cron } = server.client.triggers;
    await cron.update("default", reportTriggerId, { expression: "* * * * * *" });
    const report = await until("a report", msMax, async () => {
      const asked = { collection: "reports" };
      return (await server.client.kv.entries("default", asked)).items[0] ?? null;
    });
    expect(report.value).toEqual({ placed: 0, shipped: 1, cancelled: 1 });
    expect(new Date(report.key).toISOString()).toBe(report.key);
  });
});
