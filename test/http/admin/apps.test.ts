/** Apps, their hosts, and what routes tell of other apps, on the wire. */
import { describe, expect, test } from "bun:test";
import { PicClient } from "../../../src/client.ts";
import type { AppRole } from "../../../src/domain/access.ts";
import { addAccount, addKey } from "../../services/credentials.ts";
import { ask, serve } from "./server.ts";

const api = "/api/v1/admin";

/** Apps `blog` and `shop` with a script each, made by an owner; and clients of members. */
async function ready() {
  const t = await serve();
  const make = async (slug: string) => {
    const app = await t.client.apps.create({ slug, name: slug });
    const script = await t.client.scripts.create({ app: slug, name: slug, source: "" });
    return { app, script };
  };
  const blog = await make("blog");
  const shop = await make("shop");
  const tokenOf = async (memberships: Record<string, AppRole>) =>
    (await addKey(t.db, await addAccount(t.db, "member", memberships))).raw;
  const clientOf = async (memberships: Record<string, AppRole>) =>
    new PicClient({ base_url: t.publicUrl, token: await tokenOf(memberships) });
  return { ...t, blog, shop, tokenOf, clientOf, [Symbol.asyncDispose]: t[Symbol.asyncDispose] };
}

describe("an app", () => {
  test("tells the caller's role in it, and is not told to who does not belong to it", async () => {
    await using t = await ready();
    expect(t.blog.app.role).toBe("admin");
    const editor = await t.clientOf({ [t.blog.app.id]: "editor" });
    expect((await editor.apps.list()).items).toEqual([{ ...t.blog.app, role: "editor" }]);
    expect((await editor.apps.get("blog")).role).toBe("editor");
    expect(await editor.apps.get("shop").catch((error) => error.status)).toBe(404);
    expect(await editor.apps.get("default").catch((error) => error.status)).toBe(404);
  });

  test("is renamed by its admins alone, and found under its new name", async () => {
    await using t = await ready();
    const by = (role: AppRole) => t.clientOf({ [t.blog.app.id]: role });
    const editor = await by("editor");
    const refused = await editor.apps.update("blog", { name: "Mine" }).catch((error) => error);
    expect([refused.status, refused.code]).toEqual([403, "forbidden"]);
    const admin = await by("admin");
    expect(await admin.apps.update("blog", { slug: "diary", name: "Diary" })).toEqual({
      ...t.blog.app,
      slug: "diary",
      name: "Diary",
    });
    expect((await t.client.scripts.get(t.blog.script.id)).app).toBe("diary");
    const taken = await admin.apps.update("diary", { slug: "shop" }).catch((error) => error);
    expect([taken.status, taken.code]).toEqual([409, "conflict"]);
  });

  test.each([
    { slug: 1 },
    { slug: "" },
    { slug: "a".repeat(64) },
    { id: "x" },
    { name: null },
    { slug: [] },
  ])("is not renamed by %j", async (body) => {
    await using t = await ready();
    const answer = await ask(`${t.publicUrl}${api}/apps/blog`, "PATCH", { token: t.token, body });
    expect([answer.status, answer.json.code]).toEqual([422, "invalid"]);
  });
});

describe("hosts of an app", () => {
  test("are given by instance admins, seen by members, and gone when taken", async () => {
    await using t = await ready();
    const made = await t.client.hosts.add("blog", { host: "*.Blog.lan" });
    expect(made).toEqual({
      host: "*.blog.lan",
      app_id: t.blog.app.id,
      created_at: expect.any(String),
      created_by: t.account?.id ?? null,
    });
    const admin = await t.clientOf({ [t.blog.app.id]: "admin" });
    expect((await admin.hosts.list("blog")).items).toEqual([made]);
    const refused = await admin.hosts.add("blog", { host: "blog.lan" }).catch((error) => error);
    expect([refused.status, refused.code]).toEqual([403, "forbidden"]);
    expect(await admin.hosts.remove("blog", "*.blog.lan").catch((error) => error.status)).toBe(403);
    expect(await admin.hosts.list("shop").catch((error) => error.status)).toBe(404);
    await t.client.hosts.remove("blog", "*.BLOG.lan.");
    expect((await admin.hosts.list("blog")).items).toEqual([]);
  });

  test.each([
    { host: "" },
    { host: "a".repeat(255) },
    { host: "*" },
    { host: "a\0b" },
    { host: 1 },
    {},
    { host: "a.lan", app: "shop" },
  ])("are not %j", async (body) => {
    await using t = await ready();
    const answer = await ask(`${t.publicUrl}${api}/apps/blog/hosts`, "POST", {
      token: t.token,
      body,
    });
    expect([answer.status, answer.json.code]).toEqual([422, "invalid"]);
  });

  test("are refused with the routes that stand against them", async () => {
    await using t = await ready();
    const route = await t.client.routes.create(t.shop.script.id, { path: "/a", host: "x.lan" });
    const { warning, ...shown } = route;
    const answer = await ask(`${t.publicUrl}${api}/apps/blog/hosts`, "POST", {
      token: t.token,
      body: { host: "*.lan" },
    });
    expect(warning).toBeNull();
    expect(answer.status).toBe(409);
    expect(answer.json).toMatchObject({ routes: 1, conflicting_routes: [shown] });
  });
});

describe("routes of another app", () => {
  test("are hidden in conflicts, checks and matches from who may not read them", async () => {
    await using t = await ready();
    await t.client.routes.create(t.blog.script.id, { path: "/secret-path/:x" });
    await t.client.hosts.add("blog", { host: "blog.lan" });
    const token = await t.tokenOf({ [t.shop.app.id]: "editor" });
    const send = (path: string, body: object) =>
      ask(`${t.publicUrl}${api}${path}`, "POST", { token, body });
    const script_id = t.shop.script.id;
    const conflict = await send(`/scripts/${script_id}/routes`, { path: "/:a/b" });
    expect(conflict.status).toBe(409);
    expect(conflict.json).toMatchObject({
      code: "route_conflict",
      conflicting_route: null,
      hidden: true,
    });
    const check = await send("/routes/check", { path: "/:a/b" });
    expect(check.json).toMatchObject({ ok: false, conflicting_route: null, hidden: true });
    const match = await send("/routes/match", { method: "GET", url: "/secret-path/7" });
    expect(match.json).toEqual({
      route: null,
      script_id: null,
      params: null,
      rest: null,
      hidden: true,
    });
    const taken = await send(`/scripts/${script_id}/routes`, { path: "/z", host: "blog.lan" });
    expect([taken.status, taken.json.code]).toEqual([409, "conflict"]);
    const checked = await send("/routes/check", { path: "/z", host: "blog.lan", script_id });
    expect(checked.json).toMatchObject({ ok: false, host_taken: true, host_app_id: null });
    const foreign = { path: "/z", script_id: t.blog.script.id };
    expect((await send("/routes/check", foreign)).status).toBe(404);
    for (const { text } of [conflict, check, match, taken, checked]) {
      expect(text).not.toContain("secret-path");
      expect(text).not.toContain(t.blog.app.id);
      expect(text).not.toContain("the app blog");
    }
  });
});
