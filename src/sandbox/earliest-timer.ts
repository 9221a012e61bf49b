/** One timer for many deadlines, set for the earliest: most of what has one ends long before it. */
export class EarliestTimer {
  #timer: ReturnType<typeof setTimeout> | null = null;
  #at = Number.POSITIVE_INFINITY;

  constructor(private readonly onDue: () => void) {}

  /** `onDue` is called at `at`, on the monotonic clock, or earlier for another deadline. */
  set(at: number): void {
    if (at >= this.#at) return;
    this.clear();
    this.#at = at;
    this.#timer = setTimeout(
      () => {
        this.clear();
        this.onDue();
      },
      Math.max(0, at - performance.now()),
    );
  }

  clear(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#at = Number.POSITIVE_INFINITY;
  }
}
