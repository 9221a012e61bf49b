/** Tasks that wait, in turns by app: no app's queue stands before another's. */
import type { Task } from "./task.ts";

export class FairQueue {
  /** App → its tasks in order; the app whose turn is next comes first. No list is empty. */
  readonly #waiting = new Map<string, Task[]>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  hasApp(appId: string): boolean {
    return this.#waiting.has(appId);
  }

  add(task: Task): void {
    const appId = task.job.cx.app_id;
    const tasks = this.#waiting.get(appId);
    if (tasks === undefined) this.#waiting.set(appId, [task]);
    else tasks.push(task);
    this.#size += 1;
  }

  /** Offers the first task of each app in turn until nobody's is accepted any more. */
  serve(accept: (task: Task) => boolean): void {
    // An app that was served moves to the end, where this loop meets it again.
    for (const [appId, tasks] of this.#waiting) {
      const task = tasks[0] as Task;
      if (!accept(task)) continue;
      tasks.shift();
      this.#size -= 1;
      this.#waiting.delete(appId);
      if (tasks.length > 0) this.#waiting.set(appId, tasks);
    }
  }

  /** Takes out all tasks that `over` says are over, for instance past their deadline. */
  sweep(over: (task: Task) => boolean): void {
    for (const [appId, tasks] of this.#waiting) {
      const left = tasks.filter((task) => !over(task));
      this.#size -= tasks.length - left.length;
      if (left.length === 0) this.#waiting.delete(appId);
      else if (left.length < tasks.length) this.#waiting.set(appId, left);
    }
  }
}
