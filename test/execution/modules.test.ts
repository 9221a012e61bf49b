/** Scripts that import modules: what is read, when it is dropped, and what cannot be loaded. */
import { describe, expect, test } from "bun:test";
import { PicError } from "../../src/domain/errors.ts";
import { programCodeBytesMax, programModulesMax } from "../../src/domain/limits.ts";
import { ModuleUnavailable } from "../../src/domain/modules.ts";
import { scriptsChannel } from "../../src/execution/scripts.ts";
import { openCatalog } from "./catalog.ts";
import { settled } from "./fakes.ts";

describe("a script that imports modules", () => {
  const withImports = (imports: string[], active_version = 2) => ({ active_version, imports });

  /** Why its program cannot be loaded, for the author. */
  const reasonOf = (load: Promise<unknown>): Promise<string> =>
    load.then(
      () => "loaded",
      (error) => (error instanceof ModuleUnavailable ? error.reason : String(error)),
    );

  test("is read with one statement; the code of all its modules comes with one more", async () => {
    await using bundle = await openCatalog();
    await bundle.make("base");
    await bundle.make("left", { imports: ["base"] });
    await bundle.make("right", { imports: ["base"] });
    await bundle.make("unused");
    await bundle.save(withImports(["left", "right"]));
    const script = await bundle.catalog.get("script-1");
    expect(bundle.reads.count).toBe(1);
    expect(await script.loadProgram()).toEqual({
      id: script.program_id,
      app_id: "app-1",
      entry: "hello",
      modules: {
        hello: "export default () => 1",
        base: 'export const name = "base"',
        left: 'export const name = "left"',
        right: 'export const name = "right"',
      },
    });
    expect(bundle.reads.count).toBe(2);
  });

  test("is another program after every change of a module in it, at any depth", async () => {
    await using bundle = await openCatalog();
    await bundle.make("base");
    await bundle.make("middle", { imports: ["base"] });
    await bundle.save(withImports(["middle"]));
    const ids = new Set<string>();
    for (let version = 2; version <= 6; version += 1) {
      const before = await bundle.catalog.get("script-1");
      ids.add(before.program_id);
      const changed = version % 2 === 0 ? "base" : "middle";
      const imports = changed === "middle" ? ["base"] : [];
      const code = `export const name = ${version}`;
      await bundle.save({
        id: changed,
        name: changed,
        kind: "module",
        active_version: version,
        imports,
        code,
      });
      expect(bundle.catalog.cached("script-1")).toBeUndefined();
      expect(bundle.forgotten.at(-1)).toBe(before.program_id);
      const now = await bundle.catalog.get("script-1");
      expect((await now.loadProgram()).modules[changed]).toBe(code);
      // what ran before the change still loads what it was
      expect((await before.loadProgram()).modules[changed]).not.toBe(code);
    }
    expect(ids.size).toBe(5);
  });

  test("stays in memory when a module changes that it does not import", async () => {
    await using bundle = await openCatalog();
    await bundle.make("mine");
    await bundle.make("other");
    await bundle.save(withImports(["mine"]));
    const script = await bundle.catalog.get("script-1");
    await bundle.catalog.get("script-2");
    await bundle.save({ id: "other", name: "other", kind: "module", active_version: 2 });
    expect(bundle.catalog.cached("script-1")).toBe(script);
    await bundle.save({ id: "mine", name: "mine", kind: "module", active_version: 2 });
    expect(bundle.catalog.cached("script-1")).toBeUndefined();
    expect(bundle.catalog.cached("script-2")).toBeDefined();
  });

  test("is dropped with everything when announcements may have been missed", async () => {
    await using bundle = await openCatalog();
    await bundle.make("mine");
    await bundle.save(withImports(["mine"]));
    await bundle.catalog.get("script-1");
    await bundle.db.tx((tx) => bundle.db.notify(tx, scriptsChannel, "*"));
    expect(bundle.catalog.cached("script-1")).toBeUndefined();
  });

  test("was overtaken by a change of a module: the stale one never enters the cache", async () => {
    await using bundle = await openCatalog();
    await bundle.make("mine");
    await bundle.save(withImports(["mine"]));
    let release = (): void => {};
    bundle.reads.hold = new Promise((resolve) => {
      release = resolve;
    });
    const stale = bundle.catalog.get("script-1");
    await settled();
    await bundle.save({ id: "mine", name: "mine", kind: "module", active_version: 2 });
    bundle.reads.hold = null;
    const fresh = await bundle.catalog.get("script-1");
    release();
    expect((await stale).program_id).not.toBe(fresh.program_id);
    await settled();
    expect(bundle.catalog.cached("script-1")).toBe(fresh);
  });

  test("lacks one: each run says which, and it runs as soon as the module is there", async () => {
    await using bundle = await openCatalog();
    await bundle.make("middle", { imports: ["missing"] });
    await bundle.save(withImports(["middle"]));
    const script = await bundle.catalog.get("script-1");
    for (let run = 0; run < 2; run += 1) {
      expect(await reasonOf(script.loadProgram())).toBe(
        'There is no module "missing" in this app, and "middle" imports it',
      );
    }
    expect(bundle.logged).toEqual([]);
    expect(bundle.catalog.cached("script-1")).toBe(script);
    await bundle.make("missing");
    expect(bundle.catalog.cached("script-1")).toBeUndefined();
    const now = await bundle.catalog.get("script-1");
    expect(now.program_id).not.toBe(script.program_id);
    expect(Object.keys((await now.loadProgram()).modules).sort()).toEqual([
      "hello",
      "middle",
      "missing",
    ]);
  });

  test.each(["picloud2", "kv", "hello", "script-2", "endpoint_1", "LABELS", "constructor"])(
    "cannot import %s, which is no module of its app",
    async (name) => {
      await using bundle = await openCatalog();
      await bundle.make("labels");
      await bundle.make("endpoint_1", { kind: "endpoint" });
      await bundle.make("picloud2", { app_id: "app-2" });
      const imports = /^\w+$/.test(name) ? [name] : ["x"];
      await bundle.save(withImports(imports));
      const script = await bundle.catalog.get("script-1");
      expect(await reasonOf(script.loadProgram())).toStartWith("There is no module");
    },
  );

  test("gets its own app's module where two apps have one of that name", async () => {
    await using bundle = await openCatalog();
    await bundle.make("one", { name: "shared", code: "one" });
    await bundle.make("two", { name: "shared", code: "two", app_id: "app-2" });
    await bundle.save(withImports(["shared"]));
    await bundle.save({ id: "script-2", app_id: "app-2", ...withImports(["shared"]) });
    for (const [id, code] of [
      ["script-1", "one"],
      ["script-2", "two"],
    ] as const) {
      const script = await bundle.catalog.get(id);
      expect((await script.loadProgram()).modules.shared).toBe(code);
    }
  });

  test("may import __proto__ and constructor, which are its modules and no prototypes", async () => {
    await using bundle = await openCatalog();
    await bundle.make("__proto__");
    await bundle.make("constructor");
    await bundle.save(withImports(["__proto__", "constructor"]));
    const program = await (await bundle.catalog.get("script-1")).loadProgram();
    const sent = JSON.parse(JSON.stringify(program));
    expect(Object.keys(sent.modules).sort()).toEqual(["__proto__", "constructor", "hello"]);
    expect(Object.getPrototypeOf(sent.modules)).toBe(Object.prototype);
  });

  test("with a module that an older rule let pass is not loaded; the log says why, once", async () => {
    await using bundle = await openCatalog();
    await bundle.make("old", { shape_rule: 0 });
    await bundle.save(withImports(["old"]));
    const script = await bundle.catalog.get("script-1");
    for (let run = 0; run < 3; run += 1) {
      expect(await reasonOf(script.loadProgram())).toBe("module unavailable");
    }
    expect(bundle.logged).toHaveLength(1);
    expect(String(bundle.logged[0]?.error)).toContain("module old was checked by rule 0");
  });

  test("when the database fails is not loaded; the log says the rest, and the next one is", async () => {
    await using bundle = await openCatalog();
    await bundle.make("mine");
    await bundle.save(withImports(["mine"]));
    const script = await bundle.catalog.get("script-1");
    bundle.reads.failure = new PicError("unavailable", "secret disk");
    for (let run = 0; run < 3; run += 1) {
      const error = await script.loadProgram().catch((reason) => reason);
      expect(error).toMatchObject({ code: "module_unavailable", reason: "module unavailable" });
      expect(error.message).not.toContain("secret");
    }
    expect(bundle.logged).toHaveLength(1);
    expect(String(bundle.logged[0]?.error)).toContain("secret disk");
    bundle.reads.failure = null;
    expect(await reasonOf(script.loadProgram())).toBe("loaded");
    bundle.reads.failure = new PicError("unavailable", "again");
    expect(await reasonOf(script.loadProgram())).toBe("module unavailable");
    expect(bundle.logged).toHaveLength(2);
  });

  test("with more modules or code than may be sent is not loaded, and its author learns it", async () => {
    await using bundle = await openCatalog();
    const names = Array.from({ length: programModulesMax }, (_, at) => `m${at}`);
    for (const name of names) await bundle.make(name);
    await bundle.save(withImports(names));
    const most = await bundle.catalog.get("script-1");
    expect(Object.keys((await most.loadProgram()).modules)).toHaveLength(programModulesMax + 1);
    await bundle.make("one_more");
    await bundle.save(withImports([...names, "one_more"], 3));
    const more = await bundle.catalog.get("script-1");
    expect(await reasonOf(more.loadProgram())).toContain(String(programModulesMax));

    await bundle.make("large", { code: "x".repeat(programCodeBytesMax) });
    await bundle.save(withImports(["large"], 4));
    const large = await bundle.catalog.get("script-1");
    expect(await reasonOf(large.loadProgram())).toContain("bytes of code");
  });
});
