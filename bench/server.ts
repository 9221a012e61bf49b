/** The compiled binary in a fresh data folder, with an account, for one workload. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const binary = resolve(import.meta.dir, "../dist/picloud");
const password = "bench-password-1";
const startMsMax = 10_000;

export interface BenchServer extends AsyncDisposable {
  readonly pid: number;
  readonly publicPort: number;
  readonly adminPort: number;
  readonly dataDir: string;
  /** Calls the admin API; a path below /api/v1/admin/. Throws on anything but 2xx. */
  api<T>(method: string, path: string, body?: unknown): Promise<T>;
  /** Ends it and gives its log. */
  stop(): Promise<string>;
}

export interface StartOptions {
  env?: Record<string, string>;
  /** An existing data folder, kept afterwards. */
  dataDir?: string;
}

export async function startBenchServer(options: StartOptions = {}): Promise<BenchServer> {
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), "picloud-bench-"));
  const [publicPort, adminPort] = [freePort(), freePort()];
  const child = Bun.spawn([binary, "serve"], {
    cwd: "/",
    env: {
      PATH: process.env.PATH ?? "",
      PICLOUD_BIND: `127.0.0.1:${publicPort}`,
      PICLOUD_ADMIN_BIND: `127.0.0.1:${adminPort}`,
      PICLOUD_DATA_DIR: dataDir,
      PICLOUD_ADMIN_USERNAME: "bench",
      PICLOUD_ADMIN_PASSWORD: password,
      PICLOUD_LOG_FORMAT: "json",
      ...options.env,
    },
    stdout: "ignore",
    stderr: "pipe",
  });
  const log = new Response(child.stderr).text();
  await answers(`http://127.0.0.1:${publicPort}/healthz`, startMsMax);
  let token: string | null = null;
  const call = async (method: string, path: string, body?: unknown): Promise<unknown> => {
    const response = await fetch(`http://127.0.0.1:${publicPort}/api/v1/admin/${path}`, {
      method,
      headers: {
        "content-type": "application/json",
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text === "" ? null : JSON.parse(text);
  };
  const stop = async (): Promise<string> => {
    child.kill("SIGTERM");
    await child.exited;
    return log;
  };
  return {
    pid: child.pid,
    publicPort,
    adminPort,
    dataDir,
    api: async <T>(method: string, path: string, body?: unknown): Promise<T> => {
      if (token === null) {
        const login = await call("POST", "auth/login", { username: "bench", password });
        token = (login as { token: string }).token;
      }
      return (await call(method, path, body)) as T;
    },
    stop,
    [Symbol.asyncDispose]: async () => {
      await stop();
      if (options.dataDir === undefined) rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

export interface Deployment {
  name: string;
  source: string;
  path: string;
  app?: string;
  limits?: Record<string, number>;
}

/** A script with one route; returns the script's id. */
export async function deploy(server: BenchServer, deployment: Deployment): Promise<string> {
  const { id } = await server.api<{ id: string }>("POST", "scripts", {
    app: deployment.app ?? "default",
    name: deployment.name,
    source: deployment.source,
    ...(deployment.limits === undefined ? {} : { limits: deployment.limits }),
  });
  await server.api("POST", `scripts/${id}/routes`, { path: deployment.path });
  return id;
}

/** Polls until a request is answered with 200. */
export async function answers(url: string, msMax: number): Promise<void> {
  const deadline = performance.now() + msMax;
  for (;;) {
    const status = await fetch(url).then(
      (response) => response.status,
      () => 0,
    );
    if (status === 200) return;
    if (performance.now() > deadline) throw new Error(`${url} answers ${status} after ${msMax} ms`);
    await Bun.sleep(1);
  }
}

function freePort(): number {
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
  const port = server.port as number;
  server.stop(true);
  return port;
}
