/** Scripts, routes, triggers, dead letters and calls, against a real server that runs from the sources. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { startServer, type TestServer } from "../e2e/server.ts";
import { newUser, type RunOptions, type User } from "./pic-runs.ts";
import { newProject } from "./project.ts";

let server: TestServer;
let user: User;

beforeAll(async () => {
  const main = join(import.meta.dir, "../../src/main.ts");
  server = await startServer({ command: [process.execPath, main] });
  user = newUser({ env: { PICLOUD_URL: server.url, PICLOUD_TOKEN: server.token } });
});

afterAll(async () => {
  user?.[Symbol.dispose]();
  await server?.[Symbol.asyncDispose]();
});

/** Standard output of a command that is done. */
async function done(args: string[], options: RunOptions = {}): Promise<string> {
  const { code, out, err } = await user.pic(args, options);
  expect({ args, code, err: code === 0 ? "" : err }).toEqual({ args, code: 0, err: "" });
  return out;
}

async function json(args: string[], options: RunOptions = {}) {
  return JSON.parse(await done([...args, "-o", "json"], options));
}

/** Exit code and first line of a command that fails. */
async function failed(args: string[], options: RunOptions = {}): Promise<[number, string]> {
  const { code, err } = await user.pic(args, options);
  expect({ args, failed: code !== 0 }).toEqual({ args, failed: true });
  return [code, err.split("\n").find((line) => line.startsWith("error: ")) ?? err];
}

let count = 0;

/** A script in an app of its own. */
async function newScript(source = "export default () => 1;") {
  count += 1;
  const app = `scripts-${count}`;
  await server.client.apps.create({ slug: app, name: app });
  const { id } = await server.client.scripts.create({ app, name: "hello", source });
  return { app, id };
}

describe("scripts", () => {
  test("listing is one request; resolving a name is one more, an id none", async () => {
    const { app, id } = await newScript();
    const asked: string[] = [];
    const fetchCounted: RunOptions["fetch"] = (request, init) => {
      asked.push(`${request.method} ${new URL(request.url).pathname}`);
      return fetch(request, init);
    };
    const out = await done(["scripts", "ls", "--app", app], { fetch: fetchCounted });
    expect(out).toStartWith(`hello\tendpoint\t1\t${app}\t`);
    expect(asked).toEqual(["GET /api/v1/admin/scripts"]);
    asked.length = 0;
    await done(["scripts", "show", "hello", "--app", app], { fetch: fetchCounted });
    expect(asked).toHaveLength(2);
    asked.length = 0;
    await done(["scripts", "show", id], { fetch: fetchCounted });
    expect(asked).toEqual([`GET /api/v1/admin/scripts/${id}`]);
  });

  test("a long list says that there is more, and --all shows it", async () => {
    const { app } = await newScript();
    const scripts = Array.from({ length: 200 }, (_, n) => ({
      name: `s${n}`,
      source: "export default () => 1;",
    }));
    await server.client.deployments.create(app, { scripts });
    const first = await user.pic(["scripts", "ls", "--app", app]);
    expect(first.out.trimEnd().split("\n")).toHaveLength(200);
    expect(first.err).toContain("--all");
    const all = await done(["scripts", "ls", "--app", app, "--all"]);
    expect(all.trimEnd().split("\n")).toHaveLength(201);
    expect(await done(["scripts", "ls", "--app", app, "--match", "s199"])).toStartWith("s199\t");
  }, 30_000);

  test("the app is that of the manifest here, unless one is named", async () => {
    const { app } = await newScript();
    using project = newProject({ "picloud.json": JSON.stringify({ app, scripts: [] }) });
    const here = { workingDir: project.folder };
    expect((await json(["scripts", "show", "hello"], here)).app).toBe(app);
    expect(await failed(["scripts", "show", "hello", "--app", "default"], here)).toEqual([
      5,
      "error: There is no script hello in the app default",
    ]);
    expect((await failed(["scripts", "ls", "--app", "nowhere"]))[0]).toBe(5);
  });

  test("versions are listed, pulled and rolled back to", async () => {
    const { app, id } = await newScript("export default () => 1;");
    await server.client.scripts.update(id, { source: "export default () => 2;\n" });
    const of = ["--app", app];
    const versions = await json(["scripts", "versions", "hello", ...of]);
    expect(versions.map((one: { number: number }) => one.number)).toEqual([2, 1]);
    const [newest = ""] = (await done(["scripts", "versions", "hello", ...of])).split("\n");
    expect(newest.split("\t")[3]).toBe((await server.client.auth.me()).username);
    expect(await done(["scripts", "pull", "hello", ...of])).toBe("export default () => 2;\n");
    expect(await done(["scripts", "pull", "hello", "--at", "1", ...of])).toBe(
      "export default () => 1;",
    );
    using project = newProject({ "there.ts": "mine" });
    const here = { workingDir: project.folder };
    await done(["scripts", "pull", "hello", "new.ts", ...of], here);
    expect(readFileSync(project.path("new.ts"), "utf8")).toBe("export default () => 2;\n");
    const refused = await failed(["scripts", "pull", "hello", "there.ts", ...of], here);
    expect(refused[0]).toBe(6);
    expect(readFileSync(project.path("there.ts"), "utf8")).toBe("mine");
    await done(["scripts", "pull", "hello", "there.ts", "--force", ...of], here);
    expect(readFileSync(project.path("there.ts"), "utf8")).toBe("export default () => 2;\n");

    const back = await json(["scripts", "rollback", "hello", "1", ...of]);
    expect(back.active_version.number).toBe(3);
    expect(await done(["scripts", "pull", "hello", ...of])).toBe("export default () => 1;");
    expect((await failed(["scripts", "rollback", "hello", "9", ...of]))[0]).toBe(1);
    expect((await failed(["scripts", "rollback", "hello", "x", ...of]))[0]).toBe(2);
    await done(["scripts", "delete", "hello", ...of]);
    expect((await failed(["scripts", "delete", "hello", ...of]))[0]).toBe(5);
  });
});

describe("routes", () => {
  test("are added, listed, checked, matched and removed", async () => {
    const { app, id } = await newScript();
    const path = `/${app}/:id`;
    const add = ["routes", "add", "hello", path, "--method", "GET", "--app", app];
    const route = await json(add);
    expect(route).toMatchObject({ path, method: "GET", path_kind: "param", script_id: id });
    expect((await failed(add))[0]).toBe(6);
    const listed = `GET\t\t${path}\tparam\tsync\thello\t${route.id}\n`;
    expect(await done(["routes", "ls", "--app", app])).toBe(listed);
    expect(await done(["routes", "ls", id])).toContain(route.id);

    expect(await failed(["routes", "check", path])).toEqual([
      6,
      `error: The route cannot be added: it conflicts with GET ${path}`,
    ]);
    expect(await done(["routes", "check", `/${app}/free`])).toStartWith("ok\ttrue\n");
    const found = await json(["routes", "match", "get", `${server.url}/${app}/7`]);
    expect(found).toMatchObject({ script_id: id, params: { id: "7" } });
    expect((await failed(["routes", "match", "POST", `${server.url}/${app}/7`]))[0]).toBe(5);

    await done(["routes", "rm", route.id]);
    expect((await failed(["routes", "rm", route.id]))[0]).toBe(5);
    expect((await failed(["routes", "add", "hello", "/a/{b}", "--app", app]))[0]).toBe(1);
    expect((await failed(["routes", "add", "hello", "/a", "--method", "GOT"]))[0]).toBe(2);
    const spare = ["routes", "add", "hello", `/${app}/late`, "--async", "--app", app];
    expect(await json(spare)).toMatchObject({ dispatch_mode: "async", method: "ANY" });
  });
});

describe("triggers", () => {
  test("of every kind are added, listed and removed", async () => {
    const { app, id } = await newScript();
    const of = ["--app", app];
    const kv = await json([
      ...["triggers", "add", "kv", "hello", "--collection", "orders*", "--on", "insert,delete"],
      ...["--attempts", "2", "--backoff", "constant", "--jitter", "0.5", "--disabled", ...of],
    ]);
    expect(kv).toMatchObject({
      kind: "kv",
      script_id: id,
      collection: "orders*",
      operations: ["insert", "delete"],
      enabled: false,
      retry: { max_attempts: 2, backoff: "constant", jitter: 0.5, base_ms: 1_000 },
    });
    await done(["triggers", "add", "docs", "hello", ...of]);
    await done(["triggers", "add", "dead-letter", "hello", ...of]);
    const cron = [
      "triggers",
      "add",
      "cron",
      "hello",
      "0 30 3 * * *",
      "--timezone",
      "Europe/Berlin",
    ];
    const planned = await done([...cron, "--dry-run", ...of]);
    expect(planned.split("\n")[0]).toMatch(/^\d{4}-\d\d-\d\dT0[12]:30:00\.000Z$/);
    const made = await user.pic([...cron, ...of]);
    expect([made.code, made.err]).toEqual([0, expect.stringMatching(/^It fires at .*T0[12]:30/)]);
    const kinds = async (more: string[] = []) =>
      (await json(["triggers", "ls", ...of, ...more])).map((one: { kind: string }) => one.kind);
    expect((await kinds()).toSorted()).toEqual(["cron", "dead_letter", "docs", "kv"]);
    expect(await kinds(["--script", "hello"])).toHaveLength(4);

    for (const { id: trigger } of await json(["triggers", "ls", ...of])) {
      await done(["triggers", "rm", trigger, ...of]);
    }
    expect(await kinds()).toEqual([]);
    expect((await failed(["triggers", "rm", kv.id, ...of]))[0]).toBe(5);
    expect((await failed(["triggers", "rm", kv.id, "--kind", "kv", ...of]))[0]).toBe(5);
    expect((await failed(["triggers", "add", "kv", "hello", "--on", "write", ...of]))[0]).toBe(2);
    expect((await failed(["triggers", "add", "cron", "hello", "never", ...of]))[0]).toBe(1);
  });
});

describe("dead letters", () => {
  /** An app with letters: its handler fails at once. */
  async function withLetters(letters: number) {
    const { app, id } = await newScript("export default () => { throw new Error('no'); };");
    const retry = { max_attempts: 1 };
    await server.client.triggers.kv.create(app, { script_id: id, collection: "*", retry });
    for (let n = 0; n < letters; n += 1) {
      await server.client.kv.set(app, { collection: "c", key: `k${n}`, value: n });
    }
    const end = performance.now() + 15_000;
    while ((await server.client.deadLetters.counts(app)).open < letters) {
      if (performance.now() > end) throw new Error("the letters did not come");
      await Bun.sleep(20);
    }
    return app;
  }

  test("are listed, shown, replayed and resolved, one or all that filters let through", async () => {
    const app = await withLetters(3);
    const of = ["--app", app];
    const [first, second] = await json(["dead-letters", "ls", ...of]);
    expect(first).toMatchObject({ state: "open", source: "kv", attempts: 1 });
    const shown = await json(["dead-letters", "show", first.id, ...of]);
    expect(shown.history).toHaveLength(1);
    const note = ["--note", "known"];
    const resolved = await json(["dead-letters", "resolve", first.id, ...note, ...of]);
    expect(resolved).toMatchObject({ state: "resolved", note: "known" });
    expect((await json(["dead-letters", "replay", second.id, ...of])).state).toBe("replaying");
    expect(await json(["dead-letters", "ls", "--state", "resolved", ...of])).toHaveLength(1);

    const all = ["dead-letters", "resolve", "--all", "--state", "open", ...of];
    expect(await failed(all)).toEqual([2, expect.stringContaining("nobody may be asked")]);
    expect((await failed(all, { input: ["no"], isTerminal: true }))[0]).toBe(1);
    const yes = await user.pic([...all, "--yes", "--script", "hello", "--since", "1h"]);
    expect([yes.code, Number(yes.out) >= 1]).toEqual([0, true]);
    expect(await json(["dead-letters", "ls", "--since", "1h", "--until", "30m", ...of])).toEqual(
      [],
    );
  }, 30_000);

  test("what is meant must be said", async () => {
    const { app } = await newScript();
    const of = ["--app", app];
    expect((await failed(["dead-letters", "replay", ...of]))[0]).toBe(2);
    expect((await failed(["dead-letters", "replay", "x", "--all", ...of]))[0]).toBe(2);
    expect((await failed(["dead-letters", "show", "x", ...of]))[0]).toBe(5);
    expect((await failed(["dead-letters", "ls", "--since", "yesterday", ...of]))[0]).toBe(2);
  });
});

describe("invoke", () => {
  const source = `export default function (ctx) {
    const { query, body, method, headers } = ctx.request;
    if (query.fail) throw new Error("on purpose");
    if (query.status) return { statusCode: Number(query.status), body: "as told" };
    if (query.bytes) return { statusCode: 200, headers: { "content-type": "application/octet-stream" }, bodyBase64: "/w==" };
    return { method, body, query, x: headers["x-mine"] ?? null };
  }`;

  test("sends what is given and prints the answer", async () => {
    const { app, id } = await newScript(source);
    const of = ["--app", app];
    const plain = await user.pic(["invoke", "hello", ...of]);
    expect(JSON.parse(plain.out)).toEqual({ method: "GET", body: null, query: {}, x: null });
    expect(plain.err).toMatch(/^200 in \d+ ms, execution [0-9a-f-]{36}\n$/);
    const sent = await done([
      ...["invoke", id, "-d", '{"a":1}', "-q", "p=1=2", "-H", "x-mine: yes", "-X", "put"],
    ]);
    expect(JSON.parse(sent)).toEqual({
      method: "PUT",
      body: { a: 1 },
      query: { p: "1=2" },
      x: "yes",
    });
    const piped = await done(["invoke", id, "--data", "-"], { input: "some text" });
    expect(JSON.parse(piped)).toMatchObject({ method: "POST", body: "some text" });
    const whole = await json(["invoke", id]);
    expect(whole).toMatchObject({ status: 200, execution_id: expect.any(String) });
    expect(JSON.parse(whole.body).method).toBe("GET");
  });

  test("the exit code says whether the script failed", async () => {
    const { app } = await newScript(source);
    const run = (...args: string[]) => user.pic(["invoke", "hello", "--app", app, ...args]);
    const thrown = await run("-q", "fail=1");
    expect([thrown.code, thrown.err]).toEqual([1, expect.stringContaining("pic logs hello")]);
    expect((await run("-q", "status=503")).code).toBe(1);
    const absent = await run("-q", "status=404");
    expect([absent.code, absent.out, absent.err]).toEqual([
      0,
      '"as told"',
      expect.stringMatching(/^404 in/),
    ]);
    expect((await failed(["invoke", "absent", "--app", app]))[0]).toBe(5);
    expect((await failed(["invoke", "00000000-0000-7000-8000-000000000000"]))[0]).toBe(5);
    for (const bad of [
      ["-H", "nonsense"],
      ["-H", "authorization: Bearer x"],
      ["-q", "x"],
    ]) {
      expect([bad, (await run(...bad)).code]).toEqual([bad, 2]);
    }
  });

  test("bytes are not written to a terminal; --save takes them", async () => {
    const { app } = await newScript(source);
    using project = newProject();
    const args = ["invoke", "hello", "--app", app, "-q", "bytes=1"];
    const { out, err } = await user.pic(args, { isTerminal: true });
    expect([out, err]).toEqual(["", expect.stringContaining("--save")]);
    await done([...args, "--save", "out.bin"], { workingDir: project.folder });
    expect([...readFileSync(project.path("out.bin"))]).toEqual([255]);
    const again = await failed([...args, "--save", "out.bin"], { workingDir: project.folder });
    expect(again[0]).toBe(6);
  });
});
