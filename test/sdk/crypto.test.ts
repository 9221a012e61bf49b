import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { evaluate, inGuest } from "./guest-setup.ts";

test.each([["SHA-1"], ["SHA-256"], ["sha-384"], ["SHA-512"]])("digest %s", async (name) => {
  const own = createHash(name.toLowerCase().replace("-", "")).update("abcä").digest("hex");
  const source = (algorithm: string) =>
    `hex.encode(await crypto.subtle.digest(${algorithm}, new TextEncoder().encode("abcä")))`;
  expect(await evaluate(source(`"${name}"`))).toBe(own);
  expect(await evaluate(source(`{ name: "${name}" }`))).toBe(own);
});

test("an unknown digest, or what is no data, rejects", async () => {
  const result =
    await inGuest(`const of = (...a) => crypto.subtle.digest(...a).then(() => "done", (e) => e.name);
    return [await of("MD5", new Uint8Array(1)), await of("toString", new Uint8Array(1)), await of("SHA-1", "abc"), await of("SHA-1", new ArrayBuffer(0))]`);
  expect(result).toEqual(["NotSupportedError", "NotSupportedError", "TypeError", "done"]);
});

test("random values fill integer arrays, in place and whole", async () => {
  const result =
    await inGuest(`const a = new Uint32Array(8); const view = new Uint8Array(64).subarray(8, 16);
    const same = crypto.getRandomValues(a) === a; crypto.getRandomValues(view);
    const of = (x) => { try { crypto.getRandomValues(x); return "done" } catch (e) { return e.name } };
    const whole = new Uint8Array(view.buffer);
    return [same, a.some((x) => x > 0), view.some((x) => x > 0), whole.slice(0, 8).every((x) => x === 0), whole.slice(16).every((x) => x === 0),
      of(new Float64Array(1)), of(new Uint8Array(65537)), of([1]), of(new DataView(new ArrayBuffer(1))), of(new Uint8Array(65536)), of(new Uint8Array(0))]`);
  expect(result).toEqual([
    true,
    true,
    true,
    true,
    true,
    "TypeMismatchError",
    "QuotaExceededError",
    "TypeMismatchError",
    "TypeMismatchError",
    "done",
    "done",
  ]);
});

test("UUIDs are of version 4 and differ", async () => {
  const [a, b] = (await evaluate("[crypto.randomUUID(), crypto.randomUUID()]")) as string[];
  expect(a).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(a).not.toBe(b);
});
