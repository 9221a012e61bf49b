/**
 * How quickly the command line starts: against a compiled program that does nothing, which is what Bun
 * itself takes. The programs run by turns, so that a busy moment of the machine meets all of them.
 */
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { COMPILE_FLAGS } from "../scripts/build.ts";
import { fixed, median, type Row } from "./table.ts";

const dist = resolve(import.meta.dir, "../dist");
const ratioMax = 2;

export function picRows(rounds: number): Row[] {
  const folder = mkdtempSync(join(tmpdir(), "picloud-bench-pic-"));
  try {
    const pic = `${dist}/pic`;
    if (!existsSync(pic)) throw new Error("Build first: ./scripts/build pic");
    const empty = compileEmpty(folder);
    const commands: Record<string, string[]> = {
      empty: [empty],
      version: [pic, "--version"],
      help: [pic, "--help"],
      command: [pic, "servers", "ls"],
      role: [`${dist}/picloud`, "pic", "servers", "ls"],
    };
    if (!existsSync(`${dist}/picloud`)) delete commands.role;
    const times = measure(commands, { rounds, home: folder });
    const floor = median(times.empty ?? []);
    const row = (what: string, name: string, target: number | null): Row => {
      const ratio = median(times[name] ?? []) / floor;
      return {
        what,
        target: target === null ? "" : `<= ${target} x an empty program`,
        measured: `${fixed(median(times[name] ?? []), 1)} ms (${fixed(ratio)} x)`,
        reached: target === null ? null : ratio <= target,
        detail: `least ${fixed(Math.min(...(times[name] ?? [])), 1)} ms of ${rounds}; an empty program ${fixed(floor, 1)} ms, least ${fixed(Math.min(...(times.empty ?? [])), 1)} ms`,
      };
    };
    return [
      row("pic --version", "version", ratioMax),
      row("pic --help: the whole tree of commands", "help", null),
      row("pic servers ls: a command without a request", "command", null),
      ...(commands.role === undefined ? [] : [row("the same as picloud pic", "role", null)]),
      sizeRow(pic, empty),
    ];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function compileEmpty(folder: string): string {
  const source = join(folder, "empty.ts");
  const program = join(folder, "empty");
  writeFileSync(source, "export {};\n");
  const command = [process.execPath, "build", ...COMPILE_FLAGS, "--outfile", program, source];
  const { exitCode, stderr } = Bun.spawnSync(command, { cwd: folder });
  if (exitCode !== 0) throw new Error(`The empty program cannot be built: ${stderr}`);
  return program;
}

/** Milliseconds from the start to the end of each run. */
function measure(
  commands: Record<string, string[]>,
  { rounds, home }: { rounds: number; home: string },
): Record<string, number[]> {
  const times: Record<string, number[]> = {};
  // The first run reads the file from the disk.
  for (let round = -1; round < rounds; round += 1) {
    for (const [name, command] of Object.entries(commands)) {
      const startedAt = performance.now();
      const { exitCode } = Bun.spawnSync(command, {
        cwd: home,
        env: { HOME: home },
        stdio: ["ignore", "ignore", "ignore"],
      });
      const took = performance.now() - startedAt;
      if (exitCode !== 0) throw new Error(`${command.join(" ")} ended with ${exitCode}`);
      if (round >= 0) times[name] = [...(times[name] ?? []), took];
    }
  }
  return times;
}

function sizeRow(pic: string, empty: string): Row {
  const mb = (path: string): number => statSync(path).size / 1e6;
  return {
    what: "size of pic",
    target: "",
    measured: `${fixed(mb(pic), 1)} MB`,
    reached: null,
    detail: `an empty program ${fixed(mb(empty), 1)} MB`,
  };
}
