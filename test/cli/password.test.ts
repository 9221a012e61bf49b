import { describe, expect, test } from "bun:test";
import { EventEmitter } from "node:events";
import { type PasswordInput, PasswordRefused, readNewPassword } from "../../src/cli/password.ts";

/** A terminal or a pipe that somebody types into whenever it is read. */
class FakeInput extends EventEmitter implements PasswordInput {
  isRaw = false;
  wasShown = false;
  #flows = false;

  constructor(
    private readonly typed: string[],
    readonly isTTY: boolean,
  ) {
    super();
  }

  setRawMode(raw: boolean): void {
    this.isRaw = raw;
  }

  resume(): void {
    this.#flows = true;
    queueMicrotask(() => this.#flow());
  }

  pause(): void {
    this.#flows = false;
  }

  #flow(): void {
    while (this.#flows) {
      const next = this.typed.shift();
      if (this.isTTY && !this.isRaw) this.wasShown = true;
      if (next === undefined) this.emit("end");
      else this.emit("data", new TextEncoder().encode(next));
    }
  }
}

async function read(input: FakeInput): Promise<{ password: string; said: string }> {
  let said = "";
  const password = await readNewPassword(input, (text) => {
    said += text;
  });
  return { password, said };
}

describe("a pipe", () => {
  test("gives its first line, with or without an end", async () => {
    for (const text of ["correct horse\n", "correct horse\r\nmore", "correct horse"]) {
      const { password, said } = await read(new FakeInput([text], false));
      expect({ password, said }).toEqual({ password: "correct horse", said: "" });
    }
  });

  test("is refused when the password is too short or the line has no end in sight", async () => {
    for (const text of ["short\n", "", "x".repeat(300)]) {
      await expect(read(new FakeInput([text], false))).rejects.toThrow("10 to 256 characters");
    }
    await expect(read(new FakeInput(["x".repeat(5_000)], false))).rejects.toThrow("too long");
  });
});

describe("a terminal", () => {
  test("is asked twice, shows nothing, and knows backspace", async () => {
    const input = new FakeInput(["correct horsx\u007fe\r", "correct horse\r"], true);
    expect(await read(input)).toEqual({
      password: "correct horse",
      said: "New password: \nOnce more: \n",
    });
    expect(input.wasShown).toBe(false);
    expect(input.isRaw).toBe(false);
  });

  test("two passwords that differ, and Ctrl-C, are refusals; the terminal is put back", async () => {
    const differing = new FakeInput(["correct horse\r", "correct house\r"], true);
    await expect(read(differing)).rejects.toThrow("differ");
    const interrupted = new FakeInput(["corr\u0003"], true);
    await expect(read(interrupted)).rejects.toBeInstanceOf(PasswordRefused);
    expect([differing.isRaw, interrupted.isRaw]).toEqual([false, false]);
  });
});
