/**
 * The instances of one child: which is empty or may be emptied next, and how those that have grown or
 * failed are replaced.
 */
import { swapAfterMs, turnMsMax } from "../domain/limits.ts";
import { type BaseImage, type EntryWatch, Instance } from "./instance.ts";

export class ChildInstances {
  readonly #instances: Instance[] = [];
  #base: BaseImage | null = null;
  /** Memory of instances given up since the last collection: garbage that nobody else counts. */
  releasedBytes = 0;

  /** @param onFresh a new instance has taken the place of one that was given up */
  constructor(
    private readonly watch: EntryWatch,
    private readonly onFresh: () => void,
  ) {}

  /** Makes them. Throws when the engine is not the expected one. */
  async open(count: number): Promise<void> {
    const first = await Instance.boot(this.watch, null);
    this.#base = first.base;
    this.#instances.push(first);
    while (this.#instances.length < count) {
      this.#instances.push(await Instance.boot(this.watch, first.base));
    }
  }

  /** Gives back what only speed needs. */
  trim(): void {
    this.#base?.hot.clear();
  }

  /** Memory of large executions that wait in their instances. */
  get largeResidentBytes(): number {
    let bytes = 0;
    for (const { grown, resident, memoryBytes } of this.#instances) {
      if (grown && resident !== null) bytes += memoryBytes;
    }
    return bytes;
  }

  /** An empty one, else the one that may be emptied first; null while all are being replaced. */
  next(): Instance | null {
    let next: Instance | null = null;
    for (const instance of this.#instances) {
      if (instance.resident === null) return instance;
      if (next === null || emptiableAt(instance) < emptiableAt(next)) next = instance;
    }
    return next;
  }

  /** The execution in it is over: kept, unless it has grown or failed. */
  release(instance: Instance): void {
    instance.resident = null;
    if (instance.grown || instance.broken) this.replace(instance);
  }

  /** Gives one up; its successor is some milliseconds away. */
  replace(instance: Instance): void {
    const index = this.#instances.indexOf(instance);
    if (index === -1) return;
    this.#instances.splice(index, 1);
    this.releasedBytes += instance.memoryBytes;
    Instance.boot(this.watch, this.#base).then(
      (fresh) => {
        this.#instances.push(fresh);
        this.onFresh();
      },
      (error: unknown) => {
        // Without instances a child is of no use: the parent starts another.
        console.error("sandbox: no new instance:", error);
        process.exit(1);
      },
    );
  }
}

/**
 * When the execution in an instance may be swapped out, on the monotonic clock: it has waited for long
 * enough, or has had its turn; those that come back every millisecond must not keep all others out.
 */
export function emptiableAt({ resident, leftAt, placedAt }: Instance): number {
  if (resident?.waitsForHost !== true) return leftAt;
  return Math.min(leftAt + swapAfterMs, placedAt + turnMsMax);
}
