import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { SCOPES, type Scope } from "../../src/domain/access.ts";
import {
  checkApiKey,
  checkHandedOn,
  formatApiKey,
  parseApiKey,
  sortedScopes,
} from "../../src/domain/api-keys.ts";
import { PicError } from "../../src/domain/errors.ts";
import { nameCharsMax } from "../../src/domain/limits.ts";

const alphabet = "abcdefghijklmnopqrstuvwxyz234567";

/** The other direction, written another way: through one large number. */
function decode(text: string): Uint8Array {
  let value = 0n;
  for (const letter of text) value = value * 32n + BigInt(alphabet.indexOf(letter));
  // 52 letters carry 260 bits: the last four are padding, and zero.
  expect(value & 15n).toBe(0n);
  const hex = (value >> 4n).toString(16).padStart(64, "0");
  return Uint8Array.fromHex(hex);
}

/** Random ones, and those at the edges. */
function* secrets(): Generator<Uint8Array> {
  yield new Uint8Array(32);
  yield new Uint8Array(32).fill(255);
  for (let bit = 0; bit < 256; bit += 1) {
    const bytes = new Uint8Array(32);
    bytes[bit >> 3] = 128 >> (bit & 7);
    yield bytes;
  }
  for (let round = 0; round < 2_000; round += 1) yield randomBytes(32);
}

describe("a key in text", () => {
  test("is pic_ and 52 letters that are the 32 bytes and nothing else", () => {
    for (const bytes of secrets()) {
      const { raw, prefix, secret } = formatApiKey(bytes);
      expect(raw).toMatch(/^pic_[a-z2-7]{52}$/);
      expect(raw).toBe(`pic_${prefix}${secret}`);
      expect([prefix.length, secret.length]).toEqual([8, 44]);
      expect(Buffer.from(decode(prefix + secret)).equals(bytes)).toBe(true);
      expect(parseApiKey(raw)).toEqual({ prefix, secret });
    }
  });

  test("is that of RFC 4648, in small letters", () => {
    // Section 10: "foobar" is MZXW6YTBOI. Zeros follow, and 32 bytes are all that a key has.
    const { raw } = formatApiKey(Buffer.concat([Buffer.from("foobar")], 32));
    expect(raw).toBe(`pic_mzxw6ytboi${"a".repeat(42)}`);
  });

  const good = `pic_${"a".repeat(52)}`;
  test.each([
    "",
    "pic_",
    good.slice(0, -1),
    `${good}a`,
    `${good}\n`,
    `\n${good}`,
    ` ${good}`,
    `${good}=`,
    good.toUpperCase(),
    good.replace("pic_", "pcs_"),
    good.replace("pic_", "PIC_"),
    good.replace("pic_", "pic-"),
    good.replace("a", "1"),
    good.replace("a", "0"),
    good.replace("a", "8"),
    good.replace("a", "é"),
    good.replace("a", "а"), // Cyrillic
    good.replace("a", "\0"),
    good.replace("a", "%"),
    `pic_${"a".repeat(20)}\n${"a".repeat(31)}`,
    `pic_' or 1=1 --${"a".repeat(40)}`,
    `${good},${good}`,
    "\ud800".repeat(56),
  ])("is not %j", (raw) => {
    expect(parseApiKey(raw)).toBeNull();
  });

  test("is not a text of a million letters", () => {
    for (const raw of ["a".repeat(1_000_000), `pic_${"a".repeat(1_000_000)}`]) {
      expect(parseApiKey(raw)).toBeNull();
    }
  });

  test("is not one with any other single character in any place", () => {
    for (let place = 0; place < good.length; place += 1) {
      for (const other of ["A", "1", "-", " ", "\0", "ä"]) {
        const bad = good.slice(0, place) + other + good.slice(place + 1);
        expect(parseApiKey(bad)).toBeNull();
      }
    }
  });
});

describe("what a key may be", () => {
  const key = {
    name: "deploy",
    scopes: ["script:write"],
    app_id: null,
    expires_at: null,
    now: 1_000,
  };
  const pathOf = (more: object): string | undefined => {
    try {
      checkApiKey({ ...key, ...more });
      return undefined;
    } catch (error) {
      return (error as PicError).details.errors?.[0]?.path;
    }
  };

  test("has a name that people can read", () => {
    for (const name of ["d", "Größe 🔑", "x".repeat(nameCharsMax)]) {
      expect(pathOf({ name })).toBeUndefined();
    }
    for (const name of [
      ...["", " ", " a", "a ", "\t", "a\nb", "a\0b", "\u001b[31m", "a\u202eb", "\ud800", "\u2028"],
      "x".repeat(nameCharsMax + 1),
    ]) {
      expect([name, pathOf({ name })]).toEqual([name, "name"]);
    }
  });

  test("has scopes that there are, and expires in the future", () => {
    for (const scope of SCOPES) expect(pathOf({ scopes: [scope] })).toBeUndefined();
    for (const scopes of [[], ["script:*"], ["*"], ["Script:read"], [""], ["__proto__"]]) {
      expect([scopes, pathOf({ scopes })]).toEqual([scopes, "scopes"]);
    }
    expect(pathOf({ expires_at: 1_001 })).toBeUndefined();
    for (const expires_at of [1_000, 999, 0, -1]) expect(pathOf({ expires_at })).toBe("expires_at");
  });

  test("is for one app or for the instance, not for both", () => {
    const scopes = ["instance:admin", "script:read"];
    expect(pathOf({ scopes })).toBeUndefined();
    expect(pathOf({ scopes, app_id: "a" })).toBe("scopes");
    expect(pathOf({ scopes: ["app:admin"], app_id: "a" })).toBeUndefined();
  });

  test("keeps each scope once, by name", () => {
    const asked = ["script:write", "log:read", "script:write", "app:admin", "log:read"];
    expect(sortedScopes(asked)).toEqual(["app:admin", "log:read", "script:write"]);
  });
});

describe("a key that makes another", () => {
  const by = { scopes: ["app:admin", "log:read"], app_id: "a", expires_at: 100 } as const;
  const refused = (more: object): boolean => {
    try {
      checkHandedOn(by, { ...by, ...more });
      return false;
    } catch (error) {
      if (error instanceof PicError && error.code === "forbidden") return true;
      throw error;
    }
  };

  test("hands on what it has, or less", () => {
    expect(refused({})).toBe(false);
    expect(refused({ scopes: ["log:read"], expires_at: 99 })).toBe(false);
  });

  test("hands on no other scope, no other app and no longer life", () => {
    for (const scope of SCOPES.filter((one) => !(by.scopes as readonly Scope[]).includes(one))) {
      expect(refused({ scopes: [scope] })).toBe(true);
    }
    expect([refused({ app_id: null }), refused({ app_id: "b" })]).toEqual([true, true]);
    expect([refused({ expires_at: 101 }), refused({ expires_at: null })]).toEqual([true, true]);
  });
});
