/**
 * Constructs the admin plane: what only its calls use, over what serves already. Apart from compose.ts,
 * so that nothing of it is loaded before the first admin request.
 */
import type { Clock } from "./base/clock.ts";
import { newId } from "./base/ids.ts";
import type { Logger } from "./base/log.ts";
import type { ComposedBindings } from "./compose-bindings.ts";
import { composeData } from "./compose-data.ts";
import type { Config } from "./config.ts";
import type { AdminApp } from "./http/admin/app.ts";
import type { Compiler } from "./sandbox/api.ts";
import type { Accounts } from "./services/accounts.ts";
import type { Apps } from "./services/apps.ts";
import { DeadLetters } from "./services/dead-letters.ts";
import { settled } from "./services/durability.ts";
import { type ExecutionReader, Executions } from "./services/executions.ts";
import type { LiveRoutes } from "./services/live-routes.ts";
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
  clock: Clock;
  accounts: Accounts;
  sessions: Sessions;
  apps: Apps;
  live: LiveRoutes;
  compiler: Compiler;
  records: ExecutionReader;
  data: ComposedBindings;
}

export async function composeAdminPlane(parts: AdminPlaneParts): Promise<AdminApp> {
  const { config, log, db, clock, accounts, sessions, apps, live, compiler, records } = parts;
  const { createAdminApp } = await import("./http/admin/app.ts");
  return createAdminApp({
    accounts,
    apps,
    scripts: new Scripts({ db, clock, newId, compiler, ceilings: config.ceilings, live }),
    routes: new Routes({ db, clock, newId, live }),
    triggers: new Triggers({ db, clock, newId }),
    deadLetters: new DeadLetters({ db, clock }),
    executions: new Executions({ db, records }),
    ...composeData({ db, clock }, parts.data),
    authenticate: (token) => sessions.authenticate(token),
    settled: () => settled(db),
    log,
    newId,
    publicBaseUrl: config.publicBaseUrl,
  });
}
