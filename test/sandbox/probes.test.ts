/** Ways in which one execution might see the bytes of an earlier one, all of which must see nothing. */
import { beforeAll, describe, expect, test } from "bun:test";
import {
  captureDifference,
  captureImage,
  captureWhole,
  imageBytes,
  restoreImage,
} from "../../src/sandbox/image.ts";
import { QuickJs, STATIC_END } from "../../src/sandbox/quickjs.ts";
import { HEAP_BASE } from "../../src/sandbox/quickjs-memory.ts";
import { type Bundle, handler, setup } from "./child-setup.ts";

const MARK = "SECRET-7f3a9c";

/** Fills memory with the mark in every form that the engine has. */
const FILL = handler(`
  const mark = ${JSON.stringify(MARK)};
  const keep = [];
  for (let i = 0; i < 400; i++) {
    keep.push(mark + i, { [mark + i]: mark }, new TextEncoder().encode(mark.repeat(20)));
    keep.push([...mark], new Map([[mark, i]]), Symbol.for(mark + i), new RegExp(mark + i));
  }
  const buffer = new ArrayBuffer(65536);
  const view = new Uint8Array(buffer);
  for (let i = 0; i < view.length; i++) view[i] = mark.charCodeAt(i % mark.length);
  keep.push(buffer, mark.repeat(4096), JSON.stringify(keep.slice(0, 50)));
  globalThis.leak = keep;
  Array.prototype.leak = mark;
  const deep = (n) => n === 0 ? mark + keep.length : deep(n - 1) + mark[0];
  return deep(300).length;
`);

const found =
  "const text = (b) => { let s = ''; for (const x of new Uint8Array(b)) s += String.fromCharCode(x); return s };";
const PROBES: [name: string, body: string][] = [
  ["a new buffer", "return text(new ArrayBuffer(65536))"],
  [
    "many new buffers",
    "let s = ''; for (let i = 0; i < 200; i++) s += text(new ArrayBuffer(512)); return s",
  ],
  [
    "a small buffer",
    "let s = ''; for (let i = 0; i < 500; i++) s += text(new ArrayBuffer(24)); return s",
  ],
  ["a large buffer", "return text(new ArrayBuffer(1 << 19))"],
  ["a typed array by length", "return text(new Float64Array(8192).buffer)"],
  ["a typed array of a list", "return text(new Uint8Array(new Array(4096)).buffer)"],
  [
    "a resized buffer",
    "const b = new ArrayBuffer(8, { maxByteLength: 65536 }); b.resize(65536); return text(b)",
  ],
  [
    "a buffer shrunk and grown",
    "const b = new ArrayBuffer(65536, { maxByteLength: 65536 }); b.resize(1); b.resize(65536); return text(b)",
  ],
  ["a transferred buffer", "return text(new ArrayBuffer(16).transfer(65536))"],
  ["a sliced buffer", "return text(new ArrayBuffer(65536).slice(100, 60000))"],
  [
    "a subarray set",
    "const a = new Uint8Array(4096); a.set(new Uint8Array(64), 100); return text(a.buffer)",
  ],
  [
    "a data view",
    "const d = new DataView(new ArrayBuffer(8192)); let s = ''; for (let i = 0; i < 8192; i++) s += String.fromCharCode(d.getUint8(i)); return s",
  ],
  ["holes of an array", "return JSON.stringify(new Array(5000)) + Object.keys(new Array(5000))"],
  ["an array made longer", "const a = []; a.length = 5000; return JSON.stringify(a)"],
  ["a join of holes", "return new Array(5000).join('-')"],
  ["a sparse array", "const a = []; a[4000] = 1; return JSON.stringify(a)"],
  ["a padded string", "return ''.padEnd(5000) + 'x'.repeat(100)"],
  [
    "strings built and cut",
    "let s = ''; for (let i = 0; i < 2000; i++) s = (s + 'ab').slice(-500); return s",
  ],
  [
    "a global",
    "return JSON.stringify(globalThis.leak) + [].leak + Object.getOwnPropertyNames(globalThis)",
  ],
  ["prototypes", "const names = []; for (const k in []) names.push(k); return names.join()"],
  [
    "random bytes as text",
    "return text(crypto.getRandomValues(new Uint8Array(4096)).buffer.slice(0, 0))",
  ],
  [
    "the encoder's target",
    "const t = new Uint8Array(4096); new TextEncoder().encodeInto('a', t); return text(t.buffer)",
  ],
  ["an error's stack", "try { null.x } catch (e) { return e.stack + e.message }"],
];

describe("nothing of an earlier execution is to be seen in", () => {
  let bundle: Bundle;
  beforeAll(async () => {
    bundle = await setup();
  });

  test.each(PROBES)("%s", async (_, body) => {
    const probe = handler(`${found} ${body}`);
    for (let round = 0; round < 3; round += 1) {
      expect(await bundle.run(FILL)).toMatchObject({ status: "success" });
      const done = await bundle.run(probe, { limits: { memory_mb: 64 } });
      expect(done.status).toBe("success");
      expect(done.body).not.toContain("SECRET");
      expect(done.body).not.toContain(MARK.slice(2, 9));
    }
  });
});

test.each([
  ["whole", captureImage],
  ["kept as a difference", (quickjs: QuickJs) => captureDifference(quickjs, captureWhole(quickjs))],
])("a restored memory is the image, %s, and zeroes, to the last byte", async (_, capture) => {
  const quickjs = await QuickJs.boot();
  const image = capture(quickjs);
  const whole = captureWhole(quickjs);
  quickjs.free(
    quickjs.evaluate(`globalThis.x = Array.from({ length: 5e4 }, (_, i) => "y" + i)`, "t"),
  );
  quickjs.free(quickjs.evaluate("(function f(n) { return n === 0 ? 0 : f(n - 1) + 1 })(500)", "t"));
  expect(quickjs.heapEnd).toBeGreaterThan(image.heapEnd);
  restoreImage(quickjs, image);
  const { memory } = quickjs;
  const end = image.heapEnd;
  expect(memory.subarray(0, STATIC_END).equals(whole.low)).toBe(true);
  expect(memory.subarray(HEAP_BASE, end).equals(whole.heap)).toBe(true);
  expect(memory.subarray(STATIC_END, HEAP_BASE).every((byte) => byte === 0)).toBe(true);
  expect(memory.subarray(end).every((byte) => byte === 0)).toBe(true);
});

test("an image kept as a difference is the same as the whole", async () => {
  const quickjs = await QuickJs.boot();
  const base = captureWhole(quickjs);
  const baseImage = captureDifference(quickjs, base);
  expect(imageBytes(baseImage)).toBe(0);
  for (const count of [1, 50, 20_000]) {
    restoreImage(quickjs, baseImage);
    quickjs.free(
      quickjs.evaluate(
        `globalThis.list = Array.from({ length: ${count} }, (_, i) => "z" + i)`,
        "t",
      ),
    );
    const whole = captureWhole(quickjs);
    const image = captureDifference(quickjs, base);
    quickjs.free(quickjs.evaluate("list = null; globalThis.other = 'o'.repeat(1e6)", "t"));
    restoreImage(quickjs, image);
    const again = captureWhole(quickjs);
    expect(again.low.equals(whole.low)).toBe(true);
    expect(again.heap.equals(whole.heap)).toBe(true);
    const count2 = quickjs.evaluate("list.length", "t");
    expect(quickjs.readNumber(count2)).toBe(count);
  }
});

test("deep calls leave nothing on the stack either", async () => {
  const quickjs = await QuickJs.boot();
  const image = captureImage(quickjs);
  const source = `
    const deep = (n) => { try { return deep(n + 1) } catch { return n } };
    deep(0); try { JSON.parse("[".repeat(1e5)) } catch {}
    try { new RegExp("(?:".repeat(2e4)) } catch {} 1`;
  try {
    quickjs.free(quickjs.evaluate(source, "t"));
  } catch {
    // An overflow of the host's stack: its leftovers are what is looked for.
  }
  quickjs.resetStack();
  restoreImage(quickjs, image);
  const stack = quickjs.memory.subarray(STATIC_END, HEAP_BASE);
  expect(stack.every((byte) => byte === 0)).toBe(true);
});

test("each execution draws its own random numbers, and time goes on", async () => {
  const { run } = await setup();
  const source = handler("return [Math.random(), Math.random(), Date.now()]");
  const values = (await Promise.all(Array.from({ length: 50 }, () => run(source)))).map(
    (done) => done.value as number[],
  );
  expect(new Set(values.map(([first]) => first)).size).toBe(50);
  for (const [, , at] of values) expect(Math.abs((at ?? 0) - Date.now())).toBeLessThan(5_000);
});
