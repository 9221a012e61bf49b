/** Dead letters over HTTP: each address as anonymous, as the right one, with bad input, for another app. */
import { describe, expect, test } from "bun:test";
import { newId } from "../../../src/base/ids.ts";
import type { DeadLetter } from "../../../src/domain/dead-letters.ts";
import { moveDeadLetter, openDeadLetter } from "../../../src/storage/dead-letters.ts";
import { insertAttempt } from "../../../src/storage/event-attempts.ts";
import { ask, serve } from "./server.ts";

const api = "/api/v1/admin";
const base = "/apps/default/dead-letters";

async function ready() {
  const t = await serve();
  await t.client.apps.create({ slug: "other", name: "Other" });
  const script = await t.client.scripts.create({ name: "greet", source: "" });
  const send = (method: string, path: string, body?: unknown) =>
    ask(`${t.publicUrl}${api}${path}`, method, {
      token: t.token,
      ...(body === undefined ? {} : { body }),
    });
  const letter = async (more: Partial<DeadLetter> = {}): Promise<DeadLetter> => {
    const { state = "open", ...rest } = more;
    const made: DeadLetter = {
      ...{ id: newId(), app_id: script.app_id, script_id: script.id },
      ...{ event_id: newId(), trigger_id: "t1", source: "kv", type: "insert", state: "open" },
      ...{ attempts: 1, error: { status: "error", code: null, message: "no" } },
      ...{ depth: 0, root_execution_id: "root", event_at: 10 },
      ...{ created_at: t.clock.now(), updated_at: t.clock.now(), resolved_by: null, note: null },
      ...{ retry: null, payload: '{"collection":"orders","key":"1","value":1,"previous":null}' },
      ...rest,
    };
    await t.db.tx(async (tx) => {
      await openDeadLetter(tx, made);
      await insertAttempt(tx, {
        ...made,
        ...{ number: 1, execution_id: "e1", status: "error" },
        ...{ error: made.error, started_at: 10, duration_ms: 1.5 },
      });
      if (state === "open") return;
      await moveDeadLetter(tx, made, { from: ["open"], to: state, now: made.updated_at });
    });
    return { ...made, state };
  };
  return { ...t, ...{ script, send, letter }, [Symbol.asyncDispose]: t[Symbol.asyncDispose] };
}

test("nobody without a session gets an answer", async () => {
  await using t = await ready();
  const { id } = await t.letter();
  for (const [method, path] of [
    ["GET", base],
    ["GET", `${base}/counts`],
    ["GET", `${base}/${id}`],
    ["POST", `${base}/${id}/replay`],
    ["POST", `${base}/${id}/resolve`],
    ["POST", `${base}/replay`],
    ["POST", `${base}/resolve`],
    ["POST", `${base}/purge`],
  ] as const) {
    const sent = method === "POST" ? { body: {} } : {};
    const answer = await ask(`${t.publicUrl}${api}${path}`, method, sent);
    expect([path, answer.status, answer.json.code]).toEqual([path, 401, "unauthenticated"]);
  }
});

test("a letter is listed, counted and shown", async () => {
  await using t = await ready();
  const made = await t.letter();
  await t.letter({ source: "route", type: "fire", trigger_id: "", payload: routePayload });
  const { items, next_cursor } = await t.client.deadLetters.list("default", { source: "kv" });
  expect([items.length, next_cursor]).toEqual([1, null]);
  expect(items[0]).toMatchObject({
    id: made.id,
    trigger_id: "t1",
    state: "open",
    attempts: 1,
    error: { status: "error", code: null, message: "no" },
    event_at: "1970-01-01T00:00:00.010Z",
    created_at: "2030-01-01T00:00:00.000Z",
    resolved_by: null,
    note: null,
    event: { id: made.event_id, collection: "orders", key: "1", value: 1, attempt: 1 },
    event_cut: false,
  });
  const routes = await t.client.deadLetters.list("default", { source: "route" });
  expect(routes.items[0]).toMatchObject({
    trigger_id: null,
    event: { request: { method: "POST", headers: { authorization: "[redacted]" } } },
  });
  expect(await t.client.deadLetters.counts("default")).toEqual({
    open: 2,
    handler_failed: 0,
    replaying: 0,
    replayed: 0,
    resolved: 0,
  });
  const whole = await t.client.deadLetters.get("default", made.id);
  expect(whole).toEqual({
    ...(items[0] as typeof whole),
    history: [
      {
        number: 1,
        execution_id: "e1",
        status: "error",
        error: made.error,
        started_at: "1970-01-01T00:00:00.010Z",
        duration_ms: 1.5,
      },
    ],
  });
});

const routePayload = JSON.stringify({
  ...{ method: "POST", host: "pi", path: "/", rest: "", params: {}, query: {}, queries: {} },
  headers: { authorization: "Bearer abcdefgh" },
  body_json: "null",
  body_base64: null,
});

test("another app has no such letter, and an unknown app none at all", async () => {
  await using t = await ready();
  const { id } = await t.letter();
  for (const app of ["other", "nothing"]) {
    const path = `/apps/${app}/dead-letters`;
    expect((await t.send("GET", `${path}/${id}`)).status).toBe(404);
    expect((await t.send("POST", `${path}/${id}/replay`, {})).status).toBe(404);
    expect((await t.send("POST", `${path}/${id}/resolve`, {})).status).toBe(404);
  }
  expect((await t.send("GET", "/apps/other/dead-letters")).json.items).toEqual([]);
  for (const [method, end, body] of [
    ["GET", "", undefined],
    ["GET", "/counts", undefined],
    ["POST", "/replay", { filter: {} }],
    ["POST", "/resolve", { filter: {} }],
    ["POST", "/purge", { before: "2031-01-01T00:00:00Z" }],
  ] as const) {
    const answer = await t.send(method, `/apps/nothing/dead-letters${end}`, body);
    expect([end, answer.status]).toEqual([end, 404]);
  }
  const all = await t.client.deadLetters.resolveAll("other", { filter: {} });
  expect(all).toEqual({ count: 0, more: false });
});

describe("a filter", () => {
  test("takes state, source, script, trigger and a span of time", async () => {
    await using t = await ready();
    const ids: string[] = [];
    for (const state of ["open", "resolved", "open"] as const) {
      ids.push((await t.letter({ state })).id);
      t.clock.pass(60_000);
    }
    const found = async (query: string) =>
      (await t.send("GET", `${base}?${query}`)).json.items.map(({ id }: { id: string }) => id);
    expect(await found("state=resolved")).toEqual([ids[1]]);
    expect(await found(`script_id=${t.script.id}&trigger_id=t1&source=kv`)).toEqual(
      ids.toReversed(),
    );
    expect(await found("since=2030-01-01T00:01:00Z&until=2030-01-01T00:02:00Z")).toEqual([ids[1]]);
    expect(await found("since=2030-01-01T01:02%2B01:00")).toEqual([ids[2]]);
    const first = await t.send("GET", `${base}?limit=2`);
    const rest = await t.send("GET", `${base}?limit=2&cursor=${first.json.next_cursor}`);
    expect(rest.json.items.map(({ id }: { id: string }) => id)).toEqual([ids[0]]);
  });

  test.each([
    ["state", "lost"],
    ["source", "mail"],
    ["since", "yesterday"],
    ["since", "2030-01-01"],
    ["since", "2030-01-01T00:00:00"],
    ["since", "2030-13-01T00:00:00Z"],
    ["until", "1"],
    ["script_id", "x".repeat(65)],
  ])("with a bad %s (%s) is refused, and the field named", async (name, value) => {
    await using t = await ready();
    const listed = await t.send("GET", `${base}?${name}=${encodeURIComponent(value)}`);
    expect([listed.status, listed.json.errors[0].path]).toEqual([422, name]);
    for (const verb of ["replay", "resolve"]) {
      const answer = await t.send("POST", `${base}/${verb}`, { filter: { [name]: value } });
      expect([answer.status, answer.json.errors[0].path]).toEqual([422, `filter.${name}`]);
    }
  });

  test("has to be said for many letters at once", async () => {
    await using t = await ready();
    for (const verb of ["replay", "resolve"]) {
      for (const [field, body] of [
        ["filter", {}],
        ["filter", { filter: null }],
        ["filter", { filter: [] }],
        ["filter.app_id", { filter: { app_id: "x" } }],
        ["note", { filter: {}, note: "x".repeat(4_097) }],
        ["ids", { filter: {}, ids: [] }],
      ] as const) {
        const answer = await t.send("POST", `${base}/${verb}`, body);
        expect([answer.status, answer.json.errors[0].path]).toEqual([422, field]);
      }
    }
  });
});

describe("replaying and resolving", () => {
  test("one answers the letter as it is then, and 409 with its state the second time", async () => {
    await using t = await ready();
    const [first, second] = [await t.letter(), await t.letter()];
    const replayed = await t.client.deadLetters.replay("default", first.id, { note: "again" });
    expect(replayed).toMatchObject({
      state: "replaying",
      note: "again",
      resolved_by: t.account?.id,
    });
    const resolved = await t.client.deadLetters.resolve("default", second.id);
    expect(resolved).toMatchObject({ state: "resolved", note: null });
    for (const [id, state] of [
      [first.id, "replaying"],
      [second.id, "resolved"],
    ]) {
      for (const verb of ["replay", "resolve"]) {
        const answer = await t.send("POST", `${base}/${id}/${verb}`, {});
        expect([answer.status, answer.json.code, answer.json.state]).toEqual([
          409,
          "conflict",
          state,
        ]);
        expect(answer.json.detail).toContain(state);
      }
    }
    for (const [field, body] of [
      ["note", { note: 5 }],
      ["note", { note: "x".repeat(4_097) }],
      ["note", { note: "a\0b" }],
      ["state", { state: "open" }],
    ] as const) {
      const answer = await t.send("POST", `${base}/${second.id}/resolve`, body);
      expect([answer.status, answer.json.errors[0].path]).toEqual([422, field]);
    }
    expect((await t.send("POST", `${base}/${newId()}/replay`, {})).status).toBe(404);
  });

  test("all of a filter answers how many there were", async () => {
    await using t = await ready();
    await t.letter();
    await t.letter({ source: "cron", type: "fire", payload: "{}" });
    await t.letter({ state: "resolved" });
    const { deadLetters } = t.client;
    const cron = await deadLetters.resolveAll("default", { filter: { source: "cron" }, note: "x" });
    expect(cron).toEqual({ count: 1, more: false });
    const rest = await deadLetters.replayAll("default", { filter: {} });
    expect(rest).toEqual({ count: 1, more: false });
    expect(await deadLetters.counts("default")).toMatchObject({ replaying: 1, resolved: 2 });
  });
});

describe("purging", () => {
  test("deletes by age what is over, or those of a state", async () => {
    await using t = await ready();
    await t.letter({ state: "resolved" });
    await t.letter();
    const { deadLetters } = t.client;
    const early = await deadLetters.purge("default", { before: "2030-01-01T00:00:00Z" });
    expect(early).toEqual({ count: 0, more: false });
    const late = await deadLetters.purge("default", { before: "2030-01-02T00:00:00Z" });
    expect(late).toEqual({ count: 1, more: false });
    const open = await deadLetters.purge("default", {
      before: "2030-01-02T00:00:00Z",
      state: "open",
    });
    expect(open).toEqual({ count: 1, more: false });
  });

  test.each([
    ["before", {}],
    ["before", { before: "long ago" }],
    ["before", { before: 5 }],
    ["state", { before: "2030-01-02T00:00:00Z", state: "replaying" }],
    ["note", { before: "2030-01-02T00:00:00Z", note: "x" }],
  ])("names a bad %s: %j", async (field, body) => {
    await using t = await ready();
    const answer = await t.send("POST", `${base}/purge`, body);
    expect([answer.status, answer.json.errors[0].path]).toEqual([422, field]);
  });
});
