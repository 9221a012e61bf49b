/**
 * The audit trail: what was changed, by whom, from where. Entries are never changed.
 *
 * A change never fails because of what is told of it: names and addresses are other people's, so texts
 * are cut and cleaned to what every database takes.
 */
import { auditDetailBytesMax, auditTextCharsMax } from "./limits.ts";

export interface AuditEntry {
  id: string;
  at: number;
  /** Null: the program itself, or somebody at its command line. */
  actor_id: string | null;
  /** The username of then; "" without an actor. */
  actor_name: string;
  /** `session`, `key:<prefix>`, `system`, or `command` for the server's own command line. */
  credential: string;
  /** Of the network; "" for `system` and `command`. */
  address: string;
  request_id: string;
  /** `noun.verb`: script.create, account.deactivate, … */
  action: string;
  target_kind: string;
  target_id: string;
  /** As it was called then; "" for what has no name. */
  target_name: string;
  /** Null: of no app. */
  app_id: string | null;
  /** What else is worth knowing: old and new role, counts. Never a secret, a source or a value. */
  detail: Readonly<Record<string, unknown>>;
}

/** What a service tells of a change. */
export interface AuditedChange {
  action: string;
  target: { kind: string; id: string; name?: string };
  app_id?: string | null;
  detail?: Readonly<Record<string, unknown>>;
}

/** A noun and what was done to it, or all that is done to a noun: `script.create`, `script.*`. */
export const auditActionPattern = /^[a-z][a-z_]{0,30}\.(?:\*|[a-z][a-z_]{0,30})$/;

/** The entry as it is stored: every text within its bounds, and one that a database takes. */
export function boundedEntry(entry: AuditEntry): AuditEntry {
  return {
    ...entry,
    actor_name: cleaned(entry.actor_name),
    address: cleaned(entry.address),
    request_id: cleaned(entry.request_id),
    target_id: cleaned(entry.target_id),
    target_name: cleaned(entry.target_name),
    detail: boundedDetail(entry.detail),
  };
}

/** Members go in as long as there is room; `cut` says that some did not. */
function boundedDetail(detail: AuditEntry["detail"]): AuditEntry["detail"] {
  const kept: Record<string, unknown> = {};
  let [bytes, cut] = [0, false];
  for (const [name, value] of Object.entries(detail)) {
    // undefined, which is no JSON, is as good as absent
    const json: string | undefined = JSON.stringify(value, cleanedMember);
    if (json === undefined) continue;
    const size = Buffer.byteLength(json) + Buffer.byteLength(JSON.stringify(cleaned(name))) + 2;
    if (bytes + size > auditDetailBytesMax) {
      cut = true;
      continue;
    }
    bytes += size;
    kept[cleaned(name)] = JSON.parse(json) as unknown;
  }
  return cut ? { ...kept, cut } : kept;
}

function cleanedMember(_name: string, value: unknown): unknown {
  return typeof value === "string" ? cleaned(value) : value;
}

/** As texts are stored: PostgreSQL takes no NUL, and no lone half of a pair of surrogates. */
export function cleaned(text: string): string {
  const isLong = text.length > auditTextCharsMax;
  const short = isLong ? `${text.slice(0, auditTextCharsMax)}…` : text;
  return short.toWellFormed().replaceAll("\0", "\ufffd");
}
