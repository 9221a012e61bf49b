/**
 * 10,000 routes of the worst shapes that can be stored. What is asserted is far above what is
 * measured (some hundred nanoseconds), so that only a change of complexity fails here; the figure that
 * counts comes from bench/.
 */
import { expect, test } from "bun:test";
import type { Route } from "../../src/domain/routes.ts";
import { compileTable } from "../../src/routing/table.ts";
import { route, seededRandom } from "./route-patterns.ts";

interface Shape {
  name: string;
  routes: () => Route[];
  /** Host and path of requests that hurt most. */
  requests: [string, string][];
}

/** Generous, for a busy machine: making 10,000 routes is most of it. */
const msMax = 60_000;
const MANY = 10_000;
const deep = (segment: string, times: number): string => `/${segment}`.repeat(times);

const SHAPES: Shape[] = [
  {
    name: "one shared prefix, told apart by the last segment",
    routes: () => each((index) => `/shared/prefix/of/all/:id/x${index}`),
    requests: [
      ["h", "/shared/prefix/of/all/7/x9999"],
      ["h", "/shared/prefix/of/all/7/none"],
    ],
  },
  {
    name: "literal or parameter at each of 13 positions: 8,192 branches for a backtracking trie",
    routes: () =>
      each((index) => {
        const bits = index % 8_192;
        const parts = Array.from({ length: 13 }, (_, at) => ((bits >> at) & 1 ? "a" : `:p${at}`));
        return `/${parts.join("/")}/x${index}`;
      }),
    requests: [
      ["h", `${deep("a", 13)}/none`],
      ["h", `${deep("a", 13)}/x8191`],
    ],
  },
  {
    name: "each pattern literal in its own two places",
    routes: () =>
      Array.from({ length: 15 }, (_, a) => a).flatMap((a) =>
        Array.from({ length: 666 }, (_, value) => {
          const parts = Array.from({ length: 16 }, (_, at) => (at === a ? `v${value}` : `:p${at}`));
          parts[15] = `w${a}`;
          return route(`/${parts.join("/")}`);
        }),
      ),
    requests: [
      ["h", `${deep("v1", 15)}/w14`],
      ["h", `${deep("v1", 15)}/none`],
    ],
  },
  {
    name: "nested prefixes and wildcard hosts that all fall through",
    routes: () =>
      Array.from({ length: 12 }, (_, labels) => labels + 1).flatMap((labels) =>
        Array.from({ length: 833 }, (_, index) =>
          route(`POST *.${"a.".repeat(labels)}test${deep("s", index % 30)}/n${index}/*`),
        ),
      ),
    requests: [
      [`${"a.".repeat(14)}test`, `${deep("s", 30)}/x`],
      ["x.test", "/"],
    ],
  },
  {
    name: "requests of 1,000 segments",
    routes: () =>
      each((index) => (index % 2 ? `/s/s/s/:x/k${index}/*`.replace(":x", "y") : `/s/:a/k${index}`)),
    requests: [
      ["h", deep("s", 1_000)],
      ["h", `${deep("s", 31)}/`],
    ],
  },
];

for (const shape of SHAPES) {
  test(
    `${shape.name}: bounded work a match`,
    () => {
      const table = compileTable(shape.routes());
      expect(table.size).toBeGreaterThan(9_900);
      for (const [host, path] of shape.requests) {
        const median = medianNanoseconds(() => table.match("GET", host, path));
        expect(median).toBeLessThan(100_000);
      }
    },
    msMax,
  );
}

test(
  "one route found among 10,000 in random order",
  () => {
    const random = seededRandom(3);
    const table = compileTable(each((index) => `/r${index}/:id`));
    for (let round = 0; round < 1_000; round += 1) {
      const index = random.below(MANY);
      const result = table.match("GET", "h", `/r${index}/x`);
      expect(result.kind === "match" && result.match.route.path).toBe(`/r${index}/:id`);
    }
  },
  msMax,
);

function each(pattern: (index: number) => string): Route[] {
  return Array.from({ length: MANY }, (_, index) => route(pattern(index)));
}

/** Batches of 20, because a clock read costs as much as a match. */
function medianNanoseconds(match: () => unknown): number {
  const samples: number[] = [];
  for (let round = 0; round < 500; round += 1) {
    const start = Bun.nanoseconds();
    for (let index = 0; index < 20; index += 1) match();
    samples.push((Bun.nanoseconds() - start) / 20);
  }
  const sorted = samples.slice(100).sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] as number;
}
