/** Many at once: saves, callers, apps, routes, and callers who do not wait for their answer. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import type { PicClient } from "../../src/client.ts";
import { insertRoute } from "../../src/storage/routes.ts";
import { withStorage } from "./engine.ts";
import { startServer, type TestServer } from "./server.ts";
import { deploy, problemOf, recordOf, refusal, until } from "./steps.ts";

let server: TestServer;
let client: PicClient;

beforeAll(async () => {
  server = await startServer({ env: { PICLOUD_SANDBOXES: "2" } });
  client = server.client;
});

afterAll(() => server[Symbol.asyncDispose]());

const versioned = (version: number): string =>
  `export default async (ctx) => { await null; return { source: ${version}, version: ctx.scriptVersion }; }`;

describe("saves", () => {
  test("that expect the same version: one wins, the others are told which", async () => {
    const { id } = await client.scripts.create({ name: "raced", source: versioned(1) });
    for (let round = 1; round <= 5; round += 1) {
      const ends = await Promise.allSettled(
        Array.from({ length: 6 }, (_, index) =>
          client.scripts.update(id, {
            source: `${versioned(round + 1)} // by ${index}`,
            if_version: round,
          }),
        ),
      );
      const won = ends.flatMap((end) => (end.status === "fulfilled" ? [end.value] : []));
      expect(won.map((saved) => saved.active_version.number)).toEqual([round + 1]);
      for (const end of ends) {
        if (end.status === "fulfilled") continue;
        expect(end.reason).toMatchObject({ status: 409, code: "version_conflict" });
        expect(end.reason.problem.active_version).toBe(round + 1);
      }
      expect((await client.scripts.get(id)).source).toBe(won[0]?.source as string);
    }
  });

  test("that expect nothing: all of them become versions, in some order", async () => {
    const { id } = await client.scripts.create({ name: "crowded", source: versioned(0) });
    const saved = await Promise.all(
      Array.from({ length: 5 }, (_, index) =>
        client.scripts.update(id, { source: `${versioned(0)} // by ${index}` }),
      ),
    );
    const numbers = saved.map((one) => one.active_version.number);
    expect(numbers.sort()).toEqual([2, 3, 4, 5, 6]);
    expect((await client.scripts.versions(id)).items).toHaveLength(6);
  });

  test("of one name, or one route: one of them", async () => {
    const made = await Promise.allSettled(
      Array.from({ length: 6 }, () => client.scripts.create({ name: "one", source: versioned(1) })),
    );
    expect(made.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    const { id } = await client.scripts.create({ name: "routed-once", source: versioned(1) });
    const routed = await Promise.allSettled(
      ["/once/:a", "/once/:b", "/once/:c", "/once/:d"].map((path) =>
        client.routes.create(id, { path }),
      ),
    );
    expect(routed.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const end of routed) {
      if (end.status === "rejected") expect(end.reason.code).toBe("route_conflict");
    }
  });

  test("during load: every answer is one version's, whole, and never an older one again", async () => {
    const { script } = await deploy(client, {
      name: "loaded",
      source: versioned(1),
      path: "/loaded",
    });
    const wrong: string[] = [];
    let answers = 0;
    let saved = 1;
    let isOver = false;
    const call = async (): Promise<void> => {
      let newest = 0;
      while (!isOver) {
        const seen = saved;
        const response = await fetch(`${server.url}/loaded`);
        const text = await response.text();
        answers += 1;
        const { source, version } = response.status === 200 ? JSON.parse(text) : {};
        // What was acknowledged before the request began has begun for it, too.
        const isRight = source === version && version >= seen && version >= newest;
        if (!isRight) wrong.push(`${response.status} ${text} after ${seen}, ${newest}`);
        newest = version;
      }
    };
    const callers = Array.from({ length: 12 }, call);
    for (let version = 2; version <= 25; version += 1) {
      await client.scripts.update(script.id, { source: versioned(version) });
      saved = version;
      const before = answers;
      await until("callers see it", 5_000, () => (answers > before + 4 ? true : null));
    }
    isOver = true;
    await Promise.all(callers);
    expect(wrong).toEqual([]);
    expect(answers).toBeGreaterThan(100);
  });

  test("a deletion during load: answers, then 404, and nothing between", async () => {
    const { script } = await deploy(client, {
      name: "deleted",
      source: versioned(1),
      path: "/deleted",
    });
    const statuses = new Set<number>();
    let isOver = false;
    const callers = Array.from({ length: 8 }, async () => {
      while (!isOver) statuses.add((await fetch(`${server.url}/deleted`)).status);
    });
    await until("an answer", 5_000, () => (statuses.size > 0 ? true : null));
    await client.scripts.delete(script.id);
    await until("a 404", 5_000, () => (statuses.has(404) ? true : null));
    isOver = true;
    await Promise.all(callers);
    expect([...statuses].sort()).toEqual([200, 404]);
  });
});

describe("callers", () => {
  test("200 at once are answered, or told to come again", async () => {
    await deploy(client, {
      name: "busy",
      source: `export default async () => {
        await new Promise((resolve) => setTimeout(resolve, 20));
        let n = 0; for (let i = 0; i < 20_000; i += 1) n += i; return n;
      }`,
      path: "/busy",
    });
    const answers = await Promise.all(
      Array.from({ length: 200 }, () => fetch(`${server.url}/busy`)),
    );
    const refused = answers.filter((response) => response.status !== 200);
    expect(answers.length - refused.length).toBeGreaterThan(32);
    for (const response of refused) {
      expect(response.status).toBe(503);
      expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
      expect((await problemOf(response)).code).toBe("overloaded");
    }
    for (const response of answers) {
      if (response.status === 200) expect(await response.text()).toBe("199990000");
    }
    expect((await fetch(`${server.url}/busy`)).status).toBe(200);
  });

  test("who count one thing together miss nobody", async () => {
    await deploy(client, {
      name: "together",
      source: `import { kv } from "picloud";
        export default async () => kv.collection("together").increment("n");`,
      path: "/together",
    });
    const numbers = await Promise.all(
      Array.from({ length: 60 }, async () =>
        Number(await (await fetch(`${server.url}/together`)).text()),
      ),
    );
    expect(numbers.sort((a, b) => a - b)).toEqual(Array.from({ length: 60 }, (_, n) => n + 1));
  });

  test("of an app that floods the server with slow scripts do not starve another app", async () => {
    await client.apps.create({ slug: "flood", name: "Flood" });
    await deploy(client, {
      app: "flood",
      name: "slow",
      source: "export default () => new Promise((resolve) => setTimeout(() => resolve(1), 300));",
      path: "/slow",
    });
    await deploy(client, { name: "quick", source: "export default () => 1", path: "/quick" });
    let isOver = false;
    const statuses = new Map<number, number>();
    const flood = Array.from({ length: 100 }, async () => {
      while (!isOver) {
        const response = await fetch(`${server.url}/slow`);
        await response.arrayBuffer();
        statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
        if (response.status === 503) await Bun.sleep(20);
      }
    });
    await until("the flood is refused", 5_000, () => (statuses.has(503) ? true : null));
    const tookMs: number[] = [];
    for (let count = 0; count < 60; count += 1) {
      const began = performance.now();
      const response = await fetch(`${server.url}/quick`);
      expect(`${response.status} ${await response.text()}`).toBe("200 1");
      tookMs.push(performance.now() - began);
    }
    isOver = true;
    await Promise.all(flood);
    expect([...statuses.keys()].sort()).toEqual([200, 503]);
    // The flood's own calls take 300 ms; one that waited its turn behind them would, too.
    expect(tookMs.sort((a, b) => a - b)[30]).toBeLessThan(100);
  });

  test("who leave do not stop what they began, and the record says that they left", async () => {
    const { script } = await deploy(client, {
      name: "left",
      source: `import { kv } from "picloud";
        export default async () => {
          const c = kv.collection("left");
          await c.increment("begun");
          while (!(await c.has("gone"))) await new Promise((resolve) => setTimeout(resolve, 20));
          return c.increment("ended");
        }`,
      path: "/left",
    });
    await deploy(client, {
      name: "left-count",
      source: `import { kv } from "picloud";
        export default async ({ request }) => {
          const c = kv.collection("left");
          if (request.method === "PUT") await c.set("gone", true);
          return [(await c.get("begun")) ?? 0, (await c.get("ended")) ?? 0];
        }`,
      path: "/left-count",
    });
    const counts = async (): Promise<number[]> =>
      (await (await fetch(`${server.url}/left-count`)).json()) as number[];
    const callers = Array.from({ length: 5 }, () => {
      const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
      socket.write("GET /left HTTP/1.1\r\nHost: pi\r\n\r\n");
      return socket;
    });
    await until("all have begun", 5_000, async () => ((await counts())[0] === 5 ? true : null));
    for (const socket of callers) socket.destroy();
    await fetch(`${server.url}/left-count`, { method: "PUT" });
    await until("all have ended", 5_000, async () => ((await counts())[1] === 5 ? true : null));
    const records = await until("their records", 5_000, async () => {
      const { items } = await client.scripts.logs(script.id);
      return items.length === 5 ? items : null;
    });
    expect(records.map(({ status, abandoned }) => [status, abandoned])).toEqual(
      Array(5).fill(["success", true]),
    );
    const stayed = await fetch(`${server.url}/left`);
    expect(await recordOf(client, stayed)).toMatchObject({ status: "success", abandoned: false });
  });

  test("who send slowly, or nothing, keep nobody out", async () => {
    const port = Number(new URL(server.url).port);
    await deploy(client, {
      name: "slow-body",
      source: "export default () => 1",
      path: "/slow-body",
    });
    const idle = Array.from({ length: 200 }, () => connect(port, "127.0.0.1"));
    const slow = Array.from({ length: 50 }, () => {
      const socket = connect(port, "127.0.0.1");
      socket.write("POST /slow-body HTTP/1.1\r\nHost: pi\r\nContent-Length: 1000\r\n\r\nx");
      return socket;
    });
    for (let count = 0; count < 20; count += 1) {
      expect((await fetch(`${server.url}/slow-body`)).status).toBe(200);
    }
    for (const socket of [...idle, ...slow]) socket.destroy();
  });
});

describe("10,000 routes", () => {
  test("start, match and change without anybody noticing how many they are", async () => {
    await using first = await startServer();
    await first.client.scripts.create({
      name: "many",
      source: "export default ({ request }) => [request.path, request.params]",
    });
    const [script] = (await first.client.scripts.list({ q: "many" })).items;
    await first.stop();
    await fillRoutes(first.dataDir, script as { id: string; app_id: string });

    await using server = await startServer({ dataDir: first.dataDir });
    expect(server.startMs).toBeLessThan(5_000);
    const timed = async (path: string): Promise<{ body: unknown; ms: number }> => {
      const began = performance.now();
      const response = await fetch(server.url + path);
      expect(`${path} ${response.status}`).toBe(`${path} 200`);
      return { body: await response.json(), ms: performance.now() - began };
    };
    await timed("/e/0");
    const took: number[] = [];
    for (let index = 0; index < 300; index += 1) {
      const number = (index * 7_919) % 2_500;
      for (const [path, params] of [
        [`/e/${number}`, {}],
        [`/p/x/${number}/y`, { a: "x", b: "y" }],
        [`/s/${number}/deep/er`, {}],
        [`/p/x/${number}/y/tail/z`, { a: "x", b: "y", c: "z" }],
      ] as const) {
        const { body, ms } = await timed(path);
        expect(body).toEqual([path, params]);
        took.push(ms);
      }
    }
    took.sort((a, b) => a - b);
    expect(took[Math.floor(took.length / 2)]).toBeLessThan(20);

    const { routes } = server.client;
    const began = performance.now();
    const made = await routes.create((script as { id: string }).id, { path: "/p/:q/77/:r/tail" });
    expect((await timed("/p/1/77/2/tail")).body).toEqual(["/p/1/77/2/tail", { q: "1", r: "2" }]);
    const conflict = await refusal(
      routes.create((script as { id: string }).id, { path: "/p/:q/77/:r/tail/:s" }),
    );
    expect(conflict.code).toBe("route_conflict");
    await routes.delete(made.id);
    expect((await fetch(`${server.url}/p/1/77/2/tail`)).status).toBe(404);
    expect(performance.now() - began).toBeLessThan(5_000);
    expect(await routes.match({ method: "GET", url: "/p/x/2499/y" })).toMatchObject({
      params: { a: "x", b: "y" },
    });
  }, 30_000);
});

/** As if they had been made one by one: 2,500 of each of four shapes. */
async function fillRoutes(dataDir: string, script: { id: string; app_id: string }): Promise<void> {
  const routes = Array.from({ length: 2_500 }, (_, index) => [
    { path: `/e/${index}`, path_kind: "exact" as const },
    { path: `/s/${index}/*`, path_kind: "prefix" as const },
    { path: `/p/:a/${index}/:b`, path_kind: "param" as const },
    { path: `/p/:a/${index}/:b/tail/:c`, path_kind: "param" as const },
  ]).flat();
  const rest = {
    app_id: script.app_id,
    script_id: script.id,
    method: "ANY",
    host: "",
    host_kind: "any",
    host_param_name: null,
    dispatch_mode: "sync",
    created_at: 1,
    created_by: null,
  } as const;
  await withStorage(dataDir, async (db) => {
    // Within the deadline of a transaction, also where each insert is a journey.
    for (let from = 0; from < routes.length; from += 1_000) {
      await db.tx(async (tx) => {
        for (const route of routes.slice(from, from + 1_000)) {
          await insertRoute(tx, { id: Bun.randomUUIDv7(), ...rest, ...route });
        }
      });
    }
  });
}
