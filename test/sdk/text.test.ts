import { describe, expect, test } from "bun:test";
import { evaluate, inGuest } from "./guest-setup.ts";

describe("TextEncoder and TextDecoder", () => {
  test.each([["aä€💩"], ["\0"], ["\ud800x"], ["\udc00"], [""], ["\ufeffx"]])(
    "encode %p",
    async (text) => {
      const bytes = await evaluate(`[...new TextEncoder().encode(${JSON.stringify(text)})]`);
      expect(bytes).toEqual([...new TextEncoder().encode(text)]);
    },
  );

  test.each([
    [[0x61, 0xc3, 0xa4]],
    [[0xff, 0x61]],
    [[0xe2, 0x82]],
    [[0xf0, 0x9f, 0x92, 0xa9, 0]],
    [[0xed, 0xa0, 0x80]],
    [[0xc0, 0x80]],
    [[0xef, 0xbb, 0xbf, 0x61]],
    [[0xef, 0xbb, 0xbf, 0xef, 0xbb, 0xbf]],
  ])("decode %p", async (bytes) => {
    const source = (options: string) =>
      `new TextDecoder("utf-8", ${options}).decode(new Uint8Array([${bytes}]))`;
    const data = new Uint8Array(bytes);
    expect(await evaluate(source("{}"))).toBe(new TextDecoder().decode(data));
    const keep = new TextDecoder("utf-8", { ignoreBOM: true }).decode(data);
    expect(await evaluate(source("{ ignoreBOM: true }"))).toBe(keep);
    let fatal: string;
    try {
      fatal = new TextDecoder("utf-8", { fatal: true }).decode(data);
    } catch (error) {
      fatal = (error as Error).name;
    }
    const guest = `try { return ${source("{ fatal: true }")} } catch (e) { return e.name }`;
    expect(await inGuest(guest)).toBe(fatal);
  });

  test("decode a stream in pieces of every size", async () => {
    const bytes = [...new TextEncoder().encode("\ufeffaä€💩z"), 0xff, 0xe2, 0x28, 0xf0, 0x9f];
    for (const size of [1, 2, 3, 5]) {
      const result =
        await inGuest(`const d = new TextDecoder(); let s = ""; const bytes = [${bytes}];
        for (let i = 0; i < bytes.length; i += ${size}) s += d.decode(new Uint8Array(bytes.slice(i, i + ${size})), { stream: true });
        return s + d.decode() + "|" + d.decode(new Uint8Array([0xef, 0xbb, 0xbf, 97]))`);
      expect(result).toBe(`${new TextDecoder().decode(new Uint8Array(bytes))}|a`);
    }
  });

  test("know one encoding by its labels", async () => {
    const result =
      await inGuest(`const of = (l) => { try { return new TextDecoder(l).encoding } catch (e) { return e.name } };
      return [of(), of(" UTF8 "), of("unicode-1-1-utf-8"), of("latin1"), new TextEncoder().encoding]`);
    expect(result).toEqual(["utf-8", "utf-8", "utf-8", "RangeError", "utf-8"]);
  });

  test("encodeInto stops before a character that does not fit", async () => {
    const result =
      await inGuest(`const t = new Uint8Array(6); const r = new TextEncoder().encodeInto("aä€💩", t);
      return [r, [...t]]`);
    expect(result).toEqual([{ read: 3, written: 6 }, [0x61, 0xc3, 0xa4, 0xe2, 0x82, 0xac]]);
  });

  test("take views with an offset, and refuse what is no data", async () => {
    const result = await inGuest(`const b = new Uint8Array([97, 98, 99, 100]);
      const of = (x) => { try { return new TextDecoder().decode(x) } catch (e) { return e.name } };
      return [of(b.subarray(1, 3)), of(new DataView(b.buffer, 2)), of(b.buffer), of("abc"), of()]`);
    expect(result).toEqual(["bc", "cd", "abcd", "TypeError", ""]);
  });
});
