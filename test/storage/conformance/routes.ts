import { expect, test } from "bun:test";
import type { Route } from "../../../src/domain/routes.ts";
import { insertAccount } from "../../../src/storage/accounts.ts";
import { insertApp } from "../../../src/storage/apps.ts";
import {
  allRoutes,
  deleteRoute,
  getRoute,
  insertRoute,
  listRoutesOfScript,
  lockRoutes,
  routesOfApp,
  updateRoute,
} from "../../../src/storage/routes.ts";
import { deleteScript } from "../../../src/storage/scripts.ts";
import { sql } from "../../../src/storage/sql.ts";
import { app, codeOf, type Engine, messageOf, opener, script, seed } from "./engine.ts";

export function routeConformance(engine: Engine): void {
  const open = opener(engine);

  test("a route comes back as it was typed", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    const one = route("r1", {
      host: "*.Example.COM",
      host_kind: "wildcard",
      host_param_name: "sub",
      path: "/Grüße/:name",
      path_kind: "param",
      dispatch_mode: "async",
    });
    await db.tx((tx) => insertRoute(tx, one));
    expect(await getRoute(db, "r1")).toEqual(one);
    expect(await allRoutes(db)).toEqual([one]);
    expect(await db.tx((tx) => deleteRoute(tx, "r1"))).toBe(true);
    expect(await db.tx((tx) => deleteRoute(tx, "r1"))).toBe(false);
    expect(await getRoute(db, "r1")).toBeNull();
  });

  test("equal routes are refused; another method, host or kind is another route", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    await db.tx(async (tx) => {
      await lockRoutes(tx);
      await insertRoute(tx, route("r1"));
      await insertRoute(tx, route("r2", { method: "POST" }));
      await insertRoute(tx, route("r3", { host: "a.b", host_kind: "strict" }));
      await insertRoute(tx, route("r4", { path_kind: "prefix" }));
    });
    expect(await codeOf(db.tx((tx) => insertRoute(tx, route("r5"))))).toBe("conflict");
    const kept = await allRoutes(db);
    expect(kept.map((one) => one.id).sort()).toEqual(["r1", "r2", "r3", "r4"]);
  });

  test("a route may become another one, of another script of its app", async () => {
    const { db } = await open();
    await seed(db, script("s1"), script("s2"));
    const before = route("r1", { created_by: null });
    await db.tx((tx) => insertRoute(tx, before));
    await db.tx((tx) => insertRoute(tx, route("r2", { path: "/taken" })));
    const after: Route = {
      ...before,
      script_id: "s2",
      host: "*.b.c",
      host_kind: "wildcard",
      host_param_name: "sub",
      path: "/x/:y",
      path_kind: "param",
      method: "PUT",
      dispatch_mode: "async",
    };
    expect(await db.tx((tx) => updateRoute(tx, after))).toBe(true);
    expect(await getRoute(db, "r1")).toEqual(after);
    const moved = { ...after, created_at: 99, created_by: "nobody", app_id: "app-9" };
    expect(await db.tx((tx) => updateRoute(tx, moved))).toBe(true);
    expect(await getRoute(db, "r1")).toEqual(after);
    expect(await db.tx((tx) => updateRoute(tx, { ...after, id: "r9" }))).toBe(false);
    const { path_kind, method, host, host_kind, host_param_name } = before;
    const taken = { ...after, path_kind, method, host, host_kind, host_param_name, path: "/taken" };
    expect(await codeOf(db.tx((tx) => updateRoute(tx, taken)))).toBe("conflict");
    expect(await codeOf(db.tx((tx) => updateRoute(tx, { ...after, script_id: "s9" })))).toBe(
      "conflict",
    );
  });

  test("the routes of an app come oldest first, and those of others do not", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    await db.tx(async (tx) => {
      await insertApp(tx, { ...app, id: "app-2", slug: "other" });
      await insertRoute(tx, route("r2", { path: "/2", created_at: 2 }));
      await insertRoute(tx, route("r1", { path: "/1", created_at: 2 }));
      await insertRoute(tx, route("r3", { path: "/3", created_at: 1 }));
    });
    expect((await routesOfApp(db, app.id)).map(({ id }) => id)).toEqual(["r3", "r1", "r2"]);
    expect(await routesOfApp(db, "app-2")).toEqual([]);
  });

  test("a script of another app, or none, cannot be routed", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    await db.tx((tx) => insertApp(tx, { ...app, id: "app-2", slug: "other" }));
    for (const bad of [{ app_id: "app-2" }, { script_id: "s9" }, { app_id: "app-9" }]) {
      expect(await codeOf(db.tx((tx) => insertRoute(tx, route("r1", bad))))).toBe("conflict");
    }
  });

  test("the schema refuses the kinds, methods and paths that the domain refuses", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    const bad = [
      { path: "" },
      { path: "no-slash" },
      { path: `/${"a".repeat(1_024)}` },
      { method: "get" as "GET" },
      { path_kind: "regex" as "exact" },
      { host_kind: "strict" as const },
      { host_param_name: "sub" },
      { dispatch_mode: "later" as "sync" },
    ];
    for (const one of bad) {
      const work = db.tx((tx) => insertRoute(tx, route("r1", one)));
      expect(await messageOf(work)).toContain("onstraint");
    }
  });

  test("a script's routes are listed oldest first, page by page, and go with it", async () => {
    const { db } = await open();
    await seed(db, script("s1"), script("s2"));
    await db.tx(async (tx) => {
      for (let index = 0; index < 5; index += 1) {
        const more = { path: `/${index}`, created_at: index < 3 ? 1 : 2 };
        await insertRoute(tx, route(`r${index}`, more));
      }
      await insertRoute(tx, route("other", { script_id: "s2", path: "/other" }));
    });
    const first = await listRoutesOfScript(db, "s1", { limit: 2, cursor: null });
    await db.tx((tx) => insertRoute(tx, route("r00", { path: "/early", created_at: 0 })));
    const second = await listRoutesOfScript(db, "s1", { limit: 3, cursor: first.next_cursor });
    const ids = [...first.items, ...second.items].map((one) => one.id);
    expect(ids).toEqual(["r0", "r1", "r2", "r3", "r4"]);
    await db.tx((tx) => deleteScript(tx, "s1"));
    expect((await allRoutes(db)).map((one) => one.id)).toEqual(["other"]);
  });

  test("a route outlives the account that made it", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    await db.tx(async (tx) => {
      await insertAccount(tx, {
        id: "acc",
        username: "ann",
        password_hash: "x",
        role: "owner",
        is_active: true,
        created_at: 1,
        nomination: null,
      });
      await insertRoute(tx, route("r1", { created_by: "acc" }));
    });
    await db.tx((tx) => tx.run(sql`delete from accounts where id = ${"acc"}`));
    expect((await getRoute(db, "r1"))?.created_by).toBeNull();
  });

  test("ten thousand routes are read for the table", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    await db.tx(async (tx) => {
      for (let index = 0; index < 10_000; index += 1) {
        await insertRoute(tx, route(`r${index}`, { path: `/p/${index}` }));
      }
    });
    const routes = await allRoutes(db);
    expect(new Set(routes.map((one) => one.path)).size).toBe(10_000);
  });
}

function route(id: string, more: Partial<Route> = {}): Route {
  return {
    id,
    app_id: app.id,
    script_id: "s1",
    path: "/greet",
    path_kind: "exact",
    method: "ANY",
    host: "",
    host_kind: "any",
    host_param_name: null,
    dispatch_mode: "sync",
    created_at: 1,
    created_by: null,
    ...more,
  };
}
