/** What happens while the database is used: it hangs, falls silent, goes away, is taken, answers too much. */
import { afterEach, beforeEach, expect } from "bun:test";
import type { Database, Tx } from "../../src/storage/port.ts";
import { getSetting, setSetting } from "../../src/storage/settings.ts";
import { sql } from "../../src/storage/sql.ts";
import { startTcpProxy, type TcpProxy } from "../e2e/tcp-proxy.ts";
import { codeOf, messageOf } from "./conformance/engine.ts";
import { changed, keeperPid, type Setup, setup, test, until } from "./postgres-setup.ts";

let it: Setup;
let proxy: TcpProxy;
let url: string;
beforeEach(async () => {
  it = await setup();
  proxy = await startTcpProxy(it.server);
  url = changed(it.url, { port: String(proxy.port) });
});
afterEach(async () => {
  await proxy.pass();
  await it.end();
  await proxy[Symbol.asyncDispose]();
});

const sleeping = sql`select pg_sleep(30)`;
const lockSpace = 0x5069436c;

async function works(db: Database): Promise<void> {
  await db.tx((tx) => setSetting(tx, "works", "yes"));
  expect(await getSetting(db, "works")).toBe("yes");
}

test("a query that hangs is given up at its deadline, and others go on", async () => {
  const { db } = await it.open({ bounds: { queryMsMax: 300, readersMax: 1, writersMax: 1 } });
  const hung = [
    db.get(sleeping),
    db.scan(sleeping),
    db.autocommit({ seq: 0 }).run(sleeping),
    db.tx((tx) => tx.get(sleeping)),
  ];
  expect(await Promise.all(hung.map(codeOf))).toEqual(Array(4).fill("unavailable"));
  await until(() =>
    works(db).then(
      () => true,
      () => null,
    ),
  );
});

test("what waits for a connection has the same deadline, and a bounded queue", async () => {
  const { db } = await it.open({ bounds: { queryMsMax: 400, readersMax: 1, queueMax: 2 } });
  const answers = Promise.all(Array.from({ length: 5 }, () => codeOf(db.get(sleeping))));
  expect(new Set(await answers)).toEqual(new Set(["unavailable"]));
  const full = Array.from({ length: 5 }, () => messageOf(db.get(sleeping)));
  expect((await Promise.all(full)).join()).toContain("Too many queries are waiting");
});

test("a transaction whose connection falls silent is refused within its deadline", async () => {
  const { db } = await it.open({ url, bounds: { queryMsMax: 1_000 } });
  await works(db);
  const began = performance.now();
  const cut = db.tx(async (tx) => {
    await setSetting(tx, "a", "1");
    await proxy.blackhole();
    await setSetting(tx, "b", "1");
  });
  expect(await codeOf(cut)).toBe("unavailable");
  expect(performance.now() - began).toBeLessThan(5_000);
  await proxy.pass();
  await until(() =>
    works(db).then(
      () => true,
      () => null,
    ),
  );
  expect(await getSetting(db, "a")).toBeNull();
});

test("a row that a lost transaction wrote can be written again at once, not when the database notices", async () => {
  const { db } = await it.open({ url, bounds: { queryMsMax: 1_000 } });
  const write = (): Promise<void> => db.tx((tx) => setSetting(tx, "a", "1"));
  await write();
  const cut = db.tx(async (tx) => {
    await setSetting(tx, "a", "2");
    await proxy.blackhole();
    await setSetting(tx, "a", "3");
  });
  expect(await codeOf(cut)).toBe("unavailable");
  await proxy.pass();
  await until(() =>
    write().then(
      () => true,
      () => null,
    ),
  );
  expect(await getSetting(db, "a")).toBe("1");
});

test("a database that falls silent is noticed long before a deadline, and used when it is back", async () => {
  const { db } = await it.open({ url, bounds: { queryMsMax: 60_000 } });
  await works(db);
  await proxy.blackhole();
  expect(await codeOf(works(db))).toBe("unavailable");
  expect(await codeOf(getSetting(db, "works"))).toBe("unavailable");
  await proxy.pass();
  await until(() =>
    works(db).then(
      () => true,
      () => null,
    ),
  );
  // Our own lost session had its share meanwhile: it was ended, and nobody was told to stop.
  expect(await keeperPid(it)).toBeGreaterThan(0);
});

test("listeners are told of a message once: our own at the commit, others' when they come", async () => {
  const { db } = await it.open();
  const heard: string[] = [];
  await db.listen("c", (payload) => heard.push(payload));
  await db.tx((tx) => db.notify(tx, "c", "own"));
  expect(heard).toEqual(["own"]);
  await it.server.run("select pg_notify('picloud_main_c', '0123456789abcdef.1:other')", it.name);
  await it.server.run("select pg_notify('picloud_main_c', 'by hand')", it.name);
  await until(() => (heard.length >= 3 ? true : null));
  expect(heard).toEqual(["own", "other", "by hand"]);
});

test("after listening was interrupted every listener is told that anything may have changed", async () => {
  const { db } = await it.open();
  const heard: string[] = [];
  await db.listen("a", (payload) => heard.push(`a ${payload}`));
  const stop = await db.listen("b", (payload) => heard.push(`b ${payload}`));
  await db.listen("b", (payload) => heard.push(`c ${payload}`));
  stop();
  await it.server.run(`select pg_terminate_backend(${await keeperPid(it)})`);
  await until(() => (heard.length >= 2 ? true : null));
  expect(heard).toEqual(["a *", "c *"]);
  await it.server.run("select pg_notify('picloud_main_a', 'again')", it.name);
  await until(() => (heard.length >= 3 ? true : null));
  expect(heard.at(-1)).toBe("a again");
});

test("a commit that nobody answered tells listeners that anything may have changed", async () => {
  const { db } = await it.open({ url, bounds: { queryMsMax: 1_000 } });
  const heard: string[] = [];
  await db.listen("c", (payload) => heard.push(payload));
  const unanswered = db.tx(async (tx) => {
    await db.notify(tx, "c", "own");
    await proxy.blackhole();
  });
  expect(await codeOf(unanswered)).toBe("unavailable");
  expect(heard).toContain("*");
  expect(heard).not.toContain("own");
});

test("a payload is bounded, in bytes", async () => {
  const { db } = await it.open();
  const notify = (payload: string) => messageOf(db.tx((tx) => db.notify(tx, "c", payload)));
  expect(await notify("é".repeat(3_900))).toBe("resolved");
  expect(await notify("é".repeat(4_000))).toContain("too long");
});

test("a lost share is taken anew; when another has the database for itself, this server is told to stop", async () => {
  const fatal = Promise.withResolvers<Error>();
  const { db } = await it.open({
    onFatal: fatal.resolve,
    bounds: { lockWaitMsMax: 200 },
  });
  const first = await keeperPid(it);
  await it.server.run(`select pg_terminate_backend(${first})`);
  const second = await until(async () => {
    const pid = await keeperPid(it);
    return pid > 0 && pid !== first ? pid : null;
  });
  await works(db);
  // Waits for the lock, and has it when the session that shares it ends.
  const thief = it.server.run(`select pg_advisory_lock(${lockSpace}, 1)`, it.name);
  await until(async () => {
    const [row] = await it.server.run("select count(*) as n from pg_locks where not granted");
    return Number(row?.n) > 0 ? true : null;
  });
  await it.server.run(`select pg_terminate_backend(${second})`);
  await thief;
  expect((await fatal.promise).message).toContain("Another PiCloud uses this database");
  expect(await codeOf(works(db))).toBe("unavailable");
});

test("connections that the database ended are replaced without an error to anybody", async () => {
  const { db } = await it.open();
  await Promise.all(Array.from({ length: 6 }, () => works(db)));
  const others = `from pg_stat_activity
    where datname = '${it.name}' and pid <> ${await keeperPid(it)}`;
  // Some may still be on their way in.
  await until(async () => {
    await it.server.run(`select pg_terminate_backend(pid) ${others}`);
    return (await it.server.run(`select pid ${others}`)).length === 0 ? true : null;
  });
  // What the server's processes said as their last arrives a moment after they are gone.
  await Bun.sleep(50);
  await Promise.all(Array.from({ length: 6 }, () => works(db)));
});

test("a connection that died unnoticed while it rested costs no query", async () => {
  const { db } = await it.open({ url });
  await works(db);
  await Bun.sleep(1_100);
  await proxy.blackhole();
  await proxy.pass();
  await until(() =>
    getSetting(db, "works").then(
      (value) => value,
      () => null,
    ),
  );
});

test("more rows than a scan may have are refused, and scans go on", async () => {
  const { db } = await it.open({ bounds: { scanRowsMax: 100 } });
  const rows = (count: number) => db.scan(sql`select n from generate_series(1, ${count}) as n`);
  expect(await rows(100)).toHaveLength(100);
  expect(await messageOf(rows(100_000))).toContain("too many rows");
  expect(await rows(3)).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
});

test("transactions that wait for each other in a circle end, one of them with an error", async () => {
  const { db } = await it.open();
  const both = Promise.withResolvers<void>();
  let holders = 0;
  const inOrder = (first: string, second: string) =>
    codeOf(
      db.tx(async (tx: Tx) => {
        await tx.lock(first);
        holders += 1;
        if (holders === 2) both.resolve();
        await both.promise;
        await tx.lock(second);
      }),
    );
  const outcomes = await Promise.all([inOrder("a", "b"), inOrder("b", "a")]);
  expect(outcomes.sort()).toEqual(["resolved", "unavailable"]);
});

test("a statement that nobody awaited and that failed takes its transaction back", async () => {
  const { db } = await it.open();
  const outcome = db.tx(async (tx) => {
    await setSetting(tx, "a", "1");
    void tx.run(sql`insert into settings (name, value) values ('a', '2')`).catch(() => {});
  });
  expect(await codeOf(outcome)).toBe("conflict");
  expect(await getSetting(db, "a")).toBeNull();
});

test("a value is never taken for text of a statement, nor a text for a number", async () => {
  const { db } = await it.open();
  const hostile = "'); drop table settings; -- $1 \\";
  await db.tx((tx) => setSetting(tx, hostile, hostile));
  expect(await getSetting(db, hostile)).toBe(hostile);
  const sums = sql`select sum(n) as sum, count(*) as count, 2 ^ 40 as power
    from (values (9007199254740990), (1)) as v (n)`;
  const large = Number.MAX_SAFE_INTEGER;
  expect(await db.get(sums)).toEqual({ sum: large, count: 2, power: 2 ** 40 });
});
