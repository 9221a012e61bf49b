/**
 * The shared cell (protocol.ts) as the parent sees it: 64 bytes in a file that both processes map
 * and that has no name any more once both have. It lies in memory where the system offers that: a
 * card is not worn by the start of a child.
 */
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { childReadyMsMax } from "../domain/limits.ts";
import { CELL_BYTES, CELL_CPU_MS, CELL_ENTERED, CELL_ENTRIES, CELL_RUNNING } from "./protocol.ts";

const MEMORY_FOLDER = "/dev/shm";
const FOLDER_PATTERN = /^picloud-cell-\d+-\w{6}$/;
const STALE_MS = 12 * childReadyMsMax;

export interface Cell {
  /** For the child's command line; of no use after `unlink`. */
  readonly path: string;
  /** The execution whose guest code runs now; 0 when none does. */
  running(): number;
  /** Entries into guest code so far. */
  entries(): number;
  /** CPU that the running execution had used before this entry, milliseconds. */
  cpuMs(): number;
  /** The newest execution has entered guest code. */
  entered(): boolean;
  /** Takes the file's name away; both maps stay. May be called twice. */
  unlink(): void;
}

/** Throws what the file system throws when neither folder can be written. */
export function createCell(): Cell {
  const folder = makeFolder();
  const path = join(folder, "cell");
  const file = openSync(path, "wx", 0o600);
  writeSync(file, new Uint8Array(CELL_BYTES));
  closeSync(file);
  const bytes = Bun.mmap(path, { shared: true });
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, CELL_BYTES / 4);
  return {
    path,
    running: () => Atomics.load(words, CELL_RUNNING) >>> 0,
    entries: () => Atomics.load(words, CELL_ENTRIES),
    cpuMs: () => Math.max(0, Atomics.load(words, CELL_CPU_MS)),
    entered: () => (Atomics.load(words, CELL_ENTERED) & 1) === 1,
    unlink: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** Removes what processes left behind that were killed while a child of theirs was starting. */
export function sweepCells(): void {
  for (const parent of [MEMORY_FOLDER, tmpdir()]) {
    try {
      for (const name of readdirSync(parent)) {
        if (!FOLDER_PATTERN.test(name)) continue;
        const folder = join(parent, name);
        // Nobody's child takes this long to start, in whatever container its parent is.
        const isOld = Date.now() - statSync(folder).mtimeMs > STALE_MS;
        if (isOld) rmSync(folder, { recursive: true, force: true });
      }
    } catch {
      // Another's, or gone meanwhile: 64 bytes are not worth a failed start.
    }
  }
}

function makeFolder(): string {
  const prefix = `picloud-cell-${process.pid}-`;
  try {
    return mkdtempSync(join(MEMORY_FOLDER, prefix));
  } catch {
    return mkdtempSync(join(tmpdir(), prefix));
  }
}
