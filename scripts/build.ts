/**
 * Writes dist/picloud, one executable with everything in it: the server, the sandbox, the scan
 * thread, the migrations. `--target linux-arm64` (or `linux-x64`) builds for that machine, from the
 * pinned npm package of its Bun, so that nothing is downloaded from anywhere else. What is up to
 * date is left alone, unless `--force` is given.
 */
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { Glob } from "bun";
import { packageManager, version } from "../package.json";
import { hashFiles, installPackages, readStamp, run } from "./install.ts";

const root = resolve(import.meta.dir, "..");
const bunVersion = packageManager.replace("bun@", "");

/** Target → the npm package that holds Bun for it, and Bun's name of the machine. */
const TARGETS = {
  "linux-x64": { package: "@oven/bun-linux-x64", cpu: "x64" },
  "linux-arm64": { package: "@oven/bun-linux-aarch64", cpu: "arm64" },
} as const;

export type Target = keyof typeof TARGETS;

/** The scan thread is an entry of its own: a worker cannot start from inside a bundle. */
const ENTRIES = ["src/main.ts", "src/storage/sqlite-thread.ts"];

/**
 * Bytecode needs ESM; the executable must not read .env or bunfig.toml (with its preload) from
 * whatever folder it is started in. An inline source map makes stack traces name our own lines. With
 * splitting a role loads the code of that role alone: 2 MB less in the idle server.
 */
const FLAGS = [
  "--compile",
  "--minify",
  "--bytecode",
  "--format=esm",
  "--splitting",
  "--sourcemap=inline",
  "--no-compile-autoload-dotenv",
  "--no-compile-autoload-bunfig",
];

/** What the executable is made of; a change of any of it means a new build. */
const INPUTS = "{src,migrations,dashboard}/**/*";
const INPUT_FILES = ["package.json", "bun.lock", "tsconfig.json", "scripts/build.ts"];

export interface BuildOptions {
  /** Null: this machine. */
  target: Target | null;
  force?: boolean;
}

/** Builds what is not up to date and returns the path of the executable. Throws when it cannot. */
export async function build({ target, force = false }: BuildOptions): Promise<string> {
  const outfile = `${root}/dist/picloud${target === null ? "" : `-${target}`}`;
  const stampFile = `${root}/dist/.stamp${target === null ? "" : `-${target}`}`;
  const stamp = inputsStamp();
  if (!force && existsSync(outfile) && readStamp(stampFile) === stamp) return outfile;
  console.error(`Building PiCloud ${version}${target === null ? "" : ` for ${target}`}`);
  const scratch = `${root}/dist/.building-${process.pid}`;
  mkdirSync(scratch, { recursive: true });
  try {
    const base = target === null ? [] : await crossFlags(target);
    const name = `${scratch}/picloud`;
    await run(
      [
        process.execPath,
        "build",
        ...FLAGS,
        ...base,
        "--outfile",
        name,
        "--root",
        "src",
        ...ENTRIES,
      ],
      root,
    );
    // A running server keeps its own file; the new one takes the name at once.
    renameSync(name, outfile);
    writeFileSync(stampFile, stamp);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  return outfile;
}

/** Fetches the other machine's Bun from npm, once, and names it to the compiler. */
async function crossFlags(target: Target): Promise<string[]> {
  const { package: name, cpu } = TARGETS[target];
  const folder = `${root}/.cache/${target}-${bunVersion}`;
  const executable = `${folder}/node_modules/${name}/bin/bun`;
  if (!existsSync(executable)) {
    console.error(`Fetching ${name} ${bunVersion}`);
    mkdirSync(folder, { recursive: true });
    const manifest = { private: true, dependencies: { [name]: bunVersion } };
    writeFileSync(`${folder}/package.json`, JSON.stringify(manifest));
    await run([process.execPath, "install", "--no-save", `--cpu=${cpu}`, "--os=linux"], folder);
  }
  return [`--target=bun-${target}`, `--compile-executable-path=${executable}`];
}

function inputsStamp(): string {
  const inputs = [...new Glob(INPUTS).scanSync({ cwd: root, onlyFiles: true })];
  return hashFiles([...inputs, ...INPUT_FILES].map((path) => `${root}/${path}`));
}

async function main(args: string[]): Promise<void> {
  const rest = args.filter((arg) => arg !== "--force");
  const [flag, name = "", ...more] = rest.flatMap((arg) => arg.split("="));
  const isTarget = (text: string): text is Target => text in TARGETS;
  const isGood = flag === undefined || (flag === "--target" && isTarget(name) && more.length === 0);
  if (!isGood) {
    const targets = Object.keys(TARGETS).join("|");
    console.error(`Usage: scripts/build [--target ${targets}] [--force]`);
    process.exitCode = 2;
    return;
  }
  await installPackages();
  const target = isTarget(name) ? name : null;
  console.log(await build({ target, force: args.includes("--force") }));
}

if (import.meta.main) {
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
