/**
 * The audit trail. Append-only: a trigger of the table rejects updates, and deletions before their time.
 * It lies in the order of time; filters read along it until a page is full.
 */
import type { AuditEntry } from "../domain/audit.ts";
import { checkLimit, decodeCursor, type Page, type PageRequest, pageOf } from "../domain/pages.ts";
import type { Database, Tx } from "./port.ts";
import { setSetting } from "./settings.ts";
import { type Statement, sql } from "./sql.ts";

/** Which entries; what is absent does not matter. */
export interface AuditFilter {
  actor_id?: string;
  /** The username of then: it finds the entries of an account that is gone, too. */
  actor_name?: string;
  /** One action, or with `*` for its verb all of a noun. */
  action?: string;
  app_id?: string;
  /** The id of what was changed, or its name of then. */
  target?: string;
  /** Inclusive, epoch ms. */
  since?: number;
  /** Exclusive, epoch ms. */
  until?: number;
}

/** The oldest entries, up to one of them. */
export interface OldEntries {
  entries: number;
  /** When the last of them was written, epoch ms; 0: there are none. */
  newest_at: number;
}

export interface AuditPurge {
  /** Exclusive, epoch ms. */
  before: number;
  limit: number;
  /** Called in the transaction that deletes, if it does. */
  tell?: (tx: Tx, purged: OldEntries) => Promise<void>;
}

type AuditRow = Omit<AuditEntry, "detail"> & { detail: string };

/** Up to when entries may be deleted: the table's own trigger asks for it. */
const purgedBefore = "audit_purged_before";

const columns = sql<never>`id, at, actor_id, actor_name, credential, address, request_id, action,
  target_kind, target_id, target_name, app_id, detail`;

export async function insertAuditEntry(tx: Tx, entry: AuditEntry): Promise<void> {
  await tx.run(sql`insert into audit (${columns})
    values (${entry.id}, ${entry.at}, ${entry.actor_id}, ${entry.actor_name}, ${entry.credential},
      ${entry.address}, ${entry.request_id}, ${entry.action}, ${entry.target_kind},
      ${entry.target_id}, ${entry.target_name}, ${entry.app_id}, ${JSON.stringify(entry.detail)})`);
}

/** Newest first. Throws PicError `invalid` (a bad cursor). */
export async function listAuditEntries(
  db: Database,
  filter: AuditFilter,
  page: PageRequest,
): Promise<Page<AuditEntry>> {
  checkLimit(page.limit);
  const [at, id] =
    page.cursor === null
      ? [Number.MAX_SAFE_INTEGER, ""]
      : decodeCursor(page.cursor, ["number", "string"]);
  const rows = await db.scan(sql<AuditRow>`select ${columns} from audit
    where (at, id) < (${at}, ${id}) ${matches(filter)}
    order by at desc, id desc limit ${page.limit + 1}`);
  return pageOf(rows, page.limit, { item: toEntry, key: (row) => [row.at, row.id] });
}

/** Of an entry: its texts, and as much as an engine adds for its times, lengths and place. */
const entryBytes = sql<never>`(48 + octet_length(id) + coalesce(octet_length(actor_id), 0)
  + octet_length(actor_name) + octet_length(credential) + octet_length(address)
  + octet_length(request_id) + octet_length(action) + octet_length(target_kind)
  + octet_length(target_id) + octet_length(target_name) + coalesce(octet_length(app_id), 0)
  + octet_length(detail))`;

/** What the trail takes, bytes. Reads all of it. */
export async function auditBytes(db: Database): Promise<number> {
  const [row] = await db.scan(
    sql<{ bytes: number }>`select coalesce(sum(${entryBytes}), 0) as bytes from audit`,
  );
  return row?.bytes ?? 0;
}

/** The oldest entries, which do not fit when the newest ones fill so many bytes. Reads all of the trail. */
export async function auditEntriesBeyond(db: Database, bytes: number): Promise<OldEntries> {
  const [row] = await db.scan(sql<OldEntries>`
    select count(*) as entries, coalesce(max(at), 0) as newest_at from (
      select at, sum(${entryBytes}) over (order by at desc, id desc) as bytes from audit) as kept
    where bytes > ${Math.floor(bytes)}`);
  return row ?? { entries: 0, newest_at: 0 };
}

/**
 * Deletes at most `limit` entries from before `before`, the oldest; fewer: no more are left.
 * Where there are none, nothing is written.
 */
export async function purgeAuditEntries(
  db: Database,
  { before, limit, tell }: AuditPurge,
): Promise<number> {
  const oldest = await db.get(sql<{ at: number }>`select at from audit order by at, id limit 1`);
  if (oldest === null || oldest.at >= before) return 0;
  return db.tx(async (tx) => {
    // Also holds up whoever purges at the same time: what is read next, nobody else deletes.
    await setSetting(tx, purgedBefore, String(before));
    const newest = tell && (await newestOf(tx, before, limit));
    const { changes } = await tx.run(sql`delete from audit where (at, id) in (
      select at, id from audit where at < ${before} order by at, id limit ${limit})`);
    if (changes > 0) await tell?.(tx, { entries: changes, newest_at: newest?.at ?? before - 1 });
    return changes;
  });
}

function newestOf(tx: Tx, before: number, limit: number): Promise<{ at: number } | null> {
  return tx.get(sql<{ at: number }>`select at from (
      select at, id from audit where at < ${before} order by at, id limit ${limit}) as oldest
    order by at desc, id desc limit 1`);
}

function matches(filter: AuditFilter): Statement<never> {
  const { actor_id, actor_name, action, app_id, target, since, until } = filter;
  return sql`
    ${actor_id === undefined ? sql.empty : sql<never>`and actor_id = ${actor_id}`}
    ${actor_name === undefined ? sql.empty : sql<never>`and actor_name = ${actor_name}`}
    ${action === undefined ? sql.empty : isAction(action)}
    ${app_id === undefined ? sql.empty : sql<never>`and app_id = ${app_id}`}
    ${target === undefined ? sql.empty : sql<never>`and (target_id = ${target} or target_name = ${target})`}
    ${since === undefined ? sql.empty : sql<never>`and at >= ${since}`}
    ${until === undefined ? sql.empty : sql<never>`and at < ${until}`}`;
}

function isAction(action: string): Statement<never> {
  if (!action.endsWith(".*")) return sql`and action = ${action}`;
  // What begins with `noun.` is what is not before it, and before `noun/`: "/" comes after ".".
  const noun = action.slice(0, -2);
  return sql`and action >= ${`${noun}.`} and action < ${`${noun}/`}`;
}

function toEntry(row: AuditRow): AuditEntry {
  return { ...row, detail: JSON.parse(row.detail) as AuditEntry["detail"] };
}
