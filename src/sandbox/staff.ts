/**
 * The pool's children: how many there are, in which roles, and when one comes or goes.
 *
 * Regular ones are replaced at once; a spare exists while there is traffic and takes the place of a
 * regular one that is lost; the box exists while an app is kept apart and has work. A child whose
 * memory has grown serves on until its replacement is ready, then finishes what it has and ends.
 * Starts that fail back off and are bounded: afterwards only waiting work makes the pool try again.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { counters } from "../base/metrics.ts";
import { PicError } from "../domain/errors.ts";
import {
  childBackoffMsMax,
  childBackoffMsMin,
  childGrowthMbMax,
  childMemoryCheckMs,
  childPrivateMbMax,
  childReadyMsMax,
  childStartFailuresMax,
  restAfterMs,
  spareIdleMsMax,
} from "../domain/limits.ts";
import type { PoolOptions } from "./api.ts";
import { type ProcessEnd, SandboxProcess } from "./process.ts";
import { oomKills, privateBytes } from "./procfs.ts";
import { FRAME_REST } from "./protocol.ts";
import { Seat, type SeatRole } from "./seat.ts";
import type { Task } from "./task.ts";

/** A spare and the box come on top of the regular children. */
const EXTRA_CHILDREN = 2;
const MEGABYTE = 1024 * 1024;

export interface LostSeat {
  seat: Seat;
  /** Who ran when the child ended by itself; null after a kill, whose culprit is known already. */
  culprit: Task | null;
  out_of_memory: boolean;
}

export interface Needs {
  /** Something waits for the box. */
  box: boolean;
  spare: boolean;
  /** Something waits at all. */
  work: boolean;
}

/** How long things take, milliseconds; tests shorten them. */
export interface StaffTimings {
  readyMsMax: number;
  memoryCheckMs: number;
  backoffMsMin: number;
  restAfterMs: number;
  spareIdleMsMax: number;
}

export const STAFF_TIMINGS: Readonly<StaffTimings> = Object.freeze({
  readyMsMax: childReadyMsMax,
  memoryCheckMs: childMemoryCheckMs,
  backoffMsMin: childBackoffMsMin,
  restAfterMs,
  spareIdleMsMax,
});

export interface StaffOptions extends PoolOptions {
  timings: StaffTimings;
  clock: Clock;
  log: Logger;
  onFrame: (seat: Seat, type: number, execution: number, text: string) => void;
  /** Work is in the pool, or in its children. */
  busy: () => boolean;
  /** A child can take work. */
  onOpen: () => void;
  /** A child with work is gone; its tasks are still on the seat. */
  onLost: (lost: LostSeat) => void;
}

interface ReadyWaiter {
  resolve: () => void;
  reject: (error: unknown) => void;
}

export class Staff {
  /** Every process that exists, whatever its state. */
  readonly seats = new Set<Seat>();
  /** Executions since the pool last came to rest. */
  traffic = 0;
  killed = 0;
  #waiters: ReadyWaiter[] = [];
  #failures = 0;
  #backoffUntil = 0;
  #needs: Needs = { box: false, spare: false, work: false };
  #everReady = false;
  #stopping = false;
  #idleTimer: ReturnType<typeof setTimeout> | null = null;
  #retryTimer: ReturnType<typeof setTimeout> | null = null;
  #memoryCheckedAt = 0;
  #oomKills = oomKills();

  constructor(private readonly options: StaffOptions) {}

  anyReady(): boolean {
    for (const seat of this.seats) if (seat.process.ready) return true;
    return false;
  }

  /** Children that will be ready, and a start that failed and will be tried again by itself. */
  get starting(): number {
    let count = this.#retryTimer === null ? 0 : 1;
    for (const seat of this.seats) if (!seat.process.ready && !seat.condemned) count += 1;
    return count;
  }

  /** How many children are meant to serve everybody. */
  get regular(): number {
    return this.options.children;
  }

  box(): Seat | null {
    return this.#find("box");
  }

  /** Resolves at once when a child is ready. Throws PicError `unavailable` when none will be. */
  ready(): Promise<void> {
    if (this.anyReady()) return Promise.resolve();
    if (this.#stopping || this.#failures >= childStartFailuresMax) {
      return Promise.reject(unavailable());
    }
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** Kills every child and waits until they are reaped. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.active();
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
    for (const waiter of this.#waiters.splice(0)) waiter.reject(unavailable());
    const processes = [...this.seats].map((seat) => seat.process);
    for (const process of processes) process.kill();
    await Promise.all(processes.map((process) => process.exited));
    this.seats.clear();
  }

  /** Brings the children to what is needed. Cheap when nothing is to be done. */
  maintain(needs: Needs): void {
    if (this.#stopping) return;
    this.#needs = needs;
    const regular = [...this.seats].filter(
      (seat) => seat.role === "regular" && !seat.condemned && !seat.worn,
    ).length;
    let missing = this.options.children - regular;
    for (let spare = this.#find("spare"); missing > 0 && spare !== null; missing -= 1) {
      spare.role = "regular";
      spare = this.#find("spare");
    }
    // The first one alone: it is ready sooner when it does not share the machine with the others.
    if (!this.#everReady) missing = Math.min(missing, this.seats.size > 0 ? 0 : 1);
    for (; missing > 0; missing -= 1) if (!this.#start("regular")) return;
    if (needs.box && this.#find("box") === null && !this.#start("box")) this.#makeBoxOfSpare();
    if (needs.spare && this.#everReady && this.#find("spare") === null) this.#start("spare");
  }

  /** Decided: this child is killed. Its replacement starts in the same moment. */
  condemn(seat: Seat): void {
    seat.condemned = true;
    this.killed += 1;
    counters.childrenKilled += 1;
    seat.process.kill();
    this.maintain(this.#needs);
  }

  /** The child has nothing to do at the moment. */
  emptied(seat: Seat): void {
    if (this.#failures > 0 && seat.completed > 0) this.#failures = 0;
    if (seat.role === "retiring") seat.process.kill();
    else if (seat.wornOut) this.#wearOut(seat, "its execution numbers come to an end");
  }

  /** Work has come: no rest now. */
  active(): void {
    if (this.#idleTimer !== null) clearTimeout(this.#idleTimer);
    this.#idleTimer = null;
  }

  /** Work has ended. The children rest soon, once; later the extra ones are let go. */
  idle(): void {
    if (this.#stopping || this.#idleTimer !== null) return;
    const { restAfterMs, spareIdleMsMax } = this.options.timings;
    this.#idleTimer = setTimeout(() => {
      this.#rest();
      this.#idleTimer = setTimeout(() => {
        this.#idleTimer = null;
        this.#letGo();
      }, spareIdleMsMax - restAfterMs);
      this.#idleTimer.unref();
    }, restAfterMs);
    this.#idleTimer.unref();
  }

  /** Replaces children whose memory has passed a bound; looks at most every childMemoryCheckMs. */
  checkMemory(now: number): void {
    if (now - this.#memoryCheckedAt < this.options.timings.memoryCheckMs) return;
    this.#memoryCheckedAt = now;
    for (const seat of this.seats) {
      if (!seat.process.ready || seat.condemned || seat.worn) continue;
      const bytes = privateBytes(seat.process.pid);
      if (bytes === null) continue;
      seat.privateBytes = bytes;
      if (seat.baseBytes === 0) seat.baseBytes = bytes;
      const cache = this.options.image_cache_mb;
      const bytesMax = Math.min(
        (childPrivateMbMax + cache) * MEGABYTE,
        seat.baseBytes + (childGrowthMbMax + cache) * MEGABYTE,
      );
      if (bytes > bytesMax) this.#wearOut(seat, "its memory has grown");
    }
  }

  /**
   * A spare has time to warm up, unless work waits for it, or an attack uses up children as fast as they
   * start: compiling in each of them took so much of two cores that a neighbour waited 100 ms.
   */
  #mayWarmUp(): boolean {
    if (this.#needs.work || this.#needs.box || this.#find("box") !== null) return false;
    for (const seat of this.seats) if (seat.condemned) return false;
    return true;
  }

  #find(role: SeatRole): Seat | null {
    for (const seat of this.seats) if (seat.role === role && !seat.condemned) return seat;
    return null;
  }

  #makeBoxOfSpare(): void {
    const spare = this.#find("spare");
    if (spare === null || spare.load > 0) return;
    spare.role = "box";
    spare.process.lowerPriority();
    this.options.onOpen();
  }

  /** Returns whether a child was started. */
  #start(role: SeatRole): boolean {
    const now = this.options.clock.monotonic();
    if (this.seats.size >= this.options.children + EXTRA_CHILDREN) return false;
    if (this.#failures > 0 && now < this.#backoffUntil) return false;
    if (this.#failures >= childStartFailuresMax && !this.#needs.work) return false;
    try {
      const process = new SandboxProcess(
        { ...this.options, ...this.options.timings },
        {
          onReady: () => this.#onReady(seat),
          onFrame: (type, execution, text) => this.options.onFrame(seat, type, execution, text),
          onGone: (end) => this.#onGone(seat, end),
        },
      );
      const seat = new Seat(role, process, now);
      this.seats.add(seat);
      if (role === "box") process.lowerPriority();
      return true;
    } catch (error) {
      this.options.log.error("a sandbox child cannot be started", { error });
      this.#failed();
      return false;
    }
  }

  #onReady(seat: Seat): void {
    if (this.#stopping || seat.condemned) return;
    this.#everReady = true;
    for (const waiter of this.#waiters.splice(0)) waiter.resolve();
    for (const worn of this.seats) if (worn.worn && worn.role === seat.role) this.#retire(worn);
    if (seat.role === "spare" && this.#mayWarmUp() && !seat.process.warm) this.#restSeat(seat);
    this.options.onOpen();
    this.maintain(this.#needs);
    if (!this.options.busy()) this.idle();
  }

  #onGone(seat: Seat, end: ProcessEnd): void {
    this.seats.delete(seat);
    if (this.#stopping) return;
    const byItself = !end.killed;
    const { pid } = seat.process;
    if (byItself) {
      this.options.log.error(
        end.was_ready ? "a sandbox child has ended" : "a sandbox child did not start",
        { pid, signal: end.signal, exit_code: end.exit_code, error: end.error, output: end.output },
      );
    }
    const oom = this.#wasOutOfMemory(end);
    const blamed = seat.process.cell.running() || seat.brokeProtocol;
    const culprit = byItself ? (seat.running.get(blamed) ?? null) : null;
    // Whom a guest brought down had started well: that must not slow down anybody's next start.
    if (byItself && culprit === null && seat.completed === 0) this.#failed();
    this.maintain(this.#needs);
    this.options.onLost({ seat, culprit, out_of_memory: oom });
  }

  /** A start failed: the next waits twice as long. */
  #failed(): void {
    this.#failures += 1;
    const wait = Math.min(
      childBackoffMsMax,
      this.options.timings.backoffMsMin * 2 ** (this.#failures - 1),
    );
    this.#backoffUntil = this.options.clock.monotonic() + wait;
    if (this.#failures >= childStartFailuresMax) {
      for (const waiter of this.#waiters.splice(0)) waiter.reject(unavailable());
      return;
    }
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = null;
      this.maintain(this.#needs);
    }, wait + 1);
  }

  /** The kernel killed it, and has killed for want of memory since we last asked. */
  #wasOutOfMemory(end: ProcessEnd): boolean {
    if (end.killed || end.signal !== "SIGKILL") return false;
    const before = this.#oomKills;
    this.#oomKills = oomKills();
    return before !== null && this.#oomKills !== null && this.#oomKills > before;
  }

  #wearOut(seat: Seat, reason: string): void {
    this.options.log.info("a sandbox child is replaced", {
      pid: seat.process.pid,
      reason,
      private_bytes: seat.privateBytes,
    });
    seat.worn = true;
    if (seat.role !== "regular") {
      this.#retire(seat);
      return;
    }
    this.maintain(this.#needs);
    // A spare that took over was ready before: nobody else will say so.
    const others = [...this.seats].filter((other) => other.role === "regular" && !other.worn);
    if (others.filter((other) => other.open).length >= this.options.children) this.#retire(seat);
  }

  #retire(seat: Seat): void {
    seat.role = "retiring";
    if (seat.load === 0) seat.process.kill();
  }

  #restSeat(seat: Seat): void {
    seat.sinceRest = 0;
    seat.process.send(FRAME_REST, 0, "");
  }

  #rest(): void {
    for (const seat of this.seats) {
      if (seat.process.ready && !seat.condemned && seat.sinceRest > 0) this.#restSeat(seat);
    }
    this.options.onRest?.();
  }

  #letGo(): void {
    this.traffic = 0;
    this.#needs = { box: false, spare: false, work: false };
    for (const seat of this.seats) {
      if ((seat.role === "spare" || seat.role === "box") && seat.load === 0) this.#retire(seat);
    }
    // Once more: what a child compiled under load it gives back only after it has been quiet.
    for (const seat of this.seats) {
      if (seat.process.ready && !seat.condemned && seat.role !== "retiring") this.#restSeat(seat);
    }
    this.options.onRest?.();
    this.#memoryCheckedAt = 0;
    this.checkMemory(this.options.clock.monotonic());
  }
}

function unavailable(): PicError {
  return new PicError("unavailable", "no sandbox could be started");
}
