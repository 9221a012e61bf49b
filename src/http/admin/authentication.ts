/**
 * Who calls. On the public listener only a bearer token counts. On the admin listener the session
 * cookie counts too; a browser sends it by itself, so whatever changes something must then come from
 * a page of this very host.
 */
import type { Actor } from "../../domain/accounts.ts";
import { sessionCookieName } from "../../domain/credentials.ts";
import { PicError } from "../../domain/errors.ts";
import type { Listener } from "./endpoint.ts";

export interface AuthenticationOptions {
  authenticate: (token: string) => Promise<Actor | null>;
  /** As configured: a proxy may show another host to the browser than to us. */
  publicBaseUrl: string | null;
}

/** Throws PicError `unauthenticated`, `forbidden`. */
export async function authenticate(
  request: Request,
  listener: Listener,
  options: AuthenticationOptions,
): Promise<Actor> {
  const authorization = request.headers.get("authorization");
  const isCookie = authorization === null && listener === "admin";
  const token = isCookie ? cookieToken(request) : bearerToken(authorization);
  const actor = token === null ? null : await options.authenticate(token);
  if (actor === null) {
    throw new PicError("unauthenticated", "This needs a session: log in first");
  }
  if (isCookie && !isSafe(request.method)) checkOrigin(request, options.publicBaseUrl);
  return actor;
}

/** Throws PicError `forbidden` unless the request says that it comes from a page of this host. */
export function checkOrigin(request: Request, publicBaseUrl: string | null): void {
  const origin = request.headers.get("origin");
  const from = origin === null ? null : URL.parse(origin);
  const isOurs =
    from !== null &&
    /^https?:$/.test(from.protocol) &&
    (from.host === request.headers.get("host")?.toLowerCase() ||
      (publicBaseUrl !== null && from.origin === URL.parse(publicBaseUrl)?.origin));
  if (!isOurs) throw new PicError("forbidden", "The request comes from a page of another host");
}

/** The header that keeps the session in a browser. Expiry is the server's: it slides. */
export function setSessionCookie(token: string, publicBaseUrl: string | null): string {
  return `${sessionCookieName}=${token}; ${cookieAttributes(publicBaseUrl)}`;
}

export function clearSessionCookie(publicBaseUrl: string | null): string {
  return `${sessionCookieName}=; Max-Age=0; ${cookieAttributes(publicBaseUrl)}`;
}

function cookieAttributes(publicBaseUrl: string | null): string {
  const secure = publicBaseUrl?.startsWith("https:") === true ? "; Secure" : "";
  return `Path=/; HttpOnly; SameSite=Strict${secure}`;
}

function isSafe(method: string): boolean {
  return method === "GET" || method === "HEAD";
}

function bearerToken(authorization: string | null): string | null {
  return /^bearer +([^\s]+)$/i.exec(authorization ?? "")?.[1] ?? null;
}

function cookieToken(request: Request): string | null {
  for (const pair of (request.headers.get("cookie") ?? "").split(";")) {
    const [name, value] = pair.trim().split("=");
    if (name === sessionCookieName && value !== undefined && value !== "") return value;
  }
  return null;
}
