/**
 * What was acknowledged stays, whatever is done to the process or its disk; and no process stays
 * behind. PICLOUD_LONG=1 kills the server 50 times instead of 6.
 */
import { Database as Sqlite } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { processTree } from "../../bench/process-tree.ts";
import { deployCounter, Ledger, startLoad } from "./load.ts";
import {
  StartFailed,
  type StartOptions,
  serverCommand,
  startServer,
  type TestServer,
} from "./server.ts";
import { deploy, problemOf, recordOf, refusal, until } from "./steps.ts";

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

afterAll(() => rmSync(dataDir, { recursive: true, force: true }));

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

function expectWhole(folder: string): void {
  for (const file of ["picloud.db", "logs.db"]) {
    using db = new Sqlite(join(folder, file));
    expect(db.query("pragma integrity_check").all()).toEqual([{ integrity_check: "ok" }]);
    expect(db.query("pragma foreign_key_check").all()).toEqual([]);
  }
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
    expect(server.log().filter(({ level }) => level === "error" || level === "warn")).toEqual([]);

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

/** A disk that a test fills and frees. */
interface SmallDisk<Subject> extends Disposable {
  fill(subject: Subject): void;
  free(subject: Subject): void;
  dataDir: string;
  /** Instead of the executable. */
  command?: string[];
}

/** A file system of its own in memory. Needs root. */
function tmpfsDisk(): SmallDisk<unknown> {
  const folder = mkdtempSync(join(tmpdir(), "picloud-disk-"));
  run("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder);
  const filler = join(folder, "filler");
  return {
    dataDir: join(folder, "data"),
    fill: () => {
      const chunk = Buffer.alloc(4_096);
      try {
        for (;;) writeFileSync(filler, chunk, { flag: "a" });
      } catch (error) {
        if ((error as { code?: string }).code !== "ENOSPC") throw error;
      }
    },
    free: () => rmSync(filler),
    [Symbol.dispose]: () => {
      run("umount", "--lazy", folder);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** No file may grow any more (RLIMIT_FSIZE), which anybody may do to a process of theirs. */
async function limitedDisk(): Promise<SmallDisk<TestServer>> {
  const folder = mkdtempSync(join(tmpdir(), "picloud-limit-"));
  const limit = (server: TestServer, bytes: string): void =>
    run("prlimit", "--pid", String(server.pid), `--fsize=${bytes}:`);
  return {
    dataDir: folder,
    // Without the trap the kernel would end the process instead of refusing the write.
    command: ["/bin/sh", "-c", 'trap "" XFSZ; exec "$@"', "sh", ...(await serverCommand())],
    fill: (server) => limit(server, String(statSync(join(folder, "picloud.db-wal")).size)),
    free: (server) => limit(server, "unlimited"),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}

function run(...command: string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(command);
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
}

function canMount(): boolean {
  const folder = mkdtempSync(join(tmpdir(), "picloud-mount-"));
  try {
    run("mount", "-t", "tmpfs", "tmpfs", folder);
    run("umount", folder);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe("a full disk", () => {
  const mountable = canMount();
  const reason = mountable ? "" : " (skipped: mounting needs root)";
  test.skipIf(!mountable)(
    `of its own${reason}: writes fail, reads go on, and it recovers`,
    async () => {
      using disk = tmpfsDisk();
      await expectSurvives(disk);
    },
  );

  test.skipIf(!mountable)(
    `at a start${reason}: it is said, and a later start is whole`,
    async () => {
      using disk = tmpfsDisk();
      disk.fill(undefined);
      const refused = await start({ dataDir: disk.dataDir }).then(
        () => null,
        (error) => error,
      );
      expect(refused).toBeInstanceOf(StartFailed);
      expect(refused.exitCode).toBe(1);
      expect(refused.output).toMatch(/^picloud: .*(?:The disk is full|ENOSPC).*\n$/);
      disk.free(undefined);
      await using server = await start({ dataDir: disk.dataDir });
      expect((await server.client.auth.me()).username).toBe("admin");
    },
  );

  const limitable = Bun.which("prlimit") !== null;
  const missing = limitable ? "" : " (skipped: there is no prlimit)";
  test.skipIf(!limitable)(`of files that may not grow${missing}: the same`, async () => {
    using disk = await limitedDisk();
    await expectSurvives(disk);
  });

  async function expectSurvives(disk: SmallDisk<TestServer>): Promise<void> {
    const { dataDir } = disk;
    const command = disk.command === undefined ? {} : { command: disk.command };
    const ledger = new Ledger();
    {
      await using server = await start({ dataDir, ...command });
      await deployCounter(server);
      const load = startLoad(server, ledger);
      await load.acknowledged(100);
      disk.fill(server);
      await until("writes are refused", 10_000, () => (load.refused.size > 0 ? true : null));
      load.stop();
      await load.ended;
      await expectReadOnly(server, ledger);
      disk.free(server);
      const again = startLoad(server, ledger, { label: "-again" });
      await again.acknowledged(100);
      await server.kill9();
      await again.ended;
      expect([...again.refused]).toEqual([]);
    }
    await using server = await start({ dataDir });
    await ledger.expectKept(server);
    expect(await server.stop()).toBe(0);
    expectWhole(dataDir);
  }

  async function expectReadOnly(server: TestServer, ledger: Ledger): Promise<void> {
    await ledger.expectKept(server);
    const refused = await refusal(
      server.client.scripts.create({ name: "full", source: "export default () => 1" }),
    );
    expect(refused).toMatchObject({ status: 503, code: "unavailable" });
    const failed = await fetch(`${server.url}/count/c0`, { method: "POST" });
    expect(failed.status).toBe(502);
    expect(JSON.stringify(await problemOf(failed.clone() as Response))).not.toMatch(/disk|sqlite/i);
    const record = await recordOf(server.client, failed);
    expect(record.error).toMatchObject({ code: "unavailable" });
    expect(await (await fetch(`${server.url}/healthz`)).text()).toBe("ok");
    expect((await server.client.scripts.list()).items.length).toBeGreaterThan(0);
  }
});
