/**
 * When a child collects its garbage. The runtime takes the instances' memories, 16 MB each, for live
 * heap and therefore lets garbage pile up: 3,000 executions left 70 MB of it. A collection takes 2 ms,
 * and an execution leaves 2 to 20 KB behind; so the growth of the process decides, and not a count.
 */
import { childGarbageBytesMax } from "../domain/limits.ts";

/** Looking costs 7 µs. */
const LOOK_EXECUTIONS = 128;

export class ChildGarbage {
  #leastBytes = process.memoryUsage.rss();
  #unlooked = 0;

  /** Asked after every execution; true when it is time to collect. */
  get due(): boolean {
    this.#unlooked += 1;
    if (this.#unlooked < LOOK_EXECUTIONS) return false;
    this.#unlooked = 0;
    const bytes = process.memoryUsage.rss();
    // What was freed last time goes back to the system little by little.
    this.#leastBytes = Math.min(this.#leastBytes, bytes);
    return bytes - this.#leastBytes >= childGarbageBytesMax;
  }

  collect(): void {
    Bun.gc(true);
    this.#leastBytes = process.memoryUsage.rss();
  }
}
