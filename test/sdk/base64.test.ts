import { describe, expect, test } from "bun:test";
import { evaluate, inGuest } from "./guest-setup.ts";

describe("base64 and hex", () => {
  test.each([
    ["base64.encode('hé')", "aMOp"],
    ["base64.encode(new Uint8Array([251, 255]))", "+/8="],
    ["base64.encode(new Uint8Array([251, 255]), { url: true })", "-_8"],
    ["base64.encode(new Uint8Array([1, 2, 3, 4]).subarray(1, 3))", "AgM="],
    ["base64.encode('')", ""],
    ["[...base64.decode('+/8=')]", [251, 255]],
    ["[...base64.decode('-_8')]", [251, 255]],
    ["hex.encode(new Uint8Array([0, 15, 255]))", "000fff"],
    ["[...hex.decode('00FfA0')]", [0, 255, 160]],
    ["hex.encode('ä')", "c3a4"],
  ])("%s", async (expression, value) => {
    expect(await evaluate(expression)).toEqual(value);
  });

  test.each([
    "base64.decode('a')",
    "base64.decode('a b=')",
    "base64.decode('é')",
    "hex.decode('abc')",
    "hex.decode('zz')",
    "base64.encode(5)",
    "hex.encode({})",
  ])("%s throws TypeError", async (expression) => {
    expect(await inGuest(`try { ${expression} } catch (e) { return e.name }`)).toBe("TypeError");
  });
});

describe("atob and btoa", () => {
  test.each([
    "",
    "YQ==",
    "YQ",
    " Y Q = = ",
    "YWI=",
    "/+8=",
    "YQ=",
    "Y",
    "YQ===",
    "Y-Q=",
    "=",
    "AB==",
    "\u0100",
  ])("atob(%p) is what the standard says", async (text) => {
    let own: unknown;
    try {
      own = atob(text);
    } catch (error) {
      own = (error as Error).name;
    }
    const source = `try { return atob(${JSON.stringify(text)}) } catch (e) { return e.name }`;
    expect(await inGuest(source)).toBe(own);
  });

  test("btoa takes every byte and no more", async () => {
    const result =
      await inGuest(`let s = ""; for (let i = 0; i < 256; i++) s += String.fromCharCode(i);
      let refused; try { btoa("\\u0100") } catch (e) { refused = [e.name, e.code, e instanceof DOMException, e instanceof Error] }
      return [btoa(s), atob(btoa(s)) === s, btoa(null), refused]`);
    const all = String.fromCharCode(...Array.from({ length: 256 }, (_, index) => index));
    expect(result).toEqual([btoa(all), true, "bnVsbA==", ["InvalidCharacterError", 5, true, true]]);
  });

  test("megabytes of hexadecimal digits are no problem for the checker", async () => {
    expect(await evaluate("hex.decode('ab'.repeat(3e6)).length")).toBe(3_000_000);
  });

  test("a megabyte takes its turn", async () => {
    expect(await evaluate("btoa('x'.repeat(1 << 20)).length")).toBe(1_398_104);
  });
});
