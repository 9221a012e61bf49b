/** Tries whose levels are literals: prefixes by their segments, wildcard hosts by their labels. */
import { routeSegmentsMax } from "../domain/limits.ts";
import { type Draft, Forest } from "./forest.ts";
import type { Literals } from "./literals.ts";
import type { Pieces } from "./pieces.ts";

/** A trie that still grows. */
export class TrieDraft<Value> implements Draft {
  edges: Map<string, TrieDraft<Value>> | null = null;
  readonly rest = null;
  /** The number of its value, or 0. */
  readonly facts = [0];
}

/** Any number of tries; a trie is its root. */
export class Tries<Value> {
  readonly #forest: Forest;
  /** None has the number 0. */
  readonly #values: (Value | null)[] = [null];
  readonly #passed = new Int32Array(routeSegmentsMax + 1);

  constructor(literals: Literals) {
    this.#forest = new Forest(literals);
  }

  /** The value for these literals; made when there is none. */
  grow(root: TrieDraft<Value>, literals: readonly string[], make: () => Value): Value {
    let node = root;
    for (const literal of literals) {
      node.edges ??= new Map();
      const child = node.edges.get(literal) ?? new TrieDraft<Value>();
      node.edges.set(literal, child);
      node = child;
    }
    if (node.facts[0] === 0) node.facts[0] = this.#values.push(make()) - 1;
    return this.#values[node.facts[0] as number] as Value;
  }

  lay(root: TrieDraft<Value>): number {
    return this.#forest.lay(root);
  }

  /** To be called once, before `walk`. */
  seal(): void {
    this.#forest.seal();
  }

  /**
   * How many values stand on the way that the pieces lead down from a root, `levels` at most. Until
   * the next call `passed` gives them, the root's first.
   */
  walk(root: number, pieces: Pieces, levels: number): number {
    return this.#forest.walk(root, pieces, levels, this.#passed);
  }

  passed(index: number): Value {
    return this.#values[this.#passed[index] as number] as Value;
  }
}
