/**
 * Hosts of apps: on a host that is given to an app only its routes serve. A pattern is a name, or all
 * below a name; the most specific one decides (routing/host-owners.ts).
 */
import { invalidField } from "./errors.ts";
import { detectHostKind, type HostPattern, parseHost } from "./routes.ts";

export interface AppHost {
  /** Canonical (domain/hosts.ts): `blog.home.lan`, or `*.blog.home.lan` for all below it. */
  host: string;
  app_id: string;
  created_at: number;
  created_by: string | null;
}

/**
 * What a person typed: Unicode is welcome, an address too, but nothing is below one. Throws PicError
 * `invalid` for field `host`.
 */
export function parseAppHost(typed: string): HostPattern {
  const kind = detectHostKind(typed);
  if (kind === "any") {
    throw invalidField("host", "must be a host name, as in `blog.home.lan` or `*.blog.home.lan`");
  }
  return parseHost(typed, kind);
}

/** A pattern as it is stored and shown. */
export function hostText({ kind, name }: HostPattern): string {
  return kind === "wildcard" ? `*.${name}` : name;
}

/** True when every request host that `inner` takes is one that `outer` takes. */
export function isInside(inner: HostPattern, outer: HostPattern): boolean {
  if (inner.kind === "any" || outer.kind === "any") return outer.kind === "any";
  if (outer.kind === "strict") return inner.kind === "strict" && inner.name === outer.name;
  if (inner.kind === "wildcard" && inner.name === outer.name) return true;
  return inner.name.endsWith(`.${outer.name}`);
}
