/** What a backup beside the server costs those that the server serves. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { spawnLoad } from "./load.ts";
import { fillScript, kvScript } from "./scripts.ts";
import { type BenchServer, binary, deploy, startBenchServer } from "./server.ts";
import { fixed, median, type Row } from "./table.ts";

const rows = 100_000;
const rowsPerRequest = 1_000;
const rate = 500;
const target = 2;

export interface BackupSettings {
  seconds: number;
  rounds: number;
}

interface Backup {
  ms: number;
  peak_mb: number;
}

/** p99 at a fixed rate without and with backups, one after the other for as long as it is measured. */
export async function backupRows({ seconds, rounds }: BackupSettings): Promise<Row[]> {
  await using server = await startBenchServer();
  await deploy(server, { name: "kv", source: kvScript, path: "/kv/:key" });
  await deploy(server, { name: "fill", source: fillScript, path: "/fill/:from" });
  await fill(server);
  const requests = Array.from({ length: 256 }, (_, index) => ({
    method: "GET",
    path: `/kv/k${index}`,
  }));
  const load = () =>
    spawnLoad({ port: server.publicPort, connections: 16, seconds, rate, requests });
  await load();
  const alone: number[] = [];
  const beside: number[] = [];
  const backups: Backup[] = [];
  let errors = 0;
  for (let round = 0; round < rounds; round += 1) {
    const without = await load();
    const loop = startBackups(server);
    const with_ = await load();
    backups.push(...(await loop.stop()));
    alone.push(without.p99);
    beside.push(with_.p99);
    errors += without.errors + with_.errors;
  }
  const ratio = median(beside) / median(alone);
  const list = (values: number[]) => values.map((value) => fixed(value)).join(" ");
  return [
    {
      what: `p99 at ${rate} req/s with a backup of ${rows} rows running`,
      target: `<= ${target} x without`,
      measured: fixed(ratio),
      reached: ratio <= target && errors === 0,
      detail: `with ${list(beside)} ms, without ${list(alone)} ms; errors ${errors}`,
    },
    {
      what: "one such backup under that load",
      target: "",
      measured: `${fixed(median(backups.map(({ ms }) => ms)), 0)} ms`,
      reached: null,
      detail: `${backups.length} of them; peak RSS ${fixed(Math.max(...backups.map(({ peak_mb }) => peak_mb)), 0)} MB`,
    },
  ];
}

async function fill(server: BenchServer): Promise<void> {
  for (let from = 0; from < rows; from += rowsPerRequest) {
    const response = await fetch(`http://127.0.0.1:${server.publicPort}/fill/${from}`);
    if (response.status !== 200) throw new Error(`Filling answers ${response.status}`);
  }
}

/** One backup after the other, as a cron job would start them, until `stop`. */
function startBackups(server: BenchServer): { stop(): Promise<Backup[]> } {
  const file = join(server.dataDir, "bench.backup");
  let isStopping = false;
  const done: Backup[] = [];
  const running = (async () => {
    while (!isStopping) {
      const began = performance.now();
      const child = Bun.spawn([binary, "backup", file, "--force"], {
        cwd: "/",
        env: { PATH: process.env.PATH ?? "", PICLOUD_DATA_DIR: server.dataDir },
        stdio: ["ignore", "ignore", "pipe"],
      });
      const said = await new Response(child.stderr).text();
      if ((await child.exited) !== 0) throw new Error(`The backup failed: ${said}`);
      const peak_mb = (child.resourceUsage()?.maxRSS ?? 0) / 1e6;
      done.push({ ms: performance.now() - began, peak_mb });
    }
  })();
  return {
    async stop() {
      isStopping = true;
      await running;
      rmSync(file, { force: true });
      return done;
    },
  };
}
