/** The typed client's calls about who may do what. */
import { type ApiCalls, type PageOptions, part } from "./client-calls.ts";
import type {
  AccountFilterInput,
  AccountInput,
  AccountPatch,
  ApprovalInput,
  NominationInput,
  WireAccount,
} from "./schema/accounts.ts";
import type {
  ApiKeyFilterInput,
  ApiKeyInput,
  WireApiKey,
  WireCreatedApiKey,
} from "./schema/api-keys.ts";
import type { AuditFilterInput, WireAuditEntry } from "./schema/audit.ts";
import type { AppHostInput, WireAppHost } from "./schema/hosts.ts";
import type { MemberInput, WireMember, WireSavedMember } from "./schema/members.ts";
import type { WirePage } from "./schema/pages.ts";

export function accessCalls({ call }: ApiCalls) {
  return {
    audit: {
      /** Newest first. */
      list: (filter: AuditFilterInput & PageOptions = {}) =>
        call<WirePage<WireAuditEntry>>("GET", "/audit", { query: { ...filter } }),
    },
    /** @param account id or username */
    accounts: {
      create: (input: AccountInput) => call<WireAccount>("POST", "/accounts", { body: input }),
      list: (filter: AccountFilterInput & PageOptions = {}) =>
        call<WirePage<WireAccount>>("GET", "/accounts", { query: { ...filter } }),
      get: (account: string) => call<WireAccount>("GET", `/accounts/${part(account)}`),
      update: (account: string, patch: AccountPatch) =>
        call<WireAccount>("PATCH", `/accounts/${part(account)}`, { body: patch }),
      delete: (account: string) => call<void>("DELETE", `/accounts/${part(account)}`),
      nominate: (account: string, input: NominationInput) =>
        call<WireAccount>("POST", `/accounts/${part(account)}/nomination`, { body: input }),
      withdrawNomination: (account: string) =>
        call<void>("DELETE", `/accounts/${part(account)}/nomination`),
      /** Only when it is still the role that is asked for. */
      approveNomination: (account: string, expected: ApprovalInput) =>
        call<WireAccount>("POST", `/accounts/${part(account)}/nomination/approve`, {
          query: expected,
        }),
    },
    /** On these only the app's routes serve. @param app id or slug */
    hosts: {
      list: (app: string, page: PageOptions = {}) =>
        call<WirePage<WireAppHost>>("GET", `/apps/${part(app)}/hosts`, { query: { ...page } }),
      add: (app: string, input: AppHostInput) =>
        call<WireAppHost>("POST", `/apps/${part(app)}/hosts`, { body: input }),
      remove: (app: string, host: string) =>
        call<void>("DELETE", `/apps/${part(app)}/hosts`, { query: { host } }),
    },
    apiKeys: {
      /** The answer alone has the key itself. */
      create: (input: ApiKeyInput) => call<WireCreatedApiKey>("POST", "/api-keys", { body: input }),
      list: (filter: ApiKeyFilterInput & PageOptions = {}) =>
        call<WirePage<WireApiKey>>("GET", "/api-keys", { query: { ...filter } }),
      get: (id: string) => call<WireApiKey>("GET", `/api-keys/${part(id)}`),
      delete: (id: string) => call<void>("DELETE", `/api-keys/${part(id)}`),
    },
    /** @param app id or slug; @param account id or username */
    members: {
      list: (app: string, page: PageOptions = {}) =>
        call<WirePage<WireMember>>("GET", `/apps/${part(app)}/members`, {
          query: { ...page },
        }),
      put: (app: string, account: string, input: MemberInput) =>
        call<WireSavedMember>("PUT", `/apps/${part(app)}/members/${part(account)}`, {
          body: input,
        }),
      delete: (app: string, account: string) =>
        call<void>("DELETE", `/apps/${part(app)}/members/${part(account)}`),
    },
  };
}
