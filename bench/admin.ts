/**
 * The admin API: its first request, which loads Elysia, the schemas and the compiler, the requests
 * after it, and the first request of its document, which loads what nobody else needs.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { treeUsage } from "./process-tree.ts";
import { helloScript } from "./scripts.ts";
import { type BenchServer, deploy, startBenchServer } from "./server.ts";
import { fixed, median, type Row } from "./table.ts";

const laterCount = 200;
const scriptCount = 50;
const api = "/api/v1/admin";
/** A server that has just started is still busy with its children; `start` measures that. */
const settleMs = 500;

/** One start of the server each. */
interface Round {
  first: number;
  document: number;
  document_mb: number;
}

export async function adminRows(rounds: number): Promise<Row[]> {
  const dataDir = mkdtempSync(join(tmpdir(), "picloud-bench-"));
  try {
    const later = await laterRequests(dataDir);
    const starts: Round[] = [];
    for (let round = 0; round < rounds; round += 1) starts.push(await start(dataDir));
    const firsts = starts.map(({ first }) => first);
    const documents = starts.map(({ document }) => document);
    const memory = median(starts.map(({ document_mb }) => document_mb));
    return [
      {
        what: "first admin request (auth/me without a session)",
        target: "<= 250 ms",
        measured: `${fixed(median(firsts), 1)} ms`,
        reached: median(firsts) <= 250,
        detail: `rounds ${firsts.map((value) => fixed(value, 1)).join(" ")}`,
      },
      ...Object.entries(later).map(([what, values]) => laterRow(what, values)),
      {
        what: "first request of openapi.json, after it",
        target: "",
        measured: `${fixed(median(documents), 1)} ms`,
        reached: null,
        detail: `rounds ${documents.map((value) => fixed(value, 1)).join(" ")}; private memory +${fixed(memory, 1)} MB`,
      },
    ];
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
}

/** In milliseconds, by call, on a data folder that gets scripts first. */
async function laterRequests(dataDir: string): Promise<Record<string, number[]>> {
  await using server = await startBenchServer({ dataDir });
  for (let index = 0; index < scriptCount; index += 1) {
    await deploy(server, { name: `s${index}`, source: helloScript, path: `/s/${index}` });
  }
  const [{ id } = { id: "" }] = (
    await server.api<{ items: { id: string }[] }>("GET", "scripts?limit=1")
  ).items;
  return {
    "auth/me": await times(server, "auth/me"),
    "a script": await times(server, `scripts/${id}`),
    [`a list of ${scriptCount} scripts`]: await times(server, "scripts"),
  };
}

async function times(server: BenchServer, path: string): Promise<number[]> {
  const values: number[] = [];
  for (let count = 0; count < laterCount; count += 1) {
    const startedAt = performance.now();
    await server.api("GET", path);
    values.push(performance.now() - startedAt);
  }
  return values;
}

async function start(dataDir: string): Promise<Round> {
  await using server = await startBenchServer({ dataDir });
  await Bun.sleep(settleMs);
  const first = await timed(server, `${api}/auth/me`, 401);
  const before = treeUsage(server.pid).private_mb;
  const document = await timed(server, `${api}/openapi.json`, 200);
  return { first, document, document_mb: treeUsage(server.pid).private_mb - before };
}

async function timed(server: BenchServer, path: string, status: number): Promise<number> {
  const url = `http://127.0.0.1:${server.adminPort}${path}`;
  const startedAt = performance.now();
  const response = await fetch(url);
  await response.arrayBuffer();
  if (response.status !== status) throw new Error(`${path} answers ${response.status}`);
  return performance.now() - startedAt;
}

function laterRow(what: string, values: number[]): Row {
  const sorted = values.toSorted((a, b) => a - b);
  const worst = sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN;
  return {
    what: `later admin requests: ${what}, p50`,
    target: "<= 5 ms",
    measured: `${fixed(median(values))} ms`,
    reached: median(values) <= 5,
    detail: `p99 ${fixed(worst)} ms`,
  };
}
