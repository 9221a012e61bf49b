/** Memory, start-up and rest of the compiled binary. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spawnLoad } from "./load.ts";
import { treeUsage } from "./process-tree.ts";
import { helloScript, neighbourScript } from "./scripts.ts";
import { answers, type BenchServer, deploy, startBenchServer } from "./server.ts";
import { fixed, median, type Row } from "./table.ts";

export interface FootprintSettings {
  /** How long the idle server is watched. */
  idleSeconds: number;
  /** How long to wait after the load before its memory is read again. */
  restSeconds: number;
  loadSeconds: number;
}

const scriptCount = 50;
const cronCount = 20;

/** Idle, loaded and rested memory, and what an idle server costs. */
export async function footprintRows(settings: FootprintSettings): Promise<Row[]> {
  const dataDir = mkdtempSync(join(tmpdir(), "picloud-bench-"));
  try {
    {
      await using server = await startBenchServer({ dataDir });
      for (let index = 0; index < scriptCount; index += 1) {
        await deploy(server, {
          name: `s${index}`,
          source: neighbourScript(index),
          path: `/s/${index}`,
        });
      }
    }
    // A new process: nothing of the admin plane is loaded.
    await using server = await startBenchServer({ dataDir, env: { PICLOUD_SANDBOXES: "1" } });
    for (let index = 0; index < scriptCount; index += 1) {
      await answers(`http://127.0.0.1:${server.publicPort}/s/${index}`, 5_000);
    }
    await Bun.sleep(15_000);
    const idle = treeUsage(server.pid);
    const rest = await idleRow(server, settings.idleSeconds);
    const requests = Array.from({ length: scriptCount }, (_, index) => ({
      method: "GET",
      path: `/s/${index}`,
    }));
    const load = spawnLoad({
      port: server.publicPort,
      connections: 32,
      seconds: settings.loadSeconds,
      requests,
    });
    let peak = 0;
    for (let second = 0; second < settings.loadSeconds * 2; second += 1) {
      await Bun.sleep(500);
      peak = Math.max(peak, treeUsage(server.pid).pss_mb);
    }
    const result = await load;
    await Bun.sleep(settings.restSeconds * 1000);
    const after = treeUsage(server.pid);
    return [
      memoryRow(
        "idle PSS, whole tree, one child, 50 scripts",
        64,
        idle.pss_mb,
        `${idle.processes} processes`,
      ),
      memoryRow(
        "PSS under load",
        150,
        peak,
        `${fixed(result.rps, 0)} req/s over 50 scripts, errors ${result.errors}`,
      ),
      memoryRow(
        `PSS ${settings.restSeconds} s after the load`,
        90,
        after.pss_mb,
        `${after.processes} processes`,
      ),
      rest,
    ];
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
}

/** The same rest in a server with cron triggers, none of which is due for months. */
export async function cronRows(seconds: number): Promise<Row[]> {
  const dataDir = mkdtempSync(join(tmpdir(), "picloud-bench-"));
  try {
    {
      await using server = await startBenchServer({ dataDir });
      const script_id = await deploy(server, { name: "s", source: helloScript, path: "/s" });
      const month = ((new Date().getUTCMonth() + 6) % 12) + 1;
      for (let index = 0; index < cronCount; index += 1) {
        await server.api("POST", "apps/default/triggers/cron", {
          script_id,
          expression: `0 ${index} 0 1 ${month} *`,
          timezone: "UTC",
        });
      }
    }
    await using server = await startBenchServer({ dataDir, env: { PICLOUD_SANDBOXES: "1" } });
    await answers(`http://127.0.0.1:${server.publicPort}/s`, 5_000);
    await Bun.sleep(15_000);
    const row = await idleRow(server, seconds);
    return [{ ...row, what: `idle for ${seconds} s with ${cronCount} cron triggers due later` }];
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
}

async function idleRow(server: BenchServer, seconds: number): Promise<Row> {
  const before = treeUsage(server.pid);
  await Bun.sleep(seconds * 1000);
  const after = treeUsage(server.pid);
  const share = (after.cpu_ms - before.cpu_ms) / (seconds * 1000);
  const written = after.write_bytes - before.write_bytes;
  return {
    what: `idle for ${seconds} s`,
    target: "<= 0.1 % of a core, 0 bytes",
    measured: `${fixed(share * 100, 3)} %, ${written} bytes`,
    reached: share <= 0.001 && written === 0,
    detail: "",
  };
}

function memoryRow(what: string, target: number, measured: number, detail: string): Row {
  return {
    what,
    target: `<= ${target} MB`,
    measured: `${fixed(measured, 1)} MB`,
    reached: measured <= target,
    detail,
  };
}

/** Start to the first 200 of a deployed script; save to the first answer of the new version. */
export async function startRows(rounds: number): Promise<Row[]> {
  const dataDir = mkdtempSync(join(tmpdir(), "picloud-bench-"));
  try {
    const saves: number[] = [];
    const whole: number[] = [];
    {
      await using server = await startBenchServer({ dataDir });
      const id = await deploy(server, { name: "hello", source: helloScript, path: "/hello" });
      const url = `http://127.0.0.1:${server.publicPort}/hello`;
      await answers(url, 5_000);
      for (let round = 0; round < rounds; round += 1) {
        const startedAt = performance.now();
        await server.api("PATCH", `scripts/${id}`, { source: `${helloScript}// ${round}\n` });
        const savedAt = performance.now();
        const response = await fetch(url);
        if (response.status !== 200) throw new Error(`The new version answers ${response.status}`);
        saves.push(performance.now() - savedAt);
        whole.push(performance.now() - startedAt);
      }
    }
    const starts: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const startedAt = performance.now();
      const server = await startBenchServer({ dataDir });
      await answers(`http://127.0.0.1:${server.publicPort}/hello`, 5_000);
      starts.push(performance.now() - startedAt);
      await server.stop();
    }
    return [
      timeRow("start to the first 200 of a deployed script", 150, starts),
      timeRow("saved to the first answer of the new version", 20, saves),
      { ...timeRow("the save itself and that answer", 0, whole), target: "", reached: null },
    ];
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
}

function timeRow(what: string, target: number, values: number[]): Row {
  return {
    what,
    target: `<= ${target} ms`,
    measured: `${fixed(median(values), 1)} ms`,
    reached: median(values) <= target,
    detail: `rounds ${values.map((value) => fixed(value, 1)).join(" ")}`,
  };
}
