/**
 * Whose turn it is in a child: that of the app that has used the least CPU lately. There is one thread,
 * and a host call's answer is worth another piece of it: an app whose executions compute 20 ms between
 * two calls, within all its limits, would have a neighbour's 0.3 ms wait behind eight of them at each
 * of the neighbour's own steps.
 */
import { turnsHalfLifeMs } from "../domain/limits.ts";

interface Use {
  ms: number;
  at: number;
}

/** Less than this is not worth remembering. */
const NOTHING_MS = 0.05;
const APPS_MAX = 64;

export class Turns {
  readonly #uses = new Map<string, Use>();

  /** An app has used so much CPU, until `now`. */
  charge(appId: string, ms: number, now: number): void {
    const use = this.#uses.get(appId);
    if (use !== undefined) {
      use.ms = this.used(appId, now) + ms;
      use.at = now;
      return;
    }
    if (ms < NOTHING_MS) return;
    this.#uses.set(appId, { ms, at: now });
    if (this.#uses.size > APPS_MAX) this.#forgetLeast(now);
  }

  #forgetLeast(now: number): void {
    let least: string | null = null;
    for (const appId of this.#uses.keys()) {
      if (least === null || this.used(appId, now) < this.used(least, now)) least = appId;
    }
    if (least !== null) this.#uses.delete(least);
  }

  /** CPU of late, milliseconds: what is turnsHalfLifeMs old counts half. */
  used(appId: string, now: number): number {
    const use = this.#uses.get(appId);
    return use === undefined ? 0 : use.ms * 2 ** ((use.at - now) / turnsHalfLifeMs);
  }
}
