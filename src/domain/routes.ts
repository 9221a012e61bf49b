/**
 * Routes and the pure rules about them: what a pattern means, which kind it looks like, and what is
 * refused. Matching lives in routing/table.ts, the conflict rule in routing/conflict.ts.
 */
import { invalidField, PicError } from "./errors.ts";
import { normaliseTypedHost } from "./hosts.ts";
import {
  hostCharsMax,
  routeHostLabelsMax,
  routeParamNameCharsMax,
  routePathCharsMax,
  routeSegmentsMax,
} from "./limits.ts";
import { normalisePath, RESERVED_NAMES } from "./paths.ts";

export type PathKind = "exact" | "prefix" | "param";
export type HostKind = "any" | "strict" | "wildcard";
export type RouteMethod = "ANY" | "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS";
export type DispatchMode = "sync" | "async";

/** A route binds a method, a host pattern and a path pattern to a script. Stored as typed. */
export interface Route {
  id: string;
  app_id: string;
  script_id: string;
  path: string;
  path_kind: PathKind;
  method: RouteMethod;
  host: string;
  host_kind: HostKind;
  host_param_name: string | null;
  dispatch_mode: DispatchMode;
  created_at: number;
  created_by: string | null;
}

/** What decides which requests a route gets. */
export type RoutePattern = Pick<
  Route,
  "path" | "path_kind" | "method" | "host" | "host_kind" | "host_param_name"
>;

export const ROUTE_METHODS = [
  "ANY",
  "GET",
  "HEAD",
  "POST",
  "PUT",
  "PATCH",
  "DELETE",
  "OPTIONS",
] as const satisfies readonly RouteMethod[];

/** A path pattern, understood. Literals are canonical (domain/paths.ts). */
export interface PathPattern {
  kind: PathKind;
  /** exact: the whole path. prefix: all before the star, ending with a slash. param: "". */
  literal: string;
  /** What stands between the slashes, a prefix's star left out; null where a parameter stands. */
  segments: readonly (string | null)[];
  /** The parameters' names, in order. */
  names: readonly string[];
  /** How many literal segments come before the first parameter or the star. */
  leading_literals: number;
}

/** A host pattern, understood. `name` is canonical (domain/hosts.ts), without the star. */
export interface HostPattern {
  kind: HostKind;
  name: string;
}

/** What a person or a program asks for; what is absent is detected or has its default. */
export interface RouteInput {
  path: string;
  method?: RouteMethod | undefined;
  host?: string | null | undefined;
  path_kind?: PathKind | null | undefined;
  host_kind?: HostKind | null | undefined;
  host_param_name?: string | null | undefined;
  dispatch_mode?: DispatchMode | undefined;
}

export interface CheckedRoute {
  /** As typed, with kinds and defaults filled in. */
  route: RoutePattern & Pick<Route, "dispatch_mode">;
  /** Says that a given kind does not look like the pattern; it is believed all the same. */
  warning: string | null;
}

const PARAM_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** `/a/*` looks like a prefix, a colon makes parameters, anything else is exact. */
export function detectPathKind(path: string): PathKind {
  if (path.endsWith("/*")) return "prefix";
  return path.includes(":") ? "param" : "exact";
}

/** No host is any host, `*.` makes a wildcard, anything else is strict. */
export function detectHostKind(host: string): HostKind {
  if (host === "") return "any";
  return host.startsWith("*.") ? "wildcard" : "strict";
}

/** Checks a wanted route and fills it in. Throws PicError `invalid` that names the field. */
export function checkRoute(input: RouteInput): CheckedRoute {
  const method = input.method ?? "ANY";
  if (!ROUTE_METHODS.includes(method)) {
    throw invalidField("method", `must be one of ${ROUTE_METHODS.join(", ")}`);
  }
  const host = input.host ?? "";
  const path_kind = input.path_kind ?? detectPathKind(input.path);
  const host_kind = input.host_kind ?? detectHostKind(host);
  const host_param_name = input.host_param_name ?? null;
  if (input.path_kind == null && path_kind === "exact" && input.path.includes("*")) {
    throw invalidField("path", "a star may only stand for the end, as in `/files/*`");
  }
  const path = parsePath(input.path, path_kind);
  refuseReserved(path);
  parseHost(host, host_kind);
  checkHostParam(host_kind, host_param_name, path);
  const dispatch_mode = input.dispatch_mode ?? "sync";
  return {
    route: { path: input.path, path_kind, method, host, host_kind, host_param_name, dispatch_mode },
    warning: kindWarning(input, path_kind, host_kind),
  };
}

/**
 * Reads a path pattern. As `exact`, colons and stars are characters like others.
 * Throws PicError `invalid` for field `path`.
 */
export function parsePath(path: string, kind: PathKind): PathPattern {
  if (path.length > routePathCharsMax) {
    throw invalidField("path", `must have at most ${routePathCharsMax} characters`);
  }
  if (/[{}]/.test(path)) {
    throw invalidField("path", "`{` and `}` are reserved; write a parameter as `:name`");
  }
  const canonical = normalisePattern(path);
  if (kind === "prefix" && !canonical.endsWith("/*")) {
    throw invalidField("path", "a prefix must end with `/*`");
  }
  const pieces = (kind === "prefix" ? canonical.slice(0, -2) : canonical).split("/").slice(1);
  if (pieces.length > routeSegmentsMax) {
    throw invalidField("path", `must have at most ${routeSegmentsMax} segments`);
  }
  if (kind === "exact") {
    return {
      kind,
      literal: canonical,
      segments: pieces,
      names: [],
      leading_literals: pieces.length,
    };
  }
  return kind === "prefix" ? prefixPattern(canonical, pieces) : paramPattern(pieces);
}

/** Reads a host pattern. Throws PicError `invalid` for field `host`. */
export function parseHost(host: string, kind: HostKind): HostPattern {
  if (kind === "any") return { kind, name: "" };
  if (host.length > hostCharsMax) {
    throw invalidField("host", `must have at most ${hostCharsMax} characters`);
  }
  if (kind === "wildcard" && !host.startsWith("*.")) {
    throw invalidField("host", "a wildcard must begin with `*.`");
  }
  const name = normaliseTypedHost(kind === "wildcard" ? host.slice(2) : host);
  if (name === null) {
    throw invalidField("host", "must be a host name without port, as in `sub.example.com`");
  }
  if (name.split(".").length > routeHostLabelsMax) {
    throw invalidField("host", `must have at most ${routeHostLabelsMax} labels`);
  }
  if (kind === "wildcard" && /(?:^|\.)[0-9]+$|^\[/.test(name)) {
    throw invalidField("host", "an address has no subdomains");
  }
  return { kind, name };
}

function prefixPattern(canonical: string, pieces: string[]): PathPattern {
  for (const piece of pieces) {
    if (piece.includes(":")) throw invalidField("path", "a prefix takes no parameters");
    refuseStar(piece);
  }
  return {
    kind: "prefix",
    literal: canonical.slice(0, -1),
    segments: pieces,
    names: [],
    leading_literals: pieces.length,
  };
}

function paramPattern(pieces: string[]): PathPattern {
  const names: string[] = [];
  const segments = pieces.map((piece) => {
    refuseStar(piece);
    if (!piece.startsWith(":")) {
      if (!piece.includes(":")) return piece;
      throw invalidField("path", `a parameter takes a whole segment, but \`${piece}\` is mixed`);
    }
    const name = piece.slice(1);
    checkParamName("path", name);
    if (names.includes(name)) throw invalidField("path", `\`:${name}\` stands there twice`);
    names.push(name);
    return null;
  });
  const first = segments.indexOf(null);
  return {
    kind: "param",
    literal: "",
    segments,
    names,
    leading_literals: first === -1 ? segments.length : first,
  };
}

function refuseStar(piece: string): void {
  if (piece.includes("*")) {
    throw invalidField("path", "a star may only stand for the end, as in `/files/*`");
  }
}

function normalisePattern(path: string): string {
  try {
    return normalisePath(path);
  } catch (error) {
    if (error instanceof PicError) throw invalidField("path", error.message);
    throw error;
  }
}

function refuseReserved(pattern: PathPattern): void {
  const first = pattern.segments[0];
  if (first != null && RESERVED_NAMES.has(first)) {
    throw invalidField("path", `\`/${first}\` is reserved for PiCloud itself`);
  }
}

function checkHostParam(kind: HostKind, name: string | null, path: PathPattern): void {
  if (name === null) return;
  if (kind !== "wildcard") {
    throw invalidField("host_param_name", "needs a wildcard host, as in `*.example.com`");
  }
  checkParamName("host_param_name", name);
  if (path.names.includes(name)) {
    throw invalidField("host_param_name", `\`${name}\` is a parameter of the path already`);
  }
}

function checkParamName(field: string, name: string): void {
  if (!PARAM_NAME.test(name) || name.length > routeParamNameCharsMax) {
    throw invalidField(
      field,
      `\`${name}\` is no parameter name: letters, digits and _, at most ${routeParamNameCharsMax}`,
    );
  }
}

function kindWarning(input: RouteInput, path: PathKind, host: HostKind): string | null {
  const warnings: string[] = [];
  const pathLooks = detectPathKind(input.path);
  if (pathLooks !== path) {
    warnings.push(`the path looks like \`${pathLooks}\`, but is taken as \`${path}\``);
  }
  const hostLooks = detectHostKind(input.host ?? "");
  if (hostLooks !== host) {
    warnings.push(`the host looks like \`${hostLooks}\`, but is taken as \`${host}\``);
  }
  return warnings.length === 0 ? null : warnings.join("; ");
}
