/** `pic` as a process at a terminal, and in pipes: what only the real streams show. */
import { describe, expect, test } from "bun:test";
import { resolve } from "node:path";
import { serve } from "../http/admin/server.ts";
import { password } from "../services/fakes.ts";
import { newUser } from "./pic-runs.ts";

const entry = resolve(import.meta.dir, "../../src/pic.ts");
const msMax = 20_000;

/** A run at a terminal: `answers` are typed, each when the text before it has appeared. */
async function atTerminal(
  homeDir: string,
  args: string[],
  answers: readonly (readonly [after: string, typed: string])[],
  env: Record<string, string> = {},
) {
  const waiting = [...answers];
  let [shown, seen] = ["", 0];
  const child = Bun.spawn([process.execPath, entry, ...args], {
    cwd: homeDir,
    env: { PATH: process.env.PATH ?? "", HOME: homeDir, TERM: "xterm-256color", ...env },
    timeout: msMax,
    terminal: {
      cols: 120,
      rows: 40,
      data(terminal, bytes) {
        shown += new TextDecoder().decode(bytes);
        const [after, typed] = waiting[0] ?? [];
        if (after === undefined || typed === undefined) return;
        const at = shown.indexOf(after, seen);
        if (at === -1) return;
        seen = at + after.length;
        waiting.shift();
        terminal.write(typed);
      },
    },
  });
  const code = await child.exited;
  child.terminal?.close();
  return { code, shown, unasked: waiting.length };
}

describe("at a terminal", () => {
  test("login asks for everything, shows no letter of the password, and prints in colour", async () => {
    await using t = await serve();
    using user = newUser();
    const { code, shown, unasked } = await atTerminal(
      user.homeDir,
      ["login"],
      [
        ["Address of the server", `${t.publicUrl}\r`],
        ["User name", "ada\r"],
        ["Password", `${password}\r`],
      ],
    );
    expect({ code, unasked, isShown: shown.includes(password) }).toEqual({
      code: 0,
      unasked: 0,
      isShown: false,
    });
    for (const part of ["correct", "horse", "battery"]) expect(shown).not.toContain(part);
    expect(shown).toContain(`Signed in to ${t.publicUrl} as ada`);
    const table = await atTerminal(user.homeDir, ["apps", "ls"], []);
    expect(table.shown).toContain("\u001b[1mSLUG");
    const plain = await atTerminal(user.homeDir, ["apps", "ls"], [], { NO_COLOR: "1" });
    expect(plain.shown).not.toContain("\u001b[");
  }, 60_000);

  test("Ctrl-C in a prompt ends with 130, quietly, and leaves the terminal as it was", async () => {
    using user = newUser();
    const url = "http://127.0.0.1:1";
    const asked = ["login", "--url", url, "--username", "ada"];
    const { code, shown } = await atTerminal(user.homeDir, asked, [["Password", "\u0003"]]);
    expect({ code, said: shown.includes("error") }).toEqual({ code: 130, said: false });
    expect(shown.lastIndexOf("\u001b[?25h")).toBeGreaterThan(shown.lastIndexOf("\u001b[?25l"));
  }, 60_000);
});

describe("in pipes", () => {
  const run = (command: string, homeDir: string, env: Record<string, string> = {}) => {
    const { exitCode, stdout, stderr } = Bun.spawnSync(["sh", "-c", command], {
      cwd: homeDir,
      env: {
        PATH: process.env.PATH ?? "",
        HOME: homeDir,
        PIC: entry,
        BUN: process.execPath,
        ...env,
      },
      timeout: msMax,
    });
    return { code: exitCode, out: stdout.toString(), err: stderr.toString() };
  };

  test("who stops reading ends it without a complaint", () => {
    using user = newUser();
    for (const reader of ["true", "head -n 1", "sleep 0"]) {
      const command = `("$BUN" "$PIC" completion bash; echo "code $?" >&2) | ${reader}`;
      const { err } = run(command, user.homeDir);
      expect(err).toBe("code 0\n");
    }
  }, 30_000);

  test("standard output that is closed, and standard input that is, are no crash", () => {
    using user = newUser();
    const closed = run('"$BUN" "$PIC" login --url http://127.0.0.1:1 <&-', user.homeDir);
    expect([closed.code, closed.err.includes("--username")]).toEqual([2, true]);
    expect(run('"$BUN" "$PIC" --version', user.homeDir).code).toBe(0);
  }, 30_000);

  test("a password comes in on standard input, and the answer goes out whole", async () => {
    await using t = await serve();
    using user = newUser();
    const command =
      'printf "%s\\n" "$PASSWORD" | "$BUN" "$PIC" login --url "$SERVER" --username ada --password-stdin && "$BUN" "$PIC" apps ls';
    const child = Bun.spawn(["sh", "-c", command], {
      cwd: user.homeDir,
      env: {
        PATH: process.env.PATH ?? "",
        HOME: user.homeDir,
        PIC: entry,
        BUN: process.execPath,
        PASSWORD: password,
        SERVER: t.publicUrl,
      },
      stdout: "pipe",
      stderr: "pipe",
      timeout: msMax,
    });
    const out = await new Response(child.stdout).text();
    expect(await child.exited).toBe(0);
    expect(out).toStartWith("default\tDefault\tadmin\t");
  }, 30_000);
});
