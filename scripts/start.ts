/**
 * One command from a fresh clone to an answering app: installs, builds, starts on ./picloud-data,
 * makes the first account, deploys docs/examples/hello, prints READY and stays until Ctrl-C. A
 * second run finds everything there and changes nothing.
 */
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import { relative, resolve } from "node:path";
import { newToken } from "../src/base/ids.ts";
import { createLogger, type LogFields, type LogLevel } from "../src/base/log.ts";
import { PicClient, PicClientError } from "../src/client.ts";
import { build } from "./build.ts";
import { deployFolder } from "./deploy.ts";
import { installPackages } from "./install.ts";

interface Login {
  readonly username: string;
  readonly password: string;
  /** The file that keeps the password; null when the environment gave it. */
  readonly file: string | null;
}

interface Ready {
  readonly public_url: string;
  readonly admin_url: string;
}

const root = resolve(import.meta.dir, "..");
const usage = "Usage: scripts/start [--port <number>]   (the admin page gets the next port)";
const firstUsername = "admin";

const env: Record<string, string | undefined> = { ...process.env };
const log = createLogger({
  format: process.stderr.isTTY ? "pretty" : "json",
  level: "debug",
  now: Date.now,
  write: (line) => process.stderr.write(line),
});

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

async function main(args: string[]): Promise<number> {
  const port = portOf(args);
  if (port === "invalid") {
    console.error(usage);
    return 2;
  }
  if (port !== null) {
    env.PICLOUD_BIND = `0.0.0.0:${port}`;
    env.PICLOUD_ADMIN_BIND = `0.0.0.0:${port + 1}`;
  }
  await installPackages();
  const executable = await build({ target: null });
  const dataDir = resolve(root, env.PICLOUD_DATA_DIR || "picloud-data");
  const login = firstLogin(dataDir);

  const server = startServer(executable, dataDir, login);
  const stop = (): void => server.child.kill("SIGTERM");
  let isStopping = false;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      isStopping = true;
      stop();
    });
  }
  try {
    const ready = await Promise.race([server.ready, server.child.exited.then(() => null)]);
    if (ready !== null) await announce(ready, login);
  } catch (error) {
    stop();
    if (!isStopping) throw error;
  }
  const code = await server.child.exited;
  if (isStopping) return 0;
  console.error(`PiCloud ended with exit code ${code}.`);
  if (server.isPortBusy())
    console.error("Stop the other program, or choose a port: scripts/start --port 8090");
  return 1;
}

/** `--port 8090` or `--port=8090`; null when none is given. */
function portOf(args: string[]): number | null | "invalid" {
  if (args.length === 0) return null;
  const [flag, text = "", ...rest] = args.flatMap((arg) => arg.split("="));
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return flag === "--port" && rest.length === 0 && port > 0 && port < 65_535 ? port : "invalid";
}

/**
 * The first account's login. The password is generated once, before the database is there, and kept
 * in a file that only this user can read. Null: the account was made otherwise, and we cannot log in.
 */
function firstLogin(dataDir: string): Login | null {
  const { PICLOUD_ADMIN_USERNAME: username, PICLOUD_ADMIN_PASSWORD: password } = env;
  if (username && password) return { username, password, file: null };
  const file = `${dataDir}/first-login`;
  if (!existsSync(file)) {
    if (existsSync(`${dataDir}/picloud.db`)) return null;
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    const handle = openSync(file, "wx", 0o600);
    writeSync(handle, newToken(""));
    closeSync(handle);
  }
  return { username: firstUsername, password: readFileSync(file, "utf8").trim(), file };
}

function startServer(executable: string, dataDir: string, login: Login | null) {
  const account =
    login?.file == null
      ? {}
      : { PICLOUD_ADMIN_USERNAME: login.username, PICLOUD_ADMIN_PASSWORD_FILE: login.file };
  const child = Bun.spawn([executable, "serve"], {
    cwd: root,
    env: {
      ...env,
      ...account,
      PICLOUD_DATA_DIR: dataDir,
      PICLOUD_LOG_FORMAT: "json",
      // Should this script be killed, the server ends with it.
      BUN_FEATURE_FLAG_NO_ORPHANS: "1",
    },
    stdio: ["ignore", "inherit", "pipe"],
    // Ctrl-C reaches this script alone; the server would take a second signal as "at once".
    detached: true,
  });
  const ready = Promise.withResolvers<Ready>();
  let isPortBusy = false;
  const read = async (): Promise<void> => {
    for await (const line of lines(child.stderr)) {
      if (line.includes("is in use by another program")) isPortBusy = true;
      const record = parseRecord(line);
      if (record === null) console.error(line);
      else if (record.message === "ready") ready.resolve(record.fields as unknown as Ready);
      else log[record.level](record.message, record.fields);
    }
  };
  void read();
  return { child, ready: ready.promise, isPortBusy: () => isPortBusy };
}

async function announce(ready: Ready, login: Login | null): Promise<void> {
  const isDeployed = login !== null && (await deployExample(ready, login));
  const kept = login?.file == null ? "" : `  (kept in ${shown(login.file)})`;
  const lines = [
    "",
    "READY",
    `  routes  ${ready.public_url}`,
    `  admin   ${ready.admin_url}`,
    login === null || !isDeployed
      ? "  login   the one you chose; forgotten: dist/picloud admin reset-password <username>"
      : `  login   ${login.username} / ${login.password}${kept}`,
    "",
    "Try it:",
    `curl ${ready.public_url}/hello/world`,
    "",
    "Ctrl-C stops it.",
  ];
  console.log(lines.join("\n"));
}

/** False when the kept password is no longer the account's: its owner changed it, and deploys himself. */
async function deployExample(ready: Ready, login: Login): Promise<boolean> {
  // The public address may be a proxy's, which need not lead here yet.
  const client = new PicClient({ base_url: ready.admin_url });
  try {
    await client.auth.login({ username: login.username, password: login.password });
  } catch (error) {
    if (!(error instanceof PicClientError) || error.code !== "invalid_credentials") throw error;
    log.warn("the kept password is not the account's any more: the example is left as it is");
    return false;
  }
  for (const { name, change } of await deployFolder(client, `${root}/docs/examples/hello`)) {
    log.info(`example ${name} ${change}`);
  }
  await client.auth.logout();
  return true;
}

/** A file as one would name it in the repository's folder. */
function shown(file: string): string {
  const inside = relative(root, file);
  return inside.startsWith("..") ? file : inside;
}

async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    const pieces = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = pieces.pop() ?? "";
    yield* pieces;
  }
  if (rest !== "") yield rest;
}

/** One record of the server's JSON log; null for anything else. */
function parseRecord(line: string): { level: LogLevel; message: string; fields: LogFields } | null {
  if (!line.startsWith("{")) return null;
  try {
    const {
      at: _,
      level,
      message,
      ...fields
    } = JSON.parse(line) as LogFields & {
      level: LogLevel;
      message: string;
    };
    return { level, message, fields };
  } catch {
    return null;
  }
}
