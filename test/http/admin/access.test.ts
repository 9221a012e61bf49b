/** What a request costs that was let in, what lists show, and what those try who may not. */
import { describe, expect, test } from "bun:test";
import { countersSince, snapshotCounters } from "../../../src/base/metrics.ts";
import { PicClient } from "../../../src/client.ts";
import type { AppRole, Scope } from "../../../src/domain/access.ts";
import type { Actor } from "../../../src/domain/accounts.ts";
import { sql } from "../../../src/storage/sql.ts";
import { addAccount, addKey } from "../../services/credentials.ts";
import { record } from "../../services/fakes.ts";
import { ask, type ServeOptions, serve } from "./server.ts";

const api = "/api/v1/admin";
const first = { limit: 50, cursor: null };

/** Two apps, with a script and a route each. */
async function ready(options: ServeOptions = {}) {
  const t = await serve(options);
  const actor = (await t.authentication.authenticate(t.token))?.actor as Actor;
  const make = async (slug: string) => {
    const app = await t.client.apps.create({ slug, name: slug });
    const { script } = await t.scripts.create(actor, { app: slug, name: slug, source: "" });
    const { route } = await t.routes.create(actor, script.id, { path: `/${slug}` });
    return { ...app, script, route };
  };
  const [mine, theirs] = [await make("mine"), await make("theirs")];
  const memberOf = (memberships: Record<string, AppRole>) =>
    addAccount(t.db, "member", memberships);
  const sessionOf = async (account: { id: string }) => (await t.sessions.create(account)).token;
  const actorAccount = () => ({ id: actor.account_id });
  return { ...t, actor, actorAccount, mine, theirs, memberOf, sessionOf };
}

describe("a read", () => {
  test.each(["session", "API key"])(
    "with a %s costs one statement beyond its own",
    async (kind) => {
      await using t = await ready();
      const token = kind === "session" ? t.token : (await addKey(t.db, t.actorAccount())).raw;
      const { mine, actor } = t;
      const reads: [string, () => unknown][] = [
        ["/apps", () => t.apps.list(actor, first)],
        ["/scripts?limit=50", () => t.scripts.list(actor, {}, first)],
        ["/scripts?app=mine", () => t.scripts.list(actor, { app: "mine" }, first)],
        [`/scripts/${mine.script.id}`, () => t.scripts.get(mine.script.id)],
        [`/scripts/${mine.script.id}/versions`, () => t.scripts.versions(mine.script.id, first)],
        [`/scripts/${mine.script.id}/routes`, () => t.routes.listOfScript(mine.script.id, first)],
        [`/routes/${mine.route.id}`, () => t.routes.get(mine.route.id)],
        ["/apps/mine/triggers", () => t.triggers.list(mine.id, null, first)],
        ["/apps/mine/kv", () => t.kv.collections(mine.id, first)],
        ["/apps/mine/dead-letters/counts", () => t.deadLetters.counts(mine.id)],
      ];
      const statements = async (work: () => unknown): Promise<number> => {
        const before = snapshotCounters();
        await work();
        return countersSince(before).sqlStatements;
      };
      // The use of the key is noted, and nobody waits for that.
      await ask(`${t.publicUrl}${api}/auth/me`, "GET", { token });
      await t.db.tx((tx) => tx.get(sql`select 1 as one`));
      for (const [path, own] of reads) {
        const request = async () => {
          expect((await ask(`${t.publicUrl}${api}${path}`, "GET", { token })).status).toBe(200);
        };
        expect([path, (await statements(request)) - (await statements(own))]).toEqual([path, 1]);
      }
    },
  );

  test("of many scripts of many apps is one request, and two statements in all", async () => {
    await using t = await ready();
    for (let index = 0; index < 20; index += 1) {
      const slug = `app-${index}`;
      await t.client.apps.create({ slug, name: slug });
      await t.scripts.create(t.actor, { app: slug, name: slug, source: "" });
    }
    let requests = 0;
    const client = new PicClient({
      base_url: t.publicUrl,
      token: t.token,
      fetch: (request) => {
        requests += 1;
        return fetch(request);
      },
    });
    const before = snapshotCounters();
    const { items } = await client.scripts.list({ limit: 200 });
    expect([items.length, requests, countersSince(before).sqlStatements]).toEqual([22, 1, 2]);
    expect(items.find(({ name }) => name === "mine")).toMatchObject({ app: "mine" });
  });
});

describe("a list", () => {
  test("shows a member only what is of their apps", async () => {
    await using t = await ready();
    const member = new PicClient({
      base_url: t.publicUrl,
      token: await t.sessionOf(await t.memberOf({ [t.mine.id]: "viewer" })),
    });
    const nobody = new PicClient({
      base_url: t.publicUrl,
      token: await t.sessionOf(await t.memberOf({})),
    });
    const slugs = async (client: PicClient) =>
      (await client.apps.list()).items.map((one) => one.slug);
    const names = async (client: PicClient, filter = {}) =>
      (await client.scripts.list(filter)).items.map((one) => one.name);
    expect([await slugs(member), await slugs(nobody)]).toEqual([["mine"], []]);
    expect([await names(member), await names(nobody)]).toEqual([["mine"], []]);
    expect(await slugs(t.client)).toEqual(["default", "mine", "theirs"]);
    expect(await names(member, { q: "theirs" })).toEqual([]);
    expect(await names(member, { app: t.mine.id })).toEqual(["mine"]);
    const hidden = await ask(`${t.publicUrl}${api}/scripts?app=theirs`, "GET", {
      token: await t.sessionOf(await t.memberOf({ [t.mine.id]: "viewer" })),
    });
    const missing = await ask(`${t.publicUrl}${api}/scripts?app=nothing`, "GET", {
      token: t.token,
    });
    expect([hidden.status, hidden.json.detail]).toEqual([404, missing.json.detail]);
  });

  test("is cut into pages after it was filtered", async () => {
    await using t = await ready();
    const ids: Record<string, AppRole> = {};
    for (let index = 0; index < 6; index += 1) {
      const { id } = await t.client.apps.create({ slug: `app-${index}`, name: "x" });
      if (index % 2 === 0) ids[id] = "viewer";
    }
    const token = await t.sessionOf(await t.memberOf(ids));
    const client = new PicClient({ base_url: t.publicUrl, token });
    const page = await client.apps.list({ limit: 2 });
    const rest = await client.apps.list({ limit: 2, cursor: page.next_cursor });
    expect(page.items.map(({ slug }) => slug)).toEqual(["app-0", "app-2"]);
    expect(rest.items.map(({ slug }) => slug)).toEqual(["app-4"]);
    expect(rest.next_cursor).toBeNull();
  });

  test("shows a key that is bound to an app only that one, also when an owner made it", async () => {
    await using t = await ready();
    const scopes: Scope[] = ["script:read"];
    const { raw: token } = await addKey(t.db, t.actorAccount(), { scopes, app_id: t.mine.id });
    const client = new PicClient({ base_url: t.publicUrl, token });
    expect((await client.apps.list()).items.map(({ slug }) => slug)).toEqual(["mine"]);
    expect((await client.scripts.list()).items.map(({ name }) => name)).toEqual(["mine"]);
  });
});

describe("what names its app only in its body, or by its record", () => {
  test("is judged once the app is known", async () => {
    await using t = await ready();
    const [mineRecord, theirRecord] = [t.mine, t.theirs].map((app) => {
      const made = record(app.script.id, { app_id: app.id });
      t.records.records.push(made);
      return made;
    });
    const viewer = await t.memberOf({ [t.mine.id]: "viewer", [t.theirs.id]: "editor" });
    const outsider = await t.memberOf({ [t.mine.id]: "editor" });
    const create = async (account: { id: string }, app?: string) => {
      const body = { name: "new", source: "", ...(app === undefined ? {} : { app }) };
      const token = await t.sessionOf(account);
      return (await ask(`${t.publicUrl}${api}/scripts`, "POST", { token, body })).status;
    };
    expect(await create(viewer, "mine")).toBe(403);
    expect(await create(viewer, "theirs")).toBe(201);
    expect(await create(outsider, "theirs")).toBe(404);
    expect(await create(outsider, t.theirs.id)).toBe(404);
    // Nobody named an app, and this one is not theirs.
    expect(await create(outsider)).toBe(404);
    const read = async (id = "") => {
      const token = await t.sessionOf(outsider);
      return await ask(`${t.publicUrl}${api}/executions/${id}`, "GET", { token });
    };
    expect((await read(mineRecord?.id)).status).toBe(200);
    const [hidden, missing] = [await read(theirRecord?.id), await read("nothing")];
    expect([hidden.status, hidden.json.detail]).toEqual([404, missing.json.detail]);
  });
});

describe("an app whose slug goes to another app in the middle of a call", () => {
  test.each(["GET", "PATCH", "DELETE"])(
    "is the one that %s acts on: what was judged",
    async (method) => {
      let swap = async () => {};
      await using t = await ready({ afterAuthentication: () => swap() });
      const token = await t.sessionOf(await t.memberOf({ [t.mine.id]: "admin" }));
      swap = async () => {
        swap = async () => {};
        await t.db.tx(async (tx) => {
          await tx.run(sql`update apps set slug = 'moved' where slug = 'mine'`);
          await tx.run(sql`update apps set slug = 'mine' where slug = 'theirs'`);
        });
      };
      const body = method === "PATCH" ? { body: { name: "changed" } } : {};
      const query = method === "DELETE" ? "?force=true" : "";
      const answer = await ask(`${t.publicUrl}${api}/apps/mine${query}`, method, {
        token,
        ...body,
      });
      expect([200, 204]).toContain(answer.status);
      if (answer.json !== null) expect(answer.json.id).toBe(t.mine.id);
      const left = await t.db.all(sql<{ id: string; name: string }>`select id, name from apps`);
      expect(left.find(({ id }) => id === t.theirs.id)?.name).toBe("theirs");
      expect(left.some(({ id }) => id === t.mine.id)).toBe(method !== "DELETE");
    },
  );
});

describe("who may not", () => {
  test("learns no more with HEAD than with GET, and nothing with OPTIONS", async () => {
    await using t = await ready();
    const token = await t.sessionOf(await t.memberOf({ [t.mine.id]: "viewer" }));
    const bound = { app_id: t.theirs.id, scopes: ["script:execute"] as const };
    const { raw } = await addKey(t.db, t.actorAccount(), bound);
    for (const [path, sent, status] of [
      ["/apps/theirs", token, 404],
      ["/apps/mine", token, 200],
      ["/accounts", token, 403],
      [`/scripts/${t.theirs.script.id}`, raw, 403],
      [`/scripts/${t.mine.script.id}`, raw, 404],
    ] as const) {
      for (const method of ["GET", "HEAD"]) {
        const answer = await ask(`${t.publicUrl}${api}${path}`, method, { token: sent });
        expect([path, method, answer.status]).toEqual([path, method, status]);
        if (method === "HEAD") expect(answer.text).toBe("");
      }
      const options = await ask(`${t.publicUrl}${api}${path}`, "OPTIONS", { token: sent });
      expect(options.status).toBe(405);
      expect(options.headers.get("access-control-allow-origin")).toBeNull();
    }
  });

  test("finds no other spelling of an app that lets them in", async () => {
    await using t = await ready();
    const token = await t.sessionOf(await t.memberOf({ [t.mine.id]: "admin" }));
    const { id } = t.theirs;
    for (const ref of [
      ...[
        "theirs",
        "THEIRS",
        "theirs%20",
        "%74heirs",
        "theirs.",
        "theirs/",
        "./theirs",
        "mine/../theirs",
      ],
      ...[
        id,
        id.toUpperCase(),
        `%3${id.slice(0, 1)}${id.slice(1)}`,
        `{${id}}`,
        id.replaceAll("-", ""),
      ],
      ...[
        "theirs%00",
        "theirs%2f",
        "theirs;mine",
        "theirs,mine",
        "mine%2f..%2ftheirs",
        "*",
        "%25",
        "..%2ftheirs",
      ],
    ]) {
      for (const path of [`/apps/${ref}`, `/apps/${ref}/triggers`, `/apps/${ref}/members`]) {
        const answer = await ask(`${t.publicUrl}${api}${path}`, "GET", { token });
        expect([path, answer.status]).toEqual([path, 404]);
      }
    }
    for (const ref of ["mine", "%6dine", t.mine.id]) {
      const answer = await ask(`${t.publicUrl}${api}/apps/${ref}`, "GET", { token });
      expect([ref, answer.status, answer.json?.id]).toEqual([ref, 200, t.mine.id]);
    }
  });

  test("mixes no app of theirs with things of another", async () => {
    await using t = await ready();
    const owned = await t.triggers.create(
      t.actor,
      { app: "theirs", kind: "kv" },
      {
        script_id: t.theirs.script.id,
      },
    );
    const token = await t.sessionOf(await t.memberOf({ [t.mine.id]: "admin" }));
    const status = async (method: string, path: string, body?: unknown) =>
      (
        await ask(`${t.publicUrl}${api}${path}`, method, {
          token,
          ...(body === undefined ? {} : { body }),
        })
      ).status;
    expect(await status("GET", `/apps/mine/triggers/kv/${owned.id}`)).toBe(404);
    expect(await status("DELETE", `/apps/mine/triggers/kv/${owned.id}`)).toBe(404);
    expect(await status("PATCH", `/apps/mine/triggers/kv/${owned.id}`, { enabled: false })).toBe(
      404,
    );
    expect(await status("POST", "/apps/mine/triggers/kv", { script_id: t.theirs.script.id })).toBe(
      422,
    );
    expect(await status("DELETE", `/scripts/${t.theirs.script.id}`)).toBe(404);
    expect(await status("DELETE", `/routes/${t.theirs.route.id}`)).toBe(404);
    expect((await t.triggers.get({ app: "theirs", kind: "kv", id: owned.id })).is_enabled).toBe(
      true,
    );
  });

  test("is told so before a byte of the body is read", async () => {
    await using t = await ready();
    const token = await t.sessionOf(await t.memberOf({ [t.mine.id]: "viewer" }));
    for (const [path, status] of [
      ["/scripts", 403],
      ["/apps/theirs/kv/import?collection=c", 404],
      ["/apps/mine/kv/import?collection=c", 403],
    ] as const) {
      let pulled = 0;
      const body = new ReadableStream<Uint8Array>(
        {
          pull: (controller) => {
            pulled += 1;
            controller.enqueue(new Uint8Array(1_024));
          },
        },
        { highWaterMark: 0 },
      );
      const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
      const url = `http://picloud.invalid${api}${path}`;
      const request = new Request(url, { method: "POST", headers, body });
      const from = { listener: "public" as const, remote_address: "10.0.0.1" };
      const response = await t.app.handle(request, from);
      expect([path, response.status, pulled]).toEqual([path, status, 0]);
    }
  });

  test("brings two credentials, or one in another place, and is nobody", async () => {
    await using t = await ready();
    const { raw } = await addKey(t.db, t.actorAccount());
    const me = async (url: string, headers: [string, string][]) =>
      (await fetch(`${url}${api}/auth/me`, { headers })).status;
    for (const good of [t.token, raw]) {
      expect(await me(t.publicUrl, [["authorization", `Bearer ${good}`]])).toBe(200);
      expect(await me(t.publicUrl, [["authorization", `bEARER   ${good}`]])).toBe(200);
      for (const headers of [
        [
          ["authorization", `Bearer ${good}`],
          ["authorization", `Bearer ${good}`],
        ],
        [["authorization", `Bearer ${good}, Bearer x`]],
        [["authorization", `Bearer ${good},x`]],
        [["authorization", good]],
        [["authorization", `Basic ${btoa(`x:${good}`)}`]],
        [["authorization", `Bearer ${good}${"a".repeat(8_000)}`]],
        [["authorization", `Bearer ${good.slice(0, 4)}${good.slice(4).toUpperCase()}`]],
        [["x-api-key", good]],
        [["proxy-authorization", `Bearer ${good}`]],
        [["cookie", `picloud_session=${good}`]],
      ] as [string, string][][]) {
        expect(await me(t.publicUrl, headers)).toBe(401);
      }
    }
    expect(await me(t.adminUrl, [["cookie", `picloud_session=${t.token}`]])).toBe(200);
    expect(await me(t.adminUrl, [["cookie", `picloud_session=${raw}`]])).toBe(401);
    // The header counts, and the cookie beside it does not.
    const both: [string, string][] = [
      ["cookie", `picloud_session=${t.token}`],
      ["authorization", "Bearer x"],
    ];
    expect(await me(t.adminUrl, both)).toBe(401);
  });
});
