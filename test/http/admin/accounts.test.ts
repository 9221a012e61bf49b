import { describe, expect, test } from "bun:test";
import { PicClient } from "../../../src/client.ts";
import type { InstanceRole } from "../../../src/domain/accounts.ts";
import { addKey } from "../../services/credentials.ts";
import { password } from "../../services/fakes.ts";
import { person } from "../../services/people.ts";
import { ask, serve } from "./server.ts";

const api = "/api/v1/admin";

/** The owner ada of `serve`, and one more of each role, each with a client. */
async function crowd() {
  const t = await serve();
  const enter = async (username: string, role: InstanceRole) => {
    const { account_id: id } = await person(t.db, username, role);
    const { token } = await t.sessions.create({ id });
    return { id, token, client: new PicClient({ base_url: t.publicUrl, token }) };
  };
  return {
    ...t,
    anna: await enter("anna", "admin"),
    mia: await enter("mia", "member"),
    url: `${t.publicUrl}${api}`,
    [Symbol.asyncDispose]: t[Symbol.asyncDispose],
  };
}

describe("accounts", () => {
  test("are made, found, changed and deleted", async () => {
    await using t = await crowd();
    const made = await t.client.accounts.create({ username: "noa", password });
    expect(made).toEqual({
      id: expect.any(String),
      username: "noa",
      role: "member",
      is_active: true,
      created_at: "2030-01-01T00:00:00.000Z",
      nomination: null,
    });
    expect(await t.client.accounts.get("noa")).toEqual(made);
    expect(await t.client.accounts.get(made.id)).toEqual(made);
    expect(await t.client.accounts.update("noa", {})).toEqual(made);
    expect((await t.client.accounts.update("noa", { role: "admin" })).role).toBe("admin");
    expect((await t.client.accounts.update(made.id, { is_active: false })).is_active).toBe(false);
    await t.client.accounts.delete("noa");
    await expect(t.client.accounts.get("noa")).rejects.toMatchObject({ status: 404 });
  });

  test("say where a new one is", async () => {
    await using t = await crowd();
    const body = { username: "noa", password };
    const answer = await ask(`${t.url}/accounts`, "POST", { token: t.token, body });
    expect([answer.status, answer.headers.get("location")]).toEqual([
      201,
      `${api}/accounts/${answer.json.id}`,
    ]);
    expect(answer.text).not.toContain("argon2");
  });

  test("are listed by name, in pages, by role, activity and part of the name", async () => {
    await using t = await crowd();
    await t.client.accounts.update("mia", { is_active: false });
    const names = async (filter: Parameters<typeof t.client.accounts.list>[0]) =>
      (await t.client.accounts.list(filter)).items.map((one) => one.username);
    expect(await names({})).toEqual(["ada", "anna", "mia"]);
    expect(await names({ q: "AN" })).toEqual(["anna"]);
    expect(await names({ q: "%" })).toEqual([]);
    expect(await names({ role: "owner" })).toEqual(["ada"]);
    expect(await names({ is_active: false })).toEqual(["mia"]);
    expect(await names({ is_active: true, role: "member" })).toEqual([]);
    const first = await t.client.accounts.list({ limit: 2 });
    const second = await t.client.accounts.list({ limit: 2, cursor: first.next_cursor });
    expect(second.items.map((one) => one.username)).toEqual(["mia"]);
  });

  test.each(["role=root", "is_active=1", "is_active=yes", "x=1", "limit=0", "cursor=x", "q=%00"])(
    "are not listed by %p",
    async (query) => {
      await using t = await crowd();
      expect((await ask(`${t.url}/accounts?${query}`, "GET", { token: t.token })).status).toBe(422);
    },
  );

  test("are nothing for members, not even their own", async () => {
    await using t = await crowd();
    const { client } = t.mia;
    const forbidden = { status: 403, code: "forbidden" };
    await expect(client.accounts.list()).rejects.toMatchObject(forbidden);
    await expect(client.accounts.get("mia")).rejects.toMatchObject(forbidden);
    await expect(client.accounts.get("nobody")).rejects.toMatchObject(forbidden);
    await expect(client.accounts.update("mia", { role: "owner" })).rejects.toMatchObject(forbidden);
    await expect(client.accounts.delete("anna")).rejects.toMatchObject(forbidden);
    await expect(client.accounts.create({ username: "noa", password })).rejects.toMatchObject(
      forbidden,
    );
  });

  test("that lost a role or were switched off feel it in the next request", async () => {
    await using t = await crowd();
    await t.anna.client.accounts.list();
    await t.client.accounts.update("anna", { role: "member" });
    await expect(t.anna.client.accounts.list()).rejects.toMatchObject({ status: 403 });
    const { raw } = await addKey(t.db, { id: t.anna.id });
    await t.client.accounts.update("anna", { is_active: false });
    await expect(t.anna.client.auth.me()).rejects.toMatchObject({ status: 401 });
    await t.client.accounts.update("anna", { is_active: true });
    await expect(t.anna.client.auth.me()).rejects.toMatchObject({ status: 401 });
    expect((await ask(`${t.url}/auth/me`, "GET", { token: raw })).status).toBe(401);
  });

  test("answer refusals with a sentence that says what would do", async () => {
    await using t = await crowd();
    const detail = (promise: Promise<unknown>): Promise<string> =>
      promise.then(
        () => "done",
        (error) => `${error.status} ${error.message}`,
      );
    const { client } = t.anna;
    const { accounts } = client;
    expect(await detail(accounts.update("mia", { role: "admin" }))).toMatch(/^403 .*nominate/);
    expect(await detail(accounts.create({ username: "noa", password, role: "owner" }))).toMatch(
      /^403 .*nominate/,
    );
    expect(await detail(accounts.update("ada", { password }))).toMatch(/^403 Only an owner/);
    expect(await detail(accounts.delete("anna"))).toMatch(/^403 Nobody deletes their own/);
    expect(await detail(t.client.accounts.update("ada", { role: "admin" }))).toMatch(
      /^409 ada is the last active owner/,
    );
    expect(await detail(t.client.accounts.update("ada", { password }))).toMatch(
      /^403 .*POST \/auth\/password/,
    );
  });

  test.each<object>([
    {},
    { username: "noa" },
    { username: ["noa"], password },
    { username: { $ne: null }, password },
    { username: "", password },
    { username: "no\0a", password },
    { username: "Noa", password },
    { username: "n\u043ea", password },
    { username: "x".repeat(65), password },
    { username: "01890a5d-ac96-774b-bcce-b302099a8057", password },
    { username: "noa", password: "short" },
    { username: "noa", password: 1_234_567_890 },
    { username: "noa", password, role: "root" },
    { username: "noa", password, role: null },
    { username: "noa", password, is_active: false },
    { username: "noa", password, __proto__x: 1 },
  ])("are not made of %p", async (body) => {
    await using t = await crowd();
    const answer = await ask(`${t.url}/accounts`, "POST", { token: t.token, body });
    expect([answer.status, answer.json.errors.length > 0]).toEqual([422, true]);
    expect(answer.text).not.toContain(password);
  });

  test.each<object>([
    { role: "root" },
    { role: ["admin"] },
    { role: null },
    { is_active: "false" },
    { is_active: 0 },
    { password: "short" },
    { username: "eve" },
    { nomination: { role: "owner" } },
    { id: "01890a5d-ac96-774b-bcce-b302099a8057" },
  ])("are not changed by %p", async (body) => {
    await using t = await crowd();
    const answer = await ask(`${t.url}/accounts/mia`, "PATCH", { token: t.token, body });
    expect(answer.status).toBe(422);
    expect(await t.client.accounts.get("mia")).toMatchObject({ role: "member", is_active: true });
  });

  test.each([
    "nobody",
    "01890a5d-ac96-774b-bcce-b302099a8057",
    "MIA",
    "mia%00",
    "m%C3%ACa",
    "x".repeat(65),
    "'%20or%201=1",
  ])("are not found as %p", async (name) => {
    await using t = await crowd();
    const url = `${t.url}/accounts/${name}`;
    for (const method of ["GET", "DELETE"]) {
      const { status } = await ask(url, method, { token: t.token });
      expect([400, 404]).toContain(status);
    }
    const patched = await ask(url, "PATCH", { token: t.token, body: { role: "admin" } });
    expect([400, 404]).toContain(patched.status);
  });
});

describe("nominations", () => {
  test("are made by an admin, seen with the account, and approved by an owner", async () => {
    await using t = await crowd();
    const nominated = await t.anna.client.accounts.nominate("mia", { role: "admin" });
    const nomination = { role: "admin", by: t.anna.id, at: "2030-01-01T00:00:00.000Z" } as const;
    expect(nominated).toMatchObject({ role: "member", nomination });
    expect((await t.client.accounts.get("mia")).nomination).toEqual(nomination);
    const byAnna = t.anna.client.accounts.approveNomination("mia", { role: "admin" });
    await expect(byAnna).rejects.toMatchObject({
      status: 403,
      message: expect.stringContaining("the role owner"),
    });
    const { accounts } = t.client;
    await expect(accounts.approveNomination("mia", { role: "owner" })).rejects.toMatchObject({
      status: 409,
    });
    expect(await accounts.approveNomination("mia", { role: "admin" })).toMatchObject({
      role: "admin",
      nomination: null,
    });
    const again = accounts.approveNomination("mia", { role: "admin" });
    await expect(again).rejects.toMatchObject({ status: 409 });
    await t.mia.client.accounts.list();
  });

  test.each([
    ["", 422],
    ["?role=", 422],
    ["?role=member", 422],
    ["?role=Admin", 422],
    ["?role=admin&role=owner", 422],
    ["?role=admin&expected=owner", 422],
    ["?role=owner", 409],
  ])(
    "are not approved with the query %p, which does not say what was seen",
    async (query, status) => {
      await using t = await crowd();
      await t.anna.client.accounts.nominate("mia", { role: "admin" });
      const url = `${t.url}/accounts/mia/nomination/approve${query}`;
      expect((await ask(url, "POST", { token: t.token })).status).toBe(status);
      expect(await t.client.accounts.get("mia")).toMatchObject({
        role: "member",
        nomination: { role: "admin" },
      });
    },
  );

  test("are withdrawn", async () => {
    await using t = await crowd();
    await t.anna.client.accounts.nominate("mia", { role: "owner" });
    await t.anna.client.accounts.withdrawNomination("mia");
    expect((await t.client.accounts.get("mia")).nomination).toBeNull();
    await expect(t.anna.client.accounts.withdrawNomination("mia")).rejects.toMatchObject({
      status: 404,
    });
  });

  test.each<[unknown, number]>([
    [{ role: "member" }, 422],
    [{ role: "root" }, 422],
    [{ role: ["admin"] }, 422],
    [{}, 422],
    [{ role: "admin", by: "me" }, 422],
    ["role=admin", 400],
    ["null", 422],
  ])("are not made of %p", async (body, status) => {
    await using t = await crowd();
    const answer = await ask(`${t.url}/accounts/mia/nomination`, "POST", { token: t.token, body });
    expect(answer.status).toBe(status);
  });
});
