/** `log` and `console`: lines of the execution record. */
import { apply, cut, host, nothing, ownKeys, stringify } from "./host.ts";
import { OP_LOG } from "./operations.ts";

// <declarations>
/** Writes lines into the execution record. */
export interface Log {
  /** `fields` is a JSON object; what JSON cannot hold is written as text. */
  debug(message: unknown, fields?: Record<string, unknown>): void;
  info(message: unknown, fields?: Record<string, unknown>): void;
  warn(message: unknown, fields?: Record<string, unknown>): void;
  error(message: unknown, fields?: Record<string, unknown>): void;
}
// </declarations>

// <globals>
/** The same lines as `log`; values that are no strings are written out. */
export interface Console {
  log(...values: unknown[]): void;
  info(...values: unknown[]): void;
  debug(...values: unknown[]): void;
  trace(...values: unknown[]): void;
  warn(...values: unknown[]): void;
  error(...values: unknown[]): void;
  dir(value: unknown): void;
  assert(condition: unknown, ...values: unknown[]): void;
}
// </globals>

type Level = "debug" | "info" | "warn" | "error";

const DEPTH_MAX = 4;
const ENTRIES_MAX = 100;
const MESSAGE_CHARS_MAX = 32 * 1024;
const { toString: functionToString } = Function.prototype;
const { isArray } = Array;
const { min } = Math;

export const log: Log = {
  debug: (message, fields) => write("debug", show(message, 0), fields),
  info: (message, fields) => write("info", show(message, 0), fields),
  warn: (message, fields) => write("warn", show(message, 0), fields),
  error: (message, fields) => write("error", show(message, 0), fields),
};

export const console: Console = {
  log: (...values) => write("info", join(values)),
  info: (...values) => write("info", join(values)),
  debug: (...values) => write("debug", join(values)),
  trace: (...values) => write("debug", join(values)),
  warn: (...values) => write("warn", join(values)),
  error: (...values) => write("error", join(values)),
  dir: (value) => write("info", show(value, 0)),
  assert: (condition, ...values) => {
    if (!condition)
      write("error", `Assertion failed${values.length > 0 ? ": " : ""}${join(values)}`);
  },
};

function write(level: Level, message: string, fields?: unknown): void {
  const entry: Record<string, unknown> = nothing();
  entry.level = level;
  entry.message = message.length > MESSAGE_CHARS_MAX ? cut(message, 0, MESSAGE_CHARS_MAX) : message;
  const head = stringify(entry);
  host(OP_LOG, `${cut(head, 0, head.length - 1)},"fields":${fieldsText(fields)}}`);
}

/** A JSON object, or null. */
function fieldsText(fields: unknown): string {
  if (typeof fields !== "object" || fields === null) {
    return fields === undefined ? "null" : stringify({ __proto__: null, value: show(fields, 0) });
  }
  try {
    const text = stringify(fields);
    if (typeof text === "string" && text[0] === "{") return text;
  } catch {
    // Cycles and BigInt: written out below.
  }
  return stringify({ __proto__: null, value: show(fields, 0) });
}

function join(values: unknown[]): string {
  let text = "";
  for (let index = 0; index < values.length; index += 1) {
    text += (index === 0 ? "" : " ") + show(values[index], 0);
    if (text.length > MESSAGE_CHARS_MAX) break;
  }
  return text;
}

/** A value as text, bounded in depth and width; never throws for what a value does. */
function show(value: unknown, depth: number): string {
  if (typeof value === "string") return depth === 0 ? value : stringify(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "symbol") return String(value);
  if (typeof value === "function") return showFunction(value);
  if (typeof value !== "object" || value === null) return Object.is(value, -0) ? "-0" : `${value}`;
  try {
    return showObject(value, depth);
  } catch {
    return "[unreadable]";
  }
}

function showFunction(value: unknown): string {
  try {
    const isClass = cut(apply(functionToString, value, []) as string, 0, 5) === "class";
    return `[${isClass ? "class" : "Function"} ${(value as { name: string }).name || "(anonymous)"}]`;
  } catch {
    return "[Function]";
  }
}

function showObject(value: object, depth: number): string {
  if (value instanceof Error) {
    const stack = value.stack;
    return `${value.name}: ${value.message}${stack ? `\n${stack}` : ""}`;
  }
  if (depth >= DEPTH_MAX) return isArray(value) ? "[Array]" : "[Object]";
  if (value instanceof Date) return stringify(value);
  if (value instanceof RegExp) return `${value}`;
  if (value instanceof Map) return `Map ${showList([...value], depth)}`;
  if (value instanceof Set) return `Set ${showList([...value], depth)}`;
  if (isArray(value)) return showList(value, depth);
  if (ArrayBuffer.isView(value)) {
    return `${value.constructor.name} ${showList(Array.from(value as Uint8Array), depth)}`;
  }
  return showRecord(value as Record<PropertyKey, unknown>, depth);
}

function showList(values: unknown[], depth: number): string {
  let text = "";
  const count = min(values.length, ENTRIES_MAX);
  for (let index = 0; index < count; index += 1) {
    text += (index === 0 ? "" : ",") + show(values[index], depth + 1);
  }
  return `[${text}${values.length > count ? `,… ${values.length - count} more` : ""}]`;
}

function showRecord(value: Record<PropertyKey, unknown>, depth: number): string {
  const keys = ownKeys(value);
  const count = min(keys.length, ENTRIES_MAX);
  let text = "";
  for (let index = 0; index < count; index += 1) {
    const key = keys[index] as PropertyKey;
    const name = typeof key === "string" ? stringify(key) : `[${String(key)}]`;
    text += `${index === 0 ? "" : ","}${name}:${show(value[key], depth + 1)}`;
  }
  return `{${text}${keys.length > count ? `,… ${keys.length - count} more` : ""}}`;
}
