/** A gateway on real sockets with everything behind it faked, and a client that sends any bytes. */

import { connect } from "node:net";
import type { LogFields, Logger } from "../../src/base/log.ts";
import { silentLogger } from "../../src/base/log.ts";
import type { AsyncExecution } from "../../src/domain/async-executions.ts";
import { PicError } from "../../src/domain/errors.ts";
import type {
  DeferredRequest,
  InvocationInput,
  InvocationResult,
} from "../../src/execution/api.ts";
import { createGateway } from "../../src/http/gateway.ts";
import { type Servers, startServers } from "../../src/http/server.ts";
import type { AdminPlane } from "../../src/http/system-paths.ts";
import { compileTable } from "../../src/routing/table.ts";
import { route } from "../routing/route-patterns.ts";

export interface Reply {
  status: number;
  /** Lower-case names; several values of one name are joined by ", ". */
  headers: Record<string, string>;
  body: string;
  /** Everything that came, for what is no single answer. */
  raw: string;
}

export interface AdminCall {
  method: string;
  url: string;
  headers: Record<string, string>;
  body: string;
  listener: string;
  remote_address: string;
}

export interface Fixture {
  servers: Servers;
  /** What scripts were started with, oldest first. */
  started: InvocationInput[];
  /** What was accepted, oldest first. */
  deferred: { script_id: string; request: DeferredRequest }[];
  adminCalls: AdminCall[];
  logged: { message: string; fields: LogFields }[];
  /** How scripts answer from now on. */
  answer(with_: Partial<InvocationResult> | ((input: InvocationInput) => unknown)): void;
  /** Sends bytes to the public listener and reads until the answer is whole or the socket closes. */
  send(bytes: string | Buffer, port?: number): Promise<Reply>;
  /** The same, until the server closes the connection. */
  sendAndReadAll(bytes: string): Promise<string>;
  /** A plain request with a good Host. */
  get(target: string, headers?: Record<string, string>): Promise<Reply>;
  getAdmin(target: string, headers?: Record<string, string>): Promise<Reply>;
  post(target: string, contentType: string, body: string | Buffer): Promise<Reply>;
  [Symbol.asyncDispose](): Promise<void>;
}

export const ROUTES = [
  "/hello",
  "GET /only-get",
  "GET /users/:id",
  "POST /users/:id",
  "/files/*",
  "tenant.test/who",
  "/*",
];
const SCRIPTS = new Map([
  ["open", { public_execute: true }],
  ["closed", { public_execute: false }],
]);
export const GOOD_TOKEN = `pcs_${"a".repeat(43)}`;

export const ACCEPTED = {
  execution_id: "01890a5d-ac96-774b-bcce-b302099a805b",
  token: `${"t-_".repeat(14)}t`,
};
export const asyncExecution: AsyncExecution = {
  id: ACCEPTED.execution_id,
  app_id: "app-1",
  script_id: "script-1",
  status: "success",
  attempts: 2,
  status_code: 201,
  created_at: 1_700_000_000_000,
  finished_at: 1_700_000_001_000,
  response: { headers: { "content-type": "application/json" }, body: '{"n":1}', truncated: false },
};

export function setup(routes: readonly string[] = ROUTES, overrides: Overrides = {}): Fixture {
  const started: InvocationInput[] = [];
  const deferred: Fixture["deferred"] = [];
  const adminCalls: AdminCall[] = [];
  const logged: Fixture["logged"] = [];
  let answer: (input: InvocationInput) => unknown = () => ({});
  const table = compileTable([
    ...routes.map((text) => route(text)),
    ...(overrides.asyncRoutes ?? []).map((text) => route(text, { dispatch_mode: "async" })),
  ]);
  let ids = 0;
  let servers: Servers | null = null;
  const gateway = createGateway({
    table: () => table,
    invoker: {
      invoke: async (input) => {
        started.push(input);
        const result = (await answer(input)) as Partial<InvocationResult>;
        return { ...PLAIN, ...result };
      },
    },
    asyncRuns: {
      accept: async (script_id, request) => {
        await overrides.accept?.();
        deferred.push({ script_id, request });
        return ACCEPTED;
      },
      find: async (id, token) =>
        id === ACCEPTED.execution_id && token === ACCEPTED.token ? asyncExecution : null,
    },
    publicBaseUrl: overrides.publicBaseUrl ?? null,
    findScript: async (id) => SCRIPTS.get(id) ?? null,
    authoriseExecute: async (token) => {
      if (token !== GOOD_TOKEN) throw new PicError("unauthenticated", "This needs a token");
    },
    admin: overrides.admin ?? (async () => recordingAdmin(adminCalls)),
    version: () => ({ product: "0.1.0" }),
    adminPort: () => servers?.adminPort ?? 0,
    log: recordingLogger(logged),
    newId: () => `id-${++ids}`,
  });
  servers = startServers({
    bind: { host: "127.0.0.1", port: 0 },
    adminBind: { host: "127.0.0.1", port: 0 },
    ...gateway,
    log: silentLogger,
  });
  const { publicPort, adminPort } = servers;
  const plain = (target: string, headers: Record<string, string>): string =>
    `GET ${target} HTTP/1.1\r\n${lines({ Host: "a", ...headers })}\r\n`;
  return {
    servers,
    started,
    deferred,
    adminCalls,
    logged,
    answer: (with_) => {
      answer = typeof with_ === "function" ? with_ : () => with_;
    },
    send: (bytes, port = publicPort) => exchange(port, bytes),
    sendAndReadAll: async (bytes) => (await exchange(publicPort, bytes, "close")).raw,
    get: (target, headers = {}) => exchange(publicPort, plain(target, headers)),
    getAdmin: (target, headers = {}) => exchange(adminPort, plain(target, headers)),
    post: (target, contentType, body) => {
      const bytes = typeof body === "string" ? Buffer.from(body) : body;
      const typed = contentType === "" ? {} : { "Content-Type": contentType };
      const head = lines({ Host: "a", ...typed, "Content-Length": String(bytes.length) });
      return exchange(
        publicPort,
        Buffer.concat([Buffer.from(`POST ${target} HTTP/1.1\r\n${head}\r\n`), bytes]),
      );
    },
    [Symbol.asyncDispose]: () => (servers as Servers).stop(0),
  };
}

interface Overrides {
  asyncRoutes?: readonly string[];
  /** Throws to refuse. */
  accept?: () => void | Promise<void>;
  publicBaseUrl?: string;
  admin?: () => Promise<AdminPlane>;
}

const PLAIN: InvocationResult = {
  execution_id: "execution-1",
  status_code: 200,
  headers: {},
  body_kind: "json",
  body: '{"hello":"you"}',
};

function recordingAdmin(calls: AdminCall[]): AdminPlane {
  return {
    handle: async (request, { listener, remote_address }) => {
      calls.push({
        method: request.method,
        url: request.url,
        headers: request.headers.toJSON() as Record<string, string>,
        body: await request.text(),
        listener,
        remote_address,
      });
      return new Response("admin");
    },
  };
}

function recordingLogger(logged: Fixture["logged"]): Logger {
  const record = (message: string, fields: LogFields = {}): void => {
    logged.push({ message, fields });
  };
  const logger: Logger = {
    debug: record,
    info: record,
    warn: record,
    error: record,
    child: () => logger,
  };
  return logger;
}

function lines(headers: Record<string, string>): string {
  return Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join("");
}

/** Resolves with what came once it is one whole answer, or when the other side closes. */
export function exchange(
  port: number,
  bytes: string | Buffer,
  until: "answer" | "close" = "answer",
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect(port, "127.0.0.1");
    const method = bytes.toString("latin1").split(" ", 1)[0];
    const finish = (): void => {
      clearTimeout(deadline);
      socket.destroy();
      resolve(parseReply(Buffer.concat(chunks).toString("latin1")));
    };
    const deadline = setTimeout(() => {
      socket.destroy();
      reject(new Error(`no answer to ${bytes.toString("latin1").slice(0, 80)}`));
    }, 5_000);
    socket.on("data", (chunk) => {
      chunks.push(typeof chunk === "string" ? Buffer.from(chunk) : chunk);
      if (
        until === "answer" &&
        isWhole(Buffer.concat(chunks).toString("latin1"), method === "HEAD")
      )
        finish();
    });
    socket.on("close", finish);
    socket.on("error", () => {});
    socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  });
}

export function parseReply(raw: string): Reply {
  const end = raw.indexOf("\r\n\r\n");
  const [first = "", ...rest] = raw.slice(0, end === -1 ? raw.length : end).split("\r\n");
  const headers: Record<string, string> = {};
  for (const line of rest) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`;
  }
  const body = end === -1 ? "" : raw.slice(end + 4);
  return { status: Number(first.split(" ")[1] ?? 0), headers, body, raw };
}

function isWhole(raw: string, isHead: boolean): boolean {
  const end = raw.indexOf("\r\n\r\n");
  if (end === -1) return false;
  const { status, headers, body } = parseReply(raw);
  if (isHead || status === 204 || status === 304) return true;
  const length = headers["content-length"];
  return length !== undefined && body.length >= Number(length);
}
