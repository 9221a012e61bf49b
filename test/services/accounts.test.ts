import { describe, expect, test } from "bun:test";
import { createLogger } from "../../src/base/log.ts";
import {
  loginFailuresPerAccountMax,
  loginFailureWindowMs,
  setupTokenTtlMs,
} from "../../src/domain/limits.ts";
import { Accounts } from "../../src/services/accounts.ts";
import { countAccounts } from "../../src/storage/accounts.ts";
import { sql } from "../../src/storage/sql.ts";
import { codeOf, firstAccount, password, setup, startServices } from "./fakes.ts";
import { audited, countCredentials, credentialsOf, person } from "./people.ts";

/** As somebody who acts with the session of a login. */
async function actorOf(t: Awaited<ReturnType<typeof setup>>, token: string) {
  const found = await t.authentication.authenticate(
    token,
    { kind: "none" },
    {
      address: "10.0.0.1",
      request_id: "request-1",
    },
  );
  if (found === null) throw new Error("There is no such session");
  return found.actor;
}

describe("the first account", () => {
  test("comes from the configuration when there is none", async () => {
    await using t = await setup();
    expect(await t.accounts.start({ username: "ada", password })).toEqual({ setup_token: null });
    const login = await t.accounts.login({ username: "ada", password, address: "::1" });
    expect(login.account.role).toBe("owner");
  });

  test("is never changed by the configuration of a later start", async () => {
    await using t = await setup();
    await firstAccount(t.accounts);
    await t.accounts.start({ username: "ada", password: "another password" });
    await t.accounts.start({ username: "eve", password: "another password" });
    expect(await countAccounts(t.db)).toBe(1);
    await t.accounts.login({ username: "ada", password, address: "::1" });
  });

  test("comes from a setup link that works once", async () => {
    await using t = await setup();
    const { setup_token: token } = await t.accounts.start(null);
    if (token === null) throw new Error("no link was made");
    const login = await t.accounts.setup({ token, username: "ada", password });
    expect(await t.authentication.authenticate(login.token)).toMatchObject({
      actor: { username: "ada" },
    });
    expect(await codeOf(t.accounts.setup({ token, username: "eve", password }))).toBe("forbidden");
    expect(t.accounts.isSetupToken(token)).toBe(false);
  });

  test("is one, when a setup link is used twice at the same time", async () => {
    await using t = await setup();
    const { setup_token } = await t.accounts.start(null);
    const token = setup_token as string;
    const codes = await Promise.all(
      ["ada", "bob", "eve"].map((username) =>
        codeOf(t.accounts.setup({ token, username, password })),
      ),
    );
    expect(codes.sort()).toEqual(["forbidden", "forbidden", "none"]);
    expect(await countAccounts(t.db)).toBe(1);
  });

  test("cannot be made an hour later, whatever the wall clock says", async () => {
    await using t = await setup();
    const { setup_token } = await t.accounts.start(null);
    const token = setup_token as string;
    t.clock.wall += 50 * 365 * 86_400_000;
    expect(t.accounts.isSetupToken(token)).toBe(true);
    t.clock.pass(setupTokenTtlMs);
    t.clock.wall = 0;
    expect(await codeOf(t.accounts.setup({ token, username: "ada", password }))).toBe("forbidden");
  });

  test("gets a new link at the next start, and the old one no longer works", async () => {
    await using t = await setup();
    const first = (await t.accounts.start(null)).setup_token as string;
    const next = await startServices(t.db, t.clock);
    const second = (await next.accounts.start(null)).setup_token as string;
    expect(second).not.toBe(first);
    expect(next.accounts.isSetupToken(first)).toBe(false);
    expect(next.accounts.isSetupToken(second)).toBe(true);
  });

  test.each([
    ["Ada", password],
    ["", password],
    ["a b", password],
    ["ada\0", password],
    ["-ada", password],
    ["x".repeat(65), password],
    ["ada", "short"],
    ["ada", "x".repeat(257)],
    ["01890a5d-ac96-774b-bcce-b302099a8057", password],
  ])("is refused with the name %p and the password %p", async (username, word) => {
    await using t = await setup();
    const token = (await t.accounts.start(null)).setup_token as string;
    expect(await codeOf(t.accounts.setup({ token, username, password: word }))).toBe("invalid");
    // A mistake in the form does not use the link up.
    expect(t.accounts.isSetupToken(token)).toBe(true);
  });
});

describe("login", () => {
  test("takes the username as a phone types it, and the password in any Unicode form", async () => {
    await using t = await setup();
    await t.accounts.start({ username: "ada", password: "pässwörter genug" });
    const decomposed = "pässwörter genug".normalize("NFD");
    await t.accounts.login({ username: "Ada", password: decomposed, address: "::1" });
  });

  test("says the same for a wrong password and an unknown name", async () => {
    await using t = await setup();
    await firstAccount(t.accounts);
    const wrong = t.accounts.login({ username: "ada", password: "x", address: "::1" });
    const unknown = t.accounts.login({ username: "eve", password: "x", address: "::1" });
    const [first, second] = await Promise.allSettled([wrong, unknown]);
    expect(String((first as PromiseRejectedResult).reason)).toBe(
      String((second as PromiseRejectedResult).reason),
    );
    expect(await codeOf(wrong)).toBe("invalid_credentials");
  });

  test.each(["' or 1=1 --", "ada\0", "\ud800", "x".repeat(5_000), "__proto__", "ADA\n"])(
    "is refused for the name %p",
    async (username) => {
      await using t = await setup();
      await firstAccount(t.accounts);
      expect(await codeOf(t.accounts.login({ username, password, address: "::1" }))).toBe(
        "invalid_credentials",
      );
    },
  );

  test("of an unknown name takes as long as one with a wrong password", async () => {
    await using t = await setup();
    await firstAccount(t.accounts);
    const took = async (username: string): Promise<number> => {
      const times: number[] = [];
      for (let round = 0; round < 3; round += 1) {
        const start = performance.now();
        await codeOf(t.accounts.login({ username, password: "wrong", address: `10.0.1.${round}` }));
        times.push(performance.now() - start);
      }
      return Math.min(...times);
    };
    const known = await took("ada");
    const unknown = await took("nobody");
    // Without the work it would be a hundredth.
    expect(unknown / known).toBeGreaterThan(0.4);
    expect(unknown / known).toBeLessThan(2.5);
  });

  test("is refused with a time to wait after too many failures at once", async () => {
    await using t = await setup();
    await firstAccount(t.accounts);
    const flood = await Promise.all(
      Array.from({ length: 18 }, (_, index) =>
        codeOf(
          t.accounts.login({ username: "ada", password: "wrong", address: `10.9.${index}.1` }),
        ),
      ),
    );
    const counted = (code: string) => flood.filter((found) => found === code).length;
    expect(counted("invalid_credentials")).toBe(loginFailuresPerAccountMax);
    expect(counted("too_many_attempts")).toBe(18 - loginFailuresPerAccountMax);
    const refused = await t.accounts
      .login({ username: "ada", password, address: "10.9.99.1" })
      .catch((error) => error);
    expect(refused.code).toBe("too_many_attempts");
    expect(refused.details.retry_after_s).toBe(loginFailureWindowMs / 1_000);
    // The owner's own address is judged by itself.
    await t.accounts.login({ username: "ada", password, address: "10.0.0.1" });
    t.clock.pass(loginFailureWindowMs);
    await t.accounts.login({ username: "ada", password, address: "10.9.99.1" });
  });

  test("of many at once is bounded: the rest is told to come back", async () => {
    await using t = await setup();
    await firstAccount(t.accounts);
    const codes = await Promise.all(
      Array.from({ length: 60 }, (_, index) =>
        codeOf(
          t.accounts.login({
            username: `user${index}`,
            password: "wrong",
            address: `10.8.${index}.1`,
          }),
        ),
      ),
    );
    expect(codes.filter((code) => code === "overloaded").length).toBeGreaterThan(30);
    expect(new Set(codes)).toEqual(new Set(["overloaded", "invalid_credentials"]));
  });
});

describe("a session that comes with a login", () => {
  test("ends when the login is good, whosever it was", async () => {
    await using t = await setup();
    const account = await firstAccount(t.accounts);
    const mia = await person(t.db, "mia");
    const login = { username: "ada", password, address: "::1" };
    for (const whose of [account.id, mia.account_id]) {
      const { token } = await t.sessions.create({ id: whose });
      const wrong = t.accounts.login({ ...login, password: "wrong", presented: token });
      expect(await codeOf(wrong)).toBe("invalid_credentials");
      expect(await t.authentication.authenticate(token)).not.toBeNull();
      const next = await t.accounts.login({ ...login, presented: token });
      expect(next.token).not.toBe(token);
      expect(await t.authentication.authenticate(token)).toBeNull();
      expect(await t.authentication.authenticate(next.token)).not.toBeNull();
    }
    const told = (await audited(t.db, "auth.login")).map((entry) => entry.detail);
    expect(told).toEqual([{ rotated: false }, { rotated: true }, { rotated: true }]);
  });

  test.each(["", "pcs_", "pic_abc", "\0", "' or 1=1 --", "x".repeat(1e5)])(
    "and is none does not matter: %p",
    async (presented) => {
      await using t = await setup();
      await firstAccount(t.accounts);
      const before = await t.sessions.create({ id: (await firstOf(t)).id });
      await t.accounts.login({ username: "ada", password, address: "::1", presented });
      expect(await t.authentication.authenticate(before.token)).not.toBeNull();
    },
  );

  async function firstOf(t: Awaited<ReturnType<typeof setup>>): Promise<{ id: string }> {
    const row = await t.db.get(sql<{ id: string }>`select id from accounts`);
    if (row === null) throw new Error("There is no account");
    return row;
  }
});

describe("a login", () => {
  test("of an account without a password is refused like any other", async () => {
    await using t = await setup();
    await person(t.db, "mia");
    for (const word of ["none", "", password]) {
      const asked = t.accounts.login({ username: "mia", password: word, address: "::1" });
      expect(await codeOf(asked)).toBe("invalid_credentials");
    }
  });

  test.each(["\u212aim", "\uff4bim", "k\u0131m", "KI\u0307M"])(
    "with a look-alike of a name is not one with the name: %p",
    async (username) => {
      await using t = await setup();
      await t.accounts.start({ username: "kim", password });
      const asked = t.accounts.login({ username, password, address: "::1" });
      expect(await codeOf(asked)).toBe("invalid_credentials");
      await t.accounts.login({ username: "KIM", password, address: "::1" });
    },
  );

  test("opens nothing when the password is replaced while it is verified", async () => {
    await using t = await setup();
    const account = await firstAccount(t.accounts);
    await t.db.tx((tx) => tx.run(sql`delete from sessions`));
    const asked = t.accounts.login({ username: "ada", password, address: "::1" });
    await t.db.tx((tx) => tx.run(sql`update accounts set password_hash = 'another'`));
    expect(await codeOf(asked)).toBe("invalid_credentials");
    expect((await countCredentials(t.db, account.id)).sessions).toBe(0);
  });

  test("that fails is in the log and not in the audit trail; a good one is there", async () => {
    await using t = await setup();
    await firstAccount(t.accounts);
    await codeOf(t.accounts.login({ username: "ada", password: "wrong", address: "::1" }));
    const told = await audited(t.db);
    expect(told).toMatchObject([{ action: "auth.login", actor_name: "ada", target_name: "ada" }]);
  });
});

describe("a change of one's own password", () => {
  const next = "staple correct horse";

  async function loggedIn() {
    const t = await setup();
    await firstAccount(t.accounts);
    const login = { username: "ada", password, address: "10.0.0.1" };
    const { token } = await t.accounts.login(login);
    const actor = await actorOf(t, token);
    return { ...t, actor, token, [Symbol.asyncDispose]: t[Symbol.asyncDispose] };
  }

  test("ends the other sessions; this one and API keys stay", async () => {
    await using t = await loggedIn();
    await credentialsOf(t.db, t.actor.account_id);
    await t.accounts.changePassword(t.actor, { old_password: password, new_password: next });
    expect(await t.authentication.authenticate(t.token)).not.toBeNull();
    expect(await countCredentials(t.db, t.actor.account_id)).toEqual({ sessions: 1, api_keys: 1 });
    const old = t.accounts.login({ username: "ada", password, address: "::1" });
    expect(await codeOf(old)).toBe("invalid_credentials");
    await t.accounts.login({ username: "ada", password: next, address: "::1" });
    expect(await audited(t.db, "account.password")).toMatchObject([
      { actor_name: "ada", target_name: "ada", detail: { sessions: 2 } },
    ]);
  });

  test("asks for the old one, and guesses count as failed logins", async () => {
    await using t = await loggedIn();
    const guess = { old_password: "wrong", new_password: next };
    for (let round = 0; round < loginFailuresPerAccountMax; round += 1) {
      expect(await codeOf(t.accounts.changePassword(t.actor, guess))).toBe("invalid");
    }
    const right = { old_password: password, new_password: next };
    expect(await codeOf(t.accounts.changePassword(t.actor, right))).toBe("too_many_attempts");
    const login = t.accounts.login({ username: "ada", password, address: "10.0.0.1" });
    expect(await codeOf(login)).toBe("too_many_attempts");
    t.clock.pass(loginFailureWindowMs);
    expect(await codeOf(t.accounts.changePassword(t.actor, right))).toBe("none");
  });

  test.each([
    ["short", "new_password: "],
    ["x".repeat(257), "new_password: "],
  ])("is refused for the new one %p, and names the field", async (new_password, beginning) => {
    await using t = await loggedIn();
    const asked = t.accounts.changePassword(t.actor, { old_password: password, new_password });
    expect(await codeOf(asked)).toBe("invalid");
    expect(await asked.catch((error) => error.message)).toStartWith(beginning);
  });

  test("does not win against one that was made meanwhile", async () => {
    await using t = await loggedIn();
    const asked = t.accounts.changePassword(t.actor, {
      old_password: password,
      new_password: next,
    });
    await t.db.tx((tx) => tx.run(sql`update accounts set password_hash = 'another'`));
    expect(await codeOf(asked)).toBe("conflict");
  });
});

describe("a start with several owners", () => {
  test("warns once, with their names and the command; one alone is no reason", async () => {
    await using t = await setup();
    const lines: string[] = [];
    const write = (line: string): void => void lines.push(line);
    const log = createLogger({ format: "json", level: "warn", write, now: () => 0 });
    const { db, passwords, attempts, sessions, audit } = t;
    const newId = () => "id";
    const start = () =>
      new Accounts({
        ...{ db, clock: t.storedClock, log, newId },
        ...{ passwords, attempts, sessions, audit },
      }).start(null);
    await person(t.db, "ada", "owner");
    await person(t.db, "eve", "owner", { is_active: false });
    await person(t.db, "anna", "admin");
    await start();
    expect(lines).toEqual([]);
    await person(t.db, "bob", "owner");
    await start();
    expect(lines).toHaveLength(1);
    const told = JSON.parse(lines[0] ?? "");
    expect(told.owners).toEqual(["ada", "bob"]);
    expect(told.msg ?? told.message).toContain("picloud admin set-role <username> <role>");
    for (let index = 0; index < 20; index += 1) await person(t.db, `more-${index}`, "owner");
    await start();
    expect(lines).toHaveLength(2);
    expect(JSON.parse(lines[1] ?? "").owners).toHaveLength(10);
  });
});

describe("a password reset", () => {
  test("ends every session of the account and lets the new password in", async () => {
    await using t = await setup();
    await firstAccount(t.accounts);
    const login = await t.accounts.login({ username: "ada", password, address: "::1" });
    expect(await t.authentication.authenticate(login.token)).not.toBeNull();
    await t.accounts.resetPassword("ada", "a new password");
    expect(await t.authentication.authenticate(login.token)).toBeNull();
    const old = t.accounts.login({ username: "ada", password, address: "::1" });
    expect(await codeOf(old)).toBe("invalid_credentials");
    await t.accounts.login({ username: "ada", password: "a new password", address: "::1" });
    expect(await audited(t.db, "account.password")).toMatchObject([
      { credential: "command", target_name: "ada", detail: { sessions: 2 } },
    ]);
  });

  test("is refused for an unknown name and a short password", async () => {
    await using t = await setup();
    await firstAccount(t.accounts);
    expect(await codeOf(t.accounts.resetPassword("eve", "a new password"))).toBe("not_found");
    expect(await codeOf(t.accounts.resetPassword("ada", "short"))).toBe("invalid");
  });
});
