import { describe, expect, test } from "bun:test";
import { setKv } from "../../src/storage/kv.ts";
import { codeOf, owner, setup, startServices } from "./fakes.ts";

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
    for (const slug of ["zoo", "blog", "shop"]) await t.apps.create({ slug, name: slug });
    const first = await t.apps.list({ limit: 3, cursor: null });
    expect(first.items.map((app) => app.slug)).toEqual(["blog", "default", "shop"]);
    const rest = await t.apps.list({ limit: 3, cursor: first.next_cursor });
    expect(rest).toMatchObject({ items: [{ slug: "zoo" }], next_cursor: null });
  });

  test("have slugs of their own, also when two are made at once", async () => {
    await using t = await setup();
    const codes = await Promise.all(
      [1, 2].map(() => codeOf(t.apps.create({ slug: "blog", name: "Blog" }))),
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
    expect(await codeOf(t.apps.create({ slug, name }))).toBe("invalid");
  });

  test.each(["nothing", "0198a7e2-3c4d-7e5f-8a9b-0c1d2e3f4a5b", "' or 1=1"])(
    "do not include %p",
    async (ref) => {
      await using t = await setup();
      expect(await codeOf(t.apps.get(ref))).toBe("not_found");
    },
  );
});

describe("deleting an app", () => {
  test("is refused for `default`, with force too", async () => {
    await using t = await setup();
    expect(await codeOf(t.apps.delete("default", { force: true }))).toBe("conflict");
  });

  test("that is not empty needs force, and says what would go", async () => {
    await using t = await setup();
    const actor = await owner(t.db);
    const app = await t.apps.create({ slug: "blog", name: "Blog" });
    const { script } = await t.scripts.create(actor, { app: "blog", name: "post", source: "1" });
    await t.routes.create(actor, script.id, { path: "/post" });
    await t.db.tx(async (tx) => {
      await setKv(tx, app.id, "hits", "a", { value: "1", expires_at: null, now: 0 });
    });
    const refused = await t.apps.delete("blog", { force: false }).catch((error) => error);
    expect(refused.code).toBe("conflict");
    expect(refused.details.extra.would_delete).toEqual({
      scripts: 1,
      routes: 1,
      triggers: 0,
      kv_entries: 1,
      docs: 0,
      dead_letters: 0,
    });
    await t.apps.delete("blog", { force: true });
    expect(await codeOf(t.scripts.get(script.id))).toBe("not_found");
    expect(t.routes.table().match("GET", "pi", "/post").kind).toBe("none");
    expect(await codeOf(t.apps.delete("blog", { force: true }))).toBe("not_found");
  });

  test("that is empty needs no force", async () => {
    await using t = await setup();
    await t.apps.create({ slug: "blog", name: "Blog" });
    await t.apps.delete("blog", { force: false });
    expect(await codeOf(t.apps.get("blog"))).toBe("not_found");
  });
});
