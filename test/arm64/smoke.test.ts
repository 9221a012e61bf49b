/**
 * The ARM64 executable, for real: it starts, compiles scripts, answers them over HTTP, stops one that
 * loops, keeps its data over an orderly stop and over a kill, and stops cleanly. On another machine it
 * runs in an emulator, which scripts/test names (PICLOUD_TEST_RUNNER); without the executable there
 * is nothing to test.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startServer, type TestServer } from "../e2e/server.ts";
import { until } from "../e2e/steps.ts";

const executable = process.env.PICLOUD_TEST_ARM64;
const runner = process.env.PICLOUD_TEST_RUNNER ?? "";
const command = [...runner.split(" ").filter((word) => word !== ""), executable ?? ""];
/** Emulation is some twenty times slower. */
const msMax = 120_000;

const count = `import { kv } from "picloud";
export default async () => ({ n: await kv.collection("c").increment("n") });`;
const fib = `const fib = (n: number): number => (n < 2 ? n : fib(n - 1) + fib(n - 2));
export default (ctx) => fib(Number(ctx.request.params.n));`;

const order = `import { docs, kv } from "picloud";
export default async (ctx) => {
  const { id } = ctx.request.params;
  if (id !== "none") await docs.collection("orders").insert({ id, state: "placed" });
  return kv.collection("done").get("last");
};`;
const handler = `import { tx } from "picloud";
export default ({ event }) => tx(async (t) => {
  await t.docs.collection("orders").patch(event.key, { state: "done" });
  await t.kv.collection("done").set("last", event.key);
});`;

// Only scripts/test builds it and knows the emulator: skipped when run by hand.
describe.skipIf(executable === undefined)("the ARM64 executable", () => {
  let dataDir = "";
  let server: TestServer;
  const ids: Record<string, string> = {};

  const start = async (): Promise<void> => {
    const env = { PICLOUD_CHILD_PREFIX: runner, PICLOUD_SANDBOXES: "1" };
    server = await startServer({ command, dataDir, env, readyMsMax: 60_000 });
  };
  const deploy = async (name: string, source: string, path: string): Promise<void> => {
    // An emulated child that starts beside other work can take longer than a script has by default.
    const limits = { timeout_ms: 60_000 };
    const { id } = await server.client.scripts.create({ name, source, limits });
    await server.client.routes.create(id, { path });
    ids[name] = id;
  };
  const answer = async (path: string): Promise<unknown> => {
    const response = await fetch(server.url + path);
    return response.status === 200 ? response.json() : response.status;
  };

  beforeAll(async () => {
    dataDir = mkdtempSync(join(tmpdir(), "picloud-arm64-"));
    await start();
  }, msMax);
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    rmSync(dataDir, { recursive: true, force: true });
  });

  test(
    "compiles scripts and answers them over HTTP",
    async () => {
      await deploy("count", count, "/count");
      await deploy("fib", fib, "/fib/:n");
      expect(await answer("/count")).toEqual({ n: 1 });
      expect(await answer("/fib/15")).toBe(610);
    },
    msMax,
  );

  test(
    "runs a new version, and says what the author did wrong in the author's own line",
    async () => {
      const id = ids.fib ?? "";
      await server.client.scripts.update(id, { source: "export default () => 'two';" });
      expect(await answer("/fib/15")).toBe("two");
      const broken = server.client.scripts.update(id, { source: "\nexport default () => {" });
      await expect(broken).rejects.toMatchObject({ status: 422 });
    },
    msMax,
  );

  test(
    "tells a trigger of a document, whose handler writes through tx",
    async () => {
      await deploy("order", order, "/order/:id");
      const { id } = await server.client.scripts.create({ name: "handler", source: handler });
      await server.client.triggers.docs.create("default", {
        script_id: id,
        collection: "orders",
        operations: ["insert"],
      });
      expect(await answer("/order/first")).toBeNull();
      await until("the handler has run", 60_000, async () =>
        (await answer("/order/none")) === "first" ? true : null,
      );
    },
    msMax,
  );

  test(
    "stops a script that loops, and goes on serving its neighbour",
    async () => {
      await deploy("loop", "export default () => { for (;;); };", "/loop");
      expect(await answer("/loop")).toBe(507);
      expect(await answer("/fib/15")).toBe("two");
    },
    msMax,
  );

  test(
    "keeps its data over an orderly stop, and over a kill right after an answer",
    async () => {
      expect(await server.stop()).toBe(0);
      await start();
      expect(await answer("/count")).toEqual({ n: 2 });
      expect(await answer("/count")).toEqual({ n: 3 });
      await server.kill9();
      await start();
      expect(await answer("/count")).toEqual({ n: 4 });
      expect(await server.stop()).toBe(0);
    },
    msMax,
  );
});
