/** Waits between tries of something that fails, each longer than the one before, up to a bound. */
import { dispatchRetryMsMax, dispatchRetryMsMin } from "../domain/limits.ts";

/** How long to wait after so many failures, and one more. */
export function retryMs(failures: number): number {
  return Math.min(dispatchRetryMsMax, dispatchRetryMsMin * 2 ** Math.min(failures, 30));
}

export class Backoff {
  /** In a row. */
  #failures = 0;
  /** When to try again, on the monotonic clock. */
  until = 0;

  isWaiting(now: number): boolean {
    return now < this.until;
  }

  /** Returns whether it is the first in a row. */
  failed(now: number): boolean {
    this.until = now + retryMs(this.#failures);
    this.#failures += 1;
    return this.#failures === 1;
  }

  succeeded(): void {
    this.#failures = 0;
  }

  /** There is reason to try at once. */
  end(): void {
    this.until = 0;
  }
}
