/**
 * The routing rules read naively, for comparison: look at every route, keep what fits, sort by the
 * precedence. Shares no code with the table but the reading of patterns.
 */
import {
  type HostPattern,
  type PathPattern,
  parseHost,
  parsePath,
  type Route,
} from "../../src/domain/routes.ts";
import type { MatchResult } from "../../src/routing/api.ts";

interface Candidate {
  route: Route;
  params: Record<string, string>;
  rest: string;
  /** Compared position by position; the smaller wins. */
  order: number[];
}

export function referenceMatch(
  routes: readonly Route[],
  method: string,
  host: string,
  path: string,
): MatchResult {
  const fitting = routes
    .map((route) => candidate(route, host, path))
    .filter((found) => found !== null);
  const answering = fitting
    .filter((found) => methodRank(found.route.method, method) !== -1)
    .map((found) => ({
      ...found,
      order: [...found.order, methodRank(found.route.method, method)],
    }))
    .sort((a, b) => compare(a.order, b.order));
  const [first, second] = answering;
  if (first !== undefined) {
    if (second !== undefined && compare(first.order, second.order) === 0) {
      throw new Error(`ambiguous: ${first.route.id} and ${second.route.id}`);
    }
    return {
      kind: "match",
      match: { route: first.route, params: first.params, rest: first.rest },
    };
  }
  if (fitting.length === 0) return { kind: "none" };
  const methods = new Set<string>(fitting.map((found) => found.route.method));
  if (methods.has("GET")) methods.add("HEAD");
  return { kind: "method_not_allowed", allow: [...methods].sort() };
}

interface Patterns {
  host: HostPattern;
  path: PathPattern;
}

const parsed = new WeakMap<Route, Patterns>();

function patternsOf(route: Route): Patterns {
  let patterns = parsed.get(route);
  if (patterns === undefined) {
    const host = parseHost(route.host, route.host_kind);
    patterns = { host, path: parsePath(route.path, route.path_kind) };
    parsed.set(route, patterns);
  }
  return patterns;
}

function methodRank(offered: string, wanted: string): number {
  if (wanted === "HEAD") return ["HEAD", "GET", "ANY"].indexOf(offered);
  return offered === wanted || offered === "ANY" ? 0 : -1;
}

function candidate(route: Route, host: string, path: string): Candidate | null {
  const hostFit = fitHost(route, host);
  const pathFit = fitPath(route, path);
  if (hostFit === null || pathFit === null) return null;
  const params = { ...pathFit.params };
  if (hostFit.taken !== null && route.host_param_name !== null) {
    params[route.host_param_name] = hostFit.taken;
  }
  return { route, params, rest: pathFit.rest, order: [...hostFit.order, ...pathFit.order] };
}

function fitHost(route: Route, host: string): { order: number[]; taken: string | null } | null {
  const { kind, name } = patternsOf(route).host;
  if (kind === "any") return { order: [2, 0], taken: null };
  if (kind === "strict") return name === host ? { order: [0, 0], taken: null } : null;
  if (!host.endsWith(`.${name}`)) return null;
  return { order: [1, -name.length], taken: host.slice(0, -name.length - 1) };
}

function fitPath(
  route: Route,
  path: string,
): { order: number[]; params: Record<string, string>; rest: string } | null {
  const pattern = patternsOf(route).path;
  if (pattern.kind === "exact") {
    return pattern.literal === path ? { order: [0, 0, 0, 0], params: {}, rest: "" } : null;
  }
  if (pattern.kind === "prefix") {
    if (!path.startsWith(pattern.literal)) return null;
    const rest = decodeURIComponent(path.slice(pattern.literal.length));
    return { order: [1, -pattern.segments.length, 1, -pattern.literal.length], params: {}, rest };
  }
  const pieces = path.split("/").slice(1);
  if (pieces.length !== pattern.segments.length) return null;
  const params: Record<string, string> = {};
  let leading = 0;
  let stillLeading = true;
  let named = 0;
  for (const [position, segment] of pattern.segments.entries()) {
    const piece = pieces[position] as string;
    if (segment === null) {
      if (piece === "") return null;
      stillLeading = false;
      params[pattern.names[named] as string] = decodeURIComponent(piece);
      named += 1;
    } else if (segment !== piece) {
      return null;
    } else if (stillLeading) {
      leading += 1;
    }
  }
  return { order: [1, -leading, 0, 0], params, rest: "" };
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (const [index, value] of a.entries()) {
    const other = b[index] ?? 0;
    if (value !== other) return value - other;
  }
  return 0;
}
