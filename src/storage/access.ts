/**
 * Who holds a credential, what they may, and of which app the thing is that they name: all in one
 * statement, for each request. Nothing of it is kept in memory, so that nothing has to be forgotten.
 */
import type { AppRole, ResourceRef, Scope, Visibility } from "../domain/access.ts";
import type { ActingKey, Actor, InstanceRole } from "../domain/accounts.ts";
import { isAppId } from "../domain/apps.ts";
import type { Reader } from "./port.ts";
import { type Statement, sql } from "./sql.ts";

export interface Access {
  account_id: string;
  username: string;
  role: InstanceRole;
  memberships: ReadonlyMap<string, AppRole>;
  /** Null: there is no such thing, or the address names none. */
  resource_app_id: string | null;
  expires_at: number | null;
  /** Of a session: last seen; of a key: last used. */
  used_at: number | null;
  key: ActingKey | null;
}

interface AccessRow {
  account_id: string;
  username: string;
  role: InstanceRole;
  expires_at: number | null;
  used_at: number | null;
  key_id: string | null;
  prefix: string | null;
  scopes: string | null;
  bound_app_id: string | null;
  member_app_id: string | null;
  member_role: AppRole | null;
  resource_app_id: string | null;
}

/** Null: there is no such session, or its account is not active. Expired ones too: the caller knows the time. */
export function readSessionAccess(
  r: Reader,
  token_hash: string,
  resource: ResourceRef,
): Promise<Access | null> {
  return read(
    r,
    sql<AccessRow>`select a.id as account_id, a.username, a.role, c.expires_at,
      c.last_seen_at as used_at, null as key_id, null as prefix, null as scopes,
      null as bound_app_id, m.app_id as member_app_id, m.role as member_role,
      ${appOf(resource)} as resource_app_id
    from sessions as c join accounts as a on a.id = c.account_id
    left join app_members as m on m.account_id = a.id and a.role = 'member'
    where c.token_hash = ${token_hash} and a.is_active = 1`,
  );
}

/** As readSessionAccess. */
export function readKeyAccess(
  r: Reader,
  { prefix, secret_hash }: { prefix: string; secret_hash: string },
  resource: ResourceRef,
): Promise<Access | null> {
  const isIt = sql<never>`c.prefix = ${prefix} and c.secret_hash = ${secret_hash}`;
  return read(r, keyStatement(isIt, resource));
}

/** What somebody who was let in may do now. Null: what they came with has ended, or their account. */
export async function readPresentAccess(
  r: Reader,
  { key, session_hash }: Pick<Actor, "key" | "session_hash">,
): Promise<Access | null> {
  const none: ResourceRef = { kind: "none" };
  if (key !== null) return read(r, keyStatement(sql<never>`c.id = ${key.id}`, none));
  return session_hash === null ? null : readSessionAccess(r, session_hash, none);
}

/** A condition of a list, with its `and`: only of the apps that its reader sees. */
export function visibleOf(column: Statement<never>, visibility: Visibility): Statement<never> {
  if (visibility === "all") return sql.empty;
  return sql<never>`and ${column} in ${sql.list(visibility.app_ids)}`;
}

function keyStatement(isIt: Statement<never>, resource: ResourceRef): Statement<AccessRow> {
  return sql<AccessRow>`select a.id as account_id, a.username, a.role, c.expires_at,
      c.last_used_at as used_at, c.id as key_id, c.prefix, c.scopes,
      c.app_id as bound_app_id, m.app_id as member_app_id, m.role as member_role,
      ${appOf(resource)} as resource_app_id
    from api_keys as c join accounts as a on a.id = c.account_id
    left join app_members as m on m.account_id = a.id and a.role = 'member'
    where ${isIt} and a.is_active = 1`;
}

function appOf(resource: ResourceRef): Statement<never> {
  switch (resource.kind) {
    case "none":
      return sql`null`;
    case "app":
      return isAppId(resource.ref)
        ? sql`(select id from apps where id = ${resource.ref})`
        : sql`(select id from apps where slug = ${resource.ref})`;
    case "script":
      return sql`(select app_id from scripts where id = ${resource.id})`;
    case "route":
      return sql`(select app_id from routes where id = ${resource.id})`;
  }
}

async function read(r: Reader, statement: Statement<AccessRow>): Promise<Access | null> {
  const rows = await r.all(statement);
  const [first] = rows;
  if (first === undefined) return null;
  const memberships = new Map<string, AppRole>();
  for (const { member_app_id, member_role } of rows) {
    if (member_app_id !== null && member_role !== null) memberships.set(member_app_id, member_role);
  }
  const { account_id, username, role, expires_at, used_at, resource_app_id } = first;
  const key = keyOf(first);
  return { account_id, username, role, memberships, resource_app_id, expires_at, used_at, key };
}

function keyOf({ key_id, prefix, scopes, bound_app_id, expires_at }: AccessRow): ActingKey | null {
  if (key_id === null || prefix === null || scopes === null) return null;
  return {
    id: key_id,
    prefix,
    scopes: JSON.parse(scopes) as Scope[],
    app_id: bound_app_id,
    expires_at,
  };
}
