/** API keys at the public listener: who may run a script with one, and where a key must never turn up. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { PicClient } from "../../src/client.ts";
import { apiKeysPerAccountMax } from "../../src/domain/limits.ts";
import type { ApiKeyInput } from "../../src/schema/api-keys.ts";
import { adminLogin, startServer, type TestServer } from "./server.ts";
import { problemOf, recordOf, until } from "./steps.ts";

const source = `import { log } from "picloud";
export default (ctx) => {
  log.info("called", { headers: ctx.request.headers });
  return { headers: ctx.request.headers, all: JSON.stringify(ctx) };
};
`;

let server: TestServer;
/** The first account may do everything; this one belongs to the app `blog` as an editor. */
let editor: PicClient;
let stranger: PicClient;
let scriptId: string;

beforeAll(async () => {
  server = await startServer();
  await server.client.apps.create({ slug: "blog", name: "Blog" });
  await server.client.apps.create({ slug: "shop", name: "Shop" });
  editor = await account("erin");
  stranger = await account("sam");
  await server.client.members.put("blog", "erin", { role: "editor" });
  await server.client.members.put("shop", "sam", { role: "admin" });
  scriptId = (await editor.scripts.create({ app: "blog", name: "echo", source })).id;
});

afterAll(() => server[Symbol.asyncDispose]());

/** A member, logged in. */
async function account(username: string): Promise<PicClient> {
  const { password } = adminLogin;
  await server.client.accounts.create({ username, password });
  const client = new PicClient({ base_url: server.url });
  await client.auth.login({ username, password });
  return client;
}

async function key(client: PicClient, more: Partial<ApiKeyInput> = {}) {
  return client.apiKeys.create({ name: "runs it", scopes: ["script:execute"], ...more });
}

function execute(token?: string): Promise<Response> {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  return fetch(`${server.url}/api/v1/execute/${scriptId}`, { method: "POST", headers });
}

async function refused(token: string | undefined, code: string): Promise<number> {
  const response = await execute(token);
  expect(response.headers.get("x-picloud-execution-id")).toBeNull();
  const problem = await problemOf(response);
  expect(problem.code).toBe(code);
  return problem.status;
}

describe("a script is run", () => {
  test("by nobody without a token, with one that is none, or with a key that is unknown", async () => {
    const { raw_token: raw } = await key(editor);
    const last = raw.endsWith("a") ? "q" : "a";
    for (const token of [
      undefined,
      "pic_",
      `pic_${"a".repeat(52)}`,
      raw.toUpperCase(),
      raw.slice(0, -1) + last,
      `${raw}a`,
      raw.slice(4),
    ]) {
      expect(await refused(token, "unauthenticated")).toBe(401);
    }
  });

  test("by a key that may, of an account that may", async () => {
    for (const made of [
      await key(editor),
      await key(editor, { app: "blog" }),
      await key(server.client),
    ]) {
      const response = await execute(made.raw_token);
      expect([made.username, response.status]).toEqual([made.username, 200]);
    }
  });

  test("by no key without script:execute, by none of a stranger or of another app", async () => {
    const others = ["script:read", "script:write", "route:write", "log:read", "app:admin"] as const;
    const made = await key(editor, { scopes: [...others] });
    expect(await refused(made.raw_token, "forbidden")).toBe(403);
    expect(await refused((await key(stranger)).raw_token, "not_found")).toBe(404);
    const elsewhere = await key(server.client, { app: "shop" });
    expect(await refused(elsewhere.raw_token, "not_found")).toBe(404);
  });

  test("by no key whose account may no longer, from the very next request on", async () => {
    const { raw_token: raw } = await key(editor);
    expect((await execute(raw)).status).toBe(200);
    await server.client.members.put("blog", "erin", { role: "viewer" });
    expect(await refused(raw, "forbidden")).toBe(403);
    await server.client.members.delete("blog", "erin");
    expect(await refused(raw, "not_found")).toBe(404);
    await server.client.members.put("blog", "erin", { role: "editor" });
    expect((await execute(raw)).status).toBe(200);
  });

  test("by no key that is revoked, or has logged out", async () => {
    const made = await key(editor);
    await editor.apiKeys.delete(made.id);
    expect(await refused(made.raw_token, "unauthenticated")).toBe(401);
    const another = await key(editor);
    await new PicClient({ base_url: server.url, token: another.raw_token }).auth.logout();
    expect(await refused(another.raw_token, "unauthenticated")).toBe(401);
  });

  test("by no key of an account that was switched off, also when it comes back", async () => {
    const leaver = await account("lee");
    await server.client.members.put("blog", "lee", { role: "editor" });
    const { raw_token: raw } = await key(leaver);
    expect((await execute(raw)).status).toBe(200);
    await server.client.accounts.update("lee", { is_active: false });
    expect(await refused(raw, "unauthenticated")).toBe(401);
    await server.client.accounts.update("lee", { is_active: true });
    expect(await refused(raw, "unauthenticated")).toBe(401);
  });
});

describe("a key", () => {
  test("reaches no script, no record and no log", async () => {
    const { raw_token: raw, prefix, id } = await key(editor);
    const secret = raw.slice(4);
    const response = await execute(raw);
    const text = await response.text();
    const { headers } = JSON.parse(text) as { headers: Record<string, string> };
    expect(headers).not.toHaveProperty("authorization");
    const record = JSON.stringify(await recordOf(server.client, response));
    expect(record).toContain("called");
    const told = JSON.stringify((await server.client.audit.list({ target: id })).items);
    expect(told).toContain("api_key.create");
    for (const [where, found] of [
      ["the answer", text],
      ["the record", record],
      ["the log", server.output()],
      ["the audit trail", told],
      ["the list", JSON.stringify(await editor.apiKeys.list())],
    ] as const) {
      expect([where, found.includes(secret), found.includes(secret.slice(8))]).toEqual([
        where,
        false,
        false,
      ]);
    }
    expect(told).toContain(prefix);
  });

  test("is one of a hundred, also when many are made at the same time", async () => {
    const client = await account("max");
    const made = await Promise.allSettled(
      Array.from({ length: apiKeysPerAccountMax + 8 }, () => key(client)),
    );
    const refusals = made.flatMap((one) => (one.status === "rejected" ? [one.reason] : []));
    expect(refusals.map(({ status, code }) => [status, code])).toEqual(
      Array(8).fill([409, "conflict"]),
    );
    const { items, next_cursor } = await client.apiKeys.list({ limit: 200 });
    expect([items.length, next_cursor]).toEqual([apiKeysPerAccountMax, null]);
  });

  test("says when it was last used", async () => {
    const made = await key(editor);
    expect(made.last_used_at).toBeNull();
    await execute(made.raw_token);
    await until("the use is noted", 10_000, async () =>
      (await editor.apiKeys.get(made.id)).last_used_at === null ? null : true,
    );
  });
});
