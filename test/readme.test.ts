/** The pages and the examples say what is true: the table, links, types; test/e2e runs the commands. */
import { expect, test } from "bun:test";
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import manifestSchema from "../docs/manifest.schema.json";
import { withPermissions } from "../scripts/access-table.ts";
import { withSettings } from "../scripts/readme.ts";
import { PERMISSIONS, SCOPES } from "../src/domain/access.ts";
import { LIMIT_DEFAULTS } from "../src/domain/limits.ts";
import { sdkDeclarations } from "../src/sdk/declarations.ts";
import { settingRows } from "../src/settings.ts";

const root = resolve(import.meta.dir, "..");
const readme = readFileSync(`${root}/README.md`, "utf8");
/** By their paths from the root. */
const pages = ["README.md", ...readdirSync(`${root}/docs`).map((name) => `docs/${name}`)]
  .filter((path) => path.endsWith(".md"))
  .map((path) => ({ path, text: readFileSync(`${root}/${path}`, "utf8") }));

test("the configuration table is the generated one: bun scripts/readme.ts", () => {
  expect(readme).toBe(withSettings(readme));
  for (const { name } of settingRows()) expect(readme).toContain(`| \`${name}\` |`);
});

test("the limits' defaults are the real ones", () => {
  for (const [name, value] of Object.entries(LIMIT_DEFAULTS)) {
    expect(readme).toContain(`| \`${name}\` | ${value.toLocaleString("en")} |`);
  }
});

test("the table of who may do what is the generated one: bun scripts/access-table.ts", () => {
  const page = readFileSync(`${root}/docs/access.md`, "utf8");
  expect(page).toBe(withPermissions(page));
  for (const action of Object.keys(PERMISSIONS)) expect(page).toContain(`\n| \`${action}\` | `);
  const scopes = [...page.matchAll(/^\| `([a-z]+:[a-z]+)` \|/gm)].map(([, scope]) => scope);
  expect(scopes).toEqual([...SCOPES]);
});

test("the page on pic names every field of a manifest", () => {
  const page = readFileSync(`${root}/docs/cli.md`, "utf8");
  const named = [...page.matchAll(/^\| `((?:app|scripts)[^`]*)` \|/gm)].map(([, field]) => field);
  const { $schema: _, ...fields } = manifestSchema.properties;
  const ofScript = Object.keys(fields.scripts.items.properties).map((name) => `scripts[].${name}`);
  expect(named.sort()).toEqual([...Object.keys(fields), ...ofScript].sort());
});

test("every file that a page names exists", () => {
  const links = pages.flatMap(({ path, text }) =>
    [...text.matchAll(/\]\(([^)#:]+)\)/g)].map((match) =>
      join(root, dirname(path), match[1] ?? ""),
    ),
  );
  expect(links.length).toBeGreaterThan(10);
  for (const link of links) expect(statSync(link).size).toBeGreaterThan(0);
});

test("the scripts of the pages and the examples fit the SDK's types", () => {
  const folder = mkdtempSync(join(tmpdir(), "picloud-readme-"));
  try {
    const blocks = pages.flatMap(({ path, text }) =>
      [...text.matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => ({ path, text: match[1] ?? "" })),
    );
    expect(blocks.length).toBeGreaterThan(5);
    blocks.forEach(({ path, text }, index) => {
      writeFileSync(`${folder}/${basename(path, ".md")}-${index}.ts`, text);
    });
    cpSync(`${root}/docs/examples`, folder, { recursive: true });
    writeFileSync(`${folder}/picloud.d.ts`, sdkDeclarations());
    const compilerOptions = { strict: true, noEmit: true, target: "ESNext", module: "ESNext" };
    const config = {
      compilerOptions: {
        ...compilerOptions,
        moduleResolution: "bundler",
        lib: ["ESNext"],
        types: [],
        // a module of an example is imported by its name
        paths: { "*": readdirSync(`${root}/docs/examples`).map((name) => `./${name}/*`) },
      },
    };
    writeFileSync(`${folder}/tsconfig.json`, JSON.stringify(config));
    const checked = Bun.spawnSync([process.execPath, "x", "tsc", "-p", folder], { cwd: root });
    expect(checked.stdout.toString() + checked.stderr.toString()).toBe("");
    expect(checked.exitCode).toBe(0);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}, 30_000);
