/** A dispatcher that fails, or is killed, before and after each of its steps. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { DispatcherStep } from "../../src/background/turn.ts";
import { gateAppShare, gateRunningMax } from "../../src/domain/limits.ts";
import { insertDelivery } from "../../src/storage/outbox.ts";
import { sql } from "../../src/storage/sql.ts";
import { until } from "../execution/fakes.ts";
import { openFolder } from "../execution/folder.ts";
import { script, seed } from "../storage/conformance/engine.ts";
import { makeFolder, openMain } from "../storage/sqlite-folder.ts";
import { delivery, dispatching, policy } from "./dispatching.ts";

const steps: readonly DispatcherStep[] = [
  "before_claim",
  "after_claim",
  "before_execute",
  "after_execute",
  "before_settle",
  "after_settle",
];
const many = 60;

describe("a defect", () => {
  for (const step of steps) {
    test(`at ${step} loses nothing and leaves nothing behind`, async () => {
      await using folder = await openFolder();
      let reached = 0;
      const world = dispatching(folder.db, {
        failpoint(name) {
          if (name !== step) return;
          reached += 1;
          if (reached % 3 === 1) throw new Error("a defect");
        },
      });
      const retry = { ...policy, max_attempts: 20, base_ms: 1_000 };
      const all = Array.from({ length: many }, () => delivery({ retry }));
      await world.emit(...all);
      await world.dispatcher.start();
      await until(() => {
        world.time.advance(50);
        return world.dispatcher.stats().done === many;
      });
      expect(await world.rows()).toEqual([]);
      expect(new Set(world.delivered.map(({ event_id }) => event_id)).size).toBe(many);
      expect(world.dispatcher.stats()).toMatchObject({ running: 0, settling: 0, dead: 0 });
      expect(world.lines.length).toBeGreaterThan(0);
      await world.dispatcher.stop();
      const left = await folder.db.get(
        sql<{ count: number }>`select count(*) as count from event_attempts`,
      );
      expect(left?.count).toBe(0);
    }, 20_000);
  }
});

describe("a kill", () => {
  for (const step of steps) {
    test(`at ${step} loses nothing; only what was under way is handled again`, async () => {
      const folder = makeFolder();
      try {
        const db = await openMain(folder.path);
        await seed(db, script("script-1"));
        const all = Array.from({ length: many }, () => delivery());
        await db.tx(async (tx) => {
          for (const one of all) await insertDelivery(tx, one);
        });
        await db.close();
        const file = join(folder.path, "handled");
        expect(await run(folder.path, file, step, step.endsWith("execute") ? "30" : "2")).toBe(137);
        expect(await run(folder.path, file)).toBe(0);
        const handled = existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : [];
        expect(new Set(handled)).toEqual(new Set(all.map(({ event_id }) => event_id)));
        const again = handled.length - all.length;
        // Those that ran, and as many that had ended and were not settled.
        expect(again).toBeLessThanOrEqual(2 * gateRunningMax * gateAppShare);
        if (step === "after_execute") expect(again).toBeGreaterThan(0);
        const after = await openMain(folder.path);
        const check = sql<{ integrity_check: string }>`select * from pragma_integrity_check`;
        expect(await after.all(check)).toEqual([{ integrity_check: "ok" }]);
        await after.close();
      } finally {
        folder.remove();
      }
    }, 30_000);
  }
});

async function run(dir: string, file: string, ...step: string[]): Promise<number> {
  const victim = join(import.meta.dir, "dispatcher-victim.ts");
  const child = Bun.spawn([process.execPath, victim, dir, file, ...step], {
    stdout: "inherit",
    stderr: "inherit",
  });
  return child.exited;
}
