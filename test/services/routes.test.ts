import { describe, expect, test } from "bun:test";
import { newId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/log.ts";
import { PicError } from "../../src/domain/errors.ts";
import type { Route } from "../../src/domain/routes.ts";
import { LiveRoutes } from "../../src/services/live-routes.ts";
import { Routes } from "../../src/services/routes.ts";
import type { Database, Tx } from "../../src/storage/port.ts";
import { insertRoute } from "../../src/storage/routes.ts";
import { setSetting } from "../../src/storage/settings.ts";
import { sql } from "../../src/storage/sql.ts";
import { codeOf, owner, setup, startServices } from "./fakes.ts";

/** A transaction whose functions may be taken out of it. */
function bound(tx: Tx): Tx {
  return {
    all: (statement, seen) => tx.all(statement, seen),
    get: (statement, seen) => tx.get(statement, seen),
    run: (statement) => tx.run(statement),
    afterCommit: (fn) => tx.afterCommit(fn),
    lock: (name) => tx.lock(name),
  };
}

async function ready() {
  const t = await setup();
  const actor = await owner(t.db);
  const { script } = await t.scripts.create(actor, { name: "greet", source: "" });
  return { ...t, actor, script, [Symbol.asyncDispose]: t[Symbol.asyncDispose] };
}

describe("making a route", () => {
  test("puts it into the table before it returns", async () => {
    await using t = await ready();
    const { route, warning } = await t.routes.create(t.actor, t.script.id, {
      path: "/greet/:name",
    });
    expect(route).toMatchObject({ path_kind: "param", host_kind: "any", method: "ANY" });
    expect(warning).toBeNull();
    const found = t.routes.table().match("GET", "pi", "/greet/you");
    expect(found).toMatchObject({ kind: "match", match: { params: { name: "you" } } });
    await t.routes.delete(t.actor, route.id);
    expect(t.routes.table().match("GET", "pi", "/greet/you").kind).toBe("none");
  });

  test("believes a kind that is given, and warns", async () => {
    await using t = await ready();
    const made = await t.routes.create(t.actor, t.script.id, {
      path: "/greet/:name",
      path_kind: "exact",
    });
    expect(made.route.path_kind).toBe("exact");
    expect(made.warning).toContain("param");
  });

  test.each([
    [{ path: "/a" }, { path: "/a" }, true],
    [{ path: "/a", method: "GET" }, { path: "/a", method: "ANY" }, true],
    [{ path: "/a", method: "GET" }, { path: "/a", method: "POST" }, false],
    [{ path: "/u/:a" }, { path: "/u/:b" }, true],
    [{ path: "/:x/me" }, { path: "/u/:b" }, true],
    [{ path: "/u/:b" }, { path: "/:x/me" }, true],
    [{ path: "/u/:b" }, { path: "/v/:b" }, false],
    [{ path: "/u/:b" }, { path: "/u/:b/c" }, false],
    [{ path: "/a/*" }, { path: "/a/b/*" }, false],
    [{ path: "/a" }, { path: "/%61" }, true],
    [{ path: "/a", host: "x.example.com" }, { path: "/a", host: "X.Example.com." }, true],
    [{ path: "/a", host: "x.example.com" }, { path: "/a" }, false],
    [{ path: "/a", host: "pi", host_kind: "any" }, { path: "/a" }, true],
  ] as const)("%p against %p conflicts: %p", async (first, second, conflicts) => {
    await using t = await ready();
    const { route } = await t.routes.create(t.actor, t.script.id, first);
    const check = await t.routes.check(t.actor, second);
    const error = await t.routes.create(t.actor, t.script.id, second).then(
      () => null,
      (refused) => refused,
    );
    if (conflicts) {
      expect(check.conflicting_route).toEqual(route);
      expect(error.code).toBe("route_conflict");
      expect(error.details.extra.conflicting_route).toEqual(route);
    } else {
      expect(check.conflicting_route).toBeNull();
      expect(error).toBeNull();
    }
  });

  test("of two that conflict at the same time lets one be", async () => {
    await using t = await ready();
    const codes = await Promise.all(
      ["/u/:a", "/:b/me", "/u/:c"].map((path) =>
        codeOf(t.routes.create(t.actor, t.script.id, { path })),
      ),
    );
    expect(codes).toEqual(["none", "route_conflict", "route_conflict"]);
  });

  test.each([
    "",
    "greet",
    "/a//b",
    "/api/v1/x",
    "/%61pi",
    "/admin",
    "/healthz",
    "/a/:b/*",
    "/a:b",
    "/{a}",
    "/a%2fb",
    "/a%00",
    "/a\0",
    `/${"x".repeat(2_000)}`,
  ])("is refused for the path %p", async (path) => {
    await using t = await ready();
    expect(await codeOf(t.routes.create(t.actor, t.script.id, { path }))).toBe("invalid");
  });

  test("is refused for an unknown script", async () => {
    await using t = await ready();
    expect(await codeOf(t.routes.create(t.actor, newId(), { path: "/a" }))).toBe("not_found");
  });
});

describe("the table", () => {
  test("is there again after a start", async () => {
    await using t = await ready();
    await t.routes.create(t.actor, t.script.id, { path: "/a" });
    const again = await startServices(t.db, t.clock);
    expect(again.routes.table().match("GET", "pi", "/a").kind).toBe("match");
  });

  test("follows another process, and a write judges by what that one committed", async () => {
    await using t = await ready();
    const other = await startServices(t.db, t.clock);
    await t.routes.create(t.actor, t.script.id, { path: "/a" });
    expect(await codeOf(other.routes.create(t.actor, t.script.id, { path: "/a" }))).toBe(
      "route_conflict",
    );
    await other.routes.create(t.actor, t.script.id, { path: "/b" });
    expect(other.routes.table().size).toBe(2);
    const { route } = await t.routes.create(t.actor, t.script.id, { path: "/c" });
    expect(t.routes.table().size).toBe(3);
    await other.routes.delete(t.actor, route.id);
    const deadline = Date.now() + 2_000;
    while (t.routes.table().size !== 2 && Date.now() < deadline) await Bun.sleep(5);
    expect(t.routes.table().match("GET", "pi", "/b").kind).toBe("match");
    expect(t.routes.table().size).toBe(2);
  });

  /** As another process commits, whose message never arrives. */
  async function addUnheard(t: Awaited<ReturnType<typeof ready>>): Promise<void> {
    const { route } = await t.routes.create(t.actor, t.script.id, { path: "/heard" });
    await t.db.tx(async (tx) => {
      await insertRoute(tx, { ...route, id: newId(), path: "/unheard" });
      await setSetting(tx, "routes_revision", "1000");
    });
  }

  async function sizeOf(table: () => { size: number }, wanted: number): Promise<void> {
    const deadline = Date.now() + 2_000;
    while (table().size !== wanted && Date.now() < deadline) await Bun.sleep(1);
    expect(table().size).toBe(wanted);
  }

  test("is read anew when messages may have been missed", async () => {
    await using t = await ready();
    await addUnheard(t);
    expect(t.routes.table().size).toBe(1);
    await t.db.tx((tx) => t.db.notify(tx, "routes", "*"));
    await sizeOf(() => t.routes.table(), 2);
  });

  test("is read anew until that succeeds", async () => {
    await using t = await ready();
    await addUnheard(t);
    let failures = 0;
    const retries: (() => void)[] = [];
    const get: Database["get"] = (statement, seen) => {
      if (failures === 0) return t.db.get(statement, seen);
      failures -= 1;
      return Promise.reject(new PicError("unavailable", "The database is away"));
    };
    const db = new Proxy(t.db, {
      get: (target, name) => {
        const member = name === "get" ? get : Reflect.get(target, name, target);
        return typeof member === "function" ? member.bind(target) : member;
      },
    });
    const startTimer = (fn: () => void) => {
      retries.push(fn);
      return () => {};
    };
    const live = new LiveRoutes({ db, log: silentLogger, startTimer });
    const stop = await live.start();
    await t.db.tx(async (tx) => {
      await tx.run(sql`delete from routes`);
      await setSetting(tx, "routes_revision", "1001");
    });
    failures = 2;
    await t.db.tx((tx) => t.db.notify(tx, "routes", "*"));
    for (let round = 1; round <= 2; round += 1) {
      while (retries.length < round) await Bun.sleep(1);
      expect(live.table().size).toBe(2);
      retries[round - 1]?.();
    }
    await sizeOf(() => live.table(), 0);
    expect(retries).toHaveLength(2);
    stop();
  });

  test("shows a write whose answer was lost after its commit", async () => {
    await using t = await ready();
    const db = new Proxy(t.db, {
      get: (target, name) => {
        const member = name === "tx" ? lostAnswer : Reflect.get(target, name, target);
        return typeof member === "function" ? member.bind(target) : member;
      },
    });
    /** Commits, tells nobody, and does not know it. */
    const lostAnswer: Database["tx"] = async (fn, options) => {
      await t.db.tx((tx) => fn({ ...bound(tx), afterCommit: () => {} }), options);
      throw new PicError("unavailable", "The connection was lost");
    };
    const live = new LiveRoutes({ db, log: silentLogger });
    const stop = await live.start();
    const routes = new Routes({ db, clock: t.storedClock, newId, live, audit: t.audit });
    expect(await codeOf(routes.create(t.actor, t.script.id, { path: "/a" }))).toBe("unavailable");
    await sizeOf(() => live.table(), 1);
    stop();
  });

  test("leaves out a stored route that is not understood", async () => {
    await using t = await ready();
    const { route } = await t.routes.create(t.actor, t.script.id, { path: "/a" });
    const broken: Route = { ...route, id: newId(), path: "/a//b" };
    await t.db.tx((tx) => insertRoute(tx, broken));
    const again = await startServices(t.db, t.clock);
    expect(again.routes.table().size).toBe(1);
  });

  test("of 10,000 routes takes one more in well under a second", async () => {
    await using t = await ready();
    await t.db.tx(async (tx) => {
      for (let index = 0; index < 10_000; index += 1) {
        await insertRoute(tx, {
          id: newId(),
          app_id: t.script.app_id,
          script_id: t.script.id,
          path: `/users/:id/part${index}`,
          path_kind: "param",
          method: "ANY",
          host: "",
          host_kind: "any",
          host_param_name: null,
          dispatch_mode: "sync",
          created_at: index,
          created_by: null,
        });
      }
      await setSetting(tx, "routes_revision", "1000");
    });
    const start = performance.now();
    await t.routes.create(t.actor, t.script.id, { path: "/users/:id/other" });
    expect(t.routes.table().size).toBe(10_001);
    const second = performance.now();
    await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        t.routes.create(t.actor, t.script.id, { path: `/more/:id/${index}` }),
      ),
    );
    expect(t.routes.table().size).toBe(10_021);
    const end = performance.now();
    // The first one reads all of them anew; generous, for a busy machine.
    expect(second - start).toBeLessThan(2_000);
    expect(end - second).toBeLessThan(1_000);
  });
});

describe("matching a URL", () => {
  test("answers with the route, its parameters and the rest", async () => {
    await using t = await ready();
    const { route } = await t.routes.create(t.actor, t.script.id, { path: "/files/*" });
    const ask = (url: string) => t.routes.match(t.actor, { method: "get", url });
    expect(ask("http://pi:8080/files/a/b?c=d")).toMatchObject({
      match: { route: { id: route.id }, rest: "a/b" },
      hidden: false,
    });
    expect(ask("/files")).toEqual({ match: null, hidden: false });
    expect(ask("/api/v1/admin/apps")).toEqual({ match: null, hidden: false });
  });

  test.each(["", "files", "ftp://pi/a", "http://[/", "/a%2fb", "/a%00"])(
    "is refused for %p",
    async (url) => {
      await using t = await ready();
      expect(() => t.routes.match(t.actor, { method: "GET", url })).toThrow("url");
    },
  );
});
