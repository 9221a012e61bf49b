/** What scripts/test counts is what happened: a check that cannot fail would be worse than none. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { tests } from "../../scripts/test.ts";

const script = resolve(import.meta.dir, "../../scripts/test.ts");
const minute = 60_000;

/** Runs one planted test file as a stage does. */
async function countsOf(text: string, msMax = minute) {
  const folder = mkdtempSync(join(tmpdir(), "picloud-planted-"));
  try {
    const file = `${folder}/planted.test.ts`;
    writeFileSync(file, `import { expect, test } from "bun:test";\n${text}`);
    return await tests([file], msMax);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe("the counts of a stage", () => {
  test("are the passed, failed and skipped tests, and the output names the failed one", async () => {
    const outcome = await countsOf(`
      test("good", () => {});
      test("bad one", () => expect(1).toBe(2));
      test.skip("later", () => {});
    `);
    expect(outcome).toMatchObject({ passed: 1, failed: 1, skipped: 1 });
    expect(outcome.output).toContain("bad one");
    expect(outcome.output).not.toContain("(pass)");
  });

  test("hold a failure when the process ends badly without a failed test", async () => {
    expect(await countsOf(`test("good", () => {});\nthrow new Error("at load");`)).toMatchObject({
      failed: 1,
    });
    expect((await countsOf(`test("good", () => process.exit(3));`)).failed).toBeGreaterThan(0);
  });

  test("hold a failure when the bound is reached, and say so", async () => {
    const outcome = await countsOf(`test("endless", () => { for (;;); });`, 1_500);
    expect(outcome.failed).toBe(1);
    expect(outcome.output).toContain("its bound");
  }, 20_000);
});

test("an unknown stage or flag is refused with the names of all stages", async () => {
  for (const args of [["--only", "nothing"], ["--onyl", "unit"], ["unit"]]) {
    const ran = Bun.spawnSync([process.execPath, script, ...args]);
    expect(ran.exitCode).toBe(2);
    expect(ran.stderr.toString()).toContain("Stages: lint, types, style, unit");
  }
});
