/**
 * The server's own log: one line a record, JSON, or aligned text on a terminal. Never holds a
 * credential: callers pass fields, not requests.
 *
 * Fields hold what strangers sent (a username, a script's name). Nothing of it may begin a line, move
 * the cursor or turn the text around: such characters are written as escapes.
 */
export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Record<string, unknown>;

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to every record. */
  child(fields: LogFields): Logger;
}

export interface LoggerOptions {
  format: "json" | "pretty";
  level: LogLevel;
  write: (line: string) => void;
  now: () => number;
}

const SEVERITY: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 };
const COLOUR: Record<LogLevel, string> = { debug: "90", info: "36", warn: "33", error: "31" };

export function createLogger(options: LoggerOptions, fixed: LogFields = {}): Logger {
  const emit = (level: LogLevel, message: string, fields: LogFields = {}): void => {
    if (SEVERITY[level] < SEVERITY[options.level]) return;
    const all = { ...fixed, ...fields };
    const at = new Date(options.now()).toISOString();
    options.write(
      options.format === "json"
        ? `${visible(JSON.stringify({ at, level, message, ...plain(all) }))}\n`
        : `\x1b[90m${at.slice(11, 23)}\x1b[0m \x1b[${COLOUR[level]}m${level.padEnd(5)}\x1b[0m ${visible(message)}${pretty(all)}\n`,
    );
  };
  return {
    debug: (message, fields) => emit("debug", message, fields),
    info: (message, fields) => emit("info", message, fields),
    warn: (message, fields) => emit("warn", message, fields),
    error: (message, fields) => emit("error", message, fields),
    child: (fields) => createLogger(options, { ...fixed, ...fields }),
  };
}

/** A logger that drops everything, for tests and for the bench. */
export const silentLogger: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => silentLogger,
};

function plain(fields: LogFields): LogFields {
  const out: LogFields = {};
  for (const [name, value] of Object.entries(fields)) out[name] = plainValue(value);
  return out;
}

function plainValue(value: unknown): unknown {
  if (value instanceof Error) {
    return { name: value.name, message: value.message, stack: value.stack };
  }
  return typeof value === "bigint" ? value.toString() : value;
}

function pretty(fields: LogFields): string {
  return Object.entries(fields)
    .map(([name, value]) => {
      if (value instanceof Error) return indented(value.stack ?? value.message);
      const text = typeof value === "string" ? value : JSON.stringify(plainValue(value));
      return ` \x1b[90m${name}=\x1b[0m${visible(text ?? "undefined")}`;
    })
    .join("");
}

/** Lines of their own, which cannot be taken for records. */
function indented(text: string): string {
  return text
    .split("\n")
    .map((line) => `\n    ${visible(line)}`)
    .join("");
}

/** Control characters of both sets, line separators, and the marks that reorder text. */
const INVISIBLE = /[\p{Cc}\p{Zl}\p{Zp}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/** JSON escapes some of these itself; the rest are escaped alike, so that it stays JSON. */
function visible(text: string): string {
  return text.replace(
    INVISIBLE,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
