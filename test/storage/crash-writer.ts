/**
 * A process of the crash test: 16 writers count up, each in a row of its own, and say every number
 * that was acknowledged, until somebody kills the process.
 */
import { writeSync } from "node:fs";
import type { Tx } from "../../src/storage/port.ts";
import { getSetting, setSetting } from "../../src/storage/settings.ts";
import { openMain } from "./sqlite-folder.ts";

const db = await openMain(process.argv[2] as string, { bounds: { walPagesMax: 100 } });

async function bump(tx: Tx, name: string): Promise<number> {
  const next = Number((await getSetting(tx, name)) ?? "0") + 1;
  await setSetting(tx, name, String(next));
  await setSetting(tx, `${name}-twin`, String(next));
  return next;
}

async function writer(number: number): Promise<never> {
  for (;;) {
    const value = await db.tx((tx) => bump(tx, `w${number}`));
    writeSync(1, `${number} ${value}\n`);
  }
}

await Promise.all(Array.from({ length: 16 }, (_, number) => writer(number)));
