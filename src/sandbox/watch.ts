/**
 * The watchdog: what the pool does about executions that overrun, from outside and without the
 * child's help. `look` is called every poolTickMs while something runs.
 *
 * - Past its deadline an execution is cancelled; when the child does not answer within killGraceMs,
 *   the child is killed if the cell names this execution, else the execution alone ends.
 * - An execution whose guest code has used its CPU limit and killGraceMs more is killed. CPU is what
 *   counts: on a busy machine an honest script takes longer, and its deadline alone ends it.
 * - A child that stays in one entry for stealAfterMs is blocked: what queues behind that entry
 *   and has made no host call moves elsewhere, once. Work of the app that blocks stays.
 */
import type { Logger } from "../base/log.ts";
import {
  childHungMsMax,
  killGraceMs,
  poolTickMs,
  shareAheadMsMax,
  stealAfterMs,
} from "../domain/limits.ts";
import type { Seat } from "./seat.ts";
import type { Task } from "./task.ts";

export interface WatchOptions {
  log: Logger;
  /** The task's app is to be kept apart. */
  offence: (task: Task, now: number) => void;
  kill: (seat: Seat) => void;
  /** Finds a new place for a task that was taken off its seat. */
  move: (task: Task) => void;
  /** Where the task would go now, or null. */
  place: (task: Task) => Seat | null;
}

export class Watch {
  /** Apps with an execution that blocks a child. */
  readonly #hogs = new Set<string>();
  /** A child is blocked. */
  anyBlocked = false;

  constructor(private readonly options: WatchOptions) {}

  hogs(appId: string): boolean {
    return this.#hogs.size > 0 && this.#hogs.has(appId);
  }

  look(seats: ReadonlySet<Seat>, now: number): void {
    this.#hogs.clear();
    this.anyBlocked = false;
    const watched = [...seats].filter((seat) => seat.process.ready && !seat.condemned);
    for (const seat of watched) {
      seat.look(now);
      this.#judgeEntry(seat, now);
    }
    for (const seat of seats) if (seat.condemned) endLate(seat, now);
    for (const seat of watched) {
      if (!seat.condemned) this.#judgeDeadlines(seat, now);
      if (!seat.condemned && seat.blocked && seat.role !== "box") this.#steal(seat, now);
    }
  }

  #judgeEntry(seat: Seat, now: number): void {
    const { entry } = seat;
    if (entry === null) return;
    const age = now - entry.since;
    if (age < stealAfterMs) return;
    seat.blocked = true;
    const task = culpritOf(seat, entry.execution);
    if (task !== null) {
      const { deadline, limits } = task.job;
      if (now >= deadline + killGraceMs) this.#kill(seat, task, "timeout", now);
      else if (seat.usedMs(now) >= limits.cpu_ms + killGraceMs) {
        this.#kill(seat, task, now >= deadline ? "timeout" : "cpu_ms", now);
      }
    } else if (age > childHungMsMax) {
      this.#kill(seat, null, "an unknown execution", now);
    }
    if (seat.condemned) return;
    this.anyBlocked = true;
    if (task !== null && seat.role !== "box") this.#hogs.add(task.job.cx.app_id);
  }

  #judgeDeadlines(seat: Seat, now: number): void {
    for (const [number, task] of seat.running.entries()) {
      if (!seat.blocked && now >= task.sentAt + shareAheadMsMax) task.waits();
      if (now < task.job.deadline) continue;
      if (!task.cancelled) {
        task.cancelled = true;
        seat.cancel(number);
        continue;
      }
      if (now < task.job.deadline + killGraceMs) continue;
      if (seat.entry?.execution === number) {
        this.#kill(seat, task, "timeout", now);
        return;
      }
      seat.abandon(number, now);
      task.settle(task.outcome("timeout"));
    }
    if (seat.entry !== null || seat.abandoned.size === 0) return;
    for (const { at } of seat.abandoned.values()) {
      const silentSince = Math.max(at, seat.lastHeardAt);
      if (now - silentSince < childHungMsMax) return;
    }
    this.#kill(seat, null, "the child has hung", now);
  }

  #kill(
    seat: Seat,
    culprit: Task | null,
    reason: "timeout" | "cpu_ms" | "an unknown execution" | "the child has hung",
    now: number,
  ): void {
    this.options.log.warn("a sandbox child is killed", {
      pid: seat.process.pid,
      reason,
      app_id: culprit?.job.cx.app_id ?? null,
      script_id: culprit?.job.cx.script_id ?? null,
      execution_id: culprit?.job.cx.execution_id ?? null,
    });
    if (culprit !== null) {
      culprit.entered = true;
      for (const [number, task] of seat.running.entries())
        if (task === culprit) seat.running.delete(number);
      this.options.offence(culprit, now);
      // A stolen one whose first copy is to blame lives on elsewhere.
      const gone = !isElsewhere(seat, culprit);
      if (gone && reason === "cpu_ms") culprit.settle(culprit.outcome("budget_exceeded", "cpu_ms"));
      else if (gone) culprit.settle(culprit.outcome("timeout"));
    }
    this.options.kill(seat);
  }

  /**
   * Moves what was sent after the blocking entry began, or about then: it cannot have run. What was
   * sent earlier has run and waits for something, and would have to begin again.
   */
  #steal(seat: Seat, now: number): void {
    const { entry } = seat;
    if (entry === null) return;
    const appId = culpritOf(seat, entry.execution)?.job.cx.app_id;
    for (const [number, task] of seat.running.entries()) {
      if (number === entry.execution || task.stolen || task.cancelled) continue;
      if (task.hostCalls > 0 || task.job.cx.app_id === appId) continue;
      if (task.sentAt < entry.since - 2 * poolTickMs) continue;
      const place = this.options.place(task);
      if (place === null || place === seat) continue;
      seat.abandon(number, now);
      task.stolen = true;
      task.startOver();
      this.options.move(task);
    }
  }
}

/** A killed child that the system is slow to take away must not hold its executions. */
function endLate(seat: Seat, now: number): void {
  for (const task of seat.running.values()) {
    if (now >= task.job.deadline + killGraceMs) task.settle(task.outcome("timeout"));
  }
}

function culpritOf(seat: Seat, execution: number): Task | null {
  return seat.running.get(execution) ?? seat.abandoned.get(execution)?.task ?? null;
}

/** The task was taken off this seat, so what the seat does to it no longer decides its end. */
function isElsewhere(seat: Seat, task: Task): boolean {
  for (const abandoned of seat.abandoned.values()) if (abandoned.task === task) return true;
  return false;
}
