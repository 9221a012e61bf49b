/**
 * The command line of `pic`, and of `picloud pic`: builds the tree of commands, runs one, and makes
 * exit codes of what is thrown. src/pic.ts has answered --version before this is loaded.
 */
import { Command, CommanderError, Option } from "commander";
import { version } from "../../package.json";
import { tokenVariable } from "../domain/credentials.ts";
import { registerAccounts } from "./commands/accounts.ts";
import { registerApiKeys } from "./commands/api-keys.ts";
import { registerApps } from "./commands/apps.ts";
import { registerAudit } from "./commands/audit.ts";
import { registerCompletion } from "./commands/completion.ts";
import { registerDeadLetters } from "./commands/dead-letters.ts";
import { registerDeploy } from "./commands/deploy.ts";
import { registerDocs } from "./commands/docs.ts";
import { registerInvoke } from "./commands/invoke.ts";
import { registerKv } from "./commands/kv.ts";
import { registerLogin, registerLogout } from "./commands/login.ts";
import { registerLogs } from "./commands/logs.ts";
import { registerOpen } from "./commands/open.ts";
import { registerRoutes } from "./commands/routes.ts";
import { registerScripts } from "./commands/scripts.ts";
import { registerTypes } from "./commands/sdk-types.ts";
import { registerServers } from "./commands/servers.ts";
import { registerSessions } from "./commands/sessions.ts";
import { registerTriggers } from "./commands/triggers.ts";
import { registerWhoami } from "./commands/whoami.ts";
import { type GlobalOptions, type PicContext, PicRun } from "./context.ts";
import { type Surroundings, variable } from "./environment.ts";
import { EXIT } from "./exit-codes.ts";
import { explain } from "./failures.ts";
import { FORMATS } from "./output.ts";
import { printableLines } from "./printable.ts";
import type { Prompts } from "./prompts.ts";

/** One line for each file of commands/. Help shows them in this order. */
const REGISTER: readonly ((program: Command, pic: PicContext) => void)[] = [
  registerLogin,
  registerLogout,
  registerWhoami,
  registerServers,
  registerDeploy,
  registerInvoke,
  registerLogs,
  registerScripts,
  registerRoutes,
  registerTriggers,
  registerDeadLetters,
  registerKv,
  registerDocs,
  registerApps,
  registerApiKeys,
  registerSessions,
  registerAccounts,
  registerAudit,
  registerTypes,
  registerOpen,
  registerCompletion,
];

/**
 * Runs one command and returns its exit code (exit-codes.ts). Never throws.
 * @param args without the program's own name
 * @param prompts for tests
 */
export async function runPic(
  args: readonly string[],
  around: Surroundings,
  prompts: Prompts | null = null,
): Promise<number> {
  const pic = new PicRun(around, prompts);
  const program = buildProgram(pic);
  try {
    if (args.length === 0) program.help({ error: true });
    await program.parseAsync([...args], { from: "user" });
    return EXIT.done;
  } catch (error) {
    return failed(error, pic);
  }
}

/** The tree of commands; completion.ts reads it. */
export function buildProgram(pic: PicRun): Command {
  const { stdout, stderr } = pic.around;
  const program = new Command("pic");
  program
    .description("PiCloud from the command line: scripts, routes, data, accounts.")
    .version(version, "-V, --version", "print the version")
    .helpOption("-h, --help", "show help")
    .option("--url <address>", "the server, instead of PICLOUD_URL and the one signed in to")
    .addOption(
      new Option("-o, --output <format>", "default: a table on a terminal, else tsv").choices(
        FORMATS,
      ),
    )
    .option("--no-input", "never ask; fail when something is missing")
    .option("--no-color", "no colours, as with NO_COLOR")
    .configureHelp({ showGlobalOptions: true })
    .exitOverride()
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(text),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .helpCommand("help [command]", "show help for a command")
    .hook("preAction", (_, command) => {
      pic.begin(command.optsWithGlobals<GlobalOptions>(), pathOf(command));
    });
  for (const register of REGISTER) register(program, pic);
  complete(program, pic);
  return program;
}

/** What is the same for every command: help that says what it does, and mistakes that point to that help. */
function complete(command: Command, pic: PicRun): void {
  const summary = command.summary();
  if (command.description() === "") {
    command.description(`${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`);
  }
  command.configureOutput({
    outputError: (text) => pic.output.fail(usageLines(text, pathOf(command))),
  });
  for (const one of command.commands) complete(one, pic);
}

/** `pic routes match`. */
function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}

/** commander's `error: unknown command 'scirpts'\n(Did you mean scripts?)` in our words. */
function usageLines(text: string, path: string): string[] {
  const [first = "", ...more] = printableLines(text.trim()).split("\n");
  const hints = more.map((line) => `→ ${line.replace(/^\((.*)\)$/, "$1")}`);
  return [first.replace(/^error: /, ""), ...(hints.length === 0 ? [`→ ${path} --help`] : hints)];
}

function failed(error: unknown, pic: PicRun): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
  const { exit, lines, isDefect } = explain(error, {
    url: quietUrl(pic),
    isTokenSet: variable(pic.around.env, tokenVariable) !== null,
    path: pic.path,
  });
  if (lines.length > 0) pic.output.fail(lines);
  if (!isDefect) return exit;
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  for (const line of stack.split("\n").slice(1)) pic.output.note(line);
  pic.output.note("→ this is a defect of pic: please report it with the lines above");
  return exit;
}

/** The address for a message; what is wrong with it is the failure itself. */
function quietUrl(pic: PicRun): string | null {
  try {
    return pic.url();
  } catch {
    return null;
  }
}
