import { describe, expect, test } from "bun:test";
import {
  cpSync,
  existsSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type Bundled, bundle } from "../../src/cli/bundle.ts";
import { PicFailure } from "../../src/cli/failures.ts";
import { sourceBytesMax } from "../../src/domain/limits.ts";
import type { ScriptKind } from "../../src/domain/scripts.ts";
import { compileSource } from "../../src/sandbox/compile.ts";
import { newProject, type Project, packageFiles } from "./project.ts";

interface Options {
  kind?: ScriptKind;
  modules?: string[];
  folder?: string;
  home?: string;
  files?: Set<string>;
}

function bundled(project: Project, file: string, options: Options = {}): Promise<Bundled> {
  const { kind = "endpoint", modules = [], files = new Set() } = options;
  const { folder = project.folder, home = "/home/nobody-here" } = options;
  return bundle({
    file: project.path(file),
    source: readFileSync(project.path(file), "utf8"),
    folder,
    home,
    kind,
    isModule: (name) => Promise.resolve(modules.includes(name)),
    files,
  });
}

/** What the failure says, all of it. */
async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => new Error("nothing failed"),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof PicFailure)) throw error;
  const { lines = [], next = "" } = error.options;
  return [error.message, ...lines, next].join("\n");
}

/** As the server judges it. */
async function compiled(source: string, kind: ScriptKind = "endpoint") {
  const result = await compileSource({ name: "x", kind, source });
  return result.ok ? result.imports : result.problems;
}

describe("what is sent as it is", () => {
  const plain: Record<string, string> = {
    "nothing imported": "\ufeffexport default () =>   1 // as it is\r\n",
    "the SDK": 'import { kv } from "picloud";\nexport default () => kv;\n',
    "a module of the app": 'import { a } from "labels";\nexport default () => a();\n',
    "a module that does not exist yet": 'import { a } from "later";\nexport default () => a();\n',
    "a syntax error": 'import { a } from "labels";\nexport default () => ;\n',
    "the word import alone": 'export default () => "import this from that";\n',
    "a type of a package":
      'import type { A } from "absent-package";\nexport default (a: A) => a;\n',
  };
  for (const [what, source] of Object.entries(plain)) {
    test(what, async () => {
      using project = newProject({ "main.ts": source });
      const found = await bundled(project, "main.ts", { modules: ["labels"] });
      expect(found).toEqual({ source, positions: null, warnings: [] });
    });
  }
});

describe("bundling", () => {
  test("packages and files become part of the script; the SDK and modules stay imports", async () => {
    using project = newProject({
      "main.ts": [
        'import pad from "pad";',
        'import { kv } from "picloud";',
        'import { label } from "labels";',
        'import { up } from "./lib/up.ts";',
        'import words from "./words.json";',
        "export default () => [pad, kv, label, up, words];",
      ].join("\n"),
      "lib/up.ts": "export const up = (s: string): string => s.toUpperCase();",
      "words.json": '["a"]',
      ...packageFiles("pad", 'const { inner } = require("inner"); module.exports = inner;'),
      ...packageFiles("inner", "exports.inner = (s) => s;"),
    });
    const files = new Set<string>();
    const found = await bundled(project, "main.ts", { modules: ["labels"], files });
    expect(await compiled(found.source)).toEqual(["labels", "picloud"]);
    expect(found.source).toContain("toUpperCase");
    expect(found.source).not.toContain(project.folder);
    expect(found.warnings).toEqual([]);
    const own = ["main.ts", "lib/up.ts", "words.json"].map(project.path);
    expect([...files].toSorted()).toEqual(own.toSorted());
  });

  const seen = { "lru-cache": ["AbortController"], croner: ["Intl"], acorn: [] };
  for (const [name, absent] of Object.entries(seen)) {
    test(`the package ${name} passes the server's check`, async () => {
      using project = newProject({
        "main.ts": `import * as all from "${name}";\nexport default () => Object.keys(all);\n`,
      });
      const installed = realpathSync(join(import.meta.dir, "../../node_modules", name));
      cpSync(installed, project.path(`node_modules/${name}`), { recursive: true });
      const found = await bundled(project, "main.ts");
      expect(await compiled(found.source)).toEqual([]);
      expect(found.source).not.toContain("../");
      expect(found.warnings).toEqual(
        absent.map((one) => expect.stringContaining(`no ${one}, which ${name} (`)),
      );
    });
  }

  test("the same files give the same text, wherever they lie", async () => {
    const files = {
      "main.ts": 'import pad from "pad";\nexport default () => pad(__dirname);\n',
      ...packageFiles("pad", "module.exports = (s) => [s, __filename];"),
    };
    using one = newProject(files);
    using other = newProject(files);
    const first = await bundled(one, "main.ts");
    expect((await bundled(other, "main.ts")).source).toBe(first.source);
    expect(first.source).not.toContain("picloud-project");
  });

  test("a package may import what is called like a module of the app", async () => {
    using project = newProject({
      "main.ts": 'import pad from "pad";\nexport default () => pad;\n',
      ...packageFiles("pad", 'module.exports = require("labels");'),
      ...packageFiles("labels", 'module.exports = "of the package";'),
    });
    const { source } = await bundled(project, "main.ts", { modules: ["labels"] });
    expect(source).toContain("of the package");
  });

  test("an installed package is taken when the app has no module of its name", async () => {
    using project = newProject({
      "main.ts": 'import labels from "labels";\nexport default () => labels;\n',
      ...packageFiles("labels", 'module.exports = "of the package";'),
    });
    expect((await bundled(project, "main.ts")).source).toContain("of the package");
    expect((await bundled(project, "main.ts", { modules: ["labels"] })).positions).toBeNull();
  });

  test("constants of a module that is bundled stay constants", async () => {
    using project = newProject({
      "labels.ts": [
        'import { base } from "./base.ts";',
        "export const label = base;",
        "const text = `",
        "var looksLike = code`;",
        "export function all() { return [label, text]; }",
      ].join("\n"),
      "base.ts": 'export const base = "b";',
    });
    const { source } = await bundled(project, "labels.ts", { kind: "module" });
    expect(await compiled(source, "module")).toEqual([]);
    expect(source).toContain("\nvar looksLike = code`");
  });

  test("a linked package of a workspace is bundled, another file outside of the folder is not", async () => {
    using project = newProject({
      "app/main.ts": 'import own from "own";\nexport default () => own;\n',
      "app/bad.ts": 'import x from "../secret.txt";\nexport default () => x;\n',
      "app/node_modules/.keep": "",
      "package.json": '{"workspaces":["app","own"]}',
      "own/package.json": '{"name":"own","main":"index.ts"}',
      "own/index.ts": 'export default "linked";',
      "secret.txt": "private",
    });
    symlinkSync(project.path("own"), project.path("app/node_modules/own"));
    const folder = project.path("app");
    expect((await bundled(project, "app/main.ts", { folder })).source).toContain("linked");
    expect(await refusal(bundled(project, "app/bad.ts", { folder }))).toMatch(
      /secret\.txt lies outside of the folder/,
    );
  });

  test("what is too large is made smaller, and refused with the largest part when that is too little", async () => {
    const line = "  // a comment that nobody needs to read at all, in the sandbox least of all\n";
    const comments = `${line.repeat(40)}`;
    const functions = Array.from(
      { length: 700 },
      (_, n) => `exports.f${n} = function () {\n${comments}  return "${n}";\n};`,
    );
    using project = newProject({
      "main.ts": 'import all from "large";\nexport default () => all;\n',
      ...packageFiles("large", functions.join("\n")),
      "huge.ts": 'import all from "huge";\nexport default () => all;\n',
      ...packageFiles("huge", `module.exports = "${"x".repeat(sourceBytesMax)}";`),
    });
    const { source } = await bundled(project, "main.ts");
    expect(Buffer.byteLength(source)).toBeLessThanOrEqual(sourceBytesMax);
    const said = await refusal(bundled(project, "huge.ts"));
    expect(said).toContain(`at most ${sourceBytesMax}`);
    expect(said).toContain("node_modules/huge/index.js (1.0 MB)");
  });
});

describe("positions", () => {
  test("a place in bundled code is one in the author's file", async () => {
    using project = newProject({
      "main.ts": 'import { a } from "./lib/a.ts";\n\nexport default { a };\n',
      "lib/a.ts": "export const a: number =\n  1;\n",
    });
    const { source, positions } = await bundled(project, "main.ts");
    const [problem] = (await compiled(source)) as { line: number; column: number }[];
    expect(positions?.original(problem?.line ?? 0, problem?.column ?? 0)).toEqual({
      file: project.path("main.ts"),
      line: 3,
      column: 16,
    });
    const line = source.split("\n").findIndex((text) => text.startsWith("var a")) + 1;
    expect(positions?.original(line, 1)?.file).toBe(project.path("lib/a.ts"));
    expect(positions?.original(100_000, 1)).toBeNull();
  });

  test("columns behind a constant that was put back are still the author's", async () => {
    using project = newProject({
      "labels.ts": 'import { b } from "./b.ts";\nexport const a = b, c = new Map();\n',
      "b.ts": "export const b = 1;\n",
    });
    const { source, positions } = await bundled(project, "labels.ts", { kind: "module" });
    const [problem] = (await compiled(source, "module")) as { line: number; column: number }[];
    expect(positions?.original(problem?.line ?? 0, problem?.column ?? 0)).toEqual({
      file: project.path("labels.ts"),
      line: 2,
      column: 25,
    });
  });
});

describe("what the sandbox lacks", () => {
  test("modules of Node.js are named, with the package and the file that import them", async () => {
    using project = newProject({
      "main.ts": 'import files from "files";\nimport "node:net";\nexport default () => files;\n',
      ...packageFiles("files", 'import { readFileSync } from "fs";\nexport default readFileSync;'),
    });
    const said = await refusal(bundled(project, "main.ts"));
    expect(said).toContain("fs, which files (node_modules/files/index.js) imports");
    expect(said).toContain("node:net, which main.ts imports");
  });

  test("each kind of it fails by name", async () => {
    const cases: Record<string, [string, string]> = {
      "bun:sqlite": [
        'import { Database } from "bun:sqlite"; export default Database;',
        "bun:sqlite",
      ],
      bun: ['import { file } from "bun"; export default file;', "no bun,"],
      path: ['module.exports = require("path").join;', "no path,"],
      "fs/promises": ['export * from "fs/promises";', "fs/promises"],
    };
    for (const [name, [text, said]] of Object.entries(cases)) {
      using project = newProject({
        "main.ts": 'import * as all from "needy";\nexport default () => all;\n',
        ...packageFiles("needy", text),
      });
      expect([name, await refusal(bundled(project, "main.ts"))]).toEqual([
        name,
        expect.stringContaining(said),
      ]);
      expect(await refusal(bundled(project, "main.ts"))).toContain("needy");
    }
  });

  test("native addons and other files that are no code are refused", async () => {
    using project = newProject({
      "main.ts": 'import all from "native";\nexport default () => all;\n',
      ...packageFiles("native", 'module.exports = require("./addon.node");'),
      "node_modules/native/addon.node": "\u007fELF",
      "image.ts": 'import image from "./image.png";\nexport default () => image;\n',
      "image.png": "png",
      "far.ts": 'import far from "https://example.com/far.js";\nexport default () => far;\n',
    });
    expect(await refusal(bundled(project, "main.ts"))).toContain(
      "node_modules/native/addon.node is a native addon",
    );
    expect(await refusal(bundled(project, "image.ts"))).toContain("image.png cannot be bundled");
    expect(await refusal(bundled(project, "far.ts"))).toContain("https://example.com/far.js");
  });

  test("what is only tried, or said to be absent in browsers, is no failure", async () => {
    using project = newProject({
      "main.ts": 'import a from "tries";\nimport b from "mapped";\nexport default () => [a, b];\n',
      ...packageFiles(
        "tries",
        'let crypto;\ntry { crypto = require("crypto"); } catch {}\nmodule.exports = crypto;',
      ),
      ...packageFiles("mapped", 'module.exports = require("fs");', { browser: { fs: false } }),
    });
    const found = await bundled(project, "main.ts");
    expect(found.warnings).toEqual([
      "the sandbox has no crypto, which tries (node_modules/tries/index.js) imports: reaching that code fails",
    ]);
    expect(await compiled(found.source)).toEqual([]);
  });

  test("require of what is not known beforehand fails when it is called, no sooner", async () => {
    using project = newProject({
      "main.ts": 'import a from "dynamic";\nexport default () => a("x");\n',
      ...packageFiles(
        "dynamic",
        'module.exports = (name) =>\n  typeof require === "function" ? require(name) : null;',
      ),
    });
    const found = await bundled(project, "main.ts");
    expect(found.warnings).toEqual([
      "the sandbox has no require, which node_modules/dynamic/index.js:2 calls: reaching that code fails",
    ]);
    expect(await compiled(found.source)).toEqual([]);
  });

  test("a package may have the name of a module of Node.js", async () => {
    using project = newProject({
      "main.ts": 'import { on } from "events";\nexport default () => on;\n',
      ...packageFiles("events", 'exports.on = () => "of npm";'),
    });
    expect((await bundled(project, "main.ts")).source).toContain("of npm");
  });

  test("what is bundled but not used is not asked for", async () => {
    using project = newProject({
      "main.ts": 'import { a } from "parts";\nexport default () => a();\n',
      "node_modules/parts/package.json":
        '{"name":"parts","module":"index.js","sideEffects":false,"type":"module"}',
      "node_modules/parts/index.js": 'export { a } from "./a.js";\nexport { b } from "./b.js";',
      "node_modules/parts/a.js": "export const a = () => 1;",
      "node_modules/parts/b.js": 'import { join } from "node:path";\nexport const b = () => join;',
    });
    expect((await bundled(project, "main.ts")).warnings).toEqual([]);
  });

  test("global names are a warning, and none where the package asks first", async () => {
    using project = newProject({
      "main.ts": 'import a from "uses";\nimport b from "asks";\nexport default () => [a, b];\n',
      ...packageFiles("uses", "module.exports = () => Buffer.from(String(process.pid));"),
      ...packageFiles(
        "asks",
        [
          'const it = typeof fetch === "function" ? fetch : null;',
          "// window and document are words of a comment",
          'class Cache { async fetch(key) { return "navigator" + key; } }',
          "const quote = (s) => /[\"]/.test(s) ? 'a' : /'/.test(s), said = \"(document) = navigator\";",
          "function local(location) { return location.href; }",
          "module.exports = [quote, said, it, new Cache().fetch(1), local({}), globalThis.Worker];",
        ].join("\n"),
      ),
    });
    expect((await bundled(project, "main.ts")).warnings).toEqual([
      "the sandbox has no process, which uses (node_modules/uses/index.js) seems to use",
      "the sandbox has no Buffer, which uses (node_modules/uses/index.js) seems to use",
    ]);
  });

  test("what is not installed, or not there, is named with its place", async () => {
    using project = newProject({
      "main.ts": 'import a from "@scope/absent";\nexport default () => a;\n',
      "gone.ts": 'import a from "./gone-too.ts";\nexport default () => a;\n',
    });
    const said = await refusal(bundled(project, "main.ts"));
    expect(said).toContain(
      "main.ts:1:15: @scope/absent is not installed: npm install @scope/absent",
    );
    expect(await refusal(bundled(project, "gone.ts"))).toContain("there is no file ./gone-too.ts");
  });
});

describe("bundling runs and leaks nothing", () => {
  const proof = (project: Project) => project.path("ran");
  const macro = (project: Project) =>
    `import { writeFileSync } from "node:fs";
     export function run() { writeFileSync(${JSON.stringify(proof(project))}, "x"); return 1; }`;
  const uses: Record<string, string> = {
    "an attribute": 'import { run } from "./macro.ts" with { type: "macro" };',
    "an escaped attribute":
      'import { run } from "./macro.ts" with { "ty\\u0070e": "m\\u0061cro" };',
    "an old attribute": 'import { run } from "./macro.ts" assert { type: "macro" };',
    "a prefix": 'import { run } from "macro:./macro.ts";',
    "an escaped prefix": 'import { run } from "mac\\x72o:./macro.ts";',
  };
  for (const [how, line] of Object.entries(uses)) {
    test(`a macro by ${how} does not run, in a script or below it`, async () => {
      using project = newProject({
        "main.ts": `${line}\nexport default () => run();\n`,
        "above.ts": 'import { a } from "./below.ts";\nexport default () => a;\n',
        "below.ts": `${line}\nexport const a = run();\n`,
        "top.ts": 'import a from "pack";\nexport default () => a;\n',
        ...packageFiles("pack", `${line.replace("./macro", "../../macro")}\nexport default run();`),
      });
      project.write({ "macro.ts": macro(project) });
      for (const file of ["main.ts", "above.ts", "top.ts"]) {
        await bundled(project, file).catch((error: unknown) => {
          if (!(error instanceof PicFailure)) throw error;
        });
        expect([file, existsSync(proof(project))]).toEqual([file, false]);
      }
      expect(await refusal(bundled(project, "above.ts"))).toMatch(/below\.ts/);
    });
  }

  test("a macro in a linked package, or behind a link into one, does not run", async () => {
    const line =
      'import { run } from "./macro.ts" with { type: "macro" };\nexport default run();\n';
    using project = newProject({
      "app/linked.ts": 'import own from "own";\nexport default () => own;\n',
      "app/inward.ts": 'import own from "./pack.ts";\nexport default () => own;\n',
      "app/node_modules/pack/index.ts": line,
      "package.json": '{"workspaces":["app","own"]}',
      "own/package.json": '{"name":"own","main":"index.ts"}',
      "own/index.ts": line,
    });
    project.write({
      "own/macro.ts": macro(project),
      "app/macro.ts": macro(project),
      "app/node_modules/pack/macro.ts": macro(project),
    });
    symlinkSync(project.path("own"), project.path("app/node_modules/own"));
    symlinkSync(project.path("app/node_modules/pack/index.ts"), project.path("app/pack.ts"));
    for (const file of ["app/linked.ts", "app/inward.ts"]) {
      const folder = project.path("app");
      expect(await refusal(bundled(project, file, { folder }))).toMatch(/macros/);
      expect([file, existsSync(proof(project))]).toEqual([file, false]);
    }
  });

  test("a macro does not run in a text that an import says is code", async () => {
    const line =
      'import { run } from "./macro.ts" with { type: "macro" };\nexport default run();\n';
    for (const name of ["a.txt", "a.json", "a.md", "a.toml", "a.yaml", "node_modules/a.txt"]) {
      for (const type of ["js", "jsx", "ts", "tsx"]) {
        using project = newProject({
          "main.ts": `import a from "./${name}" with { type: "${type}" };\nexport default () => a;\n`,
          [name]: line,
        });
        project.write({ "macro.ts": macro(project), "node_modules/macro.ts": macro(project) });
        const source = await bundled(project, "main.ts").then(({ source }) => source, String);
        expect([name, type, existsSync(proof(project))]).toEqual([name, type, false]);
        expect(source).not.toContain("a_default = 1");
      }
    }
  });

  test("a macro does not run in UTF-16, which the bundler would take", async () => {
    const line =
      'import { run } from "./macro.ts" with { type: "macro" };\nexport default run();\n';
    for (const order of ["utf-16le", "utf-16be"] as const) {
      using project = newProject({
        "main.ts": 'import a from "./a.ts";\nexport default () => a;\n',
      });
      project.write({ "macro.ts": macro(project) });
      const text = Buffer.from(`\ufeff${line}`, "utf16le");
      writeFileSync(project.path("a.ts"), order === "utf-16le" ? text : text.swap16());
      expect(await refusal(bundled(project, "main.ts"))).toMatch(/a\.ts is no text in UTF-8/);
      expect([order, existsSync(proof(project))]).toEqual([order, false]);
    }
  });

  test("a macro does not run in a file right in node_modules, where the bundler allows it", async () => {
    using project = newProject({
      "main.ts": 'import a from "./node_modules/a.js";\nexport default () => a;\n',
      "node_modules/a.js":
        'import { run } from "../macro.ts" with { type: "macro" };\nexport default run();\n',
    });
    project.write({ "macro.ts": macro(project) });
    expect(await refusal(bundled(project, "main.ts"))).toMatch(/macros/);
    expect(existsSync(proof(project))).toBe(false);
  });

  test("a pipe is not waited for, and a device not read", async () => {
    using project = newProject({
      "pipe.ts": 'import a from "./a.ts";\nexport default () => a;\n',
      "device.ts": 'import a from "pack/a.json";\nexport default () => a;\n',
      ...packageFiles("pack", ""),
    });
    Bun.spawnSync(["mkfifo", project.path("a.ts")]);
    symlinkSync("/dev/zero", project.path("node_modules/pack/a.json"));
    expect(await refusal(bundled(project, "pipe.ts"))).toMatch(/no file/);
    expect(await refusal(bundled(project, "device.ts"))).toMatch(/cannot be bundled/);
  });

  test("settings of the folder run nothing", async () => {
    using project = newProject({
      "main.ts": 'import { run } from "pack";\nexport default () => run();\n',
      ...packageFiles("pack", "exports.run = () => 2;", {
        scripts: { install: "touch ran", postinstall: "touch ran" },
      }),
      "package.json": JSON.stringify({ bun: { macros: { pack: { run: "./macro.ts" } } } }),
      "bunfig.toml": 'preload = ["./macro.ts"]\n[macros]\npack = { run = "./macro.ts" }\n',
      "tsconfig.json": '{"compilerOptions":{"plugins":[{"name":"./macro.ts"}]}}',
    });
    project.write({ "macro.ts": `${macro(project)}\nrun();` });
    await bundled(project, "main.ts");
    expect(existsSync(proof(project))).toBe(false);
  });

  test("the environment and .env are not inlined", async () => {
    using project = newProject({
      "main.ts": 'import a from "pack";\nexport default () => [a, process.env.HOME];\n',
      ".env": "SECRET_OF_MINE=topsecret\n",
      ...packageFiles(
        "pack",
        "module.exports = [process.env.SECRET_OF_MINE, process.env.PATH, process.env.NODE_ENV];",
      ),
    });
    const { source } = await bundled(project, "main.ts");
    for (const value of ["topsecret", process.env.PATH, process.env.HOME]) {
      if (value !== undefined && value.length > 4) expect(source).not.toContain(value);
    }
    expect(source).toContain('"production"');
  });
});
