/** How far a long command is: one line on a terminal that is written over, nothing anywhere else. */
import { backupProgressMs } from "../domain/limits.ts";

export interface ProgressLine {
  show(text: string): void;
  /** Takes the line away. */
  clear(): void;
}

export function createProgressLine(options: {
  isTerminal: boolean;
  write: (text: string) => void;
  monotonic: () => number;
}): ProgressLine {
  let shownAt = -Infinity;
  let isShown = false;
  const erase = "\r\x1b[K";
  return {
    show(text) {
      const now = options.monotonic();
      if (!options.isTerminal || now - shownAt < backupProgressMs) return;
      shownAt = now;
      isShown = true;
      options.write(`${erase}${text}`);
    },
    clear() {
      if (isShown) options.write(erase);
      isShown = false;
    },
  };
}

/** "1,234 rows". */
export function counted(count: number, noun: string): string {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

/** Megabytes as people read them: 12.3 MB. */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
