/**
 * PiCloud's own addresses, on both listeners. The admin plane (Elysia, schemas) is loaded by its
 * first request; before that the server does not carry it.
 */
import type { Logger } from "../base/log.ts";
import { PicError } from "../domain/errors.ts";
import { bodyReadS } from "../domain/limits.ts";
import { firstSegment } from "../domain/paths.ts";
import type { AsyncRuns } from "../execution/async.ts";
import { isStatusPath, statusResponse } from "./async-executions.ts";
import type { Connection } from "./gateway.ts";
import { requestIdOf } from "./request-headers.ts";
import type { RequestTarget } from "./request-target.ts";

export type Listener = "public" | "admin";

export interface AdminPlane {
  handle(
    request: Request,
    info: { listener: Listener; remote_address: string; request_id: string },
  ): Promise<Response>;
}

export interface SystemPathsOptions {
  admin: () => Promise<AdminPlane>;
  asyncRuns: Pick<AsyncRuns, "find">;
  version: () => object;
  adminPort: () => number;
  log: Logger;
  newId: () => string;
}

interface Arrival {
  target: RequestTarget;
  listener: Listener;
}

/** Elysia misreads URLs with short hosts (`http://pi/…`), and no host of a caller is to be trusted. */
const anyOrigin = "http://picloud.invalid";
const NO_STORE = { "cache-control": "no-store" };

/** @returns answers, or throws PicError `not_found`, `method_not_allowed`, `unavailable`. */
export function createSystemPaths(
  options: SystemPathsOptions,
): (request: Request, connection: Connection, arrival: Arrival) => Promise<Response> {
  let plane: Promise<AdminPlane> | null = null;
  const adminPlane = (): Promise<AdminPlane> => {
    plane ??= options.admin().catch((error: unknown) => {
      plane = null;
      throw error;
    });
    return plane;
  };
  return async (request, connection, { target, listener }) => {
    const { path } = target;
    switch (firstSegment(path)) {
      case "healthz":
        if (path === "/healthz")
          return readable(request, new Response("ok", { headers: NO_STORE }));
        break;
      case "version":
        if (path === "/version") {
          return readable(request, Response.json(options.version(), { headers: NO_STORE }));
        }
        break;
      case "api":
        if (isStatusPath(path)) {
          if (listener === "admin") break;
          return readable(request, await statusResponse(path, options.asyncRuns));
        }
        if (isAdminApi(path)) {
          const request_id = requestIdOf(request.headers, options.newId);
          return handOn(await adminPlane(), request, connection, { target, listener, request_id });
        }
        break;
      case "admin": {
        if (listener === "public") return toAdmin(request, target, options.adminPort());
        const request_id = requestIdOf(request.headers, options.newId);
        return handOn(await adminPlane(), request, connection, { target, listener, request_id });
      }
      case "":
        if (listener === "admin") return readable(request, redirect("/admin/"));
        break;
    }
    throw new PicError("not_found", "There is nothing at this address");
  };
}

/** `/api/v1/*` without execute, which belongs to the data plane and to the public listener. */
function isAdminApi(path: string): boolean {
  return path.startsWith("/api/v1/") && path !== "/api/v1/execute" && !isExecute(path);
}

function isExecute(path: string): boolean {
  return path.startsWith("/api/v1/execute/");
}

/** Hands a request to the admin plane: a safe host, the canonical path, no cookie in public. */
async function handOn(
  plane: AdminPlane,
  request: Request,
  connection: Connection,
  { target, listener, request_id }: Arrival & { request_id: string },
): Promise<Response> {
  const headers = new Headers(request.headers);
  if (listener === "public") headers.delete("cookie");
  const { method } = request;
  const hasBody = method !== "GET" && method !== "HEAD";
  const query = target.query === "" ? "" : `?${target.query}`;
  const inner = new Request(anyOrigin + target.path + query, {
    method,
    headers,
    body: hasBody ? request.body : null,
    signal: request.signal,
  });
  const remote_address = connection.requestIP(request)?.address ?? "unknown";
  connection.timeout(request, bodyReadS);
  return await plane.handle(inner, { listener, remote_address, request_id });
}

/** The host is the caller's own and was found to be well-formed; only the port is another. */
function toAdmin(request: Request, target: RequestTarget, port: number): Response {
  const query = target.query === "" ? "" : `?${target.query}`;
  const path = target.path === "/admin" ? "/admin/" : target.path;
  return readable(request, redirect(`http://${target.host}:${port}${path}${query}`));
}

function redirect(location: string): Response {
  return new Response(null, { status: 302, headers: { ...NO_STORE, location } });
}

/** Lets GET and HEAD through. */
function readable(request: Request, response: Response): Response {
  if (request.method === "GET" || request.method === "HEAD") return response;
  throw new PicError("method_not_allowed", "This address can only be read", {
    allow: ["GET", "HEAD"],
  });
}
