/**
 * How an execution's result and its error leave the guest. The script may have replaced every global
 * and polluted every prototype by now: only what was taken before is used here.
 */
import { apply, cut, host, nothing, stringify } from "./host.ts";
import { OP_ERROR, OP_RESULT } from "./operations.ts";

const MESSAGE_CHARS_MAX = 4_096;
const STACK_CHARS_MAX = 8_192;
const CODE_CHARS_MAX = 64;
const NativeTypeError = TypeError;
const NativeRangeError = RangeError;
const { keys } = Object;
const { isInteger } = Number;
const NativeString = String;
const { toLowerCase } = String.prototype;
const { exec } = RegExp.prototype;
const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Visible characters, spaces and tabs, and obs-text: RFC 9110 §5.5. */
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

type Kind = "none" | "json" | "text" | "base64";

/** Sends what the handler returned. Throws for what cannot be sent. */
export function deliver(value: unknown): void {
  if (value === undefined) {
    send(204, null, "none", "");
    return;
  }
  const status =
    typeof value === "object" && value !== null
      ? (value as { statusCode?: unknown }).statusCode
      : undefined;
  if (typeof status === "number") deliverResponse(value as object, status);
  else send(200, null, "json", toJson(value));
}

/** Sends what the handler threw. */
export function fail(thrown: unknown): void {
  host(OP_ERROR, stringify(describe(thrown)));
}

function deliverResponse(value: object, status: number): void {
  if (!isInteger(status) || status < 200 || status > 599) {
    throw new NativeRangeError(`statusCode must be a whole number from 200 to 599, not ${status}`);
  }
  const { headers, body, bodyBase64 } = value as Record<string, unknown>;
  const checked = checkHeaders(headers);
  if (bodyBase64 !== undefined && bodyBase64 !== null) {
    if (typeof bodyBase64 !== "string") throw new NativeTypeError("bodyBase64 must be a string");
    send(status, checked, "base64", stringify(bodyBase64));
  } else if (body === undefined) {
    send(status, checked, "none", "");
  } else if (typeof body === "string" && checked["content-type"] !== undefined) {
    send(status, checked, "text", stringify(body));
  } else {
    send(status, checked, "json", toJson(body));
  }
}

function send(status: number, headers: object | null, kind: Kind, body: string): void {
  // Put together by hand: writing the same few members with JSON costs 2 µs of an execution's 10.
  const headersText = headers === null ? "{}" : stringify(headers);
  host(OP_RESULT, `{"status":${status},"headers":${headersText},"kind":"${kind}"}`, body);
}

function toJson(value: unknown): string {
  let json: string | undefined;
  try {
    json = stringify(value);
  } catch (error) {
    // What a toJSON of the script's own threw is the script's error; the rest is worth a word.
    if (!(error instanceof NativeTypeError)) throw error;
    throw new NativeTypeError(`The result cannot be written as JSON: ${error.message}`);
  }
  if (json !== undefined) return json;
  throw new NativeTypeError(`The result cannot be written as JSON: it is a ${typeof value}`);
}

function checkHeaders(headers: unknown): Record<string, string | undefined> {
  const checked = nothing() as Record<string, string | undefined>;
  if (headers === undefined || headers === null) return checked;
  if (typeof headers !== "object") throw new NativeTypeError("headers must be an object");
  const names = keys(headers);
  for (let index = 0; index < names.length; index += 1) {
    const name = names[index] as string;
    const value = (headers as Record<string, unknown>)[name];
    if (value === undefined) continue;
    if (apply(exec, HEADER_NAME, [name]) === null) {
      throw new NativeTypeError(`${stringify(name)} is no name for a header`);
    }
    if (typeof value !== "string" && typeof value !== "number") {
      throw new NativeTypeError(`The header ${name} must be a string or a number, one value only`);
    }
    const text = NativeString(value);
    if (apply(exec, HEADER_VALUE, [text]) === null) {
      throw new NativeTypeError(`The header ${name} holds a character that no header may hold`);
    }
    checked[apply(toLowerCase, name, []) as string] = text;
  }
  return checked;
}

/** Name, message, stack and code of whatever was thrown, bounded. */
function describe(thrown: unknown): Record<string, unknown> {
  const error: Record<string, unknown> = nothing();
  if ((typeof thrown !== "object" || thrown === null) && typeof thrown !== "function") {
    error.name = "Error";
    error.message = bounded(NativeString(thrown), MESSAGE_CHARS_MAX);
    error.stack = "";
    return error;
  }
  error.name = bounded(read(thrown, "name", "Error"), CODE_CHARS_MAX);
  error.message = bounded(read(thrown, "message", null) ?? plain(thrown), MESSAGE_CHARS_MAX);
  error.stack = bounded(read(thrown, "stack", ""), STACK_CHARS_MAX);
  const code = read(thrown, "code", null);
  if (code !== null) error.code = bounded(code, CODE_CHARS_MAX);
  return error;
}

/** A member of what was thrown when it is a string, whatever its getter does. */
function read<D extends string | null>(thrown: object, member: string, fallback: D): string | D {
  try {
    const value = (thrown as Record<string, unknown>)[member];
    return typeof value === "string" ? value : fallback;
  } catch {
    return fallback;
  }
}

function plain(thrown: object): string {
  try {
    return stringify(thrown) ?? "a function was thrown";
  } catch {
    return "an object was thrown";
  }
}

function bounded(text: string | null, charsMax: number): string {
  if (text === null) return "";
  return text.length > charsMax ? cut(text, 0, charsMax) : text;
}
