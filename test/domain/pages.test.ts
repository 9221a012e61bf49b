import { describe, expect, test } from "bun:test";
import { PicError } from "../../src/domain/errors.ts";
import { cursorCharsMax, listLimitMax } from "../../src/domain/limits.ts";
import { checkLimit, decodeCursor, encodeCursor, pageOf } from "../../src/domain/pages.ts";

function pathOf(work: () => unknown): string | undefined {
  try {
    work();
  } catch (error) {
    if (error instanceof PicError && error.code === "invalid")
      return error.details.errors?.[0]?.path;
    throw error;
  }
  return undefined;
}

describe("a cursor", () => {
  test("carries a sort key through a URL", () => {
    const cursor = encodeCursor([17, "a/b?c=😀", -1]);
    expect(cursor).toMatch(/^[A-Za-z0-9_-]+$/);
    expect(decodeCursor(cursor, ["number", "string", "number"])).toEqual([17, "a/b?c=😀", -1]);
  });

  test("of another shape, or not ours, is refused with its path", () => {
    const made = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const bad = ["", "=", "é", "AAAA", "A".repeat(cursorCharsMax + 1), encodeCursor(["a"])];
    const shaped = [null, {}, "x", [1, 2], [1.5], [2 ** 53], ["1"], [null], [[1]]].map(made);
    for (const cursor of [...bad, ...shaped]) {
      expect(pathOf(() => decodeCursor(cursor, ["number"]))).toBe("cursor");
    }
    for (const text of ["a\0b", "\ud800"]) {
      expect(pathOf(() => decodeCursor(made([text]), ["string"]))).toBe("cursor");
    }
  });
});

describe("a page", () => {
  const options = { item: (n: number) => `item ${n}`, key: (n: number) => [n] };

  test("holds at most its limit, and says whether there is more", () => {
    const page = pageOf([1, 2, 3], 2, options);
    expect(page.items).toEqual(["item 1", "item 2"]);
    expect(decodeCursor(page.next_cursor ?? "", ["number"])).toEqual([2]);
    expect(pageOf([1, 2], 2, options)).toEqual({ items: ["item 1", "item 2"], next_cursor: null });
    expect(pageOf([], 2, options)).toEqual({ items: [], next_cursor: null });
  });

  test("has a limit between 1 and the largest", () => {
    for (const limit of [1, listLimitMax]) expect(pathOf(() => checkLimit(limit))).toBeUndefined();
    for (const limit of [0, -1, 1.5, Number.NaN, listLimitMax + 1]) {
      expect(pathOf(() => checkLimit(limit))).toBe("limit");
    }
  });
});
