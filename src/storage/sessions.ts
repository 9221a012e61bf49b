/** Sessions, kept by the hash of their token. */
import type { Session } from "../domain/accounts.ts";
import type { Reader, Tx } from "./port.ts";
import { sql } from "./sql.ts";

type SessionRow = Session;

export async function insertSession(tx: Tx, session: Session): Promise<void> {
  await tx.run(sql`insert into sessions (token_hash, account_id, created_at, expires_at,
      last_seen_at)
    values (${session.token_hash}, ${session.account_id}, ${session.created_at},
      ${session.expires_at}, ${session.last_seen_at})`);
}

/** Expired ones too: the caller knows the time. */
export async function getSession(r: Reader, token_hash: string): Promise<Session | null> {
  const row = await r.get(sql<SessionRow>`select token_hash, account_id, created_at, expires_at,
      last_seen_at
    from sessions where token_hash = ${token_hash}`);
  return row && toSession(row);
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
  };
}
