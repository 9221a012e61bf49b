/**
 * One attempt to run the handler of a delivery: as a request is run (invoke.ts), with a report instead
 * of an answer. What the handler wrote is durable no later than the settlement that follows the report.
 *
 *   gate → script (cache) → ctx → sandbox → report, record → sink
 *
 * An attempt counts unless nobody is to blame for it: there was no slot, the server is stopping or the
 * database is away, or the sandbox was lost before guest code was entered. What counts includes what no
 * code of the guest's had a part in, such as a missing module: else it would be tried for ever.
 *
 * A request of an asynchronous route is a delivery, too: it sees `ctx.request` as if its caller waited,
 * and the id that the caller was given is that of its first attempt.
 */
import type { DeliveryContext } from "../domain/bindings.ts";
import type { DeliveryError } from "../domain/dead-letters.ts";
import { PicError } from "../domain/errors.ts";
import type { Delivery } from "../domain/events.ts";
import type { ExecutionStatus, GuestError } from "../domain/executions.ts";
import type { Outcome } from "../sandbox/api.ts";
import type { DeferredRequest } from "./api.ts";
import { ctxJson, eventCtxJson } from "./ctx.ts";
import type { DeliveryReport } from "./delivery.ts";
import { type Ending, type Failed, notRun, refused, resultOf, serverError } from "./endings.ts";
import { execute, type InvokerOptions, type Run, record, runnable } from "./execute.ts";
import type { GateClass } from "./gate.ts";
import { type FinishedEvent, recordedError } from "./recording.ts";
import { secretValues } from "./redaction.ts";

const gateClass: GateClass = "event";

interface Begin {
  execution_id: string;
  started_at: number;
  /** On the monotonic clock. */
  began_at: number;
}

/** Never throws. */
export async function deliver(
  options: InvokerOptions,
  sdkVersionJson: string,
  delivery: Delivery,
): Promise<DeliveryReport> {
  const { gate, log } = options;
  const { app_id } = delivery;
  const begin = (): Begin => beginOf(options, delivery);
  try {
    const admission = gate.acquire(app_id, gateClass, null);
    if (admission !== null) await admission;
  } catch (error) {
    // Saturation leaves no record: nothing ran, and it will.
    return reportOfNothing(options, begin(), refused(error));
  }
  const began = begin();
  try {
    return await attempt(options, sdkVersionJson, delivery, began);
  } catch (error) {
    return reportOfNothing(options, began, notRun(error, log, began.execution_id));
  } finally {
    gate.leave(app_id, gateClass);
  }
}

/** Throws what the catalog throws, and for a payload that is none. */
async function attempt(
  options: InvokerOptions,
  sdkVersionJson: string,
  delivery: Delivery,
  begin: Begin,
): Promise<DeliveryReport> {
  const { catalog, clock } = options;
  const { script_id } = delivery;
  const script = runnable(catalog.cached(script_id) ?? (await catalog.get(script_id)));
  const input = inputOf(delivery);
  const run: Run = { input, script, ...begin };
  const { execution_id } = begin;
  const ctx =
    input.request === null
      ? eventCtxJson(execution_id, script.ctx_json, sdkVersionJson, delivery)
      : ctxJson(execution_id, script.ctx_json, sdkVersionJson, {
          ...input,
          request: input.request,
        });
  const context = contextOf(delivery);
  const ending = await execute(options, run, ctx, context);
  // Not yet the execution that the event's id stands for: that comes with the next attempt.
  if (!hasBegun(ending) && execution_id === delivery.event_id) run.execution_id = options.newId();
  const endedAt = clock.monotonic();
  record(options, run, ending, endedAt);
  return {
    execution_id: run.execution_id,
    status: ending.status,
    counts: counts(ending),
    error: errorOf(run, ending),
    result: ending.failure === null ? resultOf(execution_id, ending.outcome as Outcome) : null,
    started_at: begin.started_at,
    duration_ms: endedAt - begin.began_at,
    has_results: context.has_results,
  };
}

function beginOf({ clock, newId }: InvokerOptions, delivery: Delivery): Begin {
  // The attempt of a holder that vanished may have left a record under the event's own id.
  const isFirst = delivery.attempt === 0 && delivery.crashes === 0;
  return {
    execution_id: delivery.source === "route" && isFirst ? delivery.event_id : newId(),
    started_at: clock.now(),
    began_at: clock.monotonic(),
  };
}

function contextOf(delivery: Delivery): DeliveryContext {
  const { app_id, due_at, event_id, trigger_id, fence, depth, root_execution_id } = delivery;
  const claim = { app_id, due_at, event_id, trigger_id, fence };
  return { ...claim, depth, root_execution_id, has_results: false };
}

type DeliveryInput = Run["input"] & { event: FinishedEvent };

function inputOf(delivery: Delivery): DeliveryInput {
  const { event_id, source, type, trigger_id, depth, payload } = delivery;
  const event = { id: event_id, source, type, attempt: delivery.attempt + 1, trigger_id, depth };
  if (source !== "route") {
    const named = { ...event, payload: source === "dead_letter" ? briefLetter(payload) : payload };
    const request_id = event_id;
    return { invocation: "event", request_id, request: null, event: named, signal: null };
  }
  const { request_id, ...request } = JSON.parse(payload) as DeferredRequest;
  // The record has the request itself, without its credentials.
  const unnamed = { ...event, payload: null };
  return { invocation: "route", request_id, request, event: unnamed, signal: null };
}

/** The letter's event may be a request, with credentials; whoever looks finds it under the letter's id. */
function briefLetter(payload: string): string {
  // inside of a string the quotes would be escaped
  const at = payload.indexOf(',"event":');
  return at === -1 ? payload : `${payload.slice(0, at)}}}`;
}

/** Nothing was run, so that there is nothing to record. */
function reportOfNothing(
  { clock }: InvokerOptions,
  { execution_id, started_at, began_at }: Begin,
  ending: Failed,
): DeliveryReport {
  const { status, failure } = ending;
  return {
    execution_id,
    status,
    counts: counts(ending),
    error: { status, code: failure.code, message: failure.message },
    result: null,
    started_at,
    duration_ms: clock.monotonic() - began_at,
    has_results: false,
  };
}

function counts(ending: Ending): boolean {
  return ending.status !== "overloaded" && !isAway(ending.failure) && hasBegun(ending);
}

function hasBegun({ status, outcome }: Ending): boolean {
  return status !== "sandbox_lost" || outcome?.entered === true;
}

/** Whether the server or its database is not there, also when that kept a module from being read. */
function isAway(error: unknown): boolean {
  if (!(error instanceof PicError)) return false;
  return error.code === "unavailable" || isAway(error.details.cause);
}

/** What the record says in brief; null for a success. */
function errorOf(
  { input, script }: Run,
  { status, outcome, failure }: Ending,
): DeliveryError | null {
  if (failure === null) return null;
  const thrown: GuestError = outcome?.error ?? serverError(failure, outcome, script.limits);
  const secrets = input.request === null ? [] : secretValues(input.request);
  return briefError(status, failure, recordedError(thrown, secrets));
}

function briefError(status: ExecutionStatus, failure: PicError, error: GuestError): DeliveryError {
  return { status, code: error.code ?? failure.code, message: error.message };
}
