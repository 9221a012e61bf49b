/**
 * Boots the ARM64 executable on emulated boards: the processors and memories of the Raspberry Pis, on
 * Debian's own kernels with 4 KiB and 16 KiB pages. On each: a script is deployed, called and called
 * again after the plug was pulled in the middle of writes; nothing acknowledged may be gone, the idle
 * server must fit its memory budget, and the machine must go off cleanly. Each board has a time of its
 * own; an emulator takes one core, and the guest's clock does not depend on how fast that is.
 * Called by `scripts/test --boards`; not part of the usual run.
 */
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { type BoardReport, drillBoard } from "./boards-drill.ts";
import { HostPrograms, makeDisk, type PageSize, provideKernel } from "./boards-guest.ts";
import type { Board } from "./boards-machine.ts";
import { build } from "./build.ts";
import { assembleRootfs } from "./rootfs.ts";

interface BootedBoard extends Board {
  /** Of the kernel that the board's own system boots. The A53 and the A72 know no pages of 16 KiB. */
  readonly pages: PageSize;
}

const BOARDS: readonly BootedBoard[] = [
  { name: "Pi Zero 2 W", cpu: "cortex-a53", memoryMb: 512, pages: "4k" },
  { name: "Pi 4", cpu: "cortex-a72", memoryMb: 1024, pages: "4k" },
  { name: "Pi 5", cpu: "cortex-a76", memoryMb: 1024, pages: "16k" },
];

const root = resolve(import.meta.dir, "..");
/** A board that hangs is given up after this. */
const boardMsMax = 6 * 60_000;

export interface BoardsOutcome {
  passed: number;
  failed: number;
  /** What was measured, a row for each board. */
  table: string;
  /** The consoles of the boards that failed. */
  output: string;
}

/** `executable` null: built first. Throws when something that is needed cannot be had. */
export async function runBoards(executable: string | null): Promise<BoardsOutcome> {
  const programs = await HostPrograms.provide();
  const cache = `${root}/.cache/boards`;
  mkdirSync(cache, { recursive: true });
  const scratch = mkdtempSync(`${cache}/run-`);
  try {
    const picloud = executable ?? (await build({ target: "linux-arm64" }));
    await assembleRootfs({ folder: `${scratch}/rootfs`, executable: picloud });
    const blank = `${scratch}/blank.img`;
    await makeDisk(blank, `${scratch}/rootfs`, programs);
    const kernels = {
      "4k": await provideKernel("4k", programs),
      "16k": await provideKernel("16k", programs),
    };
    const reports = await eachBoard(async ({ pages, ...board }) => {
      const disk = `${scratch}/${board.cpu}.img`;
      copyFileSync(blank, disk);
      const report = await drillBoard(
        { board, kernel: kernels[pages], disk, programs },
        boardMsMax,
      );
      console.log(`${board.name.padEnd(12)} ${report.seconds.padStart(4)} s  ${report.result}`);
      return report;
    });
    const failed = reports.filter(({ isGood }) => !isGood);
    const consoles = failed.map(({ name, console: text }) => `--- console of ${name}\n${text}`);
    return {
      passed: reports.length - failed.length,
      failed: failed.length,
      table: table(reports),
      output: consoles.join("\n"),
    };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** As many at a time as leave half of the machine to others; the reports in the boards' order. */
async function eachBoard(drive: (board: BootedBoard) => Promise<BoardReport>) {
  const reports: BoardReport[] = [];
  const waiting = [...BOARDS.entries()];
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [index, board] = next;
      reports[index] = await drive(board);
    }
  };
  const atOnce = Math.max(1, Math.floor(availableParallelism() / 2));
  await Promise.all(Array.from({ length: atOnce }, work));
  return reports;
}

function table(reports: readonly BoardReport[]): string {
  const head = [
    ...["board", "processor", "memory", "kernel", "pages"],
    ...["start to READY", "first 200", "idle PSS", "result"],
  ];
  const rows = reports.map((report) => [
    ...[report.name, report.cpu, report.memory, report.kernel, report.pages],
    ...[report.ready, report.firstAnswer, report.idle, report.result],
  ]);
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

if (import.meta.main) {
  const { failed, table: rows, output } = await runBoards(process.argv[2] ?? null);
  console.log(`${rows}\n${output}`);
  process.exitCode = failed > 0 ? 1 : 0;
}
