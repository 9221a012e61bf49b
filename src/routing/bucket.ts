/** All routes of one host pattern: exact paths in a map, prefixes in a trie, parameters in trees. */
import { routeSegmentsMax } from "../domain/limits.ts";
import type { PathPattern } from "../domain/routes.ts";
import { type Entry, Handlers } from "./handlers.ts";
import { type ParamForest, type ParamNode, ParamTreeBuilder, searchParams } from "./param-tree.ts";
import type { Search } from "./search.ts";
import type { TrieNode, Tries } from "./trie.ts";

/** What the buckets of a table share. */
export interface Trees {
  readonly prefixes: Tries<Handlers>;
  readonly params: ParamForest;
}

export class Bucket {
  readonly #exact = new Map<string, Handlers>();
  #exactCharsMax = 0;
  #prefixes: TrieNode<Handlers> | null = null;
  /** By number of segments. */
  #params: (ParamNode | null)[] | null = null;
  #builders: (ParamTreeBuilder | null)[] | null = null;

  /** @param suffixChars length of `.example.com` of a wildcard, to cut out what its star took */
  constructor(
    private readonly trees: Trees,
    readonly suffixChars = 0,
  ) {}

  add(pattern: PathPattern, entry: Entry): void {
    if (pattern.kind === "exact") this.#addExact(pattern.literal, entry);
    else if (pattern.kind === "prefix") this.#addPrefix(pattern, entry);
    else this.#addParam(pattern, entry);
  }

  /** To be called once, before `find`. */
  seal(): void {
    if (this.#builders === null) return;
    this.#params = this.#builders.map((builder) => builder?.build() ?? null);
    this.#builders = null;
  }

  find(search: Search): Entry | null {
    const { path } = search;
    // A longer path cannot be among them: its hash is not computed.
    if (path.text.length <= this.#exactCharsMax) {
      const handlers = this.#exact.get(path.text);
      const exact = handlers === undefined ? null : search.pick(handlers);
      if (exact !== null) return exact;
    }
    if (this.#prefixes === null && this.#params === null) return null;
    path.cutPath();
    const prefix = this.#prefixes === null ? null : this.#findPrefix(this.#prefixes, search);
    const tree = this.#params?.[path.count] ?? null;
    if (tree === null) return prefix;
    const param = searchParams(this.trees.params, tree, search);
    if (param === null || prefix === null) return param ?? prefix;
    return param.leading_literals >= prefix.leading_literals ? param : prefix;
  }

  #findPrefix(root: TrieNode<Handlers>, search: Search): Entry | null {
    const { path } = search;
    let best = root.value === null ? null : search.pick(root.value);
    let node = root;
    // A strict subtree: the last segment is never a whole prefix.
    for (let level = 0; level < path.count - 1; level += 1) {
      const child = this.trees.prefixes.child(node, path, level);
      if (child === null) break;
      node = child;
      if (node.value !== null) best = search.pick(node.value) ?? best;
    }
    return best;
  }

  #addExact(path: string, entry: Entry): void {
    const handlers = this.#exact.get(path) ?? new Handlers();
    handlers.add(entry);
    this.#exact.set(path, handlers);
    this.#exactCharsMax = Math.max(this.#exactCharsMax, path.length);
  }

  #addPrefix(pattern: PathPattern, entry: Entry): void {
    this.#prefixes ??= this.trees.prefixes.root();
    const node = this.trees.prefixes.grow(this.#prefixes, pattern.segments as readonly string[]);
    node.value ??= new Handlers();
    node.value.add(entry);
  }

  #addParam(pattern: PathPattern, entry: Entry): void {
    this.#builders ??= new Array<null>(routeSegmentsMax + 1).fill(null);
    const count = pattern.segments.length;
    const builder = this.#builders[count] ?? new ParamTreeBuilder(this.trees.params);
    builder.add(pattern, entry);
    this.#builders[count] = builder;
  }
}
