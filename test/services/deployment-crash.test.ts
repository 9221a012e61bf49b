/** kill -9 in the middle of deployments: what is found then is one of them, whole. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { newId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/log.ts";
import { Apps } from "../../src/services/apps.ts";
import { Audit } from "../../src/services/audit.ts";
import { LiveRoutes } from "../../src/services/live-routes.ts";
import type { Database, Tx } from "../../src/storage/port.ts";
import { lockRoutes } from "../../src/storage/routes.ts";
import { sql } from "../../src/storage/sql.ts";
import { postgresMissing } from "../postgres.ts";
import { setup as setupPostgres } from "../storage/postgres-setup.ts";
import { makeFolder, openMain } from "../storage/sqlite-folder.ts";
import { numberedManifest } from "./deployment-setup.ts";
import { owner } from "./fakes.ts";

interface Place extends AsyncDisposable {
  target: string;
  open(): Promise<{ db: Database; close(): Promise<void> }>;
}

const ENGINES: readonly {
  name: string;
  missing: string | null;
  rounds: number;
  make(): Promise<Place>;
}[] = [
  {
    name: "SQLite",
    missing: null,
    rounds: 10,
    async make() {
      const folder = makeFolder();
      const open = async () => {
        const db = await openMain(folder.path);
        return { db, close: () => db.close() };
      };
      return { target: folder.path, open, [Symbol.asyncDispose]: async () => folder.remove() };
    },
  },
  {
    name: "PostgreSQL",
    missing: postgresMissing(),
    rounds: 5,
    async make() {
      const server = await setupPostgres();
      const open = () => server.open();
      return { target: server.url, open, [Symbol.asyncDispose]: () => server.end() };
    },
  },
];

async function begin(db: Database): Promise<string> {
  const audit = new Audit({ db, clock: systemClock, newId });
  const live = new LiveRoutes({ db, log: silentLogger });
  const stop = await live.start();
  await new Apps({ db, clock: systemClock, newId, live, audit }).start();
  stop();
  return (await owner(db)).account_id;
}

/** Kills the child at some moment of the deployment after `count` acknowledged ones; the last of those. */
async function killAfter(args: readonly string[], count: number, delayMs: number): Promise<number> {
  await using child = Bun.spawn(
    [process.execPath, join(import.meta.dir, "deployment-victim.ts"), ...args],
    { stdout: "pipe", stderr: "inherit", env: { PATH: process.env.PATH ?? "" } },
  );
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of child.stdout) {
    text += decoder.decode(chunk);
    if (text.split("\n").length > count && !child.killed) {
      // Nothing signals the middle of a deployment: it is met by chance, at another moment each time.
      await Bun.sleep(delayMs);
      child.kill("SIGKILL");
    }
  }
  await child.exited;
  return Number(text.trimEnd().split("\n").at(-1));
}

/** The number of the manifest that the app is; throws when it is none. */
async function numberOf(tx: Tx): Promise<number> {
  // A commit that was on its way when its process was killed is over then.
  await lockRoutes(tx);
  const scripts = await tx.all(
    sql<{ name: string; description: string; source: string }>`
      select s.name, s.description, v.source from scripts as s
      join script_versions as v on v.script_id = s.id and v.number = s.active_version
      order by s.name`,
  );
  const number = Number(scripts[0]?.description);
  const expected = numberedManifest(number);
  expect(scripts).toEqual(
    expected
      .map(({ name, description = "", source }) => ({ name, description, source }))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
  );
  const routes = await tx.all(sql<{ path: string }>`select path from routes order by path`);
  const paths = expected.flatMap(({ routes: of = [] }) => of.map(({ path }) => path));
  expect(routes.map(({ path }) => path)).toEqual(paths.sort());
  const triggers = await tx.all(
    sql<{ collection: string }>`select collection from triggers order by id`,
  );
  expect(triggers).toEqual(Array(8).fill({ collection: `c${number}` }));
  const told = await tx.get(
    sql<{ count: number }>`select count(*) as count from audit where action = 'deployment.create'`,
  );
  expect(told?.count).toBe(number);
  return number;
}

for (const { name, missing, rounds, make } of ENGINES) {
  describe.skipIf(missing !== null)(`a server that is killed while it deploys, on ${name}`, () => {
    test("leaves the app as one manifest says, and none that it acknowledged is lost", async () => {
      await using place = await make();
      const first = await place.open();
      const account = await begin(first.db);
      await first.close();
      let next = 1;
      for (let round = 0; round < rounds; round += 1) {
        const args = [place.target, String(next), account];
        const acknowledged = await killAfter(args, 1 + (round % 3), (round * 7) % 23);
        const { db, close } = await place.open();
        const number = await db.tx(numberOf);
        await close();
        expect(number - acknowledged).toBeOneOf([0, 1]);
        next = number + 1;
      }
    }, 120_000);
  });
}
