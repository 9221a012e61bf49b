/**
 * What a board boots: Debian's kernel, an initramfs with the few modules it needs, and a disk that
 * holds the files of the ARM64 image. The initramfs starts PiCloud as the image does: its user, its
 * environment, as process 1 of a PID namespace, its files alone as the root. Beside it a small web
 * server (port 9000) answers what the host wants to know of the guest, and stops it.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { type CpioEntry, cpioArchive } from "./cpio.ts";
import { DebianArchive, machineArchitecture, unpackPackages } from "./debian-archive.ts";
import { environmentOf, execWords, lastValue, readDockerfile, type Stage } from "./dockerfile.ts";
import { run } from "./install.ts";
import { arm64Archive } from "./rootfs.ts";

export type PageSize = "4k" | "16k";

export interface Kernel {
  readonly vmlinuz: string;
  readonly initramfs: string;
}

export const guestPorts = { public: 8080, control: 9000 } as const;
/** Lines on the console that the host waits for. */
export const consoleMarks = {
  starting: "board: starting",
  ended: "board: ended with",
  unmounted: "board: the disk is clean",
} as const;
/** Of QEMU's user network. */
export const guestAddress = "10.0.2.15";
export const guestLogin = { username: "admin", password: "correct horse battery" } as const;

const root = resolve(import.meta.dir, "..");
const cache = `${root}/.cache/boards`;
/** Of the virtual machine's disk: the image's 120 MB and room for data. */
const diskSize = "512M";

/** In the order they depend on each other. */
const MODULES = [
  ...["crc32c_generic", "crc16", "mbcache", "jbd2", "ext4"],
  ...["virtio_blk", "failover", "net_failover", "virtio_net"],
];
const KERNEL_PACKAGES = { "4k": "linux-image-arm64", "16k": "linux-image-arm64-16k" } as const;

/** The emulator and the programs that make a disk, for this machine, whatever it has installed. */
export class HostPrograms {
  private constructor(private readonly folder: string) {}

  /** Throws what the download throws. */
  static async provide(): Promise<HostPrograms> {
    const folder = `${cache}/host`;
    const archive = DebianArchive.open({ folder, architecture: machineArchitecture() });
    const wanted = ["qemu-system-arm", "e2fsprogs", "xz-utils"];
    const packages = await archive.fetch(wanted, { dependencies: true });
    await unpackOnce(packages, `${folder}/unpacked`);
    return new HostPrograms(`${folder}/unpacked`);
  }

  /** The command of a program: its own loader and libraries, not the machine's. */
  command(program: string): string[] {
    const isArm = process.arch === "arm64";
    const loader = isArm ? "usr/lib/ld-linux-aarch64.so.1" : "usr/lib64/ld-linux-x86-64.so.2";
    const libraries = isArm ? "aarch64-linux-gnu" : "x86_64-linux-gnu";
    const path = ["usr/bin", "usr/sbin"]
      .map((folder) => `${this.folder}/${folder}/${program}`)
      .find((candidate) => existsSync(candidate));
    if (path === undefined) throw new Error(`Debian's packages have no ${program}`);
    return [
      `${this.folder}/${loader}`,
      "--library-path",
      `${this.folder}/usr/lib/${libraries}`,
      path,
    ];
  }

  /** Where the emulator finds what it loads at run time. */
  get emulatorData(): string {
    return `${this.folder}/usr/share/qemu`;
  }
}

/** The kernel with pages of that size, and its initramfs. Throws what the download throws. */
export async function provideKernel(pages: PageSize, programs: HostPrograms): Promise<Kernel> {
  const archive = arm64Archive();
  const name = await archive.nameBehind(KERNEL_PACKAGES[pages]);
  const [kernel = ""] = await archive.fetch([name], { dependencies: false });
  const [busybox = ""] = await archive.fetch(["busybox-static"], { dependencies: false });
  const folder = `${cache}/kernel-${pages}`;
  const modules = MODULES.map((module) => `*/${module}.ko.xz`);
  await unpackOnce([kernel], folder, ["./boot/vmlinuz-*", ...modules]);
  await unpackOnce([busybox], `${cache}/busybox`, ["./usr/bin/busybox"]);
  const vmlinuz = readdirSync(`${folder}/boot`).find((file) => file.startsWith("vmlinuz-"));
  if (vmlinuz === undefined) throw new Error(`${name} holds no vmlinuz`);
  const image = readDockerfile(readFileSync(`${root}/Dockerfile.arm64`, "utf8")).at(-1);
  if (image === undefined) throw new Error("Dockerfile.arm64 has no stage");
  const entries = [
    ...folders("bin", "dev", "proc", "sys", "image", "modules", "www", "www/cgi-bin"),
    fileOf("bin/busybox", readFileSync(`${cache}/busybox/usr/bin/busybox`)),
    ...MODULES.map((module) => moduleEntry(folder, module, programs)),
    fileOf("init", initScript(image)),
    fileOf("start", startScript(image)),
    fileOf("health", healthScript(image)),
    ...Object.entries(CONTROLS).map(([control, text]) => fileOf(`www/cgi-bin/${control}`, text)),
  ];
  const initramfs = `${folder}/initramfs.cpio`;
  writeFileSync(initramfs, cpioArchive(entries));
  return { vmlinuz: `${folder}/boot/${vmlinuz}`, initramfs };
}

/** A new ext4 disk with the files of a folder; whose they are does not matter, all may be read. */
export async function makeDisk(
  disk: string,
  folder: string,
  programs: HostPrograms,
): Promise<void> {
  const format = ["-q", "-t", "ext4", "-d", folder, "-E", "root_owner=0:0"];
  await run([...programs.command("mke2fs"), ...format, disk, diskSize], root);
}

// ---------------------------------------------------------------------------------------------

/** Again only when the packages are others. */
async function unpackOnce(
  packages: readonly string[],
  folder: string,
  patterns: readonly string[] = [],
): Promise<void> {
  const stamp = `${folder}/.packages`;
  const wanted = [...packages, ...patterns].join("\n");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  await unpackPackages(packages, folder, patterns);
  writeFileSync(stamp, wanted);
}

function moduleEntry(folder: string, module: string, programs: HostPrograms): CpioEntry {
  const glob = new Bun.Glob(`**/${module}.ko.xz`);
  const [path = ""] = [...glob.scanSync({ cwd: folder })];
  const unpacked = Bun.spawnSync([...programs.command("xz"), "-dc", `${folder}/${path}`]);
  if (unpacked.exitCode !== 0) throw new Error(`module ${module}: ${unpacked.stderr}`);
  return { path: `modules/${module}.ko`, kind: "file", content: unpacked.stdout };
}

function folders(...paths: string[]): CpioEntry[] {
  return paths.map((path) => ({ path, kind: "folder" }));
}

function fileOf(path: string, content: Uint8Array | string): CpioEntry {
  return { path, kind: "file", content, mode: 0o755 };
}

/** What the image says of its process is what the board runs, with an account to log in with. */
function startScript(image: Stage): string {
  const login = {
    PICLOUD_ADMIN_USERNAME: guestLogin.username,
    PICLOUD_ADMIN_PASSWORD: guestLogin.password,
  };
  const words = [
    ...execWords(lastValue(image, "ENTRYPOINT")),
    ...execWords(lastValue(image, "CMD")),
  ];
  return `#!/bin/busybox sh
mount -t proc proc /image/proc
${insideImage(image, words, login)}
`;
}

/** What a container engine would run every minute. */
function healthScript(image: Stage): string {
  const [, words = ""] = lastValue(image, "HEALTHCHECK")?.match(/CMD (\[.*\])$/) ?? [];
  return `#!/bin/busybox sh\n${insideImage(image, execWords(words))}\n`;
}

/** A command with the image's root, user and environment. */
function insideImage(
  image: Stage,
  [program = "", ...args]: string[],
  env: Record<string, string> = {},
): string {
  const quoted = (text: string): string => `'${text}'`;
  const variables = Object.entries({ ...environmentOf(image), ...env });
  return [
    ...["exec", "env", "-i", ...variables.map(([name, value]) => quoted(`${name}=${value}`))],
    ...["/bin/chroot", "/image", "/bin/busybox", "start-stop-daemon", "-S"],
    ...["-c", lastValue(image, "USER") ?? "0:0", "-x", program, "--", ...args.map(quoted)],
  ].join(" ");
}

/** Process 1 of the guest. Its end is the end of the machine. */
function initScript(image: Stage): string {
  return `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for name in ${MODULES.join(" ")}; do insmod /modules/$name.ko; done
ip link set lo up
ip link set eth0 up
ip addr add ${guestAddress}/24 dev eth0
mount -t ext4 /dev/vda /image
cd /image
mkdir -p proc dev ${lastValue(image, "VOLUME")?.slice(1)}
chown ${lastValue(image, "USER")} .${lastValue(image, "VOLUME")}
mount -t devtmpfs devtmpfs dev
mkdir -p dev/shm
mount -t tmpfs -o mode=1777 tmpfs dev/shm
httpd -p ${guestPorts.control} -h /www
echo "${consoleMarks.starting}" | ts '%.s'
unshare -p -f /start
echo "${consoleMarks.ended} $?"
cd /
umount /image/proc /image/dev/shm /image/dev /image && echo "${consoleMarks.unmounted}"
poweroff -f
`;
}

const cgiHead =
  '#!/bin/busybox sh\nexport PATH=/bin\nprintf "content-type: text/plain\\r\\n\\r\\n"\n';

/** What the guest's web server answers, by name. Each started program costs it some 30 ms. */
const CONTROLS = {
  /** Release of the kernel, page size in kB: a line each. */
  board: `${cgiHead}uname -r
awk '/KernelPageSize/ { print $2; exit }' /proc/self/smaps
`,
  /** A line for each process of PiCloud: its role, its PSS in kB, its CPU time in ticks of 10 ms. */
  tree: `${cgiHead}for pid in $(pidof picloud); do
  role=$(tr '\\0' ' ' </proc/$pid/cmdline | cut -d ' ' -f 2)
  echo "$role $(awk '/^Pss:/ { print $2 }' /proc/$pid/smaps_rollup) \
    $(awk '{ sub(/.*\\) /, ""); print $12 + $13 }' /proc/$pid/stat)"
done
`,
  /** The exit code of the image's health check. */
  health: `${cgiHead}/health >/dev/null 2>&1; echo $?\n`,
  /** Asks PiCloud to stop; the guest powers itself off after it. */
  stop: `${cgiHead}for pid in $(pidof picloud); do
  case "$(tr '\\0' ' ' </proc/$pid/cmdline)" in *" serve"*) kill -TERM $pid;; esac
done
`,
} as const;

export type Control = keyof typeof CONTROLS;
