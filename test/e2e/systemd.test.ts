/**
 * scripts/install.sh and its unit under a real systemd, with everything that the unit forbids
 * forbidden: the compiled executable serves, scripts run and are stopped, and systemd starts again
 * what hangs. Where a machine cannot be made (not root, no systemd), test/scripts/systemd.test.ts is
 * what remains.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { version } from "../../package.json";
import { writeTinyExecutable } from "../scripts/tiny-executable.ts";
import { serverCommand } from "./server.ts";
import { type Machine, machineProblem, startMachine } from "./systemd-machine.ts";

const installer = resolve(import.meta.dir, "../../scripts/install.sh");
const problem = machineProblem();
if (problem !== null) console.warn(`systemd.test.ts is skipped: ${problem}`);
const waitMsMax = 30_000;
const api = "http://localhost:8080/api/v1/admin";
const login = { username: "admin", password: "correct horse battery" };

let machine: Machine;

/** The output of what must succeed. */
async function run(line: string): Promise<string> {
  const { code, output } = await machine.run(line);
  if (code !== 0) throw new Error(`${line}\nended with ${code}:\n${output}\n${await log()}`);
  return output.trim();
}

async function log(): Promise<string> {
  return (await machine.run("cat /var/log/machine/picloud")).output;
}

async function property(name: string): Promise<string> {
  return run(`systemctl show picloud --value -p ${name}`);
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + waitMsMax; performance.now() < deadline; ) {
    if (await holds()) return;
    await Bun.sleep(50);
  }
  throw new Error(`never: ${what}\n${await log()}`);
}

/** A request from inside: the machine has no other network. */
async function request(method: string, url: string, token: string, body?: object): Promise<string> {
  const data = body === undefined ? "" : `-d '${JSON.stringify(body).replaceAll("'", "'\\''")}'`;
  return run(
    `curl -sS -X ${method} '${url}' -H 'authorization: Bearer ${token}' -H 'content-type: application/json' ${data}`,
  );
}

async function logIn(): Promise<string> {
  const { token } = JSON.parse(await request("POST", `${api}/auth/login`, "", login));
  return token;
}

async function deploy(token: string, name: string, source: string): Promise<void> {
  const { id } = JSON.parse(await request("POST", `${api}/scripts`, token, { name, source }));
  await request("POST", `${api}/scripts/${id}/routes`, token, { path: `/${name}` });
}

const get = (path: string): Promise<string> => run(`curl -sS http://localhost:8080${path}`);

describe.skipIf(problem !== null)("the service", () => {
  beforeAll(async () => {
    const [executable = ""] = await serverCommand();
    machine = await startMachine();
    await machine.copy(executable, "/media/picloud");
    await machine.copy(installer, "/media/install.sh");
  }, 120_000);
  afterAll(async () => {
    await machine[Symbol.asyncDispose]();
  });

  test("is not installed over a busy port, and what was in the way is named", async () => {
    await run(
      "systemd-run --unit=busy --property=DefaultDependencies=no --service-type=exec \
      sh -c 'exec python3 -m http.server 8081'",
    ).catch(() => "");
    const isBusy = async () => (await machine.run("ss -Hltn 'sport = :8081'")).output !== "";
    if ((await machine.run("command -v python3 ss")).code !== 0) return;
    await until("the port is busy", isBusy);
    const { code, output } = await machine.run("sh /media/install.sh");
    expect({ code, output }).toEqual({
      code: 1,
      output:
        "install.sh: port 8081 is in use by another program; stop that, or set PICLOUD_ADMIN_BIND in /etc/picloud/picloud.conf\n",
    });
    await run("systemctl stop busy");
  }, 60_000);

  test("is installed, enabled, ready when the installer says so, and shows what it serves", async () => {
    const output = await run("sh /media/install.sh");
    expect(output).toContain(`PiCloud ${version} is installed`);
    expect(output).toContain("It runs: Serving http://localhost:8080");
    expect(await run("systemctl is-enabled picloud")).toBe("enabled");
    expect(await property("SubState")).toBe("running");
    expect(await get("/healthz")).toBe("ok");
  }, 60_000);

  test("runs scripts, and stops one that would not end, without an error of its own", async () => {
    const setup = (await log()).match(/token=(\S+)/)?.[1] ?? "";
    await request("POST", "http://localhost:8081/api/v1/admin/auth/setup", "", {
      token: setup,
      ...login,
    });
    const token = await logIn();
    await deploy(
      token,
      "visits",
      'import { kv } from "picloud"; export default async () => ({ n: await kv.collection("v").increment("a") });',
    );
    await deploy(token, "endless", "export default () => { for (;;) {} };");
    await deploy(
      token,
      "deep",
      "export default () => { const f = (): number => f() + 1; try { return { n: f() }; } catch { return { caught: true }; } };",
    );
    expect(await get("/visits")).toBe('{"n":1}');
    expect(JSON.parse(await get("/endless"))).toMatchObject({ status: 507 });
    expect(await get("/deep")).toBe('{"caught":true}');
    expect(await get("/visits")).toBe('{"n":2}');
    expect(await log()).not.toContain('"level":"error"');
  }, 60_000);

  test("has no right, no way to one, a system-call filter, and neither have its sandboxes", async () => {
    const main = await property("MainPID");
    const pids = [main, ...(await run(`pgrep -P ${main}`)).split("\n")];
    expect(pids.length).toBeGreaterThan(1);
    for (const pid of pids) {
      const status = await run(`cat /proc/${pid}/status`);
      expect(status).toMatch(/^CapEff:\s+0+$/m);
      expect(status).toMatch(/^CapBnd:\s+0+$/m);
      expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
      expect(status).toMatch(/^Seccomp:\s+2$/m);
      expect(status).not.toMatch(/^Uid:\s+0\s/m);
      expect(await run(`cat /proc/${pid}/limits`)).toMatch(/^Max core file size\s+0\s/m);
    }
    for (const pid of pids.slice(1)) {
      const environment = await run(`tr '\\0' '\\n' < /proc/${pid}/environ`);
      expect(environment).not.toMatch(/NOTIFY|WATCHDOG|STATE_DIRECTORY|PICLOUD|INVOCATION/);
    }
  }, 60_000);

  test("can write where its data is and nowhere that stays, see no home, and start no program", async () => {
    const main = await property("MainPID");
    const inside = (line: string): Promise<string> =>
      run(`nsenter --target=${main} --mount sh -c ${JSON.stringify(line)}; true`);
    for (const folder of ["/", "/etc", "/usr/local/bin", "/var/lib", "/var/log", "/boot"]) {
      expect(await inside(`: > ${folder}/x`)).toContain("Read-only file system");
    }
    for (const folder of ["/var/lib/picloud", "/tmp", "/dev/shm"]) {
      expect(await inside(`: > ${folder}/x && echo written`)).toBe("written");
    }
    expect(await run("ls /tmp")).not.toContain("x");
    expect(await inside("echo /root/* /home/*")).toBe("/root/* /home/*");
    expect(await inside("/bin/ls /")).toContain("ermission denied");
    await run("rm /var/lib/picloud/x /dev/shm/x");
    expect(await run("stat -c %a /var/lib/private /var/lib/private/picloud")).toBe("700\n700");
    const modes = await run("stat -c %a /var/lib/private/picloud/*");
    expect([...new Set(modes.split("\n"))]).toEqual(["600"]);
  }, 60_000);

  test("stops in order when it is told to, and its data is there afterwards", async () => {
    await run("systemctl restart picloud");
    expect(await property("Result")).toBe("success");
    expect(await log()).not.toContain('"level":"error"');
    expect(await get("/visits")).toBe('{"n":3}');
  }, 60_000);

  test("is upgraded by running the installer again; the same account and data", async () => {
    const output = await run("sh /media/install.sh --backup /media/before.backup");
    expect(output).toContain(`PiCloud ${version} is installed again`);
    await run("/usr/local/bin/picloud restore /media/before.backup --check");
    expect(await get("/visits")).toBe('{"n":4}');
    await logIn();
    expect(await run("ls /usr/local/bin")).not.toMatch(/picloud\.(new|previous)/);
  }, 60_000);

  test("whose new version does not start is reported, and the old one is taken back", async () => {
    const machineName = process.arch === "arm64" ? "arm64" : "x64";
    const broken = `/tmp/picloud-broken-${process.pid}`;
    writeTinyExecutable(broken, machineName, "picloud 99.0.0");
    await machine.copy(broken, "/media/broken");
    await Bun.file(broken).delete();
    const { code, output } = await machine.run("sh /media/install.sh /media/broken");
    expect(code).toBe(1);
    expect(output).toContain("the service is not ready");
    expect(output).toContain("to go back: sudo /media/install.sh /usr/local/bin/picloud.previous");
    await run("sh /media/install.sh /usr/local/bin/picloud.previous");
    expect(await get("/visits")).toBe('{"n":5}');
  }, 60_000);

  test("that gives no sign of life is killed and started again", async () => {
    await run("mkdir -p /run/systemd/system/picloud.service.d");
    await run(
      "printf '[Service]\\nWatchdogSec=2s\\nRestartSec=100ms\\n' > /run/systemd/system/picloud.service.d/short.conf",
    );
    await run("systemctl daemon-reload && systemctl restart picloud");
    const before = await property("MainPID");
    const heardUs = async () => Number(await property("WatchdogTimestampMonotonic"));
    const first = await heardUs();
    // Alive for longer than the watchdog waits, it is left alone.
    await until("it was heard for 3 s", async () => (await heardUs()) - first > 3_000_000);
    expect(await property("MainPID")).toBe(before);
    await run(`kill -STOP ${before}`);
    await until("it was restarted", async () => (await property("NRestarts")) === "1");
    await until("it is ready", async () => (await property("SubState")) === "running");
    expect(await get("/visits")).toBe('{"n":6}');
    expect(await run("pgrep -c -f '^/usr/local/bin/picloud serve'")).toBe("1");
  }, 60_000);

  test("takes a port below 1024 with the lines of docs/install.md, and keeps no other right", async () => {
    const text = readFileSync(resolve(import.meta.dir, "../../docs/install.md"), "utf8");
    const [, lines = ""] = text.match(/```ini\n([\s\S]*?CAP_NET_BIND_SERVICE[\s\S]*?)```/) ?? [];
    const dropIn = "/etc/systemd/system/picloud.service.d/ports.conf";
    await run(`printf '%s' '${lines}' > ${dropIn}`);
    await run("echo PICLOUD_BIND=0.0.0.0:80 > /etc/picloud/picloud.conf");
    await run("systemctl daemon-reload && systemctl restart picloud");
    expect(await run("curl -sS http://localhost/visits")).toBe('{"n":7}');
    const status = await run(`cat /proc/${await property("MainPID")}/status`);
    expect(status).toMatch(/^CapBnd:\s+0+400$/m);
    await run(`rm ${dropIn}; : > /etc/picloud/picloud.conf; systemctl daemon-reload`);
  }, 60_000);

  test("with bad settings is not started again and again", async () => {
    await run("echo PICLOUD_BIND=nonsense > /etc/picloud/picloud.conf");
    await machine.run("systemctl restart picloud");
    await until("it has failed", async () => (await property("ActiveState")) === "failed");
    expect(await property("ExecMainStatus")).toBe("2");
    expect(await property("NRestarts")).toBe("0");
    expect(await log()).toContain("PICLOUD_BIND: must be host:port");
    await run("rm /etc/picloud/picloud.conf");
  }, 60_000);

  test("is uninstalled, and installed again on the data that stayed; or without a trace", async () => {
    expect(await run("sh /media/install.sh --uninstall")).toContain(
      "Kept: /var/lib/private/picloud",
    );
    expect((await machine.run("systemctl cat picloud.service")).code).not.toBe(0);
    expect((await machine.run("ls /usr/local/bin/picloud")).code).not.toBe(0);
    await run("sh /media/install.sh");
    expect(await get("/visits")).toBe('{"n":8}');
    await run("sh /media/install.sh --uninstall --purge-data");
    const folders = "/etc /run /usr/local /var/lib /var/cache /dev/shm";
    const left = await run(`find ${folders} -xdev -iname '*picloud*'; true`);
    // What the machine itself was made with.
    expect(left.split("\n").filter((path) => !path.includes("picloud.service.d"))).toEqual([]);
  }, 60_000);
});
