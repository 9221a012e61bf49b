/**
 * The two listeners: raw Bun.serve, because the data plane is too hot for a framework.
 *
 * Stopping: no new connections; answers from then on carry `Connection: close`, so that busy clients
 * leave; what is under way ends, within a bound; then every socket is closed. Bun's own graceful stop
 * would wait for idle connections, too, until they time out.
 */
import type { Logger } from "../base/log.ts";
import { PicError } from "../domain/errors.ts";
import { connectionIdleS, drainPollMs } from "../domain/limits.ts";
import type { Connection, Fetch } from "./gateway.ts";

export interface Address {
  /** A host name or address; IPv6 with or without brackets. */
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

export interface ServersOptions {
  bind: Address;
  adminBind: Address;
  fetchPublic: Fetch;
  fetchAdmin: Fetch;
  log: Logger;
}

export interface Servers {
  readonly publicPort: number;
  readonly adminPort: number;
  /** Resolves when all is answered, or cut off after `drainMs`. May be called twice. */
  stop(drainMs: number): Promise<void>;
}

interface Drain {
  started: boolean;
}

/** Listens on both. Throws PicError `unavailable` that names the variable when one cannot. */
export function startServers(options: ServersOptions): Servers {
  const { bind, adminBind, fetchPublic, fetchAdmin, log } = options;
  const drain: Drain = { started: false };
  const publicServer = listen("PICLOUD_BIND", bind, { fetch: fetchPublic, drain, log });
  let adminServer: Bun.Server<undefined>;
  try {
    adminServer = listen("PICLOUD_ADMIN_BIND", adminBind, { fetch: fetchAdmin, drain, log });
  } catch (error) {
    void publicServer.stop(true);
    throw error;
  }
  const servers = [publicServer, adminServer];
  let stopping: Promise<void> | null = null;
  return {
    publicPort: portOf(publicServer),
    adminPort: portOf(adminServer),
    stop: (drainMs) => {
      drain.started = true;
      stopping ??= stopAll(servers, drainMs, log);
      return stopping;
    },
  };
}

function listen(
  variable: string,
  address: Address,
  { fetch, drain, log }: { fetch: Fetch; drain: Drain; log: Logger },
): Bun.Server<undefined> {
  const hostname = address.host.replace(/^\[(.*)\]$/, "$1");
  try {
    return Bun.serve({
      hostname,
      port: address.port,
      // Two servers on one port would share its connections silently.
      reusePort: false,
      idleTimeout: connectionIdleS,
      // The gateway counts itself, so that its 413 is a problem document.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      development: false,
      fetch: (request, server) =>
        drain.started ? lastAnswer(fetch, request, server) : fetch(request, server),
      error: (error) => {
        log.error("A request failed inside Bun's server", { error });
        return new Response(null, { status: 500 });
      },
    });
  } catch (error) {
    throw notListening(variable, address, error);
  }
}

async function lastAnswer(
  fetch: Fetch,
  request: Request,
  connection: Connection,
): Promise<Response> {
  const response = await fetch(request, connection);
  response.headers.set("connection", "close");
  return response;
}

function notListening(variable: string, { host, port }: Address, cause: unknown): PicError {
  const where = `${host}:${port}`;
  const code = cause instanceof Error && "code" in cause ? cause.code : null;
  const reason =
    code === "EADDRINUSE"
      ? `${where} is in use by another program`
      : code === "EACCES" || code === "EPERM"
        ? `${where} may not be opened by this user`
        : `cannot listen on ${where} (${cause instanceof Error ? cause.message : String(cause)})`;
  return new PicError("unavailable", `${variable}: ${reason}`, { cause });
}

async function stopAll(
  servers: readonly Bun.Server<undefined>[],
  drainMs: number,
  log: Logger,
): Promise<void> {
  const deadline = performance.now() + drainMs;
  for (const server of servers) void server.stop(false);
  const pending = (): number => servers.reduce((sum, server) => sum + server.pendingRequests, 0);
  while (pending() > 0 && performance.now() < deadline) await Bun.sleep(drainPollMs);
  if (pending() > 0) log.warn("Requests were cut off by the stop", { requests: pending() });
  await Promise.all(servers.map((server) => server.stop(true)));
}

function portOf(server: Bun.Server<undefined>): number {
  const { port } = server;
  if (port === undefined) throw new Error("A TCP server has a port");
  return port;
}
