/**
 * The admin API: one Elysia app over all declared endpoints, loaded at the first admin request.
 *
 * Elysia finds the endpoint and nothing else: bodies, errors and credentials are handled here, so
 * that they are the same everywhere.
 */
import { Elysia } from "elysia";
import type { Logger } from "../../base/log.ts";
import { authorise, type ResourceRef } from "../../domain/access.ts";
import type { Actor } from "../../domain/accounts.ts";
import { PicError } from "../../domain/errors.ts";
import { judgedForMs } from "../../domain/limits.ts";
import type { AccountAdmin } from "../../services/account-admin.ts";
import type { Accounts } from "../../services/accounts.ts";
import type { ApiKeys } from "../../services/api-keys.ts";
import type { Apps } from "../../services/apps.ts";
import type { Audit } from "../../services/audit.ts";
import type { Authenticate, Authenticated } from "../../services/authentication.ts";
import type { DataDocs } from "../../services/data-docs.ts";
import type { DataKv } from "../../services/data-kv.ts";
import type { DataTransfer } from "../../services/data-transfer.ts";
import type { DeadLetters } from "../../services/dead-letters.ts";
import type { Deployments } from "../../services/deployments.ts";
import type { Executions } from "../../services/executions.ts";
import type { Hosts } from "../../services/hosts.ts";
import type { Members } from "../../services/members.ts";
import type { Nominations } from "../../services/nominations.ts";
import type { Routes } from "../../services/routes.ts";
import type { Scripts } from "../../services/scripts.ts";
import type { Sessions } from "../../services/sessions.ts";
import type { Triggers } from "../../services/triggers.ts";
import { problemResponse } from "../errors.ts";
import { accountEndpoints } from "./accounts.ts";
import { apiKeyEndpoints } from "./api-keys.ts";
import { appEndpoints } from "./apps.ts";
import { auditEndpoints } from "./audit.ts";
import { authEndpoints } from "./auth.ts";
import { authenticate } from "./authentication.ts";
import { dataDocsEndpoints } from "./data-docs.ts";
import { dataKvEndpoints } from "./data-kv.ts";
import { deadLetterEndpoints } from "./dead-letters.ts";
import { deploymentEndpoints } from "./deployments.ts";
import {
  type Endpoint,
  errorsOf,
  type LinesReply,
  type Listener,
  linesType,
  type Reply,
} from "./endpoint.ts";
import { executionEndpoints } from "./executions.ts";
import { hostEndpoints } from "./hosts.ts";
import { memberEndpoints } from "./members.ts";
import { documentAnswer, isDocumentPath } from "./openapi-page.ts";
import { adminPage } from "./pages.ts";
import { routeEndpoints } from "./routes.ts";
import { scriptEndpoints } from "./scripts.ts";
import { triggerEndpoints } from "./triggers.ts";

export interface AdminAppOptions {
  accounts: Accounts;
  accountAdmin: AccountAdmin;
  nominations: Nominations;
  sessions: Sessions;
  apiKeys: ApiKeys;
  apps: Apps;
  hosts: Hosts;
  members: Members;
  scripts: Scripts;
  routes: Routes;
  triggers: Triggers;
  deployments: Deployments;
  deadLetters: DeadLetters;
  executions: Executions;
  kv: DataKv;
  docs: DataDocs;
  transfer: DataTransfer;
  audit: Audit;
  authenticate: Authenticate;
  /** Resolves when all that the services have read or written is durable. */
  settled: () => Promise<void>;
  log: Logger;
  newId: () => string;
  /** Milliseconds of a clock that never jumps. */
  monotonic: () => number;
  publicBaseUrl: string | null;
  /** For tests: an answer, or an error, that was not declared is a defect. */
  checkOutputs?: boolean;
}

export interface AdminRequestInfo {
  listener: Listener;
  remote_address: string;
  /** Made here when absent. */
  request_id?: string;
}

export interface AdminApp {
  /** Never throws: every failure is a problem document. */
  handle(request: Request, info: AdminRequestInfo): Promise<Response>;
}

const prefix = "/api/v1/admin";
const alwaysHeaders = { "cache-control": "no-store", "x-content-type-options": "nosniff" };
/** Elysia misreads URLs with short hosts (`http://pi/…`), so it never sees a real one. */
const anyOrigin = "http://picloud.invalid";
/** What an id or a slug can look like; anything else is not looked for. */
const segmentPattern = /^[A-Za-z0-9._-]{1,64}$/;

export async function createAdminApp(options: AdminAppOptions): Promise<AdminApp> {
  const endpoints = declaredEndpoints(options);
  const infos = new WeakMap<Request, NamedInfo>();
  const infoOf = (request: Request): NamedInfo => {
    const info = infos.get(request);
    if (info === undefined) throw new Error("A request came past the front door");
    return info;
  };
  const elysia = new Elysia({ normalize: false }).onError(({ code, error, request }) =>
    failed(code === "NOT_FOUND" ? notRouted(endpoints, request) : error, infoOf(request), options),
  );
  for (const declared of endpoints) {
    elysia.route(
      declared.method,
      prefix + declared.path,
      ({ request, params = {} }) =>
        run(declared, { request, params, info: infoOf(request), options }),
      { parse: "none" },
    );
  }
  return {
    handle: async (request, given) => {
      const info = { ...given, request_id: given.request_id ?? options.newId() };
      try {
        const inner = withAnyOrigin(request);
        infos.set(inner, info);
        const response = isDocumentPath(new URL(inner.url).pathname)
          ? await documentAnswer(inner, info, options)
          : ((await adminPage(inner, info, options)) ?? (await elysia.handle(inner)));
        await options.settled();
        return request.method === "HEAD" ? withoutBody(response) : response;
      } catch (error) {
        return failed(error, info, options);
      }
    },
  };
}

/** Every call of the admin API, for the app and for its documentation. */
export function declaredEndpoints(options: AdminAppOptions): Endpoint[] {
  return [
    ...authEndpoints(options),
    ...accountEndpoints(options),
    ...apiKeyEndpoints(options.apiKeys),
    ...appEndpoints(options.apps),
    ...hostEndpoints(options.hosts),
    ...memberEndpoints(options.members),
    ...scriptEndpoints(options.scripts),
    ...routeEndpoints(options.routes),
    ...triggerEndpoints(options.triggers),
    ...deploymentEndpoints(options.deployments),
    ...deadLetterEndpoints(options.deadLetters),
    ...executionEndpoints(options.executions),
    ...dataKvEndpoints(options.kv, options.transfer),
    ...dataDocsEndpoints(options.docs, options.transfer),
    ...auditEndpoints(options.audit),
  ];
}

type NamedInfo = AdminRequestInfo & { request_id: string };

interface RoutedCall {
  request: Request;
  params: Record<string, string>;
  info: NamedInfo;
  options: AdminAppOptions;
}

async function run(declared: Endpoint, call: RoutedCall): Promise<Response> {
  try {
    const reply = await answer(declared, call);
    if ("chunks" in reply) return linesResponse(reply, call);
    if (call.options.checkOutputs === true) assertOutput(declared, reply);
    return toResponse(reply);
  } catch (error) {
    const isDeclared = !(error instanceof PicError) || errorsOf(declared).has(error.code);
    const found =
      call.options.checkOutputs === true && !isDeclared
        ? new Error(`${declared.operation} fails with what it does not declare`, { cause: error })
        : error;
    return failed(found, call.info, call.options);
  }
}

/** Credentials first, then what was sent. */
async function answer(declared: Endpoint, call: RoutedCall): Promise<Reply<unknown> | LinesReply> {
  const { request, params } = call;
  const { listener, remote_address, request_id } = call.info;
  const isReadable = Object.values(params).every((value) => segmentPattern.test(value));
  const resource = resourceOf(declared.path, params);
  if (!isReadable) {
    if (declared.action !== null) await authenticate(request, call.info, call.options);
    throw new PicError("not_found", "There is no such thing");
  }
  const found = await judge(declared, call, resource);
  const where = { params: sameApp(params, resource, found), listener, remote_address, request_id };
  const judgedAgain = laterJudge(declared, call, { resource, found });
  return declared.run(request, { actor: found?.actor ?? null, judgedAgain, ...where });
}

/** Null: anybody may. Throws PicError `unauthenticated`, `not_found`, `forbidden`. */
async function judge(
  { action }: Endpoint,
  { request, info, options }: RoutedCall,
  resource: ResourceRef,
): Promise<Authenticated | null> {
  if (action === null) return null;
  const found = await authenticate(request, info, options, resource);
  const { kind } = resource;
  const { resource_app_id: app_id } = found;
  if (kind !== "none" && app_id === null) throw notFound(kind);
  authorise(found.actor, action, app_id === null ? {} : { app_id }, kind);
  return found;
}

/** Judges by the app that was judged first, whatever its slug is by now. */
function laterJudge(
  declared: Endpoint,
  call: RoutedCall,
  { resource, found }: { resource: ResourceRef; found: Authenticated | null },
): () => Promise<Actor | null> {
  const { monotonic } = call.options;
  const ref = found?.resource_app_id ?? "";
  const same = resource.kind === "app" ? { ...resource, ref } : resource;
  let last = { at: monotonic(), actor: found?.actor ?? null };
  return async () => {
    if (last.actor !== null && monotonic() - last.at >= judgedForMs) {
      const again = await judge(declared, call, same);
      last = { at: monotonic(), actor: again?.actor ?? null };
    }
    return last.actor;
  };
}

/**
 * The handler gets the id of the app that was judged, not its slug: another app may take the slug at
 * any moment. Scripts and routes never change their app.
 */
function sameApp(
  params: Record<string, string>,
  { kind }: ResourceRef,
  found: Authenticated | null,
): Record<string, string> {
  const app = found?.resource_app_id ?? null;
  return kind === "app" && app !== null ? { ...params, app } : params;
}

/** By the beginning of its path: what a call is about, and with it whose app that is. */
function resourceOf(path: string, params: Record<string, string>): ResourceRef {
  if (path.startsWith("/apps/:app")) return { kind: "app", ref: params.app ?? "" };
  if (path.startsWith("/scripts/:id")) return { kind: "script", id: params.id ?? "" };
  if (path.startsWith("/routes/:id")) return { kind: "route", id: params.id ?? "" };
  return { kind: "none" };
}

function notFound(what: string): PicError {
  return new PicError("not_found", `There is no such ${what}`);
}

function failed(error: unknown, info: NamedInfo, options: AdminAppOptions): Response {
  const { request_id } = info;
  if (!(error instanceof PicError)) {
    options.log.error("An admin request failed", { request_id, error });
  }
  return problemResponse(error, request_id);
}

function toResponse(reply: Reply<unknown>): Response {
  const headers = new Headers({ ...alwaysHeaders, ...reply.headers });
  if (reply.status === 204) return new Response(null, { status: 204, headers });
  headers.set("content-type", "application/json");
  return new Response(JSON.stringify(reply.body), { status: reply.status, headers });
}

/**
 * An answer that is made while it is read: Bun asks for a piece when the network has taken the one
 * before (measured: for a reader of 1 MB/s nothing piles up but the sockets' own buffers). An error in
 * the middle cuts the connection, so that a part never looks like the whole.
 */
function linesResponse(reply: LinesReply, { request, info, options }: RoutedCall): Response {
  const { chunks } = reply;
  let isLeft = false;
  const leave = (): void => {
    isLeft = true;
    chunks.return(undefined).catch(() => {});
  };
  // A caller that leaves before the first piece is asked for cancels nothing.
  request.signal.addEventListener("abort", leave, { once: true });
  if (request.signal.aborted) leave();
  const pull = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
    try {
      const { done, value } = await chunks.next();
      if (isLeft) return;
      if (done === true) controller.close();
      else controller.enqueue(value);
    } catch (error) {
      if (isLeft) return;
      options.log.error("An export was cut off", { request_id: info.request_id, error });
      // Without the error: Bun would print it beside the log.
      controller.error();
    }
  };
  const body = new ReadableStream<Uint8Array>({ pull, cancel: leave }, { highWaterMark: 0 });
  const headers = { ...alwaysHeaders, ...reply.headers, "content-type": linesType };
  return new Response(body, { status: reply.status, headers });
}

function assertOutput(declared: Endpoint, reply: Reply<unknown>): void {
  const expected = declared.output;
  if (reply.status !== declared.status) {
    throw new Error(`${declared.operation} answers ${reply.status}, not ${declared.status}`);
  }
  const out = expected === null ? null : expected(reply.body);
  // A schema hands a fitting value back as it is: there are no morphs.
  if (expected === null ? reply.body === undefined : out === reply.body) return;
  throw new Error(`${declared.method} ${declared.path} answers what it does not declare: ${out}`);
}

/** 405 when the address exists for other methods, else 404. */
function notRouted(endpoints: readonly Endpoint[], request: Request): PicError {
  const path = new URL(request.url).pathname;
  const allow = endpoints
    .filter((declared) => pathPattern(declared.path).test(path))
    .map((declared) => declared.method);
  if (allow.length === 0) return new PicError("not_found", "There is no such address");
  return new PicError("method_not_allowed", "This address takes other methods", {
    allow: [...new Set(allow.includes("GET") ? [...allow, "HEAD"] : allow)].sort(),
  });
}

function pathPattern(path: string): RegExp {
  return new RegExp(`^${prefix}${path.replace(/:\w+/g, "[^/]+")}$`);
}

function withAnyOrigin(request: Request): Request {
  const { pathname, search } = new URL(request.url);
  const method = request.method === "HEAD" ? "GET" : request.method;
  return new Request(anyOrigin + pathname + search, {
    method,
    headers: request.headers,
    body: method === "GET" ? null : request.body,
    signal: request.signal,
  });
}

function withoutBody(response: Response): Response {
  void response.body?.cancel();
  return new Response(null, { status: response.status, headers: response.headers });
}
