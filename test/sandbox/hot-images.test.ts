import { expect, test } from "bun:test";
import { HotImages, type Image, type WholeImage } from "../../src/sandbox/image.ts";
import { STATIC_END } from "../../src/sandbox/quickjs.ts";
import { HEAP_BASE } from "../../src/sandbox/quickjs-memory.ts";

const base: WholeImage = { low: Buffer.alloc(STATIC_END, 1), heap: Buffer.alloc(4_096, 2) };

/** Differs from the base in one run, and is longer. */
function image(): Image {
  return {
    base,
    heapEnd: HEAP_BASE + 8_192,
    bytes: Buffer.from([7, 8, 9]),
    runs: new Uint32Array([HEAP_BASE + 10, 0, 3]),
  };
}

test("an image that is used again and again is put together whole, with the same bytes", () => {
  const hot = new HotImages();
  const one = image();
  let found = one;
  for (let use = 0; use < 200; use += 1) found = hot.of(one);
  expect(found.base).toBeNull();
  expect(found.heapEnd).toBe(one.heapEnd);
  const expected = Buffer.alloc(STATIC_END + 8_192);
  base.low.copy(expected, 0);
  base.heap.copy(expected, STATIC_END);
  one.bytes.copy(expected, STATIC_END + 10);
  expect(found.bytes.equals(expected)).toBe(true);
  expect([...found.runs]).toEqual([0, 0, STATIC_END, HEAP_BASE, STATIC_END, expected.length]);
  expect(hot.of(one)).toBe(found);
});

test("where many take turns none is, and what cools down is given up", () => {
  const hot = new HotImages();
  const many = Array.from({ length: 50 }, image);
  for (let round = 0; round < 100; round += 1) {
    for (const one of many) expect(hot.of(one)).toBe(one);
  }
  const [first, ...others] = many as [Image, ...Image[]];
  for (let use = 0; use < 200; use += 1) hot.of(first);
  expect(hot.of(first)).not.toBe(first);
  for (let round = 0; round < 100; round += 1) for (const one of others) hot.of(one);
  expect(hot.of(first)).toBe(first);
  for (let use = 0; use < 200; use += 1) hot.of(first);
  hot.clear();
  expect(hot.of(first)).toBe(first);
});
