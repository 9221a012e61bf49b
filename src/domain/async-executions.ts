/** What the caller of an asynchronous route may ask after. */

/**
 *   pending → success
 *           → failed → success, failed (its dead letter was replayed)
 */
export type AsyncStatus = "pending" | "success" | "failed";

/** What the script answered, shortened like an execution's record. */
export interface AsyncResponse {
  headers: Record<string, string>;
  /** JSON, text, or base64 of what is binary. */
  body: string | null;
  truncated: boolean;
}

export interface AsyncExecution {
  /** That of the delivery's event, and of the execution that is its first attempt. */
  id: string;
  app_id: string;
  script_id: string;
  status: AsyncStatus;
  attempts: number;
  /** Null until it has finished, and when the last attempt brought no answer. */
  status_code: number | null;
  created_at: number;
  finished_at: number | null;
  response: AsyncResponse | null;
}

/** How it ended. */
export interface AsyncEnding {
  status: Exclude<AsyncStatus, "pending">;
  /** Over all replays. */
  attempts: number;
  status_code: number | null;
  response: AsyncResponse | null;
  now: number;
}
