/** Dead letters: events that have failed for good. */
import type { Command } from "commander";
import type { PicClient } from "../../client.ts";
import type {
  DeadLetterFilterInput,
  WireDeadLetter,
  WireDeadLetterProgress,
  WireWholeDeadLetter,
} from "../../schema/dead-letters.ts";
import { choiceOption } from "../choice.ts";
import type { PicContext } from "../context.ts";
import { EXIT } from "../exit-codes.ts";
import { PicFailure, usageFailure } from "../failures.ts";
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
import { timeAgo } from "../when.ts";

interface FilterOptions extends AppChoice {
  state?: WireDeadLetter["state"];
  source?: WireDeadLetter["source"];
  script?: string;
  since?: string;
  until?: string;
}

interface BatchOptions extends FilterOptions {
  all?: boolean;
  note?: string;
  yes?: boolean;
}

const states = ["open", "handler_failed", "replaying", "replayed", "resolved"] as const;
const sources = ["kv", "docs", "cron", "dead_letter", "route"] as const;

const columns: readonly Column<WireDeadLetter>[] = [
  { title: "ID", value: ({ id }) => id },
  { title: "STATE", value: ({ state }) => state },
  { title: "SOURCE", value: ({ source, type }) => `${source} ${type}` },
  { title: "ATTEMPTS", value: ({ attempts }) => attempts, align: "right" },
  { title: "EVENT AT", value: ({ event_at }) => event_at },
  { title: "SCRIPT ID", value: ({ script_id }) => script_id },
  { title: "ERROR", value: ({ error }) => `${error.status}: ${error.message}` },
];

const wholeColumns: readonly Column<WireWholeDeadLetter>[] = [
  ...columns,
  { title: "NOTE", value: ({ note }) => note },
  { title: "EVENT", value: ({ event }) => JSON.stringify(event) },
  { title: "EXECUTIONS", value: ({ history }) => history.map((one) => one.execution_id).join(" ") },
];

/** What is done with letters, one or many. */
const ACTS = {
  replay: { summary: "deliver an event once more", done: "Replayed" },
  resolve: { summary: "say that nothing is to be done about it any more", done: "Resolved" },
} as const;
type Act = keyof typeof ACTS;

export function registerDeadLetters(program: Command, pic: PicContext): void {
  const letters = program.command("dead-letters").summary("events that have failed for good");
  withFilter(letters.command("ls").summary("list dead letters, newest first"))
    .option("--all", "all pages of a long list")
    .action(async ({ all = false, ...options }: FilterOptions & { all?: boolean }) => {
      const client = pic.client();
      const filter = await filterOf(pic, client, options);
      const app = chosenApp(pic, options);
      const items = await listedItems(pic, all, (page) =>
        client.deadLetters.list(app, { ...filter, ...page }),
      );
      pic.output.list(items, columns);
    });
  letters
    .command("show")
    .summary("show a dead letter, with its event and all attempts")
    .argument("<letter>", "its id, which `pic dead-letters ls` shows")
    .option(appOption, appMeaning)
    .action(async (letter: string, choice: AppChoice) => {
      const found = await pic.client().deadLetters.get(chosenApp(pic, choice), letter);
      pic.output.one(found, wholeColumns);
    });
  for (const act of ["replay", "resolve"] as const) {
    withFilter(
      letters
        .command(act)
        .summary(`${ACTS[act].summary}; --all with filters for many`)
        .argument("[letter]", "its id, which `pic dead-letters ls` shows"),
    )
      .option("--all", "all that the filters let through")
      .option("--note <text>", "kept with the letter")
      .option("-y, --yes", "do not ask")
      .action((letter: string | undefined, options: BatchOptions) =>
        run(pic, act, letter, options),
      );
  }
}

function withFilter(command: Command): Command {
  return command
    .option(appOption, appMeaning)
    .addOption(choiceOption("--state <state>", "only in this state", states))
    .addOption(choiceOption("--source <source>", "only those of such events", sources))
    .option("--script <script>", `only those of one script: ${scriptMeaning}`)
    .option("--since <when>", "from then on: like 2h, 7d or 2030-01-31")
    .option("--until <when>", "before then");
}

async function run(
  pic: PicContext,
  act: Act,
  letter: string | undefined,
  options: BatchOptions,
): Promise<void> {
  const { all = false, note } = options;
  const app = chosenApp(pic, options);
  const client = pic.client();
  const remark = note === undefined ? {} : { note };
  if (letter === undefined && !all) {
    throw usageFailure("Name a letter, or give --all", `pic dead-letters ${act} --help`);
  }
  if (letter !== undefined) {
    if (all || isFiltered(options))
      throw usageFailure("A letter and --all or filters: give one of them");
    return pic.output.one(await client.deadLetters[act](app, letter, remark), columns);
  }
  const filter = await filterOf(pic, client, options);
  await confirm(pic, act, app, options);
  const count = await untilNoMore(() =>
    act === "replay"
      ? client.deadLetters.replayAll(app, { filter, ...remark })
      : client.deadLetters.resolveAll(app, { filter, ...remark }),
  );
  if (pic.output.format === "json") pic.output.json({ count });
  else pic.output.text(`${count}\n`);
  pic.output.note(`${ACTS[act].done} ${count} ${count === 1 ? "letter" : "letters"} of ${app}.`);
}

async function confirm(
  pic: PicContext,
  act: Act,
  app: string,
  options: BatchOptions,
): Promise<void> {
  if (options.yes === true) return;
  const which = isFiltered(options) ? "that the filters let through" : "there are";
  const message = `${act === "replay" ? "Replay" : "Resolve"} all dead letters ${which} in ${app}?`;
  if (await pic.prompts.confirm({ message, flag: "--yes" })) return;
  throw new PicFailure("Nothing was done", { exit: EXIT.failure });
}

/** One call does a bounded part. A call that does nothing and promises more would be for ever. */
async function untilNoMore(step: () => Promise<WireDeadLetterProgress>): Promise<number> {
  for (let total = 0; ; ) {
    const { count, more } = await step();
    total += count;
    if (!more || count === 0) return total;
  }
}

async function filterOf(
  pic: PicContext,
  client: PicClient,
  options: FilterOptions,
): Promise<DeadLetterFilterInput> {
  const { state, source, script, since, until } = options;
  const iso = (text: string, option: string) =>
    new Date(timeAgo(text, pic.around.now(), option)).toISOString();
  return {
    ...(state === undefined ? {} : { state }),
    ...(source === undefined ? {} : { source }),
    ...(script === undefined ? {} : { script_id: await scriptId(pic, client, script, options) }),
    ...(since === undefined ? {} : { since: iso(since, "--since") }),
    ...(until === undefined ? {} : { until: iso(until, "--until") }),
  };
}

function isFiltered({ state, source, script, since, until }: FilterOptions): boolean {
  return [state, source, script, since, until].some((one) => one !== undefined);
}
