/**
 * Runs every check, as stages that are timed and bounded, installs what they need, and ends with the
 * line `N passed, N failed`. A stage without tests of its own (format, types) counts as one check.
 * Output of a stage is shown when it fails. `--only <stage>` runs one, `--long` adds the soaks,
 * `--boards` runs the emulated boards alone.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Glob } from "bun";
import { runBoards } from "./boards.ts";
import { build } from "./build.ts";
import { provideArm64Libraries, provideProgram } from "./debian.ts";
import { installPackages } from "./install.ts";
import { postgresEnvironment, providePostgres } from "./postgres.ts";
import { imagePackages } from "./rootfs.ts";

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

interface Outcome extends Counts {
  /** Shown when something failed. */
  output: string;
  /** Why the stage did not run. */
  reason?: string;
}

interface Stage {
  name: string;
  minutesMax: number;
  run: (msMax: number) => Promise<Outcome>;
  /** Runs only with --long, or when it is named. */
  isLong?: boolean;
  /** Runs only when it is named. */
  isApart?: boolean;
}

const root = resolve(import.meta.dir, "..");
const bun = process.execPath;
/** One test may take this long; hostile scripts have deadlines of their own below it. */
const testMsMax = 60_000;

/** How much of a failed stage's output is shown, from its end. */
const outputCharsMax = 40_000;

/** Folders whose tests have a stage of their own. */
const OWN_STAGE = ["test/e2e/", "test/browser/", "test/arm64/", "test/soak/"];

/**
 * End to end on PostgreSQL: what is about PostgreSQL, and of the rest what depends on the engine. Left
 * out are hostile scripts, which never get as far, commands without a database, and what is about the
 * data folder and its disk.
 */
const ONLY_POSTGRES = /^test\/e2e\/postgres(-\w+)?\.test\.ts$/;
const BOTH_ENGINES =
  "concurrency crash durability lifecycle listeners modules operations reset-password set-role";

const STAGES: readonly Stage[] = [
  {
    name: "lint",
    minutesMax: 2,
    run: (ms) => check([bun, "x", "biome", "ci", "--colors=off", "."], ms),
  },
  { name: "types", minutesMax: 3, run: (ms) => check([bun, "x", "tsc", "--noEmit"], ms) },
  { name: "style", minutesMax: 2, run: (ms) => tests(["test/style.test.ts"], ms) },
  { name: "unit", minutesMax: 15, run: unit },
  { name: "build", minutesMax: 2, run: () => building() },
  { name: "e2e", minutesMax: 10, run: (ms) => withPostgres(e2eFiles(), ms) },
  { name: "postgres", minutesMax: 12, run: onPostgres },
  { name: "browser", minutesMax: 4, run: browser },
  { name: "arm64", minutesMax: 5, run: arm64 },
  { name: "soak", minutesMax: 60, run: (ms) => tests(filesUnder("test/soak"), ms), isLong: true },
  { name: "boards", minutesMax: 20, run: () => boards(), isApart: true },
];

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  const isLong = args.includes("--long");
  // Suites with a long form ask for this.
  if (isLong) process.env.PICLOUD_LONG = "1";
  const [flag, only, ...rest] = args
    .filter((arg) => arg !== "--long")
    .flatMap((arg) => (arg === "--boards" ? ["--only", "boards"] : arg.split("=")));
  const chosen = STAGES.filter((stage) =>
    only === undefined
      ? stage.isApart !== true && (isLong || stage.isLong !== true)
      : stage.name === only,
  );
  if ((flag !== undefined && flag !== "--only") || rest.length > 0 || chosen.length === 0) {
    console.error("Usage: scripts/test [--only <stage>] [--long] [--boards]");
    console.error(`Stages: ${STAGES.map(({ name }) => name).join(", ")}`);
    return 2;
  }
  const began = performance.now();
  const total: Counts = { passed: 0, failed: 0, skipped: 0 };
  await installPackages();
  console.log(
    `Bun ${Bun.version}, ${availableParallelism()} cores, ${process.getuid?.() === 0 ? "root" : "not root"}`,
  );
  for (const stage of chosen) {
    const outcome = await timed(stage);
    total.passed += outcome.passed;
    total.failed += outcome.failed;
    total.skipped += outcome.skipped;
  }
  console.log(`${seconds(began)} in all${total.skipped > 0 ? `, ${total.skipped} skipped` : ""}`);
  console.log(`${total.passed} passed, ${total.failed} failed`);
  return total.failed > 0 ? 1 : 0;
}

async function timed(stage: Stage): Promise<Outcome> {
  const began = performance.now();
  let outcome: Outcome;
  try {
    outcome = await stage.run(stage.minutesMax * 60_000);
  } catch (error) {
    const output = error instanceof Error ? (error.stack ?? error.message) : String(error);
    outcome = { passed: 0, failed: 1, skipped: 0, output };
  }
  const { passed, failed, skipped, reason } = outcome;
  const parts = [
    stage.name.padEnd(8),
    seconds(began).padStart(8),
    `  ${passed} passed, ${failed} failed`,
    skipped > 0 ? `, ${skipped} skipped` : "",
    reason === undefined ? "" : ` (${reason})`,
  ];
  if (failed > 0) console.log(outcome.output.slice(-outputCharsMax));
  console.log(parts.join(""));
  return outcome;
}

// ---------------------------------------------------------------------------------------------
// stages

async function building(): Promise<Outcome> {
  await build({ target: null });
  return { passed: 1, failed: 0, skipped: 0, output: "" };
}

/** Tests that start a PostgreSQL; where none can be had they skip themselves, and the stage says why. */
async function withPostgres(files: string[], msMax: number): Promise<Outcome> {
  const provided = await providePostgres();
  const outcome = await tests(files, msMax, postgresEnvironment(provided));
  return "missing" in provided ? { ...outcome, ...withoutPostgres(provided) } : outcome;
}

function withoutPostgres({ missing }: { missing: string }): Pick<Outcome, "reason"> {
  return { reason: `no PostgreSQL: ${missing}` };
}

/**
 * The stores' tests beside the others: they wait for PostgreSQL's disk most of the time. Then, alone, the
 * sandbox's, which tell a slow script by the clock.
 */
async function unit(msMax: number): Promise<Outcome> {
  const end = performance.now() + msMax;
  const provided = await providePostgres();
  const env = postgresEnvironment(provided);
  const under = (file: string, folder: string): boolean => file.startsWith(`test/${folder}/`);
  const files = Map.groupBy(unitFiles(), (file) =>
    under(file, "storage") ? "stores" : under(file, "sandbox") ? "sandbox" : "others",
  );
  const run = (group: "stores" | "sandbox" | "others"): Promise<Outcome> =>
    tests(files.get(group) ?? [], Math.max(1, end - performance.now()), env);
  const outcomes = [...(await Promise.all([run("stores"), run("others")])), await run("sandbox")];
  const sum = (of: (outcome: Outcome) => number): number =>
    outcomes.reduce((total, outcome) => total + of(outcome), 0);
  const outcome = {
    passed: sum(({ passed }) => passed),
    failed: sum(({ failed }) => failed),
    skipped: sum(({ skipped }) => skipped),
    output: outcomes.map(({ output }) => output).join("\n"),
  };
  return "missing" in provided ? { ...outcome, ...withoutPostgres(provided) } : outcome;
}

async function onPostgres(msMax: number): Promise<Outcome> {
  const provided = await providePostgres();
  if ("missing" in provided) return skip(provided.missing);
  const both = BOTH_ENGINES.split(" ").map((name) => `test/e2e/${name}.test.ts`);
  const files = [...both, ...filesUnder("test/e2e").filter((file) => ONLY_POSTGRES.test(file))];
  const env = { ...postgresEnvironment(provided), PICLOUD_TEST_ENGINE: "postgres" };
  return tests(files, msMax, env);
}

async function browser(msMax: number): Promise<Outcome> {
  const files = filesUnder("test/browser");
  if (files.length === 0) return skip("there is no page to test yet");
  const chromium = await provideProgram("chromium", "chromium");
  if ("missing" in chromium) return skip(chromium.missing);
  return tests(files, msMax, { PICLOUD_TEST_CHROMIUM: chromium.path });
}

/** The ARM64 executable answers a script over HTTP, under an emulator where the machine is another. */
async function arm64(msMax: number): Promise<Outcome> {
  const executable = await build({ target: "linux-arm64" });
  const env = { PICLOUD_TEST_ARM64: executable };
  if (process.arch === "arm64") return tests(filesUnder("test/arm64"), msMax, env);
  const emulator = await provideProgram("qemu-aarch64", "qemu-user");
  if ("missing" in emulator) return skip(emulator.missing);
  const libraries = await provideArm64Libraries();
  if ("missing" in libraries) return skip(libraries.missing);
  const runner = `${emulator.path} -L ${libraries.path}`;
  const image = await imageEnvironment();
  const added = { ...env, ...image, PICLOUD_TEST_RUNNER: runner };
  return tests(filesUnder("test/arm64"), msMax, added);
}

/** What tells the tests that the image's files can be put together here. */
async function imageEnvironment(): Promise<Record<string, string>> {
  try {
    await imagePackages();
    return { PICLOUD_TEST_IMAGE: "1" };
  } catch (error) {
    console.error(`The image is not tested: ${error instanceof Error ? error.message : error}`);
    return {};
  }
}

/** The executable on emulated Raspberry Pis; its table is what one runs it for. */
async function boards(): Promise<Outcome> {
  const { passed, failed, table, output } = await runBoards(null);
  console.log(table);
  return { passed, failed, skipped: 0, output };
}

function skip(reason: string): Outcome {
  return { passed: 0, failed: 0, skipped: 1, output: "", reason: `skipped: ${reason}` };
}

function unitFiles(): string[] {
  return filesUnder("test").filter(
    (file) => file !== "test/style.test.ts" && !OWN_STAGE.some((folder) => file.startsWith(folder)),
  );
}

function e2eFiles(): string[] {
  return filesUnder("test/e2e").filter((file) => !ONLY_POSTGRES.test(file));
}

function filesUnder(folder: string): string[] {
  if (!existsSync(`${root}/${folder}`)) return [];
  return [...new Glob(`${folder}/**/*.test.{ts,tsx}`).scanSync({ cwd: root })].sort();
}

// ---------------------------------------------------------------------------------------------
// running

/** A command that counts as one check. */
async function check(command: string[], msMax: number): Promise<Outcome> {
  const { code, output } = await execute(command, msMax, {});
  const failed = code === 0 ? 0 : 1;
  return { passed: 1 - failed, failed, skipped: 0, output };
}

/**
 * Test files (paths from the root, or absolute) in one process; the counts come from its report,
 * not from its text.
 */
export async function tests(
  files: string[],
  msMax: number,
  env: Record<string, string> = {},
): Promise<Outcome> {
  if (files.length === 0) return skip("there are no such tests");
  const scratch = mkdtempSync(join(tmpdir(), "picloud-report-"));
  const report = `${scratch}/report.xml`;
  const flags = [`--timeout=${testMsMax}`, "--reporter=junit", `--reporter-outfile=${report}`];
  try {
    const { code, output } = await execute(
      [bun, "test", ...flags, ...files.map(asPath)],
      msMax,
      env,
    );
    const counts = readCounts(report);
    // A process that ended badly without a failed test is a failure all the same.
    if (code !== 0 && counts.failed === 0) counts.failed = 1;
    return { ...counts, output: onlyFailures(output) };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** With a slash in front, so that Bun takes it for a file and not for a pattern. */
function asPath(file: string): string {
  return file.startsWith("/") ? file : `./${file}`;
}

async function execute(command: string[], msMax: number, env: Record<string, string>) {
  const child = Bun.spawn(command, {
    cwd: root,
    env: { ...process.env, ...env, BUN_FEATURE_FLAG_NO_ORPHANS: "1", NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let isOverdue = false;
  const overdue = setTimeout(() => {
    isOverdue = true;
    child.kill("SIGKILL");
  }, msMax);
  const [printed, complained, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  clearTimeout(overdue);
  const late = isOverdue ? `\nended after ${msMax / 60_000} minutes, its bound\n` : "";
  return { code: isOverdue ? 1 : code, output: printed + complained + late };
}

/** The totals of a JUnit report: attributes of its outermost element. */
function readCounts(report: string): Counts {
  const [head = ""] = existsSync(report)
    ? (readFileSync(report, "utf8").match(/<testsuites[^>]*>/) ?? [])
    : [];
  const count = (name: string): number =>
    Number(head.match(new RegExp(` ${name}="(\\d+)"`))?.[1] ?? 0);
  const failed = count("failures") + count("errors");
  const skipped = count("skipped");
  return { passed: count("tests") - failed - skipped, failed, skipped };
}

function onlyFailures(output: string): string {
  return output
    .split("\n")
    .filter((line) => !line.startsWith("(pass)"))
    .join("\n");
}

function seconds(began: number): string {
  return `${((performance.now() - began) / 1_000).toFixed(1)} s`;
}
