/**
 * The headers a script gets to see: lower-case names, without what concerns only this connection
 * (RFC 9110 §7.6.1) and without PiCloud's own credentials. Forwarded-* headers are passed on as they
 * came: the server itself believes none of them.
 */
import { apiKeyPrefix, sessionCookieName, sessionTokenPrefix } from "../domain/credentials.ts";
import { requestIdCharsMax } from "../domain/limits.ts";

/** Also dropped from what a script answers. */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

const OWN_TOKEN = new RegExp(`(?:^|[^A-Za-z0-9_])(?:${sessionTokenPrefix}|${apiKeyPrefix})`);
const REQUEST_ID = /^[A-Za-z0-9._:-]+$/;

/** @returns a new object; safe for any header name, `__proto__` included. */
export function guestHeaders(headers: Headers): Record<string, string> {
  const all = headers.toJSON() as Record<string, string>;
  const named = namedByConnection(all.connection);
  const kept: Record<string, string> = Object.create(null);
  for (const name of Object.keys(all)) {
    if (HOP_BY_HOP.has(name) || named?.has(name) === true) continue;
    const value = all[name] as string;
    if (name === "authorization") {
      if (!carriesOwnToken(value)) kept[name] = value;
    } else if (name === "cookie") {
      const cookies = withoutSession(value);
      if (cookies !== "") kept[name] = cookies;
    } else {
      kept[name] = value;
    }
  }
  return kept;
}

/** The token of `Authorization: Bearer …`, or null. */
export function bearerToken(headers: Headers): string | null {
  return /^bearer +([^\s,]+)$/i.exec(headers.get("authorization") ?? "")?.[1] ?? null;
}

/** The caller's own `X-Request-Id` when it is harmless in a log, else a new id. */
export function requestIdOf(headers: Headers, newId: () => string): string {
  const given = headers.get("x-request-id");
  if (given === null) return newId();
  return given.length <= requestIdCharsMax && REQUEST_ID.test(given) ? given : newId();
}

function namedByConnection(connection: string | undefined): Set<string> | null {
  if (connection === undefined || connection === "keep-alive" || connection === "close")
    return null;
  return new Set(connection.split(",").map((name) => name.trim().toLowerCase()));
}

/** In plain sight, as with Bearer, or inside of Basic's base64. */
function carriesOwnToken(authorization: string): boolean {
  if (OWN_TOKEN.test(authorization)) return true;
  const basic = /(?:^|[\s,])basic\s+([A-Za-z0-9+/_=-]+)/i.exec(authorization);
  return basic !== null && OWN_TOKEN.test(Buffer.from(basic[1] as string, "base64").toString());
}

function withoutSession(cookies: string): string {
  if (!cookies.includes(sessionCookieName)) return cookies;
  return cookies
    .split(";")
    .map((pair) => pair.trim())
    .filter((pair) => pair !== "" && pair.split("=", 1)[0]?.trim() !== sessionCookieName)
    .join("; ");
}
