/**
 * Constructs the admin plane: what only its calls use, over what serves already. Apart from compose.ts,
 * so that nothing of it is loaded before the first admin request.
 */
import { newId, newSecret } from "./base/ids.ts";
import type { Logger } from "./base/log.ts";
import type { ComposedBindings } from "./compose-bindings.ts";
import { composeData } from "./compose-data.ts";
import type { Config } from "./config.ts";
import type { AdminApp } from "./http/admin/app.ts";
import type { Compiler } from "./sandbox/api.ts";
import { AccountAdmin } from "./services/account-admin.ts";
import type { Accounts } from "./services/accounts.ts";
import { ApiKeys } from "./services/api-keys.ts";
import type { Apps } from "./services/apps.ts";
import type { Audit } from "./services/audit.ts";
import type { Authentication } from "./services/authentication.ts";
import type { StoredClock } from "./services/clock.ts";
import { DeadLetters } from "./services/dead-letters.ts";
import { Deployments } from "./services/deployments.ts";
import { settled } from "./services/durability.ts";
import { type ExecutionReader, Executions } from "./services/executions.ts";
import { Hosts } from "./services/hosts.ts";
import type { LiveRoutes } from "./services/live-routes.ts";
import { Members } from "./services/members.ts";
import { Nominations } from "./services/nominations.ts";
import type { Passwords } from "./services/passwords.ts";
import { Routes } from "./services/routes.ts";
import { Scripts } from "./services/scripts.ts";
import type { Sessions } from "./services/sessions.ts";
import { Triggers } from "./services/triggers.ts";
import type { Database } from "./storage/port.ts";

/** What serves already. */
export interface AdminPlaneParts {
  config: Config;
  log: Logger;
  db: Database;
  clock: StoredClock;
  accounts: Accounts;
  sessions: Sessions;
  authentication: Authentication;
  audit: Audit;
  passwords: Passwords;
  apps: Apps;
  live: LiveRoutes;
  compiler: Compiler;
  records: ExecutionReader;
  data: ComposedBindings;
}

export async function composeAdminPlane(parts: AdminPlaneParts): Promise<AdminApp> {
  const { config, log, db, clock, accounts, authentication, apps, live, compiler, records } = parts;
  const { audit, sessions, passwords } = parts;
  const { createAdminApp } = await import("./http/admin/app.ts");
  return createAdminApp({
    accounts,
    accountAdmin: new AccountAdmin({ db, clock, newId, audit, passwords }),
    nominations: new Nominations({ db, clock, audit }),
    sessions,
    apiKeys: new ApiKeys({ db, clock, newId, newSecret, audit }),
    apps,
    hosts: new Hosts({ db, clock, live, audit }),
    members: new Members({ db, clock, audit }),
    scripts: new Scripts({ db, clock, newId, compiler, ceilings: config.ceilings, live, audit }),
    routes: new Routes({ db, clock, newId, live, audit }),
    triggers: new Triggers({ db, clock, newId, audit }),
    deployments: new Deployments({
      ...{ db, clock, newId, audit, compiler, live },
      ceilings: config.ceilings,
    }),
    deadLetters: new DeadLetters({ db, clock, audit }),
    executions: new Executions({ db, records }),
    ...composeData({ db, clock, audit }, parts.data),
    audit,
    authenticate: (...call) => authentication.authenticate(...call),
    settled: () => settled(db),
    log,
    newId,
    monotonic: () => clock.monotonic(),
    publicBaseUrl: config.publicBaseUrl,
  });
}
