/** Deployments over HTTP: what the schema refuses, whose rights are enough, and what a client gets. */
import { describe, expect, test } from "bun:test";
import { PicClient, PicClientError } from "../../../src/client.ts";
import type { Scope } from "../../../src/domain/access.ts";
import {
  adminBodyBytesMax,
  deploymentBodyBytesMax,
  manifestScriptsMax,
  sourceBytesMax,
} from "../../../src/domain/limits.ts";
import { ask, serve } from "./server.ts";

async function ready() {
  const t = await serve();
  const send = (body: unknown, token = t.token) =>
    ask(`${t.publicUrl}/api/v1/admin/apps/default/deployments`, "POST", { token, body });
  return { ...t, send, [Symbol.asyncDispose]: t[Symbol.asyncDispose] };
}

const whole = {
  scripts: [
    {
      name: "greet",
      file: "greet.ts",
      source: "one",
      routes: [{ path: "/greet/:name", method: "GET" as const }],
      triggers: [{ kind: "cron" as const, expression: "0 0 3 * * *" }],
    },
  ],
};

describe("POST apps/{app}/deployments", () => {
  test("tries, deploys and says what was done, through the client", async () => {
    await using t = await ready();
    const tried = await t.client.deployments.create("default", { ...whole, dry_run: true });
    expect(tried.applied).toBeFalse();
    const done = await t.client.deployments.create("default", whole);
    expect(done).toEqual({
      applied: true,
      changes: [
        { action: "create", kind: "script", script: "greet", name: "greet", detail: "" },
        { action: "create", kind: "route", script: "greet", name: "GET /greet/:name", detail: "" },
        {
          action: "create",
          kind: "trigger",
          script: "greet",
          name: "cron 0 0 3 * * * UTC",
          detail: "",
        },
      ],
      warnings: [],
    });
    expect((await t.client.scripts.list()).items).toMatchObject([{ name: "greet" }]);
  });

  test.each([
    [{}, "scripts"],
    [[], "scripts"],
    [{ scripts: {} }, "scripts"],
    [{ scripts: [[]] }, "scripts[0].name"],
    [{ scripts: [{ name: "a" }] }, "scripts[0].source"],
    [{ scripts: [{ name: "a", source: "", more: 1 }] }, "scripts[0].more"],
    [{ scripts: [{ name: "a", source: "x\0y" }] }, "scripts[0].source"],
    [{ scripts: [{ name: "a", source: "", limits: [] }] }, "scripts[0].limits"],
    [
      { scripts: [{ name: "a", source: "", routes: [{ path: "/", method: "GOT" }] }] },
      "scripts[0].routes[0].method",
    ],
    [
      { scripts: [{ name: "a", source: "", triggers: [{ kind: "mail" }] }] },
      "scripts[0].triggers[0].kind",
    ],
    [
      { scripts: [{ name: "a", source: "", triggers: [{ kind: "cron" }] }] },
      "scripts[0].triggers[0].expression",
    ],
    [
      { scripts: [{ name: "a", source: "", triggers: [{ kind: "kv", expression: "x" }] }] },
      "scripts[0].triggers[0].expression",
    ],
    [
      { scripts: [{ name: "a", source: "", triggers: [{ kind: "kv", operations: [] }] }] },
      "scripts[0].triggers[0].operations",
    ],
    [{ scripts: [], app: "other" }, "app"],
    [{ scripts: Array(manifestScriptsMax + 1).fill({ name: "a", source: "" }) }, "scripts"],
  ])("refuses %j, and names the field", async (body, path) => {
    await using t = await ready();
    const answer = await t.send(body);
    expect(answer.status).toBe(422);
    expect(answer.json.errors.map((error: { path: string }) => error.path)).toContain(path);
  });

  test("takes empty lists", async () => {
    await using t = await ready();
    expect((await t.send({ scripts: [], prune: true })).json).toMatchObject({ changes: [] });
    const bare = { name: "a", source: "", routes: [], triggers: [] };
    expect((await t.send({ scripts: [bare] })).status).toBe(200);
  });

  test("answers where a source is wrong: file, line and column", async () => {
    await using t = await ready();
    const answer = await t.send({
      scripts: [
        { name: "b", source: "" },
        { name: "a", file: "src/a.ts", source: "x\n syntax error" },
      ],
    });
    expect(answer.status).toBe(422);
    expect(answer.json.errors).toEqual([
      {
        path: "scripts[1].source",
        message: "Unexpected error",
        file: "src/a.ts",
        line: 2,
        column: 2,
      },
    ]);
  });

  test("answers a conflict as the document says it, with its place", async () => {
    await using t = await ready();
    await t.client.apps.create({ slug: "other", name: "Other" });
    await t.client.deployments.create("other", whole);
    const answer = await t.send(whole);
    expect(answer.status).toBe(409);
    expect(answer.json).toMatchObject({
      code: "route_conflict",
      hidden: false,
      errors: [{ path: "scripts[0].routes[0]", file: "greet.ts" }],
    });
  });

  test("takes more than a single script's body, up to a bound of its own", async () => {
    await using t = await ready();
    const source = " ".repeat(sourceBytesMax);
    const count = Math.ceil(adminBodyBytesMax / sourceBytesMax) + 1;
    const scripts = Array.from({ length: count }, (_, i) => ({ name: `s${i}`, source }));
    expect((await t.send({ scripts })).status).toBe(200);
    const again = await t.send({ scripts });
    expect(again.json.changes.map(({ action }: { action: string }) => action)).toEqual(
      Array(count).fill("unchanged"),
    );
    const tooLong = await t.send(`{"scripts":[]}${" ".repeat(deploymentBodyBytesMax)}`);
    expect(tooLong.status).toBe(413);
  });

  test("needs both scopes of a key, and the role in the app", async () => {
    await using t = await ready();
    const codeWith = async (scopes: Scope[]): Promise<string> => {
      const { raw_token } = await t.client.apiKeys.create({ name: "k", scopes, app: "default" });
      const client = new PicClient({ base_url: t.publicUrl, token: raw_token });
      try {
        await client.deployments.create("default", whole);
        return "done";
      } catch (error) {
        if (error instanceof PicClientError) return error.code;
        throw error;
      }
    };
    expect(await codeWith(["script:read", "script:write"])).toBe("forbidden");
    expect(await codeWith(["route:write"])).toBe("forbidden");
    expect(await codeWith(["script:write", "route:write"])).toBe("done");
    expect((await t.send(whole, "pcs_nobody")).status).toBe(401);
  });
});
