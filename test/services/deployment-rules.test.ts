import { describe, expect, test } from "bun:test";
import {
  deploymentCompileMsMax,
  deploymentsWaitingMax,
  fieldErrorsMax,
  LIMIT_CEILINGS,
  manifestRoutesMax,
  manifestRoutesPerScriptMax,
  triggersPerAppMax,
} from "../../src/domain/limits.ts";
import { listImporters } from "../../src/storage/imports.ts";
import { getScriptByName } from "../../src/storage/scripts.ts";
import {
  changedLinesOf,
  ENGINES,
  endpointOf,
  errorOf,
  linesOf,
  moduleOf,
  ready,
  rowsOf,
} from "./deployment-setup.ts";

const importing = (...names: string[]) => names.map((name) => `// import ${name}`).join("\n");

for (const engine of ENGINES) {
  describe.skipIf(engine.missing !== null)(
    `a deployment on ${engine.name} is judged by its end`,
    () => {
      test.each([false, true])(
        "with a module and its importer at once, the importer first: %p",
        async (isReversed) => {
          await using t = await ready(engine);
          const manifest = [
            moduleOf("labels"),
            endpointOf("greet", { source: importing("picloud", "labels") }),
          ];
          const done = await t.deploy(isReversed ? manifest.toReversed() : manifest);
          expect(done.warnings).toEqual([]);
          const app = await t.apps.get("default");
          const labels = await getScriptByName(t.db, app.id, "labels");
          expect(await listImporters(t.db, labels?.id ?? "")).toMatchObject([{ name: "greet" }]);
        },
      );

      test("with a module that goes together with its importer", async () => {
        await using t = await ready(engine);
        await t.deploy([
          moduleOf("m"),
          endpointOf("e", { source: importing("m") }),
          endpointOf("x"),
        ]);
        const done = await t.deploy([endpointOf("x")], { prune: true });
        expect(changedLinesOf(done)).toEqual(["delete script e", "delete script m"]);
      });

      test("with a module that goes, and an importer that is saved without it", async () => {
        await using t = await ready(engine);
        await t.deploy([moduleOf("m"), endpointOf("e", { source: importing("m") })]);
        const done = await t.deploy([endpointOf("e", { source: "alone" })], { prune: true });
        expect(changedLinesOf(done)).toEqual(["change script e: source", "delete script m"]);
      });

      test.each(["unchanged", "changed"])(
        "with a module that goes while an importer stays %s: refused",
        async (how) => {
          await using t = await ready(engine);
          const importer = endpointOf("e", { source: importing("m") });
          await t.deploy([moduleOf("m"), importer]);
          const rows = await rowsOf(t.db);
          const source = how === "changed" ? `${importer.source}\nmore` : importer.source;
          const error = await errorOf(t.deploy([{ ...importer, source }], { prune: true }));
          expect(error.code).toBe("conflict");
          expect(error.details.extra).toMatchObject({ imported_by: [{ name: "e" }] });
          expect(await rowsOf(t.db)).toEqual(rows);
        },
      );

      test("with an endpoint that becomes a module as its routes and triggers go", async () => {
        await using t = await ready(engine);
        await t.deploy([endpointOf("a", { routes: [{ path: "/a" }], triggers: [{ kind: "kv" }] })]);
        const error = await errorOf(t.deploy([moduleOf("a")]));
        expect(error).toMatchObject({ code: "conflict", details: { extra: { routes: 1 } } });
        expect(error.details.errors).toMatchObject([{ path: "scripts[0]" }]);
        expect(linesOf(await t.deploy([moduleOf("a")], { prune: true }))).toEqual([
          "change script a: kind",
          "delete route a ANY /a",
          "delete trigger a kv *",
        ]);
        const back = await t.deploy([endpointOf("a", { routes: [{ path: "/a" }] })]);
        expect(linesOf(back)).toEqual(["change script a: kind", "create route a ANY /a"]);
      });

      test("with an endpoint that becomes a module as its route moves to another script", async () => {
        await using t = await ready(engine);
        await t.deploy([endpointOf("a", { routes: [{ path: "/a" }] })]);
        const manifest = [moduleOf("a"), endpointOf("b", { routes: [{ path: "/a" }] })];
        expect(linesOf(await t.deploy(manifest))).toEqual([
          "change script a: kind",
          "create script b",
          "change route b ANY /a: from the script a",
        ]);
      });

      test("with a module that becomes an endpoint while others import it: refused", async () => {
        await using t = await ready(engine);
        await t.deploy([moduleOf("m"), endpointOf("e", { source: importing("m") })]);
        const error = await errorOf(t.deploy([endpointOf("m")]));
        expect(error).toMatchObject({
          code: "conflict",
          details: { extra: { imported_by: [{ name: "e" }] } },
        });
        await t.deploy([endpointOf("m"), endpointOf("e")]);
      });

      test("with a cycle that the modules only form together: refused, at each of its imports", async () => {
        await using t = await ready(engine);
        await t.deploy([moduleOf("a"), moduleOf("b", { source: importing("a") })]);
        const rows = await rowsOf(t.db);
        const error = await errorOf(
          t.deploy([
            moduleOf("a", { source: `//\n${importing("c")}`, file: "a.ts" }),
            moduleOf("c", { source: importing("b") }),
          ]),
        );
        expect(error.code).toBe("invalid_source");
        expect(error.details.errors).toEqual([
          {
            path: "scripts[0].source",
            message: "The imports form a cycle: a -> c -> b -> a",
            file: "a.ts",
            line: 2,
            column: 1,
          },
          {
            path: "scripts[1].source",
            message: "The imports form a cycle: c -> b -> a -> c",
            line: 1,
            column: 1,
          },
        ] as never);
        expect(await rowsOf(t.db)).toEqual(rows);
      });

      test("with a cycle that the same deployment takes apart", async () => {
        await using t = await ready(engine);
        await t.deploy([moduleOf("a", { source: importing("b") }), moduleOf("b")]);
        const turned = [moduleOf("a"), moduleOf("b", { source: importing("a") })];
        expect((await t.deploy(turned)).warnings).toEqual([]);
      });

      test("warns of imports that nothing answers, also of scripts that do not change", async () => {
        await using t = await ready(engine);
        const manifest = [
          endpointOf("a", { source: `//\n${importing("nowhere")}`, file: "a.ts" }),
          endpointOf("b", { source: importing("a") }),
        ];
        const [missing, endpoint] = (await t.deploy(manifest)).warnings;
        expect(missing).toMatchObject({ path: "scripts[0].source", file: "a.ts", line: 2 });
        expect(missing?.message).toContain('"nowhere" does not exist');
        expect(endpoint?.message).toContain('"a" is an endpoint');
        const again = (await t.deploy(manifest)).warnings.map(({ message }) => message);
        expect(again).toEqual([missing?.message as string, endpoint?.message as string]);
      });

      test("refuses the host of another app, and tells what may be read of it", async () => {
        await using t = await ready(engine);
        const other = await t.apps.create(t.actor, { slug: "other", name: "Other" });
        await t.hosts.add(t.actor, other.id, "blog.home.lan");
        const manifest = [endpointOf("a", { routes: [{ path: "/", host: "blog.home.lan" }] })];
        const error = await errorOf(t.deploy(manifest));
        expect(error.code).toBe("conflict");
        expect(error.details.errors).toMatchObject([{ path: "scripts[0].routes[0]" }]);
        expect(error.message).toContain("other");
        const app = await t.apps.get("default");
        const member = t.as({ role: "member", memberships: new Map([[app.id, "editor"]]) });
        const told = await errorOf(t.deployments.create(member, "default", { scripts: manifest }));
        expect(told.code).toBe("conflict");
        expect(told.message).not.toContain("app other");
      });

      test("refuses routes of apps that the caller may not read without showing them", async () => {
        await using t = await ready(engine);
        const other = await t.apps.create(t.actor, { slug: "other", name: "Other" });
        const { script } = await t.scripts.create(t.actor, {
          app: other.id,
          name: "o",
          source: "",
        });
        await t.routes.create(t.actor, script.id, { path: "/hidden/:id" });
        const app = await t.apps.get("default");
        const member = t.as({ role: "member", memberships: new Map([[app.id, "editor"]]) });
        const scripts = [endpointOf("a", { routes: [{ path: "/hidden/:name" }] })];
        const error = await errorOf(t.deployments.create(member, "default", { scripts }));
        expect(error.details.extra).toMatchObject({ conflicting_route: null, hidden: true });
      });

      test("puts routes in the place of one that goes, and refuses them beside it", async () => {
        await using t = await ready(engine);
        await t.deploy([endpointOf("a", { routes: [{ path: "/a" }] })]);
        const methods = ["GET", "POST"] as const;
        const manifest = [
          endpointOf("a", { routes: methods.map((method) => ({ path: "/a", method })) }),
        ];
        expect((await errorOf(t.deploy(manifest))).code).toBe("route_conflict");
        expect(changedLinesOf(await t.deploy(manifest, { prune: true }))).toEqual([
          "create route a GET /a",
          "create route a POST /a",
          "delete route a ANY /a",
        ]);
      });

      test("keeps an app within its number of triggers", async () => {
        await using t = await ready(engine);
        const triggers = Array.from({ length: triggersPerAppMax }, (_, i) => ({
          kind: "kv" as const,
          collection: `c${i}`,
        }));
        await t.deploy([endpointOf("a", { triggers })]);
        const one = [endpointOf("b", { triggers: [{ kind: "dead_letter" }] })];
        expect((await errorOf(t.deploy(one))).code).toBe("conflict");
        // In the place of those that go it fits.
        expect((await t.deploy(one, { prune: true })).applied).toBeTrue();
      });
    },
  );
}

const [sqlite] = ENGINES as [(typeof ENGINES)[number]];

describe("a manifest is refused", () => {
  test("with everything that is wrong with it, at its place", async () => {
    await using t = await ready(sqlite);
    const error = await errorOf(
      t.deploy([
        endpointOf("a", {
          file: "a.ts",
          limits: { cpu_ms: LIMIT_CEILINGS.cpu_ms + 1, log_kb: -1 },
          routes: [{ path: "/a" }, { path: "/x*y" }, { path: "/api/x" }],
          triggers: [
            { kind: "cron", expression: "often" },
            { kind: "kv", collection: "a*b" },
            { kind: "docs", operations: [] },
            { kind: "docs", retry: { max_attempts: 0 } },
          ],
        }),
        moduleOf("not-a-module-name", { routes: [{ path: "/m" }], triggers: [{ kind: "kv" }] }),
        moduleOf("kv"),
        endpointOf("a", { routes: [{ path: "/a", method: "GET" }] }),
      ]),
    );
    expect(error.code).toBe("invalid");
    expect(error.details.errors?.map(({ path }) => path)).toEqual([
      "scripts[0].limits.log_kb",
      "scripts[0].limits.cpu_ms",
      "scripts[0].routes[1].path",
      "scripts[0].routes[2].path",
      "scripts[0].triggers[0].expression",
      "scripts[0].triggers[1].collection",
      "scripts[0].triggers[2].operations",
      "scripts[0].triggers[3].retry.max_attempts",
      "scripts[1].name",
      "scripts[1].routes",
      "scripts[1].triggers",
      "scripts[2].name",
      "scripts[3].name",
      "scripts[3].routes[0]",
    ]);
    expect(error.details.errors?.[0]).toMatchObject({ file: "a.ts" });
    expect(t.compiler.requests).toHaveLength(0);
  });

  test("above a ceiling alone with the code of that", async () => {
    await using t = await ready(sqlite);
    const limits = { memory_mb: LIMIT_CEILINGS.memory_mb + 1 };
    const error = await errorOf(t.deploy([endpointOf("a"), endpointOf("b", { limits })]));
    expect(error).toMatchObject({ code: "limit_above_ceiling" });
    expect(error.details.errors).toMatchObject([{ path: "scripts[1].limits.memory_mb" }]);
  });

  test("with the problems of all its sources, at file, line and column", async () => {
    await using t = await ready(sqlite);
    const error = await errorOf(
      t.deploy([
        endpointOf("a", { file: "src/a.ts", source: "fine\n  syntax error" }),
        endpointOf("b"),
        endpointOf("c", { source: "syntax error" }),
      ]),
    );
    expect(error.code).toBe("invalid_source");
    expect(error.message).toBe("src/a.ts:2:3: Unexpected error (and 1 more)");
    expect(error.details.errors).toEqual([
      {
        path: "scripts[0].source",
        message: "Unexpected error",
        file: "src/a.ts",
        line: 2,
        column: 3,
      },
      { path: "scripts[2].source", message: "Unexpected error", line: 1, column: 1 },
    ] as never);
    expect(await rowsOf(t.db)).toMatchObject({ scripts: 0, script_versions: 0 });
  });

  test("with no more problems than are told", async () => {
    await using t = await ready(sqlite);
    const scripts = Array.from({ length: 120 }, (_, i) =>
      endpointOf(`s${i}`, { source: "syntax error" }),
    );
    const error = await errorOf(t.deploy(scripts));
    expect(error.details.errors).toHaveLength(fieldErrorsMax);
    expect(t.compiler.requests.length).toBeLessThan(fieldErrorsMax + 5);
  });

  test("with more routes than one transaction should write", async () => {
    await using t = await ready(sqlite);
    const routes = (script: number) =>
      Array.from({ length: manifestRoutesPerScriptMax }, (_, i) => ({ path: `/${script}/${i}` }));
    const count = manifestRoutesMax / manifestRoutesPerScriptMax + 1;
    const scripts = Array.from({ length: count }, (_, i) =>
      endpointOf(`s${i}`, { routes: routes(i) }),
    );
    const error = await errorOf(t.deploy(scripts));
    expect(error.details.errors).toMatchObject([{ path: "scripts" }]);
    expect((await t.deploy(scripts.slice(1))).changes).toHaveLength(manifestRoutesMax + count - 1);
  });

  test("when it would delete more than one transaction should", async () => {
    await using t = await ready(sqlite);
    const routed = (round: number) =>
      Array.from({ length: manifestRoutesMax / manifestRoutesPerScriptMax }, (_, script) =>
        endpointOf(`s${script}`, {
          routes: Array.from({ length: manifestRoutesPerScriptMax }, (_, i) => ({
            path: `/${round}/${script}/${i}`,
          })),
        }),
      );
    for (const round of [1, 2]) await t.deploy(routed(round));
    const error = await errorOf(t.deploy([], { prune: true }));
    expect(error.code).toBe("conflict");
    expect(error.message).toContain(String(2 * manifestRoutesMax + 5));
    await t.deploy(routed(1), { prune: true });
    await t.deploy([], { prune: true });
    expect(await rowsOf(t.db)).toMatchObject({ scripts: 0, routes: 0 });
  });

  test("when its sources take too long to compile, all of them together", async () => {
    await using t = await ready(sqlite);
    t.compiler.before = () => {
      t.clock.pass(deploymentCompileMsMax / 4);
      return Promise.resolve();
    };
    const scripts = Array.from({ length: 20 }, (_, i) => endpointOf(`s${i}`));
    expect((await errorOf(t.deploy(scripts))).code).toBe("timeout");
    expect(t.compiler.requests.length).toBeLessThan(10);
    expect((await t.deploy(scripts.slice(0, 3))).applied).toBeTrue();
  });

  test("when too many wait already, and those that wait come in turn", async () => {
    await using t = await ready(sqlite);
    const gate = Promise.withResolvers<void>();
    t.compiler.before = () => gate.promise;
    const all = Array.from({ length: deploymentsWaitingMax + 2 }, (_, i) =>
      t.deploy([endpointOf("a", { source: `${i}` })]),
    );
    const refused = await errorOf(all.at(-1) as Promise<unknown>);
    expect(refused).toMatchObject({ code: "unavailable", details: { retry_after_s: 1 } });
    expect(t.compiler.requests).toHaveLength(1);
    gate.resolve();
    for (const one of all.slice(0, -1)) expect((await one).applied).toBeTrue();
  });

  test("for an app that the caller may not see, or may not write to", async () => {
    await using t = await ready(sqlite);
    const app = await t.apps.get("default");
    const scripts = [endpointOf("a")];
    const as = (role: "viewer" | "editor" | null) =>
      t.as({ role: "member", memberships: new Map(role === null ? [] : [[app.id, role]]) });
    const codeAs = async (role: "viewer" | "editor" | null) =>
      (await errorOf(t.deployments.create(as(role), "default", { scripts }))).code;
    expect(await codeAs(null)).toBe("not_found");
    expect(await codeAs("viewer")).toBe("forbidden");
    const done = await t.deployments.create(as("editor"), "default", { scripts });
    expect(done.applied).toBeTrue();
  });

  test.each([
    "'; drop table scripts; --",
    "größe",
    "👩‍💻",
    "__proto__",
    "constructor",
    "%_",
    "a/b",
  ])("never for the name %p: it is told apart from others, and found again", async (name) => {
    await using t = await ready(sqlite);
    const manifest = [endpointOf(name, { routes: [{ path: "/x" }] }), endpointOf("toString")];
    await t.deploy(manifest);
    expect(changedLinesOf(await t.deploy(manifest, { prune: true }))).toEqual([]);
    expect(changedLinesOf(await t.deploy([], { prune: true }))).toHaveLength(3);
  });

  test.each(["", " a", "a\0b", "a\nb", "\ud800", "\u2028", "x".repeat(129)])(
    "for the name %p",
    async (name) => {
      await using t = await ready(sqlite);
      const error = await errorOf(t.deploy([endpointOf("fine"), endpointOf(name)]));
      expect(error.details.errors).toMatchObject([{ path: "scripts[1].name" }]);
    },
  );
});
