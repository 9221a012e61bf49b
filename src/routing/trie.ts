/** Tries whose levels are literals: prefixes by their segments, wildcard hosts by their labels. */
import { Edges, type TreeNode } from "./edges.ts";
import type { Literals } from "./literals.ts";
import type { Pieces } from "./pieces.ts";

export interface TrieNode<Value> extends TreeNode {
  value: Value | null;
}

/** Any number of tries, each with its own root. */
export class Tries<Value> {
  readonly #edges: Edges<TrieNode<Value>>;
  #children = new Map<TrieNode<Value>, Map<string, TrieNode<Value>>>();
  #nodes = 0;
  #levels = 0;

  constructor(literals: Literals) {
    this.#edges = new Edges(literals);
  }

  /** The most literals on a way down. */
  get levels(): number {
    return this.#levels;
  }

  root(): TrieNode<Value> {
    this.#nodes += 1;
    return { id: this.#nodes, value: null };
  }

  /** The node for these literals under the root; made when there is none. */
  grow(root: TrieNode<Value>, literals: readonly string[]): TrieNode<Value> {
    let node = root;
    for (const literal of literals) {
      let children = this.#children.get(node);
      if (children === undefined) {
        children = new Map();
        this.#children.set(node, children);
      }
      let child = children.get(literal);
      if (child === undefined) {
        child = this.root();
        children.set(literal, child);
        this.#edges.add(node, literal, child);
      }
      node = child;
    }
    this.#levels = Math.max(this.#levels, literals.length);
    return node;
  }

  /** To be called once, before `child`. */
  seal(): void {
    this.#children = new Map();
    this.#edges.seal();
  }

  child(node: TrieNode<Value>, pieces: Pieces, piece: number): TrieNode<Value> | null {
    return this.#edges.find(node, pieces, piece);
  }
}
