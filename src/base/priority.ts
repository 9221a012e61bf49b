/** The process's standing among others. */
import { dlopen, FFIType, ptr } from "bun:ffi";
import { readdirSync } from "node:fs";
import { setPriority } from "node:os";

const lowest = 19;
/** sched(7): runs when nobody else wants to, and stops the moment that somebody does. */
const SCHED_IDLE = 5;

/**
 * Gives every thread of this process the lowest priority; later ones inherit it, and the disk's
 * scheduler goes by it, too (ioprio(5)). A low priority alone lets a thread finish its time slice:
 * whoever wakes waited 3 ms for it, at each step of a request. Does nothing where that is not allowed.
 */
export function takeLowestPriority(): void {
  try {
    // On Linux both are a thread's own: the process's number names its first one alone.
    const threads = readdirSync("/proc/self/task").map(Number);
    for (const thread of threads) setPriority(thread, lowest);
    const { symbols, close } = dlopen("libc.so.6", {
      sched_setscheduler: { args: [FFIType.i32, FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
    });
    // struct sched_param: a priority, which this policy has only one of.
    const parameters = new Int32Array(1);
    for (const thread of threads) symbols.sched_setscheduler(thread, SCHED_IDLE, ptr(parameters));
    close();
  } catch {}
}
