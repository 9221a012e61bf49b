import { describe, expect, test } from "bun:test";
import type { Actor } from "../../src/domain/accounts.ts";
import { setKv } from "../../src/storage/kv.ts";
import type { Database } from "../../src/storage/port.ts";
import { sql } from "../../src/storage/sql.ts";
import { codeOf, owner, setup, startServices } from "./fakes.ts";

/** What the audit trail says of apps, oldest first: action, name and detail. */
async function trail(db: Database) {
  const rows = await db.all(
    sql<{ action: string; target_name: string; detail: string }>`
      select action, target_name, detail from audit where target_kind = 'app' order by at, id`,
  );
  return rows.map((row) => [row.action, row.target_name, JSON.parse(row.detail)]);
}

function memberOf(actor: Actor, app_id: string): Actor {
  return { ...actor, role: "member", memberships: new Map([[app_id, "viewer"]]) };
}

describe("apps", () => {
  test("begin with `default`, which a second start finds again", async () => {
    await using t = await setup();
    const app = await t.apps.get("default");
    const again = await startServices(t.db, t.clock);
    expect(await again.apps.get("default")).toEqual(app);
    expect(await again.apps.get(app.id)).toEqual(app);
  });

  test("are listed by slug, in pages", async () => {
    await using t = await setup();
    for (const slug of ["zoo", "blog", "shop"]) await t.apps.create("system", { slug, name: slug });
    const actor = await owner(t.db);
    const first = await t.apps.list(actor, { limit: 3, cursor: null });
    expect(first.items.map((app) => app.slug)).toEqual(["blog", "default", "shop"]);
    const rest = await t.apps.list(actor, { limit: 3, cursor: first.next_cursor });
    expect(rest).toMatchObject({ items: [{ slug: "zoo" }], next_cursor: null });
  });

  test("are listed to members as far as they belong to them", async () => {
    await using t = await setup();
    const actor = await owner(t.db);
    const blog = await t.apps.create(actor, { slug: "blog", name: "Blog" });
    const page = { limit: 10, cursor: null };
    expect((await t.apps.list(memberOf(actor, blog.id), page)).items).toEqual([blog]);
    const nobody = { ...actor, role: "member", memberships: new Map() } as const;
    expect((await t.apps.list(nobody, page)).items).toEqual([]);
  });

  test("have slugs of their own, also when two are made at once", async () => {
    await using t = await setup();
    const codes = await Promise.all(
      [1, 2].map(() => codeOf(t.apps.create("system", { slug: "blog", name: "Blog" }))),
    );
    expect(codes.sort()).toEqual(["conflict", "none"]);
  });

  test.each([
    ["Blog", "x"],
    ["-blog", "x"],
    ["blog-", "x"],
    ["", "x"],
    ["blög", "x"],
    ["a/b", "x"],
    ["a".repeat(64), "x"],
    ["0198a7e2-3c4d-7e5f-8a9b-0c1d2e3f4a5b", "x"],
    ["blog", ""],
    ["blog", " x"],
    ["blog", "a\nb"],
    ["blog", "a\u202eb"],
    ["blog", "\ud800"],
    ["blog", "x".repeat(129)],
  ])("refuse slug %p with name %p", async (slug, name) => {
    await using t = await setup();
    expect(await codeOf(t.apps.create("system", { slug, name }))).toBe("invalid");
  });

  test.each(["nothing", "0198a7e2-3c4d-7e5f-8a9b-0c1d2e3f4a5b", "' or 1=1"])(
    "do not include %p",
    async (ref) => {
      await using t = await setup();
      expect(await codeOf(t.apps.get(ref))).toBe("not_found");
    },
  );
});

describe("renaming an app", () => {
  test("changes what is given, and the trail tells what it was", async () => {
    await using t = await setup();
    const actor = await owner(t.db);
    const app = await t.apps.create(actor, { slug: "blog", name: "Blog" });
    const renamed = await t.apps.update(actor, "blog", { slug: "journal" });
    expect(renamed).toEqual({ ...app, slug: "journal" });
    expect(await t.apps.update(actor, app.id, { name: "Journal" })).toMatchObject({
      slug: "journal",
      name: "Journal",
    });
    expect(await codeOf(t.apps.get("blog"))).toBe("not_found");
    await t.apps.update(actor, app.id, { slug: "journal", name: "Journal" });
    await t.apps.update(actor, app.id, {});
    expect((await trail(t.db)).slice(1)).toEqual([
      ["app.create", "blog", { name: "Blog" }],
      [
        "app.update",
        "journal",
        { slug: "journal", name: "Blog", was: { slug: "blog", name: "Blog" } },
      ],
      [
        "app.update",
        "journal",
        { slug: "journal", name: "Journal", was: { slug: "journal", name: "Blog" } },
      ],
    ]);
  });

  test("leaves `default` its slug, not its name", async () => {
    await using t = await setup();
    const actor = await owner(t.db);
    expect(await codeOf(t.apps.update(actor, "default", { slug: "main" }))).toBe("conflict");
    const renamed = await t.apps.update(actor, "default", { slug: "default", name: "Mine" });
    expect(renamed).toMatchObject({ slug: "default", name: "Mine" });
  });

  test("is refused for a slug that is taken, also when two want one at once", async () => {
    await using t = await setup();
    const actor = await owner(t.db);
    for (const slug of ["a", "b", "c"]) await t.apps.create(actor, { slug, name: slug });
    expect(await codeOf(t.apps.update(actor, "a", { slug: "b" }))).toBe("conflict");
    expect(await codeOf(t.apps.update(actor, "a", { slug: "default" }))).toBe("conflict");
    const codes = await Promise.all(
      ["a", "b"].map((slug) => codeOf(t.apps.update(actor, slug, { slug: "d" }))),
    );
    expect(codes.sort()).toEqual(["conflict", "none"]);
  });

  test.each([
    { slug: "Blog" },
    { slug: "" },
    { slug: "0198a7e2-3c4d-7e5f-8a9b-0c1d2e3f4a5b" },
    { slug: "a\0b" },
    { name: "" },
    { name: "a\u202eb" },
  ])("is refused for %p", async (patch) => {
    await using t = await setup();
    const actor = await owner(t.db);
    await t.apps.create(actor, { slug: "blog", name: "Blog" });
    expect(await codeOf(t.apps.update(actor, "blog", patch))).toBe("invalid");
    expect(await codeOf(t.apps.update(actor, "none", patch))).toBe("not_found");
  });
});

describe("deleting an app", () => {
  test("is refused for `default`, with force too", async () => {
    await using t = await setup();
    const actor = await owner(t.db);
    expect(await codeOf(t.apps.delete(actor, "default", { force: true }))).toBe("conflict");
  });

  test("that is not empty needs force, and says what would go", async () => {
    await using t = await setup();
    const actor = await owner(t.db);
    const app = await t.apps.create("system", { slug: "blog", name: "Blog" });
    const { script } = await t.scripts.create(actor, { app: "blog", name: "post", source: "1" });
    await t.routes.create(actor, script.id, { path: "/post" });
    await t.db.tx(async (tx) => {
      await setKv(tx, app.id, "hits", "a", { value: "1", expires_at: null, now: 0 });
      await tx.run(sql`insert into app_members (app_id, account_id, role, created_at)
        values (${app.id}, ${actor.account_id}, 'viewer', 1)`);
      await tx.run(sql`insert into api_keys
          (id, account_id, app_id, name, prefix, secret_hash, scopes, created_at)
        values ('key', ${actor.account_id}, ${app.id}, 'k', 'aaaaaaaa', ${"0".repeat(64)}, '[]', 1)`);
    });
    await t.hosts.add(actor, "blog", "blog.home.lan");
    const refused = await t.apps.delete(actor, "blog", { force: false }).catch((error) => error);
    expect(refused.code).toBe("conflict");
    expect(refused.details.extra.would_delete).toEqual({
      scripts: 1,
      routes: 1,
      triggers: 0,
      kv_entries: 1,
      docs: 0,
      dead_letters: 0,
      members: 1,
      api_keys: 1,
      hosts: 1,
    });
    await t.apps.delete(actor, "blog", { force: true });
    expect(await codeOf(t.scripts.get(script.id))).toBe("not_found");
    expect(t.routes.table().match("GET", "pi", "/post").kind).toBe("none");
    expect(await codeOf(t.apps.delete(actor, "blog", { force: true }))).toBe("not_found");
    expect((await trail(t.db)).slice(2)).toEqual([
      ["app.delete", "blog", { name: "Blog", state: "started" }],
      [
        "app.delete",
        "blog",
        { name: "Blog", scripts: 1, routes: 1, triggers: 0, hosts: 1, force: true },
      ],
    ]);
  });

  test("frees its hosts", async () => {
    await using t = await setup();
    const actor = await owner(t.db);
    await t.apps.create(actor, { slug: "blog", name: "Blog" });
    await t.hosts.add(actor, "blog", "*.home.lan");
    expect(await codeOf(t.apps.delete(actor, "blog", { force: false }))).toBe("conflict");
    await t.apps.delete(actor, "blog", { force: true });
    await t.hosts.add(actor, "default", "*.home.lan");
  });

  test("that is empty needs no force", async () => {
    await using t = await setup();
    const actor = await owner(t.db);
    await t.apps.create("system", { slug: "blog", name: "Blog" });
    await t.apps.delete(actor, "blog", { force: false });
    expect(await codeOf(t.apps.get("blog"))).toBe("not_found");
  });
});
