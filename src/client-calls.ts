/** What the parts of the typed client stand on. */
export interface PageOptions {
  limit?: number;
  cursor?: string | null;
}

export type Query = Record<string, string | number | boolean | null | undefined>;

export interface Sent {
  query: Query;
  /** A body in JSON. */
  json?: string;
  /** A body in JSON Lines. */
  lines?: Blob | ReadableStream<Uint8Array> | string;
}

/** Both throw PicClientError for an answer that is not 2xx. @param path below /api/v1/admin */
export interface ApiCalls {
  call<T>(method: string, path: string, sent?: { body?: unknown; query?: Query }): Promise<T>;
  /** The answer, unread. */
  send(method: string, path: string, sent: Sent): Promise<Response>;
}

/**
 * One segment of a path. Nothing, and dots, which an address would leave out together with the segment
 * before them, become the name of nothing: else `members.delete(app, "..")` would delete the app.
 */
export function part(text: string): string {
  return /^\.{0,2}$/.test(text) ? "%25" : encodeURIComponent(text);
}
