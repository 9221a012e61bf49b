/** Accounts that cannot log in and cost no password hash, and what the audit trail tells of them. */
import { newId, sha256Hex } from "../../src/base/ids.ts";
import type { Account, Actor, InstanceRole } from "../../src/domain/accounts.ts";
import { insertAccount } from "../../src/storage/accounts.ts";
import type { Database } from "../../src/storage/port.ts";
import { insertSession } from "../../src/storage/sessions.ts";
import { sql } from "../../src/storage/sql.ts";
import { addKey } from "./credentials.ts";
import { addSession } from "./fakes.ts";

/** A new account, as somebody who acts with a session. */
export async function person(
  db: Database,
  username: string,
  role: InstanceRole = "member",
  more: Partial<Account> = {},
): Promise<Actor> {
  const account: Account = {
    id: newId(),
    username,
    password_hash: "none",
    role,
    is_active: true,
    created_at: 0,
    nomination: null,
    ...more,
  };
  const session_hash = sha256Hex(account.id);
  await db.tx(async (tx) => {
    await insertAccount(tx, account);
    await addSession(tx, account.id, session_hash);
  });
  return {
    account_id: account.id,
    username,
    role,
    memberships: new Map(),
    session_hash,
    key: null,
    address: "10.0.0.1",
    request_id: `request-of-${username}`,
  };
}

export interface Audited {
  actor_name: string;
  credential: string;
  action: string;
  target_name: string;
  detail: unknown;
}

/** What was done by somebody, oldest first, with actions of `prefix`. */
export async function audited(db: Database, prefix = ""): Promise<Audited[]> {
  const rows = await db.all(sql<Audited & { detail: string }>`select actor_name, credential, action,
    target_name, detail from audit where credential <> 'system' order by at, id`);
  return rows
    .filter((row) => row.action.startsWith(prefix))
    .map((row) => ({ ...row, detail: JSON.parse(row.detail) }));
}

/** An API key and a session of an account, so that their end can be seen. */
export async function credentialsOf(db: Database, account_id: string): Promise<void> {
  await addKey(db, { id: account_id });
  await db.tx((tx) =>
    insertSession(tx, {
      token_hash: sha256Hex(newId()),
      account_id,
      created_at: 1,
      expires_at: 2,
      last_seen_at: 1,
      address: "10.0.0.1",
      user_agent: "a browser",
    }),
  );
}

/** How many sessions and API keys an account has. */
export async function countCredentials(
  db: Database,
  account_id: string,
): Promise<{ sessions: number; api_keys: number }> {
  const row = await db.get(sql<{ sessions: number; api_keys: number }>`select
    (select count(*) from sessions where account_id = ${account_id}) as sessions,
    (select count(*) from api_keys where account_id = ${account_id}) as api_keys`);
  return row ?? { sessions: 0, api_keys: 0 };
}
