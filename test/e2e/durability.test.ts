/**
 * What was acknowledged stays, whatever is done to the process; and no process stays behind.
 * PICLOUD_LONG=1 kills the server 50 times instead of 6.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { processTree } from "../../bench/process-tree.ts";
import { complaintsOf, dropStorage, expectWhole } from "./engine.ts";
import { deployCounter, Ledger, startLoad } from "./load.ts";
import { type StartOptions, startServer, type TestServer } from "./server.ts";
import { deploy, until } from "./steps.ts";

const rounds = process.env.PICLOUD_LONG === "1" ? 50 : 6;
/** How long the children of a killed server may take to be gone. */
const goneMsMax = 2_000;
/** The server's own bound on a stop: 15 s of draining and 2 s of grace. */
const stopMsMax = 17_000;
/** As in production: the test's own net for lost processes must not do the server's work. */
const production = { BUN_FEATURE_FLAG_NO_ORPHANS: "0" };

let dataDir: string;

beforeAll(() => {
  dataDir = mkdtempSync(join(tmpdir(), "picloud-durability-"));
});

afterAll(async () => {
  await dropStorage(dataDir);
  rmSync(dataDir, { recursive: true, force: true });
});

function start(more: StartOptions = {}): Promise<TestServer> {
  return startServer({ ...more, env: { ...production, ...more.env } });
}

/** The start time tells a process from a later one with the same number. */
function identify(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? null : `${pid}@${fields[19]}`;
  } catch {
    return null;
  }
}

/** A function that resolves when the server's whole tree of now is gone, and throws when it stays. */
function watchTree(server: TestServer): () => Promise<void> {
  const before = processTree(server.pid).map((pid) => [pid, identify(pid)] as const);
  return async () => {
    await until(`the processes ${before.map(([pid]) => pid)} are gone`, goneMsMax, () =>
      before.some(([pid, identity]) => identity !== null && identify(pid) === identity)
        ? null
        : true,
    );
  };
}

describe("kill -9 under load", () => {
  test(
    `${rounds} times, at any moment: nothing acknowledged is lost`,
    async () => {
      const ledger = new Ledger();
      for (let round = 0; round < rounds; round += 1) {
        await using server = await start({ dataDir });
        if (round === 0) await deployCounter(server);
        else await ledger.expectKept(server);
        const load = startLoad(server, ledger, { label: `-${round}` });
        // From the first writes on to well behind a checkpoint, never at the same place.
        await load.acknowledged(1 + ((round * 173) % 900));
        const gone = watchTree(server);
        await server.kill9();
        await gone();
        await load.ended;
        expect([...load.refused]).toEqual([]);
      }
      await using server = await start({ dataDir });
      await ledger.expectKept(server);
      expect(await server.stop()).toBe(0);
      expectWhole(dataDir);
      expect(ledger.versions.size).toBeGreaterThan(rounds);
    },
    rounds * 8_000,
  );

  test("while a guest loops where nothing interrupts it: its process ends, too", async () => {
    await using server = await start();
    await deploy(server.client, {
      name: "stuck",
      source: "export default () => [].indexOf.call({ length: 2 ** 53 - 1 }, 1);",
      path: "/stuck",
      limits: { timeout_ms: 60_000, cpu_ms: 30_000 },
    });
    const cut = fetch(`${server.url}/stuck`).catch(() => null);
    await busyChild(server);
    const gone = watchTree(server);
    await server.kill9();
    await gone();
    expect(await cut).toBeNull();
  });

  test("while the compiler does not react: its process ends, too", async () => {
    await using server = await start();
    await server.client.scripts.create({ name: "saved", source: "export default () => 1" });
    // It stays warm after a save, and like this it notices nothing.
    process.kill(compileChild(server), "SIGSTOP");
    const gone = watchTree(server);
    await server.kill9();
    await gone();
  });
});

/** Resolves when a child of the server computes. */
async function busyChild(server: TestServer): Promise<void> {
  const ticks = (pid: number): number => {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    return Number(fields[11]);
  };
  const children = processTree(server.pid).slice(1);
  const before = children.map(ticks);
  await until("a child computes", 5_000, () =>
    children.some((pid, index) => ticks(pid) > (before[index] ?? 0) + 20) ? true : null,
  );
}

function compileChild(server: TestServer): number {
  const found = processTree(server.pid).find((pid) => commandOf(pid).includes("compile"));
  if (found === undefined) throw new Error("there is no compile child");
  return found;
}

function commandOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}

describe("SIGTERM", () => {
  test("under load: what runs is answered, what was acknowledged stays, nothing is left", async () => {
    await using server = await start();
    await deployCounter(server);
    await deploy(server.client, {
      name: "slow",
      source: `import { kv } from "picloud";
        export default async () => {
          await new Promise((resolve) => setTimeout(resolve, 700));
          return kv.collection("counts").increment("slow");
        };`,
      path: "/slow",
    });
    const ledger = new Ledger();
    const load = startLoad(server, ledger);
    await load.acknowledged(50);
    const slow = Array.from({ length: 5 }, () => fetch(`${server.url}/slow`));
    // They have been entered when a later request has come back.
    await fetch(`${server.url}/read/slow`);
    const gone = watchTree(server);
    const began = performance.now();
    const stopped = server.stop();
    const answers = await Promise.all(slow);
    expect(answers.map((response) => response.status)).toEqual(Array(5).fill(200));
    const values = await Promise.all(answers.map((response) => response.json() as Promise<number>));
    expect(values.sort()).toEqual([1, 2, 3, 4, 5]);
    expect(await stopped).toBe(0);
    expect(performance.now() - began).toBeLessThan(stopMsMax);
    await gone();
    await load.ended;
    expect([...load.refused]).toEqual([]);
    expect(complaintsOf(server)).toEqual([]);

    ledger.counters.set("slow", 5);
    ledger.asked.set("slow", 5);
    await using again = await start({ dataDir: server.dataDir });
    await ledger.expectKept(again);
  });

  test("does not wait for a guest beyond its bound, and the cut is on record", async () => {
    await using server = await start();
    const { script } = await deploy(server.client, {
      name: "endless",
      source: "export default () => new Promise((resolve) => setTimeout(resolve, 120_000));",
      path: "/endless",
      limits: { timeout_ms: 200_000 },
    });
    const cut = fetch(`${server.url}/endless`).then(
      (response) => response.status,
      () => "cut",
    );
    await fetch(`${server.url}/healthz`);
    const gone = watchTree(server);
    const began = performance.now();
    expect(await server.stop()).toBe(0);
    expect(performance.now() - began).toBeLessThan(stopMsMax);
    await gone();
    expect(["cut", 503]).toContain(await cut);
    await using again = await start({ dataDir: server.dataDir });
    const { items } = await again.client.scripts.logs(script.id);
    expect(items.map(({ status }) => status)).toEqual(["sandbox_lost"]);
  }, 40_000);

  test("twice ends the process at once", async () => {
    await using server = await start();
    await deploy(server.client, {
      name: "endless",
      source: "export default () => new Promise((resolve) => setTimeout(resolve, 9_000));",
      path: "/endless",
    });
    const cut = fetch(`${server.url}/endless`).catch(() => "cut");
    await fetch(`${server.url}/healthz`);
    const gone = watchTree(server);
    const stopped = server.stop();
    await until("it says that it stops", 2_000, () =>
      server.log().some(({ message }) => message === "stopping") ? true : null,
    );
    process.kill(server.pid, "SIGTERM");
    expect(await stopped).toBe(128 + 15);
    await gone();
    expect(await cut).toBe("cut");
  });
});
