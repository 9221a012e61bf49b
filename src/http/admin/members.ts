/** `apps/{app}/members`. */
import type { Member } from "../../domain/members.ts";
import { memberInput, memberPage, savedMember, type WireMember } from "../../schema/members.ts";
import { pageQuery } from "../../schema/pages.ts";
import type { MemberAddress, Members } from "../../services/members.ts";
import { type Endpoint, endpoint, none, ok } from "./endpoint.ts";
import { isoTime } from "./times.ts";

export function memberEndpoints(members: Members): Endpoint[] {
  return [
    endpoint({
      operation: "members.list",
      method: "GET",
      path: "/apps/:app/members",
      summary: "Members of an app, by username",
      action: "member.read",
      input: { query: pageQuery },
      output: memberPage,
      errors: ["not_found"],
      handle: async ({ params, page }) => {
        const { items, next_cursor } = await members.list(params.app as string, page);
        return ok({ items: items.map(toMember), next_cursor });
      },
    }),
    endpoint({
      operation: "members.put",
      method: "PUT",
      path: "/apps/:app/members/:account",
      summary: "Make an account, by id or username, a member of an app, or give it another role",
      action: "member.write",
      input: { body: memberInput },
      output: savedMember,
      errors: ["not_found", "conflict"],
      handle: async ({ actor, params, body }) => {
        const { member, warning } = await members.put(actor, addressOf(params), body);
        return ok({ ...toMember(member), warning });
      },
    }),
    endpoint({
      operation: "members.delete",
      method: "DELETE",
      path: "/apps/:app/members/:account",
      summary: "Leave an app, or, as its admin, remove a member",
      action: "member.leave",
      errors: ["not_found"],
      handle: async ({ actor, params }) => {
        await members.delete(actor, addressOf(params));
        return none();
      },
    }),
  ];
}

function addressOf(params: Readonly<Record<string, string>>): MemberAddress {
  return { app: params.app as string, account: params.account as string };
}

function toMember(from: Member): WireMember {
  return {
    account_id: from.account_id,
    username: from.username,
    account_role: from.account_role,
    role: from.role,
    is_active: from.is_active,
    created_at: isoTime(from.created_at),
    created_by: from.created_by,
  };
}
