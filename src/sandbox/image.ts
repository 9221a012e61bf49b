/**
 * Images: the memory of a guest as plain bytes. What is put back is exact: everything that a later
 * execution wrote is overwritten or zeroed, so that none sees what another left behind.
 *
 * The same bytes are an image (a loaded script, restored before each execution) and a suspended
 * execution (swapped out while it waits, and restored once). They fit any instance, because all of
 * them were booted alike.
 */
import { HEAP_BASE, type QuickJs, STATIC_END } from "./quickjs.ts";

export interface Image {
  /** Static data: addresses 0 up to the C stack. */
  readonly low: Uint8Array;
  /** The heap, from its base to its end. */
  readonly heap: Uint8Array;
}

export function imageBytes(image: Image): number {
  return image.low.length + image.heap.length;
}

/** Copies what a guest consists of between two entries (the C stack is empty then). */
export function captureImage(quickjs: QuickJs): Image {
  const { memory, heapEnd } = quickjs;
  return {
    low: new Uint8Array(memory.subarray(0, STATIC_END)),
    heap: new Uint8Array(memory.subarray(HEAP_BASE, heapEnd)),
  };
}

/** Puts an image back and zeroes the rest. The allocator never lowers the heap's end, so that what
 * lies above it was never written. */
export function restoreImage(quickjs: QuickJs, image: Image): void {
  const end = HEAP_BASE + image.heap.length;
  const dirtyEnd = quickjs.heapEnd;
  quickjs.reserve(end);
  const memory = quickjs.memory;
  memory.set(image.low, 0);
  memory.set(image.heap, HEAP_BASE);
  if (dirtyEnd > end) memory.fill(0, end, dirtyEnd);
  quickjs.zeroStack();
  quickjs.resetStack();
}
