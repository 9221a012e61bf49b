/** `accounts`: whom one lets in, and as what. In a path, `:id` is an id or a username. */
import type { Account } from "../../domain/accounts.ts";
import {
  account,
  accountInput,
  accountPage,
  accountPatch,
  accountQuery,
  approvalQuery,
  nominationInput,
  type WireAccount,
} from "../../schema/accounts.ts";
import type { AccountAdmin } from "../../services/account-admin.ts";
import type { Nominations } from "../../services/nominations.ts";
import { created, type Endpoint, endpoint, none, ok } from "./endpoint.ts";
import { isoTime } from "./times.ts";

export interface AccountEndpointsOptions {
  accountAdmin: AccountAdmin;
  nominations: Nominations;
}

export function accountEndpoints({
  accountAdmin,
  nominations,
}: AccountEndpointsOptions): Endpoint[] {
  return [...adminEndpoints(accountAdmin), ...nominationEndpoints(nominations)];
}

function adminEndpoints(accounts: AccountAdmin): Endpoint[] {
  return [
    endpoint({
      operation: "accounts.list",
      method: "GET",
      path: "/accounts",
      summary: "Accounts, by username; also those of a role, or by a part of the username",
      action: "account.read",
      input: { query: accountQuery },
      output: accountPage,
      errors: [],
      handle: async ({ query, page }) => {
        const { q, role, is_active } = query;
        const filter = {
          ...(q === undefined ? {} : { q }),
          ...(role === undefined ? {} : { role }),
          ...(is_active === undefined ? {} : { is_active: is_active === "true" }),
        };
        const found = await accounts.list(filter, page);
        return ok({ items: found.items.map(toAccount), next_cursor: found.next_cursor });
      },
    }),
    endpoint({
      operation: "accounts.create",
      method: "POST",
      path: "/accounts",
      summary: "Make an account; only an owner makes one that is more than a member",
      action: "account.write",
      input: { body: accountInput },
      output: account,
      status: 201,
      errors: ["conflict", "overloaded"],
      handle: async ({ actor, body }) => {
        const made = await accounts.create(actor, body);
        return created(`/accounts/${made.id}`, toAccount(made));
      },
    }),
    endpoint({
      operation: "accounts.get",
      method: "GET",
      path: "/accounts/:id",
      summary: "One account, by id or username",
      action: "account.read",
      output: account,
      errors: [],
      handle: async ({ params }) => ok(toAccount(await accounts.get(params.id as string))),
    }),
    endpoint({
      operation: "accounts.update",
      method: "PATCH",
      path: "/accounts/:id",
      summary:
        "Change an account's role or password, or switch it off with its sessions and API keys",
      action: "account.write",
      input: { body: accountPatch },
      output: account,
      errors: ["conflict", "overloaded"],
      handle: async ({ actor, params, body }) =>
        ok(toAccount(await accounts.update(actor, params.id as string, body))),
    }),
    endpoint({
      operation: "accounts.delete",
      method: "DELETE",
      path: "/accounts/:id",
      summary: "Delete an account with its sessions, memberships and API keys; what it made stays",
      action: "account.write",
      errors: ["conflict"],
      handle: async ({ actor, params }) => {
        await accounts.delete(actor, params.id as string);
        return none();
      },
    }),
  ];
}

function nominationEndpoints(nominations: Nominations): Endpoint[] {
  return [
    endpoint({
      operation: "accounts.nominate",
      method: "POST",
      path: "/accounts/:id/nomination",
      summary: "Ask for a higher role for an account",
      action: "nomination.write",
      input: { body: nominationInput },
      output: account,
      errors: ["conflict"],
      handle: async ({ actor, params, body }) =>
        ok(toAccount(await nominations.nominate(actor, params.id as string, body.role))),
    }),
    endpoint({
      operation: "accounts.withdraw_nomination",
      method: "DELETE",
      path: "/accounts/:id/nomination",
      summary: "Take back what was asked for",
      action: "nomination.write",
      errors: [],
      handle: async ({ actor, params }) => {
        await nominations.withdraw(actor, params.id as string);
        return none();
      },
    }),
    endpoint({
      operation: "accounts.approve_nomination",
      method: "POST",
      path: "/accounts/:id/nomination/approve",
      summary: "Give an account the role it is nominated for",
      action: "nomination.approve",
      input: { query: approvalQuery },
      output: account,
      errors: ["conflict"],
      handle: async ({ actor, params, query }) =>
        ok(toAccount(await nominations.approve(actor, params.id as string, query.role))),
    }),
  ];
}

export function toAccount(from: Account): WireAccount {
  const { nomination } = from;
  return {
    id: from.id,
    username: from.username,
    role: from.role,
    is_active: from.is_active,
    created_at: isoTime(from.created_at),
    nomination: nomination && { ...nomination, at: isoTime(nomination.at) },
  };
}
