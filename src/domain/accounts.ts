import { type AppRole, INSTANCE_ROLES, type Scope } from "./access.ts";
import { invalidField, PicError } from "./errors.ts";
import { passwordCharsMax, passwordCharsMin, usernamePattern } from "./limits.ts";

export type InstanceRole = "owner" | "admin" | "member";

export interface Account {
  id: string;
  username: string;
  /** Argon2id in PHC form. Never leaves services. */
  password_hash: string;
  role: InstanceRole;
  is_active: boolean;
  created_at: number;
  /** Null: nobody has nominated the account for a higher role. */
  nomination: Nomination | null;
}

/** A higher role that an admin asks for and an owner grants. */
export interface Nomination {
  role: "owner" | "admin";
  /** Account id. */
  by: string;
  at: number;
}

export interface Session {
  /** SHA-256 of the token, hex. */
  token_hash: string;
  account_id: string;
  created_at: number;
  expires_at: number;
  last_seen_at: number;
  /** Where it was opened: of the network, and as the program there calls itself. "" is unknown. */
  address: string;
  user_agent: string;
}

/** So much of its hash names a session: enough to tell it from any other. */
export const sessionIdChars = 32;

/** What a session is called by its owner: nobody gets in with it. */
export function sessionIdOf(token_hash: string): string {
  return token_hash.slice(0, sessionIdChars);
}

/** Who acts: resolved from a credential for each request and passed explicitly. */
export interface Actor {
  account_id: string;
  username: string;
  role: InstanceRole;
  /** App id → role in it. Counts only for members: admins and owners are admins of every app. */
  memberships: ReadonlyMap<string, AppRole>;
  /** SHA-256 of the session token, so that logout can end it; null for a key. */
  session_hash: string | null;
  /** Null for a session. */
  key: ActingKey | null;
  /** Where the request came from, and its id: for the audit trail. */
  address: string;
  request_id: string;
}

/** What an API key allows of what its account may do. */
export interface ActingKey {
  id: string;
  prefix: string;
  scopes: readonly Scope[];
  /** Null: not bound to an app. */
  app_id: string | null;
  expires_at: number | null;
}

/** What is to become of an account; what is absent stays as it is. */
export interface AccountChange {
  role?: InstanceRole;
  is_active?: boolean;
}

const idPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** An account in an address is an id or a username: no username may look like an id. */
export function isAccountId(ref: string): boolean {
  return idPattern.test(ref);
}

/**
 * What was typed into a login form: phones like to begin it with a capital. Only of ASCII: elsewhere two
 * letters that look alike may have one small letter (the Kelvin sign is one of k).
 */
export function foldUsername(username: string): string {
  return username.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}

/** For new accounts. Throws PicError `invalid`. */
export function checkUsername(username: string): void {
  if (!usernamePattern.test(username)) {
    throw invalidField(
      "username",
      "must be 1 to 64 of a-z, 0-9, dot, dash and underscore, beginning and ending with a letter or a digit",
    );
  }
  if (isAccountId(username)) throw invalidField("username", "must not look like an id");
}

/** Length is all that is asked of a password. Throws PicError `invalid` for the field `path`. */
export function checkPassword(password: string, path = "password"): void {
  if (password.length >= passwordCharsMin && password.length <= passwordCharsMax) return;
  throw invalidField(path, `must be ${passwordCharsMin} to ${passwordCharsMax} characters long`);
}

export function isHigherRole(role: InstanceRole, than: InstanceRole): boolean {
  return INSTANCE_ROLES.indexOf(role) > INSTANCE_ROLES.indexOf(than);
}

/** Accounts of this kind must not run out: nobody else could make another. */
export function isActiveOwner(account: Pick<Account, "role" | "is_active">): boolean {
  return account.role === "owner" && account.is_active;
}

/**
 * Who may change what of whom, beyond that an admin changes no owner (access.ts). Nobody gives themselves
 * a role or shuts themselves out, with one exception: an owner may step down. It takes only from whom
 * asks, and is how a PiCloud with too many owners gets fewer; that another one is left is for the caller
 * to see. Throws PicError `forbidden`.
 */
export function checkAccountChange(
  actor: Pick<Actor, "account_id" | "role">,
  account: Account,
  change: AccountChange,
): void {
  const { role = account.role, is_active = account.is_active } = change;
  if (actor.account_id === account.id) {
    if (role !== account.role && account.role !== "owner") {
      throw new PicError("forbidden", "Nobody changes their own role: somebody else has to");
    }
    if (is_active !== account.is_active) {
      throw new PicError("forbidden", "Nobody deactivates their own account: somebody else has to");
    }
  }
  checkGrantedRole(actor, role, account.role);
}

/**
 * Only an owner gives a role above `present`; that of a new account is `member`. Throws PicError `forbidden`.
 */
export function checkGrantedRole(
  actor: Pick<Actor, "role">,
  role: InstanceRole,
  present: InstanceRole = "member",
): void {
  if (actor.role === "owner" || !isHigherRole(role, present)) return;
  throw new PicError(
    "forbidden",
    `Only an owner makes an account ${role}: nominate it, and an owner can approve`,
  );
}
