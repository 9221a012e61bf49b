import { describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { dirname } from "node:path";
import { bundle } from "../../src/cli/bundle.ts";
import { PicFailure } from "../../src/cli/failures.ts";
import { newProject, type Project } from "./project.ts";

/** The bundle of `repo/app/<file>`, or what its refusal says. */
async function tried(
  project: Project,
  file = "main.ts",
  home = "/home/nobody-here",
): Promise<string> {
  const path = project.path(`repo/app/${file}`);
  try {
    const { source } = await bundle({
      file: path,
      source: readFileSync(path, "utf8"),
      folder: project.path("repo/app"),
      home,
      kind: "endpoint",
      isModule: () => Promise.resolve(false),
      files: new Set(),
    });
    return source;
  } catch (failure) {
    if (!(failure instanceof PicFailure)) throw failure;
    return failure.message;
  }
}

function link(project: Project, from: string, to: string): void {
  mkdirSync(dirname(project.path(from)), { recursive: true });
  symlinkSync(project.path(to), project.path(from));
}

const main = { "repo/app/main.ts": 'import x from "x";\nexport default () => x;\n' };
/** A package named x, wherever it lies. */
function packageX(at: string, text: string): Record<string, string> {
  return {
    [`${at}/package.json`]: '{"name":"x","main":"index.js"}',
    [`${at}/index.js`]: `export default "${text}";\n`,
  };
}

describe("another project's files", () => {
  test("are not read through a link that has the name of their package", async () => {
    using project = newProject({ ...main, ...packageX("other/x", "private") });
    link(project, "repo/app/node_modules/x", "other/x");
    const said = await tried(project);
    expect(said).toContain(`the package x leads to ${project.path("other/x")}`);
    expect(said).not.toContain("private");
  });

  test("are not read out of their node_modules, by a path, a link or a linked node_modules", async () => {
    using project = newProject({
      ...main,
      "repo/app/path.ts":
        'import x from "../../other/node_modules/x/index.js";\nexport default () => x;\n',
      ...packageX("other/node_modules/x", "private"),
    });
    expect(await tried(project, "path.ts")).toMatch(/index\.js lies outside of the folder/);
    using one = newProject({ ...main, ...packageX("other/node_modules/x", "private") });
    link(one, "repo/app/node_modules/x", "other/node_modules/x");
    expect(await tried(one)).toMatch(/the package x leads to .*other\/node_modules\/x/);
    using linked = newProject({ ...main, ...packageX("other/node_modules/x", "private") });
    link(linked, "repo/app/node_modules", "other/node_modules");
    expect(await tried(linked)).toMatch(/the package x leads to .*other\/node_modules\/x/);
  });

  test("are not read through a link in a package, to a file or a folder", async () => {
    using project = newProject({
      ...main,
      "repo/app/node_modules/x/package.json": '{"name":"x","main":"index.js"}',
      "other/secret.json": '"private"',
    });
    project.write({
      "repo/app/node_modules/x/index.js": 'export { default } from "./secret.json";\n',
    });
    link(project, "repo/app/node_modules/x/secret.json", "other/secret.json");
    expect(await tried(project)).toMatch(/other\/secret\.json lies outside of the folder/);
  });

  test("are not read because the home folder, or what holds it, says that it is a workspace", async () => {
    for (const home of ["", "repo"]) {
      using project = newProject({
        ...main,
        "package.json": '{"workspaces":["*"]}',
        ...packageX("repo/x", "private"),
      });
      link(project, "repo/app/node_modules/x", "repo/x");
      expect(await tried(project, "main.ts", project.path(home))).toMatch(/the package x leads to/);
      expect(await tried(project)).toContain("private");
    }
  });

  test("of a workspace are not read by a link to all of it, nor to what is no package", async () => {
    for (const to of ["repo", "repo/notes"]) {
      using project = newProject({
        "repo/app/main.ts": 'import x from "x/notes.txt";\nexport default () => x;\n',
        "repo/package.json": '{"workspaces":["*"]}',
        "repo/notes.txt": "private",
        "repo/notes/notes.txt": "private",
      });
      link(project, "repo/app/node_modules/x", to);
      expect(await tried(project)).toMatch(/the package x leads to/);
    }
  });
});

describe("packages are bundled", () => {
  test("from a package manager's store, beside the folder or above it", async () => {
    for (const at of ["repo/app", "repo", "."]) {
      for (const store of [".pnpm", ".bun"]) {
        const stored = `${at}/node_modules/${store}/x@1.0.0/node_modules/x`;
        using project = newProject({ ...main, ...packageX(stored, "stored") });
        link(project, "repo/app/node_modules/x", stored);
        expect(await tried(project)).toContain("stored");
      }
    }
  });

  test("from a workspace of npm or pnpm, with the packages that they link and install", async () => {
    const declared = [
      { "repo/package.json": '{"workspaces":["*"]}' },
      { "repo/package.json": "{}", "repo/pnpm-workspace.yaml": "packages: ['*']\n" },
    ];
    for (const files of declared) {
      using project = newProject({
        ...main,
        ...files,
        ...packageX("repo/x", "unused"),
        ...packageX("repo/second", "linked twice"),
        ...packageX("repo/x/node_modules/third", "installed there"),
      });
      project.write({
        "repo/x/index.js":
          'import s from "second";\nimport t from "third";\nexport default [s, t];\n',
      });
      link(project, "repo/app/node_modules/x", "repo/x");
      link(project, "repo/x/node_modules/second", "repo/second");
      const source = await tried(project);
      expect(source).toContain("linked twice");
      expect(source).toContain("installed there");
    }
  });
});
