import { expect, test } from "bun:test";
import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import { PicFailure } from "../../src/cli/failures.ts";
import { jsonPlace } from "../../src/cli/json-place.ts";
import { appOfFolder, readManifest } from "../../src/cli/manifest-file.ts";
import { manifestBytesMax, manifestScriptsMax } from "../../src/domain/limits.ts";
import { newProject, type Project } from "./project.ts";

/** What reading says, after the file's name. */
function refusal(project: Project, manifest: unknown): string {
  const text = typeof manifest === "string" ? manifest : JSON.stringify(manifest);
  project.write({ "picloud.json": text });
  try {
    readManifest(project.folder, "./blog");
    return "read";
  } catch (error) {
    if (!(error instanceof PicFailure)) throw error;
    return error.message.replace("blog/picloud.json", "").replace(/^: /, "");
  }
}

test("a manifest is read with its files, and what is not known here is passed on", () => {
  using project = newProject({ "src/a.ts": "export default () => 1;" });
  const script = { name: "a", file: "./src/a.ts", limits: { cpu_ms: 5 }, later: [1] };
  project.write({
    "picloud.json": `\ufeff${JSON.stringify({ $schema: "x", app: "blog", scripts: [script] })}`,
  });
  const { file: _file, ...settings } = script;
  expect(readManifest(project.folder, ".")).toEqual({
    folder: project.folder,
    shown: "picloud.json",
    app: "blog",
    // As it stands there: the server judges it.
    scripts: [{ settings: settings as never, file: "./src/a.ts", path: project.path("src/a.ts") }],
  });
  expect(appOfFolder(project.folder)).toBe("blog");
});

test("what is wrong is named with its place", () => {
  using project = newProject({ "a.ts": "" });
  const one = { name: "a", file: "a.ts" };
  const cases: [unknown, string][] = [
    ['{\n  "app": "x",\n}', ":3:1: no JSON"],
    ["[]", "must be an object"],
    ["null", "must be an object"],
    [{ scripts: [] }, "app must be"],
    [{ app: 1, scripts: [] }, "app must be"],
    [{ app: "x" }, "scripts must be a list"],
    [{ app: "x", scripts: [], routes: [] }, "routes is unknown"],
    [{ app: "x", scripts: [null] }, "scripts[0] must be an object"],
    [{ app: "x", scripts: [{ file: "a.ts" }] }, "scripts[0].name must be"],
    [{ app: "x", scripts: [{ name: "a" }] }, "scripts[0].file must be"],
    [{ app: "x", scripts: [one, one] }, "scripts[1].name a is that of scripts[0]"],
    [
      { app: "x", scripts: Array.from({ length: manifestScriptsMax + 1 }, () => one) },
      `at most ${manifestScriptsMax}`,
    ],
    [
      { app: "x", scripts: [{ name: "b", file: "b.ts" }] },
      "There is no file b.ts (scripts[0].file)",
    ],
    [" ".repeat(manifestBytesMax + 1), `at most ${manifestBytesMax}`],
  ];
  for (const [manifest, said] of cases) {
    const found = refusal(project, manifest).replace("(: ", "(");
    expect(found.slice(0, 300)).toContain(said);
  }
});

test("no path leaves the folder, be it by dots, absolute or through a link", () => {
  using project = newProject({ "blog/picloud.json": "", "secret.ts": "" });
  mkdirSync(project.path("blog/lib"));
  symlinkSync(project.path("secret.ts"), project.path("blog/link.ts"));
  symlinkSync(project.folder, project.path("blog/lib/up"));
  const blog = { ...project, folder: project.path("blog") };
  for (const file of [
    "../secret.ts",
    "lib/../../secret.ts",
    project.path("secret.ts"),
    "link.ts",
    "lib/up/secret.ts",
  ]) {
    const manifest = { app: "x", scripts: [{ name: "a", file }] };
    project.write({ "blog/picloud.json": JSON.stringify(manifest) });
    expect(() => readManifest(blog.folder, "blog")).toThrow(
      `blog/picloud.json: scripts[0].file: ${file} leaves the folder ${blog.folder}`,
    );
  }
});

test("a folder without a manifest says what one looks like", () => {
  using project = newProject();
  expect(() => readManifest(project.folder, ".")).toThrow("There is no file picloud.json");
  expect(appOfFolder(project.folder)).toBeNull();
});

test("the place at which a text stops being JSON is found", () => {
  const cases: [string, number, number][] = [
    ["", 1, 1],
    ["{", 1, 2],
    ['{"a":1,\n}', 2, 1],
    ["[1,]", 1, 4],
    ['{"a" 1}', 1, 6],
    ["{a:1}", 1, 2],
    ["[1 2]", 1, 4],
    ["[1]]", 1, 4],
    ['{"a":[{}],\n "b": nul}', 2, 7],
    ['"a\nb"', 1, 1],
    ["01", 1, 2],
    ["[}", 1, 2],
    ["{]", 1, 2],
    [",", 1, 1],
  ];
  for (const [text, line, column] of cases) {
    expect(() => JSON.parse(text)).toThrow();
    expect([text, jsonPlace(text)]).toEqual([text, { line, column }]);
  }
});

test("a manifest or a script that is a pipe or a device is refused, and not waited for", () => {
  using project = newProject({});
  const manifest = { app: "a", scripts: [{ name: "a", file: "a.ts" }] };
  Bun.spawnSync(["mkfifo", project.path("a.ts")]);
  expect(refusal(project, manifest)).toMatch(/^a\.ts .*is no file$|a\.ts .* is no file/);
  for (const device of ["/dev/zero", "/dev/tty"]) {
    rmSync(project.path("picloud.json"));
    symlinkSync(device, project.path("picloud.json"));
    expect(() => readManifest(project.folder, ".")).toThrow("picloud.json is no file");
  }
});
