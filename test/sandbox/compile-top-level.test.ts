/** What a module may hold at its top level, and where its imports stand. */
import { expect, test } from "bun:test";
import { compileProblemsMax } from "../../src/domain/limits.ts";
import type { CompileProblem } from "../../src/sandbox/api.ts";
import { compileSource } from "../../src/sandbox/compile.ts";

type Kind = "endpoint" | "module";

async function compiled(source: string, kind: Kind = "endpoint") {
  const result = await compileSource({ name: "sample", kind, source });
  if (!result.ok) throw new Error(JSON.stringify(result.problems));
  return result;
}

async function problems(source: string, kind: Kind): Promise<CompileProblem[]> {
  const result = await compileSource({ name: "sample", kind, source });
  if (result.ok) throw new Error(`compiled: ${result.code}`);
  return result.problems;
}

const FINE_MODULES: Record<string, string> = {
  nothing: "",
  literals: "export const a = 1, b = -2, c = [1, { d: [2] }], t = `x`, big = -1n, re = /x/g;",
  "a text with constants in it": "const a = 1; export const t = `a is $" + "{a}`;",
  "what has no value": "export const u = undefined, n = null, v = void 0, i = -Infinity;",
  "constants made of others":
    "const day = 24 * 60; export const week = day * 7, all = [...[day]], pi = Math.PI;",
  patterns: "export const { sqrt, max = 1 } = Math, [first] = [1];",
  "texts as constants": "export const o = { ['a' + 1]: 1 } as const satisfies object;",
  functions:
    "export function a() { b() } const b = async () => { await a() }; export default function* () {}",
  "functions in objects":
    "export const o = { f() { return g() }, get x() { return g() }, h: () => g() }; function g() {}",
  "names that begin like let": "export const letter = 1, variable = 2;",
  enums:
    "export enum Colour { Red, Green = 'g', L = 'abc'.length }\nconst enum S { A = 1 }\nexport const s = S.A;",
  "an enum in two parts": "enum X { A } enum X { B = 5 } export { X }",
  namespaces: `export namespace Outer { export const two = 2; const three = 3;
    export function f() { return three } export class K {}
    export namespace Deep { export const x = 1; export enum E { A } } }`,
  classes: `export class A extends Base { static x = 1; #p = 2; static y = [1]; z = f();
    get v() { return this.#p } static m() { return f() } ['k' + 1]() {} }
    class Base {} function f() {} export default class {}`,
  "an abstract class": "export abstract class Q { constructor(readonly a: number) {} }",
  types:
    "export type T = 1; export interface I {} declare let x: number; declare global { var z: 1 }",
  "every form of import": `import d, { x as y } from "k"; import * as ns from "l"; import "side";
    import type { U } from "types"; export { d, y, ns }`,
  "every form of export": `export * from "m"; export * as n from "m"; export { x as z } from "m"; export {}`,
  "an import in a function":
    'export const f = async () => { const m = await import("later"); return m };',
  "a directive": "'use strict';\nexport const a = 1;;",
};

test.each(Object.entries(FINE_MODULES))("a module may hold %s", async (_what, source) => {
  await compiled(source, "module");
});

const CALL = "no call: make it in a function";
const OTHER = "no other statements";

test.each([
  ["a call", "console.log('x')", "1:1", CALL],
  ["a call in a constant", "function f() {}\n  export const x = [1, { a: f() }];", "2:29", CALL],
  ["a call behind ?.", "const a = { b() {} }; export const x = a?.b?.();", "1:40", CALL],
  ["a call in a pattern", "const [a = f()] = []; export { a }; function f() {}", "1:12", CALL],
  ["a tagged text", "export const t = String.raw`x`;", "1:18", CALL],
  [
    "a collection",
    'import { kv } from "picloud";\nexport const c = kv.collection("c");',
    "2:18",
    CALL,
  ],
  ["a call as the default", "export default f(); function f() {}", "1:16", CALL],
  [
    "an instance",
    "export const x = new Map();",
    "1:18",
    "nothing made with new: make it in a function",
  ],
  ["a let", "const a = 1;\nexport let b = a;", "2:8", "use const instead of let"],
  ["a let in a row", "let a = 1, b = 2; export { a, b }", "1:1", "use const instead of let"],
  ["a var", "/* x */ var b = 2; export { b }", "1:9", "use const instead of var"],
  [
    "a let in a namespace",
    "export namespace N { let a = 1; export function f() { return a++ } }",
    "1:22",
    "use const instead of let",
  ],
  ["await", "export const x = await 1;", "1:18", "no await"],
  ["an assignment", "globalThis.x = 1;", "1:1", "no assignment"],
  [
    "an assignment in a constant",
    "const a = { b: 1 }; export const x = (a.b = 2);",
    "1:39",
    "no assignment",
  ],
  ["an increment", "const a = { b: 1 }; export const x = a.b++;", "1:38", "no assignment"],
  ["a deletion", "delete globalThis.x;", "1:1", "nothing else that runs"],
  [
    "an import that runs",
    'export const m = import("x");',
    "1:18",
    "no import(): write an import declaration",
  ],
  ["a condition", "if (globalThis) {}", "1:1", OTHER],
  ["a loop", "for (;;) {}", "1:1", OTHER],
  ["a throw", "\nthrow 1", "2:1", OTHER],
  ["a try", "try {} catch {}\ndebugger", "2:1", OTHER],
  ["using", "using x = null as any; export const y = x;", "1:1", OTHER],
  ["a function that is called at once", "(() => { globalThis.y = 1 })();", "1:1", CALL],
  ["what looks like an enum", "((A) => { A.x = 1 })(Object ||= {});", "1:1", CALL],
  ["a static block", "export class A { static { globalThis.x = 1 } }", "1:16", "no static block"],
  ["a call for a static member", "export class A { static x = f() } function f() {}", "1:29", CALL],
  [
    "a call in a class expression",
    "export const c = class { static x = f() }; function f() {}",
    "1:37",
    CALL,
  ],
  [
    "a call for a member's name",
    "export class A { [f()]() {} } function f() { return 'x' }",
    "1:19",
    CALL,
  ],
  [
    "a call for a base class",
    "export class A extends f() {} function f() { return Object }",
    "1:24",
    CALL,
  ],
  ["a call in an enum", "export enum E { A = f() } function f() { return 1 }", "1:21", CALL],
  [
    "a call in a namespace",
    "export namespace N { export const x = f() } function f() {}",
    "1:39",
    CALL,
  ],
])("a module may not hold %s", async (_what, source, at, message) => {
  const [first] = await problems(source, "module");
  expect(`${first?.line}:${first?.column}`).toBe(at);
  expect(first?.message).toContain(message);
  expect(first?.message).toStartWith("The top level of a module holds functions, constants");
});

test("a decorator or an accessor field, which run when their class is made, are refused", async () => {
  const decorated = "function d(t: any, c: any) { return t }\nexport class D { @d m() {} }";
  for (const source of [decorated, "export class P { accessor z = 1 }"]) {
    expect((await problems(source, "module"))[0]?.message).toContain("decorator or accessor");
    await compiled(`${source}\nexport default () => 1`);
  }
});

test("every problem of a module's top level is named, up to a bound", async () => {
  const found = await problems(`${"f();\n".repeat(3)}function f() {}`, "module");
  expect(found.map(({ line }) => line)).toEqual([1, 2, 3]);
  expect(await problems(`${"f();\n".repeat(500)}function f() {}`, "module")).toHaveLength(
    compileProblemsMax,
  );
});

test("a constant that is nested too deeply is refused and ends nothing", async () => {
  const deep = `export const a = ${"[".repeat(20_000)}${"]".repeat(20_000)};`;
  expect((await problems(deep, "module"))[0]?.message).toMatch(/[Nn]ested|deep/);
  await compiled(
    `export const a = ${Array.from({ length: 500 }, () => "1").join(" + ")};`,
    "module",
  );
});

test("an endpoint's top level may hold what a module's may not", async () => {
  await compiled("let n = 0; const m = new Map(); console.log(n); export default () => m");
});

test("each import is told with the place where it stands first", async () => {
  const result = await compiled(`import { kv } from "picloud";
  import { a } from "labels"; export * from "re";
import "\\u006cabels";
export default async () => [kv, a, await import("later")]`);
  expect(result.import_sites).toEqual([
    { specifier: "labels", line: 2, column: 3 },
    { specifier: "later", line: 4, column: 42 },
    { specifier: "picloud", line: 1, column: 1 },
    { specifier: "re", line: 2, column: 31 },
  ]);
  expect(result.imports).toEqual(result.import_sites.map(({ specifier }) => specifier));
});
