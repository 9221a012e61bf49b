/**
 * A systemd of its own for a test: PID 1 in new namespaces, on a throw-away copy of this machine's
 * file system (an overlay in memory), without a network but its own loopback, in a control group of
 * its own. Nothing that happens in it is seen outside, and all of it goes with its first process.
 *
 *   await using machine = await startMachine();
 *   await machine.run("systemctl start picloud");
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Ran {
  code: number;
  /** Standard output and standard error, as they came. */
  output: string;
}

export interface Machine extends AsyncDisposable {
  /** A line of sh inside. */
  run(line: string): Promise<Ran>;
  /** Makes `to` inside a copy of `from`, a file of this machine. */
  copy(from: string, to: string): Promise<void>;
}

const systemd = "/lib/systemd/systemd";
const versionMin = 247;
const bootMsMax = 20_000;
const runMsMax = 60_000;
const namespaces = ["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup"];

/** Makes the file system in `$1` and becomes systemd on it; `$2` is a pipe that gets its log. */
const BOOT = `
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do cp -a "/dev/$device" dev/; done
mkdir dev/pts dev/shm old-root
ln -s /proc/self/fd dev/fd
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p var/log/machine usr/local/bin
rm -rf etc/systemd/system etc/picloud var/lib/private var/lib/picloud
mkdir -p etc/systemd/system/picloud.service.d
printf '[Unit]\\nDefaultDependencies=no\\n' > etc/systemd/system/machine.target
# There is no journal here, nor any target that a service usually waits for.
printf '[Unit]\\nDefaultDependencies=no\\nAfter=\\n[Service]\\nStandardOutput=append:/var/log/machine/picloud\\nStandardError=append:/var/log/machine/picloud\\n' \\
  > etc/systemd/system/picloud.service.d/machine.conf
pivot_root . old-root
umount -l /old-root
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin ${systemd} --log-target=null --unit=machine.target
`;

/** Why no machine can be started here; null when one can. Takes some milliseconds. */
export function machineProblem(): string | null {
  if (process.platform !== "linux") return "namespaces are Linux's";
  if (process.getuid?.() !== 0) return "only root may make a machine";
  for (const program of ["unshare", "nsenter", "pivot_root", "systemctl"]) {
    if (Bun.which(program) === null) return `there is no ${program}`;
  }
  if (!existsSync(systemd)) return "there is no systemd";
  const { stdout } = Bun.spawnSync(["systemctl", "--version"]);
  const version = Number(stdout.toString().match(/^systemd (\d+)/)?.[1] ?? 0);
  if (version < versionMin) return `systemd ${version} is older than ${versionMin}`;
  const group = `${groupsFolder()}/picloud-test-${process.pid}`;
  try {
    mkdirSync(group);
    rmdirSync(group);
  } catch {
    return "no unified control group can be made";
  }
  const folder = mkdtempSync(join(tmpdir(), "picloud-machine-"));
  const tryOut = `mount -t tmpfs tmpfs "$1" && mkdir "$1/u" "$1/w" "$1/r" "$1/g" &&
    mount -t overlay overlay -o "lowerdir=/,upperdir=$1/u,workdir=$1/w" "$1/r" &&
    mount -t proc proc "$1/r/proc" && mount -t cgroup2 cgroup2 "$1/g"`;
  const tried = Bun.spawnSync(
    ["unshare", "--fork", "--propagation=private", ...namespaces, "sh", "-c", tryOut, "sh", folder],
    { stderr: "pipe" },
  );
  rmSync(folder, { recursive: true, force: true });
  return tried.exitCode === 0 ? null : `no namespaces: ${tried.stderr.toString().trim()}`;
}

/** Throws when systemd does not answer within bootMsMax. Ask machineProblem before. */
export async function startMachine(): Promise<Machine> {
  const folder = mkdtempSync(join(tmpdir(), "picloud-machine-"));
  const group = `${groupsFolder()}/picloud-test-${process.pid}`;
  mkdirSync(group);
  // It joins its group before its namespaces: what they show as the root of all groups is that one.
  const enter = 'echo $$ > "$0/cgroup.procs" && exec "$@"';
  const outer = Bun.spawn(
    [
      ...["sh", "-c", enter, group, "unshare", "--fork", "--kill-child", "--propagation=private"],
      ...[...namespaces, "sh", "-c", BOOT, "sh", folder],
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const said = new Response(outer.stderr).text();
  const end = async (): Promise<void> => {
    outer.kill("SIGKILL");
    await outer.exited;
    await removeGroup(group);
    rmSync(folder, { recursive: true, force: true });
  };
  const endAtExit = (): void => outer.kill("SIGKILL");
  process.on("exit", endAtExit);

  const run = async (line: string): Promise<Ran> => {
    const pid = firstChildOf(outer.pid);
    if (pid === null) return { code: 255, output: "the machine is gone" };
    const child = Bun.spawn(
      ["nsenter", `--target=${pid}`, ...namespaces, "sh", "-c", `exec 2>&1\n${line}`],
      {
        env: { PATH: "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" },
        stdio: ["ignore", "pipe", "ignore"],
      },
    );
    const overdue = setTimeout(() => child.kill("SIGKILL"), runMsMax);
    const output = await new Response(child.stdout).text();
    const code = await child.exited;
    clearTimeout(overdue);
    return { code, output };
  };
  const machine: Machine = {
    run,
    async copy(from, to) {
      const pid = firstChildOf(outer.pid);
      await Bun.write(`/proc/${pid}/root${to}`, Bun.file(from));
    },
    async [Symbol.asyncDispose]() {
      process.off("exit", endAtExit);
      await end();
    },
  };
  for (const deadline = performance.now() + bootMsMax; performance.now() < deadline; ) {
    const { output } = await run("systemctl is-active machine.target");
    if (output.trim() === "active") return machine;
    if (outer.exitCode !== null) break;
    await Bun.sleep(20);
  }
  await end();
  throw new Error(`systemd did not come up: ${await said}`);
}

// ---------------------------------------------------------------------------------------------

/** Where version 2 of the control groups is, also beside version 1. */
function groupsFolder(): string | null {
  const folders = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
  return folders.find((folder) => existsSync(`${folder}/cgroup.controllers`)) ?? null;
}

function firstChildOf(pid: number): number | null {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
    return text.trim() === "" ? null : Number(text.split(" ")[0]);
  } catch {
    return null;
  }
}

/** Its processes are dying; the kernel lets the folders go when the last one has. */
async function removeGroup(group: string): Promise<void> {
  const below = (folder: string): string[] => [
    ...readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .flatMap((entry) => below(`${folder}/${entry.name}`)),
    folder,
  ];
  for (let tries = 0; tries < 200; tries += 1) {
    try {
      for (const folder of below(group)) rmdirSync(folder);
      return;
    } catch {
      if (existsSync(`${group}/cgroup.kill`)) writeFileSync(`${group}/cgroup.kill`, "1");
      await Bun.sleep(20);
    }
  }
}
