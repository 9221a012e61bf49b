/** The way back in for an owner who has lost the password: a command beside the server. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PicClient } from "../../src/client.ts";
import { type Ran, runCommand } from "./command.ts";
import { dropStorage, engine, storageSettings } from "./engine.ts";
import { adminLogin, startServer } from "./server.ts";
import { refusal, until } from "./steps.ts";

const failed = 1;

let dataDir: string;

beforeAll(() => {
  dataDir = mkdtempSync(join(tmpdir(), "picloud-reset-"));
});

afterAll(async () => {
  await dropStorage(dataDir);
  rmSync(dataDir, { recursive: true, force: true });
});

describe("admin reset-password", () => {
  test("sets it and ends the sessions; on SQLite only while the server is stopped", async () => {
    const env = {
      PICLOUD_DATA_DIR: dataDir,
      // The tests' own PostgreSQL syncs nothing, and is warned of.
      PICLOUD_LOG_LEVEL: "error",
      ...(await storageSettings(dataDir)),
    };
    const reset = (args: string[], input = ""): Promise<Ran> =>
      runCommand(["admin", "reset-password", ...args], { env, input });
    const server = await startServer({ dataDir });
    expect((await server.client.auth.me()).username).toBe("admin");
    const running = await reset(["admin"], "another long password\n");
    if (engine === "sqlite") {
      expect(running).toMatchObject({ code: failed, stdout: "" });
      expect(running.stderr).toMatch(/^picloud: Another PiCloud server is using the data folder /);
      expect((await server.client.auth.me()).username).toBe("admin");
    } else {
      expect(running).toMatchObject({ code: 0, stdout: "" });
      // The server hears of it: the session is not remembered.
      await until("the session has ended", 10_000, () =>
        server.client.auth.me().then(
          () => null,
          () => true,
        ),
      );
    }
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
