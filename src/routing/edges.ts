/**
 * The edges of all trees of one sort in a table: from a node, by a literal, to a node. One hash table
 * with open addressing, in place of a Map for each node, and no string is made to look one up.
 *
 * A look-up tries at most `probesMax` slots, which is seen to when the table is sealed, so neither
 * routes nor requests can be chosen to make it slow; and an edge that is found has the same node and,
 * character by character, the same literal.
 */
import { hashStep, type Literals } from "./literals.ts";
import type { Pieces } from "./pieces.ts";

export interface TreeNode {
  readonly id: number;
}

interface Edge<Node> {
  from: number;
  literal: string;
  to: Node;
}

/** What 10,000 edges need is about 20; with a salt that needs more they are placed anew. */
const probesMax = 32;
/** Each third try has twice the room. */
const placingsMax = 9;

/** Of each slot: the key of its edge, and the edge's number plus one; 0 is an empty slot. */
const slotInts = 2;
/** Of each edge: the node it leaves, where its literal begins, the literal's length. */
const edgeInts = 3;

export class Edges<Node extends TreeNode> {
  #slots = new Int32Array(slotInts);
  #slotsMask = 0;
  #salt = 1;
  #edges = new Int32Array(0);
  #targets: Node[] = [];
  #probes = 0;
  #added: Edge<Node>[] = [];

  constructor(private readonly literals: Literals) {}

  /** How many slots the longest look-up tries. */
  get probes(): number {
    return this.#probes;
  }

  /** No second edge from the same node by the same literal may be added. */
  add(from: Node, literal: string, to: Node): void {
    this.#added.push({ from: from.id, literal, to });
  }

  /** To be called once, when all edges are there; only then are they found. */
  seal(): void {
    const added = this.#added;
    this.#added = [];
    this.#targets = added.map((edge) => edge.to);
    this.#edges = new Int32Array(edgeInts * added.length);
    const hashes = new Int32Array(added.length);
    for (const [number, { from, literal }] of added.entries()) {
      hashes[number] = this.literals.hash(literal);
      const at = edgeInts * number;
      this.#edges[at] = from;
      this.#edges[at + 1] = this.literals.add(literal);
      this.#edges[at + 2] = literal.length;
    }
    let slots = 2;
    while (slots < 2 * added.length) slots *= 2;
    this.#salt = this.literals.seed;
    for (let placing = 1; placing <= placingsMax; placing += 1) {
      this.#salt = hashStep(this.#salt, placing) | 1;
      this.#place(hashes, slots);
      if (this.#probes <= probesMax) break;
      if (placing % 3 === 0) slots *= 2;
    }
  }

  /** The node to which the piece leads from `from`, or null. */
  find(from: Node, pieces: Pieces, piece: number): Node | null {
    const slots = this.#slots;
    const mask = this.#slotsMask;
    const key = this.#key(from.id, pieces.hashes[piece] as number);
    let slot = key & mask;
    for (let tries = this.#probes; tries > 0; tries -= 1) {
      const edge = slots[slotInts * slot + 1] as number;
      if (edge === 0) return null;
      if (slots[slotInts * slot] === key && this.#leaves(edge - 1, from.id, pieces, piece)) {
        return this.#targets[edge - 1] as Node;
      }
      slot = (slot + 1) & mask;
    }
    return null;
  }

  #leaves(edge: number, from: number, pieces: Pieces, piece: number): boolean {
    const at = edgeInts * edge;
    const edges = this.#edges;
    if (edges[at] !== from) return false;
    return this.literals.equal(edges[at + 1] as number, edges[at + 2] as number, pieces, piece);
  }

  #key(from: number, hash: number): number {
    const mixed = Math.imul(hash ^ Math.imul(from, 0x85ebca6b), this.#salt);
    return mixed ^ (mixed >>> 15);
  }

  #place(hashes: Int32Array, slots: number): void {
    this.#slots = new Int32Array(slotInts * slots);
    this.#slotsMask = slots - 1;
    this.#probes = 0;
    for (const [number, hash] of hashes.entries()) {
      const key = this.#key(this.#edges[edgeInts * number] as number, hash);
      let slot = key & this.#slotsMask;
      let probes = 1;
      for (; this.#slots[slotInts * slot + 1] !== 0; probes += 1)
        slot = (slot + 1) & this.#slotsMask;
      this.#slots[slotInts * slot] = key;
      this.#slots[slotInts * slot + 1] = number + 1;
      this.#probes = Math.max(this.#probes, probes);
    }
  }
}
