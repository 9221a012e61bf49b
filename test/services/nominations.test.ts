import { describe, expect, test } from "bun:test";
import { getAccount } from "../../src/storage/accounts.ts";
import { codeOf, setup } from "./fakes.ts";
import { audited, person } from "./people.ts";

async function crowd() {
  const t = await setup();
  return {
    ...t,
    olga: await person(t.db, "olga", "owner"),
    anna: await person(t.db, "anna", "admin"),
    arno: await person(t.db, "arno", "admin"),
    mia: await person(t.db, "mia"),
    [Symbol.asyncDispose]: t[Symbol.asyncDispose],
  };
}

describe("a nomination", () => {
  test("is made by an admin, and an owner's approval gives the role", async () => {
    await using t = await crowd();
    const nominated = await t.nominations.nominate(t.anna, "mia", "admin");
    expect(nominated.nomination).toEqual({
      role: "admin",
      by: t.anna.account_id,
      at: t.clock.wall,
    });
    expect((await getAccount(t.db, t.mia.account_id))?.role).toBe("member");
    const approved = await t.nominations.approve(t.olga, "mia", "admin");
    expect(approved).toMatchObject({ role: "admin", nomination: null });
    expect(await getAccount(t.db, t.mia.account_id)).toEqual(approved);
    expect(await audited(t.db)).toMatchObject([
      { action: "nomination.create", actor_name: "anna", detail: { nominated_role: "admin" } },
      {
        action: "nomination.approve",
        actor_name: "olga",
        detail: { old_role: "member", new_role: "admin", nominated_by: t.anna.account_id },
      },
    ]);
    expect(await codeOf(t.nominations.approve(t.olga, "mia", "admin"))).toBe("conflict");
  });

  test("is approved by owners alone", async () => {
    await using t = await crowd();
    await t.nominations.nominate(t.anna, "mia", "admin");
    for (const actor of [t.anna, t.arno, t.mia]) {
      expect(await codeOf(t.nominations.approve(actor, "mia", "admin"))).toBe("forbidden");
    }
  });

  test("is for a role above the present one", async () => {
    await using t = await crowd();
    expect(await codeOf(t.nominations.nominate(t.anna, "arno", "admin"))).toBe("invalid");
    expect(await codeOf(t.nominations.nominate(t.olga, "olga", "owner"))).toBe("invalid");
    expect(await codeOf(t.nominations.nominate(t.anna, "olga", "owner"))).toBe("forbidden");
    expect(await codeOf(t.nominations.nominate(t.anna, "arno", "owner"))).toBe("none");
    // Asking for oneself is asking.
    expect(await codeOf(t.nominations.nominate(t.anna, "anna", "owner"))).toBe("none");
    expect(await codeOf(t.nominations.nominate(t.mia, "mia", "admin"))).toBe("forbidden");
    expect(await codeOf(t.nominations.nominate(t.anna, "nobody", "admin"))).toBe("not_found");
  });

  test("is not exchanged under the eyes of who approves it", async () => {
    await using t = await crowd();
    await t.nominations.nominate(t.anna, "mia", "admin");
    expect(await codeOf(t.nominations.nominate(t.anna, "mia", "admin"))).toBe("none");
    expect(await codeOf(t.nominations.nominate(t.arno, "mia", "owner"))).toBe("conflict");
    await t.nominations.withdraw(t.arno, "mia");
    await t.nominations.nominate(t.arno, "mia", "owner");
    expect(await codeOf(t.nominations.approve(t.olga, "mia", "admin"))).toBe("conflict");
    expect((await getAccount(t.db, t.mia.account_id))?.role).toBe("member");
    expect(await codeOf(t.nominations.approve(t.olga, "mia", "owner"))).toBe("none");
    const actions = (await audited(t.db)).map((entry) => entry.action);
    expect(actions).toEqual([
      "nomination.create",
      "nomination.withdraw",
      "nomination.create",
      "nomination.approve",
    ]);
  });

  test("ends with a change of the role and with the account's activity", async () => {
    await using t = await crowd();
    await t.nominations.nominate(t.anna, "arno", "owner");
    await t.accountAdmin.update(t.olga, "arno", { role: "member" });
    expect(await codeOf(t.nominations.approve(t.olga, "arno", "owner"))).toBe("conflict");
    await t.nominations.nominate(t.anna, "arno", "owner");
    await t.accountAdmin.update(t.olga, "arno", { is_active: false });
    expect(await codeOf(t.nominations.nominate(t.anna, "arno", "owner"))).toBe("conflict");
    await t.accountAdmin.update(t.olga, "arno", { is_active: true });
    expect(await codeOf(t.nominations.approve(t.olga, "arno", "owner"))).toBe("conflict");
    expect(await codeOf(t.nominations.withdraw(t.anna, "arno"))).toBe("not_found");
  });

  test("is approved once of two that try, and not at all when it is withdrawn first", async () => {
    await using t = await crowd();
    await t.nominations.nominate(t.anna, "mia", "admin");
    const both = [
      t.nominations.approve(t.olga, "mia", "admin"),
      t.nominations.approve(t.olga, "mia", "admin"),
    ];
    expect((await Promise.all(both.map(codeOf))).sort()).toEqual(["conflict", "none"]);
    await t.nominations.nominate(t.anna, "mia", "owner");
    const race = [
      t.nominations.withdraw(t.anna, "mia"),
      t.nominations.approve(t.olga, "mia", "owner"),
    ];
    expect(await Promise.all(race.map(codeOf))).toEqual(["none", "conflict"]);
  });
});
