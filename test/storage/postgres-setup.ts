/** Databases in a real PostgreSQL, and PiClouds on them, for the tests of that engine. */
import { test as anyTest } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { createLogger } from "../../src/base/log.ts";
import {
  openPostgres,
  type PostgresDatabases,
  type PostgresOptions,
} from "../../src/storage/postgres.ts";
import { postgresMissing, type TestPostgres, testPostgres } from "../postgres.ts";

/** Skipped where no PostgreSQL can be had; scripts/test says why. */
export const test = anyTest.skipIf(postgresMissing() !== null);

export interface Setup {
  server: TestPostgres;
  /** The name of an empty database. */
  name: string;
  url: string;
  /** Everything that was logged, as JSON lines. */
  log: string[];
  open(more?: Partial<PostgresOptions>): Promise<PostgresDatabases>;
  /** Closes what was opened and drops the database. */
  end(): Promise<void>;
}

export async function setup(): Promise<Setup> {
  const server = await testPostgres();
  const name = await server.createDatabase();
  const url = server.url(name);
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  const log = createLogger({ format: "json", level: "debug", write, now: Date.now });
  const opened: PostgresDatabases[] = [];
  return {
    server,
    name,
    url,
    log: lines,
    async open(more = {}) {
      const databases = await openPostgres({ url, clock: systemClock, log, ...more });
      opened.push(databases);
      return databases;
    },
    async end() {
      for (const databases of opened) await databases.close();
      await server.dropDatabase(name);
    },
  };
}

/** An address with other parts. */
export function changed(address: string, parts: Partial<URL>): string {
  const url = new URL(address);
  Object.assign(url, parts);
  return url.href;
}

/** Polls until `ask` answers something, for at most ten seconds. */
export async function until<T>(ask: () => Promise<T | null> | T | null): Promise<T> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    const found = await ask();
    if (found !== null) return found;
    if (performance.now() > deadline) throw new Error("it did not happen within 10 s");
    await Bun.sleep(20);
  }
}

/** What the server knows of the session that holds a database for a PiCloud. */
export async function keeperPid({ server, name }: Setup): Promise<number> {
  const [row] = await server.run(
    `select l.pid from pg_locks as l join pg_database as d on d.oid = l.database
     where l.locktype = 'advisory' and d.datname = '${name}' and l.objid = 1 and l.granted`,
  );
  return Number(row?.pid);
}
