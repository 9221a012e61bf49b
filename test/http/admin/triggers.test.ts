/** Triggers over HTTP: each address as anonymous, as the right one, with bad input, for another app. */
import { describe, expect, test } from "bun:test";
import { newId } from "../../../src/base/ids.ts";
import { PicClientError } from "../../../src/client.ts";
import { RETRY_DEFAULT } from "../../../src/domain/events.ts";
import { triggersPerAppMax } from "../../../src/domain/limits.ts";
import { TRIGGER_KINDS } from "../../../src/domain/triggers.ts";
import { ask, serve } from "./server.ts";

const api = "/api/v1/admin";

async function ready() {
  const t = await serve();
  await t.client.apps.create({ slug: "other", name: "Other" });
  const script = await t.client.scripts.create({ name: "greet", source: "" });
  const module = await t.client.scripts.create({ name: "labels", kind: "module", source: "" });
  const foreign = await t.client.scripts.create({ app: "other", name: "greet", source: "" });
  const send = (method: string, path: string, body?: unknown) =>
    ask(`${t.publicUrl}${api}${path}`, method, {
      token: t.token,
      ...(body === undefined ? {} : { body }),
    });
  return {
    ...t,
    ...{ script, module, foreign, send },
    [Symbol.asyncDispose]: t[Symbol.asyncDispose],
  };
}

/** What a kind needs besides its script. */
const needed = { kv: {}, docs: {}, cron: { expression: "0 * * * * *" }, dead_letter: {} };

describe.each([...TRIGGER_KINDS])("apps/{app}/triggers/%s", (kind) => {
  const path = `/apps/default/triggers/${kind}`;

  test("makes, lists, shows, changes and deletes one", async () => {
    await using t = await ready();
    const body = { script_id: t.script.id, ...needed[kind] };
    const made = await t.send("POST", path, body);
    expect(made.status).toBe(201);
    expect(made.json).toMatchObject({
      kind,
      script_id: t.script.id,
      app_id: t.script.app_id,
      enabled: true,
      registered_by: t.account?.id,
      created_at: "2030-01-01T00:00:00.000Z",
    });
    const address = made.headers.get("location") as string;
    expect(address).toBe(`${api}/apps/${t.script.app_id}/triggers/${kind}/${made.json.id}`);
    const one = `${path}/${made.json.id}`;
    expect((await t.send("GET", one)).json).toEqual(made.json);
    expect((await t.send("GET", address.slice(api.length))).json).toEqual(made.json);
    for (const list of [path, "/apps/default/triggers", `/scripts/${t.script.id}/triggers`]) {
      expect((await t.send("GET", list)).json).toEqual({ items: [made.json], next_cursor: null });
    }
    const changed = await t.send("PATCH", one, { enabled: false });
    expect([changed.status, changed.json.enabled, changed.json.kind]).toEqual([200, false, kind]);
    expect((await t.send("DELETE", one)).status).toBe(204);
    for (const method of ["GET", "DELETE"]) expect((await t.send(method, one)).status).toBe(404);
    expect((await t.send("PATCH", one, {})).status).toBe(404);
  });

  test("answers nobody without a session", async () => {
    await using t = await ready();
    const made = await t.send("POST", path, { script_id: t.script.id, ...needed[kind] });
    for (const [method, to] of [
      ["POST", path],
      ["GET", path],
      ["GET", `${path}/${made.json.id}`],
      ["PATCH", `${path}/${made.json.id}`],
      ["DELETE", `${path}/${made.json.id}`],
    ] as const) {
      const answer = await ask(`${t.publicUrl}${api}${to}`, method, {
        ...(method === "POST" || method === "PATCH" ? { body: {} } : {}),
      });
      expect([method, answer.status, answer.json.code]).toEqual([method, 401, "unauthenticated"]);
    }
  });

  test("knows nothing of another app's, nor of another kind's", async () => {
    await using t = await ready();
    const made = await t.send("POST", path, { script_id: t.script.id, ...needed[kind] });
    const others = TRIGGER_KINDS.filter((other) => other !== kind);
    const wrong = [
      `/apps/other/triggers/${kind}/${made.json.id}`,
      ...others.map((other) => `/apps/default/triggers/${other}/${made.json.id}`),
    ];
    for (const to of wrong) {
      expect((await t.send("GET", to)).status).toBe(404);
      expect((await t.send("PATCH", to, { enabled: false })).status).toBe(404);
      expect((await t.send("DELETE", to)).status).toBe(404);
    }
    expect((await t.send("GET", `/apps/other/triggers/${kind}`)).json.items).toEqual([]);
    const nowhere = { script_id: t.script.id, ...needed[kind] };
    expect((await t.send("POST", `/apps/nothing/triggers/${kind}`, nowhere)).status).toBe(404);
  });

  test("names script_id when that is missing, a module, or of another app", async () => {
    await using t = await ready();
    const messages: string[] = [];
    for (const script_id of [newId(), t.foreign.id, t.module.id]) {
      const answer = await t.send("POST", path, { script_id, ...needed[kind] });
      expect([answer.status, answer.json.errors[0].path]).toEqual([422, "script_id"]);
      messages.push(answer.json.errors[0].message);
    }
    expect(messages[0]).toBe(messages[1] as string);
    expect(messages[2]).toContain("module");
    for (const script_id of [undefined, null, 5, "", "x".repeat(65), "a\0b"]) {
      const answer = await t.send("POST", path, { script_id, ...needed[kind] });
      expect([answer.status, answer.json.errors[0].path]).toEqual([422, "script_id"]);
    }
  });

  test("refuses members that it does not know, and enabled that is no boolean", async () => {
    await using t = await ready();
    const body = { script_id: t.script.id, ...needed[kind] };
    const made = await t.send("POST", path, body);
    const one = `${path}/${made.json.id}`;
    const alien = kind === "cron" ? { collection: "a" } : { expression: "0 * * * * *" };
    const bad = { id: "x", app_id: "x", kind, registered_by: null, next_at: null, ...alien };
    for (const [member, value] of Object.entries(bad)) {
      for (const answer of [
        await t.send("POST", path, { ...body, [member]: value }),
        await t.send("PATCH", one, { [member]: value }),
      ]) {
        expect(answer.status).toBe(422);
        expect(answer.json.errors).toContainEqual({ path: member, message: "is not known here" });
      }
    }
    for (const enabled of ["true", 1, null]) {
      const answer = await t.send("PATCH", one, { enabled });
      expect([answer.status, answer.json.errors[0].path]).toEqual([422, "enabled"]);
    }
  });
});

describe("bad settings", () => {
  test.each([
    ["collection", { collection: "a*b" }],
    ["collection", { collection: 5 }],
    ["operations", { operations: [] }],
    ["operations", { operations: "insert" }],
    ["operations[1]", { operations: ["insert", "fire"] }],
    ["retry", { retry: 5 }],
    ["retry", { retry: [] }],
    ["retry.max_attempts", { retry: { max_attempts: 0 } }],
    ["retry.max_attempts", { retry: { max_attempts: "5" } }],
    ["retry.backoff", { retry: { backoff: "random" } }],
    ["retry.jitter", { retry: { jitter: 2 } }],
    ["retry.speed", { retry: { speed: 2 } }],
  ])("of a trigger on data name %s: %j", async (path, bad) => {
    await using t = await ready();
    for (const kind of ["kv", "docs"]) {
      const answer = await t.send("POST", `/apps/default/triggers/${kind}`, {
        script_id: t.script.id,
        ...bad,
      });
      expect([answer.status, answer.json.errors[0].path]).toEqual([422, path]);
    }
  });

  test.each([
    ["expression", { expression: "every morning" }],
    ["expression", { expression: "61 * * * * *" }],
    ["expression", { expression: null }],
    ["timezone", { timezone: "Mars/Olympus" }],
    ["timezone", { timezone: "" }],
    ["overlap", { overlap: "kill" }],
    ["retry.base_ms", { retry: { base_ms: 0 } }],
  ])("of a trigger on times name %s: %j", async (path, bad) => {
    await using t = await ready();
    const body = { script_id: t.script.id, expression: "0 * * * * *", ...bad };
    const answer = await t.send("POST", "/apps/default/triggers/cron", body);
    expect([answer.status, answer.json.errors[0].path]).toEqual([422, path]);
    const { id } = await t.client.triggers.cron.create("default", {
      script_id: t.script.id,
      expression: "0 * * * * *",
    });
    const patched = await t.send("PATCH", `/apps/default/triggers/cron/${id}`, bad);
    expect([patched.status, patched.json.errors[0].path]).toEqual([422, path]);
  });

  test("of an expression show where one is missing", async () => {
    await using t = await ready();
    const body = { script_id: t.script.id };
    const answer = await t.send("POST", "/apps/default/triggers/cron", body);
    expect(answer.json.errors).toEqual([{ path: "expression", message: "is missing" }]);
  });
});

test("kinds that there are not are no address", async () => {
  await using t = await ready();
  for (const kind of ["sql", "route", "KV", "dead-letter", "__proto__"]) {
    const path = `/apps/default/triggers/${kind}`;
    for (const [method, to, body] of [
      ["GET", path, undefined],
      ["POST", path, { script_id: t.script.id }],
      ["GET", `${path}/${newId()}`, undefined],
      ["DELETE", `${path}/${newId()}`, undefined],
    ] as const) {
      expect([method, to, (await t.send(method, to, body)).status]).toEqual([method, to, 404]);
    }
  }
});

test("all kinds of an app, and of a script, come in one list and in pages", async () => {
  await using t = await ready();
  const { client, script } = t;
  const second = await client.scripts.create({ name: "second", source: "" });
  const input = { script_id: script.id };
  const made = [
    await client.triggers.kv.create("default", { ...input, collection: "orders" }),
    await client.triggers.cron.create("default", { ...input, expression: "*/5 * * * *" }),
    await client.triggers.deadLetter.create("default", { script_id: second.id }),
    await client.triggers.docs.create("default", { ...input, retry: { max_attempts: 1 } }),
  ];
  expect(made[1]).toMatchObject({
    next_at: "2030-01-01T00:05:00.000Z",
    last_at: null,
    timezone: "UTC",
    retry: RETRY_DEFAULT,
  });
  const first = await client.triggers.list("default", { limit: 3 });
  const rest = await client.triggers.list("default", { cursor: first.next_cursor });
  expect([...first.items, ...rest.items]).toEqual(made);
  const ofScript = await client.triggers.listOfScript(second.id);
  expect(ofScript.items.map(({ kind }) => kind)).toEqual(["dead_letter"]);
  expect((await t.send("GET", `/scripts/${newId()}/triggers`)).status).toBe(404);
  expect((await t.send("GET", "/apps/nothing/triggers")).status).toBe(404);
  expect((await t.send("GET", "/apps/default/triggers?limit=0")).json.errors[0].path).toBe("limit");
  const answer = await t.send("GET", "/apps/default/triggers/kv?cursor=x");
  expect([answer.status, answer.json.errors[0].path]).toEqual([422, "cursor"]);
});

describe("a preview of times", () => {
  test("shows the next five, also over a change of the clocks", async () => {
    await using t = await ready();
    const { next } = await t.client.triggers.previewCron("default", {
      expression: "0 0 12 * * *",
      timezone: "Europe/Berlin",
    });
    expect(next).toEqual([1, 2, 3, 4, 5].map((day) => `2030-01-0${day}T11:00:00.000Z`));
    const { next: spring } = await t.client.triggers.previewCron("default", {
      expression: "0 0 12 30,31 3 *",
      timezone: "Europe/Berlin",
    });
    expect(spring.slice(0, 2)).toEqual(["2030-03-30T11:00:00.000Z", "2030-03-31T10:00:00.000Z"]);
  });

  test("makes nothing, and names what is bad", async () => {
    await using t = await ready();
    const path = "/apps/default/triggers/cron/preview";
    for (const [field, body] of [
      ["expression", { expression: "x" }],
      ["expression", {}],
      ["timezone", { expression: "0 * * * * *", timezone: "x" }],
      ["script_id", { expression: "0 * * * * *", script_id: t.script.id }],
    ] as const) {
      const answer = await t.send("POST", path, body);
      expect([answer.status, answer.json.errors[0].path]).toEqual([422, field]);
    }
    const good = { expression: "0 * * * * *" };
    expect((await t.send("POST", path, good)).json.next).toHaveLength(5);
    expect((await t.client.triggers.list("default")).items).toEqual([]);
    expect((await t.send("POST", "/apps/nothing/triggers/cron/preview", good)).status).toBe(404);
    const stranger = await ask(`${t.publicUrl}${api}${path}`, "POST", { body: good });
    expect(stranger.status).toBe(401);
  });
});

describe("what has triggers", () => {
  test("says so: a script that shall become a module, an app that shall go", async () => {
    await using t = await ready();
    await t.client.triggers.kv.create("other", { script_id: t.foreign.id });
    const becoming = await t.send("PATCH", `/scripts/${t.foreign.id}`, { kind: "module" });
    expect([becoming.status, becoming.json.code, becoming.json.triggers]).toEqual([
      409,
      "conflict",
      1,
    ]);
    const going = await t.send("DELETE", "/apps/other");
    expect(going.json.would_delete).toEqual({
      scripts: 1,
      routes: 0,
      triggers: 1,
      kv_entries: 0,
      docs: 0,
      dead_letters: 0,
      members: 0,
      api_keys: 0,
      hosts: 0,
    });
  });

  test("an app has so many at most, which the answer names", async () => {
    await using t = await ready();
    const add = () => t.client.triggers.kv.create("default", { script_id: t.script.id });
    for (let made = 0; made < triggersPerAppMax; made += 1) await add();
    const error = await add().catch((thrown) => thrown);
    expect(error).toBeInstanceOf(PicClientError);
    expect([error.status, error.message]).toEqual([
      409,
      `An app has at most ${triggersPerAppMax} triggers`,
    ]);
  });
});
