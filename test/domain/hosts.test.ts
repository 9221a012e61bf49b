import { expect, test } from "bun:test";
import { normaliseHost, normaliseTypedHost } from "../../src/domain/hosts.ts";

const label63 = "a".repeat(63);
const name253 = `${label63}.${label63}.${label63}.${"a".repeat(61)}`;

const headers: [string, string | null][] = [
  ["a", "a"],
  ["pi", "pi"],
  ["pi.local:8080", "pi.local"],
  ["A.Example.COM.", "a.example.com"],
  ["a.example.com.:80", "a.example.com"],
  ["a:", "a"],
  ["a_b-c.d", "a_b-c.d"],
  ["127.0.0.1:8080", "127.0.0.1"],
  ["[::1]:8080", "[::1]"],
  ["[0:0:0:0:0:0:0:1]", "[::1]"],
  ["[2001:DB8::1]", "[2001:db8::1]"],
  ["xn--mnchen-3ya.de", "xn--mnchen-3ya.de"],
  [name253, name253],
  [`${name253}a`, null],
  [`${label63}a.de`, null],
  ...(
    [
      "",
      " ",
      ".",
      "..",
      "a..b",
      ".a",
      "a b",
      "a,b",
      "a, b",
      "a/b",
      "a?b",
      "a#b",
      "a@b",
      "u:p@b",
      "a\\b",
      "%61",
      "a%00",
      "a:x",
      "a:99999",
      "a:-1",
      "a:80:80",
      "::1",
      "[::1",
      "[::1]x",
      "[]",
      "[::1%25eth0]",
      "127.1",
      "0x7f.1",
      "1.2.3.4.5",
      "999.1.1.1",
      "1.2.3.4a.5",
      "a.1",
      "2130706433",
      "xn--",
      "ä.de",
      "a\u0000",
      "a\nb",
      "*",
      "*.a",
    ] as const
  ).map((text): [string, null] => [text, null]),
];

for (const [given, wanted] of headers) {
  test(`a Host header ${JSON.stringify(given).slice(0, 40)} means ${wanted?.slice(0, 40)}`, () => {
    expect(normaliseHost(given)).toBe(wanted);
  });
}

test("a typed host may be Unicode, and carries neither port nor URL syntax", () => {
  expect(normaliseTypedHost("München.DE")).toBe("xn--mnchen-3ya.de");
  expect(normaliseTypedHost("example.com.")).toBe("example.com");
  expect(normaliseTypedHost("[::1]")).toBe("[::1]");
  for (const bad of [
    "",
    "a:80",
    "ä.de:80",
    "a/b",
    "ä/b",
    "ä@b",
    "a b",
    "ä#",
    "[::1]:80",
    "%C3%A4.de",
  ]) {
    expect(normaliseTypedHost(bad)).toBeNull();
  }
});
