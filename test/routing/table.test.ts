import { describe, expect, test } from "bun:test";
import type { Route } from "../../src/domain/routes.ts";
import { findConflict } from "../../src/routing/conflict.ts";
import { matchUrl, parseTargetUrl } from "../../src/routing/match-url.ts";
import { compileTable } from "../../src/routing/table.ts";
import { route } from "./route-patterns.ts";

/** `GET a.test/x` → the id of the route that answers, the Allow list, or null. */
function ask(routes: readonly Route[], text: string): string | string[] | null {
  const [method = "", place = ""] = text.split(" ");
  const slash = place.indexOf("/");
  const result = compileTable(routes).match(method, place.slice(0, slash), place.slice(slash));
  if (result.kind === "match") return result.match.route.id;
  return result.kind === "none" ? null : result.allow;
}

function table(...texts: string[]): Route[] {
  const routes = texts.map((text) => route(text));
  for (const [index, each] of routes.entries()) {
    expect(findConflict(each, routes.slice(0, index))).toBeNull();
  }
  return routes;
}

function caught(routes: readonly Route[], path: string, host = "h"): [object, string] | null {
  const result = compileTable(routes).match("GET", host, path);
  return result.kind === "match" ? [{ ...result.match.params }, result.match.rest] : null;
}

describe("paths", () => {
  test("a prefix is a strict subtree", () => {
    const routes = table("/greet/*");
    expect(ask(routes, "GET h/greet")).toBeNull();
    expect(caught(routes, "/greet/")).toEqual([{}, ""]);
    expect(caught(routes, "/greet/a/b")).toEqual([{}, "a/b"]);
    expect(caught(routes, "/greeting")).toBeNull();
    expect(caught(table("/*"), "/")).toEqual([{}, ""]);
  });

  test("a parameter takes one whole segment, never an empty one, and is decoded once", () => {
    const routes = table("/users/:id", "/:a/x/:b/");
    expect(caught(routes, "/users/7")).toEqual([{ id: "7" }, ""]);
    expect(caught(routes, "/users/k%C3%A4s%252fe")).toEqual([{ id: "käs%2fe" }, ""]);
    expect(caught(routes, "/users/")).toBeNull();
    expect(caught(routes, "/users/7/")).toBeNull();
    expect(caught(routes, "/1/x/2/")).toEqual([{ a: "1", b: "2" }, ""]);
  });

  test("a parameter may be called __proto__ and stays a plain value", () => {
    const [params] = caught(table("/:__proto__/:constructor"), "/a/b") ?? [];
    expect(JSON.stringify(params)).toBe('{"__proto__":"a","constructor":"b"}');
    expect(({} as { a?: string }).a).toBeUndefined();
  });

  test("exact first, then more leading literals, then param before prefix, then the longest prefix", () => {
    const routes = table("/*", "/a/*", "/a/b/*", "/:x", "/a/:y", "/a/b/:z", "/a/b/c", "/:x/q/c");
    expect(ask(routes, "GET h/a/b/c")).toBe("/a/b/c");
    expect(ask(routes, "GET h/a/b/d")).toBe("/a/b/:z");
    expect(ask(routes, "GET h/a/b/d/e")).toBe("/a/b/*");
    expect(ask(routes, "GET h/a/d")).toBe("/a/:y");
    expect(ask(routes, "GET h/a/d/e")).toBe("/a/*");
    expect(ask(routes, "GET h/d")).toBe("/:x");
    expect(ask(routes, "GET h/d/q/c")).toBe("/:x/q/c");
    expect(ask(routes, "GET h/d/e/f")).toBe("/*");
    expect(ask(table("/a/*", "/:x/b"), "GET h/a/b")).toBe("/a/*");
  });

  test("an exact kind takes colons and stars literally", () => {
    const routes = [route("/greet/:name", { path_kind: "exact" })];
    expect(ask(routes, "GET h/greet/:name")).toBe("/greet/:name");
    expect(ask(routes, "GET h/greet/x")).toBeNull();
  });

  test("spellings of one path meet", () => {
    const routes = table("/k%c3%a4se", "/%7Ea", "/b|c");
    expect(ask(routes, "GET h/k%C3%A4se")).toBe("/k%c3%a4se");
    expect(ask(routes, "GET h/~a")).toBe("/%7Ea");
    expect(ask(routes, "GET h/b%7Cc")).toBe("/b|c");
    expect(ask(routes, "GET h/K%C3%A4se")).toBeNull();
  });
});

describe("methods", () => {
  test("falling through to a weaker pattern that has the method", () => {
    const routes = table("POST /a/b", "GET /a/:x", "PUT /a/*", "DELETE /*");
    expect(ask(routes, "GET h/a/b")).toBe("GET /a/:x");
    expect(ask(routes, "PUT h/a/b")).toBe("PUT /a/*");
    expect(ask(routes, "DELETE h/a/b")).toBe("DELETE /*");
    expect(ask(routes, "PATCH h/a/b")).toEqual(["DELETE", "GET", "HEAD", "POST", "PUT"]);
    expect(ask(routes, "PATCH h/x")).toEqual(["DELETE"]);
  });

  test("HEAD: an explicit route, else GET's, else ANY's", () => {
    expect(ask(table("HEAD /a", "GET /a"), "HEAD h/a")).toBe("HEAD /a");
    expect(ask(table("GET /a", "POST /a"), "HEAD h/a")).toBe("GET /a");
    expect(ask(table("/a"), "HEAD h/a")).toBe("/a");
    expect(ask(table("POST /a"), "HEAD h/a")).toEqual(["POST"]);
    expect(ask(table("GET /a/:x/b", "HEAD /a/:x/:y"), "HEAD h/a/1/b")).toBe("HEAD /a/:x/:y");
    expect(ask(table("GET /a", "HEAD /*"), "HEAD h/a")).toBe("GET /a");
  });

  test("ANY takes methods nobody named", () => {
    expect(ask(table("/a"), "PROPFIND h/a")).toBe("/a");
    expect(ask(table("GET /a"), "PROPFIND h/a")).toEqual(["GET", "HEAD"]);
  });
});

describe("hosts", () => {
  const routes = table(
    "a.x.test/p",
    "*.x.test/p",
    "*.test/p",
    "/p",
    "/only-any",
    "POST b.x.test/p",
  );

  test("strict, then the longest wildcard, then any", () => {
    expect(ask(routes, "GET a.x.test/p")).toBe("a.x.test/p");
    expect(ask(routes, "GET c.x.test/p")).toBe("*.x.test/p");
    expect(ask(routes, "GET d.c.x.test/p")).toBe("*.x.test/p");
    expect(ask(routes, "GET x.test/p")).toBe("*.test/p");
    expect(ask(routes, "GET test/p")).toBe("/p");
    expect(ask(routes, "GET ax.test/p")).toBe("*.test/p");
    expect(ask(routes, "GET other/p")).toBe("/p");
  });

  test("a bucket without path and method falls through", () => {
    expect(ask(routes, "GET a.x.test/only-any")).toBe("/only-any");
    expect(ask(routes, "GET b.x.test/p")).toBe("*.x.test/p");
    expect(ask(table("POST a.test/q", "PUT *.test/q"), "GET a.test/q")).toEqual(["POST", "PUT"]);
  });

  test("what a wildcard took is a parameter", () => {
    const named = [route("*.x.test/:p", { host_param_name: "sub" })];
    expect(caught(named, "/1", "b.a.x.test")).toEqual([{ p: "1", sub: "b.a" }, ""]);
  });

  test("typed hosts meet however they are written", () => {
    expect(ask(table("MÜNCHEN.de./p"), "GET xn--mnchen-3ya.de/p")).toBe("MÜNCHEN.de./p");
    expect(findConflict(route("X.test/p"), [route("x.TEST./p")])).not.toBeNull();
  });
});

describe("conflicts", () => {
  const conflict = (a: string, b: string): boolean => findConflict(route(a), [route(b)]) !== null;

  test("one kind, one host, overlapping methods and one request for both", () => {
    expect(conflict("/a", "GET /a")).toBe(true);
    expect(conflict("GET /a", "POST /a")).toBe(false);
    expect(conflict("/%61", "/a")).toBe(true);
    expect(conflict("/a/*", "/a/b/*")).toBe(false);
    expect(conflict("/a/*", "/a/*")).toBe(true);
    expect(conflict("/a/:x", "/a/:y")).toBe(true);
    expect(conflict("/a/:x", "/:y/b")).toBe(true);
    expect(conflict("/a/:x/c", "/a/:y/d")).toBe(false);
    expect(conflict("/a/:x", "/a/:x/:y")).toBe(false);
    expect(conflict("/a/:x", "/a/*")).toBe(false);
    expect(conflict("/a/:x", "/a/b")).toBe(false);
    expect(conflict("a.test/p", "/p")).toBe(false);
    expect(conflict("a.test/p", "*.test/p")).toBe(false);
    expect(conflict("*.a.test/p", "*.test/p")).toBe(false);
  });
});

describe("a URL is judged as the gateway would", () => {
  const compiled = compileTable(table("/greet/:name", "a.test/x", "/*"));
  const id = (method: string, url: string) => matchUrl(compiled, method, url)?.route.id ?? null;

  test("with and without host", () => {
    expect(id("GET", "/greet/you?x=1#y")).toBe("/greet/:name");
    expect(id("get", "HTTPS://A.test:8443/x")).toBe("a.test/x");
    expect(id("GET", "http://pi/a/../greet/b")).toBe("/greet/:name");
    expect(parseTargetUrl("http://MÜNCHEN.de./%7Ex").host).toBe("xn--mnchen-3ya.de");
  });

  test("system paths reach no route, in no spelling", () => {
    for (const url of ["/api", "/%61pi/x", "/x/../admin/", "/./healthz", "\\api"]) {
      if (url.startsWith("/")) expect(id("GET", url)).toBeNull();
    }
  });

  test("what the gateway refuses is refused", () => {
    for (const url of [
      "",
      "x",
      "//api",
      "/a//b",
      "/%2f",
      "/%00",
      "/%zz",
      "ftp://a/x",
      "http://u:p@a/x",
      "http://a:b/",
    ]) {
      expect(() => matchUrl(compiled, "GET", url)).toThrow(/url/);
    }
  });
});

test("a stored route that cannot be read is reported and harms no other", () => {
  const bad: Route = { ...route("/a"), path: "no slash" };
  const told: string[] = [];
  const compiled = compileTable([bad, route("/b")], { onBadRoute: (each) => told.push(each.path) });
  expect(told).toEqual(["no slash"]);
  expect(compiled.size).toBe(1);
  expect(compiled.match("GET", "h", "/b").kind).toBe("match");
});
