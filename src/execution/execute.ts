/**
 * The part that a request and a delivery share: from a slot of the gate to what is durable, and the
 * record of it.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { BindingContext, DeliveryContext } from "../domain/bindings.ts";
import { PicError } from "../domain/errors.ts";
import type { Invocation } from "../domain/executions.ts";
import type { SandboxPool } from "../sandbox/api.ts";
import type { Database } from "../storage/port.ts";
import type { InvocationRequest } from "./api.ts";
import { type Ending, endingOf, notDurable, notRun, serverError, statusCodeOf } from "./endings.ts";
import type { Gate } from "./gate.ts";
import type { FinishedEvent } from "./recording.ts";
import type { ExecutionRecords } from "./records.ts";
import type { Runnable, ScriptCatalog } from "./scripts.ts";

export interface InvokerOptions {
  catalog: Pick<ScriptCatalog, "cached" | "get">;
  gate: Gate;
  pool: Pick<SandboxPool, "run">;
  db: Pick<Database, "durable" | "isDurable">;
  records: Pick<ExecutionRecords, "admits" | "add">;
  clock: Clock;
  log: Logger;
  newId: () => string;
  /** `1.0`: what scripts see as ctx.sdkVersion. */
  sdkVersion: string;
}

export interface Run {
  input: RunInput;
  script: Runnable;
  execution_id: string;
  started_at: number;
  /** On the monotonic clock. */
  began_at: number;
}

/** What the record says of why it ran. */
export interface RunInput {
  invocation: Invocation;
  request_id: string;
  request: InvocationRequest | null;
  event?: FinishedEvent;
  signal: AbortSignal | null;
}

/**
 * Never rejects. What a caller waits for resolves when all that the execution saw and wrote is durable. A
 * delivery does not wait: nobody is told of it but by its settlement, which is a later commit of
 * the same log and cannot be durable without it. On a card whose sync takes 10 ms, waiting kept each slot
 * for as long.
 */
export function execute(
  options: InvokerOptions,
  run: Run,
  ctx: string,
  delivery: DeliveryContext | null,
): Promise<Ending> {
  const { pool, db, log } = options;
  const { script } = run;
  const cx: BindingContext = {
    app_id: script.app_id,
    script_id: script.script_id,
    execution_id: run.execution_id,
    delivery,
    seen: { seq: script.seen_seq },
  };
  const running = pool.run({
    cx,
    program_id: script.program_id,
    loadProgram: script.loadProgram,
    input: ctx,
    limits: script.limits,
    deadline: run.began_at + script.limits.timeout_ms,
  });
  const whenDurable = (ending: Ending): Ending | Promise<Ending> =>
    delivery !== null || db.isDurable(cx.seen) ? ending : durable(options, cx, ending);
  return running.then(
    (outcome) => whenDurable(endingOf(outcome)),
    (error) => whenDurable(notRun(error, log, run.execution_id)),
  );
}

/** Failed executions wait, too: what they wrote stays, and nobody must hear of it too early. */
async function durable(
  { db, log }: InvokerOptions,
  { seen }: BindingContext,
  ending: Ending,
): Promise<Ending> {
  try {
    await db.durable(seen);
    return ending;
  } catch (error) {
    log.error("the database was lost before a response could leave", { error });
    return notDurable(ending, error);
  }
}

/** Hands the record over, if it is to be kept. */
export function record(options: InvokerOptions, run: Run, ending: Ending, endedAt: number): void {
  const { input, script } = run;
  const { outcome, failure } = ending;
  if (!options.records.admits(script.script_id, ending.status, endedAt)) return;
  options.records.add({
    id: run.execution_id,
    app_id: script.app_id,
    script_id: script.script_id,
    script_name: script.name,
    version: script.version,
    modules: script.modules,
    request_id: input.request_id,
    invocation: input.invocation,
    status: ending.status,
    status_code: failure === null ? (outcome?.status_code ?? 0) : statusCodeOf(failure.code),
    started_at: run.started_at,
    duration_ms: endedAt - run.began_at,
    request: input.request,
    event: input.event ?? null,
    outcome,
    error:
      outcome?.error == null && failure !== null
        ? serverError(failure, outcome, script.limits)
        : null,
    abandoned: input.signal?.aborted === true,
  });
}

/** Throws PicError `not_found` for a module. */
export function runnable(script: Runnable): Runnable {
  if (script.kind === "endpoint") return script;
  throw new PicError("not_found", "This script is a module; modules are not executed");
}
