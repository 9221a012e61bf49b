import { describe, expect, test } from "bun:test";
import { type Logger, silentLogger } from "../../src/base/log.ts";
import { LiveTriggers } from "../../src/bindings/live-triggers.ts";
import { liveTriggersMax } from "../../src/domain/limits.ts";
import { matchesCollection } from "../../src/domain/triggers.ts";
import type { Database } from "../../src/storage/port.ts";
import { sql } from "../../src/storage/sql.ts";
import { triggersChannel } from "../../src/storage/triggers.ts";
import { until } from "../execution/fakes.ts";
import { openFolder } from "../execution/folder.ts";
import { type SeededTrigger, seedTrigger } from "./composed.ts";

async function setup(...triggers: SeededTrigger[]) {
  const folder = await openFolder();
  for (const trigger of triggers) await seedTrigger(folder.db, trigger);
  const world = { reads: 0, isBroken: false };
  const db = Object.create(folder.db) as Database;
  db.listen = (channel, fn) => folder.db.listen(channel, fn);
  db.all = async (statement) => {
    world.reads += 1;
    if (world.isBroken) throw new Error("broken");
    return folder.db.all(statement);
  };
  const lines: string[] = [];
  const log: Logger = { ...silentLogger, warn: (message) => void lines.push(message) };
  const live = new LiveTriggers({ db, log });
  const announce = () => folder.db.tx((tx) => folder.db.notify(tx, triggersChannel, "app-1"));
  return { ...folder, live, world, lines, announce };
}

const all: SeededTrigger = { id: "all" };

describe("before it has read anything", () => {
  test("every app may have triggers, and nobody knows which", async () => {
    await using bundle = await setup();
    expect(bundle.live.mayHave("app-1", "kv", "c")).toBe(true);
    expect(bundle.live.idsFor("app-1", "kv", "c")).toBeNull();
    await bundle.live.start();
    expect(bundle.live.mayHave("app-1", "kv", "c")).toBe(false);
    expect(bundle.live.idsFor("app-1", "kv", "c")).toEqual([]);
  });
});

describe("what is known", () => {
  test("is by app and kind; what is switched off does not count, nor do other kinds", async () => {
    await using bundle = await setup(
      { ...all, app: 2 },
      { id: "docs", kind: "docs" },
      { id: "off", is_enabled: 0 },
    );
    await bundle.db.tx((tx) =>
      tx.run(sql`insert into triggers (id, app_id, script_id, kind, is_enabled, on_insert, on_update,
          on_delete, created_at, updated_at)
        values ('letters', 'app-1', 'script-1', 'dead_letter', 1, 0, 0, 0, 1, 1)`),
    );
    const { live } = bundle;
    await live.start();
    expect(live.idsFor("app-2", "kv", "c")).toEqual(["all"]);
    expect(live.idsFor("app-1", "kv", "c")).toEqual([]);
    expect(live.idsFor("app-1", "docs", "c")).toEqual(["docs"]);
    expect(live.idsFor("app-2", "docs", "c")).toEqual([]);
    expect(live.idsFor("app-3", "kv", "c")).toEqual([]);
  });

  test.each([
    ["c", "c", true],
    ["c", "C", false],
    ["c", "cc", false],
    ["c*", "c", true],
    ["c*", "cats", true],
    ["c*", "Cats", false],
    ["%", "x", false],
    ["_*", "xy", false],
    ["a.b*", "aXb", false],
    ["*", "😀", true],
    ["é*", "e\u0301", false],
    ["__proto__", "__proto__", true],
  ])("the pattern %j and the collection %j: %p", async (pattern, collection, expected) => {
    await using bundle = await setup({ ...all, collection: pattern });
    await bundle.live.start();
    expect(bundle.live.mayHave("app-1", "kv", collection)).toBe(expected);
    expect(matchesCollection(pattern, collection)).toBe(expected);
  });

  test("changes with each announcement: at once it is unknown, then it is new", async () => {
    await using bundle = await setup();
    const { live, db } = bundle;
    const stop = await live.start();
    await seedTrigger(db, all);
    // the commit has been announced, and nothing is taken for granted until it was looked at
    expect(live.mayHave("app-1", "kv", "c")).toBe(true);
    await until(() => live.idsFor("app-1", "kv", "c")?.length === 1);
    await db.tx(async (tx) => {
      await tx.run(sql`update triggers set is_enabled = 0`);
      await db.notify(tx, triggersChannel, "app-1");
    });
    await until(() => live.idsFor("app-1", "kv", "c")?.length === 0);
    stop();
    const { reads } = bundle.world;
    await bundle.announce();
    expect(bundle.world.reads).toBe(reads);
  });

  test("many announcements at once are a few reads, and the last one counts", async () => {
    await using bundle = await setup();
    const { live, db, world } = bundle;
    await live.start();
    const before = world.reads;
    await Promise.all([
      ...Array.from({ length: 50 }, () => bundle.announce()),
      seedTrigger(db, all),
    ]);
    await until(() => live.idsFor("app-1", "kv", "c")?.length === 1);
    expect(world.reads - before).toBeLessThan(52);
  });

  test("is nothing again when it cannot be read, until the next announcement", async () => {
    await using bundle = await setup();
    const { live, world } = bundle;
    world.isBroken = true;
    await live.start();
    expect(bundle.lines).toEqual(["The triggers could not be read"]);
    expect(live.mayHave("app-1", "kv", "c")).toBe(true);
    world.isBroken = false;
    await bundle.announce();
    await until(() => !live.mayHave("app-1", "kv", "c"));
  });

  test("of too many triggers is whether an app has any", async () => {
    await using bundle = await setup({ ...all, app: 2, collection: "one" });
    await bundle.db.tx((tx) =>
      tx.run(sql`with recursive n (i) as (select 1 union all select i + 1 from n
          where i < ${liveTriggersMax})
        insert into triggers (id, app_id, script_id, kind, is_enabled, collection, on_insert,
          on_update, on_delete, retry, created_at, updated_at)
        select 'many ' || i, 'app-2', 'script-2', 'docs', 1, 'c', 1, 1, 1, '{}', 1, 1 from n`),
    );
    const { live } = bundle;
    await live.start();
    expect(live.idsFor("app-2", "kv", "other")).toBeNull();
    expect(live.mayHave("app-2", "kv", "other")).toBe(true);
    expect(live.mayHave("app-2", "docs", "other")).toBe(true);
    expect(live.mayHave("app-1", "kv", "other")).toBe(false);
  });
});
