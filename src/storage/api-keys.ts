/** API keys, kept by their prefix and the hash of the rest. */
import type { Scope } from "../domain/access.ts";
import type { InstanceRole } from "../domain/accounts.ts";
import type { ApiKey } from "../domain/api-keys.ts";
import { checkLimit, decodeCursor, type Page, type PageRequest, pageOf } from "../domain/pages.ts";
import type { Database, Reader, Tx } from "./port.ts";
import { sql } from "./sql.ts";

/** A key, whose it is, and the slug of its app. */
export interface OwnedApiKey extends ApiKey {
  username: string;
  account_role: InstanceRole;
  /** Null: it is bound to none. */
  app: string | null;
}

export interface ApiKeyFilter {
  account_id?: string;
  app_id?: string;
}

interface ApiKeyRow extends Omit<OwnedApiKey, "scopes"> {
  scopes: string;
}

const columns = sql`k.id, k.account_id, k.app_id, k.name, k.prefix, k.scopes, k.created_at,
  k.expires_at, k.last_used_at, a.username, a.role as account_role, p.slug as app`;

const tables = sql`api_keys as k join accounts as a on a.id = k.account_id
  left join apps as p on p.id = k.app_id`;

/** Throws PicError `conflict` when there is a key of that prefix, or no such account or app. */
export async function insertApiKey(tx: Tx, key: ApiKey & { secret_hash: string }): Promise<void> {
  await tx.run(sql`insert into api_keys (id, account_id, app_id, name, prefix, secret_hash, scopes,
      created_at, expires_at, last_used_at)
    values (${key.id}, ${key.account_id}, ${key.app_id}, ${key.name}, ${key.prefix},
      ${key.secret_hash}, ${JSON.stringify(key.scopes)}, ${key.created_at}, ${key.expires_at},
      ${key.last_used_at})`);
}

export async function getApiKey(r: Reader, id: string): Promise<OwnedApiKey | null> {
  const row = await r.get(sql<ApiKeyRow>`select ${columns} from ${tables} where k.id = ${id}`);
  return row && toApiKey(row);
}

export async function isPrefixTaken(r: Reader, prefix: string): Promise<boolean> {
  return (await r.get(sql`select 1 as one from api_keys where prefix = ${prefix}`)) !== null;
}

export async function countApiKeysOfAccount(r: Reader, account_id: string): Promise<number> {
  const row = await r.get(
    sql<{ count: number }>`select count(*) as count from api_keys where account_id = ${account_id}`,
  );
  return row?.count ?? 0;
}

/** Newest first. */
export async function listApiKeys(
  db: Database,
  filter: ApiKeyFilter,
  page: PageRequest,
): Promise<Page<OwnedApiKey>> {
  checkLimit(page.limit);
  const [at, id] =
    page.cursor === null
      ? [Number.MAX_SAFE_INTEGER, ""]
      : decodeCursor(page.cursor, ["number", "string"]);
  const account =
    filter.account_id === undefined
      ? sql.empty
      : sql<never>`and k.account_id = ${filter.account_id}`;
  const app = filter.app_id === undefined ? sql.empty : sql<never>`and k.app_id = ${filter.app_id}`;
  const rows = await db.scan(sql<ApiKeyRow>`select ${columns} from ${tables}
    where (k.created_at, k.id) < (${at}, ${id}) ${account} ${app}
    order by k.created_at desc, k.id desc limit ${page.limit + 1}`);
  return pageOf(rows, page.limit, { item: toApiKey, key: (row) => [row.created_at, row.id] });
}

/** Resolves false when the key is gone meanwhile. */
export async function touchApiKey(tx: Tx, id: string, now: number): Promise<boolean> {
  const { changes } = await tx.run(sql`update api_keys set last_used_at = ${now} where id = ${id}`);
  return changes > 0;
}

/** Resolves false when there was none. */
export async function deleteApiKey(tx: Tx, id: string): Promise<boolean> {
  return (await tx.run(sql`delete from api_keys where id = ${id}`)).changes > 0;
}

/** How many ended. */
export async function deleteApiKeysOfAccount(tx: Tx, account_id: string): Promise<number> {
  return (await tx.run(sql`delete from api_keys where account_id = ${account_id}`)).changes;
}

/** Deletes at most `limit` keys that expired at or before `before`; how many they were. */
export async function deleteApiKeysExpiredBefore(
  tx: Tx,
  before: number,
  limit: number,
): Promise<number> {
  const { changes } = await tx.run(sql`delete from api_keys where id in (
    select id from api_keys where expires_at <= ${before} order by expires_at limit ${limit})`);
  return changes;
}

function toApiKey(row: ApiKeyRow): OwnedApiKey {
  return { ...row, scopes: JSON.parse(row.scopes) as Scope[] };
}
