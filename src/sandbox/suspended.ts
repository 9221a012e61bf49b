/**
 * The memory of executions that are swapped out: how much it is, whose it is, and the buffers it lies
 * in.
 *
 * One app's waiting executions must not keep the others out: above suspendedBytesMax only apps that
 * hold next to nothing begin further ones. What began small can grow while it waits, so that beginning
 * is not all that is bounded: above suspendedBytesLimit the largest of the app that holds most must go.
 *
 * Buffers are used again. Swapping makes garbage faster than it is collected: 16 executions that sleep
 * a millisecond at a time took a child to 450 MB.
 */
import {
  suspendedBytesLimit,
  suspendedBytesMax,
  suspendedFreeBytesMax,
  suspendedSmallBytesMax,
} from "../domain/limits.ts";

/** Buffers come in multiples of this, so that an execution that grows a little finds one. */
const STEP_BYTES = 64 * 1024;

export class Suspended {
  /** @param share of the bounds that this machine can afford, above 0 and at most 1 */
  constructor(private readonly share = 1) {}

  #bytes = 0;
  readonly #byApp = new Map<string, number>();
  readonly #free: Buffer[] = [];
  #freeBytes = 0;

  /** An app may begin one more execution. */
  admits(appId: string): boolean {
    if (this.#bytes <= suspendedBytesMax * this.share) return true;
    return (this.#byApp.get(appId) ?? 0) <= suspendedSmallBytesMax;
  }

  /** The app that must give something up; null when all of it is within the limit. */
  get excess(): string | null {
    if (this.#bytes <= suspendedBytesLimit * this.share) return null;
    let most: [appId: string, bytes: number] | null = null;
    for (const held of this.#byApp) if (most === null || held[1] > most[1]) most = held;
    return most === null ? null : most[0];
  }

  /** An execution of the app was swapped out. */
  add(appId: string, bytes: number): void {
    this.#bytes += bytes;
    this.#byApp.set(appId, (this.#byApp.get(appId) ?? 0) + bytes);
  }

  /** It is back, or over. */
  remove(appId: string, bytes: number): void {
    this.#bytes -= bytes;
    const left = (this.#byApp.get(appId) ?? 0) - bytes;
    if (left > 0) this.#byApp.set(appId, left);
    else this.#byApp.delete(appId);
  }

  /** A buffer of exactly so many bytes, with anything in it. */
  take(bytes: number): Buffer {
    const size = Math.ceil(bytes / STEP_BYTES) * STEP_BYTES;
    const at = this.#free.findIndex((buffer) => buffer.length === size);
    if (at === -1) return Buffer.allocUnsafeSlow(size).subarray(0, bytes);
    const [found] = this.#free.splice(at, 1) as [Buffer];
    this.#freeBytes -= size;
    return found.subarray(0, bytes);
  }

  /** Takes back what `take` gave; nobody may look at it any more. */
  give(buffer: Buffer): void {
    const whole = Buffer.from(buffer.buffer);
    if (this.#freeBytes + whole.length > suspendedFreeBytesMax) return;
    this.#free.push(whole);
    this.#freeBytes += whole.length;
  }
}
