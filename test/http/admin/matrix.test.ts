/**
 * Role × membership × credential × every operation of the API's document, asked of the whole way in:
 * gateway, front door, services. What each has to answer is worked out here from the rows of PERMISSIONS
 * alone, in other words than `can` uses, so that neither can be wrong without the other.
 *
 * Nothing changes meanwhile: a request is let in and then refused for a query member that nobody knows.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { newId } from "../../../src/base/ids.ts";
import { silentLogger } from "../../../src/base/log.ts";
import { type Action, PERMISSIONS, SCOPES, type Scope } from "../../../src/domain/access.ts";
import type { Actor } from "../../../src/domain/accounts.ts";
import { openApiDocument } from "../../../src/http/admin/openapi.ts";
import { createGateway, type Gateway } from "../../../src/http/gateway.ts";
import { compileTable } from "../../../src/routing/table.ts";
import { getScript } from "../../../src/storage/scripts.ts";
import { sql } from "../../../src/storage/sql.ts";
import { addAccount, addKey } from "../../services/credentials.ts";
import { record } from "../../services/fakes.ts";
import { serve } from "./server.ts";

const roles = ["member", "admin", "owner"] as const;
const appRoles = ["viewer", "editor", "admin"] as const;

/** Somebody, as far as `mine` is concerned: members are admins of another app, which must not help. */
interface Who {
  role: (typeof roles)[number];
  membership: (typeof appRoles)[number] | null;
}

const everybody: readonly Who[] = [
  { role: "owner", membership: null },
  { role: "admin", membership: null },
  ...[null, ...appRoles].map((membership) => ({ role: "member" as const, membership })),
];

type Bound = "none" | "mine" | "other";

interface Credential {
  name: string;
  /** Null: a session, which may all that its account may. */
  key: { scopes: readonly Scope[]; bound: Bound } | null;
  via: "bearer" | "cookie";
  /** False: as if there were none. */
  isGood: boolean;
}

const bindable = SCOPES.filter((scope) => scope !== "instance:admin");
const session: Credential = { name: "session", key: null, via: "bearer", isGood: true };
const credentials: readonly Credential[] = [
  session,
  { ...session, name: "cookie", via: "cookie" },
  ...SCOPES.map((scope) => keyOf(scope, [scope], "none")),
  keyOf("every scope", SCOPES, "none"),
  ...bindable.map((scope) => keyOf(`${scope}, of this app`, [scope], "mine")),
  keyOf("every scope, of this app", bindable, "mine"),
  keyOf("every scope, of another app", bindable, "other"),
  // No call makes such a key; it must not count if there is one.
  keyOf("even the scope of the instance, of this app", SCOPES, "mine"),
  { ...keyOf("expired", SCOPES, "none"), isGood: false },
  { ...keyOf("a key as a cookie", SCOPES, "none"), via: "cookie", isGood: false },
];

function keyOf(name: string, scopes: readonly Scope[], bound: Bound): Credential {
  return { name: `key: ${name}`, key: { scopes, bound }, via: "bearer", isGood: true };
}

/** How a call names the app that it is about. */
type Naming = "address" | "later" | "never";

interface Operation {
  id: string;
  method: string;
  path: string;
  action: Action;
  naming: Naming;
  body: object | null;
  /** Of the answer when it is let in. */
  allowed: number;
}

// biome-ignore lint/suspicious/noExplicitAny: an operation object of OpenAPI
type Documented = { method: string; path: string; operation: any };

const document = JSON.parse(await openApiDocument());
const documented: Documented[] = Object.entries(document.paths).flatMap(([path, item]) =>
  Object.entries(item as object).map(([method, operation]) => ({
    method: method.toUpperCase(),
    path,
    operation,
  })),
);

/** They need no credential. Whoever adds one says so here. */
const open = [
  "auth.login",
  "auth.setup",
  "executions.status",
  "system.document",
  "system.health",
  "system.version",
];

/** Of the keys of an app, which are among one's own in every call. */
const byServices = ["app_key.read", "app_key.write"];

/** They change nothing, although their method could. */
const asking = [
  ...["routes.check", "routes.match", "triggers.preview_cron"],
  ...["docs.find", "docs.count", "docs.explain"],
];

let t: Awaited<ReturnType<typeof serve>>;
let gateway: Gateway;
let mine: { app: string; script: string; route: string; execution: string };
let other: string;

beforeAll(async () => {
  t = await serve();
  const actor = (await t.authentication.authenticate(t.token))?.actor as Actor;
  const app = (await t.apps.get("default")).id;
  other = newId();
  await t.db.tx((tx) =>
    tx.run(
      sql`insert into apps (id, slug, name, created_at) values (${other}, 'other', 'Other', 0)`,
    ),
  );
  const { script } = await t.scripts.create(actor, { name: "a", source: "" });
  const { route } = await t.routes.create(actor, script.id, { path: "/a" });
  const execution = record(script.id, { app_id: app });
  t.records.records.push(execution);
  mine = { app, script: script.id, route: route.id, execution: execution.id };
  gateway = gatewayOver();
});

afterAll(async () => {
  await t[Symbol.asyncDispose]();
});

describe("the document", () => {
  test("names an action for every operation but those that anybody may call", () => {
    const without = documented.filter(
      ({ operation }) => operation["x-picloud-action"] === undefined,
    );
    expect(without.map(({ operation }) => operation.operationId).sort()).toEqual(open);
    for (const { operation } of documented) {
      const action: string | undefined = operation["x-picloud-action"];
      if (action !== undefined) expect(Object.keys(PERMISSIONS)).toContain(action);
    }
  });

  test("uses every row of the table, but for those that services ask for themselves", () => {
    const used = new Set(documented.map(({ operation }) => operation["x-picloud-action"]));
    const unused = Object.keys(PERMISSIONS).filter((action) => !used.has(action));
    expect(unused).toEqual(byServices);
  });

  test("names an action that reads for what reads, and another for what changes something", () => {
    for (const { method, operation } of documented) {
      const { operationId: id, "x-picloud-action": action } = operation;
      if (action === undefined || action === "script.execute") continue;
      const reads = method === "GET" || asking.includes(id);
      expect([id, action.endsWith(".read")]).toEqual([id, reads]);
    }
  });
});

describe("everybody, with every credential, at every operation", () => {
  test("gets the answer that the table gives", async () => {
    const operations = documented.flatMap(operationOf);
    const wrong: string[] = [];
    const before = await changes();
    const counts: Record<number, number> = {};
    let cells = 0;
    for (const [who, tokens] of await tokensOfEverybody()) {
      for (const operation of operations) {
        for (const [credential, token] of tokens) {
          // The cookie counts on the admin listener, which runs no scripts.
          if (credential.via === "cookie" && operation.action === "script.execute") continue;
          const expected = statusOf(who, credential, operation);
          const { status, text } = await send(operation, credential, token);
          counts[status] = (counts[status] ?? 0) + 1;
          cells += 1;
          if (status === expected) continue;
          const { role, membership } = who;
          wrong.push(
            `${operation.id}: ${role}/${membership} with ${credential.name}: ${status}, not ${expected}: ${text}`,
          );
        }
      }
    }
    console.log(
      `matrix: ${operations.length} operations × ${everybody.length} accounts × ${credentials.length} credentials: ` +
        `${cells} cells compared, by status ${JSON.stringify(counts)}`,
    );
    expect(wrong.slice(0, 20)).toEqual([]);
    expect(await changes()).toEqual(before);
    expect(cells).toBeGreaterThan(5_000);
  }, 60_000);

  test("is 401 without one, and tells nothing of what is there", async () => {
    for (const operation of documented.flatMap(operationOf)) {
      for (const token of ["", `pcs_${"a".repeat(43)}`, `pic_${"a".repeat(52)}`, "pic_", "x"]) {
        const there = await send(operation, session, token);
        const missing = await send(missingOf(operation), session, token);
        expect([operation.id, there.status, missing.status]).toEqual([operation.id, 401, 401]);
        expect(withoutId(there.text)).toEqual(withoutId(missing.text));
      }
    }
  });

  test("hides an app so that it cannot be told from one that does not exist", async () => {
    const [[, token]] = (await tokensOf({ role: "member", membership: null })) as [
      [Credential, string],
    ];
    for (const operation of documented.flatMap(operationOf)) {
      if (operation.naming !== "address") continue;
      const hidden = await send(operation, session, token);
      const missing = await send(missingOf(operation), session, token);
      expect([operation.id, hidden.status, missing.status]).toEqual([operation.id, 404, 404]);
      expect(withoutId(hidden.text)).toEqual(withoutId(missing.text));
    }
  });

  test("reads whatever they are let in to read, without a failure", async () => {
    const reads = documented.flatMap(operationOf).filter(({ method }) => method === "GET");
    for (const [who, tokens] of await tokensOfEverybody()) {
      for (const operation of reads) {
        for (const [credential, token] of tokens) {
          if (
            credential.via === "cookie" ||
            statusOf(who, credential, operation) !== operation.allowed
          )
            continue;
          const { status } = await send(
            { ...operation, path: plain(operation.path) },
            credential,
            token,
          );
          // What a query needs is not there; what the address names beside the app is not, either.
          expect([operation.id, [200, 404, 422].includes(status)]).toEqual([operation.id, true]);
        }
      }
    }
  }, 60_000);
});

/** What has to be answered, from the row of the table alone. */
function statusOf(who: Who, { key, isGood }: Credential, operation: Operation): number {
  if (!isGood) return 401;
  const { level, role, scopes } = PERMISSIONS[operation.action];
  const seesMine = key?.bound !== "other" && (who.role !== "member" || who.membership !== null);
  if (operation.naming === "address" && !seesMine) return 404;
  if (key !== null) {
    if (scopes === null) return 403;
    const groups: readonly (readonly Scope[])[] = scopes === "any" ? [] : scopes;
    if (groups.some((group) => key.scopes.filter((one) => group.includes(one)).length === 0))
      return 403;
    if (level === "instance" && key.bound !== "none") return 403;
  }
  if (level === "self") return operation.allowed;
  if (level === "instance") {
    return roles.indexOf(who.role) < roles.indexOf(role as Who["role"]) ? 403 : operation.allowed;
  }
  const enough = appRoles.slice(appRoles.indexOf(role as (typeof appRoles)[number]));
  const isEnough = (membership: Who["membership"]): boolean =>
    who.role !== "member" || enough.some((one) => one === membership);
  if (operation.naming === "address") return isEnough(who.membership) ? operation.allowed : 403;
  const isSomewhere =
    role === "viewer" ||
    (seesMine && isEnough(who.membership)) ||
    // Everybody is an admin of the other app.
    key === null ||
    key.bound !== "mine";
  if (!isSomewhere) return 403;
  if (operation.naming === "never") return operation.allowed;
  if (!seesMine) return 404;
  return isEnough(who.membership) ? operation.allowed : 403;
}

/** How an operation is asked for: of `mine`, and so that nothing changes. */
function operationOf({ method, path: template, operation }: Documented): Operation[] {
  const { operationId: id, "x-picloud-action": action } = operation;
  if (action === undefined) return [];
  const asked = { id, method, action, body: operation.requestBody === undefined ? null : {} };
  const known = template
    .replace("/apps/{app}", "/apps/default")
    .replace("/scripts/{id}", `/scripts/${mine.script}`)
    .replace("/routes/{id}", `/routes/${mine.route}`)
    .replace("/execute/{script_id}", `/execute/${mine.script}`)
    .replace("/executions/{id}", `/executions/${mine.execution}`)
    .replace("{number}", "1")
    .replace(/{\w+}/g, newId());
  if (id.startsWith("execute."))
    return [{ ...asked, path: known, naming: "address", allowed: 200 }];
  const refused = { ...asked, path: `${known}?nonsense=1`, allowed: 422 };
  if (/\/admin\/(?:apps\/{app}|scripts\/{id}|routes\/{id})/.test(template)) {
    return [{ ...refused, naming: "address" }];
  }
  if (PERMISSIONS[action as Action].level !== "app") return [{ ...refused, naming: "never" }];
  return [ofNoAddress({ ...asked, path: known }, refused)];
}

/** The app of these is known only later, by their services. Whoever adds one says here how it is asked. */
function ofNoAddress(
  whole: Omit<Operation, "naming" | "allowed">,
  refused: Omit<Operation, "naming">,
): Operation {
  switch (whole.id) {
    case "apps.list":
      return { ...refused, naming: "never" };
    case "routes.check":
    case "routes.match":
      return { ...refused, naming: "never" };
    case "scripts.list":
      return { ...whole, path: `${whole.path}?app=default`, naming: "later", allowed: 200 };
    case "scripts.create": {
      const body = { app: "default", name: "new", source: "syntax error" };
      return { ...whole, body, naming: "later", allowed: 422 };
    }
    case "executions.get":
      return { ...whole, naming: "later", allowed: 200 };
    default:
      throw new Error(`matrix.test.ts does not know how ${whole.id} names its app`);
  }
}

/** The same of what is not there. */
function missingOf(operation: Operation): Operation {
  const path = operation.path
    .replace("/apps/default", `/apps/${newId()}`)
    .replaceAll(mine.script, newId())
    .replaceAll(mine.route, newId());
  return { ...operation, path };
}

function plain(path: string): string {
  return path.replace("?nonsense=1", "");
}

/** Problems name their request. */
function withoutId(text: string): string {
  return text.replace(/"instance":"[^"]*"/, "");
}

/** All are there before the first is asked for: what one may must not come from another. */
async function tokensOfEverybody(): Promise<[Who, [Credential, string][]][]> {
  const all: [Who, [Credential, string][]][] = [];
  for (const who of everybody) all.push([who, await tokensOf(who)]);
  return all;
}

/** An account of its own, with every credential. */
async function tokensOf(who: Who): Promise<[Credential, string][]> {
  const memberships = who.membership === null ? {} : { [mine.app]: who.membership };
  const account = await addAccount(t.db, who.role, { ...memberships, [other]: "admin" });
  const boundTo = { none: null, mine: mine.app, other };
  const tokens: [Credential, string][] = [];
  for (const credential of credentials) {
    const { key, name } = credential;
    if (key === null) tokens.push([credential, (await t.sessions.create(account)).token]);
    else {
      const expires_at = name.endsWith("expired") ? t.clock.now() : null;
      const given = { scopes: key.scopes, app_id: boundTo[key.bound], expires_at };
      tokens.push([credential, (await addKey(t.db, account, given)).raw]);
    }
  }
  return tokens;
}

/** How much there is of what calls make and delete, and what the audit trail tells. */
async function changes(): Promise<object | null> {
  return t.db.get(sql`select (select count(*) from apps) as apps,
    (select count(*) from scripts) as scripts, (select count(*) from script_versions) as versions,
    (select count(*) from routes) as routes, (select count(*) from audit) as audit`);
}

async function send(
  { method, path, body }: Operation,
  { via }: Credential,
  token: string,
): Promise<{ status: number; text: string }> {
  const host = "pi.test";
  const headers: Record<string, string> =
    via === "bearer"
      ? { host, authorization: `Bearer ${token}` }
      : { host, cookie: `picloud_session=${token}`, origin: `http://${host}` };
  if (body !== null) headers["content-type"] = "application/json";
  const request = new Request(`http://${host}${path}`, {
    method,
    headers,
    ...(body === null ? {} : { body: JSON.stringify(body) }),
  });
  const fetch = via === "bearer" ? gateway.fetchPublic : gateway.fetchAdmin;
  const connection = { timeout: () => {}, requestIP: () => ({ address: "10.0.0.9" }) };
  const response = await fetch(request, connection);
  return { status: response.status, text: await response.text() };
}

/** As compose.ts makes it, but no script runs. */
function gatewayOver(): Gateway {
  const answer = { execution_id: "e", status_code: 200, headers: {}, body_kind: "json", body: "1" };
  return createGateway({
    table: () => compileTable([]),
    invoker: { invoke: async () => answer as never },
    asyncRuns: { accept: async () => ({}) as never, find: async () => null },
    publicBaseUrl: null,
    findScript: (id) => getScript(t.db, id),
    authoriseExecute: async (token, id) => {
      await t.authentication.authoriseScript(token, "script.execute", id);
    },
    admin: async () => t.app,
    version: () => ({}),
    adminPort: () => 0,
    log: silentLogger,
    newId,
  });
}
