/**
 * What an app costs, and so how much of it a child is given at once. A child takes its work in order:
 * eight executions of 40 ms sent ahead are 320 ms for the neighbour behind them. So an app is given
 * about shareSliceMs of work ahead, by what its executions cost lately: dozens of cheap ones, one
 * expensive one. What waits for a host call or a timer does not count: it keeps nobody waiting.
 */
import {
  childExecutionsMax,
  offenceCpuMs,
  shareAppsMax,
  shareSliceMs,
  wasteFloorMs,
  wasteForgivenPerSecond,
} from "../domain/limits.ts";
import type { Outcome } from "./api.ts";

const NEWEST_WEIGHT = 0.25;
const COST_MS_UNKNOWN = 1;
const COST_MS_MIN = 0.01;

export class Share {
  /** Executions sent to a child that have neither ended nor waited yet. */
  ahead = 0;
  #costMs = COST_MS_UNKNOWN;
  #wasteMs = 0;
  #wasteAt = 0;

  /** One more may be sent, when `children` serve. */
  allows(children: number): boolean {
    if (this.ahead === 0) return true;
    const each = Math.min(childExecutionsMax, Math.max(1, shareSliceMs / this.#costMs));
    return this.ahead < Math.floor(each) * children;
  }

  /** Learns from an end; returns whether the app has wasted so much that it is kept apart. */
  learn(outcome: Outcome, now: number): boolean {
    const cost = Math.max(COST_MS_MIN, outcome.cpu_ms);
    this.#costMs += (cost - this.#costMs) * NEWEST_WEIGHT;
    if (outcome.status === "success") return false;
    const forgiven = ((now - this.#wasteAt) / 1_000) * wasteForgivenPerSecond;
    this.#wasteAt = now;
    const wasted =
      outcome.budget === null ? outcome.cpu_ms : Math.max(wasteFloorMs, outcome.cpu_ms);
    this.#wasteMs = Math.max(0, this.#wasteMs - forgiven) + wasted;
    if (outcome.budget !== "cpu_ms" && this.#wasteMs <= offenceCpuMs) return false;
    this.#wasteMs = 0;
    return true;
  }
}

export class Shares {
  readonly #shares = new Map<string, Share>();

  of(appId: string): Share {
    const known = this.#shares.get(appId);
    if (known !== undefined) return known;
    const share = new Share();
    this.#shares.set(appId, share);
    if (this.#shares.size > shareAppsMax) this.#dropOldest();
    return share;
  }

  #dropOldest(): void {
    for (const [appId, share] of this.#shares) {
      if (share.ahead > 0) continue;
      this.#shares.delete(appId);
      return;
    }
  }
}
