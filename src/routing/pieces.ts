/**
 * A path's segments or a host's labels: where they stand, and their hashes. One object serves every
 * match of a table, as a match does not wait; a string is made only of what a parameter takes. To cut
 * 28 segments and hash them takes 0.1 µs; split() alone took 0.4.
 */
import { hashStep, type Literals } from "./literals.ts";

const slash = 0x2f;

export class Pieces {
  text = "";
  /** 0 before it is cut; a text has at least one piece. */
  count = 0;
  /** Bit n: piece n is empty. */
  empties = 0;
  readonly starts: Int32Array;
  readonly ends: Int32Array;
  readonly hashes: Int32Array;

  /** @param piecesMax more are not told from one another: `count` is then this */
  constructor(
    private readonly literals: Literals,
    private readonly piecesMax: number,
  ) {
    this.starts = new Int32Array(piecesMax);
    this.ends = new Int32Array(piecesMax);
    this.hashes = new Int32Array(piecesMax);
  }

  aim(text: string): void {
    this.text = text;
    this.count = 0;
  }

  /**
   * What stands between the slashes, in one pass; once after `aim`, however often it is called. No
   * more of a piece is looked at than the longest literal has characters.
   */
  cutPath(): void {
    if (this.count > 0) return;
    const { text, starts, ends, hashes, piecesMax } = this;
    const { seed, charsMax } = this.literals;
    let count = 0;
    let empties = 0;
    for (let start = 1; count < piecesMax; ) {
      const stop = Math.min(text.length, start + charsMax);
      let at = start;
      let hash = seed;
      for (; at < stop; at += 1) {
        const code = text.charCodeAt(at);
        if (code === slash) break;
        hash = hashStep(hash, code);
      }
      if (at === stop && at < text.length && text.charCodeAt(at) !== slash) {
        const next = text.indexOf("/", at);
        at = next === -1 ? text.length : next;
      }
      starts[count] = start;
      ends[count] = at;
      hashes[count] = hash;
      // Wraps round at the 33rd piece; such a path has no parameters.
      if (at === start) empties |= 1 << count;
      count += 1;
      start = at + 1;
      if (at >= text.length) break;
    }
    this.empties = empties;
    this.count = count;
  }

  /** The labels before which another stands, the last one first: the others no wildcard's name has. */
  cutHost(): void {
    const { text, starts, ends, hashes, piecesMax } = this;
    const { seed, charsMax } = this.literals;
    let count = 0;
    for (let end = text.length; count < piecesMax; ) {
      const dot = text.lastIndexOf(".", end - 1);
      if (dot <= 0) break;
      const stop = Math.min(end, dot + 1 + charsMax);
      let hash = seed;
      for (let at = dot + 1; at < stop; at += 1) hash = hashStep(hash, text.charCodeAt(at));
      starts[count] = dot + 1;
      ends[count] = end;
      hashes[count] = hash;
      count += 1;
      end = dot;
    }
    this.count = count;
  }

  /** Whether a piece is the literal that is kept at `place`. */
  is(piece: number, place: number): boolean {
    const start = this.starts[piece] as number;
    return this.literals.equal(place, this.text, start, (this.ends[piece] as number) - start);
  }

  slice(piece: number): string {
    return this.text.slice(this.starts[piece], this.ends[piece]);
  }
}
