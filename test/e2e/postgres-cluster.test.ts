/** Several servers on one PostgreSQL: they serve the same, share the work, and stand in for each other. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { PicClient } from "../../src/client.ts";
import { leaseMs } from "../../src/domain/limits.ts";
import { testPostgres } from "../postgres.ts";
import { newDatabase, type TestDatabase } from "./engine.ts";
import { adminLogin, startServer, type TestServer } from "./server.ts";
import { deploy, refusal, until } from "./steps.ts";
import { startTcpProxy } from "./tcp-proxy.ts";

/** What one server changes the others show within this time. */
const seenMsMax = 1_000;
/** A server whose connection fell silent finds out within this time: the sign of life, and a new one. */
const silentMsMax = 30_000;
const handledMsMax = 60_000;
const app = "default";

let database: TestDatabase;
let a: TestServer;
let b: TestServer;

beforeAll(async () => {
  database = await newDatabase();
  // Together, on an empty database.
  [a, b] = await Promise.all([start(), start()]);
}, 60_000);

afterAll(async () => {
  await Promise.all([a?.[Symbol.asyncDispose](), b?.[Symbol.asyncDispose]()]);
  await database?.[Symbol.asyncDispose]();
});

function start(databaseUrl = database.url): Promise<TestServer> {
  return startServer({ databaseUrl, readyMsMax: 30_000 });
}

/** Of the database, behind the servers' backs. */
async function ask(text: string): Promise<Record<string, unknown>[]> {
  const postgres = await testPostgres();
  return postgres.run(text, new URL(database.url).pathname.slice(1));
}

/** What a script returned, or the status of what was no success. */
async function answerOf(url: string): Promise<unknown> {
  const response = await fetch(url);
  return response.status === 200 ? response.json() : response.status;
}

/** All entries of a collection, by key. */
async function entries(server: TestServer, collection: string): Promise<Map<string, unknown>> {
  const found = new Map<string, unknown>();
  for (let cursor: string | null = null; ; ) {
    const more = cursor === null ? {} : { cursor };
    const page = await server.client.kv.entries(app, { collection, limit: 200, ...more });
    for (const { key, value } of page.items) found.set(key, value);
    cursor = page.next_cursor;
    if (cursor === null) return found;
  }
}

/** Counts what it handles, once it has taken its time. */
const counting = (collection: string, key: string, ms = 0): string => `
  import { kv } from "picloud";
  export default async function (ctx) {
    if (${ms} > 0) await new Promise((resolve) => setTimeout(resolve, ${ms}));
    await kv.collection(${JSON.stringify(collection)}).increment(${key});
  }
`;

const putting = (collection: string): string => `
  import { kv } from "picloud";
  export default async function (ctx) {
    const { from, to } = ctx.request.query;
    for (let n = Number(from); n < Number(to); n += 1) {
      await kv.collection(${JSON.stringify(collection)}).set("key-" + n, n);
    }
    return "done";
  }
`;

/** Servers that hold leases at this moment. */
async function holders(): Promise<number> {
  const [row] = await ask(
    "select count(distinct lease_owner) as n from outbox where lease_owner is not null",
  );
  return Number(row?.n);
}

async function waiting(): Promise<number> {
  return Number((await ask("select count(*) as n from outbox"))[0]?.n);
}

describe("what one server changes the other shows within a second", () => {
  test("of the first account and app there is one, though both started on an empty database", async () => {
    expect((await a.client.auth.me()).id).toBe((await b.client.auth.me()).id);
    expect((await b.client.apps.list()).items.map(({ slug }) => slug)).toEqual([app]);
    for (const server of [a, b]) {
      expect(server.log().filter(({ level }) => level === "error")).toEqual([]);
    }
  });

  test("a route, and a new version of its script", async () => {
    const source = (text: string) => `export default () => "${text}"`;
    const { script, route } = await deploy(a.client, {
      ...{ name: "page", source: source("first"), path: "/page" },
    });
    const shows = (expected: string) => async () =>
      (await answerOf(`${b.url}/page`)) === expected ? true : null;
    await until("the route is there", seenMsMax, shows("first"));
    await a.client.scripts.update(script.id, { source: source("second") });
    await until("the new version runs", seenMsMax, shows("second"));
    // The other way, while A has it in memory, too.
    expect(await answerOf(`${a.url}/page`)).toBe("second");
    await b.client.scripts.update(script.id, { source: source("third") });
    await until("B's version runs on A", seenMsMax, async () =>
      (await answerOf(`${a.url}/page`)) === "third" ? true : null,
    );
    await b.client.routes.delete(route.id);
    await until("the route is gone", seenMsMax, async () =>
      (await answerOf(`${a.url}/page`)) === 404 ? true : null,
    );
  });

  test("a module that scripts import", async () => {
    const labels = await a.client.scripts.create({
      ...{ name: "labels", kind: "module", source: 'export const label = () => "one"' },
    });
    await deploy(a.client, {
      name: "labelled",
      source: 'import { label } from "labels"; export default () => label();',
      path: "/labelled",
    });
    await until("it is served", seenMsMax, async () =>
      (await answerOf(`${b.url}/labelled`)) === "one" ? true : null,
    );
    await a.client.scripts.update(labels.id, { source: 'export const label = () => "two"' });
    await until("the module is the new one", seenMsMax, async () =>
      (await answerOf(`${b.url}/labelled`)) === "two" ? true : null,
    );
  });

  test("the end of a session", async () => {
    const login = new PicClient({ base_url: a.url });
    const { token } = await login.auth.login(adminLogin);
    const other = new PicClient({ base_url: b.url, token });
    expect((await other.auth.me()).username).toBe("admin");
    await login.auth.logout();
    await until("it has ended", seenMsMax, () =>
      other.auth.me().then(
        () => null,
        () => true,
      ),
    );
    expect((await refusal(other.auth.me())).status).toBe(401);
  });

  test("two conflicting routes, made at the same moment: one is refused", async () => {
    const source = "export default () => 1";
    const [one, two] = await Promise.all([
      a.client.scripts.create({ name: "one", source }),
      b.client.scripts.create({ name: "two", source }),
    ]);
    for (let round = 0; round < 5; round += 1) {
      const made = await Promise.allSettled([
        a.client.routes.create(one.id, { path: `/same-${round}/:x` }),
        b.client.routes.create(two.id, { path: `/same-${round}/:y` }),
      ]);
      expect(made.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    }
  });
});

describe("the work is shared", () => {
  test("a trigger made on A is told of what B writes", async () => {
    const handler = await a.client.scripts.create({
      ...{ name: "on-inbox", source: counting("told", "ctx.event.key") },
    });
    await deploy(b.client, { name: "put-inbox", source: putting("inbox"), path: "/inbox" });
    const trigger = await a.client.triggers.kv.create(app, {
      ...{ script_id: handler.id, collection: "inbox" },
    });
    let n = 0;
    await until("B's writes emit", seenMsMax, async () => {
      await fetch(`${b.url}/inbox?from=${n}&to=${n + 1}`);
      n += 1;
      return (await entries(a, "told")).size > 0 ? true : null;
    });
    await a.client.triggers.kv.delete(app, trigger.id);
    await until("nothing waits", handledMsMax, async () => ((await waiting()) === 0 ? true : null));
  });

  test("each event is handled once, by one of the two", async () => {
    const count = 500;
    const handler = await a.client.scripts.create({
      ...{ name: "on-jobs", source: counting("jobs-done", "ctx.event.key", 20) },
    });
    await a.client.triggers.kv.create(app, { script_id: handler.id, collection: "jobs" });
    await deploy(b.client, { name: "put-jobs", source: putting("jobs"), path: "/jobs" });
    await until("B emits", seenMsMax * 5, async () => {
      await fetch(`${a.url}/jobs?from=${count}&to=${count + 1}`);
      await fetch(`${b.url}/jobs?from=${count}&to=${count + 1}`);
      return (await entries(a, "jobs-done")).size > 0 ? true : null;
    });
    const step = 25;
    const calls = Array.from({ length: count / step }, (_, index) => {
      const url = index % 2 === 0 ? a.url : b.url;
      return answerOf(`${url}/jobs?from=${index * step}&to=${(index + 1) * step}`);
    });
    await until("both hold leases", handledMsMax, async () => ((await holders()) === 2 ? 2 : null));
    expect(new Set(await Promise.all(calls))).toEqual(new Set(["done"]));
    await until("all are handled", handledMsMax, async () =>
      (await waiting()) === 0 ? true : null,
    );
    const done = await entries(b, "jobs-done");
    done.delete(`key-${count}`);
    expect(done.size).toBe(count);
    expect([...done.values()].filter((times) => times !== 1)).toEqual([]);
  }, 120_000);

  test("each tick fires once", async () => {
    const handler = await b.client.scripts.create({
      ...{ name: "on-tick", source: counting("ticks", "ctx.event.cron.tick") },
    });
    const made = await b.client.triggers.cron.create(app, {
      ...{ script_id: handler.id, expression: "* * * * * *", overlap: "queue" },
    });
    await until("ten ticks", handledMsMax, async () =>
      (await entries(a, "ticks")).size >= 10 ? true : null,
    );
    await a.client.triggers.cron.delete(app, made.id);
    const ticks = await entries(a, "ticks");
    expect([...ticks.values()].filter((times) => times !== 1)).toEqual([]);
    const times = [...ticks.keys()].map((tick) => Date.parse(tick)).sort((x, y) => x - y);
    // None was left out, but for what a busy machine made late: that says so in `ticks`.
    expect(new Set(times.map((at) => at % 1_000))).toEqual(new Set([0]));
  }, 120_000);
});

describe("when one is not there", () => {
  test("what was announced while its connections were cut or silent is made up for", async () => {
    const { hostname, port } = new URL(database.url);
    await using proxy = await startTcpProxy({ host: hostname, port: Number(port) });
    const url = Object.assign(new URL(database.url), { port: String(proxy.port) }).href;
    await using far = await start(url);
    const source = (round: number) => `export default () => "round ${round}"`;
    const { script } = await deploy(a.client, { name: "far", source: source(0), path: "/far" });
    const outages = [
      ["close", () => proxy.close(), seenMsMax * 10],
      ["blackhole", () => proxy.blackhole(), silentMsMax],
    ] as const;
    let round = 0;
    for (const [kind, away, msMax] of outages) {
      await until(`it is served before ${kind}`, seenMsMax * 5, async () =>
        (await answerOf(`${far.url}/far`)) === `round ${round}` ? true : null,
      );
      await away();
      round += 1;
      await a.client.scripts.update(script.id, { source: source(round) });
      await a.client.routes.create(script.id, { path: `/far-${round}` });
      await proxy.pass();
      // From memory: these requests do not touch the lost connection.
      await until(`it is made up for after ${kind}`, msMax, async () =>
        (await answerOf(`${far.url}/far-${round}`)) === `round ${round}` ? true : null,
      );
      expect(await answerOf(`${far.url}/far`)).toBe(`round ${round}`);
    }
    expect(await answerOf(`${b.url}/far`)).toBe(`round ${round}`);
  }, 120_000);

  test("what a killed server held is handled by the other, when its leases have ended", async () => {
    const count = 40;
    const handler = await a.client.scripts.create({
      ...{ name: "on-slow", source: counting("slow-done", "ctx.event.key", 3_000) },
    });
    await a.client.triggers.kv.create(app, { script_id: handler.id, collection: "slow" });
    await deploy(a.client, { name: "put-slow", source: putting("slow"), path: "/slow" });
    const third = await start();
    expect(await answerOf(`${a.url}/slow?from=0&to=${count}`)).toBe("done");
    await until("all hold leases", handledMsMax, async () => ((await holders()) === 3 ? 3 : null));
    await third.kill9();
    await until("all are handled", leaseMs + handledMsMax, async () =>
      (await waiting()) === 0 ? true : null,
    );
    const done = await entries(b, "slow-done");
    expect(done.size).toBe(count);
    expect([...done.values()].filter((times) => times !== 1)).toEqual([]);
    await third[Symbol.asyncDispose]();
  }, 180_000);

  test("a server that stops hands over what it held, and the other goes on", async () => {
    const third = await start();
    await deploy(a.client, { name: "put-more", source: putting("slow"), path: "/more" });
    expect(await answerOf(`${a.url}/more?from=1000&to=1020`)).toBe("done");
    expect(await third.stop()).toBe(0);
    await until("all are handled", handledMsMax, async () => ((await waiting()) === 0 ? 0 : null));
    const done = await entries(b, "slow-done");
    expect(Array.from({ length: 20 }, (_, n) => done.get(`key-${1_000 + n}`))).toEqual(
      Array(20).fill(1),
    );
    await third[Symbol.asyncDispose]();
  }, 120_000);

  test("a server that a newer PiCloud has left behind ends, and says why", async () => {
    await using other = await newDatabase();
    await using server = await start(other.url);
    const postgres = await testPostgres();
    const name = new URL(other.url).pathname.slice(1);
    await postgres.run("insert into schema_migrations values (999, 'later', 'x', 1)", name);
    await postgres.run(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`,
    );
    const told = await until("it says why", silentMsMax, () => {
      const found = server.log().find(({ level }) => level === "error");
      return found === undefined ? null : JSON.stringify(found);
    });
    expect(told).toContain("A newer PiCloud has migrated the PostgreSQL database");
    expect(await server.stop()).toBe(1);
  }, 60_000);
});
