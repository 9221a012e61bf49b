/** Who may work with one database at the same time: servers share it, who migrates or restores has it alone. */
import { afterEach, beforeEach, expect } from "bun:test";
import { systemClock as clock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { Database } from "../../src/storage/port.ts";
import { PostgresConnection } from "../../src/storage/postgres-connection.ts";
import { lockSpace, migrationLock, serverLock } from "../../src/storage/postgres-lock.ts";
import { parseTarget } from "../../src/storage/postgres-target.ts";
import { getSetting, setSetting } from "../../src/storage/settings.ts";
import { sql } from "../../src/storage/sql.ts";
import { codeOf, messageOf } from "./conformance/engine.ts";
import { type Setup, setup, test, until } from "./postgres-setup.ts";

let it: Setup;
beforeEach(async () => {
  it = await setup();
});
afterEach(() => it.end());

const write = (db: Database, value: string): Promise<void> =>
  db.tx((tx) => setSetting(tx, "a", value));

const newestNumber = async (): Promise<number> =>
  Number((await it.server.run("select max(number) as n from schema_migrations", it.name))[0]?.n);

/** As if a newer, or an older PiCloud had made the database. */
const pretend = (change: "newer" | "older"): Promise<unknown> =>
  it.server.run(
    change === "newer"
      ? "insert into schema_migrations values (999, 'later', 'x', 1)"
      : "delete from schema_migrations where number = (select max(number) from schema_migrations)",
    it.name,
  );

/** Ends the sessions that hold shares: each server takes a new one. */
async function endShares(): Promise<void> {
  await it.server.run(
    `select pg_terminate_backend(l.pid) from pg_locks as l join pg_database as d on d.oid = l.database
     where l.locktype = 'advisory' and d.datname = '${it.name}' and l.classid = ${lockSpace}
       and l.objid = ${serverLock}`,
  );
}

async function shares(): Promise<number> {
  const [row] = await it.server.run(
    `select count(*) as n from pg_locks as l join pg_database as d on d.oid = l.database
     where l.locktype = 'advisory' and d.datname = '${it.name}' and l.classid = ${lockSpace}
       and l.objid = ${serverLock} and l.mode = 'ShareLock' and l.granted`,
  );
  return Number(row?.n);
}

/** A session that has the database alone until it is let go. */
async function alone(name: string, locks: readonly number[]): Promise<() => Promise<void>> {
  const target = parseTarget(it.url);
  const connection = await PostgresConnection.open({ target, clock, log: silentLogger, name });
  for (const lock of locks) {
    const take = sql`select pg_advisory_lock(${lockSpace}, ${lock})`;
    await connection.execute(take, { msMax: 10_000 });
  }
  return () => connection.close();
}

test("servers work on one database together, and see what the others write", async () => {
  const servers = await Promise.all([it.open(), it.open(), it.open()]);
  expect(await shares()).toBe(3);
  const [a, b, c] = servers.map(({ db }) => db) as [Database, Database, Database];
  const heard: string[] = [];
  await b.listen("c", (payload) => heard.push(payload));
  await a.tx(async (tx) => {
    await setSetting(tx, "a", "1");
    await a.notify(tx, "c", "changed");
  });
  await until(() => (heard.length > 0 ? true : null));
  expect(heard).toEqual(["changed"]);
  expect(await getSetting(b, "a")).toBe("1");
  expect(await getSetting(c, "a")).toBe("1");
  expect(a.isShared).toBe(true);
});

test("servers that start together on an empty database migrate it once", async () => {
  const servers = await Promise.all(Array.from({ length: 4 }, () => it.open()));
  const versions = new Set(servers.map(({ db }) => db.schemaVersion()));
  expect([...versions]).toEqual([await newestNumber()]);
  await Promise.all(servers.map(({ db }) => write(db, "1")));
});

test("a lock that two servers take keeps one of them waiting", async () => {
  const [{ db: a }, { db: b }] = await Promise.all([it.open(), it.open()]);
  const order: string[] = [];
  const held = Promise.withResolvers<void>();
  const first = a.tx(async (tx) => {
    await tx.lock("name");
    order.push("first has it");
    held.resolve();
    await tx.get(sql`select pg_sleep(0.2)`);
    order.push("first ends");
  });
  await held.promise;
  await b.tx(async (tx) => {
    await tx.lock("name");
    order.push("second has it");
  });
  await first;
  expect(order).toEqual(["first has it", "first ends", "second has it"]);
});

test("a server whose connection is lost keeps the others', and gets its share back", async () => {
  const [{ db: a }, { db: b }] = await Promise.all([it.open(), it.open()]);
  const lost = Promise.withResolvers<string>();
  await a.listen("c", lost.resolve);
  await endShares();
  expect(await lost.promise).toBe("*");
  await until(async () => ((await shares()) === 2 ? true : null));
  await write(a, "1");
  expect(await getSetting(b, "a")).toBe("1");
});

test("a server that would have to migrate is refused while older ones work, and not after", async () => {
  const first = await it.open();
  await pretend("older");
  const refused = it.open({ bounds: { lockWaitMsMax: 100 } });
  expect(await messageOf(refused)).toMatch(
    /Another PiCloud, an older one, uses this database \(.*\): stop all of them/,
  );
  expect(await newestNumber()).toBe(first.db.schemaVersion() - 1);
  await write(first.db, "goes on");
});

test("one that comes while the last older server is just ending migrates", async () => {
  const first = await it.open();
  const version = first.db.schemaVersion();
  await it.server.run("drop schema public cascade; create schema public", it.name);
  const second = it.open();
  await first.close();
  expect((await second).db.schemaVersion()).toBe(version);
  expect(await newestNumber()).toBe(version);
});

test("a newer schema is refused, with and without servers beside it", async () => {
  const first = await it.open();
  await pretend("newer");
  expect(await messageOf(it.open())).toContain("has schema 999");
  await write(first.db, "goes on");
  await first.close();
  expect(await messageOf(it.open())).toContain("has schema 999");
});

test.each([["newer", "A newer PiCloud has migrated"] as const, ["older", "is older now"] as const])(
  "a server that lost its share ends when the schema is %s by then",
  async (change, told) => {
    const fatal = Promise.withResolvers<Error>();
    const { db } = await it.open({ onFatal: fatal.resolve });
    await pretend(change);
    await endShares();
    expect((await fatal.promise).message).toContain(told);
    expect(await codeOf(write(db, "1"))).toBe("unavailable");
  },
);

test("a start waits while another server migrates, however long, and says so", async () => {
  await (await it.open()).close();
  const release = await alone("0123456789abcdef", [serverLock, migrationLock]);
  const opening = it.open({ bounds: { lockWaitMsMax: 100 } });
  await until(() =>
    it.log.some((line) => line.includes("another PiCloud is migrating it")) ? true : null,
  );
  expect(await Promise.race([opening.then(() => "open"), Bun.sleep(500)])).toBeUndefined();
  await release();
  await write((await opening).db, "1");
});

test("a start is refused while somebody else has the database alone", async () => {
  await (await it.open()).close();
  for (const [name, locks] of [
    ["backup", [serverLock, migrationLock]],
    ["anybody", [serverLock]],
  ] as const) {
    const release = await alone(name, locks);
    const refused = it.open({ bounds: { lockWaitMsMax: 100 } });
    expect(await messageOf(refused)).toContain("Another PiCloud uses this database");
    await release();
  }
  await write((await it.open()).db, "1");
});

test("the wait for another's migration ends when it is no longer wanted", async () => {
  await (await it.open()).close();
  const release = await alone("0123456789abcdef", [serverLock, migrationLock]);
  const controller = new AbortController();
  const opening = messageOf(it.open({ signal: controller.signal }));
  await until(() => (it.log.some((line) => line.includes("is migrating")) ? true : null));
  controller.abort();
  expect(await opening).toContain("wait for the database was ended");
  await release();
});
