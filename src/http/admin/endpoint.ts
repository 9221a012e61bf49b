/**
 * One declaration of a call: its address, who may, what goes in, what comes out, how it can fail.
 * It gives the types of the handler, validation and authorisation; the documentation reads it too.
 *
 * A handler gets what was checked, calls one service and returns a reply. Credentials are judged
 * before a byte of the body is read.
 */
import type { Action } from "../../domain/access.ts";
import type { Actor } from "../../domain/accounts.ts";
import type { ErrorCode } from "../../domain/errors.ts";
import { adminBodyBytesMax, anonymousBodyBytesMax, importBytesMax } from "../../domain/limits.ts";
import type { PageRequest } from "../../domain/pages.ts";
import type { Schema } from "../../schema/arktype.ts";
import { tokenOf } from "./authentication.ts";
import { readChunks, readJson } from "./body.ts";
import { checked, readPage, readQuery } from "./validation.ts";

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
export type Listener = "public" | "admin";

/** JSON Lines: one value on each line, made and taken while it is on its way. */
export const linesType = "application/x-ndjson";
export type MediaType = "application/json" | typeof linesType;

/** What a handler is given. */
export interface Call<Body, Query> {
  actor: Actor;
  params: Readonly<Record<string, string>>;
  body: Body;
  query: Query;
  /** For lists: from `limit` and `cursor`. */
  page: PageRequest;
  listener: Listener;
  remote_address: string;
  request_id: string;
  /** Aborted when the caller has gone away. */
  signal: AbortSignal;
}

/** A call that anybody may make has no actor, only a place that it comes from. */
export type AnonymousCall<Body, Query> = Omit<Call<Body, Query>, "actor"> & {
  from: {
    address: string;
    request_id: string;
    /** As the program there calls itself; "" when it does not. */
    user_agent: string;
    /** The credential that came along; nobody has looked whether it is good. */
    presented: string | null;
  };
};

/** What a handler of JSON Lines is given: the bytes, which nobody has looked at. */
export type LinesCall<Query> = Omit<Call<undefined, Query>, "body"> & {
  chunks: AsyncIterable<Uint8Array>;
};

export interface Reply<Output> {
  status: 200 | 201 | 204;
  body?: Output;
  headers?: Record<string, string>;
}

/** An answer in JSON Lines. Whoever does not read it to its end calls `return` of the chunks. */
export interface LinesReply {
  status: 200;
  chunks: Pick<AsyncGenerator<Uint8Array>, "next" | "return">;
  headers: Record<string, string>;
}

interface Declaration<Body, Query, Output> {
  /** The stable name of the call, `noun.verb`: the operationId of the document. */
  operation: string;
  method: Method;
  /** Below /api/v1/admin; `:name` stands for a segment. */
  path: string;
  summary: string;
  input?: {
    body?: Schema<Body>;
    query?: Schema<Query>;
    /** Members of the body that hold any JSON value: nothing inside of them is judged here. */
    values?: readonly string[];
    /** Members, however deep in the body, that may be empty lists. */
    lists?: readonly string[];
    /** Of the body. Absent: what a single script needs. */
    bytesMax?: number;
  };
  /** Absent: 204. */
  output?: Schema<Output>;
  /** What the answer says when something new was made; absent: 200. */
  status?: 201;
  /** What it can fail with besides what any call can. */
  errors: readonly ErrorCode[];
}

/** A declared call without its types, as the app registers it. */
export interface Endpoint {
  operation: string;
  method: Method;
  path: string;
  summary: string;
  /** Null: anybody may. */
  action: Action | null;
  /** Of JSON Lines: of each line. */
  body: Schema<unknown> | null;
  bodyType: MediaType;
  bodyBytesMax: number;
  query: Schema<unknown> | null;
  /** Of JSON Lines: of each line. */
  output: Schema<unknown> | null;
  outputType: MediaType;
  /** Of the answer to a call that succeeds. */
  status: 200 | 201 | 204;
  errors: readonly ErrorCode[];
  /** Reads and checks the input, then runs the handler. Throws PicError. */
  run: (request: Request, caller: Caller) => Promise<Reply<unknown> | LinesReply>;
}

/** Who calls, and from where. */
export interface Caller {
  /** Null only for calls that anybody may make. */
  actor: Actor | null;
  /**
   * Once more whether they may, when some time has passed since that was last asked; resolves to the actor as
   * they are then. For whoever has waited for a piece of the body, which takes as long as its sender likes.
   * Throws PicError as the call itself would.
   */
  judgedAgain: () => Promise<Actor | null>;
  params: Readonly<Record<string, string>>;
  listener: Listener;
  remote_address: string;
  request_id: string;
}

/** Declares a call that needs a session. */
export function endpoint<Body = undefined, Query = undefined, Output = undefined>(
  declaration: Declaration<Body, Query, Output> & {
    action: Action;
    handle: (call: Call<Body, Query>) => Promise<Reply<Output>>;
  },
): Endpoint {
  return erase(declaration, declaration.action, (call, actor) =>
    declaration.handle({ ...call, actor: present(actor) }),
  );
}

/** Declares a call whose body is JSON Lines, and too long to be held: the handler reads it. */
export function importEndpoint<Query, Output>(
  declaration: Omit<Declaration<never, Query, Output>, "input"> & {
    action: Action;
    /** Of each line, for the document: whoever reads the lines checks them. */
    line: Schema<unknown>;
    query: Schema<Query>;
    handle: (call: LinesCall<Query>) => Promise<Reply<Output>>;
  },
): Endpoint {
  const { line, query, action, handle, ...rest } = declaration;
  const erased = erase({ ...rest, input: { query } }, action, () => {
    throw new Error("A call with JSON Lines was run without them");
  });
  return {
    ...erased,
    body: line,
    bodyType: linesType,
    bodyBytesMax: importBytesMax,
    run: async (request, caller) => {
      const call = callOf(request, caller, query);
      const chunks = judgedBody(readChunks(request), caller);
      return handle({ ...call, actor: present(caller.actor), chunks });
    },
  };
}

/** Declares a call whose answer is JSON Lines, made while the caller reads it. */
export function exportEndpoint<Query>(
  declaration: Omit<Declaration<never, Query, never>, "input" | "output" | "status"> & {
    action: Action;
    query: Schema<Query>;
    /** Of each line, for the document. */
    line: Schema<unknown>;
    handle: (call: Omit<Call<undefined, Query>, "body">) => Promise<LinesReply>;
  },
): Endpoint {
  const { line, query, action, handle, ...rest } = declaration;
  const erased = erase({ ...rest, input: { query } }, action, () => {
    throw new Error("A call that answers JSON Lines was run for something else");
  });
  return {
    ...erased,
    output: line,
    outputType: linesType,
    status: 200,
    run: async (request, caller) => {
      const call = callOf(request, caller, query);
      return judgedReply(await handle({ ...call, actor: present(caller.actor) }), caller);
    },
  };
}

/** An import takes as long as its sender likes: it goes on for as long as they may. */
async function* judgedBody(
  chunks: AsyncIterable<Uint8Array>,
  { judgedAgain }: Caller,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    await judgedAgain();
    yield chunk;
  }
}

/** As judgedBody, for what somebody takes their time to read. */
function judgedReply({ chunks, ...reply }: LinesReply, { judgedAgain }: Caller): LinesReply {
  const next = async (): Promise<IteratorResult<Uint8Array>> => {
    try {
      await judgedAgain();
    } catch (error) {
      await chunks.return(undefined);
      throw error;
    }
    return chunks.next();
  };
  return { ...reply, chunks: { next, return: (value) => chunks.return(value) } };
}

/** Declares a call that anybody may make. Its body is small. */
export function anonymousEndpoint<Body = undefined, Query = undefined, Output = undefined>(
  declaration: Declaration<Body, Query, Output> & {
    handle: (call: AnonymousCall<Body, Query>) => Promise<Reply<Output>>;
  },
): Endpoint {
  return erase(declaration, null, (call) => declaration.handle(call));
}

export function ok<Output>(body: Output, headers?: Record<string, string>): Reply<Output> {
  return headers === undefined ? { status: 200, body } : { status: 200, body, headers };
}

/** @param path of the new thing, below /api/v1/admin */
export function created<Output>(path: string, body: Output): Reply<Output> {
  return { status: 201, body, headers: { location: `/api/v1/admin${path}` } };
}

export function none(headers?: Record<string, string>): Reply<undefined> {
  return headers === undefined ? { status: 204 } : { status: 204, headers };
}

/** All that a call can fail with: what any call can, and what it declares. */
export function errorsOf(declared: Endpoint): ReadonlySet<ErrorCode> {
  const { action, body, path, errors } = declared;
  return new Set<ErrorCode>([
    "malformed_request",
    "invalid",
    "unavailable",
    "internal",
    ...(action === null ? [] : (["unauthenticated", "forbidden"] as const)),
    ...(path.includes(":") ? (["not_found"] as const) : []),
    ...(body === null ? [] : (["body_too_large", "unsupported_media_type"] as const)),
    ...errors,
  ]);
}

function erase<Body, Query, Output>(
  declaration: Declaration<Body, Query, Output>,
  action: Action | null,
  handle: (call: AnonymousCall<Body, Query>, actor: Actor | null) => Promise<Reply<Output>>,
): Endpoint {
  const body = declaration.input?.body ?? null;
  const query = declaration.input?.query ?? null;
  const { values, lists, bytesMax: ownBytesMax } = declaration.input ?? {};
  const bytesMax = ownBytesMax ?? (action === null ? anonymousBodyBytesMax : adminBodyBytesMax);
  return {
    operation: declaration.operation,
    method: declaration.method,
    path: declaration.path,
    summary: declaration.summary,
    action,
    body,
    bodyType: "application/json",
    bodyBytesMax: bytesMax,
    query,
    output: declaration.output ?? null,
    outputType: "application/json",
    status: declaration.output === undefined ? 204 : (declaration.status ?? 200),
    errors: declaration.errors,
    run: async (request, caller) => {
      const call = {
        ...callOf(request, caller, query),
        from: placeOf(request, caller),
        // undefined stands for "none declared" in the types of the handler
        body: (body === null
          ? undefined
          : checked(body, await readJson(request, bytesMax), { values, lists })) as Body,
      };
      return handle(call, body === null ? caller.actor : await caller.judgedAgain());
    },
  };
}

/** All of a call but who makes it and its body. */
function callOf<Query>(request: Request, caller: Caller, schema: Schema<Query> | null) {
  const given = readQuery(request.url);
  const { actor: _, judgedAgain: __, ...where } = caller;
  return {
    ...where,
    signal: request.signal,
    // undefined stands for "none declared" in the types of the handler
    query: checked(schema, given) as Query,
    page: readPage(given),
  };
}

function placeOf(request: Request, caller: Caller): AnonymousCall<never, never>["from"] {
  return {
    address: caller.remote_address,
    request_id: caller.request_id,
    user_agent: request.headers.get("user-agent") ?? "",
    presented: tokenOf(request, caller.listener).token,
  };
}

function present(actor: Actor | null): Actor {
  if (actor === null) throw new Error("A call that needs a session was run without one");
  return actor;
}
