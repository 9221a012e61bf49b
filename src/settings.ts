/**
 * The settings: SETTINGS and CEILINGS are the one declaration. It yields the parsing, `--help`, the
 * table in the README and the check for misspelled names. Nothing is read here: what values and
 * defaults depend on is an argument, and config.ts alone knows where a value came from.
 */
import { resolve } from "node:path";
import type { LogLevel } from "./base/log.ts";
import { databaseUrlProblem } from "./domain/database-url.ts";
import {
  appDataMbDefault,
  appDataMbMax,
  appDataRowsDefault,
  appDataRowsMax,
  auditMaxMbDefault,
  auditRetentionDaysDefault,
  gateRunningMax,
  imageCacheMbDefault,
  LIMIT_CEILINGS,
  LIMIT_CEILINGS_MAX,
  LIMIT_FLOORS,
  type LimitName,
  logMaxMbDefault,
  logRetentionDaysDefault,
  passwordCharsMax,
  passwordCharsMin,
  sandboxesMax,
  sessionTtlHoursDefault,
  usernamePattern,
} from "./domain/limits.ts";

/** Where a listener listens. Port 0 takes any free port. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** The value of every setting but the ceilings of the limits. */
export interface Settings {
  bind: Address;
  adminBind: Address;
  /** Absolute. */
  dataDir: string;
  /** Of PostgreSQL, with its password. Null: SQLite in the data folder. */
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
  appDataMb: number;
  appDataRows: number;
  logRetentionDays: number;
  auditRetentionDays: number;
  auditMaxMb: number;
  logMaxMb: number;
  logFormat: "json" | "pretty";
  logLevel: LogLevel;
  durability: "full" | "normal";
  /** How this executable starts itself; a role's name follows. */
  command: readonly string[];
}

/** What the value or the default of a setting may depend on. */
export interface Circumstances {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly workingDir: string;
  /** How this program was started, without the role: the executable, or Bun and main.ts. */
  readonly self: readonly string[];
  /** Memory this process may use, bytes (see machineMemoryBytes). */
  readonly memoryBytes: number;
  /** The log goes to a terminal. */
  readonly isTerminal: boolean;
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

/** A value, or the rule that the text breaks, to follow the name of what was given. */
export type Parsed<T> = { value: T } | { rule: string };

/** How a setting is named, documented and read from a text. */
export interface Setting<T> {
  readonly name: string;
  readonly values: string;
  /** The default as the documentation shows it. */
  readonly shown: string;
  readonly description: string;
  readonly secret?: boolean;
  readonly parse: (text: string, around: Circumstances) => Parsed<T>;
  readonly initial: (around: Circumstances) => T;
}

/** What every variable starts with. */
export const variablePrefix = "PICLOUD_";
/** The variable that names the configuration file; no setting itself, since it says where they are. */
export const configName = "PICLOUD_CONFIG";
const gigabyte = 1024 ** 3;

export const SETTINGS: { readonly [K in keyof Settings]: Setting<Settings[K]> } = {
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
    description: "Holds the database, unless that is PostgreSQL; made when absent",
    parse: (text, around) => ({ value: resolve(around.workingDir, text) }),
    initial: (around) =>
      resolve(around.workingDir, around.env.STATE_DIRECTORY?.split(":")[0] || "picloud-data"),
  },
  databaseUrl: {
    name: "PICLOUD_DATABASE_URL",
    values: "postgres:// address",
    shown: "SQLite in the data folder",
    description: "A PostgreSQL database to use instead; see docs/postgresql.md",
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
  appDataMb: wholeNumber({
    name: "PICLOUD_APP_DATA_MB",
    min: 1,
    max: appDataMbMax,
    initial: appDataMbDefault,
    description: "What one app may keep: entries, documents, and events that wait or have failed",
  }),
  appDataRows: wholeNumber({
    name: "PICLOUD_APP_DATA_ROWS",
    min: 1,
    max: appDataRowsMax,
    initial: appDataRowsDefault,
    description: "The same, as a number of rows",
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
  auditRetentionDays: wholeNumber({
    name: "PICLOUD_AUDIT_RETENTION_DAYS",
    min: 1,
    max: 36_500,
    initial: auditRetentionDaysDefault,
    description: "How long the audit trail is kept: who changed what",
  }),
  auditMaxMb: wholeNumber({
    name: "PICLOUD_AUDIT_MAX_MB",
    min: 1,
    max: 65_536,
    initial: auditMaxMbDefault,
    description:
      "Size above which the oldest entries of the audit trail go earlier; the trail says so",
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

export const CEILINGS: { readonly [K in LimitName]: Setting<number> } = {
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

/** Every name that may be set, in the environment or as a flag. */
export function knownNames(): string[] {
  return [...allSettings().flatMap(({ name }) => [name, `${name}_FILE`]), configName];
}

/** The names whose values belong on no command line and in no message. */
export function secretNames(): string[] {
  return allSettings()
    .filter((setting) => setting.secret)
    .map((setting) => setting.name);
}

/** `PICLOUD_DATA_DIR` → `--data-dir`. */
export function flagOf(name: string): string {
  return `--${name.slice(variablePrefix.length).toLowerCase().replaceAll("_", "-")}`;
}

function allSettings(): Setting<unknown>[] {
  return [
    ...Object.values<Setting<unknown>>(SETTINGS),
    ...Object.values<Setting<unknown>>(CEILINGS),
  ];
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
    name: `${variablePrefix}LIMIT_${limit.toUpperCase()}`,
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

function automaticLogFormat(around: Circumstances): "json" | "pretty" {
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

function parseDatabaseUrl(text: string): Parsed<string> {
  const rule = databaseUrlProblem(text);
  return rule === null ? { value: text } : { rule };
}
