/** Throughput and latency through the compiled binary, each as a ratio against its floor. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type LoadOptions, type LoadRequest, type LoadResult, spawnLoad } from "./load.ts";
import { echoBody, echoScript, fibScript, helloScript, kvScript } from "./scripts.ts";
import { deploy, startBenchServer } from "./server.ts";
import { fixed, median, type Row } from "./table.ts";

export interface Settings {
  seconds: number;
  rounds: number;
}

interface Comparison {
  ratio: number;
  ours: number;
  floor: number;
  errors: number;
}

const helloRequests: LoadRequest[] = [{ method: "GET", path: "/hello" }];
const echoRequests: LoadRequest[] = [
  {
    method: "POST",
    path: "/echo",
    headers: { "content-type": "application/json" },
    body: echoBody,
  },
];
const kvRequests: LoadRequest[] = Array.from({ length: 256 }, (_, index) => ({
  method: "GET",
  path: `/kv/k${index}`,
}));

/** Every throughput row, from one server and its floors in turn. */
export async function throughputRows(settings: Settings): Promise<Row[]> {
  await using server = await startBenchServer();
  await deploy(server, { name: "hello", source: helloScript, path: "/hello" });
  await deploy(server, { name: "echo", source: echoScript, path: "/echo" });
  await deploy(server, { name: "fib", source: fibScript, path: "/fib" });
  await deploy(server, { name: "kv", source: kvScript, path: "/kv/:key" });
  const ours = (options: Omit<LoadOptions, "port">): Promise<LoadResult> =>
    spawnLoad({ ...options, port: server.publicPort });
  const warm = { connections: 32, seconds: 1 };
  await ours({ ...warm, requests: [...helloRequests, ...echoRequests, ...kvRequests] });

  const hello = await compare(
    "hello",
    ours,
    { connections: 32, requests: helloRequests },
    settings,
  );
  const echo = await compare("echo", ours, { connections: 32, requests: echoRequests }, settings);
  const kv = await compare("kv", ours, { connections: 16, requests: kvRequests }, settings);
  const fib = await compareFib(ours, settings);
  const paced = await comparePaced(ours, settings);
  return [
    ratioRow("hello through route, gate, child, restore, record", 0.25, "raw", hello),
    ratioRow("JSON echo (parse, reduce, answer)", 0.2, "raw", echo),
    ratioRow("fib(20) in a script", 0.6, "bare QuickJS", fib),
    paced,
    ratioRow("kv row read and written, full, 16 connections", 0.5, "raw + sqlite", kv),
  ];
}

async function compare(
  kind: "hello" | "echo" | "kv",
  ours: (options: Omit<LoadOptions, "port">) => Promise<LoadResult>,
  load: { connections: number; requests: LoadRequest[] },
  settings: Settings,
): Promise<Comparison> {
  await using floor = await startFloor(kind);
  const options = { ...load, seconds: settings.seconds };
  const pairs: { ours: LoadResult; floor: LoadResult }[] = [];
  for (let round = 0; round < settings.rounds; round += 1) {
    pairs.push({
      floor: await spawnLoad({ ...options, port: floor.port }),
      ours: await ours(options),
    });
  }
  return summarise(
    pairs.map((pair) => ({ ours: pair.ours.rps, floor: pair.floor.rps, errors: pair.ours.errors })),
  );
}

async function compareFib(
  ours: (options: Omit<LoadOptions, "port">) => Promise<LoadResult>,
  settings: Settings,
): Promise<Comparison> {
  const pairs = [];
  for (let round = 0; round < settings.rounds; round += 1) {
    const floor = Bun.spawn(
      [process.execPath, join(import.meta.dir, "floor-quickjs.ts"), String(settings.seconds)],
      { stdout: "pipe" },
    );
    const calls = Number(await new Response(floor.stdout).text());
    const load = await ours({
      connections: 4,
      seconds: settings.seconds,
      requests: [{ method: "GET", path: "/fib" }],
    });
    pairs.push({ ours: load.rps, floor: calls, errors: load.errors });
  }
  return summarise(pairs);
}

async function comparePaced(
  ours: (options: Omit<LoadOptions, "port">) => Promise<LoadResult>,
  settings: Settings,
): Promise<Row> {
  await using floor = await startFloor("hello");
  const options = {
    connections: 16,
    seconds: settings.seconds * 2,
    rate: 500,
    requests: helloRequests,
  };
  const own: number[] = [];
  const raw: number[] = [];
  for (let round = 0; round < settings.rounds; round += 1) {
    raw.push((await spawnLoad({ ...options, port: floor.port })).p99);
    own.push((await ours(options)).p99);
  }
  const bound = 2 * median(raw) + 1;
  return {
    what: "p99 at 500 req/s",
    target: `<= 2 x raw + 1 ms = ${fixed(bound)} ms`,
    measured: `${fixed(median(own))} ms`,
    reached: median(own) <= bound,
    detail: `raw ${fixed(median(raw))} ms; rounds ${own.map((value) => fixed(value)).join(" ")}`,
  };
}

function summarise(pairs: { ours: number; floor: number; errors: number }[]): Comparison {
  return {
    ratio: median(pairs.map((pair) => pair.ours / pair.floor)),
    ours: median(pairs.map((pair) => pair.ours)),
    floor: median(pairs.map((pair) => pair.floor)),
    errors: pairs.reduce((sum, pair) => sum + pair.errors, 0),
  };
}

function ratioRow(what: string, target: number, floor: string, result: Comparison): Row {
  return {
    what,
    target: `>= ${target} x ${floor}`,
    measured: `${fixed(result.ratio, 3)}`,
    reached: result.ratio >= target && result.errors === 0,
    detail: `${fixed(result.ours, 0)}/s against ${fixed(result.floor, 0)}/s; errors ${result.errors}`,
  };
}

async function startFloor(kind: string): Promise<{ port: number } & AsyncDisposable> {
  const folder = mkdtempSync(join(tmpdir(), "picloud-floor-"));
  const child = Bun.spawn(
    [process.execPath, join(import.meta.dir, "floor-server.ts"), kind, folder],
    { stdout: "pipe", stderr: "inherit" },
  );
  const { value } = await child.stdout.getReader().read();
  return {
    port: Number(new TextDecoder().decode(value)),
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await child.exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
