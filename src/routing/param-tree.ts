/**
 * Finds the parameter routes that match, among those with one number of segments.
 *
 * A trie read from left to right backtracks: with `a` and `:p` at each of 13 positions it visits 8,192
 * branches before the last segment decides. So each node asks about the position where most patterns
 * are literal, not about the next one. Patterns that have a parameter there go to `rest`, once; a
 * search follows at most one branch and the rest of each node, and no position is asked about twice
 * on a way down, so its depth is at most routeSegmentsMax.
 *
 * How many nodes it visits is measured (`bun run bench routing`), not proved. That a node also asks
 * about what all its patterns have in common, before it leaves them to a leaf, brought the worst
 * request to 3^8 patterns that overlap from 255 nodes to 29. The worst found by climbing, among 2,000
 * random patterns of 32 segments, is 217 nodes: 6 µs.
 */
import { type Entry, headRank } from "./entries.ts";
import { type Draft, Forest, noNode } from "./forest.ts";
import type { Literals } from "./literals.ts";
import type { Search } from "./search.ts";

/**
 * All parameter trees of a table; a tree is its root. A node's fact is the position it asks about. A
 * leaf's are how many patterns it has and of each: a bit for each segment that is a parameter's, the
 * number of its entry, about how many literals no node above has asked, and their positions and places.
 */
export class ParamTrees {
  readonly #forest: Forest;
  readonly #entries: Entry[] = [];

  constructor(readonly literals: Literals) {
    this.#forest = new Forest(literals);
  }

  lay(root: Draft): number {
    return this.#forest.lay(root);
  }

  /** A number for an entry, to stand in a leaf. */
  keep(entry: Entry): number {
    return this.#entries.push(entry) - 1;
  }

  /** To be called once, before `search`. */
  seal(): void {
    this.#forest.seal();
  }

  /** The best route for the method, or null. By the conflict rule there is one, but for HEAD. */
  search(root: number, search: Search): Entry | null {
    const forest = this.#forest;
    let best: Entry | null = null;
    for (let node = root; node !== noNode; ) {
      if (node < 0) return better(best, this.#searchLeaf(node, search));
      const branch = forest.step(node, search.path, forest.fact(node));
      const rest = forest.rest(node);
      if (branch !== noNode && rest !== noNode) {
        best = better(best, this.search(branch, search));
        if (best !== null && search.method !== "HEAD") return best;
      }
      node = rest === noNode ? branch : rest;
    }
    return best;
  }

  #searchLeaf(leaf: number, search: Search): Entry | null {
    const forest = this.#forest;
    let best: Entry | null = null;
    let at = 1;
    for (let patterns = forest.fact(leaf); patterns > 0; patterns -= 1) {
      const end = at + 3 + 2 * forest.fact(leaf, at + 2);
      if (this.#fits(leaf, at, end, search)) {
        const entry = this.#entries[forest.fact(leaf, at + 1)] as Entry;
        best = better(best, search.pick(entry));
      }
      at = end;
    }
    return best;
  }

  #fits(leaf: number, start: number, end: number, { path }: Search): boolean {
    const forest = this.#forest;
    // A parameter takes one whole segment, and an empty one is none.
    if ((forest.fact(leaf, start) & path.empties) !== 0) return false;
    for (let at = start + 3; at < end; at += 2) {
      if (!path.is(forest.fact(leaf, at), forest.fact(leaf, at + 1))) return false;
    }
    return true;
  }
}

function better(a: Entry | null, b: Entry | null): Entry | null {
  if (a === null || b === null) return a ?? b;
  if (a.leading_literals !== b.leading_literals) {
    return a.leading_literals > b.leading_literals ? a : b;
  }
  return headRank(a) <= headRank(b) ? a : b;
}
