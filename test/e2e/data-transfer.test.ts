/** Imports and exports through a real server: its gateway, its memory, and its sudden end. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dataBatchRows } from "../../src/domain/limits.ts";
import { complaintsOf, dropStorage } from "./engine.ts";
import { useFolders } from "./folders.ts";
import { startServer, type TestServer } from "./server.ts";
import { refusal, until } from "./steps.ts";

const folders = useFolders();
/** A server at rest has some 80 MB; JSON of 100,000 entries has 25. */
const grownMbMax = 200;

function lines(from: number, count: number, collection = "c"): string {
  const made: string[] = [];
  for (let index = from; index < from + count; index += 1) {
    const key = `k${String(index).padStart(6, "0")}`;
    const value = { index, name: `ü😀 ${index}`, text: "x".repeat(150) };
    made.push(`${JSON.stringify({ collection, key, value })}\n`);
  }
  return made.join("");
}

function memoryMb(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
}

async function countOf(server: TestServer): Promise<number> {
  const { items } = await server.client.kv.collections("default");
  return items.reduce((sum, { records }) => sum + records, 0);
}

test("100,000 entries go in and out as the same text, within bounded memory", async () => {
  await using server = await startServer();
  const text = lines(0, 100_000);
  const before = memoryMb(server.pid);
  expect(await server.client.kv.import("default", text)).toEqual({
    imported: 100_000,
    updated: 0,
    skipped: 0,
  });
  const response = await server.client.kv.export("default", { collection: "c" });
  expect(response.headers.get("content-disposition")).toBe(
    'attachment; filename="default-kv-c.jsonl"',
  );
  expect((await response.text()) === text).toBe(true);
  expect(memoryMb(server.pid) - before).toBeLessThan(grownMbMax);
  const [collection] = (await server.client.kv.collections("default")).items;
  expect([collection?.records, collection?.more]).toEqual([100_000, false]);
  expect(complaintsOf(server)).toEqual([]);
}, 120_000);

test("what was answered is there after a kill, and of the rest whole batches", async () => {
  const dataDir = folders.folder("killed");
  const answered = 5 * dataBatchRows + 7;
  let cut: Promise<unknown>;
  {
    await using server = await startServer({ dataDir });
    await server.client.kv.import("default", lines(0, answered));
    // A body without an end: the import is under way until the server is gone.
    let next = answered;
    const body = new ReadableStream<Uint8Array>({
      pull: async (controller) => {
        controller.enqueue(Buffer.from(lines(next, 50)));
        next += 50;
        await Bun.sleep(1);
      },
    });
    cut = server.client.kv.import("default", body).catch((error: unknown) => error);
    await until("the second import is under way", 20_000, async () =>
      (await countOf(server)) > answered + 2 * dataBatchRows ? true : null,
    );
    await server.kill9();
  }
  expect(await cut).toBeInstanceOf(Error);
  await using server = await startServer({ dataDir });
  const count = await countOf(server);
  expect(count).toBeGreaterThanOrEqual(answered);
  expect((count - answered) % dataBatchRows).toBe(0);
  const text = await (await server.client.kv.export("default")).text();
  expect(text === lines(0, count)).toBe(true);
  // Sent again, it goes on.
  const again = await server.client.kv.import("default", lines(0, count + 10), { mode: "merge" });
  expect(again).toEqual({ imported: 10, updated: 0, skipped: count });
  await server.stop();
  await dropStorage(dataDir);
}, 60_000);

test("a script goes on while its app's data is imported, and sees it", async () => {
  await using server = await startServer();
  const source = `import { kv } from "picloud";
    export default async () => (await kv.collection("c").list({ limit: 1 })).items.length;`;
  const script = await server.client.scripts.create({ name: "count", source });
  await server.client.routes.create(script.id, { path: "/count" });
  const importing = server.client.kv.import("default", lines(0, 30_000));
  let isOver = false;
  const over = importing.then(() => {
    isOver = true;
  });
  let answers = 0;
  while (!isOver) {
    const response = await fetch(`${server.url}/count`);
    expect(response.status).toBe(200);
    await response.text();
    answers += 1;
  }
  await over;
  expect(answers).toBeGreaterThan(5);
  expect(await (await fetch(`${server.url}/count`)).json()).toBe(1);
}, 60_000);

test("the public listener takes a token alone, the admin listener a page's cookie, too", async () => {
  await using server = await startServer();
  const path = "/api/v1/admin/apps/default/kv/export";
  const cookie = { cookie: `picloud_session=${server.token}` };
  expect((await fetch(server.url + path, { headers: cookie })).status).toBe(401);
  expect((await fetch(server.adminUrl + path, { headers: cookie })).status).toBe(200);
  const send = (headers: Record<string, string>) =>
    fetch(`${server.adminUrl}/api/v1/admin/apps/default/kv/import`, {
      method: "POST",
      headers: { ...cookie, "content-type": "text/plain", ...headers },
      body: lines(0, 1),
    });
  // A form of another page can send text/plain: what keeps it out is where it comes from.
  expect((await send({ origin: server.url })).status).toBe(403);
  expect((await send({})).status).toBe(403);
  expect((await send({ origin: server.adminUrl })).status).toBe(200);
  const bad = await refusal(server.client.kv.import("default", "{}\n"));
  expect([bad.status, bad.problem?.line]).toEqual([422, 1]);
}, 30_000);
