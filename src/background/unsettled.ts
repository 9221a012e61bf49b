/** Settlements that a dispatcher still has to write. Nothing else knows of them: none may be lost. */

import type { Delivery } from "../domain/events.ts";
import { retryMs } from "./backoff.ts";
import type { Settlement } from "./settle.ts";

/** A settlement that failed on its own, through a defect: it is tried again, and holds up nobody. */
export interface Failed {
  settlement: Settlement;
  /** How often it failed. */
  tries: number;
  /** When it is tried again, on the monotonic clock. */
  at: number;
}

export class Unsettled {
  #ended: Settlement[] = [];
  #failed: Failed[] = [];

  get size(): number {
    return this.#ended.length + this.#failed.length;
  }

  /** Those that failed on their own. */
  get failed(): number {
    return this.#failed.length;
  }

  failedDeliveries(): Delivery[] {
    return this.#failed.map(({ settlement }) => settlement.delivery);
  }

  add(...settlements: readonly Settlement[]): void {
    this.#ended.push(...settlements);
  }

  /** All but those that failed. */
  take(): Settlement[] {
    const taken = this.#ended;
    this.#ended = [];
    return taken;
  }

  /** @param tries how often it failed before */
  addFailed(settlement: Settlement, tries: number, now: number): void {
    this.#failed.push({ settlement, tries: tries + 1, at: now + retryMs(tries) });
  }

  /** Those that failed and may be tried again. */
  takeFailed(now: number): Failed[] {
    if (this.#failed.length === 0) return [];
    const due = this.#failed.filter(({ at }) => at <= now);
    this.#failed = this.#failed.filter(({ at }) => at > now);
    return due;
  }

  /** When the next of these may be tried; infinity when there is none. */
  nextAt(): number {
    return this.#failed.reduce((next, { at }) => Math.min(next, at), Number.POSITIVE_INFINITY);
  }
}
