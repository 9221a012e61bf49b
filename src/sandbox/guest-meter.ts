/**
 * CPU of one entry into guest code, asked often and cheap to ask. Wall time stands for CPU until an
 * entry is long; from then on the system is asked, so that a busy machine, which runs others in between,
 * does not cost an honest script its budget.
 */
import { mainThreadCpuMs } from "./procfs.ts";

/** Below this an entry is not worth a question to the system. */
const LONG_ENTRY_MS = 20;

export class EntryMeter {
  #startedAt = 0;
  #msMax = 0;
  /** When there is something to look at again. */
  #lookAt = 0;
  /** Used until the system was first asked, and its answer then; null before. */
  #asked: { usedMs: number; cpuMs: number } | null = null;

  /** @param msMax what the entry may use */
  begin(msMax: number): void {
    this.#startedAt = performance.now();
    this.#msMax = msMax;
    this.#asked = null;
    this.#lookAt = this.#startedAt + Math.min(msMax, LONG_ENTRY_MS);
  }

  /** The entry has used what it may. */
  over(now: number): boolean {
    if (now < this.#lookAt) return false;
    const used = this.#used(now);
    // It cannot be over before so much time has passed.
    this.#lookAt = now + Math.max(0, this.#msMax - used);
    return used > this.#msMax;
  }

  /** What the entry has used, milliseconds. */
  end(): number {
    const now = performance.now();
    return now < this.#startedAt + LONG_ENTRY_MS ? now - this.#startedAt : this.#used(now);
  }

  #used(now: number): number {
    const wall = now - this.#startedAt;
    const cpuMs = mainThreadCpuMs(process.pid);
    if (cpuMs === null) return wall;
    if (this.#asked === null) {
      this.#asked = { usedMs: wall, cpuMs };
      return wall;
    }
    return Math.min(wall, this.#asked.usedMs + cpuMs - this.#asked.cpuMs);
  }
}
