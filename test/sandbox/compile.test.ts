import { afterEach, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { codeBytesMax, compileProblemsMax, sourceBytesMax } from "../../src/domain/limits.ts";
import type { CompileProblem, CompileResult } from "../../src/sandbox/api.ts";
import { assertNoMacros, compileSource } from "../../src/sandbox/compile.ts";

const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function tempFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "picloud-compile-"));
  folders.push(folder);
  return folder;
}

function compile(source: string, kind: "endpoint" | "module" = "endpoint"): Promise<CompileResult> {
  return compileSource({ name: "sample", kind, source });
}

async function compiled(source: string, kind: "endpoint" | "module" = "endpoint") {
  const result = await compile(source, kind);
  if (!result.ok) throw new Error(JSON.stringify(result.problems));
  return result;
}

async function problems(source: string, kind: "endpoint" | "module" = "endpoint") {
  const result = await compile(source, kind);
  if (result.ok) throw new Error(`compiled: ${result.code}`);
  return result.problems;
}

async function firstProblem(source: string): Promise<CompileProblem> {
  const [problem] = await problems(source);
  if (problem === undefined) throw new Error("no problem");
  return problem;
}

test("a TypeScript endpoint becomes an ES module, a map without its source, and its imports", async () => {
  const result = await compiled(`import { kv, log } from "picloud";
import { label } from "labels";
import type { Shape } from "types_only";
enum Colour { Red, Green = 5 }
namespace Inner { export const two = 2 }
export default async function (ctx: { name: string }): Promise<unknown> {
  const value = { a: Colour.Green } satisfies Record<string, number>;
  const later = await import("later");
  return [kv, log, label(ctx.name), value, Inner.two, later!.x as Shape];
}`);
  expect(result.imports).toEqual(["labels", "later", "picloud"]);
  expect(result.code).toContain('import { kv, log } from "picloud";');
  expect(result.code).toContain("as default");
  expect(result.code).not.toContain("debugId");
  expect(result.code).not.toContain("node_modules");
  expect(result.warnings).toEqual([]);
  const map = JSON.parse(result.source_map);
  expect(Object.keys(map).sort()).toEqual(["mappings", "names", "sources", "version"]);
  expect(map.sources).toEqual(["script.ts"]);
});

test("the same source always compiles to the same bytes", async () => {
  const source = "export default (ctx: unknown) => ({ ctx });";
  expect(await compile(source)).toEqual(await compile(source));
});

test("standard decorators, using and private members are lowered; type-only syntax disappears", async () => {
  const { code } =
    await compiled(`function noted(target: unknown, _context: unknown) { return target as any }
abstract class Base<T> { abstract read(): T; protected constructor(readonly one: T, public two?: number) {} }
class Real extends Base<number> { #secret = 1; constructor() { super(1) } @noted read() { return this.#secret } }
declare const nothing: number;
function over(a: 1): void; function over(a: any) { return a }
export default function (this: void) { using held = null as any; over(1); return new Real().read() }
export type Only = { a: 1 };`);
  expect(code).not.toMatch(/@noted|using held|abstract|declare/);
});

test.each([
  ["export default 5", "a number"],
  ["export default 'text'", "a text"],
  ["export default `text`", "a text"],
  ["export default null", "null"],
  ["export default undefined", "undefined"],
  ["export default /x/", "a regular expression"],
  ["export default []", "an array"],
  ["export default { fetch() {} }", "an object"],
  ["export default class {}", "a class"],
  ["class Named {}\nexport default Named", "a class"],
  ["const handler = { a: 1 };\nexport default handler;", "an object"],
  ["export default new Map()", "an instance"],
])("%s is refused as the default export of an endpoint", async (source, what) => {
  const { message } = await firstProblem(source);
  expect(message).toBe(`The default export must be a function, not ${what}`);
});

test("a wrong default export is shown where it stands", async () => {
  expect(await firstProblem("const a = 1;\n\nexport default 5;")).toMatchObject({ line: 3 });
  expect(await firstProblem("\nconst handler = 5;\nexport default handler")).toMatchObject({
    line: 3,
    column: 16,
  });
});

test.each([
  "export default function (ctx) {}",
  "export default async (ctx) => 1",
  "export default (async (ctx: any) => 1) as any",
  "export default wrap(() => 1); function wrap(f) { return f }",
  "function handler() {} export { handler as default }",
  "export { default } from 'labels'",
  "import handler from 'labels'; export default handler",
  "let handler; handler = () => 1; export default handler",
  "let handler = null; export { handler as default }; handler = () => 1",
  "const handler = (() => 1).bind(null); export default handler",
  "const makers = { a: () => 1 }; export default makers.a",
  "export default new Proxy(() => 1, {})",
  "const x = await Promise.resolve(1); export default () => x",
])("%s is accepted", async (source) => {
  await compiled(source);
});

test("an endpoint needs a default export, a module does not", async () => {
  for (const source of ["", "// nothing", "export const a = 1", "export * from 'labels'"]) {
    expect((await firstProblem(source)).message).toStartWith("An endpoint needs a default export");
    await compiled(source, "module");
  }
});

test("an import that cannot name a module is refused where it stands", async () => {
  for (const specifier of [
    "node:fs",
    "./x",
    "/etc/passwd",
    "https://example.com/x.js",
    "a b",
    "\\0",
  ]) {
    const source = `const a = 1;\n  import x from "${specifier}";\nexport default () => [a, x];`;
    expect(await firstProblem(source)).toMatchObject({ line: 2, column: 3 });
  }
  expect((await firstProblem('import x from "";\nexport default () => x')).message).toBe(
    "An import needs the name of a module",
  );
  const dynamic = await firstProblem('export default () =>\n  import("file:///etc/passwd");');
  expect(dynamic).toMatchObject({ line: 2, column: 3 });
});

test("a dynamic import of anything but a literal is refused where it stands", async () => {
  expect(await firstProblem("export default (ctx) => {\n  return import(ctx.name);\n}")).toEqual({
    message: 'import() takes a literal text: import("name")',
    line: 2,
    column: 10,
  });
  const { imports } = await compiled(
    'export default (c) => [import(`a`), import("b" + "c"), import(c ? "d" : "e")]',
  );
  expect(imports).toEqual(["a", "bc", "d", "e"]);
});

test("all problems of the shape are named at once, but not without bound", async () => {
  const found = await problems('import "./a"; import "./b";\nexport default (x) => import(x);');
  expect(found.map(({ line }) => line)).toEqual([1, 1, 2]);
  const many = Array.from({ length: 20_000 }, (_, index) => `import "./${index}";`).join("\n");
  expect(await problems(many)).toHaveLength(compileProblemsMax);
});

test("a part of the SDK that is imported like a module is warned about", async () => {
  const { warnings } = await compiled('\nimport kv from "kv";\nexport default () => kv;');
  expect(warnings).toEqual([
    { message: '"kv" is a name of the SDK: import { kv } from "picloud"', line: 2, column: 1 },
  ]);
});

test("require, module.exports, __dirname and export = are refused where they stand", async () => {
  const at = { line: 2, column: 3 };
  expect(await firstProblem("export default () =>\n  require('fs')")).toMatchObject({
    message: "require is not available: use import",
    ...at,
  });
  expect(await firstProblem("export default () =>\n  __dirname")).toMatchObject({
    message: "__dirname does not exist: a script is not a file",
    ...at,
  });
  const commonJs = "CommonJS is not supported: use import and export";
  expect(await firstProblem("// first\n  module.exports = () => 1;")).toEqual({
    message: commonJs,
    ...at,
  });
  expect((await firstProblem("export = function () {}")).message).toBe(commonJs);
  expect(
    (await firstProblem("import fs = require('fs'); export default () => fs")).message,
  ).toContain("require");
});

test("names that only look special are the author's", async () => {
  await compiled("const require = (x) => x; export default () => require('fs')");
  await compiled("export default (module, exports) => { module.exports = 1; return exports }");
  await compiled("const __dirname = 1; export default () => __dirname");
  await compiled("const picloud_default = 1; export default () => picloud_default");
});

test("import.meta is warned about", async () => {
  const { warnings } = await compiled("export default () =>\n  import.meta.url");
  expect(warnings).toEqual([{ message: "import.meta is empty in a script", line: 2, column: 3 }]);
});

test("JSX is refused by name", async () => {
  const problem = await firstProblem("export default () =>\n  <div>hi</div>;");
  expect(problem).toMatchObject({ message: "JSX is not supported", line: 2 });
  await compiled("export default <T,>(ctx: T) => { const a = <any>ctx; return a < 3 }");
});

test("nothing of this process is written into the code", async () => {
  const { code } = await compiled(
    "export default () => [process.env.NODE_ENV, process.env.HOME, import.meta.env]",
  );
  expect(code).toContain("process.env.NODE_ENV");
  expect(code).toContain("process.env.HOME");
});

test("a comment that names another source map or a runtime has no effect", async () => {
  const { code } = await compiled(
    "// @bun\n/** @jsxImportSource evil */\nexport default () => 1\n//# sourceMappingURL=/etc/passwd\n//# debugId=00",
  );
  expect(code).not.toMatch(/@bun|sourceMappingURL|debugId|evil/);
});

test("a hash-bang line and a byte order mark do not move positions", async () => {
  expect(
    await firstProblem("#!/usr/bin/env bun\nexport default () => { let x = ; }"),
  ).toMatchObject({
    line: 2,
    column: 32,
  });
  expect(await firstProblem("\ufefflet x = ;")).toMatchObject({ line: 1, column: 9 });
  expect((await compiled("\ufeff#!/bin/x\nexport default () => 1")).code).not.toContain("#!");
});

// ---------------------------------------------------------------------------------------------
// macros and other code that would run, or read, while a script is compiled

test("the runtime still refuses macros of scripts", async () => {
  await assertNoMacros();
});

test("no macro is ever executed, however it is written", async () => {
  const folder = tempFolder();
  const macro = join(folder, "macro.ts");
  writeFileSync(macro, "export function run() { return 1 }");
  const canary = join(folder, "canary");
  const body = `export default () => writeFileSync(${JSON.stringify(canary)}, "")`;
  for (const source of [
    `import { writeFileSync } from "node:fs" with { type: "macro" }; ${body}`,
    `import { writeFileSync } from "fs" assert { type: "macro" }; ${body}`,
    `import { writeFileSync } from "fs" with /* { */ // {\n { "t\\u0079pe": "m\\u0061cro" }; ${body}`,
    `import * as fs from "fs" with { type: "macro" }; export default () => fs.writeFileSync(${JSON.stringify(canary)}, "")`,
    `import fs from "fs" with { type: "macro" }; export default () => fs.writeFileSync(${JSON.stringify(canary)}, "")`,
    `import { writeFileSync } from "macro:node:fs"; ${body}`,
    `import { writeFileSync } from "m\\u0061cro:fs"; ${body}`,
    `export { writeFileSync as default } from "fs" with { type: "macro" }`,
    `import { run } from ${JSON.stringify(macro)} with { type: "macro" }; ${body.replace("() =>", "() => run() +")}`,
    `import { $ } from "bun" with { type: "macro" }; export default () => $\`touch ${canary}\``,
  ]) {
    const result = await compile(source);
    expect(result).toMatchObject({ ok: false });
    expect(existsSync(canary)).toBe(false);
  }
});

test("import attributes are refused where they stand, in every spelling", async () => {
  const message = "Import attributes (with { … }) are not supported";
  const tail = "\nexport default () => x;";
  for (const [clause, column] of [
    ['with { type: "json" }', 18],
    ['assert { type: "json" }', 18],
    ["with{}", 18],
    ["/* with { */ with /* a */ {}", 31],
  ] as const) {
    expect(await firstProblem(`import x from "a" ${clause};${tail}`)).toMatchObject({
      message,
      line: 1,
    });
    expect(
      (await firstProblem(`import x from "a" ${clause};${tail}`)).column,
    ).toBeGreaterThanOrEqual(column);
  }
  expect(
    await firstProblem(`export default () =>\n import("a", { with: { type: "json" } })`),
  ).toMatchObject({
    message,
    line: 2,
  });
});

test("what only looks like an import attribute is left alone", async () => {
  const { code } = await compiled(`// import x from "a" with { type: "json" }
const text = 'import x from "a" with { type: "macro" }';
const regex = /with { type/;
export default (list: number[]) => [text, regex, \`with { \${list.with(0, 1)} assert { \`];`);
  expect(code).toContain('with { type: "macro" }');
  expect(code).not.toContain("####");
});

test("files of this machine are neither read nor resolved", async () => {
  const folder = tempFolder();
  const secret = join(folder, "secret.json");
  writeFileSync(secret, '{"canary":"canary-value"}');
  for (const source of [
    `import x from ${JSON.stringify(secret)}; export default () => x`,
    `import x from ${JSON.stringify(secret)} with { type: "text" }; export default () => x`,
    `export default () => import(${JSON.stringify(`file://${secret}`)})`,
    `export default () => require(${JSON.stringify(secret)})`,
    `export { default } from ${JSON.stringify(secret)}`,
  ]) {
    const result = await compile(source);
    expect(result.ok).toBe(false);
    expect(JSON.stringify(result)).not.toContain("canary-value");
  }
  const { code } = await compiled(
    `export default () => [new URL(${JSON.stringify(secret)}), new Worker(${JSON.stringify(secret)})]`,
  );
  expect(code).not.toContain("canary-value");
});

// ---------------------------------------------------------------------------------------------
// positions of errors

test.each([
  ["plain", "export default () => {\n  let x = ;\n}", 2, 11],
  ["CR LF", "// a\r\nexport default () => {\r\n  let x = ;\r\n}", 3, 11],
  ["tabs", "\t\tlet x = ;", 1, 11],
  ["emoji count two columns", "/* \u{1f600}\u{1f600} */ let x = ;", 1, 20],
  ["wide letters count one", "/* äöü漢字 */ let x = ;", 1, 21],
  ["in a template", `export default () => \`\n\${ let }\``, 2, 4],
  ["at the end", "export default () => {", 1, 22],
])("a syntax error has the author's position: %s", async (_title, source, line, column) => {
  expect(await firstProblem(source)).toMatchObject({ line, column });
});

test("what the engine would refuse is refused on save, at the author's position", async () => {
  const badRegex = await firstProblem("interface A { b: 1 }\n\nexport default () => /(/;");
  expect(badRegex).toMatchObject({ line: 3, column: 22 });
  expect(badRegex.message).toContain("regular expression");
  expect((await firstProblem("export default () => { with (a) { b } }")).line).toBe(1);
});

test("errors never name the compiler's own file", async () => {
  for (const source of [
    "let a; let a",
    "export { nothing }",
    "let x = ;",
    "import {a} from 'b'; let a",
  ]) {
    expect(JSON.stringify(await problems(source))).not.toMatch(
      /dev\/null|node_modules|bun install/,
    );
  }
});

// ---------------------------------------------------------------------------------------------
// hostile sources

test("a source has a largest size, in bytes", async () => {
  const filler = (bytes: number) => `export default () => 1 //${"ä".repeat((bytes - 25) / 2)}`;
  await compiled(filler(sourceBytesMax - 1));
  expect((await firstProblem(filler(sourceBytesMax + 3))).message).toContain("at most");
});

test("NUL bytes and halves of surrogate pairs are refused where they stand", async () => {
  expect(await firstProblem("// a\n  \0")).toMatchObject({ line: 2, column: 3 });
  expect(await firstProblem("// \u{1f600}\n'\ud800'")).toMatchObject({ line: 2, column: 2 });
  expect(await firstProblem("// \udc00\ud800")).toMatchObject({ line: 1, column: 4 });
});

test.each([
  ["parentheses", () => `export default ${"(".repeat(1e5)}1${")".repeat(1e5)}`],
  ["unclosed parentheses", () => `export default ${"(".repeat(1e5)}`],
  ["arrays", () => `export default ${"[".repeat(1e5)}${"]".repeat(1e5)}`],
  ["blocks", () => `${"{".repeat(1e5)}${"}".repeat(1e5)}`],
  ["arrows", () => `export default ${"()=>".repeat(1e5)}1`],
  ["templates", () => `export default ${"`${".repeat(2e4)}1${"}`".repeat(2e4)}`],
  ["types", () => `let x: ${"A<".repeat(1e5)}A${">".repeat(1e5)}`],
  ["functions", () => `${"function f(){".repeat(3e4)}${"}".repeat(3e4)}`],
  ["member chains", () => `export default () => a${".b".repeat(3e5)}`],
  ["ternaries", () => `export default () => ${"a?b:".repeat(1e5)}1`],
  ["regular expressions", () => `export default () => /${"(".repeat(1e5)}${")".repeat(1e5)}/`],
])("nested %s end as a problem of the source", async (_title, source) => {
  expect((await firstProblem(source())).message).toBe("Nested too deeply to be compiled");
});

test("code that grows out of all proportion is refused", async () => {
  const nested = `export default () => {${"{let a=1;b(a);".repeat(3000)}${"}".repeat(3000)}}`;
  expect(nested.length).toBeLessThan(codeBytesMax / 50);
  expect((await firstProblem(nested)).message).toContain("too large");
});

test("large but flat sources compile", async () => {
  await compiled(`export default () => '${"x".repeat(sourceBytesMax - 100)}'`);
  await compiled(`export default () => ${"a+".repeat(5e4)}1`);
  await compiled(
    `enum Big {${Array.from({ length: 1e4 }, (_, i) => `a${i}`).join(",")}} export default () => Big`,
  );
});

test("odd names survive: unicode identifiers, prototype members, escapes", async () => {
  const { code } = await compiled(
    "const größe = 1, 𝒳 = 2, \\u0061b = 3, __proto__ = 4, constructor = 5; export default () => [größe, 𝒳, ab, __proto__, constructor]",
  );
  expect(code).toContain("größe");
  expect(code).toContain("𝒳");
});

test("functions keep the names that a stack trace shows", async () => {
  const { code } = await compiled(`const label = () => outer();
function outer() { const label = 1; function inner() { return label } return inner() }
class Missing extends Error { name = "Missing" }
export default async function handler(ctx) { throw new Missing(label()) }`);
  for (const name of [
    "var label =",
    "function outer()",
    "function inner()",
    "class Missing",
    "async function handler(",
  ]) {
    expect(code).toContain(name);
  }
});
