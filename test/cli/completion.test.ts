/** What shells complete, asked of the shells themselves. */
import { describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { completionScript, SHELLS } from "../../src/cli/completion.ts";
import { PicRun } from "../../src/cli/context.ts";
import { processSurroundings } from "../../src/cli/environment.ts";
import { buildProgram } from "../../src/cli/pic.ts";
import { newUser } from "./pic-runs.ts";

const program = buildProgram(new PicRun(processSurroundings({}), null));

/** What bash offers for the last word of the line. */
function completed(line: string): string[] {
  const words = line.split(" ");
  const script = [
    completionScript("bash", program),
    `COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")})`,
    `COMP_CWORD=${words.length - 1}`,
    "_pic",
    `printf '%s\\n' "\${COMPREPLY[@]}"`,
  ].join("\n");
  const { stdout, stderr } = Bun.spawnSync(["bash", "--norc"], { stdin: Buffer.from(script) });
  expect(stderr.toString()).toBe("");
  return stdout.toString().trimEnd().split("\n");
}

const isThere = (shell: string): boolean => Bun.which(shell) !== null;

describe.skipIf(!isThere("bash"))("bash (there is one) completes", () => {
  const cases: [line: string, words: string[]][] = [
    ["pic who", ["whoami"]],
    ["pic apps mem", ["members"]],
    ["pic apps members ", ["ls", "add", "rm"]],
    ["pic apps members add default grace e", ["editor"]],
    ["pic apps ls --out", ["--output"]],
    ["pic apps ls --output ", ["table", "json", "tsv"]],
    ["pic apps ls -o j", ["json"]],
    ["pic --url apps who", ["whoami"]],
    ["pic accounts create grace --role ad", ["admin"]],
    ["pic completion z", ["zsh"]],
    ["pic nothing-like-it --no-i", ["--no-input"]],
    ["pic zzz", [""]],
  ];
  for (const [line, words] of cases) {
    test(line, () => {
      const found = completed(line);
      for (const word of words) expect(found).toContain(word);
      if (words.length === 1) expect(found).toEqual(words);
    });
  }
});

for (const shell of SHELLS) {
  test.skipIf(!isThere(shell))(`${shell} takes its script, if it is on this machine`, async () => {
    using user = newUser();
    const { code, out } = await user.pic(["completion", shell]);
    expect(code).toBe(0);
    const file = `${user.homeDir}/completion`;
    await Bun.write(file, out);
    const checked = Bun.spawnSync([shell, "-n", file]);
    expect({ code: checked.exitCode, err: checked.stderr.toString() }).toEqual({
      code: 0,
      err: "",
    });
    rmSync(file);
  });

  test(`${shell}: every command and option of the tree is in it`, async () => {
    const script = completionScript(shell, program);
    const visit = (command: typeof program): void => {
      for (const one of command.commands) {
        expect(script).toContain(one.name());
        for (const { long } of one.options) expect(script).toContain(long ?? "");
        visit(one);
      }
    };
    visit(program);
  });
}
