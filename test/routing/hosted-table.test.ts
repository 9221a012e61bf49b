/** Hosts that belong to apps: on them only the app's routes serve. */
import { describe, expect, test } from "bun:test";
import { type AppHost, isInside, parseAppHost } from "../../src/domain/app-hosts.ts";
import { parseHost, ROUTE_METHODS, type Route } from "../../src/domain/routes.ts";
import { findConflict } from "../../src/routing/conflict.ts";
import { HostOwners } from "../../src/routing/host-owners.ts";
import { compileHostedTable } from "../../src/routing/hosted-table.ts";
import { referenceMatch } from "./reference-matcher.ts";
import { type Random, route, seededRandom } from "./route-patterns.ts";

/** Generous, for a busy machine. */
const msMax = 60_000;

/** `"a: *.home.lan"`. */
function hosts(...texts: string[]): AppHost[] {
  return texts.map((text) => {
    const [app_id = "", host = ""] = text.split(": ");
    return { host, app_id, created_at: 0, created_by: null };
  });
}

/** `"a: GET home.lan/x"`; the id is the text. */
function routes(...texts: string[]): Route[] {
  return texts.map((text) => {
    const [app_id = "", pattern = ""] = text.split(": ");
    return { ...route(pattern), id: text, app_id };
  });
}

/** Who answers, the Allow list, or null. */
function asker(all: readonly Route[], given: readonly AppHost[]) {
  const table = compileHostedTable(all, given);
  return (text: string): string | string[] | null => {
    const [method = "", place = ""] = text.split(" ");
    const slash = place.indexOf("/");
    const result = table.match(method, place.slice(0, slash), place.slice(slash));
    if (result.kind === "match") return result.match.route.id;
    return result.kind === "none" ? null : result.allow;
  };
}

describe("a host of an app", () => {
  test("serves its strict, wildcard and any-host routes, and nobody else's", () => {
    const ask = asker(
      routes("a: home.lan/s", "a: *.lan/w", "a: /any", "b: *.lan/other", "b: /b", "b: /*"),
      hosts("a: home.lan"),
    );
    expect(ask("GET home.lan/s")).toBe("a: home.lan/s");
    expect(ask("GET home.lan/w")).toBe("a: *.lan/w");
    expect(ask("GET home.lan/any")).toBe("a: /any");
    expect(ask("GET home.lan/other")).toBeNull();
    expect(ask("GET home.lan/b")).toBeNull();
    expect(ask("GET home.lan/nothing")).toBeNull();
  });

  test("changes nothing on hosts that belong to nobody", () => {
    const ask = asker(
      routes("a: home.lan/s", "a: *.lan/w", "a: /any", "b: *.lan/other", "b: /*"),
      hosts("a: home.lan"),
    );
    expect(ask("GET x.lan/w")).toBe("a: *.lan/w");
    expect(ask("GET x.lan/other")).toBe("b: *.lan/other");
    expect(ask("GET pi/any")).toBe("a: /any");
    expect(ask("GET pi/else")).toBe("b: /*");
    expect(ask("GET sub.home.lan/other")).toBe("b: *.lan/other");
    expect(ask("GET lan/other")).toBe("b: /*");
  });

  test("tells in `Allow` of its own routes only", () => {
    const ask = asker(
      routes("a: GET /x", "b: POST /x", "b: PUT home.lan/x", "b: DELETE /y"),
      hosts("a: home.lan"),
    );
    expect(ask("PATCH home.lan/x")).toEqual(["GET", "HEAD"]);
    expect(ask("PATCH pi/x")).toEqual(["GET", "HEAD", "POST"]);
    expect(ask("PATCH home.lan/y")).toBeNull();
  });

  test("that has no routes answers nothing", () => {
    const ask = asker(routes("b: /*"), hosts("a: *.home.lan"));
    expect(ask("GET x.home.lan/")).toBeNull();
    expect(ask("GET home.lan/")).toBe("b: /*");
  });

  test("below another's wildcard belongs to who has the more specific pattern", () => {
    const ask = asker(
      routes("a: /*", "b: /b", "c: /c", "a: *.home.lan/w"),
      hosts("a: *.home.lan", "b: *.b.home.lan", "c: c.b.home.lan"),
    );
    expect(ask("GET home.lan/b")).toBe("b: /b");
    expect(ask("GET x.home.lan/b")).toBe("a: /*");
    expect(ask("GET b.home.lan/w")).toBe("a: *.home.lan/w");
    expect(ask("GET x.b.home.lan/b")).toBe("b: /b");
    expect(ask("GET x.b.home.lan/w")).toBeNull();
    expect(ask("GET c.b.home.lan/c")).toBe("c: /c");
    expect(ask("GET d.c.b.home.lan/b")).toBe("b: /b");
  });

  test("is not reached by a look-alike, nor does one that is longer pass for it", () => {
    const ask = asker(routes("a: /a", "b: /b"), hosts("a: home.lan", "a: *.pi.lan"));
    for (const host of ["xhome.lan", "home.lan.evil", "home-lan", "xpi.lan", "pi.lan", "lan", ""]) {
      expect(ask(`GET ${host}/b`)).toBe("b: /b");
    }
    for (const host of ["home.lan", "x.pi.lan", `${"x.".repeat(100)}pi.lan`]) {
      expect(ask(`GET ${host}/b`)).toBeNull();
      expect(ask(`GET ${host}/a`)).toBe("a: /a");
    }
  });

  test("leaves a route of another app idle that lies in it, and counts it", () => {
    const all = routes("a: /a", "b: home.lan/b", "b: *.home.lan/b");
    const given = hosts("a: home.lan", "a: *.home.lan");
    const ask = asker(all, given);
    expect(ask("GET home.lan/b")).toBeNull();
    expect(ask("GET x.home.lan/b")).toBeNull();
    expect(compileHostedTable(all, given).size).toBe(3);
  });

  test("a route that cannot be read is told of once, wherever it would serve", () => {
    const bad = { ...(routes("a: /a")[0] as Route), path: "/a//b" };
    const worse = { ...bad, host: "%", host_kind: "strict" } as const;
    const told: Route[] = [];
    const onBadRoute = (each: Route) => told.push(each);
    const all = [bad, worse, ...routes("a: /b")];
    const table = compileHostedTable(all, hosts("a: home.lan"), { onBadRoute });
    expect(told.toSorted((one) => (one === bad ? -1 : 1))).toEqual([bad, worse]);
    expect(table.size).toBe(1);
    expect(table.match("GET", "home.lan", "/b").kind).toBe("match");
  });
});

describe("a pattern of a host", () => {
  test.each([
    ["Blog.Home.LAN", "strict", "blog.home.lan"],
    ["home.lan.", "strict", "home.lan"],
    ["*.Home.lan.", "wildcard", "home.lan"],
    ["bücher.example", "strict", "xn--bcher-kva.example"],
    ["*.BÜCHER.example", "wildcard", "xn--bcher-kva.example"],
    ["ｈｏｍｅ.lan", "strict", "home.lan"],
    ["192.168.1.20", "strict", "192.168.1.20"],
    ["[FE80::1]", "strict", "[fe80::1]"],
    ["pi", "strict", "pi"],
    [`${"a.".repeat(15)}lan`, "strict", `${"a.".repeat(15)}lan`],
  ] as const)("%p is a %s one of %p", (typed, kind, name) => {
    expect(parseAppHost(typed)).toEqual({ kind, name });
  });

  test.each(
    [
      "",
      "*",
      "*.",
      "**.home.lan",
      "*.*",
      "*.*.home.lan",
      "a.*.home.lan",
      "*home.lan",
      "home.lan:8080",
      "http://home.lan",
      "home.lan/x",
      "home..lan",
      ".home.lan",
      "*..home.lan",
      "home lan",
      " home.lan",
      "home.lan\n",
      "home\0.lan",
      "user@home.lan",
      "home.lan\\",
      "%68ome.lan",
      "*.192.168.1.20",
      "*.[::1]",
      "[::1",
      "256.1.1.1",
      "1.2.3",
      "0x7f.1",
      "xn--bcher-kva-.lan",
      "a".repeat(64),
      `${"a".repeat(63)}.`.repeat(4),
      "a".repeat(255),
      `*.${"a.".repeat(126)}b`,
      `${"a.".repeat(16)}lan`,
      "\ud800.lan",
      "*",
      "_",
    ].filter((host) => host !== "_"),
  )("%p is none", (typed) => {
    expect(() => parseAppHost(typed)).toThrow("host");
  });

  test("lies inside of another as the request hosts of the two do", () => {
    const texts = [
      "lan",
      "a.lan",
      "b.a.lan",
      "*.lan",
      "*.a.lan",
      "*.b.a.lan",
      "xa.lan",
      "*.xa.lan",
    ];
    const requests = [
      "lan",
      "a.lan",
      "b.a.lan",
      "c.b.a.lan",
      "c.a.lan",
      "xa.lan",
      "y.xa.lan",
      "q.lan",
    ];
    for (const inner of texts) {
      for (const outer of texts) {
        const wanted = requests.every((host) => !takes(inner, host) || takes(outer, host));
        expect(isInside(parseAppHost(inner), parseAppHost(outer))).toBe(wanted);
      }
    }
  });
});

function takes(pattern: string, host: string): boolean {
  return pattern.startsWith("*.") ? host.endsWith(pattern.slice(1)) : host === pattern;
}

test(
  "1,000 random tables with hosts answer as the naive reading does",
  () => {
    const random = seededRandom(20_260_103);
    const outcomes = { match: 0, method_not_allowed: 0, none: 0 };
    let owned = 0;
    for (let round = 0; round < 1_000; round += 1) {
      const given = randomHosts(random);
      const all = randomRoutes(random);
      const table = compileHostedTable(all, given, { seed: random.below(2 ** 32) });
      const owners = new HostOwners(given);
      for (let request = 0; request < 40; request += 1) {
        const host = random.pick(REQUESTS);
        const owner = naiveOwner(given, host);
        expect(owners.ownerOf(host)?.app_id ?? null).toBe(owner);
        if (owner !== null) owned += 1;
        const method = random.pick(["GET", "HEAD", "POST", "DELETE"]);
        const path = random.pick(["/", "/a", "/b", "/a/b", "/b/"]);
        const those = all.filter((one) => servesOn(one, owner));
        const wanted = referenceMatch(those, method, host, path);
        const got = table.match(method, host, path);
        expect(JSON.parse(JSON.stringify(got))).toEqual(JSON.parse(JSON.stringify(wanted)));
        outcomes[wanted.kind] += 1;
      }
      for (const one of all) {
        const pattern = parseHost(one.host, one.host_kind);
        const cover = owners.coverOf(pattern);
        expect(cover?.host ?? null).toBe(naiveCover(given, one));
      }
    }
    expect(owned).toBeGreaterThan(10_000);
    expect(outcomes.match).toBeGreaterThan(5_000);
    expect(outcomes.method_not_allowed).toBeGreaterThan(1_000);
    expect(outcomes.none).toBeGreaterThan(5_000);
  },
  msMax,
);

const APPS = ["a", "b", "c"];
const PATTERNS = ["lan", "x.lan", "y.x.lan", "*.lan", "*.x.lan", "*.y.x.lan"];
const REQUESTS = ["lan", "x.lan", "y.x.lan", "z.y.x.lan", "z.lan", "xx.lan", "pi"];

/** On a host of an app: what is the app's. */
function servesOn(one: Route, owner: string | null): boolean {
  return owner === null || one.app_id === owner;
}

function naiveOwner(given: readonly AppHost[], host: string): string | null {
  const fitting = given.filter((one) => takes(one.host, host));
  // A strict one is as long as the host itself; a wildcard is longer the more specific it is.
  fitting.sort((one, two) => specificity(two.host) - specificity(one.host));
  return fitting[0]?.app_id ?? null;
}

function naiveCover(given: readonly AppHost[], { host, host_kind }: Route): string | null {
  if (host_kind === "any") return null;
  const fitting = given.filter((one) => isInside(parseAppHost(host), parseAppHost(one.host)));
  fitting.sort((one, two) => specificity(two.host) - specificity(one.host));
  return fitting[0]?.host ?? null;
}

function specificity(host: string): number {
  return host.startsWith("*.") ? host.length : 1_000;
}

function randomHosts(random: Random): AppHost[] {
  return PATTERNS.filter(() => random.below(3) === 0).map((host) => ({
    host,
    app_id: random.pick(APPS),
    created_at: 0,
    created_by: null,
  }));
}

function randomRoutes(random: Random): Route[] {
  const found: Route[] = [];
  for (let tries = 0; tries < 30; tries += 1) {
    const host = random.pick(["", "", ...PATTERNS]);
    const path = random.pick(["/a", "/b", "/*", "/a/*", "/:p", "/:p/b", "/:p/"]);
    const candidate = { ...route(`${random.pick(ROUTE_METHODS)} ${host}${path}`) };
    const one = { ...candidate, id: `${tries}`, app_id: random.pick(APPS) };
    if (findConflict(one, found) === null) found.push(one);
  }
  return found;
}
