/** Other people's accounts: made, changed, switched off and deleted by those who may. */
import { authorise } from "../domain/access.ts";
import {
  type Account,
  type AccountChange,
  type Actor,
  checkAccountChange,
  checkGrantedRole,
  checkPassword,
  checkUsername,
  type InstanceRole,
} from "../domain/accounts.ts";
import { PicError } from "../domain/errors.ts";
import type { Page, PageRequest } from "../domain/pages.ts";
import {
  type AccountFilter,
  deleteAccount,
  getAccount,
  getAccountByRef,
  getAccountByUsername,
  insertAccount,
  listAccounts,
  updateActive,
  updatePassword,
  updateRole,
} from "../storage/accounts.ts";
import { deleteApiKeysOfAccount } from "../storage/api-keys.ts";
import type { Database, Tx } from "../storage/port.ts";
import { deleteSessionsOfAccount } from "../storage/sessions.ts";
import {
  type AccountDoer,
  accountsLock,
  keepOneOwner,
  type LockedAccount,
  lockAccount,
  presentActor,
} from "./account-lock.ts";
import type { Audit } from "./audit.ts";
import type { StoredClock } from "./clock.ts";
import type { Passwords } from "./passwords.ts";

export interface AccountAdminOptions {
  db: Database;
  clock: StoredClock;
  newId: () => string;
  audit: Audit;
  passwords: Passwords;
}

export interface NewAccount {
  username: string;
  password: string;
  /** Absent: member. */
  role?: InstanceRole;
}

export interface AccountUpdate extends AccountChange {
  /** Ends the account's sessions. Its API keys stay: they are no passwords, and end by themselves. */
  password?: string;
}

export class AccountAdmin {
  constructor(private readonly options: AccountAdminOptions) {}

  /** By name. Throws PicError `invalid`. */
  list(filter: AccountFilter, page: PageRequest): Promise<Page<Account>> {
    return listAccounts(this.options.db, filter, page);
  }

  /** By id or username. Throws PicError `not_found`. */
  async get(ref: string): Promise<Account> {
    const account = await getAccountByRef(this.options.db, ref);
    if (account === null) throw new PicError("not_found", "There is no such account");
    return account;
  }

  /** Throws PicError `invalid`, `conflict`, `forbidden`, `overloaded`. */
  async create(actor: Actor, input: NewAccount): Promise<Account> {
    const { db, clock, newId, passwords, audit } = this.options;
    const { username, role = "member" } = input;
    checkUsername(username);
    checkPassword(input.password);
    // Once more under the lock: here, so that who may not costs no hash.
    checkGrantedRole(actor, role);
    const account: Account = {
      id: newId(),
      username,
      password_hash: await passwords.hash(input.password),
      role,
      is_active: true,
      created_at: clock.now(),
      nomination: null,
    };
    await db.tx(async (tx) => {
      await tx.lock(accountsLock);
      const present = await presentActor(tx, actor);
      authorise(present, "account.write", {}, "account");
      checkGrantedRole(present, role);
      if ((await getAccountByUsername(tx, username)) !== null) {
        throw new PicError("conflict", `There is an account with the username ${username} already`);
      }
      await insertAccount(tx, account);
      await audit.record(tx, actor, {
        action: "account.create",
        target: targetOf(account),
        detail: { role },
      });
    });
    return account;
  }

  /**
   * All of it or nothing. Who is switched off loses sessions and API keys for good: nobody who is let in
   * again later finds an old door open. Throws PicError `not_found`, `forbidden`, `conflict` (the last
   * active owner), `invalid`, `overloaded`.
   */
  async update(doer: AccountDoer, ref: string, update: AccountUpdate): Promise<Account> {
    const { password, ...change } = update;
    if (password !== undefined) checkPassword(password);
    const hash = password === undefined ? null : await this.options.passwords.hash(password);
    return this.options.db.tx(async (tx) => {
      const locked = await lockAccount(tx, doer, "account.write", ref);
      const { account } = locked;
      if (locked.doer !== "command") checkAccountChange(locked.doer, account, change);
      await keepOneOwner(tx, account, change);
      await this.#setRole(tx, locked, change.role);
      await this.#setActive(tx, locked, change.is_active);
      if (hash !== null) await this.#setPassword(tx, locked, hash);
      return (await getAccount(tx, account.id)) ?? account;
    });
  }

  /**
   * Its sessions, memberships and API keys go with it; what it made stays. Throws PicError `not_found`,
   * `forbidden`, `conflict` (the last active owner).
   */
  async delete(actor: Actor, ref: string): Promise<void> {
    const { db, audit } = this.options;
    await db.tx(async (tx) => {
      const { account } = await lockAccount(tx, actor, "account.write", ref);
      if (account.id === actor.account_id) {
        throw new PicError("forbidden", "Nobody deletes their own account: somebody else has to");
      }
      await keepOneOwner(tx, account, null);
      await deleteAccount(tx, account.id);
      await audit.record(tx, actor, {
        action: "account.delete",
        target: targetOf(account),
        detail: { role: account.role },
      });
    });
  }

  async #setRole(
    tx: Tx,
    { account, doer }: LockedAccount,
    role: InstanceRole = account.role,
  ): Promise<void> {
    if (role === account.role) return;
    await updateRole(tx, account.id, role);
    await this.options.audit.record(tx, doer, {
      action: "account.update",
      target: targetOf(account),
      detail: { old_role: account.role, new_role: role },
    });
  }

  async #setActive(
    tx: Tx,
    { account, doer }: LockedAccount,
    is_active: boolean = account.is_active,
  ): Promise<void> {
    if (is_active === account.is_active) return;
    await updateActive(tx, account.id, is_active);
    // At both: a key that was being made while its account was switched off does not come to life.
    const sessions = await deleteSessionsOfAccount(tx, account.id);
    const api_keys = await deleteApiKeysOfAccount(tx, account.id);
    await this.options.audit.record(tx, doer, {
      action: is_active ? "account.activate" : "account.deactivate",
      target: targetOf(account),
      detail: is_active ? {} : { sessions, api_keys },
    });
  }

  async #setPassword(tx: Tx, { account, doer }: LockedAccount, hash: string): Promise<void> {
    if (doer !== "command" && doer.account_id === account.id) {
      throw new PicError(
        "forbidden",
        "Your own password is changed at POST /auth/password, which asks for the old one",
      );
    }
    await updatePassword(tx, account.id, hash);
    const sessions = await deleteSessionsOfAccount(tx, account.id);
    await this.options.audit.record(tx, doer, {
      action: "account.password",
      target: targetOf(account),
      detail: { sessions },
    });
  }
}

function targetOf({ id, username }: Account): { kind: string; id: string; name: string } {
  return { kind: "account", id, name: username };
}
