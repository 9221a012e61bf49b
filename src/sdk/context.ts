/** The types a handler is written against. Declarations only: nothing of this runs. */

// <declarations>
/** The HTTP request that a handler answers. Every member is always there. */
export interface Request {
  /** Upper-case. */
  readonly method: string;
  /** Lower-case, without the port. */
  readonly host: string;
  /** Begins with "/". */
  readonly path: string;
  /** Names are lower-case. */
  readonly headers: Record<string, string>;
  /** The last value of each name. */
  readonly query: Record<string, string>;
  /** All values of each name. */
  readonly queries: Record<string, string[]>;
  /** What the route's `:names` took, decoded. */
  readonly params: Record<string, string>;
  /** What a prefix route's `*` took, without a leading slash; "" when there is none. */
  readonly rest: string;
  /** Parsed by content type: JSON, form (an object), text (a string); null when empty or binary. */
  // biome-ignore lint/suspicious/noExplicitAny: a body is whatever the caller sent
  readonly body: any;
  /** A binary body in base64; null otherwise. */
  readonly bodyBase64: string | null;
}

/** What happened, for a handler that a trigger started. */
export interface Event {
  /** The same for every attempt: use it to do a thing once. */
  readonly id: string;
  readonly source: string;
  readonly type: "insert" | "update" | "delete" | "fire";
  /** ISO 8601. */
  readonly at: string;
  readonly depth: number;
  readonly rootExecutionId: string;
  /** 1 for the first. */
  readonly attempt: number;
  readonly collection?: string;
  readonly key?: string;
  readonly value?: unknown;
  readonly previous?: unknown;
}

/** What a handler is called with. */
export interface Context {
  readonly executionId: string;
  readonly requestId: string;
  readonly scriptId: string;
  readonly scriptName: string;
  readonly scriptVersion: number;
  readonly appId: string;
  readonly sdkVersion: string;
  readonly invocation: "route" | "execute" | "event";
  /** For "route" and "execute". */
  readonly request: Request;
  /** For "event". */
  readonly event?: Event;
}

/** A result that chooses its status. Any other value is sent as JSON with 200; undefined is 204. */
export interface Response {
  /** 200 to 599. */
  statusCode: number;
  /** One value for each name. */
  headers?: Record<string, string | number>;
  /** JSON; a string is sent as it is when `headers` name a content-type. */
  body?: unknown;
  /** A binary body in base64, instead of `body`. */
  bodyBase64?: string;
}

/** What a script's default export is. */
export type Handler = (ctx: Context) => unknown;
// </declarations>
