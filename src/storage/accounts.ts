/** Accounts: who may log in. */
import {
  type Account,
  foldUsername,
  type InstanceRole,
  isAccountId,
  type Nomination,
} from "../domain/accounts.ts";
import { usernameCharsMax } from "../domain/limits.ts";
import { checkLimit, decodeCursor, type Page, type PageRequest, pageOf } from "../domain/pages.ts";
import type { Database, Reader, Tx } from "./port.ts";
import { sql } from "./sql.ts";

export interface AccountFilter {
  /** A part of the username. */
  q?: string;
  role?: InstanceRole;
  is_active?: boolean;
}

interface AccountRow extends Omit<Account, "is_active" | "nomination"> {
  is_active: number;
  nominated_role: Nomination["role"] | null;
  nominated_by: string | null;
  nominated_at: number | null;
}

const columns = sql`id, username, password_hash, role, is_active, created_at, nominated_role,
  nominated_by, nominated_at`;

/** Throws PicError `conflict` when the name is taken. */
export async function insertAccount(tx: Tx, account: Account): Promise<void> {
  await tx.run(sql`insert into accounts (${columns})
    values (${account.id}, ${account.username}, ${account.password_hash}, ${account.role},
      ${account.is_active ? 1 : 0}, ${account.created_at}, ${account.nomination?.role ?? null},
      ${account.nomination?.by ?? null}, ${account.nomination?.at ?? null})`);
}

export async function getAccount(r: Reader, id: string): Promise<Account | null> {
  const row = await r.get(sql<AccountRow>`select ${columns} from accounts where id = ${id}`);
  return row && toAccount(row);
}

export async function getAccountByUsername(r: Reader, username: string): Promise<Account | null> {
  const row = await r.get(
    sql<AccountRow>`select ${columns} from accounts where username = ${username}`,
  );
  return row && toAccount(row);
}

/** By what an address calls it: an id or a username, which of an old account may look like an id. */
export async function getAccountByRef(r: Reader, ref: string): Promise<Account | null> {
  const found = isAccountId(ref) ? await getAccount(r, ref) : null;
  return found ?? getAccountByUsername(r, ref);
}

export async function countAccounts(r: Reader): Promise<number> {
  const row = await r.get(sql<{ count: number }>`select count(*) as count from accounts`);
  return row?.count ?? 0;
}

/** Usernames of active owners, by name, at most `limit`. */
export async function listActiveOwners(r: Reader, limit: number): Promise<string[]> {
  const rows = await r.all(sql<{ username: string }>`select username from accounts
    where role = 'owner' and is_active = 1 order by username limit ${limit}`);
  return rows.map((row) => row.username);
}

/** Whether there is an active owner besides this account. */
export async function hasOtherActiveOwner(r: Reader, id: string): Promise<boolean> {
  const row = await r.get(sql`select 1 as one from accounts
    where role = 'owner' and is_active = 1 and id <> ${id} limit 1`);
  return row !== null;
}

/**
 * Resolves false when there is no such account, or its hash is no longer `present`.
 * @param present absent: whatever it is
 */
export async function updatePassword(
  tx: Tx,
  id: string,
  password_hash: string,
  present?: string,
): Promise<boolean> {
  const asRead = present === undefined ? sql.empty : sql<never>`and password_hash = ${present}`;
  const { changes } = await tx.run(
    sql`update accounts set password_hash = ${password_hash} where id = ${id} ${asRead}`,
  );
  return changes > 0;
}

/** Ends a nomination, too: it was for somebody of the former role. Resolves false when there is no such account. */
export async function updateRole(tx: Tx, id: string, role: InstanceRole): Promise<boolean> {
  const { changes } = await tx.run(sql`update accounts set role = ${role}, nominated_role = null,
    nominated_by = null, nominated_at = null where id = ${id}`);
  return changes > 0;
}

/** Ends a nomination, too: nobody is raised who may not log in. Resolves false when there is no such account. */
export async function updateActive(tx: Tx, id: string, is_active: boolean): Promise<boolean> {
  const { changes } = await tx.run(sql`update accounts set is_active = ${is_active ? 1 : 0},
    nominated_role = null, nominated_by = null, nominated_at = null where id = ${id}`);
  return changes > 0;
}

/** In the place of one that is there; null takes it away. Resolves false when there is no such account. */
export async function updateNomination(
  tx: Tx,
  id: string,
  nomination: Nomination | null,
): Promise<boolean> {
  const { changes } = await tx.run(sql`update accounts set
    nominated_role = ${nomination?.role ?? null}, nominated_by = ${nomination?.by ?? null},
    nominated_at = ${nomination?.at ?? null} where id = ${id}`);
  return changes > 0;
}

/** With its sessions, memberships and API keys, by foreign keys. Resolves false when there was none. */
export async function deleteAccount(tx: Tx, id: string): Promise<boolean> {
  return (await tx.run(sql`delete from accounts where id = ${id}`)).changes > 0;
}

/** By name. */
export async function listAccounts(
  db: Database,
  filter: AccountFilter,
  page: PageRequest,
): Promise<Page<Account>> {
  checkLimit(page.limit);
  const [after] = page.cursor === null ? [""] : decodeCursor(page.cursor, ["string"]);
  const { q = "", role, is_active } = filter;
  const rows = await db.scan(sql<AccountRow>`select ${columns} from accounts
    where username > ${after}
    ${q === "" ? sql.empty : sql<never>`and username like ${patternOf(q)} escape '\\'`}
    ${role === undefined ? sql.empty : sql<never>`and role = ${role}`}
    ${is_active === undefined ? sql.empty : sql<never>`and is_active = ${is_active ? 1 : 0}`}
    order by username limit ${page.limit + 1}`);
  return pageOf(rows, page.limit, { item: toAccount, key: (row) => [row.username] });
}

/** Usernames have small letters alone, so that no engine has to fold one; and LIKE has a longest pattern. */
function patternOf(q: string): string {
  const part = foldUsername(q.slice(0, usernameCharsMax)).toWellFormed();
  return `%${part.replace(/[\\%_]/g, "\\$&")}%`;
}

function toAccount(row: AccountRow): Account {
  const { nominated_role: role, nominated_by: by, nominated_at: at } = row;
  return {
    id: row.id,
    username: row.username,
    password_hash: row.password_hash,
    role: row.role,
    is_active: row.is_active === 1,
    created_at: row.created_at,
    nomination: role === null || by === null || at === null ? null : { role, by, at },
  };
}
