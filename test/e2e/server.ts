/**
 * A real server for a test: its own process, its own data folder, free ports, an account that is
 * logged in. Leaves nothing behind, also when the test forgets to stop it.
 *
 *   await using server = await startServer();
 *   await server.client.scripts.create({ … });
 *   await fetch(`${server.url}/hello`);
 *
 * It runs the compiled executable, built first when the sources have changed. PICLOUD_TEST_SOURCE=1
 * runs the sources instead, to save the build while developing; PICLOUD_TEST_BINARY names an
 * executable that is tested as it is.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { build } from "../../scripts/build.ts";
import { PicClient } from "../../src/client.ts";
import { dropStorage, storageSettings } from "./engine.ts";

export interface StartOptions {
  /** PICLOUD_* and whatever else the server shall see. */
  env?: Record<string, string>;
  /**
   * A folder to use and to keep; absent: a fresh one that is deleted at the end. On PostgreSQL it stands
   * for a database (engine.ts).
   */
  dataDir?: string;
  /** This database and no other, whatever the engine of the run. */
  databaseUrl?: string;
  /** How PiCloud is started, without the role. Absent: the executable, or the sources. */
  command?: readonly string[];
  /** Flags after `serve`. */
  args?: readonly string[];
  /** Do not wait for the login. The client has no token then. */
  anonymous?: boolean;
  /** How long the start may take. */
  readyMsMax?: number;
}

export interface TestServer extends AsyncDisposable {
  /** Where routes, execute and the token API are: no slash at the end. */
  readonly url: string;
  /** Where the dashboard and the admin API are. */
  readonly adminUrl: string;
  /** Logged in as the first account. */
  readonly client: PicClient;
  readonly token: string;
  readonly dataDir: string;
  readonly pid: number;
  /** Milliseconds from the start of the process to the first answer of /healthz. */
  readonly startMs: number;
  /** Everything the server has logged so far. */
  log(): LogRecord[];
  /** Its standard error as text, for what is no record. */
  output(): string;
  /** SIGTERM; resolves with the exit code. May be called twice. */
  stop(): Promise<number>;
  /** SIGKILL; resolves when the process is gone. The data folder stays until the disposal. */
  kill9(): Promise<void>;
}

export type LogRecord = { level: string; message: string } & Record<string, unknown>;

/** The server ended before it was ready; `output` is what it said. */
export class StartFailed extends Error {
  constructor(
    readonly exitCode: number | null,
    readonly output: string,
  ) {
    super(`the server did not start (exit code ${exitCode}):\n${output}`);
  }
}

export const adminLogin = { username: "admin", password: "correct horse battery" } as const;

const root = resolve(import.meta.dir, "../..");
const stopMsMax = 20_000;
const readyMsDefault = 15_000;
const pollMs = 5;

/** How the server under test is started, without the role. */
export async function serverCommand(): Promise<string[]> {
  if (process.env.PICLOUD_TEST_SOURCE === "1") return [process.execPath, `${root}/src/main.ts`];
  return [process.env.PICLOUD_TEST_BINARY ?? (await build({ target: null }))];
}

/** Starts a server and resolves when it answers. Throws StartFailed when it ends before. */
export async function startServer(options: StartOptions = {}): Promise<TestServer> {
  const command = options.command ?? (await serverCommand());
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), "picloud-test-"));
  const { databaseUrl } = options;
  const storage =
    databaseUrl === undefined
      ? await storageSettings(dataDir)
      : { PICLOUD_DATABASE_URL: databaseUrl };
  const began = performance.now();
  const child = Bun.spawn([...command, "serve", ...(options.args ?? [])], {
    cwd: tmpdir(),
    env: serverEnvironment(dataDir, { ...storage, ...options.env }),
    stdio: ["ignore", "ignore", "pipe"],
  });
  const output = collect(child.stderr);
  const endAtExit = (): void => child.kill("SIGKILL");
  process.on("exit", endAtExit);

  const end = async (signal: NodeJS.Signals): Promise<number> => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    const overdue = setTimeout(() => child.kill("SIGKILL"), stopMsMax);
    const code = await child.exited;
    clearTimeout(overdue);
    await output.ended;
    process.off("exit", endAtExit);
    return code;
  };
  const dispose = async (): Promise<void> => {
    await end("SIGTERM");
    if (options.dataDir !== undefined) return;
    await dropStorage(dataDir);
    rmSync(dataDir, { recursive: true, force: true });
  };
  try {
    const ready = await readyRecord(child, output, options.readyMsMax ?? readyMsDefault);
    await answers(`${ready.public_url}/healthz`);
    const startMs = performance.now() - began;
    const client = new PicClient({ base_url: ready.public_url });
    const token = options.anonymous === true ? "" : (await client.auth.login(adminLogin)).token;
    return {
      url: ready.public_url,
      adminUrl: ready.admin_url,
      client,
      token,
      dataDir,
      pid: child.pid,
      startMs,
      log: () => records(output.text()),
      output: () => output.text(),
      stop: () => end("SIGTERM"),
      kill9: async () => void (await end("SIGKILL")),
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** Nothing of the developer's own environment but what a process needs to run. */
export function serverEnvironment(
  dataDir: string,
  extra: Record<string, string>,
): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const name of ["PATH", "HOME", "TMPDIR", "LANG"]) {
    const value = process.env[name];
    if (value !== undefined) kept[name] = value;
  }
  return {
    ...kept,
    // The whole tree dies with the test's process, however that ends.
    BUN_FEATURE_FLAG_NO_ORPHANS: "1",
    PICLOUD_BIND: "127.0.0.1:0",
    PICLOUD_ADMIN_BIND: "127.0.0.1:0",
    PICLOUD_DATA_DIR: dataDir,
    PICLOUD_LOG_FORMAT: "json",
    PICLOUD_ADMIN_USERNAME: adminLogin.username,
    PICLOUD_ADMIN_PASSWORD: adminLogin.password,
    ...extra,
  };
}

interface Output {
  text(): string;
  ended: Promise<void>;
}

function collect(stream: ReadableStream<Uint8Array>): Output {
  let text = "";
  const decoder = new TextDecoder();
  const ended = (async () => {
    for await (const chunk of stream) text += decoder.decode(chunk, { stream: true });
  })();
  return { text: () => text, ended };
}

function records(text: string): LogRecord[] {
  return text.split("\n").flatMap((line) => {
    if (!line.startsWith("{")) return [];
    try {
      return [JSON.parse(line) as LogRecord];
    } catch {
      return []; // not written to its end yet
    }
  });
}

interface Ready {
  public_url: string;
  admin_url: string;
}

/** Waits for the record with the addresses; port 0 makes them known to the server alone. */
async function readyRecord(child: Bun.Subprocess, output: Output, msMax: number): Promise<Ready> {
  const deadline = performance.now() + msMax;
  while (performance.now() < deadline) {
    const found = records(output.text()).find(({ message }) => message === "ready");
    if (found !== undefined) return found as unknown as Ready;
    if (child.exitCode !== null || child.signalCode !== null) {
      await output.ended;
      throw new StartFailed(child.exitCode, output.text());
    }
    await Bun.sleep(pollMs);
  }
  throw new StartFailed(null, `not ready after ${msMax} ms\n${output.text()}`);
}

async function answers(url: string): Promise<void> {
  const response = await fetch(url);
  if (response.status !== 200) throw new Error(`${url} answered ${response.status}`);
}
