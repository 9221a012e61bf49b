/** Routes and hosts in the memory of two servers on one database, and writes of several changes. */
import { afterEach, describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { newId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { AppHost } from "../../src/domain/app-hosts.ts";
import { PicError } from "../../src/domain/errors.ts";
import { checkRoute, type Route, type RouteInput } from "../../src/domain/routes.ts";
import { LiveRoutes } from "../../src/services/live-routes.ts";
import { insertApp } from "../../src/storage/apps.ts";
import { deleteHost, insertHost } from "../../src/storage/hosts.ts";
import type { Database } from "../../src/storage/port.ts";
import { openPostgres } from "../../src/storage/postgres.ts";
import { allRoutes, deleteRoute, insertRoute } from "../../src/storage/routes.ts";
import { insertScript, insertVersion } from "../../src/storage/scripts.ts";
import { sql } from "../../src/storage/sql.ts";
import { postgresMissing, testPostgres } from "../postgres.ts";
import { app, script, version } from "../storage/conformance/engine.ts";
import { makeFolder, openBoth } from "../storage/sqlite-folder.ts";
import { codeOf } from "./fakes.ts";

/** What another server has written is seen within a second; more, for a busy machine. */
const followMsMax = 10_000;
const around = { clock: systemClock, log: silentLogger };
const ends: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** Two servers' databases: on SQLite, where there is one server, the same one twice. */
const engines: Record<string, () => Promise<[Database, Database]>> = {
  SQLite: async () => {
    const folder = makeFolder();
    ends.push(() => folder.remove());
    const { db, close } = await openBoth(folder.path);
    ends.push(close);
    return [db, db];
  },
  PostgreSQL: async () => {
    const server = await testPostgres();
    const name = await server.createDatabase();
    ends.push(() => server.dropDatabase(name));
    const open = async () => {
      const { db, close } = await openPostgres({ url: server.url(name), ...around });
      ends.push(close);
      return db;
    };
    return [await open(), await open()];
  },
};

/** Apps `app-1` and `app-2`, each with a script, and two servers that have started. */
async function ready(engine: string) {
  const open = engines[engine] as () => Promise<[Database, Database]>;
  const [db, otherDb] = await open();
  await db.tx(async (tx) => {
    for (const id of ["app-1", "app-2"]) {
      await insertApp(tx, { ...app, id, slug: id });
      await insertScript(tx, script(`script-${id}`, { app_id: id }));
      await insertVersion(tx, version(`script-${id}`));
    }
  });
  const live = new LiveRoutes({ db, log: silentLogger });
  const other = new LiveRoutes({ db: otherDb, log: silentLogger });
  for (const each of [live, other]) ends.push(await each.start());
  return { db, live, other };
}

function route(app_id: string, input: RouteInput): Route {
  return {
    ...checkRoute(input).route,
    id: newId(),
    app_id,
    script_id: `script-${app_id}`,
    created_at: 1,
    created_by: null,
  };
}

function add(live: LiveRoutes, one: Route): Promise<void> {
  return live.write(async (tx, draft) => {
    if (draft.findConflict(one) !== null) throw new PicError("route_conflict", "taken");
    await insertRoute(tx, one);
    return { value: undefined, change: { add: one } };
  });
}

function give(live: LiveRoutes, app_id: string, host: string): Promise<void> {
  const added: AppHost = { host, app_id, created_at: 1, created_by: null };
  return live.write(async (tx) => {
    await insertHost(tx, added);
    return { value: undefined, change: { add_host: added } };
  });
}

function reached(live: LiveRoutes, host: string, path: string): string | null {
  const result = live.table().match("GET", host, path);
  return result.kind === "match" ? result.match.route.app_id : null;
}

async function until(holds: () => boolean): Promise<void> {
  const deadline = Date.now() + followMsMax;
  while (!holds() && Date.now() < deadline) await Bun.sleep(2);
  expect(holds()).toBe(true);
}

for (const engine of Object.keys(engines)) {
  const missing = engine === "SQLite" ? null : postgresMissing();
  if (missing !== null) test.skip(`${engine}: routes in memory (${missing})`, () => {});
  else describe(`${engine}: two servers`, () => servers(engine));
}

function servers(engine: string): void {
  test("follow each other's hosts, with the routes", async () => {
    const { live, other } = await ready(engine);
    await add(live, route("app-1", { path: "/one" }));
    await add(live, route("app-2", { path: "/*" }));
    await until(() => reached(other, "home.lan", "/x") === "app-2");
    await give(live, "app-1", "home.lan");
    expect(reached(live, "home.lan", "/x")).toBeNull();
    await until(() => reached(other, "home.lan", "/x") === null);
    expect(reached(other, "home.lan", "/one")).toBe("app-1");
    await other.write(async (tx) => {
      await deleteHost(tx, { app_id: "app-1", host: "home.lan" });
      return { value: undefined, change: { drop_host: "home.lan" } };
    });
    expect(reached(other, "home.lan", "/x")).toBe("app-2");
    await until(() => reached(live, "home.lan", "/x") === "app-2");
  });

  test("judge a write by the hosts that the other has committed", async () => {
    const { live, other } = await ready(engine);
    const seen: (string | null)[] = [];
    const look = (each: LiveRoutes) =>
      each.write(async (_tx, draft) => {
        seen.push(draft.hosts.ownerOf("x.lan")?.app_id ?? null);
        return { value: undefined, change: null };
      });
    await give(live, "app-1", "*.lan");
    await look(other);
    await give(other, "app-2", "x.lan");
    await look(live);
    expect(seen).toEqual(["app-1", "app-2"]);
  });

  test("let one of two writes be that want the same, in 25 rounds", async () => {
    const { db, live, other } = await ready(engine);
    const rounds = 25;
    for (let round = 0; round < rounds; round += 1) {
      const host = `h${round}.lan`;
      const codes = await Promise.all([
        codeOf(give(live, "app-1", host)),
        codeOf(give(other, "app-2", host)),
        codeOf(add(live, route("app-1", { path: `/${round}/:a` }))),
        codeOf(add(other, route("app-2", { path: `/${round}/:b` }))),
      ]);
      expect(codes.filter((code) => code === "none")).toHaveLength(2);
    }
    expect(await allRoutes(db)).toHaveLength(rounds);
    await until(() => live.table().size === rounds && other.table().size === rounds);
    const owners = (each: LiveRoutes) =>
      [...each.hosts().values()].map(({ host, app_id }) => `${host} ${app_id}`).sort();
    await until(() => Bun.deepEquals(owners(live), owners(other)));
    expect(owners(live)).toHaveLength(rounds);
  });

  test("show several changes of one write together, here and there", async () => {
    const { live, other } = await ready(engine);
    const old = route("app-1", { path: "/old" });
    await add(live, old);
    const fresh = ["/a", "/b", "/:x"].map((path) => route("app-1", { path }));
    await live.write(async (tx, draft) => {
      await deleteRoute(tx, old.id);
      draft.stage({ drop: old.id });
      for (const one of fresh) {
        expect(draft.findConflict(one)).toBeNull();
        await insertRoute(tx, one);
        draft.stage({ add: one });
      }
      // It is neither in memory nor in the table before the commit.
      expect(live.table().size).toBe(1);
      expect(live.findConflict(old)).toEqual(old);
      return { value: undefined, change: null };
    });
    const paths = (each: LiveRoutes) =>
      ["/old", "/a", "/b"].filter((path) => reached(each, "pi", path) !== null);
    expect([paths(live), live.table().size]).toEqual([["/old", "/a", "/b"], 3]);
    await until(() => other.table().size === 3);
    expect(live.findConflict(route("app-2", { path: "/:y" }))).toEqual(fresh[2] as Route);
  });

  test("lose nothing and gain nothing by a write that fails after it staged", async () => {
    const { db, live, other } = await ready(engine);
    const old = route("app-1", { path: "/old" });
    await add(live, old);
    const failing = live.write(async (tx, draft) => {
      await deleteRoute(tx, old.id);
      draft.stage({ drop: old.id });
      await insertHost(tx, { host: "lan", app_id: "app-1", created_at: 1, created_by: null });
      draft.stage({ add_host: { host: "lan", app_id: "app-1", created_at: 1, created_by: null } });
      expect(draft.hosts.ownerOf("lan")?.app_id).toBe("app-1");
      throw new PicError("invalid", "after all");
    });
    expect(await codeOf(failing)).toBe("invalid");
    expect([live.hosts().size, live.table().size]).toEqual([0, 1]);
    expect(await allRoutes(db)).toEqual([old]);
    await add(other, route("app-2", { path: "/more" }));
    await until(() => live.table().size === 2);
  });
}

describe("memory", () => {
  test("shows a write what it has staged, before what is committed", async () => {
    const { live } = await ready("SQLite");
    const [one, two, own] = [
      route("app-1", { path: "/u/:a" }),
      route("app-1", { path: "/v" }),
      route("app-2", { path: "/w" }),
    ] as const;
    for (const each of [one, two, own]) await add(live, each);
    await live
      .write(async (_tx, draft) => {
        const rival = route("app-2", { path: "/:x/y" });
        expect(draft.findConflict(rival)).toEqual(one);
        draft.stage({ drop_script: "script-app-1" });
        expect(draft.findConflict(rival)).toBeNull();
        draft.stage({ add: rival });
        expect(draft.findConflict(one)).toEqual(rival);
        expect([draft.countOfApp("app-1"), draft.countOfApp("app-2")]).toEqual([0, 2]);
        draft.stage({ drop: rival.id });
        expect(draft.findConflict(one)).toBeNull();
        draft.stage({
          add_host: { host: "*.lan", app_id: "app-2", created_at: 1, created_by: null },
        });
        draft.stage({ drop_app: "app-2" });
        expect([...draft.routes()]).toEqual([]);
        expect(draft.hosts.size).toBe(0);
        throw new PicError("invalid", "only looked");
      })
      .catch(() => {});
    expect(live.table().size).toBe(3);
  });

  test("takes a change that is staged and returned once, and a list in order", async () => {
    const { db, live } = await ready("SQLite");
    const [one, two] = ["/one", "/two"].map((path) => route("app-1", { path })) as [Route, Route];
    await live.write(async (tx, draft) => {
      for (const each of [one, two]) await insertRoute(tx, each);
      draft.stage({ add: one });
      return { value: undefined, change: [{ add: one }, { add: two }] };
    });
    expect(live.table().size).toBe(2);
    await live.write(async (tx) => {
      await tx.run(sql`delete from routes where id = ${one.id}`);
      return { value: undefined, change: [{ drop: one.id }] };
    });
    expect((await allRoutes(db)).map(({ id }) => id)).toEqual([two.id]);
    expect(live.table().size).toBe(1);
  });

  test("leaves out a stored host that is not understood", async () => {
    const { db, live } = await ready("SQLite");
    await add(live, route("app-1", { path: "/a" }));
    await give(live, "app-1", "home.lan");
    await db.tx((tx) =>
      insertHost(tx, { host: "%", app_id: "app-1", created_at: 1, created_by: null }),
    );
    const again = new LiveRoutes({ db, log: silentLogger });
    ends.push(await again.start());
    expect(again.hosts().size).toBe(1);
    expect(reached(again, "home.lan", "/a")).toBe("app-1");
  });
});
