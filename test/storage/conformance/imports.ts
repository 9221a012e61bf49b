import { expect, test } from "bun:test";
import { moduleDepthMax, programModulesMax } from "../../../src/domain/limits.ts";
import type { ScriptKind } from "../../../src/domain/scripts.ts";
import { deleteApp, insertApp } from "../../../src/storage/apps.ts";
import {
  importersOfNames,
  listImporters,
  listImports,
  lockImports,
  modulesAbove,
  replaceImports,
  scriptsNamed,
  unresolvedImports,
} from "../../../src/storage/imports.ts";
import type { Database, Seen } from "../../../src/storage/port.ts";
import {
  deleteScript,
  getModuleCode,
  getProgram,
  getSourceMap,
  insertScript,
  insertVersion,
} from "../../../src/storage/scripts.ts";
import { sql } from "../../../src/storage/sql.ts";
import { app, codeOf, type Engine, messageOf, opener, script, version } from "./engine.ts";

interface Node {
  imports?: readonly string[];
  kind?: ScriptKind;
  app_id?: string;
}

/** Scripts named as in `graph`, whose ids are their names before the app's. */
async function plant(db: Database, graph: Readonly<Record<string, Node>>): Promise<void> {
  await db.tx(async (tx) => {
    for (const [name, { imports = [], kind = "module", app_id = app.id }] of Object.entries(
      graph,
    )) {
      const id = app_id === app.id ? name : `${app_id}/${name}`;
      const bare = name.split("@")[0] as string;
      await insertScript(tx, script(id, { name: bare, kind, app_id }));
      const made = { kind, imports: ["picloud", ...imports].sort(), code: `code of ${id}` };
      await insertVersion(tx, { ...version(id), ...made, shape_rule: 1 });
      await replaceImports(tx, { id, app_id }, imports, []);
    }
  });
}

export function importConformance(engine: Engine): void {
  const open = opener(engine);

  async function planted(graph: Readonly<Record<string, Node>>): Promise<Database> {
    const { db } = await open();
    await db.tx(async (tx) => {
      await insertApp(tx, app);
      await insertApp(tx, { ...app, id: "app-2", slug: "other" });
    });
    await plant(db, graph);
    return db;
  }

  const modulesOf = async (db: Database, id: string): Promise<string[]> =>
    (await getProgram(db, id))?.modules.map(({ name }) => name) ?? [];

  test("imports are replaced by what differs, and kept by name before anything has it", async () => {
    const db = await planted({ main: { kind: "endpoint", imports: ["a", "b"] }, b: {} });
    expect(await listImports(db, "main")).toEqual([{ id: "b", name: "b", kind: "module" }]);
    await plant(db, { a: {}, c: {} });
    expect((await listImports(db, "main")).map(({ name }) => name)).toEqual(["a", "b"]);
    await db.tx((tx) => replaceImports(tx, { id: "main", app_id: app.id }, ["b", "c"], ["a", "b"]));
    expect((await listImports(db, "main")).map(({ name }) => name)).toEqual(["b", "c"]);
    await db.tx((tx) => replaceImports(tx, { id: "main", app_id: app.id }, [], ["b", "c"]));
    expect(await listImports(db, "main")).toEqual([]);
  });

  test("importers are listed by name, of modules alone", async () => {
    const db = await planted({
      z: { kind: "endpoint", imports: ["a"] },
      m: { imports: ["a"] },
      a: {},
      plain: { kind: "endpoint" },
      wrong: { kind: "endpoint", imports: ["plain"] },
    });
    expect(await listImporters(db, "a")).toEqual([
      { id: "m", name: "m", kind: "module" },
      { id: "z", name: "z", kind: "endpoint" },
    ]);
    expect(await listImporters(db, "plain")).toEqual([]);
    expect(await listImports(db, "wrong")).toEqual([]);
    expect(await listImporters(db, "nothing")).toEqual([]);
  });

  test("importers are found by the names that they import, whatever has these names", async () => {
    const db = await planted({
      z: { kind: "endpoint", imports: ["gone", "m"] },
      m: { imports: ["gone", "plain"] },
      plain: { kind: "endpoint" },
    });
    await plant(db, { "y@2": { imports: ["gone"], app_id: "app-2" } });
    const of = (...names: string[]) => importersOfNames(db, app.id, names);
    expect(await of("gone", "plain")).toEqual([
      { id: "m", name: "m", kind: "module", imported: "gone" },
      { id: "z", name: "z", kind: "endpoint", imported: "gone" },
      { id: "m", name: "m", kind: "module", imported: "plain" },
    ]);
    expect(await of("nothing")).toEqual([]);
    expect(await unresolvedImports(db, app.id)).toEqual([
      { script_id: "m", name: "gone", kind: null },
      { script_id: "m", name: "plain", kind: "endpoint" },
      { script_id: "z", name: "gone", kind: null },
    ]);
    await plant(db, { gone: {} });
    expect(await unresolvedImports(db, app.id)).toEqual([
      { script_id: "m", name: "plain", kind: "endpoint" },
    ]);
  });

  test("a program has every module below once, with versions and imports, and code of its own", async () => {
    const db = await planted({
      main: { kind: "endpoint", imports: ["left", "right"] },
      left: { imports: ["base"] },
      right: { imports: ["base", "missing"] },
      base: {},
      unrelated: { imports: ["base"] },
    });
    const seen: Seen = { seq: 0 };
    const program = await getProgram(db, "main", seen);
    expect(program).toMatchObject({ code: "code of main", imports: ["left", "picloud", "right"] });
    expect(program?.code_bytes).toBe(12);
    expect(program?.modules).toEqual([
      module("base", []),
      module("left", ["base"]),
      module("right", ["base", "missing"]),
    ]);
    expect(await modulesOf(db, "base")).toEqual([]);
  });

  function module(name: string, imports: string[]) {
    return {
      script_id: name,
      name,
      number: 1,
      imports: [...imports, "picloud"].sort(),
      code_bytes: `code of ${name}`.length,
      shape_rule: 1,
    };
  }

  test("apps never see each other's modules, nor names that differ in case", async () => {
    const db = await planted({
      main: { kind: "endpoint", imports: ["shared", "Only", "__proto__"] },
      shared: {},
      only: {},
      "shared@2": { app_id: "app-2", imports: ["Only"] },
      "Only@2": { app_id: "app-2" },
      "main@2": { app_id: "app-2", kind: "endpoint", imports: ["shared"] },
    });
    await plant(db, Object.fromEntries([["__proto__", {}]]));
    expect(await modulesOf(db, "main")).toEqual(["__proto__", "shared"]);
    expect(
      (await getProgram(db, "app-2/main@2"))?.modules.map(({ script_id }) => script_id),
    ).toEqual(["app-2/Only@2", "app-2/shared@2"]);
    expect(await listImporters(db, "shared")).toHaveLength(1);
    expect(await modulesAbove(db, "app-2/Only@2")).toHaveLength(2);
    expect(await scriptsNamed(db, app.id, ["Only", "only", "shared"])).toHaveLength(2);
  });

  test("a cycle ends, and a chain is followed as far as modules may import one another", async () => {
    const db = await planted({
      a: { imports: ["b"] },
      b: { imports: ["c"] },
      c: { imports: ["a"] },
    });
    expect(await modulesOf(db, "a")).toEqual(["b", "c"]);
    expect((await modulesAbove(db, "a")).map(({ name }) => name).sort()).toEqual(["a", "b", "c"]);
    const chain = Array.from({ length: 12 }, (_, at) => [
      `m${String(at).padStart(2, "0")}`,
      { imports: [`m${String(at + 1).padStart(2, "0")}`] },
    ]);
    await plant(db, Object.fromEntries(chain));
    expect(await modulesOf(db, "m00")).toHaveLength(moduleDepthMax);
    expect(await modulesAbove(db, "m11")).toHaveLength(moduleDepthMax + 1);
  });

  test("a wide diamond of eight floors is read at once, and no more modules than may run", async () => {
    const floors = Array.from({ length: 8 }, (_, floor) =>
      Array.from({ length: 5 }, (_, at) => `f${floor}_${at}`),
    );
    const graph = floors.flatMap((names, floor) =>
      names.map((name) => [name, { imports: floors[floor + 1] ?? [] }]),
    );
    const db = await planted({
      ...Object.fromEntries(graph),
      main: { kind: "endpoint", imports: floors[0] ?? [] },
    });
    expect(await modulesOf(db, "main")).toHaveLength(40);
    const many = Array.from({ length: programModulesMax + 5 }, (_, at) => `many${at}`);
    await plant(db, Object.fromEntries(many.map((name) => [name, {}])));
    await plant(db, { wide: { kind: "endpoint", imports: many } });
    const program = await getProgram(db, "wide");
    expect(program?.script.name).toBe("wide");
    expect(program?.modules).toHaveLength(programModulesMax + 1);
  });

  test("the code of versions is read in one statement; what is gone is not among it", async () => {
    const db = await planted({ a: {}, b: {} });
    await db.tx((tx) => insertVersion(tx, { ...version("a", 2), code: "newer" }));
    const wanted = [
      { script_id: "a", number: 2 },
      { script_id: "b", number: 1 },
      { script_id: "b", number: 9 },
      { script_id: "c", number: 1 },
    ];
    const found = await getModuleCode(db, wanted);
    expect(found.sort((one, two) => (one.script_id < two.script_id ? -1 : 1))).toEqual([
      { script_id: "a", number: 2, code: "newer" },
      { script_id: "b", number: 1, code: "code of b" },
    ]);
    expect(await getModuleCode(db, [])).toEqual([]);
    const most = Array.from({ length: programModulesMax }, (_, at) => ({
      script_id: `x${at}`,
      number: 1,
    }));
    expect(await getModuleCode(db, [...most, { script_id: "a", number: 1 }])).toHaveLength(1);
    expect(await getSourceMap(db, "a", 2)).toBe("{}");
    expect(await getSourceMap(db, "a", 3)).toBeNull();
  });

  test("the schema refuses names that no module has, and a script of another app", async () => {
    const db = await planted({ main: { kind: "endpoint" } });
    const bad = ["", "picloud", "1a", "a-b", "a b", "é", "a\u0301", "x".repeat(65), "./a"];
    for (const name of bad) {
      const insert = db.tx((tx) => replaceImports(tx, { id: "main", app_id: app.id }, [name], []));
      expect(await messageOf(insert)).toContain("onstraint");
    }
    const foreign = db.tx((tx) => replaceImports(tx, { id: "main", app_id: "app-2" }, ["a"], []));
    expect(await codeOf(foreign)).toBe("conflict");
    await db.tx((tx) =>
      replaceImports(
        tx,
        { id: "main", app_id: app.id },
        ["_", "A1", "x".repeat(64), "constructor"],
        [],
      ),
    );
  });

  test("imports go with their script, and with its app", async () => {
    const db = await planted({
      a: { imports: ["b"] },
      b: {},
      "a@2": { app_id: "app-2", imports: ["b"] },
    });
    const count = async (): Promise<number | undefined> =>
      (await db.get(sql<{ count: number }>`select count(*) as count from script_imports`))?.count;
    expect(await count()).toBe(2);
    await db.tx((tx) => deleteScript(tx, "a"));
    expect(await listImporters(db, "b")).toEqual([]);
    expect(await count()).toBe(1);
    await db.tx((tx) => deleteApp(tx, "app-2"));
    expect(await count()).toBe(0);
  });

  test("transactions that hold the lock of an app's imports come one after the other", async () => {
    const db = await planted({ a: {} });
    const order: string[] = [];
    await Promise.all(
      ["one", "two", "three"].map((name) =>
        db.tx(async (tx) => {
          await lockImports(tx, app.id);
          order.push(`${name} in`);
          await scriptsNamed(tx, app.id, ["a"]);
          order.push(`${name} out`);
        }),
      ),
    );
    const pairs = [order.slice(0, 2), order.slice(2, 4), order.slice(4)];
    for (const [entered, left] of pairs)
      expect(left).toBe(entered?.replace(" in", " out") as string);
  });
}
