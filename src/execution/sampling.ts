/**
 * Which executions are kept as records: all failures, and of one script so many successes a second,
 * because an SD card wears. Everything is counted exactly; refusals of a full gate are sampled like
 * successes, since a flood of them is what fills the gate.
 *
 * Rate: a token bucket per script and kind, full at the start, so that a busy script's records
 * spread over the second instead of showing only its first moments.
 */
import type { ExecutionStatus } from "../domain/executions.ts";
import { recordScriptsMax, recordSuccessesPerSecondMax } from "../domain/limits.ts";

export interface ExecutionCounts {
  by_status: Record<ExecutionStatus, number>;
  /** Counted, but not kept. */
  sampled_out: number;
}

interface ScriptState {
  counts: ExecutionCounts;
  successes: Bucket;
  refusals: Bucket;
}

interface Bucket {
  tokens: number;
  /** On the monotonic clock. */
  filled_at: number;
}

export class RecordSampler {
  readonly #scripts = new Map<string, ScriptState>();
  #sampledOut = 0;

  /** Counts an execution that ended at `monotonicNow`, and says whether its record is kept. */
  admits(scriptId: string, status: ExecutionStatus, monotonicNow: number): boolean {
    const script = this.#scripts.get(scriptId) ?? this.#remember(scriptId, monotonicNow);
    script.counts.by_status[status] += 1;
    if (status !== "success" && status !== "overloaded") return true;
    if (takeToken(status === "success" ? script.successes : script.refusals, monotonicNow)) {
      return true;
    }
    script.counts.sampled_out += 1;
    this.#sampledOut += 1;
    return false;
  }

  /** Since the start of the process; null when the script has not run (or long ago). */
  counts(scriptId: string): ExecutionCounts | null {
    return this.#scripts.get(scriptId)?.counts ?? null;
  }

  /** Of all scripts. */
  get sampledOut(): number {
    return this.#sampledOut;
  }

  #remember(scriptId: string, monotonicNow: number): ScriptState {
    if (this.#scripts.size >= recordScriptsMax) {
      const [oldest] = this.#scripts.keys();
      if (oldest !== undefined) this.#scripts.delete(oldest);
    }
    const script: ScriptState = {
      counts: {
        by_status: {
          success: 0,
          error: 0,
          timeout: 0,
          budget_exceeded: 0,
          overloaded: 0,
          sandbox_lost: 0,
        },
        sampled_out: 0,
      },
      successes: { tokens: recordSuccessesPerSecondMax, filled_at: monotonicNow },
      refusals: { tokens: recordSuccessesPerSecondMax, filled_at: monotonicNow },
    };
    this.#scripts.set(scriptId, script);
    return script;
  }
}

function takeToken(bucket: Bucket, now: number): boolean {
  const earned = ((now - bucket.filled_at) / 1_000) * recordSuccessesPerSecondMax;
  bucket.tokens = Math.min(recordSuccessesPerSecondMax, bucket.tokens + earned);
  bucket.filled_at = now;
  if (bucket.tokens < 1) return false;
  bucket.tokens -= 1;
  return true;
}
