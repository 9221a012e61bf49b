/**
 * Which apps may have something to claim: those that were announced or whose time has come, in the order
 * in which their turn comes, and when others follow.
 *
 * Being in here costs a look at the database and promises nothing; what is not in here has nothing due.
 * Fairness: an app that was served goes behind the others, and what is free is shared out evenly.
 */
import { claimPerAppMax } from "../domain/limits.ts";

/** How many deliveries of an app to claim, and how many more to read (lookahead.ts). */
export interface PlannedClaim {
  app_id: string;
  limit: number;
  ahead: number;
}

export class DueApps {
  readonly #ring = new Set<string>();
  /** App → when, on the monotonic clock. */
  readonly #later = new Map<string, number>();

  /** Apps that may have something due now. */
  get size(): number {
    return this.#ring.size;
  }

  /** An app may have something due now. False: that was known. */
  add(app_id: string): boolean {
    const { size } = this.#ring;
    return this.#ring.add(app_id).size > size;
  }

  /** An app will have something due at this time, on the monotonic clock, or earlier. */
  addAt(app_id: string, at: number): void {
    const known = this.#later.get(app_id);
    if (known === undefined || at < known) this.#later.set(app_id, at);
  }

  /** An app has something due at this time and not before; null: at no time. */
  setAt(app_id: string, at: number | null): void {
    if (at === null) this.#later.delete(app_id);
    else this.#later.set(app_id, at);
  }

  /** Those whose time has come have something due now. */
  advance(now: number): void {
    for (const [app_id, at] of this.#later) {
      if (at > now) continue;
      this.#later.delete(app_id);
      this.#ring.add(app_id);
    }
  }

  /** When the next app has something due; null when none will. */
  nextAt(): number | null {
    let next: number | null = null;
    for (const at of this.#later.values()) if (next === null || at < next) next = at;
    return next;
  }

  /**
   * Takes those out whose turn it is: who calls this claims for them, and adds those again that have more.
   * @param free how many deliveries may be claimed in all
   * @param freeFor the same for one app
   */
  take(free: number, freeFor: (app_id: string) => number): PlannedClaim[] {
    const plan: PlannedClaim[] = [];
    const share = Math.max(1, Math.floor(free / Math.max(1, this.#ring.size)));
    let left = free;
    for (const app_id of this.#ring) {
      if (left <= 0) break;
      const limit = Math.min(claimPerAppMax, share, left, freeFor(app_id));
      if (limit <= 0) continue;
      plan.push({ app_id, limit, ahead: 0 });
      left -= limit;
    }
    for (const { app_id } of plan) this.#ring.delete(app_id);
    return plan;
  }

  /** Whether nobody but this app may have something due. */
  isAlone(app_id: string): boolean {
    return this.#ring.size === 0 || (this.#ring.size === 1 && this.#ring.has(app_id));
  }

  /** As `take`, when only one app may have something due, which is read ahead of its free slots. */
  takeAhead(slots: (app_id: string) => number, ahead: (app_id: string) => number): PlannedClaim[] {
    const [app_id] = this.#ring;
    if (app_id === undefined || this.#ring.size > 1) return [];
    const plan = { app_id, limit: Math.max(0, slots(app_id)), ahead: ahead(app_id) };
    if (plan.limit + plan.ahead === 0) return [];
    this.#ring.delete(app_id);
    return [plan];
  }

  clear(): void {
    this.#ring.clear();
    this.#later.clear();
  }
}
