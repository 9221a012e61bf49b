import { describe, expect, test } from "bun:test";
import { PicError } from "../../src/domain/errors.ts";
import {
  decodePiece,
  firstSegment,
  isReservedPath,
  normalisePath,
} from "../../src/domain/paths.ts";

describe("one spelling for every path", () => {
  const cases: [string, string][] = [
    ["/", "/"],
    ["/greet/you", "/greet/you"],
    ["/%67reet", "/greet"],
    ["/%7Euser%2Dx%5F%2e5", "/~user-x_.5"],
    ["/a%3ab", "/a%3Ab"],
    ["/k%c3%a4se", "/k%C3%A4se"],
    ["/käse", "/k%C3%A4se"],
    ["/a|b", "/a%7Cb"],
    ["/a%7cb", "/a%7Cb"],
    ["/%252f", "/%252f"],
    ["/.well-known/x", "/.well-known/x"],
    ["/a.b/..c/d..", "/a.b/..c/d.."],
    ["/%E2%82%AC", "/%E2%82%AC"],
    ["/💶", "/%F0%9F%92%B6"],
  ];
  for (const [given, wanted] of cases) {
    test(`${given} becomes ${wanted}, and stays so`, () => {
      expect(normalisePath(given)).toBe(wanted);
      expect(normalisePath(wanted)).toBe(wanted);
    });
  }

  const refused = [
    "",
    "a",
    "*",
    "//",
    "//a",
    "/a//b",
    "/a//",
    "/%2f",
    "/%2F",
    "/a%5cb",
    "/%5C",
    "/%00",
    "/a\\b",
    "/\\a",
    "/a\0",
    "/a b",
    "/a\tb",
    "/a\u007f",
    "/.",
    "/..",
    "/a/./b",
    "/a/../b",
    "/%2e%2e/a",
    "/a/%2E",
    "/a/.%2e/b",
    "/%",
    "/%4",
    "/%zz",
    "/%-1",
    "/%ff",
    "/%c3",
    "/%c0%af",
    "/%ed%a0%80",
    "/a?b",
    "/a#b",
    "/\ud800",
  ];
  for (const path of refused) {
    test(`${JSON.stringify(path)} is refused`, () => {
      let thrown: unknown;
      try {
        normalisePath(path);
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toBeInstanceOf(PicError);
      expect((thrown as PicError).code).toBe("malformed_request");
    });
  }

  test("reserved names cover the bare name and its subtree, and nothing else", () => {
    for (const name of ["api", "admin", "healthz", "version", "metrics", "tools", "my-runs"]) {
      expect(isReservedPath(`/${name}`)).toBe(true);
      expect(isReservedPath(`/${name}/`)).toBe(true);
      expect(isReservedPath(`/${name}/x/y`)).toBe(true);
      expect(
        isReservedPath(normalisePath(`/%${name.charCodeAt(0).toString(16)}${name.slice(1)}`)),
      ).toBe(true);
      expect(isReservedPath(`/${name}s`)).toBe(name === "tool");
      expect(isReservedPath(`/x/${name}`)).toBe(false);
      expect(isReservedPath(`/${name.toUpperCase()}`)).toBe(false);
    }
    expect(isReservedPath("/")).toBe(false);
    expect(isReservedPath("/api;x")).toBe(false);
  });

  test("pieces are decoded once", () => {
    expect(decodePiece("%252f")).toBe("%2f");
    expect(decodePiece("k%C3%A4se")).toBe("käse");
    expect(firstSegment("/")).toBe("");
  });
});
