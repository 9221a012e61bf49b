/** Hosts of apps, as people give them; and what of others is told to whom. */
import { describe, expect, test } from "bun:test";
import type { AppRole, Scope } from "../../src/domain/access.ts";
import type { Actor } from "../../src/domain/accounts.ts";
import type { PicError } from "../../src/domain/errors.ts";
import { appHostsMax, conflictingRoutesShownMax } from "../../src/domain/limits.ts";
import type { RouteInput } from "../../src/domain/routes.ts";
import { sql } from "../../src/storage/sql.ts";
import { codeOf, owner, setup } from "./fakes.ts";

const page = { limit: 100, cursor: null };

/** Apps `blog` and `shop`, each with a script. */
async function ready() {
  const t = await setup();
  const actor = await owner(t.db);
  const make = async (slug: string) => {
    const app = await t.apps.create(actor, { slug, name: slug });
    const { script } = await t.scripts.create(actor, { app: slug, name: slug, source: "" });
    return { app, script };
  };
  const blog = await make("blog");
  const shop = await make("shop");
  const asMember = (of: Record<string, AppRole>): Actor => ({
    ...actor,
    role: "member",
    memberships: new Map(Object.entries(of)),
  });
  const route = (slug: "blog" | "shop", input: RouteInput, by: Actor = actor) =>
    t.routes.create(by, { blog, shop }[slug].script.id, input);
  const reached = (host: string, path: string): string | null => {
    const result = t.routes.table().match("GET", host, path);
    return result.kind === "match" ? result.match.route.id : null;
  };
  return {
    ...t,
    actor,
    blog,
    shop,
    asMember,
    route,
    reached,
    [Symbol.asyncDispose]: t[Symbol.asyncDispose],
  };
}

async function failure(promise: Promise<unknown>): Promise<PicError> {
  try {
    await promise;
  } catch (error) {
    return error as PicError;
  }
  throw new Error("it was not refused");
}

describe("a host", () => {
  test("is given, listed and taken away, each of it told to the table and the trail", async () => {
    await using t = await ready();
    const blog = await t.route("blog", { path: "/post" });
    const shop = await t.route("shop", { path: "/*" });
    expect(t.reached("blog.home.lan", "/other")).toBe(shop.route.id);
    const given = await t.hosts.add(t.actor, "blog", "Blog.Home.LAN.");
    expect(given).toEqual({
      host: "blog.home.lan",
      app_id: t.blog.app.id,
      created_at: t.clock.wall,
      created_by: t.actor.account_id,
    });
    await t.hosts.add(t.actor, t.blog.app.id, "*.bücher.example");
    expect((await t.hosts.list("blog", page)).items.map(({ host }) => host)).toEqual([
      "*.xn--bcher-kva.example",
      "blog.home.lan",
    ]);
    expect((await t.hosts.list("shop", page)).items).toEqual([]);
    expect(t.reached("blog.home.lan", "/post")).toBe(blog.route.id);
    expect(t.reached("blog.home.lan", "/other")).toBeNull();
    expect(t.reached("a.xn--bcher-kva.example", "/other")).toBeNull();
    expect(t.reached("pi", "/other")).toBe(shop.route.id);
    await t.hosts.remove(t.actor, "blog", "BLOG.home.lan");
    expect(t.reached("blog.home.lan", "/other")).toBe(shop.route.id);
    expect(await codeOf(t.hosts.remove(t.actor, "blog", "blog.home.lan"))).toBe("not_found");
    const told = await t.db.all(
      sql<{ action: string; target_name: string; app_id: string; actor_name: string }>`
        select action, target_name, app_id, actor_name from audit
        where target_kind = 'host' order by at, id`,
    );
    expect(told).toEqual(
      [
        ["host.add", "blog.home.lan"],
        ["host.add", "*.xn--bcher-kva.example"],
        ["host.remove", "blog.home.lan"],
      ].map(([action = "", target_name = ""]) => ({
        action,
        target_name,
        app_id: t.blog.app.id,
        actor_name: "ada",
      })),
    );
  });

  test("belongs to one app, also when two are given it at once, in two spellings", async () => {
    await using t = await ready();
    const codes = await Promise.all([
      codeOf(t.hosts.add(t.actor, "blog", "home.lan")),
      codeOf(t.hosts.add(t.actor, "shop", "HOME.LAN.")),
    ]);
    expect(codes.sort()).toEqual(["conflict", "none"]);
    expect(await codeOf(t.hosts.add(t.actor, "blog", "home.lan"))).toBe("conflict");
    await t.hosts.add(t.actor, "shop", "*.home.lan");
    const { message } = await failure(t.hosts.add(t.actor, "blog", "*.home.lan"));
    expect(message).toBe("The host *.home.lan belongs to the app shop");
    const other = await failure(t.hosts.remove(t.actor, "blog", "*.home.lan"));
    expect(other.code).toBe("not_found");
  });

  test("may lie below another app's, and above it", async () => {
    await using t = await ready();
    await t.hosts.add(t.actor, "blog", "*.home.lan");
    await t.hosts.add(t.actor, "shop", "shop.home.lan");
    await t.hosts.add(t.actor, "shop", "*.b.lan");
    await t.hosts.add(t.actor, "blog", "*.lan");
    const { route } = await t.route("shop", { path: "/*" });
    expect(t.reached("shop.home.lan", "/")).toBe(route.id);
    expect(t.reached("a.shop.home.lan", "/")).toBeNull();
    expect(t.reached("x.b.lan", "/")).toBe(route.id);
    expect(t.reached("b.lan", "/")).toBeNull();
  });

  test("is one of so many that an app has at most", async () => {
    await using t = await ready();
    for (let index = 0; index < appHostsMax; index += 1) {
      await t.hosts.add(t.actor, "blog", `h${index}.lan`);
    }
    const { code, message } = await failure(t.hosts.add(t.actor, "blog", "more.lan"));
    expect([code, message]).toEqual(["conflict", `An app has at most ${appHostsMax} hosts`]);
    await t.hosts.add(t.actor, "shop", "more.lan");
    await t.hosts.remove(t.actor, "blog", "h0.lan");
    await t.hosts.add(t.actor, "blog", "one-more.lan");
  });

  test.each(["", "*", "*.", "*.*", "home.lan:80", "a\0.lan", "http://home.lan", "*.10.0.0.1"])(
    "is not %p",
    async (host) => {
      await using t = await ready();
      expect(await codeOf(t.hosts.add(t.actor, "blog", host))).toBe("invalid");
      expect(await codeOf(t.hosts.remove(t.actor, "blog", host))).toBe("invalid");
      expect((await t.hosts.list("blog", page)).items).toEqual([]);
    },
  );

  test("of an app that is deleted meanwhile is nobody's", async () => {
    await using t = await ready();
    const [deleted, added] = await Promise.all([
      codeOf(t.apps.delete(t.actor, "shop", { force: true })),
      codeOf(t.hosts.add(t.actor, "shop", "shop.lan")),
    ]);
    expect(deleted).toBe("none");
    expect(["none", "not_found"]).toContain(added);
    await t.hosts.add(t.actor, "blog", "shop.lan");
    expect(await codeOf(t.hosts.add(t.actor, "shop", "x.lan"))).toBe("not_found");
  });
});

describe("a host on which other apps have routes", () => {
  test.each([
    ["home.lan", { host: "Home.lan.", path: "/a" }],
    ["*.home.lan", { host: "x.home.lan", path: "/a" }],
    ["*.home.lan", { host: "*.home.lan", path: "/a" }],
    ["*.home.lan", { host: "*.y.x.home.lan", path: "/a" }],
  ])("%p against %p is refused", async (host, input) => {
    await using t = await ready();
    const { route } = await t.route("shop", input);
    const error = await failure(t.hosts.add(t.actor, "blog", host));
    expect(error).toMatchObject({
      code: "conflict",
      message: `There is a route of other apps on ${host}`,
      details: { extra: { routes: 1, conflicting_routes: [route] } },
    });
    expect((await t.hosts.list("blog", page)).items).toEqual([]);
    await t.hosts.add(t.actor, "shop", host);
    expect(t.reached(host.replace("*", "w.y.x"), "/b")).toBeNull();
  });

  test.each([
    ["home.lan", { host: "x.home.lan", path: "/a" }],
    ["home.lan", { host: "*.home.lan", path: "/a" }],
    ["home.lan", { host: "*.lan", path: "/a" }],
    ["*.home.lan", { host: "home.lan", path: "/a" }],
    ["*.home.lan", { host: "*.lan", path: "/a" }],
    ["*.home.lan", { host: "xhome.lan", path: "/a" }],
    ["home.lan", { path: "/a" }],
    ["home.lan", { host: "home.lan", host_kind: "any", path: "/a" }],
  ] as const)("%p beside %p is given", async (host, input) => {
    await using t = await ready();
    await t.route("shop", input);
    await t.hosts.add(t.actor, "blog", host);
  });

  test("is given when a more specific host of their own covers them", async () => {
    await using t = await ready();
    await t.hosts.add(t.actor, "shop", "*.shop.home.lan");
    const { route } = await t.route("shop", { host: "x.shop.home.lan", path: "/a" });
    await t.hosts.add(t.actor, "blog", "*.home.lan");
    expect(t.reached("x.shop.home.lan", "/a")).toBe(route.id);
    expect(await codeOf(t.hosts.add(t.actor, "blog", "x.shop.home.lan"))).toBe("conflict");
    expect(await codeOf(t.hosts.add(t.actor, "blog", "*.x.shop.home.lan"))).toBe("none");
  });

  test("shows of them what the caller may read, and not all of many", async () => {
    await using t = await ready();
    const many = conflictingRoutesShownMax + 5;
    for (let index = 0; index < many; index += 1) {
      await t.route("shop", { host: "home.lan", path: `/${index}` });
    }
    const { details } = await failure(t.hosts.add(t.actor, "blog", "home.lan"));
    expect(details.extra?.routes).toBe(many);
    expect(details.extra?.conflicting_routes).toHaveLength(conflictingRoutesShownMax);
    const key = { id: "k", prefix: "p", scopes: ["instance:admin"] as Scope[], expires_at: null };
    const narrow: Actor = { ...t.actor, key: { ...key, app_id: null } };
    const hidden = await failure(t.hosts.add(narrow, "blog", "home.lan"));
    expect(hidden.details.extra).toEqual({ routes: many, conflicting_routes: [] });
  });

  test("is not given while such a route is made at the same time", async () => {
    await using t = await ready();
    for (let round = 0; round < 10; round += 1) {
      const host = `h${round}.lan`;
      const codes = await Promise.all([
        codeOf(t.hosts.add(t.actor, "blog", host)),
        codeOf(t.route("shop", { host, path: "/a" })),
      ]);
      expect(codes.sort()).toEqual(["conflict", "none"]);
    }
  });
});

describe("a route on a host of another app", () => {
  test.each(["home.lan", "HOME.lan.", "x.home.lan", "*.home.lan", "*.x.home.lan"])(
    "is refused for %p",
    async (host) => {
      await using t = await ready();
      await t.hosts.add(t.actor, "blog", "home.lan");
      await t.hosts.add(t.actor, "blog", "*.home.lan");
      const error = await failure(t.route("shop", { host, path: "/a" }));
      expect(error.code).toBe("conflict");
      expect(error.message).toStartWith(`The host ${host} belongs to the app blog, as `);
      const stranger = t.asMember({ [t.shop.app.id]: "editor" });
      const hidden = await failure(t.route("shop", { host, path: "/a" }, stranger));
      expect(hidden.message).toBe(`The host ${host} belongs to another app`);
      const script_id = t.shop.script.id;
      expect(await t.routes.check(t.actor, { host, path: "/a", script_id })).toMatchObject({
        host_taken: true,
        host_app_id: t.blog.app.id,
        conflicting_route: null,
      });
      expect(await t.routes.check(stranger, { host, path: "/a", script_id })).toMatchObject({
        host_taken: true,
        host_app_id: null,
      });
      const own = { host, path: "/a", script_id: t.blog.script.id };
      expect(await t.routes.check(t.actor, own)).toMatchObject({ host_taken: false });
      expect(await t.routes.check(t.actor, { host, path: "/a" })).toMatchObject({
        host_taken: true,
      });
      await t.route("blog", { host, path: "/a" });
    },
  );

  test("is fine where it is wider, and does not match there", async () => {
    await using t = await ready();
    await t.hosts.add(t.actor, "blog", "*.home.lan");
    const { route } = await t.route("shop", { host: "*.lan", path: "/a" });
    expect(t.reached("home.lan", "/a")).toBe(route.id);
    expect(t.reached("x.home.lan", "/a")).toBeNull();
  });

  test("stays there when its own host is taken away, idle", async () => {
    await using t = await ready();
    await t.hosts.add(t.actor, "blog", "*.home.lan");
    await t.hosts.add(t.actor, "shop", "shop.home.lan");
    const { route } = await t.route("shop", { host: "shop.home.lan", path: "/a" });
    await t.hosts.remove(t.actor, "shop", "shop.home.lan");
    expect(t.reached("shop.home.lan", "/a")).toBeNull();
    expect(await t.routes.get(route.id)).toEqual(route);
    await t.hosts.remove(t.actor, "blog", "*.home.lan");
    expect(t.reached("shop.home.lan", "/a")).toBe(route.id);
  });
});

describe("of a route that the caller may not read", () => {
  test("a conflict tells that there is one", async () => {
    await using t = await ready();
    const { route } = await t.route("blog", { path: "/secret/:x" });
    const stranger = t.asMember({ [t.shop.app.id]: "editor" });
    const error = await failure(t.route("shop", { path: "/:a/b" }, stranger));
    expect(error).toMatchObject({
      code: "route_conflict",
      message: "One request could match both this route and a route of another app",
      details: { extra: { conflicting_route: null, hidden: true } },
    });
    expect(await t.routes.check(stranger, { path: "/:a/b" })).toMatchObject({
      conflicting_route: null,
      hidden: true,
    });
    const reader = t.asMember({ [t.shop.app.id]: "editor", [t.blog.app.id]: "viewer" });
    const shown = await failure(t.route("shop", { path: "/:a/b" }, reader));
    expect(shown.details.extra).toEqual({ conflicting_route: route, hidden: false });
    expect(await t.routes.check(reader, { path: "/:a/b" })).toMatchObject({
      conflicting_route: route,
      hidden: false,
    });
  });

  test("a match tells that there is one", async () => {
    await using t = await ready();
    const { route } = await t.route("blog", { path: "/secret/:x" });
    const asked = { method: "GET", url: "/secret/7" };
    const stranger = t.asMember({ [t.shop.app.id]: "editor" });
    expect(t.routes.match(stranger, asked)).toEqual({ match: null, hidden: true });
    expect(t.routes.match(t.actor, asked).match?.route).toEqual(route);
    expect(t.routes.match(stranger, { ...asked, url: "/x" })).toEqual({
      match: null,
      hidden: false,
    });
  });

  test("a check names no script of another app", async () => {
    await using t = await ready();
    const stranger = t.asMember({ [t.shop.app.id]: "editor" });
    const script_id = t.blog.script.id;
    expect(await codeOf(t.routes.check(stranger, { path: "/a", script_id }))).toBe("not_found");
    expect(await codeOf(t.routes.check(stranger, { path: "/a", script_id: "none" }))).toBe(
      "not_found",
    );
  });

  test("a URL is matched by the rule of its host", async () => {
    await using t = await ready();
    await t.hosts.add(t.actor, "blog", "home.lan");
    const { route } = await t.route("shop", { path: "/a" });
    const at = (url: string) =>
      t.routes.match(t.actor, { method: "GET", url }).match?.route ?? null;
    expect(at("http://home.lan:8080/a")).toBeNull();
    expect(at("http://HOME.LAN./a")).toBeNull();
    expect(at("http://pi/a")).toEqual(route);
    expect(at("/a")).toEqual(route);
  });
});
