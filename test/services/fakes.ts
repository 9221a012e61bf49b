/** A fresh control plane over a real database in a folder of its own, with time held still. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../src/base/clock.ts";
import { newId, newSecret } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/log.ts";
import { composeBindings } from "../../src/compose-bindings.ts";
import { composeData } from "../../src/compose-data.ts";
import type { Account, Actor } from "../../src/domain/accounts.ts";
import type { ExecutionRecord } from "../../src/domain/executions.ts";
import { appDataMbDefault, appDataRowsDefault, LIMIT_CEILINGS } from "../../src/domain/limits.ts";
import type { CompileRequest, CompileResult, Compiler } from "../../src/sandbox/api.ts";
import { AccountAdmin } from "../../src/services/account-admin.ts";
import { Accounts } from "../../src/services/accounts.ts";
import { ApiKeys } from "../../src/services/api-keys.ts";
import { Apps } from "../../src/services/apps.ts";
import { LoginAttempts } from "../../src/services/attempts.ts";
import { Audit } from "../../src/services/audit.ts";
import { Authentication } from "../../src/services/authentication.ts";
import { StoredClock } from "../../src/services/clock.ts";
import { DeadLetters } from "../../src/services/dead-letters.ts";
import { Deployments } from "../../src/services/deployments.ts";
import { type ExecutionReader, Executions } from "../../src/services/executions.ts";
import { Hosts } from "../../src/services/hosts.ts";
import { LiveRoutes } from "../../src/services/live-routes.ts";
import { Members } from "../../src/services/members.ts";
import { Nominations } from "../../src/services/nominations.ts";
import { Passwords } from "../../src/services/passwords.ts";
import { Routes } from "../../src/services/routes.ts";
import { Scripts } from "../../src/services/scripts.ts";
import { Sessions } from "../../src/services/sessions.ts";
import { Triggers } from "../../src/services/triggers.ts";
import { insertAccount } from "../../src/storage/accounts.ts";
import { sqliteMigrations } from "../../src/storage/migrations.ts";
import type { Database, Tx } from "../../src/storage/port.ts";
import { insertSession } from "../../src/storage/sessions.ts";
import { openSqlite } from "../../src/storage/sqlite.ts";

/** A clock that moves only when told. Its monotonic side cannot be set back. */
export class FakeClock implements Clock {
  wall = Date.parse("2030-01-01T00:00:00Z");
  #ticks = 0;
  now = (): number => this.wall;
  monotonic = (): number => this.#ticks;
  pass(ms: number): void {
    this.wall += ms;
    this.#ticks += ms;
  }
}

/** Compiles by looking: `// import x` imports x, `syntax error` is one, on its line. */
export class FakeCompiler implements Compiler {
  readonly requests: CompileRequest[] = [];
  /** Awaited before each answer. */
  before: () => Promise<void> = () => Promise.resolve();

  async compile(request: CompileRequest): Promise<CompileResult> {
    this.requests.push(request);
    await this.before();
    const lines = request.source.split("\n");
    const broken = lines.findIndex((line) => line.includes("syntax error"));
    if (broken !== -1) {
      const column = (lines[broken] as string).indexOf("syntax error") + 1;
      return { ok: false, problems: [{ message: "Unexpected error", line: broken + 1, column }] };
    }
    const import_sites = lines.flatMap((line, index) => {
      const specifier = /^\/\/ import (.+)$/.exec(line)?.[1];
      return specifier === undefined ? [] : [{ specifier, line: index + 1, column: 1 }];
    });
    const imports = import_sites.map(({ specifier }) => specifier).sort();
    const code = `/* js */${request.source}`;
    return { ok: true, code, source_map: "{}", imports, import_sites, warnings: [] };
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }
}

export class FakeRecords implements ExecutionReader {
  records: ExecutionRecord[] = [];

  list(scriptId: string, page: { limit: number }) {
    const items = this.records.filter((record) => record.script_id === scriptId);
    return Promise.resolve({ items: items.slice(0, page.limit), next_cursor: null });
  }

  get(id: string) {
    return Promise.resolve(this.records.find((record) => record.id === id) ?? null);
  }
}

export const password = "correct horse battery";

/** All services over one new database. `await using` closes it and removes its folder. */
export async function setup(options: { ttl_hours?: number } = {}) {
  const folder = await mkdtemp(join(tmpdir(), "picloud-services-"));
  const machineClock = new FakeClock();
  const open = () =>
    openSqlite({
      path: join(folder, "picloud.db"),
      migrations: sqliteMigrations,
      durability: "normal",
      clock: { now: machineClock.now, monotonic: () => performance.now() },
      log: silentLogger,
    });
  const db = await open();
  const services = await startServices(db, machineClock, options.ttl_hours ?? 24);
  return {
    db,
    clock: machineClock,
    ...services,
    async [Symbol.asyncDispose]() {
      await db.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** As after another start of the server on the same database. */
export async function startServices(db: Database, machineClock: FakeClock, ttl_hours = 24) {
  const log = silentLogger;
  const clock = new StoredClock(db, machineClock);
  await clock.load();
  const authentication = new Authentication({ db, clock, log, session_ttl_hours: ttl_hours });
  const audit = new Audit({ db, clock, newId });
  const sessions = new Sessions({ db, clock, audit, ttl_hours });
  const attempts = new LoginAttempts(machineClock);
  const passwords = new Passwords();
  const accounts = new Accounts({ db, clock, log, newId, passwords, attempts, sessions, audit });
  const live = new LiveRoutes({ db, log });
  await live.start();
  const compiler = new FakeCompiler();
  const records = new FakeRecords();
  const apps = new Apps({ db, clock, newId, live, audit });
  await apps.start();
  const config = { appDataRows: appDataRowsDefault, appDataMb: appDataMbDefault };
  const data = await composeBindings({ config, log, db, clock }, []);
  return {
    storedClock: clock,
    sessions,
    authentication,
    audit,
    attempts,
    passwords,
    accounts,
    accountAdmin: new AccountAdmin({ db, clock, newId, audit, passwords }),
    nominations: new Nominations({ db, clock, audit }),
    live,
    compiler,
    records,
    apps,
    hosts: new Hosts({ db, clock, live, audit }),
    apiKeys: new ApiKeys({ db, clock, newId, newSecret, audit }),
    members: new Members({ db, clock, audit }),
    scripts: new Scripts({ db, clock, newId, compiler, ceilings: LIMIT_CEILINGS, live, audit }),
    routes: new Routes({ db, clock, newId, live, audit }),
    triggers: new Triggers({ db, clock, newId, audit }),
    deployments: new Deployments({
      ...{ db, clock, newId, audit, compiler, live },
      ceilings: LIMIT_CEILINGS,
    }),
    deadLetters: new DeadLetters({ db, clock, audit }),
    executions: new Executions({ db, records }),
    bindings: data.bindings,
    ...composeData({ db, clock, audit }, data),
  };
}

/** The first account, which can log in with `password`. */
export async function firstAccount(accounts: Accounts): Promise<Account> {
  await accounts.start({ username: "ada", password });
  const { account } = await accounts.login({ username: "ada", password, address: "10.0.0.1" });
  return account;
}

/** An account that cannot log in, and costs no password hash. */
export async function owner(db: Database): Promise<Actor> {
  const account: Account = {
    id: newId(),
    username: "ada",
    password_hash: "none",
    role: "owner",
    is_active: true,
    created_at: 0,
    nomination: null,
  };
  const session_hash = "0".repeat(64);
  await db.tx(async (tx) => {
    await insertAccount(tx, account);
    await addSession(tx, account.id, session_hash);
  });
  return {
    account_id: account.id,
    username: account.username,
    role: account.role,
    memberships: new Map(),
    session_hash,
    key: null,
    address: "10.0.0.1",
    request_id: "request-1",
  };
}

/** A session that nobody has the token of. */
export function addSession(tx: Tx, account_id: string, token_hash: string): Promise<void> {
  const times = { created_at: 0, last_seen_at: 0, expires_at: Number.MAX_SAFE_INTEGER };
  return insertSession(tx, { token_hash, account_id, ...times, address: "", user_agent: "" });
}

/** The PicError code that a promise fails with. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "none";
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

export function record(script_id: string, part: Partial<ExecutionRecord> = {}): ExecutionRecord {
  return {
    id: newId(),
    app_id: newId(),
    script_id,
    version: 1,
    request_id: newId(),
    invocation: "route",
    status: "success",
    status_code: 200,
    started_at: Date.parse("2030-01-01T00:00:00Z"),
    duration_ms: 1.5,
    cpu_ms: 0.5,
    memory_bytes: 1_000,
    request: null,
    event: null,
    response: null,
    logs: [],
    logs_dropped: 0,
    error: null,
    abandoned: false,
    ...part,
  };
}
