import { expect, test } from "bun:test";
import type { Account, Session } from "../../../src/domain/accounts.ts";
import {
  countAccounts,
  getAccount,
  getAccountByUsername,
  insertAccount,
  listAccounts,
  updatePassword,
} from "../../../src/storage/accounts.ts";
import {
  deleteExpiredSessions,
  deleteSession,
  deleteSessionsOfAccount,
  getSession,
  insertSession,
  touchSession,
} from "../../../src/storage/sessions.ts";
import {
  deleteSetting,
  getSetting,
  raiseSetting,
  setSetting,
} from "../../../src/storage/settings.ts";
import { sql } from "../../../src/storage/sql.ts";
import { codeOf, type Engine, messageOf, opener } from "./engine.ts";

export function accountConformance(engine: Engine): void {
  const open = opener(engine);

  test("an account comes back as it was written; a name is taken once", async () => {
    const { db } = await open();
    expect(await countAccounts(db)).toBe(0);
    await db.tx((tx) => insertAccount(tx, account("a1", { is_active: false, role: "member" })));
    expect(await getAccount(db, "a1")).toEqual(account("a1", { is_active: false, role: "member" }));
    expect((await getAccountByUsername(db, "user-a1"))?.id).toBe("a1");
    expect(await getAccountByUsername(db, "USER-A1")).toBeNull();
    const again = db.tx((tx) => insertAccount(tx, account("a2", { username: "user-a1" })));
    expect(await codeOf(again)).toBe("conflict");
    expect(await countAccounts(db)).toBe(1);
  });

  test("a password is replaced, and accounts are listed by name", async () => {
    const { db } = await open();
    await db.tx(async (tx) => {
      for (const id of ["a3", "a1", "a2"]) await insertAccount(tx, account(id));
      expect(await updatePassword(tx, "a2", "new")).toBe(true);
      expect(await updatePassword(tx, "a9", "new")).toBe(false);
    });
    expect((await getAccount(db, "a2"))?.password_hash).toBe("new");
    const first = await listAccounts(db, { limit: 2, cursor: null });
    const second = await listAccounts(db, { limit: 2, cursor: first.next_cursor });
    expect(first.items.map((one) => one.id)).toEqual(["a1", "a2"]);
    expect(second.items.map((one) => one.id)).toEqual(["a3"]);
    expect(second.next_cursor).toBeNull();
  });

  test("the schema refuses the names and roles that the domain refuses", async () => {
    const { db } = await open();
    for (const username of ["", "Ann", "a b", "é", "a".repeat(65)]) {
      const bad = db.tx((tx) => insertAccount(tx, account("a1", { username })));
      expect(await messageOf(bad)).toContain("onstraint");
    }
    const bad = db.tx((tx) => insertAccount(tx, account("a1", { role: "root" as "owner" })));
    expect(await messageOf(bad)).toContain("onstraint");
  });

  test("a session slides, ends alone or with all of its account, and dies with it", async () => {
    const { db } = await open();
    await db.tx(async (tx) => {
      await insertAccount(tx, account("a1"));
      for (const number of [1, 2, 3]) await insertSession(tx, session(number));
    });
    const times = { last_seen_at: 50, expires_at: 500 };
    expect(await db.tx((tx) => touchSession(tx, session(1).token_hash, times))).toBe(true);
    expect(await getSession(db, session(1).token_hash)).toEqual({ ...session(1), ...times });
    expect(await db.tx((tx) => deleteSession(tx, session(1).token_hash))).toBe(true);
    expect(await db.tx((tx) => deleteSession(tx, session(1).token_hash))).toBe(false);
    expect(await db.tx((tx) => touchSession(tx, session(1).token_hash, times))).toBe(false);
    expect(await db.tx((tx) => deleteSessionsOfAccount(tx, "a1"))).toBe(2);
    await db.tx((tx) => insertSession(tx, session(4)));
    await db.tx((tx) => tx.run(sql`delete from accounts where id = ${"a1"}`));
    expect(await getSession(db, session(4).token_hash)).toBeNull();
  });

  test("expired sessions are deleted in chunks, the others stay", async () => {
    const { db } = await open();
    await db.tx(async (tx) => {
      await insertAccount(tx, account("a1"));
      for (const number of [1, 2, 3, 4]) await insertSession(tx, session(number));
    });
    expect(await db.tx((tx) => deleteExpiredSessions(tx, 103, 2))).toBe(2);
    expect(await db.tx((tx) => deleteExpiredSessions(tx, 103, 2))).toBe(1);
    expect(await db.tx((tx) => deleteExpiredSessions(tx, 103, 2))).toBe(0);
    expect(await getSession(db, session(4).token_hash)).toEqual(session(4));
  });

  test("a session needs an account and a real hash", async () => {
    const { db } = await open();
    expect(await codeOf(db.tx((tx) => insertSession(tx, session(1))))).toBe("conflict");
    await db.tx((tx) => insertAccount(tx, account("a1")));
    for (const token_hash of ["", "pcs_token", "A".repeat(64)]) {
      const bad = db.tx((tx) => insertSession(tx, { ...session(1), token_hash }));
      expect(await messageOf(bad)).toContain("onstraint");
    }
  });

  test("a setting that only grows keeps the highest number, not the latest or the longest name", async () => {
    const { db } = await open();
    const raise = (value: number) => db.tx((tx) => raiseSetting(tx, "time", value));
    for (const [value, kept] of [
      [999, "999"],
      [1_000, "1000"],
      [998, "1000"],
      [1_000, "1000"],
      [1_001, "1001"],
      [0, "1001"],
      [1_700_000_000_000, "1700000000000"],
      [999_999_999_999, "1700000000000"],
    ] as const) {
      await raise(value);
      expect(await getSetting(db, "time")).toBe(kept);
    }
    await Promise.all(Array.from({ length: 20 }, (_, index) => raise(1_700_000_000_100 - index)));
    expect(await getSetting(db, "time")).toBe("1700000000100");
  });

  test("settings are written, replaced and deleted", async () => {
    const { db } = await open();
    expect(await getSetting(db, "instance")).toBeNull();
    await db.tx((tx) => setSetting(tx, "instance", "1"));
    await db.tx((tx) => setSetting(tx, "instance", "2"));
    expect(await getSetting(db, "instance")).toBe("2");
    expect(await db.tx((tx) => deleteSetting(tx, "instance"))).toBe(true);
    expect(await db.tx((tx) => deleteSetting(tx, "instance"))).toBe(false);
    expect(await getSetting(db, "instance")).toBeNull();
  });
}

function account(id: string, more: Partial<Account> = {}): Account {
  return {
    id,
    username: `user-${id}`,
    password_hash: "$argon2id$v=19$",
    role: "owner",
    is_active: true,
    created_at: 1,
    ...more,
  };
}

function session(number: number): Session {
  return {
    token_hash: number.toString(16).padStart(64, "0"),
    account_id: "a1",
    created_at: 1,
    expires_at: 100 + number,
    last_seen_at: 1,
  };
}
