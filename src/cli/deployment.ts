/**
 * Deploying: one file is one script, a folder is what its manifest says. Both are prepared here (read,
 * bundled) and sent in one request; what the server says comes back in the author's files and lines.
 */
import { basename, dirname, extname, join, relative, resolve } from "node:path";
import { type PicClient, PicClientError } from "../client.ts";
import { deploymentBodyBytesMax, sourceBytesMax } from "../domain/limits.ts";
import { type ScriptKind, sdkModuleName } from "../domain/scripts.ts";
import type { DeploymentScript, WireDeployment } from "../schema/manifest.ts";
import type { ScriptPatch, WireSavedScript } from "../schema/scripts.ts";
import { type Bundled, bundle } from "./bundle.ts";
import type { PicContext } from "./context.ts";
import { EXIT } from "./exit-codes.ts";
import { PicFailure } from "./failures.ts";
import { type ManifestFile, manifestName, readManifest } from "./manifest-file.ts";
import { inAuthorsTerms, remarkLine, type SentScript } from "./refusals.ts";
import { scriptNamed } from "./script-choice.ts";
import { isFolder, readText, realPath, tooLarge } from "./source-file.ts";

/** Settings of a script that are given on the command line; absent ones stay as they are. */
export type ScriptSettings = Pick<
  ScriptPatch,
  "kind" | "description" | "limits" | "public_execute"
>;

export interface FileDeployment {
  /** As it was given. */
  file: string;
  app: string;
  /** Absent: the file's, without its extension. */
  name?: string | undefined;
  settings: ScriptSettings;
  /** Gets the files that were looked for. */
  files: Set<string>;
}

export interface FolderDeployment {
  folder: string;
  /** Instead of the manifest's. */
  app?: string | undefined;
  prune: boolean;
  files: Set<string>;
}

/** Ready to be sent. */
export interface PreparedFolder {
  app: string;
  scripts: DeploymentScript[];
  warnings: string[];
  send: (options: { dry_run: boolean }) => Promise<WireDeployment>;
}

export interface SavedFile {
  action: "create" | "change" | "unchanged";
  saved: WireSavedScript;
}

/** Creates or updates one script. Throws PicFailure and PicClientError. */
export async function deployFile(
  pic: PicContext,
  client: PicClient,
  asked: FileDeployment,
): Promise<SavedFile> {
  const { file, app, settings, files } = asked;
  const path = realPath(resolve(pic.around.workingDir, file), file);
  files.add(path);
  const name = asked.name ?? scriptName(file);
  const source = readText(path, file, sourceBytesMax);
  const found = await scriptNamed(client, app, name);
  const kind = settings.kind ?? found?.kind ?? "endpoint";
  const isModule = moduleAsker(client, app, { here: [], others: true });
  const bundled = await bundle({
    file: path,
    source,
    folder: projectFolder(path),
    home: pic.around.homeDir,
    kind,
    isModule,
    files,
  });
  for (const warning of bundled.warnings) pic.output.warn(warning);
  const sent: SentScript[] = [{ ...bundled, name, shown: file, show: shower(pic) }];
  const send = () =>
    found === null
      ? client.scripts.create(creation(app, name, bundled.source, settings))
      : client.scripts.update(found.id, { source: bundled.source, ...settings });
  const saved = await send().catch((error: unknown) => {
    throw missingApp(inAuthorsTerms(error, sent, null), app, found === null);
  });
  for (const warning of saved.warnings) pic.output.warn(remarkLine(warning, sent, null));
  const isSame = found !== null && found.updated_at === saved.updated_at;
  return { action: found === null ? "create" : isSame ? "unchanged" : "change", saved };
}

/** Reads and bundles all that a folder's manifest names. Throws PicFailure. */
export async function prepareFolder(
  pic: PicContext,
  client: PicClient,
  { folder, app: given, prune, files }: FolderDeployment,
): Promise<PreparedFolder> {
  const path = resolve(pic.around.workingDir, folder);
  files.add(join(path, manifestName));
  const manifest = readManifest(path, folder);
  const app = given ?? manifest.app;
  const here = manifest.scripts.flatMap(({ settings }) =>
    settings.kind === "module" ? [settings.name] : [],
  );
  const isModule = moduleAsker(client, app, { here, others: !prune });
  const prepared: { script: DeploymentScript; sent: SentScript; warnings: string[] }[] = [];
  for (const entry of manifest.scripts) {
    prepared.push(await prepareScript(pic, manifest, entry, { isModule, files }));
  }
  const scripts = prepared.map(({ script }) => script);
  const bytes = Buffer.byteLength(JSON.stringify(scripts));
  if (bytes > deploymentBodyBytesMax) {
    throw tooLarge(`All that ${manifest.shown} brings`, bytes, deploymentBodyBytesMax);
  }
  const sent = prepared.map((one) => one.sent);
  return {
    app,
    scripts,
    warnings: prepared.flatMap(({ warnings }) => warnings),
    send: async ({ dry_run }) => {
      const options = { ...(dry_run ? { dry_run } : {}), ...(prune ? { prune } : {}) };
      try {
        const done = await client.deployments.create(app, { scripts, ...options });
        for (const one of done.warnings) pic.output.warn(remarkLine(one, sent, manifest.shown));
        return done;
      } catch (error) {
        throw missingApp(inAuthorsTerms(error, sent, manifest.shown), app, true);
      }
    },
  };
}

/** What a script of that file is called: `hello` for `src/hello.ts`. */
export function scriptName(file: string): string {
  return basename(file, extname(file));
}

// ---------------------------------------------------------------------------------------------

async function prepareScript(
  pic: PicContext,
  { folder, shown: shownManifest }: ManifestFile,
  { settings, file, path }: ManifestFile["scripts"][number],
  { isModule, files }: { isModule: (name: string) => Promise<boolean>; files: Set<string> },
): Promise<{ script: DeploymentScript; sent: SentScript; warnings: string[] }> {
  files.add(path);
  const shown = join(dirname(shownManifest), file);
  const source = readText(path, shown, sourceBytesMax);
  const kind: ScriptKind = settings.kind === "module" ? "module" : "endpoint";
  const home = pic.around.homeDir;
  const bundled: Bundled = await bundle({
    file: path,
    source,
    folder,
    home,
    kind,
    isModule,
    files,
  });
  // The positions of bundled code are not those of the file: its errors are told by us.
  const named = bundled.positions === null ? { file } : {};
  return {
    script: { ...settings, source: bundled.source, ...named },
    sent: { ...bundled, name: settings.name, shown, show: shower(pic) },
    warnings: bundled.warnings,
  };
}

/**
 * Which imports are modules of the app: those of the same manifest, and those that the app has. The app
 * is asked once, and only when something else is imported by such a name.
 */
function moduleAsker(
  client: PicClient,
  app: string,
  { here, others }: { here: readonly string[]; others: boolean },
): (name: string) => Promise<boolean> {
  const own = new Set([sdkModuleName, ...here]);
  const asked = new Map<string, Promise<boolean>>();
  const ask = async (name: string): Promise<boolean> => {
    try {
      return (await scriptNamed(client, app, name))?.kind === "module";
    } catch (error) {
      // The deployment itself says so when there is no such app.
      if (error instanceof PicClientError && error.status === 404) return false;
      throw error;
    }
  };
  return (name) => {
    if (own.has(name)) return Promise.resolve(true);
    if (!others) return Promise.resolve(false);
    const known = asked.get(name) ?? ask(name);
    asked.set(name, known);
    return known;
  };
}

function creation(app: string, name: string, source: string, settings: ScriptSettings) {
  const { limits, ...rest } = settings;
  const set = Object.entries(limits ?? {}).filter(
    (entry): entry is [string, number] => entry[1] !== null,
  );
  return { app, name, source, ...rest, ...(limits ? { limits: Object.fromEntries(set) } : {}) };
}

/** Says how to make the app when that is what is missing. */
function missingApp(error: unknown, app: string, isAboutApp: boolean): unknown {
  const isMissing = error instanceof PicClientError && error.status === 404 && isAboutApp;
  if (!isMissing) return error;
  return new PicFailure(`There is no app ${app}, or you may not see it`, {
    exit: EXIT.notFound,
    next: `pic apps create ${app}`,
    cause: error,
  });
}

/** Whose files a single script may be made of: the project's, else those beside it. */
function projectFolder(path: string): string {
  for (let at = dirname(path); ; at = dirname(at)) {
    const isProject = ["package.json", manifestName].some((name) => isThere(join(at, name)));
    if (isProject) return at;
    if (dirname(at) === at) return dirname(path);
  }
}

function isThere(path: string): boolean {
  try {
    return realPath(path, path) !== "" && !isFolder(path);
  } catch {
    return false;
  }
}

/** Paths as people know them: from where they are. */
function shower({ around }: PicContext): (file: string) => string {
  const here = realPath(around.workingDir, around.workingDir);
  return (file) => relative(here, file);
}
