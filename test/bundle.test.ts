/**
 * What each role of the executable loads, as the bundler has divided it: the code that a start pulls
 * in before anybody has asked for anything. Memory and start-up time of a Pi hang on it.
 */
import { beforeAll, describe, expect, test } from "bun:test";
import { resolve } from "node:path";

const root = resolve(import.meta.dir, "..");

/** Only the admin API needs these, from its first request on. */
const adminOnly =
  /^(node_modules\/(arktype|@ark\/|arkregex|elysia|@elysiajs\/|@sinclair\/|@scalar\/|swagger-ui-dist)|src\/(schema|http\/admin)\/)/;
/** Only the API's document needs these, from its first request on. */
const documentOnly = /^(node_modules\/(@elysiajs\/|@scalar\/)|src\/http\/admin\/openapi\.ts)/;

/** Of the program `pic`: what talks to a server, and is none. */
const serverOnly =
  /^(node_modules\/(arktype|@ark\/|elysia|@elysiajs\/|acorn|croner|postgres|quickjs|@jitl\/)|migrations\/|src\/(main|compose[a-z-]*|config|schema\/.*|http\/.*|services\/.*|storage\/.*|sandbox\/.*|execution\/.*|bindings\/.*|background\/.*|routing\/.*)\.ts$)/;

interface Bundle {
  /** Entry (a path from the root) → the source files that loading it loads. */
  loaded: (entry: string) => string[];
  /** All source files. */
  whole: () => string[];
}

let loaded: Bundle["loaded"];
let pic: Bundle;

beforeAll(async () => {
  ({ loaded } = await bundle("src/main.ts"));
  pic = await bundle("src/pic.ts");
});

async function bundle(program: string): Promise<Bundle> {
  // As scripts/build.ts divides it; without minifying, which changes nothing here.
  const { metafile } = await Bun.build({
    entrypoints: [`${root}/${program}`],
    root: `${root}/src`,
    target: "bun",
    format: "esm",
    splitting: true,
    metafile: true,
  });
  if (metafile === undefined) throw new Error("the bundler gave no account of its bundle");
  const { outputs, inputs } = metafile;
  const loaded: Bundle["loaded"] = (entry) => {
    const start = Object.keys(outputs).find((name) => outputs[name]?.entryPoint === entry);
    if (start === undefined) throw new Error(`${entry} is no entry of the bundle`);
    const chunks = new Set([start]);
    for (const chunk of chunks) {
      for (const { path, kind } of outputs[chunk]?.imports ?? []) {
        if (kind === "import-statement" && path in outputs) chunks.add(path);
      }
    }
    return [...chunks].flatMap((chunk) => Object.keys(outputs[chunk]?.inputs ?? {}));
  };
  return { loaded, whole: () => Object.keys(inputs) };
}

describe("what a role loads", () => {
  for (const entry of [
    "src/main.ts",
    "src/config.ts",
    "src/compose.ts",
    "src/sandbox/child.ts",
    "src/sandbox/compile-child.ts",
    "src/cli/help.ts",
    "src/cli/password.ts",
  ]) {
    test(`${entry} loads no arktype, no Elysia and nothing of the admin API`, () => {
      const files = loaded(entry);
      expect(files).toContain(entry);
      expect(files.filter((file) => adminOnly.test(file))).toEqual([]);
    });
  }

  test("the admin API loads them, and nothing of its document", () => {
    const files = loaded("src/http/admin/app.ts");
    expect(files.filter((file) => /^node_modules\/arktype\//.test(file))).not.toEqual([]);
    expect(files.filter((file) => /^node_modules\/elysia\//.test(file))).not.toEqual([]);
    expect(files.filter((file) => documentOnly.test(file))).toEqual([]);
  });

  test("croner comes with the first cron expression, and not before", () => {
    const isCroner = (file: string) => file.startsWith("node_modules/croner/");
    for (const entry of ["src/compose.ts", "src/http/admin/app.ts"]) {
      expect(loaded(entry).filter(isCroner)).toEqual([]);
    }
    expect(loaded("src/domain/cron.ts").filter(isCroner)).not.toEqual([]);
  });

  test("the document loads the rest", () => {
    const files = loaded("src/http/admin/openapi.ts");
    expect(files.filter((file) => documentOnly.test(file))).not.toEqual([]);
  });
});

describe("the program pic", () => {
  test("holds nothing of a server", () => {
    const files = pic.whole();
    expect(files).toContain("src/client.ts");
    expect(files.filter((file) => serverOnly.test(file))).toEqual([]);
  });

  test("says its version before it loads anything", () => {
    expect(pic.loaded("src/pic.ts").sort()).toEqual(["package.json", "src/pic.ts"]);
  });

  test("loads prompts and the types of the SDK only when they are asked for", () => {
    const files = pic.loaded("src/cli/main.ts");
    const later = /^(node_modules\/@clack\/|src\/sdk\/|docs\/)/;
    expect(files.filter((file) => /^node_modules\/commander\//.test(file))).not.toEqual([]);
    expect(files.filter((file) => later.test(file))).toEqual([]);
    expect(pic.whole().filter((file) => later.test(file))).not.toEqual([]);
  });

  test("is a role of picloud that no other role loads", () => {
    for (const entry of ["src/main.ts", "src/compose.ts", "src/http/admin/app.ts"]) {
      const own = /^(node_modules\/(commander|@clack)\/|src\/cli\/(pic|main|context)\.ts)/;
      expect(loaded(entry).filter((file) => own.test(file))).toEqual([]);
    }
    expect(loaded("src/cli/main.ts").filter((file) => adminOnly.test(file))).toEqual([]);
  });
});
