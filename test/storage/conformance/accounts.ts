import { expect, test } from "bun:test";
import type { Account, Session } from "../../../src/domain/accounts.ts";
import {
  countAccounts,
  deleteAccount,
  getAccount,
  getAccountByRef,
  getAccountByUsername,
  hasOtherActiveOwner,
  insertAccount,
  listAccounts,
  listActiveOwners,
  updateActive,
  updateNomination,
  updatePassword,
  updateRole,
} from "../../../src/storage/accounts.ts";
import type { Database } from "../../../src/storage/port.ts";
import {
  deleteExpiredSessions,
  deleteOtherSessions,
  deleteSession,
  deleteSessionById,
  deleteSessionsOfAccount,
  insertSession,
  listSessions,
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
      expect(await updatePassword(tx, "a3", "new", "another")).toBe(false);
      expect(await updatePassword(tx, "a3", "newer", account("a3").password_hash)).toBe(true);
    });
    expect((await getAccount(db, "a2"))?.password_hash).toBe("new");
    expect((await getAccount(db, "a3"))?.password_hash).toBe("newer");
    const first = await listAccounts(db, {}, { limit: 2, cursor: null });
    const second = await listAccounts(db, {}, { limit: 2, cursor: first.next_cursor });
    expect(first.items.map((one) => one.id)).toEqual(["a1", "a2"]);
    expect(second.items.map((one) => one.id)).toEqual(["a3"]);
    expect(second.next_cursor).toBeNull();
  });

  test("accounts are found by a part of the name, by role and by whether they are active", async () => {
    const { db } = await open();
    const names = ["ann", "anna-b", "bob", "a.nn", "a_nn"];
    await db.tx(async (tx) => {
      for (const [index, username] of names.entries()) {
        const role = index === 0 ? "owner" : "member";
        await insertAccount(tx, account(`a${index}`, { username, role, is_active: index !== 2 }));
      }
    });
    const found = async (filter: Parameters<typeof listAccounts>[1]) =>
      (await listAccounts(db, filter, { limit: 9, cursor: null })).items.map((one) => one.username);
    expect(await found({ q: "ann" })).toEqual(["ann", "anna-b"]);
    expect(await found({ q: "ANN" })).toEqual(["ann", "anna-b"]);
    expect(await found({ q: "_" })).toEqual(["a_nn"]);
    expect(await found({ q: "%" })).toEqual([]);
    expect(await found({ q: "\\" })).toEqual([]);
    expect(await found({ q: "' or 1=1 --" })).toEqual([]);
    expect(await found({ q: "\u212a" })).toEqual([]);
    expect(await found({ q: "" })).toHaveLength(5);
    expect(await found({ role: "member", is_active: true })).toEqual(["a.nn", "a_nn", "anna-b"]);
    expect(await found({ is_active: false })).toEqual(["bob"]);
    expect(await found({ q: "b", role: "member" })).toEqual(["anna-b", "bob"]);
    const page = await listAccounts(db, { role: "member" }, { limit: 3, cursor: null });
    const rest = await listAccounts(db, { role: "member" }, { limit: 3, cursor: page.next_cursor });
    expect(rest.items.map((one) => one.username)).toEqual(["bob"]);
  });

  test("an account is found by its id or its name", async () => {
    const { db } = await open();
    const id = "01890a5d-ac96-774b-bcce-b302099a8057";
    await db.tx((tx) => insertAccount(tx, account(id, { username: "ann" })));
    expect((await getAccountByRef(db, id))?.username).toBe("ann");
    expect((await getAccountByRef(db, "ann"))?.id).toBe(id);
    expect(await getAccountByRef(db, id.replace("0", "1"))).toBeNull();
    const username = id.replace("0", "2");
    await db.tx((tx) => insertAccount(tx, account("old", { username })));
    expect((await getAccountByRef(db, username))?.id).toBe("old");
    expect(await getAccountByRef(db, id.toUpperCase())).toBeNull();
  });

  test("only active owners count as such", async () => {
    const { db } = await open();
    await db.tx(async (tx) => {
      await insertAccount(tx, account("a1"));
      await insertAccount(tx, account("a2", { is_active: false }));
      await insertAccount(tx, account("a3", { role: "admin" }));
    });
    expect(await listActiveOwners(db, 9)).toEqual(["user-a1"]);
    expect(await hasOtherActiveOwner(db, "a1")).toBe(false);
    expect(await hasOtherActiveOwner(db, "a3")).toBe(true);
    await db.tx(async (tx) => void (await updateRole(tx, "a3", "owner")));
    expect(await listActiveOwners(db, 9)).toEqual(["user-a1", "user-a3"]);
    expect(await listActiveOwners(db, 1)).toEqual(["user-a1"]);
    expect(await hasOtherActiveOwner(db, "a1")).toBe(true);
    await db.tx(async (tx) => void (await updateActive(tx, "a3", false)));
    expect(await hasOtherActiveOwner(db, "a1")).toBe(false);
  });

  test("a nomination ends with the role it was for, and with the account's activity", async () => {
    const { db } = await open();
    const nomination = { role: "admin", by: "a9", at: 7 } as const;
    await db.tx(async (tx) => {
      await insertAccount(tx, account("a1", { role: "member" }));
      expect(await updateNomination(tx, "a1", nomination)).toBe(true);
      expect(await updateNomination(tx, "a2", nomination)).toBe(false);
    });
    expect((await getAccount(db, "a1"))?.nomination).toEqual(nomination);
    for (const end of [
      () => db.tx((tx) => updateNomination(tx, "a1", null)),
      () => db.tx((tx) => updateRole(tx, "a1", "admin")),
      () => db.tx((tx) => updateActive(tx, "a1", false)),
    ]) {
      await db.tx((tx) => updateNomination(tx, "a1", nomination));
      expect(await end()).toBe(true);
      expect((await getAccount(db, "a1"))?.nomination).toBeNull();
    }
    expect(await getAccount(db, "a1")).toMatchObject({ role: "admin", is_active: false });
    expect(await db.tx((tx) => updateRole(tx, "a2", "admin"))).toBe(false);
    expect(await db.tx((tx) => updateActive(tx, "a2", true))).toBe(false);
    const bad = db.tx((tx) =>
      updateNomination(tx, "a1", { ...nomination, role: "member" as "admin" }),
    );
    expect(await messageOf(bad)).toContain("onstraint");
  });

  test("an account is deleted once", async () => {
    const { db } = await open();
    await db.tx((tx) => insertAccount(tx, account("a1")));
    expect(await db.tx((tx) => deleteAccount(tx, "a1"))).toBe(true);
    expect(await db.tx((tx) => deleteAccount(tx, "a1"))).toBe(false);
  });

  test("the sessions of an account are listed newest first, without those that expired", async () => {
    const { db } = await open();
    await db.tx(async (tx) => {
      await insertAccount(tx, account("a1"));
      await insertAccount(tx, account("a2"));
      for (const number of [1, 2, 3, 4, 5]) {
        await insertSession(tx, { ...session(number), created_at: number === 5 ? 9 : 1 });
      }
      await insertSession(tx, { ...session(6), account_id: "a2" });
    });
    const asked = { account_id: "a1", now: 101 };
    const first = await listSessions(db, asked, { limit: 2, cursor: null });
    const second = await listSessions(db, asked, { limit: 2, cursor: first.next_cursor });
    const numbers = [...first.items, ...second.items].map((one) => one.expires_at - 100);
    expect(numbers).toEqual([5, 4, 3, 2]);
    expect(second.next_cursor).toBeNull();
    expect(Buffer.from(first.next_cursor ?? "", "base64url").toString()).not.toContain(
      session(4).token_hash,
    );
  });

  test("a session is ended by its id, by nobody but its account; or all but one", async () => {
    const { db } = await open();
    await db.tx(async (tx) => {
      await insertAccount(tx, account("a1"));
      await insertAccount(tx, account("a2"));
      for (const number of [1, 2, 3]) await insertSession(tx, session(number));
      await insertSession(tx, { ...session(4), account_id: "a2" });
    });
    const end = (account_id: string, id: string) =>
      db.tx((tx) => deleteSessionById(tx, account_id, id));
    const id = session(1).token_hash.slice(0, 32);
    for (const wrong of ["", id.slice(1), `${id}0`, session(1).token_hash, "%", "' or 1=1"]) {
      expect(await end("a1", wrong)).toBe(false);
    }
    expect(await end("a2", id)).toBe(false);
    expect(await end("a1", id)).toBe(true);
    expect(await end("a1", id)).toBe(false);
    expect(await db.tx((tx) => deleteOtherSessions(tx, "a1", session(3).token_hash))).toBe(1);
    expect(await getSession(db, session(3).token_hash)).not.toBeNull();
    expect(await getSession(db, session(4).token_hash)).not.toBeNull();
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
    nomination: null,
    ...more,
  };
}

function getSession(db: Database, token_hash: string): Promise<Session | null> {
  return db.get(sql<Session>`select token_hash, account_id, created_at, expires_at, last_seen_at,
    address, user_agent from sessions where token_hash = ${token_hash}`);
}

function session(number: number): Session {
  return {
    token_hash: number.toString(16).padStart(2, "0").repeat(32),
    account_id: "a1",
    created_at: 1,
    expires_at: 100 + number,
    last_seen_at: 1,
    address: `10.0.0.${number}`,
    user_agent: "a browser",
  };
}
