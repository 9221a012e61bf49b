/**
 * A server's stand-in that the test kills: it starts two children, has one of them loop for ever,
 * prints their process ids and then does nothing more.
 */
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { LIMIT_DEFAULTS } from "../../src/domain/limits.ts";
import type { Outcome } from "../../src/sandbox/api.ts";
import { createSandboxPool } from "../../src/sandbox/pool.ts";
import type { Step } from "./pool-child.ts";

const limits = { ...LIMIT_DEFAULTS, cpu_ms: 30_000, timeout_ms: 30_000 };
const pool = createSandboxPool({
  children: 2,
  bindings: [],
  image_cache_mb: 8,
  command: [process.execPath, join(import.meta.dir, "pool-child.ts"), "good"],
  clock: systemClock,
  log: silentLogger,
});

function run(steps: Step[]): Promise<Outcome> {
  return pool.run({
    cx: {
      app_id: "app",
      script_id: "script",
      execution_id: "execution",
      delivery: null,
      seen: { seq: 0 },
    },
    program_id: "program",
    loadProgram: async () => ({ id: "program", app_id: "app", entry: "main", modules: {} }),
    input: JSON.stringify({ steps, value: null }),
    limits,
    deadline: systemClock.monotonic() + limits.timeout_ms,
  });
}

const pids = new Set<number>();
while (pids.size < 2) {
  // Two at once go to two children.
  const both = [run([["sleep", 20], ["pid"]]), run(Array.from({ length: 9 }, (): Step => ["pid"]))];
  for (const outcome of await Promise.all(both)) pids.add(JSON.parse(outcome.body).pid);
  const extra = await Promise.all(Array.from({ length: 24 }, () => run([["sleep", 5], ["pid"]])));
  for (const outcome of extra) pids.add(JSON.parse(outcome.body).pid);
}
void run([["hang"]]);
await Bun.sleep(50);
process.stdout.write(JSON.stringify([...pids].slice(0, 2)));
setInterval(() => {}, 1_000);
