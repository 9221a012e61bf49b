import { describe, expect, test } from "bun:test";
import { evaluate, inGuest } from "./guest-setup.ts";

const PARTS = [
  "href",
  "origin",
  "protocol",
  "username",
  "password",
  "host",
  "hostname",
  "port",
  "pathname",
  "search",
  "hash",
];

describe("URL", () => {
  // Inputs and results as in the URL Standard and its web platform tests.
  test.each([
    ["http://example.com:80/a/../b?c#d", undefined, "http://example.com/b?c#d"],
    ["HTTP://ExAmPlE.com/%7Efoo", undefined, "http://example.com/%7Efoo"],
    ["//x/y", "https://a/b", "https://x/y"],
    ["../c?d", "http://a/b/b2/x", "http://a/b/c?d"],
    ["?q=ä", "http://a/b", "http://a/b?q=%C3%A4"],
    ["#frag ment", "http://a/b", "http://a/b#frag%20ment"],
    ["http://user:p%40ss@h:8080/", undefined, "http://user:p%40ss@h:8080/"],
    ["http://münchen.de/", undefined, "http://xn--mnchen-3ya.de/"],
    ["http://[::1]:3000/x", undefined, "http://[::1]:3000/x"],
    ["http://0x7f.1/", undefined, "http://127.0.0.1/"],
    ["file:///C|/x", undefined, "file:///C:/x"],
    ["data:text/plain,a b", undefined, "data:text/plain,a b"],
    ["  http://a/\tb\n ", undefined, "http://a/b"],
    ["mailto:a@b", undefined, "mailto:a@b"],
    ["http:\\\\a\\b", undefined, "http://a/b"],
  ])("parses %p", async (input, base, href) => {
    const args = JSON.stringify([input, ...(base === undefined ? [] : [base])]);
    const own = new URL(input, base) as never as Record<string, string>;
    expect(own.href).toBe(href);
    const parts = await evaluate(
      `((u) => ${JSON.stringify(PARTS)}.map((p) => u[p]))(new URL(...${args}))`,
    );
    expect(parts).toEqual(PARTS.map((part) => own[part]));
  });

  test.each([
    ["", undefined],
    ["/a", undefined],
    ["http://", undefined],
    ["http://a b/", undefined],
    ["http://[::1", undefined],
    ["http://a:99999/", undefined],
    ["x", "mailto:a"],
  ])("refuses %p on %p", async (input, base) => {
    const args = JSON.stringify([input, ...(base === undefined ? [] : [base])]);
    const result = await inGuest(`try { new URL(...${args}); return "parsed" } catch (e) {
        return [e instanceof TypeError, URL.canParse(...${args}), URL.parse(...${args})] }`);
    expect(result).toEqual([true, false, null]);
  });

  test.each([
    ["protocol", "https", "https://u:p@h:8080/a?b#c"],
    ["protocol", "foo", "http://u:p@h:8080/a?b#c"],
    ["host", "x:99", "http://u:p@x:99/a?b#c"],
    ["hostname", "x y", "http://u:p@h:8080/a?b#c"],
    ["port", "80", "http://u:p@h/a?b#c"],
    ["port", "abc", "http://u:p@h:8080/a?b#c"],
    ["pathname", "x/ä", "http://u:p@h:8080/x/%C3%A4?b#c"],
    ["search", "", "http://u:p@h:8080/a#c"],
    ["search", "x=1", "http://u:p@h:8080/a?x=1#c"],
    ["hash", "", "http://u:p@h:8080/a?b"],
    ["username", "a:b", "http://a%3Ab:p@h:8080/a?b#c"],
    ["origin", "http://z", "http://u:p@h:8080/a?b#c"],
  ])("setting %s to %p", async (part, value, href) => {
    const result = await inGuest(`const u = new URL("http://u:p@h:8080/a?b#c");
      try { u[${JSON.stringify(part)}] = ${JSON.stringify(value)} } catch {} return u.href`);
    expect(result).toBe(href);
  });

  test("and its searchParams follow each other", async () => {
    const result = await inGuest(`const u = new URL("http://h/?a=1&b=2"); const p = u.searchParams;
      p.append("c", "ä "); p.delete("a"); const one = u.href;
      u.search = "?z=9"; const two = p.get("z"); u.href = "http://h/?y=8"; const three = p.toString();
      p.delete("y"); return [one, two, three, u.href, p === u.searchParams, JSON.stringify({ u })]`);
    expect(result).toEqual([
      "http://h/?b=2&c=%C3%A4+",
      "9",
      "y=8",
      "http://h/",
      true,
      '{"u":"http://h/"}',
    ]);
  });

  test("that is far too long is refused", async () => {
    const refused = await inGuest(
      `try { new URL("http://h/" + "a".repeat(1e6)) } catch (e) { return e.message }`,
    );
    expect(refused).toBe("The URL is too long");
  });
});

describe("URLSearchParams", () => {
  const HOSTS = globalThis.URLSearchParams;
  test.each([
    ["a=b&a=c&&d&=e&f="],
    ["?a=b+c%20d%2B"],
    ["a=%ff%zz%&%C3%A4=ä"],
    ["%EF%BB%BFtest=%EF%BB%BF"],
    ["a=\ud800\u0000&b=💩"],
    ["id=0&value=%"],
    ["b=%2sf%2a"],
    ["=&a=="],
    ["a=!'()~*-._ \u00ff"],
    [""],
  ])("parses and writes %p as the standard says", async (query) => {
    const own = new HOSTS(query);
    const source = `((p) => [[...p], p.toString(), p.size])(new URLSearchParams(${JSON.stringify(query)}))`;
    expect(await evaluate(source)).toEqual([[...own], own.toString(), own.size]);
  });

  test("is made of pairs, records and others", async () => {
    const result = await inGuest(`return [
      new URLSearchParams([["a", 1], ["b", null]]) + "", new URLSearchParams({ a: 1, b: undefined }) + "",
      new URLSearchParams(new URLSearchParams("x=1")) + "", new URLSearchParams(new Map([["k", "v"]])) + "",
      new URLSearchParams(undefined) + "", new URLSearchParams(null) + "", new URLSearchParams(5) + ""]`);
    expect(result).toEqual(["a=1&b=null", "a=1&b=undefined", "x=1", "k=v", "", "null=", "5="]);
    expect(evaluate(`new URLSearchParams([["a"]])`)).rejects.toThrow("TypeError");
  });

  test("finds, changes, sorts and walks", async () => {
    const result = await inGuest(`const p = new URLSearchParams("b=1&a=2&b=3"); const seen = [];
      p.forEach(function (v, n, q) { seen.push(n + v + (q === p) + this.x) }, { x: 7 });
      const found = [p.get("b"), p.get("z"), p.getAll("b"), p.has("b"), p.has("b", "9"), p.has("b", "3")];
      p.set("b", "9"); p.set("new", ""); const after = p + ""; p.append("b", "0"); p.delete("b", "9"); p.sort();
      return [seen, found, after, p + "", [...p.keys()], [...p.values()], [...p.entries()].length]`);
    expect(result).toEqual([
      ["b1true7", "a2true7", "b3true7"],
      ["1", null, ["1", "3"], true, false, true],
      "b=9&a=2&new=",
      "a=2&b=0&new=",
      ["a", "b", "new"],
      ["2", "0", ""],
      3,
    ]);
  });
});
