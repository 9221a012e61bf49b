/**
 * Accounts are changed one after the other, on all servers of a database: whether an owner is left is
 * seen and written under one lock. Under it the doer is read again, so that of two owners who demote
 * each other the second one finds that he is none any more. Logins take the lock shared: no session
 * comes out of a password that is being replaced.
 */
import { authorise, can } from "../domain/access.ts";
import { type Account, type AccountChange, type Actor, isActiveOwner } from "../domain/accounts.ts";
import { PicError } from "../domain/errors.ts";
import { readPresentAccess } from "../storage/access.ts";
import { getAccountByRef, hasOtherActiveOwner } from "../storage/accounts.ts";
import type { Tx } from "../storage/port.ts";

export const accountsLock = "accounts";

/** Who changes accounts: somebody with rights, or whoever owns the machine. */
export type AccountDoer = Actor | "command";

export interface LockedAccount {
  account: Account;
  /** With the role of this moment. */
  doer: AccountDoer;
}

/**
 * Locks, and finds the account by its id or username. Throws PicError `not_found`; `forbidden` when the
 * doer may not change it (any more), `unauthenticated` when the doer's own account is gone.
 */
export async function lockAccount(
  tx: Tx,
  doer: AccountDoer,
  action: "account.write" | "nomination.write" | "nomination.approve",
  ref: string,
): Promise<LockedAccount> {
  await tx.lock(accountsLock);
  const present = doer === "command" ? doer : await presentActor(tx, doer);
  if (present !== "command") authorise(present, action, {}, "account");
  const account = await getAccountByRef(tx, ref);
  if (account === null) throw new PicError("not_found", "There is no such account");
  if (present !== "command" && can(present, action, { account }) !== "allowed") {
    throw new PicError("forbidden", "Only an owner changes the account of an owner");
  }
  return { account, doer: present };
}

/**
 * The actor with the rights of this moment. A call is let in before its body has arrived, and bodies can be
 * slow: what gives somebody rights that last is judged once more in the transaction that writes it, so that
 * nobody who is shut out meanwhile lets themselves in again. Throws PicError `unauthenticated`.
 */
export async function presentActor(tx: Tx, actor: Actor): Promise<Actor> {
  const found = await readPresentAccess(tx, actor);
  if (found === null) {
    throw new PicError(
      "unauthenticated",
      "This session or API key has ended meanwhile, or its account is switched off",
    );
  }
  const { role, memberships, key } = found;
  return { ...actor, role, memberships, key };
}

/**
 * Under the lock, before an account is changed. Throws PicError `conflict` when nobody would be left who
 * may do everything.
 * @param next null: it will be gone
 */
export async function keepOneOwner(
  tx: Tx,
  account: Account,
  next: AccountChange | null,
): Promise<void> {
  if (!isActiveOwner(account)) return;
  if (next !== null && isActiveOwner({ ...account, ...next })) return;
  if (await hasOtherActiveOwner(tx, account.id)) return;
  throw new PicError(
    "conflict",
    `${account.username} is the last active owner: make another one first`,
  );
}
