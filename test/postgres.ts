/**
 * A real PostgreSQL for the tests of this process: made in a temporary folder, started on a free port of
 * 127.0.0.1, gone with the process however that ends. Tests make databases of their own in it.
 *
 * PICLOUD_TEST_POSTGRES_URL names a server that is there already, with the right to make databases.
 * PICLOUD_TEST_POSTGRES_BIN names the folder of the programs (scripts/postgres.ts finds or installs them);
 * empty, there are none.
 */
import {
  chownSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import postgres from "postgres";

export interface TestPostgres {
  host: string;
  port: number;
  user: string;
  password: string;
  /** The address of a database, with the password in it. */
  url(database: string): string;
  /** Makes an empty database; its name. */
  createDatabase(): Promise<string>;
  /** Also when somebody is connected to it. */
  dropDatabase(name: string): Promise<void>;
  /** A session of the tests' own, as superuser. */
  run(text: string, database?: string): Promise<Record<string, unknown>[]>;
}

/** The one server of this process, started by the first call. */
export function testPostgres(): Promise<TestPostgres> {
  // Every test file has modules of its own; the server is one for all of them.
  const shared = globalThis as { picloudTestPostgres?: Promise<TestPostgres> };
  shared.picloudTestPostgres ??= start();
  return shared.picloudTestPostgres;
}

/** Why there can be no PostgreSQL here, or null. */
export function postgresMissing(): string | null {
  if (process.env.PICLOUD_TEST_POSTGRES_URL !== undefined) return null;
  return programs() === null ? "PostgreSQL is not installed (scripts/test installs it)" : null;
}

/** The folder of initdb and postgres. */
export function programs(): string | null {
  const given = process.env.PICLOUD_TEST_POSTGRES_BIN;
  if (given !== undefined) return given === "" ? null : given;
  const debian = "/usr/lib/postgresql";
  const versions = existsSync(debian) ? readdirSync(debian) : [];
  return (
    versions
      .sort((a, b) => Number(b) - Number(a))
      .map((version) => `${debian}/${version}/bin`)
      .find((folder) => existsSync(`${folder}/initdb`) && existsSync(`${folder}/postgres`)) ?? null
  );
}

const user = "picloud";
const password = "test-secret-1";
const readyMsMax = 60_000;

async function start(): Promise<TestPostgres> {
  const given = process.env.PICLOUD_TEST_POSTGRES_URL;
  if (given !== undefined) {
    const url = new URL(given);
    return connected({
      host: url.hostname,
      port: Number(url.port || 5_432),
      user: decodeURIComponent(url.username),
      password: decodeURIComponent(url.password),
    });
  }
  const bin = programs();
  if (bin === null) throw new Error(postgresMissing() ?? "");
  const folder = mkdtempSync(join(tmpdir(), "picloud-postgres-"));
  try {
    initialise(bin, folder);
    const port = await freePort();
    run(bin, folder, port);
    const test = connected({ host: "127.0.0.1", port, user, password });
    await untilReady(test, folder);
    return test;
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

/** PostgreSQL refuses to run as root: then everything is done as nobody. */
function asUser(command: string[]): string[] {
  if (process.getuid?.() !== 0) return command;
  return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--", ...command];
}

function environment(): Record<string, string> {
  const { PATH = "/usr/bin:/bin", PICLOUD_TEST_POSTGRES_LIB } = process.env;
  const libraries = PICLOUD_TEST_POSTGRES_LIB;
  return {
    PATH,
    LC_ALL: "C.UTF-8",
    ...(libraries === undefined ? {} : { LD_LIBRARY_PATH: libraries }),
  };
}

function initialise(bin: string, folder: string): void {
  if (process.getuid?.() === 0) chownSync(folder, 65_534, 65_534);
  const secret = join(folder, "password");
  writeFileSync(secret, password, { mode: 0o644 });
  const options = ["--no-sync", "--encoding=UTF8", "--auth=scram-sha-256"];
  options.push("--locale=C.UTF-8", `--username=${user}`, `--pwfile=${secret}`);
  const spawned = { cwd: "/", env: environment(), stdout: "pipe", stderr: "pipe" } as const;
  const version = Bun.spawnSync([`${bin}/initdb`, "--version"], spawned).stdout.toString();
  // A collation unlike that of code points: a column that forgot its own would sort by it.
  if (Number(/\) (\d+)/.exec(version)?.[1]) >= 15) {
    options.push("--locale-provider=icu", "--icu-locale=en-US");
  }
  const made = Bun.spawnSync(
    asUser([`${bin}/initdb`, "-D", `${folder}/data`, ...options]),
    spawned,
  );
  rmSync(secret);
  if (!made.success) throw new Error(`initdb failed: ${made.stderr}${made.stdout}`);
}

/**
 * A shell of no parent watches a pipe that we hold open, and ends the server and removes its files when
 * it closes: also when we are killed, or when whoever started us kills all that we have started.
 */
const supervisor = `
"$1" -D "$2/data" -p "$3" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
  -c fsync=off -c full_page_writes=off -c max_connections=200 -c shared_buffers=16MB \
  -c autovacuum=off -c jit=off -c logging_collector=off -c log_min_messages=fatal \
  >"$2/log" 2>&1 &
server=$!
{ cat "$2/alive"; kill -QUIT $server; } &
watcher=$!
wait $server
: >"$2/ended"
wait $watcher
rm -rf "$2"
`;

function run(bin: string, folder: string, port: number): void {
  const alive = join(folder, "alive");
  Bun.spawnSync(["mkfifo", "-m", "0666", alive]);
  // For reading, too: else it waits for somebody who reads. Never closed, and not by a collection of
  // garbage either: a plain number has no owner.
  openSync(alive, constants.O_RDWR);
  const command = `setsid sh -c "$0" sh "$@" </dev/null >/dev/null 2>&1 &`;
  Bun.spawnSync(
    asUser(["sh", "-c", command, supervisor, `${bin}/postgres`, folder, String(port)]),
    { cwd: "/", env: environment(), stdio: ["ignore", "ignore", "ignore"] },
  );
}

async function untilReady(test: TestPostgres, folder: string): Promise<void> {
  const deadline = performance.now() + readyMsMax;
  for (;;) {
    try {
      await test.run("select 1");
      return;
    } catch (error) {
      if (existsSync(join(folder, "ended")) || performance.now() > deadline) {
        throw new Error(`PostgreSQL does not start: ${readFileSync(join(folder, "log"), "utf8")}`, {
          cause: error,
        });
      }
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
}

function connected(
  server: Pick<TestPostgres, "host" | "port" | "user" | "password">,
): TestPostgres {
  const { host, port } = server;
  let count = 0;
  const sessions = new Map<string, postgres.Sql>();
  const session = (database: string): postgres.Sql => {
    const known = sessions.get(database);
    if (known !== undefined) return known;
    const { user: username, password: pass } = server;
    const made = postgres({ host, port, username, pass, database, max: 1, onnotice: () => {} });
    sessions.set(database, made);
    return made;
  };
  const run = async (text: string, database = "postgres") => [
    ...(await session(database).unsafe(text)),
  ];
  const credentials = `${encodeURIComponent(server.user)}:${encodeURIComponent(server.password)}`;
  return {
    ...server,
    run,
    url: (database) => `postgres://${credentials}@${host}:${port}/${database}`,
    async createDatabase() {
      count += 1;
      const name = `picloud_test_${process.pid}_${count}`;
      await run(`create database ${name}`);
      return name;
    },
    async dropDatabase(name) {
      await sessions.get(name)?.end({ timeout: 1 });
      sessions.delete(name);
      await run(`drop database if exists ${name} with (force)`);
    },
  };
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      if (address === null || typeof address === "string") return reject(new Error("no port"));
      server.close(() => resolve(address.port));
    });
  });
}
