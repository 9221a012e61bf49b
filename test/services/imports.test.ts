/** Modules as they are saved: what they may import, and what others rely on. */
import { describe, expect, test } from "bun:test";
import { moduleDepthMax, programModulesMax } from "../../src/domain/limits.ts";
import { moduleShapeRule, reservedModuleNames } from "../../src/domain/scripts.ts";
import type { Tx } from "../../src/storage/port.ts";
import { getVersion, insertVersion, updateScript } from "../../src/storage/scripts.ts";
import { codeOf, owner, setup } from "./fakes.ts";

/** With the fake compiler `// import x` imports x. */
const importing = (...names: string[]): string =>
  names.map((name) => `// import ${name}`).join("\n");

async function ready() {
  const t = await setup();
  const actor = await owner(t.db);
  const module = (name: string, ...imports: string[]) =>
    t.scripts.create(actor, { name, kind: "module", source: importing(...imports) });
  const endpoint = (name: string, ...imports: string[]) =>
    t.scripts.create(actor, { name, source: importing(...imports) });
  const failure = (work: Promise<unknown>) =>
    work.then(
      () => null,
      (error) => error,
    );
  const dispose = t[Symbol.asyncDispose];
  return { ...t, actor, module, endpoint, failure, [Symbol.asyncDispose]: dispose };
}

describe("a module", () => {
  test("is compiled as one, marked with the rule that judged it, and found by its kind", async () => {
    await using t = await ready();
    const { script } = await t.module("labels");
    expect(script).toMatchObject({ name: "labels", kind: "module", active_version: 1 });
    expect(t.compiler.requests.at(-1)).toMatchObject({ kind: "module" });
    const stored = await getVersion(t.db, script.id, 1);
    expect(stored).toMatchObject({ kind: "module", shape_rule: moduleShapeRule });
    const found = await t.scripts.list(t.actor, { kind: "module" }, { limit: 10, cursor: null });
    expect(found.items.map((view) => view.script.id)).toEqual([script.id]);
  });

  test.each(["my-module", "1a", "a b", "größe", "a.b", "", "A".repeat(65), "a\u200b", "ａ"])(
    "may not be called %j",
    async (name) => {
      await using t = await ready();
      expect(await codeOf(t.module(name))).toBe("invalid");
      expect(t.compiler.requests).toHaveLength(0);
    },
  );

  test("may have no name of the SDK, also by renaming or changing the kind", async () => {
    await using t = await ready();
    for (const name of reservedModuleNames) expect(await codeOf(t.module(name))).toBe("invalid");
    const { script } = await t.module("mine");
    expect(await codeOf(t.scripts.update(t.actor, script.id, { name: "kv" }))).toBe("invalid");
    const endpoint = await t.endpoint("kv");
    const change = t.scripts.update(t.actor, endpoint.script.id, { kind: "module" });
    expect(await codeOf(change)).toBe("invalid");
  });

  test.each(["__proto__", "constructor", "toString", "hasOwnProperty", "default"])(
    "may be called %s, is imported, and guarded like any other",
    async (name) => {
      await using t = await ready();
      const { script } = await t.module(name);
      const main = await t.endpoint("main", name);
      expect(main.warnings).toEqual([]);
      expect(await t.scripts.imports(main.script.id)).toEqual([
        { id: script.id, name, kind: "module" },
      ]);
      expect(await codeOf(t.scripts.delete(t.actor, script.id))).toBe("conflict");
      expect(await codeOf(t.scripts.update(t.actor, script.id, { source: importing(name) }))).toBe(
        "invalid_source",
      );
    },
  );

  test("cannot be routed", async () => {
    await using t = await ready();
    const { script } = await t.module("labels");
    const routed = t.routes.create(t.actor, script.id, { path: "/labels" });
    expect(await codeOf(routed)).toBe("invalid");
  });
});

describe("an import", () => {
  test("of what does not exist, or is an endpoint, is saved with a warning at its place", async () => {
    await using t = await ready();
    await t.endpoint("other");
    const source = `\n${importing("missing")}\n${importing("picloud")}\n${importing("other")}`;
    const { script, warnings } = await t.scripts.create(t.actor, { name: "main", source });
    const end = "; running this script will fail";
    expect(warnings).toEqual([
      { path: "source", message: `The import "missing" does not exist${end}`, line: 2, column: 1 },
      {
        path: "source",
        message: `The import "other" is an endpoint, not a module${end}`,
        line: 4,
        column: 1,
      },
    ]);
    expect(await t.scripts.imports(script.id)).toEqual([]);
    await t.module("missing");
    const again = await t.scripts.update(t.actor, script.id, { description: "x" });
    expect(again.warnings.map(({ message }) => message)).toEqual([
      `The import "other" is an endpoint, not a module${end}`,
    ]);
  });

  test("is written with the save, replaced by the next, and copied by a rollback", async () => {
    await using t = await ready();
    const [a, b] = [await t.module("a"), await t.module("b")];
    const { script } = await t.endpoint("main", "a");
    const names = async () => (await t.scripts.imports(script.id)).map(({ name }) => name);
    expect(await names()).toEqual(["a"]);
    await t.scripts.update(t.actor, script.id, { source: importing("b") });
    expect(await names()).toEqual(["b"]);
    expect(await t.scripts.importedBy(a.script.id)).toEqual([]);
    await t.scripts.rollback(t.actor, script.id, { version: 1 });
    expect(await names()).toEqual(["a"]);
    expect(await t.scripts.importedBy(b.script.id)).toEqual([]);
    await t.scripts.delete(t.actor, script.id);
    expect(await t.scripts.importedBy(a.script.id)).toEqual([]);
  });

  test("of a save that fails is not written", async () => {
    await using t = await ready();
    const { script } = await t.module("a");
    await t.module("b", "a");
    expect(
      await codeOf(t.scripts.update(t.actor, script.id, { source: importing("c", "b") })),
    ).toBe("invalid_source");
    await t.module("c");
    expect(await t.scripts.imports(script.id)).toEqual([]);
    expect((await t.scripts.get(script.id)).active.number).toBe(1);
  });

  test("compiles nothing but what is saved", async () => {
    await using t = await ready();
    const { script } = await t.module("a");
    for (const name of ["x", "y", "z"]) await t.endpoint(name, "a");
    const before = t.compiler.requests.length;
    await t.scripts.update(t.actor, script.id, { source: "// changed" });
    expect(t.compiler.requests.length - before).toBe(1);
    expect(t.compiler.requests.at(-1)).toMatchObject({ name: "a" });
  });

  test("means the app's own module, never another app's of that name", async () => {
    await using t = await ready();
    await t.apps.create(t.actor, { slug: "blog", name: "Blog" });
    const mine = await t.module("shared");
    const { warnings } = await t.scripts.create(t.actor, {
      app: "blog",
      name: "main",
      source: importing("shared"),
    });
    expect(warnings).toHaveLength(1);
    expect(await t.scripts.importedBy(mine.script.id)).toEqual([]);
    await t.scripts.delete(t.actor, mine.script.id);
  });

  test("of a name in another case is another module", async () => {
    await using t = await ready();
    const { script } = await t.module("Labels");
    expect((await t.endpoint("main", "labels")).warnings).toHaveLength(1);
    expect(await t.scripts.importedBy(script.id)).toEqual([]);
  });
});

describe("a cycle", () => {
  test("is refused at the save that closes it, with its path and the import's place", async () => {
    await using t = await ready();
    const { script } = await t.module("a");
    await t.module("b", "a");
    await t.module("c", "b");
    const source = `// first\n${importing("picloud")}\n${importing("c")}`;
    const error = await t.failure(t.scripts.update(t.actor, script.id, { source }));
    expect(error.code).toBe("invalid_source");
    expect(error.details.errors).toEqual([
      {
        path: "source",
        message: "The imports form a cycle: a -> c -> b -> a",
        line: 3,
        column: 1,
      },
    ]);
  });

  test("of one is a cycle", async () => {
    await using t = await ready();
    expect((await t.failure(t.module("a", "a"))).message).toEndWith("cycle: a -> a");
    // an endpoint cannot be imported, not even by itself
    expect((await t.endpoint("main", "main")).warnings).toHaveLength(1);
  });

  test("that waited for a missing module is refused when that one comes, however it comes", async () => {
    await using t = await ready();
    await t.module("a", "b");
    expect((await t.failure(t.module("b", "a"))).message).toEndWith("cycle: b -> a -> b");
    const { script: other } = await t.module("other", "a");
    expect((await t.failure(t.scripts.update(t.actor, other.id, { name: "b" }))).message).toEndWith(
      "cycle: b -> a -> b",
    );
    const { script: endpoint } = await t.endpoint("b", "a");
    expect(
      (await t.failure(t.scripts.update(t.actor, endpoint.id, { kind: "module" }))).message,
    ).toEndWith("cycle: b -> a -> b");
    expect((await t.scripts.get(endpoint.id)).script.kind).toBe("endpoint");
  });

  test("comes back by no rollback", async () => {
    await using t = await ready();
    const { script } = await t.module("a", "b");
    await t.scripts.update(t.actor, script.id, { source: "// nothing" });
    await t.module("b", "a");
    const error = await t.failure(t.scripts.rollback(t.actor, script.id, { version: 1 }));
    expect(error.message).toEndWith("cycle: a -> b -> a");
  });

  test("cannot be made by two saves at once", async () => {
    await using t = await ready();
    for (let round = 0; round < 5; round += 1) {
      const names = ["a", "b", "c"].map((name) => `${name}${round}`);
      const made = await Promise.all(names.map((name) => t.module(name)));
      const codes = await Promise.all(
        made.map(({ script }, at) =>
          codeOf(
            t.scripts.update(t.actor, script.id, {
              source: importing(names[(at + 1) % 3] as string),
            }),
          ),
        ),
      );
      expect(codes.sort()).toEqual(["invalid_source", "none", "none"]);
    }
  });
});

describe("a chain", () => {
  test("of eight modules stands, below an endpoint; the ninth is refused with the chain", async () => {
    await using t = await ready();
    const names = Array.from({ length: moduleDepthMax }, (_, at) => `m${at + 1}`);
    for (const [at, name] of names.entries()) await t.module(name, ...names.slice(at + 1, at + 2));
    expect((await t.endpoint("main", "m1")).warnings).toEqual([]);
    expect((await t.failure(t.module("m0", "m1"))).message).toEndWith(
      `in a row: m0 -> ${names.join(" -> ")}`,
    );
    // and from the other end, and in the middle
    const last = (await t.scripts.list(t.actor, { q: "m8" }, { limit: 1, cursor: null })).items[0];
    await t.module("below");
    const lower = t.scripts.update(t.actor, last?.script.id ?? "", { source: importing("below") });
    expect((await t.failure(lower)).details.errors).toEqual([
      expect.objectContaining({ message: expect.stringContaining("m8 -> below"), line: 1 }),
    ]);
  });

  test("that becomes too long when a missing module comes is refused then", async () => {
    await using t = await ready();
    const names = ["a1", "a2", "a3", "a4", "gap", "b1", "b2", "b3", "b4"];
    for (const [at, name] of names.entries()) {
      if (name !== "gap") await t.module(name, ...names.slice(at + 1, at + 2));
    }
    expect((await t.failure(t.module("gap", "b1"))).message).toEndWith(names.join(" -> "));
    await t.module("gap", "b2");
  });

  test("of many ways is judged at once", async () => {
    await using t = await ready();
    const floor = (at: number) => Array.from({ length: 6 }, (_, i) => `f${at}_${i}`);
    for (let at = moduleDepthMax - 1; at >= 0; at -= 1) {
      const below = at === moduleDepthMax - 1 ? [] : floor(at + 1);
      for (const name of floor(at)) await t.module(name, ...below);
    }
    const { script } = await t.endpoint("main", ...floor(0));
    expect(await t.scripts.imports(script.id)).toHaveLength(6);
    expect(await codeOf(t.module("top", ...floor(0)))).toBe("invalid_source");
  });
});

describe("a program", () => {
  test("may have as many modules as it may, and not one more", async () => {
    await using t = await ready();
    const names = Array.from({ length: programModulesMax }, (_, at) => `m${at}`);
    for (const name of names) await t.module(name);
    expect((await t.endpoint("most", ...names)).warnings).toEqual([]);
    await t.module("both", "m0");
    const error = await t.failure(t.endpoint("more", "both", ...names.slice(1), "m0"));
    expect(error.message).toContain(String(programModulesMax));
    expect(error.code).toBe("invalid_source");
  });

  test("may have no more code than can be sent", async () => {
    await using t = await ready();
    const million = `// ${"x".repeat(1024 * 1024 - 10)}`;
    const names = Array.from({ length: 8 }, (_, at) => `m${at}`);
    for (const name of names) {
      await t.scripts.create(t.actor, { name, kind: "module", source: million });
    }
    const error = await t.failure(t.endpoint("more", ...names));
    expect(error.code).toBe("invalid_source");
    expect(error.message).toContain("bytes");
    await t.endpoint("fits", ...names.slice(1));
  });
});

describe("what is imported", () => {
  test("is not deleted, renamed or made an endpoint, and the error names who imports it", async () => {
    await using t = await ready();
    const { script } = await t.module("labels");
    const main = await t.endpoint("main", "labels");
    const other = await t.module("other", "labels");
    const named = [
      { id: main.script.id, name: "main", kind: "endpoint" },
      { id: other.script.id, name: "other", kind: "module" },
    ];
    expect(await t.scripts.importedBy(script.id)).toEqual(named as never);
    for (const work of [
      () => t.scripts.delete(t.actor, script.id),
      () => t.scripts.update(t.actor, script.id, { name: "tags" }),
      () => t.scripts.update(t.actor, script.id, { kind: "endpoint" }),
    ]) {
      const error = await t.failure(work());
      expect(error.code).toBe("conflict");
      expect(error.message).toContain("main, other");
      expect(error.details.extra).toEqual({ imported_by: named });
    }
    await t.scripts.delete(t.actor, main.script.id);
    await t.scripts.update(t.actor, other.script.id, { source: "// nothing" });
    await t.scripts.update(t.actor, script.id, { name: "tags", kind: "endpoint" });
    await t.scripts.delete(t.actor, script.id);
  });

  test("by many is named by the first of them", async () => {
    await using t = await ready();
    const { script } = await t.module("labels");
    for (let at = 10; at < 25; at += 1) await t.endpoint(`e${at}`, "labels");
    const error = await t.failure(t.scripts.delete(t.actor, script.id));
    expect(error.message).toContain("e10, e11");
    expect(error.message).toContain("and 5 more");
    expect(error.details.extra.imported_by).toHaveLength(10);
  });

  test("is deleted and imported at once by one of the two alone", async () => {
    await using t = await ready();
    for (let round = 0; round < 5; round += 1) {
      const { script } = await t.module(`m${round}`);
      const [deleted, made] = await Promise.all([
        codeOf(t.scripts.delete(t.actor, script.id)),
        t.endpoint(`e${round}`, `m${round}`),
      ]);
      expect(deleted === "none").toBe(made.warnings.length === 1);
    }
  });
});

describe("the kind of a script", () => {
  test("changes with a new version, compiled as what it becomes, and back", async () => {
    await using t = await ready();
    const { script } = await t.endpoint("a", "b");
    const module = await t.scripts.update(t.actor, script.id, { kind: "module" });
    expect(module).toMatchObject({ script: { kind: "module", active_version: 2 } });
    expect(t.compiler.requests.at(-1)).toMatchObject({ kind: "module", name: "a" });
    const back = await t.scripts.rollback(t.actor, script.id, { version: 1 });
    expect(back).toMatchObject({ script: { kind: "endpoint", active_version: 3 } });
    const { items } = await t.scripts.versions(script.id, { limit: 5, cursor: null });
    expect(items.map(({ kind }) => kind)).toEqual(["endpoint", "module", "endpoint"]);
  });

  test("stays endpoint while routes point at it", async () => {
    await using t = await ready();
    const { script } = await t.endpoint("a");
    const { route } = await t.routes.create(t.actor, script.id, { path: "/a" });
    const error = await t.failure(t.scripts.update(t.actor, script.id, { kind: "module" }));
    expect(error.code).toBe("conflict");
    expect(error.details.extra).toEqual({ routes: 1 });
    await t.routes.delete(t.actor, route.id);
    await t.scripts.update(t.actor, script.id, { kind: "module" });
    await t.scripts.update(t.actor, script.id, { kind: "endpoint" });
    await t.routes.create(t.actor, script.id, { path: "/a" });
    expect(await codeOf(t.scripts.rollback(t.actor, script.id, { version: 2 }))).toBe("conflict");
  });

  test("and a route change at once as one after the other", async () => {
    await using t = await ready();
    for (let round = 0; round < 5; round += 1) {
      const { script } = await t.endpoint(`a${round}`);
      const codes = await Promise.all([
        codeOf(t.scripts.update(t.actor, script.id, { kind: "module" })),
        codeOf(t.routes.create(t.actor, script.id, { path: `/a${round}` })),
      ]);
      expect(codes.filter((code) => code === "none")).toHaveLength(1);
    }
  });

  test("that is given as it is makes no version", async () => {
    await using t = await ready();
    const { script } = await t.module("a");
    const same = await t.scripts.update(t.actor, script.id, { kind: "module", source: "" });
    expect(same.active.number).toBe(1);
    expect(t.compiler.requests).toHaveLength(1);
  });
});

describe("a module that an older rule let pass", () => {
  async function outdated() {
    const t = await ready();
    const { script } = await t.module("a");
    const version = await getVersion(t.db, script.id, 1);
    if (version === null) throw new Error("no version");
    await t.db.tx(async (tx: Tx) => {
      await insertVersion(tx, { ...version, number: 2, shape_rule: 0 });
      await updateScript(tx, { ...script, active_version: 2 });
    });
    return { ...t, script, [Symbol.asyncDispose]: t[Symbol.asyncDispose] };
  }

  test("is judged anew when the same source is saved, and when it is rolled back to", async () => {
    await using t = await outdated();
    const saved = await t.scripts.update(t.actor, t.script.id, { source: "" });
    expect(saved.active.number).toBe(3);
    expect((await getVersion(t.db, t.script.id, 3))?.shape_rule).toBe(moduleShapeRule);
    await t.scripts.update(t.actor, t.script.id, { source: "// other" });
    const before = t.compiler.requests.length;
    await t.scripts.rollback(t.actor, t.script.id, { version: 2 });
    expect(t.compiler.requests.length - before).toBe(1);
    expect((await getVersion(t.db, t.script.id, 5))?.shape_rule).toBe(moduleShapeRule);
  });

  test("is not judged by a change of something else", async () => {
    await using t = await outdated();
    const saved = await t.scripts.update(t.actor, t.script.id, { description: "x" });
    expect(saved.active.number).toBe(2);
  });
});
