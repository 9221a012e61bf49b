/**
 * `picloud.json`, the manifest of an app: which scripts there are, from which files, and with what. What
 * must be known to read the files is checked here; all the rest is judged by the server, whose schema it
 * is (docs/manifest.schema.json), and whose errors are told in the manifest's words.
 */
import { existsSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { manifestBytesMax, manifestFileCharsMax, manifestScriptsMax } from "../domain/limits.ts";
import type { Manifest, ManifestScript } from "../schema/manifest.ts";
import { isInside } from "./bundle-reach.ts";
import { EXIT } from "./exit-codes.ts";
import { PicFailure } from "./failures.ts";
import { jsonPlace } from "./json-place.ts";
import { readText, realPath, refuseDevice } from "./source-file.ts";

export const manifestName = "picloud.json";

export interface ManifestFile {
  /** Real path of the folder that it is in. */
  folder: string;
  /** As people know it: `./blog/picloud.json`. */
  shown: string;
  app: string;
  scripts: ScriptEntry[];
}

export interface ScriptEntry {
  /** As the manifest has it, without its file. */
  settings: Omit<ManifestScript, "file">;
  /** As it stands there. */
  file: string;
  /** Real path. */
  path: string;
}

/** Reads a folder's manifest and finds its files. Throws PicFailure that says where and what. */
export function readManifest(folder: string, shownFolder: string): ManifestFile {
  const shown = join(shownFolder, manifestName);
  const real = realPath(folder, shownFolder);
  const { app, scripts } = parseManifest(manifestText(join(real, manifestName), shown), shown);
  const entries = scripts.map((script, index) => {
    const { file, ...settings } = script;
    const where = `${shown}: scripts[${index}].file`;
    return { settings, file, path: fileInside(real, file, where) };
  });
  return { folder: real, shown, app, scripts: entries };
}

/** The app that a folder's manifest names; null when there is none. Throws PicFailure when it is broken. */
export function appOfFolder(folder: string): string | null {
  const path = join(folder, manifestName);
  if (!existsSync(path)) return null;
  return parseManifest(manifestText(path, manifestName), manifestName).app;
}

function manifestText(path: string, shown: string): string {
  refuseDevice(path, shown);
  try {
    return readText(path, shown, manifestBytesMax).replace(/^\ufeff/, "");
  } catch (error) {
    if (!(error instanceof PicFailure) || error.options.exit !== EXIT.usage) throw error;
    throw new PicFailure(error.message, {
      exit: EXIT.usage,
      next: `a folder is deployed by its manifest: {"app": "default", "scripts": [{"name": "hello", "file": "hello.ts"}]}`,
    });
  }
}

/** The parts that pic itself needs. Throws PicFailure. */
export function parseManifest(text: string, shown: string): Pick<Manifest, "app" | "scripts"> {
  const value = parseJson(text, shown);
  const refusal = (path: string, rule: string): PicFailure =>
    new PicFailure(`${shown}: ${path === "" ? "" : `${path} `}${rule}`, { exit: EXIT.failure });
  if (!isObject(value)) throw refusal("", "must be an object: { app, scripts }");
  const unknown = Object.keys(value).find((name) => !["$schema", "app", "scripts"].includes(name));
  if (unknown !== undefined) throw refusal(unknown, "is unknown; there are app and scripts");
  const { app, scripts } = value;
  if (typeof app !== "string" || app === "") throw refusal("app", "must be the app's slug or id");
  if (!Array.isArray(scripts)) throw refusal("scripts", "must be a list");
  if (scripts.length > manifestScriptsMax) {
    throw refusal("scripts", `has ${scripts.length} entries; at most ${manifestScriptsMax} can be`);
  }
  const names = new Map<unknown, number>();
  for (const [index, script] of scripts.entries()) {
    const at = `scripts[${index}]`;
    if (!isObject(script)) throw refusal(at, "must be an object: { name, file }");
    const { name, file } = script;
    if (typeof name !== "string" || name === "") throw refusal(`${at}.name`, "must be a name");
    if (typeof file !== "string" || file === "" || file.length > manifestFileCharsMax) {
      throw refusal(`${at}.file`, "must be the path of a file");
    }
    const other = names.get(name);
    if (other !== undefined)
      throw refusal(`${at}.name`, `${name} is that of scripts[${other}], too`);
    names.set(name, index);
  }
  // What the server judges is passed on as it stands.
  return { app, scripts: scripts as ManifestScript[] };
}

/** A path that stays in the folder, also through links. Throws PicFailure. */
function fileInside(folder: string, file: string, where: string): string {
  const outside = new PicFailure(`${where}: ${file} leaves the folder ${folder}`, {
    exit: EXIT.failure,
    next: "a manifest names files of its own folder",
  });
  const path = resolve(folder, file);
  if (isAbsolute(file) || !isInside(folder, path)) throw outside;
  const real = realPath(path, `${file} (${where})`);
  if (!isInside(folder, real)) throw outside;
  refuseDevice(real, `${file} (${where})`);
  return real;
}

function parseJson(text: string, shown: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message.replace(/^JSON Parse error: /, "") : "";
    const { line, column } = jsonPlace(text);
    throw new PicFailure(`${shown}:${line}:${column}: no JSON: ${why}`, { exit: EXIT.failure });
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
