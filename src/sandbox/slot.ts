/** A slot is one execution as its child holds it: its program, where it is, and what it waits for. */
import type { GuestExecution } from "./guest-execution.ts";
import type { Image } from "./image.ts";
import type { Instance } from "./instance.ts";
import type { Program } from "./protocol.ts";

export type Timer = ReturnType<typeof setTimeout>;

export interface Slot {
  execution: GuestExecution;
  program: Program | null;
  /** The handler was called. */
  begun: boolean;
  /** Its newest host call, on the monotonic clock. */
  calledAt: number;
  /** What has come for it and it has not been entered with. */
  arrived: number;
  instance: Instance | null;
  swapped: Image | null;
  /** Null until there is one. */
  timers: Map<number, Timer> | null;
}

/** Somebody who needs an instance: to begin, or to go on with what a reply or a timer brought. */
export interface Waiter {
  slot: Slot;
  isStart: boolean;
  go: () => void;
}

export function makeSlot(execution: GuestExecution): Slot {
  return {
    execution,
    program: null,
    begun: false,
    calledAt: 0,
    arrived: 0,
    instance: null,
    swapped: null,
    timers: null,
  };
}

export function appOf(slot: Slot): string {
  return slot.program?.app_id ?? "";
}
