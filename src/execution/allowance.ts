/**
 * What the records of a script's failures may take of the disk. All failures are recorded, and anybody
 * may call a route that fails: at 15 KB of headers a record, strangers wrote 40 MB a second onto the
 * card. So a script has an allowance of bytes, a token bucket; beyond it a failure is recorded in brief.
 */
import type { LogEntry } from "../domain/executions.ts";
import {
  recordBriefChars,
  recordFailureBytesMax,
  recordFailureBytesPerSecondMax,
  recordScriptsMax,
} from "../domain/limits.ts";
import type { FinishedExecution } from "./recording.ts";

interface Bucket {
  bytes: number;
  /** On the monotonic clock. */
  filled_at: number;
}

export class FailureAllowance {
  readonly #scripts = new Map<string, Bucket>();

  /** Takes the bytes of one record. False: it is to be recorded in brief. */
  takes(scriptId: string, bytes: number, monotonicNow: number): boolean {
    const bucket = this.#scripts.get(scriptId) ?? this.#remember(scriptId, monotonicNow);
    const earned = ((monotonicNow - bucket.filled_at) / 1_000) * recordFailureBytesPerSecondMax;
    bucket.bytes = Math.min(recordFailureBytesMax, bucket.bytes + earned);
    bucket.filled_at = monotonicNow;
    if (bucket.bytes < bytes) return false;
    bucket.bytes -= bytes;
    return true;
  }

  #remember(scriptId: string, monotonicNow: number): Bucket {
    const [oldest] = this.#scripts.keys();
    if (this.#scripts.size >= recordScriptsMax && oldest !== undefined) {
      this.#scripts.delete(oldest);
    }
    const bucket = { bytes: recordFailureBytesMax, filled_at: monotonicNow };
    this.#scripts.set(scriptId, bucket);
    return bucket;
  }
}

/** The same failure without what makes records large; a log line says so. */
export function brief(finished: FinishedExecution): FinishedExecution {
  const { request, event, outcome } = finished;
  const left: LogEntry = {
    level: "warn",
    message: "Recorded in brief: this script fails too often to keep all of it",
    fields: null,
    at: finished.started_at,
  };
  return {
    ...finished,
    request: request && {
      ...request,
      path: request.path.slice(0, recordBriefChars),
      headers: {},
      query: {},
      queries: {},
      params: {},
      rest: "",
      body_json: "null",
      body_base64: null,
    },
    event: event && { ...event, payload: null },
    outcome: outcome && {
      ...outcome,
      headers: {},
      body: "",
      logs: [left],
      logs_dropped: outcome.logs_dropped + outcome.logs.length,
      error: outcome.error && {
        ...outcome.error,
        message: outcome.error.message.slice(0, recordBriefChars),
        stack: outcome.error.stack.slice(0, recordBriefChars),
      },
    },
  };
}
