/** Accounts: who may log in. */
import type { Account } from "../domain/accounts.ts";
import { checkLimit, decodeCursor, type Page, type PageRequest, pageOf } from "../domain/pages.ts";
import type { Database, Reader, Tx } from "./port.ts";
import { sql } from "./sql.ts";

interface AccountRow extends Omit<Account, "is_active"> {
  is_active: number;
}

const columns = sql`id, username, password_hash, role, is_active, created_at`;

/** Throws PicError `conflict` when the name is taken. */
export async function insertAccount(tx: Tx, account: Account): Promise<void> {
  await tx.run(sql`insert into accounts (${columns})
    values (${account.id}, ${account.username}, ${account.password_hash}, ${account.role},
      ${account.is_active ? 1 : 0}, ${account.created_at})`);
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

export async function countAccounts(r: Reader): Promise<number> {
  const row = await r.get(sql<{ count: number }>`select count(*) as count from accounts`);
  return row?.count ?? 0;
}

/** Resolves false when there is no such account. */
export async function updatePassword(tx: Tx, id: string, password_hash: string): Promise<boolean> {
  const { changes } = await tx.run(
    sql`update accounts set password_hash = ${password_hash} where id = ${id}`,
  );
  return changes > 0;
}

/** By name. */
export async function listAccounts(db: Database, page: PageRequest): Promise<Page<Account>> {
  checkLimit(page.limit);
  const [after] = page.cursor === null ? [""] : decodeCursor(page.cursor, ["string"]);
  const rows = await db.scan(sql<AccountRow>`select ${columns} from accounts
    where username > ${after} order by username limit ${page.limit + 1}`);
  return pageOf(rows, page.limit, { item: toAccount, key: (row) => [row.username] });
}

function toAccount(row: AccountRow): Account {
  return {
    id: row.id,
    username: row.username,
    password_hash: row.password_hash,
    role: row.role,
    is_active: row.is_active === 1,
    created_at: row.created_at,
  };
}
