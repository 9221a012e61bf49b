/**
 * Takes credentials out of execution records.
 *
 * By name: certain headers, and query parameters named like a credential, wherever a URL stands
 * (path, referer, location). By value: what those held is also removed from the texts a script
 * made of it (bodies, log lines, error messages), because `console.log(ctx.request.headers)` and an
 * echo handler are the first things people write.
 */
import type { GuestError, LogEntry } from "../domain/executions.ts";

export const REDACTED = "[redacted]";

const SECRET_HEADERS = new Set([
  "authorization",
  "cookie",
  "set-cookie",
  "proxy-authorization",
  "x-api-key",
]);

const SECRET_PARAMETER = /token|key|secret|passw|pwd/i;
/** A query parameter inside a URL; the name may be percent-encoded. */
const URL_PARAMETER = /([?&;])([^=&;#?\s"'<>]{1,256})=([^&;#\s"'<>]*)/g;

/** A member of a JSON text named like a secret header; the end of its value may be cut off. */
const SECRET_MEMBER = new RegExp(
  `("(?:${[...SECRET_HEADERS].join("|")})"\\s*:\\s*)"(?:[^"\\\\]|\\\\.)*\\\\?(?:"|$)`,
  "gi",
);

/**
 * Shorter values are left where they are in texts: replacing every "on" or "1" would spoil a
 * record and hide nothing. Values of query parameters are often plain words ("?key=greeting").
 */
const headerValueCharsMin = 8;
const parameterValueCharsMin = 16;
const secretsMax = 64;
const fieldDepthMax = 8;

export function redactHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  return mapValues(headers, (name, value) =>
    SECRET_HEADERS.has(name.toLowerCase()) ? REDACTED : redactUrl(value),
  );
}

export function redactQuery(query: Readonly<Record<string, string>>): Record<string, string> {
  return mapValues(query, (name, value) => (SECRET_PARAMETER.test(name) ? REDACTED : value));
}

/** A path or URL with the values of its secret query parameters taken out. */
export function redactUrl(text: string): string {
  if (!text.includes("=")) return text;
  return text.replace(URL_PARAMETER, (whole, before: string, name: string) =>
    SECRET_PARAMETER.test(decoded(name)) ? `${before}${name}=${REDACTED}` : whole,
  );
}

/** The values that `redactHeaders` and `redactQuery` take out, as they may turn up in texts. */
export function secretValues(from: {
  headers: Readonly<Record<string, string>>;
  query: Readonly<Record<string, string>>;
}): string[] {
  const found = new Set<string>();
  const add = (value: string, charsMin: number): void => {
    if (value.length < charsMin || found.size >= secretsMax) return;
    found.add(value);
    const escaped = JSON.stringify(value).slice(1, -1);
    if (escaped !== value) found.add(escaped);
  };
  for (const [name, value] of Object.entries(from.headers)) {
    if (!SECRET_HEADERS.has(name.toLowerCase())) continue;
    add(value, headerValueCharsMin);
    // the token behind a scheme; the values of the single cookies
    for (const part of value.split(/[;,\s]+/)) {
      const equals = part.indexOf("=");
      add(equals > 0 ? part.slice(equals + 1) : part, headerValueCharsMin);
    }
  }
  for (const [name, value] of Object.entries(from.query)) {
    if (SECRET_PARAMETER.test(name)) add(value, parameterValueCharsMin);
  }
  // longest first, so that no part of a longer one is left over
  return [...found].sort((a, b) => b.length - a.length);
}

export function redactText(text: string, secrets: readonly string[]): string {
  let result = text;
  for (const secret of secrets) {
    if (result.includes(secret)) result = result.replaceAll(secret, () => REDACTED);
  }
  return result;
}

/** The JSON text of an event, be it cut: a request that became a dead letter has headers in it. */
export function redactPayload(payload: string, secrets: readonly string[]): string {
  return redactText(payload.replace(SECRET_MEMBER, `$1${JSON.stringify(REDACTED)}`), secrets);
}

export function redactLog(entry: LogEntry, secrets: readonly string[]): LogEntry {
  return {
    level: entry.level,
    message: redactText(entry.message, secrets),
    fields:
      entry.fields === null
        ? null
        : (redactFields(entry.fields, secrets, 0) as Record<string, unknown>),
    at: entry.at,
  };
}

export function redactError(error: GuestError, secrets: readonly string[]): GuestError {
  if (secrets.length === 0) return error;
  return {
    ...error,
    message: redactText(error.message, secrets),
    stack: redactText(error.stack, secrets),
  };
}

function redactFields(value: unknown, secrets: readonly string[], depth: number): unknown {
  if (typeof value === "string") return redactText(value, secrets);
  if (typeof value !== "object" || value === null) return value;
  // nobody reads deeper, and what is not looked at must not be kept
  if (depth >= fieldDepthMax) return Array.isArray(value) ? ["…"] : { "…": "…" };
  if (Array.isArray(value)) return value.map((item) => redactFields(item, secrets, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      name,
      SECRET_HEADERS.has(name.toLowerCase()) ? REDACTED : redactFields(member, secrets, depth + 1),
    ]),
  );
}

/** `fromEntries` defines properties: a header named `__proto__` stays a header. */
function mapValues(
  record: Readonly<Record<string, string>>,
  map: (name: string, value: string) => string,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(record).map(([name, value]) => [name, map(name, value)]),
  );
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
