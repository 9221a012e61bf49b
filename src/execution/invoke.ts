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
 * are passed as text, and nothing waits that does not have to. Deliveries are in deliver.ts.
 */
import { PicError, type PicErrorDetails } from "../domain/errors.ts";
import type { Outcome } from "../sandbox/api.ts";
import type { InvocationInput, InvocationResult, Invoker } from "./api.ts";
import { ctxJson } from "./ctx.ts";
import { deliver } from "./deliver.ts";
import { type Ending, type Failed, refused, resultOf } from "./endings.ts";
import { execute, type InvokerOptions, type Run, record, runnable } from "./execute.ts";
import type { GateClass } from "./gate.ts";

export function createInvoker(options: InvokerOptions): Invoker {
  const sdkVersionJson = JSON.stringify(options.sdkVersion);
  return {
    invoke: (input) => invoke(options, sdkVersionJson, input),
    deliver: (delivery) => deliver(options, sdkVersionJson, delivery),
  };
}

const gateClass: GateClass = "request";

async function invoke(
  options: InvokerOptions,
  sdkVersionJson: string,
  input: InvocationInput,
): Promise<InvocationResult> {
  const { catalog, gate, clock } = options;
  const script = runnable(catalog.cached(input.script_id) ?? (await catalog.get(input.script_id)));
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
    const ctx = ctxJson(run.execution_id, run.script.ctx_json, sdkVersionJson, input);
    const ending = await execute(options, run, ctx, null);
    const failure = settle(options, run, ending);
    if (failure !== null) throw failure;
    return resultOf(run.execution_id, ending.outcome as Outcome);
  } finally {
    gate.leave(script.app_id, gateClass);
  }
}

/** Hands the record over; the error for the caller, if any, with the execution's id. */
function settle(options: InvokerOptions, run: Run, ending: Failed): PicError;
function settle(options: InvokerOptions, run: Run, ending: Ending): PicError | null;
function settle(options: InvokerOptions, run: Run, ending: Ending): PicError | null {
  record(options, run, ending, options.clock.monotonic());
  const { failure } = ending;
  return failure === null ? null : withExecutionId(failure, run.execution_id);
}

function withExecutionId(failure: PicError, executionId: string): PicError {
  const details: PicErrorDetails = {
    ...failure.details,
    extra: { ...failure.details.extra, execution_id: executionId },
  };
  return new PicError(failure.code, failure.message, details);
}
