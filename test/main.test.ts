/** The roles as processes, from the sources; test/e2e runs the compiled executable. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { version } from "../package.json";
import { settingRows } from "../src/settings.ts";

const main = resolve(import.meta.dir, "../src/main.ts");

interface Ran {
  code: number;
  out: string;
  err: string;
}

async function picloud(
  args: string[],
  { env = {}, input = "" }: { env?: Record<string, string>; input?: string } = {},
): Promise<Ran> {
  const child = Bun.spawn([process.execPath, main, ...args], {
    cwd: "/",
    env: { PATH: process.env.PATH ?? "", ...env },
    stdin: new Blob([input]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, out, err };
}

describe("the command line", () => {
  test("version is the product's, under each of its names", async () => {
    for (const name of ["version", "--version", "-v"]) {
      expect(await picloud([name])).toEqual({ code: 0, out: `picloud ${version}\n`, err: "" });
    }
  });

  test("help is on standard output; without a command it is a complaint", async () => {
    const help = await picloud(["--help"]);
    expect(help.code).toBe(0);
    expect(help.out).toContain("picloud serve");
    expect(help.out).toContain("Exit codes:");
    expect(await picloud([])).toEqual({ code: 2, out: "", err: help.out });
  });

  test("every role has help that does nothing else; that of serve names every setting", async () => {
    const roles = [
      ["serve"],
      ["admin"],
      ["admin", "reset-password"],
      ["admin", "set-role"],
      ["admin", "list"],
      ["types"],
      ["version"],
      ["backup"],
      ["restore"],
    ];
    for (const role of [...roles, ["sandbox"], ["compile"]]) {
      const { code, out, err } = await picloud([...role, "--help"]);
      expect({ role, code, err, usage: out.startsWith("Usage: picloud ") }).toEqual({
        role,
        code: 0,
        err: "",
        usage: true,
      });
    }
    const { out } = await picloud(["serve", "--help"]);
    for (const { name } of settingRows()) expect(out).toContain(`${name} `);
  }, 20_000);

  test("an unknown command is refused with a suggestion", async () => {
    expect(await picloud(["sreve"])).toEqual({
      code: 2,
      out: "",
      err: "picloud: unknown command sreve; did you mean serve?\n",
    });
    expect((await picloud(["admin", "reset"])).code).toBe(2);
  });

  test("types prints the declarations of the module that scripts import", async () => {
    const { code, out } = await picloud(["types"]);
    expect(code).toBe(0);
    expect(out).toContain('declare module "picloud"');
  });

  test("pic is the program pic", async () => {
    expect(await picloud(["pic", "--version"])).toEqual({ code: 0, out: `${version}\n`, err: "" });
    const help = await picloud(["pic", "--help"]);
    expect([help.code, help.out.startsWith("Usage: pic ")]).toEqual([0, true]);
    expect((await picloud(["pic", "whoamii"])).code).toBe(2);
  });
});

describe("a wrong configuration", () => {
  test("ends with 2 before anything is touched, and names all problems", async () => {
    const { code, out, err } = await picloud(["serve", "--sandboxes", "0"], {
      env: { PICLOUD_BNID: "x", PICLOUD_DATA_DIR: "/proc/nowhere" },
    });
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err.trim().split("\n")).toEqual([
      "picloud: unknown variable PICLOUD_BNID; did you mean PICLOUD_BIND?",
      'picloud: --sandboxes: must be a whole number from 1 to 16, but is "0"',
    ]);
  });

  test("a data folder that cannot be used is one clear sentence, and 1", async () => {
    const { code, err } = await picloud(["serve"], { env: { PICLOUD_DATA_DIR: "/proc/nowhere" } });
    expect(code).toBe(1);
    expect(err).toStartWith("picloud: The data folder /proc/nowhere cannot be used: ");
    expect(err.trim().split("\n")).toHaveLength(1);
  });
});

describe("admin reset-password", () => {
  const withFolder = async (run: (env: Record<string, string>) => Promise<void>): Promise<void> => {
    const dir = mkdtempSync(join(tmpdir(), "picloud-main-"));
    try {
      await run({ PICLOUD_DATA_DIR: dir });
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  };

  test("refuses a bad password without showing it, and an account that is not there", async () => {
    await withFolder(async (env) => {
      const short = await picloud(["admin", "reset-password", "ada"], { env, input: "hunter2\n" });
      expect(short.code).toBe(1);
      expect(short.err).toContain("10 to 256 characters");
      expect(short.err).not.toContain("hunter2");
      const nobody = await picloud(["admin", "reset-password", "ada"], {
        env,
        input: "correct horse battery\n",
      });
      expect(nobody.code).toBe(1);
      expect(nobody.err).toStartWith("picloud: ");
    });
  }, 20_000);

  test("needs a name", async () => {
    const { code, err } = await picloud(["admin", "reset-password"]);
    expect({ code, err }).toEqual({ code: 2, err: "picloud: <username> is missing\n" });
  });
});
