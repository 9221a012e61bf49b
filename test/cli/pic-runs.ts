/** Runs of `pic` in this process, as a user with a home folder of their own. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Surroundings } from "../../src/cli/environment.ts";
import { Interrupted } from "../../src/cli/failures.ts";
import { runPic } from "../../src/cli/pic.ts";
import type { Prompts, Question } from "../../src/cli/prompts.ts";

export interface Ran {
  code: number;
  out: string;
  err: string;
}

export interface RunOptions {
  env?: Record<string, string>;
  /** Standard input: a text, or a terminal at which somebody answers in this order. */
  input?: string | string[];
  /** Whether standard output and error are terminals. */
  isTerminal?: boolean;
  fetch?: Surroundings["fetch"];
  platform?: NodeJS.Platform;
  workingDir?: string;
  now?: () => number;
  /** Sees what is written while it goes on. */
  onWrite?: (text: string) => void;
}

export interface User {
  homeDir: string;
  credentials: string;
  /** What was started, a browser for one. */
  launched: string[][];
  /** What was asked, in order. */
  asked: string[];
  pic(args: string[], options?: RunOptions): Promise<Ran>;
  [Symbol.dispose](): void;
}

/** `using` removes the home folder. @param fixed options of every run */
export function newUser(fixed: RunOptions = {}): User {
  const homeDir = mkdtempSync(join(tmpdir(), "picloud-pic-"));
  const launched: string[][] = [];
  const asked: string[] = [];
  return {
    homeDir,
    credentials: join(homeDir, ".config", "picloud", "credentials.json"),
    launched,
    asked,
    async pic(args, options = {}) {
      const all = { ...fixed, ...options };
      const env = { ...fixed.env, ...options.env };
      const written = { out: "", err: "" };
      const { input = "", isTerminal = false, platform = "linux", workingDir = homeDir } = all;
      const sink = (name: "out" | "err") => ({
        isTTY: isTerminal,
        columns: 120,
        write: (text: string) => {
          written[name] += text;
          options.onWrite?.(text);
        },
      });
      const around: Surroundings = {
        env,
        platform,
        homeDir,
        hostname: "laptop",
        workingDir,
        userId: process.getuid?.() ?? null,
        stdin: source(input),
        stdout: sink("out"),
        stderr: sink("err"),
        fetch: all.fetch ?? ((request, init) => fetch(request, init)),
        now: all.now ?? Date.now,
        randomName: () => crypto.randomUUID(),
        launch: (command) => void launched.push([...command]),
      };
      const prompts = Array.isArray(input) ? answers([...input], asked) : null;
      return { code: await runPic(args, around, prompts), ...written };
    },
    [Symbol.dispose]: () => rmSync(homeDir, { recursive: true, force: true }),
  };
}

function source(input: string | string[]): Surroundings["stdin"] {
  const isTTY = Array.isArray(input);
  return {
    isTTY,
    async *[Symbol.asyncIterator]() {
      if (!isTTY) yield new TextEncoder().encode(input as string);
    },
  };
}

/** Somebody who types these, and is asked again as long as an answer is refused. */
function answers(given: string[], asked: string[]): Prompts {
  const answer = async ({ message, initial = "", refuse }: Question): Promise<string> => {
    for (;;) {
      asked.push(message);
      const typed = given.shift();
      if (typed === undefined) throw new Error(`nobody answers: ${message}`);
      if (typed === "\u0003") throw new Interrupted();
      const text = typed === "" ? initial : typed;
      if ((refuse?.(text) ?? null) === null) return text;
    }
  };
  return {
    text: answer,
    password: answer,
    confirm: async (question) => (await answer(question)) === "yes",
  };
}
