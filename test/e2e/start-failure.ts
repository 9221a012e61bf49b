/** A start that must fail, and the one sentence that a person gets for it. */
import { expect } from "bun:test";
import { StartFailed, type StartOptions, startServer } from "./server.ts";

export async function startFailure(options: StartOptions): Promise<StartFailed> {
  try {
    await using server = await startServer(options);
    throw new Error(`it started:\n${server.output()}`);
  } catch (error) {
    if (error instanceof StartFailed) return error;
    throw error;
  }
}

/** The one sentence that a person gets, without a stack trace; warnings of the log may stand before it. */
export function sentenceOf({ output }: StartFailed): string {
  const lines = output
    .trim()
    .split("\n")
    .filter((line) => !line.includes('"level":"warn"'));
  expect(lines).toHaveLength(1);
  expect(output).not.toMatch(/ {4}at |\.ts:|bunfs/);
  return lines[0] as string;
}
