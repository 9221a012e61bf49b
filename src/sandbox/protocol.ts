/**
 * Frames between the server and a sandbox child, over one socket pair.
 *
 * A frame is `u32 length of what follows | u8 type | u32 execution | payload`, little-endian; all
 * text is UTF-8, everything structured is JSON text. Execution numbers are made by the parent, never
 * reused within a child's life, and are therefore the generation too: what arrives for an unknown
 * number is dropped.
 */
import type { Budget, ExecutionStatus, GuestError, LogEntry } from "../domain/executions.ts";
import type { ScriptLimits } from "../domain/limits.ts";

/** Raised when a frame changes its meaning: both ends are the same executable, so it is for people. */
export const wireVersion = "1";

// parent → child
export const FRAME_PROGRAM = 1; // payload: JSON Program; execution 0
export const FRAME_RUN = 2; // payload: JSON RunHeader, newline, the ctx JSON text
export const FRAME_REPLY = 3; // payload: the call's number, "+" or "-" (answer or error), newline, JSON text (value, or { name, message, code })
export const FRAME_CANCEL = 4; // payload: empty: give the execution up, answer DONE with `timeout`
export const FRAME_FORGET = 5; // payload: JSON string, the program id; execution 0
export const FRAME_REST = 6; // payload: empty: nothing to do: warm up, collect garbage; execution 0

// child → parent
export const FRAME_READY = 64; // payload: JSON { pid, warm }; sent again with warm true; execution 0
export const FRAME_CALL = 65; // payload: the call's number, a space, the name, newline, JSON text of the arguments
export const FRAME_DONE = 66; // payload: JSON DoneHeader, newline, the body text
export const FRAME_STATS = 67; // payload: JSON ChildStats; execution 0
// The child has dropped the program (its cache is bounded) or never had it: payload JSON string, the
// program id; execution: the run that waits for it. The parent answers with FRAME_PROGRAM.
export const FRAME_NEED = 68;

// Calls and replies are the most frequent of all: their headers are not worth JSON.

export function callHeader(call: number, name: string): string {
  return `${call} ${name}`;
}

/** `call` is NaN, or not whole, for a header that is none. */
export function readCallHeader(header: string): { call: number; name: string } {
  const at = header.indexOf(" ");
  return { call: at === -1 ? Number.NaN : Number(header.slice(0, at)), name: header.slice(at + 1) };
}

export function replyHeader(call: number, ok: boolean): string {
  return `${call}${ok ? "+" : "-"}`;
}

export function readReplyHeader(header: string): { call: number; ok: boolean } {
  return { call: Number(header.slice(0, -1)), ok: header.endsWith("+") };
}

/** What is loaded into an image. `id` names the content: the same id is always the same program. */
export interface Program {
  id: string;
  app_id: string;
  /** Shown in stack traces: the script's name. Also the key of the entry in `modules`. */
  entry: string;
  /** Module name → compiled JavaScript. Holds at least the entry. */
  modules: Record<string, string>;
}

export interface RunHeader {
  program: string;
  limits: ScriptLimits;
  /** Wall time that is left, milliseconds. */
  timeout_ms: number;
}

/** How the body text of a DONE frame is meant. */
export type BodyKind =
  | "none" // no body
  | "json" // the text is the JSON to send
  | "text" // the text is the body itself
  | "base64"; // the text is the body in base64

/** How an execution ended, as the child saw it. */
export interface DoneHeader {
  status: Exclude<ExecutionStatus, "overloaded" | "sandbox_lost">;
  /** For `budget_exceeded`. */
  budget?: Budget;
  /** For `success`: the status code and headers the script asked for. */
  status_code: number;
  headers: Record<string, string>;
  body_kind: BodyKind;
  error: GuestError | null;
  logs: LogEntry[];
  logs_dropped: number;
  cpu_ms: number;
  memory_bytes: number;
  host_calls: number;
}

export interface ChildStats {
  /** Private memory of the child process. */
  private_bytes: number;
  programs: number;
  executions: number;
}

/**
 * The shared cell: 64 bytes of an unlinked file that parent and child map. It tells the parent which
 * execution runs guest code right now without the child's help. Int32 indexes:
 */
export const CELL_BYTES = 64;
/** The execution number whose guest code runs; 0 when none does. Written last on entry. */
export const CELL_RUNNING = 0;
/** Entries into guest code so far: tells two entries of one execution apart. */
export const CELL_ENTRIES = 1;
/** CPU the running execution had used before this entry, milliseconds, rounded up. */
export const CELL_CPU_MS = 2;
/** Bit 0: this execution has ever entered guest code in this child (kept for the newest one). */
export const CELL_ENTERED = 3;
