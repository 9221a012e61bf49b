/** What the person sees who runs the server: messages, exit codes, logs, commands, the clock. */
import { Database as Sqlite } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { version } from "../../package.json";
import { PicClient } from "../../src/client.ts";
import {
  adminLogin,
  StartFailed,
  type StartOptions,
  serverCommand,
  startServer,
} from "./server.ts";
import { deploy, refusal } from "./steps.ts";

const root = resolve(import.meta.dir, "../..");
const nobody = 65_534;
const failed = 1;
const wrongUsage = 2;

let scratch: string;

beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "picloud-operations-"));
  chmodSync(scratch, 0o755);
});

afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function folder(name: string): string {
  const path = join(scratch, name);
  mkdirSync(path, { recursive: true });
  return path;
}

interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

interface RunOptions {
  env?: Record<string, string>;
  input?: string;
  cwd?: string;
}

/** Runs the executable to its end. */
async function run(
  args: string[],
  { env = {}, input = "", cwd = scratch }: RunOptions = {},
): Promise<Ran> {
  const child = Bun.spawn([...(await serverCommand()), ...args], {
    cwd,
    env: { PATH: process.env.PATH ?? "", ...env },
    stdin: Buffer.from(input),
    stdout: "pipe",
    stderr: "pipe",
    timeout: 20_000,
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, stdout, stderr };
}

async function startFailure(options: StartOptions): Promise<StartFailed> {
  try {
    await using server = await startServer(options);
    throw new Error(`it started:\n${server.output()}`);
  } catch (error) {
    if (error instanceof StartFailed) return error;
    throw error;
  }
}

/** The one sentence that a person gets, without a stack trace. */
function sentenceOf({ output }: StartFailed): string {
  const lines = output.trim().split("\n");
  expect(lines).toHaveLength(1);
  expect(output).not.toMatch(/ {4}at |\.ts:|bunfs/);
  return lines[0] as string;
}

describe("a start that cannot be says why and ends", () => {
  test("when another server uses the folder, which goes on", async () => {
    await using server = await startServer();
    const refused = await startFailure({ dataDir: server.dataDir });
    expect(refused.exitCode).toBe(failed);
    expect(sentenceOf(refused)).toBe(
      `picloud: Another PiCloud server is using the data folder ${server.dataDir}.`,
    );
    expect(await server.client.auth.me()).toMatchObject({ username: "admin" });
  });

  test("when the database is another program's, which is left as it is", async () => {
    for (const [name, make] of [
      ["foreign", (path: string) => void new Sqlite(path).run("create table notes (a)")],
      ["noise", (path: string) => writeFileSync(path, Buffer.alloc(8_192, "not a database "))],
    ] as const) {
      const dataDir = folder(name);
      const path = join(dataDir, "picloud.db");
      make(path);
      const before = readFileSync(path);
      const refused = await startFailure({ dataDir });
      expect(refused.exitCode).toBe(failed);
      expect(sentenceOf(refused)).toMatch(
        /^picloud: .*picloud\.db: (This is a database of another program|The file is not a database)\.$/,
      );
      expect(readFileSync(path).equals(before)).toBe(true);
    }
  });

  test("when a newer PiCloud wrote the schema", async () => {
    const dataDir = folder("newer");
    await (await startServer({ dataDir })).stop();
    {
      using db = new Sqlite(join(dataDir, "picloud.db"));
      db.run("insert into schema_migrations values (900, 'later', 'x', 1)");
    }
    const refused = await startFailure({ dataDir });
    expect(refused.exitCode).toBe(failed);
    expect(sentenceOf(refused)).toMatch(/has schema 900, and this PiCloud knows schemas up to \d+/);
  });

  const canDrop = process.getuid?.() === 0 && Bun.which("setpriv") !== null;
  const isRoot = process.getuid?.() === 0;
  const skip = isRoot && !canDrop;
  test.skipIf(skip)(
    `when the folder cannot be written${skip ? " (skipped: root, and no setpriv)" : ""}`,
    async () => {
      const dataDir = folder("readonly");
      chmodSync(dataDir, 0o555);
      const ids = ["--reuid", String(nobody), "--regid", String(nobody), "--clear-groups"];
      const command = [...(isRoot ? ["setpriv", ...ids] : []), ...(await serverCommand())];
      const refused = await startFailure({ dataDir, command });
      expect(refused.exitCode).toBe(failed);
      expect(sentenceOf(refused)).toContain(`The data folder ${dataDir} cannot be used: EACCES`);
      // The same user, the same executable, and a folder of its own.
      const own = folder("own");
      if (isRoot) chownSync(own, nobody, nobody);
      await using server = await startServer({ dataDir: own, command });
      expect(await (await fetch(`${server.url}/healthz`)).text()).toBe("ok");
      const { mode } = statSync(join(own, "picloud.db"));
      expect((mode & 0o077).toString(8)).toBe("0");
    },
  );

  test("when the folder is a file", async () => {
    const dataDir = join(folder("file"), "data");
    writeFileSync(dataDir, "");
    const refused = await startFailure({ dataDir });
    expect(refused.exitCode).toBe(failed);
    expect(sentenceOf(refused)).toContain(`The data folder ${dataDir} cannot be used`);
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
    expect(existsSync(join(scratch, "settings", "picloud.db"))).toBe(false);
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

  test("an executable reads nothing from the folder it is started in", async () => {
    const dir = folder("trap");
    writeFileSync(join(dir, ".env"), "PICLOUD_DATADIR=trap\n");
    writeFileSync(join(dir, "bunfig.toml"), 'preload = ["./trap.ts"]\n');
    writeFileSync(join(dir, "trap.ts"), 'console.log("trapped"); process.exit(9);\n');
    const { code, stdout } = await run(["version"], { cwd: dir });
    expect([code, stdout]).toEqual([0, `picloud ${version}\n`]);
  });
});

describe("commands", () => {
  test("version, and nothing else", async () => {
    for (const name of ["version", "--version", "-v"]) {
      expect(await run([name])).toEqual({ code: 0, stdout: `picloud ${version}\n`, stderr: "" });
    }
  });

  test.each([
    ["--help", "picloud serve"],
    ["help", "picloud serve"],
    ["serve --help", "PICLOUD_BIND"],
    ["serve -h", "PICLOUD_DATA_DIR"],
    ["admin --help", "reset-password"],
    ["admin reset-password --help", "--generate"],
    ["types --help", "picloud.d.ts"],
    ["version --help", "picloud version"],
    ["sandbox --help", "Internal"],
    ["compile --help", "Internal"],
  ])("%s explains itself on standard output", async (line, part) => {
    const { code, stdout, stderr } = await run(line.split(" "));
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toContain(part);
  });

  test("that do not exist are refused with a suggestion", async () => {
    expect(await run(["serv"])).toEqual({
      code: wrongUsage,
      stdout: "",
      stderr: "picloud: unknown command serv; did you mean serve?\n",
    });
    const none = await run([]);
    expect([none.code, none.stdout]).toEqual([wrongUsage, ""]);
    expect(none.stderr).toContain("picloud serve");
    expect((await run(["admin", "reset"])).code).toBe(wrongUsage);
    expect((await run(["sandbox"])).code).toBe(failed);
  });

  test("types: what is printed type-checks, and so does a script against it", async () => {
    const dir = folder("types");
    const { code, stdout } = await run(["types"]);
    expect(code).toBe(0);
    writeFileSync(join(dir, "picloud.d.ts"), stdout);
    writeFileSync(
      join(dir, "script.ts"),
      `import { base64, type Context, hex, kv, log } from "picloud";
       interface Visit { at: number }
       const visits = kv.collection<Visit>("visits");
       export default async function (ctx: Context) {
         const { name = "nobody" } = ctx.request.params;
         const before: Visit | null = await visits.get(name);
         await visits.set(name, { at: Date.now() });
         const n: number = await kv.collection("n").increment(name, 2);
         log.info("visit", { name, n }); console.log(new URL("http://a/").searchParams.get("x"));
         const id: string = crypto.randomUUID(), binary: string | null = ctx.request.bodyBase64;
         return { statusCode: 200, headers: { "x-n": n }, body: [before?.at, id, binary, hex, base64] };
       }
       // @ts-expect-error: a key is text
       visits.get(1);
       // @ts-expect-error: nothing of the host is here
       process.exit();\n`,
    );
    const options = {
      compilerOptions: {
        strict: true,
        noEmit: true,
        module: "esnext",
        moduleResolution: "bundler",
        target: "esnext",
        lib: ["ESNext"],
        types: [],
      },
    };
    writeFileSync(join(dir, "tsconfig.json"), JSON.stringify(options));
    const checked = Bun.spawnSync([process.execPath, "x", "tsc", "-p", dir], { cwd: root });
    expect(checked.stdout.toString() + checked.stderr.toString()).toBe("");
    expect(checked.exitCode).toBe(0);
  });
});

describe("admin reset-password", () => {
  test("sets it while the server is stopped, ends the sessions, and is refused while it runs", async () => {
    const dataDir = folder("reset");
    const env = { PICLOUD_DATA_DIR: dataDir };
    const reset = (args: string[], input = ""): Promise<Ran> =>
      run(["admin", "reset-password", ...args], { env, input });
    const server = await startServer({ dataDir });
    const running = await reset(["admin"], "another long password\n");
    expect(running).toMatchObject({ code: failed, stdout: "" });
    expect(running.stderr).toContain("Another PiCloud server is using the data folder");
    expect((await server.client.auth.me()).username).toBe("admin");
    await server.stop();

    expect(await reset(["admin"], "another long password\n")).toEqual({
      code: 0,
      stdout: "",
      stderr: "picloud: the password of admin is set, and its sessions have ended\n",
    });
    const short = await reset(["admin"], "short\n");
    expect(short.code).toBe(failed);
    expect(short.stderr).toBe("picloud: a password has 10 to 256 characters, this one has 5\n");
    expect(await reset(["nobody"], "another long password\n")).toMatchObject({
      code: failed,
      stderr: "picloud: There is no account of this name\n",
    });
    expect((await reset([])).stderr).toBe("picloud: <username> is missing\n");

    // The first account's settings never change one that exists.
    await using again = await startServer({ dataDir, anonymous: true });
    const client = new PicClient({ base_url: again.url });
    expect((await refusal(client.auth.login(adminLogin))).code).toBe("invalid_credentials");
    await client.auth.login({ username: "admin", password: "another long password" });
    const old = new PicClient({ base_url: again.url, token: server.token });
    expect((await refusal(old.auth.me())).status).toBe(401);
    await again.stop();

    const made = await reset(["admin", "--generate"]);
    expect(made.code).toBe(0);
    const password = made.stdout.trim();
    expect(password).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(made.stderr).not.toContain(password);
    await using last = await startServer({ dataDir, anonymous: true });
    await new PicClient({ base_url: last.url }).auth.login({ username: "admin", password });
  }, 30_000);
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
      cwd: scratch,
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
  {
    using db = new Sqlite(join(dataDir, "picloud.db"));
    const { changes } = db.run("update settings set value = ? where name = 'last_time'", [
      String(ahead),
    ]);
    expect(changes).toBe(1);
  }
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
