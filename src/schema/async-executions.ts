/** What a caller of an asynchronous route is told. */
import { type } from "./arktype.ts";

/** The body of its 202. */
export interface WireAccepted {
  execution_id: string;
  status_url: string;
}

const asyncResponse = type({
  headers: type({ "[string]": "string" }),
  body: "string | null",
  truncated: "boolean",
});

export const asyncExecution = type({
  execution_id: "string",
  status: "'pending' | 'success' | 'failed'",
  attempts: "number",
  status_code: "number | null",
  created_at: "string",
  finished_at: "string | null",
  response: asyncResponse.or("null"),
});
export type WireAsyncExecution = typeof asyncExecution.infer;
