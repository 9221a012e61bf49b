/** The process's standing among others. */
import { readdirSync } from "node:fs";
import { setPriority } from "node:os";

const lowest = 19;

/**
 * Gives every thread of this process the lowest priority; later ones inherit it, and the disk's
 * scheduler goes by it, too (ioprio(5)). Does nothing where that is not allowed.
 */
export function takeLowestPriority(): void {
  try {
    // On Linux it is a thread's own: the process's number names its first one alone.
    for (const thread of readdirSync("/proc/self/task")) setPriority(Number(thread), lowest);
  } catch {}
}
