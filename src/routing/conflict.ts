/**
 * The conflict rule: two routes of one kind on one host conflict when their methods overlap and one
 * request could match both. Whatever does not conflict is put in order by the table's precedence.
 */
import { parseHost, parsePath, type RoutePattern } from "../domain/routes.ts";

/** True when the two routes may not both exist. Symmetric; a route conflicts with itself. */
export function conflictsWith(a: RoutePattern, b: RoutePattern): boolean {
  return (
    a.path_kind === b.path_kind &&
    methodsOverlap(a, b) &&
    a.host_kind === b.host_kind &&
    sameHost(a, b) &&
    pathsOverlap(a, b)
  );
}

/** The first of `existing` that `candidate` conflicts with, or null. */
export function findConflict<T extends RoutePattern>(
  candidate: RoutePattern,
  existing: Iterable<T>,
): T | null {
  for (const route of existing) if (conflictsWith(candidate, route)) return route;
  return null;
}

function methodsOverlap(a: RoutePattern, b: RoutePattern): boolean {
  return a.method === b.method || a.method === "ANY" || b.method === "ANY";
}

function sameHost(a: RoutePattern, b: RoutePattern): boolean {
  if (a.host_kind === "any" || a.host === b.host) return true;
  return parseHost(a.host, a.host_kind).name === parseHost(b.host, b.host_kind).name;
}

function pathsOverlap(a: RoutePattern, b: RoutePattern): boolean {
  if (a.path === b.path) return true;
  const left = parsePath(a.path, a.path_kind);
  const right = parsePath(b.path, b.path_kind);
  if (a.path_kind !== "param") return left.literal === right.literal;
  return (
    left.segments.length === right.segments.length &&
    left.segments.every((segment, position) => {
      const other = right.segments[position] ?? null;
      return segment === null || other === null || segment === other;
    })
  );
}
