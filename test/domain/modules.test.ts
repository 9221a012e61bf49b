import { describe, expect, test } from "bun:test";
import { moduleDepthMax } from "../../src/domain/limits.ts";
import {
  findCycle,
  findGraphProblem,
  longestChain,
  type ModuleGraph,
  ModuleUnavailable,
  moduleImports,
} from "../../src/domain/modules.ts";

function graph(text: Readonly<Record<string, string>>): ModuleGraph {
  return new Map(Object.entries(text).map(([name, imports]) => [name, imports.split(" ")]));
}

/** `m1 → m2 → … → m<length>`. */
function chain(length: number): Map<string, readonly string[]> {
  const names = Array.from({ length }, (_, at) => `m${at + 1}`);
  return new Map(names.map((name, at) => [name, names.slice(at + 1, at + 2)]));
}

describe("a cycle", () => {
  test.each([
    [{ a: "a" }, "a -> a"],
    [{ a: "b", b: "a" }, "a -> b -> a"],
    [{ a: "b", b: "c", c: "d", d: "a" }, "a -> b -> c -> d -> a"],
    [{ a: "b d", b: "c", c: "a", d: "a" }, "a -> d -> a"],
    [
      Object.fromEntries([
        ["a", "__proto__"],
        ["__proto__", "a"],
      ]),
      "a -> __proto__ -> a",
    ],
  ])("of %j is found by its shortest way", (modules, path) => {
    expect(findCycle(graph(modules), "a")?.join(" -> ")).toBe(path);
    expect(findGraphProblem(graph(modules), "a")).toEqual({
      message: `The imports form a cycle: ${path}`,
      imported: path.split(" -> ")[1] as string,
    });
  });

  test.each([
    [{ a: "b c", b: "d", c: "d", d: "" }],
    [{ a: "missing" }],
    [{ a: "A", A: "b" }],
    [{ b: "c", c: "b", a: "b" }],
    [{ a: "toString constructor" }],
  ])("is not seen in %j, which does not lead back to a", (modules) => {
    expect(findCycle(graph(modules), "a")).toBeNull();
  });
});

describe("a chain", () => {
  test("may have eight modules, and is named when it has nine, whichever of them is saved", () => {
    for (let at = 1; at <= moduleDepthMax; at += 1) {
      expect(findGraphProblem(chain(moduleDepthMax), `m${at}`)).toBeNull();
    }
    const long = chain(moduleDepthMax + 1);
    const names = [...long.keys()];
    for (const [at, name] of names.entries()) {
      expect(longestChain(long, name)).toEqual(names);
      const problem = findGraphProblem(long, name);
      expect(problem?.message).toEndWith(names.join(" -> "));
      expect(problem?.imported).toBe(names[at + 1] as string);
    }
  });

  test("ends where a module does not exist", () => {
    const lacking = chain(12);
    lacking.delete("m5");
    expect(findGraphProblem(lacking, "m1")).toBeNull();
    expect(longestChain(lacking, "m4")).toEqual(["m1", "m2", "m3", "m4"]);
  });

  test("is the longest above and below in wide diamonds, found without walking every way", () => {
    const floors = Array.from({ length: 16 }, (_, floor) =>
      Array.from({ length: 30 }, (_, at) => `f${floor}_${at}`),
    );
    const wide: ModuleGraph = new Map(
      floors.flatMap((names, floor) => names.map((name) => [name, floors[floor + 1] ?? []])),
    );
    const found = longestChain(wide, "f8_3");
    expect(found).toHaveLength(16);
    expect(found[8]).toBe("f8_3");
    expect(findCycle(wide, "f0_0")).toBeNull();
  });
});

test("the SDK is no module of an app", () => {
  expect(moduleImports(["a", "picloud", "z"])).toEqual(["a", "z"]);
});

test("what a caller is told of a module holds neither name nor reason", () => {
  const error = new ModuleUnavailable('There is no module "secret"', new Error("disk"));
  expect(error.code).toBe("module_unavailable");
  expect(error.message).not.toContain("secret");
  expect(error.reason).toContain("secret");
});
