import { describe, expect, test } from "bun:test";
import { PicError } from "../../src/domain/errors.ts";
import {
  checkRoute,
  detectHostKind,
  detectPathKind,
  parsePath,
  type RouteInput,
} from "../../src/domain/routes.ts";

function problem(input: RouteInput): { path: string; message: string } {
  try {
    checkRoute(input);
  } catch (error) {
    expect(error).toBeInstanceOf(PicError);
    expect((error as PicError).code).toBe("invalid");
    return (error as PicError).details.errors?.[0] ?? { path: "", message: "" };
  }
  throw new Error(`accepted: ${JSON.stringify(input)}`);
}

describe("kinds", () => {
  test("are detected when absent", () => {
    expect(detectPathKind("/greet")).toBe("exact");
    expect(detectPathKind("/greet/*")).toBe("prefix");
    expect(detectPathKind("/*")).toBe("prefix");
    expect(detectPathKind("/users/:id")).toBe("param");
    expect(detectPathKind("/:a/*")).toBe("prefix");
    expect(detectHostKind("")).toBe("any");
    expect(detectHostKind("a.example.com")).toBe("strict");
    expect(detectHostKind("*.example.com")).toBe("wildcard");
  });

  test("defaults are filled in and everything else stays as typed", () => {
    expect(checkRoute({ path: "/Gr%C3%BC%c3%9fe" })).toEqual({
      route: {
        path: "/Gr%C3%BC%c3%9fe",
        path_kind: "exact",
        method: "ANY",
        host: "",
        host_kind: "any",
        host_param_name: null,
        dispatch_mode: "sync",
      },
      warning: null,
    });
    const typed = checkRoute({ path: "/a", host: "*.Example.com", host_param_name: "sub" });
    expect(typed.route.host).toBe("*.Example.com");
    expect(typed.route.host_kind).toBe("wildcard");
  });

  test("are believed when given, with a warning when they do not fit", () => {
    const exact = checkRoute({ path: "/greet/:name", path_kind: "exact" });
    expect(exact.route.path_kind).toBe("exact");
    expect(exact.warning).toContain("looks like `param`");
    expect(checkRoute({ path: "/files/*", path_kind: "exact" }).warning).toContain("`prefix`");
    expect(checkRoute({ path: "/a", path_kind: "param" }).warning).toContain("`exact`");
    expect(checkRoute({ path: "/a", host: "b.test", host_kind: "any" }).warning).toContain("host");
    expect(checkRoute({ path: "/users/:id", path_kind: "param" }).warning).toBeNull();
  });
});

describe("a bad pattern names its field", () => {
  const paths = [
    "",
    "greet",
    "//",
    "/a//b",
    "/a\\b",
    "/a b",
    "/a?b",
    "/a#b",
    "/%2f",
    "/%5c",
    "/%00",
    "/%zz",
    "/./a",
    "/a/../b",
    "/%2e%2e/a",
    "/:a/*",
    "/a:b/*",
    "/*/*",
    "/a/*/b",
    "/a*",
    "/*a",
    "/a/:",
    "/a/:1",
    "/a/:a-b",
    "/a/:id.json",
    "/a/x:id",
    "/:a/:a",
    "/:a?",
    "/:a(\\d+)",
    "/{name}",
    "/a/{b}/c",
    "/:a/*b",
    "/\u0000",
    `/${"a".repeat(1_024)}`,
    `/${"a/".repeat(40)}`,
    `/:${"a".repeat(65)}`,
    "/\ud800",
  ];
  for (const path of paths) {
    test(`path ${JSON.stringify(path).slice(0, 40)}`, () => {
      expect(problem({ path }).path).toBe("path");
    });
  }

  test("a prefix without its star, or with parameters", () => {
    expect(problem({ path: "/a", path_kind: "prefix" }).message).toContain("/*");
    expect(problem({ path: "/:a/*" }).message).toContain("no parameters");
    expect(problem({ path: "/a/*", path_kind: "param" }).path).toBe("path");
  });

  for (const host of [
    "a:80",
    "a/b",
    "a b",
    "*",
    "*.",
    "*.*.a",
    "a..b",
    "*.127.0.0.1",
    "*.[::1]",
    "1.2.3",
  ]) {
    test(`host ${host}`, () => expect(problem({ path: "/a", host }).path).toBe("host"));
  }

  test("hosts that their kind refuses", () => {
    expect(problem({ path: "/a", host: "", host_kind: "strict" }).path).toBe("host");
    expect(problem({ path: "/a", host: "*.a.test", host_kind: "strict" }).path).toBe("host");
    expect(problem({ path: "/a", host: "a.test", host_kind: "wildcard" }).path).toBe("host");
    expect(problem({ path: "/a", host: "a.".repeat(20).slice(0, -1) }).path).toBe("host");
  });

  test("a host parameter needs a wildcard and a name of its own", () => {
    const host = "*.a.test";
    expect(problem({ path: "/a", host_param_name: "x" }).path).toBe("host_param_name");
    expect(problem({ path: "/:x", host, host_param_name: "x" }).path).toBe("host_param_name");
    expect(problem({ path: "/", host, host_param_name: "a-b" }).path).toBe("host_param_name");
  });

  test("an unknown method", () => {
    expect(problem({ path: "/a", method: "get" as "GET" }).path).toBe("method");
  });
});

describe("reserved names", () => {
  const reserved = [
    "/api",
    "/api/",
    "/api/*",
    "/api/:x",
    "/api/v1/x",
    "/%61pi/x",
    "/admin",
    "/admin/*",
    "/healthz",
    "/healthz/x",
    "/version",
    "/metrics/:x",
    "/tools/*",
    "/my-runs",
    "/my%2Druns/:id",
  ];
  for (const path of reserved) {
    test(`${path} is refused on every host`, () => {
      expect(problem({ path }).message).toContain("reserved");
      expect(problem({ path, host: "a.test" }).message).toContain("reserved");
    });
  }

  test("what only might reach one may exist", () => {
    for (const path of ["/*", "/:x", "/:x/api", "/API", "/apis", "/api;x", "/x/api"]) {
      expect(checkRoute({ path }).route.path).toBe(path);
    }
  });
});

test("a parsed pattern says what stands where", () => {
  expect(parsePath("/users/:id/posts/:post", "param")).toEqual({
    kind: "param",
    literal: "",
    segments: ["users", null, "posts", null],
    names: ["id", "post"],
    leading_literals: 1,
  });
  expect(parsePath("/*", "prefix").literal).toBe("/");
  expect(parsePath("/a/:b", "exact").literal).toBe("/a/:b");
});
