import { expect, test } from "bun:test";
import { RETRY_DEFAULT } from "../../../src/domain/events.ts";
import type {
  CronTrigger,
  DataTrigger,
  DeadLetterTrigger,
  Trigger,
} from "../../../src/domain/triggers.ts";
import { deleteApp, insertApp } from "../../../src/storage/apps.ts";
import type { Database } from "../../../src/storage/port.ts";
import { deleteScript, insertScript, insertVersion } from "../../../src/storage/scripts.ts";
import {
  countTriggersOfApp,
  countTriggersOfScript,
  deleteTrigger,
  dueTriggers,
  fireCron,
  getTrigger,
  insertTrigger,
  listTriggers,
  lockTriggers,
  nextCronAt,
  setNextAt,
  triggersOfApp,
  updateTrigger,
} from "../../../src/storage/triggers.ts";
import { app, codeOf, type Engine, messageOf, opener, script, seed, version } from "./engine.ts";

const base = {
  app_id: app.id,
  script_id: "s1",
  is_enabled: true,
  registered_by: null,
  created_at: 1,
  updated_at: 1,
};

function data(id: string, more: Partial<DataTrigger> = {}): DataTrigger {
  return {
    ...base,
    id,
    kind: "kv",
    collection: "*",
    operations: ["insert", "update", "delete"],
    retry: { ...RETRY_DEFAULT },
    ...more,
  };
}

function cron(id: string, more: Partial<CronTrigger> = {}): CronTrigger {
  return {
    ...base,
    id,
    kind: "cron",
    expression: "0 * * * * *",
    timezone: "UTC",
    overlap: "skip",
    retry: { ...RETRY_DEFAULT },
    next_at: 100,
    last_at: null,
    ...more,
  };
}

function handler(id: string, more: Partial<DeadLetterTrigger> = {}): DeadLetterTrigger {
  return { ...base, id, kind: "dead_letter", ...more };
}

async function insert(db: Database, ...triggers: Trigger[]): Promise<void> {
  await db.tx(async (tx) => {
    for (const trigger of triggers) await insertTrigger(tx, trigger);
  });
}

export function triggerConformance(engine: Engine): void {
  const open = opener(engine);

  test("a trigger of each kind comes back as it was", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    const all = [
      data("t1", { collection: "größe:*", operations: ["update"] }),
      data("t2", { kind: "docs", retry: { ...RETRY_DEFAULT, backoff: "linear", jitter: 0.25 } }),
      cron("t3", { overlap: "queue", timezone: "Asia/Kathmandu", next_at: null, last_at: 7 }),
      handler("t4", { is_enabled: false }),
    ];
    await insert(db, ...all);
    for (const one of all) expect(await getTrigger(db, one.id)).toEqual(one);
    expect(await getTrigger(db, "t9")).toBeNull();
    expect(await db.tx((tx) => deleteTrigger(tx, "t1"))).toBe(true);
    expect(await db.tx((tx) => deleteTrigger(tx, "t1"))).toBe(false);
    expect(await getTrigger(db, "t1")).toBeNull();
  });

  test("all triggers of an app come oldest first", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    const all = [data("t3", { created_at: 1 }), cron("t1", { created_at: 2 }), handler("t2")];
    await insert(db, ...all);
    await db.tx((tx) => insertApp(tx, { ...app, id: "app-2", slug: "two" }));
    expect(await triggersOfApp(db, app.id)).toEqual([handler("t2"), ...all.slice(0, 2)]);
    expect(await triggersOfApp(db, "app-2")).toEqual([]);
  });

  test("a trigger needs a script of its own app", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    await db.tx((tx) => insertApp(tx, { ...app, id: "app-2", slug: "other" }));
    for (const bad of [{ app_id: "app-2" }, { script_id: "s9" }, { app_id: "app-9" }]) {
      expect(await codeOf(insert(db, data("t1", bad)))).toBe("conflict");
    }
  });

  test("the schema refuses what the domain refuses", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    const bad: Trigger[] = [
      data("t1", { operations: [] }),
      data("t1", { collection: "" }),
      data("t1", { collection: "x".repeat(129) }),
      data("t1", { collection: "é".repeat(65) }),
      cron("t1", { expression: "" }),
      cron("t1", { expression: "x".repeat(257) }),
      cron("t1", { timezone: "" }),
      cron("t1", { overlap: "later" as "skip" }),
      { ...handler("t1"), kind: "kv" } as unknown as Trigger,
    ];
    for (const one of bad) {
      expect(await messageOf(insert(db, one))).not.toBe("resolved");
    }
    expect(await countTriggersOfApp(db, app.id)).toBe(0);
  });

  test("triggers are listed oldest first, page by page, by app, kind and script", async () => {
    const { db } = await open();
    await seed(db, script("s1"), script("s2"));
    await db.tx(async (tx) => {
      await insertApp(tx, { ...app, id: "app-2", slug: "other" });
      await insertScript(tx, script("s3", { app_id: "app-2" }));
      await insertVersion(tx, version("s3"));
    });
    await insert(
      db,
      data("t5", { created_at: 3 }),
      data("t1"),
      cron("t2", { created_at: 2 }),
      data("t3", { kind: "docs", created_at: 2, script_id: "s2" }),
      handler("t4", { created_at: 2, script_id: "s2" }),
      data("t9", { app_id: "app-2", script_id: "s3" }),
    );
    const first = await listTriggers(db, { app_id: app.id }, { limit: 2, cursor: null });
    await insert(db, data("t0", { created_at: 0 }));
    const rest = await listTriggers(
      db,
      { app_id: app.id },
      { limit: 3, cursor: first.next_cursor },
    );
    const ids = [...first.items, ...rest.items].map(({ id }) => id);
    expect(ids).toEqual(["t1", "t2", "t3", "t4", "t5"]);
    expect(rest.next_cursor).toBeNull();
    const listed = async (filter: { kind?: "kv" | "cron"; script_id?: string }) => {
      const page = { limit: 10, cursor: null };
      return (await listTriggers(db, { app_id: app.id, ...filter }, page)).items.map((t) => t.id);
    };
    expect(await listed({ kind: "kv" })).toEqual(["t0", "t1", "t5"]);
    expect(await listed({ kind: "cron", script_id: "s2" })).toEqual([]);
    expect(await listed({ script_id: "s2" })).toEqual(["t3", "t4"]);
    expect(await listed({ script_id: "s3" })).toEqual([]);
    const bad = listTriggers(db, { app_id: app.id }, { limit: 1, cursor: "x" });
    expect(await codeOf(bad)).toBe("invalid");
    expect(await countTriggersOfApp(db, app.id)).toBe(6);
    expect(await countTriggersOfScript(db, "s2")).toBe(2);
  });

  test("a script and an app take their triggers with them", async () => {
    const { db } = await open();
    await seed(db, script("s1"), script("s2"));
    await insert(db, data("t1"), cron("t2", { script_id: "s2" }), handler("t3"));
    await db.tx((tx) => deleteScript(tx, "s1"));
    expect(await countTriggersOfApp(db, app.id)).toBe(1);
    expect(await getTrigger(db, "t2")).not.toBeNull();
    await db.tx((tx) => deleteApp(tx, app.id));
    expect(await getTrigger(db, "t2")).toBeNull();
  });

  test("an update writes what people change, and not what the scheduler moves", async () => {
    const { db } = await open();
    await seed(db, script("s1"), script("s2"));
    await insert(db, cron("t1"), data("t2"));
    await db.tx((tx) => fireCron(tx, "t1", { expected_next_at: 100, next_at: 200, last_at: 100 }));
    const changed = cron("t1", {
      script_id: "s2",
      is_enabled: false,
      overlap: "queue",
      expression: "1 * * * * *",
      registered_by: "somebody",
      created_at: 99,
      updated_at: 5,
      next_at: 999,
      last_at: 999,
    });
    const stored = await db.tx((tx) => updateTrigger(tx, changed));
    const kept = { registered_by: null, created_at: 1, next_at: 200, last_at: 100 };
    expect(stored).toEqual({ ...changed, ...kept });
    expect(await getTrigger(db, "t1")).toEqual({ ...changed, ...kept });
    await db.tx((tx) => setNextAt(tx, "t1", null));
    expect(await getTrigger(db, "t1")).toMatchObject({ next_at: null, last_at: 100 });
    // A trigger keeps its kind.
    expect(await db.tx((tx) => updateTrigger(tx, data("t1")))).toBeNull();
    expect(await db.tx((tx) => updateTrigger(tx, data("t9")))).toBeNull();
    const other = data("t2", { kind: "kv", collection: "a", operations: ["delete"] });
    expect(await db.tx((tx) => updateTrigger(tx, other))).toEqual(other);
  });

  test("due are enabled cron triggers whose tick has come, the longest due first", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    expect(await nextCronAt(db)).toBeNull();
    await insert(
      db,
      cron("t1", { next_at: 300 }),
      cron("t2", { next_at: 100 }),
      cron("t3", { next_at: 50, is_enabled: false }),
      cron("t4", { next_at: null }),
      cron("t5", { next_at: 100 }),
      data("t6"),
    );
    expect(await nextCronAt(db)).toBe(100);
    expect(await dueTriggers(db, 99)).toEqual([]);
    expect((await dueTriggers(db, 100)).map(({ id }) => id)).toEqual(["t2", "t5"]);
    expect((await dueTriggers(db, 300)).map(({ id }) => id)).toEqual(["t2", "t5", "t1"]);
  });

  test("of several schedulers one fires a tick; a trigger that changed is not fired", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    await insert(db, cron("t1"), cron("t2"));
    const move = { expected_next_at: 100, next_at: 160, last_at: 100 };
    const fired = await Promise.all(
      Array.from({ length: 8 }, () => db.tx((tx) => fireCron(tx, "t1", move))),
    );
    expect(fired.filter((won) => won)).toHaveLength(1);
    expect(await getTrigger(db, "t1")).toMatchObject({ next_at: 160, last_at: 100 });
    await db.tx((tx) => updateTrigger(tx, cron("t2", { is_enabled: false })));
    expect(await db.tx((tx) => fireCron(tx, "t2", move))).toBe(false);
    expect(await db.tx((tx) => fireCron(tx, "t9", move))).toBe(false);
    const last = { expected_next_at: 160, next_at: null, last_at: 160 };
    expect(await db.tx((tx) => fireCron(tx, "t1", last))).toBe(true);
    expect(await nextCronAt(db)).toBeNull();
  });

  test("the lock on an app's triggers lets its holders follow each other", async () => {
    const { db } = await open();
    await seed(db, script("s1"));
    const add = (id: string) =>
      db.tx(async (tx) => {
        await lockTriggers(tx, app.id);
        if ((await countTriggersOfApp(tx, app.id)) >= 3) return false;
        await insertTrigger(tx, data(id));
        return true;
      });
    const added = await Promise.all(Array.from({ length: 10 }, (_, index) => add(`t${index}`)));
    expect(added.filter((done) => done)).toHaveLength(3);
    expect(await countTriggersOfApp(db, app.id)).toBe(3);
  });
}
