/**
 * Time for what expires. A Pi without a clock of its own may boot in 1970, or at the time of its
 * last shutdown: this clock never shows less than the last time that was stored, so that nothing
 * lives longer for it, and nothing new expires until real time has caught up.
 *
 * It writes nothing by itself: whoever opens a transaction anyway stores the time in it.
 */
import type { Clock } from "../base/clock.ts";
import type { Database, Tx } from "../storage/port.ts";
import { getSetting, raiseSetting } from "../storage/settings.ts";

const settingName = "last_time";

export class StoredClock implements Clock {
  #floor = 0;

  constructor(
    private readonly db: Database,
    private readonly clock: Clock,
  ) {}

  /** Reads the last time stored. Until then the clock is the machine's. */
  async load(): Promise<void> {
    const stored = Number(await getSetting(this.db, settingName));
    if (Number.isSafeInteger(stored)) this.#floor = Math.max(this.#floor, stored);
  }

  now(): number {
    const now = this.clock.now();
    if (now > this.#floor) this.#floor = now;
    return this.#floor;
  }

  monotonic(): number {
    return this.clock.monotonic();
  }

  /** Stores the time along with what `tx` writes, unless another server has stored a later one. */
  async store(tx: Tx): Promise<void> {
    await raiseSetting(tx, settingName, this.now());
  }
}
