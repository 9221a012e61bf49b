/** Accounts and sessions on the wire. */
import { passwordCharsMax, passwordCharsMin, usernameCharsMax } from "../domain/limits.ts";
import { actingKey } from "./api-keys.ts";
import { type } from "./arktype.ts";
import { membership } from "./members.ts";

const role = type("'owner' | 'admin' | 'member'");
const higherRole = type("'owner' | 'admin'");
const username = `1 <= string <= ${usernameCharsMax}` as const;
const newPassword = `${passwordCharsMin} <= string <= ${passwordCharsMax}` as const;
/** Bounds only: whether the password is right is not told by a validation error. */
const typedPassword = `1 <= string <= ${passwordCharsMax}` as const;

export const account = type({
  id: "string",
  username: "string",
  role,
  is_active: "boolean",
  created_at: "string",
  /** Null: nobody has nominated the account for a higher role. */
  nomination: type({ role: higherRole, by: "string", at: "string" }).or("null"),
});
export type WireAccount = typeof account.infer;

/** Who asks, and with what. */
export const me = account.merge({
  /** Null: a session. */
  key: actingKey.or("null"),
  /** By slug, those that the key may see. Null: of every app an admin. */
  memberships: membership.array().or("null"),
  /** There are more of them than are told here. */
  more_memberships: "boolean",
});
export type WireMe = typeof me.infer;

export const accountPage = type({ items: account.array(), next_cursor: "string | null" });

/** `q` is a part of the username. */
export const accountQuery = type({
  "+": "reject",
  "limit?": "string",
  "cursor?": "string <= 1024",
  "q?": `string <= ${usernameCharsMax}`,
  "role?": role,
  "is_active?": "'true' | 'false'",
});
export type AccountFilterInput = {
  q?: string;
  role?: typeof role.infer;
  is_active?: boolean;
};

export const accountInput = type({
  "+": "reject",
  username,
  password: newPassword,
  /** Absent: member. */
  "role?": role,
});
export type AccountInput = typeof accountInput.infer;

export const accountPatch = type({
  "+": "reject",
  "role?": role,
  "is_active?": "boolean",
  "password?": newPassword,
});
export type AccountPatch = typeof accountPatch.infer;

export const nominationInput = type({ "+": "reject", role: higherRole });
export type NominationInput = typeof nominationInput.infer;

/** `role` is what the owner saw and means to grant: when another one is asked for meanwhile, nothing is. */
export const approvalQuery = type({ "+": "reject", role: higherRole });
export type ApprovalInput = typeof approvalQuery.infer;

export const loginInput = type({
  "+": "reject",
  username: `1 <= string <= ${passwordCharsMax}`,
  password: typedPassword,
});
export type LoginInput = typeof loginInput.infer;

export const loginOutput = type({
  token: "string",
  expires_at: "string",
  account,
});
export type LoginOutput = typeof loginOutput.infer;

export const setupInput = type({
  "+": "reject",
  token: "1 <= string <= 128",
  username,
  password: newPassword,
});
export type SetupInput = typeof setupInput.infer;

export const passwordInput = type({
  "+": "reject",
  old_password: typedPassword,
  new_password: newPassword,
});
export type PasswordInput = typeof passwordInput.infer;

export const session = type({
  id: "string",
  /** The one that asks. */
  current: "boolean",
  created_at: "string",
  last_seen_at: "string",
  expires_at: "string",
  /** Where it was opened; "" when that is not known. */
  address: "string",
  user_agent: "string",
});
export type WireSession = typeof session.infer;

export const sessionPage = type({ items: session.array(), next_cursor: "string | null" });

export const endedSessions = type({ count: "number" });
export type WireEndedSessions = typeof endedSessions.infer;
