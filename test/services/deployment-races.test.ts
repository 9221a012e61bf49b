/** Deployments at once, and beside single calls that change the same scripts. */
import { describe, expect, test } from "bun:test";
import type { DeploymentScript } from "../../src/schema/manifest.ts";
import { getScriptByName } from "../../src/storage/scripts.ts";
import { sql } from "../../src/storage/sql.ts";
import {
  changedLinesOf,
  ENGINES,
  endpointOf,
  linesOf,
  moduleOf,
  ready,
  rowsOf,
} from "./deployment-setup.ts";
import { codeOf } from "./fakes.ts";

for (const engine of ENGINES) {
  describe.skipIf(engine.missing !== null)(`deployments at the same time on ${engine.name}`, () => {
    test("two of the same make everything once", async () => {
      await using t = await ready(engine);
      const second = await t.second();
      const scripts = [endpointOf("a", { routes: [{ path: "/a" }], triggers: [{ kind: "kv" }] })];
      const done = await Promise.all([
        t.deploy(scripts),
        second.deployments.create(t.actor, "default", { scripts }),
        t.deploy(scripts),
        second.deployments.create(t.actor, "default", { scripts }),
      ]);
      const written = done.filter((one) => changedLinesOf(one).length > 0);
      expect(written).toHaveLength(1);
      expect(await rowsOf(t.db)).toMatchObject({
        scripts: 1,
        script_versions: 1,
        routes: 1,
        triggers: 1,
      });
    });

    test("of somebody who was shut out after the call was let in change nothing", async () => {
      await using t = await ready(engine);
      await t.db.tx((tx) => tx.run(sql`delete from sessions`));
      expect(await codeOf(t.deploy([endpointOf("a")]))).toBe("unauthenticated");
      expect(await rowsOf(t.db)).toMatchObject({ scripts: 0 });
    });

    test("of different manifests leave one of them, whole", async () => {
      await using t = await ready(engine);
      const second = await t.second();
      const version = (n: number): DeploymentScript[] =>
        ["a", "b", "c"].map((name) =>
          endpointOf(name, { source: `${n}`, routes: [{ path: `/${name}/${n}` }] }),
        );
      for (let round = 0; round < 5; round += 1) {
        await Promise.all(
          [t.deployments, second.deployments, t.deployments].map((deployments, i) =>
            deployments.create(t.actor, "default", {
              scripts: version(round * 3 + i),
              prune: true,
            }),
          ),
        );
        const app = await t.apps.get("default");
        const found = new Set<string>();
        for (const name of ["a", "b", "c"]) {
          const script = await getScriptByName(t.db, app.id, name);
          found.add((await t.scripts.get(script?.id ?? "")).source);
        }
        expect(found.size).toBe(1);
        const [source] = [...found];
        const routes = await t.db.all<{ path: string }>({
          texts: ["select path from routes order by path"],
          values: [],
        });
        expect(routes.map(({ path }) => path)).toEqual(
          ["a", "b", "c"].map((name) => `/${name}/${source}`),
        );
      }
    });

    test("against a single save that comes while it compiles, the later one wins", async () => {
      await using t = await ready(engine);
      await t.deploy([endpointOf("a"), endpointOf("b")]);
      const app = await t.apps.get("default");
      const a = await getScriptByName(t.db, app.id, "a");
      const reached = Promise.withResolvers<void>();
      const gate = Promise.withResolvers<void>();
      t.compiler.before = () => {
        reached.resolve();
        return gate.promise;
      };
      const deploying = t.deploy([endpointOf("a"), endpointOf("b", { source: "two" })]);
      await reached.promise;
      t.compiler.before = () => Promise.resolve();
      await t.scripts.update(t.actor, a?.id ?? "", { source: "by hand" });
      gate.resolve();
      // Judged by what there was when it was written: the manifest's source is no longer the active one.
      expect(linesOf(await deploying)).toEqual([
        "change script a: source",
        "change script b: source",
      ]);
      expect((await t.scripts.get(a?.id ?? "")).source).toBe("source of a");
    });

    test("against saves, deletions and creations of its scripts nothing is mixed or lost", async () => {
      await using t = await ready(engine);
      const manifest = (n: number) => [
        moduleOf("m", { source: `m${n}` }),
        endpointOf("e", { source: `// import m\n${n}`, routes: [{ path: "/e" }] }),
      ];
      await t.deploy(manifest(0));
      const app = await t.apps.get("default");
      const others = async (n: number) => {
        const e = await getScriptByName(t.db, app.id, "e");
        if (e === null) return;
        if (n % 3 === 0) await t.scripts.delete(t.actor, e.id);
        else await t.scripts.update(t.actor, e.id, { source: `by hand ${n}` });
      };
      const allowed = new Set(["not_found", "conflict", "version_conflict"]);
      for (let n = 1; n <= 8; n += 1) {
        const results = await Promise.allSettled([t.deploy(manifest(n)), others(n), others(n + 1)]);
        for (const result of results) {
          if (result.status === "rejected") expect(allowed).toContain(result.reason.code);
        }
      }
      await t.deploy(manifest(9));
      expect(changedLinesOf(await t.deploy(manifest(9), { prune: true }))).toEqual([]);
    });

    test("against the deletion of the app it is all or nothing", async () => {
      await using t = await ready(engine);
      const app = await t.apps.create(t.actor, { slug: "gone", name: "Gone" });
      const scripts = [endpointOf("a", { routes: [{ path: "/a" }], triggers: [{ kind: "kv" }] })];
      const [deployed] = await Promise.allSettled([
        t.deployments.create(t.actor, "gone", { scripts }),
        t.apps.delete(t.actor, app.id, { force: true }),
      ]);
      if (deployed?.status === "rejected") expect(deployed.reason.code).toBe("not_found");
      expect(await rowsOf(t.db)).toMatchObject({ scripts: 0, routes: 0, triggers: 0 });
    });
  });
}
