import { describe, expect, test } from "bun:test";
import { newId } from "../../src/base/ids.ts";
import { type Delivery, RETRY_DEFAULT } from "../../src/domain/events.ts";
import {
  cronPreviewCount,
  deliveriesDroppedMax,
  triggersPerAppMax,
} from "../../src/domain/limits.ts";
import type { CronTrigger, Trigger, TriggerKind } from "../../src/domain/triggers.ts";
import type { TriggerInput, TriggerPatch } from "../../src/services/trigger-patches.ts";
import { getDeadLetter, moveDeadLetter, openDeadLetter } from "../../src/storage/dead-letters.ts";
import { insertAttempt, listAttempts } from "../../src/storage/event-attempts.ts";
import { insertDelivery } from "../../src/storage/outbox.ts";
import type { Database } from "../../src/storage/port.ts";
import { sql } from "../../src/storage/sql.ts";
import { fireCron, triggersChannel } from "../../src/storage/triggers.ts";
import { test as postgresTest, setup as setupPostgres } from "../storage/postgres-setup.ts";
import { codeOf, FakeClock, owner, setup, startServices } from "./fakes.ts";

type Services = Awaited<ReturnType<typeof startServices>>;

/** Two apps with an endpoint each, a module, and what was announced. */
async function ready() {
  const t = await setup();
  return { ...t, ...(await fill(t.db, t)), [Symbol.asyncDispose]: t[Symbol.asyncDispose] };
}

async function fill(db: Database, services: Services) {
  const actor = await owner(db);
  const app = await services.apps.get("default");
  const other = await services.apps.create(actor, { slug: "other", name: "Other" });
  const make = async (name: string, more: { app?: string; kind?: "endpoint" | "module" } = {}) =>
    (await services.scripts.create(actor, { name, source: "", ...more })).script;
  const script = await make("greet");
  const second = await make("second");
  const module = await make("labels", { kind: "module" });
  const foreign = await make("greet", { app: "other" });
  const announced: string[] = [];
  await db.listen(triggersChannel, (id) => announced.push(id));
  const create = (kind: TriggerKind, more: Partial<TriggerInput> = {}): Promise<Trigger> =>
    services.triggers.create(actor, { app: "default", kind }, { script_id: script.id, ...more });
  const update = ({ kind, id }: Trigger, patch: TriggerPatch) =>
    services.triggers.update(actor, { app: "default", kind, id }, patch);
  return { actor, app, other, script, second, module, foreign, announced, create, update };
}

/** The field that an update or a creation is refused for, and what is said about it. */
async function fieldOf(work: Promise<unknown>): Promise<[string?, string?]> {
  const error = await work.then(
    () => null,
    (thrown) => thrown,
  );
  const [first] = error?.details?.errors ?? [];
  return [first?.path, first?.message];
}

function delivery(trigger: Trigger, more: Partial<Delivery> = {}): Delivery {
  return {
    event_id: newId(),
    trigger_id: trigger.id,
    app_id: trigger.app_id,
    script_id: trigger.script_id,
    source: "kv",
    type: "insert",
    depth: 0,
    root_execution_id: "x",
    created_at: 1,
    attempt: 0,
    attempt_base: 0,
    crashes: 0,
    fence: 0,
    retry: null,
    due_at: 0,
    dead_letter_id: null,
    payload: "{}",
    ...more,
  };
}

async function countOf(db: Database, table: "outbox" | "event_attempts"): Promise<number> {
  const text = { texts: [`select count(*) as count from ${table}`], values: [] };
  return (await db.get<{ count: number }>(text))?.count ?? 0;
}

describe("making a trigger", () => {
  test("fills in what is not given, and says who made it", async () => {
    await using t = await ready();
    const made = await t.create("kv");
    expect(made).toMatchObject({
      kind: "kv",
      app_id: t.app.id,
      script_id: t.script.id,
      is_enabled: true,
      collection: "*",
      operations: ["insert", "update", "delete"],
      retry: { ...RETRY_DEFAULT },
      registered_by: t.actor.account_id,
      created_at: t.clock.now(),
    });
    expect(await t.triggers.get({ app: "default", kind: "kv", id: made.id })).toEqual(made);
    expect(await t.triggers.get({ app: t.app.id, kind: "kv", id: made.id })).toEqual(made);
    const cron = await t.create("cron", { expression: "0 0 12 * * *" });
    expect(cron).toMatchObject({ timezone: "UTC", overlap: "skip", last_at: null });
    const handler = await t.create("dead_letter", { enabled: false });
    expect(handler).toMatchObject({ kind: "dead_letter", is_enabled: false });
    expect(t.announced).toEqual([t.app.id, t.app.id, t.app.id]);
  });

  test("fills a policy that is given in part, and takes null for the default", async () => {
    await using t = await ready();
    const part = await t.create("docs", { retry: { max_attempts: 2, backoff: "constant" } });
    expect(part).toMatchObject({
      retry: { ...RETRY_DEFAULT, max_attempts: 2, backoff: "constant" },
    });
    expect(await t.create("docs", { retry: null })).toMatchObject({ retry: { ...RETRY_DEFAULT } });
  });

  test("is refused for a script that is missing, elsewhere, or a module, each with its reason", async () => {
    await using t = await ready();
    for (const kind of ["kv", "docs", "dead_letter"] as const) {
      const missing = await fieldOf(t.create(kind, { script_id: newId() }));
      expect(missing).toEqual(["script_id", "there is no such script in this app"]);
      expect(await fieldOf(t.create(kind, { script_id: t.foreign.id }))).toEqual(missing);
      const [path, message] = await fieldOf(t.create(kind, { script_id: t.module.id }));
      expect([path, message]).toEqual([
        "script_id",
        "labels is a module; only an endpoint can be triggered",
      ]);
    }
    expect(t.announced).toEqual([]);
  });

  test.each([
    ["collection", { collection: "" }],
    ["collection", { collection: "a*b" }],
    ["collection", { collection: "**" }],
    ["collection", { collection: "x".repeat(129) }],
    ["collection", { collection: "a\0b" }],
    ["collection", { collection: "\ud800" }],
    ["operations", { operations: [] }],
    ["retry.max_attempts", { retry: { max_attempts: 0 } }],
    ["retry.max_attempts", { retry: { max_attempts: 1.5 } }],
    ["retry.max_attempts", { retry: { max_attempts: 101 } }],
    ["retry.base_ms", { retry: { base_ms: 0 } }],
    ["retry.max_ms", { retry: { base_ms: 10, max_ms: 9 } }],
    ["retry.max_ms", { retry: { max_ms: 25 * 3_600_000 } }],
    ["retry.jitter", { retry: { jitter: 1.1 } }],
    ["retry.jitter", { retry: { jitter: Number.NaN } }],
  ])("is refused for a bad %s: %j", async (path, bad) => {
    await using t = await ready();
    expect((await fieldOf(t.create("kv", bad)))[0]).toBe(path);
    const good = await t.create("kv");
    expect((await fieldOf(t.update(good, bad)))[0]).toBe(path);
  });

  test.each([
    ["expression", {}],
    ["expression", { expression: "" }],
    ["expression", { expression: "nonsense" }],
    ["expression", { expression: "* * * * * * *" }],
    ["expression", { expression: "0 0 0 30 2 *" }],
    ["expression", { expression: `0 ${"0".repeat(300)} * * * *` }],
    ["timezone", { expression: "0 * * * * *", timezone: "Mars/Olympus" }],
    ["timezone", { expression: "0 * * * * *", timezone: "" }],
    ["retry.jitter", { expression: "0 * * * * *", retry: { jitter: -1 } }],
  ])("on times is refused for a bad %s: %j", async (path, bad) => {
    await using t = await ready();
    expect((await fieldOf(t.create("cron", bad)))[0]).toBe(path);
  });

  test("is refused for an app that is not there", async () => {
    await using t = await ready();
    const input = { script_id: t.script.id };
    for (const app of ["nothing", newId()]) {
      const making = t.triggers.create(t.actor, { app, kind: "kv" }, input);
      expect(await codeOf(making)).toBe("not_found");
    }
  });

  test("stops at the bound, which the error names, however many come at once", async () => {
    await using t = await ready();
    const results = await Promise.all(
      Array.from({ length: triggersPerAppMax + 5 }, () => codeOf(t.create("kv"))),
    );
    expect(results.filter((code) => code === "none")).toHaveLength(triggersPerAppMax);
    const error = await t.create("kv").catch((thrown) => thrown);
    expect([error.code, error.message]).toEqual([
      "conflict",
      `An app has at most ${triggersPerAppMax} triggers`,
    ]);
    const elsewhere = { app: "other", kind: "kv" } as const;
    await t.triggers.create(t.actor, elsewhere, { script_id: t.foreign.id });
  });
});

describe("the next tick of a cron trigger", () => {
  const noon = { expression: "0 0 12 * * *" };

  test("is there from the start, and while it is enabled", async () => {
    await using t = await ready();
    const made = (await t.create("cron", noon)) as CronTrigger;
    expect(made.next_at).toBe(Date.parse("2030-01-01T12:00:00Z"));
    expect(await t.update(made, { enabled: false })).toMatchObject({ next_at: null });
    t.clock.pass(24 * 3_600_000);
    const again = await t.update(made, { enabled: true });
    expect(again).toMatchObject({ next_at: Date.parse("2030-01-02T12:00:00Z") });
    expect(await t.create("cron", { ...noon, enabled: false })).toMatchObject({ next_at: null });
  });

  test("is another one with another expression or zone", async () => {
    await using t = await ready();
    const made = await t.create("cron", noon);
    const zone = await t.update(made, { timezone: "Europe/Berlin" });
    expect(zone).toMatchObject({ next_at: Date.parse("2030-01-01T11:00:00Z"), ...noon });
    const sooner = await t.update(made, { expression: "0 30 1 * * *" });
    expect(sooner).toMatchObject({
      next_at: Date.parse("2030-01-01T00:30:00Z"),
      timezone: "Europe/Berlin",
    });
    expect((await fieldOf(t.update(made, { timezone: "Nowhere" })))[0]).toBe("timezone");
  });

  test("is left to the scheduler when something else changes", async () => {
    await using t = await ready();
    const made = (await t.create("cron", noon)) as CronTrigger;
    const move = { expected_next_at: made.next_at as number, next_at: 5, last_at: 4 };
    await t.db.tx((tx) => fireCron(tx, made.id, move));
    const changed = await t.update(made, { overlap: "queue", retry: { max_attempts: 1 } });
    expect(changed).toMatchObject({ next_at: 5, last_at: 4, overlap: "queue" });
  });

  test("and those after it are shown before there is a trigger", async () => {
    await using t = await ready();
    const ticks = await t.triggers.preview("default", { ...noon, timezone: "Asia/Tokyo" });
    expect(ticks).toHaveLength(cronPreviewCount);
    expect(ticks[0]).toBe(Date.parse("2030-01-01T03:00:00Z"));
    expect(await codeOf(t.triggers.preview("nothing", noon))).toBe("not_found");
    const refused = await fieldOf(t.triggers.preview("default", { expression: "x" }));
    expect(refused[0]).toBe("expression");
  });
});

describe("changing a trigger", () => {
  test("keeps what is absent", async () => {
    await using t = await ready();
    const made = await t.create("kv", { collection: "a*", retry: { max_attempts: 9 } });
    t.clock.pass(1_000);
    const changed = await t.update(made, { operations: ["delete", "insert", "delete"] });
    expect(changed).toEqual({
      ...made,
      operations: ["insert", "delete"],
      updated_at: t.clock.now(),
    } as Trigger);
    const retried = await t.update(made, { retry: { jitter: 0 } });
    expect(retried).toMatchObject({ retry: { max_attempts: 9, jitter: 0 }, collection: "a*" });
    expect(await t.update(made, { retry: null })).toMatchObject({ retry: { ...RETRY_DEFAULT } });
  });

  test("to what it is already writes and announces nothing", async () => {
    await using t = await ready();
    const made = await t.create("kv");
    t.clock.pass(1_000);
    expect(await t.update(made, { enabled: true, collection: "*" })).toEqual(made);
    expect(t.announced).toHaveLength(1);
  });

  test("takes it to another script of the app, and to no other", async () => {
    await using t = await ready();
    const made = await t.create("dead_letter");
    expect(await t.update(made, { script_id: t.second.id })).toMatchObject({
      script_id: t.second.id,
    });
    for (const script_id of [newId(), t.foreign.id, t.module.id]) {
      expect((await fieldOf(t.update(made, { script_id })))[0]).toBe("script_id");
    }
  });

  test("finds it under its own app and kind alone", async () => {
    await using t = await ready();
    const { id } = await t.create("kv");
    for (const wrong of [
      { app: "other", kind: "kv", id },
      { app: "default", kind: "docs", id },
      { app: "default", kind: "kv", id: newId() },
    ] as const) {
      expect(await codeOf(t.triggers.get(wrong))).toBe("not_found");
      expect(await codeOf(t.triggers.update(t.actor, wrong, { enabled: false }))).toBe("not_found");
      expect(await codeOf(t.triggers.delete(t.actor, wrong))).toBe("not_found");
    }
    const page = { limit: 10, cursor: null };
    expect((await t.triggers.list("other", null, page)).items).toEqual([]);
    expect((await t.triggers.list("default", "docs", page)).items).toEqual([]);
    expect((await t.triggers.list("default", "kv", page)).items).toHaveLength(1);
    expect((await t.triggers.listOfScript(t.script.id, page)).items).toHaveLength(1);
    expect((await t.triggers.listOfScript(t.foreign.id, page)).items).toEqual([]);
    expect(await codeOf(t.triggers.listOfScript(newId(), page))).toBe("not_found");
  });

  test("disabling it leaves what waits", async () => {
    await using t = await ready();
    const made = await t.create("kv");
    await t.db.tx((tx) => insertDelivery(tx, delivery(made)));
    await t.update(made, { enabled: false });
    expect(await countOf(t.db, "outbox")).toBe(1);
  });
});

describe("deleting a trigger", () => {
  test("drops what waits for it and what its attempts have left, of no other trigger", async () => {
    await using t = await ready();
    const [gone, kept] = [await t.create("kv"), await t.create("kv")];
    for (const one of [gone, kept]) {
      const waiting = delivery(one);
      await t.db.tx(async (tx) => {
        await insertDelivery(tx, waiting);
        await insertAttempt(tx, { ...waiting, ...failedAttempt });
      });
    }
    await t.triggers.delete(t.actor, { app: "default", kind: "kv", id: gone.id });
    expect(await countOf(t.db, "outbox")).toBe(1);
    expect(await countOf(t.db, "event_attempts")).toBe(1);
    expect(t.announced).toHaveLength(3);
    const again = t.triggers.delete(t.actor, { app: "default", kind: "kv", id: gone.id });
    expect(await codeOf(again)).toBe("not_found");
  });

  test("opens a letter again that was being replayed, with its attempts", async () => {
    await using t = await ready();
    const made = await t.create("kv");
    const event = delivery(made);
    const id = newId();
    await t.db.tx(async (tx) => {
      await openDeadLetter(tx, { ...event, ...openLetter, id });
      await insertAttempt(tx, { ...event, ...failedAttempt });
      const change = { from: ["open"], to: "replaying", now: 3 } as const;
      await moveDeadLetter(tx, { app_id: t.app.id, id }, change);
      await insertDelivery(tx, { ...event, dead_letter_id: id });
    });
    await t.triggers.delete(t.actor, { app: "default", kind: "kv", id: made.id });
    expect(await countOf(t.db, "outbox")).toBe(0);
    expect(await getDeadLetter(t.db, t.app.id, id)).toMatchObject({ state: "open" });
    expect(await listAttempts(t.db, t.app.id, event)).toHaveLength(1);
  });

  test("takes several transactions when very much waits, and stops new events before", async () => {
    await using t = await ready();
    const made = await t.create("kv");
    await t.db.tx(async (tx) => {
      for (let index = 0; index < deliveriesDroppedMax * 2 + 1; index += 1) {
        await insertDelivery(tx, delivery(made));
      }
    });
    await t.triggers.delete(t.actor, { app: "default", kind: "kv", id: made.id });
    expect(await countOf(t.db, "outbox")).toBe(0);
    // Made, disabled, deleted.
    expect(t.announced).toHaveLength(3);
    const told = await t.db.all(sql<{ detail: string }>`select detail from audit
      where action = 'trigger.delete' order by at, id`);
    expect(told.map(({ detail }) => JSON.parse(detail).state)).toEqual(["started", undefined]);
  });
});

const failedAttempt = {
  number: 1,
  execution_id: "x",
  status: "error",
  error: null,
  started_at: 1,
  duration_ms: 1,
};

const openLetter = {
  state: "open",
  attempts: 1,
  error: { status: "error", code: null, message: "no" },
  event_at: 1,
  created_at: 2,
  updated_at: 2,
  resolved_by: null,
  note: null,
} as const;

describe("what has triggers", () => {
  test("a script cannot become a module", async () => {
    await using t = await ready();
    const made = await t.create("cron", { expression: "0 * * * * *", enabled: false });
    const becoming = () => t.scripts.update(t.actor, t.script.id, { kind: "module" });
    const error = await becoming().catch((thrown) => thrown);
    expect([error.code, error.message, error.details.extra]).toEqual([
      "conflict",
      "greet cannot become a module while it has triggers; it has 1",
      { triggers: 1 },
    ]);
    await t.triggers.delete(t.actor, { app: "default", kind: "cron", id: made.id });
    await becoming();
  });

  test("a script that is deleted takes them along and announces it", async () => {
    await using t = await ready();
    const made = await t.create("kv");
    await t.db.tx((tx) => insertDelivery(tx, delivery(made)));
    await t.scripts.delete(t.actor, t.second.id);
    expect(t.announced).toHaveLength(1);
    await t.scripts.delete(t.actor, t.script.id);
    expect(t.announced).toEqual([t.app.id, t.app.id]);
    expect(await countOf(t.db, "outbox")).toBe(0);
    const address = { app: "default", kind: "kv", id: made.id } as const;
    expect(await codeOf(t.triggers.get(address))).toBe("not_found");
  });

  test("an app says so before it is deleted, and announces it then", async () => {
    await using t = await ready();
    await t.triggers.create(t.actor, { app: "other", kind: "kv" }, { script_id: t.foreign.id });
    const error = await t.apps.delete(t.actor, "other", { force: false }).catch((thrown) => thrown);
    expect(error.details.extra.would_delete).toMatchObject({ scripts: 1, triggers: 1 });
    await t.apps.delete(t.actor, "other", { force: true });
    expect(t.announced).toEqual([t.other.id, t.other.id]);
  });
});

/** Either there is a trigger, or there is a module. */
async function race(t: Services & Awaited<ReturnType<typeof fill>>, db: Database): Promise<void> {
  for (let round = 0; round < 10; round += 1) {
    const { script } = await t.scripts.create(t.actor, { name: `racer${round}`, source: "" });
    const codes = await Promise.all([
      codeOf(t.create("kv", { script_id: script.id })),
      codeOf(t.scripts.update(t.actor, script.id, { kind: "module" })),
      codeOf(t.create("dead_letter", { script_id: script.id })),
    ]);
    const bad = await db.get(sql`select t.id from triggers as t
      join scripts as s on s.id = t.script_id where s.kind = 'module'`);
    expect([bad, codes.includes("none")]).toEqual([null, true]);
  }
}

describe("a trigger that is made while its script becomes a module", () => {
  test("never comes to point at one, on SQLite", async () => {
    await using t = await ready();
    await race(t, t.db);
  });

  postgresTest("never comes to point at one, on PostgreSQL", async () => {
    const server = await setupPostgres();
    try {
      const { db } = await server.open();
      const services = await startServices(db, new FakeClock());
      await race({ ...services, ...(await fill(db, services)) }, db);
    } finally {
      await server.end();
    }
  });

  postgresTest("and no app gets more than the bound, on PostgreSQL", async () => {
    const server = await setupPostgres();
    try {
      const { db } = await server.open();
      const services = await startServices(db, new FakeClock());
      const { create } = await fill(db, services);
      for (let made = 0; made < triggersPerAppMax - 2; made += 1) await create("kv");
      const codes = await Promise.all(Array.from({ length: 8 }, () => codeOf(create("kv"))));
      expect(codes.filter((code) => code === "none")).toHaveLength(2);
    } finally {
      await server.end();
    }
  });
});
