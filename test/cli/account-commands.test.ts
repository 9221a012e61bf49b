/** Apps, accounts and the audit trail from the command line, against a real server. */
import { describe, expect, test } from "bun:test";
import type { PicClient } from "../../src/client.ts";
import { password } from "../services/fakes.ts";
import { newUser } from "./pic-runs.ts";
import { done, now, signedIn, table } from "./signed-in.ts";

/** What somebody else sees: an account and a session of their own. */
async function sessionOf(client: PicClient, url: string, username: string) {
  await client.accounts.create({ username, password });
  const other = newUser({ now });
  const answer = await fetch(`${url}/api/v1/admin/auth/login`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ username, password }),
  });
  const { token } = (await answer.json()) as { token: string };
  const env = { PICLOUD_URL: url, PICLOUD_TOKEN: token };
  return {
    pic: (args: string[]) => other.pic(args, { env }),
    [Symbol.dispose]: () => other[Symbol.dispose](),
  };
}

test("whoami says where, who, and what the key allows", async () => {
  await using t = await signedIn();
  expect(await table(t.user, ["whoami"])).toBe(
    [
      `url       ${t.publicUrl}`,
      "username  ada",
      "role      owner",
      "apps      all",
      "key       -",
      "scopes    all",
      "expires   -",
      "",
    ].join("\n"),
  );
});

describe("apps", () => {
  test("are made, listed, shown, renamed and deleted", async () => {
    await using t = await signedIn();
    await done(t.user, ["apps", "create", "blog", "--name", "The blog"]);
    expect(await table(t.user, ["apps", "ls"])).toBe(
      [
        "SLUG     NAME      YOUR ROLE  CREATED                   ID",
        "blog     The blog  admin      2030-01-01T00:00:00.000Z  <id>",
        "default  Default   admin      2030-01-01T00:00:00.000Z  <id>",
        "",
      ].join("\n"),
    );
    await done(t.user, ["apps", "rename", "blog", "weblog"]);
    await done(t.user, ["apps", "rename", "weblog", "--name", "Notes"]);
    expect(await done(t.user, ["apps", "show", "weblog"])).toStartWith(
      "slug\tweblog\nname\tNotes\n",
    );
    expect((await t.user.pic(["apps", "rename", "weblog"])).code).toBe(2);
    const deleted = await t.user.pic(["apps", "delete", "weblog"]);
    expect(deleted).toEqual({ code: 0, out: "", err: "Deleted the app weblog.\n" });
    expect((await t.user.pic(["apps", "show", "weblog"])).code).toBe(5);
  });

  test("one that is not empty is kept, the refusal says what would go, --force deletes it", async () => {
    await using t = await signedIn();
    await done(t.user, ["apps", "create", "blog"]);
    await t.client.scripts.create({ app: "blog", name: "hello", source: "" });
    const { code, err } = await t.user.pic(["apps", "delete", "blog"]);
    expect(code).toBe(6);
    expect(err).toContain("scripts 1");
    expect(err).toContain("--force");
    expect((await t.user.pic(["apps", "delete", "blog", "--force"])).code).toBe(0);
  });

  test("have members, in roles that are known", async () => {
    await using t = await signedIn();
    await t.client.accounts.create({ username: "grace", password });
    await done(t.user, ["apps", "members", "add", "default", "grace", "viewer"]);
    await done(t.user, ["apps", "members", "add", "default", "grace", "editor"]);
    expect(await table(t.user, ["apps", "members", "ls", "default"])).toBe(
      [
        "USERNAME  ROLE    ACCOUNT ROLE  ACTIVE  SINCE                     ACCOUNT ID",
        "grace     editor  member        yes     2030-01-01T00:00:00.000Z  <id>",
        "",
      ].join("\n"),
    );
    await done(t.user, ["apps", "members", "rm", "default", "grace"]);
    expect(await done(t.user, ["apps", "members", "ls", "default"])).toBe("");
    const wrong = await t.user.pic(["apps", "members", "add", "default", "grace", "king"]);
    expect([wrong.code, wrong.err.includes("viewer, editor, admin")]).toEqual([2, true]);
    expect((await t.user.pic(["apps", "members", "rm", "default", "nobody"])).code).toBe(5);
  });

  test("have hosts", async () => {
    await using t = await signedIn();
    await done(t.user, ["apps", "hosts", "add", "default", "Blog.Home.Lan"]);
    await done(t.user, ["apps", "hosts", "add", "default", "*.blog.home.lan"]);
    const hosts = (await done(t.user, ["apps", "hosts", "ls", "default"])).split("\n");
    expect(hosts.map((line) => line.split("\t")[0]).sort()).toEqual([
      "",
      "*.blog.home.lan",
      "blog.home.lan",
    ]);
    await done(t.user, ["apps", "hosts", "rm", "default", "*.blog.home.lan"]);
    expect((await t.user.pic(["apps", "hosts", "rm", "default", "nope.lan"])).code).toBe(5);
    expect((await t.user.pic(["apps", "hosts", "add", "default", "not a host"])).code).toBe(1);
  });

  test("more than a page of them are all listed", async () => {
    await using t = await signedIn();
    const slugs = Array.from({ length: 205 }, (_, index) => `app-${index}`);
    for (const slug of slugs) await t.client.apps.create({ slug, name: slug });
    const listed = (await done(t.user, ["apps", "ls"])).trimEnd().split("\n");
    expect(listed).toHaveLength(206);
  });
});

describe("accounts", () => {
  test("are made with a password from standard input or typed twice, and never as an argument", async () => {
    await using t = await signedIn();
    await done(t.user, ["accounts", "create", "grace", "--password-stdin"], `${password}\n`);
    const typed = await t.user.pic(["accounts", "create", "alan", "--role", "admin"], {
      input: ["short", password, "other", password],
      isTerminal: true,
    });
    expect(typed.code).toBe(0);
    expect(t.user.asked).toEqual(["New password", "New password", "Once more", "Once more"]);
    expect(await table(t.user, ["accounts", "ls"])).toBe(
      [
        "USERNAME  ROLE    ACTIVE  NOMINATED  CREATED                   ID",
        "ada       owner   yes     -          2030-01-01T00:00:00.000Z  <id>",
        "alan      admin   yes     -          2030-01-01T00:00:00.000Z  <id>",
        "grace     member  yes     -          2030-01-01T00:00:00.000Z  <id>",
        "",
      ].join("\n"),
    );
    const unasked = await t.user.pic(["accounts", "create", "kurt"]);
    expect([unasked.code, unasked.err.includes("--password-stdin")]).toEqual([2, true]);
    const short = await t.user.pic(["accounts", "create", "kurt", "--password-stdin"], {
      input: "short",
    });
    expect([short.code, short.err.includes("short\n")]).toEqual([2, false]);
    expect((await t.user.pic(["accounts", "create", "kurt", password])).code).toBe(2);
  });

  test("change their role, are switched off and on, and are found", async () => {
    await using t = await signedIn();
    for (const username of ["grace", "alan"])
      await t.client.accounts.create({ username, password });
    await done(t.user, ["accounts", "set-role", "grace", "admin"]);
    await done(t.user, ["accounts", "deactivate", "alan"]);
    const names = async (...args: string[]) =>
      (await done(t.user, ["accounts", "ls", ...args]))
        .trimEnd()
        .split("\n")
        .map((line) => line.split("\t")[0]);
    expect(await names("--inactive")).toEqual(["alan"]);
    expect(await names("--role", "admin")).toEqual(["grace"]);
    expect(await names("--search", "rac")).toEqual(["grace"]);
    await done(t.user, ["accounts", "activate", "alan"]);
    expect(await names("--inactive")).toEqual([""]);
    const last = await t.user.pic(["accounts", "deactivate", "ada"]);
    expect([4, 6]).toContain(last.code);
    expect((await t.user.pic(["accounts", "set-role", "nobody", "admin"])).code).toBe(5);
  });

  test("are nominated by admins and approved by owners", async () => {
    await using t = await signedIn();
    await t.client.accounts.create({ username: "grace", password });
    await done(t.user, ["accounts", "nominate", "grace", "admin"]);
    expect(await table(t.user, ["accounts", "ls"])).toContain("grace     member  yes     admin");
    expect((await t.user.pic(["accounts", "approve", "grace", "--role", "owner"])).code).toBe(6);
    const approved = await t.user.pic(["accounts", "approve", "grace"]);
    expect(approved.code).toBe(0);
    expect(approved.err).toStartWith("grace is member, and nominated for admin since 2030-01-01");
    expect((await t.client.accounts.get("grace")).role).toBe("admin");
    expect((await t.user.pic(["accounts", "approve", "grace"])).code).toBe(6);
    await done(t.user, ["accounts", "nominate", "grace", "owner"]);
    await done(t.user, ["accounts", "withdraw", "grace"]);
    expect((await t.client.accounts.get("grace")).nomination).toBeNull();
  });

  test("set their own password with the old one, which ends their other sessions", async () => {
    await using t = await signedIn();
    const next = "staple horse battery";
    const wrong = await t.user.pic(["accounts", "passwd", "--password-stdin"], {
      input: `not it at all\n${next}\n`,
    });
    expect(wrong.code).toBe(3);
    await done(t.user, ["accounts", "passwd", "--password-stdin"], `${password}\n${next}\n`);
    expect((await t.user.pic(["whoami"])).code).toBe(3);
    await t.anonymous.auth.login({ username: "ada", password: next });
    const one = await t.user.pic(["accounts", "passwd", "--password-stdin"], { input: "one line" });
    expect(one.code).not.toBe(0);
  });

  test("set the password of others", async () => {
    await using t = await signedIn();
    await t.client.accounts.create({ username: "grace", password });
    const next = "staple horse battery";
    await done(t.user, ["accounts", "passwd", "grace", "--password-stdin"], next);
    await t.anonymous.auth.login({ username: "grace", password: next });
  });
});

describe("the last owner", () => {
  test("stays one: 6, and what to do first", async () => {
    await using t = await signedIn();
    const { code, err } = await t.user.pic(["accounts", "set-role", "ada", "member"]);
    expect(code).toBe(6);
    expect(err).toEndWith(
      "\n→ make somebody else an owner first: pic accounts set-role <account> owner\n",
    );
  });
});

describe("accounts delete", () => {
  test("asks, unless --yes; what nobody confirms is not done, and says so", async () => {
    await using t = await signedIn();
    await t.client.accounts.create({ username: "grace", password });
    const remove = ["accounts", "delete", "grace"];
    const unasked = await t.user.pic(remove);
    expect([unasked.code, unasked.err.includes("--yes")]).toEqual([2, true]);
    const env = { NO_COLOR: "1" };
    const no = await t.user.pic(remove, { env, input: ["no"], isTerminal: true });
    expect(no).toEqual({ code: 1, out: "", err: "error: Nothing was deleted\n" });
    expect((await t.client.accounts.get("grace")).username).toBe("grace");
    const yes = await t.user.pic(remove, { input: ["yes"], isTerminal: true });
    expect(yes).toEqual({ code: 0, out: "", err: "Deleted the account grace.\n" });
    expect((await t.user.pic([...remove, "--yes"])).code).toBe(5);
    expect((await t.user.pic(["accounts", "delete", "ada", "--yes"])).code).toBe(4);
  });
});

test("what a member may not do is 4, and what they may not see is 5", async () => {
  await using t = await signedIn();
  await t.client.apps.create({ slug: "secret", name: "Secret" });
  using grace = await sessionOf(t.client, t.publicUrl, "grace");
  for (const args of [
    ["apps", "create", "mine"],
    ["accounts", "ls"],
    ["audit", "ls"],
  ]) {
    const { code, err } = await grace.pic(args);
    expect([args, code, err.includes("→ ")]).toEqual([args, 4, true]);
  }
  expect((await grace.pic(["apps", "show", "secret"])).code).toBe(5);
  expect(await grace.pic(["apps", "ls"])).toEqual({ code: 0, out: "", err: "" });
});

test("the audit trail is listed, filtered, and shows names as they are without their tricks", async () => {
  await using t = await signedIn();
  await done(t.user, ["apps", "create", "blog", "--name", "Blog"]);
  await done(t.user, ["apps", "create", "wiki", "--name", "Wiki"]);
  const lines = (await done(t.user, ["audit", "ls", "--action", "app.create", "--actor", "ada"]))
    .trimEnd()
    .split("\n");
  expect(lines.map((line) => line.split("\t").slice(1, 3))).toEqual([
    ["ada", "session"],
    ["ada", "session"],
  ]);
  const one = await done(t.user, ["audit", "ls", "--limit", "1", "--since", "1h", "-o", "json"]);
  expect(JSON.parse(one)).toHaveLength(1);
  expect(JSON.parse(await done(t.user, ["audit", "ls", "--until", "1h", "-o", "json"]))).toEqual(
    [],
  );
  for (const args of [
    ["--since", "yesterday"],
    ["--limit", "0"],
    ["--limit", "many"],
  ]) {
    expect((await t.user.pic(["audit", "ls", ...args])).code).toBe(2);
  }
});

test("names that would write over the screen are shown without doing so", async () => {
  const name = "\u001b[2J\u001b]0;root\u0007\u202eevil\u2066\nfake   Fake  admin\u009b31m";
  const item = { id: "1", slug: "blog", name, role: "admin", created_at: "2030" };
  using user = newUser({
    env: { PICLOUD_URL: "http://pi:8080", PICLOUD_TOKEN: "pic_x", NO_COLOR: "1" },
    fetch: () => Promise.resolve(Response.json({ items: [item], next_cursor: null })),
  });
  const shown = await user.pic(["apps", "ls"], { isTerminal: true });
  expect(shown.out).toBe(
    [
      "SLUG  NAME                     YOUR ROLE  CREATED  ID",
      "blog  evil fake   Fake  admin  admin      2030     1",
      "",
    ].join("\n"),
  );
  const tsv = await user.pic(["apps", "ls"]);
  expect(tsv.out).toBe(
    "blog\t\\u001b[2J\\u001b]0;root\\u0007\\u202eevil\\u2066\\nfake   Fake  admin\\u009b31m\tadmin\t2030\t1\n",
  );
  const json = await user.pic(["apps", "ls", "-o", "json"]);
  expect(JSON.parse(json.out)).toEqual([item]);
  expect(json.out.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
});

test("a list without an end is cut, and says so", async () => {
  let requests = 0;
  using user = newUser({
    env: { PICLOUD_URL: "http://pi:8080", PICLOUD_TOKEN: "pic_x" },
    fetch: () => {
      requests += 1;
      const item = { id: "1", slug: "blog", name: "", role: "admin", created_at: "2030" };
      const items = Array.from({ length: 200 }, () => item);
      return Promise.resolve(Response.json({ items, next_cursor: "more" }));
    },
  });
  const { code, err } = await user.pic(["apps", "ls"]);
  expect({ code, requests }).toEqual({ code: 0, requests: 50 });
  expect(err).toContain("there are more");
});
