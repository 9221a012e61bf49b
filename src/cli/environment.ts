/** What `pic` knows of the world around it, as one value: tests give another. */
import { homedir, hostname } from "node:os";
import { join } from "node:path";

export type Environment = Readonly<Record<string, string | undefined>>;

/** A stream that is written to; process.stdout and process.stderr fit. */
export interface TextSink {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  /** Of the terminal. */
  readonly columns?: number;
}

/** What is read from standard input; process.stdin fits. */
export interface TextSource extends AsyncIterable<Uint8Array | string> {
  readonly isTTY?: boolean;
}

export interface Surroundings {
  env: Environment;
  platform: NodeJS.Platform;
  homeDir: string;
  hostname: string;
  workingDir: string;
  /** Null where files have no owner (Windows). */
  userId: number | null;
  stdin: TextSource;
  stdout: TextSink;
  stderr: TextSink;
  fetch: (request: Request, init?: RequestInit) => Promise<Response>;
  now: () => number;
  /** Of a temporary file's name. */
  randomName: () => string;
  /** Starts a program without waiting for it. Throws when there is no such program. */
  launch: (command: readonly string[]) => void;
}

/** This process, with the environment that its entry has read. */
export function processSurroundings(env: Environment): Surroundings {
  return {
    env,
    platform: process.platform,
    homeDir: homedir(),
    hostname: hostname(),
    workingDir: process.cwd(),
    userId: process.getuid?.() ?? null,
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    fetch: (request, init) => fetch(request, init),
    now: Date.now,
    randomName: () => crypto.randomUUID(),
    launch: ([program = "", ...args]) => {
      const started = Bun.spawn([program, ...args], {
        stdio: ["ignore", "ignore", "ignore"],
        env: { ...env },
      });
      started.unref();
    },
  };
}

/** A variable's value; an empty one counts as absent. */
export function variable(env: Environment, name: string): string | null {
  const value = env[name];
  return value === undefined || value === "" ? null : value;
}

/** The folder of this program's files, where the platform keeps such things. */
export function configFolder({ env, platform, homeDir }: Surroundings): string {
  if (platform === "win32") {
    return join(variable(env, "APPDATA") ?? join(homeDir, "AppData", "Roaming"), "picloud");
  }
  const xdg = variable(env, "XDG_CONFIG_HOME");
  // The XDG specification says to ignore a path that is not absolute.
  if (xdg?.startsWith("/")) return join(xdg, "picloud");
  if (platform === "darwin") return join(homeDir, "Library", "Application Support", "picloud");
  return join(homeDir, ".config", "picloud");
}

/** Whether text on this stream may be coloured: https://no-color.org, and `TERM=dumb`. */
export function mayColour(env: Environment, sink: TextSink): boolean {
  return sink.isTTY === true && variable(env, "NO_COLOR") === null && env.TERM !== "dumb";
}
