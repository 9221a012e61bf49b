/** Signing in and out, and the file that it leaves behind. */
import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync, symlinkSync } from "node:fs";
import { dirname } from "node:path";
import { SCOPES } from "../../src/domain/access.ts";
import { serve } from "../http/admin/server.ts";
import { password } from "../services/fakes.ts";
import { newUser, type User } from "./pic-runs.ts";

type Server = Awaited<ReturnType<typeof serve>>;

const isRoot = process.getuid?.() === 0;

function login(user: User, { publicUrl }: Server) {
  const args = ["login", "--url", publicUrl, "--username", "ada", "--password-stdin"];
  return user.pic(args, { input: `${password}\n` });
}

async function stored(user: User) {
  return JSON.parse(await Bun.file(user.credentials).text());
}

describe("pic login with a password", () => {
  test("makes a key for this machine with all scopes and 90 days, and ends the session", async () => {
    await using t = await serve();
    using user = newUser();
    const before = (await t.client.auth.sessions()).items.length;
    const { code, out, err } = await login(user, t);
    expect({ code, out }).toEqual({ code: 0, out: "" });
    expect(err).toBe(`Signed in to ${t.publicUrl} as ada, until 2030-04-01T00:00:00.000Z.\n`);
    const [key, ...more] = (await t.client.apiKeys.list()).items;
    expect(more).toEqual([]);
    expect(key).toMatchObject({ name: "pic on laptop", expires_at: "2030-04-01T00:00:00.000Z" });
    expect([...(key?.scopes ?? [])].sort()).toEqual([...SCOPES].sort());
    expect((await t.client.auth.sessions()).items).toHaveLength(before);
    const file = await stored(user);
    expect(file).toMatchObject({ version: 1, current: t.publicUrl });
    expect(file.servers[t.publicUrl]).toMatchObject({ username: "ada", key_id: key?.id });
    expect(JSON.stringify(file)).not.toContain(password);
  });

  test("asks for what was not given, and offers what it knows", async () => {
    await using t = await serve();
    using user = newUser();
    const first = await user.pic(["login"], {
      input: ["not an address", t.publicUrl, "", "ada", password],
      isTerminal: true,
    });
    expect(first.code).toBe(0);
    expect(user.asked).toEqual([
      "Address of the server",
      "Address of the server",
      "User name",
      "User name",
      "Password",
    ]);
    const again = await user.pic(["login"], { input: ["", "", password], isTerminal: true });
    expect(again.code).toBe(0);
    expect(first.err + again.err).not.toContain(password);
  });

  test("a password that strangers can read on its way is worth a warning, and no refusal", async () => {
    await using t = await serve();
    const warned = async (url: string) => {
      using user = newUser({
        fetch: (request) => {
          const { pathname } = new URL(request.url);
          return fetch(new Request(`${t.publicUrl}${pathname}`, request));
        },
      });
      const args = ["login", "--url", url, "--username", "ada", "--password-stdin"];
      const { code, err } = await user.pic(args, { input: password });
      expect([url, code]).toEqual([url, 0]);
      return err.split("\n").filter((line) => line.startsWith("warning: ")).length;
    };
    for (const url of ["http://example.org", "http://203.0.113.5:8080", "http://[2001:db8::1]"]) {
      expect([url, await warned(url)]).toEqual([url, 1]);
    }
    const near = "localhost 127.0.0.1 [::1] 10.1.2.3 172.31.0.1 192.168.0.9 [fd00::1] pi pi.local";
    for (const url of ["https://example.org", ...near.split(" ").map((host) => `http://${host}`)]) {
      expect([url, await warned(url)]).toEqual([url, 0]);
    }
  });

  test("a second login takes the place of the first: its key is revoked", async () => {
    await using t = await serve();
    using user = newUser();
    await login(user, t);
    const [before] = (await t.client.apiKeys.list()).items;
    await login(user, t);
    const items = (await t.client.apiKeys.list()).items;
    expect(items).toHaveLength(1);
    expect(items[0]?.id).not.toBe(before?.id);
  });

  test("a wrong password is exit code 3, stores nothing and leaves nothing behind", async () => {
    await using t = await serve();
    using user = newUser();
    const args = ["login", "--url", t.publicUrl, "--username", "ada", "--password-stdin"];
    const { code, err } = await user.pic(args, { input: "wrong password" });
    expect({ code, stored: existsSync(user.credentials) }).toEqual({ code: 3, stored: false });
    expect(err).not.toContain("wrong password");
    expect((await t.client.apiKeys.list()).items).toEqual([]);
  });

  test("a key that cannot be stored is revoked at once, and the session ends", async () => {
    await using t = await serve();
    using user = newUser();
    // Where the folder would be, there is a file.
    await Bun.write(dirname(user.credentials), "in the way");
    const sessions = (await t.client.auth.sessions()).items.length;
    const { code, err } = await login(user, t);
    expect(code).not.toBe(0);
    expect(err).toContain(user.credentials);
    expect((await t.client.apiKeys.list()).items).toEqual([]);
    expect((await t.client.auth.sessions()).items).toHaveLength(sessions);
  });

  test("nothing is asked with --no-input or without a terminal: 2, and the flag that would do", async () => {
    using user = newUser();
    const missing: [args: string[], flag: string][] = [
      [["login"], "--url <address>"],
      [["login", "--url", "http://127.0.0.1:1"], "--username <name>"],
      [["login", "--url", "http://127.0.0.1:1", "--username", "ada"], "--password-stdin"],
    ];
    for (const [args, flag] of missing) {
      for (const options of [{}, { input: ["never"], isTerminal: true }]) {
        const more = "input" in options ? ["--no-input"] : [];
        const { code, err } = await user.pic([...args, ...more], options);
        expect([code, err.includes(flag)]).toEqual([2, true]);
      }
    }
    expect(user.asked).toEqual([]);
    const empty = await user.pic([...(missing[2]?.[0] ?? []), "--password-stdin"], { input: "" });
    expect([empty.code, empty.err.includes("--password-stdin")]).toEqual([2, true]);
  });

  test("Ctrl-C in a prompt ends with 130 and without a word", async () => {
    using user = newUser();
    const { code, out, err } = await user.pic(["login", "--url", "http://127.0.0.1:1"], {
      input: ["\u0003"],
      isTerminal: true,
    });
    expect({ code, out, err }).toEqual({ code: 130, out: "", err: "" });
  });
});

describe("pic login with a token", () => {
  test("checks it, stores it, and takes it from standard input, too", async () => {
    await using t = await serve();
    const { raw_token } = await t.client.apiKeys.create({
      name: "ci",
      scopes: ["script:read"],
      expires_at: "2031-01-01T00:00:00Z",
    });
    for (const given of [raw_token, "-"]) {
      using user = newUser();
      const args = ["login", "--url", t.publicUrl, "--token", given];
      const { code, err } = await user.pic(args, { input: `${raw_token}\r\n` });
      expect({ code, shown: err.includes(raw_token) }).toEqual({ code: 0, shown: false });
      expect((await stored(user)).servers[t.publicUrl]).toEqual({
        token: raw_token,
        username: "ada",
        key_id: null,
        expires_at: "2031-01-01T00:00:00.000Z",
      });
      const me = JSON.parse((await user.pic(["whoami", "-o", "json"])).out);
      expect(me).toMatchObject({ username: "ada", key: { scopes: ["script:read"] } });
    }
  });

  test("one that is not good is exit code 3 and is not stored", async () => {
    await using t = await serve();
    using user = newUser();
    const token = `pic_${"a".repeat(52)}`;
    const { code } = await user.pic(["login", "--url", t.publicUrl, "--token", token]);
    expect({ code, stored: existsSync(user.credentials) }).toEqual({ code: 3, stored: false });
  });
});

describe("pic logout", () => {
  test("revokes the key that login made, and may be called again", async () => {
    await using t = await serve();
    using user = newUser();
    await login(user, t);
    const { token } = (await stored(user)).servers[t.publicUrl];
    expect((await user.pic(["logout"])).code).toBe(0);
    expect((await t.client.apiKeys.list()).items).toEqual([]);
    expect(await stored(user)).toEqual({ version: 1, current: null, servers: {} });
    const asked = await fetch(`${t.publicUrl}/api/v1/admin/auth/me`, {
      headers: { authorization: `Bearer ${token}` },
    });
    expect(asked.status).toBe(401);
    const again = await user.pic(["logout"]);
    expect(again).toEqual({ code: 0, out: "", err: "You are not signed in.\n" });
  });

  test("only forgets a token that was given, and says so", async () => {
    await using t = await serve();
    using user = newUser();
    await user.pic(["login", "--url", t.publicUrl, "--token", t.token]);
    const { code, err } = await user.pic(["logout"]);
    expect(code).toBe(0);
    expect(err).toContain("was given");
    expect((await t.client.auth.me()).username).toBe("ada");
    expect((await stored(user)).servers).toEqual({});
  });

  test("is done when the key is gone already", async () => {
    await using t = await serve();
    using user = newUser();
    await login(user, t);
    const [key] = (await t.client.apiKeys.list()).items;
    await t.client.apiKeys.delete(key?.id ?? "");
    expect((await user.pic(["logout"])).code).toBe(0);
    expect((await stored(user)).servers).toEqual({});
  });

  test("keeps a key that it cannot revoke, unless only this machine shall forget it", async () => {
    using user = newUser();
    const entry = {
      token: `pic_${"a".repeat(52)}`,
      username: "ada",
      key_id: "k",
      expires_at: null,
    };
    const file = {
      version: 1,
      current: "http://127.0.0.1:1",
      servers: { "http://127.0.0.1:1": entry },
    };
    await Bun.write(user.credentials, JSON.stringify(file));
    chmodSync(user.credentials, 0o600);
    const { code, err } = await user.pic(["logout"]);
    expect([code, err.includes("pic logout --local")]).toEqual([7, true]);
    expect(await stored(user)).toEqual(file);
    expect((await user.pic(["logout", "--local"])).code).toBe(0);
    expect((await stored(user)).servers).toEqual({});
  });
});

describe("two servers", () => {
  test("are kept apart, one of them is meant, and the other one may be chosen", async () => {
    await using one = await serve();
    await using two = await serve();
    using user = newUser();
    await login(user, one);
    await login(user, two);
    const list = async () =>
      (await user.pic(["servers", "ls"])).out
        .trimEnd()
        .split("\n")
        .map((line) => line.split("\t").slice(0, 3));
    expect(await list()).toEqual([
      [one.publicUrl, "ada", "false"],
      [two.publicUrl, "ada", "true"],
    ]);
    const json = (await user.pic(["servers", "ls", "-o", "json"])).out;
    expect(json).not.toContain("pic_");
    expect((await user.pic(["servers", "use", one.publicUrl])).code).toBe(0);
    expect((await user.pic(["whoami"])).out).toStartWith(`url\t${one.publicUrl}\n`);
    const other = await user.pic(["whoami", "--url", two.publicUrl]);
    expect(other.out).toStartWith(`url\t${two.publicUrl}\n`);
    expect((await user.pic(["servers", "use", "http://127.0.0.1:1"])).code).toBe(3);
    // The one that is left is meant from now on.
    expect((await user.pic(["logout"])).code).toBe(0);
    expect((await user.pic(["whoami"])).out).toStartWith(`url\t${two.publicUrl}\n`);
    expect((await one.client.apiKeys.list()).items).toEqual([]);
    expect((await two.client.apiKeys.list()).items).toHaveLength(1);
  });
});

describe("the credentials file", () => {
  test("is its owner's alone, in a folder that is its owner's alone, and written as a whole", async () => {
    await using t = await serve();
    using user = newUser();
    await login(user, t);
    expect(statSync(user.credentials).mode & 0o777).toBe(0o600);
    expect(statSync(dirname(user.credentials)).mode & 0o777).toBe(0o700);
    expect(readdirSync(dirname(user.credentials))).toEqual(["credentials.json"]);
  });

  test("is refused when others can use it, with what makes it right", async () => {
    await using t = await serve();
    using user = newUser();
    await login(user, t);
    for (const mode of [0o644, 0o640, 0o660, 0o601, 0o604]) {
      chmodSync(user.credentials, mode);
      for (const args of [["whoami"], ["logout"], ["servers", "ls"]]) {
        const { code, err } = await user.pic(args);
        expect([code, err.includes(`chmod 600 '${user.credentials}'`)]).toEqual([3, true]);
      }
    }
    chmodSync(user.credentials, 0o600);
    expect((await user.pic(["whoami"])).code).toBe(0);
  });

  test.skipIf(!isRoot)(
    "is refused when it is somebody else's (only root can make one)",
    async () => {
      await using t = await serve();
      using user = newUser();
      await login(user, t);
      const { chownSync } = await import("node:fs");
      chownSync(user.credentials, 12345, 12345);
      const { code, err } = await user.pic(["whoami"]);
      expect([code, err.includes("another user")]).toEqual([3, true]);
    },
  );

  test("is refused when it is damaged, of another version, or no file", async () => {
    using user = newUser();
    const texts = ["", "{", "null", "[]", '"x"', '{"version":2,"servers":{}}', "\u0000"];
    for (const text of texts) {
      await Bun.write(user.credentials, text);
      chmodSync(user.credentials, 0o600);
      const { code, err } = await user.pic(["whoami"]);
      expect([text, code, err.includes(user.credentials)]).toEqual([text, 3, true]);
    }
    using other = newUser();
    mkdirSync(other.credentials, { recursive: true, mode: 0o700 });
    expect((await other.pic(["whoami"])).code).toBe(3);
  });

  test("entries that are none are as good as absent", async () => {
    using user = newUser();
    const servers = { "http://127.0.0.1:1": { token: 1 }, __proto__: null };
    await Bun.write(
      user.credentials,
      JSON.stringify({ version: 1, current: "http://127.0.0.1:1", servers }),
    );
    chmodSync(user.credentials, 0o600);
    expect((await user.pic(["whoami"])).code).toBe(3);
    expect((await user.pic(["whoami", "--url", "http://constructor"])).code).toBe(3);
  });

  test("may be a link to a file that is good, and lies where the platform says", async () => {
    await using t = await serve();
    using user = newUser();
    await login(user, t);
    using other = newUser();
    mkdirSync(dirname(other.credentials), { recursive: true });
    symlinkSync(user.credentials, other.credentials);
    expect((await other.pic(["whoami"])).code).toBe(0);
    const text = await Bun.file(user.credentials).text();
    const places: [env: Record<string, string>, platform: NodeJS.Platform, path: string][] = [
      [{ XDG_CONFIG_HOME: `${user.homeDir}/xdg` }, "linux", "xdg/picloud"],
      [{}, "darwin", "Library/Application Support/picloud"],
      [{ APPDATA: `${user.homeDir}/roaming` }, "win32", "roaming/picloud"],
    ];
    for (const [env, platform, path] of places) {
      expect((await user.pic(["whoami"], { env, platform })).code).toBe(3);
      const file = `${user.homeDir}/${path}/credentials.json`;
      await Bun.write(file, text);
      chmodSync(file, 0o600);
      expect((await user.pic(["whoami"], { env, platform })).code).toBe(0);
    }
  });
});
