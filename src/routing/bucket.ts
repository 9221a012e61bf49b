/** All routes of one host pattern: exact paths in a map, prefixes in a trie, parameters in trees. */
import { routeSegmentsMax } from "../domain/limits.ts";
import type { PathPattern } from "../domain/routes.ts";
import { addEntry, type Entry } from "./entries.ts";
import { noNode } from "./forest.ts";
import type { ParamTrees } from "./param-tree.ts";
import { ParamTreeBuilder } from "./param-tree-builder.ts";
import type { Search } from "./search.ts";
import { TrieDraft, type Tries } from "./trie.ts";

/** What the buckets of a table share. */
export interface Trees {
  readonly prefixes: Tries<Entry>;
  readonly params: ParamTrees;
}

export class Bucket {
  readonly #exact = new Map<string, Entry>();
  #exactCharsMax = 0;
  #prefixes = noNode;
  #prefixDraft: TrieDraft<Entry> | null = null;
  /** By number of segments. */
  #params: number[] | null = null;
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
    if (this.#prefixDraft !== null) {
      this.#prefixes = this.trees.prefixes.lay(this.#prefixDraft);
      this.#prefixDraft = null;
    }
    if (this.#builders === null) return;
    this.#params = this.#builders.map((builder) => builder?.build() ?? noNode);
    this.#builders = null;
  }

  find(search: Search): Entry | null {
    const { path } = search;
    // A longer path cannot be among them: its hash is not computed.
    if (path.text.length <= this.#exactCharsMax) {
      const first = this.#exact.get(path.text);
      const exact = first === undefined ? null : search.pick(first);
      if (exact !== null) return exact;
    }
    if (this.#prefixes === noNode && this.#params === null) return null;
    path.cutPath();
    const prefix = this.#prefixes === noNode ? null : this.#findPrefix(search);
    const tree = this.#params?.[path.count] ?? noNode;
    if (tree === noNode) return prefix;
    const param = this.trees.params.search(tree, search);
    if (param === null || prefix === null) return param ?? prefix;
    return param.leading_literals >= prefix.leading_literals ? param : prefix;
  }

  #findPrefix(search: Search): Entry | null {
    const { path } = search;
    const { prefixes } = this.trees;
    let best: Entry | null = null;
    // A strict subtree: the last segment is never a whole prefix.
    const count = prefixes.walk(this.#prefixes, path, path.count - 1);
    for (let index = 0; index < count; index += 1) {
      best = search.pick(prefixes.passed(index)) ?? best;
    }
    return best;
  }

  #addExact(path: string, entry: Entry): void {
    const first = this.#exact.get(path);
    if (first === undefined) this.#exact.set(path, entry);
    else addEntry(first, entry);
    this.#exactCharsMax = Math.max(this.#exactCharsMax, path.length);
  }

  #addPrefix(pattern: PathPattern, entry: Entry): void {
    this.#prefixDraft ??= new TrieDraft();
    const literals = pattern.segments as readonly string[];
    addEntry(
      this.trees.prefixes.grow(this.#prefixDraft, literals, () => entry),
      entry,
    );
  }

  #addParam(pattern: PathPattern, entry: Entry): void {
    this.#builders ??= new Array<null>(routeSegmentsMax + 1).fill(null);
    const count = pattern.segments.length;
    const builder = this.#builders[count] ?? new ParamTreeBuilder(this.trees.params);
    builder.add(pattern, entry);
    this.#builders[count] = builder;
  }
}
