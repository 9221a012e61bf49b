import { expect, test } from "bun:test";
import type { ApiKey } from "../../../src/domain/api-keys.ts";
import { insertAccount } from "../../../src/storage/accounts.ts";
import {
  type ApiKeyFilter,
  countApiKeysOfAccount,
  deleteApiKey,
  deleteApiKeysExpiredBefore,
  deleteApiKeysOfAccount,
  getApiKey,
  insertApiKey,
  isPrefixTaken,
  listApiKeys,
  touchApiKey,
} from "../../../src/storage/api-keys.ts";
import { insertApp } from "../../../src/storage/apps.ts";
import type { Database } from "../../../src/storage/port.ts";
import { sql } from "../../../src/storage/sql.ts";
import { app, codeOf, type Engine, messageOf, opener } from "./engine.ts";

export function apiKeyConformance(engine: Engine): void {
  const open = opener(engine);

  test("a key comes back as it was written, with whose it is and the slug of its app", async () => {
    const { db } = await open();
    await seedKeys(db);
    const bound = key(1, {
      app_id: app.id,
      name: "Schlüssel 🔑",
      scopes: ["log:read", "script:read"],
      expires_at: 9_007_199_254_740_991,
    });
    await add(db, bound, key(2, { account_id: "a2" }));
    const { secret_hash: _, ...shown } = bound;
    const ofAda = { username: "user-a1", account_role: "owner", app: "default" } as const;
    expect(await getApiKey(db, "k1")).toEqual({ ...shown, ...ofAda });
    expect(await getApiKey(db, "k2")).toMatchObject({ app: null, account_role: "member" });
    expect(await getApiKey(db, "k9")).toBeNull();
    expect(await isPrefixTaken(db, bound.prefix)).toBe(true);
    expect(await isPrefixTaken(db, "zzzzzzzz")).toBe(false);
  });

  test("nothing that reads a key reads its hash", async () => {
    const { db } = await open();
    await seedKeys(db);
    await add(db, key(1));
    const read = [await getApiKey(db, "k1"), await list(db, {}, 10)];
    expect(JSON.stringify(read)).not.toContain(key(1).secret_hash);
  });

  test("a prefix is there once; a key needs an account, and an app when it names one", async () => {
    const { db } = await open();
    await seedKeys(db);
    await add(db, key(1));
    for (const bad of [
      { ...key(2), prefix: key(1).prefix },
      key(2, { account_id: "a9" }),
      key(2, { app_id: "app-9" }),
    ]) {
      expect(await codeOf(add(db, bad))).toBe("conflict");
    }
  });

  test.each<Partial<ReturnType<typeof key>>>([
    { secret_hash: "" },
    { secret_hash: "G".repeat(64) },
    { secret_hash: "A".repeat(64) },
    { prefix: "short" },
    { name: "" },
    { name: "x".repeat(129) },
    { scopes: { not: "a list" } as never },
  ])("the schema refuses %j", async (bad) => {
    const { db } = await open();
    await seedKeys(db);
    expect(await messageOf(add(db, { ...key(1), ...bad }))).toContain("onstraint");
  });

  test("keys are listed newest first, in pages, of an account, of an app, or of both", async () => {
    const { db } = await open();
    await seedKeys(db);
    // Some of one millisecond: the id decides.
    await add(db, ...[3, 1, 2].map((number) => key(number, { created_at: 10 })));
    await add(db, key(4, { created_at: 20, account_id: "a2", app_id: app.id }));
    await add(db, key(5, { created_at: 5, app_id: app.id }));
    for (const limit of [1, 2, 3, 200]) {
      expect(await list(db, {}, limit)).toEqual(["k4", "k3", "k2", "k1", "k5"]);
      expect(await list(db, { account_id: "a1" }, limit)).toEqual(["k3", "k2", "k1", "k5"]);
      expect(await list(db, { app_id: app.id }, limit)).toEqual(["k4", "k5"]);
    }
    expect(await list(db, { app_id: app.id, account_id: "a1" }, 1)).toEqual(["k5"]);
    expect(await list(db, { account_id: "' or 1=1 --" }, 1)).toEqual([]);
    for (const cursor of ["x", "W10", "WyJ4Il0"]) {
      expect(await codeOf(listApiKeys(db, {}, { limit: 1, cursor }))).toBe("invalid");
    }
  });

  test("a use is noted; a key ends alone, with the rest of its account, with account and app", async () => {
    const { db } = await open();
    await seedKeys(db);
    await add(db, key(1), key(2), key(3), key(4, { app_id: app.id }), key(5, { account_id: "a2" }));
    expect(await db.tx((tx) => touchApiKey(tx, "k1", 77))).toBe(true);
    expect((await getApiKey(db, "k1"))?.last_used_at).toBe(77);
    expect(await db.tx((tx) => deleteApiKey(tx, "k1"))).toBe(true);
    expect(await db.tx((tx) => deleteApiKey(tx, "k1"))).toBe(false);
    expect(await db.tx((tx) => touchApiKey(tx, "k1", 78))).toBe(false);
    await db.tx((tx) => tx.run(sql`delete from apps where id = ${app.id}`));
    expect(await getApiKey(db, "k4")).toBeNull();
    expect(await countApiKeysOfAccount(db, "a1")).toBe(2);
    expect(await db.tx((tx) => deleteApiKeysOfAccount(tx, "a1"))).toBe(2);
    expect(await countApiKeysOfAccount(db, "a1")).toBe(0);
    await db.tx((tx) => tx.run(sql`delete from accounts where id = ${"a2"}`));
    expect(await list(db, {}, 10)).toEqual([]);
  });

  test("keys that expired before a time are deleted in chunks, the others stay", async () => {
    const { db } = await open();
    await seedKeys(db);
    const ends = [100, 101, 102, 103, null];
    await add(db, ...ends.map((expires_at, index) => key(index + 1, { expires_at })));
    const purge = (limit: number) => db.tx((tx) => deleteApiKeysExpiredBefore(tx, 102, limit));
    expect([await purge(2), await purge(2), await purge(2)]).toEqual([2, 1, 0]);
    expect(await list(db, {}, 10)).toEqual(["k5", "k4"]);
  });
}

/** Ids of all pages. */
async function list(db: Database, filter: ApiKeyFilter, limit: number): Promise<string[]> {
  const ids: string[] = [];
  let cursor: string | null = null;
  do {
    const page = await listApiKeys(db, filter, { limit, cursor });
    ids.push(...page.items.map(({ id }) => id));
    cursor = page.next_cursor;
  } while (cursor !== null);
  return ids;
}

async function seedKeys(db: Database): Promise<void> {
  await db.tx(async (tx) => {
    await insertApp(tx, app);
    for (const [id, role] of [
      ["a1", "owner"],
      ["a2", "member"],
    ] as const) {
      await insertAccount(tx, {
        id,
        username: `user-${id}`,
        password_hash: "none",
        role,
        is_active: true,
        created_at: 1,
        nomination: null,
      });
    }
  });
}

async function add(db: Database, ...keys: ReturnType<typeof key>[]): Promise<void> {
  await db.tx(async (tx) => {
    for (const one of keys) await insertApiKey(tx, one);
  });
}

function key(number: number, more: Partial<ApiKey> = {}): ApiKey & { secret_hash: string } {
  return {
    id: `k${number}`,
    account_id: "a1",
    app_id: null,
    name: `key ${number}`,
    prefix: `prefix-${number}`,
    secret_hash: String(number).repeat(64),
    scopes: ["script:read"],
    created_at: 1,
    expires_at: null,
    last_used_at: null,
    ...more,
  };
}
