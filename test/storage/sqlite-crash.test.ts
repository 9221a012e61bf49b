import { expect, test } from "bun:test";
import { join } from "node:path";
import { getSetting } from "../../src/storage/settings.ts";
import { sql } from "../../src/storage/sql.ts";
import { makeFolder, openMain } from "./sqlite-folder.ts";

const rounds = 5;

test("a process that is killed at any moment loses nothing that it acknowledged", async () => {
  const folder = makeFolder();
  try {
    const acknowledged = new Map<number, number>();
    for (let round = 0; round < rounds; round += 1) {
      await writeUntilKilled(folder.path, acknowledged, 200 + round * 150);
      const db = await openMain(folder.path);
      for (const [writer, value] of acknowledged) {
        const stored = Number(await getSetting(db, `w${writer}`));
        expect(stored).toBeGreaterThanOrEqual(value);
        expect(Number(await getSetting(db, `w${writer}-twin`))).toBe(stored);
      }
      expect(await db.all(sql`pragma integrity_check`)).toEqual([{ integrity_check: "ok" }]);
      await db.close();
    }
    expect(acknowledged.size).toBe(16);
  } finally {
    folder.remove();
  }
}, 30_000);

/** Adds to `acknowledged` what the child said, the last whole line included. */
async function writeUntilKilled(
  path: string,
  acknowledged: Map<number, number>,
  lines: number,
): Promise<void> {
  await using child = Bun.spawn(
    [process.execPath, join(import.meta.dir, "crash-writer.ts"), path],
    {
      stdout: "pipe",
      stderr: "inherit",
      env: { PATH: process.env.PATH ?? "" },
    },
  );
  let text = "";
  let seen = 0;
  const decoder = new TextDecoder();
  for await (const chunk of child.stdout) {
    text += decoder.decode(chunk);
    const whole = text.split("\n");
    text = whole.pop() ?? "";
    for (const line of whole) {
      const [writer, value] = line.split(" ").map(Number) as [number, number];
      acknowledged.set(writer, value);
    }
    seen += whole.length;
    if (seen >= lines && !child.killed) child.kill("SIGKILL");
  }
  await child.exited;
  expect(seen).toBeGreaterThanOrEqual(lines);
}
