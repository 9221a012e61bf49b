/**
 * Deliveries that were read along with a claim, to be begun when a slot comes free, without a transaction
 * in between: only where claims are in memory (SQLite), as nobody else can take them meanwhile. A full
 * outbox is worked off a third faster for it, because sandboxes need not wait for the next turn.
 *
 * They are not claimed, and no promise is made: who needs them not, or comes too late, drops them, and
 * reads them again. They are of one app at a time, the only one that has anything to do.
 */
import type { Delivery } from "../domain/events.ts";
import { lookaheadMax, lookaheadMsMax } from "../domain/limits.ts";

export class Lookahead {
  #deliveries: Delivery[] = [];
  #app_id = "";
  /** On the monotonic clock. */
  #readAt = 0;
  /** There was nothing behind them. */
  #isLast = false;

  /** Whose they are. */
  get app_id(): string {
    return this.#app_id;
  }

  get size(): number {
    return this.#deliveries.length;
  }

  /** What is in here at this moment, which a claim must not take, also when it has begun meanwhile. */
  all(): Delivery[] {
    return [...this.#deliveries];
  }

  /** How many more to read for an app: none while there are enough. */
  wanted(app_id: string, now: number): number {
    this.#expire(now);
    const left = this.#app_id === app_id ? this.#deliveries.length : 0;
    return left > (this.#isLast ? 0 : lookaheadMax / 4) ? 0 : lookaheadMax;
  }

  /** Behind those of the same app; instead of those of another. `isLast`: nothing is behind them. */
  add(app_id: string, deliveries: readonly Delivery[], isLast: boolean, now: number): void {
    this.#expire(now);
    if (this.#app_id === app_id) this.#deliveries.push(...deliveries);
    else this.#deliveries = [...deliveries];
    this.#app_id = app_id;
    this.#isLast = isLast;
    this.#readAt = now;
  }

  /** The next of an app, or null. */
  take(app_id: string, now: number): Delivery | null {
    this.#expire(now);
    return this.#app_id === app_id ? (this.#deliveries.shift() ?? null) : null;
  }

  /** What was read long ago may have been deleted since. */
  #expire(now: number): void {
    if (now - this.#readAt > lookaheadMsMax) this.#deliveries = [];
  }
}
