/** The named schemas of who may do what (see openapi-schemas.ts). Loaded with the document alone. */
import {
  account,
  accountInput,
  accountPage,
  accountPatch,
  endedSessions,
  loginInput,
  loginOutput,
  me,
  nominationInput,
  passwordInput,
  session,
  sessionPage,
  setupInput,
  type WireAccount,
  type WireSession,
} from "../../schema/accounts.ts";
import {
  apiKey,
  apiKeyInput,
  apiKeyPage,
  createdApiKey,
  type WireApiKey,
} from "../../schema/api-keys.ts";
import { auditEntry, auditPage, type WireAuditEntry } from "../../schema/audit.ts";
import { appHost, appHostInput, appHostPage, type WireAppHost } from "../../schema/hosts.ts";
import { deployment, deploymentInput, type WireDeploymentChange } from "../../schema/manifest.ts";
import {
  member,
  memberInput,
  memberPage,
  savedMember,
  type WireMember,
} from "../../schema/members.ts";
import {
  exampleTime as at,
  exampleIds,
  lastPage,
  type NamedSchema,
  named,
} from "./openapi-examples.ts";

const ada: WireAccount = {
  id: exampleIds.account,
  username: "ada",
  role: "owner",
  is_active: true,
  created_at: at,
  nomination: null,
};

const laptop: WireSession = {
  id: "9b74c9897bac770ffc029102a200c5de",
  current: true,
  created_at: at,
  last_seen_at: at,
  expires_at: "2026-03-02T12:00:00.000Z",
  address: "192.168.1.20",
  user_agent: "Mozilla/5.0",
};

const deployKey: WireApiKey = {
  id: exampleIds.api_key,
  account_id: exampleIds.account,
  username: "ada",
  name: "Deploys the shop",
  prefix: "abcdefgh",
  scopes: ["route:write", "script:write"],
  app_id: exampleIds.app,
  app: "shop",
  created_at: at,
  expires_at: "2027-03-01T12:00:00.000Z",
  is_expired: false,
  last_used_at: null,
};

const grace: WireMember = {
  account_id: exampleIds.account,
  username: "grace",
  account_role: "member",
  role: "editor",
  is_active: true,
  created_at: at,
  created_by: exampleIds.account,
};

const shopHost: WireAppHost = {
  host: "*.shop.home.lan",
  app_id: exampleIds.app,
  created_at: at,
  created_by: exampleIds.account,
};

const renaming: WireAuditEntry = {
  id: exampleIds.audit_entry,
  at,
  actor: { id: exampleIds.account, name: "ada" },
  credential: "session",
  address: "192.168.1.20",
  request_id: exampleIds.request,
  action: "script.update",
  target: { kind: "script", id: exampleIds.script, name: "welcome" },
  app_id: exampleIds.app,
  detail: { version: 2, version_before: 2, renamed_from: "greet" },
};

const accountSchemas = [
  named("Account", "Who may log in", account, ada),
  named("Me", "Who asks, and with what", me, {
    ...ada,
    username: "grace",
    role: "member",
    key: null,
    memberships: [{ app_id: exampleIds.app, app: "shop", role: "editor" }],
    more_memberships: false,
  }),
  named("AccountPage", "Accounts", accountPage, { items: [ada], ...lastPage }),
  named("AccountInput", "An account to make", accountInput, {
    username: "grace",
    password: "correct horse battery",
    role: "member",
  }),
  named("AccountPatch", "What shall change; the rest stays as it is", accountPatch, {
    is_active: false,
  }),
  named("NominationInput", "The role to ask for", nominationInput, { role: "admin" }),
];

const sessionSchemas = [
  named("LoginInput", "A username and its password", loginInput, {
    username: "ada",
    password: "correct horse battery",
  }),
  named("Login", "A session: its token is shown this once", loginOutput, {
    token: "pcs_the-token-of-this-session",
    expires_at: "2026-03-02T12:00:00.000Z",
    account: ada,
  }),
  named("SetupInput", "The token of the setup link, and the account to make", setupInput, {
    token: "the-token-of-the-setup-link",
    username: "ada",
    password: "correct horse battery",
  }),
  named("PasswordInput", "The password as it is, and as it shall be", passwordInput, {
    old_password: "correct horse battery",
    new_password: "staple correct horse",
  }),
  named("Session", "Where somebody is logged in", session, laptop),
  named("SessionPage", "Sessions of an account", sessionPage, { items: [laptop], ...lastPage }),
  named("EndedSessions", "How many sessions have ended", endedSessions, { count: 2 }),
];

const apiKeySchemas = [
  named("ApiKey", "An API key, without the key itself", apiKey, deployKey),
  named("CreatedApiKey", "An API key; the key itself is shown this once", createdApiKey, {
    ...deployKey,
    raw_token: "pic_the-key-itself",
  }),
  named("ApiKeyPage", "API keys", apiKeyPage, { items: [deployKey], ...lastPage }),
  named("ApiKeyInput", "An API key to make", apiKeyInput, {
    name: "Deploys the shop",
    scopes: ["script:write", "route:write"],
    app: "shop",
    expires_at: "2027-03-01T12:00:00Z",
  }),
];

const hostSchemas = [
  named("AppHost", "A host on which only the routes of its app serve", appHost, shopHost),
  named("AppHostPage", "Hosts of an app", appHostPage, { items: [shopHost], ...lastPage }),
  named("AppHostInput", "A host to give to an app", appHostInput, { host: "*.shop.home.lan" }),
];

const memberSchemas = [
  named("Member", "An account that belongs to an app", member, grace),
  named("SavedMember", "A member as saved, and whether it counts", savedMember, {
    ...grace,
    warning: null,
  }),
  named("MemberPage", "Members of an app", memberPage, { items: [grace], ...lastPage }),
  named("MemberInput", "What a member may do", memberInput, { role: "editor" }),
];

const auditSchemas = [
  named("AuditEntry", "A change: who made it, when, from where, to what", auditEntry, renaming),
  named("AuditPage", "Changes, newest first", auditPage, { items: [renaming], ...lastPage }),
];

const visits: WireDeploymentChange = {
  action: "create",
  kind: "script",
  script: "visits",
  name: "visits",
  detail: "",
};

const deploymentSchemas = [
  named(
    "DeploymentInput",
    "What the app shall be; what is left out has its default",
    deploymentInput,
    {
      scripts: [
        {
          name: "visits",
          file: "visits.ts",
          source: "export default () => ({ visits: 1 });\n",
          routes: [{ path: "/visits/:page", method: "GET" }],
          triggers: [{ kind: "cron", expression: "0 0 3 * * *" }],
        },
      ],
      dry_run: true,
    },
  ),
  named("Deployment", "What was done, or with dry_run would be", deployment, {
    applied: false,
    changes: [visits, { ...visits, kind: "route", name: "GET /visits/:page" }],
    warnings: [],
  }),
];

export const accessSchemas: readonly NamedSchema[] = [
  ...accountSchemas,
  ...sessionSchemas,
  ...apiKeySchemas,
  ...hostSchemas,
  ...memberSchemas,
  ...auditSchemas,
  ...deploymentSchemas,
];
