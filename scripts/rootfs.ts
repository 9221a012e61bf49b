/**
 * The files of the ARM64 image: the executable, the glibc that it needs, and busybox, because children
 * are started through /bin/sh. Nothing else, so that there is little to update and to attack.
 * Dockerfile.arm64 makes its image of them, and the boards boot the same folder.
 */
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, resolve } from "node:path";
import { build } from "./build.ts";
import { DebianArchive, unpackPackages } from "./debian-archive.ts";
import { installPackages } from "./install.ts";

/** Who PiCloud runs as. A number, because an orchestrator cannot tell that a name is not root. */
export const imageUser = 10001;

/** glibc loads libgcc when a thread ends; gcc-14-base holds its licence. The rest is in libc6. */
const PACKAGES = ["libc6", "libgcc-s1", "gcc-14-base", "busybox-static"];

const libraries = "usr/lib/aarch64-linux-gnu";
/** Without the converters of character sets, 8 MB that nothing here loads. */
const PATTERNS = [
  "./usr/bin/busybox",
  "./usr/lib/ld-linux-aarch64.so.1",
  `./${libraries}/*.so*`,
  "./usr/share/doc/*/copyright",
];

/** What the shell finds by name; busybox does the rest by its first argument. */
const APPLETS = ["sh", "wget"];

const PASSWD = `root:x:0:0::/:/bin/sh\npicloud:x:${imageUser}:${imageUser}::/data:/bin/sh\n`;
const GROUP = `root:x:0:\npicloud:x:${imageUser}:\n`;

const root = resolve(import.meta.dir, "..");

export interface RootfsOptions {
  /** Must not exist, or be empty. */
  folder: string;
  /** Of PiCloud, for ARM64. */
  executable: string;
}

/** Throws when the folder is not empty, or Debian's packages cannot be had. */
export async function assembleRootfs({ folder, executable }: RootfsOptions): Promise<void> {
  if (existsSync(folder) && readdirSync(folder).length > 0) {
    throw new Error(`${folder} is not empty`);
  }
  const packages = await imagePackages();
  mkdirSync(dirname(resolve(folder)), { recursive: true });
  // The image's user is not the one who builds it: a strict umask must not lock the former out.
  const umask = process.umask(0o022);
  const unpacked = mkdtempSync(`${dirname(resolve(folder))}/.unpacked-`);
  try {
    await unpackPackages(packages, unpacked, ["./usr"]);
    for (const pattern of PATTERNS) copyMatches(unpacked, folder, pattern);
    addOwnFiles(folder, executable);
  } finally {
    process.umask(umask);
    rmSync(unpacked, { recursive: true, force: true });
  }
}

/** The files of the packages that the image is made of. Throws when they cannot be had. */
export function imagePackages(): Promise<string[]> {
  return arm64Archive().fetch(PACKAGES, { dependencies: false });
}

/** Debian's packages for ARM64, kept for the next run. */
export function arm64Archive(): DebianArchive {
  return DebianArchive.open({ folder: `${root}/.cache/boards/arm64`, architecture: "arm64" });
}

function addOwnFiles(folder: string, executable: string): void {
  // The kernel looks for the loader in /lib, scripts for the shell in /bin.
  symlinkSync("usr/lib", `${folder}/lib`);
  symlinkSync("usr/bin", `${folder}/bin`);
  for (const applet of APPLETS) symlinkSync("busybox", `${folder}/usr/bin/${applet}`);
  mkdirSync(`${folder}/usr/local/bin`, { recursive: true });
  copyFileSync(executable, `${folder}/usr/local/bin/picloud`);
  chmodSync(`${folder}/usr/local/bin/picloud`, 0o755);
  mkdirSync(`${folder}/etc`);
  writeFileSync(`${folder}/etc/passwd`, PASSWD, { mode: 0o644 });
  writeFileSync(`${folder}/etc/group`, GROUP, { mode: 0o644 });
  mkdirSync(`${folder}/tmp`);
  chmodSync(`${folder}/tmp`, 0o1777);
}

function copyMatches(from: string, to: string, pattern: string): void {
  const relative = pattern.slice("./".length);
  // A link to a file (the loader) is copied as the link it is.
  for (const path of new Bun.Glob(relative).scanSync({ cwd: from, onlyFiles: false })) {
    mkdirSync(dirname(`${to}/${path}`), { recursive: true });
    cpSync(`${from}/${path}`, `${to}/${path}`, { verbatimSymlinks: true });
  }
}

async function main(args: string[]): Promise<void> {
  const [folder, ...rest] = args;
  if (folder === undefined || folder.startsWith("-") || rest.length > 0) {
    console.error("Usage: scripts/rootfs <folder>");
    process.exitCode = 2;
    return;
  }
  await installPackages();
  await assembleRootfs({ folder, executable: await build({ target: "linux-arm64" }) });
}

if (import.meta.main) {
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
