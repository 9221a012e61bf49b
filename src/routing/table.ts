/**
 * The compiled routing table: immutable, in memory, replaced whole.
 *
 * Hosts: strict, then the longest wildcard, then any, falling through when nothing in a bucket
 * matches path and method. Inside a bucket: exact first; among the rest more leading literal
 * segments win, then param before prefix, then the longest prefix. A HEAD request takes, at the
 * pattern that wins, an explicit HEAD route, else GET's, else ANY's.
 *
 * Work is bounded whatever is routed: exact paths are one look-up, prefixes a trie of at most
 * routeSegmentsMax levels that is left at the first miss, parameters a tree that asks about each
 * position once (param-tree.ts), wildcards a trie of at most routeHostLabelsMax levels. A path is gone
 * through once, for the segments' hashes (pieces.ts), and a level of a tree is a look-up by such a hash
 * (forest.ts): with 10,000 routes that is three to eight times as fast as Maps of strings.
 */
import { routeSegmentsMax } from "../domain/limits.ts";
import { decodePiece } from "../domain/paths.ts";
import { parseHost, parsePath, type Route } from "../domain/routes.ts";
import type { MatchResult, RouteMatch, RoutingTable } from "./api.ts";
import { Bucket, type Trees } from "./bucket.ts";
import { allowedMethods, type Entry, EntryMaker } from "./entries.ts";
import { Literals } from "./literals.ts";
import { ParamTrees } from "./param-tree.ts";
import { Pieces } from "./pieces.ts";
import { Search } from "./search.ts";
import { Tries } from "./trie.ts";
import { Wildcards } from "./wildcards.ts";

export interface CompileOptions {
  /** A stored route that cannot be read is left out and told of here; the others go on working. */
  onBadRoute?: (route: Route, error: unknown) => void;
  /** For the hashes of segments; by default one that nobody can foresee. */
  seed?: number;
}

const NONE: MatchResult = Object.freeze({ kind: "none" });

/** Compiles routes that do not conflict; of two that do, the first stays. */
export function compileTable(routes: Iterable<Route>, options: CompileOptions = {}): RoutingTable {
  const seed = options.seed ?? crypto.getRandomValues(new Int32Array(1))[0] ?? 0;
  const table = new Table(new Literals(seed));
  const entries = new EntryMaker();
  for (const route of routes) {
    try {
      table.add(route, entries);
    } catch (error) {
      options.onBadRoute?.(route, error);
    }
  }
  table.seal();
  return table;
}

class Table implements RoutingTable {
  readonly #strict = new Map<string, Bucket>();
  readonly #wildcards: Wildcards;
  readonly #any: Bucket;
  readonly #buckets: Bucket[] = [];
  readonly #trees: Trees;
  readonly #search: Search;
  #size = 0;

  constructor(private readonly literals: Literals) {
    this.#trees = { prefixes: new Tries(literals), params: new ParamTrees(literals) };
    this.#wildcards = new Wildcards(literals);
    // One more piece than a pattern has: so many segments are too many for it.
    this.#search = new Search(new Pieces(literals, routeSegmentsMax + 1));
    this.#any = this.#newBucket();
  }

  get size(): number {
    return this.#size;
  }

  add(route: Route, entries: EntryMaker): void {
    const pattern = parsePath(route.path, route.path_kind);
    const host = parseHost(route.host, route.host_kind);
    this.#bucketFor(host.kind, host.name).add(pattern, entries.make(pattern, route));
    this.#size += 1;
  }

  seal(): void {
    for (const bucket of this.#buckets) bucket.seal();
    this.#buckets.length = 0;
    this.#trees.prefixes.seal();
    this.#trees.params.seal();
    this.#wildcards.seal();
    this.literals.seal();
  }

  match(method: string, host: string, path: string): MatchResult {
    const search = this.#search;
    search.begin(method, path);
    const strict = this.#strict.size === 0 ? undefined : this.#strict.get(host);
    if (strict !== undefined) {
      const entry = strict.find(search);
      if (entry !== null) return matched(entry, search.path, null);
    }
    for (let index = this.#wildcards.cover(host) - 1; index >= 0; index -= 1) {
      const bucket = this.#wildcards.found(index);
      const entry = bucket.find(search);
      if (entry !== null) return matched(entry, search.path, host.slice(0, -bucket.suffixChars));
    }
    const entry = this.#any.find(search);
    if (entry !== null) return matched(entry, search.path, null);
    if (search.refused === 0) return NONE;
    return { kind: "method_not_allowed", allow: allowedMethods(search.refused) };
  }

  #bucketFor(kind: Route["host_kind"], name: string): Bucket {
    if (kind === "any") return this.#any;
    if (kind === "strict") {
      const bucket = this.#strict.get(name) ?? this.#newBucket();
      this.#strict.set(name, bucket);
      return bucket;
    }
    return this.#wildcards.grow(name, () => this.#newBucket(name.length + 1));
  }

  #newBucket(suffixChars = 0): Bucket {
    const bucket = new Bucket(this.#trees, suffixChars);
    this.#buckets.push(bucket);
    return bucket;
  }
}

/** @param hostTaken what a wildcard's star took, or null */
function matched(entry: Entry, path: Pieces, hostTaken: string | null): MatchResult {
  const { route } = entry;
  const { names, positions } = entry.params;
  // Without a prototype: a parameter may be called `__proto__`.
  const params: Record<string, string> = Object.create(null);
  if (names.length > 0) {
    const escaped = path.text.includes("%");
    for (let index = 0; index < names.length; index += 1) {
      const piece = path.slice(positions[index] as number);
      params[names[index] as string] = escaped ? decodePiece(piece) : piece;
    }
  }
  if (hostTaken !== null && route.host_param_name !== null) {
    params[route.host_param_name] = hostTaken;
  }
  const rest = entry.rest_at === -1 ? "" : decodePiece(path.text.slice(entry.rest_at));
  const match: RouteMatch = { route, params, rest };
  return { kind: "match", match };
}
