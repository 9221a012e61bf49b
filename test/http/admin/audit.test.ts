/**
 * The audit trail over the whole way in. For every call that the API declares and that changes something,
 * it is tried that there is no change without an entry, and no entry that tells a secret. A call without a
 * scenario fails.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { sha256Hex } from "../../../src/base/ids.ts";
import { createLogger } from "../../../src/base/log.ts";
import { declaredEndpoints } from "../../../src/http/admin/app.ts";
import type { Endpoint } from "../../../src/http/admin/endpoint.ts";
import type { Database } from "../../../src/storage/port.ts";
import { sql } from "../../../src/storage/sql.ts";
import { addKey } from "../../services/credentials.ts";
import {
  apart,
  exports,
  reads,
  type Scenario,
  scenarios,
  secrets,
  type World,
} from "./audit-scenarios.ts";
import { ask, serve } from "./server.ts";

const address = "192.0.2.7";
/** An entry with this id of a request finds no room. */
const full = "no-room";

const lines: string[] = [];
const log = createLogger({
  ...{ format: "json", level: "debug", now: systemClock.now },
  write: (line) => lines.push(line),
});
/** Raw tokens that were answered. */
const tokens: string[] = [];

let w: World;
beforeAll(async () => {
  w = await serve({ log });
  await fillUp(w.db);
});
afterAll(() => w[Symbol.asyncDispose]());

describe("every call that changes something", () => {
  // Only declared: nothing is called.
  const declared = declaredEndpoints(new Proxy({}, { get: () => ({}) }) as never);
  const changing = declared.filter(({ method }) => method !== "GET");
  const others: readonly string[] = [...reads, ...apart];

  test("has a scenario, and no scenario is of another one", () => {
    const expected = changing
      .map(({ operation }) => operation)
      .filter((one) => !others.includes(one));
    expect(Object.keys(scenarios).sort()).toEqual(expected.sort());
    for (const operation of others)
      expect(changing.map((one) => one.operation)).toContain(operation);
  });

  for (const endpoint of declared) {
    const prepare = scenarios[endpoint.operation] ?? exports[endpoint.operation];
    if (prepare === undefined) continue;
    test(`${endpoint.operation} is in the trail, and does not happen without`, async () => {
      const scenario = await prepare(w);
      const before = await dump(w.db);
      const refused = await send(endpoint, scenario, full);
      expect(refused.status).toBeGreaterThanOrEqual(500);
      expect(await dump(w.db)).toEqual(before);

      const request_id = `request-of-${endpoint.operation}`;
      const answer = await send(endpoint, scenario, request_id);
      expect([answer.status, await answer.clone().text()]).toEqual([
        endpoint.status,
        expect.anything(),
      ]);
      keepTokens(await answer.text());
      const found = await entries(w.db, request_id);
      expect(found.map(({ action }) => action)).toEqual(scenario.told);
      for (const entry of found) {
        expect(entry).toMatchObject({
          actor_id: scenario.actor_id ?? w.account?.id,
          credential: "session",
          address,
        });
        expect(entry.actor_name).not.toBe("");
      }
      const { target } = scenario;
      if (target !== undefined) expect(found.map(({ target_id }) => target_id)).toContain(target);
    });
  }

  test("tells of nothing when it is a dry run", async () => {
    const before = await dump(w.db);
    const query = { dry_run: "true" };
    const script = { name: "dry", source: secrets.source };
    const dry = {
      "kv.import": { query, body: '{"collection":"dry","key":"k","value":1}' },
      "docs.import": { query, body: '{"collection":"dry","value":{"id":"d"}}' },
      "deployments.create": { body: { scripts: [script], dry_run: true } },
    };
    for (const [operation, sent] of Object.entries(dry)) {
      const endpoint = declared.find((one) => one.operation === operation) as Endpoint;
      const scenario = { params: { app: "default" }, ...sent, told: [] };
      const answer = await send(endpoint, scenario, `dry-${operation}`);
      expect([operation, answer.status]).toEqual([operation, 200]);
      expect(await entries(w.db, `dry-${operation}`)).toEqual([]);
    }
    expect(await dump(w.db)).toEqual(before);
  });
});

test("the first account is told of as its own maker, and is not made without", async () => {
  await using first = await serve({ account: false, log });
  await fillUp(first.db);
  const { setup_token: token } = await first.accounts.start(null);
  const body = { token, username: "ada", password: secrets.password };
  const setup = (request_id: string) =>
    first.app.handle(
      new Request("http://pi/api/v1/admin/auth/setup", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      }),
      { listener: "public", remote_address: address, request_id },
    );
  expect((await setup(full)).status).toBe(500);
  expect(await first.db.all(sql`select id from accounts`)).toEqual([]);
  const answer = await setup("setup");
  const { account } = (await answer.json()) as { account: { id: string } };
  expect(await entries(first.db, "setup")).toMatchObject([
    {
      action: "account.create",
      actor_id: account.id,
      actor_name: "ada",
      target_id: account.id,
      address,
    },
  ]);
});

test("a key is told of by its prefix", async () => {
  const { raw } = await addKey(w.db, { id: w.account?.id ?? "" });
  const url = `${w.publicUrl}/api/v1/admin/apps`;
  await ask(url, "POST", { token: raw, body: { slug: "by-key", name: "By key" } });
  const [entry] = (await w.client.audit.list({ action: "app.create", limit: 1 })).items;
  expect(entry).toMatchObject({
    actor: { id: w.account?.id, name: "ada" },
    credential: `key:${raw.slice(4, 12)}`,
    address: "127.0.0.1",
    target: { kind: "app", name: "by-key" },
  });
});

test("a key that ends itself is told of, and a read is not", async () => {
  const { id, raw } = await addKey(w.db, { id: w.account?.id ?? "" });
  const before = await countEntries(w.db);
  expect((await ask(`${w.publicUrl}/api/v1/admin/apps`, "GET", { token: raw })).status).toBe(200);
  expect(await countEntries(w.db)).toBe(before);
  const url = `${w.publicUrl}/api/v1/admin/auth/logout`;
  expect((await ask(url, "POST", { token: raw })).status).toBe(204);
  const { items } = await w.client.audit.list({ target: id });
  expect(items).toMatchObject([
    { action: "api_key.delete", credential: `key:${raw.slice(4, 12)}` },
  ]);
});

test("owners read the trail, and nobody else", async () => {
  const url = `${w.publicUrl}/api/v1/admin/audit`;
  const all = await ask(url, "GET", { token: w.token });
  expect(all.status).toBe(200);
  expect(all.json.items.length).toBeGreaterThan(10);
  const { id, token } = await adminOf(w);
  expect((await ask(url, "GET", { token })).status).toBe(403);
  expect((await ask(url, "GET")).status).toBe(401);
  for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
    expect((await ask(url, method, { token: w.token, body: {} })).status).toBe(405);
  }
  const { raw } = await addKey(w.db, { id }, { scopes: ["instance:admin"] });
  expect((await ask(url, "GET", { token: raw })).status).toBe(403);
  const own = await addKey(w.db, { id: w.account?.id ?? "" }, { scopes: ["instance:admin"] });
  expect((await ask(url, "GET", { token: own.raw })).status).toBe(200);
});

test("a filter that is wrong is named", async () => {
  const cases = [
    ["action=script", "action"],
    ["action=*", "action"],
    ["action=", "action"],
    ["app=nothing", "app"],
    ["since=yesterday", "since"],
    ["until=2026-01-01", "until"],
    ["cursor=x", "cursor"],
    ["limit=0", "limit"],
    ["limit=1000", "limit"],
    ["target=a%00b", "target"],
    ["verb=x", "verb"],
    [`target=${"x".repeat(600)}`, "target"],
  ];
  for (const [query, path] of cases) {
    const url = `${w.publicUrl}/api/v1/admin/audit?${query}`;
    const { status, json } = await ask(url, "GET", { token: w.token });
    expect([query, status, json.errors?.[0]?.path]).toEqual([query, 422, path]);
  }
  for (const query of ["target=%27%20or%201=1%20--", "actor=%25", "action=script.drop"]) {
    const url = `${w.publicUrl}/api/v1/admin/audit?${query}`;
    const { status, json } = await ask(url, "GET", { token: w.token });
    expect([query, status, json.items]).toEqual([query, 200, []]);
  }
});

test("no secret is in the trail or in the log", async () => {
  const trail = JSON.stringify(await w.db.all(sql`select * from audit`));
  const kept = await w.db.all(sql<{ secret: string }>`select token_hash as secret from sessions
    union select password_hash from accounts union select secret_hash from api_keys`);
  expect(tokens.length).toBeGreaterThanOrEqual(2);
  expect(lines.length).toBeGreaterThan(10);
  const all = [...Object.values(secrets), ...tokens, ...kept.map(({ secret }) => secret), w.token];
  for (const secret of all) {
    expect([secret, trail.includes(secret)]).toEqual([secret, false]);
    expect([secret, lines.filter((line) => line.includes(secret))]).toEqual([secret, []]);
  }
  for (const text of [trail, lines.join("\n")]) {
    expect(text).not.toMatch(/pcs_[\w-]{20}|pic_[a-z2-7]{20}|\$argon2/);
  }
});

/** From here on an entry of the request `full` finds no room. */
async function fillUp(db: Database): Promise<void> {
  await db.tx((tx) =>
    tx.run(sql`create trigger audit_is_full before insert on audit when new.request_id = 'no-room'
      begin select raise(abort, 'there is no room'); end`),
  );
}

function send(endpoint: Endpoint, sent: Scenario, request_id: string): Promise<Response> {
  const { params = {}, query = {}, body, token = w.token } = sent;
  const path = endpoint.path.replace(/:(\w+)/g, (_, name: string) => params[name] ?? `:${name}`);
  const url = `http://pi/api/v1/admin${path}?${new URLSearchParams(query)}`;
  const headers = new Headers(token === null ? {} : { authorization: `Bearer ${token}` });
  if (body !== undefined) headers.set("content-type", endpoint.bodyType);
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const request = new Request(url, {
    method: endpoint.method,
    headers,
    ...(body === undefined ? {} : { body: text }),
  });
  return w.app.handle(request, { listener: "public", remote_address: address, request_id });
}

async function countEntries(db: Database): Promise<number> {
  return (await db.all(sql`select id from audit`)).length;
}

function keepTokens(text: string): void {
  const { token, raw_token } = text.startsWith("{") ? JSON.parse(text.split("\n")[0] ?? "") : {};
  tokens.push(...[token, raw_token].filter((one) => typeof one === "string"));
}

function entries(db: Database, request_id: string) {
  return db.all(
    sql<{
      action: string;
      actor_name: string;
      target_id: string;
    }>`select * from audit where request_id = ${request_id} order by at, id`,
  );
}

/** All that is stored, but the trail itself and the times of last use. */
async function dump(db: Database): Promise<Record<string, string[]>> {
  const tables = await db.all(sql<{ name: string }>`select name from sqlite_master
    where type = 'table' and name not like 'sqlite_%' and name <> 'audit' order by name`);
  const found: Record<string, string[]> = {};
  for (const { name } of tables) {
    const rows = await db.all<Record<string, unknown>>({
      texts: [`select * from ${name}`],
      values: [],
    });
    found[name] = rows
      .map((row) => JSON.stringify({ ...row, last_used_at: null, last_seen_at: null }))
      .filter((row) => !row.includes('"last_time"'))
      .sort();
  }
  return found;
}

async function adminOf({ accountAdmin, sessions, account, token }: World) {
  const actor = { account_id: account?.id ?? "", username: "ada", role: "owner" as const };
  const session_hash = sha256Hex(token);
  const rest = { memberships: new Map(), session_hash, key: null, address, request_id: "" };
  const admin = await accountAdmin.create(
    { ...actor, ...rest },
    { username: "admin", password: secrets.password, role: "admin" },
  );
  return { id: admin.id, token: (await sessions.create(admin)).token };
}
