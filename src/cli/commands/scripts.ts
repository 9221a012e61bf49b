/** Scripts: what an app consists of. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { cliDeployMsMax, LIMIT_NAMES } from "../../domain/limits.ts";
import type { ScriptKind } from "../../domain/scripts.ts";
import type { WireScriptSummary, WireVersionSummary } from "../../schema/scripts.ts";
import { choiceOption } from "../choice.ts";
import type { PicContext } from "../context.ts";
import { deployFile, type ScriptSettings } from "../deployment.ts";
import { EXIT } from "../exit-codes.ts";
import { PicFailure } from "../failures.ts";
import type { Column } from "../output.ts";
import { listedItems } from "../pages.ts";
import {
  type AppChoice,
  appMeaning,
  appOption,
  chosenApp,
  scriptId,
  scriptMeaning,
} from "../script-choice.ts";
import { showSaved } from "./deploy.ts";

interface ListOptions extends AppChoice {
  kind?: ScriptKind;
  all?: boolean;
  allApps?: boolean;
  match?: string;
}

interface DeployOptions extends AppChoice {
  name?: string;
  kind?: ScriptKind;
  description?: string;
  publicExecute?: boolean;
  limit?: Record<string, number | null>;
}

interface PullOptions extends AppChoice {
  at?: number;
  force?: boolean;
}

const kinds = ["endpoint", "module"] as const satisfies readonly ScriptKind[];

const columns: readonly Column<WireScriptSummary>[] = [
  { title: "NAME", value: ({ name }) => name },
  { title: "KIND", value: ({ kind }) => kind },
  { title: "VERSION", value: ({ active_version }) => active_version.number, align: "right" },
  { title: "APP", value: ({ app }) => app },
  { title: "UPDATED", value: ({ updated_at }) => updated_at },
  { title: "ID", value: ({ id }) => id },
  { title: "DESCRIPTION", value: ({ description }) => description },
];

const wholeColumns: readonly Column<WireScriptSummary>[] = [
  ...columns,
  { title: "PUBLIC", value: ({ public_execute }) => public_execute },
  { title: "LIMITS", value: ({ effective_limits }) => JSON.stringify(effective_limits) },
];

const versionColumns: readonly Column<WireVersionSummary>[] = [
  { title: "VERSION", value: ({ number }) => number, align: "right" },
  { title: "KIND", value: ({ kind }) => kind },
  { title: "CREATED", value: ({ created_at }) => created_at },
  { title: "BY", value: ({ created_by, created_by_name }) => created_by_name ?? created_by },
  { title: "BYTES", value: ({ source_bytes }) => source_bytes, align: "right" },
];

export function registerScripts(program: Command, pic: PicContext): void {
  const scripts = program.command("scripts").summary("scripts and their versions");
  registerReading(scripts, pic);
  registerWriting(scripts, pic);
}

function registerReading(scripts: Command, pic: PicContext): void {
  scripts
    .command("ls")
    .summary("list the scripts of an app")
    .option(appOption, appMeaning)
    .option("--all-apps", "those of every app that you may see")
    .addOption(choiceOption("--kind <kind>", "only scripts of this kind", kinds))
    .option("--match <text>", "only those with it in their name or description")
    .option("--all", "all pages of a long list")
    .action((options: ListOptions) => list(pic, options));
  scripts
    .command("show")
    .summary("show one script")
    .argument("<script>", scriptMeaning)
    .option(appOption, appMeaning)
    .action(async (script: string, choice: AppChoice) => {
      const client = pic.client();
      const found = await client.scripts.get(await scriptId(pic, client, script, choice));
      pic.output.one(found, wholeColumns);
    });
  scripts
    .command("versions")
    .summary("list the versions of a script, newest first")
    .argument("<script>", scriptMeaning)
    .option(appOption, appMeaning)
    .option("--all", "all pages of a long list")
    .action(async (script: string, { all = false, ...choice }: AppChoice & { all?: boolean }) => {
      const client = pic.client();
      const id = await scriptId(pic, client, script, choice);
      const items = await listedItems(pic, all, (page) => client.scripts.versions(id, page));
      pic.output.list(items, versionColumns);
    });
  scripts
    .command("pull")
    .summary("write a script's source to a file, or to standard output")
    .argument("<script>", scriptMeaning)
    .argument("[file]", "where to; default: standard output")
    .option(appOption, appMeaning)
    .option("--at <version>", "an older version, by its number", versionNumber)
    .option("--force", "replace the file when it is there")
    .action((script: string, file: string | undefined, options: PullOptions) =>
      pull(pic, script, file ?? "-", options),
    );
}

function registerWriting(scripts: Command, pic: PicContext): void {
  scripts
    .command("deploy")
    .summary("create a script from a file, or update it")
    .argument("<file>", "JavaScript or TypeScript")
    .option("--name <name>", "of the script; default: the file's, without its extension")
    .option(appOption, appMeaning)
    .addOption(
      choiceOption("--kind <kind>", "default: as it is, and endpoint for a new one", kinds),
    )
    .option("--description <text>", "what it is for")
    .option("--public-execute", "anybody may run it by its id")
    .option("--no-public-execute", "only who may execute scripts of the app")
    .option(
      "--limit <name=value>",
      `like cpu_ms=500, and cpu_ms= for the default: ${LIMIT_NAMES.join(", ")}; several times`,
      limit,
    )
    .action(async (file: string, options: DeployOptions) => {
      const { name } = options;
      const asked = { file, app: chosenApp(pic, options), name, settings: settingsOf(options) };
      showSaved(
        pic,
        file,
        await deployFile(pic, pic.client({ timeoutMs: cliDeployMsMax }), {
          ...asked,
          files: new Set(),
        }),
      );
    });
  scripts
    .command("rollback")
    .summary("make an old version the active one")
    .argument("<script>", scriptMeaning)
    .argument("<version>", "its number", versionNumber)
    .option(appOption, appMeaning)
    .action(async (script: string, version: number, choice: AppChoice) => {
      const client = pic.client();
      const id = await scriptId(pic, client, script, choice);
      const saved = await client.scripts.rollback(id, { version });
      pic.output.one(saved, columns);
      pic.output.note(
        `${saved.name} runs version ${version} again, as ${saved.active_version.number}.`,
      );
    });
  scripts
    .command("delete")
    .summary("delete a script with its versions, routes and triggers")
    .argument("<script>", scriptMeaning)
    .option(appOption, appMeaning)
    .action(async (script: string, choice: AppChoice) => {
      const client = pic.client();
      await client.scripts.delete(await scriptId(pic, client, script, choice));
      pic.output.note(`Deleted the script ${script}.`);
    });
}

async function list(pic: PicContext, options: ListOptions): Promise<void> {
  const { kind, match, all = false, allApps = false } = options;
  const client = pic.client();
  const filter = {
    ...(allApps ? {} : { app: chosenApp(pic, options) }),
    ...(kind === undefined ? {} : { kind }),
    ...(match === undefined ? {} : { q: match }),
  };
  const items = await listedItems(pic, all, (page) => client.scripts.list({ ...filter, ...page }));
  pic.output.list(items, columns);
}

async function pull(
  pic: PicContext,
  script: string,
  file: string,
  { at, force = false, ...choice }: PullOptions,
): Promise<void> {
  const client = pic.client();
  const path = resolve(pic.around.workingDir, file);
  const id = await scriptId(pic, client, script, choice);
  const { source } = await (at === undefined
    ? client.scripts.get(id)
    : client.scripts.version(id, at));
  if (file === "-") return pic.output.text(source);
  if (existsSync(path) && !force) {
    if (isFileWith(path, source)) return pic.output.note(`${file} holds it already.`);
    throw new PicFailure(`${file} is there already, and has another text`, {
      exit: EXIT.conflict,
      next: "--force replaces it",
    });
  }
  try {
    // Without --force a file that came into being meanwhile stays, too.
    writeFileSync(path, source, { flag: force ? "w" : "wx" });
  } catch (error) {
    const { code, message } = error as { code?: string; message?: string };
    throw new PicFailure(`${file} cannot be written: ${code ?? message}`, { exit: EXIT.failure });
  }
  pic.output.note(`Wrote ${file}.`);
}

function isFileWith(path: string, text: string): boolean {
  try {
    return readFileSync(path, "utf8") === text;
  } catch {
    return false;
  }
}

function settingsOf({
  kind,
  description,
  publicExecute,
  limit: limits = {},
}: DeployOptions): ScriptSettings {
  return {
    ...(kind === undefined ? {} : { kind }),
    ...(description === undefined ? {} : { description }),
    ...(publicExecute === undefined ? {} : { public_execute: publicExecute }),
    ...(Object.keys(limits).length === 0 ? {} : { limits }),
  };
}

/** `cpu_ms=500`; `cpu_ms=` takes a limit back to its default. The server judges names and values. */
function limit(
  text: string,
  before: Record<string, number | null> = {},
): Record<string, number | null> {
  const [, name = "", value = ""] = /^([a-z_]+)=(\d*)$/.exec(text) ?? [];
  if (name === "") throw new InvalidArgumentError("It is written like cpu_ms=500.");
  return { ...before, [name]: value === "" ? null : Number(value) };
}

function versionNumber(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("A version is a number.");
}
