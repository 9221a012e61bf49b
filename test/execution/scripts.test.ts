import { describe, expect, test } from "bun:test";
import { PicError } from "../../src/domain/errors.ts";
import { LIMIT_CEILINGS, LIMIT_DEFAULTS } from "../../src/domain/limits.ts";
import { scriptsChannel } from "../../src/execution/scripts.ts";
import { deleteScript } from "../../src/storage/scripts.ts";
import { openCatalog } from "./catalog.ts";
import { settled } from "./fakes.ts";

const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => null,
    (error) => (error instanceof PicError ? error.code : error),
  );

describe("a script", () => {
  test("is read once, with one statement, and then known without waiting", async () => {
    await using bundle = await openCatalog();
    expect(bundle.catalog.cached("script-1")).toBeUndefined();
    const script = await bundle.catalog.get("script-1");
    expect(bundle.reads.count).toBe(1);
    expect(bundle.catalog.cached("script-1")).toBe(script);
    expect(await bundle.catalog.get("script-1")).toBe(script);
    expect(bundle.reads.count).toBe(1);
    expect(script).toMatchObject({
      script_id: "script-1",
      app_id: "app-1",
      name: "hello",
      kind: "endpoint",
      version: 1,
      public_execute: false,
      limits: LIMIT_DEFAULTS,
    });
    expect(await script.loadProgram()).toEqual({
      id: script.program_id,
      app_id: "app-1",
      entry: "hello",
      modules: { hello: "export default () => 1" },
    });
  });

  test("is read once for many who ask at the same time", async () => {
    await using bundle = await openCatalog();
    const all = await Promise.all(Array.from({ length: 20 }, () => bundle.catalog.get("script-1")));
    expect(new Set(all).size).toBe(1);
    expect(bundle.reads.count).toBe(1);
  });

  test("has its author's limits, the defaults, and never more than the ceilings", async () => {
    const ceilings = { ...LIMIT_CEILINGS, timeout_ms: 5_000, cpu_ms: 800 };
    await using bundle = await openCatalog({ ceilings });
    await bundle.save({ limits: { cpu_ms: 900, memory_mb: 48 } });
    expect((await bundle.catalog.get("script-1")).limits).toEqual({
      ...LIMIT_DEFAULTS,
      memory_mb: 48,
      cpu_ms: 800,
      timeout_ms: 5_000,
    });
  });

  test("that does not exist is not found, every time", async () => {
    await using bundle = await openCatalog();
    for (const id of ["nothing", "__proto__", "", "script-1\0"]) {
      expect(await codeOf(bundle.catalog.get(id))).toBe("not_found");
      expect(bundle.catalog.cached(id)).toBeUndefined();
    }
  });

  test("its name cannot break out of ctx, nor become a prototype", async () => {
    await using bundle = await openCatalog();
    await bundle.save({ name: '__proto__","appId":"other' });
    const script = await bundle.catalog.get("script-1");
    expect(JSON.parse(`{${script.ctx_json}}`)).toEqual({
      scriptId: "script-1",
      scriptName: '__proto__","appId":"other',
      scriptVersion: 1,
      appId: "app-1",
    });
    await bundle.save({ name: "__proto__" });
    const program = await (await bundle.catalog.get("script-1")).loadProgram();
    expect(Object.keys(program.modules)).toEqual(["__proto__"]);
  });
});

describe("a change", () => {
  test("is seen by the next execution, under another program id, and the old image goes", async () => {
    await using bundle = await openCatalog();
    const old = await bundle.catalog.get("script-1");
    await bundle.save({ active_version: 2, code: "export default () => 2" });
    expect(bundle.catalog.cached("script-1")).toBeUndefined();
    const now = await bundle.catalog.get("script-1");
    expect(now.version).toBe(2);
    expect(now.program_id).not.toBe(old.program_id);
    expect((await now.loadProgram()).modules.hello).toBe("export default () => 2");
    expect(bundle.forgotten).toEqual([old.program_id]);
  });

  test("of the name alone makes another program: stack traces show it", async () => {
    await using bundle = await openCatalog();
    const old = await bundle.catalog.get("script-1");
    await bundle.save({ name: "renamed" });
    const now = await bundle.catalog.get("script-1");
    expect(now.version).toBe(old.version);
    expect(now.program_id).not.toBe(old.program_id);
  });

  test("a deletion is not found at once", async () => {
    await using bundle = await openCatalog();
    await bundle.catalog.get("script-1");
    await bundle.db.tx(async (tx) => {
      await deleteScript(tx, "script-1");
      await bundle.db.notify(tx, scriptsChannel, "script-1");
    });
    expect(bundle.catalog.cached("script-1")).toBeUndefined();
    expect(await codeOf(bundle.catalog.get("script-1"))).toBe("not_found");
    expect(bundle.forgotten).toHaveLength(1);
  });

  test("overtakes a read that began before it: the stale script never enters the cache", async () => {
    await using bundle = await openCatalog();
    let release = (): void => {};
    bundle.reads.hold = new Promise((resolve) => {
      release = resolve;
    });
    const stale = bundle.catalog.get("script-1");
    await settled();
    await bundle.save({ active_version: 2 });
    bundle.reads.hold = null;
    const fresh = await bundle.catalog.get("script-1");
    release();
    expect((await stale).version).toBe(1);
    expect(fresh.version).toBe(2);
    expect(bundle.catalog.cached("script-1")?.version).toBe(2);
    await settled();
    expect(bundle.catalog.cached("script-1")?.version).toBe(2);
  });

  test("rolled back changes nothing", async () => {
    await using bundle = await openCatalog();
    await bundle.catalog.get("script-1");
    const failed = bundle.db.tx(async (tx) => {
      await bundle.db.notify(tx, scriptsChannel, "script-1");
      throw new PicError("conflict", "rolled back");
    });
    expect(await codeOf(failed)).toBe("conflict");
    expect(bundle.catalog.cached("script-1")).toBeDefined();
    expect(bundle.forgotten).toEqual([]);
  });

  test("of everything drops everything", async () => {
    await using bundle = await openCatalog();
    await bundle.catalog.get("script-1");
    await bundle.catalog.get("script-2");
    await bundle.db.tx((tx) => bundle.db.notify(tx, scriptsChannel, "*"));
    expect(bundle.catalog.cached("script-1")).toBeUndefined();
    expect(bundle.catalog.cached("script-2")).toBeUndefined();
    expect(bundle.forgotten).toHaveLength(2);
  });

  test("while saves and reads race, what is cached is never older than the last save", async () => {
    await using bundle = await openCatalog();
    for (let version = 2; version <= 30; version += 1) {
      const reads = [bundle.catalog.get("script-1"), bundle.catalog.get("script-1")];
      await Promise.all([bundle.save({ active_version: version }), ...reads]);
      const cached = bundle.catalog.cached("script-1");
      if (cached !== undefined) expect(cached.version).toBe(version);
      expect((await bundle.catalog.get("script-1")).version).toBe(version);
    }
  });
});

describe("the cache", () => {
  test("is bounded in bytes; what fell out is read again", async () => {
    await using bundle = await openCatalog({ cacheBytesMax: 60_000 });
    await bundle.save({ active_version: 2, code: `//${"x".repeat(20_000)}` });
    await bundle.catalog.get("script-1");
    await bundle.save({
      id: "script-2",
      app_id: "app-2",
      active_version: 2,
      code: `//${"y".repeat(20_000)}`,
    });
    await bundle.catalog.get("script-2");
    expect(bundle.catalog.cached("script-1")).toBeUndefined();
    expect((await bundle.catalog.get("script-1")).version).toBe(2);
  });

  test("a script larger than all of it still runs", async () => {
    await using bundle = await openCatalog({ cacheBytesMax: 5_000 });
    await bundle.save({ active_version: 2, code: `//${"x".repeat(20_000)}` });
    expect((await bundle.catalog.get("script-1")).version).toBe(2);
    expect((await bundle.catalog.get("script-1")).version).toBe(2);
  });

  test("notes what commit it may have seen, so that no answer runs ahead of the save", async () => {
    await using bundle = await openCatalog();
    const before = (await bundle.catalog.get("script-1")).seen_seq;
    await bundle.save({ active_version: 2 });
    expect((await bundle.catalog.get("script-1")).seen_seq).toBeGreaterThan(before);
  });
});
