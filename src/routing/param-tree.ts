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
import { type Entry, Handlers, headRank } from "./handlers.ts";

/** So few patterns are compared one by one. */
const leafPatternsMax = 2;

interface Leaf {
  readonly segments: readonly (string | null)[];
  readonly handlers: Handlers;
}

interface Split {
  readonly position: number;
  readonly branches: ReadonlyMap<string, ParamTree>;
  readonly rest: ParamTree | null;
}

export type ParamTree = readonly Leaf[] | Split;

/** Gathers patterns of one number of segments; those that differ only in names share a leaf. */
export class ParamTreeBuilder {
  readonly #leaves = new Map<string, Leaf>();

  add(pattern: PathPattern, entry: Entry): void {
    const key = pattern.segments.map((segment) => segment ?? ":").join("/");
    let leaf = this.#leaves.get(key);
    if (leaf === undefined) {
      leaf = { segments: pattern.segments, handlers: new Handlers() };
      this.#leaves.set(key, leaf);
    }
    leaf.handlers.add(entry);
  }

  build(): ParamTree {
    return buildTree([...this.#leaves.values()]);
  }
}

/** The best route for the method, or null. By the conflict rule there is one, but for HEAD. */
export function searchParams(
  tree: ParamTree,
  pieces: readonly string[],
  method: string,
): Entry | null {
  if (!("position" in tree)) return searchLeaves(tree, pieces, method);
  const branch = tree.branches.get(pieces[tree.position] as string);
  const found = branch === undefined ? null : searchParams(branch, pieces, method);
  if (tree.rest === null || (found !== null && method !== "HEAD")) return found;
  return better(found, searchParams(tree.rest, pieces, method));
}

/** The methods of every pattern that matches. */
export function collectParamMethods(
  tree: ParamTree,
  pieces: readonly string[],
  into: Set<string>,
): void {
  if (!("position" in tree)) {
    for (const leaf of tree) {
      if (fits(leaf.segments, pieces)) leaf.handlers.collectMethods(into);
    }
    return;
  }
  const branch = tree.branches.get(pieces[tree.position] as string);
  if (branch !== undefined) collectParamMethods(branch, pieces, into);
  if (tree.rest !== null) collectParamMethods(tree.rest, pieces, into);
}

function searchLeaves(
  leaves: readonly Leaf[],
  pieces: readonly string[],
  method: string,
): Entry | null {
  let best: Entry | null = null;
  for (const leaf of leaves) {
    if (!fits(leaf.segments, pieces)) continue;
    best = better(best, leaf.handlers.pick(method) ?? null);
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

function fits(segments: readonly (string | null)[], pieces: readonly string[]): boolean {
  for (let position = 0; position < segments.length; position += 1) {
    const segment = segments[position];
    // A parameter takes one whole segment, and an empty one is none.
    if (segment === null ? pieces[position] === "" : pieces[position] !== segment) return false;
  }
  return true;
}

function buildTree(leaves: readonly Leaf[]): ParamTree {
  if (leaves.length <= leafPatternsMax) return leaves;
  const position = mostLiteralPosition(leaves);
  if (position === -1) return leaves;
  const groups = new Map<string, Leaf[]>();
  const rest: Leaf[] = [];
  for (const leaf of leaves) {
    const segment = leaf.segments[position] ?? null;
    if (segment === null) {
      rest.push(leaf);
      continue;
    }
    const group = groups.get(segment);
    if (group === undefined) groups.set(segment, [leaf]);
    else group.push(leaf);
  }
  const branches = new Map<string, ParamTree>();
  for (const [segment, group] of groups) branches.set(segment, buildTree(group));
  return { position, branches, rest: rest.length === 0 ? null : buildTree(rest) };
}

/**
 * The position where most patterns are literal; among equals the one that tells most apart. -1 when
 * no position tells any two apart: at most one pattern is left then, as equal ones share a leaf.
 */
function mostLiteralPosition(leaves: readonly Leaf[]): number {
  let best = -1;
  let bestLiterals = 0;
  let bestValues = 0;
  const length = leaves[0]?.segments.length ?? 0;
  for (let position = 0; position < length; position += 1) {
    const values = new Set<string>();
    let literals = 0;
    for (const leaf of leaves) {
      const segment = leaf.segments[position] ?? null;
      if (segment === null) continue;
      literals += 1;
      values.add(segment);
    }
    const tellsNothing = literals === 0 || (literals === leaves.length && values.size === 1);
    if (tellsNothing || literals < bestLiterals) continue;
    if (literals === bestLiterals && values.size <= bestValues) continue;
    best = position;
    bestLiterals = literals;
    bestValues = values.size;
  }
  return best;
}
