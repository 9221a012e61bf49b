/**
 * The unit against the program it starts, and the program under what the unit does to it, as far as a
 * test can do that without systemd; test/e2e/systemd.test.ts starts the unit for real.
 */
import { afterAll, describe, expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { drainMsMax, startExtendEveryMs } from "../../src/domain/limits.ts";
import { openNotifySocket } from "../base/notify-socket.ts";

const root = resolve(import.meta.dir, "../..");
const main = `${root}/src/main.ts`;
const scratch = mkdtempSync(join(tmpdir(), "picloud-systemd-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
/** The scratch folder is its maker's alone; another user's server needs to get through. */
Bun.spawnSync(["chmod", "711", scratch]);

const unit = Bun.spawnSync(["sh", `${root}/scripts/install.sh`, "--print-unit"]).stdout.toString();
const isRoot = process.getuid?.() === 0;
const analyzer = Bun.which("systemd-analyze");
/** Signs of life come at half of this; a start from the sources takes a second or two. */
const watchdogUs = 1_000_000;
const waitMsMax = 20_000;

function values(name: string): string[] {
  return [...unit.matchAll(new RegExp(`^${name}=(.*)$`, "gm"))].map((match) => match[1] ?? "");
}

function seconds(name: string): number {
  return Number(values(name)[0]?.match(/^(\d+)s$/)?.[1]);
}

describe("the unit", () => {
  test("gives the server the time that it takes to stop, and to say that it starts", () => {
    expect(seconds("TimeoutStopSec") * 1_000).toBeGreaterThan(drainMsMax + 2_000);
    expect(seconds("TimeoutStartSec") * 1_000).toBeGreaterThan(2 * startExtendEveryMs);
    expect(seconds("WatchdogSec")).toBeGreaterThanOrEqual(60);
  });

  test("restarts what failed, but not what a restart cannot help", () => {
    expect(values("Type")).toEqual(["notify"]);
    expect(values("Restart")).toEqual(["on-failure"]);
    expect(values("RestartPreventExitStatus")).toEqual(["2"]);
    const tries = Number(values("StartLimitBurst")[0]);
    expect(tries * seconds("RestartSec")).toBeLessThan(15 * 60);
  });

  test("tells the server alone to stop, and lets it survive a sandbox that ran out of memory", () => {
    expect(values("KillMode")).toEqual(["mixed"]);
    expect(values("OOMPolicy")).toEqual(["continue"]);
  });

  test.skipIf(analyzer === null)("systemd finds nothing wrong in it", () => {
    const folder = `${scratch}/verify`;
    mkdirSync(folder);
    // It also looks for the executable, which is not installed on every machine that runs this.
    const text = unit.replaceAll("/usr/local/bin/picloud", "/bin/true");
    writeFileSync(`${folder}/picloud.service`, text);
    const command = ["systemd-analyze", "verify", "--man=no", `${folder}/picloud.service`];
    const { exitCode, stdout, stderr } = Bun.spawnSync(command);
    const said = `${stdout}${stderr}`.split("\n").filter((line) => line.includes("picloud"));
    expect({ exitCode, said }).toEqual({ exitCode: 0, said: [] });
  });

  test.skipIf(analyzer === null)(
    "its exposure is 2.0 at the most, for reasons that are known",
    () => {
      writeFileSync(`${scratch}/picloud.service`, unit);
      const command = ["systemd-analyze", "security", "--offline=true", "--no-pager"];
      const text = Bun.spawnSync([...command, `${scratch}/picloud.service`]).stdout.toString();
      // Before version 250 it cannot judge a file.
      if (text === "") return;
      const [, exposure] = text.match(/exposure level for picloud\.service: ([\d.]+)/) ?? [];
      expect(Number(exposure)).toBeLessThanOrEqual(2);
      const exposed = [...text.matchAll(/^✗ (\S+)/gm)].map((match) => match[1] ?? "");
      const reasons: Record<string, string> = {
        "PrivateNetwork=": "it is a server",
        "RestrictAddressFamilies=~AF_(INET|INET6)": "it is a server",
        "IPAddressDeny=": "whom it serves is its owner's business",
        "RestrictAddressFamilies=~AF_UNIX": "sandboxes and systemd are spoken to over such sockets",
        "SystemCallFilter=~@resources": "prlimit64 and setpriority, for a sandbox",
        "MemoryDenyWriteExecute=": "JIT and WebAssembly",
        "ProcSubset=": "/proc/meminfo and /proc/vmstat",
        "RootDirectory=/RootImage=": "it uses the system's C library and shell",
        "DeviceAllow=": "ProtectClock= lets it read the clock of the machine",
      };
      expect(exposed.filter((name) => !(name in reasons))).toEqual([]);
    },
  );
});

// ---------------------------------------------------------------------------------------------

interface Service extends AsyncDisposable {
  readonly pid: number;
  readonly output: () => string;
  /** SIGTERM to the server alone, as KillMode=mixed does; the exit code. */
  stop(): Promise<number>;
}

/** What the unit does to a process and a test can do, too: no rights, no home, limits, no files. */
function startService(state: string, env: Record<string, string>): Service {
  const unprivileged = [
    ...["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
    ...["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"],
  ];
  const canDrop = isRoot && Bun.which("setpriv") !== null && Bun.which("prlimit") !== null;
  const temporary = `${state}.tmp`;
  mkdirSync(temporary, { mode: 0o700 });
  if (canDrop) Bun.spawnSync(["chown", "65534:65534", state, temporary]);
  const command = [
    ...(canDrop ? [...["prlimit", "--core=0"], ...unprivileged] : []),
    ...[process.execPath, main, "serve"],
  ];
  const child = Bun.spawn(command, {
    cwd: "/",
    env: {
      PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      BUN_FEATURE_FLAG_NO_ORPHANS: "1",
      PICLOUD_BIND: "127.0.0.1:0",
      PICLOUD_ADMIN_BIND: "127.0.0.1:0",
      STATE_DIRECTORY: state,
      TMPDIR: temporary,
      INVOCATION_ID: "0123456789abcdef0123456789abcdef",
      JOURNAL_STREAM: "8:12345",
      SYSTEMD_EXEC_PID: "1",
      ...env,
    },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let output = "";
  const read = (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of child.stderr) output += decoder.decode(chunk, { stream: true });
  })();
  const stop = async (signal: NodeJS.Signals): Promise<number> => {
    child.kill(signal);
    const overdue = setTimeout(() => child.kill("SIGKILL"), waitMsMax);
    const code = await child.exited;
    clearTimeout(overdue);
    await read;
    return code;
  };
  return {
    pid: child.pid,
    output: () => output,
    stop: () => stop("SIGTERM"),
    [Symbol.asyncDispose]: async () => void (await stop("SIGKILL")),
  };
}

let folders = 0;
function newState(): string {
  folders += 1;
  const state = `${scratch}/state-${folders}`;
  mkdirSync(state, { mode: 0o700 });
  return state;
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
    .split(" ")
    .filter((text) => text !== "")
    .map(Number);
}

describe.skipIf(process.platform !== "linux")("the server as a service", () => {
  test("says ready, that it lives, and that it stops; writes into its state folder alone", async () => {
    using socket = openNotifySocket(`@picloud-test-${process.pid}-systemd`);
    const state = newState();
    await using service = startService(state, {
      NOTIFY_SOCKET: socket.name,
      WATCHDOG_USEC: String(watchdogUs),
    });
    await socket.line("READY=1", waitMsMax).catch((error: Error) => {
      throw new Error(`${error.message}\n${service.output()}`);
    });
    // Not from the log: that comes through a pipe, and may be later than the message.
    const status = await socket.line(/^STATUS=Serving /, waitMsMax);
    const address = /http:\/\/127\.0\.0\.1:\d+/.exec(status)?.[0] ?? "";
    expect(await (await fetch(`${address}/healthz`)).text()).toBe("ok");

    const beats = (): number => socket.messages().filter(([line]) => line === "WATCHDOG=1").length;
    const deadline = performance.now() + waitMsMax;
    while (beats() < 3 && performance.now() < deadline) await Bun.sleep(20);
    expect(beats()).toBeGreaterThanOrEqual(3);

    for (const pid of childrenOf(service.pid)) {
      const environment = readFileSync(`/proc/${pid}/environ`, "utf8");
      expect(environment).not.toMatch(/NOTIFY_SOCKET|WATCHDOG|STATE_DIRECTORY|PICLOUD/);
    }
    expect(readdirSync(state)).toContain("picloud.db");
    const modes = readdirSync(state).map((name) => statSync(join(state, name)).mode & 0o777);
    expect([...new Set(modes)]).toEqual([0o600]);
    expect(readdirSync(`${state}.tmp`)).toEqual([]);

    expect(await service.stop()).toBe(0);
    const [last] = socket.messages().slice(-1);
    expect(last?.[0]).toBe("STOPPING=1");
    expect(socket.messages().flat()).not.toContain("ERRNO=1");
    expect(service.output()).not.toContain('"level":"error"');
  }, 60_000);

  test("without anybody to tell, or with an address that is none, it serves all the same", async () => {
    for (const env of [{}, { NOTIFY_SOCKET: "vsock:2:1" }, { NOTIFY_SOCKET: "/nobody/there" }]) {
      await using service = startService(newState(), env);
      const deadline = performance.now() + waitMsMax;
      while (!service.output().includes('"ready"') && performance.now() < deadline) {
        await Bun.sleep(20);
      }
      expect(service.output()).toContain('"message":"ready"');
      expect(await service.stop()).toBe(0);
    }
  }, 60_000);

  test("bad settings end it with 2, which the unit does not restart, and it was never ready", async () => {
    using socket = openNotifySocket(`@picloud-test-${process.pid}-bad`);
    await using service = startService(newState(), {
      NOTIFY_SOCKET: socket.name,
      PICLOUD_BIND: "nonsense",
    });
    const deadline = performance.now() + waitMsMax;
    while (!service.output().includes("PICLOUD_BIND") && performance.now() < deadline) {
      await Bun.sleep(20);
    }
    expect(await service.stop()).toBe(2);
    expect(socket.messages()).toEqual([]);
  }, 60_000);
});
