/** `setTimeout`, `clearTimeout`, `queueMicrotask`. Timers end with the handler's result. */
import { ask, host } from "./host.ts";
import { console } from "./log.ts";
import { OP_TIMER_CLEAR, OP_TIMER_SET } from "./operations.ts";

// <globals>
/** Runs `callback` once, later, if the execution still goes on. Resolution: a millisecond. */
export type SetTimeout = <A extends unknown[]>(
  callback: (...args: A) => void,
  milliseconds?: number,
  ...args: A
) => number;
export type ClearTimeout = (id: number | undefined | null) => void;
export type QueueMicrotask = (callback: () => void) => void;
// </globals>

interface Timer {
  callback: (...args: unknown[]) => void;
  args: unknown[];
}

const DELAY_MS_MAX = 2 ** 31 - 1;
const timers = new Map<number, Timer>();
let lastTimer = 0;

export const setTimeout: SetTimeout = function setTimeout(callback, milliseconds = 0, ...args) {
  if (typeof callback !== "function")
    throw new TypeError("setTimeout: the callback is no function");
  const delay = Number(milliseconds);
  lastTimer += 1;
  const ms = delay > 0 ? Math.min(delay, DELAY_MS_MAX) : 0;
  ask((message) => new RangeError(message), OP_TIMER_SET, lastTimer, ms);
  timers.set(lastTimer, { callback: callback as Timer["callback"], args });
  return lastTimer;
};

export const clearTimeout: ClearTimeout = function clearTimeout(id) {
  if (typeof id === "number" && timers.delete(id)) host(OP_TIMER_CLEAR, id);
};

export const queueMicrotask: QueueMicrotask = function queueMicrotask(callback) {
  if (typeof callback !== "function") {
    throw new TypeError("queueMicrotask: the callback is no function");
  }
  resolved.then(() => callback());
};
const resolved = Promise.resolve();

/** The host's clock reached a timer. What the callback throws ends nothing. */
export function fire(id: number): void {
  const timer = timers.get(id);
  if (timer === undefined) return;
  timers.delete(id);
  try {
    timer.callback(...timer.args);
  } catch (error) {
    console.error("A timer's callback failed:", error);
  }
}
