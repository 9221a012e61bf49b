/**
 * The data plane: from a request to a script and back.
 *
 *   target (once) → system path? → table → headers, query, body → invoker → response
 *
 * Invariants:
 * - a system path never reaches a user route, in whatever spelling; PiCloud's credentials never reach
 *   a script; the admin listener serves no user route;
 * - every failure is a problem document, and what was not expected is logged under the request's id;
 * - a caller that goes away does not stop the execution, it only aborts the signal.
 *
 * This runs for every request: no URL object, no header that nobody asks for. A hello costs some 2 µs
 * here, most of it Bun's own copying of headers.
 */
import type { Logger } from "../base/log.ts";
import { PicError } from "../domain/errors.ts";
import type { Invocation } from "../domain/executions.ts";
import { asyncBodyBytesMax, bodyReadS, connectionIdleS } from "../domain/limits.ts";
import { isReservedPath } from "../domain/paths.ts";
import { ROUTE_METHODS } from "../domain/routes.ts";
import type { InvocationRequest, Invoker } from "../execution/api.ts";
import type { AsyncRuns } from "../execution/async.ts";
import type { RoutingTable } from "../routing/api.ts";
import { AnswerBudget } from "./answer-budget.ts";
import { acceptedResponse } from "./async-executions.ts";
import { problemResponse } from "./errors.ts";
import { BodyBudget, type GuestBody, readGuestBody } from "./request-body.ts";
import { bearerToken, guestHeaders, requestIdOf } from "./request-headers.ts";
import { parseQuery } from "./request-query.ts";
import { type RequestTarget, readTarget } from "./request-target.ts";
import { scriptResponse } from "./response.ts";
import { type AdminPlane, createSystemPaths, type Listener } from "./system-paths.ts";

/** What the gateway asks of a listening Bun server. */
export interface Connection {
  /** Seconds without traffic after which the connection is closed; 0 for never. */
  timeout(request: Request, seconds: number): void;
  requestIP(request: Request): { address: string } | null;
  /** Requests whose answers are not given, or not wholly taken by the network. */
  readonly pendingRequests?: number;
}

export interface GatewayOptions {
  /** The table of this moment. */
  table: () => RoutingTable;
  invoker: Pick<Invoker, "invoke">;
  asyncRuns: Pick<AsyncRuns, "accept" | "find">;
  /** For the address at which an asynchronous execution is asked after; null: the caller's own. */
  publicBaseUrl: string | null;
  /** What `/api/v1/execute` needs to know; null when there is no such script. */
  findScript: (id: string) => Promise<{ public_execute: boolean } | null>;
  /** Throws PicError `unauthenticated`, `forbidden`, `not_found` unless the token's holder may run the script. */
  authoriseExecute: (token: string | null, scriptId: string) => Promise<void>;
  /** Loads the admin plane; asked at its first request, and again only when that failed. */
  admin: () => Promise<AdminPlane>;
  /** The body of `GET /version`. */
  version: () => object;
  /** The port of the admin listener, for the redirect of `/admin/`. */
  adminPort: () => number;
  log: Logger;
  newId: () => string;
}

export type Fetch = (request: Request, connection: Connection) => Promise<Response>;

export interface Gateway {
  /** Both never throw. */
  fetchPublic: Fetch;
  fetchAdmin: Fetch;
}

interface DataPlane extends GatewayOptions {
  bodies: BodyBudget;
  answers: AnswerBudget;
  /** Requests whose answers are not given. */
  unanswered: Record<Listener, number>;
}

/** One execution to start, and why. */
interface Start {
  invocation: Invocation;
  script_id: string;
  params: Record<string, string>;
  rest: string;
}

const EXECUTE = /^\/api\/v1\/execute\/([^/]+)$/;
const NO_PARAMS: Record<string, string> = Object.freeze({});
const NO_BODY: GuestBody = Object.freeze({ body_json: "null", body_base64: null });
const KNOWN_METHODS = ROUTE_METHODS.filter((method) => method !== "ANY");

export function createGateway(options: GatewayOptions): Gateway {
  const system = createSystemPaths(options);
  const plane: DataPlane = {
    ...options,
    bodies: new BodyBudget(),
    answers: new AnswerBudget(),
    unanswered: { public: 0, admin: 0 },
  };
  const fetchOn = (listener: Listener, answer: Answer): Fetch => {
    return async (request, connection) => {
      plane.unanswered[listener] += 1;
      try {
        const target = readTarget(request);
        const { method } = request;
        if (method === "TRACE" || method === "CONNECT") throw unknownMethod();
        return await answer(request, connection, target);
      } catch (error) {
        return failed(options, error, { request, listener });
      } finally {
        plane.unanswered[listener] -= 1;
        connection.timeout(request, connectionIdleS);
      }
    };
  };
  return {
    fetchPublic: fetchOn("public", (request, connection, target) => {
      if (!isReservedPath(target.path)) return runRoute(plane, request, connection, target);
      const scriptId = EXECUTE.exec(target.path)?.[1];
      if (scriptId !== undefined) {
        return runScript(plane, request, connection, { target, scriptId });
      }
      return system(request, connection, { target, listener: "public" });
    }),
    fetchAdmin: fetchOn("admin", (request, connection, target) =>
      system(request, connection, { target, listener: "admin" }),
    ),
  };
}

type Answer = (
  request: Request,
  connection: Connection,
  target: RequestTarget,
) => Promise<Response>;

function runRoute(
  options: DataPlane,
  request: Request,
  connection: Connection,
  target: RequestTarget,
): Promise<Response> {
  const result = options.table().match(request.method, target.host, target.path);
  if (result.kind === "none") throw new PicError("not_found", "Nothing is routed here");
  if (result.kind === "method_not_allowed") {
    throw new PicError("method_not_allowed", "This address takes other methods", {
      allow: result.allow,
    });
  }
  const { route, params, rest } = result.match;
  const start: Start = { invocation: "route", script_id: route.script_id, params, rest };
  if (route.dispatch_mode === "async") return accept(options, request, connection, target, start);
  return invoke(options, request, connection, target, start);
}

/** Takes the request in, to be run later. Whether a caller that leaves now was in time, only the outbox knows. */
async function accept(
  options: DataPlane,
  request: Request,
  connection: Connection,
  target: RequestTarget,
  start: Start,
): Promise<Response> {
  using hold = options.bodies.hold();
  connection.timeout(request, bodyReadS);
  const { method, headers } = request;
  const isBodyless = method === "GET" || method === "HEAD";
  const body = isBodyless ? NO_BODY : await readGuestBody(request, hold, asyncBodyBytesMax);
  const accepted = await options.asyncRuns.accept(start.script_id, {
    request_id: requestIdOf(headers, options.newId),
    ...guestRequest(request, target, start, body),
  });
  return acceptedResponse(accepted, request, options.publicBaseUrl);
}

/** `ANY /api/v1/execute/{script_id}`: who may not execute learns not even whether the script exists. */
async function runScript(
  options: DataPlane,
  request: Request,
  connection: Connection,
  { target, scriptId }: { target: RequestTarget; scriptId: string },
): Promise<Response> {
  const script = await options.findScript(scriptId);
  if (script?.public_execute !== true) {
    await options.authoriseExecute(bearerToken(request.headers), scriptId);
  }
  if (script === null) throw new PicError("not_found", "There is no such script");
  return invoke(options, request, connection, target, {
    invocation: "execute",
    script_id: scriptId,
    params: NO_PARAMS,
    rest: "",
  });
}

function invoke(
  options: DataPlane,
  request: Request,
  connection: Connection,
  target: RequestTarget,
  start: Start,
): Promise<Response> {
  const { method } = request;
  return method === "GET" || method === "HEAD"
    ? run(options, request, connection, { target, start, body: NO_BODY })
    : runWithBody(options, request, connection, { target, start });
}

async function runWithBody(
  options: DataPlane,
  request: Request,
  connection: Connection,
  { target, start }: { target: RequestTarget; start: Start },
): Promise<Response> {
  using hold = options.bodies.hold();
  connection.timeout(request, bodyReadS);
  const body = await readGuestBody(request, hold);
  return await run(options, request, connection, { target, start, body });
}

function run(
  options: DataPlane,
  request: Request,
  connection: Connection,
  { target, start, body }: { target: RequestTarget; start: Start; body: GuestBody },
): Promise<Response> {
  // The script's own deadline holds from here on, and it may be longer than Bun's longest.
  connection.timeout(request, 0);
  const invocation = options.invoker.invoke({
    invocation: start.invocation,
    script_id: start.script_id,
    request_id: requestIdOf(request.headers, options.newId),
    request: guestRequest(request, target, start, body),
    signal: request.signal,
  });
  return invocation.then((result) => {
    const unsent = (connection.pendingRequests ?? 0) - options.unanswered.public;
    options.answers.take(result.body.length, unsent);
    return scriptResponse(result);
  });
}

function guestRequest(
  { method, headers }: Request,
  target: RequestTarget,
  start: Start,
  body: GuestBody,
): InvocationRequest {
  const { query, queries } = parseQuery(target.query);
  return {
    method,
    host: target.host,
    path: target.path,
    headers: guestHeaders(headers),
    query,
    queries,
    params: start.params,
    rest: start.rest,
    body_json: body.body_json,
    body_base64: body.body_base64,
  };
}

function failed(
  options: GatewayOptions,
  error: unknown,
  { request, listener }: { request: Request; listener: Listener },
): Response {
  const request_id = requestIdOf(request.headers, options.newId);
  if (!(error instanceof PicError) || error.code === "internal") {
    options.log.error("A request failed inside the server", {
      error,
      request_id,
      listener,
      method: request.method,
    });
  }
  return problemResponse(error, request_id);
}

function unknownMethod(): PicError {
  return new PicError("method_not_allowed", "This method is not served", { allow: KNOWN_METHODS });
}
