/** The audit trail on the wire. */
import { auditTextCharsMax } from "../domain/limits.ts";
import { type } from "./arktype.ts";

export const auditEntry = type({
  id: "string",
  at: "string",
  /** Null: the program itself, or somebody at the server's own command line; `credential` says which. */
  actor: type({ id: "string", name: "string" }).or("null"),
  /** `session`, `key:` and the prefix of an API key, `system` or `command`. */
  credential: "string",
  /** Of the network; "" without an actor, and so is `request_id`. */
  address: "string",
  request_id: "string",
  /** `noun.verb` */
  action: "string",
  /** As it was called then; a name of "" is none. */
  target: type({ kind: "string", id: "string", name: "string" }),
  app_id: "string | null",
  detail: "object",
});
export type WireAuditEntry = typeof auditEntry.infer;

export const auditPage = type({ items: auditEntry.array(), next_cursor: "string | null" });

const text = `1 <= string <= ${auditTextCharsMax}` as const;

/** Times are ISO 8601; `since` belongs to the span, `until` does not. */
const filter = {
  "actor?": text,
  "action?": text,
  "app?": text,
  "target?": text,
  "since?": "string <= 64",
  "until?": "string <= 64",
} as const;

export const auditFilter = type({ "+": "reject", ...filter });
export type AuditFilterInput = typeof auditFilter.infer;

export const auditQuery = type({
  "+": "reject",
  "limit?": "string",
  "cursor?": "string <= 1024",
  ...filter,
});
