/** Members of apps on the wire. */
import { APP_ROLES } from "../domain/access.ts";
import { type } from "./arktype.ts";

const role = type.enumerated(...APP_ROLES);

export const member = type({
  account_id: "string",
  username: "string",
  /** Of the account: an admin or an owner is an admin of every app, whatever `role` says. */
  account_role: "'owner' | 'admin' | 'member'",
  role,
  is_active: "boolean",
  created_at: "string",
  /** Null: the account that did it is gone. */
  created_by: "string | null",
});
export type WireMember = typeof member.infer;

/** `warning` says when the membership changes nothing for now. */
export const savedMember = member.merge({ warning: "string | null" });
export type WireSavedMember = typeof savedMember.infer;

export const memberPage = type({ items: member.array(), next_cursor: "string | null" });

export const memberInput = type({ "+": "reject", role });
export type MemberInput = typeof memberInput.infer;

/** An app that an account belongs to. */
export const membership = type({ app_id: "string", app: "string", role });
