import { expect, test } from "bun:test";
import { removedLargeRows, removedSmallRows } from "../../../src/domain/limits.ts";
import { insertApp } from "../../../src/storage/apps.ts";
import type { Database } from "../../../src/storage/port.ts";
import {
  haveManyEvents,
  removeDataOfApp,
  removeEventsOfScript,
} from "../../../src/storage/removal.ts";
import { type Statement, sql } from "../../../src/storage/sql.ts";
import { app, type Engine, opener, script, seed } from "./engine.ts";

const many = removedLargeRows + 1;
const other = "app-2";

/** Rows of each table that belong to an app, or to a script. */
async function countsOf(db: Database, where: Statement<never>): Promise<Record<string, number>> {
  const of = async (table: Statement<never>): Promise<number> => {
    const row = await db.get(sql<{ n: number }>`select count(*) as n from ${table} where ${where}`);
    return row?.n ?? -1;
  };
  return {
    outbox: await of(sql<never>`outbox`),
    letters: await of(sql<never>`dead_letters`),
    async: await of(sql<never>`async_executions`),
  };
}

async function dataOf(db: Database, app_id: string): Promise<number[]> {
  const tables = [
    sql<never>`kv`,
    sql<never>`docs`,
    sql<never>`doc_index_entries`,
    sql<never>`event_attempts`,
    sql<never>`tx_results`,
  ];
  const counts: number[] = [];
  for (const table of tables) {
    const row = await db.get(
      sql<{ n: number }>`select count(*) as n from ${table} where app_id = ${app_id}`,
    );
    counts.push(row?.n ?? -1);
  }
  return counts;
}

async function fill(db: Database, app_id: string, script_id: string, count: number): Promise<void> {
  await db.tx(async (tx) => {
    for (let n = 0; n < count; n += 1) {
      const id = `${script_id}-${n}`;
      await tx.run(sql`insert into outbox (event_id, trigger_id, app_id, script_id, source, type, depth,
          root_execution_id, created_at, due_at, attempt, attempt_base, crashes, fence, payload)
        values (${id}, 't', ${app_id}, ${script_id}, 'kv', 'insert', 0, 'r', 1, 0, 0, 0, 0, 0, '{}')`);
      await tx.run(sql`insert into dead_letters (id, app_id, event_id, trigger_id, script_id, source, type,
          state, attempts, error, depth, root_execution_id, event_at, created_at, updated_at, payload)
        values (${id}, ${app_id}, ${id}, 'u', ${script_id}, 'kv', 'insert', 'open', 1, '{}', 0, 'r', 1, 1,
          1, '{}')`);
      await tx.run(sql`insert into async_executions (id, app_id, script_id, token_hash, status, attempts,
          created_at)
        values (${id}, ${app_id}, ${script_id}, ${"0".repeat(64)}, 'pending', 0, 1)`);
    }
  });
}

async function fillData(db: Database, app_id: string): Promise<void> {
  await db.tx(async (tx) => {
    await tx.run(sql`insert into doc_indexes (app_id, collection, field, state, built_to, multikey,
        created_at)
      values (${app_id}, 'c', 'f', 'ready', '', 0, 1)`);
    for (let n = 0; n <= removedSmallRows; n += 1) {
      const id = String(n);
      await tx.run(sql`insert into doc_index_entries (app_id, collection, field, type, number, text, doc_id)
        values (${app_id}, 'c', 'f', 1, ${n}, '', ${id})`);
      await tx.run(sql`insert into event_attempts (event_id, trigger_id, number, app_id, execution_id,
          status, error, started_at, duration_ms)
        values (${`${app_id} ${id}`}, 't', 1, ${app_id}, 'x', 'error', null, 1, 1)`);
      if (n > many) continue;
      await tx.run(sql`insert into kv (app_id, collection, key, version, updated_at, value)
        values (${app_id}, 'c', ${id}, 1, 1, '1')`);
      await tx.run(sql`insert into docs (app_id, collection, id, version, updated_at, value)
        values (${app_id}, 'c', ${id}, 1, 1, '{}')`);
      await tx.run(sql`insert into tx_results (event_id, trigger_id, ordinal, app_id, result)
        values (${`${app_id} ${id}`}, 't', 1, ${app_id}, '{}')`);
    }
  });
}

export function removalConformance(engine: Engine): void {
  const open = opener(engine);
  const setup = async (): Promise<Database> => {
    const { db } = await open();
    await seed(db, script("s1"), script("s2"));
    await db.tx((tx) => insertApp(tx, { ...app, id: other, slug: "other" }));
    return db;
  };

  test("all of an app goes, in more than one piece, and nothing of another", async () => {
    const db = await setup();
    await fill(db, app.id, "s1", many);
    await fillData(db, app.id);
    await fillData(db, other);
    const before = await dataOf(db, other);
    await removeDataOfApp(db, app.id);
    const ofApp = sql<never>`app_id = ${app.id}`;
    expect(await countsOf(db, ofApp)).toEqual({ outbox: 0, letters: 0, async: 0 });
    expect(await dataOf(db, app.id)).toEqual([0, 0, 0, 0, 0]);
    expect(await dataOf(db, other)).toEqual(before);
    // Should the app stay after all, no find believes an index that has lost its entries.
    const indexes = await db.all(
      sql<{ state: string }>`select state from doc_indexes order by app_id`,
    );
    expect(indexes.map(({ state }) => state).sort()).toEqual(["dropping", "ready"]);
    await removeDataOfApp(db, app.id);
  });

  test("the events of a script go, and those of another stay", async () => {
    const db = await setup();
    await fill(db, app.id, "s1", many);
    await fill(db, app.id, "s2", 3);
    await removeEventsOfScript(db, { app_id: app.id, id: "s1" });
    const of = (id: string) => countsOf(db, sql<never>`script_id = ${id}`);
    expect(await of("s1")).toEqual({ outbox: 0, letters: 0, async: 0 });
    expect(await of("s2")).toEqual({ outbox: 3, letters: 3, async: 3 });
  });

  test("much is what waits for several scripts together", async () => {
    const db = await setup();
    const areMany = (...ids: string[]) => haveManyEvents(db, app.id, ids);
    await fill(db, app.id, "s1", removedLargeRows);
    expect(await areMany("s1", "s2")).toBe(false);
    await fill(db, app.id, "s2", 1);
    expect(await areMany("s1", "s2")).toBe(true);
    expect(await areMany("s2")).toBe(false);
    expect(await haveManyEvents(db, other, ["s2"])).toBe(false);
  });
}
