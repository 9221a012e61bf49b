/**
 * `bun run bench [name …] [--seconds n] [--rounds n] [--idle n] [--rest n] [--samples n]`: what PiCloud
 * costs, as ratios against floors measured in the same run, and against the budgets of a Raspberry Pi.
 * Names: counters routing throughput events start admin attack cron footprint backup login pic (all of
 * them without one).
 *
 * Needs dist/picloud and dist/pic (`./scripts/build`). Figures of one machine in one run: compare within a run.
 */
import { parseArgs } from "node:util";
import { adminRows } from "./admin.ts";
import { attackRows } from "./attack.ts";
import { backupRows } from "./backup.ts";
import { counterRows } from "./counters.ts";
import { eventRows } from "./events.ts";
import { cronRows, footprintRows, startRows } from "./footprint.ts";
import { loginRows } from "./login.ts";
import { picRows } from "./pic.ts";
import { routingRows } from "./routing.ts";
import { printRows, type Row } from "./table.ts";
import { throughputRows } from "./workloads.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: "string", default: "4" },
    rounds: { type: "string", default: "3" },
    idle: { type: "string", default: "60" },
    rest: { type: "string", default: "60" },
    samples: { type: "string", default: "1000" },
  },
});
const seconds = Number(values.seconds);
const rounds = Number(values.rounds);

const suites: Record<string, () => Row[] | Promise<Row[]>> = {
  counters: counterRows,
  routing: routingRows,
  throughput: () => throughputRows({ seconds, rounds }),
  events: () => eventRows({ seconds, rounds }),
  start: () => startRows(Math.max(5, rounds)),
  admin: () => adminRows(Math.max(5, rounds)),
  attack: () => attackRows(Math.max(10, seconds)),
  backup: () => backupRows({ seconds, rounds: Math.max(5, rounds) }),
  login: () => loginRows(Number(values.samples)),
  pic: () => picRows(Math.max(40, rounds)),
  cron: () => cronRows(Number(values.idle)),
  footprint: () =>
    footprintRows({
      idleSeconds: Number(values.idle),
      restSeconds: Number(values.rest),
      loadSeconds: Math.max(10, seconds),
    }),
};

const unknown = positionals.filter((name) => suites[name] === undefined);
if (unknown.length > 0) {
  console.error(
    `No bench named ${unknown.join(", ")}; there are ${Object.keys(suites).join(", ")}`,
  );
  process.exit(2);
}
const missed: string[] = [];
for (const [name, run] of Object.entries(suites)) {
  if (positionals.length > 0 && !positionals.includes(name)) continue;
  console.log(`\n${name}`);
  const rows = await run();
  printRows(rows);
  missed.push(...rows.filter((row) => row.reached === false).map((row) => row.what));
}
console.log(missed.length === 0 ? "\nEvery target reached" : `\nNot reached: ${missed.join("; ")}`);
// A PostgreSQL that a suite started ends with this process, and would keep it alive until then.
process.exit(0);
