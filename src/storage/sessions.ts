/** Sessions, kept by the hash of their token. */
import { type Session, sessionIdChars, sessionIdOf } from "../domain/accounts.ts";
import { checkLimit, decodeCursor, type Page, type PageRequest, pageOf } from "../domain/pages.ts";
import type { Database, Tx } from "./port.ts";
import { sql } from "./sql.ts";

type SessionRow = Session;

export async function insertSession(tx: Tx, session: Session): Promise<void> {
  await tx.run(sql`insert into sessions (token_hash, account_id, created_at, expires_at,
      last_seen_at, address, user_agent)
    values (${session.token_hash}, ${session.account_id}, ${session.created_at},
      ${session.expires_at}, ${session.last_seen_at}, ${session.address}, ${session.user_agent})`);
}

/** Resolves false when the session has ended meanwhile. */
export async function touchSession(
  tx: Tx,
  token_hash: string,
  times: { last_seen_at: number; expires_at: number },
): Promise<boolean> {
  const { changes } = await tx.run(sql`update sessions
    set last_seen_at = ${times.last_seen_at}, expires_at = ${times.expires_at}
    where token_hash = ${token_hash}`);
  return changes > 0;
}

/** Resolves false when there was none. */
export async function deleteSession(tx: Tx, token_hash: string): Promise<boolean> {
  return (await tx.run(sql`delete from sessions where token_hash = ${token_hash}`)).changes > 0;
}

/** How many ended. */
export async function deleteSessionsOfAccount(tx: Tx, account_id: string): Promise<number> {
  return (await tx.run(sql`delete from sessions where account_id = ${account_id}`)).changes;
}

/** All but one; how many ended. */
export async function deleteOtherSessions(
  tx: Tx,
  account_id: string,
  kept_hash: string,
): Promise<number> {
  const { changes } = await tx.run(sql`delete from sessions
    where account_id = ${account_id} and token_hash <> ${kept_hash}`);
  return changes;
}

/** Of that account alone. Resolves false when it has none of this id. */
export async function deleteSessionById(tx: Tx, account_id: string, id: string): Promise<boolean> {
  const { changes } = await tx.run(sql`delete from sessions
    where account_id = ${account_id} and substr(token_hash, 1, ${sessionIdChars}) = ${id}`);
  return changes > 0;
}

/** Of an account, newest first, those that expire after `now`. */
export async function listSessions(
  db: Database,
  { account_id, now }: { account_id: string; now: number },
  page: PageRequest,
): Promise<Page<Session>> {
  checkLimit(page.limit);
  const [at, id] =
    page.cursor === null
      ? [Number.MAX_SAFE_INTEGER, ""]
      : decodeCursor(page.cursor, ["number", "string"]);
  const rows = await db.scan(sql<SessionRow>`select token_hash, account_id, created_at, expires_at,
      last_seen_at, address, user_agent
    from sessions where account_id = ${account_id} and expires_at > ${now}
      and (created_at, token_hash) < (${at}, ${id})
    order by created_at desc, token_hash desc limit ${page.limit + 1}`);
  // A cursor holds what is shown of the hash; with it begins no other one.
  const key = (row: SessionRow) => [row.created_at, sessionIdOf(row.token_hash)];
  return pageOf(rows, page.limit, { item: toSession, key });
}

/** Deletes at most `limit` sessions that expired at or before `now`; how many they were. */
export async function deleteExpiredSessions(tx: Tx, now: number, limit: number): Promise<number> {
  const { changes } = await tx.run(sql`delete from sessions where token_hash in (
    select token_hash from sessions where expires_at <= ${now} order by expires_at limit ${limit})`);
  return changes;
}

function toSession(row: SessionRow): Session {
  return {
    token_hash: row.token_hash,
    account_id: row.account_id,
    created_at: row.created_at,
    expires_at: row.expires_at,
    last_seen_at: row.last_seen_at,
    address: row.address,
    user_agent: row.user_agent,
  };
}
