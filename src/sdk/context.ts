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

/** What every event has. */
export interface EventBase {
  /** The same for every attempt: use it to do a thing once. */
  readonly id: string;
  /** When it happened, ISO 8601. */
  readonly at: string;
  /** 0 for what a request or a clock caused, one more for what its handler causes. */
  readonly depth: number;
  readonly rootExecutionId: string;
  /** 1 for the first. */
  readonly attempt: number;
}

/** A record was written or deleted. */
export interface DataEvent extends EventBase {
  readonly source: "kv" | "docs";
  readonly type: "insert" | "update" | "delete";
  readonly collection: string;
  /** Of a document: its id. */
  readonly key: string;
  /** Null when it was deleted. */
  readonly value: unknown;
  /** Null when there was none. */
  readonly previous: unknown;
}

/** It is time. */
export interface CronEvent extends EventBase {
  readonly source: "cron";
  readonly type: "fire";
  readonly cron: {
    readonly expression: string;
    /** IANA. */
    readonly timezone: string;
    /** The time that it stands for, ISO 8601; of several, the last. */
    readonly tick: string;
    /** More than 1 when ticks were missed. */
    readonly ticks: number;
  };
}

/** The last attempt of a handler has failed. */
export interface DeadLetterEvent extends EventBase {
  readonly source: "dead_letter";
  readonly type: "fire";
  readonly deadLetter: {
    readonly id: string;
    /** Of the event that could not be handled. */
    readonly source: string;
    readonly type: string;
    readonly scriptId: string;
    /** "" for a request of an asynchronous route. */
    readonly triggerId: string;
    readonly attempts: number;
    /** Of the last attempt: how it ended, and what the script said. */
    readonly error: {
      readonly status: string;
      readonly code: string | null;
      readonly message: string;
    };
    /** The event itself. */
    readonly event: Record<string, unknown>;
  };
}

/**
 * What happened, for a handler that a trigger started: `source` tells which of them it is. Later versions
 * add sources, so let a `switch` have a `default`.
 */
export type Event = DataEvent | CronEvent | DeadLetterEvent;

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
