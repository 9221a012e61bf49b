/** Opening a PostgreSQL database: who is refused, who is waited for, and what nobody is told. */
import { afterEach, beforeEach, expect } from "bun:test";
import { inspect } from "node:util";
import { setSetting } from "../../src/storage/settings.ts";
import { sql } from "../../src/storage/sql.ts";
import { startTcpProxy } from "../e2e/tcp-proxy.ts";
import { codeOf, messageOf } from "./conformance/engine.ts";
import { changed, type Setup, setup, test } from "./postgres-setup.ts";

let it: Setup;
beforeEach(async () => {
  it = await setup();
});
afterEach(() => it.end());

/** The error that opening fails with, and everything that was written meanwhile, as one text. */
async function failure(url: string): Promise<{ message: string; everything: string }> {
  try {
    await it.open({ url });
  } catch (error) {
    const everything = inspect(error, { depth: 10, showHidden: true }) + it.log.join("");
    return { message: String(error), everything };
  }
  throw new Error("it opened");
}

test("a wrong password is refused at once, and none is in any message", async () => {
  const secret = "wrong-horse-1";
  const { message, everything } = await failure(changed(it.url, { password: secret }));
  expect(message).toContain("PICLOUD_DATABASE_URL");
  expect(message).toContain("refuses this user or this password");
  expect(everything).not.toContain(secret);
  expect(everything).not.toContain(it.server.password);
});

test("a user and a database that do not exist are refused at once, each by its reason", async () => {
  const user = await failure(changed(it.url, { username: "nobody" }));
  expect(user.message).toContain("refuses this user or this password");
  const database = await failure(changed(it.url, { pathname: "/none" }));
  expect(database.message).toContain("there is no database of this name");
  expect(database.everything).not.toContain(it.server.password);
});

test("an address that is none is refused without repeating it", async () => {
  for (const url of ["", "postgres://", "mysql://a:hunter2@b/c", "postgres://a:hunter2@b"]) {
    const { message, everything } = await failure(url);
    expect(message).toContain("PICLOUD_DATABASE_URL must be postgres://");
    expect(everything).not.toContain("hunter2");
  }
});

test("a database that is away is waited for, said once, and then used", async () => {
  const proxy = await startTcpProxy(it.server);
  await proxy.close();
  const url = changed(it.url, { port: String(proxy.port) });
  const opening = it.open({ url });
  while (!it.log.join("").includes("waiting for the database")) await Bun.sleep(10);
  await proxy.reset();
  await Bun.sleep(300);
  await proxy.pass();
  const { db, close } = await opening;
  await db.tx((tx) => setSetting(tx, "a", "1"));
  await close();
  const waiting = it.log.filter((line) => line.includes("waiting for the database"));
  expect(waiting).toHaveLength(1);
  expect(waiting[0]).toContain(it.name);
  expect(waiting[0]).not.toContain(it.server.password);
  await proxy[Symbol.asyncDispose]();
});

test("the wait ends when it is no longer wanted, also before a server that never answers", async () => {
  const proxy = await startTcpProxy(it.server);
  for (const away of [() => proxy.close(), () => proxy.blackhole()]) {
    await away();
    const controller = new AbortController();
    const opening = it.open({
      url: changed(it.url, { port: String(proxy.port) }),
      signal: controller.signal,
      bounds: { connectMsMax: 200 },
    });
    const outcome = messageOf(opening);
    setTimeout(() => controller.abort(), 250);
    expect(await outcome).toContain("wait for the database was ended");
  }
  await proxy[Symbol.asyncDispose]();
});

test("a database in another encoding is refused", async () => {
  const name = `${it.name}_latin`;
  await it.server.run(
    `create database ${name} encoding 'LATIN1' locale_provider 'libc' locale 'C' template template0`,
  );
  const { message } = await failure(it.server.url(name));
  expect(message).toContain("its encoding is LATIN1");
  await it.server.dropDatabase(name);
});

test("a newer schema, and one of another build, are refused", async () => {
  await (await it.open()).close();
  const history = "insert into schema_migrations values (99, 'later', '', 0)";
  await it.server.run(history, it.name);
  expect((await failure(it.url)).message).toContain("has schema 99");
  await it.server.run("delete from schema_migrations where number = 99", it.name);
  await it.server.run("update schema_migrations set checksum = 'x' where number = 1", it.name);
  expect((await failure(it.url)).message).toContain("its migration 1 (initial) differs");
});

test("a user who may not make tables is told so", async () => {
  const user = `${it.name}_guest`;
  await it.server.run(`create role ${user} login password 'guest'`);
  await it.server.run("revoke create on schema public from public", it.name);
  const { message } = await failure(changed(it.url, { username: user, password: "guest" }));
  expect(message).toContain("this user may not make tables");
  await it.server.run(`drop role ${user}`);
});

test("commits are durable although the database was set otherwise, which is said", async () => {
  await it.server.run(`alter database ${it.name} set synchronous_commit = off`);
  const { db } = await it.open();
  const setting = sql`select current_setting('synchronous_commit') as value`;
  expect(await db.get(setting)).toEqual({ value: "on" });
  await db.tx(async (tx) => expect(await tx.get(setting)).toEqual({ value: "on" }));
  expect(it.log.join("")).toContain("synchronous_commit is off in the database");
});

test("the session's own settings are obeyed: tables are made in the schema it names", async () => {
  await it.server.run("create schema own", it.name);
  const { db, logs } = await it.open({ url: `${it.url}?options=-c%20search_path%3Down` });
  await db.tx((tx) => setSetting(tx, "a", "1"));
  expect(await it.server.run("select value from own.settings", it.name)).toEqual([{ value: "1" }]);
  expect(await logs.get(sql`select count(*) as n from executions`)).toEqual({ n: 0 });
  expect(await it.server.run("select 1 as one from picloud_logs.executions", it.name)).toEqual([]);
});

test("databases that closed refuse what comes, also what was opened with them", async () => {
  const { db, logs, close } = await it.open();
  await Promise.all([close(), close()]);
  expect(await codeOf(db.get(sql`select 1 as one`))).toBe("unavailable");
  expect(await codeOf(logs.tx(async () => {}))).toBe("unavailable");
});

test("a closed one leaves no session behind", async () => {
  const { db, close } = await it.open();
  await Promise.all(Array.from({ length: 20 }, () => db.tx((tx) => setSetting(tx, "a", "1"))));
  await close();
  const sessions = `select count(*) as n from pg_stat_activity where datname = '${it.name}'`;
  const [row] = await it.server.run(sessions);
  expect(Number(row?.n)).toBe(0);
});
