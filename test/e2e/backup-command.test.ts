/** `picloud backup` and `picloud restore` as a person types them, and killed at any moment. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import {
  backUp,
  failed,
  fresh,
  makeLarge,
  picloud,
  restored,
  scratch,
  spawn,
  travelling,
  wrongUsage,
} from "./backup-steps.ts";
import { serverCommand } from "./server.ts";
import { until } from "./steps.ts";

const rounds = 20;

let large: string;

beforeAll(async () => {
  large = await makeLarge();
}, 30_000);

afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe(`kill -9, ${rounds} times at any moment`, () => {
  test("of a backup: there is a whole one or none, and the next one works", async () => {
    const file = fresh("picloud.backup");
    let finished = 0;
    for (let round = 0; round < rounds; round += 1) {
      const child = await spawn(["backup", file], large);
      await Promise.race([Bun.sleep(momentMs(round)), child.exited]);
      child.kill("SIGKILL");
      await child.exited;
      if (!existsSync(file)) continue;
      finished += 1;
      expect((await picloud(["restore", "--check", file], scratch)).code).toBe(0);
      rmSync(file);
    }
    expect(finished).toBeLessThan(rounds);
    expect((await picloud(["backup", file], large)).code).toBe(0);
    expect(readdirSync(scratch).filter((name) => name.endsWith(".partial"))).toEqual([]);
    expect(travelling(await restored(file))).toEqual(travelling(large));
  }, 120_000);

  test("of a restore: the folder has the whole database or none, and the next one works", async () => {
    const file = await backUp(large);
    const expected = travelling(large);
    let finished = 0;
    for (let round = 0; round < rounds; round += 1) {
      const to = fresh("killed");
      const child = await spawn(["restore", file], to);
      await Promise.race([Bun.sleep(momentMs(round)), child.exited]);
      child.kill("SIGKILL");
      await child.exited;
      if (existsSync(join(to, "picloud.db"))) finished += 1;
      else expect((await picloud(["restore", file], to)).code).toBe(0);
      expect(readdirSync(to).sort()).toEqual(["lock.db", "picloud.db"]);
      expect(Bun.deepEquals(travelling(to), expected)).toBe(true);
      rmSync(to, { recursive: true });
    }
    expect(finished).toBeLessThan(rounds);
  }, 120_000);
});

/** From the start of the process to its end, on a machine of any speed: some are early, some late. */
function momentMs(round: number): number {
  return 20 + ((round * 97) % 400);
}

describe("as a person types it", () => {
  test("it says what it did, and in what", async () => {
    const file = fresh("picloud.backup");
    const made = await picloud(["backup", file], large);
    expect(made.said).toMatch(
      /^picloud: backed up 30,\d{3} rows of \d+ tables, \d\.\d MB, schema \d+, to \S+\n$/,
    );
    const checked = await picloud(["restore", "--check", file], fresh("nowhere"));
    expect(checked.said).toMatch(
      /^picloud: the backup is whole: 30,\d{3} rows of \d+ tables, made by PiCloud \S+ \(schema \d+\) at \d{4}-\S+Z\n$/,
    );
    expect(await picloud(["backup", file], large)).toEqual({
      code: failed,
      said: `picloud: ${file} exists already; --force replaces it.\n`,
    });
    expect((await picloud(["backup", file, "--force"], large)).code).toBe(0);
  }, 30_000);

  test("mistakes are told in a sentence", async () => {
    const nowhere = fresh("nowhere");
    const file = fresh("picloud.backup");
    const cases: [string[], number, string][] = [
      [["backup"], wrongUsage, "<file> is missing"],
      [["backup", "a", "b"], wrongUsage, 'unexpected argument "b"'],
      [["restore"], wrongUsage, "<file> is missing"],
      [["backup", file, "--forse"], wrongUsage, "did you mean --force?"],
      [["backup", file], failed, `There is no database in the data folder ${nowhere}.`],
      [["restore", file], failed, `${file}: there is no such file or folder.`],
      [["restore", resolve(import.meta.path)], failed, "This is no backup of PiCloud"],
    ];
    for (const [args, code, sentence] of cases) {
      const ran = await picloud(args, nowhere);
      expect({ args, ...ran }).toEqual({ args, code, said: expect.stringContaining(sentence) });
      expect(ran.said.trim().split("\n").length).toBe(1);
    }
    expect(existsSync(nowhere)).toBe(false);
    expect(existsSync(file)).toBe(false);
    expect(existsSync(`${file}.partial`)).toBe(false);
  }, 30_000);

  test("through pipes, from one machine to another", async () => {
    const to = fresh("piped");
    const command = await serverCommand();
    const quotedCommand = command.map((word) => `'${word}'`).join(" ");
    const child = Bun.spawnSync(
      [
        "sh",
        "-c",
        `${quotedCommand} backup - | PICLOUD_DATA_DIR='${to}' ${quotedCommand} restore -`,
      ],
      { env: { PATH: process.env.PATH ?? "", PICLOUD_DATA_DIR: large }, cwd: scratch },
    );
    expect(child.exitCode).toBe(0);
    expect(Bun.deepEquals(travelling(to), travelling(large))).toBe(true);
  }, 30_000);

  test("a reader that goes away ends it", async () => {
    const child = await spawn(["backup", "-"], large);
    await child.stdout.getReader().cancel();
    const said = await new Response(child.stderr).text();
    expect(await child.exited).toBe(failed);
    expect(said).toBe("picloud: standard output: nobody reads it any more.\n");
  });

  test("SIGTERM ends it and leaves nothing", async () => {
    const file = fresh("picloud.backup");
    let said = "";
    // On a machine that is busy it may have been done before the signal came.
    for (let code = 0, tries = 0; code === 0 && tries < 10; tries += 1) {
      rmSync(file, { force: true });
      const child = await spawn(["backup", file], large);
      await until("it has begun", 10_000, () => (existsSync(`${file}.partial`) ? true : null));
      child.kill("SIGTERM");
      said = await new Response(child.stderr).text();
      code = await child.exited;
    }
    expect(said).toBe("picloud: The backup was not made: it was interrupted.\n");
    expect(existsSync(`${file}.partial`)).toBe(false);
    expect(existsSync(file)).toBe(false);
  }, 30_000);

  const limitable = Bun.which("prlimit") !== null;
  test.skipIf(!limitable)(
    `a disk that takes no more is told, and nothing is left${limitable ? "" : " (skipped: there is no prlimit)"}`,
    async () => {
      const file = fresh("picloud.backup");
      const limited = ["prlimit", "--fsize=100000", ...(await serverCommand())];
      const { code, said } = await picloud(["backup", file], large, limited);
      expect(code).toBe(failed);
      expect(said).toBe(`picloud: ${file}.partial: its file system takes no file so large.\n`);
      expect(existsSync(`${file}.partial`)).toBe(false);

      const whole = await backUp(large);
      const to = fresh("limited");
      const refused = await picloud(["restore", whole], to, limited);
      expect(refused.code).toBe(failed);
      expect(refused.said.trim().split("\n").length).toBe(1);
      expect(readdirSync(to)).toEqual(["lock.db"]);
      expect((await picloud(["restore", whole], to)).code).toBe(0);
    },
    30_000,
  );
});
