/** docs/data.md, word for word: each script answers what stands below it, each command prints it. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { useFolders } from "./folders.ts";
import { startServer, type TestServer } from "./server.ts";

interface Step {
  kind: "ts" | "sh";
  text: string;
  /** What the page says it gives. */
  answer: string;
}

const page = readFileSync(resolve(import.meta.dir, "../../docs/data.md"), "utf8");
const folders = useFolders();

let server: TestServer;

beforeAll(async () => {
  server = await startServer();
}, 60_000);

afterAll(async () => {
  await server[Symbol.asyncDispose]();
}, 30_000);

function stepsOf(text: string): Step[] {
  const block = /```(ts|sh)\n([\s\S]*?)```\n\n```(?:json|text)\n([\s\S]*?)```/g;
  return [...text.matchAll(block)].map(([, kind, script = "", answer = ""]) => ({
    kind: kind === "sh" ? "sh" : "ts",
    text: script,
    answer: answer.trim(),
  }));
}

async function answerOf(source: string, name: string): Promise<string> {
  const { id } = await server.client.scripts.create({ app: "default", name, source });
  const headers = { authorization: `Bearer ${server.token}` };
  return (await fetch(`${server.url}/api/v1/execute/${id}`, { headers })).text();
}

function outputOf(commands: string): string {
  const env = { ...process.env, API: `${server.url}/api/v1/admin`, TOKEN: server.token };
  const shell = Bun.spawnSync(["sh", "-eu", "-c", commands], { cwd: folders.root, env });
  expect([shell.exitCode, shell.stderr.toString()]).toEqual([0, ""]);
  return shell.stdout.toString().trim();
}

test("the page on data is true word for word", async () => {
  const steps = stepsOf(page);
  expect(steps.length).toBe([...page.matchAll(/```(?:ts|sh)\n/g)].length);
  for (const [index, { kind, text, answer }] of steps.entries()) {
    const given = kind === "sh" ? outputOf(text) : await answerOf(text, `page-${index}`);
    expect(given).toBe(answer);
  }
}, 30_000);
