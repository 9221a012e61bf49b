/**
 * A bounded semaphore: at most `slots` run, at most `waiting` wait, and a wait ends after
 * `waitMsMax`. Whoever finds no place is told at once.
 */
export interface SemaphoreOptions {
  slots: number;
  waiting: number;
  waitMsMax: number;
}

export class SemaphoreFull extends Error {
  constructor(readonly reason: "queue_full" | "wait_timeout") {
    super(reason);
  }
}

interface Waiter {
  grant: () => void;
  timer: ReturnType<typeof setTimeout>;
}

export class Semaphore {
  #free: number;
  readonly #waiters: Waiter[] = [];

  constructor(private readonly options: SemaphoreOptions) {
    this.#free = options.slots;
  }

  /** Runs `work` in a slot. Throws SemaphoreFull when none comes free within the bounds. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    await this.#acquire();
    try {
      return await work();
    } finally {
      this.#release();
    }
  }

  #acquire(): Promise<void> {
    if (this.#free > 0) {
      this.#free -= 1;
      return Promise.resolve();
    }
    if (this.#waiters.length >= this.options.waiting) {
      return Promise.reject(new SemaphoreFull("queue_full"));
    }
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        grant: resolve,
        timer: setTimeout(() => {
          this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
          reject(new SemaphoreFull("wait_timeout"));
        }, this.options.waitMsMax),
      };
      this.#waiters.push(waiter);
    });
  }

  #release(): void {
    const next = this.#waiters.shift();
    if (next === undefined) {
      this.#free += 1;
      return;
    }
    clearTimeout(next.timer);
    next.grant();
  }
}
