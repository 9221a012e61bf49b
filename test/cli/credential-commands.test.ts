/** Sessions and API keys from the command line, against a real server. */
import { describe, expect, test } from "bun:test";
import { SCOPES, type Scope } from "../../src/domain/access.ts";
import { password } from "../services/fakes.ts";
import { done, signedIn, table } from "./signed-in.ts";

describe("sessions", () => {
  test("are listed and ended with the password, in a session that is not left behind", async () => {
    await using t = await signedIn();
    const { raw_token } = await t.client.apiKeys.create({ name: "k", scopes: ["log:read"] });
    const env = { PICLOUD_TOKEN: raw_token };
    const typed = { env, input: [password], isTerminal: true };
    await t.anonymous.auth.login({ username: "ada", password });
    const ls = async () => {
      const args = ["sessions", "ls", "--password-stdin", "-o", "json"];
      const { code, out } = await t.user.pic(args, { env, input: password });
      expect(code).toBe(0);
      return JSON.parse(out) as { id: string }[];
    };
    const before = await ls();
    expect(before).toHaveLength((await t.client.auth.sessions()).items.length);
    const end = ["sessions", "end", before[0]?.id ?? ""];
    expect((await t.user.pic(end, { env })).code).toBe(2);
    expect((await t.user.pic(end, typed)).code).toBe(0);
    expect((await t.user.pic(end, { ...typed, input: [password] })).code).toBe(5);
    expect(await ls()).toHaveLength(before.length - 1);
    const others = ["sessions", "end-others", "--password-stdin"];
    expect(await t.user.pic(others, { env, input: password })).toEqual({
      code: 0,
      out: "",
      err: `Ended ${before.length - 1} session${before.length === 2 ? "" : "s"}.\n`,
    });
    expect(await ls()).toEqual([]);
    expect((await t.user.pic(["whoami"], { env })).code).toBe(0);
  });

  test("who has a session already needs no password, and it is not listed", async () => {
    await using t = await signedIn();
    const mine = (await t.client.auth.sessions()).items.find(({ current }) => current)?.id ?? "";
    expect(mine).not.toBe("");
    expect(await done(t.user, ["sessions", "ls"])).not.toContain(mine);
    expect((await t.user.pic(["sessions", "end-others"])).err).toMatch(/^Ended \d sessions?\.\n$/);
    expect(await done(t.user, ["sessions", "ls"])).toBe("");
    expect((await t.user.pic(["whoami"])).code).toBe(0);
  });
});

describe("api-keys", () => {
  test("mint prints the key alone, for a script to take", async () => {
    await using t = await signedIn();
    const args = ["api-keys", "mint", "ci", "--scope", "script:read,log:read", "--expires", "7d"];
    const { code, out, err } = await t.user.pic([...args, "--app", "default"]);
    expect(code).toBe(0);
    expect(out).toMatch(/^pic_[a-z2-7]{52}\n$/);
    expect(err).toContain("2030-01-08T00:00:00.000Z");
    const env = { PICLOUD_TOKEN: out.trim() };
    const me = JSON.parse((await t.user.pic(["whoami", "-o", "json"], { env })).out);
    expect(me.key.scopes.sort()).toEqual(["log:read", "script:read"]);
    const json = JSON.parse(await done(t.user, [...args, "-o", "json"]));
    expect(json.raw_token).toMatch(/^pic_/);
  });

  test("a key that a key makes expires with it when nothing else is said", async () => {
    await using t = await signedIn();
    const { raw_token } = await t.client.apiKeys.create({
      name: "parent",
      scopes: ["app:admin"],
      expires_at: "2030-01-05T00:00:00Z",
    });
    const env = { PICLOUD_TOKEN: raw_token };
    const made = await t.user.pic(["api-keys", "mint", "child", "--scope", "app:admin"], { env });
    expect([made.code, made.err.includes("2030-01-05")]).toEqual([0, true]);
  });

  test("what the key in use may not hand on is made with the password, in a session that ends", async () => {
    await using t = await signedIn();
    const expires_at = "2030-01-05T00:00:00Z";
    const make = (name: string, scopes: Scope[]) =>
      t.client.apiKeys.create({ name, scopes, expires_at });
    const [parent, weak] = [await make("parent", ["app:admin"]), await make("weak", ["log:read"])];
    const before = (await t.client.auth.sessions()).items.length;
    const mint = (name: string, ...more: string[]) => ["api-keys", "mint", name, ...more];
    const wishes: [raw_token: string, args: string[], expires_at: string | null][] = [
      [parent.raw_token, ["--scope", "app:admin", "--expires", "365d"], "2031-01-01T00:00:00.000Z"],
      [parent.raw_token, ["--scope", "app:admin", "--expires", "never"], null],
      [parent.raw_token, ["--scope", "log:read"], "2030-01-05T00:00:00.000Z"],
      [weak.raw_token, ["--scope", "log:read", "--expires", "1d"], "2030-01-02T00:00:00.000Z"],
    ];
    for (const [index, [PICLOUD_TOKEN, args, until]] of wishes.entries()) {
      const env = { PICLOUD_TOKEN };
      const typed = mint(`typed-${index}`, ...args);
      const made = await t.user.pic(typed, { env, input: ["", password], isTerminal: true });
      expect([args, made.code, made.err]).toEqual([args, 0, expect.not.stringContaining(password)]);
      const [newest] = (await t.client.apiKeys.list()).items;
      expect(newest).toMatchObject({ name: `typed-${index}`, expires_at: until });
      const unasked = await t.user.pic([...typed, "--no-input"], { env, input: [] });
      expect([args, unasked.code, unasked.out]).toEqual([args, 2, ""]);
      expect(unasked.err).toContain("--password-stdin");
    }
    expect(new Set(t.user.asked)).toEqual(new Set(["Password of ada"]));
    const piped = mint("piped", "--scope", "log:read", "--password-stdin");
    const env = { PICLOUD_TOKEN: weak.raw_token };
    expect((await t.user.pic(piped, { env, input: "wrong password" })).code).toBe(3);
    const made = await t.user.pic(piped, { env, input: password });
    expect([made.code, made.err.includes("2030-04-01")]).toEqual([0, true]);
    expect((await t.client.auth.sessions()).items).toHaveLength(before);
  });

  test("all scopes are one word in a table, and all of them for programs", async () => {
    await using t = await signedIn();
    await t.client.apiKeys.create({ name: "every", scopes: [...SCOPES] });
    await t.client.apiKeys.create({ name: "most", scopes: SCOPES.slice(0, 6) });
    const [, most, every] = (await table(t.user, ["api-keys", "ls"])).split("\n");
    expect(every).toEndWith("<id>  all");
    expect(most).toEndWith([...SCOPES.slice(0, 6)].sort().join(","));
    expect(await done(t.user, ["api-keys", "ls"])).toContain([...SCOPES].sort().join(","));
  });

  test("are listed without their secret, and revoked by prefix or id", async () => {
    await using t = await signedIn();
    const mint = async (name: string) =>
      (await done(t.user, ["api-keys", "mint", name, "--scope", "script:read"])).trim();
    const [one, two] = [await mint("one"), await mint("two")];
    const listed = await done(t.user, ["api-keys", "ls", "-o", "json"]);
    expect(listed).not.toContain(one.slice(12));
    const [newest] = JSON.parse(listed);
    expect(newest.name).toBe("two");
    await done(t.user, ["api-keys", "rm", one.slice(0, 12)]);
    await done(t.user, ["api-keys", "rm", newest.id]);
    expect(await done(t.user, ["api-keys", "ls"])).toBe("");
    expect((await t.user.pic(["api-keys", "rm", two.slice(4, 12)])).code).toBe(5);
    expect((await t.user.pic(["api-keys", "rm", newest.id])).code).toBe(5);
  });

  test("a scope or a time that is none is a wrong command line", async () => {
    await using t = await signedIn();
    const mint = ["api-keys", "mint", "x"];
    for (const args of [
      [],
      ["--scope", "script:everything"],
      ["--scope", ""],
      ["--scope", "script:read", "--expires", "soon"],
      ["--scope", "script:read", "--expires", "99999999d"],
      ["--scope", "script:read", "--expires", "2030-13-45"],
    ]) {
      expect([args, (await t.user.pic([...mint, ...args])).code]).toEqual([args, 2]);
    }
    const past = ["--scope", "script:read", "--expires", "2020-01-01"];
    expect((await t.user.pic([...mint, ...past])).code).toBe(1);
    expect((await t.client.apiKeys.list()).items).toEqual([]);
  });
});
