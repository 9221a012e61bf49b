/**
 * Gets the programs that tests need from Debian. As root, or with sudo, they are installed; anybody
 * else gets the packages unpacked into .cache/debian, which is enough for an emulator and its
 * libraries. Says what it does.
 */
import { existsSync, mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { run } from "./install.ts";

export const root = resolve(import.meta.dir, "..");
/** Where packages are unpacked that cannot be installed. */
export const unpacked = `${root}/.cache/debian`;

/** A program that is there, or why it is not. */
export type Provided = { path: string } | { missing: string };

/** Finds a program, else installs its package and looks again. */
export async function provideProgram(program: string, packageName: string): Promise<Provided> {
  const local = `${unpacked}/usr/bin/${program}`;
  const find = (): string | null => Bun.which(program) ?? (existsSync(local) ? local : null);
  const problem = find() === null ? await installPackage(packageName) : null;
  const path = find();
  if (path !== null) return { path };
  return { missing: problem ?? `package ${packageName} has no program ${program}` };
}

/** The folder that the emulator of ARM64 takes for the root of its libraries. */
export async function provideArm64Libraries(): Promise<Provided> {
  const folder = "/usr/aarch64-linux-gnu";
  const loader = "lib/ld-linux-aarch64.so.1";
  const find = (): string | undefined =>
    [folder, unpacked + folder].find((candidate) => existsSync(`${candidate}/${loader}`));
  const problem = find() === undefined ? await installPackage("libc6-arm64-cross") : null;
  const path = find();
  return path === undefined
    ? { missing: problem ?? `no ${loader} in libc6-arm64-cross` }
    : { path };
}

/** Null when it is there; else why it cannot be. */
async function installPackage(name: string): Promise<string | null> {
  if (Bun.which("apt-get") === null) return `${name} is not installed, and there is no apt-get`;
  const administrator = await administratorPrefix();
  try {
    if (administrator === null) {
      console.error(`Unpacking Debian's ${name} into .cache/debian`);
      await unpack(name);
    } else {
      console.error(`Installing Debian's ${name}`);
      const install = ["apt-get", "install", "--yes", "--no-install-recommends", name];
      await withFreshLists(administrator, [...administrator, ...install]);
    }
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** What to put before a command that needs root; null when root cannot be had without a question. */
export async function administratorPrefix(): Promise<string[] | null> {
  const environment = ["env", "DEBIAN_FRONTEND=noninteractive"];
  if (process.getuid?.() === 0) return environment;
  if (Bun.which("sudo") === null) return null;
  const asked = Bun.spawnSync(["sudo", "--non-interactive", "true"], { stderr: "ignore" });
  return asked.exitCode === 0 ? ["sudo", "--non-interactive", ...environment] : null;
}

/** A fresh system has no package lists: fetch them when the first try fails. */
export async function withFreshLists(administrator: string[], command: string[]): Promise<void> {
  try {
    await run(command, root);
  } catch {
    await run([...administrator, "apt-get", "update"], root);
    await run(command, root);
  }
}

/** Downloads a package into .cache/debian and unpacks it there, without what it depends on. */
export async function unpack(name: string): Promise<void> {
  const folder = `${unpacked}/packages`;
  mkdirSync(folder, { recursive: true });
  await run(["apt-get", "download", name], folder);
  const archives = [...new Bun.Glob(`${name}_*.deb`).scanSync({ cwd: folder })];
  for (const archive of archives) await run(["dpkg", "-x", `${folder}/${archive}`, unpacked], root);
}
