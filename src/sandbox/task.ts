/**
 * A task is one job on its way through the pool: where it is, what it has done so far, how it ends.
 *
 * waiting (queue, penalty box or program being loaded) → on a seat → settled, once. A task may leave
 * its seat and wait again (stolen or retried): `attempt` tells what belongs to an earlier seat.
 */
import type { Budget } from "../domain/executions.ts";
import type { Job, Outcome } from "./api.ts";
import { FrameError, splitPayload } from "./frames.ts";
import type { DoneHeader, Program } from "./protocol.ts";
import type { Share } from "./share.ts";

/** A host call that waits for its turn. */
export interface WaitingCall {
  call: number;
  name: string;
  args: string;
}

export class Task {
  attempt = 0;
  /** Loaded, but not yet sent to the child that will hold it. */
  program: Program | null = null;
  /** When its RUN was sent, monotonic. */
  sentAt = 0;
  cancelled = false;
  /** Guest code has run, as far as the parent has seen. */
  entered = false;
  /** A host call began that a second run would repeat. */
  effects = false;
  hostCalls = 0;
  callsInFlight = 0;
  waitingCalls: WaitingCall[] = [];
  retried = false;
  stolen = false;
  /** The child's answer, while host calls that were not awaited still run. */
  finished: Outcome | null = null;
  settled = false;

  /** It counts in its app's share. */
  #ahead = false;

  constructor(
    readonly job: Job,
    readonly share: Share,
    private readonly resolve: (outcome: Outcome) => void,
    private readonly reject: (error: unknown) => void,
  ) {}

  settle(outcome: Outcome): void {
    if (this.settled) return;
    this.settled = true;
    this.waits();
    this.waitingCalls = [];
    this.resolve(outcome);
  }

  fail(error: unknown): void {
    if (this.settled) return;
    this.settled = true;
    this.waits();
    this.waitingCalls = [];
    this.reject(error);
  }

  /** Its RUN was sent. */
  sent(now: number): void {
    this.sentAt = now;
    this.#ahead = true;
    this.share.ahead += 1;
  }

  /** It keeps nobody waiting at the moment: it is over, or waits for something itself. */
  waits(): void {
    if (!this.#ahead) return;
    this.#ahead = false;
    this.share.ahead -= 1;
  }

  /** Forgets what the attempt on the last seat did; only for a task without effects. */
  startOver(): void {
    this.waits();
    this.attempt += 1;
    this.cancelled = false;
    this.hostCalls = 0;
    this.callsInFlight = 0;
    this.waitingCalls = [];
  }

  /** The outcome when the child cannot tell it. There is no error: the script itself said nothing. */
  outcome(status: "timeout" | "sandbox_lost" | "budget_exceeded", budget?: Budget): Outcome {
    return {
      status,
      budget: budget ?? null,
      status_code: 0,
      headers: {},
      body_kind: "none",
      body: "",
      error: null,
      logs: [],
      logs_dropped: 0,
      cpu_ms: 0,
      memory_bytes: 0,
      host_calls: this.hostCalls,
      entered: this.entered,
    };
  }
}

/** What a DONE frame says. Throws FrameError when it does not have the form of one. */
export function outcomeOfDone(payload: string, task: Task): Outcome {
  const { header, text } = splitPayload(payload);
  const done = JSON.parse(header) as DoneHeader;
  if (typeof done.status !== "string" || !Array.isArray(done.logs)) {
    throw new FrameError("a DONE frame without a status");
  }
  return {
    status: done.status,
    budget: done.budget ?? null,
    status_code: done.status_code,
    headers: done.headers,
    body_kind: done.body_kind,
    body: text,
    error: done.error,
    logs: done.logs,
    logs_dropped: done.logs_dropped,
    cpu_ms: done.cpu_ms,
    memory_bytes: done.memory_bytes,
    host_calls: done.host_calls,
    // A cancel that came before the child's turn is the one way to end without having begun.
    entered: task.entered || done.status !== "timeout" || done.cpu_ms > 0 || done.host_calls > 0,
  };
}
