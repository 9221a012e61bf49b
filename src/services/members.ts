/**
 * Members of an app, and what they may do in it.
 *
 * Accounts with the instance role `admin` or `owner` are admins of every app. They may be made members all
 * the same, so that something is left when somebody takes the role from them; until then it changes nothing,
 * and whoever does it is told so. An app may lose its last admin: those of the instance remain.
 */
import { type AppRole, authorise, visibleApps } from "../domain/access.ts";
import { type Account, type Actor, isAccountId } from "../domain/accounts.ts";
import { PicError } from "../domain/errors.ts";
import { membershipsShownMax } from "../domain/limits.ts";
import type { Member, Membership } from "../domain/members.ts";
import type { Page, PageRequest } from "../domain/pages.ts";
import { getAccountByRef } from "../storage/accounts.ts";
import {
  deleteMember,
  getMember,
  listMembers,
  listMemberships,
  lockMembers,
  putMember,
} from "../storage/members.ts";
import type { Database } from "../storage/port.ts";
import { presentActor } from "./account-lock.ts";
import { findApp } from "./apps.ts";
import type { Audit } from "./audit.ts";
import type { StoredClock } from "./clock.ts";

export interface MembersOptions {
  db: Database;
  clock: StoredClock;
  audit: Audit;
}

/** Where a member is looked for. */
export interface MemberAddress {
  /** Id or slug. */
  app: string;
  /** Id or username. */
  account: string;
}

/** True when the text is the id or the username of this account. */
export function isRefTo(account: { account_id: string; username: string }, ref: string): boolean {
  return ref === (isAccountId(ref) ? account.account_id : account.username);
}

export class Members {
  constructor(private readonly options: MembersOptions) {}

  /** By username. Throws PicError `not_found` (the app), `invalid` (a bad cursor). */
  async list(appRef: string, page: PageRequest): Promise<Page<Member>> {
    const { db } = this.options;
    const app = await findApp(db, appRef);
    return listMembers(db, app.id, page);
  }

  /**
   * Makes a member, or gives one another role.
   * Throws PicError `not_found` (the app, the account), `conflict` (the account is switched off), `forbidden`
   * and `unauthenticated` when the actor has lost what it takes meanwhile.
   */
  async put(
    actor: Actor,
    { app: appRef, account: accountRef }: MemberAddress,
    { role }: { role: AppRole },
  ): Promise<{ member: Member; warning: string | null }> {
    const { db, clock, audit } = this.options;
    const app = await findApp(db, appRef);
    return db.tx(async (tx) => {
      await lockMembers(tx, app.id);
      authorise(await presentActor(tx, actor), "member.write", { app_id: app.id }, "app");
      const account = await getAccountByRef(tx, accountRef);
      if (account === null) throw new PicError("not_found", "There is no such account");
      if (!account.is_active) {
        throw new PicError("conflict", `The account ${account.username} is switched off`);
      }
      const before = await getMember(tx, app.id, account.id);
      const member: Member = {
        app_id: app.id,
        account_id: account.id,
        username: account.username,
        account_role: account.role,
        is_active: true,
        created_at: before?.created_at ?? clock.now(),
        created_by: before === null ? actor.account_id : before.created_by,
        role,
      };
      if (before?.role !== role) {
        await putMember(tx, member);
        await audit.record(tx, actor, {
          action: "member.put",
          target: { kind: "account", id: account.id, name: account.username },
          app_id: app.id,
          detail: { old_role: before?.role ?? null, new_role: role },
        });
      }
      return { member, warning: warningOf(account) };
    });
  }

  /**
   * Everybody may leave; to remove others takes an admin of the app.
   * Throws PicError `not_found` (the app, the member), `forbidden`.
   */
  async delete(actor: Actor, { app: appRef, account: accountRef }: MemberAddress): Promise<void> {
    const { db, audit } = this.options;
    const app = await findApp(db, appRef);
    const action = isRefTo(actor, accountRef) ? "member.leave" : "member.write";
    authorise(actor, action, { app_id: app.id }, "app");
    await db.tx(async (tx) => {
      // Whoever is being removed does not put themselves back at the same moment.
      await lockMembers(tx, app.id);
      const account = await getAccountByRef(tx, accountRef);
      const role = account && (await deleteMember(tx, app.id, account.id));
      if (account === null || role === null) {
        throw new PicError("not_found", "The app has no such member");
      }
      await audit.record(tx, actor, {
        action: "member.delete",
        target: { kind: "account", id: account.id, name: account.username },
        app_id: app.id,
        detail: { old_role: role },
      });
    });
  }

  /**
   * The apps that the actor belongs to and sees, by slug; `more` when there are too many to tell. Null for
   * who is an admin of every app.
   */
  async ofActor(actor: Actor): Promise<{ items: Membership[]; more: boolean } | null> {
    const visible = visibleApps(actor);
    if (actor.role !== "member" || visible === "all") return null;
    const { account_id } = actor;
    const limit = membershipsShownMax + 1;
    // Without a bound key all of them are visible: naming each would say it twice (10,000 took 80 ms).
    const filter = actor.key === null || actor.key.app_id === null ? "all" : visible;
    const items = await listMemberships(this.options.db, account_id, filter, limit);
    return { items: items.slice(0, membershipsShownMax), more: items.length === limit };
  }
}

function warningOf({ username, role }: Account): string | null {
  if (role === "member") return null;
  return `${username} has the instance role ${role}, and so is an admin of every app: the membership counts when that has ended`;
}
