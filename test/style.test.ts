/** The import table and the other rules of the tree hold, and a violation of each is caught. */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { scanImports } from "../scripts/imports.ts";
import { checkTree, FLOORS, readTree, staticClosure } from "../scripts/style.ts";

const root = `${import.meta.dir}/..`;
const tree = readTree(root);

function rulesBrokenBy(file: string, text: string): string[] {
  return checkTree(new Map([[file, text]])).map(({ rule }) => rule);
}

describe("the tree", () => {
  test("breaks no rule", () => {
    expect(checkTree(tree)).toEqual([]);
  });

  test("is seen whole: the contracts and this test are in it", () => {
    expect(tree.has("src/domain/limits.ts")).toBe(true);
    expect(tree.has("test/style.test.ts")).toBe(true);
  });
});

describe("a planted violation is caught", () => {
  const planted: [file: string, text: string, rule: string][] = [
    [
      "src/domain/x.ts",
      'import { a } from "../storage/port.ts";',
      "domain must not import storage",
    ],
    ["src/base/x.ts", 'import type { A } from "../domain/apps.ts";', "base must not import domain"],
    [
      "src/sandbox/x.ts",
      'import { kv } from "../bindings/kv.ts";',
      "sandbox must not import bindings",
    ],
    [
      "src/services/x.ts",
      'export { a } from "../http/server.ts";',
      "services must not import http",
    ],
    [
      "src/execution/x.ts",
      'const a = await import("../config.ts");',
      "execution must not import config",
    ],
    [
      "src/services/x.ts",
      'import type { Setting } from "../settings.ts";',
      "services must not import settings",
    ],
    ["src/compose.ts", 'import { a } from "./settings.ts";', "compose must not import settings"],
    ["src/main.ts", 'const a = await import("./settings.ts");', "main must not import settings"],
    [
      "src/settings.ts",
      'import type { Config } from "./config.ts";',
      "settings must not import config",
    ],
    ["src/sdk/x.ts", 'import "../base/ids.ts";', "sdk must not import base"],
    [
      "src/services/x.ts",
      'import { app } from "../schema/apps.ts";',
      "services must not import schema as values",
    ],
    [
      "src/http/x.ts",
      'import { type App, app } from "../schema/apps.ts";',
      "http must not import schema as values",
    ],
    [
      "src/http/server.ts",
      'import { admin } from "./admin/admin.ts";',
      "the admin plane is loaded on first use: import it dynamically",
    ],
    ["src/main.ts", 'import { a } from "./compose.ts";', "main.ts imports a role dynamically"],
    [
      "src/services/x.ts",
      'import { Elysia } from "elysia";',
      "elysia may be imported by http, http/admin alone",
    ],
    [
      "src/http/x.ts",
      'import type { Type } from "arktype";',
      "arktype may be imported by schema, http/admin alone",
    ],
    [
      "src/services/x.ts",
      'import { Command } from "commander";',
      "commander may be imported by cli alone",
    ],
    [
      "src/main.ts",
      'const a = await import("@clack/prompts");',
      "@clack/prompts may be imported by cli alone",
    ],
    ["src/cli/x.ts", 'import { a } from "../services/a.ts";', "cli must not import services"],
    ["src/cli/x.ts", 'import { a } from "../schema/a.ts";', "cli must not import schema as values"],
    ["src/pic.ts", 'import { a } from "./cli/pic.ts";', "pic.ts imports a role dynamically"],
    [
      "src/base/x.ts",
      'import a from "left-pad";',
      "no package left-pad is known to scripts/style.ts",
    ],
    ["src/base/x.ts", 'import { a } from "./y";', "./y has no extension"],
    ["src/execution/x.ts", "const a = process.env.HOME;", "config.ts alone reads the environment"],
    ["src/settings.ts", "const a = Bun.env.HOME;", "config.ts alone reads the environment"],
    ["src/base/x.ts", "export default 1;", "exports are named"],
    ["src/helpers/x.ts", "", "src/helpers is not one of the floors"],
    ["src/base/utils.ts", "", "utils says nothing: name the file by its noun"],
    ["src/base/theNoun.ts", "", "file names are in kebab-case"],
    ["bench/x.ts", "// TO\u0044O: later", "nothing is left to do later"],
  ];
  for (const [file, text, rule] of planted) {
    test(`${file}: ${rule}`, () => {
      expect(rulesBrokenBy(file, text)).toEqual([rule]);
    });
  }

  test("migrations with a gap, and engines that differ", () => {
    const rules = checkTree(
      new Map([
        ["migrations/sqlite/0001_first.sql", ""],
        ["migrations/sqlite/0003_third.sql", ""],
        ["migrations/postgres/0001_first.sql", ""],
      ]),
    ).map(({ rule }) => rule);
    expect(rules).toEqual(["must be 0002_name.sql", "both engines number and name alike"]);
  });
});

describe("what the table allows passes", () => {
  test("types of a schema in the domain, values of it in the admin API, dynamic admin plane", () => {
    expect(
      rulesBrokenBy("src/domain/x.ts", 'import type { App } from "../schema/apps.ts";'),
    ).toEqual([]);
    expect(
      rulesBrokenBy("src/http/admin/x.ts", 'import { app } from "../../schema/apps.ts";'),
    ).toEqual([]);
    expect(rulesBrokenBy("src/http/x.ts", 'const a = await import("./admin/a.ts");')).toEqual([]);
    expect(rulesBrokenBy("src/compose.ts", 'import { a } from "./storage/sqlite.ts";')).toEqual([]);
    expect(rulesBrokenBy("src/cli/help.ts", 'import { a } from "../settings.ts";')).toEqual([]);
  });

  test("every floor of the table may import itself and node's modules", () => {
    for (const floor of Object.keys(FLOORS).filter(
      (name) => !/main|config|settings|client/.test(name),
    )) {
      const text = 'import { a } from "./b.ts";\nimport { join } from "node:path";';
      expect(rulesBrokenBy(`src/${floor}/a.ts`, text)).toEqual([]);
    }
  });
});

describe("the scanner", () => {
  test("does not take examples in comments, strings, templates and regexes for imports", () => {
    const text = [
      '// import a from "./comment.ts"',
      '/* import a from "./comment.ts"; */',
      "const s = 'import a from \"./string.ts\"';",
      'const t = `import a from "./template.ts"; $\u007bf({ b: `import "./inner.ts"` })} import "./tail.ts"`;',
      'const r = /["\'`]import "x"/g.test(s) ? 4 / 2 : 1 / 2;',
      'import { real } from "./real.ts";',
    ].join("\n");
    expect(scanImports(text).imports).toEqual([
      { specifier: "./real.ts", kind: "static", line: 6 },
    ]);
  });

  test("tells static, type and dynamic imports apart, over several lines", () => {
    const text = [
      "import {",
      "  a,",
      '} from "./a.ts";',
      'import type { B } from "./b.ts";',
      'export * from "./c.ts";',
      'export type { D } from "./d.ts";',
      'const e = await import("./e.ts");',
      'import "./f.ts";',
      'type G = import("./g.ts").G;',
    ].join("\n");
    expect(
      scanImports(text).imports.map(({ specifier, kind, line }) => [specifier, kind, line]),
    ).toEqual([
      ["./a.ts", "static", 1],
      ["./b.ts", "type", 4],
      ["./c.ts", "static", 5],
      ["./d.ts", "type", 6],
      ["./f.ts", "static", 8],
      ["./e.ts", "dynamic", 7],
      ["./g.ts", "dynamic", 9],
    ]);
  });
});

describe("what a role loads", () => {
  const closure = (entry: string): string[] => [...staticClosure(tree, entry)];
  const heavy = /^(arktype|elysia|@elysiajs\/.*)$/;

  for (const entry of [
    "src/main.ts",
    "src/sandbox/child.ts",
    "src/sandbox/compile-child.ts",
    "src/cli/help.ts",
  ]) {
    test(`${entry} loads neither arktype nor Elysia`, () => {
      expect(existsSync(`${root}/${entry}`)).toBe(true);
      expect(closure(entry).filter((name) => heavy.test(name))).toEqual([]);
    });
  }

  test("a server on SQLite loads nothing of PostgreSQL, nor does any child", () => {
    for (const entry of [
      "src/compose.ts",
      "src/sandbox/child.ts",
      "src/sandbox/compile-child.ts",
    ]) {
      expect(closure(entry)).toContain("src/domain/limits.ts");
      expect(closure(entry).filter((name) => /^postgres$|storage\/postgres/.test(name))).toEqual(
        [],
      );
    }
  });

  test("the bundle of the sandbox, of the compiler and of the command line holds no arktype", async () => {
    for (const entry of ["sandbox/child.ts", "sandbox/compile-child.ts", "cli/help.ts"]) {
      const built = await Bun.build({ entrypoints: [`${root}/src/${entry}`], target: "bun" });
      const texts = await Promise.all(built.outputs.map((output) => output.text()));
      expect(texts.join("").length).toBeGreaterThan(0);
      expect(texts.join("")).not.toContain("arktype");
    }
  });

  test("the data plane loads without arktype: only the admin plane's first request needs it", () => {
    expect(existsSync(`${root}/src/compose.ts`)).toBe(true);
    expect(closure("src/compose.ts")).not.toContain("arktype");
  });
});
