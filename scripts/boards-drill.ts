/**
 * What every board is put through: first boot, deploy, calls, writes until the plug is pulled, second
 * boot on the same disk, the writes counted, rest, memory, power-off. Times are the guest's own, whose
 * clock counts instructions (boards-machine.ts).
 */
import { PicClient } from "../src/client.ts";
import { consoleMarks, guestLogin } from "./boards-guest.ts";
import { Machine, type MachineParts } from "./boards-machine.ts";

export interface BoardReport {
  readonly name: string;
  readonly cpu: string;
  readonly memory: string;
  readonly kernel: string;
  readonly pages: string;
  readonly ready: string;
  readonly firstAnswer: string;
  readonly idle: string;
  readonly result: string;
  readonly isGood: boolean;
  /** What the guest printed, for the one who looks for the cause. */
  readonly console: string;
  readonly seconds: string;
}

/** The whole tree with one child, as issue 3 sets it; megabytes of 2^20. */
const idleMbMax = 80;
const bootMsMax = 120_000;
const answerMsMax = 30_000;
const offMsMax = 60_000;
/** The plug is pulled after so many acknowledged writes, by so many writers at a time. */
const writesBeforeCut = 100;
const writers = 4;
/** Idle: so many looks in a row at which hardly any processor time (ticks of 10 ms) was used. */
const quietLooks = 2;
const quietTicksMax = 5;
const restMsMax = 120_000;
const restPollMs = 4_000;

const SCRIPTS = {
  count: `import { kv } from "picloud";
export default async () => ({ n: await kv.collection("c").increment("n"), at: Date.now() });
`,
  fib: `const fib = (n: number): number => (n < 2 ? n : fib(n - 1) + fib(n - 2));
export default () => fib(18);
`,
  writes: `import { kv } from "picloud";
export default async (ctx) => {
  const writes = kv.collection("writes");
  if (ctx.request.method === "POST") return { n: await writes.set(ctx.request.query.key, 1) };
  const keys: string[] = [];
  let cursor: string | null = null;
  do {
    const page = await writes.list({ limit: 200, cursor });
    keys.push(...page.items.map(({ key }) => key));
    cursor = page.nextCursor;
  } while (cursor !== null);
  return keys;
};
`,
} as const;

/** Something was not as it must be; the message is the row's result. */
class DrillFailed extends Error {}

type Facts = { -readonly [name in "kernel" | "pages" | "ready" | "firstAnswer" | "idle"]: string };

/** Never throws: what went wrong is the report's result. */
export async function drillBoard(parts: MachineParts, msMax: number): Promise<BoardReport> {
  const began = performance.now();
  const facts: Facts = { kernel: "", pages: "", ready: "", firstAnswer: "", idle: "" };
  const consoles: Machine[] = [];
  let result: string;
  let isGood = false;
  let overdue: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    overdue = setTimeout(() => {
      for (const machine of consoles) void machine.kill9();
      reject(new DrillFailed(`given up after ${msMax / 60_000} minutes`));
    }, msMax);
  });
  try {
    result = await Promise.race([drill(parts, facts, consoles), late]);
    isGood = true;
  } catch (error) {
    result = `FAILED: ${error instanceof Error ? error.message : String(error)}`;
  } finally {
    clearTimeout(overdue);
  }
  const { name, cpu, memoryMb } = parts.board;
  return {
    ...{ name, cpu, memory: `${memoryMb} MB`, ...facts, result, isGood },
    console: consoles.map((machine) => machine.console).join("\n--- next boot\n"),
    seconds: ((performance.now() - began) / 1_000).toFixed(0),
  };
}

async function drill(parts: MachineParts, facts: Facts, consoles: Machine[]): Promise<string> {
  let acknowledged: Set<string>;
  {
    await using machine = await booted(parts, consoles);
    const [release = "", pageKb = ""] = await machine.ask("board");
    Object.assign(facts, { kernel: release, pages: `${pageKb} KiB` });
    await deploy(machine);
    await check(machine, "/fib", 2584);
    acknowledged = await writeUntilCut(machine);
  }
  await using machine = await booted(parts, consoles);
  const started = startedAt(machine);
  const first = (await (await get(machine, "/count")).json()) as { n: number; at: number };
  facts.ready = `${((readyAt(machine) - started) / 1_000).toFixed(2)} s`;
  facts.firstAnswer = `${((first.at - started) / 1_000).toFixed(2)} s`;
  if (first.n !== 2) throw new DrillFailed(`the counter is ${first.n}, not 2`);
  await check(machine, "/fib", 2584);
  const kept = new Set((await (await get(machine, "/writes")).json()) as string[]);
  const lost = [...acknowledged].filter((key) => !kept.has(key));
  if (lost.length > 0) {
    throw new DrillFailed(`${lost.length} of ${acknowledged.size} acknowledged writes are lost`);
  }
  const idleMb = await idleMemory(machine);
  facts.idle = `${idleMb.toFixed(1)} MB`;
  if (idleMb > idleMbMax) throw new DrillFailed(`idle memory is above ${idleMbMax} MB`);
  await switchOff(machine);
  return `good; all of ${acknowledged.size} acknowledged writes kept`;
}

/** On, and PiCloud has said that it is ready. */
async function booted(parts: MachineParts, consoles: Machine[]): Promise<Machine> {
  const machine = await Machine.boot(parts);
  consoles.push(machine);
  try {
    await machine.printed('"message":"ready"', bootMsMax);
    const health = await get(machine, "/healthz");
    if ((await health.text()) !== "ok") throw new DrillFailed("/healthz is not ok");
    const [code] = await machine.ask("health");
    if (code !== "0") throw new DrillFailed(`the image's health check ended with ${code}`);
    return machine;
  } catch (error) {
    await machine.kill9();
    throw error;
  }
}

async function deploy(machine: Machine): Promise<void> {
  const client = new PicClient({ base_url: machine.url });
  await client.auth.login(guestLogin);
  for (const [name, source] of Object.entries(SCRIPTS)) {
    const { id } = await client.scripts.create({ name, source });
    await client.routes.create(id, { path: `/${name}` });
  }
  const first = (await (await get(machine, "/count")).json()) as { n: number };
  if (first.n !== 1) throw new DrillFailed(`the new counter is ${first.n}, not 1`);
}

async function check(machine: Machine, path: string, wanted: unknown): Promise<void> {
  const answer: unknown = await (await get(machine, path)).json();
  if (answer !== wanted) throw new DrillFailed(`${path} answered ${JSON.stringify(answer)}`);
}

/** Throws unless the answer is 200. */
async function get(machine: Machine, path: string): Promise<Response> {
  const response = await fetch(machine.url + path, { signal: AbortSignal.timeout(answerMsMax) });
  if (response.status !== 200) throw new DrillFailed(`${path} answered ${response.status}`);
  return response;
}

/** Pulls the plug while writes are under way; the keys whose writes were acknowledged before. */
async function writeUntilCut(machine: Machine): Promise<Set<string>> {
  const acknowledged = new Set<string>();
  let isCut = false;
  let next = 0;
  const deadline = performance.now() + answerMsMax;
  const write = async (): Promise<void> => {
    while (!isCut && performance.now() < deadline) {
      const key = `k${next++}`;
      try {
        const sent = fetch(`${machine.url}/writes?key=${key}`, { method: "POST" });
        const response = await sent;
        await response.text();
        if (response.status === 200) acknowledged.add(key);
        if (acknowledged.size < writesBeforeCut || isCut) continue;
        isCut = true;
        await machine.kill9();
      } catch (error) {
        // The connection went with the power.
        if (!isCut) throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: writers }, write));
  if (!isCut) throw new DrillFailed(`only ${acknowledged.size} writes in ${answerMsMax / 1_000} s`);
  return acknowledged;
}

/**
 * Of the server and one child. Idle is a state, not a time: the warm-up is done, the compiler and the
 * spare have left, garbage is collected, and nobody has used the processor since the last look.
 */
async function idleMemory(machine: Machine): Promise<number> {
  const deadline = performance.now() + restMsMax;
  let ticksBefore = Number.NEGATIVE_INFINITY;
  let quiet = 0;
  for (;;) {
    const tree = (await machine.ask("tree")).map((line) => line.split(/\s+/));
    const roles = tree.map(([role]) => role).sort();
    const ticks = tree.reduce((sum, [, , count]) => sum + Number(count), 0);
    const isQuiet = roles.join() === "sandbox,serve" && ticks - ticksBefore <= quietTicksMax;
    quiet = isQuiet ? quiet + 1 : 0;
    if (quiet === quietLooks) return tree.reduce((sum, [, kb]) => sum + Number(kb), 0) / 1_024;
    if (performance.now() > deadline) throw new DrillFailed(`not at rest: ${roles.join()}`);
    ticksBefore = ticks;
    await Bun.sleep(restPollMs);
  }
}

async function switchOff(machine: Machine): Promise<void> {
  await machine.ask("stop");
  await machine.printed(`${consoleMarks.ended} 0`, offMsMax);
  await machine.printed(consoleMarks.unmounted, offMsMax);
  const code = await machine.off(offMsMax);
  if (code !== 0) throw new DrillFailed(`the emulator ended with ${code}`);
}

/** Epoch milliseconds of the guest's clock. */
function startedAt(machine: Machine): number {
  const [, seconds = "0"] =
    machine.console.match(new RegExp(`([\\d.]+) ${consoleMarks.starting}`)) ?? [];
  return Number(seconds) * 1_000;
}

function readyAt(machine: Machine): number {
  const [, at = ""] = machine.console.match(/\{"at":"([^"]+)"[^\n]*"message":"ready"/) ?? [];
  return Date.parse(at);
}
