import { describe, expect, test } from "bun:test";
import type { Actor, InstanceRole } from "../../src/domain/accounts.ts";
import { getAccount, listActiveOwners } from "../../src/storage/accounts.ts";
import { sql } from "../../src/storage/sql.ts";
import { codeOf, password, setup } from "./fakes.ts";
import { audited, countCredentials, credentialsOf, person } from "./people.ts";

/** One of each kind, and two of those who could go for each other. */
async function crowd() {
  const t = await setup();
  const make = (username: string, role: InstanceRole) => person(t.db, username, role);
  return {
    ...t,
    olga: await make("olga", "owner"),
    otto: await make("otto", "owner"),
    anna: await make("anna", "admin"),
    arno: await make("arno", "admin"),
    mia: await make("mia", "member"),
    [Symbol.asyncDispose]: t[Symbol.asyncDispose],
  };
}

const messageOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "done",
    (error: Error) => error.message,
  );

describe("a new account", () => {
  test("is a member that can log in, and is in the audit trail without its password", async () => {
    await using t = await crowd();
    const made = await t.accountAdmin.create(t.anna, { username: "noa", password });
    expect(made).toMatchObject({ username: "noa", role: "member", is_active: true });
    await t.accounts.login({ username: "noa", password, address: "10.0.0.2" });
    const [entry] = await audited(t.db, "account.create");
    expect(entry).toEqual({
      actor_name: "anna",
      credential: "session",
      action: "account.create",
      target_name: "noa",
      detail: { role: "member" },
    });
    const rows = await t.db.all(sql`select * from audit`);
    expect(JSON.stringify(rows)).not.toContain(password);
    expect(JSON.stringify(rows)).not.toContain("$argon2");
  });

  test.each(["admin", "owner"] as const)("of role %p is made by owners alone", async (role) => {
    await using t = await crowd();
    const input = { username: "noa", password, role };
    const asked = t.accountAdmin.create(t.anna, input);
    expect(await messageOf(asked)).toContain("nominate");
    expect(await codeOf(asked)).toBe("forbidden");
    expect((await t.accountAdmin.create(t.olga, input)).role).toBe(role);
  });

  test("is refused with a name that is taken", async () => {
    await using t = await crowd();
    const again = t.accountAdmin.create(t.olga, { username: "mia", password });
    expect(await codeOf(again)).toBe("conflict");
    const both = await Promise.all(
      [t.olga, t.anna].map((by) =>
        codeOf(t.accountAdmin.create(by, { username: "noa", password })),
      ),
    );
    expect(both.sort()).toEqual(["conflict", "none"]);
  });

  test.each([
    "",
    "Noa",
    "no a",
    "noa\0",
    "\ud800",
    "no\u00e4",
    "n\u043ea",
    "\u212a",
    "noa\n",
    "-noa",
    "noa.",
    "' or 1=1 --",
    "x".repeat(65),
    "01890a5d-ac96-774b-bcce-b302099a8057",
  ])("is refused with the name %p", async (username) => {
    await using t = await crowd();
    const asked = t.accountAdmin.create(t.olga, { username, password });
    expect(await codeOf(asked)).toBe("invalid");
    expect(await messageOf(asked)).toStartWith("username: ");
  });

  test("is not made by who lost the right while the password was hashed", async () => {
    await using t = await crowd();
    const asked = t.accountAdmin.create(t.anna, { username: "noa", password });
    await t.accountAdmin.update(t.olga, "anna", { role: "member" });
    expect(await codeOf(asked)).toBe("forbidden");
  });
});

describe("a role", () => {
  // who, whom, the new role: what comes of it
  test.each<[string, string, InstanceRole, string]>([
    ["olga", "mia", "admin", "none"],
    ["olga", "mia", "owner", "none"],
    ["olga", "anna", "owner", "none"],
    ["olga", "otto", "member", "none"],
    ["olga", "olga", "admin", "none"],
    ["anna", "mia", "member", "none"],
    ["anna", "mia", "admin", "forbidden"],
    ["anna", "mia", "owner", "forbidden"],
    ["anna", "arno", "member", "none"],
    ["anna", "arno", "owner", "forbidden"],
    ["anna", "otto", "owner", "forbidden"],
    ["anna", "otto", "member", "forbidden"],
    ["anna", "anna", "member", "forbidden"],
    ["anna", "anna", "owner", "forbidden"],
    ["anna", "anna", "admin", "none"],
    ["mia", "mia", "admin", "forbidden"],
    ["mia", "arno", "member", "forbidden"],
    ["olga", "nobody", "member", "not_found"],
  ])("%s makes %s %s: %s", async (who, whom, role, code) => {
    await using t = await crowd();
    const actor = (t as unknown as Record<string, Actor>)[who] as Actor;
    expect(await codeOf(t.accountAdmin.update(actor, whom, { role }))).toBe(code);
  });

  test("is written with what it was, once", async () => {
    await using t = await crowd();
    await t.accountAdmin.update(t.olga, "mia", { role: "admin" });
    await t.accountAdmin.update(t.olga, t.mia.account_id, { role: "admin" });
    expect(await audited(t.db, "account.")).toMatchObject([
      { action: "account.update", detail: { old_role: "member", new_role: "admin" } },
    ]);
  });

  test("of the last active owner stays, and the error says why", async () => {
    await using t = await crowd();
    await t.accountAdmin.update(t.olga, "olga", { role: "admin" });
    expect(await listActiveOwners(t.db, 9)).toEqual(["otto"]);
    const last = t.accountAdmin.update(t.otto, "otto", { role: "admin" });
    expect(await codeOf(last)).toBe("conflict");
    expect(await messageOf(last)).toContain("otto is the last active owner");
    // An owner who is switched off is no other one.
    await t.accountAdmin.update(t.otto, "olga", { role: "owner", is_active: false });
    expect(await codeOf(t.accountAdmin.update(t.otto, "otto", { role: "admin" }))).toBe("conflict");
  });

  test("that was just taken away gives no more rights", async () => {
    await using t = await crowd();
    await t.accountAdmin.update(t.olga, "otto", { role: "member" });
    // Otto's request was let in as an owner's.
    expect(await codeOf(t.accountAdmin.update(t.otto, "olga", { role: "member" }))).toBe(
      "forbidden",
    );
    await t.accountAdmin.update(t.olga, "otto", { is_active: false });
    expect(await codeOf(t.accountAdmin.delete(t.otto, "mia"))).toBe("unauthenticated");
    await t.accountAdmin.delete(t.olga, "otto");
    expect(await codeOf(t.accountAdmin.delete(t.otto, "mia"))).toBe("unauthenticated");
  });

  test("is set by the command, but for the last active owner", async () => {
    await using t = await crowd();
    const set = (username: string, role: InstanceRole) =>
      codeOf(t.accountAdmin.update("command", username, { role }));
    expect(await set("otto", "member")).toBe("none");
    expect(await set("olga", "admin")).toBe("conflict");
    expect(await set("mia", "owner")).toBe("none");
    expect(await set("olga", "admin")).toBe("none");
    expect(await set("nobody", "admin")).toBe("not_found");
    expect((await audited(t.db)).map((entry) => entry.credential)).toEqual([
      "command",
      "command",
      "command",
    ]);
  });
});

describe("switching off", () => {
  test("ends sessions and API keys at once, and switching on brings none back", async () => {
    await using t = await crowd();
    const { account_id } = t.mia;
    await credentialsOf(t.db, account_id);
    await credentialsOf(t.db, t.arno.account_id);
    await t.accountAdmin.update(t.anna, "mia", { is_active: false });
    expect(await countCredentials(t.db, account_id)).toEqual({ sessions: 0, api_keys: 0 });
    expect(await countCredentials(t.db, t.arno.account_id)).toEqual({ sessions: 2, api_keys: 1 });
    // As a key that was being made meanwhile.
    await credentialsOf(t.db, account_id);
    const back = await t.accountAdmin.update(t.anna, "mia", { is_active: true });
    expect(back.is_active).toBe(true);
    expect(await countCredentials(t.db, account_id)).toEqual({ sessions: 0, api_keys: 0 });
    expect(await audited(t.db, "account.")).toMatchObject([
      { action: "account.deactivate", target_name: "mia", detail: { sessions: 2, api_keys: 1 } },
      { action: "account.activate", target_name: "mia", detail: {} },
    ]);
  });

  test("refuses the right password from then on", async () => {
    await using t = await crowd();
    await t.accountAdmin.create(t.olga, { username: "noa", password });
    await t.accountAdmin.update(t.olga, "noa", { is_active: false });
    const login = { username: "noa", password, address: "10.0.0.2" };
    expect(await codeOf(t.accounts.login(login))).toBe("invalid_credentials");
  });

  test.each<[string, string, string]>([
    ["olga", "olga", "forbidden"],
    ["anna", "anna", "forbidden"],
    ["anna", "otto", "forbidden"],
    ["anna", "arno", "none"],
    ["olga", "otto", "none"],
    ["mia", "arno", "forbidden"],
  ])("%s switches off %s: %s", async (who, whom, code) => {
    await using t = await crowd();
    const actor = (t as unknown as Record<string, Actor>)[who] as Actor;
    expect(await codeOf(t.accountAdmin.update(actor, whom, { is_active: false }))).toBe(code);
  });

  test("with anything that is refused changes nothing at all", async () => {
    await using t = await crowd();
    const before = await getAccount(t.db, t.mia.account_id);
    const change = { is_active: false, password: "another password", role: "admin" } as const;
    expect(await codeOf(t.accountAdmin.update(t.anna, "mia", change))).toBe("forbidden");
    expect(await getAccount(t.db, t.mia.account_id)).toEqual(before);
    expect(await audited(t.db)).toEqual([]);
  });
});

describe("the password of somebody else", () => {
  test("is replaced, and the sessions end while API keys stay", async () => {
    await using t = await crowd();
    await credentialsOf(t.db, t.mia.account_id);
    await t.accountAdmin.update(t.anna, "mia", { password });
    expect(await countCredentials(t.db, t.mia.account_id)).toEqual({ sessions: 0, api_keys: 1 });
    await t.accounts.login({ username: "mia", password, address: "10.0.0.2" });
    expect(await audited(t.db, "account.")).toMatchObject([
      { action: "account.password", target_name: "mia", detail: { sessions: 2 } },
    ]);
  });

  test.each<[string, string, string]>([
    ["anna", "otto", "forbidden"],
    ["anna", "anna", "forbidden"],
    ["olga", "olga", "forbidden"],
    ["olga", "otto", "none"],
  ])("is set by %s for %s: %s", async (who, whom, code) => {
    await using t = await crowd();
    const actor = (t as unknown as Record<string, Actor>)[who] as Actor;
    expect(await codeOf(t.accountAdmin.update(actor, whom, { password }))).toBe(code);
  });

  test("is refused when it is too short", async () => {
    await using t = await crowd();
    const asked = t.accountAdmin.update(t.olga, "mia", { password: "short" });
    expect(await codeOf(asked)).toBe("invalid");
  });
});

describe("a deleted account", () => {
  test("takes its sessions, memberships and keys along, and leaves what it made", async () => {
    await using t = await crowd();
    const { account_id } = t.mia;
    await credentialsOf(t.db, account_id);
    const { id: app_id } = await t.apps.get("default");
    const { script, active } = await t.scripts.create(
      { ...t.olga, account_id },
      {
        app: app_id,
        name: "hello",
        source: "export default () => 1;",
      },
    );
    await t.db.tx((tx) =>
      tx.run(sql`insert into app_members (app_id, account_id, role, created_at, created_by)
        values (${app_id}, ${account_id}, 'admin', 1, ${t.anna.account_id})`),
    );
    await t.accountAdmin.delete(t.anna, "mia");
    expect(await getAccount(t.db, account_id)).toBeNull();
    expect(await countCredentials(t.db, account_id)).toEqual({ sessions: 0, api_keys: 0 });
    expect(await t.db.all(sql`select * from app_members`)).toEqual([]);
    expect(active.created_by).toBe(account_id);
    expect((await t.scripts.version(script.id, 1)).created_by).toBe(account_id);
    expect(await audited(t.db, "account.")).toMatchObject([
      { action: "account.delete", actor_name: "anna", target_name: "mia" },
    ]);
  });

  test.each<[string, string, string]>([
    ["olga", "olga", "forbidden"],
    ["anna", "anna", "forbidden"],
    ["anna", "otto", "forbidden"],
    ["anna", "arno", "none"],
    ["olga", "otto", "none"],
    ["mia", "arno", "forbidden"],
    ["olga", "01890a5d-ac96-774b-bcce-b302099a8057", "not_found"],
    ["olga", "' or 1=1 --", "not_found"],
  ])("%s deletes %s: %s", async (who, whom, code) => {
    await using t = await crowd();
    const actor = (t as unknown as Record<string, Actor>)[who] as Actor;
    expect(await codeOf(t.accountAdmin.delete(actor, whom))).toBe(code);
  });
});
