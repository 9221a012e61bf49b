/** Accounts, memberships and API keys, straight into a database: no password hash, no rule in between. */
import { randomBytes } from "node:crypto";
import { newId, sha256Hex } from "../../src/base/ids.ts";
import { type AppRole, SCOPES, type Scope } from "../../src/domain/access.ts";
import type { Account, InstanceRole } from "../../src/domain/accounts.ts";
import { formatApiKey } from "../../src/domain/api-keys.ts";
import { insertAccount } from "../../src/storage/accounts.ts";
import { insertApiKey } from "../../src/storage/api-keys.ts";
import { putMember } from "../../src/storage/members.ts";
import type { Database } from "../../src/storage/port.ts";

/** @param memberships app id → role */
export async function addAccount(
  db: Database,
  role: InstanceRole,
  memberships: Readonly<Record<string, AppRole>> = {},
): Promise<Account> {
  const id = newId();
  const account: Account = {
    id,
    username: `user-${id}`,
    password_hash: "none",
    role,
    is_active: true,
    created_at: 0,
    nomination: null,
  };
  await db.tx(async (tx) => {
    await insertAccount(tx, account);
    for (const [app_id, role] of Object.entries(memberships)) {
      await putMember(tx, { app_id, account_id: id, role, created_at: 0, created_by: null });
    }
  });
  return account;
}

/** With every scope and bound to no app, unless something else is said. */
export async function addKey(
  db: Database,
  account: Pick<Account, "id">,
  given: { scopes?: readonly Scope[]; app_id?: string | null; expires_at?: number | null } = {},
): Promise<{ id: string; raw: string }> {
  const { raw, prefix, secret } = formatApiKey(randomBytes(32));
  const id = newId();
  await db.tx((tx) =>
    insertApiKey(tx, {
      id,
      account_id: account.id,
      app_id: given.app_id ?? null,
      name: "a key",
      prefix,
      secret_hash: sha256Hex(secret),
      scopes: given.scopes ?? SCOPES,
      created_at: 0,
      expires_at: given.expires_at ?? null,
      last_used_at: null,
    }),
  );
  return { id, raw };
}
