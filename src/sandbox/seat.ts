/**
 * A seat is one child process as the pool uses it: the executions it holds by their numbers, the
 * programs it was sent, and what the shared cell said when it was last looked at.
 */
import { SmallMap } from "../base/small-map.ts";
import {
  childBacklogBytesMax,
  childExecutionNumbersMax,
  childExecutionsMax,
  childProgramsMax,
  penaltyRunningMax,
} from "../domain/limits.ts";
import { DELIVERY } from "../sdk/operations.ts";
import type { Job } from "./api.ts";
import { joinPayload } from "./frames.ts";
import type { Placeable } from "./placement.ts";
import type { SandboxProcess } from "./process.ts";
import { mainThreadCpuMs } from "./procfs.ts";
import {
  FRAME_CANCEL,
  FRAME_FORGET,
  FRAME_PROGRAM,
  FRAME_RUN,
  type Program,
  type RunHeader,
} from "./protocol.ts";
import type { Task } from "./task.ts";

/**
 * regular: serves everybody · spare: takes over when the regular ones are blocked or lost ·
 * box: runs the apps that are kept apart · retiring: finishes what it has, then ends.
 */
export type SeatRole = "regular" | "spare" | "box" | "retiring";

/** One stay of an execution in guest code, as seen through the cell. */
export interface Entry {
  execution: number;
  ordinal: number;
  /** When it was first seen, monotonic. */
  since: number;
  /** When the system was first asked: how long the entry had lasted, and the child's CPU until then. */
  asked: { lastedMs: number; cpuMs: number } | null;
}

export interface Abandoned {
  task: Task;
  at: number;
}

export class Seat implements Placeable {
  readonly running = new SmallMap<Task>();
  /** What was taken away from the child before it answered: it may still enter one of these. */
  readonly abandoned = new Map<number, Abandoned>();
  readonly #programs = new Set<string>();
  /** Forgotten as soon as nothing here runs them any more. */
  readonly #doomed = new Set<string>();
  entry: Entry | null = null;
  /** The same entry for too long and nothing heard since: what queues behind it should not wait. */
  blocked = false;
  /** It was decided to kill it. */
  condemned = false;
  /** It serves until another is ready to take its place. */
  worn = false;
  /** The execution in whose name the child sent what is no frame; 0 for none. */
  brokeProtocol = 0;
  /** Something arrived since the pool last looked. */
  heard = false;
  lastHeardAt: number;
  completed = 0;
  /** Executions since it was last told to rest; a new child has not rested either. */
  sinceRest = 1;
  privateBytes = 0;
  /** Private memory when it was first looked at; growth counts from here. */
  baseBytes = 0;
  #nextExecution = 1;
  /** Of the newest run: most say the same as the one before. */
  #header: RunHeader | null = null;
  #headerJson = "";

  constructor(
    public role: SeatRole,
    readonly process: SandboxProcess,
    readonly startedAt: number,
  ) {
    this.lastHeardAt = startedAt;
  }

  get load(): number {
    return this.running.size;
  }

  /** It can be given one more execution now. */
  get open(): boolean {
    return (
      this.process.ready &&
      !this.condemned &&
      this.role !== "retiring" &&
      this.running.size < childExecutionsMax &&
      this.process.pendingBytes < childBacklogBytesMax
    );
  }

  /** It can be given one more execution of an app that is kept apart: an attack has no company. */
  get freeForPenalty(): boolean {
    return this.open && this.running.size < penaltyRunningMax && this.abandoned.size === 0;
  }

  /** Its numbers come to an end; they are never reused. */
  get wornOut(): boolean {
    return this.#nextExecution >= childExecutionNumbersMax;
  }

  holds(programId: string): boolean {
    return this.#programs.has(programId);
  }

  /** Sends the task here, with its program when the child lacks it. Throws FrameError. */
  start(task: Task, now: number): void {
    const { job } = task;
    const header = this.#headerOf(job, Math.max(1, Math.ceil(job.deadline - now)));
    if (task.program !== null) this.teach(task.program);
    task.program = null;
    const number = this.#nextExecution;
    const input = job.cx.delivery === null ? job.input : DELIVERY + job.input;
    this.process.send(FRAME_RUN, number, joinPayload(header, input));
    this.#nextExecution = number + 1;
    task.sent(now);
    this.running.add(number, task);
    this.sinceRest += 1;
  }

  /** Asks the child to give an execution up; it stays here until the child answers. */
  cancel(number: number): void {
    this.process.send(FRAME_CANCEL, number, "");
  }

  /** Takes an execution away from the child; what still comes of it is dropped. */
  abandon(number: number, now: number): void {
    const task = this.running.get(number);
    if (task === undefined) return;
    this.abandoned.set(number, { task, at: now });
    if (!task.cancelled) this.cancel(number);
    this.release(number);
  }

  /** The child has nothing more to do for this number. */
  release(number: number): void {
    this.running.delete(number);
    if (this.#doomed.size > 0) for (const id of [...this.#doomed]) this.forget(id);
  }

  /** The child says that it has dropped a program to stay within its own bounds. */
  dropped(programId: string): void {
    this.#programs.delete(programId);
    this.#doomed.delete(programId);
  }

  /** Has the child drop a program, once nothing here runs it. */
  forget(programId: string): void {
    if (!this.#programs.has(programId)) return;
    if (this.#runs(programId)) {
      this.#doomed.add(programId);
      return;
    }
    this.#programs.delete(programId);
    this.#doomed.delete(programId);
    this.process.send(FRAME_FORGET, 0, JSON.stringify(programId));
  }

  /** Reads the cell and keeps `entry` up to date. */
  look(now: number): void {
    if (this.heard) this.lastHeardAt = now;
    this.heard = false;
    const { cell } = this.process;
    const execution = cell.running();
    const ordinal = cell.entries();
    if (execution === 0) {
      this.entry = null;
      this.blocked = false;
      return;
    }
    const known = this.entry;
    if (known === null || known.execution !== execution || known.ordinal !== ordinal) {
      this.entry = { execution, ordinal, since: now, asked: null };
      this.blocked = false;
      const task = this.running.get(execution);
      if (task !== undefined) task.entered = true;
    }
  }

  /**
   * CPU that the execution in `entry` has used in all, milliseconds. Wall time stands for it until this
   * is first asked of an entry; from then on the system is: a child that a busy machine does not let
   * run uses up nothing.
   */
  usedMs(now: number): number {
    const { entry } = this;
    if (entry === null) return 0;
    const lastedMs = now - entry.since;
    const cpuMs = mainThreadCpuMs(this.process.pid);
    if (cpuMs !== null) entry.asked ??= { lastedMs, cpuMs };
    const { asked } = entry;
    const entryMs =
      cpuMs === null || asked === null ? lastedMs : asked.lastedMs + cpuMs - asked.cpuMs;
    return this.process.cell.cpuMs() + Math.min(lastedMs, entryMs);
  }

  /** Sends a program, unless the child holds it. Throws FrameError. */
  teach(program: Program): void {
    if (this.holds(program.id)) return;
    this.process.send(FRAME_PROGRAM, 0, JSON.stringify(program));
    this.#programs.add(program.id);
    this.#doomed.delete(program.id);
    if (this.#programs.size <= childProgramsMax) return;
    for (const id of this.#programs) {
      if (id === program.id || this.#runs(id)) continue;
      this.forget(id);
      return;
    }
  }

  #headerOf({ program_id, limits }: Job, timeoutMs: number): string {
    const last = this.#header;
    const isSame =
      last?.program === program_id && last.limits === limits && last.timeout_ms === timeoutMs;
    if (isSame) return this.#headerJson;
    this.#header = { program: program_id, limits, timeout_ms: timeoutMs };
    this.#headerJson = JSON.stringify(this.#header);
    return this.#headerJson;
  }

  #runs(programId: string): boolean {
    for (const task of this.running.values()) if (task.job.program_id === programId) return true;
    return false;
  }
}
