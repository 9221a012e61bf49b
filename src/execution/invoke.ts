/**
 * One execution from the gate to its record.
 *
 *   script (cache) → gate → ctx → sandbox → durable → answer, record → sink
 *
 * Invariants:
 * - nothing leaves, neither a result nor an error, before all that the execution saw or wrote is
 *   durable;
 * - every slot taken is given back, whatever happens;
 * - the caller learns a code and an execution id; what the script threw is in the record alone;
 * - the record is in the sink when `invoke` settles, so that whoever has the answer can read it.
 *
 * This runs for every request: parts of ctx that do not change are prepared with the script, bodies
 * are passed as text, and nothing waits that does not have to.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { BindingContext } from "../domain/bindings.ts";
import { type ErrorCode, PicError, type PicErrorDetails } from "../domain/errors.ts";
import type { ExecutionStatus, GuestError } from "../domain/executions.ts";
import { sandboxRetryAfterS } from "../domain/limits.ts";
import { ModuleUnavailable } from "../domain/modules.ts";
import type { Outcome, SandboxPool } from "../sandbox/api.ts";
import type { Database } from "../storage/port.ts";
import type { InvocationInput, InvocationResult, Invoker } from "./api.ts";
import { ctxJson } from "./ctx.ts";
import type { Gate, GateClass } from "./gate.ts";
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

export function createInvoker(options: InvokerOptions): Invoker {
  const sdkVersionJson = JSON.stringify(options.sdkVersion);
  return { invoke: (input) => invoke(options, sdkVersionJson, input) };
}

/** How an execution ended, for its caller and for its record. */
interface Ending {
  status: ExecutionStatus;
  outcome: Outcome | null;
  /** What the server itself has against it; null when the outcome says it all. */
  failure: PicError | null;
}

interface Run {
  input: InvocationInput;
  script: Runnable;
  execution_id: string;
  started_at: number;
  /** On the monotonic clock. */
  began_at: number;
}

async function invoke(
  options: InvokerOptions,
  sdkVersionJson: string,
  input: InvocationInput,
): Promise<InvocationResult> {
  const { catalog, gate, clock } = options;
  const script = runnable(catalog.cached(input.script_id) ?? (await catalog.get(input.script_id)));
  const gateClass: GateClass = input.invocation === "event" ? "event" : "request";
  const run: Run = {
    input,
    script,
    execution_id: options.newId(),
    started_at: clock.now(),
    began_at: clock.monotonic(),
  };
  let admission: Promise<void> | null;
  try {
    admission = gate.acquire(script.app_id, gateClass, input.signal);
    if (admission !== null) await admission;
  } catch (error) {
    throw settle(options, run, refused(error));
  }
  try {
    if (admission !== null) {
      // An edit, or a deletion, may have come while this waited.
      run.script = runnable(
        catalog.cached(input.script_id) ?? (await catalog.get(input.script_id)),
      );
      run.began_at = clock.monotonic();
    }
    const ending = await execute(options, sdkVersionJson, run);
    const failure = settle(options, run, ending);
    if (failure !== null) throw failure;
    return resultOf(run.execution_id, ending.outcome as Outcome);
  } finally {
    gate.leave(script.app_id, gateClass);
  }
}

function execute(options: InvokerOptions, sdkVersionJson: string, run: Run): Promise<Ending> {
  const { pool, db, log } = options;
  const { script } = run;
  const cx: BindingContext = {
    app_id: script.app_id,
    script_id: script.script_id,
    execution_id: run.execution_id,
    delivery: null,
    seen: { seq: script.seen_seq },
  };
  const running = pool.run({
    cx,
    program_id: script.program_id,
    loadProgram: script.loadProgram,
    input: ctxJson(run.execution_id, script.ctx_json, sdkVersionJson, run.input),
    limits: script.limits,
    deadline: run.began_at + script.limits.timeout_ms,
  });
  const whenDurable = (ending: Ending): Ending | Promise<Ending> =>
    db.isDurable(cx.seen) ? ending : durable(options, cx, ending);
  return running.then(
    (outcome) => whenDurable(endingOf(outcome)),
    (error) => whenDurable(notRun(error, log, run)),
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
    return { ...ending, status: "error", failure: unavailable(error) };
  }
}

function endingOf(outcome: Outcome): Ending {
  const failure = failureOf(outcome);
  const status = failure !== null && outcome.status === "success" ? "error" : outcome.status;
  return { status, outcome, failure };
}

/** Hands the record over; the error for the caller, if any, with the execution's id. */
function settle(
  options: InvokerOptions,
  run: Run,
  ending: Ending & { failure: PicError },
): PicError;
function settle(options: InvokerOptions, run: Run, ending: Ending): PicError | null;
function settle(options: InvokerOptions, run: Run, ending: Ending): PicError | null {
  const { input, script } = run;
  const { outcome, failure } = ending;
  const endedAt = options.clock.monotonic();
  if (options.records.admits(script.script_id, ending.status, endedAt)) {
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
      outcome,
      error:
        outcome?.error == null && failure !== null ? recordedError(failure, run, outcome) : null,
      abandoned: input.signal?.aborted === true,
    });
  }
  return failure === null ? null : withExecutionId(failure, run.execution_id);
}

function runnable(script: Runnable): Runnable {
  if (script.kind === "endpoint") return script;
  throw new PicError("not_found", "This script is a module; modules are not executed");
}

function resultOf(executionId: string, outcome: Outcome): InvocationResult {
  return {
    execution_id: executionId,
    status_code: outcome.status_code,
    headers: outcome.headers,
    body_kind: outcome.body_kind,
    body: outcome.body,
  };
}

/** What the caller is told of an outcome: never what the script or the system said. */
function failureOf(outcome: Outcome): PicError | null {
  switch (outcome.status) {
    case "success":
      return isFinalStatusCode(outcome.status_code)
        ? null
        : new PicError("script_error", "The script answered with an invalid status code");
    case "error":
      return outcome.error?.code === "module_unavailable"
        ? new PicError("module_unavailable", "A module that the script imports is unavailable")
        : new PicError("script_error", "The script failed");
    case "timeout":
      return new PicError("timeout", "The script did not finish in time");
    case "budget_exceeded":
      return new PicError("budget_exceeded", "The script used up one of its budgets");
    case "sandbox_lost":
      return new PicError("sandbox_lost", "The execution was lost with its sandbox", {
        retry_after_s: sandboxRetryAfterS,
      });
  }
}

/** 1xx are not answers, and HTTP has nothing above 599. */
function isFinalStatusCode(statusCode: number): boolean {
  return Number.isInteger(statusCode) && statusCode >= 200 && statusCode <= 599;
}

function refused(error: unknown): Ending & { failure: PicError } {
  if (!(error instanceof PicError)) throw error;
  return { status: "overloaded", outcome: null, failure: error };
}

/** The pool gave no outcome: it is stopping, a program did not load, or there is a defect. */
function notRun(error: unknown, log: Logger, run: Run): Ending {
  if (error instanceof PicError) {
    const status = error.code === "unavailable" ? "sandbox_lost" : "error";
    return { status, outcome: null, failure: error };
  }
  log.error("an execution failed inside the server", { error, execution_id: run.execution_id });
  const failure = new PicError("internal", "Internal error", { cause: error });
  return { status: "error", outcome: null, failure };
}

function unavailable(cause: unknown): PicError {
  return new PicError("unavailable", "The database is unavailable", {
    retry_after_s: sandboxRetryAfterS,
    cause,
  });
}

function withExecutionId(failure: PicError, executionId: string): PicError {
  const details: PicErrorDetails = {
    ...failure.details,
    extra: { ...failure.details.extra, execution_id: executionId },
  };
  return new PicError(failure.code, failure.message, details);
}

/** What the author reads where the script itself said nothing: which limit it was, and how high. */
function recordedError(failure: PicError, { script }: Run, outcome: Outcome | null): GuestError {
  const { name, code } = failure;
  if (failure instanceof ModuleUnavailable) {
    return { name, message: failure.reason, stack: "", code };
  }
  const limit = outcome?.status === "timeout" ? "timeout_ms" : (outcome?.budget ?? null);
  const why = limit === null ? "" : `: ${limit} is ${script.limits[limit]}`;
  return { name, message: failure.message + why, stack: "", code };
}

/** For the record: what the gateway answers to these codes (http/errors.ts decides). */
function statusCodeOf(code: ErrorCode): number {
  switch (code) {
    case "script_error":
    case "module_unavailable":
      return 502;
    case "timeout":
      return 504;
    case "budget_exceeded":
      return 507;
    case "overloaded":
    case "sandbox_lost":
    case "unavailable":
      return 503;
    default:
      return 500;
  }
}
