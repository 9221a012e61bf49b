import { expect, test } from "bun:test";
import { type HostCall, handler, setup } from "../sandbox/child-setup.ts";

test("each method is one call with its arguments", async () => {
  const seen: [string, unknown][] = [];
  const answers: Record<string, unknown> = {
    "kv.get": { deep: [1] },
    "kv.getEntry": { key: "k", value: 1, version: 2 },
    "kv.getMany": [1, null],
    "kv.set": 7,
    "kv.delete": true,
    "kv.has": false,
    "kv.increment": 6,
    "kv.list": { items: [], nextCursor: null },
  };
  const { run } = await setup({
    answer(call: HostCall) {
      seen.push([call.name, call.args]);
      return answers[call.name];
    },
  });
  const done = await run(
    `import { kv } from "picloud"; ${handler(`const c = kv.collection("hits");
    return [await c.get("k"), await c.getEntry("k"), await c.set("k", { a: "\\0\\ud800" }), await c.delete("k"), await c.has("k"),
      await c.getMany(["k", "l"]), await c.set("k", 1, { ttl: 60, ifVersion: 0 }), await c.delete("k", { ifVersion: 3 }),
      await c.increment("k", 1, { ttl: 0.5 }), await c.increment("k"), await c.increment("k", 5), await c.list(), await c.list({ prefix: "a", limit: 2, cursor: "x" })]`)}`,
  );
  const collection = "hits";
  expect(seen).toEqual([
    ["kv.get", { collection, key: "k" }],
    ["kv.getEntry", { collection, key: "k" }],
    ["kv.set", { collection, key: "k", value: { a: "\0\ud800" } }],
    ["kv.delete", { collection, key: "k" }],
    ["kv.has", { collection, key: "k" }],
    ["kv.getMany", { collection, keys: ["k", "l"] }],
    ["kv.set", { collection, key: "k", value: 1, ttl: 60, ifVersion: 0 }],
    ["kv.delete", { collection, key: "k", ifVersion: 3 }],
    ["kv.increment", { collection, key: "k", by: 1, ttl: 0.5 }],
    ["kv.increment", { collection, key: "k", by: 1 }],
    ["kv.increment", { collection, key: "k", by: 5 }],
    ["kv.list", { collection }],
    ["kv.list", { collection, prefix: "a", limit: 2, cursor: "x" }],
  ]);
  expect(done.value).toEqual([
    { deep: [1] },
    { key: "k", value: 1, version: 2 },
    { version: 7 },
    true,
    false,
    [1, null],
    { version: 7 },
    true,
    6,
    6,
    6,
    { items: [], nextCursor: null },
    { items: [], nextCursor: null },
  ]);
});

test("a value that JSON cannot hold rejects before anything is sent", async () => {
  const { run, calls } = await setup({ answer: null });
  const done = await run(
    handler(
      'const { kv } = await import("picloud"); return await kv.collection("c").set("k", 5n).catch((e) => e.name)',
    ),
  );
  expect(done.value).toBe("TypeError");
  expect(calls).toEqual([]);
});
