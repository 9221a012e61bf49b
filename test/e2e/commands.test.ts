/** The commands of the executable besides `serve`, as a person types them. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { version } from "../../package.json";
import { PicClient } from "../../src/client.ts";
import { adminLogin, serverCommand, startServer } from "./server.ts";
import { refusal } from "./steps.ts";

const root = resolve(import.meta.dir, "../..");
const failed = 1;
const wrongUsage = 2;

let scratch: string;

beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "picloud-commands-"));
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

describe("commands", () => {
  test("an executable reads nothing from the folder it is started in", async () => {
    const dir = folder("trap");
    writeFileSync(join(dir, ".env"), "PICLOUD_DATADIR=trap\n");
    writeFileSync(join(dir, "bunfig.toml"), 'preload = ["./trap.ts"]\n');
    writeFileSync(join(dir, "trap.ts"), 'console.log("trapped"); process.exit(9);\n');
    const { code, stdout } = await run(["version"], { cwd: dir });
    expect([code, stdout]).toEqual([0, `picloud ${version}\n`]);
  });

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
