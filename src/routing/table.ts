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
 * position once (param-tree.ts), wildcards a trie of at most routeHostLabelsMax levels.
 */
import { routeSegmentsMax } from "../domain/limits.ts";
import { decodePiece } from "../domain/paths.ts";
import { type PathPattern, parseHost, parsePath, type Route } from "../domain/routes.ts";
import type { MatchResult, RouteMatch, RoutingTable } from "./api.ts";
import { type Entry, Handlers } from "./handlers.ts";
import {
  collectParamMethods,
  type ParamTree,
  ParamTreeBuilder,
  searchParams,
} from "./param-tree.ts";

export interface CompileOptions {
  /** A stored route that cannot be read is left out and told of here; the others go on working. */
  onBadRoute?: (route: Route, error: unknown) => void;
}

interface PrefixNode {
  children: Map<string, PrefixNode> | null;
  handlers: Handlers | null;
}

interface HostNode {
  children: Map<string, HostNode> | null;
  bucket: Bucket | null;
}

const NONE: MatchResult = Object.freeze({ kind: "none" });

/** Compiles routes that do not conflict; of two that do, the first stays. */
export function compileTable(routes: Iterable<Route>, options: CompileOptions = {}): RoutingTable {
  const table = new Table();
  for (const route of routes) {
    try {
      table.add(route);
    } catch (error) {
      options.onBadRoute?.(route, error);
    }
  }
  table.finish();
  return table;
}

class Table implements RoutingTable {
  readonly #strict = new Map<string, Bucket>();
  readonly #wildcards: HostNode = { children: null, bucket: null };
  readonly #any = new Bucket();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(route: Route): void {
    const pattern = parsePath(route.path, route.path_kind);
    const host = parseHost(route.host, route.host_kind);
    this.#bucketFor(host.kind, host.name).add(pattern, route);
    this.#size += 1;
  }

  finish(): void {
    this.#any.finish();
    for (const bucket of this.#strict.values()) bucket.finish();
    finishHosts(this.#wildcards);
  }

  match(method: string, host: string, path: string): MatchResult {
    const target = new Target(path);
    const strict = this.#strict.size === 0 ? undefined : this.#strict.get(host);
    if (strict !== undefined) {
      const entry = strict.find(method, target);
      if (entry !== null) return matched(entry, target, null);
    }
    const wildcards = this.#wildcards.children === null ? null : this.#wildcardsOf(host);
    if (wildcards !== null) {
      for (let index = wildcards.length - 1; index >= 0; index -= 1) {
        const bucket = wildcards[index] as Bucket;
        const entry = bucket.find(method, target);
        if (entry !== null) return matched(entry, target, host.slice(0, -bucket.suffixChars));
      }
    }
    const entry = this.#any.find(method, target);
    if (entry !== null) return matched(entry, target, null);
    return notAllowed([strict, ...(wildcards ?? []), this.#any], target);
  }

  /** The buckets of all wildcards that cover the host, the longest last. */
  #wildcardsOf(host: string): Bucket[] | null {
    let found: Bucket[] | null = null;
    let node: HostNode | undefined = this.#wildcards;
    // The first label is never looked up: a wildcard does not cover its bare domain.
    for (let end = host.length; node?.children != null; ) {
      const dot = host.lastIndexOf(".", end - 1);
      if (dot <= 0) break;
      node = node.children.get(host.slice(dot + 1, end));
      if (node?.bucket != null) {
        if (found === null) found = [node.bucket];
        else found.push(node.bucket);
      }
      end = dot;
    }
    return found;
  }

  #bucketFor(kind: Route["host_kind"], name: string): Bucket {
    if (kind === "any") return this.#any;
    if (kind === "strict") {
      const bucket = this.#strict.get(name) ?? new Bucket();
      this.#strict.set(name, bucket);
      return bucket;
    }
    let node = this.#wildcards;
    for (const label of name.split(".").reverse()) {
      node.children ??= new Map();
      const child: HostNode = node.children.get(label) ?? { children: null, bucket: null };
      node.children.set(label, child);
      node = child;
    }
    node.bucket ??= new Bucket(name.length + 1);
    return node.bucket;
  }
}

/** A path that is looked up: in several buckets, and cut into segments at most once. */
class Target {
  #pieces: readonly string[] | null = null;

  constructor(readonly path: string) {}

  get pieces(): readonly string[] {
    this.#pieces ??= this.path.slice(1).split("/", routeSegmentsMax + 1);
    return this.#pieces;
  }
}

/** All routes of one host pattern. */
class Bucket {
  readonly #exact = new Map<string, Handlers>();
  readonly #prefixes: PrefixNode = { children: null, handlers: null };
  #params: (ParamTree | undefined)[] = [];
  #builders = new Map<number, ParamTreeBuilder>();
  #exactCharsMax = 0;

  /** @param suffixChars length of `.example.com` of a wildcard, to cut out what its star took */
  constructor(readonly suffixChars = 0) {}

  add(pattern: PathPattern, route: Route): void {
    const entry = entryOf(pattern, route);
    if (pattern.kind === "exact") {
      const handlers = this.#exact.get(pattern.literal) ?? new Handlers();
      handlers.add(entry);
      this.#exact.set(pattern.literal, handlers);
      this.#exactCharsMax = Math.max(this.#exactCharsMax, pattern.literal.length);
    } else if (pattern.kind === "prefix") {
      this.#addPrefix(pattern, entry);
    } else {
      const count = pattern.segments.length;
      const builder = this.#builders.get(count) ?? new ParamTreeBuilder();
      builder.add(pattern, entry);
      this.#builders.set(count, builder);
    }
  }

  finish(): void {
    for (const [count, builder] of this.#builders) this.#params[count] = builder.build();
    this.#builders = new Map();
  }

  find(method: string, target: Target): Entry | null {
    const { path } = target;
    // A longer path cannot be among them: its hash is not computed.
    if (path.length <= this.#exactCharsMax) {
      const exact = this.#exact.get(path)?.pick(method);
      if (exact !== undefined) return exact;
    }
    const prefix = this.#findPrefix(method, path);
    const tree = this.#paramTreeFor(path);
    if (tree === undefined) return prefix;
    const param = searchParams(tree, target.pieces, method);
    if (param === null || prefix === null) return param ?? prefix;
    return param.leading_literals >= prefix.leading_literals ? param : prefix;
  }

  /** The methods of every pattern that matches the path. */
  collectMethods(target: Target, into: Set<string>): void {
    const { path } = target;
    this.#exact.get(path)?.collectMethods(into);
    for (const handlers of this.#prefixesOf(path)) handlers.collectMethods(into);
    const tree = this.#paramTreeFor(path);
    if (tree !== undefined) collectParamMethods(tree, target.pieces, into);
  }

  #findPrefix(method: string, path: string): Entry | null {
    let node: PrefixNode = this.#prefixes;
    let best: Entry | null = node.handlers?.pick(method) ?? null;
    for (let start = 1; node.children !== null; ) {
      const end = path.indexOf("/", start);
      // A strict subtree: the last segment is never a whole prefix.
      if (end === -1) break;
      const child = node.children.get(path.slice(start, end));
      if (child === undefined) break;
      node = child;
      if (node.handlers !== null) best = node.handlers.pick(method) ?? best;
      start = end + 1;
    }
    return best;
  }

  *#prefixesOf(path: string): Generator<Handlers> {
    let node: PrefixNode | undefined = this.#prefixes;
    for (let start = 1; node !== undefined; ) {
      if (node.handlers !== null) yield node.handlers;
      const end = path.indexOf("/", start);
      if (end === -1) return;
      node = node.children?.get(path.slice(start, end));
      start = end + 1;
    }
  }

  #addPrefix(pattern: PathPattern, entry: Entry): void {
    let node = this.#prefixes;
    for (const segment of pattern.segments) {
      node.children ??= new Map();
      const name = segment ?? "";
      const child: PrefixNode = node.children.get(name) ?? { children: null, handlers: null };
      node.children.set(name, child);
      node = child;
    }
    node.handlers ??= new Handlers();
    node.handlers.add(entry);
  }

  #paramTreeFor(path: string): ParamTree | undefined {
    const trees = this.#params;
    if (trees.length === 0) return undefined;
    let count = 1;
    for (let at = path.indexOf("/", 1); at !== -1; at = path.indexOf("/", at + 1)) {
      count += 1;
      if (count >= trees.length) return undefined;
    }
    return trees[count];
  }
}

function entryOf(pattern: PathPattern, route: Route): Entry {
  const params: { name: string; position: number }[] = [];
  pattern.segments.forEach((segment, position) => {
    if (segment === null) params.push({ name: pattern.names[params.length] as string, position });
  });
  return {
    route,
    params,
    leading_literals: pattern.leading_literals,
    rest_at: pattern.kind === "prefix" ? pattern.literal.length : -1,
  };
}

/** @param hostTaken what a wildcard's star took, or null */
function matched(entry: Entry, target: Target, hostTaken: string | null): MatchResult {
  // Without a prototype: a parameter may be called `__proto__`.
  const params: Record<string, string> = Object.create(null);
  if (entry.params.length > 0) {
    const { pieces } = target;
    for (const { name, position } of entry.params) {
      params[name] = decodePiece(pieces[position] as string);
    }
  }
  const { route } = entry;
  if (hostTaken !== null && route.host_param_name !== null) {
    params[route.host_param_name] = hostTaken;
  }
  const rest = entry.rest_at === -1 ? "" : decodePiece(target.path.slice(entry.rest_at));
  const match: RouteMatch = { route, params, rest };
  return { kind: "match", match };
}

function notAllowed(buckets: readonly (Bucket | undefined)[], target: Target): MatchResult {
  const methods = new Set<string>();
  for (const bucket of buckets) bucket?.collectMethods(target, methods);
  if (methods.size === 0) return NONE;
  if (methods.has("GET")) methods.add("HEAD");
  return { kind: "method_not_allowed", allow: [...methods].sort() };
}

function finishHosts(node: HostNode): void {
  node.bucket?.finish();
  for (const child of node.children?.values() ?? []) finishHosts(child);
}
