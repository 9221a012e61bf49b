/**
 * The only reader of the environment. Flags win over variables, variables over the configuration
 * file, the file over the defaults; the result is frozen and handed down as arguments.
 *
 * What can be set is declared in settings.ts. Every problem is collected, so that one start reports
 * all of them. A secret's value is never part of a message.
 */
import { resolve } from "node:path";
import type { Supervisor } from "./base/notify.ts";
import { suggestion } from "./base/suggestion.ts";
import { tokenVariable, urlVariable } from "./domain/credentials.ts";
import {
  LIMIT_CEILINGS,
  LIMIT_NAMES,
  type ScriptLimits,
  settingBytesMax,
  socketPathBytesMax,
  watchdogMsMax,
} from "./domain/limits.ts";
import {
  CEILINGS,
  type Circumstances,
  configName,
  flagOf,
  knownNames,
  type Parsed,
  SETTINGS,
  type Setting,
  type Settings,
  secretNames,
  variablePrefix,
} from "./settings.ts";

export interface Config extends Readonly<Settings> {
  /** What a script's limits may be at most. May lie below the defaults of the limits. */
  readonly ceilings: Readonly<ScriptLimits>;
}

/** All that the configuration depends on, so that a test can name it. */
export interface Surroundings extends Circumstances {
  /** What follows the role on the command line. */
  readonly args: readonly string[];
  /** Throws when the file cannot be read. */
  readonly readFile: (path: string) => string;
}

/** What a role takes besides the settings. */
export interface RoleArguments {
  /** Names of the role's own switches, without dashes. */
  readonly switches?: readonly string[];
  /** Names of the role's positional arguments, all required. */
  readonly positionals?: readonly string[];
}

export interface Loaded {
  readonly config: Config;
  /** To be logged once there is a logger. */
  readonly warnings: readonly string[];
  readonly switches: ReadonlySet<string>;
  readonly positionals: readonly string[];
}

/** The command line or the configuration is wrong; `problems` are sentences for the user. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  constructor(readonly problems: readonly string[]) {
    super(problems.join("\n"));
  }
}

/** Reads and checks everything. Throws ConfigError with all problems found. */
export function loadConfig(around: Surroundings, role: RoleArguments = {}): Loaded {
  const problems: string[] = [];
  const warnings: string[] = [];
  const line = readCommandLine(around.args, role, problems);
  const env = readEnvironment(around.env, problems, warnings);
  const path = line.given.get(configName)?.text ?? env.get(configName)?.text;
  const file =
    path === undefined
      ? new Map()
      : readConfigFile(resolve(around.workingDir, path), around, problems);
  const layers: Layer[] = [line.given, env, file];

  const read = <T>(setting: Setting<T>): T => readSetting(setting, layers, around, problems);
  const values: Settings = {
    bind: read(SETTINGS.bind),
    adminBind: read(SETTINGS.adminBind),
    dataDir: read(SETTINGS.dataDir),
    databaseUrl: read(SETTINGS.databaseUrl),
    publicBaseUrl: read(SETTINGS.publicBaseUrl),
    adminUsername: read(SETTINGS.adminUsername),
    adminPassword: read(SETTINGS.adminPassword),
    sessionTtlHours: read(SETTINGS.sessionTtlHours),
    sandboxes: read(SETTINGS.sandboxes),
    maxConcurrency: read(SETTINGS.maxConcurrency),
    imageCacheMb: read(SETTINGS.imageCacheMb),
    appDataMb: read(SETTINGS.appDataMb),
    appDataRows: read(SETTINGS.appDataRows),
    logRetentionDays: read(SETTINGS.logRetentionDays),
    logMaxMb: read(SETTINGS.logMaxMb),
    auditRetentionDays: read(SETTINGS.auditRetentionDays),
    auditMaxMb: read(SETTINGS.auditMaxMb),
    logFormat: read(SETTINGS.logFormat),
    logLevel: read(SETTINGS.logLevel),
    durability: read(SETTINGS.durability),
    command: Object.freeze(read(SETTINGS.command)),
  };
  const ceilings = { ...LIMIT_CEILINGS };
  for (const name of LIMIT_NAMES) ceilings[name] = read(CEILINGS[name]);
  if (problems.length === 0) checkTogether(values, problems);
  if (problems.length > 0) throw new ConfigError(problems);
  const config = Object.freeze({
    ...values,
    bind: Object.freeze(values.bind),
    adminBind: Object.freeze(values.adminBind),
    ceilings: Object.freeze(ceilings),
  });
  return { config, warnings, switches: line.switches, positionals: line.positionals };
}

/**
 * Who watches this process, if anybody: what systemd puts into the environment of a service, no
 * setting of ours. `problem` is for the log: the server runs without being watched then.
 */
export function readSupervisor(
  env: Surroundings["env"],
  pid: number,
): { supervisor: Supervisor | null; problem: string | null } {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC, WATCHDOG_PID } = env;
  if (socket === undefined || socket === "") return { supervisor: null, problem: null };
  if (!/^[/@][^\0]+$/.test(socket) || Buffer.byteLength(socket) > socketPathBytesMax) {
    return { supervisor: null, problem: `NOTIFY_SOCKET is no unix socket: ${show(socket)}` };
  }
  const us = /^[1-9]\d{0,14}$/.test(WATCHDOG_USEC ?? "") ? Number(WATCHDOG_USEC) : null;
  // Somebody else's watchdog, which that process inherited to us.
  const isOurs = WATCHDOG_PID === undefined || WATCHDOG_PID === String(pid);
  const watchdogMs = us !== null && isOurs ? Math.min(us / 1_000, watchdogMsMax) : null;
  return { supervisor: { socket, watchdogMs }, problem: null };
}

// ---------------------------------------------------------------------------------------------
// layers: where a value came from

interface Given {
  readonly text: string;
  /** What the user would look for: the flag, the variable, or the line of the file. */
  readonly label: string;
}

type Layer = ReadonlyMap<string, Given>;

function readCommandLine(args: readonly string[], role: RoleArguments, problems: string[]) {
  const given = new Map<string, Given>();
  const switches = new Set<string>();
  const positionals: string[] = [];
  const known = knownNames();
  const own = (role.switches ?? []).map((name) => `--${name}`);
  for (let index = 0; index < args.length; index += 1) {
    const arg = args[index] as string;
    if (!arg.startsWith("-") || arg === "-") {
      positionals.push(arg);
      continue;
    }
    const [flag = arg, ...after] = arg.split("=");
    const name = variablePrefix + flag.replace(/^--/, "").replaceAll("-", "_").toUpperCase();
    if (own.includes(arg)) {
      switches.add(arg.slice(2));
    } else if (flagOf(name) !== flag || !known.includes(name)) {
      const near = suggestion(flag, [...own, ...known.map(flagOf)]);
      problems.push(`unknown flag ${flag}${near === null ? "" : `; did you mean ${near}?`}`);
      // The word after an unknown flag is most likely its value: not another problem.
      if (after.length === 0 && args[index + 1]?.startsWith("-") === false) index += 1;
    } else {
      const text = after.length > 0 ? after.join("=") : args[index + 1];
      if (after.length === 0) index += 1;
      if (secretNames().includes(name)) {
        problems.push(
          `${flag}: a command line is no place for a secret; use ${name} or ${flag}-file`,
        );
      } else if (text === undefined) problems.push(`${flag}: needs a value`);
      else if (given.has(name)) problems.push(`${flag}: given twice`);
      else given.set(name, { text, label: flag });
    }
  }
  const wanted = role.positionals ?? [];
  for (const extra of positionals.slice(wanted.length)) {
    problems.push(`unexpected argument ${show(extra)}`);
  }
  for (const missing of wanted.slice(positionals.length)) problems.push(`<${missing}> is missing`);
  return { given, switches, positionals };
}

function readEnvironment(env: Surroundings["env"], problems: string[], warnings: string[]): Layer {
  const layer = new Map<string, Given>();
  const known = knownNames();
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith(variablePrefix) || text === undefined) continue;
    // Those of `pic`, which may well be used on the same machine.
    if (name === urlVariable || name === tokenVariable) continue;
    if (known.includes(name)) {
      // An empty variable is how compose files and unit files say "not set".
      if (text !== "") layer.set(name, { text, label: name });
      continue;
    }
    const near = suggestion(name, known);
    if (near === null) warnings.push(`${name} is set, but nothing reads it`);
    else problems.push(`unknown variable ${name}; did you mean ${near}?`);
  }
  return layer;
}

function readConfigFile(path: string, around: Surroundings, problems: string[]): Layer {
  const layer = new Map<string, Given>();
  const text = readText(path, around);
  if ("rule" in text) {
    problems.push(`${configName}: cannot read ${show(path)}: ${text.rule}`);
    return layer;
  }
  const known = knownNames().filter((name) => name !== configName);
  text.value.split(/\r?\n/).forEach((line, index) => {
    if (/^\s*(#|$)/.test(line)) return;
    const at = `${path} line ${index + 1}`;
    const [, name, value] = line.match(/^\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$/) ?? [];
    if (name === undefined || value === undefined) {
      problems.push(`${at}: must be NAME=value`);
    } else if (!known.includes(name)) {
      const near = suggestion(name, known);
      problems.push(`${at}: unknown name ${name}${near === null ? "" : `; did you mean ${near}?`}`);
    } else if (layer.has(name)) {
      problems.push(`${at}: ${name} is given twice`);
    } else if (value !== "") {
      layer.set(name, { text: unquoted(value), label: `${at}: ${name}` });
    }
  });
  return layer;
}

function readSetting<T>(
  setting: Setting<T>,
  layers: readonly Layer[],
  around: Surroundings,
  problems: string[],
): T {
  const given = findGiven(setting.name, layers, around, problems);
  if (given === null) return setting.initial(around);
  const parsed = setting.parse(given.text, around);
  if ("value" in parsed) return parsed.value;
  const but = setting.secret ? "" : `, but is ${show(given.text)}`;
  problems.push(`${given.label}: ${parsed.rule}${but}`);
  return setting.initial(around);
}

/** The first layer that has the name, or the name with _FILE, decides. */
function findGiven(
  name: string,
  layers: readonly Layer[],
  around: Surroundings,
  problems: string[],
): Given | null {
  for (const layer of layers) {
    const direct = layer.get(name);
    const indirect = layer.get(`${name}_FILE`);
    if (direct !== undefined && indirect !== undefined) {
      problems.push(`${direct.label} and ${indirect.label} are both set; keep one`);
      return null;
    }
    if (direct !== undefined) return direct;
    if (indirect === undefined) continue;
    const path = resolve(around.workingDir, indirect.text);
    const content = readText(path, around);
    if ("value" in content)
      return { text: content.value.replace(/\r?\n$/, ""), label: indirect.label };
    problems.push(`${indirect.label}: cannot read ${show(path)}: ${content.rule}`);
    return null;
  }
  return null;
}

function checkTogether(values: Settings, problems: string[]): void {
  if ((values.adminUsername === null) !== (values.adminPassword === null)) {
    problems.push("PICLOUD_ADMIN_USERNAME and PICLOUD_ADMIN_PASSWORD: set both or neither");
  }
  const { bind, adminBind } = values;
  if (bind.port !== 0 && bind.port === adminBind.port && bind.host === adminBind.host) {
    problems.push(
      `PICLOUD_BIND and PICLOUD_ADMIN_BIND: must differ, but both are ${bind.host}:${bind.port}`,
    );
  }
}

// ---------------------------------------------------------------------------------------------
// texts

function readText(path: string, around: Surroundings): Parsed<string> {
  try {
    const value = around.readFile(path);
    if (value.length > settingBytesMax) return { rule: `is larger than ${settingBytesMax} bytes` };
    return { value };
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    const known: Record<string, string> = {
      ENOENT: "no such file",
      EACCES: "permission denied",
      EISDIR: "it is a folder",
    };
    return { rule: known[code] ?? (error instanceof Error ? error.message : String(error)) };
  }
}

function unquoted(text: string): string {
  return /^(["']).*\1$/.test(text) && text.length >= 2 ? text.slice(1, -1) : text;
}

/** A value for a message: quoted, control characters escaped, not endless. */
function show(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
