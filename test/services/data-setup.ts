/** What people do with an app's data, over a new database of either engine, with time held still. */
import { afterEach, describe, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { newId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/log.ts";
import { composeBindings } from "../../src/compose-bindings.ts";
import { composeData } from "../../src/compose-data.ts";
import type { Actor } from "../../src/domain/accounts.ts";
import { Audit } from "../../src/services/audit.ts";
import { insertApp } from "../../src/storage/apps.ts";
import type { Database } from "../../src/storage/port.ts";
import { openPostgres } from "../../src/storage/postgres.ts";
import { insertScript, insertVersion } from "../../src/storage/scripts.ts";
import { sql } from "../../src/storage/sql.ts";
import { triggersChannel } from "../../src/storage/triggers.ts";
import { postgresMissing, testPostgres } from "../postgres.ts";
import { script, version } from "../storage/conformance/engine.ts";
import { makeFolder, openBoth } from "../storage/sqlite-folder.ts";
import { FakeClock } from "./fakes.ts";

export interface DataOptions {
  rows?: number;
  megabytes?: number;
}

export type Opener = (options?: DataOptions) => Promise<DataTest>;
export type DataTest = Awaited<ReturnType<typeof openOver>>;

type OpenedDatabase = { db: Database; close: () => Promise<void> };

/** Runs a suite on each engine; what its opener opens ends with the test. */
export function onEachEngine(what: string, suite: (open: Opener) => void): void {
  const missing = postgresMissing();
  describe(`SQLite: ${what}`, () => suite(opener(openFolder)));
  if (missing === null) describe(`PostgreSQL: ${what}`, () => suite(opener(openServer)));
  else test.skip(`PostgreSQL: ${what} (${missing})`, () => {});
}

function opener(openDatabase: () => Promise<OpenedDatabase>): Opener {
  const ends: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });
  return async (options = {}) => {
    const { db, close } = await openDatabase();
    ends.push(close);
    const opened = await openOver(db, options);
    ends.push(opened.stop);
    return opened;
  };
}

async function openFolder(): Promise<OpenedDatabase> {
  const folder = makeFolder();
  const { db, close } = await openBoth(folder.path);
  return { db, close: () => close().finally(() => folder.remove()) };
}

async function openServer(): Promise<OpenedDatabase> {
  const server = await testPostgres();
  const name = await server.createDatabase();
  const around = { clock: systemClock, log: silentLogger };
  const { db, close } = await openPostgres({ url: server.url(name), ...around });
  return { db, close: () => close().finally(() => server.dropDatabase(name)) };
}

export const appIds = {
  one: "01890a5d-ac96-774b-bcce-b302099a8001",
  two: "01890a5d-ac96-774b-bcce-b302099a8002",
} as const;

/** Who edits. The audit trail refers to no table, so there need be no such account. */
export function by(request_id: string): Actor {
  return {
    account_id: "account-1",
    username: "ada",
    role: "owner",
    memberships: new Map(),
    session_hash: "0".repeat(64),
    key: null,
    address: "10.0.0.1",
    request_id,
  };
}

/** Two apps, `one` and `two`, each with a script. */
async function openOver(db: Database, { rows = 1_000_000, megabytes = 1_024 }: DataOptions) {
  const clock = new FakeClock();
  const ends: (() => Promise<void> | void)[] = [];
  await db.tx(async (tx) => {
    for (const slug of ["one", "two"] as const) {
      await insertApp(tx, { id: appIds[slug], slug, name: slug, created_at: 1 });
      const id = `script-${slug}`;
      await insertScript(tx, script(id, { app_id: appIds[slug] }));
      await insertVersion(tx, version(id));
    }
  });
  const config = { appDataRows: rows, appDataMb: megabytes };
  const data = await composeBindings({ config, log: silentLogger, db, clock }, ends);
  return {
    db,
    clock,
    ...data,
    ...composeData({ db, clock, audit: new Audit({ db, clock, newId }) }, data),
    stop: async () => {
      for (const end of ends.reverse()) await end();
    },
  };
}

/** A trigger of app one on all of its data, announced as the services do. */
export async function addTrigger(db: Database, kind: "kv" | "docs"): Promise<void> {
  await db.tx(async (tx) => {
    await tx.run(sql`insert into triggers (id, app_id, script_id, kind, is_enabled, collection,
        on_insert, on_update, on_delete, retry, created_at, updated_at)
      values (${newId()}, ${appIds.one}, 'script-one', ${kind}, 1, '*', 1, 1, 1, '{"max_attempts":2}',
        1, 1)`);
    await db.notify(tx, triggersChannel, appIds.one);
  });
}

/** What waits for handlers: type, key and depth, in the order of the events. */
export async function events(db: Database): Promise<string[]> {
  const rows = await db.all(
    sql<{ type: string; depth: number; root: string; payload: string }>`
      select type, depth, root_execution_id as root, payload from outbox order by event_id`,
  );
  return rows.map(({ type, depth, root, payload }) => {
    const { key } = JSON.parse(payload) as { key: string };
    return `${type} ${key} ${depth} ${root}`;
  });
}

export async function* pieces(...texts: (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield typeof text === "string" ? Buffer.from(text) : text;
}

export async function textOf(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const read: Uint8Array[] = [];
  for await (const chunk of chunks) read.push(chunk);
  return Buffer.concat(read).toString();
}
