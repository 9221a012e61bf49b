import { describe, expect, test } from "bun:test";
import { newId } from "../../../src/base/ids.ts";
import { LIMIT_DEFAULTS } from "../../../src/domain/limits.ts";
import { record } from "../../services/fakes.ts";
import { ask, serve } from "./server.ts";

const api = "/api/v1/admin";

describe("apps", () => {
  test("are made, shown by id and slug, listed and deleted", async () => {
    await using t = await serve();
    const app = await t.client.apps.create({ slug: "blog", name: "Blog" });
    expect(app).toMatchObject({ slug: "blog", created_at: "2030-01-01T00:00:00.000Z" });
    expect(await t.client.apps.get("blog")).toEqual(app);
    expect(await t.client.apps.get(app.id)).toEqual(app);
    const { items } = await t.client.apps.list();
    expect(items.map((found) => found.slug)).toEqual(["blog", "default"]);
    await t.client.apps.delete("blog");
    await expect(t.client.apps.get("blog")).rejects.toMatchObject({ status: 404 });
  });

  test("that are not empty say what would go", async () => {
    await using t = await serve();
    await t.client.apps.create({ slug: "blog", name: "Blog" });
    await t.client.scripts.create({ app: "blog", name: "a", source: "" });
    await expect(t.client.apps.delete("blog")).rejects.toMatchObject({
      status: 409,
      problem: { would_delete: { scripts: 1, routes: 0, kv_entries: 0 } },
    });
    await t.client.apps.delete("blog", { force: true });
  });

  test("answer 201 with the address of the new one", async () => {
    await using t = await serve();
    const answer = await ask(`${t.publicUrl}${api}/apps`, "POST", {
      token: t.token,
      body: { slug: "blog", name: "Blog" },
    });
    expect(answer.headers.get("location")).toBe(`${api}/apps/${answer.json.id}`);
    expect(answer.headers.get("cache-control")).toBe("no-store");
  });
});

describe("scripts", () => {
  test("go through their whole life", async () => {
    await using t = await serve();
    const made = await t.client.scripts.create({
      name: "greet",
      source: "// import labels",
      limits: { cpu_ms: 50 },
    });
    expect(made).toEqual({
      id: expect.any(String),
      app_id: expect.any(String),
      app: "default",
      name: "greet",
      kind: "endpoint",
      description: "",
      limits: { cpu_ms: 50 },
      effective_limits: { ...LIMIT_DEFAULTS, cpu_ms: 50 },
      public_execute: false,
      active_version: {
        number: 1,
        created_at: "2030-01-01T00:00:00.000Z",
        created_by: t.account?.id as string,
      },
      created_at: "2030-01-01T00:00:00.000Z",
      updated_at: "2030-01-01T00:00:00.000Z",
      source: "// import labels",
      warnings: [
        { path: "source", message: expect.stringContaining("labels"), line: 1, column: 1 },
      ],
    });
    const edited = await t.client.scripts.update(made.id, { source: "two", if_version: 1 });
    expect(edited).toMatchObject({ active_version: { number: 2 }, source: "two", warnings: [] });
    const back = await t.client.scripts.rollback(made.id, { version: 1 });
    expect(back.active_version.number).toBe(3);
    const { items } = await t.client.scripts.versions(made.id);
    expect(items.map((version) => [version.number, version.source_bytes])).toEqual([
      [3, 16],
      [2, 3],
      [1, 16],
    ]);
    expect(await t.client.scripts.version(made.id, 2)).toMatchObject({ source: "two" });
    const named = await t.client.scripts.list({ app: "default", name: "greet" });
    expect(named.items.map((one) => one.name)).toEqual(["greet"]);
    expect((await t.client.scripts.list({ app: "default", name: "gre" })).items).toEqual([]);
    const listed = await t.client.scripts.list({ app: "default", q: "gre" });
    expect(listed.items).toHaveLength(1);
    expect(listed.items[0]).not.toHaveProperty("source");
    await t.client.scripts.delete(made.id);
    await expect(t.client.scripts.get(made.id)).rejects.toMatchObject({ code: "not_found" });
  });

  test("of several updates with if_version let exactly one win", async () => {
    await using t = await serve();
    const { id } = await t.client.scripts.create({ name: "a", source: "one" });
    const saves = await Promise.allSettled(
      ["two", "three"].map((source) => t.client.scripts.update(id, { source, if_version: 1 })),
    );
    expect(saves.map((save) => save.status).sort()).toEqual(["fulfilled", "rejected"]);
    const refused = saves.find((save) => save.status === "rejected");
    expect(refused?.reason).toMatchObject({ status: 409, code: "version_conflict" });
  });

  test("that do not compile answer 422 with the author's positions", async () => {
    await using t = await serve();
    const source = "fine\nsyntax error";
    await expect(t.client.scripts.create({ name: "a", source })).rejects.toMatchObject({
      status: 422,
      code: "invalid_source",
      problem: {
        errors: [{ path: "source", message: "Unexpected error", line: 2, column: 1 }],
      },
    });
  });

  test("above a ceiling answer 422 that names it", async () => {
    await using t = await serve();
    const limits = { memory_mb: 65 };
    await expect(t.client.scripts.create({ name: "a", source: "", limits })).rejects.toMatchObject({
      status: 422,
      code: "limit_above_ceiling",
      problem: { errors: [{ path: "limits.memory_mb" }] },
    });
  });

  test.each(["0", "-1", "1.5", "abc", "99999999999"])("have no version %p", async (number) => {
    await using t = await serve();
    const { id } = await t.client.scripts.create({ name: "a", source: "" });
    const url = `${t.publicUrl}${api}/scripts/${id}/versions/${number}`;
    expect((await ask(url, "GET", { token: t.token })).status).toBe(404);
  });
});

describe("routes", () => {
  test("are made, listed, shown, checked, matched and deleted", async () => {
    await using t = await serve();
    const script = await t.client.scripts.create({ name: "a", source: "" });
    const route = await t.client.routes.create(script.id, { path: "/u/:id" });
    const { warning, ...kept } = route;
    expect(warning).toBeNull();
    expect(await t.client.routes.get(route.id)).toEqual(kept);
    expect((await t.client.routes.list(script.id)).items).toEqual([kept]);
    expect(await t.client.routes.check({ path: "/u/:x" })).toEqual({
      ok: false,
      conflicting_route: kept,
      hidden: false,
      host_taken: false,
      host_app_id: null,
      path_kind: "param",
      host_kind: "any",
      warning: null,
    });
    expect(await t.client.routes.match({ method: "GET", url: "http://pi/u/%C3%BC" })).toEqual({
      route: kept,
      script_id: script.id,
      params: { id: "ü" },
      rest: "",
      hidden: false,
    });
    expect(await t.client.routes.match({ method: "GET", url: "/nothing" })).toEqual({
      route: null,
      script_id: null,
      params: null,
      rest: null,
      hidden: false,
    });
    await t.client.routes.delete(route.id);
    await expect(t.client.routes.get(route.id)).rejects.toMatchObject({ status: 404 });
  });

  test("that conflict answer 409 with the other one", async () => {
    await using t = await serve();
    const script = await t.client.scripts.create({ name: "a", source: "" });
    const both = await Promise.allSettled(
      ["/u/:a", "/u/:b"].map((path) => t.client.routes.create(script.id, { path })),
    );
    const made = both.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    const refused = both.flatMap((one) => (one.status === "rejected" ? [one.reason] : []));
    expect([made.length, refused.length]).toEqual([1, 1]);
    const { warning: _warning, ...kept } = made[0] as NonNullable<(typeof made)[0]>;
    expect(refused[0]).toMatchObject({
      status: 409,
      code: "route_conflict",
      problem: { conflicting_route: kept },
    });
  });

  test("answer 422 with the reason for a bad pattern", async () => {
    await using t = await serve();
    const script = await t.client.scripts.create({ name: "a", source: "" });
    for (const path of ["/a//b", "/{id}", "/:a/*", "/api/x"]) {
      await expect(t.client.routes.create(script.id, { path })).rejects.toMatchObject({
        status: 422,
        problem: { errors: [{ path: "path" }] },
      });
    }
    const url = `${t.publicUrl}${api}/scripts/${newId()}/routes`;
    const nowhere = await ask(url, "POST", { token: t.token, body: { path: "/a" } });
    expect(nowhere.status).toBe(404);
  });
});

describe("execution records", () => {
  test("are shown with what the script logged and threw, in ISO times", async () => {
    await using t = await serve();
    const { id } = await t.client.scripts.create({ name: "a", source: "" });
    const at = Date.parse("2030-01-01T00:00:01Z");
    const failed = record(id, {
      status: "error",
      status_code: 502,
      logs: [{ level: "warn", message: "careful", fields: { n: 1 }, at }],
      error: { name: "Error", message: "boom", stack: "at a:1:1" },
      abandoned: true,
    });
    t.records.records = [failed, record(newId())];
    const { items } = await t.client.scripts.logs(id);
    expect(items).toEqual([
      {
        ...failed,
        started_at: "2030-01-01T00:00:00.000Z",
        logs: [
          { level: "warn", message: "careful", fields: { n: 1 }, at: "2030-01-01T00:00:01.000Z" },
        ],
      },
    ]);
    expect(await t.client.executions.get(failed.id)).toEqual(items[0] as never);
  });
});
