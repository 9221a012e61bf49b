/** Roles given by whoever owns the machine: the way out of too many owners, and into one. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runCommand } from "./command.ts";
import { dropStorage, engine, storageSettings } from "./engine.ts";
import { startServer } from "./server.ts";
import { refusal } from "./steps.ts";

const failed = 1;
const usage = 2;

let dataDir: string;

beforeAll(() => {
  dataDir = mkdtempSync(join(tmpdir(), "picloud-roles-"));
});

afterAll(async () => {
  await dropStorage(dataDir);
  rmSync(dataDir, { recursive: true, force: true });
});

test("admin set-role gives a role, keeps the last owner and is audited; admin list shows them", async () => {
  const env = {
    PICLOUD_DATA_DIR: dataDir,
    PICLOUD_LOG_LEVEL: "error",
    ...(await storageSettings(dataDir)),
  };
  const admin = (...args: string[]) => runCommand(["admin", ...args], { env });
  const server = await startServer({ dataDir });
  const password = "a long enough password";
  for (const username of ["grace", "linus"]) {
    await server.client.accounts.create({ username, password, role: "owner" });
  }
  const running = await admin("set-role", "linus", "admin");
  if (engine === "sqlite") {
    expect(running).toMatchObject({ code: failed, stdout: "" });
    expect(running.stderr).toMatch(/^picloud: Another PiCloud server is using the data folder /);
  } else {
    // Whoever is logged in feels it at once.
    expect(running).toMatchObject({ code: 0 });
    expect((await server.client.accounts.get("linus")).role).toBe("admin");
  }
  await server.stop();

  expect(await admin("set-role", "Linus", "member")).toEqual({
    code: 0,
    stdout: "",
    stderr: "picloud: Linus is member now\n",
  });
  expect((await admin("set-role", "grace", "admin")).code).toBe(0);
  expect(await admin("set-role", "admin", "member")).toEqual({
    code: failed,
    stdout: "",
    stderr: "picloud: admin is the last active owner: make another one first\n",
  });
  expect(await admin("set-role", "nobody", "member")).toMatchObject({
    code: failed,
    stderr: "picloud: There is no such account\n",
  });
  for (const args of [["grace"], ["grace", "root"], ["grace", "owner", "too"], []]) {
    expect((await admin("set-role", ...args)).code).toBe(usage);
  }
  expect((await admin("set-rolle", "grace", "owner")).code).toBe(usage);
  expect(await admin("list")).toEqual({
    code: 0,
    stdout: "admin\towner\tactive\ngrace\tadmin\tactive\nlinus\tmember\tactive\n",
    stderr: "",
  });

  await using again = await startServer({ dataDir });
  expect((await again.client.accounts.get("grace")).role).toBe("admin");
  const own = again.client.accounts.update("admin", { role: "member" });
  expect((await refusal(own)).code).toBe("conflict");
}, 30_000);
