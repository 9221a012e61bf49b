/**
 * Questions to a person. They are drawn on standard error, so that standard output stays data. Nobody
 * is asked when --no-input is given or standard input is no terminal: then the command fails, and names
 * the flag that would have answered.
 */
import { stdinCharsMax } from "../domain/limits.ts";
import type { Surroundings } from "./environment.ts";
import { Interrupted, usageFailure } from "./failures.ts";

export interface Question {
  message: string;
  /** What would have answered: `--username <name>`. */
  flag: string;
  /** Taken when nothing is typed. */
  initial?: string;
  /** Why an answer is refused, or null. */
  refuse?: (answer: string) => string | null;
}

export interface Prompts {
  text(question: Question): Promise<string>;
  /** What is typed is not shown. */
  password(question: Question): Promise<string>;
  confirm(question: Omit<Question, "initial" | "refuse">): Promise<boolean>;
}

/** Fails instead of asking. */
export const noPrompts: Prompts = {
  text: ({ flag }) => Promise.reject(unasked(flag)),
  password: ({ flag }) => Promise.reject(unasked(flag)),
  confirm: ({ flag }) => Promise.reject(unasked(flag)),
};

/** Throws Interrupted at Ctrl-C. */
export const terminalPrompts: Prompts = {
  text: async ({ message, initial, refuse }) => {
    const { text } = await import("@clack/prompts");
    const answer = await text({
      ...drawing(),
      message,
      ...(initial === undefined ? {} : { placeholder: initial, defaultValue: initial }),
      validate: (given) =>
        refuse?.(given === undefined || given === "" ? (initial ?? "") : given) ?? undefined,
    });
    return answered(answer);
  },
  password: async ({ message, refuse }) => {
    const { password } = await import("@clack/prompts");
    const validate = (given: string | undefined) => refuse?.(given ?? "") ?? undefined;
    return answered(await password({ ...drawing(), message, mask: "", validate }));
  },
  confirm: async ({ message }) => {
    const { confirm } = await import("@clack/prompts");
    return answered(await confirm({ ...drawing(), message, initialValue: false }));
  },
};

/** The first line of standard input, without its end. @param flag that asked for it */
export async function readStdinLine(around: Surroundings, flag: string): Promise<string> {
  const [line = ""] = await readStdinLines(around, 1, flag);
  return line;
}

/** The first lines of standard input, without their ends; none is empty. */
export async function readStdinLines(
  { stdin }: Surroundings,
  count: number,
  flag: string,
): Promise<string[]> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stdin) {
    text += typeof chunk === "string" ? chunk : decoder.decode(chunk, { stream: true });
    if (text.split("\n").length > count) break;
    if (text.length > stdinCharsMax) throw usageFailure(`${flag}: a line is too long`);
  }
  const lines = text.split("\n", count).map((line) => line.replace(/\r$/, ""));
  if (lines.length < count || lines.includes("")) {
    const wanted = count === 1 ? "a line" : `${count} lines`;
    throw usageFailure(`${flag}: ${wanted} must come in on standard input`);
  }
  return lines;
}

function drawing() {
  return { input: process.stdin, output: process.stderr, withGuide: false };
}

function answered<T>(answer: T): Exclude<T, symbol> {
  if (typeof answer === "symbol") throw new Interrupted();
  // The check above has just excluded it; TypeScript does not narrow a type parameter by it.
  return answer as Exclude<T, symbol>;
}

function unasked(flag: string) {
  return usageFailure(`This needs an answer, and nobody may be asked`, `give ${flag}`);
}
