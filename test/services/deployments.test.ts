import { describe, expect, test } from "bun:test";
import { countersSince, snapshotCounters } from "../../src/base/metrics.ts";
import { RETRY_DEFAULT } from "../../src/domain/events.ts";
import { deliveriesDroppedMax, removedLargeRows } from "../../src/domain/limits.ts";
import { matchUrl } from "../../src/routing/match-url.ts";
import { routesOfApp } from "../../src/storage/routes.ts";
import { getScriptByName, getVersion } from "../../src/storage/scripts.ts";
import { triggersChannel, triggersOfApp } from "../../src/storage/triggers.ts";
import {
  changedLinesOf,
  ENGINES,
  endpointOf,
  errorOf,
  fillOutbox,
  linesOf,
  moduleOf,
  ready,
  rowsOf,
} from "./deployment-setup.ts";

for (const engine of ENGINES) {
  describe.skipIf(engine.missing !== null)(`a deployment on ${engine.name}`, () => {
    test("makes scripts, routes and triggers, in the order of the manifest", async () => {
      await using t = await ready(engine);
      const done = await t.deploy([
        endpointOf("greet", {
          description: "says hello",
          limits: { cpu_ms: 50 },
          public_execute: true,
          routes: [{ path: "/greet/:name", method: "GET" }, { path: "/*" }],
          triggers: [
            { kind: "kv", collection: "orders", operations: ["insert"] },
            { kind: "cron", expression: "0 0 3 * * *" },
          ],
        }),
        moduleOf("labels"),
      ]);
      expect(done.applied).toBeTrue();
      expect(linesOf(done)).toEqual([
        "create script greet",
        "create route greet GET /greet/:name",
        "create route greet ANY /*",
        "create trigger greet kv orders",
        "create trigger greet cron 0 0 3 * * * UTC",
        "create script labels",
      ]);
      const app = await t.apps.get("default");
      const script = await getScriptByName(t.db, app.id, "greet");
      expect(script).toMatchObject({
        description: "says hello",
        limits: { cpu_ms: 50 },
        public_execute: true,
        active_version: 1,
      });
      expect(await getVersion(t.db, script?.id ?? "", 1)).toMatchObject({
        source: "source of greet",
        code: "/* js */source of greet",
        created_by: t.actor.account_id,
      });
      expect(matchUrl(t.routes.table(), "GET", "/greet/ada")).not.toBeNull();
      const triggers = await triggersOfApp(t.db, app.id);
      expect(triggers).toMatchObject([
        { kind: "kv", collection: "orders", operations: ["insert"], retry: { ...RETRY_DEFAULT } },
        { kind: "cron", timezone: "UTC", next_at: Date.parse("2030-01-01T03:00:00Z") },
      ]);
    });

    test("that says the same again changes and writes nothing", async () => {
      await using t = await ready(engine);
      const manifest = [
        endpointOf("greet", {
          limits: { cpu_ms: 50, log_kb: 1 },
          routes: [{ path: "/greet", host: "A.example.com" }],
          triggers: [
            { kind: "docs", operations: ["delete", "insert"], retry: { max_attempts: 2 } },
            { kind: "dead_letter", enabled: false },
          ],
        }),
        moduleOf("labels"),
      ];
      await t.deploy(manifest);
      const rows = await rowsOf(t.db);
      const compiled = t.compiler.requests.length;
      const before = snapshotCounters();
      const again = await t.deploy(manifest, { prune: true });
      expect(again.changes.map(({ action }) => action)).toEqual(Array(5).fill("unchanged"));
      expect(await rowsOf(t.db)).toEqual(rows);
      expect(t.compiler.requests).toHaveLength(compiled);
      if (engine.name === "SQLite") expect(countersSince(before).commits).toBe(0);
    });

    test("changes what differs, and says what", async () => {
      await using t = await ready(engine);
      await t.deploy([
        endpointOf("a", {
          description: "one",
          limits: { cpu_ms: 50 },
          routes: [{ path: "/a/:id" }],
          triggers: [{ kind: "kv", collection: "x" }],
        }),
      ]);
      const changed = await t.deploy([
        endpointOf("a", {
          source: "two",
          routes: [{ path: "/a/:key", dispatch_mode: "async" }],
          triggers: [{ kind: "kv", collection: "x", operations: ["insert"], enabled: false }],
        }),
      ]);
      expect(linesOf(changed)).toEqual([
        "change script a: source, description, limits",
        "change route a ANY /a/:key: path, dispatch_mode",
        "change trigger a kv x: enabled, operations",
      ]);
      const app = await t.apps.get("default");
      const script = await getScriptByName(t.db, app.id, "a");
      expect(script).toMatchObject({ description: "", limits: {}, active_version: 2 });
      expect(await routesOfApp(t.db, app.id)).toMatchObject([
        { path: "/a/:key", dispatch_mode: "async" },
      ]);
      expect(matchUrl(t.routes.table(), "GET", "/a/1")).toMatchObject({ params: { key: "1" } });
      expect(await triggersOfApp(t.db, app.id)).toMatchObject([
        { operations: ["insert"], is_enabled: false },
      ]);
    });

    test("makes no version when the source is the same", async () => {
      await using t = await ready(engine);
      await t.deploy([endpointOf("a")]);
      const done = await t.deploy([endpointOf("a", { description: "new" })]);
      expect(linesOf(done)).toEqual(["change script a: description"]);
      const app = await t.apps.get("default");
      expect(await getScriptByName(t.db, app.id, "a")).toMatchObject({ active_version: 1 });
      expect(t.compiler.requests).toHaveLength(1);
    });

    test("of nothing leaves everything, and with prune takes everything away", async () => {
      await using t = await ready(engine);
      await t.deploy([
        endpointOf("a", { routes: [{ path: "/a" }], triggers: [{ kind: "kv" }] }),
        moduleOf("m"),
      ]);
      expect((await t.deploy([])).changes).toEqual([]);
      expect(linesOf(await t.deploy([], { prune: true }))).toEqual([
        "delete script a",
        "delete route a ANY /a",
        "delete trigger a kv *",
        "delete script m",
      ]);
      expect(await rowsOf(t.db)).toMatchObject({ scripts: 0, routes: 0, triggers: 0 });
      expect(matchUrl(t.routes.table(), "GET", "/a")).toBeNull();
    });

    test("deletes what it does not name only with prune, also of scripts that it names", async () => {
      await using t = await ready(engine);
      await t.deploy([
        endpointOf("a", {
          routes: [{ path: "/a" }, { path: "/b" }],
          triggers: [{ kind: "kv", collection: "x" }, { kind: "dead_letter" }],
        }),
        endpointOf("b"),
      ]);
      const less = [
        endpointOf("a", { routes: [{ path: "/b" }], triggers: [{ kind: "dead_letter" }] }),
      ];
      expect(changedLinesOf(await t.deploy(less))).toEqual([]);
      expect(changedLinesOf(await t.deploy(less, { prune: true }))).toEqual([
        "delete route a ANY /a",
        "delete trigger a kv x",
        "delete script b",
      ]);
      expect(await rowsOf(t.db)).toMatchObject({ scripts: 1, routes: 1, triggers: 1 });
    });

    test("moves a route to another script, also when the first one goes", async () => {
      await using t = await ready(engine);
      await t.deploy([endpointOf("a", { routes: [{ path: "/x", method: "GET" }] })]);
      const [before] = await routesOfApp(t.db, (await t.apps.get("default")).id);
      const moved = await t.deploy([endpointOf("b", { routes: [{ path: "/x", method: "GET" }] })], {
        prune: true,
      });
      expect(linesOf(moved)).toEqual([
        "create script b",
        "change route b GET /x: from the script a",
        "delete script a",
      ]);
      const app = await t.apps.get("default");
      const b = await getScriptByName(t.db, app.id, "b");
      expect(await routesOfApp(t.db, app.id)).toEqual([
        { ...before, script_id: b?.id } as NonNullable<typeof before>,
      ]);
      expect(matchUrl(t.routes.table(), "GET", "/x")).toMatchObject({
        route: { script_id: b?.id },
      });
    });

    test("that is tried changes nothing, and says what it would do", async () => {
      await using t = await ready(engine);
      await t.deploy([endpointOf("a", { routes: [{ path: "/a" }] })]);
      const rows = await rowsOf(t.db);
      const manifest = [endpointOf("b", { routes: [{ path: "/a" }], triggers: [{ kind: "kv" }] })];
      const tried = await t.deploy(manifest, { dry_run: true, prune: true });
      expect(tried.applied).toBeFalse();
      expect(await rowsOf(t.db)).toEqual(rows);
      expect(matchUrl(t.routes.table(), "GET", "/a")).not.toBeNull();
      const done = await t.deploy(manifest, { prune: true });
      expect(done).toEqual({ ...tried, applied: true });
    });

    test("tells the audit trail of itself, and of each change as single calls do", async () => {
      await using t = await ready(engine);
      const before = (await t.audited()).length;
      await t.deploy([endpointOf("a", { routes: [{ path: "/a" }], triggers: [{ kind: "kv" }] })]);
      await t.deploy([
        endpointOf("a", { source: "two", routes: [{ path: "/a", dispatch_mode: "async" }] }),
      ]);
      await t.deploy([], { prune: true });
      expect((await t.audited()).slice(before)).toEqual([
        ...["script.create", "route.create", "trigger.create", "deployment.create"],
        ...["script.update", "route.update", "deployment.create"],
        ...["route.delete", "trigger.delete", "script.delete", "deployment.create"],
      ]);
    });

    test("with a mistake anywhere changes nothing", async () => {
      await using t = await ready(engine);
      const other = await t.apps.create(t.actor, { slug: "other", name: "Other" });
      const { script } = await t.scripts.create(t.actor, { app: other.id, name: "o", source: "" });
      await t.routes.create(t.actor, script.id, { path: "/taken" });
      const rows = await rowsOf(t.db);
      const error = await errorOf(
        t.deploy([
          endpointOf("a", { routes: [{ path: "/free" }], triggers: [{ kind: "kv" }] }),
          endpointOf("b", { file: "b.ts", routes: [{ path: "/c" }, { path: "/taken" }] }),
        ]),
      );
      expect(error.code).toBe("route_conflict");
      expect(error.details.errors).toEqual([
        { path: "scripts[1].routes[1]", message: expect.any(String), file: "b.ts" },
      ] as never);
      expect(error.details.extra).toMatchObject({ conflicting_route: { path: "/taken" } });
      expect(await rowsOf(t.db)).toEqual(rows);
      expect(matchUrl(t.routes.table(), "GET", "/free")).toBeNull();
    });

    test("drops what waits for what goes, in pieces when it is much", async () => {
      await using t = await ready(engine);
      await t.deploy([
        endpointOf("a", { triggers: [{ kind: "kv" }] }),
        endpointOf("b", { triggers: [{ kind: "kv" }] }),
        endpointOf("c", { triggers: [{ kind: "kv" }] }),
      ]);
      const app = await t.apps.get("default");
      const [a, b, c] = await triggersOfApp(t.db, app.id);
      if (a === undefined || b === undefined || c === undefined) throw new Error("no triggers");
      const at = (trigger: typeof a) => ({
        app_id: app.id,
        script_id: trigger.script_id,
        trigger_id: trigger.id,
      });
      await fillOutbox(t.db, at(a), 2 * deliveriesDroppedMax + 1);
      await fillOutbox(t.db, at(b), 3 * removedLargeRows);
      await fillOutbox(t.db, at(c), 3);
      const manifest = [endpointOf("a"), endpointOf("c", { triggers: [{ kind: "kv" }] })];
      const tried = await t.deploy(manifest, { prune: true, dry_run: true });
      expect(await waiting(t.db)).toBe(2 * deliveriesDroppedMax + 1 + 3 * removedLargeRows + 3);
      const done = await t.deploy(manifest, { prune: true });
      expect(done.changes).toEqual(tried.changes);
      expect(await waiting(t.db)).toBe(3);
    });
  });
}

describe("a deployment", () => {
  test("announces each script that it wrote, and the triggers of the app once", async () => {
    await using t = await ready(ENGINES[0] as (typeof ENGINES)[number]);
    await t.deploy([endpointOf("same"), endpointOf("old")]);
    const scripts: string[] = [];
    const triggers: string[] = [];
    await t.db.listen("scripts", (id) => scripts.push(id));
    await t.db.listen(triggersChannel, (id) => triggers.push(id));
    const app = await t.apps.get("default");
    const old = await getScriptByName(t.db, app.id, "old");
    const manifest = [
      endpointOf("same"),
      endpointOf("new", { triggers: [{ kind: "kv" }, { kind: "docs" }] }),
    ];
    await t.deploy(manifest, { prune: true, dry_run: true });
    expect([scripts, triggers]).toEqual([[], []]);
    await t.deploy(manifest, { prune: true });
    const made = await getScriptByName(t.db, app.id, "new");
    expect(scripts).toEqual([made?.id as string, old?.id as string]);
    expect(triggers).toEqual([app.id]);
    await t.deploy(manifest, { prune: true });
    expect([scripts.length, triggers.length]).toEqual([2, 1]);
  });
});

async function waiting(db: import("../../src/storage/port.ts").Database): Promise<number> {
  const text = { texts: ["select count(*) as count from outbox"], values: [] };
  return (await db.get<{ count: number }>(text))?.count ?? 0;
}
