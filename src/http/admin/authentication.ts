/**
 * Who calls. On the public listener only a bearer token counts. On the admin listener the session
 * cookie counts too; a browser sends it by itself, so whatever changes something must then come from
 * a page of this very listener. Pages of scripts are no such pages: they share the host, and with it
 * the cookie (cookies ignore ports), but not the origin. So PICLOUD_PUBLIC_BASE_URL, where scripts are
 * served, proves nothing here.
 */

import type { ResourceRef } from "../../domain/access.ts";
import { sessionCookieName, sessionTokenPrefix } from "../../domain/credentials.ts";
import { PicError } from "../../domain/errors.ts";
import type { Authenticate, Authenticated } from "../../services/authentication.ts";
import { bearerToken } from "../request-headers.ts";
import type { Listener } from "./endpoint.ts";

export interface AuthenticationOptions {
  authenticate: Authenticate;
  /** As configured; behind https the cookie is marked Secure. */
  publicBaseUrl: string | null;
}

interface AuthenticatedFrom {
  listener: Listener;
  remote_address: string;
  request_id?: string;
}

/** Throws PicError `unauthenticated`, `forbidden`. */
export async function authenticate(
  request: Request,
  { listener, remote_address, request_id = "" }: AuthenticatedFrom,
  options: AuthenticationOptions,
  resource: ResourceRef = { kind: "none" },
): Promise<Authenticated> {
  const { token, isCookie } = tokenOf(request, listener);
  const origin = { address: remote_address, request_id };
  const found = token === null ? null : await options.authenticate(token, resource, origin);
  if (found === null) {
    throw new PicError("unauthenticated", "This needs a session or an API key: log in first");
  }
  if (isCookie && !isSafe(request.method)) checkOrigin(request);
  return found;
}

/** What a request brings along; nobody has looked whether it is good. */
export function tokenOf(
  request: Request,
  listener: Listener,
): { token: string | null; isCookie: boolean } {
  const isCookie = listener === "admin" && !request.headers.has("authorization");
  return { isCookie, token: isCookie ? cookieToken(request) : bearerToken(request.headers) };
}

/**
 * Throws PicError `forbidden` unless the request says that it comes from a page of this listener. A
 * proxy may have shown another host to the browser than to us: then the browser's own judgement
 * counts (Fetch Metadata; no page can set `Sec-` headers).
 */
export function checkOrigin(request: Request): void {
  const origin = request.headers.get("origin");
  const from = origin === null ? null : URL.parse(origin);
  const isOurs =
    from !== null &&
    /^https?:$/.test(from.protocol) &&
    (from.host === request.headers.get("host")?.toLowerCase() ||
      request.headers.get("sec-fetch-site") === "same-origin");
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

/**
 * The session cookie. Two of them that differ are none: a page of a script can set one for this host,
 * and a longer path puts it first, so that the owner would work in somebody else's session.
 */
function cookieToken(request: Request): string | null {
  const found = new Set<string>();
  for (const pair of (request.headers.get("cookie") ?? "").split(";")) {
    const [name, value] = pair.trim().split("=");
    if (name === sessionCookieName && value !== undefined && value !== "") found.add(value);
  }
  const [token] = found;
  // Only a login makes one: an API key in a cookie would be sent by browsers that were never asked.
  return found.size === 1 && token?.startsWith(sessionTokenPrefix) === true ? token : null;
}
