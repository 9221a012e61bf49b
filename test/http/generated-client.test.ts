/**
 * A client that a public generator makes of docs/openapi.json drives a real server: so the document
 * is good enough for programs, and it says what the server does.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { adminLogin, startServer } from "../e2e/server.ts";

const root = resolve(import.meta.dir, "../..");
const generator = `${root}/node_modules/oazapfts/dist/cli.js`;

interface Sent {
  baseUrl: string;
  headers?: Record<string, string>;
}

// biome-ignore lint/suspicious/noExplicitAny: each call promises its own shape; the compiler checks them below
type Call = (...args: any[]) => Promise<{ status: number; headers: Headers; data: any }>;

/** The calls of the generated module that are used here. */
type Client = Record<
  | "authLogin"
  | "authMe"
  | "authLogout"
  | "scriptsCreate"
  | "scriptsUpdate"
  | "scriptsList"
  | "scriptsLogs"
  | "scriptsVersion"
  | "scriptsDelete"
  | "scriptsGet"
  | "routesCreate"
  | "routesMatch"
  | "executionsGet"
  | "executePost"
  | "systemVersion"
  | "systemHealth",
  Call
>;

let folder: string;
let client: Client;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "picloud-client-"));
  // Where the generated module finds its run-time part.
  symlinkSync(`${root}/node_modules`, `${folder}/node_modules`);
  await run([process.execPath, generator, `${root}/docs/openapi.json`, `${folder}/client.ts`]);
  client = (await import(`${folder}/client.ts`)) as Client;
}, 60_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("the generated client", () => {
  test("holds for the compiler, with a result for every status", async () => {
    await Bun.write(
      `${folder}/use.ts`,
      `import { type Script, scriptsGet } from "./client.ts";
export async function read(id: string): Promise<Script | string> {
  const answer = await scriptsGet(id);
  if (answer.status === 200) return answer.data;
  if (answer.status === 404) return answer.data.code satisfies "not_found";
  return answer.data.detail;
}
`,
    );
    const config = {
      compilerOptions: {
        strict: true,
        noEmit: true,
        target: "ESNext",
        module: "Preserve",
        allowImportingTsExtensions: true,
        lib: ["ESNext", "DOM", "DOM.Iterable"],
        types: [],
      },
      files: ["use.ts"],
    };
    await Bun.write(`${folder}/tsconfig.json`, JSON.stringify(config));
    await run([process.execPath, "x", "tsc", "-p", folder]);
  }, 60_000);

  test("logs in, deploys a script, runs it, reads its log and deletes it", async () => {
    await using server = await startServer();
    const anonymous: Sent = { baseUrl: server.url };
    const login = await client.authLogin(adminLogin, anonymous);
    expect(login.status).toBe(200);
    const sent: Sent = { ...anonymous, headers: { authorization: `Bearer ${login.data.token}` } };
    expect((await client.authMe(sent)).data.username).toBe(adminLogin.username);

    const source =
      'import { log } from "picloud";\n' +
      'export default (ctx) => { log.info("seen", ctx.request.body); return { hello: ctx.request.params.name ?? ctx.request.body.name }; };\n';
    const made = await client.scriptsCreate({ name: "greet", source }, sent);
    expect([made.status, made.headers.get("location")]).toEqual([
      201,
      `/api/v1/admin/scripts/${made.data.id}`,
    ]);
    const { id } = made.data;
    const route = await client.routesCreate(id, { path: "/greet/:name" }, sent);
    expect([route.status, route.data.path_kind]).toEqual([201, "param"]);
    const match = await client.routesMatch({ method: "GET", url: "/greet/ada" }, sent);
    expect(match.data.params).toEqual({ name: "ada" });
    expect(await (await fetch(`${server.url}/greet/ada`)).json()).toEqual({ hello: "ada" });

    const ran = await client.executePost(id, { name: "grace" }, sent);
    expect([ran.status, ran.data]).toEqual([200, { hello: "grace" }]);
    const execution = await client.executionsGet(
      ran.headers.get("x-picloud-execution-id") ?? "",
      sent,
    );
    expect(execution.data).toMatchObject({ script_id: id, status: "success", status_code: 200 });
    const logs = await client.scriptsLogs(id, { limit: 1 }, sent);
    expect(logs.data.items[0].logs[0]).toMatchObject({
      message: "seen",
      fields: { name: "grace" },
    });
    const second = await client.scriptsLogs(id, { limit: 1, cursor: logs.data.next_cursor }, sent);
    expect(second.data.items[0].invocation).toBe("route");

    const saved = await client.scriptsUpdate(id, { source: `${source}//\n`, if_version: 1 }, sent);
    expect(saved.data.active_version.number).toBe(2);
    expect((await client.scriptsVersion(id, 1, sent)).data.source).toBe(source);
    expect((await client.scriptsList({ q: "greet" }, sent)).data.items).toHaveLength(1);
    expect((await client.scriptsDelete(id, sent)).status).toBe(204);
    expect((await client.scriptsGet(id, sent)).status).toBe(404);
    expect((await client.authLogout(sent)).status).toBe(204);
    expect((await client.authMe(sent)).data.code).toBe("unauthenticated");
  }, 60_000);

  test("gets every failure as the document says it", async () => {
    await using server = await startServer();
    const sent: Sent = {
      baseUrl: server.url,
      headers: { authorization: `Bearer ${server.token}` },
    };
    const broken = await client.scriptsCreate({ name: "a", source: "export default (" }, sent);
    expect([broken.status, broken.data.code]).toEqual([422, "invalid_source"]);
    expect(broken.data.errors[0]).toMatchObject({ path: "source", line: 1 });
    const wrong = await client.scriptsCreate({ name: 5, source: "", nonsense: true }, sent);
    expect(wrong.data.errors.map(({ path }: { path: string }) => path).sort()).toEqual([
      "name",
      "nonsense",
    ]);
    const source = "export default () => { throw new Error(); };";
    const { id } = (await client.scriptsCreate({ name: "b", source }, sent)).data;
    const stale = await client.scriptsUpdate(id, { description: "b", if_version: 7 }, sent);
    expect([stale.status, stale.data.code]).toEqual([409, "version_conflict"]);
    await client.routesCreate(id, { path: "/b" }, sent);
    const twice = await client.routesCreate(id, { path: "/b" }, sent);
    expect([twice.status, twice.data.conflicting_route.path]).toEqual([409, "/b"]);
    const thrown = await client.executePost(id, {}, sent);
    expect([thrown.status, thrown.data.code]).toEqual([502, "script_error"]);
    const refused = await client.authLogin({ username: "admin", password: "x" }, sent);
    expect([refused.status, refused.data.code]).toEqual([401, "invalid_credentials"]);
  }, 60_000);

  test("reads the server's own addresses without a token", async () => {
    await using server = await startServer();
    const sent: Sent = { baseUrl: server.url };
    const versions = await client.systemVersion(sent);
    expect(versions.data).toMatchObject({ api: "1", public_base_url: null });
    expect((await client.systemHealth(sent)).data).toBe("ok");
  }, 60_000);
});

async function run(command: string[]): Promise<void> {
  const child = Bun.spawn(command, { cwd: root, stdout: "pipe", stderr: "pipe" });
  const [said, complained, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`${command.join(" ")} failed:\n${said}${complained}`);
}
