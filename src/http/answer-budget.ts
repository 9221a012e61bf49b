/**
 * What large answers may hold while their callers do not read them. Bun keeps each until the network
 * has taken it, and says only how many are under way: 150 callers who asked for 4 MB and read nothing
 * took 350 MB, for as long as a connection may be idle.
 *
 * So the sizes of the answers since the last time all were taken are remembered; as many of the largest
 * as there are answers under way is the most that can be held.
 */

import { PicError } from "../domain/errors.ts";
import {
  answerSmallBytesMax,
  answersHeldBytesMax,
  answersRememberedMax,
  bodiesRetryAfterS,
} from "../domain/limits.ts";

export class AnswerBudget {
  /** Of large answers, in the order in which they were given. */
  #sizes: number[] = [];
  #sum = 0;
  #largest = 0;

  constructor(private readonly heldBytesMax = answersHeldBytesMax) {}

  /**
   * Counts an answer of `bytes`. Throws PicError `overloaded` when it would hold too much.
   * @param unsent answers that were given and are not wholly taken by the network
   */
  take(bytes: number, unsent: number): void {
    if (bytes <= answerSmallBytesMax) return;
    if (unsent <= 0) this.#forget();
    if (unsent > 0 && !this.#hasRoom(bytes, unsent)) {
      throw new PicError("overloaded", "Too many large answers are not read by their callers", {
        retry_after_s: bodiesRetryAfterS,
      });
    }
    this.#sizes.push(bytes);
    this.#sum += bytes;
    this.#largest = Math.max(this.#largest, bytes);
    if (this.#sizes.length > answersRememberedMax) this.#sum -= this.#sizes.shift() ?? 0;
  }

  #hasRoom(bytes: number, unsent: number): boolean {
    if (this.#sum + bytes <= this.heldBytesMax) return true;
    if (unsent * this.#largest + bytes <= this.heldBytesMax) return true;
    if (unsent >= this.#sizes.length) return false;
    const largest = this.#sizes.toSorted((a, b) => b - a).slice(0, unsent);
    return largest.reduce((sum, size) => sum + size, bytes) <= this.heldBytesMax;
  }

  #forget(): void {
    if (this.#sizes.length === 0) return;
    this.#sizes = [];
    this.#sum = 0;
    this.#largest = 0;
  }
}
