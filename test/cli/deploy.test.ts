/** `pic deploy` and its kin, against a real server that runs from the sources. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { renameSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { sourceBytesMax } from "../../src/domain/limits.ts";
import { startServer, type TestServer } from "../e2e/server.ts";
import { newUser, type RunOptions, type User } from "./pic-runs.ts";
import { newProject, type Project, packageFiles } from "./project.ts";

let server: TestServer;
let user: User;

beforeAll(async () => {
  const main = join(import.meta.dir, "../../src/main.ts");
  server = await startServer({ command: [process.execPath, main] });
  user = newUser({ env: { PICLOUD_URL: server.url, PICLOUD_TOKEN: server.token } });
});

afterAll(async () => {
  user?.[Symbol.dispose]();
  await server?.[Symbol.asyncDispose]();
});

/** A run in a project's folder. */
function pic(project: Project, args: string[], options: RunOptions = {}) {
  return user.pic(args, { workingDir: project.folder, ...options });
}

let apps = 0;

/** A new app, and a project whose manifest names it. */
async function newApp(files: Record<string, string>, scripts: object[]) {
  apps += 1;
  const app = `app-${apps}`;
  await server.client.apps.create({ slug: app, name: app });
  const project = newProject(files);
  const write = (list: object[]) =>
    project.write({ "picloud.json": JSON.stringify({ app, scripts: list }) });
  write(scripts);
  return { ...project, app, manifest: write, [Symbol.dispose]: () => project[Symbol.dispose]() };
}

async function sourceOf(app: string, name: string): Promise<string> {
  const { items } = await server.client.scripts.list({ app, name });
  return (await server.client.scripts.get(items[0]?.id ?? "")).source;
}

describe("one file", () => {
  test("is created, then updated, byte for byte, with a name of its own", async () => {
    using project = newProject({ "greet.ts": "\ufeffexport default () =>  1;\r\n" });
    const first = await pic(project, ["deploy", "greet.ts"]);
    expect(first).toMatchObject({ code: 0, err: "greet.ts: greet created, version 1.\n" });
    expect(first.out).toStartWith("greet\tdefault\t1\tcreate\t");
    expect(await sourceOf("default", "greet")).toBe("\ufeffexport default () =>  1;\r\n");
    expect((await pic(project, ["scripts", "deploy", "greet.ts"])).err).toContain("is unchanged");
    project.write({ "greet.ts": "export default () => 2;" });
    const again = await pic(project, [
      ...["scripts", "deploy", "greet.ts", "--limit", "cpu_ms=500"],
      ...["--description", "says hello", "--public-execute"],
    ]);
    expect(again.err).toBe("greet.ts: greet changed, version 2.\n");
    const { items } = await server.client.scripts.list({ app: "default", name: "greet" });
    expect(items[0]).toMatchObject({
      limits: { cpu_ms: 500 },
      description: "says hello",
      public_execute: true,
    });
    expect((await pic(project, ["deploy", "greet.ts", "--name", "other"])).code).toBe(0);
    expect(await sourceOf("default", "other")).toBe("export default () => 2;");
  });

  test("the server's errors have the file, the line and the column", async () => {
    using project = newProject({ "src/bad.ts": "export default () => {\n  const = 1;\n};\n" });
    const { code, err, out } = await pic(project, ["deploy", "src/bad.ts"]);
    expect([code, out]).toEqual([1, ""]);
    expect(err).toMatch(/^error: src\/bad\.ts:2:9: /);
  });

  test("errors of bundled code have the author's file, also one that is imported", async () => {
    using project = newProject({
      "package.json": "{}",
      "src/bad.ts": 'import pad from "pad";\nimport "../lib/low.ts";\n\nexport default { pad };\n',
      "lib/low.ts": 'export const low = 1;\n\nconsole.log(import(String("x")));\n',
      ...packageFiles("pad", "module.exports = (s) => s;"),
    });
    const { code, err } = await pic(project, ["deploy", "src/bad.ts"]);
    expect([code, err.split("\n").at(-2)]).toEqual([
      1,
      expect.stringMatching(/^error: lib\/low\.ts:3:13: import\(\) takes a literal text/),
    ]);
    project.write({ "lib/low.ts": "export const low = 1;\n" });
    expect((await pic(project, ["deploy", "src/bad.ts"])).err).toMatch(
      /^error: src\/bad\.ts:4:16: The default export must be a function, not an object/,
    );
  });

  test("what cannot be read or is too large says so", async () => {
    using project = newProject({
      "huge.ts": " ".repeat(sourceBytesMax + 1),
      "latin.ts": "",
      "folder/.keep": "",
    });
    await Bun.write(project.path("latin.ts"), new Uint8Array([0x2f, 0x2f, 0xe9]));
    const said = async (file: string) => {
      const { code, err } = await pic(project, ["scripts", "deploy", file]);
      return [code, err.split("\n")[0]];
    };
    const huge = `error: huge.ts has ${sourceBytesMax + 1} bytes; at most ${sourceBytesMax} are possible`;
    expect(await said("huge.ts")).toEqual([1, huge]);
    expect(await said("latin.ts")).toEqual([1, "error: latin.ts is no text in UTF-8"]);
    expect(await said("absent.ts")).toEqual([2, "error: There is no file absent.ts"]);
    expect(await said("folder")).toEqual([1, "error: folder cannot be read: it is a folder"]);
  });

  test("a broken manifest in the folder is no reason to take another app", async () => {
    using project = newProject({ "a.ts": "export default () => 1;", "picloud.json": "{" });
    const { code, err } = await pic(project, ["deploy", "a.ts"]);
    expect([code, err]).toEqual([1, expect.stringContaining("picloud.json:1:2: no JSON")]);
    expect((await pic(project, ["deploy", "a.ts", "--app", "default"])).code).toBe(0);
  });
});

describe("a folder", () => {
  const home = "export default () => ({ page: 1 });\n";
  const script = (name: string, more: object = {}) => ({ name, file: `${name}.ts`, ...more });

  test("is planned, deployed, and unchanged when it is deployed again", async () => {
    using t = await newApp({ "home.ts": home, "labels.ts": "export const a = 1;\n" }, [
      script("home", { routes: [{ path: "/home" }], triggers: [{ kind: "kv" }] }),
      script("labels", { kind: "module" }),
    ]);
    const planned = await pic(t, ["deploy", ".", "--dry-run"], { isTerminal: true });
    expect(planned.out).toBe(
      [
        "\u001b[32m+\u001b[39m script home",
        "\u001b[32m+\u001b[39m route ANY /home of home",
        "\u001b[32m+\u001b[39m trigger kv * of home",
        "\u001b[32m+\u001b[39m script labels",
        "",
      ].join("\n"),
    );
    expect(planned.err).toBe(`Would deploy to ${t.app}: 4 to create.\n`);
    expect((await server.client.scripts.list({ app: t.app })).items).toEqual([]);

    const done = await pic(t, ["deploy", ".", "-o", "table"]);
    expect(done).toMatchObject({ code: 0, err: `Deployed to ${t.app}: 4 created.\n` });
    const again = await pic(t, ["deploy", t.folder, "-o", "json"], { workingDir: "/" });
    expect(again.err).toBe(`Deployed to ${t.app}: 4 unchanged.\n`);
    expect(JSON.parse(again.out)).toMatchObject({ applied: true, warnings: [] });

    t.manifest([script("home", { description: "d" }), script("labels", { kind: "module" })]);
    const changed = await pic(t, ["deploy", ".", "-o", "tsv"]);
    expect(changed.out).toBe(
      "change\tscript\thome\thome\tdescription\nunchanged\tscript\tlabels\tlabels\t\n",
    );
  });

  test("what goes is asked for first", async () => {
    using t = await newApp({ "home.ts": home, "old.ts": home }, [script("home"), script("old")]);
    expect((await pic(t, ["deploy", "."])).code).toBe(0);
    t.manifest([script("home")]);
    const names = async () =>
      (await server.client.scripts.list({ app: t.app })).items.map(({ name }) => name);
    expect((await pic(t, ["deploy", "."])).code).toBe(0);
    expect(await names()).toEqual(["home", "old"]);

    const alone = await pic(t, ["deploy", ".", "--prune"]);
    expect([alone.code, alone.err]).toEqual([2, expect.stringContaining("--yes")]);
    const no = await pic(t, ["deploy", ".", "--prune"], { input: ["no"], isTerminal: true });
    expect([no.code, no.err]).toEqual([1, expect.stringContaining("- script old\n")]);
    expect(await names()).toEqual(["home", "old"]);
    const yes = await pic(t, ["deploy", ".", "--prune"], { input: ["yes"], isTerminal: true });
    expect(yes).toMatchObject({ code: 0, out: "\u001b[31m-\u001b[39m script old\n" });
    expect(await names()).toEqual(["home"]);

    t.manifest([]);
    expect((await pic(t, ["deploy", ".", "--prune", "--yes"])).code).toBe(0);
    expect(await names()).toEqual([]);
  });

  test("is all or nothing: an error in one script leaves the others as they were", async () => {
    using t = await newApp({ "home.ts": home, "bad.ts": "export default () => 1 +;\n" }, [
      script("home"),
      script("bad", { limits: { cpu_ms: 10 } }),
    ]);
    const { code, err } = await pic(t, ["deploy", "."]);
    expect([code, err]).toEqual([1, expect.stringMatching(/^error: bad\.ts:1:25: /)]);
    expect((await server.client.scripts.list({ app: t.app })).items).toEqual([]);
  });

  test("what the server says of the manifest is told in its words", async () => {
    using t = await newApp({ "home.ts": home }, [
      script("home", { limits: { cpu_ms: 1e9 }, routes: [{ path: "/a/*/b" }] }),
    ]);
    const { code, err } = await pic(t, ["deploy", "."]);
    expect(code).toBe(1);
    expect(err).toContain("picloud.json: scripts[0].");
    expect(err).toContain("(home)");
  });

  test("an app that is missing is named, with the command that makes it", async () => {
    using project = newProject({
      "home.ts": home,
      "picloud.json": JSON.stringify({ app: "nowhere", scripts: [script("home")] }),
    });
    const { code, err } = await pic(project, ["deploy", "."]);
    expect([code, err]).toEqual([5, expect.stringContaining("→ pic apps create nowhere")]);
    using t = await newApp({}, []);
    expect((await pic(project, ["deploy", ".", "--app", t.app])).code).toBe(0);
  });

  test("a script that leaves the folder is refused by name", async () => {
    using t = await newApp({ "home.ts": home }, [{ name: "out", file: "out.ts" }]);
    symlinkSync("/etc/hostname", t.path("out.ts"));
    const { code, err } = await pic(t, ["deploy", "."]);
    expect([code, err]).toEqual([1, expect.stringContaining("out.ts leaves the folder")]);
  });

  test("options that contradict each other are refused", async () => {
    using t = await newApp({ "home.ts": home }, [script("home")]);
    for (const args of [
      [".", "--name", "x"],
      [".", "--watch", "--dry-run"],
      [".", "--watch", "--prune"],
      ["home.ts", "--prune"],
      ["home.ts", "--dry-run"],
    ]) {
      expect([args, (await pic(t, ["deploy", ...args])).code]).toEqual([args, 2]);
    }
  });

  test("a package is bundled, runs, and is not saved again when nothing changed", async () => {
    using t = await newApp(
      {
        "home.ts": 'import pad from "pad";\nexport default () => pad("x");\n',
        ...packageFiles("pad", 'module.exports = (s) => "<" + s + ">";'),
      },
      [script("home")],
    );
    expect((await pic(t, ["deploy", "."])).code).toBe(0);
    const ran = await pic(t, ["invoke", "home"]);
    expect([ran.code, ran.out]).toEqual([0, '"<x>"']);
    expect((await pic(t, ["deploy", "."])).err).toContain("1 unchanged");
    t.write({ "home.ts": 'import fs from "node:fs";\nexport default () => fs;\n' });
    const { code, err } = await pic(t, ["deploy", "."]);
    expect([code, err]).toEqual([
      1,
      expect.stringContaining("The sandbox has no node:fs, which home.ts imports"),
    ]);
  });
});

describe("watching", () => {
  /** A watch under way: what it has said so far can be waited for. */
  function watching(project: Project, args: string[]) {
    let said = "";
    let wake: () => void = () => {};
    const run = user.pic(["deploy", ...args, "--watch"], {
      workingDir: project.folder,
      onWrite: (text) => {
        said += text;
        wake();
      },
    });
    return {
      said: () => said,
      async hears(text: string) {
        while (!said.includes(text)) {
          const next = Promise.withResolvers<void>();
          wake = next.resolve;
          await next.promise;
        }
        said = said.slice(said.indexOf(text) + text.length);
      },
      async ended() {
        process.emit("SIGINT");
        return (await run).code;
      },
    };
  }

  test("every save is live, errors have their place, and the watch goes on until Ctrl-C", async () => {
    using t = await newApp({ "home.ts": "export default () => 1;\n" }, [
      { name: "home", file: "home.ts" },
    ]);
    const watch = watching(t, ["."]);
    await watch.hears("1 created");
    await watch.hears("Watching");
    const began = performance.now();
    t.write({ "home.ts": "export default () => 2;\n" });
    await watch.hears("1 changed");
    expect(performance.now() - began).toBeLessThan(10_000);
    expect(await sourceOf(t.app, "home")).toBe("export default () => 2;\n");

    t.write({ "home.ts": "export default () => 2 +;\n" });
    await watch.hears("home.ts:1:25: ");
    t.write({ "home.tmp": "export default () => 3;\n" });
    renameSync(t.path("home.tmp"), t.path("home.ts"));
    await watch.hears("1 changed");
    expect(await sourceOf(t.app, "home")).toBe("export default () => 3;\n");

    rmSync(t.path("home.ts"));
    await watch.hears("There is no file home.ts");
    t.write({ "home.ts": 'import { up } from "./lib/up.ts";\nexport default () => up();\n' });
    await watch.hears("there is no file ./lib/up.ts");
    t.write({ "lib/up.ts": "export const up = () => 4;\n" });
    t.write({ "home.ts": 'import { up } from "./lib/up.ts";\nexport default () => up() ;\n' });
    await watch.hears("1 changed");
    t.write({ "lib/up.ts": "export const up = () => 5;\n" });
    await watch.hears("1 changed");
    expect(await sourceOf(t.app, "home")).toContain("=> 5");
    expect(await watch.ended()).toBe(0);
  }, 30_000);

  test("a burst of saves is one deployment, and one that changes nothing is none", async () => {
    const names = Array.from({ length: 20 }, (_, n) => `s${n}`);
    const files = (n: number) =>
      Object.fromEntries(names.map((name) => [`${name}.ts`, `export default () => ${n};\n`]));
    using t = await newApp(
      files(1),
      names.map((name) => ({ name, file: `${name}.ts` })),
    );
    const watch = watching(t, ["."]);
    await watch.hears("20 created");
    await watch.hears("Watching");
    t.write(files(2));
    await watch.hears("20 changed");
    t.write(files(2));
    t.write({ "unrelated.txt": "x" });
    t.write({ "s0.ts": "export default () => 3;\n" });
    await watch.hears("1 changed, 19 unchanged");
    expect(watch.said()).not.toContain("changed");
    expect(await watch.ended()).toBe(0);
  }, 30_000);

  test("one file can be watched, too", async () => {
    using project = newProject({ "seen.ts": "export default () => 1;\n" });
    const watch = watching(project, ["seen.ts"]);
    await watch.hears("seen is live, version 1");
    await watch.hears("Watching");
    project.write({ "seen.ts": "export default () => 2;\n" });
    await watch.hears("seen is live, version 2");
    expect(await watch.ended()).toBe(0);
  }, 30_000);
});

test("what is too much for one deployment is said before it is sent", async () => {
  const names = Array.from({ length: 17 }, (_, n) => `s${n}`);
  const large = `// ${"x".repeat(1_000_000)}\nexport default () => 1;\n`;
  using t = await newApp(
    Object.fromEntries(names.map((name) => [`${name}.ts`, large])),
    names.map((name) => ({ name, file: `${name}.ts` })),
  );
  const { code, err } = await pic(t, ["deploy", "."]);
  expect([code, err]).toEqual([1, expect.stringContaining(`at most ${16 * 1024 * 1024}`)]);
});
