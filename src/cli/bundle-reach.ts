/**
 * What of the machine may become part of a script. A folder is deployed by whoever trusts it with an app,
 * not with their other projects: a link in it, or a path out of it, must not carry those to a server. So
 * what counts is a file's real path, and it lies
 * - in the folder, or
 * - in a node_modules folder of the folder or of one above it, where package managers also keep the
 *   stores that they link to (.pnpm, .bun), or
 * - in a package that is linked, within the workspace that the folder is part of.
 */
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { dirname, isAbsolute, join, relative, sep } from "node:path";

export interface Reach {
  /** The real path of the folder whose files may be bundled. */
  readonly folder: string;
  /** The user's home folder: neither it nor what holds it is anybody's workspace. */
  readonly home: string;
  /** Packages that were imported by name: real path of the folder → the name. */
  readonly packages: Map<string, string>;
}

/** Whether a path lies in a folder; both are real paths. */
export function isInside(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}

/** The folder of an installed package, as Node.js looks for it. */
export function installedFolder(from: string, specifier: string): string | null {
  for (const at of upwards(from)) {
    const folder = join(at, "node_modules", specifier);
    if (existsSync(folder)) return folder;
  }
  return null;
}

/** The nearest package.json above a file. */
export function packageOf(
  file: string,
): { folder: string; manifest: { name?: unknown; browser?: unknown } } | null {
  const folder = upwards(dirname(file)).find((at) => existsSync(join(at, "package.json")));
  const manifest = folder === undefined ? null : manifestIn(folder);
  return folder === undefined || manifest === null ? null : { folder, manifest };
}

/** Remembers where a package that a file imports by its name really lies. */
export function notePackage({ packages }: Reach, importer: string, specifier: string): void {
  const name = /^(?:@[^/]+\/)?[^/]+/.exec(specifier)?.[0];
  const link = name === undefined ? null : installedFolder(dirname(importer), name);
  if (link !== null && name !== undefined) packages.set(realpathSync(link), name);
}

/** Why a file must not become part of a script; null when it may. */
export function outOfReach(reach: Reach, real: string): string | null {
  const { folder, packages } = reach;
  if (isInside(folder, real)) return null;
  if (upwards(folder).some((at) => isInside(join(at, "node_modules"), real))) return null;
  const [linked, name] =
    [...packages].find(([at]) => isInside(at, real)) ?? linkedPackage(reach, real);
  if (linked === undefined) return `${real} lies outside of the folder ${folder}`;
  const workspace = workspaceOf(reach);
  const isMember =
    workspace !== null &&
    linked !== workspace &&
    isInside(workspace, linked) &&
    existsSync(join(linked, "package.json"));
  if (isMember) return null;
  return (
    `the package ${name} leads to ${linked}, which lies outside of the folder ${folder}, ` +
    "of its node_modules and of its workspace"
  );
}

/** The outermost folder above that declares a workspace: what is below an inner one is below it, too. */
function workspaceOf({ folder, home }: Reach): string | null {
  const realHome = existsSync(home) ? realpathSync(home) : home;
  const above = upwards(folder)
    .slice(1)
    .filter((at) => dirname(at) !== at && !isInside(at, realHome));
  return above.findLast(isWorkspace) ?? null;
}

function isWorkspace(folder: string): boolean {
  const manifest = manifestIn(folder);
  if (manifest === null) return false;
  return manifest.workspaces !== undefined || existsSync(join(folder, "pnpm-workspace.yaml"));
}

/** A package that the folder has a link to, when a file of it is reached in another way than by its name. */
function linkedPackage({ folder }: Reach, real: string): [folder?: string, name?: string] {
  const found = packageOf(real);
  if (typeof found?.manifest.name !== "string") return [];
  const link = installedFolder(folder, found.manifest.name);
  const isLinked = link !== null && realpathSync(link) === found.folder;
  return isLinked ? [found.folder, found.manifest.name] : [];
}

/** A folder and all that hold it. */
function upwards(from: string): string[] {
  const folders = [from];
  for (let at = from; dirname(at) !== at; at = dirname(at)) folders.push(dirname(at));
  return folders;
}

/** Null for what is no package. */
function manifestIn(
  folder: string,
): { name?: unknown; browser?: unknown; workspaces?: unknown } | null {
  try {
    const manifest: unknown = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    return typeof manifest === "object" ? manifest : null;
  } catch {
    return null;
  }
}
