/** Accounts and sessions on the wire. */
import { passwordCharsMax, passwordCharsMin } from "../domain/limits.ts";
import { type } from "./arktype.ts";

export const account = type({
  id: "string",
  username: "string",
  role: "'owner' | 'admin' | 'member'",
  is_active: "boolean",
  created_at: "string",
});
export type WireAccount = typeof account.infer;

/** Bounds only: whether the password is right is not told by a validation error. */
export const loginInput = type({
  "+": "reject",
  username: `1 <= string <= ${passwordCharsMax}`,
  password: `1 <= string <= ${passwordCharsMax}`,
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
  username: "1 <= string <= 64",
  password: `${passwordCharsMin} <= string <= ${passwordCharsMax}`,
});
export type SetupInput = typeof setupInput.infer;
