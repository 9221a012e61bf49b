/**
 * Who gets in: the first account, logins, and one's own password. The first account comes from the
 * configuration or from a setup link; all others from services/account-admin.ts.
 *
 * The setup link belongs to the process that printed it: its token is kept as a hash in memory, its
 * hour runs on the monotonic clock (a Pi often sets its clock minutes after its first start), and
 * the next start prints another. That it works once is decided in the database: only while there
 * is no account.
 *
 * A login that fails takes as long for a name that nobody has as for one that somebody has, whatever the
 * name looks like and whether or not its account may log in: always one look-up and one hash.
 */
import { newToken, sha256Hex } from "../base/ids.ts";
import type { Logger } from "../base/log.ts";
import {
  type Account,
  type Actor,
  checkPassword,
  checkUsername,
  foldUsername,
} from "../domain/accounts.ts";
import { invalidField, PicError } from "../domain/errors.ts";
import { ownersNamedMax, setupTokenTtlMs, usernamePattern } from "../domain/limits.ts";
import {
  countAccounts,
  getAccount,
  getAccountByUsername,
  insertAccount,
  listActiveOwners,
  updatePassword,
} from "../storage/accounts.ts";
import type { Database, Tx } from "../storage/port.ts";
import {
  deleteOtherSessions,
  deleteSession,
  deleteSessionsOfAccount,
} from "../storage/sessions.ts";
import { accountsLock } from "./account-lock.ts";
import type { LoginAttempts } from "./attempts.ts";
import type { Audit, Doer } from "./audit.ts";
import type { Origin } from "./authentication.ts";
import type { StoredClock } from "./clock.ts";
import type { Passwords } from "./passwords.ts";
import type { OpenedSession, Sessions } from "./sessions.ts";

export interface AccountsOptions {
  db: Database;
  clock: StoredClock;
  log: Logger;
  newId: () => string;
  passwords: Passwords;
  attempts: LoginAttempts;
  sessions: Sessions;
  audit: Audit;
}

export interface Credentials {
  username: string;
  password: string;
}

export interface Login {
  token: string;
  expires_at: number;
  account: Account;
}

/** Where a login comes from, and what it brings along. */
export interface LoginFrom extends Origin {
  user_agent: string;
  /** A credential that came with the login; nobody has looked whether it is good. */
  presented: string | null;
}

const setupTokenPrefix = "pcsetup_";
const unknownOrigin: LoginFrom = { address: "", request_id: "", user_agent: "", presented: null };

export class Accounts {
  #setup: { hash: string; endsAt: number } | null = null;

  constructor(private readonly options: AccountsOptions) {}

  /**
   * Called once at every start. Makes the first account when there is none and `first` names it.
   * @returns the token of a new setup link when there is still no account, else null
   */
  async start(first: Credentials | null): Promise<{ setup_token: string | null }> {
    const { db, clock, log } = this.options;
    if ((await countAccounts(db)) > 0) {
      await this.#warnOfOwners();
      return { setup_token: null };
    }
    if (first !== null) {
      const made = await this.#insertFirst(first, () => "system").catch((error: unknown) => {
        // Another server that starts at the same moment made it.
        if (error instanceof PicError && error.code === "forbidden") return null;
        throw error;
      });
      if (made !== null) log.info("The first account was made", { username: made.username });
      return { setup_token: null };
    }
    const token = newToken(setupTokenPrefix);
    this.#setup = { hash: sha256Hex(token), endsAt: clock.monotonic() + setupTokenTtlMs };
    return { setup_token: token };
  }

  /** True while the setup link would work: decides what its page shows. */
  isSetupToken(token: string): boolean {
    const setup = this.#setup;
    return (
      setup !== null &&
      setup.hash === sha256Hex(token) &&
      this.options.clock.monotonic() < setup.endsAt
    );
  }

  /** Makes the first account. Throws PicError `forbidden`, `invalid`, `overloaded`. */
  async setup(
    input: { token: string } & Credentials,
    from: LoginFrom = unknownOrigin,
  ): Promise<Login> {
    if (!this.isSetupToken(input.token)) throw setupRefused();
    const account = await this.#insertFirst(input, (made) => actorOf(made, from));
    this.#setup = null;
    this.options.log.info("The first account was made", { username: account.username });
    return { account, ...(await this.options.sessions.create(account, from)) };
  }

  /**
   * A session that came with the login ends: whoever logs in anew does not leave an old one behind.
   * Throws PicError `invalid_credentials`, `too_many_attempts`, `overloaded`.
   */
  async login(input: Credentials & Partial<LoginFrom>): Promise<Login> {
    const { db, attempts, passwords, log } = this.options;
    const { username: typed, password, ...given } = input;
    const from = { ...unknownOrigin, ...given };
    const attempt = { username: foldUsername(typed), address: from.address };
    attempts.check(attempt);
    const account = await getAccountByUsername(db, lookedUp(attempt.username));
    let succeeded: () => void = () => {};
    const right = await passwords.verify(password, account?.password_hash ?? null, () => {
      succeeded = attempts.begin(attempt);
    });
    const entering = right && account?.is_active === true ? account : null;
    if (entering !== null) succeeded();
    const session = entering && (await this.#open(entering, from));
    if (entering === null || session === null) {
      log.warn("A login failed", { username: attempt.username, address: attempt.address });
      throw new PicError("invalid_credentials", "The username or the password is wrong");
    }
    return { account: entering, token: session.token, expires_at: session.expires_at };
  }

  /** Ends the session; a key ends itself. */
  async logout(actor: Actor): Promise<void> {
    const { db, audit } = this.options;
    const { session_hash } = actor;
    if (session_hash === null) return;
    await db.tx(async (tx) => {
      if (await deleteSession(tx, session_hash)) {
        await audit.record(tx, actor, { action: "auth.logout", target: targetOf(actor) });
      }
    });
  }

  /** Throws PicError `unauthenticated` when the account is gone. */
  async me(actor: Actor): Promise<Account> {
    const account = await getAccount(this.options.db, actor.account_id);
    if (account === null) throw new PicError("unauthenticated", "This account is gone");
    return account;
  }

  /**
   * One's own. Ends the other sessions; this one stays, and API keys do: they were made to outlive a
   * person's password, and each can be revoked by itself. A wrong old password counts as a failed login.
   * Throws PicError `invalid`, `conflict`, `too_many_attempts`, `overloaded`, `unauthenticated`.
   */
  async changePassword(
    actor: Actor,
    input: { old_password: string; new_password: string },
  ): Promise<void> {
    const { db, attempts, passwords, audit, log } = this.options;
    const { session_hash, address } = actor;
    if (session_hash === null) throw new Error("Only a session changes a password");
    checkPassword(input.new_password, "new_password");
    const { id, username, password_hash } = await this.me(actor);
    attempts.check({ username, address });
    let succeeded: () => void = () => {};
    const right = await passwords.verify(input.old_password, password_hash, () => {
      succeeded = attempts.begin({ username, address });
    });
    if (!right) {
      log.warn("A change of a password failed", { username, address });
      throw invalidField("old_password", "is wrong");
    }
    succeeded();
    const hash = await passwords.hash(input.new_password);
    await db.tx(async (tx) => {
      await tx.lock(accountsLock);
      if (!(await updatePassword(tx, id, hash, password_hash))) {
        throw new PicError("conflict", "Somebody changed this password meanwhile");
      }
      const sessions = await deleteOtherSessions(tx, id, session_hash);
      const target = targetOf(actor);
      await audit.record(tx, actor, { action: "account.password", target, detail: { sessions } });
    });
  }

  /**
   * Sets a password and ends all sessions of the account: for `picloud admin reset-password`.
   * Throws PicError `not_found`, `invalid`.
   */
  async resetPassword(username: string, password: string): Promise<void> {
    const { db, passwords, audit } = this.options;
    checkPassword(password);
    const account = await getAccountByUsername(db, lookedUp(foldUsername(username)));
    if (account === null) throw new PicError("not_found", "There is no account of this name");
    const { id } = account;
    const hash = await passwords.hash(password);
    await db.tx(async (tx) => {
      await tx.lock(accountsLock);
      await updatePassword(tx, id, hash);
      const sessions = await deleteSessionsOfAccount(tx, id);
      const target = { kind: "account", id, name: account.username };
      const change = { action: "account.password", target, detail: { sessions } };
      await audit.record(tx, "command", change);
    });
  }

  /**
   * A session for whom the password has let in; null when the account was changed while it was being
   * verified: the lock keeps out whoever would change it now.
   */
  #open(account: Account, from: LoginFrom): Promise<OpenedSession | null> {
    const { db, sessions, audit } = this.options;
    return db.tx(async (tx) => {
      await tx.lock(accountsLock, "shared");
      const present = await getAccount(tx, account.id);
      const isSame = present?.password_hash === account.password_hash && present.is_active;
      if (!isSame) return null;
      const rotated = await endPresented(tx, from.presented);
      const session = await sessions.open(tx, account, from);
      const actor = actorOf(present, from, session.token_hash);
      const change = { action: "auth.login", target: targetOf(actor), detail: { rotated } };
      await audit.record(tx, actor, change);
      return session;
    });
  }

  /** In one transaction with the count: of several that try, one makes the first account. */
  async #insertFirst(
    { username, password }: Credentials,
    doerOf: (account: Account) => Doer,
  ): Promise<Account> {
    const { db, clock, newId, passwords, audit } = this.options;
    checkUsername(username);
    checkPassword(password);
    const account: Account = {
      id: newId(),
      username,
      password_hash: await passwords.hash(password),
      role: "owner",
      is_active: true,
      created_at: clock.now(),
      nomination: null,
    };
    await db.tx(async (tx) => {
      await tx.lock(accountsLock);
      if ((await countAccounts(tx)) > 0) throw setupRefused();
      await insertAccount(tx, account);
      await audit.record(tx, doerOf(account), {
        action: "account.create",
        target: { kind: "account", id: account.id, name: username },
        detail: { role: account.role },
      });
      await clock.store(tx);
    });
    return account;
  }

  /** Everybody was an owner before there were roles; one is enough, and two are safer than ten. */
  async #warnOfOwners(): Promise<void> {
    const { db, log } = this.options;
    const owners = await listActiveOwners(db, ownersNamedMax + 1);
    if (owners.length < 2) return;
    const more = owners.length > ownersNamedMax ? { more: true } : {};
    log.warn(
      "Several accounts are owners, who may do everything; " +
        "`picloud admin set-role <username> <role>` gives one another role",
      { owners: owners.slice(0, ownersNamedMax), ...more },
    );
  }
}

/** Whether there was a session to end. */
async function endPresented(tx: Tx, token: string | null): Promise<boolean> {
  return token === null ? false : deleteSession(tx, sha256Hex(token));
}

/** What cannot be a username is looked up as one that nobody has: not at all would be quicker. */
function lookedUp(username: string): string {
  return usernamePattern.test(username) ? username : "-";
}

/** Who is in by a password just given. */
function actorOf(
  { id, username, role }: Account,
  { address, request_id }: Origin,
  session_hash: string | null = null,
): Actor {
  const memberships: Actor["memberships"] = new Map();
  return {
    account_id: id,
    username,
    role,
    memberships,
    session_hash,
    key: null,
    address,
    request_id,
  };
}

function targetOf(actor: Actor): { kind: string; id: string; name: string } {
  return { kind: "account", id: actor.account_id, name: actor.username };
}

function setupRefused(): PicError {
  return new PicError(
    "forbidden",
    "This setup link is used, has expired or is not from the latest start of this server; a restart prints a new one",
  );
}
