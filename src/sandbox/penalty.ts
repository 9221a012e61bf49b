/**
 * The penalty box: which apps are kept apart from the others, until when, and what of theirs waits.
 * They share one child, one app at a time in turns, so that none of them meets an innocent and none
 * of them waits for ever behind another.
 */
import { penaltyAppsMax, penaltyMs } from "../domain/limits.ts";
import type { Task } from "./task.ts";

export class PenaltyBox {
  /** App → when it is let out; the soonest first, because every offence moves its app to the end. */
  readonly #until = new Map<string, number>();
  /** App → its waiting tasks; the app whose turn is next comes first. */
  readonly #waiting = new Map<string, Task[]>();
  #count = 0;

  /** Tasks that wait. */
  get waiting(): number {
    return this.#count;
  }

  punish(appId: string, now: number): void {
    this.#until.delete(appId);
    this.#until.set(appId, now + penaltyMs);
    if (this.#until.size <= penaltyAppsMax) return;
    const soonest = this.#until.keys().next().value;
    if (soonest !== undefined) this.#until.delete(soonest);
  }

  holds(appId: string, now: number): boolean {
    if (this.#until.size === 0) return false;
    const until = this.#until.get(appId);
    if (until === undefined) return false;
    if (now < until) return true;
    this.#until.delete(appId);
    return false;
  }

  add(task: Task): void {
    const appId = task.job.cx.app_id;
    const tasks = this.#waiting.get(appId);
    if (tasks === undefined) this.#waiting.set(appId, [task]);
    else tasks.push(task);
    this.#count += 1;
  }

  /** The next task, of the app that has waited longest for a turn. */
  take(): Task | null {
    for (const [appId, tasks] of this.#waiting) {
      this.#waiting.delete(appId);
      const task = tasks.shift();
      if (task === undefined) continue;
      this.#count -= 1;
      if (tasks.length > 0) this.#waiting.set(appId, tasks);
      return task;
    }
    return null;
  }

  /** Takes out what `gone` says is over, for instance past its deadline. */
  sweep(gone: (task: Task) => boolean): void {
    for (const [appId, tasks] of [...this.#waiting]) {
      const left = tasks.filter((task) => !gone(task));
      this.#count -= tasks.length - left.length;
      if (left.length === 0) this.#waiting.delete(appId);
      else if (left.length < tasks.length) this.#waiting.set(appId, left);
    }
  }
}
