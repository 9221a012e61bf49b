/**
 * The only place that constructs services and names a database engine. Everything below gets what
 * it uses and nothing else; nobody but this file sees all of it.
 *
 * A stop is a start in reverse: no new request, the running ones drained, records written, the
 * children ended, the database closed.
 */
import { version as productVersion } from "../package.json";
import { createDispatcher, type Dispatcher } from "./background/dispatcher.ts";
import { createLiveness, type Sandboxes } from "./background/liveness.ts";
import { createMaintenance } from "./background/maintenance.ts";
import { createScheduler } from "./background/scheduler.ts";
import type { Probe, Supervision } from "./background/supervision.ts";
import { systemClock } from "./base/clock.ts";
import { releaseCodePages } from "./base/code-pages.ts";
import { newId } from "./base/ids.ts";
import type { Logger } from "./base/log.ts";
import { countersSince, snapshotCounters } from "./base/metrics.ts";
import type { Supervisor } from "./base/notify.ts";
import { composeBindings } from "./compose-bindings.ts";
import { openStorage, type Storage } from "./compose-storage.ts";
import type { Config } from "./config.ts";
import { type Account, foldUsername, type InstanceRole } from "./domain/accounts.ts";
import { PicError } from "./domain/errors.ts";
import { drainMsMax, listLimitMax, notifySendMsMax } from "./domain/limits.ts";
import type { Page } from "./domain/pages.ts";
import type { Invoker } from "./execution/api.ts";
import { AsyncRuns } from "./execution/async.ts";
import { Gate } from "./execution/gate.ts";
import { createInvoker } from "./execution/invoke.ts";
import { createErrorMapper } from "./execution/positions.ts";
import { ExecutionRecords } from "./execution/records.ts";
import { openScriptCatalog, type ScriptCatalog } from "./execution/scripts.ts";
import { apiVersion } from "./http/api-version.ts";
import { createGateway, type Gateway } from "./http/gateway.ts";
import { type Servers, startServers } from "./http/server.ts";
import { createCompiler } from "./sandbox/compiler.ts";
import { createSandboxPool } from "./sandbox/pool.ts";
import { wireVersion } from "./sandbox/protocol.ts";
import { SDK_VERSION } from "./sdk/declarations.ts";
import { Accounts } from "./services/accounts.ts";
import { Apps } from "./services/apps.ts";
import { LoginAttempts } from "./services/attempts.ts";
import { Audit } from "./services/audit.ts";
import { Authentication } from "./services/authentication.ts";
import { LiveRoutes } from "./services/live-routes.ts";
import { Passwords } from "./services/passwords.ts";
import { Sessions } from "./services/sessions.ts";
import type { Database, Tx } from "./storage/port.ts";

export type { Supervision } from "./background/supervision.ts";

export interface Addresses {
  public_url: string;
  admin_url: string;
}

export interface Started {
  addresses: Addresses;
  /** Where the first account is made, while there is none. Works once, for an hour. */
  setup_url: string | null;
  /** For a watchdog: why the server is not alive, or null. */
  probe: Probe;
}

export interface Server {
  /** Resolves when it answers and a child is ready. Throws PicError with a reason for the user. */
  start(): Promise<Started>;
  /** Drains and ends everything; nothing acknowledged is lost. May be called twice. */
  stop(): Promise<void>;
}

export interface AdminTools {
  resetPassword(username: string, password: string): Promise<void>;
  /** Throws PicError `not_found`, `conflict` (the last active owner). */
  setRole(username: string, role: InstanceRole): Promise<void>;
  /** A page of accounts, by name. */
  list(cursor: string | null): Promise<Page<Account>>;
  stop(): Promise<void>;
}

/** Accounts, and what they stand on. */
function composeAccounts({ db, clock }: Storage, config: Config, log: Logger) {
  const session_ttl_hours = config.sessionTtlHours;
  const authentication = new Authentication({ db, clock, log, session_ttl_hours });
  const audit = new Audit({ db, clock, newId });
  const sessions = new Sessions({ db, clock, audit, ttl_hours: session_ttl_hours });
  const passwords = new Passwords();
  const attempts = new LoginAttempts(clock);
  const accounts = new Accounts({
    db,
    clock,
    log,
    newId,
    passwords,
    attempts,
    sessions,
    audit,
  });
  return { sessions, accounts, authentication, audit, passwords };
}

/** For `picloud admin …`: the folder must not be in use; a PostgreSQL database may be. */
export async function composeAdmin(config: Config, log: Logger): Promise<AdminTools> {
  const { AccountAdmin } = await import("./services/account-admin.ts");
  const storage = await openStorage(config, log);
  const { db, clock } = storage;
  const { accounts, audit, passwords } = composeAccounts(storage, config, log);
  const accountAdmin = new AccountAdmin({ db, clock, newId, audit, passwords });
  return {
    resetPassword: (username, password) => accounts.resetPassword(username, password),
    setRole: async (username, role) => {
      await accountAdmin.update("command", foldUsername(username), { role });
    },
    list: (cursor) => accountAdmin.list({}, { limit: listLimitMax, cursor }),
    stop: () => storage.close(),
  };
}

/** Begins to tell the service manager how this server fares; null when it cannot be told. */
export async function composeSupervision(
  { socket, watchdogMs }: Supervisor,
  log: Logger,
): Promise<Supervision | null> {
  // Loaded here: without a service manager nothing of it is in memory.
  const { openNotifier } = await import("./base/notify.ts");
  const { startSupervision } = await import("./background/supervision.ts");
  const notifier = openNotifier(socket, notifySendMsMax);
  return notifier === null ? null : startSupervision({ notifier, watchdogMs, log });
}

/**
 * Opens storage; nothing listens and no child runs before `start`. A database may have to be waited
 * for: `signal` ends that, and the promise rejects.
 */
export async function composeServer(
  config: Config,
  log: Logger,
  signal?: AbortSignal,
): Promise<Server> {
  const before = snapshotCounters();
  const storage = await openStorage(config, log, signal);
  const ends: End[] = [() => storage.close()];
  let stopping: Promise<void> | null = null;
  const stop = (): Promise<void> => {
    stopping ??= (async () => {
      for (const end of ends.reverse()) await end();
      log.debug("counters", countersSince(before));
    })();
    return stopping;
  };
  return { start: () => start(config, log, storage, ends), stop };
}

type End = () => Promise<void> | void;

/** Everything that runs, in the order of a start; each part adds how it ends to `ends`. */
async function start(config: Config, log: Logger, storage: Storage, ends: End[]): Promise<Started> {
  const { db, clock } = storage;
  const dataPlane = await startDataPlane(config, log, storage, ends);
  const { records, catalog, invoker, data } = dataPlane;
  const compiler = createCompiler({
    command: [...config.command, "compile"],
    clock: systemClock,
    log,
  });
  ends.push(() => compiler.stop());
  const access = composeAccounts(storage, config, log);
  const { accounts, authentication, audit } = access;
  const live = new LiveRoutes({ db, log });
  ends.push(await live.start());
  const apps = new Apps({ db, clock, newId, live, audit });
  await apps.start();
  const { setup_token } = await accounts.start(firstAccount(config));

  let servers: Servers | null = null;
  const gateway = createGateway({
    table: () => live.table(),
    invoker,
    asyncRuns: new AsyncRuns({ db, catalog, usage: data.usage, clock, log, newId }),
    publicBaseUrl: config.publicBaseUrl,
    findScript: (id) => findScript(catalog, id),
    authoriseExecute: async (token, id) => {
      await authentication.authoriseScript(token, "script.execute", id);
    },
    admin: async () => {
      // Who logs in is about to save: the compiler starts while the admin plane loads.
      compiler.prepare();
      const { composeAdminPlane } = await import("./compose-admin.ts");
      const parts = { config, log, db, clock, ...access, apps, live, compiler };
      return composeAdminPlane({ ...parts, records, data });
    },
    version: () => versions(config, db),
    adminPort: () => servers?.adminPort ?? config.adminBind.port,
    log,
    newId,
  });
  await dataPlane.ready();
  const dispatcher = await startDispatcher(storage, log, dataPlane, ends);
  servers = listen(config, gateway, log);
  // Both drain what runs, in the same time.
  ends.push(async () => void (await Promise.all([servers?.stop(drainMsMax), dispatcher.stop()])));
  startMaintenance(config, log, storage, { records, audit }, ends);
  await startScheduler(storage, log, ends);
  const addresses = addressesOf(config, servers);
  const probe = createLiveness({ db, sandboxes: dataPlane.sandboxes });
  return { addresses, setup_url: setupUrl(addresses, setup_token), probe };
}

/** What runs scripts: children, records, the catalog and the invoker over them. */
async function startDataPlane(config: Config, log: Logger, storage: Storage, ends: End[]) {
  const { db, logs, clock } = storage;
  // Before the pool, and so stopped after it: what the pool cuts off leaves a record.
  const records = new ExecutionRecords({ logs, clock, log, mapError: createErrorMapper(db) });
  ends.push(() => records.stop());
  const data = await composeBindings({ config, log, db, clock }, ends);
  const pool = createSandboxPool({
    children: config.sandboxes,
    bindings: data.bindings,
    image_cache_mb: config.imageCacheMb,
    command: [...config.command, "sandbox"],
    onRest: () => {
      Bun.gc(true);
      releaseCodePages();
    },
    clock: systemClock,
    log,
  });
  ends.push(() => pool.stop());
  const { ceilings } = config;
  const catalog = await openScriptCatalog({
    db,
    forget: (id) => pool.forget(id),
    ceilings,
    log,
  });
  ends.push(() => catalog.close());
  const gate = new Gate({ clock: systemClock, running: config.maxConcurrency });
  const invoker = createInvoker({
    catalog,
    gate,
    pool,
    db,
    records,
    clock: systemClock,
    log,
    newId,
    sdkVersion: SDK_VERSION,
  });
  const sandboxes = (): Sandboxes => {
    const { children, starting } = pool.stats();
    return { ready: children, starting };
  };
  return { records, catalog, gate, invoker, data, ready: () => pool.ready(), sandboxes };
}

function startMaintenance(
  config: Config,
  log: Logger,
  storage: Storage,
  { records, audit }: { records: ExecutionRecords; audit: Audit },
  ends: End[],
): void {
  const maintenance = createMaintenance({
    ...storage,
    storeTime: (tx) => storage.clock.store(tx),
    log,
    log_retention_days: config.logRetentionDays,
    log_max_mb: config.logMaxMb,
    audit_retention_days: config.auditRetentionDays,
    audit_max_mb: config.auditMaxMb,
    tellPurged: (tx, purged) => audit.purged(tx, purged),
    activity: () => records.stats().written + snapshotCounters().commits,
  });
  records.watchWrites((bytes) => maintenance.wrote(bytes));
  audit.watchWrites((bytes) => maintenance.audited(bytes));
  maintenance.start();
  ends.push(() => maintenance.stop());
}

/** Ends before the sandboxes do: what it has executed is settled. */
async function startDispatcher(
  { db, clock }: Storage,
  log: Logger,
  { gate, invoker }: { gate: Gate; invoker: Invoker },
  ends: End[],
): Promise<Dispatcher> {
  const dispatcher = createDispatcher({ db, gate, invoker, clock, log, newId });
  ends.push(() => dispatcher.stop());
  await dispatcher.start();
  return dispatcher;
}

/** After what handles deliveries. */
async function startScheduler({ db, clock }: Storage, log: Logger, ends: End[]): Promise<void> {
  const storeTime = (tx: Tx) => clock.store(tx);
  const scheduler = createScheduler({ db, clock, storeTime, newId, log });
  ends.push(() => scheduler.stop());
  await scheduler.start();
}

function listen(config: Config, { fetchPublic, fetchAdmin }: Gateway, log: Logger): Servers {
  const { bind, adminBind } = config;
  return startServers({ bind, adminBind, fetchPublic, fetchAdmin, log });
}

async function findScript(catalog: ScriptCatalog, id: string) {
  const cached = catalog.cached(id);
  if (cached !== undefined) return cached;
  try {
    return await catalog.get(id);
  } catch (error) {
    if (error instanceof PicError && error.code === "not_found") return null;
    throw error;
  }
}

function firstAccount({ adminUsername, adminPassword }: Config) {
  if (adminUsername === null || adminPassword === null) return null;
  return { username: adminUsername, password: adminPassword };
}

/** The five versions that change for users; docs/versioning.md says what raises each. */
function versions(config: Config, db: Database): object {
  return {
    product: productVersion,
    sdk: SDK_VERSION,
    api: apiVersion,
    schema: db.schemaVersion(),
    wire: wireVersion,
    public_base_url: config.publicBaseUrl,
  };
}

/** As a person on this machine would type them: a listener on every address is reached by its name. */
function addressesOf(config: Config, servers: Servers): Addresses {
  return {
    public_url: config.publicBaseUrl ?? urlOf(config.bind.host, servers.publicPort),
    admin_url: urlOf(config.adminBind.host, servers.adminPort),
  };
}

function urlOf(host: string, port: number): string {
  const shown = host === "0.0.0.0" || host === "::" ? "localhost" : host;
  return `http://${shown.includes(":") ? `[${shown}]` : shown}:${port}`;
}

function setupUrl({ admin_url }: Addresses, token: string | null): string | null {
  return token === null ? null : `${admin_url}/admin/setup?token=${token}`;
}
