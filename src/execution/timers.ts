/** One-shot timers as a parameter, so that tests can hold time still. */

/** Calls `fn` once after `ms`; the function it returns calls it off. */
export type StartTimer = (fn: () => void, ms: number) => () => void;

export const startTimer: StartTimer = (fn, ms) => {
  const timer = setTimeout(fn, ms);
  return () => clearTimeout(timer);
};
