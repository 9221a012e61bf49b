/** What the tests of `picloud backup` and `picloud restore` share: the commands as processes. */
import { expect } from "bun:test";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "../../src/storage/sql.ts";
import { openMain } from "../storage/sqlite-folder.ts";
import { contents, writeFixture } from "../storage/upgrade-fixtures.ts";
import { serverCommand } from "./server.ts";

export const failed = 1;
export const wrongUsage = 2;
const largeRows = 30_000;

let paths = 0;

/** A folder for one test file, gone at its end. */
export const scratch = mkdtempSync(join(tmpdir(), "picloud-backup-"));

/** Makes a data folder whose backup takes a while. */
export async function makeLarge(): Promise<string> {
  const large = fresh("large");
  await writeFixture(large);
  const db = await openMain(large);
  await db.tx(async (tx) => {
    for (let index = 0; index < largeRows; index += 1) {
      const value = JSON.stringify(Bun.hash(String(index)).toString(36).repeat(4));
      await tx.run(sql`insert into kv (app_id, collection, key, version, updated_at, value)
        values ('app-1', 'large', ${`k${index}`}, 1, 1, ${value})`);
    }
  });
  await db.close();
  return large;
}

/** A path that nothing has yet. */
export function fresh(name: string): string {
  paths += 1;
  return join(scratch, `${paths}-${name}`);
}

export interface Ran {
  code: number;
  said: string;
}

/** @param where a data folder, or the address of a PostgreSQL database */
export async function spawn(args: readonly string[], where: string, command?: readonly string[]) {
  const storage = where.startsWith("postgres:")
    ? { PICLOUD_DATABASE_URL: where }
    : { PICLOUD_DATA_DIR: where };
  return Bun.spawn([...(command ?? (await serverCommand())), ...args], {
    cwd: scratch,
    env: { PATH: process.env.PATH ?? "", ...storage },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 60_000,
  });
}

/** Runs it to its end; nothing may be on its standard output. */
export async function picloud(args: readonly string[], where: string, command?: readonly string[]) {
  const child = await spawn(args, where, command);
  const [out, said, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  expect(out).toBe("");
  return { code, said } satisfies Ran;
}

export async function backUp(where: string): Promise<string> {
  const file = fresh("picloud.backup");
  const { code, said } = await picloud(["backup", file], where);
  expect({ code, said }).toEqual({ code: 0, said: expect.stringContaining("backed up ") });
  return file;
}

export async function restored(file: string): Promise<string> {
  const to = fresh("restored");
  const { code, said } = await picloud(["restore", file], to);
  expect({ code, said }).toEqual({ code: 0, said: expect.stringContaining("restored ") });
  return to;
}

/** What a folder has that travels. */
export function travelling(dataDir: string): ReturnType<typeof contents> {
  const all = contents(dataDir);
  all.delete("sessions");
  return all;
}
