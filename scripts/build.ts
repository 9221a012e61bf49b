/**
 * Writes dist/picloud, one executable with everything in it (the server, the sandbox, the scan thread,
 * the migrations, the command line), and dist/pic, the command line alone. A name builds that one only;
 * `--target linux-arm64` builds for that machine, from the pinned npm package of its Bun, so that
 * nothing is downloaded from anywhere else. What is up to date is left alone, unless `--force` is given.
 */
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { Glob } from "bun";
import { packageManager, version } from "../package.json";
import { hashFiles, installPackages, readStamp, run } from "./install.ts";

const root = resolve(import.meta.dir, "..");
const bunVersion = packageManager.replace("bun@", "");

/** Target → the npm package that holds Bun for it, and what npm calls the machine. */
const TARGETS = {
  "linux-x64": { package: "@oven/bun-linux-x64", cpu: "x64", os: "linux" },
  "linux-arm64": { package: "@oven/bun-linux-aarch64", cpu: "arm64", os: "linux" },
  "darwin-arm64": { package: "@oven/bun-darwin-aarch64", cpu: "arm64", os: "darwin" },
  "windows-x64": { package: "@oven/bun-windows-x64", cpu: "x64", os: "win32" },
} as const;

export type Target = keyof typeof TARGETS;

const linux: readonly Target[] = ["linux-x64", "linux-arm64"];

/** The scan thread is an entry of its own: a worker cannot start from inside a bundle. */
const PROGRAMS = {
  picloud: { entries: ["src/main.ts", "src/storage/sqlite-thread.ts"], targets: linux },
  pic: { entries: ["src/pic.ts"], targets: [...linux, "darwin-arm64", "windows-x64"] },
} as const satisfies Record<string, { entries: readonly string[]; targets: readonly Target[] }>;

export type Program = keyof typeof PROGRAMS;

/**
 * Bytecode needs ESM; the executable must not read .env or bunfig.toml (with its preload) from
 * whatever folder it is started in. An inline source map makes stack traces name our own lines. With
 * splitting a role loads the code of that role alone: 2 MB less in the idle server.
 */
export const COMPILE_FLAGS = [
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
const INPUT_FILES = [
  "docs/manifest.schema.json",
  "package.json",
  "bun.lock",
  "tsconfig.json",
  "scripts/build.ts",
];

export interface BuildOptions {
  /** Absent: the server. */
  program?: Program;
  /** Null: this machine. */
  target: Target | null;
  force?: boolean;
}

/** Builds what is not up to date and returns the path of the executable. Throws when it cannot. */
export async function build(options: BuildOptions): Promise<string> {
  const { program = "picloud", target, force = false } = options;
  const name = `${program}${target === null ? "" : `-${target}`}`;
  const suffix = target === "windows-x64" ? ".exe" : "";
  const outfile = `${root}/dist/${name}${suffix}`;
  const stampFile = `${root}/dist/.stamp-${name}`;
  const stamp = inputsStamp();
  if (!force && existsSync(outfile) && readStamp(stampFile) === stamp) return outfile;
  console.error(`Building ${program} ${version}${target === null ? "" : ` for ${target}`}`);
  const scratch = `${root}/dist/.building-${process.pid}`;
  mkdirSync(scratch, { recursive: true });
  try {
    const base = target === null ? [] : await crossFlags(target);
    const built = `${scratch}/${name}${suffix}`;
    const out = ["--outfile", built, "--root", "src", ...PROGRAMS[program].entries];
    await run([process.execPath, "build", ...COMPILE_FLAGS, ...base, ...out], root);
    // A running server keeps its own file; the new one takes the name at once.
    renameSync(built, outfile);
    writeFileSync(stampFile, stamp);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  return outfile;
}

/** Fetches the other machine's Bun from npm, once, and names it to the compiler. */
async function crossFlags(target: Target): Promise<string[]> {
  const { package: name, cpu, os } = TARGETS[target];
  const folder = `${root}/.cache/${target}-${bunVersion}`;
  const executable = `${folder}/node_modules/${name}/bin/bun${os === "win32" ? ".exe" : ""}`;
  if (!existsSync(executable)) {
    console.error(`Fetching ${name} ${bunVersion}`);
    mkdirSync(folder, { recursive: true });
    const manifest = { private: true, dependencies: { [name]: bunVersion } };
    writeFileSync(`${folder}/package.json`, JSON.stringify(manifest));
    await run([process.execPath, "install", "--no-save", `--cpu=${cpu}`, `--os=${os}`], folder);
  }
  if (!existsSync(executable)) {
    throw new Error(
      `${name} ${bunVersion} cannot be had: without it nothing is built for ${target}`,
    );
  }
  return [`--target=bun-${target}`, `--compile-executable-path=${executable}`];
}

function inputsStamp(): string {
  const inputs = [...new Glob(INPUTS).scanSync({ cwd: root, onlyFiles: true })];
  return hashFiles([...inputs, ...INPUT_FILES].map((path) => `${root}/${path}`));
}

/** What the command line asks for, or null when it is wrong. */
function read(args: readonly string[]): { programs: Program[]; target: Target | null } | null {
  const isTarget = (text: string): text is Target => text in TARGETS;
  const isProgram = (text: string): text is Program => text in PROGRAMS;
  const programs: Program[] = [];
  let target: Target | null = null;
  for (const words = args.flatMap((arg) => arg.split("=")); words.length > 0; ) {
    const word = words.shift() as string;
    const value = word === "--target" ? words.shift() : undefined;
    if (value !== undefined && isTarget(value) && target === null) target = value;
    else if (isProgram(word)) programs.push(word);
    else return null;
  }
  const isMade = (program: Program): boolean => {
    const targets: readonly Target[] = PROGRAMS[program].targets;
    return target === null || targets.includes(target);
  };
  const all = (Object.keys(PROGRAMS) as Program[]).filter(isMade);
  if (!programs.every(isMade)) return null;
  return { programs: programs.length > 0 ? programs : all, target };
}

async function main(args: string[]): Promise<void> {
  const wanted = read(args.filter((arg) => arg !== "--force"));
  if (wanted === null) {
    const targets = Object.entries(PROGRAMS).map(
      ([name, program]) => `  ${name}: ${program.targets.join("|")}`,
    );
    console.error("Usage: scripts/build [picloud] [pic] [--target <machine>] [--force]");
    console.error(["Machines:", ...targets].join("\n"));
    process.exitCode = 2;
    return;
  }
  await installPackages();
  for (const program of wanted.programs) {
    console.log(await build({ program, target: wanted.target, force: args.includes("--force") }));
  }
}

if (import.meta.main) {
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
