import { describe, expect, test } from "bun:test";
import { countersSince, snapshotCounters } from "../../src/base/metrics.ts";
import {
  LIMIT_CEILINGS,
  LIMIT_DEFAULTS,
  LIMIT_NAMES,
  sourceBytesMax,
} from "../../src/domain/limits.ts";
import { getVersion } from "../../src/storage/scripts.ts";
import { codeOf, owner, setup } from "./fakes.ts";

async function ready() {
  const t = await setup();
  const actor = await owner(t.db);
  const announced: string[] = [];
  await t.db.listen("scripts", (id) => announced.push(id));
  return { ...t, actor, announced, [Symbol.asyncDispose]: t[Symbol.asyncDispose] };
}

describe("making a script", () => {
  test("compiles its source and stores version 1, of its author", async () => {
    await using t = await ready();
    const saved = await t.scripts.create(t.actor, { name: "greet", source: "one" });
    expect(saved.script).toMatchObject({ name: "greet", kind: "endpoint", active_version: 1 });
    expect(saved).toMatchObject({ app: { slug: "default" }, source: "one", warnings: [] });
    expect(saved.active).toMatchObject({ number: 1, created_by: t.actor.account_id });
    expect(await getVersion(t.db, saved.script.id, 1)).toMatchObject({ code: "/* js */one" });
    expect(t.announced).toEqual([saved.script.id]);
  });

  test("shows its own limits and those it runs with", async () => {
    await using t = await ready();
    const limits = { cpu_ms: 50 };
    const saved = await t.scripts.create(t.actor, { name: "a", source: "", limits });
    expect(saved.script.limits).toEqual(limits);
    expect(saved.effective_limits).toEqual({ ...LIMIT_DEFAULTS, cpu_ms: 50 });
  });

  test.each(LIMIT_NAMES)(
    "is refused above the ceiling of %s, which the error names",
    async (name) => {
      await using t = await ready();
      const limits = { [name]: LIMIT_CEILINGS[name] + 1 };
      const error = await t.scripts
        .create(t.actor, { name: "a", source: "", limits })
        .catch((refused) => refused);
      expect(error.code).toBe("limit_above_ceiling");
      expect(error.details.errors).toEqual([
        { path: `limits.${name}`, message: expect.stringContaining(String(LIMIT_CEILINGS[name])) },
      ]);
      expect(t.compiler.requests).toHaveLength(0);
    },
  );

  test.each([-1, 0, 1.5, Number.NaN, Number.POSITIVE_INFINITY])(
    "is refused with %p MB of memory",
    async (memory_mb) => {
      await using t = await ready();
      const input = { name: "a", source: "", limits: { memory_mb } };
      expect(await codeOf(t.scripts.create(t.actor, input))).toBe("invalid");
    },
  );

  test("of a source that does not compile fails with the author's lines", async () => {
    await using t = await ready();
    const error = await t.scripts
      .create(t.actor, { name: "a", source: "fine\n  syntax error" })
      .catch((refused) => refused);
    expect(error.code).toBe("invalid_source");
    expect(error.details.errors).toEqual([
      { path: "source", message: "Unexpected error", line: 2, column: 3 },
    ]);
    expect((await t.scripts.list(t.actor, {}, { limit: 10, cursor: null })).items).toEqual([]);
  });

  test("warns of an import that does not exist, and saves", async () => {
    await using t = await ready();
    const source = "// import picloud\n// import labels";
    const saved = await t.scripts.create(t.actor, { name: "a", source });
    expect(saved.warnings).toEqual([
      { path: "source", message: expect.stringContaining('"labels"'), line: 2, column: 1 },
    ]);
  });

  test.each(["", " a", "a\0b", "a\nb", "\ud800", "\u2028", "x".repeat(129)])(
    "is refused with the name %p",
    async (name) => {
      await using t = await ready();
      expect(await codeOf(t.scripts.create(t.actor, { name, source: "" }))).toBe("invalid");
    },
  );

  test.each(["'; drop table scripts; --", "größe", "名前", "👩‍💻", "__proto__", "%_", "a/b"])(
    "works with the name %p",
    async (name) => {
      await using t = await ready();
      await t.scripts.create(t.actor, { name, source: "" });
      const found = await t.scripts.list(t.actor, { q: name }, { limit: 10, cursor: null });
      expect(found.items.map((view) => view.script.name)).toEqual([name]);
    },
  );

  test("is refused for a source above its bound, counted in bytes", async () => {
    await using t = await ready();
    const source = "ü".repeat(sourceBytesMax / 2 + 1);
    expect(await codeOf(t.scripts.create(t.actor, { name: "a", source }))).toBe("invalid");
  });

  test("twice with one name at once makes one", async () => {
    await using t = await ready();
    const codes = await Promise.all(
      [1, 2].map(() => codeOf(t.scripts.create(t.actor, { name: "a", source: "" }))),
    );
    expect(codes.sort()).toEqual(["conflict", "none"]);
  });

  test("in an unknown app is refused", async () => {
    await using t = await ready();
    const input = { app: "nowhere", name: "a", source: "" };
    expect(await codeOf(t.scripts.create(t.actor, input))).toBe("not_found");
  });
});

describe("updating a script", () => {
  test("makes a version only when the source differs", async () => {
    await using t = await ready();
    const { script } = await t.scripts.create(t.actor, { name: "a", source: "one" });
    const renamed = await t.scripts.update(t.actor, script.id, {
      name: "b",
      description: "what it does",
      public_execute: true,
      source: "one",
    });
    expect(renamed.script).toMatchObject({ name: "b", active_version: 1, public_execute: true });
    const edited = await t.scripts.update(t.actor, script.id, { source: "two" });
    expect(edited).toMatchObject({ source: "two", active: { number: 2 } });
    expect(t.compiler.requests).toHaveLength(2);
    expect(t.announced).toHaveLength(3);
  });

  test("that changes nothing writes nothing", async () => {
    await using t = await ready();
    const { script } = await t.scripts.create(t.actor, { name: "a", source: "one" });
    const before = snapshotCounters();
    const same = await t.scripts.update(t.actor, script.id, { source: "one", name: "a" });
    expect(same.script).toEqual(script);
    expect(countersSince(before).commits).toBe(0);
    expect(t.announced).toHaveLength(1);
  });

  test("takes a limit back to its default with null", async () => {
    await using t = await ready();
    const limits = { cpu_ms: 50, log_kb: 0 };
    const { script } = await t.scripts.create(t.actor, { name: "a", source: "", limits });
    const updated = await t.scripts.update(t.actor, script.id, { limits: { cpu_ms: null } });
    expect(updated.script.limits).toEqual({ log_kb: 0 });
    expect(updated.effective_limits.cpu_ms).toBe(LIMIT_DEFAULTS.cpu_ms);
  });

  test("with if_version lets exactly one of several win", async () => {
    await using t = await ready();
    const { script } = await t.scripts.create(t.actor, { name: "a", source: "one" });
    const gate = Promise.withResolvers<void>();
    t.compiler.before = () => gate.promise;
    const saves = ["two", "three", "four"].map((source) =>
      codeOf(t.scripts.update(t.actor, script.id, { source, if_version: 1 })),
    );
    gate.resolve();
    expect((await Promise.all(saves)).sort()).toEqual([
      "none",
      "version_conflict",
      "version_conflict",
    ]);
    expect((await t.scripts.get(script.id)).active.number).toBe(2);
  });

  test("without if_version keeps every save, one version each", async () => {
    await using t = await ready();
    const { script } = await t.scripts.create(t.actor, { name: "a", source: "one" });
    await Promise.all(
      ["two", "three", "four"].map((source) => t.scripts.update(t.actor, script.id, { source })),
    );
    const { items } = await t.scripts.versions(script.id, { limit: 10, cursor: null });
    expect(items.map((version) => version.number)).toEqual([4, 3, 2, 1]);
  });

  test("tells the version that is active in a conflict", async () => {
    await using t = await ready();
    const { script } = await t.scripts.create(t.actor, { name: "a", source: "one" });
    const error = await t.scripts
      .update(t.actor, script.id, { name: "b", if_version: 7 })
      .catch((refused) => refused);
    expect(error.details.extra).toEqual({ active_version: 1 });
  });

  test("to a name that is taken is refused", async () => {
    await using t = await ready();
    await t.scripts.create(t.actor, { name: "a", source: "" });
    const { script } = await t.scripts.create(t.actor, { name: "b", source: "" });
    expect(await codeOf(t.scripts.update(t.actor, script.id, { name: "a" }))).toBe("conflict");
  });
});

describe("rolling back", () => {
  test("copies the old version to a new one without compiling", async () => {
    await using t = await ready();
    const { script } = await t.scripts.create(t.actor, { name: "a", source: "one" });
    await t.scripts.update(t.actor, script.id, { source: "two" });
    const back = await t.scripts.rollback(t.actor, script.id, { version: 1 });
    expect(back).toMatchObject({ source: "one", active: { number: 3 } });
    expect(t.compiler.requests).toHaveLength(2);
    expect(await getVersion(t.db, script.id, 3)).toMatchObject({ code: "/* js */one" });
    expect((await t.scripts.version(script.id, 2)).source).toBe("two");
  });

  test("to a version that never was is refused", async () => {
    await using t = await ready();
    const { script } = await t.scripts.create(t.actor, { name: "a", source: "one" });
    expect(await codeOf(t.scripts.rollback(t.actor, script.id, { version: 2 }))).toBe("invalid");
  });
});

describe("listing scripts", () => {
  test("filters by app and text and pages through all of them", async () => {
    await using t = await ready();
    await t.apps.create(t.actor, { slug: "blog", name: "Blog" });
    for (const name of ["c", "a", "b"]) {
      await t.scripts.create(t.actor, { app: "blog", name, source: "" });
    }
    await t.scripts.create(t.actor, { name: "other", source: "" });
    const first = await t.scripts.list(t.actor, { app: "blog" }, { limit: 2, cursor: null });
    expect(first.items.map((view) => [view.script.name, view.active.number])).toEqual([
      ["a", 1],
      ["b", 1],
    ]);
    const rest = await t.scripts.list(
      t.actor,
      { app: "blog" },
      { limit: 2, cursor: first.next_cursor },
    );
    expect(rest.items.map((view) => view.app.slug)).toEqual(["blog"]);
    const found = await t.scripts.list(t.actor, { q: "OTH" }, { limit: 2, cursor: null });
    expect(found.items.map((view) => view.script.name)).toEqual(["other"]);
  });
});

describe("deleting a script", () => {
  test("takes its versions and routes along", async () => {
    await using t = await ready();
    const { script } = await t.scripts.create(t.actor, { name: "a", source: "" });
    const { route } = await t.routes.create(t.actor, script.id, { path: "/a" });
    await t.scripts.delete(t.actor, script.id);
    expect(await codeOf(t.scripts.get(script.id))).toBe("not_found");
    expect(await codeOf(t.scripts.version(script.id, 1))).toBe("not_found");
    expect(await codeOf(t.routes.get(route.id))).toBe("not_found");
    expect(t.routes.table().size).toBe(0);
    expect(t.announced).toEqual([script.id, script.id]);
  });
});
