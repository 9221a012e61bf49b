/**
 * Takes credentials out of execution records.
 *
 * By look: what has the form of PiCloud's own keys and session tokens, wherever it stands.
 * By name: certain headers, and query parameters named like a credential, wherever a URL stands
 * (path, referer, location). By value: what those held is also removed from the texts a script
 * made of it (bodies, log lines, error messages), because `console.log(ctx.request.headers)` and an
 * echo handler are the first things people write.
 */
import { apiKeyPrefix, sessionTokenPrefix } from "../domain/credentials.ts";
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

/** An API key (domain/api-keys.ts) or a session token. Of bounded length: linear for any text. */
const OWN_CREDENTIAL = new RegExp(
  `${apiKeyPrefix}[a-z2-7]{52}|${sessionTokenPrefix}[A-Za-z0-9_-]{43}`,
  "g",
);
/** One whose end was cut off. Plain words look like this, too: only for texts that were cut. */
const CUT_CREDENTIAL = new RegExp(
  `(?:${apiKeyPrefix}[a-z2-7]{0,51}|${sessionTokenPrefix}[A-Za-z0-9_-]{0,42})$`,
);
const ownCredentialCharsMax = 56;

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
  return mapValues(query, (name, value) =>
    SECRET_PARAMETER.test(name) ? REDACTED : withoutOwn(value),
  );
}

/** What the path of a route stands for. */
export function redactParams(
  params: Readonly<Record<string, string>>,
  secrets: readonly string[],
): Record<string, string> {
  return mapValues(params, (_name, value) => redactText(value, secrets));
}

/** A path or URL with the values of its secret query parameters taken out. */
export function redactUrl(url: string): string {
  const text = withoutOwn(url);
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
  let result = withoutOwn(text);
  for (const secret of secrets) {
    if (result.includes(secret)) result = result.replaceAll(secret, () => REDACTED);
  }
  return result;
}

/** A text that was cut, without the credential that the cut may have gone through. */
export function redactCutEnd(text: string): string {
  const at = Math.max(0, text.length - ownCredentialCharsMax);
  return text.slice(0, at) + text.slice(at).replace(CUT_CREDENTIAL, REDACTED);
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
  return {
    ...error,
    name: redactText(error.name, secrets),
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
      withoutOwn(name),
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
    Object.entries(record).map(([name, value]) => [withoutOwn(name), map(name, value)]),
  );
}

/** The plain search comes first: hardly any text has such a credential, and every text passes here. */
function withoutOwn(text: string): string {
  if (!text.includes(apiKeyPrefix) && !text.includes(sessionTokenPrefix)) return text;
  return text.replace(OWN_CREDENTIAL, REDACTED);
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
