/**
 * Hostile handlers, queries and callers of data and events, over HTTP: each is stopped or bounded, and a
 * neighbour in another app, asked without pause, never sees anything but 200.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { asyncBodyBytesMax, eventDepthMax } from "../../src/domain/limits.ts";
import { startServer, type TestServer } from "./server.ts";
import { deploy, problemOf, until } from "./steps.ts";

const patient = { cpu_ms: 10_000, timeout_ms: 30_000, host_calls: 5_000 };
const app = "bad";
const retry = { max_attempts: 1 };
/** Nobody waits so long for a turn, on however busy a machine; a stalled server made it minutes. */
const slowestMsMax = 3_000;

let server: TestServer;
const neighbour = { failures: [] as string[], slowestMs: 0, isStopped: false };
let neighbourEnded: Promise<void>;

beforeAll(async () => {
  server = await startServer({ env: { PICLOUD_SANDBOXES: "2", PICLOUD_APP_DATA_MB: "32" } });
  await server.client.apps.create({ slug: app, name: "The attacker" });
  await deploy(server.client, {
    name: "neighbour",
    source: `import { kv } from "picloud";
      export default () => kv.collection("visits").increment("n");`,
    path: "/neighbour",
  });
  neighbourEnded = askOn();
});

afterAll(async () => {
  neighbour.isStopped = true;
  await neighbourEnded;
  await server[Symbol.asyncDispose]();
  expect(neighbour.failures).toEqual([]);
  expect(neighbour.slowestMs).toBeLessThan(slowestMsMax);
});

async function askOn(): Promise<void> {
  while (!neighbour.isStopped) {
    const began = performance.now();
    const answer = await fetch(`${server.url}/neighbour`).catch(String);
    if (typeof answer === "string") neighbour.failures.push(answer);
    else {
      const text = await answer.text();
      if (answer.status !== 200) neighbour.failures.push(`${answer.status} ${text}`);
    }
    neighbour.slowestMs = Math.max(neighbour.slowestMs, performance.now() - began);
    await Bun.sleep(10);
  }
}

/** A script of the attacker's, at `/<name>`. */
async function script(name: string, source: string, limits: object = patient): Promise<string> {
  const { id } = (await deploy(server.client, { app, name, source, limits, path: `/${name}` }))
    .script;
  return id;
}

async function ask(path: string): Promise<unknown> {
  const response = await fetch(`${server.url}/${path}`);
  const text = await response.text();
  if (response.status !== 200) throw new Error(`${response.status} ${text}`);
  return JSON.parse(text) as unknown;
}

const codeOf = `const codeOf = (call) => call.then(() => "ok", (error) => error.code ?? String(error));`;

test("a handler that causes its own event is stopped by its depth", async () => {
  const id = await script(
    "loop",
    `import { kv } from "picloud";
    export default async (ctx) => {
      const depth = ctx.event === undefined ? -1 : ctx.event.depth;
      await kv.collection("depths").increment("d" + depth);
      await kv.collection("loop").set("k" + depth, depth);
      return depth;
    }`,
  );
  const { kv } = server.client.triggers;
  const operations = ["insert", "update"] as const;
  const input = { script_id: id, collection: "loop", operations: [...operations], retry };
  for (let fan = 0; fan < 2; fan += 1) await kv.create(app, input);
  await ask("loop");
  await script(
    "depths",
    `import { kv } from "picloud";
    export default async () => (await kv.collection("depths").list()).items.map((i) => [i.key, i.value]);`,
  );
  const all = Array.from({ length: eventDepthMax + 1 }, (_, depth) => [
    `d${depth}`,
    2 ** (depth + 1),
  ]);
  const depths = await until("the chain ends", 30_000, async () => {
    const found = (await ask("depths")) as unknown[];
    return JSON.stringify(found).includes(JSON.stringify(all.at(-1))) ? found : null;
  });
  expect(depths).toEqual([["d-1", 1], ...all]);
}, 60_000);

test.each([
  ["spins", "export default () => { for (;;); }"],
  [
    "allocates",
    "export default () => { const a = []; for (;;) a.push(new Array(9_999).fill(a)); }",
  ],
  ["waits for ever", "export default () => new Promise(() => {})"],
])(
  "a handler that %s becomes a dead letter, event by event",
  async (title, source) => {
    const name = title.replaceAll(" ", "-");
    const limits = { cpu_ms: 100, timeout_ms: 300, memory_mb: 16 };
    const script_id = await script(`h-${name}`, source, limits);
    const input = { script_id, collection: name, operations: ["insert" as const], retry };
    const { id } = await server.client.triggers.kv.create(app, input);
    await script(
      `w-${name}`,
      `import { kv } from "picloud";
    export default async () => {
      for (let n = 0; n < 4; n += 1) await kv.collection(${JSON.stringify(name)}).set("k" + n, n);
      return 4;
    }`,
    );
    await ask(`w-${name}`);
    await until("all have failed", 30_000, async () => {
      const { items } = await server.client.deadLetters.list(app, { trigger_id: id });
      return items.length === 4 ? true : null;
    });
  },
  60_000,
);

test("queries that would take for ever do not, and others are answered meanwhile", async () => {
  await script(
    "queries",
    `import { docs } from "picloud";
    ${codeOf}
    export default async () => {
      const d = docs.collection("d");
      let both = 1;
      for (let level = 0; level < 45; level += 1) both = [{ "0": both }];
      await d.insert({ id: "both", "0": both });
      await d.insert({ id: "wide", a: Array.from({ length: 40_000 }, () => [7]) });
      const ways = await d.find({ where: { [new Array(80).fill("0").join(".")]: 2 } });
      const $or = Array.from({ length: 90 }, (_, n) => ({ a: { $lt: [-n] } }));
      const wide = await d.find({ where: { $or } });
      const $in = Array.from({ length: 200 }, (_, n) => [-n]);
      return [ways.items.length, wide.items.length, await codeOf(d.find({ where: { a: { $in } } }))];
    }`,
  );
  expect(await ask("queries")).toEqual([0, 0, "docs_invalid_query"]);
}, 60_000);

test("entries of indexes count as data of the app", async () => {
  await script(
    "fill",
    `import { docs, kv } from "picloud";
    ${codeOf}
    export default async () => {
      const d = docs.collection("indexed");
      for (let f = 0; f < 8; f += 1) await d.createIndex("f" + f);
      const document = {};
      for (let f = 0; f < 8; f += 1) {
        document["f" + f] = Array.from({ length: 50 }, (_, n) => n + "x".repeat(120));
      }
      let code = "ok";
      let count = 0;
      for (; code === "ok" && count < 500; count += 1) {
        code = await codeOf(d.insert({ ...document, id: count + "i".repeat(400) }));
      }
      return [code, count, await codeOf(kv.collection("c").set("k", 1))];
    }`,
  );
  const [code, count] = (await ask("fill")) as [string, number];
  // A document of 50 KB makes 220 KB of entries: of documents alone there would be room for 600.
  expect(code).toBe("quota_exceeded");
  expect(count).toBeLessThan(200);
}, 60_000);

test("a stranger's requests to be run later fill neither memory nor all that the app may keep", async () => {
  await server.client.apps.create({ slug: "later", name: "Later" });
  const { id } = await server.client.scripts.create({
    app: "later",
    name: "fails",
    source: `export default () => { throw new Error("no"); }`,
  });
  await server.client.routes.create(id, { path: "/later", dispatch_mode: "async" });
  await deploy(server.client, {
    app: "later",
    name: "own",
    source: `import { kv } from "picloud"; export default () => kv.collection("c").increment("n");`,
    path: "/own",
  });
  const post = (body: string) =>
    fetch(`${server.url}/later`, {
      method: "POST",
      body,
      headers: { "content-type": "text/plain" },
    });
  const controls = await post("\u0001".repeat(asyncBodyBytesMax / 2));
  expect([controls.status, (await problemOf(controls)).code]).toEqual([413, "body_too_large"]);
  const statuses = new Set<number>();
  for (let sent = 0; sent < 60 && !statuses.has(503); sent += 1) {
    const answer = await post("x".repeat(asyncBodyBytesMax - 1));
    await answer.arrayBuffer();
    statuses.add(answer.status);
  }
  expect([...statuses].sort()).toEqual([202, 503]);
  expect((await fetch(`${server.url}/own`)).status).toBe(200);
}, 60_000);

test("an address of a status that is guessed tells nothing", async () => {
  const id = "00000000-0000-7000-8000-000000000000";
  for (const path of [
    id,
    `${id}/`,
    `${id}/${"A".repeat(43)}`,
    `${id}/..`,
    "",
    `x/${"A".repeat(43)}`,
  ]) {
    const response = await fetch(`${server.url}/api/v1/executions/${path}`);
    expect([path, response.status]).toEqual([path, 404]);
    await response.arrayBuffer();
  }
});

test("an app goes, with all that it holds, while others are served", async () => {
  const { client } = server;
  await client.apps.create({ slug: "full", name: "Full" });
  const value = "x".repeat(100_000);
  const lines = Array.from({ length: 250 }, (_, n) =>
    JSON.stringify({ collection: "c", key: `k${n}`, value }),
  );
  await client.kv.import("full", lines.join("\n"));
  await client.apps.delete("full", { force: true });
  await client.apps.delete(app, { force: true });
  expect((await client.apps.list()).items.map(({ slug }) => slug)).not.toContain("full");
}, 60_000);
