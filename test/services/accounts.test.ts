import { describe, expect, test } from "bun:test";
import {
  loginFailuresPerAccountMax,
  loginFailureWindowMs,
  setupTokenTtlMs,
} from "../../src/domain/limits.ts";
import { countAccounts } from "../../src/storage/accounts.ts";
import { codeOf, firstAccount, password, setup, startServices } from "./fakes.ts";

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
    expect(await t.sessions.authenticate(login.token)).toMatchObject({ username: "ada" });
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

describe("a password reset", () => {
  test("ends every session of the account and lets the new password in", async () => {
    await using t = await setup();
    await firstAccount(t.accounts);
    const login = await t.accounts.login({ username: "ada", password, address: "::1" });
    expect(await t.sessions.authenticate(login.token)).not.toBeNull();
    await t.accounts.resetPassword("ada", "a new password");
    expect(await t.sessions.authenticate(login.token)).toBeNull();
    const old = t.accounts.login({ username: "ada", password, address: "::1" });
    expect(await codeOf(old)).toBe("invalid_credentials");
    await t.accounts.login({ username: "ada", password: "a new password", address: "::1" });
  });

  test("is refused for an unknown name and a short password", async () => {
    await using t = await setup();
    await firstAccount(t.accounts);
    expect(await codeOf(t.accounts.resetPassword("eve", "a new password"))).toBe("not_found");
    expect(await codeOf(t.accounts.resetPassword("ada", "short"))).toBe("invalid");
  });
});
