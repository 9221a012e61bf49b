/** Where time comes from, so that tests can hold it still. */
export interface Clock {
  /** Wall-clock time, epoch milliseconds (integer). */
  now(): number;
  /** A clock that never jumps, milliseconds with fractions; only differences mean something. */
  monotonic(): number;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};
