/** What an editor needs to know of scripts: the types of the SDK, and how to check with them. */
import { lstatSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Command } from "commander";
import type { PicContext } from "../context.ts";
import { EXIT } from "../exit-codes.ts";
import { PicFailure } from "../failures.ts";

/** Modules of an app are imported by their bare names, and may lie in one of these folders. */
const moduleFolders = ["./*", "./modules/*", "./scripts/*", "./src/*"];

/** Scripts run without a DOM and without Node: nothing else may seem to be there. */
const tsconfig = {
  compilerOptions: {
    target: "ESNext",
    module: "ESNext",
    moduleResolution: "bundler",
    lib: ["ESNext"],
    types: [],
    paths: { "*": moduleFolders },
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    allowJs: true,
  },
};

export function registerTypes(program: Command, pic: PicContext): void {
  program
    .command("types")
    .summary("write picloud.d.ts, a tsconfig.json and the manifest's schema into a folder")
    .argument("[folder]", "where the scripts are; default: here")
    .option("--force", "also replace a tsconfig.json that is not from here")
    .action((folder: string | undefined, { force = false }: { force?: boolean }) =>
      writeTypes(pic, resolve(pic.around.workingDir, folder ?? "."), force),
    );
}

async function writeTypes(pic: PicContext, folder: string, force: boolean): Promise<void> {
  const { sdkDeclarations } = await import("../../sdk/declarations.ts");
  const { default: schema } = await import("../../../docs/manifest.schema.json");
  const config = `${JSON.stringify(tsconfig, null, 2)}\n`;
  const paths = {
    declarations: join(folder, "picloud.d.ts"),
    schema: join(folder, "picloud.schema.json"),
    config: join(folder, "tsconfig.json"),
  };
  try {
    mkdirSync(folder, { recursive: true });
    write(pic, paths.declarations, sdkDeclarations());
    write(pic, paths.schema, `${JSON.stringify(schema, null, 2)}\n`);
    const before = textOf(paths.config);
    if (force || before === null || before === config) write(pic, paths.config, config);
    else pic.output.warn(`${paths.config} is yours, and stays as it is; --force replaces it`);
  } catch (error) {
    const { code, path = folder } = error as { code?: unknown; path?: string };
    if (code === undefined) throw error;
    throw new PicFailure(`${path} cannot be written (${code})`, {
      exit: EXIT.failure,
      next: "name a folder in which you may write: pic types <folder>",
    });
  }
}

function write({ output }: PicContext, path: string, text: string): void {
  if (textOf(path) !== text) writeFileSync(path, text);
  output.text(`${path}\n`);
}

/** Null: there is no such file. */
function textOf(path: string): string | null {
  return lstatSync(path, { throwIfNoEntry: false }) === undefined
    ? null
    : readFileSync(path, "utf8");
}
