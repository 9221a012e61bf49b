/**
 * `picloud backup` and `picloud restore` as processes beside a server that serves, on both engines. What a
 * backup holds and refuses is tested in test/services/restore.test.ts, what a person types in
 * backup-command.test.ts.
 */
import { Database as Sqlite } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { sql } from "../../src/storage/sql.ts";
import { postgresMissing, testPostgres } from "../postgres.ts";
import { openMain } from "../storage/sqlite-folder.ts";
import { contents, writeFixture } from "../storage/upgrade-fixtures.ts";
import {
  backUp,
  failed,
  fresh,
  makeLarge,
  picloud,
  restored,
  scratch,
  spawn,
  travelling,
} from "./backup-steps.ts";
import { deployCounter, Ledger, startLoad } from "./load.ts";
import { adminLogin, startServer, type TestServer } from "./server.ts";
import { deploy, until } from "./steps.ts";

let large: string;

beforeAll(async () => {
  large = await makeLarge();
}, 30_000);

afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe("beside a server", () => {
  test("16 writers write: each backup is of one moment, in which nothing is torn", async () => {
    const dir = fresh("written");
    mkdirSync(dir);
    const writer = join(import.meta.dir, "../storage/crash-writer.ts");
    await using child = Bun.spawn([process.execPath, writer, dir], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { PATH: process.env.PATH ?? "" },
    });
    const acknowledged = new Map<string, number>();
    const reading = (async () => {
      const decoder = new TextDecoder();
      let rest = "";
      for await (const chunk of child.stdout) {
        const lines = (rest + decoder.decode(chunk)).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) {
          const [number = "", value] = line.split(" ");
          acknowledged.set(`w${number}`, Number(value));
        }
      }
    })();
    await until("every writer has written", 10_000, () => (acknowledged.size === 16 ? true : null));
    for (let round = 0; round < 5; round += 1) {
      const before = new Map(acknowledged);
      const dataDir = await restored(await backUp(dir));
      using copy = new Sqlite(join(dataDir, "picloud.db"));
      const rows = copy.query<{ name: string; value: string }, []>("select * from settings").all();
      const values = new Map(rows.map(({ name, value }) => [name, Number(value)]));
      expect(values.size).toBe(32);
      for (const [name, value] of before) {
        expect(values.get(name)).toBeGreaterThanOrEqual(value);
        expect(values.get(`${name}-twin`)).toBe(values.get(name) ?? 0);
      }
    }
    child.kill("SIGKILL");
    await reading;
  }, 60_000);

  test("a restored server has the same scripts, routes, data and accounts", async () => {
    await using server = await startServer({ env: sqlite });
    const ledger = new Ledger();
    await deployCounter(server);
    const { script } = await deploy(server.client, {
      name: "greeting",
      source: "export default (ctx) => 'Hello, ' + ctx.request.params.name;",
      path: "/greet/:name",
    });
    await server.client.scripts.update(script.id, { source: "export default () => 'Goodbye';" });
    const load = startLoad(server, ledger);
    await load.acknowledged(200);
    // Under load, to see that it works; the one to compare with is made at rest.
    await backUp(server.dataDir);
    load.stop();
    await load.ended;
    expect([...load.refused]).toEqual([]);
    const file = await backUp(server.dataDir);
    expect(statSync(file).mode & 0o777).toBe(0o600);

    const dataDir = await restored(file);
    await using copy = await startServer({ dataDir, env: sqlite });
    await ledger.expectKept(copy);
    expect(await (await fetch(`${copy.url}/greet/you`)).text()).toContain("Goodbye");
    await copy.client.scripts.rollback(script.id, { version: 1 });
    expect(await (await fetch(`${copy.url}/greet/you`)).text()).toContain("Hello, you");
    expect(await everything(copy)).toEqual(await everything(server));
    // The password is the same, a login of the old server counts for nothing.
    expect(await loginStatus(copy, adminLogin.password)).toBe(200);
    expect(await loginStatus(copy, "another password")).toBe(401);
    expect(await statusWithToken(copy, server.token)).toBe(401);
    expect(await statusWithToken(copy, copy.token)).toBe(200);
  }, 60_000);

  test("the server may stop and start in the middle of a backup", async () => {
    const dataDir = fresh("stopped");
    await writeFixture(dataDir);
    await fillRandom(dataDir);
    const file = fresh("picloud.backup");
    let expected: ReturnType<typeof contents>;
    {
      await using server = await startServer({
        dataDir,
        anonymous: true,
        env: { ...sqlite, ...noAccount },
      });
      const child = await spawn(["backup", "-"], dataDir);
      const reader = child.stdout.getReader();
      // The first bytes are out: the moment is fixed. The rest does not fit into the pipe.
      const pieces = [(await reader.read()).value];
      expect(niceness(child.pid)).toEqual(new Set([19]));
      expected = travelling(dataDir);
      expect(await server.stop()).toBe(0);
      await using again = await startServer({
        dataDir,
        anonymous: true,
        env: { ...sqlite, ...noAccount },
      });
      const db = new Sqlite(join(dataDir, "picloud.db"));
      db.run("pragma busy_timeout = 5000");
      db.run("delete from kv");
      db.close();
      for (let read = await reader.read(); !read.done; read = await reader.read()) {
        pieces.push(read.value);
      }
      expect(await child.exited).toBe(0);
      await Bun.write(file, Buffer.concat(pieces.filter((piece) => piece !== undefined)));
      expect(await again.stop()).toBe(0);
    }
    expect(travelling(dataDir).get("kv")).toEqual([]);
    expect(expected.get("kv")?.length).toBeGreaterThan(20);
    expect(travelling(await restored(file))).toEqual(expected);
  }, 60_000);

  test("a restore into its folder is refused, and it serves on", async () => {
    await using server = await startServer({ anonymous: true, env: sqlite });
    const file = await backUp(server.dataDir);
    const { code, said } = await picloud(["restore", file], server.dataDir);
    expect(code).toBe(failed);
    expect(said).toBe(
      `picloud: Another PiCloud server is using the data folder ${server.dataDir} (process ${server.pid}).\n`,
    );
    expect(await (await fetch(`${server.url}/healthz`)).text()).toBe("ok");
  });
});

/** Also when the run is about PostgreSQL: that has tests of its own below. */
const sqlite = { PICLOUD_DATABASE_URL: "" };
const noAccount = { PICLOUD_ADMIN_USERNAME: "", PICLOUD_ADMIN_PASSWORD: "" };

/** Of every thread of a process. */
function niceness(pid: number): Set<number> {
  const threads = readdirSync(`/proc/${pid}/task`);
  const stats = threads.map((thread) => readFileSync(`/proc/${pid}/task/${thread}/stat`, "utf8"));
  return new Set(stats.map((stat) => Number(stat.split(") ")[1]?.split(" ")[16])));
}

/** Some megabytes that do not become smaller. */
async function fillRandom(dataDir: string): Promise<void> {
  const db = await openMain(dataDir);
  await db.tx(async (tx) => {
    for (let index = 0; index < 24; index += 1) {
      const bytes = crypto.getRandomValues(new Uint8Array(60_000));
      const value = JSON.stringify(Buffer.from(bytes).toString("base64"));
      await tx.run(sql`insert into kv (app_id, collection, key, version, updated_at, value)
        values ('app-1', 'random', ${`k${index}`}, 1, 1, ${value})`);
    }
  });
  await db.close();
}

async function everything({ client }: TestServer): Promise<unknown> {
  const { items } = await client.scripts.list();
  const { items: apps } = await client.apps.list();
  const scripts = items.map(({ id, name, kind, limits }) => ({ id, name, kind, limits }));
  const routes = await Promise.all(
    items.map(async ({ id }) => (await client.routes.list(id)).items),
  );
  return { scripts, apps, routes };
}

async function loginStatus({ url }: TestServer, password: string): Promise<number> {
  const response = await fetch(`${url}/api/v1/admin/auth/login`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ username: adminLogin.username, password }),
  });
  return response.status;
}

async function statusWithToken({ url }: TestServer, token: string): Promise<number> {
  const headers = { authorization: `Bearer ${token}` };
  return (await fetch(`${url}/api/v1/admin/auth/me`, { headers })).status;
}

const missing = postgresMissing();
describe.skipIf(missing !== null)(`PostgreSQL${missing === null ? "" : ` (${missing})`}`, () => {
  test("a folder moves to a database and back, beside the server of each", async () => {
    const postgres = await testPostgres();
    const name = await postgres.createDatabase();
    const databaseUrl = postgres.url(name);
    try {
      await using first = await startServer({ env: sqlite });
      const ledger = new Ledger();
      await deployCounter(first);
      const load = startLoad(first, ledger);
      await load.acknowledged(100);
      load.stop();
      await load.ended;
      const moved = await picloud(["restore", await backUp(first.dataDir)], databaseUrl);
      expect(moved).toEqual({ code: 0, said: expect.stringContaining("restored ") });

      await using second = await startServer({ databaseUrl });
      await ledger.expectKept(second);
      expect(await everything(second)).toEqual(await everything(first));
      const more = startLoad(second, ledger, { label: "-second" });
      await more.acknowledged(100);
      await backUp(databaseUrl);
      more.stop();
      await more.ended;
      expect([...more.refused]).toEqual([]);
      const file = await backUp(databaseUrl);
      const refused = await picloud(["restore", file], databaseUrl);
      expect(refused.code).toBe(failed);
      expect(refused.said).toContain("Another PiCloud uses this database");
      expect(refused.said).not.toContain(postgres.password);

      await using third = await startServer({ dataDir: await restored(file), env: sqlite });
      await ledger.expectKept(third);
      expect(await everything(third)).toEqual(await everything(second));
    } finally {
      await postgres.dropDatabase(name);
    }
  }, 60_000);

  test("a restore that is killed at any moment leaves nothing, or all of it", async () => {
    const postgres = await testPostgres();
    const file = await backUp(large);
    for (let round = 0; round < 5; round += 1) {
      const name = await postgres.createDatabase();
      try {
        const child = await spawn(["restore", file], postgres.url(name));
        await Promise.race([Bun.sleep(100 + round * 250), child.exited]);
        child.kill("SIGKILL");
        await child.exited;
        // The database notices the loss, and lets go of its lock.
        const again = await until("the next one works", 10_000, async () => {
          const { code, said } = await picloud(["restore", file], postgres.url(name));
          if (code !== 0 && said.includes("Another PiCloud uses")) return null;
          return code === 0 ? "restored" : said;
        });
        expect(again).toMatch(/^restored$|is not empty/);
        const [row] = await postgres.run("select count(*) as count from kv", name);
        expect(Number(row?.count)).toBe(contents(large).get("kv")?.length ?? 0);
      } finally {
        await postgres.dropDatabase(name);
      }
    }
  }, 60_000);
});
