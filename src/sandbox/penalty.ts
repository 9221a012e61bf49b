/** Which apps are kept apart from the others, and until when. */
import { penaltyAppsMax, penaltyMs } from "../domain/limits.ts";

export class Penalties {
  /** App → when it is let out; the soonest first, because every offence moves its app to the end. */
  readonly #until = new Map<string, number>();

  punish(appId: string, now: number): void {
    this.#until.delete(appId);
    this.#until.set(appId, now + penaltyMs);
    if (this.#until.size <= penaltyAppsMax) return;
    const soonest = this.#until.keys().next().value;
    if (soonest !== undefined) this.#until.delete(soonest);
  }

  holds(appId: string, now: number): boolean {
    if (this.#until.size === 0) return false;
    const until = this.#until.get(appId);
    if (until === undefined) return false;
    if (now < until) return true;
    this.#until.delete(appId);
    return false;
  }
}
