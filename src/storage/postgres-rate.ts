/** How often connections are opened, whoever wants them: a database that comes back is not stormed. */
import type { Clock } from "../base/clock.ts";

/** A little more than a second: what leaves here apart may arrive together. */
const windowMs = 1_200;

export class ConnectRate {
  readonly #starts: number[] = [];
  #last: Promise<void> = Promise.resolve();

  constructor(
    private readonly clock: Clock,
    private readonly perSecondMax: number,
  ) {}

  /** Resolves when one more may begin, in the order of the calls; at once when it was given up. */
  turn(signal?: AbortSignal): Promise<void> {
    this.#last = this.#last.then(() => this.#wait(signal));
    return this.#last;
  }

  async #wait(signal?: AbortSignal): Promise<void> {
    const isGivenUp = (): boolean => signal?.aborted === true;
    if (isGivenUp()) return;
    const [first] = this.#starts;
    if (first !== undefined && this.#starts.length >= this.perSecondMax) {
      await sleep(first + windowMs - this.clock.monotonic(), signal);
      if (isGivenUp()) return;
      this.#starts.shift();
    }
    this.#starts.push(this.clock.monotonic());
  }
}

/** Ends early, without an error, when `signal` aborts. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  if (ms <= 0 || signal?.aborted === true) return Promise.resolve();
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end);
  });
}
