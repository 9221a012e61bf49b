/** Random tables and requests: the compiled table answers as the naive reading of the rules. */
import { describe, expect, test } from "bun:test";
import { routeSegmentsMax } from "../../src/domain/limits.ts";
import { parsePath, ROUTE_METHODS, type Route } from "../../src/domain/routes.ts";
import { conflictsWith, findConflict } from "../../src/routing/conflict.ts";
import { compileTable } from "../../src/routing/table.ts";
import { referenceMatch } from "./reference-matcher.ts";
import { type Random, route, seededRandom } from "./route-patterns.ts";

/** Generous, for a busy machine. */
const msMax = 60_000;
const LITERALS = ["a", "b", "c%20d", "x:y"];
/** Some begin with others. */
const LONG_LITERALS = ["a", "a", "a", "ab", "b", "c%20d", "abcdefgh".repeat(3)];
const LONG_HOSTS = ["", "", "a.test", "*.test"];
const NAMES = ["p", "q", "r", "s", "t"];
const HOSTS = ["", "", "a.test", "b.a.test", "*.a.test", "*.test", "*.b.a.test"];
const REQUEST_HOSTS = ["a.test", "b.a.test", "c.b.a.test", "test", "xa.test", "other"];

describe("the table against the naive reading", () => {
  test(
    "2,000 random tables, 40 requests each",
    () => {
      const random = seededRandom(20_260_101);
      let matches = 0;
      let refused = 0;
      for (let round = 0; round < 2_000; round += 1) {
        const routes = randomTable(random);
        const compiled = compileTable(routes);
        expect(compiled.size).toBe(routes.length);
        for (let request = 0; request < 40; request += 1) {
          const method = random.pick(["GET", "GET", "HEAD", "POST", "OPTIONS", "PROPFIND"]);
          const host = random.pick(REQUEST_HOSTS);
          const path = randomPath(random);
          const wanted = referenceMatch(routes, method, host, path);
          const got = compiled.match(method, host, path);
          if (wanted.kind === "match") matches += 1;
          if (wanted.kind === "method_not_allowed") refused += 1;
          if (!Bun.deepEquals(plain(got), plain(wanted))) {
            throw new Error(
              `${method} ${host} ${path}\n${routes.map((each) => each.id).join("\n")}\n` +
                `wanted ${JSON.stringify(wanted)}\ngot ${JSON.stringify(got)}`,
            );
          }
        }
      }
      // The cases are worth something only when they reach every outcome.
      expect(matches).toBeGreaterThan(15_000);
      expect(refused).toBeGreaterThan(1_500);
    },
    msMax,
  );

  test(
    "500 tables of long patterns, 60 requests each that fit one or almost do",
    () => {
      const random = seededRandom(20_260_102);
      const outcomes = { match: 0, method_not_allowed: 0, none: 0 };
      for (let round = 0; round < 500; round += 1) {
        const routes = longTable(random);
        const compiled = compileTable(routes, { seed: random.below(2 ** 32) });
        for (let request = 0; request < 60; request += 1) {
          const method = random.pick(["GET", "GET", "HEAD", "DELETE"]);
          const host = random.pick(REQUEST_HOSTS);
          const path = longPath(random, random.pick(routes));
          const wanted = referenceMatch(routes, method, host, path);
          expect(plain(compiled.match(method, host, path))).toEqual(plain(wanted));
          outcomes[wanted.kind] += 1;
        }
      }
      expect(outcomes.match).toBeGreaterThan(5_000);
      expect(outcomes.method_not_allowed).toBeGreaterThan(1_000);
      expect(outcomes.none).toBeGreaterThan(1_000);
    },
    msMax,
  );

  test(
    "two routes that conflict both answer one request alone; conflict is symmetric",
    () => {
      const random = seededRandom(7);
      let conflicts = 0;
      for (let round = 0; round < 20_000; round += 1) {
        const a = randomRoute(random);
        const b = randomRoute(random);
        expect(conflictsWith(a, b)).toBe(conflictsWith(b, a));
        expect(conflictsWith(a, a)).toBe(true);
        if (!conflictsWith(a, b)) continue;
        conflicts += 1;
        const path = pathOfBoth(a, b);
        if (path === null) continue;
        const host = a.host.replace("*", "w") || "w.test";
        const method = a.method === "ANY" ? (b.method === "ANY" ? "GET" : b.method) : a.method;
        expect(compileTable([a]).match(method, host, path).kind).toBe("match");
        expect(compileTable([b]).match(method, host, path).kind).toBe("match");
      }
      expect(conflicts).toBeGreaterThan(30);
    },
    msMax,
  );
});

/** Null when a parameter faces an empty last segment: the rule counts that as a conflict, too. */
function pathOfBoth(a: Route, b: Route): string | null {
  const left = parsePath(a.path, a.path_kind);
  const right = parsePath(b.path, b.path_kind);
  if (left.kind !== "param") return left.literal;
  const pieces = left.segments.map((segment, at) => segment ?? right.segments[at] ?? "some");
  const path = `/${pieces.join("/")}`;
  return left.segments.at(-1) === right.segments.at(-1) || !path.endsWith("/") ? path : null;
}

function randomTable(random: Random): Route[] {
  const routes: Route[] = [];
  const wanted = 1 + random.below(60);
  for (let tries = 0; tries < wanted; tries += 1) {
    const candidate = randomRoute(random);
    if (findConflict(candidate, routes) === null) routes.push(candidate);
  }
  return routes;
}

function randomRoute(random: Random): Route {
  const host = random.pick(HOSTS);
  const kind = random.pick(["exact", "prefix", "param", "param"] as const);
  const names = [...NAMES];
  const segments: string[] = [];
  for (let count = random.below(5); count > 0; count -= 1) {
    const param = kind === "param" && random.below(2) === 0;
    segments.push(param ? `:${names.shift()}` : random.pick(LITERALS.slice(0, 3)));
  }
  if (kind === "exact" && random.below(5) === 0) segments.push("x:y");
  if (kind === "prefix") segments.push("*");
  else if (segments.length === 0 || random.below(6) === 0) segments.push("");
  const path = `/${segments.join("/")}`;
  const method = random.pick(ROUTE_METHODS);
  const named = host.startsWith("*.") && random.below(2) === 0;
  return route(`${method} ${host}${path}`, {
    path_kind: kind,
    host_param_name: named ? "sub" : null,
  });
}

function randomPath(random: Random): string {
  const segments: string[] = [];
  for (let count = random.below(6); count > 0; count -= 1) segments.push(random.pick(LITERALS));
  if (segments.length === 0 || random.below(5) === 0) segments.push("");
  return `/${segments.join("/")}`;
}

/** Patterns of one length, or nearly, that share most of their literals: trees with much `rest`. */
function longTable(random: Random): Route[] {
  const length = 1 + random.below(routeSegmentsMax - 1);
  const routes: Route[] = [];
  for (let tries = 0; tries < 60; tries += 1) {
    const kind = random.pick(["prefix", "param", "param", "param"] as const);
    const literals = random.pick([2, 5, 8]);
    const segments = Array.from({ length: length + random.below(2) }, (_, at) => {
      const literal = kind === "prefix" || random.below(10) < literals;
      return literal ? random.pick(LONG_LITERALS) : `:p${at}`;
    });
    if (kind === "prefix") segments.splice(random.below(segments.length), segments.length, "*");
    const method = random.pick(["ANY", "GET", "HEAD", "POST"]);
    const path = segments.join("/");
    const candidate = route(`${method} ${random.pick(LONG_HOSTS)}/${path}`, { path_kind: kind });
    if (findConflict(candidate, routes) === null) routes.push(candidate);
  }
  return routes;
}

/** Fits the route, or has one segment changed, emptied at the end, added or taken away. */
function longPath(random: Random, near: Route): string {
  const segments = near.path.split("/").slice(1);
  const filled = segments.map((segment) => {
    if (segment === "*") return random.pick(["", "%C3%A4", "a/b"]);
    return segment.startsWith(":") ? random.pick([...LONG_LITERALS, "x%2525"]) : segment;
  });
  const at = random.below(filled.length);
  const change = random.below(8);
  if (change === 0) filled[at] = random.pick(LONG_LITERALS);
  if (change === 1) filled[filled.length - 1] = "";
  if (change === 2) filled.push(random.pick(LONG_LITERALS));
  if (change === 3 && filled.length > 1) filled.splice(at, 1);
  return `/${filled.join("/")}`;
}

function plain(result: unknown): unknown {
  return JSON.parse(JSON.stringify(result));
}
