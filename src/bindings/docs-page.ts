/** The documents of one page while they are found, and what finding them may cost. */
import type { Clock } from "../base/clock.ts";
import { comparePositions, type DocPosition, type DocSort } from "../domain/doc-query.ts";
import type { DocObject } from "../domain/doc-values.ts";
import {
  docConditionShare,
  docFindBytesMax,
  docFindRowsMax,
  docPageBytesMax,
  docSliceMs,
} from "../domain/limits.ts";

export interface FoundDocument {
  document: DocObject;
  position: DocPosition;
  bytes: number;
}

/** The first documents of a sort, whatever the order in which they are added. */
export class DocsPage {
  readonly items: FoundDocument[] = [];
  /** Something was left out behind the last one. */
  hasMore = false;
  #bytes = 0;

  constructor(
    private readonly sort: DocSort,
    private readonly limit: number,
  ) {}

  get isFull(): boolean {
    return this.items.length >= this.limit || this.#bytes >= docPageBytesMax;
  }

  add(found: FoundDocument): void {
    const { items } = this;
    let [low, high] = [0, items.length];
    // What comes in order goes to the end at once.
    if (high > 0 && this.#isBefore(items[high - 1] as FoundDocument, found)) low = high;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#isBefore(items[middle] as FoundDocument, found)) low = middle + 1;
      else high = middle;
    }
    items.splice(low, 0, found);
    this.#bytes += found.bytes;
    this.#trim();
  }

  #isBefore(a: FoundDocument, b: FoundDocument): boolean {
    return comparePositions(this.sort, a.position, b.position) < 0;
  }

  /** The last one goes when the page is full without it. */
  #trim(): void {
    const { items, limit } = this;
    while (items.length > 1) {
      const last = items.at(-1) as FoundDocument;
      if (items.length <= limit && this.#bytes - last.bytes < docPageBytesMax) return;
      items.pop();
      this.#bytes -= last.bytes;
      this.hasMore = true;
    }
  }
}

/** What one call may read, and when the event loop gets its turn. */
export class DocsBudget {
  #rows = 0;
  #bytes = 0;
  #sliceEnd: number;

  constructor(
    private readonly clock: Clock,
    private readonly conditions: number,
  ) {
    this.#sliceEnd = clock.monotonic() + docSliceMs;
  }

  /** At least one document can be read. */
  get isSpent(): boolean {
    return this.#rows >= docFindRowsMax || this.#bytes >= docFindBytesMax;
  }

  spend(bytes: number): void {
    this.#rows += 1;
    this.#bytes += bytes * (1 + docConditionShare * Math.max(0, this.conditions - 1));
  }

  /** Null while the slice lasts: requests come first. */
  turn(): Promise<void> | null {
    if (this.clock.monotonic() < this.#sliceEnd) return null;
    return new Promise((resolve) => {
      setImmediate(() => {
        this.#sliceEnd = this.clock.monotonic() + docSliceMs;
        resolve();
      });
    });
  }
}
