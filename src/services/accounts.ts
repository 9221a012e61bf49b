/**
 * Accounts, first form: the first one comes from the configuration or from a setup link; every
 * account may do everything, and nobody else anything, until roles arrive.
 *
 * The setup link belongs to the process that printed it: its token is kept as a hash in memory, its
 * hour runs on the monotonic clock (a Pi often sets its clock minutes after its first start), and
 * the next start prints another. That it works once is decided in the database: only while there
 * is no account.
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
import { PicError } from "../domain/errors.ts";
import { setupTokenTtlMs, usernamePattern } from "../domain/limits.ts";
import {
  countAccounts,
  getAccount,
  getAccountByUsername,
  insertAccount,
  updatePassword,
} from "../storage/accounts.ts";
import type { Database } from "../storage/port.ts";
import type { LoginAttempts } from "./attempts.ts";
import type { StoredClock } from "./clock.ts";
import type { Passwords } from "./passwords.ts";
import type { Sessions } from "./sessions.ts";

export interface AccountsOptions {
  db: Database;
  clock: StoredClock;
  log: Logger;
  newId: () => string;
  passwords: Passwords;
  attempts: LoginAttempts;
  sessions: Sessions;
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

const setupTokenPrefix = "pcsetup_";

export class Accounts {
  #setup: { hash: string; endsAt: number } | null = null;

  constructor(private readonly options: AccountsOptions) {}

  /**
   * Called once at every start. Makes the first account when there is none and `first` names it.
   * @returns the token of a new setup link when there is still no account, else null
   */
  async start(first: Credentials | null): Promise<{ setup_token: string | null }> {
    const { db, clock, log } = this.options;
    if ((await countAccounts(db)) > 0) return { setup_token: null };
    if (first !== null) {
      const account = await this.#insertFirst(first).catch((error: unknown) => {
        // Another server that starts at the same moment made it.
        if (error instanceof PicError && error.code === "forbidden") return null;
        throw error;
      });
      if (account !== null) log.info("The first account was made", { username: account.username });
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
  async setup(input: { token: string } & Credentials): Promise<Login> {
    if (!this.isSetupToken(input.token)) throw setupRefused();
    const account = await this.#insertFirst(input);
    this.#setup = null;
    this.options.log.info("The first account was made", { username: account.username });
    return { account, ...(await this.options.sessions.create(account)) };
  }

  /** Throws PicError `invalid_credentials`, `too_many_attempts`, `overloaded`. */
  async login(input: Credentials & { address: string }): Promise<Login> {
    const { db, attempts, passwords, sessions, log } = this.options;
    const attempt = { username: foldUsername(input.username), address: input.address };
    attempts.check(attempt);
    const account = await findByUsername(db, attempt.username);
    let succeeded: () => void = () => {};
    const right = await passwords.verify(input.password, account?.password_hash ?? null, () => {
      succeeded = attempts.begin(attempt);
    });
    if (!right || account === null || !account.is_active) {
      log.warn("A login failed", { username: attempt.username, address: attempt.address });
      throw new PicError("invalid_credentials", "The username or the password is wrong");
    }
    succeeded();
    return { account, ...(await sessions.create(account)) };
  }

  logout(actor: Actor): Promise<void> {
    return this.options.sessions.logout(actor);
  }

  /** Throws PicError `unauthenticated` when the account is gone. */
  async me(actor: Actor): Promise<Account> {
    const account = await getAccount(this.options.db, actor.account_id);
    if (account === null) throw new PicError("unauthenticated", "This account is gone");
    return account;
  }

  /**
   * Sets a password and ends all sessions of the account: for `picloud admin reset-password`.
   * Throws PicError `not_found`, `invalid`.
   */
  async resetPassword(username: string, password: string): Promise<void> {
    const { db, passwords, sessions } = this.options;
    checkPassword(password);
    const account = await findByUsername(db, foldUsername(username));
    if (account === null) throw new PicError("not_found", "There is no account of this name");
    const hash = await passwords.hash(password);
    await db.tx(async (tx) => {
      await updatePassword(tx, account.id, hash);
      await sessions.endAll(tx, account.id);
    });
  }

  /** In one transaction with the count: of several that try, one makes the first account. */
  async #insertFirst({ username, password }: Credentials): Promise<Account> {
    const { db, clock, newId, passwords } = this.options;
    checkUsername(username);
    checkPassword(password);
    const account: Account = {
      id: newId(),
      username,
      password_hash: await passwords.hash(password),
      role: "owner",
      is_active: true,
      created_at: clock.now(),
    };
    await db.tx(async (tx) => {
      await tx.lock("accounts");
      if ((await countAccounts(tx)) > 0) throw setupRefused();
      await insertAccount(tx, account);
      await clock.store(tx);
    });
    return account;
  }
}

/** Null without a look into the database for what cannot be a username. */
async function findByUsername(db: Database, username: string): Promise<Account | null> {
  return usernamePattern.test(username) ? getAccountByUsername(db, username) : null;
}

function setupRefused(): PicError {
  return new PicError(
    "forbidden",
    "This setup link is used, has expired or is not from the latest start of this server; a restart prints a new one",
  );
}
