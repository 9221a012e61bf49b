/**
 * The database is lost while the server serves, again and again, in every way that a network and a
 * restart know: connections end, the port is closed, the port answers with an end, all falls silent.
 *
 * What holds in all of them: nobody waits longer than the deadline of a query; who is refused gets a
 * problem document that says so; what was acknowledged stays; scripts that need no data are served
 * on; and when the database is back, so is the server, soon, without storming it.
 *
 * PICLOUD_LONG=1 lets every outage last for seconds instead of moments.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { type Callers, startCallers } from "./callers.ts";
import { newDatabase, type TestDatabase } from "./engine.ts";
import { adminLogin, startServer, type TestServer } from "./server.ts";
import { problemOf, until } from "./steps.ts";
import { arrivalsPerSecondMax, startTcpProxy, type TcpProxy } from "./tcp-proxy.ts";

/** Deadline of a query, and what the rest of a request may take on a busy machine. */
const pendingMsMax = 10_000 + 2_000;
const recoveryMsMax = 5_000;
const reconnectsPerSecondMax = 10;
const outageMs = process.env.PICLOUD_LONG === "1" ? 4_000 : 400;
const probeEveryMs = 50;
/** So many answers in a row are a recovery: one alone may have been luck. */
const probesInRow = 5;

let database: TestDatabase;
let proxy: TcpProxy;
let server: TestServer;
let callers: Callers;

beforeAll(async () => {
  database = await newDatabase();
  const { hostname, port } = new URL(database.url);
  proxy = await startTcpProxy({ host: hostname, port: Number(port) });
  server = await startServer({ databaseUrl: throughProxy() });
  callers = await startCallers(server);
}, 60_000);

afterAll(async () => {
  await callers?.stop();
  await server?.[Symbol.asyncDispose]();
  await proxy?.[Symbol.asyncDispose]();
  await database?.[Symbol.asyncDispose]();
});

afterEach(() => proxy.pass());

function throughProxy(): string {
  const url = new URL(database.url);
  url.port = String(proxy.port);
  url.hostname = "127.0.0.1";
  return url.href;
}

/** Milliseconds until new requests succeed, one after another. Each is sent without waiting for others. */
async function recovery(): Promise<number> {
  const began = performance.now();
  const sent: { done: boolean; at: number }[] = [];
  const isRecovered = (): number | null => {
    for (let index = 0; index + probesInRow <= sent.length; index += 1) {
      const row = sent.slice(index, index + probesInRow);
      if (row.every(({ done }) => done)) return Math.max(...row.map(({ at }) => at)) - began;
    }
    return null;
  };
  return until("the server is back", 2 * recoveryMsMax, async () => {
    const probe = { done: false, at: 0 };
    sent.push(probe);
    void callers.probe().then((done) => Object.assign(probe, { done, at: performance.now() }));
    await Bun.sleep(probeEveryMs);
    return isRecovered();
  });
}

/** A save is seen by the next execution, though messages were missed meanwhile. */
async function expectEditSeen(): Promise<void> {
  const version = await callers.save();
  if (version === null) throw new Error("a save after the recovery failed");
  const response = await fetch(`${server.url}/outage/hello`);
  expect(response.status).toBe(200);
  expect(await response.json()).toBeGreaterThanOrEqual(version);
}

describe.each([
  ["ends every connection", 20, () => proxy.restart()],
  ["closes its port", 20, () => proxy.close()],
  ["falls silent", 20, () => proxy.blackhole()],
  ["ends what connects", 5, () => proxy.reset()],
] as const)("a database that %s", (_, rounds, fail) => {
  test(
    `${rounds} times: the server is back each time, and nothing was lost or hung`,
    async () => {
      callers.forget();
      const times: number[] = [];
      for (let round = 0; round < rounds; round += 1) {
        await fail();
        await Bun.sleep(outageMs);
        await proxy.pass();
        times.push(await recovery());
        await expectEditSeen();
      }
      const { account } = callers;
      expect(account.faults).toEqual([]);
      expect(account.slowest.ms).toBeLessThan(pendingMsMax);
      expect(Math.max(...times)).toBeLessThan(recoveryMsMax);
      expect(arrivalsPerSecondMax(proxy.arrivals)).toBeLessThanOrEqual(reconnectsPerSecondMax);
      await expectKept();
      expect(
        server.log().filter(({ message }) => /unexpected|inside the server/.test(message)),
      ).toEqual([]);
    },
    rounds * (outageMs + 2 * recoveryMsMax),
  );
});

/** Every acknowledged increment is there, and none that nobody asked for. */
async function expectKept(): Promise<void> {
  const { acknowledged } = callers.account;
  const stored = Number(await (await fetch(`${server.url}/outage/count`)).text());
  expect(stored).toBeGreaterThanOrEqual(acknowledged);
  expect(stored).toBeLessThanOrEqual(callers.account.asked);
  const { active_version } = await server.client.scripts.get(callers.scriptId);
  expect(active_version.number).toBeGreaterThanOrEqual(callers.account.version);
  expect(await (await fetch(`${server.url}/outage/hello`)).json()).toBe(active_version.number);
}

test("while it is away: health is well, data and the API are 503, a script without data is served", async () => {
  await proxy.close();
  try {
    const { status } = await until("it is noticed", pendingMsMax, async () => {
      const response = await fetch(`${server.url}/outage/read`);
      return response.ok ? null : response;
    });
    expect([502, 503]).toContain(status);
    expect((await fetch(`${server.url}/outage/hello`)).status).toBe(200);
    expect(await (await fetch(`${server.url}/healthz`)).text()).toBe("ok");
    expect((await fetch(`${server.url}/version`)).status).toBe(200);
    const login = await fetch(`${server.url}/api/v1/admin/auth/login`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(adminLogin),
    });
    expect([login.status, Number(login.headers.get("retry-after")) >= 1]).toEqual([503, true]);
    expect((await problemOf(login)).code).toBe("unavailable");
  } finally {
    await proxy.pass();
  }
  expect(await recovery()).toBeLessThan(recoveryMsMax);
}, 30_000);

test("an execution of the outage is on record afterwards, with the author's own lines", async () => {
  const { client } = server;
  const source = `import { kv } from "picloud";

export default async function () {
  try {
    await kv.collection("counts").set("x", 1);
    return "kept";
  } catch (error) {
    throw new Error("code " + error.code);
  }
}
`;
  // Whether a token may execute is asked of the database, which is away: nobody is asked for one.
  const { id } = await client.scripts.create({ name: "recorded", source, public_execute: true });
  const execute = (): Promise<Response> => fetch(`${server.url}/api/v1/execute/${id}`);
  expect((await execute()).status).toBe(200);
  await proxy.close();
  let failed: Response;
  try {
    failed = await until("it fails", pendingMsMax, async () => {
      const response = await execute();
      return response.status === 502 ? response : null;
    });
  } finally {
    await proxy.pass();
  }
  await recovery();
  const executionId = failed.headers.get("x-picloud-execution-id") ?? "";
  const record = await client.executions.get(executionId);
  expect(record.error).toMatchObject({ message: "code unavailable" });
  expect(record.error?.stack).toContain("recorded:8:15");
}, 30_000);
