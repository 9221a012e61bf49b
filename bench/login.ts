/**
 * Whether the time of a failed login tells who has an account. Names of several kinds are tried in turn,
 * in an order that changes each round, and the times of each kind are ranked against those of names that
 * nobody has: an AUC of 0.5 says that a guess by the time is no better than a coin's.
 *
 * The service itself is measured, without the noise of a network, so that a small difference shows; its
 * clock jumps after each attempt, as the limits of logins would end the run.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../src/base/clock.ts";
import { newId } from "../src/base/ids.ts";
import { silentLogger } from "../src/base/log.ts";
import { loginFailureWindowMs } from "../src/domain/limits.ts";
import { Accounts } from "../src/services/accounts.ts";
import { LoginAttempts } from "../src/services/attempts.ts";
import { Audit } from "../src/services/audit.ts";
import { StoredClock } from "../src/services/clock.ts";
import { Passwords } from "../src/services/passwords.ts";
import { Sessions } from "../src/services/sessions.ts";
import { insertAccount } from "../src/storage/accounts.ts";
import { sqliteMigrations } from "../src/storage/migrations.ts";
import type { Database } from "../src/storage/port.ts";
import { openPostgres } from "../src/storage/postgres.ts";
import { openSqlite } from "../src/storage/sqlite.ts";
import { postgresMissing, testPostgres } from "../test/postgres.ts";
import { fixed, median, type Row } from "./table.ts";

const aucTolerance = 0.05;
/** Accounts among which the known ones are. */
const accounts = 100;
const password = "bench-password-1";

/** A username of each kind, another one in each round. */
const KINDS: Readonly<Record<string, (round: number) => string>> = {
  unknown: (round) => `nobody-${round % accounts}`,
  known: (round) => `active-${round % accounts}`,
  "switched off": (round) => `inactive-${round % accounts}`,
  "without a password": (round) => `bare-${round % accounts}`,
  "that cannot be one": (round) => `' or ${round % accounts}=1 --`,
  "in other letters": (round) => `ACTIVE-${round % accounts}`,
};

/** @param samples of each kind */
export async function loginRows(samples: number): Promise<Row[]> {
  const rows = await rowsOver("SQLite", await openFile(), samples);
  if (postgresMissing() !== null) return rows;
  return [...rows, ...(await rowsOver("PostgreSQL", await openServer(), samples))];
}

interface Opened {
  db: Database;
  close(): Promise<void>;
}

async function rowsOver(engine: string, { db, close }: Opened, samples: number): Promise<Row[]> {
  try {
    const times = await measure(db, samples);
    const unknown = times.get("unknown") ?? [];
    return [...times].flatMap(([kind, taken]) =>
      kind === "unknown" ? [] : [rowOf({ engine, kind, taken, unknown })],
    );
  } finally {
    await close();
  }
}

/** Milliseconds of failed logins, by kind. */
async function measure(db: Database, samples: number): Promise<Map<string, number[]>> {
  const { service, pass } = await serviceOver(db);
  const times = new Map<string, number[]>(Object.keys(KINDS).map((kind) => [kind, []]));
  for (let round = -1; round < samples; round += 1) {
    for (const [kind, name] of shuffled(Object.entries(KINDS))) {
      const attempt = { username: name(round + 1), password: "not this one", address: "10.0.0.1" };
      const start = performance.now();
      const code = await service.login(attempt).then(
        () => "none",
        (error: { code?: string }) => error.code,
      );
      const taken = performance.now() - start;
      if (code !== "invalid_credentials") throw new Error(`The login of ${kind} ended as ${code}`);
      // The first round warms up.
      if (round >= 0) times.get(kind)?.push(taken);
      pass();
    }
  }
  return times;
}

async function serviceOver(db: Database) {
  let passed = 0;
  const monotonic = () => performance.now() + passed;
  const clock = new StoredClock(db, { now: systemClock.now, monotonic });
  const passwords = new Passwords();
  const audit = new Audit({ db, clock, newId });
  const service = new Accounts({
    db,
    clock,
    log: silentLogger,
    newId,
    passwords,
    attempts: new LoginAttempts({ now: systemClock.now, monotonic }),
    sessions: new Sessions({ db, clock, audit, ttl_hours: 1 }),
    audit,
  });
  await makeAccounts(db, await passwords.hash(password));
  const pass = (): void => {
    passed += loginFailureWindowMs;
  };
  return { service, pass };
}

async function makeAccounts(db: Database, hash: string): Promise<void> {
  await db.tx(async (tx) => {
    for (let index = 0; index < accounts; index += 1) {
      for (const kind of ["active", "inactive", "bare"]) {
        await insertAccount(tx, {
          id: newId(),
          username: `${kind}-${index}`,
          password_hash: kind === "bare" ? "none" : hash,
          role: "member",
          is_active: kind !== "inactive",
          created_at: 0,
          nomination: null,
        });
      }
    }
  });
}

async function openFile(): Promise<Opened> {
  const folder = await mkdtemp(join(tmpdir(), "picloud-bench-login-"));
  const db = await openSqlite({
    path: join(folder, "picloud.db"),
    migrations: sqliteMigrations,
    durability: "full",
    clock: systemClock,
    log: silentLogger,
  });
  return { db, close: () => db.close().then(() => rm(folder, { recursive: true })) };
}

async function openServer(): Promise<Opened> {
  const server = await testPostgres();
  const name = await server.createDatabase();
  const url = server.url(name);
  const { db, close } = await openPostgres({ url, clock: systemClock, log: silentLogger });
  return { db, close: () => close().then(() => server.dropDatabase(name)) };
}

interface Compared {
  engine: string;
  kind: string;
  taken: readonly number[];
  unknown: readonly number[];
}

function rowOf({ engine, kind, taken, unknown }: Compared): Row {
  const auc = areaUnderCurve(taken, unknown);
  return {
    what: `${engine}, failed login: ${kind} / unknown`,
    target: `AUC 0.5 ± ${aucTolerance}`,
    measured: fixed(auc, 3),
    reached: Math.abs(auc - 0.5) <= aucTolerance,
    detail:
      `${taken.length} samples each, medians ${fixed(median(taken))} and ` +
      `${fixed(median(unknown))} ms`,
  };
}

/** The probability that one of `these` is more than one of `those` (Mann-Whitney); equal ones count half. */
function areaUnderCurve(these: readonly number[], those: readonly number[]): number {
  const sorted = [...those].sort((a, b) => a - b);
  const countBelow = (value: number, orEqual: boolean): number => {
    let [low, high] = [0, sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const found = sorted[middle] ?? Number.NaN;
      if (found < value || (orEqual && found === value)) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  const wins = these.map((value) => (countBelow(value, false) + countBelow(value, true)) / 2);
  return wins.reduce((sum, won) => sum + won, 0) / (these.length * those.length);
}

function shuffled<T>(items: T[]): T[] {
  for (let index = items.length - 1; index > 0; index -= 1) {
    const other = Math.floor(Math.random() * (index + 1));
    [items[index], items[other]] = [items[other] as T, items[index] as T];
  }
  return items;
}
