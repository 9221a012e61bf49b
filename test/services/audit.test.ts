import { describe, expect, test } from "bun:test";
import { newId } from "../../src/base/ids.ts";
import { composeData } from "../../src/compose-data.ts";
import type { Binding } from "../../src/domain/bindings.ts";
import {
  auditDetailBytesMax,
  auditTextCharsMax,
  dataBatchRows,
  dataClearRowsMax,
  dataTransfersMax,
  kvListScanRowsMax,
} from "../../src/domain/limits.ts";
import { Audit } from "../../src/services/audit.ts";
import type { Database } from "../../src/storage/port.ts";
import { setSetting } from "../../src/storage/settings.ts";
import { sql } from "../../src/storage/sql.ts";
import { addTrigger, by, type DataTest, events, onEachEngine, pieces } from "./data-setup.ts";
import { codeOf, FakeClock, owner, setup } from "./fakes.ts";

const page = { limit: 50, cursor: null };
const options = { mode: "merge", collection: "c", dry_run: false, emit: false } as const;

onEachEngine("what takes several transactions, in the trail", (open) => {
  test("a small import is one entry, in the transaction of its records", async () => {
    const t = await open();
    await importOf(t, rows(3));
    expect(await told(t.db)).toEqual([
      {
        action: "kv.import",
        target_id: "c",
        detail: { mode: "merge", emit: false, imported: 3, updated: 0, skipped: 0 },
      },
    ]);
  });

  test("a large import is told at its first batch and with its last", async () => {
    const t = await open();
    await importOf(t, rows(dataBatchRows * 2 + 1));
    const [first, last, ...more] = await told(t.db);
    expect(first?.detail).toEqual({ mode: "merge", emit: false, state: "started" });
    expect(last?.detail).toMatchObject({ imported: dataBatchRows * 2 + 1 });
    expect(more).toEqual([]);
  });

  test("an import that ends with a whole batch is told once more", async () => {
    const t = await open();
    await importOf(t, rows(dataBatchRows));
    expect((await told(t.db)).map(({ detail }) => detail.state ?? detail.imported)).toEqual([
      "started",
      dataBatchRows,
    ]);
  });

  test("an import that stops at a bad line says that, and what it has done", async () => {
    const t = await open();
    const bad = importOf(t, `${rows(2)}not json\n`);
    expect(await codeOf(bad)).toBe("invalid");
    expect((await told(t.db)).map(({ detail }) => detail)).toMatchObject([
      { state: "started" },
      { state: "failed", imported: 2 },
    ]);
  });

  test("an import that changes nothing is not told, be it dry or all there already", async () => {
    const t = await open();
    await importOf(t, rows(3));
    await importOf(t, rows(3));
    await importOf(t, rows(5), { dry_run: true });
    expect(await codeOf(importOf(t, "not json\n"))).toBe("invalid");
    await importOf(t, "");
    expect(await told(t.db)).toHaveLength(1);
  });

  test("clearing is told with its count, in steps as once, and not when there is nothing", async () => {
    const t = await open();
    const clear = () => t.kv.clear(by("r"), "one", { collection: "c", emit: false });
    await importOf(t, rows(3));
    const steps = async () => (await told(t.db)).filter(({ action }) => action === "kv.clear");
    await clear();
    await clear();
    expect((await steps()).map(({ detail }) => detail)).toEqual([{ count: 3, more: false }]);
    await importOf(t, rows(kvListScanRowsMax + 1));
    await clear();
    expect((await steps()).slice(1).map(({ detail }) => detail)).toEqual([
      { state: "started" },
      { count: kvListScanRowsMax + 1, more: false },
    ]);
  });

  test("clearing that leaves some says so", async () => {
    const t = await open();
    await importOf(t, rows(dataClearRowsMax + 2 * kvListScanRowsMax));
    await t.kv.clear(by("r"), "one", { collection: "c", emit: false });
    const last = (await told(t.db)).at(-1);
    expect(last).toMatchObject({ action: "kv.clear", detail: { more: true } });
    expect(last?.detail.count).toBeGreaterThanOrEqual(dataClearRowsMax);
  });

  test("an edit is told with its version, an index with its collection; nothing with a value", async () => {
    const t = await open();
    const place = { collection: "c", key: "k" };
    await t.kv.set(by("r"), "one", { ...place, value: "canary" });
    await t.kv.set(by("r"), "one", { ...place, value: "canary 2" });
    await t.kv.delete(by("r"), "one", { ...place, if_version: 2 });
    expect(await codeOf(t.kv.delete(by("r"), "one", { ...place, if_version: null }))).toBe(
      "not_found",
    );
    const index = { collection: "c", field: "a" };
    await t.docs.createIndex(by("r"), "one", index);
    await t.docs.createIndex(by("r"), "one", index);
    await t.docs.dropIndex(by("r"), "one", index);
    expect(await codeOf(t.docs.dropIndex(by("r"), "one", index))).toBe("not_found");
    expect(await told(t.db)).toEqual([
      { action: "kv.set", target_id: "k", detail: { collection: "c", version: 1 } },
      { action: "kv.set", target_id: "k", detail: { collection: "c", version: 2 } },
      { action: "kv.delete", target_id: "k", detail: { collection: "c", version: 0 } },
      { action: "docs.create_index", target_id: "a", detail: { collection: "c" } },
      { action: "docs.drop_index", target_id: "a", detail: { collection: "c" } },
    ]);
    expect(JSON.stringify(await t.db.all(sql`select * from audit`))).not.toContain("canary");
  });

  test("what cannot be told does not happen, nor does its event", async () => {
    const t = await open();
    await addTrigger(t.db, "kv");
    await importOf(t, rows(3));
    // Its entries all have one id at one time: the second finds no place.
    const audit = new Audit({ db: t.db, clock: new FakeClock(), newId: () => "same" });
    const binding = t.bindings.find(({ name }) => name === "docs") as Binding;
    const around = { db: t.db, clock: t.clock, audit };
    const { kv, docs, transfer } = composeData(around, { ...t, docs: binding });
    await kv.set(by("r"), "one", { collection: "d", key: "k", value: 1 });
    const stored = async () => [
      await t.db.all(sql`select * from kv order by collection, key`),
      await t.db.all(sql`select * from docs`),
      await t.db.all(sql`select * from doc_indexes`),
      await t.db.all(sql`select id from audit order by at, id`),
      await events(t.db),
    ];
    const before = await stored();
    const attempts = [
      () => kv.set(by("r"), "one", { collection: "d", key: "k", value: 2 }),
      () => kv.delete(by("r"), "one", { collection: "d", key: "k", if_version: null }),
      () => kv.clear(by("r"), "one", { collection: "c", emit: true }),
      () => docs.insert(by("r"), "one", { collection: "c", value: {} }),
      () => docs.createIndex(by("r"), "one", { collection: "c", field: "a" }),
      () => transfer.import(by("r"), "one", "kv", { ...options, chunks: pieces(rows(9)) }),
      () => transfer.export(by("r"), "one", "kv", null),
    ];
    for (const attempt of attempts) {
      expect(await codeOf(attempt())).toBe("conflict");
      expect(await stored()).toEqual(before);
    }
    // Whoever was refused an export leaves its place to others.
    for (let tries = 0; tries <= dataTransfersMax; tries += 1) {
      expect(await codeOf(transfer.export(by("r"), "one", "kv", null))).toBe("conflict");
    }
  });

  test("a transaction that is given up and run anew is told once", async () => {
    const t = await open();
    const audit = new Audit({ db: t.db, clock: new FakeClock(), newId });
    const long = audit.long("system", { action: "noun.verb", target: { kind: "noun", id: "1" } });
    const step = (isLast: boolean, fails = false) =>
      long.step(async (tx) => {
        await setSetting(tx, "noun", String(isLast));
        if (fails) throw new Error("given up");
        return { value: 1, isChange: true, whole: isLast ? { count: 2 } : null };
      });
    expect(await codeOf(step(false, true))).toContain("given up");
    expect(await told(t.db)).toEqual([]);
    await step(false);
    await step(false);
    expect(await codeOf(step(true, true))).toContain("given up");
    await step(true);
    await long.end({ count: 9 });
    expect((await told(t.db)).map(({ detail }) => detail)).toEqual([
      { state: "started" },
      { count: 2 },
    ]);
  });
});

describe("the trail", () => {
  test("tells of who was there then, also after they are gone", async () => {
    await using t = await setup();
    const actor = await owner(t.db);
    const app = await t.apps.create(actor, { slug: "gone", name: "Gone" });
    await t.apps.delete(actor, "gone", { force: false });
    await t.db.tx((tx) => tx.run(sql`delete from accounts where id = ${actor.account_id}`));
    const list = (query: object) => t.audit.list(query, page);
    const actions = async (query: object) => (await list(query)).items.map(({ action }) => action);
    for (const query of [{ actor: "ada" }, { actor: actor.account_id }, { app: app.id }]) {
      expect(await actions(query)).toEqual(["app.delete", "app.create"]);
    }
    expect(await actions({ target: "gone", action: "app.create" })).toEqual(["app.create"]);
    expect(await actions({ actor: "ADA" })).toEqual([]);
    expect(await actions({ actor: newId() })).toEqual([]);
    expect(await codeOf(list({ app: "gone" }))).toBe("invalid");
    for (const action of ["app", "app.", ".create", "*.create", "App.create", "app.create ", ""]) {
      expect([action, await codeOf(list({ action }))]).toEqual([action, "invalid"]);
    }
  });

  test("keeps what does not change a thing out", async () => {
    await using t = await setup();
    const actor = await owner(t.db);
    const { script } = await t.scripts.create(actor, { name: "greet", source: "" });
    const trigger = await t.triggers.create(
      actor,
      { app: "default", kind: "kv" },
      { script_id: script.id },
    );
    const before = await told(t.db);
    await t.scripts.update(actor, script.id, { name: "greet", source: "" });
    await t.scripts.rollback(actor, script.id, { version: 1 });
    await t.triggers.update(actor, { app: "default", ...trigger }, { enabled: true });
    await t.deadLetters.resolveAll(actor, "default", { query: {}, note: undefined });
    await t.deadLetters.purge(actor, "default", { before: t.clock.now() });
    expect(await told(t.db)).toEqual(before);
  });

  test("shows what has become of a script by its versions and names, not by its source", async () => {
    await using t = await setup();
    const actor = await owner(t.db);
    const { script } = await t.scripts.create(actor, { name: "greet", source: "// one" });
    const { id } = script;
    await t.scripts.update(actor, id, { source: "// two", name: "welcome" });
    await t.scripts.update(actor, id, { public_execute: true, limits: { cpu_ms: 10 } });
    await t.scripts.rollback(actor, id, { version: 1 });
    await t.scripts.delete(actor, id);
    expect((await told(t.db)).filter(({ target_id }) => target_id === id)).toMatchObject([
      { action: "script.create", detail: { kind: "endpoint", version: 1 } },
      {
        action: "script.update",
        detail: { version: 2, version_before: 1, renamed_from: "greet" },
      },
      {
        action: "script.update",
        detail: { version: 2, changed: ["limits", "public_execute"], public_execute: true },
      },
      { action: "script.rollback", detail: { version: 3, version_before: 2, version_copied: 1 } },
      { action: "script.delete", detail: { version: 3 } },
    ]);
  });

  test("takes names and details of any kind and size", async () => {
    await using t = await setup();
    const huge = "\0\ud800😀".repeat(10_000);
    const detail = {
      ...{ huge, absent: undefined, list: Array(2_000).fill(huge), small: 1 },
      ...{ [huge]: 2, nested: { deep: [huge] } },
    };
    const target = { kind: "noun", id: huge, name: huge };
    await t.db.tx((tx) => t.audit.record(tx, "command", { action: "noun.verb", target, detail }));
    const [entry] = (await t.audit.list({ action: "noun.*" }, page)).items;
    expect(entry).toMatchObject({ credential: "command", actor_id: null, address: "" });
    expect(entry?.target_id).toHaveLength(auditTextCharsMax + 1);
    expect(entry?.detail).toMatchObject({ cut: true, small: 1 });
    expect(Buffer.byteLength(JSON.stringify(entry?.detail))).toBeLessThan(auditDetailBytesMax + 64);
    expect((await t.audit.list({ target: huge }, page)).items).toHaveLength(1);
  });
});

function rows(count: number): string {
  return Array.from({ length: count }, (_, key) => `{"key":"${key}","value":${key}}\n`).join("");
}

function importOf(t: DataTest, text: string, more: { dry_run?: boolean } = {}) {
  return t.transfer.import(by("r"), "one", "kv", { ...options, ...more, chunks: pieces(text) });
}

/** In the order in which they were written: some are of one millisecond, as the clock stands still. */
async function told(db: Database) {
  const entries = await db.all(
    sql<{
      action: string;
      target_id: string;
      app_id: string | null;
      detail: string;
    }>`select action, target_id, app_id, detail from audit order by at, id`,
  );
  return entries.map(({ action, target_id, detail }) => ({
    action,
    target_id,
    detail: JSON.parse(detail) as Record<string, unknown>,
  }));
}
