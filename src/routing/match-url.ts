/** Answers "which route would this URL reach?" as the gateway would. */
import { invalidField, PicError } from "../domain/errors.ts";
import { normaliseHost } from "../domain/hosts.ts";
import { isReservedPath, normalisePath } from "../domain/paths.ts";
import type { RouteMatch, RoutingTable } from "./api.ts";

/** Where a typed URL leads: the same host and path that the gateway would see. */
export interface UrlTarget {
  /** "" when the URL has none: then only routes for any host are found. */
  host: string;
  path: string;
}

const BASE = "http://nowhere.invalid";

/**
 * Reads `https://host/path?query` or `/path`. Dot segments are resolved as Bun does it for a request.
 * Throws PicError `invalid` for field `url`.
 */
export function parseTargetUrl(url: string): UrlTarget {
  const bare = url.startsWith("/");
  let parsed: URL;
  try {
    // Put together, not resolved: `//x` is a path of the gateway, not another host.
    parsed = new URL(bare ? BASE + url : url);
  } catch {
    throw invalidField("url", "must be a URL, or a path that begins with a slash");
  }
  if (parsed.protocol !== "http:" && parsed.protocol !== "https:") {
    throw invalidField("url", "must be an http or https URL");
  }
  if (parsed.username !== "" || parsed.password !== "") {
    throw invalidField("url", "must not carry credentials");
  }
  const host = bare ? "" : normaliseHost(parsed.hostname);
  if (host === null) throw invalidField("url", "has a malformed host");
  try {
    return { host, path: normalisePath(parsed.pathname) };
  } catch (error) {
    if (error instanceof PicError) throw invalidField("url", error.message);
    throw error;
  }
}

/** The route that a request would run, or null: nothing there, another method, or a system path. */
export function matchUrl(table: RoutingTable, method: string, url: string): RouteMatch | null {
  const { host, path } = parseTargetUrl(url);
  if (isReservedPath(path)) return null;
  const result = table.match(method.toUpperCase(), host, path);
  return result.kind === "match" ? result.match : null;
}
