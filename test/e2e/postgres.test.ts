/** A server on PostgreSQL from its start to its end: what it waits for, refuses, and leaves alone. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { testPostgres } from "../postgres.ts";
import { newDatabase } from "./engine.ts";
import { serverCommand, serverEnvironment, startServer } from "./server.ts";
import { sentenceOf, startFailure } from "./start-failure.ts";
import { deploy, recordOf, until } from "./steps.ts";
import { startTcpProxy, type TcpProxy } from "./tcp-proxy.ts";

const failed = 1;
const startMsMax = 15_000;
/** An end at once: no deadline of a connection or of a query is waited for. */
const stopMsMax = 2_500;

function changed(url: string, parts: Partial<URL>): string {
  return Object.assign(new URL(url), parts).href;
}

async function proxyTo(url: string): Promise<{ proxy: TcpProxy; url: string }> {
  const { hostname, port } = new URL(url);
  const proxy = await startTcpProxy({ host: hostname, port: Number(port) });
  return {
    proxy,
    url: changed(url, { port: String(proxy.port) }),
  };
}

interface Serving {
  said(): string;
  stop(): void;
  /** The exit code. */
  ended: Promise<number>;
}

/** A server process, whether or not it comes to serve. It ends with the test. */
async function serve(databaseUrl: string, dataDir = "/nowhere"): Promise<Serving & Disposable> {
  const env = serverEnvironment(dataDir, { PICLOUD_DATABASE_URL: databaseUrl });
  const child = Bun.spawn([...(await serverCommand()), "serve"], {
    env,
    stdio: ["ignore", "ignore", "pipe"],
  });
  let text = "";
  const decoder = new TextDecoder();
  const read = (async () => {
    for await (const chunk of child.stderr) text += decoder.decode(chunk, { stream: true });
  })();
  return {
    said: () => text,
    stop: () => child.kill("SIGTERM"),
    ended: child.exited.then((code) => read.then(() => code)),
    [Symbol.dispose]: () => child.kill("SIGKILL"),
  };
}

describe("a start without the database", () => {
  test("waits and says so, and serves when it is there; the password is in no line", async () => {
    await using database = await newDatabase();
    const through = await proxyTo(database.url);
    await using proxy = through.proxy;
    await proxy.close();
    const { password } = new URL(database.url);
    using server = await serve(through.url);
    await until("it says that it waits", startMsMax, () =>
      server.said().includes('"message":"waiting for the database"') ? true : null,
    );
    expect(server.said()).not.toContain('"message":"ready"');
    await proxy.pass();
    await until("it is ready", startMsMax, () =>
      server.said().includes('"message":"ready"') ? true : null,
    );
    server.stop();
    expect(await server.ended).toBe(0);
    expect(password.length).toBeGreaterThan(5);
    expect(server.said()).not.toContain(password);
  }, 30_000);

  test.each([
    ["is closed", (proxy: TcpProxy) => proxy.close()],
    ["is silent", (proxy: TcpProxy) => proxy.blackhole()],
  ] as const)(
    "ends at once when it is asked to, while the database %s",
    async (_, fail) => {
      await using database = await newDatabase();
      const { proxy: made, url } = await proxyTo(database.url);
      await using proxy = made;
      await fail(proxy);
      using server = await serve(url);
      await until("it tries", startMsMax, () =>
        server.said().includes("waiting for the database") || proxy.arrivals.length > 0
          ? true
          : null,
      );
      const began = performance.now();
      server.stop();
      expect(await server.ended).toBe(0);
      expect(performance.now() - began).toBeLessThan(stopMsMax);
      expect(server.said()).toContain('"message":"stopped"');
    },
    30_000,
  );

  test.each([
    ["the password is wrong", { password: "canary-wrong" }],
    ["the user is unknown", { username: "nobody" }],
    ["there is no such database", { pathname: "/nothing" }],
    ["it has no TLS and must", { search: "?sslmode=require" }],
    ["it has no certificate", { search: "?sslmode=verify-full" }],
    ["an option is none", { search: "?options=-c%20nothing%3D1" }],
  ])("does not wait when %s: one sentence, without the password", async (_, parts) => {
    await using database = await newDatabase();
    const databaseUrl = changed(database.url, parts);
    const refused = await startFailure({ databaseUrl });
    expect(refused.exitCode).toBe(failed);
    expect(sentenceOf(refused)).toMatch(/^picloud: PICLOUD_DATABASE_URL, PostgreSQL database /);
    expect(refused.output).not.toContain(new URL(databaseUrl).password);
  });
});

describe("a second server", () => {
  test("on another database of the same PostgreSQL is none", async () => {
    await using one = await newDatabase();
    await using two = await newDatabase();
    await using first = await startServer({ databaseUrl: one.url });
    await using second = await startServer({ databaseUrl: two.url });
    await first.client.apps.create({ slug: "mine", name: "Mine" });
    expect((await second.client.apps.list()).items.map(({ slug }) => slug)).toEqual(["default"]);
  });
});

describe("a server on PostgreSQL", () => {
  test("writes nothing to the data folder, and makes none", async () => {
    await using database = await newDatabase();
    const scratch = mkdtempSync(join(tmpdir(), "picloud-unused-"));
    try {
      const dataDir = join(scratch, "data");
      await using server = await startServer({ databaseUrl: database.url, dataDir });
      await deploy(server.client, {
        name: "counter",
        source:
          'import { kv } from "picloud"; export default () => kv.collection("c").increment("n");',
        path: "/count",
      });
      expect(await (await fetch(`${server.url}/count`)).json()).toBe(1);
      expect(await server.stop()).toBe(0);
      expect(existsSync(dataDir)).toBe(false);
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  });

  test("needs a role that owns its database, and no more", async () => {
    const postgres = await testPostgres();
    const name = await postgres.createDatabase();
    const role = `role_of_${name}`;
    try {
      await postgres.run(`create role ${role} login password 'plain' nosuperuser nocreaterole`);
      await postgres.run(`alter database ${name} owner to ${role}`);
      const databaseUrl = changed(postgres.url(name), { username: role, password: "plain" });
      await using server = await startServer({ databaseUrl });
      await deploy(server.client, { name: "one", source: "export default () => 1", path: "/one" });
      const response = await fetch(`${server.url}/one`);
      expect(await response.json()).toBe(1);
      expect((await recordOf(server.client, response)).status).toBe("success");
    } finally {
      await postgres.dropDatabase(name);
      await postgres.run(`drop role if exists ${role}`);
    }
  });

  test("has its increments count, however many come at once", async () => {
    await using database = await newDatabase();
    await using server = await startServer({ databaseUrl: database.url });
    await deploy(server.client, {
      name: "counter",
      source: `import { kv } from "picloud";
        export default () => Promise.all(
          Array.from({ length: 5 }, () => kv.collection("c").increment("n")),
        );`,
      path: "/count",
    });
    const answers = await Promise.all(
      Array.from({ length: 12 }, async () => {
        const response = await fetch(`${server.url}/count`);
        return (await response.json()) as number[];
      }),
    );
    const values = answers.flat().sort((a, b) => a - b);
    expect(values).toEqual(Array.from({ length: 60 }, (_, index) => index + 1));
  });
});
