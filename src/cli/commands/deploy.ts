/** `pic deploy`: a file becomes a script, a folder what its manifest says; once, or at every save. */
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import type { PicClient } from "../../client.ts";
import { cliDeployMsMax } from "../../domain/limits.ts";
import type { WireDeployment, WireDeploymentChange } from "../../schema/manifest.ts";
import type { PicContext } from "../context.ts";
import {
  deployFile,
  type FileDeployment,
  type PreparedFolder,
  prepareFolder,
  type SavedFile,
  type ScriptSettings,
} from "../deployment.ts";
import { EXIT } from "../exit-codes.ts";
import { explain, PicFailure, usageFailure } from "../failures.ts";
import { untilInterrupted } from "../interruption.ts";
import type { Column, Sign } from "../output.ts";
import { appOption, chosenApp } from "../script-choice.ts";
import { isFolder } from "../source-file.ts";
import { watchFiles } from "../watch.ts";

interface DeployOptions {
  app?: string;
  name?: string;
  dryRun?: boolean;
  prune?: boolean;
  yes?: boolean;
  watch?: boolean;
}

const columns: readonly Column<WireDeploymentChange>[] = [
  { title: "ACTION", value: ({ action }) => action },
  { title: "KIND", value: ({ kind }) => kind },
  { title: "SCRIPT", value: ({ script }) => script },
  { title: "NAME", value: ({ name }) => name },
  { title: "DETAIL", value: ({ detail }) => detail },
];

const SIGNS: Readonly<Record<string, Sign>> = { create: "+", change: "~", delete: "-" };

export function registerDeploy(program: Command, pic: PicContext): void {
  program
    .command("deploy")
    .summary("deploy a script, or a folder with its manifest")
    .description(
      "Deploys one file as a script, or a folder as its manifest picloud.json says: scripts, routes and " +
        "triggers, all or nothing, in one step. What the manifest does not name stays, unless --prune. " +
        "Packages that a script imports are bundled into it; no code of theirs runs meanwhile.",
    )
    .argument("<path>", "a script's file, or a folder with picloud.json")
    .option(appOption, "instead of the manifest's app")
    .option(
      "--name <name>",
      "of the script, for a file; default: the file's, without its extension",
    )
    .option("--dry-run", "show what would be done, and do nothing")
    .option("--prune", "delete what the app has and the manifest does not name")
    .addOption(new Option("-y, --yes", "delete without asking"))
    .option("--watch", "deploy again at every save, until Ctrl-C")
    .action((path: string, options: DeployOptions) => deploy(pic, path, options));
}

async function deploy(pic: PicContext, path: string, options: DeployOptions): Promise<void> {
  const isDirectory = isFolder(resolve(pic.around.workingDir, path));
  refuseContradictions(isDirectory, options);
  const client = pic.client({ timeoutMs: cliDeployMsMax });
  if (options.watch === true) {
    const run = isDirectory
      ? folderRun(pic, client, path, options)
      : fileRun(pic, client, path, options);
    return watchAndDeploy(pic, run);
  }
  if (isDirectory) return deployFolder(pic, client, path, options);
  showSaved(
    pic,
    path,
    await deployFile(pic, client, fileDeployment(pic, path, options, new Set())),
  );
}

function refuseContradictions(isDirectory: boolean, options: DeployOptions): void {
  const { name, dryRun, prune, yes, watch } = options;
  if (isDirectory && name !== undefined) {
    throw usageFailure("--name is for one file; a manifest names its scripts itself");
  }
  if (!isDirectory && (dryRun === true || prune === true)) {
    throw usageFailure("--dry-run and --prune are for a folder with a manifest");
  }
  if (watch !== true) return;
  if (dryRun === true) throw usageFailure("--watch deploys: it does not go with --dry-run");
  if (prune === true && yes !== true) {
    throw usageFailure("--watch cannot ask before it deletes", "add --yes, or leave --prune out");
  }
}

async function deployFolder(
  pic: PicContext,
  client: PicClient,
  folder: string,
  { app, dryRun = false, prune = false, yes = false }: DeployOptions,
): Promise<void> {
  const prepared = await prepareFolder(pic, client, { folder, app, prune, files: new Set() });
  for (const warning of prepared.warnings) pic.output.warn(warning);
  // Only what prunes deletes: all else is one request.
  if (dryRun || (prune && !yes)) {
    const planned = await prepared.send({ dry_run: true });
    if (dryRun) return showDeployment(pic, prepared.app, planned);
    const deleted = planned.changes.filter(({ action }) => action === "delete");
    if (deleted.length > 0 && !(await mayDelete(pic, prepared, deleted))) {
      throw new PicFailure("Nothing was deployed", { exit: EXIT.failure });
    }
  }
  showDeployment(pic, prepared.app, await prepared.send({ dry_run: false }));
}

/** Shows what goes, on standard error: the result itself is shown when it is done. */
function mayDelete(
  pic: PicContext,
  { app }: PreparedFolder,
  deleted: readonly WireDeploymentChange[],
): Promise<boolean> {
  for (const change of deleted) pic.output.note(`- ${describe(change)}`);
  const things = `${deleted.length} ${deleted.length === 1 ? "thing" : "things"}`;
  return pic.prompts.confirm({ message: `Delete ${things} of the app ${app}?`, flag: "--yes" });
}

function showDeployment(pic: PicContext, app: string, done: WireDeployment): void {
  const { format } = pic.output;
  if (format === "json") pic.output.json(done);
  else if (format === "tsv") pic.output.list(done.changes, columns);
  else pic.output.signed(signedLines(done.changes));
  pic.output.note(`${done.applied ? "Deployed to" : "Would deploy to"} ${app}: ${summary(done)}.`);
}

function signedLines(changes: readonly WireDeploymentChange[]): { sign: Sign; text: string }[] {
  return changes.flatMap((change) => {
    const sign = SIGNS[change.action];
    return sign === undefined ? [] : [{ sign, text: describe(change) }];
  });
}

function describe({ kind, script, name, detail }: WireDeploymentChange): string {
  const what = kind === "script" ? `script ${name}` : `${kind} ${name} of ${script}`;
  return detail === "" ? what : `${what} (${detail})`;
}

/** `2 created, 1 changed, 5 unchanged`. */
function summary({ changes, applied }: WireDeployment): string {
  const words = applied
    ? { create: "created", change: "changed", delete: "deleted", unchanged: "unchanged" }
    : { create: "to create", change: "to change", delete: "to delete", unchanged: "unchanged" };
  const counts = Object.entries(words).flatMap(([action, word]) => {
    const count = changes.filter((change) => change.action === action).length;
    return count === 0 ? [] : [`${count} ${word}`];
  });
  return counts.length === 0 ? "nothing to do" : counts.join(", ");
}

/** What `scripts deploy` shows, too. */
export function showSaved(pic: PicContext, file: string, { action, saved }: SavedFile): void {
  if (pic.output.format === "json") pic.output.json(saved);
  else {
    const { name, app, id, active_version } = saved;
    const row = { name, app, version: active_version.number, action, id };
    pic.output.row(row, [
      { title: "NAME", value: (one) => one.name },
      { title: "APP", value: (one) => one.app },
      { title: "VERSION", value: (one) => one.version },
      { title: "ACTION", value: (one) => one.action },
      { title: "ID", value: (one) => one.id },
    ]);
  }
  const done = { create: "created", change: "changed", unchanged: "is unchanged" }[action];
  pic.output.note(`${file}: ${saved.name} ${done}, version ${saved.active_version.number}.`);
}

function fileDeployment(
  pic: PicContext,
  file: string,
  { app, name }: DeployOptions,
  files: Set<string>,
): FileDeployment {
  const settings: ScriptSettings = {};
  return { file, app: chosenApp(pic, app === undefined ? {} : { app }), name, settings, files };
}

// ---------------------------------------------------------------------------------------------

/** One deployment of a watch: a line of what it did, or null when there was nothing to do. */
type Run = (files: Set<string>) => Promise<string | null>;

async function watchAndDeploy(pic: PicContext, run: Run): Promise<void> {
  using interruption = untilInterrupted();
  let lastFailure = "";
  let isFirst = true;
  await watchFiles({
    signal: interruption.signal,
    onWatching: () => {
      if (isFirst) pic.output.note("Watching for changes; Ctrl-C ends it.");
      isFirst = false;
    },
    run: async (files) => {
      const began = performance.now();
      try {
        const done = await run(files);
        lastFailure = "";
        if (done !== null) {
          const ms = Math.round(performance.now() - began);
          pic.output.note(`${clockTime(pic)} ${done} (${ms} ms)`);
        }
      } catch (error) {
        const { lines } = explain(error, { url: pic.url(), isTokenSet: false });
        // An event that changed nothing is no reason to say it again.
        if (lines.join("\n") !== lastFailure) pic.output.fail(lines);
        lastFailure = lines.join("\n");
      }
    },
  });
}

function folderRun(
  pic: PicContext,
  client: PicClient,
  folder: string,
  { app, prune = false }: DeployOptions,
): Run {
  let live = "";
  return async (files) => {
    const prepared = await prepareFolder(pic, client, { folder, app, prune, files });
    const wanted = JSON.stringify([prepared.app, prepared.scripts]);
    if (wanted === live) return null;
    for (const warning of prepared.warnings) pic.output.warn(warning);
    const done = await prepared.send({ dry_run: false });
    live = wanted;
    const lines = signedLines(done.changes);
    if (pic.output.format === "table") pic.output.signed(lines);
    else for (const change of done.changes) pic.output.row(change, columns);
    return `deployed to ${prepared.app}: ${summary(done)}`;
  };
}

function fileRun(pic: PicContext, client: PicClient, file: string, options: DeployOptions): Run {
  return async (files) => {
    const { action, saved } = await deployFile(
      pic,
      client,
      fileDeployment(pic, file, options, files),
    );
    if (action === "unchanged") return null;
    return `${saved.name} is live, version ${saved.active_version.number}`;
  };
}

/** `16:04:05` of this machine. */
function clockTime({ around }: PicContext): string {
  return new Date(around.now()).toTimeString().slice(0, 8);
}
