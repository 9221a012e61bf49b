/** Triggers: which events run which script. */
import { type Command, InvalidArgumentError } from "commander";
import type { PicClient } from "../../client.ts";
import { DATA_OPERATIONS, type DataOperation, TRIGGER_KINDS } from "../../domain/triggers.ts";
import type { WireTrigger } from "../../schema/triggers.ts";
import { choiceOption } from "../choice.ts";
import type { PicContext } from "../context.ts";
import { EXIT } from "../exit-codes.ts";
import { PicFailure, usageFailure } from "../failures.ts";
import type { Column } from "../output.ts";
import { allItems } from "../pages.ts";
import {
  type AppChoice,
  appMeaning,
  appOption,
  chosenApp,
  scriptId,
  scriptMeaning,
} from "../script-choice.ts";

type Kind = WireTrigger["kind"];

interface AddOptions extends AppChoice {
  disabled?: boolean;
  attempts?: number;
  backoff?: "exponential" | "linear" | "constant";
  baseMs?: number;
  maxMs?: number;
  jitter?: number;
}

interface DataOptions extends AddOptions {
  collection: string;
  on?: DataOperation[];
}

interface CronOptions extends AddOptions {
  timezone?: string;
  overlap?: "skip" | "queue";
  dryRun?: boolean;
}

const columns: readonly Column<WireTrigger>[] = [
  { title: "KIND", value: ({ kind }) => kind },
  { title: "WHAT", value: whatOf },
  { title: "ENABLED", value: ({ enabled }) => enabled },
  { title: "NEXT", value: (trigger) => (trigger.kind === "cron" ? trigger.next_at : null) },
  { title: "SCRIPT ID", value: ({ script_id }) => script_id },
  { title: "ID", value: ({ id }) => id },
];

export function registerTriggers(program: Command, pic: PicContext): void {
  const triggers = program.command("triggers").summary("which events run which script");
  triggers
    .command("ls")
    .summary("list the triggers of an app, or of one script")
    .option(appOption, appMeaning)
    .option("--script <script>", scriptMeaning)
    .action(async ({ script, ...choice }: AppChoice & { script?: string }) => {
      const client = pic.client();
      const id = script === undefined ? null : await scriptId(pic, client, script, choice);
      const items = await allItems<WireTrigger>(pic, (page) =>
        id === null
          ? client.triggers.list(chosenApp(pic, choice), page)
          : client.triggers.listOfScript(id, page),
      );
      pic.output.list(items, columns);
    });
  registerAdd(triggers.command("add").summary("run a script for events"), pic);
  triggers
    .command("rm")
    .summary("delete a trigger")
    .argument("<trigger>", "its id, which `pic triggers ls` shows")
    .option(appOption, appMeaning)
    .addOption(choiceOption("--kind <kind>", "saves looking it up", TRIGGER_KINDS))
    .action((id: string, options: AppChoice & { kind?: Kind }) => remove(pic, id, options));
}

function registerAdd(add: Command, pic: PicContext): void {
  for (const kind of ["kv", "docs"] as const) {
    const records = kind === "kv" ? "entries" : "documents";
    withSettings(add.command(kind).summary(`run it when ${records} are written`))
      .option("--collection <pattern>", "a name, or its beginning and a star", "*")
      .option("--on <operations>", `of ${DATA_OPERATIONS.join(", ")}; default: all`, operations)
      .action((script: string, options: DataOptions) => addData(pic, kind, script, options));
  }
  withSettings(add.command("cron").summary("run it by the clock; shows the next times first"))
    .argument("<expression>", '"0 30 3 * * *": second, minute, hour, day, month, weekday')
    .option("--timezone <zone>", "like Europe/Berlin; default: UTC")
    .addOption(
      choiceOption("--overlap <rule>", "when the last one still runs; default: skip", [
        "skip",
        "queue",
      ]),
    )
    .option("--dry-run", "only show the next times")
    .action((script: string, expression: string, options: CronOptions) =>
      addCron(pic, script, expression, options),
    );
  add
    .command("dead-letter")
    .summary("run it when an event has failed for good")
    .argument("<script>", scriptMeaning)
    .option(appOption, appMeaning)
    .option("--disabled", "make it switched off")
    .action(async (script: string, options: AddOptions) => {
      const client = pic.client();
      const script_id = await scriptId(pic, client, script, options);
      const input = { script_id, ...enabledOf(options) };
      pic.output.one(
        await client.triggers.deadLetter.create(chosenApp(pic, options), input),
        columns,
      );
    });
}

function withSettings(command: Command): Command {
  return command
    .argument("<script>", scriptMeaning)
    .option(appOption, appMeaning)
    .option("--disabled", "make it switched off")
    .option("--attempts <count>", "how often at most; default: 5", number)
    .addOption(
      choiceOption("--backoff <kind>", "how waits grow; default: exponential", [
        "exponential",
        "linear",
        "constant",
      ]),
    )
    .option("--base-ms <ms>", "the first wait; default: 1000", number)
    .option("--max-ms <ms>", "the longest wait; default: 300000", number)
    .option("--jitter <share>", "the part of a wait that is random, 0 to 1; default: 0.2", number);
}

async function addData(
  pic: PicContext,
  kind: "kv" | "docs",
  script: string,
  options: DataOptions,
): Promise<void> {
  const client = pic.client();
  const script_id = await scriptId(pic, client, script, options);
  const { collection, on } = options;
  const input = {
    script_id,
    collection,
    ...(on === undefined ? {} : { operations: on }),
    ...enabledOf(options),
    ...retryOf(options),
  };
  pic.output.one(await client.triggers[kind].create(chosenApp(pic, options), input), columns);
}

async function addCron(
  pic: PicContext,
  script: string,
  expression: string,
  options: CronOptions,
): Promise<void> {
  const client = pic.client();
  const app = chosenApp(pic, options);
  const { timezone, overlap, dryRun = false } = options;
  const zone = timezone === undefined ? {} : { timezone };
  const { next } = await client.triggers.previewCron(app, { expression, ...zone });
  if (dryRun) {
    return pic.output.list(
      next.map((at) => ({ at })),
      [{ title: "AT", value: ({ at }) => at }],
    );
  }
  pic.output.note(
    next.length === 0 ? "It never fires." : `It fires at ${next.slice(0, 3).join(", ")}, …`,
  );
  const script_id = await scriptId(pic, client, script, options);
  const input = {
    script_id,
    expression,
    ...zone,
    ...(overlap === undefined ? {} : { overlap }),
    ...enabledOf(options),
    ...retryOf(options),
  };
  pic.output.one(await client.triggers.cron.create(app, input), columns);
}

async function remove(
  pic: PicContext,
  id: string,
  { kind, ...choice }: AppChoice & { kind?: Kind },
): Promise<void> {
  const client = pic.client();
  const app = chosenApp(pic, choice);
  await deleteOf(client, app, kind ?? (await kindOf(pic, client, app, id)), id);
  pic.output.note(`Deleted the trigger ${id}.`);
}

async function kindOf(pic: PicContext, client: PicClient, app: string, id: string): Promise<Kind> {
  const items = await allItems<WireTrigger>(pic, (page) => client.triggers.list(app, page));
  const found = items.find((trigger) => trigger.id === id);
  if (found !== undefined) return found.kind;
  throw new PicFailure(`There is no trigger ${id} in the app ${app}`, {
    exit: EXIT.notFound,
    next: `\`pic triggers ls --app ${app}\` shows those that are there`,
  });
}

function deleteOf(client: PicClient, app: string, kind: Kind, id: string): Promise<void> {
  const of = kind === "dead_letter" ? client.triggers.deadLetter : client.triggers[kind];
  return of.delete(app, id);
}

function whatOf(trigger: WireTrigger): string {
  if (trigger.kind === "dead_letter") return "";
  if (trigger.kind === "cron") return `${trigger.expression} ${trigger.timezone}`;
  return `${trigger.collection} ${trigger.operations.join(",")}`;
}

function enabledOf({ disabled }: AddOptions): { enabled?: boolean } {
  return disabled === true ? { enabled: false } : {};
}

function retryOf({ attempts, backoff, baseMs, maxMs, jitter }: AddOptions) {
  const retry = {
    ...(attempts === undefined ? {} : { max_attempts: attempts }),
    ...(backoff === undefined ? {} : { backoff }),
    ...(baseMs === undefined ? {} : { base_ms: baseMs }),
    ...(maxMs === undefined ? {} : { max_ms: maxMs }),
    ...(jitter === undefined ? {} : { jitter }),
  };
  return Object.keys(retry).length === 0 ? {} : { retry };
}

function operations(text: string): DataOperation[] {
  const given = text.split(",").map((word) => word.trim());
  const isKnown = (word: string): word is DataOperation =>
    DATA_OPERATIONS.some((one) => one === word);
  const unknown = given.find((word) => !isKnown(word));
  if (unknown === undefined) return given.filter(isKnown);
  throw usageFailure(`--on: there is no operation ${unknown}`, DATA_OPERATIONS.join(", "));
}

function number(text: string): number {
  if (/^\d+(?:\.\d+)?$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It is a number.");
}
