/**
 * The literal segments and host labels of one table: their hash, and their characters in one array.
 *
 * The hash only says where to look; what is found is compared character by character. It begins from
 * a seed drawn for each table, so that nobody can choose segments that share one hash.
 */

import type { Pieces } from "./pieces.ts";

/** Odd, with its bits spread evenly (the golden ratio, as Knuth takes it for multiplicative hashing). */
const spread = 0x9e3779b1;

/** Takes one character, or one number, into a hash. */
export function hashStep(hash: number, code: number): number {
  const mixed = Math.imul(hash ^ code, spread);
  return mixed ^ (mixed >>> 15);
}

export class Literals {
  /** Length of the longest: what is longer is equal to none, and need not be hashed. */
  charsMax = 0;
  /** 16 bits, though canonical text is ASCII: that is judged elsewhere and not relied on here. */
  #codes = new Uint16Array(1_024);
  #size = 0;

  constructor(readonly seed: number) {}

  /** Keeps the literal and returns where it begins, for `equal`. */
  add(literal: string): number {
    const begins = this.#size;
    this.#size += literal.length;
    if (this.#size > this.#codes.length) {
      const grown = new Uint16Array(2 * this.#size);
      grown.set(this.#codes);
      this.#codes = grown;
    }
    for (let at = 0; at < literal.length; at += 1) {
      this.#codes[begins + at] = literal.charCodeAt(at);
    }
    this.charsMax = Math.max(this.charsMax, literal.length);
    return begins;
  }

  /** Gives back what was reserved for growth. */
  seal(): void {
    this.#codes = this.#codes.slice(0, this.#size);
  }

  hash(text: string): number {
    let hash = this.seed;
    for (let at = 0; at < text.length; at += 1) hash = hashStep(hash, text.charCodeAt(at));
    return hash;
  }

  /** Whether a piece is the literal of that length that begins at `begins`. */
  equal(begins: number, length: number, pieces: Pieces, piece: number): boolean {
    const start = pieces.starts[piece] as number;
    if ((pieces.ends[piece] as number) - start !== length) return false;
    const { text } = pieces;
    const codes = this.#codes;
    for (let at = 0; at < length; at += 1) {
      if (codes[begins + at] !== text.charCodeAt(start + at)) return false;
    }
    return true;
  }
}
