import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type DataDirLock, lockDataDir } from "../../src/storage/sqlite-lock.ts";
import { type Folder, makeFolder } from "./sqlite-folder.ts";

let folder: Folder;
beforeEach(() => {
  folder = makeFolder();
});
afterEach(() => folder.remove());

test("a second server on one folder is refused with a message that says so", () => {
  const lock = lockDataDir(folder.path);
  expect(() => lockDataDir(folder.path)).toThrow(
    `Another PiCloud server is using the data folder ${folder.path}`,
  );
  lock.release();
  lock.release();
  const again: DataDirLock = lockDataDir(folder.path);
  again.release();
});

test("the lock is held until its process is killed, and vanishes with it", async () => {
  await using holder = Bun.spawn(
    [process.execPath, join(import.meta.dir, "lock-holder.ts"), folder.path],
    { stdout: "pipe", stderr: "inherit", env: { PATH: process.env.PATH ?? "" } },
  );
  const reader = holder.stdout.getReader();
  expect(new TextDecoder().decode((await reader.read()).value)).toBe("held\n");
  expect(() => lockDataDir(folder.path)).toThrow(
    `Another PiCloud server is using the data folder ${folder.path} (process ${holder.pid}).`,
  );
  holder.kill("SIGKILL");
  await holder.exited;
  lockDataDir(folder.path).release();
});

test("a missing folder is made for its owner alone; holding the lock writes nothing", () => {
  const path = join(folder.path, "a", "b");
  const lock = lockDataDir(path);
  expect(readdirSync(path)).toEqual(["lock.db"]);
  expect(Bun.file(join(path, "lock.db")).size).toBe(0);
  lock.release();
});

test("a folder that cannot be used is refused with the reason", () => {
  const file = join(folder.path, "file");
  writeFileSync(file, "");
  expect(() => lockDataDir(file)).toThrow(/cannot be used: .*EEXIST|ENOTDIR/);
  expect(() => lockDataDir(join(file, "below"))).toThrow(/cannot be used: .*ENOTDIR/);
  const taken = join(folder.path, "taken");
  mkdirSync(join(taken, "lock.db"), { recursive: true });
  expect(() => lockDataDir(taken)).toThrow("cannot be used");
});
