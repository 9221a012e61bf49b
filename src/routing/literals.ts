/**
 * The literal segments and host labels of one table: their hashes, and their characters in one array.
 *
 * The hash only says where to look; what is found is compared character by character. It begins from
 * a seed that is drawn for each table, so that nobody can choose literals whose hashes meet.
 */

/** Odd, its bits spread evenly: 2^32 over the golden ratio, as in Knuth's multiplicative hashing. */
const spread = 0x9e3779b1;

/** Takes one character, or one number, into a hash. */
export function hashStep(hash: number, code: number): number {
  const mixed = Math.imul(hash ^ code, spread);
  return mixed ^ (mixed >>> 15);
}

export interface Literal {
  readonly hash: number;
  /** Where its characters are, for `equal`. */
  readonly place: number;
}

export class Literals {
  /** Length of the longest: what is longer is equal to none, and need not be hashed. */
  charsMax = 0;
  /** Of each literal its length, then its characters; canonical ones are ASCII, but any would do. */
  #codes = new Uint16Array(1_024);
  #size = 0;
  #known = new Map<string, Literal>();

  constructor(readonly seed: number) {}

  /** Keeps the literal, once. */
  add(text: string): Literal {
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    const place = this.#size;
    this.#size += 1 + text.length;
    if (this.#size > this.#codes.length) {
      const grown = new Uint16Array(2 * this.#size);
      grown.set(this.#codes);
      this.#codes = grown;
    }
    this.#codes[place] = text.length;
    let hash = this.seed;
    for (let at = 0; at < text.length; at += 1) {
      const code = text.charCodeAt(at);
      this.#codes[place + 1 + at] = code;
      hash = hashStep(hash, code);
    }
    this.charsMax = Math.max(this.charsMax, text.length);
    const literal = { hash, place };
    this.#known.set(text, literal);
    return literal;
  }

  /** Gives back what only `add` needs. */
  seal(): void {
    this.#codes = this.#codes.slice(0, this.#size);
    this.#known.clear();
  }

  /** Whether the literal kept at `place` is what `text` has at `start`, `length` characters long. */
  equal(place: number, text: string, start: number, length: number): boolean {
    const codes = this.#codes;
    if (codes[place] !== length) return false;
    for (let at = 0; at < length; at += 1) {
      if (codes[place + 1 + at] !== text.charCodeAt(start + at)) return false;
    }
    return true;
  }
}
