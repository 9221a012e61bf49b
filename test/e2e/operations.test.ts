/** What the person sees who runs the server: messages, exit codes, logs, commands, the clock. */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PicClient } from "../../src/client.ts";
import { setSetting } from "../../src/storage/settings.ts";
import { sql } from "../../src/storage/sql.ts";
import { withStorage } from "./engine.ts";
import { useFolders } from "./folders.ts";
import { adminLogin, serverCommand, startServer } from "./server.ts";
import { sentenceOf, startFailure } from "./start-failure.ts";
import { deploy, refusal } from "./steps.ts";

const failed = 1;
const wrongUsage = 2;

const folders = useFolders();
const { folder } = folders;

describe("a start that cannot be says why and ends", () => {
  test("when a newer PiCloud wrote the schema", async () => {
    const dataDir = folder("newer");
    await (await startServer({ dataDir })).stop();
    await withStorage(dataDir, async (db) => {
      await db.tx((tx) =>
        tx.run(sql`insert into schema_migrations (number, name, checksum, applied_at)
          values (900, 'later', 'x', 1)`),
      );
    });
    const refused = await startFailure({ dataDir });
    expect(refused.exitCode).toBe(failed);
    expect(sentenceOf(refused)).toMatch(/has schema 900, and this PiCloud knows schemas up to \d+/);
  });

  test("when a port is busy, and the folder is free again", async () => {
    const taken = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
    const dataDir = folder("busy");
    try {
      for (const name of ["PICLOUD_BIND", "PICLOUD_ADMIN_BIND"]) {
        const refused = await startFailure({
          dataDir,
          env: { [name]: `127.0.0.1:${taken.port}` },
        });
        expect(refused.exitCode).toBe(failed);
        const said = refused.output.split("\n").filter((line) => line.startsWith("picloud: "));
        expect(said).toEqual([
          `picloud: ${name}: 127.0.0.1:${taken.port} is in use by another program`,
        ]);
      }
    } finally {
      await taken.stop(true);
    }
    await using server = await startServer({ dataDir });
    expect(server.pid).toBeGreaterThan(0);
  });

  test("when a setting is misspelled, unknown or wrong: all of them at once, no value of a secret", async () => {
    const refused = await startFailure({
      dataDir: folder("settings"),
      args: ["--bnd", "x", "--log-levle=debug", "--admin-password", "hidden-secret", "extra"],
      env: {
        PICLOUD_DATADIR: "/x",
        PICLOUD_SANDBOXES: "many",
        PICLOUD_ADMIN_PASSWORD: "short-one",
      },
    });
    expect(refused.exitCode).toBe(wrongUsage);
    expect(refused.output.trim().split("\n").sort()).toEqual([
      "picloud: --admin-password: a command line is no place for a secret; use PICLOUD_ADMIN_PASSWORD or --admin-password-file",
      "picloud: PICLOUD_ADMIN_PASSWORD: must have 10 to 256 characters",
      'picloud: PICLOUD_SANDBOXES: must be a whole number from 1 to 16, but is "many"',
      'picloud: unexpected argument "extra"',
      "picloud: unknown flag --bnd; did you mean --bind?",
      "picloud: unknown flag --log-levle; did you mean --log-level?",
      "picloud: unknown variable PICLOUD_DATADIR; did you mean PICLOUD_DATA_DIR?",
    ]);
    expect(existsSync(join(folders.root, "settings", "picloud.db"))).toBe(false);
  });
});

describe("settings", () => {
  test("come from flags, variables, their files and a file, in this order", async () => {
    const dir = folder("layers");
    const secret = join(dir, "password");
    writeFileSync(secret, "from a file, with spaces\n");
    const config = join(dir, "picloud.conf");
    writeFileSync(
      config,
      [
        "# what nobody else says",
        "PICLOUD_ADMIN_USERNAME = ada",
        "PICLOUD_LOG_LEVEL = error",
        'PICLOUD_SESSION_TTL_HOURS = "3"',
        "",
      ].join("\n"),
    );
    await using server = await startServer({
      anonymous: true,
      args: ["--config", config, "--log-level", "info"],
      env: {
        PICLOUD_ADMIN_USERNAME: "",
        PICLOUD_ADMIN_PASSWORD: "",
        PICLOUD_ADMIN_PASSWORD_FILE: secret,
        PICLOUD_SESSION_TTL_HOURS: "",
        PICLOUD_NOBODY_READS_THIS: "1",
      },
    });
    const client = new PicClient({ base_url: server.adminUrl });
    const login = { username: "ada", password: "from a file, with spaces" };
    const opened = await client.auth.login(login);
    expect(opened.account.username).toBe("ada");
    expect((Date.parse(opened.expires_at) - Date.now()) / 3_600_000).toBeCloseTo(3, 1);
    expect(server.log().map(({ message }) => message)).toContain(
      "PICLOUD_NOBODY_READS_THIS is set, but nothing reads it",
    );
  });
});

test("a ceiling that was lowered holds for what was saved before", async () => {
  const dataDir = folder("ceiling");
  const source =
    "export default () => new Promise((resolve) => setTimeout(() => resolve(1), 3_000));";
  const before = await startServer({ dataDir });
  const { script } = await deploy(before.client, { name: "patient", source, path: "/patient" });
  await before.stop();
  await using server = await startServer({ dataDir, env: { PICLOUD_LIMIT_TIMEOUT_MS: "200" } });
  expect((await server.client.scripts.get(script.id)).effective_limits.timeout_ms).toBe(200);
  expect((await fetch(`${server.url}/patient`)).status).toBe(504);
  const limits = { timeout_ms: 201 };
  const refused = await refusal(server.client.scripts.create({ name: "more", source, limits }));
  expect(refused.problem?.errors).toEqual([
    { path: "limits.timeout_ms", message: "201 is above the ceiling of 200" },
  ]);
});

describe("the log", () => {
  test("is JSON, a record a line, and holds no secret at any level", async () => {
    await using server = await startServer({ env: { PICLOUD_LOG_LEVEL: "debug" } });
    const { client } = server;
    await deploy(client, {
      name: "failing",
      source: "export default ({ request }) => { throw new Error(request.headers.authorization) }",
      path: "/failing",
    });
    await fetch(`${server.url}/failing?token=canary-query`, {
      headers: { authorization: "Bearer canary-bearer", cookie: "a=canary-cookie" },
    });
    await refusal(client.auth.login({ username: "admin", password: "canary-password" }));
    const bad = await fetch(`${server.url}/api/v1/admin/auth/login`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"username":"admin","password":"canary-malformed"',
    });
    expect(bad.status).toBe(400);
    await fetch(`${server.url}/%zz?key=canary-key`);
    await server.stop();
    const lines = server.output().trim().split("\n");
    for (const line of lines) {
      expect(JSON.parse(line)).toMatchObject({
        at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
        level: expect.stringMatching(/^(?:debug|info|warn|error)$/),
        message: expect.any(String),
      });
    }
    expect(server.log().map(({ message }) => message)).toEqual(
      expect.arrayContaining(["ready", "A login failed", "stopping", "stopped"]),
    );
    expect(server.output()).not.toMatch(/canary/);
    expect(server.output()).not.toContain(adminLogin.password);
    expect(server.output()).not.toContain(server.token);
    expect(server.output()).not.toMatch(/argon2|pcs_/);
    expect(server.log().filter(({ level }) => level === "error")).toEqual([]);
    // Nor is one on the disk, where hashes are kept.
    for (const name of readdirSync(server.dataDir)) {
      const bytes = readFileSync(join(server.dataDir, name)).toString("latin1");
      expect(`${name} ${bytes.includes(server.token)}`).toBe(`${name} false`);
      expect(`${name} ${bytes.includes(adminLogin.password)}`).toBe(`${name} false`);
      expect(`${name} ${bytes.includes("canary")}`).toBe(`${name} false`);
    }
  });

  test("is text for people when asked for", async () => {
    const child = Bun.spawn([...(await serverCommand()), "serve"], {
      cwd: folders.root,
      env: {
        PICLOUD_BIND: "127.0.0.1:0",
        PICLOUD_ADMIN_BIND: "127.0.0.1:0",
        PICLOUD_DATA_DIR: folder("pretty"),
        PICLOUD_LOG_FORMAT: "pretty",
        BUN_FEATURE_FLAG_NO_ORPHANS: "1",
      },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let text = "";
    let isStopped = false;
    const decoder = new TextDecoder();
    for await (const chunk of child.stderr) {
      text += decoder.decode(chunk, { stream: true });
      // A second signal would end it at once.
      if (isStopped || !/\/admin\/setup\?token=\S+\n/.test(text)) continue;
      isStopped = true;
      child.kill("SIGTERM");
    }
    expect(await child.exited).toBe(0);
    expect(Bun.stripANSI(text)).toMatch(/^[\d:.]{12} info {2}ready public_url=http:/);
    expect(text).toContain("this link makes the first one, once, within an hour:");
  });
});

test("a clock that stands before the last time stored: nothing new expires, nothing old lives on", async () => {
  // As after a boot in 1970: what the folder remembers is ahead of what the machine says.
  const dataDir = folder("clock");
  const before = await startServer({ dataDir });
  await before.stop();
  const ahead = Date.now() + 40 * 24 * 3_600_000;
  await withStorage(dataDir, (db) => db.tx((tx) => setSetting(tx, "last_time", String(ahead))));
  await using server = await startServer({ dataDir });
  const { client } = server;
  const login = await client.auth.login(adminLogin);
  expect(Date.parse(login.expires_at)).toBeGreaterThan(ahead);
  const made = await client.scripts.create({ name: "late", source: "export default () => 1" });
  expect(Date.parse(made.created_at)).toBeGreaterThanOrEqual(ahead);
  const old = new PicClient({ base_url: server.url, token: before.token });
  expect((await refusal(old.auth.me())).status).toBe(401);
  expect((await client.auth.me()).username).toBe("admin");
});
