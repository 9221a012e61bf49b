/**
 * Nominations: an admin asks for a higher role for an account, an owner grants it. One at a time for an
 * account, and none for one that is switched off; any change of the role ends it.
 */
import { type Account, type Actor, isHigherRole, type Nomination } from "../domain/accounts.ts";
import { invalidField, PicError } from "../domain/errors.ts";
import { updateNomination, updateRole } from "../storage/accounts.ts";
import type { Database } from "../storage/port.ts";
import { lockAccount } from "./account-lock.ts";
import type { Audit } from "./audit.ts";
import type { StoredClock } from "./clock.ts";

export interface NominationsOptions {
  db: Database;
  clock: StoredClock;
  audit: Audit;
}

type HigherRole = Nomination["role"];

export class Nominations {
  constructor(private readonly options: NominationsOptions) {}

  /**
   * Asking for the same once more changes nothing. Throws PicError `not_found`, `forbidden`, `invalid`,
   * `conflict` when another role is asked for already, or the account is switched off.
   */
  nominate(actor: Actor, ref: string, role: HigherRole): Promise<Account> {
    const { db, clock, audit } = this.options;
    return db.tx(async (tx) => {
      const { account } = await lockAccount(tx, actor, "nomination.write", ref);
      if (!isHigherRole(role, account.role)) {
        throw invalidField("role", `must be above ${account.role}, which the account is already`);
      }
      if (!account.is_active) {
        throw new PicError("conflict", `${account.username} is not active: activate it first`);
      }
      if (account.nomination?.role === role) return account;
      // What an owner looks at is not exchanged under their eyes.
      if (account.nomination !== null) throw nominatedAlready(account.nomination);
      const nomination: Nomination = { role, by: actor.account_id, at: clock.now() };
      await updateNomination(tx, account.id, nomination);
      await audit.record(tx, actor, {
        action: "nomination.create",
        target: { kind: "account", id: account.id, name: account.username },
        detail: { role: account.role, nominated_role: role },
      });
      return { ...account, nomination };
    });
  }

  /** Any admin may, also of what another one asked for. Throws PicError `not_found`, `forbidden`. */
  withdraw(actor: Actor, ref: string): Promise<void> {
    const { db, audit } = this.options;
    return db.tx(async (tx) => {
      const { account } = await lockAccount(tx, actor, "nomination.write", ref);
      const { nomination } = account;
      if (nomination === null) throw new PicError("not_found", "This account is not nominated");
      await updateNomination(tx, account.id, null);
      await audit.record(tx, actor, {
        action: "nomination.withdraw",
        target: { kind: "account", id: account.id, name: account.username },
        detail: { nominated_role: nomination.role, nominated_by: nomination.by },
      });
    });
  }

  /**
   * The account gets the role that was asked for, which is the one that the owner saw. Throws PicError
   * `not_found`, `forbidden`, `conflict` when nothing, or another role than `seen`, is asked for.
   */
  approve(actor: Actor, ref: string, seen: HigherRole): Promise<Account> {
    const { db, audit } = this.options;
    return db.tx(async (tx) => {
      const { account } = await lockAccount(tx, actor, "nomination.approve", ref);
      const { nomination } = account;
      if (nomination === null) throw new PicError("conflict", "This account is not nominated");
      const { role, by } = nomination;
      if (seen !== role) throw nominatedAlready(nomination);
      await updateRole(tx, account.id, role);
      await audit.record(tx, actor, {
        action: "nomination.approve",
        target: { kind: "account", id: account.id, name: account.username },
        detail: { old_role: account.role, new_role: role, nominated_by: by },
      });
      return { ...account, role, nomination: null };
    });
  }
}

function nominatedAlready({ role }: Nomination): PicError {
  return new PicError(
    "conflict",
    `This account is nominated for the role ${role}; withdraw that first to ask for another`,
  );
}
