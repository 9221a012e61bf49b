/** Installs the packages of bun.lock when they are not there yet; silent when there is nothing to do. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";

const root = resolve(import.meta.dir, "..");
const stampFile = `${root}/node_modules/.picloud-stamp`;

/** Throws when the packages cannot be fetched. */
export async function installPackages(): Promise<void> {
  const stamp = hashFiles([`${root}/package.json`, `${root}/bun.lock`]);
  if (readStamp(stampFile) === stamp) return;
  console.error("Installing packages");
  rmSync(stampFile, { force: true });
  await run([process.execPath, "install", "--frozen-lockfile", "--no-progress"], root);
  writeFileSync(stampFile, stamp);
}

/** Runs a command to its end with its output on our standard error. Throws when it fails. */
export async function run(command: string[], cwd: string): Promise<void> {
  const child = Bun.spawn(command, { cwd, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [output, errors, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code === 0) return;
  throw new Error(`${command.join(" ")} failed with ${code}\n${output}${errors}`);
}

/** One hash of the paths and contents of files, whatever their order. */
export function hashFiles(paths: readonly string[]): string {
  const hasher = new Bun.CryptoHasher("sha256");
  for (const path of [...paths].sort()) {
    hasher.update(path.slice(root.length));
    hasher.update("\0");
    hasher.update(readFileSync(path));
    hasher.update("\0");
  }
  return hasher.digest("hex");
}

/** The text of a stamp file, "" when there is none. */
export function readStamp(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
