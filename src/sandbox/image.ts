/**
 * Images: the memory of a guest as plain bytes. What is put back is exact: everything that a later
 * execution wrote is overwritten or zeroed, so that none sees what another left behind.
 *
 * The same bytes are an image (a loaded script, restored before each execution) and a suspended
 * execution (swapped out while it waits, and restored once). They fit any instance, because all of
 * them were booted alike. A script's image is kept as what differs from the image that every script
 * is loaded into: 16 KB instead of 300 for a small script, for 2 µs more in each restore.
 */
import { type QuickJs, STATIC_END } from "./quickjs.ts";
import { HEAP_BASE } from "./quickjs-memory.ts";

/** Differences are found block by block: smaller ones save little more and make more runs. */
const BLOCK_BYTES = 256;
/** Where a run goes, where it is in `bytes`, and where it ends there. */
const RUN_WORDS = 3;

/** A whole memory: static data, and the heap from its base to its end. */
export interface WholeImage {
  readonly low: Buffer;
  readonly heap: Buffer;
}

/** Uses are counted over so many restores; an image with this part of them is worth putting together. */
const WINDOW_USES = 1_024;
const HOT_USES = 96;
const HOT_IMAGES_MAX = 8;

/** What differs from a whole image, run after run. */
export interface Image {
  /** Null: it is whole itself, one run of each part. */
  readonly base: WholeImage | null;
  readonly heapEnd: number;
  readonly bytes: Buffer;
  readonly runs: Uint32Array;
}

export function imageBytes(image: Image): number {
  return image.bytes.length + image.runs.byteLength;
}

/** Copies what a guest consists of between two entries (the C stack is empty then). */
export function captureWhole(quickjs: QuickJs): WholeImage {
  const { memory, heapEnd } = quickjs;
  return {
    low: Buffer.from(memory.subarray(0, STATIC_END)),
    heap: Buffer.from(memory.subarray(HEAP_BASE, heapEnd)),
  };
}

/** The same as an image, for what is put back once. @param take makes the buffer that it lies in */
export function captureImage(
  quickjs: QuickJs,
  take: (bytes: number) => Buffer = Buffer.allocUnsafeSlow,
): Image {
  const { memory, heapEnd } = quickjs;
  const bytes = take(STATIC_END + heapEnd - HEAP_BASE);
  memory.copy(bytes, 0, 0, STATIC_END);
  memory.copy(bytes, STATIC_END, HEAP_BASE, heapEnd);
  const runs = new Uint32Array([0, 0, STATIC_END, HEAP_BASE, STATIC_END, bytes.length]);
  return { base: null, heapEnd, bytes, runs };
}

/** What differs from `base`, for what is kept. */
export function captureDifference(quickjs: QuickJs, base: WholeImage): Image {
  const { memory, heapEnd } = quickjs;
  const found: [at: number, end: number][] = [];
  findRuns(memory, base.low, 0, STATIC_END, found);
  findRuns(memory, base.heap, HEAP_BASE, heapEnd, found);
  const total = found.reduce((sum, [at, end]) => sum + end - at, 0);
  const bytes = Buffer.allocUnsafeSlow(total);
  const runs = new Uint32Array(found.length * RUN_WORDS);
  let offset = 0;
  found.forEach(([at, end], index) => {
    memory.copy(bytes, offset, at, end);
    runs.set([at, offset, offset + end - at], index * RUN_WORDS);
    offset += end - at;
  });
  return { base, heapEnd, bytes, runs };
}

/**
 * Puts an image back and zeroes the rest. The allocator never lowers the heap's end, so that what
 * lies above it was never written.
 */
export function restoreImage(quickjs: QuickJs, image: Image): void {
  const { base, heapEnd, bytes, runs } = image;
  const dirtyEnd = quickjs.heapEnd;
  quickjs.reserve(heapEnd);
  const memory = quickjs.memory;
  if (base !== null) {
    memory.set(base.low, 0);
    memory.set(base.heap, HEAP_BASE);
  }
  for (let index = 0; index < runs.length; index += RUN_WORDS) {
    bytes.copy(memory, runs[index], runs[index + 1], runs[index + 2]);
  }
  const end = base === null ? heapEnd : Math.max(heapEnd, HEAP_BASE + base.heap.length);
  if (dirtyEnd > end) memory.fill(0, end, dirtyEnd);
  quickjs.zeroStack();
  quickjs.resetStack();
}

/**
 * The few images that most executions start from right now, put together whole: one run of each part
 * is 2 µs quicker to put back than some thirty small ones. Where many scripts take turns none is worth
 * its 300 KB.
 */
export class HotImages {
  readonly #hot = new Map<Image, Image>();
  readonly #uses = new Map<Image, number>();
  #restores = 0;

  /** The same memory, in the form that is put back most quickly. */
  of(image: Image): Image {
    if (image.base === null) return image;
    this.#restores += 1;
    if (this.#restores >= WINDOW_USES) this.#beginWindow();
    const uses = (this.#uses.get(image) ?? 0) + 1;
    this.#uses.set(image, uses);
    const hot = this.#hot.get(image);
    if (hot !== undefined) return hot;
    if (uses < HOT_USES || this.#hot.size >= HOT_IMAGES_MAX) return image;
    const made = putTogether(image, image.base);
    this.#hot.set(image, made);
    return made;
  }

  /** Gives the memory back; what is used again is put together again. */
  clear(): void {
    this.#hot.clear();
    this.#uses.clear();
    this.#restores = 0;
  }

  /** What was hardly used in the last window has cooled down. */
  #beginWindow(): void {
    for (const image of [...this.#hot.keys()]) {
      if ((this.#uses.get(image) ?? 0) < HOT_USES / 2) this.#hot.delete(image);
    }
    this.#uses.clear();
    this.#restores = 0;
  }
}

function putTogether({ bytes, runs, heapEnd }: Image, base: WholeImage): Image {
  const end = Math.max(heapEnd, HEAP_BASE + base.heap.length);
  const whole = Buffer.alloc(STATIC_END + end - HEAP_BASE);
  const place = (address: number): number =>
    address < STATIC_END ? address : STATIC_END + address - HEAP_BASE;
  base.low.copy(whole, 0);
  base.heap.copy(whole, STATIC_END);
  for (let index = 0; index < runs.length; index += RUN_WORDS) {
    bytes.copy(whole, place(runs[index] as number), runs[index + 1], runs[index + 2]);
  }
  const wholeRuns = new Uint32Array([0, 0, STATIC_END, HEAP_BASE, STATIC_END, whole.length]);
  return { base: null, heapEnd: end, bytes: whole, runs: wholeRuns };
}

/** Adds the runs of [from, to) that are not as in `base`; what lies beyond `base` is one. */
function findRuns(
  memory: Buffer,
  base: Buffer,
  from: number,
  to: number,
  found: [at: number, end: number][],
): void {
  const baseEnd = Math.min(to, from + base.length);
  let start = -1;
  for (let at = from; at < baseEnd; at += BLOCK_BYTES) {
    const end = Math.min(at + BLOCK_BYTES, baseEnd);
    if (memory.compare(base, at - from, end - from, at, end) === 0) {
      if (start !== -1) found.push([start, at]);
      start = -1;
    } else if (start === -1) start = at;
  }
  if (start === -1) start = baseEnd;
  if (start < to) found.push([start, to]);
}
