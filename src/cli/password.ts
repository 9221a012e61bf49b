/** How a person hands a new password to a command: asked twice on a terminal, or piped in. */
import { passwordCharsMax, passwordCharsMin } from "../domain/limits.ts";

/** What the prompt needs of a terminal or a pipe; process.stdin and process.stderr fit. */
export interface PasswordInput {
  readonly isTTY?: boolean;
  setRawMode?(raw: boolean): unknown;
  on(event: "data", fn: (chunk: Uint8Array) => void): unknown;
  on(event: "end", fn: () => void): unknown;
  off(event: "data", fn: (chunk: Uint8Array) => void): unknown;
  off(event: "end", fn: () => void): unknown;
  resume(): unknown;
  pause(): unknown;
}

/** The password was refused; the message is for the user and never holds it. */
export class PasswordRefused extends Error {}

const lineCharsMax = 4_096;
const ctrlC = "\u0003";
const ctrlD = "\u0004";
const backspaces = ["\u007f", "\b"];

/** Reads a new password. Throws PasswordRefused when it is too short, too long or repeated wrongly. */
export async function readNewPassword(
  input: PasswordInput,
  say: (text: string) => void,
): Promise<string> {
  if (input.isTTY !== true) return checked(await readLine(input));
  say("New password: ");
  const first = checked(await readHidden(input, say));
  say("Once more: ");
  const second = await readHidden(input, say);
  if (first !== second) throw new PasswordRefused("the two passwords differ");
  return first;
}

function checked(password: string): string {
  if (password.length >= passwordCharsMin && password.length <= passwordCharsMax) return password;
  throw new PasswordRefused(
    `a password has ${passwordCharsMin} to ${passwordCharsMax} characters, this one has ${password.length}`,
  );
}

/** One line of a pipe, without its end. */
function readLine(input: PasswordInput): Promise<string> {
  return collect(input, (text) => (text.includes("\n") ? "done" : "more")).then((text) =>
    (text.split("\n")[0] as string).replace(/\r$/, ""),
  );
}

/** One line of a terminal that does not show what is typed. */
async function readHidden(input: PasswordInput, say: (text: string) => void): Promise<string> {
  input.setRawMode?.(true);
  try {
    const typed = await collect(input, (text) => {
      if (text.includes(ctrlC)) throw new PasswordRefused("interrupted");
      return ["\r", "\n", ctrlD].some((end) => text.includes(end)) ? "done" : "more";
    });
    const kept: string[] = [];
    for (const char of (typed.split(/[\r\n]/)[0] as string).replaceAll(ctrlD, "")) {
      if (backspaces.includes(char)) kept.pop();
      else kept.push(char);
    }
    return kept.join("");
  } finally {
    input.setRawMode?.(false);
    say("\n");
  }
}

/** Gathers text until `judge` says it is enough, or the input ends. */
function collect(input: PasswordInput, judge: (text: string) => "done" | "more"): Promise<string> {
  return new Promise((resolve, reject) => {
    const decoder = new TextDecoder();
    let text = "";
    const finish = (end: () => void): void => {
      input.off("data", onData);
      input.off("end", onEnd);
      input.pause();
      end();
    };
    const onData = (chunk: Uint8Array): void => {
      text += decoder.decode(chunk, { stream: true });
      try {
        if (text.length > lineCharsMax) throw new PasswordRefused("the line is too long");
        if (judge(text) === "done") finish(() => resolve(text));
      } catch (error) {
        finish(() => reject(error));
      }
    };
    const onEnd = (): void => finish(() => resolve(text));
    input.on("data", onData);
    input.on("end", onEnd);
    input.resume();
  });
}
