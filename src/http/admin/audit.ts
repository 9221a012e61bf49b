/** `audit`. */
import type { AuditEntry } from "../../domain/audit.ts";
import { auditPage, auditQuery, type WireAuditEntry } from "../../schema/audit.ts";
import type { Audit, AuditQuery } from "../../services/audit.ts";
import { type Endpoint, endpoint, ok } from "./endpoint.ts";
import { isoTime, readTime } from "./times.ts";

export function auditEndpoints(audit: Audit): Endpoint[] {
  return [
    endpoint({
      operation: "audit.list",
      method: "GET",
      path: "/audit",
      summary: "Who changed what, newest first",
      action: "audit.read",
      input: { query: auditQuery },
      output: auditPage,
      errors: [],
      handle: async ({ query, page }) => {
        const found = await audit.list(readQuery(query), page);
        return ok({ items: found.items.map(toEntry), next_cursor: found.next_cursor });
      },
    }),
  ];
}

/** Throws PicError `invalid`. */
function readQuery(query: typeof auditQuery.infer): AuditQuery {
  const { limit: _limit, cursor: _cursor, since, until, ...rest } = query;
  return {
    ...rest,
    ...(since === undefined ? {} : { since: readTime("since", since) }),
    ...(until === undefined ? {} : { until: readTime("until", until) }),
  };
}

function toEntry(from: AuditEntry): WireAuditEntry {
  const { id, at, actor_id, actor_name, credential, address, request_id, action, app_id } = from;
  return {
    id,
    at: isoTime(at),
    actor: actor_id === null ? null : { id: actor_id, name: actor_name },
    ...{ credential, address, request_id, action },
    target: { kind: from.target_kind, id: from.target_id, name: from.target_name },
    app_id,
    detail: from.detail,
  };
}
