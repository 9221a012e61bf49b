/** Hashes that meet, segments of any length, and what one match leaves for the next. */
import { describe, expect, test } from "bun:test";
import { routeSegmentsMax } from "../../src/domain/limits.ts";
import type { Route } from "../../src/domain/routes.ts";
import type { RoutingTable } from "../../src/routing/api.ts";
import { Literals } from "../../src/routing/literals.ts";
import { compileTable } from "../../src/routing/table.ts";
import { route } from "./route-patterns.ts";

const seed = 20_260_101;
const hashes = new Literals(seed);
const hashOf = (literal: string): number => hashes.add(literal).hash;

function seeded(...texts: string[]): RoutingTable {
  return compileTable(
    texts.map((text) => route(text)),
    { seed },
  );
}

function reached(table: RoutingTable, host: string, path: string): string | null {
  const result = table.match("GET", host, path);
  return result.kind === "match" ? result.match.route.id : null;
}

describe("literals whose hashes meet", () => {
  const [one, other] = twins();

  test("are told apart, whichever is routed", () => {
    expect(one).not.toBe(other);
    expect(hashOf(one)).toBe(hashOf(other));
    for (const [routed, stranger] of [
      [one, other],
      [other, one],
    ]) {
      const table = seeded(`/${routed}/*`, `/:a/${routed}`, `/x/:b/${routed}`, `*.${routed}/h`);
      expect(reached(table, "h", `/${routed}/1`)).toBe(`/${routed}/*`);
      expect(reached(table, "h", `/1/${routed}`)).toBe(`/:a/${routed}`);
      expect(reached(table, "h", `/x/1/${routed}`)).toBe(`/x/:b/${routed}`);
      expect(reached(table, `a.${routed}`, "/h")).toBe(`*.${routed}/h`);
      expect(reached(table, "h", `/${stranger}/1`)).toBeNull();
      expect(reached(table, "h", `/1/${stranger}`)).toBeNull();
      expect(reached(table, "h", `/x/1/${stranger}`)).toBeNull();
      expect(reached(table, `a.${stranger}`, "/h")).toBeNull();
    }
  });

  test("both lead to their own route", () => {
    const table = seeded(`/${one}/*`, `/${other}/*`, `/:a/${one}`, `/:a/${other}`, `/:a/third`);
    for (const literal of [one, other]) {
      expect(reached(table, "h", `/${literal}/1`)).toBe(`/${literal}/*`);
      expect(reached(table, "h", `/1/${literal}`)).toBe(`/:a/${literal}`);
    }
  });

  test("64 that want one slot of a node are all found, and a stranger that wants it is not", () => {
    const crowd: string[] = [];
    for (let index = 0; crowd.length < 65; index += 1) {
      // A node of 64 edges is given at most 1,024 slots.
      if ((hashOf(`k${index}`) & 1_023) === 0) crowd.push(`k${index}`);
    }
    const stranger = crowd.pop() as string;
    const table = seeded(...crowd.flatMap((each) => [`/${each}/*`, `/:a/${each}`]));
    for (const each of crowd) {
      expect(reached(table, "h", `/${each}/1`)).toBe(`/${each}/*`);
      expect(reached(table, "h", `/1/${each}`)).toBe(`/:a/${each}`);
    }
    expect(reached(table, "h", `/${stranger}/1`)).toBeNull();
    expect(reached(table, "h", `/1/${stranger}`)).toBeNull();
  });

  test("do not meet under another seed", () => {
    const elsewhere = new Literals(seed + 1);
    expect(elsewhere.add(one).hash).not.toBe(elsewhere.add(other).hash);
  });
});

describe("segments", () => {
  test("one that begins with the longest literal is not that literal", () => {
    const table = seeded("/abc/*", "/:x/abc", "*.abc/h");
    expect(reached(table, "h", "/abc/1")).toBe("/abc/*");
    for (const stranger of ["abcd", "ab", "abcabc", "abd", "%61bc"]) {
      expect(reached(table, "h", `/${stranger}/1`)).toBeNull();
      expect(reached(table, "h", `/1/${stranger}`)).toBeNull();
      expect(reached(table, `a.${stranger}`, "/h")).toBeNull();
    }
  });

  test("a parameter takes 100,000 characters, and what follows is still found", () => {
    const long = "a%20".repeat(25_000);
    const result = seeded("/x/:long/y/:short").match("GET", "h", `/x/${long}/y/z`);
    expect(result.kind === "match" && { ...result.match.params }).toEqual({
      long: "a ".repeat(25_000),
      short: "z",
    });
  });

  test("only what is escaped is decoded, once, wherever it stands", () => {
    const table = seeded("/:a/:b/:c", "/files/*");
    for (const [path, params] of [
      ["/%2541/b/c", { a: "%41", b: "b", c: "c" }],
      ["/a/%C3%A4/c", { a: "a", b: "ä", c: "c" }],
      ["/a/b+c/%F0%9F%99%82", { a: "a", b: "b+c", c: "🙂" }],
    ] as const) {
      const result = table.match("GET", "h", path);
      expect(result.kind === "match" && { ...result.match.params }).toEqual(params);
    }
    const rest = table.match("GET", "h", "/files/a%20b/%2541");
    expect(rest.kind === "match" && rest.match.rest).toBe("a b/%41");
  });

  test("as many as a pattern may have are matched, one more is not", () => {
    const most = routeSegmentsMax;
    const params = `/${Array.from({ length: most }, (_, at) => `:p${at}`).join("/")}`;
    const prefix = `${"/s".repeat(most)}/*`;
    const slashed = `${"/s".repeat(most - 1)}/`;
    const table = seeded(params, prefix, slashed);
    expect(reached(table, "h", "/s".repeat(most))).toBe(params);
    expect(reached(table, "h", `${"/s".repeat(most - 1)}/t`)).toBe(params);
    expect(reached(table, "h", slashed)).toBe(slashed);
    expect(reached(table, "h", `${"/t".repeat(most - 1)}/`)).toBeNull();
    // One empty segment more: it is the prefix's rest, and no parameter's.
    expect(reached(table, "h", `${"/s".repeat(most)}/`)).toBe(prefix);
    expect(reached(table, "h", `${"/s".repeat(most + 900)}`)).toBe(prefix);
    expect(reached(table, "h", `${"/t".repeat(most)}/`)).toBeNull();
    expect(reached(table, "h", "/t".repeat(most + 1))).toBeNull();
  });
});

test("a match leaves nothing behind: not in a result that is kept, not for the next one", () => {
  const table = seeded("/:a/x/:b", "POST /only", "*.w/:c");
  const first = table.match("GET", "h", "/1/x/2");
  expect(table.match("GET", "h", "/only").kind).toBe("method_not_allowed");
  expect(table.match("GET", "h", "/none").kind).toBe("none");
  expect(table.match("GET", "v.w", "/3").kind).toBe("match");
  expect(table.match("GET", "w", "/3").kind).toBe("none");
  const second = table.match("GET", "h", "/4/x/5");
  expect(first.kind === "match" && { ...first.match.params }).toEqual({ a: "1", b: "2" });
  expect(second.kind === "match" && { ...second.match.params }).toEqual({ a: "4", b: "5" });
});

test("10,000 edges of one node are found under any seed", () => {
  const routes: Route[] = Array.from({ length: 10_000 }, (_, index) => route(`/r${index}/*`));
  for (const each of [0, 1, -1, 0x7fffffff, 0x80000000]) {
    const table = compileTable(routes, { seed: each });
    for (let index = 0; index < 10_000; index += 97) {
      expect(reached(table, "h", `/r${index}/x`)).toBe(`/r${index}/*`);
    }
    expect(reached(table, "h", "/r10000/x")).toBeNull();
  }
});

/** Two literals with one hash: among 400,000 there are some pairs. */
function twins(): [string, string] {
  const seen = new Map<number, string>();
  for (let index = 0; index < 400_000; index += 1) {
    const literal = index.toString(36).padStart(6, "0");
    const known = seen.get(hashOf(literal));
    if (known !== undefined) return [known, literal];
    seen.set(hashOf(literal), literal);
  }
  throw new Error("no two hashes meet under this seed; take another");
}
