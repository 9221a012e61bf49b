/**
 * Picks the role. Every role is a dynamic import, so that a sandbox child never loads the server
 * and `picloud version` loads next to nothing.
 *
 * Exit codes: 0 done; 1 failed, and the log or the message says why; 2 wrong command line or
 * configuration (starting again does not help); 128 + n ended at once by the second signal n.
 */
import { readFileSync, writeSync } from "node:fs";
import { version } from "../package.json";
import type { Logger } from "./base/log.ts";
import type { Loaded, RoleArguments } from "./config.ts";

type Supervision = import("./compose.ts").Supervision;

const exitFailed = 1;
const exitUsage = 2;
const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
/** What stopping may take after the drain, before the process ends regardless. */
const stopGraceMs = 2_000;
/** The data folder may be open to others (systemd's is); what we make in it is its owner's alone. */
const ownerOnly = 0o077;

const [, , role = "", ...args] = process.argv;

try {
  process.exitCode = await run(role, args);
} catch (error) {
  await reportFailure(error);
  process.exit(exitFailed);
}

async function run(name: string, rest: string[]): Promise<number> {
  switch (name) {
    case "sandbox":
      if (wantsHelp(rest)) return help("sandbox");
      return (await import("./sandbox/child.ts")).runSandboxChild().then(() => 0);
    case "compile":
      if (wantsHelp(rest)) return help("compile");
      return (await import("./sandbox/compile-child.ts")).runCompileChild().then(() => 0);
    case "serve":
      return wantsHelp(rest) ? help("serve") : serve(rest);
    case "version":
    case "--version":
    case "-v":
      if (wantsHelp(rest)) return help("version");
      return print(`picloud ${version}\n`);
    case "types":
      if (wantsHelp(rest)) return help("types");
      return print((await import("./sdk/declarations.ts")).sdkDeclarations());
    case "admin":
      return admin(rest);
    case "backup":
      return wantsHelp(rest) ? help("backup") : backup(rest);
    case "restore":
      return wantsHelp(rest) ? help("restore") : restore(rest);
    case "pic":
      return (await import("./cli/main.ts")).picMain(rest, process.env);
    case "help":
    case "--help":
    case "-h":
      return help(null);
    default:
      return unknownRole(name);
  }
}

async function serve(rest: string[]): Promise<number> {
  process.umask(ownerOnly);
  const loaded = await configure(rest);
  if (loaded === null) return exitUsage;
  const log = await openLog(loaded);
  const { drainMsMax } = await import("./domain/limits.ts");
  const { composeServer } = await import("./compose.ts");
  const supervision = await supervise(log);
  const signalled = firstSignal();
  const waiting = new AbortController();
  void signalled.then(() => waiting.abort());
  void signalled.then(() => supervision?.stopping());
  const server = await composeServer(loaded.config, log, waiting.signal).catch((error: unknown) => {
    if (waiting.signal.aborted) return null;
    throw error;
  });
  if (server === null) {
    log.info("stopped", { signal: await signalled });
    return process.exit(0);
  }
  const started = server.start();
  const early = await Promise.race([started.then(() => null), signalled]);
  if (early === null) announce(await started, log, supervision);
  log.info("stopping", { signal: early ?? (await signalled) });
  const overdue = setTimeout(() => {
    log.error("stopping took too long", { ms: drainMsMax + stopGraceMs });
    process.exit(exitFailed);
  }, drainMsMax + stopGraceMs);
  await started.catch(() => {});
  await server.stop();
  clearTimeout(overdue);
  log.info("stopped");
  return process.exit(0);
}

/** The setup link is a credential: it goes to the person at the terminal or journal, as plain text. */
function announce(
  { addresses, setup_url, probe }: import("./compose.ts").Started,
  log: Logger,
  supervision: Supervision | null,
): void {
  log.info("ready", { ...addresses, version });
  supervision?.ready(`Serving ${addresses.public_url}`, probe);
  if (setup_url === null) return;
  complain("there is no account yet; this link makes the first one, once, within an hour:");
  complainRaw(`${setup_url}\n`);
}

async function admin(rest: string[]): Promise<number> {
  process.umask(ownerOnly);
  const [command = "", ...after] = rest;
  switch (command) {
    case "reset-password":
      return wantsHelp(after) ? help("admin reset-password") : resetPassword(after);
    case "set-role":
      return wantsHelp(after) ? help("admin set-role") : setRole(after);
    case "list":
      return wantsHelp(after) ? help("admin list") : listAccounts(after);
    default:
      if (wantsHelp(rest)) return help("admin");
      complain(
        `${command === "" ? "a command is missing" : `unknown command admin ${command}`}; ` +
          "it is admin reset-password, admin set-role or admin list",
      );
      return exitUsage;
  }
}

async function resetPassword(rest: string[]): Promise<number> {
  const loaded = await configure(rest, { switches: ["generate"], positionals: ["username"] });
  if (loaded === null) return exitUsage;
  const [username = ""] = loaded.positionals;
  const { readNewPassword } = await import("./cli/password.ts");
  const { newToken } = await import("./base/ids.ts");
  const isGenerated = loaded.switches.has("generate");
  const password = isGenerated ? newToken("") : await readNewPassword(process.stdin, complainRaw);
  await withAdminTools(loaded, (tools) => tools.resetPassword(username, password));
  if (isGenerated) print(`${password}\n`);
  complain(`the password of ${username} is set, and its sessions have ended`);
  return 0;
}

async function setRole(rest: string[]): Promise<number> {
  const loaded = await configure(rest, { positionals: ["username", "role"] });
  if (loaded === null) return exitUsage;
  const [username = "", given = ""] = loaded.positionals;
  const { INSTANCE_ROLES } = await import("./domain/access.ts");
  const role = INSTANCE_ROLES.find((one) => one === given);
  if (role === undefined) {
    complain(`<role> must be ${INSTANCE_ROLES.join(" or ")}`);
    return exitUsage;
  }
  await withAdminTools(loaded, (tools) => tools.setRole(username, role));
  complain(`${username} is ${role} now`);
  return 0;
}

async function listAccounts(rest: string[]): Promise<number> {
  const loaded = await configure(rest);
  if (loaded === null) return exitUsage;
  await withAdminTools(loaded, async (tools) => {
    for (let cursor: string | null = null, more = true; more; more = cursor !== null) {
      const page = await tools.list(cursor);
      for (const { username, role, is_active } of page.items) {
        print(`${username}\t${role}\t${is_active ? "active" : "inactive"}\n`);
      }
      cursor = page.next_cursor;
    }
  });
  return 0;
}

async function backup(rest: string[]): Promise<number> {
  process.umask(ownerOnly);
  const loaded = await configure(rest, { switches: ["force"], positionals: ["file"] });
  if (loaded === null) return exitUsage;
  const log = await openLog(loaded);
  const [file = ""] = loaded.positionals;
  const { counted, megabytes } = await import("./cli/progress.ts");
  const { composeBackup } = await import("./compose-backup.ts");
  const line = await progressLine();
  const made = await composeBackup(loaded.config, log, {
    file,
    force: loaded.switches.has("force"),
    signal: interruption(),
    onProgress: ({ rows, bytes }) => line.show(`${counted(rows, "row")}, ${megabytes(bytes)}`),
  }).finally(() => line.clear());
  const size = `${counted(made.rows, "row")} of ${counted(made.tables, "table")}`;
  const to = file === "-" ? "standard output" : file;
  complain(`backed up ${size}, ${megabytes(made.bytes)}, schema ${made.schema}, to ${to}`);
  return 0;
}

async function restore(rest: string[]): Promise<number> {
  process.umask(ownerOnly);
  const loaded = await configure(rest, { switches: ["check"], positionals: ["file"] });
  if (loaded === null) return exitUsage;
  const log = await openLog(loaded);
  const [file = ""] = loaded.positionals;
  const { counted } = await import("./cli/progress.ts");
  const { composeRestore } = await import("./compose-backup.ts");
  const line = await progressLine();
  const checkOnly = loaded.switches.has("check");
  const { header, rows, tables } = await composeRestore(loaded.config, log, {
    file,
    checkOnly,
    signal: interruption(),
    onProgress: (count) => line.show(counted(count, "row")),
  }).finally(() => line.clear());
  const done = checkOnly ? "the backup is whole:" : "restored";
  const size = `${counted(rows, "row")} of ${counted(tables, "table")}`;
  const { product, schema, created_at } = header;
  complain(`${done} ${size}, made by PiCloud ${product} (schema ${schema}) at ${created_at}`);
  return 0;
}

// ---------------------------------------------------------------------------------------------

async function withAdminTools(
  loaded: Loaded,
  use: (tools: import("./compose.ts").AdminTools) => Promise<void>,
): Promise<void> {
  const { composeAdmin } = await import("./compose.ts");
  const tools = await composeAdmin(loaded.config, await openLog(loaded));
  try {
    await use(tools);
  } finally {
    await tools.stop();
  }
}

/** Says to the service manager that the server starts; null when there is none. */
async function supervise(log: Logger): Promise<Supervision | null> {
  const { readSupervisor } = await import("./config.ts");
  const { supervisor, problem } = readSupervisor(process.env, process.pid);
  if (problem !== null) log.warn(problem);
  if (supervisor === null) return null;
  const supervision = await (await import("./compose.ts")).composeSupervision(supervisor, log);
  if (supervision === null) log.warn("the service manager cannot be told that the server is ready");
  return supervision;
}

/** Reads the configuration; null when it is wrong and the user has been told. */
async function configure(rest: string[], own: RoleArguments = {}): Promise<Loaded | null> {
  const { machineMemoryBytes } = await import("./base/memory.ts");
  const { ConfigError, loadConfig } = await import("./config.ts");
  const readFile = (path: string): string => readFileSync(path, "utf8");
  const isCompiled = Bun.main.startsWith("/$bunfs/");
  const around = {
    args: rest,
    env: process.env,
    workingDir: process.cwd(),
    self: isCompiled ? [process.execPath] : [process.execPath, Bun.main],
    memoryBytes: machineMemoryBytes(readFile),
    isTerminal: process.stderr.isTTY === true,
    readFile,
  };
  try {
    return loadConfig(around, own);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const problem of error.problems) complain(problem);
    return null;
  }
}

/** The log on standard error; from here on, what nobody caught ends the process with a record. */
async function openLog({ config, warnings }: Loaded): Promise<Logger> {
  const { createLogger } = await import("./base/log.ts");
  const log = createLogger({
    format: config.logFormat,
    level: config.logLevel,
    now: Date.now,
    write: complainRaw,
  });
  const fail = (error: unknown): never => {
    log.error("unexpected failure", { error });
    process.exit(exitFailed);
  };
  process.on("uncaughtException", fail);
  process.on("unhandledRejection", fail);
  for (const warning of warnings) log.warn(warning);
  return log;
}

/** Aborted by the first signal that asks for an end. */
function interruption(): AbortSignal {
  const controller = new AbortController();
  void firstSignal().then(() => controller.abort());
  return controller.signal;
}

async function progressLine() {
  const { createProgressLine } = await import("./cli/progress.ts");
  const isTerminal = process.stderr.isTTY === true;
  const monotonic = (): number => performance.now();
  return createProgressLine({ isTerminal, write: complainRaw, monotonic });
}

/** Expected failures are one sentence; anything else is a defect and logged in full. */
async function reportFailure(error: unknown): Promise<void> {
  const { PicError } = await import("./domain/errors.ts");
  const { PasswordRefused } = await import("./cli/password.ts");
  if (error instanceof PicError || error instanceof PasswordRefused) {
    complain(error.message);
    return;
  }
  const { createLogger } = await import("./base/log.ts");
  const log = createLogger({ format: "json", level: "error", now: Date.now, write: complainRaw });
  log.error("unexpected failure", { error });
}

/** Resolves at the first signal that asks for an end; the second one ends the process at once. */
function firstSignal(): Promise<string> {
  return new Promise((resolve) => {
    let count = 0;
    for (const [name, number] of Object.entries(SIGNALS)) {
      process.on(name, () => {
        count += 1;
        if (count > 1) process.exit(128 + number);
        resolve(name);
      });
    }
  });
}

async function help(name: import("./cli/help.ts").RoleName | null): Promise<number> {
  const { overviewHelp, roleHelp } = await import("./cli/help.ts");
  return print(name === null ? overviewHelp() : roleHelp(name));
}

async function unknownRole(name: string): Promise<number> {
  const { overviewHelp, shownRoles } = await import("./cli/help.ts");
  if (name === "") {
    complainRaw(overviewHelp());
    return exitUsage;
  }
  const { suggestion } = await import("./base/suggestion.ts");
  const near = suggestion(name, shownRoles);
  complain(`unknown command ${name}${near === null ? "" : `; did you mean ${near}?`}`);
  return exitUsage;
}

function wantsHelp(rest: readonly string[]): boolean {
  return rest.includes("--help") || rest.includes("-h");
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

function complain(sentence: string): void {
  complainRaw(`picloud: ${sentence}\n`);
}

/** Standard error may be gone (a closed pipe); the process goes on without it. */
function complainRaw(text: string): void {
  try {
    writeSync(2, text);
  } catch {}
}
