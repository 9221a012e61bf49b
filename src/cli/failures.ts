/**
 * How a failure is told: a sentence, what is known in detail, what to do next, and the exit code.
 * Whatever comes from a server is made printable here, and here alone.
 */
import { PicClientError, type Problem } from "../client.ts";
import { tokenVariable } from "../domain/credentials.ts";
import { EXIT, type ExitCode } from "./exit-codes.ts";
import { printable } from "./printable.ts";

export interface FailureOptions {
  exit: ExitCode;
  /** What to do next, a sentence or a command. */
  next?: string;
  /** Lines after the sentence. */
  lines?: readonly string[];
  cause?: unknown;
}

/** A command that cannot go on. The message is for people: no stack trace, no secret. */
export class PicFailure extends Error {
  override readonly name = "PicFailure";
  constructor(
    message: string,
    readonly options: FailureOptions,
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
  }
}

/** Ctrl-C in a prompt: the program ends without a word. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
}

export interface Explanation {
  exit: ExitCode;
  /** The first is the sentence; all are printable. */
  lines: string[];
  /** A defect of this program: its stack trace is worth showing. */
  isDefect: boolean;
}

/** The wrong use of a command. */
export function usageFailure(message: string, next?: string): PicFailure {
  return new PicFailure(message, { exit: EXIT.usage, ...(next === undefined ? {} : { next }) });
}

/** What was asked, for what to do next. */
export interface Asked {
  /** Null: no server is known. */
  url: string | null;
  /** Whether the token is the environment's, which no login changes. */
  isTokenSet: boolean;
  /** The command: `pic routes match`; absent where no help is shown. */
  path?: string;
}

export function explain(error: unknown, asked: Asked): Explanation {
  if (error instanceof Interrupted) {
    return { exit: EXIT.interrupted, lines: [], isDefect: false };
  }
  if (error instanceof PicFailure) {
    const { exit, lines = [], next } = error.options;
    const isMisused = exit === EXIT.usage && asked.path !== undefined;
    return told(
      exit,
      [error.message, ...lines],
      next ?? (isMisused ? `${asked.path} --help` : undefined),
    );
  }
  if (error instanceof PicClientError) return refusal(error, asked);
  const message = error instanceof Error ? error.message : String(error);
  return { exit: EXIT.failure, lines: [printable(message)], isDefect: true };
}

/** The server's answer was an error. */
function refusal({ status, problem }: PicClientError, asked: Asked): Explanation {
  if (problem === null || typeof problem.detail !== "string") {
    return noProblem(status, asked.url ?? "the server");
  }
  const exit = exitOf(status);
  const fields = fieldLines(problem).filter((line) => line !== `  ${problem.detail}`);
  return told(
    exit,
    [problem.detail, ...fields, ...contentLines(problem)],
    nextStep(problem, exit, asked),
  );
}

/** An error that no PiCloud has written: another program, or a proxy before it. */
function noProblem(status: number, where: string): Explanation {
  if (status === 502 || status === 503 || status === 504) {
    const lines = [`A proxy at ${where} answered ${status}: PiCloud does not answer behind it`];
    return told(EXIT.unreachable, lines, "check that the server runs, then try again");
  }
  return told(EXIT.unreachable, [`${where} answered ${status}, and not as a PiCloud does`], isIt());
}

/** What is said about a server that is none of ours. */
export function notPiCloud(url: string, what: string): PicFailure {
  return new PicFailure(`${url} ${what}: this is no PiCloud`, {
    exit: EXIT.unreachable,
    next: isIt(),
  });
}

function isIt(): string {
  return "check the address and the port, and name the right one with --url";
}

function exitOf(status: number): ExitCode {
  if (status === 401) return EXIT.notSignedIn;
  if (status === 403) return EXIT.forbidden;
  if (status === 404) return EXIT.notFound;
  return status === 409 ? EXIT.conflict : EXIT.failure;
}

/** By the code, else by what kind of failure it is. */
function nextStep(problem: Problem, exit: ExitCode, asked: Asked): string {
  const known = NEXT.get(problem.code);
  if (known !== undefined) return known;
  if (exit === EXIT.notSignedIn) {
    return asked.isTokenSet
      ? `${tokenVariable} holds no token that is good there: set another, or unset it and sign in`
      : `sign in: pic login --url ${asked.url ?? "<address>"}`;
  }
  if (exit === EXIT.forbidden) return "`pic whoami` shows what you may do; ask an owner for more";
  if (exit === EXIT.notFound) return "check the name, and with `pic whoami` the server and account";
  if (exit === EXIT.conflict) {
    return problem.would_delete === undefined
      ? "look at what is there (ls), then take another name or change that one"
      : "--force deletes it with everything that is in it";
  }
  return problem.status === 422 || problem.status === 400
    ? `change what is said above; \`${asked.path ?? "pic"} --help\` shows what the command takes`
    : "try again later; the server's log says more";
}

/** Code → what to do. */
const NEXT: ReadonlyMap<string, string> = new Map([
  ["invalid_credentials", "check the user name and the password"],
  ["invalid_source", "correct the source, then try again"],
  ["too_many_attempts", "wait a little, then try again"],
  ["overloaded", "wait a little, then try again"],
  ["unavailable", "wait a little, then try again"],
  ["version_conflict", "somebody has changed it meanwhile: look at it again, then decide"],
  ["limit_above_ceiling", "ask for less, or have an owner raise the ceiling"],
]);

/** What goes with what is deleted: `it has: scripts 3, routes 2`. */
function contentLines({ would_delete }: Problem): string[] {
  if (typeof would_delete !== "object" || would_delete === null) return [];
  const held = Object.entries(would_delete).filter(([, count]) => count !== 0);
  return [`  it has: ${held.map(([name, count]) => `${name} ${String(count)}`).join(", ")}`];
}

/** `source:3:14: message`, one line for each problem with a field. */
function fieldLines({ errors }: Problem): string[] {
  if (!Array.isArray(errors)) return [];
  const isProblem = (one: unknown): boolean => typeof one === "object" && one !== null;
  return errors.filter(isProblem).map(({ path, message, line, column }) => {
    const place = [path, line, column].filter((part) => part !== undefined && part !== "");
    return `  ${place.join(":")}: ${message}`;
  });
}

function told(exit: ExitCode, lines: readonly string[], next: string | undefined): Explanation {
  const all = next === undefined ? lines : [...lines, `→ ${next}`];
  // The indent of a detail is ours.
  const clean = all.map((line) =>
    line.startsWith("  ") ? `  ${printable(line.slice(2))}` : printable(line),
  );
  return { exit, lines: clean, isDefect: false };
}
