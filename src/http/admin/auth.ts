/** `auth/*`: login, logout, me, setup, one's own password and sessions. */

import type { Account, Actor } from "../../domain/accounts.ts";
import {
  endedSessions,
  type LoginOutput,
  loginInput,
  loginOutput,
  me,
  passwordInput,
  sessionPage,
  setupInput,
  type WireMe,
  type WireSession,
} from "../../schema/accounts.ts";
import { pageQuery } from "../../schema/pages.ts";
import type { Accounts, Login } from "../../services/accounts.ts";
import type { ApiKeys } from "../../services/api-keys.ts";
import type { Members } from "../../services/members.ts";
import type { Sessions, ShownSession } from "../../services/sessions.ts";
import { toAccount } from "./accounts.ts";
import { clearSessionCookie, setSessionCookie } from "./authentication.ts";
import { anonymousEndpoint, type Endpoint, endpoint, none, ok } from "./endpoint.ts";
import { isoTime } from "./times.ts";

export interface AuthEndpointsOptions {
  accounts: Accounts;
  apiKeys: ApiKeys;
  members: Members;
  sessions: Sessions;
  publicBaseUrl: string | null;
}

export function authEndpoints(options: AuthEndpointsOptions): Endpoint[] {
  return [...loginEndpoints(options), ...ownEndpoints(options), ...sessionEndpoints(options)];
}

function loginEndpoints({ accounts, apiKeys, publicBaseUrl }: AuthEndpointsOptions): Endpoint[] {
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
      summary: "Open a session; one that the request brings along ends",
      input: { body: loginInput },
      output: loginOutput,
      errors: ["invalid_credentials", "too_many_attempts", "overloaded"],
      handle: async ({ body, listener, from }) =>
        loggedIn(await accounts.login({ ...body, ...from }), listener),
    }),
    anonymousEndpoint({
      operation: "auth.setup",
      method: "POST",
      path: "/auth/setup",
      summary: "Make the first account with the token of the setup link, and open a session",
      input: { body: setupInput },
      output: loginOutput,
      errors: ["forbidden", "overloaded"],
      handle: async ({ body, listener, from }) =>
        loggedIn(await accounts.setup(body, from), listener),
    }),
    endpoint({
      operation: "auth.logout",
      method: "POST",
      path: "/auth/logout",
      summary: "End this session; an API key revokes itself",
      action: "credential.end",
      errors: [],
      handle: async ({ actor, listener }) => {
        await (actor.key === null ? accounts.logout(actor) : apiKeys.end(actor));
        return none(
          listener === "admin" ? { "set-cookie": clearSessionCookie(publicBaseUrl) } : undefined,
        );
      },
    }),
  ];
}

function ownEndpoints({ accounts, members }: AuthEndpointsOptions): Endpoint[] {
  return [
    endpoint({
      operation: "auth.me",
      method: "GET",
      path: "/auth/me",
      summary: "The account of this session or API key, what the key is for, the account's apps",
      action: "self.read",
      output: me,
      errors: [],
      handle: async ({ actor }) =>
        ok(toMe(actor, await accounts.me(actor), await members.ofActor(actor))),
    }),
    endpoint({
      operation: "auth.change_password",
      method: "POST",
      path: "/auth/password",
      summary: "Change one's own password; all other sessions end, this one and API keys stay",
      action: "password.write",
      input: { body: passwordInput },
      errors: ["conflict", "too_many_attempts", "overloaded"],
      handle: async ({ actor, body }) => {
        await accounts.changePassword(actor, body);
        return none();
      },
    }),
  ];
}

function sessionEndpoints({ sessions }: AuthEndpointsOptions): Endpoint[] {
  return [
    endpoint({
      operation: "auth.sessions",
      method: "GET",
      path: "/auth/sessions",
      summary: "Where one is logged in, newest first",
      action: "session.read",
      input: { query: pageQuery },
      output: sessionPage,
      errors: [],
      handle: async ({ actor, page }) => {
        const { items, next_cursor } = await sessions.list(actor, page);
        return ok({ items: items.map(toSession), next_cursor });
      },
    }),
    endpoint({
      operation: "auth.end_session",
      method: "DELETE",
      path: "/auth/sessions/:session",
      summary: "End one of one's own sessions",
      action: "session.end",
      errors: [],
      handle: async ({ actor, params }) => {
        await sessions.end(actor, params.session as string);
        return none();
      },
    }),
    endpoint({
      operation: "auth.end_other_sessions",
      method: "DELETE",
      path: "/auth/sessions",
      summary: "End all of one's own sessions but this one",
      action: "session.end",
      output: endedSessions,
      errors: [],
      handle: async ({ actor }) => ok({ count: await sessions.endOthers(actor) }),
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

function toMe(
  { key }: Actor,
  account: Account,
  memberships: Awaited<ReturnType<Members["ofActor"]>>,
): WireMe {
  return {
    ...toAccount(account),
    key: key && {
      id: key.id,
      prefix: key.prefix,
      scopes: [...key.scopes],
      app_id: key.app_id,
      expires_at: key.expires_at === null ? null : isoTime(key.expires_at),
    },
    memberships:
      memberships?.items.map(({ app_id, slug, role }) => ({ app_id, app: slug, role })) ?? null,
    more_memberships: memberships?.more ?? false,
  };
}

function toSession(from: ShownSession): WireSession {
  return {
    id: from.id,
    current: from.current,
    created_at: isoTime(from.created_at),
    last_seen_at: isoTime(from.last_seen_at),
    expires_at: isoTime(from.expires_at),
    address: from.address,
    user_agent: from.user_agent,
  };
}
