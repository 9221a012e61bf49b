/** The README's quick start, word for word: its commands are run in order, its answers compared. */
import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { freePorts, runStart } from "./start-script.ts";

interface Step {
  commands: string;
  /** What the README says they print; null when it says nothing. */
  answer: string | null;
}

const readme = readFileSync(resolve(import.meta.dir, "../../README.md"), "utf8");

function quickStart(): Step[] {
  const section = readme.match(/## Quick start\n([\s\S]*?)\n## /)?.[1] ?? "";
  const steps: Step[] = [];
  for (const [, kind, text = ""] of section.matchAll(/```(sh|json|text)\n([\s\S]*?)```/g)) {
    const last = steps.at(-1);
    if (kind === "sh") steps.push({ commands: text, answer: null });
    else if (last !== undefined) last.answer = text;
  }
  return steps;
}

test("the quick start is true word for word", async () => {
  const [first, ...steps] = quickStart();
  expect(first).toEqual({ commands: "./scripts/start\n", answer: null });
  expect(steps.filter(({ answer }) => answer !== null).length).toBeGreaterThan(3);

  const folder = mkdtempSync(join(tmpdir(), "picloud-readme-"));
  const port = freePorts();
  try {
    await using start = runStart(port, `${folder}/picloud-data`);
    await start.ready();
    const separator = "--- end of a step ---";
    const script = steps
      .map(({ commands }) => `${commands}\nprintf '\\n${separator}\\n'`)
      .join("\n");
    const shell = Bun.spawnSync(["sh", "-eu"], {
      cwd: folder,
      // The ports alone are the test's own.
      stdin: new TextEncoder().encode(script.replaceAll("localhost:8080", `localhost:${port}`)),
    });
    expect(shell.exitCode).toBe(0);
    const answers = shell.stdout.toString().split(`\n${separator}\n`);
    const expected = steps.map(({ answer }) => (answer ?? "").trim());
    expect(answers.slice(0, -1).map((answer) => answer.trim())).toEqual(expected);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}, 90_000);
