/**
 * The only reader of the environment. Flags win over variables, variables over the configuration
 * file, the file over the defaults; the result is frozen and handed down as arguments.
 *
 * SETTINGS is the one declaration: it yields the parsing, `--help`, the table in the README and the
 * check for misspelled names. Every problem is collected, so that one start reports all of them. A
 * secret's value is never part of a message.
 */
import { resolve } from "node:path";
import type { LogLevel } from "./base/log.ts";
import {
  gateRunningMax,
  imageCacheMbDefault,
  LIMIT_CEILINGS,
  LIMIT_CEILINGS_MAX,
  LIMIT_FLOORS,
  LIMIT_NAMES,
  type LimitName,
  logMaxMbDefault,
  logRetentionDaysDefault,
  passwordCharsMax,
  passwordCharsMin,
  type ScriptLimits,
  sandboxesMax,
  sessionTtlHoursDefault,
  settingBytesMax,
  usernamePattern,
} from "./domain/limits.ts";

/** Where a listener listens. Port 0 takes any free port. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

interface Settings {
  bind: Address;
  adminBind: Address;
  /** Absolute. */
  dataDir: string;
  /** Null: SQLite in the data folder. */
  databaseUrl: string | null;
  /** Without a slash at the end. */
  publicBaseUrl: string | null;
  adminUsername: string | null;
  adminPassword: string | null;
  sessionTtlHours: number;
  /** How many sandbox children serve; the warm spare comes on top. */
  sandboxes: number;
  maxConcurrency: number;
  imageCacheMb: number;
  logRetentionDays: number;
  logMaxMb: number;
  logFormat: "json" | "pretty";
  logLevel: LogLevel;
  durability: "full" | "normal";
  /** How this executable starts itself; a role's name follows. */
  command: readonly string[];
}

export interface Config extends Readonly<Settings> {
  /** What a script's limits may be at most. May lie below the defaults of the limits. */
  readonly ceilings: Readonly<ScriptLimits>;
}

/** All that the configuration depends on, so that a test can name it. */
export interface Surroundings {
  /** What follows the role on the command line. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly workingDir: string;
  /** How this program was started, without the role: the executable, or Bun and main.ts. */
  readonly self: readonly string[];
  /** Memory this process may use, bytes (see machineMemoryBytes). */
  readonly memoryBytes: number;
  /** The log goes to a terminal. */
  readonly isTerminal: boolean;
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

/** One row of the table in the README and of `--help`. */
export interface SettingRow {
  readonly name: string;
  /** Null for a secret: a command line is visible to everybody on the machine. */
  readonly flag: string | null;
  readonly values: string;
  readonly initial: string;
  readonly description: string;
}

type Parsed<T> = { value: T } | { rule: string };

interface Setting<T> {
  readonly name: string;
  readonly values: string;
  /** The default as the documentation shows it. */
  readonly shown: string;
  readonly description: string;
  readonly secret?: boolean;
  readonly parse: (text: string, around: Surroundings) => Parsed<T>;
  readonly initial: (around: Surroundings) => T;
}

const prefix = "PICLOUD_";
const configName = "PICLOUD_CONFIG";
/** A name this close to a known one is a misspelling (edits), and so is one word too many or too few. */
const misspellingEditsMax = 2;
const gigabyte = 1024 ** 3;

const SETTINGS: { readonly [K in keyof Settings]: Setting<Settings[K]> } = {
  bind: {
    name: "PICLOUD_BIND",
    values: "host:port",
    shown: "`0.0.0.0:8080`",
    description: "Where scripts' routes, execute, health and the token API are served",
    parse: parseAddress,
    initial: () => ({ host: "0.0.0.0", port: 8080 }),
  },
  adminBind: {
    name: "PICLOUD_ADMIN_BIND",
    values: "host:port",
    shown: "`0.0.0.0:8081`",
    description: "Where the dashboard and the admin API are served, and no script's route",
    parse: parseAddress,
    initial: () => ({ host: "0.0.0.0", port: 8081 }),
  },
  dataDir: {
    name: "PICLOUD_DATA_DIR",
    values: "folder",
    shown: "systemd's `STATE_DIRECTORY`, else `./picloud-data`",
    description: "Holds the database; made when absent",
    parse: (text, around) => ({ value: resolve(around.workingDir, text) }),
    initial: (around) =>
      resolve(around.workingDir, around.env.STATE_DIRECTORY?.split(":")[0] || "picloud-data"),
  },
  databaseUrl: {
    name: "PICLOUD_DATABASE_URL",
    values: "address",
    shown: "SQLite in the data folder",
    description: "Another database; PostgreSQL comes with the next release",
    secret: true,
    parse: parseDatabaseUrl,
    initial: () => null,
  },
  publicBaseUrl: {
    name: "PICLOUD_PUBLIC_BASE_URL",
    values: "http(s) address",
    shown: "what a request names",
    description: "The address people use, when a proxy stands in front",
    parse: parseBaseUrl,
    initial: () => null,
  },
  adminUsername: {
    name: "PICLOUD_ADMIN_USERNAME",
    values: "name",
    shown: "none: a setup link is printed",
    description: "The first account, made when there is none yet",
    parse: (text) =>
      usernamePattern.test(text)
        ? { value: text }
        : {
            rule: "must be 1 to 64 of a-z, 0-9, dot, dash and underscore, with a letter or digit at both ends",
          },
    initial: () => null,
  },
  adminPassword: {
    name: "PICLOUD_ADMIN_PASSWORD",
    values: `${passwordCharsMin} to ${passwordCharsMax} characters`,
    shown: "none",
    description: "Its password; never changes an account that exists",
    secret: true,
    parse: (text) =>
      text.length >= passwordCharsMin && text.length <= passwordCharsMax
        ? { value: text }
        : { rule: `must have ${passwordCharsMin} to ${passwordCharsMax} characters` },
    initial: () => null,
  },
  sessionTtlHours: wholeNumber({
    name: "PICLOUD_SESSION_TTL_HOURS",
    min: 1,
    max: 8_760,
    initial: sessionTtlHoursDefault,
    description: "How long a login lasts without use",
  }),
  sandboxes: {
    ...wholeNumber({
      name: "PICLOUD_SANDBOXES",
      min: 1,
      max: sandboxesMax,
      initial: 1,
      description: "Processes that run scripts; a warm spare comes on top while there is traffic",
    }),
    shown: "`1` below 1 GB of memory, else `2`",
    initial: (around) => (around.memoryBytes < gigabyte ? 1 : 2),
  },
  maxConcurrency: wholeNumber({
    name: "PICLOUD_MAX_CONCURRENCY",
    min: 1,
    max: 1_024,
    initial: gateRunningMax,
    description: "Executions that run at one time; the next wait or are refused",
  }),
  imageCacheMb: wholeNumber({
    name: "PICLOUD_IMAGE_CACHE_MB",
    min: 1,
    max: 1_024,
    initial: imageCacheMbDefault,
    description: "Memory a sandbox keeps for the images of loaded scripts",
  }),
  logRetentionDays: wholeNumber({
    name: "PICLOUD_LOG_RETENTION_DAYS",
    min: 1,
    max: 3_650,
    initial: logRetentionDaysDefault,
    description: "How long execution records are kept",
  }),
  logMaxMb: wholeNumber({
    name: "PICLOUD_LOG_MAX_MB",
    min: 1,
    max: 65_536,
    initial: logMaxMbDefault,
    description: "Size above which the oldest execution records are deleted",
  }),
  logFormat: {
    name: "PICLOUD_LOG_FORMAT",
    values: "`auto`, `json`, `pretty`",
    shown: "`auto`: pretty on a terminal",
    description: "How the server's own log is written (to standard error)",
    parse: (text, around) => {
      const parsed = choice(["auto", "json", "pretty"])(text);
      if ("rule" in parsed) return parsed;
      return { value: parsed.value === "auto" ? automaticLogFormat(around) : parsed.value };
    },
    initial: automaticLogFormat,
  },
  logLevel: {
    name: "PICLOUD_LOG_LEVEL",
    values: "`debug`, `info`, `warn`, `error`",
    shown: "`info`",
    description: "The least severe records that are written",
    parse: choice(["debug", "info", "warn", "error"]),
    initial: () => "info",
  },
  durability: {
    name: "PICLOUD_DURABILITY",
    values: "`full`, `normal`",
    shown: "`full`",
    description: "`normal` answers before data is safe from a power cut",
    parse: choice(["full", "normal"]),
    initial: () => "full",
  },
  command: {
    name: "PICLOUD_CHILD_PREFIX",
    values: "words",
    shown: "none",
    description: "What child processes are started through, such as an emulator",
    parse: (text, around) => ({
      value: [...text.split(" ").filter((word) => word !== ""), ...around.self],
    }),
    initial: (around) => [...around.self],
  },
};

const CEILINGS: { readonly [K in LimitName]: Setting<number> } = {
  memory_mb: ceiling("memory_mb", "memory of a script, MB"),
  cpu_ms: ceiling("cpu_ms", "time a script may compute, ms"),
  timeout_ms: ceiling("timeout_ms", "time a script may take, ms"),
  response_kb: ceiling("response_kb", "size of a response, KB"),
  log_kb: ceiling("log_kb", "log of one execution, KB"),
  host_calls: ceiling("host_calls", "calls of one execution to the SDK"),
};

const CONFIG_FILE: SettingRow = {
  name: configName,
  flag: "--config",
  values: "file",
  initial: "none",
  description: "A file of `NAME=value` lines with the names of this table",
};

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
    logRetentionDays: read(SETTINGS.logRetentionDays),
    logMaxMb: read(SETTINGS.logMaxMb),
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

/** Every setting in the order of the documentation. */
export function settingRows(): SettingRow[] {
  const rows = allSettings().map((setting) => ({
    name: setting.name,
    flag: setting.secret ? null : flagOf(setting.name),
    values: setting.values,
    initial: setting.shown,
    description: setting.description,
  }));
  return [...rows, CONFIG_FILE];
}

/** The configuration table of the README. */
export function settingsMarkdown(): string {
  const rows = settingRows().map(
    (row) => `| \`${row.name}\` | ${row.values} | ${row.initial} | ${row.description} |`,
  );
  return ["| variable | value | default | what it is |", "|---|---|---|---|", ...rows].join("\n");
}

/**
 * Memory this process may use, bytes: the machine's, or less when a control group (systemd's
 * MemoryMax, a container) says so. Zero when nothing can be read.
 */
export function machineMemoryBytes(readFile: (path: string) => string): number {
  const lines = (path: string): string[] => {
    try {
      return readFile(path).split("\n");
    } catch {
      return [];
    }
  };
  const total = lines("/proc/meminfo").find((text) => text.startsWith("MemTotal:"));
  const bounds = [Number(total?.match(/\d+/)?.[0] ?? 0) * 1024];
  const groups = lines("/proc/self/cgroup");
  const unified = groups.find((text) => text.startsWith("0::"))?.slice(3) ?? "/";
  const legacy = groups.find((text) => text.split(":")[1]?.split(",").includes("memory"));
  for (const folder of ancestors(unified)) {
    bounds.push(Number(lines(`/sys/fs/cgroup${folder}/memory.max`)[0]));
  }
  for (const folder of ancestors(legacy?.split(":")[2] ?? "/")) {
    bounds.push(Number(lines(`/sys/fs/cgroup/memory${folder}/memory.limit_in_bytes`)[0]));
  }
  const known = bounds.filter((bytes) => Number.isFinite(bytes) && bytes > 0);
  return known.length === 0 ? 0 : Math.min(...known);
}

/** A flag or variable that is close to what was typed, or null. */
export function suggestion(typed: string, known: readonly string[]): string | null {
  let best: { name: string; edits: number } | null = null;
  for (const name of known) {
    const oneWordApart =
      name.replace(/[_-][^_-]+$/, "") === typed || typed.replace(/[_-][^_-]+$/, "") === name;
    const edits = oneWordApart ? misspellingEditsMax : editDistance(typed, name);
    if (edits <= misspellingEditsMax && edits < (best?.edits ?? Infinity)) best = { name, edits };
  }
  return best?.name ?? null;
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
    const name = prefix + flag.replace(/^--/, "").replaceAll("-", "_").toUpperCase();
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
    if (!name.startsWith(prefix) || text === undefined) continue;
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
// kinds of values

interface WholeNumber {
  name: string;
  min: number;
  max: number;
  initial: number;
  description: string;
}

function wholeNumber({ name, min, max, initial, description }: WholeNumber): Setting<number> {
  return {
    name,
    values: `${min} to ${max}`,
    shown: `\`${initial}\``,
    description,
    parse: (text) => {
      const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
      if (value >= min && value <= max) return { value };
      return { rule: `must be a whole number from ${min} to ${max}` };
    },
    initial: () => initial,
  };
}

function ceiling(limit: LimitName, what: string): Setting<number> {
  return wholeNumber({
    name: `${prefix}LIMIT_${limit.toUpperCase()}`,
    min: LIMIT_FLOORS[limit],
    max: LIMIT_CEILINGS_MAX[limit],
    initial: LIMIT_CEILINGS[limit],
    description: `Ceiling of \`${limit}\`: ${what}`,
  });
}

function choice<const T extends string>(values: readonly T[]): (text: string) => Parsed<T> {
  return (text) => {
    const value = values.find((candidate) => candidate === text);
    if (value !== undefined) return { value };
    return { rule: `must be one of ${values.join(", ")}` };
  };
}

function automaticLogFormat(around: Surroundings): "json" | "pretty" {
  return around.isTerminal ? "pretty" : "json";
}

function parseAddress(text: string): Parsed<Address> {
  const [, bracketed, plain, digits] =
    text.match(/^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === undefined || port > 65_535) {
    return {
      rule: "must be host:port, such as 0.0.0.0:8080 or [::1]:8080, with a port up to 65535",
    };
  }
  return { value: { host, port } };
}

function parseBaseUrl(text: string): Parsed<string> {
  const url = URL.canParse(text) ? new URL(text) : null;
  const isPlain =
    url !== null &&
    (url.protocol === "http:" || url.protocol === "https:") &&
    url.username + url.password + url.search + url.hash === "" &&
    !/[?#]/.test(text);
  if (!isPlain)
    return { rule: "must be an http or https address without a query, fragment or login" };
  return { value: url.href.replace(/\/+$/, "") };
}

function parseDatabaseUrl(text: string): Parsed<null> {
  if (/^postgres(ql)?:/i.test(text)) {
    return {
      rule: "PostgreSQL comes with the next release; unset it to use SQLite in the data folder",
    };
  }
  return {
    rule: "is no database address PiCloud knows; unset it to use SQLite in the data folder",
  };
}

// ---------------------------------------------------------------------------------------------
// names and texts

function allSettings(): Setting<unknown>[] {
  return [
    ...Object.values<Setting<unknown>>(SETTINGS),
    ...Object.values<Setting<unknown>>(CEILINGS),
  ];
}

function knownNames(): string[] {
  return [...allSettings().flatMap(({ name }) => [name, `${name}_FILE`]), configName];
}

function secretNames(): string[] {
  return allSettings()
    .filter((setting) => setting.secret)
    .map((setting) => setting.name);
}

function flagOf(name: string): string {
  return `--${name.slice(prefix.length).toLowerCase().replaceAll("_", "-")}`;
}

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

/** `/a/b` → `/a/b`, `/a`, and the root as the empty text. */
function ancestors(path: string): string[] {
  const parts = path.split("/").filter((part) => part !== "");
  return Array.from({ length: parts.length + 1 }, (_, dropped) =>
    parts
      .slice(0, parts.length - dropped)
      .map((part) => `/${part}`)
      .join(""),
  );
}

/** Insertions, deletions, replacements and swaps of neighbours (optimal string alignment). */
function editDistance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > misspellingEditsMax) return Infinity;
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const same = a[row - 1] === b[column - 1] ? 0 : 1;
      let cost = Math.min(
        (previous[column] as number) + 1,
        (current[column - 1] as number) + 1,
        (previous[column - 1] as number) + same,
      );
      const swapped =
        row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (swapped) cost = Math.min(cost, (before[column - 2] as number) + 1);
      current.push(cost);
    }
    before = previous;
    previous = current;
  }
  return previous[b.length] as number;
}
