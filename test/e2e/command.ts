/** Runs a command of the executable to its end. */
import { tmpdir } from "node:os";
import { serverCommand } from "./server.ts";

export interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  env?: Record<string, string>;
  input?: string;
  cwd?: string;
}

const msMax = 20_000;

export async function runCommand(
  args: string[],
  { env = {}, input = "", cwd = tmpdir() }: RunOptions = {},
): Promise<Ran> {
  const child = Bun.spawn([...(await serverCommand()), ...args], {
    cwd,
    env: { PATH: process.env.PATH ?? "", ...env },
    stdin: Buffer.from(input),
    stdout: "pipe",
    stderr: "pipe",
    timeout: msMax,
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, stdout, stderr };
}
