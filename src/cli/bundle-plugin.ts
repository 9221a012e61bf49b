/**
 * What the bundler may read, and what it leaves out: it is asked of every import and of every file.
 * - "picloud" and the app's modules stay imports, for the author's own files; a package's are packages.
 * - A module of Node.js or Bun becomes one that fails when it is reached; bundle.ts judges who needs it.
 * - A file is JavaScript, TypeScript, JSON or text; it lies where bundle-reach.ts allows.
 * - A file that may hold a macro is not read before macros were ruled out (bundle-macros.ts).
 */
import { readFileSync, realpathSync, statSync } from "node:fs";
import { dirname, extname, relative, resolve as resolvePath, sep } from "node:path";
import type { BunPlugin, OnResolveArgs, OnResolveResult } from "bun";
import { bundleFileBytesMax } from "../domain/limits.ts";
import { moduleNamePattern, sdkModuleName } from "../domain/scripts.ts";
import { mayHoldMacro } from "./bundle-macros.ts";
import { isBuiltIn, missingModule } from "./bundle-missing.ts";
import { installedFolder, notePackage, outOfReach, packageOf, type Reach } from "./bundle-reach.ts";
import { decoded } from "./source-file.ts";

/** What is learnt while a script is bundled. Paths are absolute. */
export interface BundleState extends Reach {
  readonly isModule: (name: string) => Promise<boolean>;
  /** Files of the author's own that were looked for. */
  readonly files: Set<string>;
  /** Those that hold no macro. */
  readonly checked: Set<string>;
  /** Those that may: path → text. Their place in the bundle was empty. */
  readonly unchecked: Map<string, string>;
  /** What cannot be bundled, as sentences. */
  readonly problems: Set<string>;
}

/** The namespace of modules that the sandbox has not. */
export const missingNamespace = "missing";

const code = /^\.[cm]?[jt]sx?$/;
const data = /^\.(?:json|jsonc|json5|txt|md|toml|ya?ml)$/;
/** As what they may be read: nothing of it is code. */
const dataLoaders = new Set<string>(["json", "jsonc", "json5", "text", "md", "toml", "yaml"]);

export function bundlePlugin(state: BundleState): BunPlugin {
  return {
    name: "pic",
    setup(build) {
      build.onResolve({ filter: /.*/ }, (asked) => resolve(state, asked));
      build.onLoad({ filter: /.*/, namespace: missingNamespace }, ({ path }) => ({
        contents: missingModule(path),
        loader: "js",
      }));
      build.onLoad({ filter: /.*/, namespace: "file" }, (asked) => load(state, asked));
    },
  };
}

/** A file of the author's own: all but those of packages. */
export function isOwnFile(path: string): boolean {
  return !/[\\/]node_modules[\\/]/.test(path);
}

/** The file that the bundler means: it writes paths from where the process is, whatever it bundles. */
export function bundledFile(name: string): string {
  return resolvePath(name);
}

/** As people read it: from the folder, or from the node_modules that it is in. */
export function shownPath(folder: string, path: string): string {
  const packages = path.split(sep).join("/").lastIndexOf("/node_modules/");
  if (packages !== -1)
    return path
      .split(sep)
      .join("/")
      .slice(packages + 1);
  return relative(folder, path).split(sep).join("/");
}

/** Undefined leaves it to the bundler. */
async function resolve(
  state: BundleState,
  { path: specifier, importer, kind }: OnResolveArgs,
): Promise<OnResolveResult | undefined> {
  if (kind.startsWith("entry-point") || isFile(specifier)) return undefined;
  if (specifier === sdkModuleName) return { path: specifier, external: true };
  notePackage(state, importer, specifier);
  if (/^[a-z][a-z0-9+.-]+:/i.test(specifier) && !isBuiltIn(specifier)) {
    const from = shownPath(state.folder, importer);
    state.problems.add(`${from} imports ${specifier}, an address: install it as a package`);
    return { path: specifier, namespace: missingNamespace };
  }
  if (isOwnFile(importer) && moduleNamePattern.test(specifier)) {
    const isPackage = installedFolder(dirname(importer), specifier) !== null;
    // The server tells the author about a module that does not exist yet.
    const isModule = !(isPackage || isBuiltIn(specifier)) || (await state.isModule(specifier));
    if (isModule) return { path: specifier, external: true };
  }
  if (!isBuiltIn(specifier) || isReplaced(importer, specifier)) return undefined;
  const installed = specifier.includes(":")
    ? null
    : installedFolder(dirname(importer), specifier.replace(/\/$/, ""));
  if (installed === null) return { path: specifier, namespace: missingNamespace };
  return { path: Bun.resolveSync(installed, dirname(importer)) };
}

function load(
  state: BundleState,
  { path, loader }: Bun.OnLoadArgs,
): { contents: string; loader: Bun.Loader } | undefined {
  const real = realpathSync(path);
  const shown = shownPath(state.folder, real);
  const refuse = (why: string): never => {
    throw new Error(why);
  };
  const outside = outOfReach(state, real);
  if (outside !== null) refuse(outside);
  const extension = extname(path);
  if (!code.test(extension) && !data.test(extension)) {
    refuse(
      extension === ".node"
        ? `${shown} is a native addon: the sandbox runs JavaScript alone`
        : `${shown} cannot be bundled: only JavaScript, TypeScript, JSON and text can`,
    );
  }
  const found = statSync(real);
  // A pipe would be waited for, and a device read for ever.
  if (!found.isFile()) refuse(`${shown} is no file`);
  if (found.size > bundleFileBytesMax)
    refuse(`${shown} is larger than ${bundleFileBytesMax} bytes`);
  if (isOfPackage(real) && isOfPackage(path)) return undefined;
  state.files.add(path);
  // The bundler gets the very text that was looked into, and as what its name says it is: by itself it
  // takes UTF-16, and an import may say that a text file is code (`with { type: "ts" }`).
  const contents = decoded(readFileSync(real), shown);
  if (!code.test(extension)) {
    if (!dataLoaders.has(loader)) refuse(`${shown} is no ${loader}`);
    return { contents, loader };
  }
  if (state.checked.has(path) || !mayHoldMacro(contents)) return { contents, loader };
  state.unchecked.set(path, contents);
  return { contents: "", loader: "js" };
}

/** Files in which the bundler itself refuses macros: below a folder of node_modules, not beside it. */
function isOfPackage(path: string): boolean {
  return /[\\/]node_modules[\\/].*[\\/]/.test(path);
}

/** Whether the package says itself what stands for this module in a browser, or that nothing does. */
function isReplaced(importer: string, specifier: string): boolean {
  const map = packageOf(importer)?.manifest.browser;
  if (typeof map !== "object" || map === null) return false;
  return Object.hasOwn(map, specifier) || Object.hasOwn(map, specifier.replace(/^node:/, ""));
}

function isFile(specifier: string): boolean {
  return /^\.{0,2}[\\/]/.test(specifier) || specifier === "." || specifier === "..";
}
