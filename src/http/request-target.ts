/**
 * Which host and path a request means: judged once, here, and never again.
 *
 * What reaches us was seen with raw sockets on Bun 1.4.4. `request.url` is put together from the Host
 * header and the request target after WHATWG URL rules: dot segments (`%2e%2e`, too) are resolved, a
 * backslash has become a slash, the authority of an absolute-form target is gone. Two Host headers
 * arrive as one, joined by ", ". A Host that Bun cannot use leaves a bare, unresolved path as the URL;
 * so the Host header is judged first, and a path that is not resolved is refused (domain/paths.ts).
 * Bun itself answers 400 to `*`, to other schemes, to conflicting lengths, to length with chunks.
 */
import { PicError } from "../domain/errors.ts";
import { normaliseHost } from "../domain/hosts.ts";
import { hostsRememberedMax } from "../domain/limits.ts";
import { normalisePath } from "../domain/paths.ts";

export interface RequestTarget {
  /** Lower-case, without port and trailing dot. */
  host: string;
  /** Canonical: see domain/paths.ts. */
  path: string;
  /** As sent, without the question mark; "" when there is none. */
  query: string;
}

const scheme = "http://";
/** Host header → host, null when malformed. Forgotten whole when full: hosts are few, or hostile. */
const remembered = new Map<string, string | null>();

/** Throws PicError `malformed_request` for a host or path that two readers could read differently. */
export function readTarget(request: Request): RequestTarget {
  const host = hostOf(request.headers.get("host"));
  const { url } = request;
  const pathAt = url.indexOf("/", scheme.length);
  if (!url.startsWith(scheme) || pathAt === -1) throw malformed("The request target is malformed");
  if (url.includes("#", pathAt)) throw malformed("The request target has a fragment");
  const queryAt = url.indexOf("?", pathAt);
  if (queryAt === -1) return { host, path: normalisePath(url.slice(pathAt)), query: "" };
  return { host, path: normalisePath(url.slice(pathAt, queryAt)), query: url.slice(queryAt + 1) };
}

function hostOf(header: string | null): string {
  if (header === null) throw malformed("The Host header is missing");
  let host = remembered.get(header);
  if (host === undefined) {
    host = normaliseHost(header);
    if (remembered.size >= hostsRememberedMax) remembered.clear();
    remembered.set(header, host);
  }
  if (host === null) throw malformed("The Host header is malformed, or there is more than one");
  return host;
}

function malformed(message: string): PicError {
  return new PicError("malformed_request", message);
}
