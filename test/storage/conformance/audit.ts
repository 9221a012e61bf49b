import { expect, test } from "bun:test";
import { type AuditEntry, boundedEntry } from "../../../src/domain/audit.ts";
import { auditDetailBytesMax, auditTextCharsMax } from "../../../src/domain/limits.ts";
import {
  type AuditFilter,
  auditBytes,
  auditEntriesBeyond,
  insertAuditEntry,
  listAuditEntries,
  type OldEntries,
  purgeAuditEntries,
} from "../../../src/storage/audit.ts";
import type { Database } from "../../../src/storage/port.ts";
import { getSetting, setSetting } from "../../../src/storage/settings.ts";
import { sql } from "../../../src/storage/sql.ts";
import { codeOf, type Engine, messageOf, opener } from "./engine.ts";

export function auditConformance(engine: Engine): void {
  const open = opener(engine);

  test("an entry comes back as it was given", async () => {
    const { db } = await open();
    const full = entry("1", { detail: { role_before: "member", count: 3, nested: { a: [1] } } });
    const bare = entry("2", {
      ...{ actor_id: null, actor_name: "", credential: "system", address: "", request_id: "" },
      ...{ target_name: "", app_id: null, detail: {} },
    });
    await add(db, full, bare);
    expect(await all(db)).toEqual([bare, full]);
  });

  test("no entry is changed, and none is deleted before its time", async () => {
    const { db } = await open();
    await add(db, entry("1", { at: 1_000 }), entry("2", { at: 2_000 }));
    const changes = [
      sql`update audit set actor_name = 'eve'`,
      sql`update audit set detail = '{}' where id = '1'`,
      sql`delete from audit`,
      sql`delete from audit where id = '1'`,
      sql`insert into audit select * from audit where true
        on conflict (at, id) do update set actor_name = 'eve'`,
      // SQLite has no such statement.
      ...(engine.name === "PostgreSQL" ? [sql`truncate audit`] : []),
    ];
    for (const change of changes) {
      expect(await messageOf(db.tx((tx) => tx.run(change)))).toContain("append-only");
    }
    await purgeAuditEntries(db, { before: 1_500, limit: 10 });
    await add(db, entry("3", { at: 1_600 }));
    for (const id of ["2", "3"]) {
      const deletion = db.tx((tx) => tx.run(sql`delete from audit where id = ${id}`));
      expect(await messageOf(deletion)).toContain("append-only");
    }
    expect((await all(db)).map(({ id, actor_name }) => [id, actor_name])).toEqual([
      ["2", "ada"],
      ["3", "ada"],
    ]);
  });

  test("a purge deletes the oldest, in chunks, and writes nothing when there are none", async () => {
    const { db } = await open();
    const at = [1, 2, 3, 4, 5, 6];
    await add(db, ...at.map((time) => entry(String(time), { at: time })));
    const purge = (before: number) => purgeAuditEntries(db, { before, limit: 2 });
    expect(await purge(1)).toBe(0);
    expect(await getSetting(db, "audit_purged_before")).toBeNull();
    expect([await purge(6), await ids(db)]).toEqual([2, ["6", "5", "4", "3"]]);
    expect([await purge(6), await purge(6), await purge(6)]).toEqual([2, 1, 0]);
    expect(await ids(db)).toEqual(["6"]);
    // A longer retention from now on: what it covers is safe again.
    await add(db, entry("old", { at: 3 }), entry("older", { at: 1 }));
    expect(await purge(2)).toBe(1);
    const deletion = db.tx((tx) => tx.run(sql`delete from audit where id = 'old'`));
    expect(await messageOf(deletion)).toContain("append-only");
  });

  test("two servers that purge at once delete each entry once", async () => {
    const { db } = await open();
    await add(db, ...Array.from({ length: 40 }, (_, at) => entry(String(at), { at })));
    const purges = Array.from({ length: 8 }, () => purgeAuditEntries(db, { before: 30, limit: 4 }));
    const deleted = (await Promise.all(purges)).reduce((sum, count) => sum + count, 0);
    expect(deleted).toBe(40 - (await all(db)).length);
    while ((await purgeAuditEntries(db, { before: 30, limit: 4 })) > 0);
    expect(await ids(db)).toHaveLength(10);
  });

  test("says how large it is, and which of the oldest do not fit into a size", async () => {
    const { db } = await open();
    expect(await auditBytes(db)).toBe(0);
    expect(await auditEntriesBeyond(db, 0)).toEqual({ entries: 0, newest_at: 0 });
    await add(db, entry("1", { at: 5 }));
    const one = await auditBytes(db);
    expect(one).toBeGreaterThan(100);
    // Bytes, not characters; what is null takes none.
    await add(db, entry("2", { at: 5, target_name: "é😀" }));
    await add(db, entry("3", { at: 6, actor_id: null, app_id: null }));
    const last = one - "a-1app-1".length;
    expect(await auditBytes(db)).toBe(one + (one + 6) + last);
    const beyond = async (bytes: number) => Object.values(await auditEntriesBeyond(db, bytes));
    expect(await beyond(2 * one + 6 + last)).toEqual([0, 0]);
    expect(await beyond(2 * one + 5 + last)).toEqual([1, 5]);
    expect(await beyond(last)).toEqual([2, 5]);
    expect(await beyond(0)).toEqual([3, 6]);
    expect(await beyond(0.5)).toEqual([3, 6]);
  });

  test("a purge is told in the transaction that deletes, or does not happen", async () => {
    const { db } = await open();
    await add(db, ...[1, 2, 3, 4].map((at) => entry(String(at), { at })));
    const told: OldEntries[] = [];
    const purge = (before: number) =>
      purgeAuditEntries(db, {
        before,
        limit: 2,
        tell: async (tx, purged) => {
          told.push(purged);
          await insertAuditEntry(tx, entry(`told-${told.length}`, { at: 9 }));
        },
      });
    expect([await purge(4), await purge(4), await purge(4)]).toEqual([2, 1, 0]);
    expect(told).toEqual([
      { entries: 2, newest_at: 2 },
      { entries: 1, newest_at: 3 },
    ]);
    expect(await ids(db)).toEqual(["told-2", "told-1", "4"]);
    const untold = purgeAuditEntries(db, {
      ...{ before: 5, limit: 2 },
      tell: () => Promise.reject(new Error("full")),
    });
    expect(await messageOf(untold)).toContain("full");
    expect(await ids(db)).toEqual(["told-2", "told-1", "4"]);
  });

  test("servers that purge at once tell of each entry once", async () => {
    const { db } = await open();
    await add(db, ...Array.from({ length: 40 }, (_, at) => entry(String(at), { at })));
    let told = 0;
    const tell = async (_tx: unknown, { entries }: OldEntries) => {
      told += entries;
    };
    const purges = Array.from({ length: 8 }, () =>
      purgeAuditEntries(db, { before: 30, limit: 4, tell }),
    );
    await Promise.all(purges);
    expect(told).toBe(40 - (await all(db)).length);
  });

  test("an unsound word for the time of the last purge lets nobody delete", async () => {
    const { db } = await open();
    await add(db, entry("1", { at: 1_000 }));
    await db.tx((tx) => setSetting(tx, "audit_purged_before", "soon"));
    const deletion = db.tx((tx) => tx.run(sql`delete from audit`));
    expect(await messageOf(deletion)).not.toBe("resolved");
    expect(await ids(db)).toEqual(["1"]);
  });

  test("entries are listed newest first, each once, whatever is added meanwhile", async () => {
    const { db } = await open();
    const given = Array.from({ length: 25 }, (_, number) =>
      entry(`id-${String(number).padStart(2, "0")}`, { at: Math.floor(number / 4) }),
    );
    await add(db, ...given.toReversed());
    const found: string[] = [];
    let cursor: string | null = null;
    do {
      const page: Awaited<ReturnType<typeof listAuditEntries>> = await listAuditEntries(
        db,
        {},
        { limit: 4, cursor },
      );
      found.push(...page.items.map(({ id }) => id));
      cursor = page.next_cursor;
      await add(db, entry(`new-${found.length}`, { at: 1_000 + found.length }));
    } while (cursor !== null);
    expect(found).toEqual(given.map(({ id }) => id).toReversed());
    const bad = (cursor: string) => listAuditEntries(db, {}, { limit: 4, cursor });
    expect(await codeOf(bad("!"))).toBe("invalid");
    expect(await codeOf(bad(Buffer.from('["1","x"]').toString("base64url")))).toBe("invalid");
    expect(await codeOf(listAuditEntries(db, {}, { limit: 0, cursor: null }))).toBe("invalid");
  });

  test("each filter finds its own, alone and together", async () => {
    const { db } = await open();
    await add(
      db,
      entry("1", { at: 10, action: "script.create", target_id: "s-1", target_name: "greet" }),
      entry("2", { at: 20, action: "script.update", actor_id: "a-2", actor_name: "eve" }),
      entry("3", { at: 30, action: "scripts.create", app_id: "app-2" }),
      entry("4", { at: 40, action: "script_key.create", app_id: null, target_id: "greet" }),
      entry("5", { at: 50, action: "Script.create", actor_id: null, actor_name: "" }),
    );
    const cases: [AuditFilter, string[]][] = [
      [{ action: "script.create" }, ["1"]],
      [{ action: "script.*" }, ["2", "1"]],
      [{ action: "scripts.*" }, ["3"]],
      [{ action: "script" }, []],
      [{ action: "%.create" }, []],
      [{ actor_id: "a-2" }, ["2"]],
      [{ actor_name: "ada" }, ["4", "3", "1"]],
      [{ actor_name: "ADA" }, []],
      [{ app_id: "app-2" }, ["3"]],
      [{ target: "s-1" }, ["1"]],
      [{ target: "greet" }, ["4", "1"]],
      [{ since: 20, until: 40 }, ["3", "2"]],
      [{ since: 41 }, ["5"]],
      [{ until: 10 }, []],
      [{ actor_id: "a-1", app_id: "app-1", action: "script.*", since: 10, until: 11 }, ["1"]],
      [{ actor_name: "' or 1=1 --" }, []],
    ];
    for (const [filter, expected] of cases) {
      const page = await listAuditEntries(db, filter, { limit: 9, cursor: null });
      expect([filter, page.items.map(({ id }) => id)]).toEqual([filter, expected]);
    }
  });

  test("what other people called things is stored within its bounds, and never fails", async () => {
    const { db } = await open();
    const texts = [
      ...[
        "",
        "a\0b",
        "\ud800",
        "x\udc00y",
        "'; drop table audit; --",
        "\u202eevil",
        "\n\r\t\u0007",
      ],
      ...["é".normalize("NFD"), "😀".repeat(auditTextCharsMax), "x".repeat(100_000)],
    ];
    for (const [index, text] of texts.entries()) {
      const given = entry(String(index), {
        ...{ at: index, actor_name: text, address: text, request_id: text, target_id: text },
        ...{ target_name: text, detail: { [text]: text, list: Array(50).fill(text), text } },
      });
      await add(db, boundedEntry(given));
    }
    for (const found of await all(db)) {
      const { actor_name, address, request_id, target_id, target_name, detail } = found;
      for (const text of [actor_name, address, request_id, target_id, target_name]) {
        expect(text.length).toBeLessThanOrEqual(auditTextCharsMax + 1);
        expect(text.isWellFormed() && !text.includes("\0")).toBe(true);
      }
      expect(Buffer.byteLength(JSON.stringify(detail))).toBeLessThan(auditDetailBytesMax + 64);
    }
    expect(await all(db)).toHaveLength(texts.length);
  });
}

async function add(db: Database, ...entries: AuditEntry[]): Promise<void> {
  await db.tx(async (tx) => {
    for (const one of entries) await insertAuditEntry(tx, one);
  });
}

async function all(db: Database): Promise<AuditEntry[]> {
  return (await listAuditEntries(db, {}, { limit: 200, cursor: null })).items;
}

async function ids(db: Database): Promise<string[]> {
  return (await all(db)).map(({ id }) => id);
}

function entry(id: string, more: Partial<AuditEntry> = {}): AuditEntry {
  return {
    id,
    at: 1_000,
    actor_id: "a-1",
    actor_name: "ada",
    credential: "session",
    address: "10.0.0.1",
    request_id: "request-1",
    action: "script.create",
    target_kind: "script",
    target_id: "s-9",
    target_name: "",
    app_id: "app-1",
    detail: { version: 1 },
    ...more,
  };
}
