/** scripts/start, as a person on a fresh clone meets it. */
import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePorts, runStart } from "./start-script.ts";

const msMax = 120_000;

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "picloud-start-"));
  try {
    await run(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The command that it prints, run as it stands. */
function runPrintedCurl(out: string): string {
  const line = out.split("\n").find((text) => text.startsWith("curl "));
  expect(line).toBeDefined();
  return Bun.spawnSync(["sh", "-c", `${line} -s`]).stdout.toString();
}

/** Processes whose command line names the data folder or that descend from `pid`. */
function descendants(pid: number): number[] {
  const children = Bun.spawnSync(["ps", "-e", "-o", "pid=,ppid="])
    .stdout.toString()
    .trim()
    .split("\n");
  const pairs = children.map((line) => line.trim().split(/\s+/).map(Number));
  const found: number[] = [];
  for (const parents = [pid]; parents.length > 0; ) {
    const parent = parents.pop();
    for (const [child = 0, of] of pairs) {
      if (of !== parent) continue;
      found.push(child);
      parents.push(child);
    }
  }
  return found;
}

test(
  "prints what works, twice the same, and ends cleanly with all its processes",
  async () => {
    await inFolder(async (folder) => {
      const dataDir = `${folder}/data`;
      const port = freePorts();
      const passwords: string[] = [];
      for (const count of [1, 2]) {
        await using start = runStart(port, dataDir);
        await start.ready();
        expect(start.out()).not.toContain("\u001b");
        expect(start.out()).toContain(`http://localhost:${port}`);
        expect(start.out()).toContain(`http://localhost:${port + 1}`);
        expect(runPrintedCurl(start.out())).toBe(`{"message":"Hello, world!","count":${count}}`);
        passwords.push(start.out().match(/login +admin \/ (\S+)/)?.[1] ?? "");
        expect(start.err()).toContain(
          count === 1 ? "example hello created" : "example hello unchanged",
        );
        const processes = descendants(start.pid);
        expect(processes.length).toBeGreaterThan(1);
        expect(await start.interrupt()).toBe(0);
        expect(processes.filter(isAlive)).toEqual([]);
      }
      const file = `${dataDir}/first-login`;
      expect(passwords).toEqual([readFileSync(file, "utf8"), readFileSync(file, "utf8")]);
      expect((statSync(file).mode & 0o777).toString(8)).toBe("600");
    });
  },
  msMax,
);

test(
  "a busy port is a clear message, and so is a second start on the same data",
  async () => {
    await inFolder(async (folder) => {
      const port = freePorts();
      await using start = runStart(port, `${folder}/data`);
      await start.ready();
      await using busy = runStart(port, `${folder}/other`);
      expect(await busy.exited).toBe(1);
      expect(busy.err()).toContain(`PICLOUD_BIND: 0.0.0.0:${port} is in use by another program`);
      expect(busy.err()).toContain("choose a port: scripts/start --port");
      await using second = runStart(freePorts(), `${folder}/data`);
      expect(await second.exited).toBe(1);
      expect(second.err()).toContain("Another PiCloud server is using the data folder");
      expect(busy.out() + second.out()).not.toContain("READY");
    });
  },
  msMax,
);

test(
  "a killed script leaves no server behind",
  async () => {
    await inFolder(async (folder) => {
      await using start = runStart(freePorts(), `${folder}/data`);
      await start.ready();
      const processes = descendants(start.pid);
      process.kill(start.pid, "SIGKILL");
      await start.exited;
      const deadline = performance.now() + 10_000;
      while (processes.some(isAlive) && performance.now() < deadline) await Bun.sleep(20);
      expect(processes.filter(isAlive)).toEqual([]);
    });
  },
  msMax,
);

function isAlive(pid: number): boolean {
  try {
    // A zombie that nobody has reaped yet runs no more.
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
