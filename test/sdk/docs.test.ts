import { expect, test } from "bun:test";
import { type HostCall, handler, setup } from "../sandbox/child-setup.ts";

test("each method is one call with its arguments", async () => {
  const seen: [string, unknown][] = [];
  const { run } = await setup({
    answer(call: HostCall) {
      seen.push([call.name, call.args]);
      return call.name;
    },
  });
  const done = await run(
    `import { docs } from "picloud"; ${handler(`const c = docs.collection("people");
    return [await c.insert({ a: 1 }), await c.get("d"), await c.getEntry("d"), await c.replace("d", { a: 2 }),
      await c.replace("d", { a: 2 }, { ifVersion: 3 }), await c.patch("d", { a: null }, { ifVersion: 4 }),
      await c.delete("d"), await c.delete("d", { ifVersion: 5 }), await c.find(),
      await c.find({ where: { a: { $gt: 1 } }, sort: { a: -1 }, limit: 2, cursor: "x" }), await c.count(),
      await c.count({ where: { a: 1 } }), await c.createIndex("a.b"), await c.dropIndex("a.b"), await c.indexes(),
      await c.explain(), await c.explain({ where: { a: 1 }, sort: { b: 1 } }), Object.isFrozen(docs)]`)}`,
  );
  const collection = "people";
  expect(seen).toEqual([
    ["docs.insert", { collection, document: { a: 1 } }],
    ["docs.get", { collection, id: "d" }],
    ["docs.getEntry", { collection, id: "d" }],
    ["docs.replace", { collection, id: "d", document: { a: 2 } }],
    ["docs.replace", { collection, id: "d", document: { a: 2 }, ifVersion: 3 }],
    ["docs.patch", { collection, id: "d", changes: { a: null }, ifVersion: 4 }],
    ["docs.delete", { collection, id: "d" }],
    ["docs.delete", { collection, id: "d", ifVersion: 5 }],
    ["docs.find", { collection }],
    ["docs.find", { collection, where: { a: { $gt: 1 } }, sort: { a: -1 }, limit: 2, cursor: "x" }],
    ["docs.count", { collection }],
    ["docs.count", { collection, where: { a: 1 } }],
    ["docs.createIndex", { collection, field: "a.b" }],
    ["docs.dropIndex", { collection, field: "a.b" }],
    ["docs.indexes", { collection }],
    ["docs.explain", { collection }],
    ["docs.explain", { collection, where: { a: 1 }, sort: { b: 1 } }],
  ]);
  expect(done.value).toEqual([...seen.map(([name]) => name), true]);
});

test("findOne goes on over pages that ended before they found anything", async () => {
  const cursors: unknown[] = [];
  const { run } = await setup({
    answer(call: HostCall) {
      const { cursor } = call.args as { cursor: string | null };
      cursors.push(cursor);
      if (cursor === null) return { items: [], nextCursor: "1" };
      return cursor === "1"
        ? { items: [], nextCursor: "2" }
        : { items: [{ id: "d" }], nextCursor: "3" };
    },
  });
  const done = await run(
    `import { docs } from "picloud"; ${handler('return await docs.collection("c").findOne({ where: { a: 1 } })')}`,
  );
  expect(cursors).toEqual([null, "1", "2"]);
  expect(done.value).toEqual({ id: "d" });
});
