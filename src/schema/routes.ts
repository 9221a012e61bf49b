/** Routes on the wire. */
import { hostCharsMax, routePathCharsMax } from "../domain/limits.ts";
import { type } from "./arktype.ts";

const pathKind = type("'exact' | 'prefix' | 'param'");
const hostKind = type("'any' | 'strict' | 'wildcard'");
const method = type("'ANY' | 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'OPTIONS'");
const dispatchMode = type("'sync' | 'async'");

export const route = type({
  id: "string",
  app_id: "string",
  script_id: "string",
  path: "string",
  path_kind: pathKind,
  method,
  host: "string",
  host_kind: hostKind,
  host_param_name: "string | null",
  dispatch_mode: dispatchMode,
  created_at: "string",
  created_by: "string | null",
});
export type WireRoute = typeof route.infer;

/** `warning` says so when a kind was given that does not fit what was typed. */
export const createdRoute = route.merge({ warning: "string | null" });
export type WireCreatedRoute = typeof createdRoute.infer;

export const routePage = type({ items: route.array(), next_cursor: "string | null" });

/** Absent kinds are detected from the patterns. */
export const routeInput = type({
  "+": "reject",
  path: `1 <= string <= ${routePathCharsMax}`,
  "method?": method,
  "host?": `string <= ${hostCharsMax}`,
  "path_kind?": pathKind,
  "host_kind?": hostKind,
  "host_param_name?": "1 <= string <= 64 | null",
  "dispatch_mode?": dispatchMode,
});
export type RouteInput = typeof routeInput.infer;

/** `script_id`: whose route it shall be, to judge hosts that belong to apps. */
export const checkInput = routeInput.merge({ "+": "reject", "script_id?": "1 <= string <= 64" });
export type CheckInput = typeof checkInput.infer;

/**
 * `hidden`: a route stands against it that the caller may not read. `host_taken`: the host belongs to
 * another app, which `host_app_id` names when the caller may read it.
 */
export const checkOutput = type({
  ok: "boolean",
  conflicting_route: route.or("null"),
  hidden: "boolean",
  host_taken: "boolean",
  host_app_id: "string | null",
  path_kind: pathKind,
  host_kind: hostKind,
  warning: "string | null",
});
export type CheckOutput = typeof checkOutput.infer;

export const matchInput = type({
  "+": "reject",
  method: "1 <= string <= 32",
  url: "1 <= string <= 8192",
});
export type MatchInput = typeof matchInput.infer;

/** `hidden`: it is a route that the caller may not read. */
export const matchOutput = type({
  route: route.or("null"),
  script_id: "string | null",
  params: type({ "[string]": "string" }).or("null"),
  rest: "string | null",
  hidden: "boolean",
});
export type MatchOutput = typeof matchOutput.infer;
