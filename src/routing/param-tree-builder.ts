/** Makes the tree of one bucket's parameter routes with one number of segments (param-tree.ts). */
import type { PathPattern } from "../domain/routes.ts";
import { addEntry, type Entry } from "./entries.ts";
import type { Draft } from "./forest.ts";
import type { ParamTrees } from "./param-tree.ts";

/** So few patterns are compared one by one. */
const leafPatternsMax = 2;
/** In place of a literal's number. */
const parameter = -1;

/** Patterns that differ only in names. Literals are numbered: so many are compared so often. */
interface Group {
  /** The first. */
  readonly entry: Entry;
  readonly segments: readonly (string | null)[];
  readonly numbers: readonly number[];
}

export class ParamTreeBuilder {
  readonly #groups = new Map<string, Group>();
  readonly #numbers = new Map<string, number>();
  /** For each literal, the last count of values in which it was counted. */
  #countedIn = new Int32Array(0);
  #counts = 0;

  constructor(private readonly trees: ParamTrees) {}

  add(pattern: PathPattern, entry: Entry): void {
    const key = pattern.segments.map((segment) => segment ?? ":").join("/");
    const group = this.#groups.get(key);
    if (group !== undefined) {
      addEntry(group.entry, entry);
      return;
    }
    const { segments } = pattern;
    const numbers = segments.map((segment) => this.#numberOf(segment));
    this.#groups.set(key, { entry, segments, numbers });
  }

  /** The tree's root. */
  build(): number {
    this.#countedIn = new Int32Array(this.#numbers.size);
    return this.trees.lay(this.#tree([...this.#groups.values()], 0));
  }

  #numberOf(segment: string | null): number {
    if (segment === null) return parameter;
    const known = this.#numbers.get(segment);
    if (known !== undefined) return known;
    this.#numbers.set(segment, this.#numbers.size);
    return this.#numbers.size - 1;
  }

  /** @param asked bit n: a node above asks about position n */
  #tree(groups: readonly Group[], asked: number): Draft {
    if (groups.length <= leafPatternsMax) return this.#leaf(groups, asked);
    const position = this.#mostLiteralPosition(groups, asked);
    const branches = new Map<string, Group[]>();
    const rest: Group[] = [];
    for (const group of groups) {
      const literal = group.segments[position] ?? null;
      const branch = literal === null ? rest : branches.get(literal);
      if (branch !== undefined) branch.push(group);
      else if (literal !== null) branches.set(literal, [group]);
    }
    const below = asked | (1 << position);
    const edges = new Map<string, Draft>();
    for (const [literal, branch] of branches) edges.set(literal, this.#tree(branch, below));
    return {
      edges,
      rest: rest.length === 0 ? null : this.#tree(rest, below),
      facts: [position],
    };
  }

  #leaf(groups: readonly Group[], asked: number): Draft {
    const facts = [groups.length];
    for (const { entry, segments } of groups) {
      const at = facts.length;
      facts.push(0, this.trees.keep(entry), 0);
      let parameters = 0;
      for (let position = 0; position < segments.length; position += 1) {
        const literal = segments[position] ?? null;
        const bit = 1 << position;
        if (literal === null) parameters |= bit;
        else if ((asked & bit) === 0) {
          facts.push(position, this.trees.literals.add(literal).place);
        }
      }
      facts[at] = parameters;
      facts[at + 2] = (facts.length - at - 3) / 2;
    }
    return { edges: null, rest: null, facts };
  }

  /**
   * The position where most patterns are literal; among equals the one that tells most apart. There
   * is one while there are two patterns: they are literal, or differ, where nobody has asked yet.
   * A literal that all have in common is asked about, too: a request without it goes no further.
   */
  #mostLiteralPosition(groups: readonly Group[], asked: number): number {
    let best = -1;
    let bestLiterals = 0;
    let bestValues = 0;
    const length = groups[0]?.numbers.length ?? 0;
    for (let position = 0; position < length; position += 1) {
      if ((asked & (1 << position)) !== 0) continue;
      const { literals, values } = this.#count(groups, position);
      if (literals === 0 || literals < bestLiterals) continue;
      if (literals === bestLiterals && values <= bestValues) continue;
      best = position;
      bestLiterals = literals;
      bestValues = values;
    }
    return best;
  }

  #count(groups: readonly Group[], position: number): { literals: number; values: number } {
    this.#counts += 1;
    let literals = 0;
    let values = 0;
    for (const { numbers } of groups) {
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
