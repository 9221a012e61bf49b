/**
 * Finds the parameter routes that match, among those with one number of segments.
 *
 * A trie read from left to right backtracks: with `a` and `:p` at each of 13 positions it visits 8,192
 * branches before the last segment decides. So each node asks about the position where most patterns
 * are literal, not about the next one. Patterns that have a parameter there go to `rest`, once; a
 * search follows at most one branch and the rest of each node, and no position is asked about twice
 * on a way down, so its depth is at most routeSegmentsMax. How many nodes it visits is measured
 * (`bun run bench routing`), not proved.
 */
import type { PathPattern } from "../domain/routes.ts";
import type { Edges, TreeNode } from "./edges.ts";
import { type Entry, Handlers, headRank } from "./handlers.ts";
import type { Literals } from "./literals.ts";
import type { Pieces } from "./pieces.ts";
import type { Search } from "./search.ts";

/** So few patterns are compared one by one. */
const leafPatternsMax = 2;

/** Patterns that differ only in names. */
interface Leaf {
  readonly handlers: Handlers;
  /** Bit n: segment n is a parameter's. */
  readonly parameters: number;
  /** Literals about which no node above has asked: position, where it begins, length; and so on. */
  readonly unasked: Int32Array;
}

export interface ParamNode extends TreeNode {
  /** Where it asks; -1 at the end of a way down. */
  readonly position: number;
  readonly rest: ParamNode | null;
  readonly leaves: readonly Leaf[];
}

/** What all parameter trees of a table share. */
export interface ParamForest {
  readonly literals: Literals;
  readonly edges: Edges<ParamNode>;
  nodes: number;
}

/** The best route for the method, or null. By the conflict rule there is one, but for HEAD. */
export function searchParams(forest: ParamForest, start: ParamNode, search: Search): Entry | null {
  let best: Entry | null = null;
  for (let node = start; ; ) {
    if (node.position === -1) return better(best, searchLeaves(forest, node, search));
    const branch = forest.edges.find(node, search.path, node.position);
    if (branch !== null) {
      if (node.rest === null) {
        node = branch;
        continue;
      }
      best = better(best, searchParams(forest, branch, search));
      if (best !== null && search.method !== "HEAD") return best;
    }
    if (node.rest === null) return best;
    node = node.rest;
  }
}

function searchLeaves(forest: ParamForest, node: ParamNode, search: Search): Entry | null {
  let best: Entry | null = null;
  for (const leaf of node.leaves) {
    if (fits(forest.literals, leaf, search.path)) best = better(best, search.pick(leaf.handlers));
  }
  return best;
}

function better(a: Entry | null, b: Entry | null): Entry | null {
  if (a === null || b === null) return a ?? b;
  if (a.leading_literals !== b.leading_literals) {
    return a.leading_literals > b.leading_literals ? a : b;
  }
  return headRank(a) <= headRank(b) ? a : b;
}

function fits(literals: Literals, leaf: Leaf, path: Pieces): boolean {
  // A parameter takes one whole segment, and an empty one is none.
  if ((leaf.parameters & path.empties) !== 0) return false;
  const { unasked } = leaf;
  for (let at = 0; at < unasked.length; at += 3) {
    const begins = unasked[at + 1] as number;
    if (!literals.equal(begins, unasked[at + 2] as number, path, unasked[at] as number))
      return false;
  }
  return true;
}

/** A leaf before the tree is made; literals are numbered, so that making it compares numbers. */
interface Seed {
  readonly handlers: Handlers;
  readonly segments: readonly (string | null)[];
  readonly numbers: Int32Array;
}

const parameter = -1;

/** Gathers patterns of one number of segments; those that differ only in names share a leaf. */
export class ParamTreeBuilder {
  readonly #seeds = new Map<string, Seed>();
  readonly #numbers = new Map<string, number>();
  /** For each literal, the last count of values in which it was counted. */
  #countedIn = new Int32Array(0);
  #counts = 0;

  constructor(private readonly forest: ParamForest) {}

  add(pattern: PathPattern, entry: Entry): void {
    const key = pattern.segments.map((segment) => segment ?? ":").join("/");
    let seed = this.#seeds.get(key);
    if (seed === undefined) {
      const numbers = Int32Array.from(pattern.segments, (segment) => this.#numberOf(segment));
      seed = { handlers: new Handlers(), segments: pattern.segments, numbers };
      this.#seeds.set(key, seed);
    }
    seed.handlers.add(entry);
  }

  build(): ParamNode {
    this.#countedIn = new Int32Array(this.#numbers.size);
    return this.#tree([...this.#seeds.values()], 0);
  }

  #numberOf(segment: string | null): number {
    if (segment === null) return parameter;
    const known = this.#numbers.get(segment);
    if (known !== undefined) return known;
    this.#numbers.set(segment, this.#numbers.size);
    return this.#numbers.size - 1;
  }

  /** @param asked bit n: about position n a node above has asked */
  #tree(seeds: readonly Seed[], asked: number): ParamNode {
    const position = seeds.length <= leafPatternsMax ? -1 : this.#mostLiteralPosition(seeds, asked);
    this.forest.nodes += 1;
    const id = this.forest.nodes;
    if (position === -1) {
      return { id, position, rest: null, leaves: seeds.map((seed) => this.#leaf(seed, asked)) };
    }
    const groups = new Map<number, Seed[]>();
    const rest: Seed[] = [];
    for (const seed of seeds) {
      const number = seed.numbers[position] as number;
      const group = number === parameter ? rest : groups.get(number);
      if (group === undefined) groups.set(number, [seed]);
      else group.push(seed);
    }
    const below = asked | (1 << position);
    const node: ParamNode = {
      id,
      position,
      rest: rest.length === 0 ? null : this.#tree(rest, below),
      leaves: [],
    };
    for (const group of groups.values()) {
      const literal = group[0]?.segments[position] as string;
      this.forest.edges.add(node, literal, this.#tree(group, below));
    }
    return node;
  }

  #leaf({ handlers, segments }: Seed, asked: number): Leaf {
    let parameters = 0;
    const unasked: number[] = [];
    for (const [position, segment] of segments.entries()) {
      if (segment === null) parameters |= 1 << position;
      else if ((asked & (1 << position)) === 0) {
        unasked.push(position, this.forest.literals.add(segment), segment.length);
      }
    }
    return { handlers, parameters, unasked: Int32Array.from(unasked) };
  }

  /**
   * The position where most patterns are literal; among equals the one that tells most apart. -1 when
   * all have been asked about that are literal in any: one pattern is left then, as equal ones share
   * a leaf. A literal that all have in common is asked about, too: a request without it leaves here,
   * not at each of the leaves.
   */
  #mostLiteralPosition(seeds: readonly Seed[], asked: number): number {
    let best = -1;
    let bestLiterals = 0;
    let bestValues = 0;
    const length = seeds[0]?.numbers.length ?? 0;
    for (let position = 0; position < length; position += 1) {
      if ((asked & (1 << position)) !== 0) continue;
      const { literals, values } = this.#count(seeds, position);
      if (literals === 0 || literals < bestLiterals) continue;
      if (literals === bestLiterals && values <= bestValues) continue;
      best = position;
      bestLiterals = literals;
      bestValues = values;
    }
    return best;
  }

  #count(seeds: readonly Seed[], position: number): { literals: number; values: number } {
    this.#counts += 1;
    let literals = 0;
    let values = 0;
    for (const { numbers } of seeds) {
      const number = numbers[position] as number;
      if (number === parameter) continue;
      literals += 1;
      if (this.#countedIn[number] === this.#counts) continue;
      this.#countedIn[number] = this.#counts;
      values += 1;
    }
    return { literals, values };
  }
}
