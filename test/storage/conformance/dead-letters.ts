import { expect, test } from "bun:test";
import type { DeadLetter, EventAttempt } from "../../../src/domain/dead-letters.ts";
import { attemptsShownMax, deadLetterListBytesMax } from "../../../src/domain/limits.ts";
import { insertAccount } from "../../../src/storage/accounts.ts";
import { insertApp } from "../../../src/storage/apps.ts";
import {
  countDeadLetters,
  type DeadLetterFilter,
  deadLetterIds,
  getDeadLetter,
  hasHandlers,
  listDeadLetters,
  moveDeadLetter,
  openDeadLetter,
  purgeDeadLetters,
  tellHandlers,
} from "../../../src/storage/dead-letters.ts";
import {
  deleteAttempts,
  insertAttempt,
  listAttempts,
  purgeLeftovers,
} from "../../../src/storage/event-attempts.ts";
import {
  claimDeliveries,
  deleteDeliveriesOfTrigger,
  getTxResult,
  insertDelivery,
  insertTxResult,
} from "../../../src/storage/outbox.ts";
import type { Database } from "../../../src/storage/port.ts";
import { deleteScript } from "../../../src/storage/scripts.ts";
import { sql } from "../../../src/storage/sql.ts";
import { insertTrigger } from "../../../src/storage/triggers.ts";
import { delivery, policy } from "../../background/dispatching.ts";
import { app, codeOf, type Engine, messageOf, opener, script, seed } from "./engine.ts";

export function deadLetterConformance(engine: Engine): void {
  const open = opener(engine);
  const setup = async () => {
    const { db } = await open();
    await seed(db, script("s1"), script("s2"));
    return db;
  };

  test("a letter comes back as it was opened", async () => {
    const db = await setup();
    const error = { status: "error", code: "x", message: "\0\ud800 boom ü" };
    const full = letter(1, { error, payload: '{"value":"\\u0000"}', depth: 8 });
    const brief = letter(2, { retry: null, trigger_id: "", source: "route", type: "fire" });
    expect(await put(db, full)).toBe(full.id);
    await put(db, brief);
    expect(await getDeadLetter(db, app.id, full.id)).toEqual(full);
    expect(await getDeadLetter(db, app.id, brief.id)).toEqual(brief);
    expect(await getDeadLetter(db, "app-2", full.id)).toBeNull();
    expect(await getDeadLetter(db, app.id, "none")).toBeNull();
    expect(await codeOf(put(db, letter(3, { app_id: "app-9" })))).toBe("conflict");
  });

  test("a delivery has one letter, which is opened again with what it failed of since", async () => {
    const db = await setup();
    const first = letter(1);
    await put(db, first);
    const key = { app_id: app.id, id: first.id };
    await db.tx((tx) =>
      moveDeadLetter(tx, key, { from: ["open"], to: "replaying", now: 20, note: "n" }),
    );
    const error = { status: "timeout", code: null, message: "late" };
    const again = letter(1, { id: "other", attempts: 10, error, created_at: 30, updated_at: 30 });
    expect(await put(db, again)).toBe(first.id);
    const expected = { ...first, attempts: 10, error, updated_at: 30, note: "n" };
    expect(await getDeadLetter(db, app.id, first.id)).toEqual(expected);
  });

  test("a letter goes from one state to the next for one of those who try", async () => {
    const db = await setup();
    await put(db, letter(1));
    await account(db);
    const key = { app_id: app.id, id: letter(1).id };
    const change = { from: ["open", "handler_failed"], to: "resolved", now: 50 } as const;
    const move = (more = {}) => db.tx((tx) => moveDeadLetter(tx, key, { ...change, ...more }));
    expect(await db.tx((tx) => moveDeadLetter(tx, { ...key, app_id: "app-2" }, change))).toBeNull();
    const moves = await Promise.all([
      move({ resolved_by: "acc-1", note: "one" }),
      move({ resolved_by: "acc-1", note: "one" }),
    ]);
    expect(moves.filter((moved) => moved !== null)).toHaveLength(1);
    const resolved = { state: "resolved", updated_at: 50, resolved_by: "acc-1", note: "one" };
    expect(moves.find((moved) => moved !== null)).toEqual({ ...letter(1), ...resolved } as never);
    expect(await move()).toBeNull();
    expect(await getDeadLetter(db, app.id, key.id)).toMatchObject(resolved);
  });

  test("letters are listed newest first, by all that they can be filtered by", async () => {
    const db = await setup();
    await db.tx((tx) => insertApp(tx, { ...app, id: "app-2", slug: "other" }));
    const at = (created_at: number) => ({ created_at, updated_at: created_at });
    await put(db, letter(1, at(10)));
    await put(db, letter(2, { ...at(20), script_id: "s2", trigger_id: "t2" }));
    await put(db, letter(4, { ...at(30), source: "cron", type: "fire" }));
    await put(db, letter(3, at(30)));
    const list = async (filter: Partial<DeadLetterFilter>) =>
      numbers(await listDeadLetters(db, { app_id: app.id, ...filter }, page(10)));
    expect(await list({})).toEqual([4, 3, 2, 1]);
    expect(await list({ source: "cron" })).toEqual([4]);
    expect(await list({ script_id: "s2" })).toEqual([2]);
    expect(await list({ trigger_id: "t2" })).toEqual([2]);
    expect(await list({ state: "resolved" })).toEqual([]);
    expect(await list({ after: 20, before: 30 })).toEqual([2]);
    expect(await list({ app_id: "app-2" })).toEqual([]);
    const first = await listDeadLetters(db, { app_id: app.id }, page(2));
    await put(db, letter(9, at(40)));
    const rest = await listDeadLetters(db, { app_id: app.id }, page(2, first.next_cursor));
    expect([...numbers(first), ...numbers(rest)]).toEqual([4, 3, 2, 1]);
    expect(rest.next_cursor).toBeNull();
    expect(await codeOf(listDeadLetters(db, { app_id: app.id }, page(2, "bad")))).toBe("invalid");
    const ids = { states: ["open"], limit: 2 } as const;
    expect(await deadLetterIds(db, { app_id: app.id, before: 40 }, ids)).toEqual(
      [1, 2].map((number) => letter(number).id),
    );
  });

  test("a page of large letters ends early, and the next goes on where it ended", async () => {
    const db = await setup();
    const payload = JSON.stringify({ value: "é".repeat(deadLetterListBytesMax / 8) });
    for (const number of [1, 2, 3, 4, 5]) {
      await put(db, letter(number, { created_at: number, ...(number > 1 ? { payload } : {}) }));
    }
    const pages: number[][] = [];
    let cursor: string | null = null;
    do {
      const answer = await listDeadLetters(db, { app_id: app.id }, page(200, cursor));
      pages.push(numbers(answer));
      cursor = answer.next_cursor;
    } while (cursor !== null);
    expect(pages).toEqual([
      [5, 4, 3],
      [2, 1],
    ]);
  });

  test("letters are counted by state, for each app", async () => {
    const db = await setup();
    const none = { open: 0, handler_failed: 0, replaying: 0, replayed: 0, resolved: 0 };
    expect(await countDeadLetters(db, app.id)).toEqual(none);
    for (const number of [1, 2, 3]) await put(db, letter(number));
    const change = { from: ["open"], to: "handler_failed", now: 5 } as const;
    await db.tx((tx) => moveDeadLetter(tx, { app_id: app.id, id: letter(1).id }, change));
    expect(await countDeadLetters(db, app.id)).toEqual({ ...none, open: 2, handler_failed: 1 });
    expect(await countDeadLetters(db, "app-2")).toEqual(none);
  });

  test("old letters that are over are purged, with their attempts and results", async () => {
    const db = await setup();
    for (const number of [1, 2, 3, 4]) {
      await put(db, letter(number));
      await db.tx((tx) => insertAttempt(tx, attempt(number, 1)));
      const key = letter(number);
      await db.tx((tx) => insertTxResult(tx, app.id, key, { ordinal: 1, result: "1" }));
    }
    const end = (number: number, now: number) => {
      const key = { app_id: app.id, id: letter(number).id };
      return db.tx((tx) => moveDeadLetter(tx, key, { from: ["open"], to: "resolved", now }));
    };
    await end(1, 100);
    await end(2, 100);
    await end(3, 200);
    const purge = (limit: number) => purgeDeadLetters(db, { before: 200, limit });
    expect([await purge(1), await purge(5), await purge(5)]).toEqual([1, 1, 0]);
    const left = await listDeadLetters(db, { app_id: app.id }, page(10));
    expect(numbers(left)).toEqual([4, 3]);
    expect(await listAttempts(db, app.id, letter(1))).toEqual([]);
    expect(await listAttempts(db, app.id, letter(3))).toHaveLength(1);
    expect(await getTxResult(db, letter(1), 1)).toBeNull();
    expect(await getTxResult(db, letter(4), 1)).toBe("1");
    const others = { app_id: "app-2", before: 1_000, limit: 5 };
    expect(await purgeDeadLetters(db, others)).toBe(0);
    const open = { app_id: app.id, before: 1_000, limit: 5, states: ["open"] } as const;
    expect(await purgeDeadLetters(db, open)).toBe(1);
    expect(numbers(await listDeadLetters(db, { app_id: app.id }, page(10)))).toEqual([3]);
  });

  test("every enabled handler of the app is told of a letter, and nobody else", async () => {
    const db = await setup();
    await db.tx(async (tx) => {
      for (const [id, is_enabled] of [
        ["h1", true],
        ["h2", true],
        ["h3", false],
      ] as const) {
        const base = { id, is_enabled, app_id: app.id, script_id: "s2", registered_by: null };
        await insertTrigger(tx, { ...base, kind: "dead_letter", created_at: 1, updated_at: 1 });
      }
    });
    const told = {
      app_id: app.id,
      event_id: "e9",
      dead_letter_id: "let-1",
      depth: 4,
      root_execution_id: "x1",
      now: 77,
      payload: '{"deadLetter":{}}',
    };
    expect(await hasHandlers(db, app.id)).toBe(true);
    expect(await hasHandlers(db, "app-2")).toBe(false);
    expect(await db.tx((tx) => tellHandlers(tx, { ...told, app_id: "app-2" }))).toBe(0);
    expect(await db.tx((tx) => tellHandlers(tx, told))).toBe(2);
    const claim = { app_id: app.id, owner: "o1", now: Date.now(), limit: 8 };
    const claimed = await db.tx((tx) => claimDeliveries(tx, db.outbox, claim));
    const { now: created_at, ...rest } = told;
    const expected = delivery({
      ...{ ...rest, created_at, script_id: "s2", source: "dead_letter", type: "fire" },
      ...{ fence: db.outbox.claimsInMemory ? 0 : 1, retry: null },
    });
    const { due_at } = db.outbox.claimsInMemory ? expected : { due_at: expect.any(Number) };
    expect(claimed).toEqual(
      ["h1", "h2"].map((trigger_id) => ({ ...expected, due_at, trigger_id })),
    );
  });

  test("attempts of a delivery are listed in order, the newest of very many", async () => {
    const db = await setup();
    const one = attempt(1, 1, { error: { status: "error", code: null, message: "\0\ud800" } });
    await db.tx((tx) => insertAttempt(tx, one));
    expect(await codeOf(db.tx((tx) => insertAttempt(tx, one)))).toBe("conflict");
    expect(await listAttempts(db, app.id, one)).toEqual([one]);
    expect(await listAttempts(db, "app-2", one)).toEqual([]);
    await db.tx(async (tx) => {
      for (let number = 2; number <= attemptsShownMax + 3; number += 1) {
        await insertAttempt(tx, attempt(1, number));
      }
    });
    const shown = await listAttempts(db, app.id, one);
    expect(shown.map(({ number }) => number).at(0)).toBe(4);
    expect(shown).toHaveLength(attemptsShownMax);
    const change = db.tx((tx) => tx.run(sql`update event_attempts set status = 'x'`));
    expect(await messageOf(change)).toContain("append-only");
    await db.tx((tx) => deleteAttempts(tx, one));
    expect(await listAttempts(db, app.id, one)).toEqual([]);
  });

  test("what a deleted script has left behind is purged; what waits or is a letter stays", async () => {
    const db = await setup();
    await put(db, letter(1));
    await put(db, letter(2, { script_id: "s2" }));
    const waiting = delivery({ script_id: "s1" });
    await db.tx(async (tx) => {
      await insertDelivery(tx, waiting);
      for (const key of [letter(1), letter(2), waiting]) {
        await insertAttempt(tx, { ...attempt(1, 1), ...keyOf(key) });
        await insertTxResult(tx, app.id, key, { ordinal: 1, result: "1" });
      }
    });
    expect(await purgeLeftovers(db, 5)).toBe(0);
    await db.tx((tx) => deleteScript(tx, "s2"));
    expect(await purgeLeftovers(db, 5)).toBe(2);
    expect(await purgeLeftovers(db, 5)).toBe(0);
    expect(await listAttempts(db, app.id, letter(1))).toHaveLength(1);
    expect(await listAttempts(db, app.id, letter(2))).toEqual([]);
    expect(await listAttempts(db, app.id, waiting)).toHaveLength(1);
  });

  test("a letter that is being replayed is open again when its trigger goes", async () => {
    const db = await setup();
    const one = letter(1);
    await put(db, one);
    const change = { from: ["open"], to: "replaying", now: 20 } as const;
    await db.tx(async (tx) => {
      await moveDeadLetter(tx, { app_id: app.id, id: one.id }, change);
      await insertDelivery(
        tx,
        delivery({ ...keyOf(one), script_id: "s1", dead_letter_id: one.id }),
      );
      await insertAttempt(tx, attempt(1, 1));
      await deleteDeliveriesOfTrigger(tx, app.id, one.trigger_id);
    });
    expect((await getDeadLetter(db, app.id, one.id))?.state).toBe("open");
    expect(await listAttempts(db, app.id, one)).toHaveLength(1);
  });
}

function put(db: Database, one: DeadLetter): Promise<string> {
  return db.tx((tx) => openDeadLetter(tx, one));
}

function numbers({ items }: { items: readonly DeadLetter[] }): number[] {
  return items.map(({ id }) => Number(id.split("-")[1]));
}

function page(limit: number, cursor: string | null = null) {
  return { limit, cursor };
}

function keyOf({ event_id, trigger_id }: { event_id: string; trigger_id: string }) {
  return { event_id, trigger_id };
}

function letter(number: number, more: Partial<DeadLetter> = {}): DeadLetter {
  return {
    id: `let-${number}`,
    app_id: app.id,
    event_id: `eve-${number}`,
    trigger_id: "t1",
    script_id: "s1",
    source: "kv",
    type: "insert",
    state: "open",
    attempts: 5,
    error: { status: "error", code: null, message: "boom" },
    depth: 0,
    root_execution_id: "x1",
    event_at: 5,
    created_at: 10,
    updated_at: 10,
    resolved_by: null,
    note: null,
    retry: policy,
    payload: "{}",
    ...more,
  };
}

function attempt(event: number, number: number, more: Partial<EventAttempt> = {}): EventAttempt {
  return {
    event_id: `eve-${event}`,
    trigger_id: "t1",
    number,
    app_id: app.id,
    execution_id: `x${number}`,
    status: "error",
    error: null,
    started_at: 5,
    duration_ms: 1.25,
    ...more,
  };
}

async function account(db: Database): Promise<void> {
  await db.tx((tx) =>
    insertAccount(tx, {
      id: "acc-1",
      username: "ada",
      password_hash: "x",
      role: "owner",
      is_active: true,
      created_at: 1,
      nomination: null,
    }),
  );
}
