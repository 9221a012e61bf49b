/**
 * Stands between a guest's allocator and its memory, and gives it its clock. The package's glue would
 * grow the memory by a fifth at a time and without a limit of ours; here it gets what it needs, up to
 * the limit of the execution that runs.
 */
import { memoryCeilingMb } from "../domain/limits.ts";

/** Static data lies below the C stack, the C stack below the heap. */
export const STACK_TOP = 5_333_088;
export const HEAP_BASE = STACK_TOP;

const PAGE_BYTES = 65_536;
/** What the module asks for at least: 16 MiB. */
const PAGES_INITIAL = 256;
const PAGES_MAX = Math.ceil((HEAP_BASE + memoryCeilingMb * 1024 * 1024) / PAGE_BYTES) + 1;
export const MEMORY_BYTES_INITIAL = PAGES_INITIAL * PAGE_BYTES;
/** Memory grows by at least this much, so that a growing script does not grow page by page. */
const GROWTH_BYTES = 1024 * 1024;

/** Import names of the pinned build (its packager minified them). */
const IMPORT_RESIZE_HEAP = "k";
const IMPORT_NOW = "p";

export type ImportFunction = (...args: number[]) => number | bigint | undefined;

export class QuickJsMemory {
  /** The heap may not end above this address; growth beyond it is refused. */
  heapEndMax = HEAP_BASE + memoryCeilingMb * 1024 * 1024;
  /** Growth was refused since this was last set to false: the guest has met its memory limit. */
  growthRefused = false;
  /** Null: the guest's clock runs. A number: it stands at that time (epoch milliseconds). */
  frozenAt: number | null = null;
  readonly memory = new WebAssembly.Memory({ initial: PAGES_INITIAL, maximum: PAGES_MAX });
  #resizeHeap: ImportFunction = () => 0;
  #pagesWanted = 0;

  constructor() {
    const { memory } = this;
    const grow = memory.grow.bind(memory);
    // The glue passes its own, larger figure; ours was set by `resize`.
    memory.grow = () => grow(this.#pagesWanted - memory.buffer.byteLength / PAGE_BYTES);
  }

  /** Takes the place of what the glue would have imported. */
  wrap(imports: Record<string, ImportFunction>): void {
    const resizeHeap = imports[IMPORT_RESIZE_HEAP];
    assertLayout(resizeHeap !== undefined, "there is no import for growth");
    this.#resizeHeap = resizeHeap as ImportFunction;
    imports[IMPORT_RESIZE_HEAP] = (bytes = 0) => (this.resize(bytes >>> 0) ? 1 : 0);
    imports[IMPORT_NOW] = () => this.frozenAt ?? Date.now();
  }

  /** Makes the memory at least so large. False: it is not allowed to be. */
  resize(bytes: number): boolean {
    const max = Math.min(this.heapEndMax, PAGES_MAX * PAGE_BYTES);
    if (bytes > max) {
      this.growthRefused = true;
      return false;
    }
    const wanted = Math.min(this.memory.buffer.byteLength + GROWTH_BYTES, max);
    this.#pagesWanted = Math.ceil(Math.max(wanted, bytes) / PAGE_BYTES);
    // Refreshes the glue's views of the memory, and calls `grow` above.
    return Boolean(this.#resizeHeap(bytes));
  }
}

/** Another build of the package would not fit the addresses and names that are known here. */
export function assertLayout(condition: boolean, what: string): void {
  if (!condition) throw new Error(`unexpected build of QuickJS: ${what}`);
}
