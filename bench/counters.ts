/**
 * What one request, one save, one write and one idle minute cost in statements, messages, syncs and
 * bytes. These figures do not depend on the machine; test/counters.test.ts asserts them.
 */
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { silentLogger } from "../src/base/log.ts";
import { countersSince, snapshotCounters } from "../src/base/metrics.ts";
import { composeServer } from "../src/compose.ts";
import { loadConfig } from "../src/config.ts";
import { helloScript } from "./scripts.ts";
import type { Row } from "./table.ts";

/** Per operation, averaged over many of them. */
export interface Cost {
  sql_statements: number;
  commits: number;
  fsyncs: number;
  ipc_sent: number;
  ipc_received: number;
  /** Growth of the write-ahead logs, bytes. */
  wal_bytes: number;
}

export interface CounterReport {
  /** A GET of a script without host calls, one after another. */
  request: Cost;
  /** A script that writes one kv row, one request after another. */
  kv_write: Cost;
  /** The same from 16 connections at once: a sync is shared. */
  kv_write_shared: Cost;
  /** PATCH of a script's source, with its compilation. */
  save: Cost;
  /** Nothing at all, for idleSeconds, scaled to a minute. */
  idle_minute: Cost;
}

const kvWriteScript = `import { kv } from "picloud";

export default async function (ctx) {
  await kv.collection("rows").set(ctx.request.params.key, 1);
}
`;

const idleSeconds = 2;
const rounds = 3;
const password = "counters-password-1";

interface Bench {
  url: string;
  dataDir: string;
  api(method: string, path: string, body?: unknown): Promise<{ id: string }>;
}

/** Runs a server in this process, so that its counters can be read. */
export async function measureCounters(): Promise<CounterReport> {
  const dataDir = mkdtempSync(join(tmpdir(), "picloud-counters-"));
  const server = await composeServer(benchConfig(dataDir), silentLogger);
  try {
    const { addresses } = await server.start();
    return await measure(await connect(addresses.public_url, dataDir));
  } finally {
    await server.stop();
    rmSync(dataDir, { recursive: true, force: true });
  }
}

async function measure(bench: Bench): Promise<CounterReport> {
  const hello = await bench.api("POST", "scripts", { name: "hello", source: helloScript });
  await bench.api("POST", `scripts/${hello.id}/routes`, { path: "/hello" });
  const write = await bench.api("POST", "scripts", { name: "write", source: kvWriteScript });
  await bench.api("POST", `scripts/${write.id}/routes`, { path: "/write/:key" });
  const get = async (path: string): Promise<void> => {
    const response = await fetch(bench.url + path);
    await response.arrayBuffer();
    if (!response.ok) throw new Error(`${path} answers ${response.status}`);
  };
  for (let warm = 0; warm < 20; warm += 1) await Promise.all([get("/hello"), get("/write/warm")]);
  await quiet();
  const request = await cost(bench, 100, () => get("/hello"));
  const kv_write = await cost(bench, 100, (index) => get(`/write/${index}`));
  const save = await cost(bench, 10, async (index) => {
    await bench.api("PATCH", `scripts/${hello.id}`, { source: `${helloScript}// ${index}\n` });
  });
  const kv_write_shared = await cost(
    bench,
    8,
    async (index) => {
      await Promise.all(Array.from({ length: 16 }, (_, n) => get(`/write/${index}-${n}`)));
    },
    16,
  );
  await quiet();
  const idle = await costOnce(bench, 1, () => Bun.sleep(idleSeconds * 1000), 1);
  return { request, kv_write, kv_write_shared, save, idle_minute: scaled(idle, 60 / idleSeconds) };
}

/** Records are written within a second; what is measured next must not pay for them. */
function quiet(): Promise<void> {
  return Bun.sleep(1_500);
}

/** The least of some rounds: a child may report its memory, or a session be touched, in any of them. */
async function cost(
  bench: Bench,
  times: number,
  work: (index: number) => Promise<void>,
  perTime = 1,
): Promise<Cost> {
  const least = await costOnce(bench, times, work, perTime);
  for (let round = 1; round < rounds; round += 1) {
    const other = await costOnce(bench, times, (index) => work(index + round * times), perTime);
    for (const name of Object.keys(least) as (keyof Cost)[]) {
      least[name] = Math.min(least[name], other[name]);
    }
  }
  return least;
}

async function costOnce(
  bench: Bench,
  times: number,
  work: (index: number) => Promise<void>,
  perTime: number,
): Promise<Cost> {
  const before = snapshotCounters();
  const walBefore = walBytes(bench.dataDir);
  for (let index = 0; index < times; index += 1) await work(index);
  const spent = countersSince(before);
  const total: Cost = {
    sql_statements: spent.sqlStatements,
    commits: spent.commits,
    fsyncs: spent.fsyncs,
    ipc_sent: spent.ipcSent,
    ipc_received: spent.ipcReceived,
    wal_bytes: walBytes(bench.dataDir) - walBefore,
  };
  return scaled(total, 1 / (times * perTime));
}

function scaled(total: Cost, by: number): Cost {
  const entries = Object.entries(total).map(([name, value]) => [name, value * by]);
  return Object.fromEntries(entries) as Cost;
}

function walBytes(dataDir: string): number {
  return (
    statSync(join(dataDir, "picloud.db-wal")).size + statSync(join(dataDir, "logs.db-wal")).size
  );
}

async function connect(url: string, dataDir: string): Promise<Bench> {
  const call = async (method: string, path: string, body: unknown, token?: string) => {
    const response = await fetch(`${url}/api/v1/admin/${path}`, {
      method,
      headers: {
        "content-type": "application/json",
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as { id: string; token: string };
  };
  const { token } = await call("POST", "auth/login", { username: "counters", password });
  return { url, dataDir, api: (method, path, body) => call(method, path, body, token) };
}

function benchConfig(dataDir: string) {
  return loadConfig({
    args: [],
    env: {
      PICLOUD_BIND: "127.0.0.1:0",
      PICLOUD_ADMIN_BIND: "127.0.0.1:0",
      PICLOUD_DATA_DIR: dataDir,
      PICLOUD_ADMIN_USERNAME: "counters",
      PICLOUD_ADMIN_PASSWORD: password,
      PICLOUD_SANDBOXES: "1",
    },
    workingDir: dataDir,
    self: [process.execPath, resolve(import.meta.dir, "../src/main.ts")],
    memoryBytes: 2 ** 32,
    isTerminal: false,
    readFile: () => "",
  }).config;
}

/** The report as rows without targets. */
export async function counterRows(): Promise<Row[]> {
  const report = await measureCounters();
  return Object.entries(report).map(([what, spent]: [string, Cost]) => ({
    what: `per ${what.replaceAll("_", " ")}`,
    target: "",
    measured: "",
    reached: null,
    detail: Object.entries(spent)
      .map(([name, value]) => `${name.replaceAll("_", " ")} ${Number(value.toFixed(2))}`)
      .join(", "),
  }));
}
