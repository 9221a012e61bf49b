import { describe, expect, test } from "bun:test";
import { evaluate, inGuest } from "./guest-setup.ts";

describe("structuredClone", () => {
  test("copies the types that a guest has, deeply", async () => {
    const result =
      await inGuest(`const source = { d: new Date(5), r: /a/gi, m: new Map([[{ k: 1 }, new Set([1])]]), n: [1, , 3],
        b: new Uint16Array([1, 2]), o: Object(5n), s: Object("x"), u: undefined, big: 2n ** 70n, nan: NaN };
      const c = structuredClone(source);
      return [c !== source, c.d.getTime(), c.d !== source.d, c.r + "", [...c.m][0][0].k, [...[...c.m][0][1]][0], 1 in c.n, c.n.length,
        c.b instanceof Uint16Array, [...c.b], c.b.buffer !== source.b.buffer, typeof c.o, c.s + "", "u" in c, c.big === source.big, c.nan !== c.nan]`);
    expect(result).toEqual([
      true,
      5,
      true,
      "/a/gi",
      1,
      1,
      false,
      3,
      true,
      [1, 2],
      true,
      "object",
      "x",
      true,
      true,
      true,
    ]);
  });

  test("keeps cycles and shared parts", async () => {
    const result =
      await inGuest(`const shared = { x: 1 }; const a = { shared, again: shared, list: [] }; a.self = a; a.list.push(a);
      const c = structuredClone(a); const buffer = new ArrayBuffer(8); const v = structuredClone([new Uint8Array(buffer), new DataView(buffer, 2, 4)]);
      return [c.self === c, c.list[0] === c, c.shared === c.again, c.shared !== shared, v[0].buffer === v[1].buffer, v[1].byteOffset, v[1].byteLength]`);
    expect(result).toEqual([true, true, true, true, true, 2, 4]);
  });

  test("copies errors and own properties only", async () => {
    const result = await inGuest(`class P { constructor() { this.own = 1 } get got() { return 2 } }
      const e = structuredClone(new RangeError("m", { cause: { a: 1 } })); const p = structuredClone(new P());
      const o = structuredClone(JSON.parse('{"__proto__":5}'));
      return [e instanceof RangeError, e.message, e.cause.a, p instanceof P, p.own, p.got === undefined, Object.keys(o)]`);
    expect(result).toEqual([true, "m", 1, false, 1, true, ["__proto__"]]);
  });

  test("moves buffers that are transferred", async () => {
    const result =
      await inGuest(`const b = new Uint8Array([1, 2]).buffer; const c = structuredClone({ b }, { transfer: [b] });
      return [b.byteLength, [...new Uint8Array(c.b)]]`);
    expect(result).toEqual([0, [1, 2]]);
  });

  test.each([
    "() => 1",
    "Symbol()",
    "{ a: () => 1 }",
    "[Symbol.iterator]",
    "new WeakMap()",
    "Promise.resolve()",
  ])("refuses %s", async (value) => {
    const thrown = await inGuest(
      `try { structuredClone(${value}) } catch (e) { return [e.name, e.code, e instanceof DOMException] }`,
    );
    expect(thrown).toEqual(["DataCloneError", 25, true]);
  });

  test("passes primitives through", async () => {
    expect(await evaluate("[1, 'a', null, true].map((x) => structuredClone(x))")).toEqual([
      1,
      "a",
      null,
      true,
    ]);
  });
});
