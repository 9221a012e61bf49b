/**
 * Errors on the wire (RFC 9457): one schema for each code. Only the API's document needs them; the
 * answers themselves are made in http/errors.ts.
 */
import type { ErrorCode } from "../domain/errors.ts";
import { type } from "./arktype.ts";
import { route } from "./routes.ts";
import { scriptRefs } from "./scripts.ts";

const natural = "number.integer >= 0";

const fieldError = type({
  path: "string",
  message: "string",
  "file?": "string",
  "line?": "number.integer >= 1",
  "column?": "number.integer >= 1",
});
export type WireFieldError = typeof fieldError.infer;

/** What a program tells a problem by: its code, which belongs to one status. */
export function problem(code: ErrorCode, status: number) {
  return type({
    type: "'about:blank'",
    title: "string",
    status: type.unit(status),
    detail: "string",
    code: type.unit(code),
    instance: "string",
  });
}

/** The members that some codes have besides; an answer leaves away what it has nothing to say about. */
/** Of an import: the line that is wrong, and what was done before it. */
const importLine = {
  "line?": "number.integer >= 1",
  "imported?": natural,
  "updated?": natural,
  "skipped?": natural,
} as const;

export const problemMembers = {
  fields: type({ "errors?": fieldError.array(), ...importLine }),
  importLine: type({ "errors?": fieldError.array(), ...importLine }),
  recordVersion: type({ version: natural }),
  conflict: type({
    "would_delete?": {
      scripts: "number",
      routes: "number",
      triggers: "number",
      kv_entries: "number",
      docs: "number",
      dead_letters: "number",
      members: "number",
      api_keys: "number",
      hosts: "number",
    },
    "conflicting_routes?": route.array(),
    "imported_by?": scriptRefs.get("items"),
    "routes?": "number",
    "triggers?": "number",
    "state?": "string",
    "errors?": fieldError.array(),
    ...importLine,
  }),
  routeConflict: type({
    conflicting_route: route.or("null"),
    hidden: "boolean",
    "errors?": fieldError.array(),
  }),
  versionConflict: type({ "active_version?": "number.integer >= 1" }),
  execution: type({ "execution_id?": "string" }),
};
