import { invalidField } from "./errors.ts";
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
}

export interface Session {
  /** SHA-256 of the token, hex. */
  token_hash: string;
  account_id: string;
  created_at: number;
  expires_at: number;
  last_seen_at: number;
}

/** Who acts: resolved from a session for each request and passed explicitly. */
export interface Actor {
  account_id: string;
  username: string;
  role: InstanceRole;
  /** SHA-256 of the session token, so that logout can end it. */
  session_hash: string;
}

/** What a call of the admin API does; each endpoint names one. */
export type Action =
  | "account.read"
  | "session.end"
  | "app.read"
  | "app.write"
  | "script.read"
  | "script.write"
  | "route.read"
  | "route.write"
  | "trigger.read"
  | "trigger.write"
  | "dead_letter.read"
  | "dead_letter.write"
  | "execution.read"
  | "data.read"
  | "data.write";

/** Until roles arrive every account may do everything. */
export function mayAct(_actor: Actor, _action: Action): boolean {
  return true;
}

/** What was typed into a login form: phones like to begin it with a capital. */
export function foldUsername(username: string): string {
  return username.toLowerCase();
}

/** Throws PicError `invalid`. */
export function checkUsername(username: string): void {
  if (usernamePattern.test(username)) return;
  throw invalidField(
    "username",
    "must be 1 to 64 of a-z, 0-9, dot, dash and underscore, beginning and ending with a letter or a digit",
  );
}

/** Length is all that is asked of a password. Throws PicError `invalid`. */
export function checkPassword(password: string): void {
  if (password.length >= passwordCharsMin && password.length <= passwordCharsMax) return;
  throw invalidField(
    "password",
    `must be ${passwordCharsMin} to ${passwordCharsMax} characters long`,
  );
}
