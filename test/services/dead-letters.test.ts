import { describe, expect, test } from "bun:test";
import { newId } from "../../src/base/ids.ts";
import type { DeadLetter } from "../../src/domain/dead-letters.ts";
import { RETRY_DEFAULT } from "../../src/domain/events.ts";
import { deadLetterChunkRows, deadLetterMemberCharsMax } from "../../src/domain/limits.ts";
import { moveDeadLetter, openDeadLetter } from "../../src/storage/dead-letters.ts";
import { insertAttempt } from "../../src/storage/event-attempts.ts";
import { insertTxResult, outboxChannel } from "../../src/storage/outbox.ts";
import { sql } from "../../src/storage/sql.ts";
import { codeOf, owner, setup } from "./fakes.ts";

const page = { limit: 50, cursor: null };

async function ready() {
  const t = await setup();
  const actor = await owner(t.db);
  const app = await t.apps.get("default");
  const other = await t.apps.create(actor, { slug: "other", name: "Other" });
  const make = async (name: string, more: { app?: string } = {}) =>
    (await t.scripts.create(actor, { name, source: "", ...more })).script;
  const script = await make("greet");
  const second = await make("second");
  const announced: string[] = [];
  await t.db.listen(outboxChannel, (id) => announced.push(id));
  const letter = async (more: Partial<DeadLetter> = {}): Promise<DeadLetter> => {
    const { state = "open", ...rest } = more;
    const made: DeadLetter = {
      id: newId(),
      app_id: app.id,
      event_id: newId(),
      trigger_id: "t1",
      script_id: script.id,
      source: "kv",
      type: "insert",
      state: "open",
      attempts: 5,
      error: { status: "error", code: null, message: "no" },
      depth: 1,
      root_execution_id: "root",
      event_at: 10,
      created_at: t.clock.now(),
      updated_at: t.clock.now(),
      resolved_by: null,
      note: null,
      retry: { ...RETRY_DEFAULT },
      payload: '{"collection":"orders","key":"1","value":{"a":1},"previous":null}',
      ...rest,
    };
    await t.db.tx(async (tx) => {
      await openDeadLetter(tx, made);
      if (state === "open") return;
      await moveDeadLetter(tx, made, { from: ["open"], to: state, now: made.updated_at });
    });
    return { ...made, state };
  };
  const states = async (): Promise<Record<string, number>> => {
    const counts = await t.deadLetters.counts("default");
    return Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
  };
  const waiting = () =>
    t.db.all(sql`select event_id, trigger_id, script_id, attempt, attempt_base, crashes, due_at,
      lease_owner, dead_letter_id, depth, root_execution_id, created_at, retry, payload from outbox
      order by event_id`);
  return {
    ...t,
    ...{ actor, app, other, script, second, announced, letter, states, waiting },
    [Symbol.asyncDispose]: t[Symbol.asyncDispose],
  };
}

describe("dead letters", () => {
  test("are listed newest first, in pages, by what is asked for", async () => {
    await using t = await ready();
    const start = t.clock.now();
    const ids: string[] = [];
    for (let index = 0; index < 6; index += 1) {
      const script_id = index < 2 ? t.second.id : t.script.id;
      const more = index === 5 ? { source: "cron", trigger_id: "t9" } : {};
      ids.unshift((await t.letter({ script_id, ...more } as Partial<DeadLetter>)).id);
      t.clock.pass(1_000);
    }
    const idsOf = async (query: object) =>
      (await t.deadLetters.list("default", query, page)).items.map(({ letter }) => letter.id);
    const first = await t.deadLetters.list("default", {}, { limit: 4, cursor: null });
    const rest = await t.deadLetters.list("default", {}, { limit: 4, cursor: first.next_cursor });
    expect([...first.items, ...rest.items].map(({ letter }) => letter.id)).toEqual(ids);
    expect(rest.next_cursor).toBeNull();
    expect(await idsOf({ script_id: t.second.id })).toEqual(ids.slice(4));
    expect(await idsOf({ source: "cron" })).toEqual(ids.slice(0, 1));
    expect(await idsOf({ trigger_id: "t1", script_id: t.script.id })).toEqual(ids.slice(1, 4));
    expect(await idsOf({ state: "resolved" })).toEqual([]);
    expect(await idsOf({ since: start + 2_000, until: start + 4_000 })).toEqual(ids.slice(2, 4));
    expect((await t.deadLetters.list("other", {}, page)).items).toEqual([]);
    expect(await codeOf(t.deadLetters.list("nothing", {}, page))).toBe("not_found");
    const bad = t.deadLetters.list("default", {}, { limit: 5, cursor: "x" });
    expect(await codeOf(bad)).toBe("invalid");
  });

  test("are shown whole, with the event as the handler saw it and every attempt", async () => {
    await using t = await ready();
    const value = "x".repeat(deadLetterMemberCharsMax);
    const payload = JSON.stringify({ collection: "orders", key: "1", value, previous: null });
    const letter = await t.letter({ payload });
    await t.db.tx(async (tx) => {
      for (const number of [2, 1, 3]) {
        const error = { status: "timeout", code: "timeout", message: `no ${number}` };
        await insertAttempt(tx, {
          ...letter,
          ...{ number, execution_id: `e${number}`, status: "timeout", error },
          ...{ started_at: 1, duration_ms: 2.5 },
        });
      }
    });
    const { event, is_cut, history } = await t.deadLetters.get("default", letter.id);
    expect(event).toEqual({
      id: letter.event_id,
      source: "kv",
      type: "insert",
      at: "1970-01-01T00:00:00.010Z",
      depth: 1,
      rootExecutionId: "root",
      attempt: 5,
      collection: "orders",
      key: "1",
      value,
      previous: null,
    });
    expect(is_cut).toBe(false);
    expect(history.map(({ number, execution_id }) => [number, execution_id])).toEqual([
      [1, "e1"],
      [2, "e2"],
      [3, "e3"],
    ]);
    const [listed] = (await t.deadLetters.list("default", {}, page)).items;
    expect(listed?.is_cut).toBe(true);
    expect(listed?.event).toMatchObject({ collection: "orders", key: "1", previous: null });
    expect(listed?.event).not.toHaveProperty("value");
    expect(await codeOf(t.deadLetters.get("other", letter.id))).toBe("not_found");
    expect(await codeOf(t.deadLetters.get("default", newId()))).toBe("not_found");
  });

  test("of an asynchronous route show the request without credentials", async () => {
    await using t = await ready();
    const secret = "s3cret-of-the-caller";
    // A credential may look like a piece of the body's JSON.
    const body = { said: `I am ${secret}`, a: "x", b: "12345678" };
    const request = {
      method: "POST",
      host: "pi",
      path: "/orders",
      headers: { authorization: `Bearer ${secret}`, cookie: 'a=","b":"12345678"', accept: "*/*" },
      query: { token: secret, page: "1" },
      queries: { token: [secret, secret], page: ["1"] },
      params: { id: "7" },
      rest: "",
      body_json: JSON.stringify(body),
      body_base64: null,
      request_id: "r1",
    };
    const letter = await t.letter({
      source: "route",
      type: "fire",
      trigger_id: "",
      payload: JSON.stringify(request),
    });
    const { event } = await t.deadLetters.get("default", letter.id);
    expect(event).toMatchObject({
      source: "route",
      request: {
        method: "POST",
        path: "/orders",
        headers: { authorization: "[redacted]", cookie: "[redacted]", accept: "*/*" },
        query: { token: "[redacted]", page: "1" },
        queries: { token: ["[redacted]", "[redacted]"], page: ["1"] },
        params: { id: "7" },
        body: { said: "I am [redacted]", a: "x", b: "12345678" },
        bodyBase64: null,
      },
    });
    expect(JSON.stringify(event)).not.toContain(secret);
    const listed = await t.deadLetters.list("default", {}, page);
    expect(JSON.stringify(listed.items[0]?.event)).not.toContain(secret);
  });

  test("of another app are found by nobody, whatever is done", async () => {
    await using t = await ready();
    const { id } = await t.letter();
    const address = { app: "other", id };
    expect(await codeOf(t.deadLetters.replay(t.actor, address))).toBe("not_found");
    expect(await codeOf(t.deadLetters.resolve(t.actor, address))).toBe("not_found");
    const all = { query: {}, note: undefined };
    expect(await t.deadLetters.replayAll(t.actor, "other", all)).toEqual({ count: 0, more: false });
    t.clock.pass(1);
    const purge = { before: t.clock.now(), state: "open" } as const;
    expect(await t.deadLetters.purge(t.actor, "other", purge)).toEqual({ count: 0, more: false });
    expect(await t.states()).toEqual({ open: 1 });
    expect(await t.deadLetters.counts("other")).toMatchObject({ open: 0 });
  });
});

describe("replaying a letter", () => {
  test("puts its delivery back as it was, with its count of attempts", async () => {
    await using t = await ready();
    const letter = await t.letter();
    t.clock.pass(1_000);
    const { letter: moved } = await t.deadLetters.replay(
      t.actor,
      { app: "default", id: letter.id },
      "once more",
    );
    expect(moved).toEqual({
      ...letter,
      state: "replaying",
      updated_at: t.clock.now(),
      resolved_by: t.actor.account_id,
      note: "once more",
    });
    expect(await t.waiting()).toEqual([
      {
        event_id: letter.event_id,
        trigger_id: "t1",
        script_id: t.script.id,
        attempt: 5,
        attempt_base: 5,
        crashes: 0,
        due_at: 0,
        lease_owner: null,
        dead_letter_id: letter.id,
        depth: 1,
        root_execution_id: "root",
        created_at: 10,
        retry: JSON.stringify(RETRY_DEFAULT),
        payload: letter.payload,
      },
    ]);
    expect(t.announced).toEqual([t.app.id]);
  });

  test("works once, however often somebody clicks", async () => {
    await using t = await ready();
    const { id } = await t.letter();
    const address = { app: "default", id };
    const codes = await Promise.all(
      Array.from({ length: 5 }, () => codeOf(t.deadLetters.replay(t.actor, address))),
    );
    expect(codes.sort()).toEqual(["conflict", "conflict", "conflict", "conflict", "none"]);
    expect(await t.waiting()).toHaveLength(1);
    const error = await t.deadLetters.resolve(t.actor, address).catch((thrown) => thrown);
    expect([error.code, error.details.extra]).toEqual(["conflict", { state: "replaying" }]);
    expect(error.message).toContain("replaying");
  });

  test.each(["replaying", "replayed", "resolved"] as const)(
    "is refused for one that is %s",
    async (state) => {
      await using t = await ready();
      const { id } = await t.letter({ state });
      const address = { app: "default", id };
      for (const work of [
        t.deadLetters.replay(t.actor, address),
        t.deadLetters.resolve(t.actor, address),
      ]) {
        const error = await work.catch((thrown) => thrown);
        expect([error.code, error.details.extra]).toEqual(["conflict", { state }]);
      }
      expect(await t.waiting()).toEqual([]);
    },
  );

  test("works for one whose handler failed", async () => {
    await using t = await ready();
    const { id } = await t.letter({ state: "handler_failed" });
    await t.deadLetters.replay(t.actor, { app: "default", id });
    expect(await t.states()).toEqual({ replaying: 1 });
  });
});

describe("resolving a letter", () => {
  test("says who did and why, and keeps an earlier note when none is given", async () => {
    await using t = await ready();
    const [first, second] = [await t.letter(), await t.letter({ note: "known" })];
    t.clock.pass(5);
    const address = (id: string) => ({ app: "default", id });
    const done = await t.deadLetters.resolve(t.actor, address(first.id), "paid by hand");
    expect(done.letter).toMatchObject({
      state: "resolved",
      resolved_by: t.actor.account_id,
      note: "paid by hand",
      updated_at: t.clock.now(),
    });
    const other = await t.deadLetters.resolve(t.actor, address(second.id));
    expect(other.letter).toMatchObject({ state: "resolved", note: "known" });
    expect(await t.waiting()).toEqual([]);
    expect(t.announced).toEqual([]);
  });
});

describe("all letters of a filter", () => {
  test("are replayed, in several transactions, and none that is not in it", async () => {
    await using t = await ready();
    for (let index = 0; index < deadLetterChunkRows + 5; index += 1) await t.letter();
    await t.letter({ state: "handler_failed" });
    await t.letter({ state: "resolved" });
    await t.letter({ script_id: t.second.id });
    const query = { script_id: t.script.id };
    const done = await t.deadLetters.replayAll(t.actor, "default", { query, note: "again" });
    expect(done).toEqual({ count: deadLetterChunkRows + 6, more: false });
    expect(await t.states()).toEqual({
      open: 1,
      resolved: 1,
      replaying: deadLetterChunkRows + 6,
    });
    expect(await t.waiting()).toHaveLength(deadLetterChunkRows + 6);
    const again = await t.deadLetters.replayAll(t.actor, "default", { query, note: undefined });
    expect(again).toEqual({ count: 0, more: false });
  });

  test("are resolved with a note", async () => {
    await using t = await ready();
    await t.letter();
    const { id } = await t.letter({ source: "docs" });
    const done = await t.deadLetters.resolveAll(t.actor, "default", {
      query: { source: "docs" },
      note: "test data",
    });
    expect(done).toEqual({ count: 1, more: false });
    expect((await t.deadLetters.get("default", id)).letter).toMatchObject({
      state: "resolved",
      note: "test data",
      resolved_by: t.actor.account_id,
    });
    expect(await t.states()).toEqual({ open: 1, resolved: 1 });
  });
});

describe("purging", () => {
  test("deletes what is over and old, with its attempts and results", async () => {
    await using t = await ready();
    for (const state of ["open", "replaying", "handler_failed", "replayed", "resolved"] as const) {
      const letter = await t.letter({ state });
      await t.db.tx(async (tx) => {
        await insertAttempt(tx, {
          ...letter,
          ...{ number: 1, execution_id: "e", status: "error", error: null },
          ...{ started_at: 1, duration_ms: 1 },
        });
        await insertTxResult(tx, t.app.id, letter, { ordinal: 1, result: "1" });
      });
    }
    const before = t.clock.now();
    expect(await t.deadLetters.purge(t.actor, "default", { before })).toEqual({
      count: 0,
      more: false,
    });
    t.clock.pass(1_000);
    await t.letter({ state: "resolved" });
    const done = await t.deadLetters.purge(t.actor, "default", { before: before + 1 });
    expect(done).toEqual({ count: 2, more: false });
    expect(await t.states()).toEqual({ open: 1, handler_failed: 1, replaying: 1, resolved: 1 });
    for (const table of ["event_attempts", "tx_results"]) {
      const text = { texts: [`select count(*) as count from ${table}`], values: [] };
      expect(await t.db.get(text)).toEqual({ count: 3 });
    }
  });

  test("of a state deletes those of that state alone, in several transactions", async () => {
    await using t = await ready();
    for (let index = 0; index < deadLetterChunkRows * 2; index += 1) await t.letter();
    await t.letter({ state: "resolved" });
    t.clock.pass(1);
    const before = t.clock.now();
    const done = await t.deadLetters.purge(t.actor, "default", { before, state: "open" });
    expect(done).toEqual({ count: deadLetterChunkRows * 2, more: false });
    expect(await t.states()).toEqual({ resolved: 1 });
    expect(await codeOf(t.deadLetters.purge(t.actor, "nothing", { before }))).toBe("not_found");
  });
});

test("letters go with their script", async () => {
  await using t = await ready();
  await t.letter();
  await t.letter({ script_id: t.second.id });
  await t.scripts.delete(t.actor, t.script.id);
  expect(await t.states()).toEqual({ open: 1 });
});
