/**
 * The sandbox pool: jobs in, outcomes out, over a handful of child processes.
 *
 * Model. Each child has a seat (seat.ts) with a role; each job is a task (task.ts). A task goes to a
 * seat at once when there is a place (placement.ts), else it waits, bounded, within its deadline; apps
 * that caused a kill go to the penalty box (penalty.ts), a child of its own.
 *
 * Invariants.
 * - At most `children` + 2 processes: the regular ones, a spare, the box. One that retires or
 *   dies counts until it is gone.
 * - A task is settled exactly once. What a child says about a number that its seat does not hold is
 *   dropped.
 * - Only who the shared cell names is blamed. Of the others in a lost child, those that had no effect
 *   run once more with the same ids and deadline; the rest end as `sandbox_lost`.
 * - While tasks are in the pool it looks at its children every poolTickMs (watch.ts); when nothing is
 *   left it rests once and then holds no timer at all.
 */
import type { Clock } from "../base/clock.ts";
import { newId } from "../base/ids.ts";
import type { Logger } from "../base/log.ts";
import { PicError } from "../domain/errors.ts";
import { poolQueueMax, poolTickMs, spareAfterExecutions } from "../domain/limits.ts";
import type { Job, Outcome, PoolOptions, SandboxPool } from "./api.ts";
import { HostCalls } from "./calls.ts";
import { sweepCells } from "./cell.ts";
import { FrameError } from "./frames.ts";
import { Penalties } from "./penalty.ts";
import { choosePlace } from "./placement.ts";
import { ProgramLoads } from "./program-loads.ts";
import { type ChildStats, FRAME_CALL, FRAME_DONE, FRAME_NEED, FRAME_STATS } from "./protocol.ts";
import { FairQueue } from "./queue.ts";
import type { Seat } from "./seat.ts";
import { Shares } from "./share.ts";
import { type LostSeat, STAFF_TIMINGS, Staff, type StaffTimings } from "./staff.ts";
import { outcomeOfDone, Task } from "./task.ts";
import { Watch } from "./watch.ts";

export interface SandboxPoolOptions extends PoolOptions {
  clock: Clock;
  log: Logger;
  newId?: () => string;
  timings?: Partial<StaffTimings>;
}

/** Starts the children; `ready()` tells when the first one serves. */
export function createSandboxPool(options: SandboxPoolOptions): SandboxPool {
  return new Pool(options);
}

class Pool implements SandboxPool {
  readonly #clock: Clock;
  readonly #calls: HostCalls;
  readonly #staff: Staff;
  readonly #watch: Watch;
  readonly #penalties = new Penalties();
  readonly #shares = new Shares();
  readonly #queue = new FairQueue();
  /** What waits for the box. */
  readonly #boxQueue = new FairQueue();
  readonly #loads = new ProgramLoads();
  readonly #loading = new Set<Task>();
  readonly #finishing = new Set<Task>();
  #tickTimer: ReturnType<typeof setTimeout> | null = null;
  #stopping: Promise<void> | null = null;

  constructor(options: SandboxPoolOptions) {
    this.#clock = options.clock;
    this.#calls = new HostCalls({
      bindings: options.bindings,
      log: options.log,
      newId: options.newId ?? newId,
    });
    this.#watch = new Watch({
      log: options.log,
      offence: (task, now) => this.#penalties.punish(task.job.cx.app_id, now),
      kill: (seat) => this.#staff.condemn(seat),
      move: (task) => this.#admit(task),
      place: (task) => this.#choose(task),
    });
    this.#staff = new Staff({
      ...options,
      timings: { ...STAFF_TIMINGS, ...options.timings },
      onFrame: (seat, type, execution, text) => this.#onFrame(seat, type, execution, text),
      busy: () => this.#busy(),
      onOpen: () => this.#serve(),
      onLost: (lost) => this.#onLost(lost),
    });
    sweepCells();
    this.#staff.maintain(this.#needs());
  }

  run(job: Job): Promise<Outcome> {
    if (this.#stopping !== null) return Promise.reject(stopped());
    return new Promise((resolve, reject) => {
      this.#staff.traffic += 1;
      this.#wake();
      this.#admit(new Task(job, this.#shares.of(job.cx.app_id), resolve, reject));
    });
  }

  forget(programId: string): void {
    for (const seat of this.#staff.seats) seat.forget(programId);
  }

  ready(): Promise<void> {
    return this.#staff.ready();
  }

  stats(): ReturnType<SandboxPool["stats"]> {
    const seats = [...this.#staff.seats].filter((seat) => seat.process.ready);
    return {
      children: seats.length,
      starting: this.#staff.starting,
      running: seats.reduce((sum, seat) => sum + seat.load, 0),
      queued: this.#queue.size + this.#boxQueue.size + this.#loading.size,
      killed: this.#staff.killed,
      private_bytes: seats.map((seat) => seat.privateBytes),
    };
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    if (this.#tickTimer !== null) clearTimeout(this.#tickTimer);
    this.#tickTimer = null;
    const lost = (task: Task): true => {
      // A stop is nobody's attempt.
      task.settle({ ...task.outcome("sandbox_lost"), entered: false });
      return true;
    };
    for (const seat of this.#staff.seats) for (const task of seat.running.values()) lost(task);
    for (const task of this.#loading) lost(task);
    for (const task of this.#finishing) if (task.finished) task.settle(task.finished);
    this.#queue.sweep(lost);
    this.#boxQueue.sweep(lost);
    await this.#staff.stop();
  }

  /** Finds a place for a task that has none, or lets it wait. */
  #admit(task: Task): void {
    if (task.settled) return;
    if (this.#stopping !== null) {
      task.settle(task.outcome("sandbox_lost"));
      return;
    }
    const now = this.#clock.monotonic();
    if (now >= task.job.deadline) {
      task.settle(task.outcome("timeout"));
      return;
    }
    const { app_id } = task.job.cx;
    const apart = this.#penalties.holds(app_id, now);
    if (!apart && !this.#queue.hasApp(app_id) && this.#place(task, now)) return;
    const queue = apart ? this.#boxQueue : this.#queue;
    if (queue.size >= poolQueueMax) {
      task.settle(task.outcome("sandbox_lost"));
      return;
    }
    queue.add(task);
    if (apart) this.#serveBox(now);
    else this.#staff.maintain(this.#needs());
  }

  #choose(task: Task): Seat | null {
    const hogging = this.#watch.hogs(task.job.cx.app_id);
    return choosePlace(this.#staff.seats, task.job.program_id, hogging);
  }

  #place(task: Task, now: number): boolean {
    if (!task.share.allows(this.#staff.regular)) return false;
    const seat = this.#choose(task);
    if (seat === null) return false;
    this.#begin(task, seat, now);
    return true;
  }

  #begin(task: Task, seat: Seat, now: number): void {
    if (task.program === null && !seat.holds(task.job.program_id)) {
      this.#load(task);
      return;
    }
    try {
      seat.start(task, now);
    } catch (error) {
      // Longer than a frame can be is longer than any guest's memory.
      if (error instanceof FrameError) task.settle(task.outcome("budget_exceeded", "memory_mb"));
      else task.fail(error);
    }
  }

  /** Loads the program of a task that has no place yet, and then finds it one. */
  #load(task: Task): void {
    this.#loading.add(task);
    this.#loads.of(task.job).then(
      (program) => {
        this.#loading.delete(task);
        task.program = program;
        this.#admit(task);
      },
      (error) => {
        this.#loading.delete(task);
        task.fail(error);
      },
    );
  }

  /** Gives places to what waits. */
  #serve(): void {
    const now = this.#clock.monotonic();
    this.#queue.serve((task) => {
      if (task.settled) return true;
      if (this.#penalties.holds(task.job.cx.app_id, now)) {
        this.#boxQueue.add(task);
        return true;
      }
      return this.#place(task, now);
    });
    this.#serveBox(now);
  }

  #serveBox(now: number): void {
    if (this.#boxQueue.size === 0) return;
    const box = this.#staff.box();
    if (box === null) {
      this.#staff.maintain(this.#needs());
      return;
    }
    this.#boxQueue.serve((task) => {
      if (task.settled) return true;
      if (!box.freeForPenalty) return false;
      this.#begin(task, box, now);
      return true;
    });
  }

  #onFrame(seat: Seat, type: number, execution: number, text: string): void {
    seat.heard = true;
    try {
      this.#handle(seat, type, execution, text);
    } catch (error) {
      // The channel closes on it, and with it the child ends.
      seat.brokeProtocol = execution;
      throw error;
    }
  }

  #handle(seat: Seat, type: number, execution: number, text: string): void {
    if (type === FRAME_CALL) {
      const task = seat.running.get(execution);
      // A condemned child's calls never happened: that keeps its other executions free of effects.
      if (task !== undefined && !seat.condemned) this.#calls.receive(seat, execution, task, text);
    } else if (type === FRAME_DONE) {
      this.#onDone(seat, execution, text);
    } else if (type === FRAME_NEED) {
      this.#onNeed(seat, execution, text);
    } else if (type === FRAME_STATS) {
      seat.privateBytes = Number((JSON.parse(text) as ChildStats).private_bytes) || 0;
    } else {
      throw new FrameError(`a frame of type ${type}`);
    }
  }

  /** The child has dropped a program that it is to run: it is sent again. */
  #onNeed(seat: Seat, execution: number, text: string): void {
    const task = seat.running.get(execution);
    if (task === undefined) return;
    if (JSON.parse(text) !== task.job.program_id) throw new FrameError("a NEED of another program");
    seat.dropped(task.job.program_id);
    const here = (): boolean => seat.running.get(execution) === task && !seat.condemned;
    this.#loads.of(task.job).then(
      (program) => {
        if (here()) seat.teach(program);
      },
      (error) => {
        if (!here()) return;
        seat.abandon(execution, this.#clock.monotonic());
        task.fail(error);
      },
    );
  }

  #onDone(seat: Seat, execution: number, text: string): void {
    seat.blocked = false;
    const task = seat.running.get(execution);
    if (task === undefined) {
      seat.abandoned.delete(execution);
    } else {
      const outcome = outcomeOfDone(text, task);
      seat.release(execution);
      seat.completed += 1;
      const now = this.#clock.monotonic();
      if (task.share.learn(outcome, now)) this.#penalties.punish(task.job.cx.app_id, now);
      this.#finish(task, outcome);
    }
    if (seat.load === 0) this.#staff.emptied(seat);
    if (this.#queue.size > 0 || this.#boxQueue.size > 0) this.#serve();
  }

  /** Host calls that the handler did not wait for end before the answer leaves. */
  #finish(task: Task, outcome: Outcome): void {
    task.waits();
    if (task.callsInFlight === 0 || outcome.status !== "success") {
      task.settle(outcome);
      return;
    }
    task.finished = outcome;
    this.#finishing.add(task);
  }

  #onLost(lost: LostSeat): void {
    const { seat, culprit, out_of_memory } = lost;
    const now = this.#clock.monotonic();
    const tasks = seat.running.values();
    seat.running.clear();
    if (culprit !== null) {
      this.#penalties.punish(culprit.job.cx.app_id, now);
      culprit.entered = true;
      culprit.settle(
        out_of_memory
          ? culprit.outcome("budget_exceeded", "memory_mb")
          : culprit.outcome("sandbox_lost"),
      );
    }
    for (const task of tasks) this.#retry(task);
    this.#serve();
  }

  /** An innocent of a lost child: once more elsewhere when nobody could notice. */
  #retry(task: Task): void {
    if (task.settled) return;
    if (task.cancelled) {
      task.settle(task.outcome("timeout"));
    } else if (task.effects || task.retried || this.#stopping !== null) {
      task.attempt += 1;
      task.settle(task.outcome("sandbox_lost"));
    } else {
      task.retried = true;
      task.startOver();
      this.#admit(task);
    }
  }

  #wake(): void {
    if (this.#tickTimer !== null) return;
    this.#staff.active();
    this.#tickTimer = setTimeout(this.#tick, poolTickMs);
  }

  readonly #tick = (): void => {
    this.#tickTimer = null;
    if (this.#stopping !== null) return;
    const now = this.#clock.monotonic();
    this.#watch.look(this.#staff.seats, now);
    for (const seat of this.#staff.seats) {
      for (const [number, task] of seat.running.entries()) {
        if (task.waitingCalls.length > 0) this.#calls.pump(seat, number, task);
      }
    }
    this.#endWaits(now);
    this.#serve();
    this.#staff.checkMemory(now);
    this.#staff.maintain(this.#needs());
    if (this.#busy()) this.#tickTimer = setTimeout(this.#tick, poolTickMs);
    else this.#staff.idle();
  };

  /** Ends what waits past its deadline. */
  #endWaits(now: number): void {
    const late = (task: Task): boolean => {
      if (now >= task.job.deadline && !task.settled) {
        // Waiting for a busy child is the app's own time; having no child at all is not.
        task.settle(task.outcome(this.#staff.anyReady() ? "timeout" : "sandbox_lost"));
      }
      return task.settled;
    };
    for (const task of this.#loading) if (late(task)) this.#loading.delete(task);
    if (this.#queue.size > 0) this.#queue.sweep(late);
    if (this.#boxQueue.size > 0) this.#boxQueue.sweep(late);
    for (const task of this.#finishing) {
      if (now >= task.job.deadline && task.finished !== null) task.settle(task.finished);
      if (task.settled) this.#finishing.delete(task);
    }
  }

  #busy(): boolean {
    if (this.#queue.size > 0 || this.#boxQueue.size > 0) return true;
    if (this.#loading.size > 0 || this.#finishing.size > 0) return true;
    for (const seat of this.#staff.seats) {
      if (seat.load > 0 || seat.abandoned.size > 0) return true;
    }
    return false;
  }

  #needs(): { box: boolean; spare: boolean; work: boolean } {
    return {
      box: this.#boxQueue.size > 0,
      spare: this.#staff.traffic >= spareAfterExecutions || this.#watch.anyBlocked,
      work: this.#queue.size > 0 || this.#boxQueue.size > 0,
    };
  }
}

function stopped(): PicError {
  return new PicError("unavailable", "the sandbox pool has stopped");
}
