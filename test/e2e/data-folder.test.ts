/** A data folder that cannot be used: in use, foreign, not writable, no folder. SQLite alone has one. */
import { Database as Sqlite } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { chmodSync, chownSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { useFolders } from "./folders.ts";
import { serverCommand, startServer } from "./server.ts";
import { sentenceOf, startFailure } from "./start-failure.ts";

const nobody = 65_534;
const failed = 1;

const { folder } = useFolders();

describe("a start that cannot be says why and ends", () => {
  test("when another server uses the folder, which goes on", async () => {
    await using server = await startServer();
    const refused = await startFailure({ dataDir: server.dataDir });
    expect(refused.exitCode).toBe(failed);
    expect(sentenceOf(refused)).toBe(
      `picloud: Another PiCloud server is using the data folder ${server.dataDir} (process ${server.pid}).`,
    );
    expect(await server.client.auth.me()).toMatchObject({ username: "admin" });
  });

  test("but not when that server was killed: its lock is gone with it", async () => {
    const dataDir = folder("killed");
    await using server = await startServer({ dataDir });
    await server.kill9();
    await using next = await startServer({ dataDir });
    expect(await next.client.auth.me()).toMatchObject({ username: "admin" });
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
});
