/** `auth/*`: login, logout, me, setup. */
import type { Account } from "../../domain/accounts.ts";
import {
  account,
  type LoginOutput,
  loginInput,
  loginOutput,
  setupInput,
  type WireAccount,
} from "../../schema/accounts.ts";
import type { Accounts, Login } from "../../services/accounts.ts";
import { clearSessionCookie, setSessionCookie } from "./authentication.ts";
import { anonymousEndpoint, type Endpoint, endpoint, none, ok } from "./endpoint.ts";
import { isoTime } from "./times.ts";

export interface AccountEndpointsOptions {
  accounts: Accounts;
  publicBaseUrl: string | null;
}

export function accountEndpoints({ accounts, publicBaseUrl }: AccountEndpointsOptions): Endpoint[] {
  /** Only the admin listener sets the cookie. */
  const loggedIn = (login: Login, listener: "public" | "admin") =>
    ok(
      toLogin(login),
      listener === "admin"
        ? { "set-cookie": setSessionCookie(login.token, publicBaseUrl) }
        : undefined,
    );
  return [
    anonymousEndpoint({
      operation: "auth.login",
      method: "POST",
      path: "/auth/login",
      summary: "Open a session",
      input: { body: loginInput },
      output: loginOutput,
      errors: ["invalid_credentials", "too_many_attempts", "overloaded"],
      handle: async ({ body, listener, remote_address }) =>
        loggedIn(await accounts.login({ ...body, address: remote_address }), listener),
    }),
    anonymousEndpoint({
      operation: "auth.setup",
      method: "POST",
      path: "/auth/setup",
      summary: "Make the first account with the token of the setup link, and open a session",
      input: { body: setupInput },
      output: loginOutput,
      errors: ["forbidden", "overloaded"],
      handle: async ({ body, listener }) => loggedIn(await accounts.setup(body), listener),
    }),
    endpoint({
      operation: "auth.logout",
      method: "POST",
      path: "/auth/logout",
      summary: "End this session",
      action: "session.end",
      errors: [],
      handle: async ({ actor, listener }) => {
        await accounts.logout(actor);
        return none(
          listener === "admin" ? { "set-cookie": clearSessionCookie(publicBaseUrl) } : undefined,
        );
      },
    }),
    endpoint({
      operation: "auth.me",
      method: "GET",
      path: "/auth/me",
      summary: "The account of this session",
      action: "account.read",
      output: account,
      errors: [],
      handle: async ({ actor }) => ok(toAccount(await accounts.me(actor))),
    }),
  ];
}

function toLogin(login: Login): LoginOutput {
  return {
    token: login.token,
    expires_at: isoTime(login.expires_at),
    account: toAccount(login.account),
  };
}

function toAccount(from: Account): WireAccount {
  return {
    id: from.id,
    username: from.username,
    role: from.role,
    is_active: from.is_active,
    created_at: isoTime(from.created_at),
  };
}
