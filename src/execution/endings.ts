/** How an execution can end, and what its caller and its record are told of it. */
import type { Logger } from "../base/log.ts";
import { type ErrorCode, PicError } from "../domain/errors.ts";
import type { ExecutionStatus, GuestError } from "../domain/executions.ts";
import { type ScriptLimits, sandboxRetryAfterS } from "../domain/limits.ts";
import { ModuleUnavailable } from "../domain/modules.ts";
import type { Outcome } from "../sandbox/api.ts";
import type { InvocationResult } from "./api.ts";

/** How an execution ended, for its caller and for its record. */
export interface Ending {
  status: ExecutionStatus;
  outcome: Outcome | null;
  /** What the server itself has against it; null when the outcome says it all. */
  failure: PicError | null;
}

export type Failed = Ending & { failure: PicError };

export function endingOf(outcome: Outcome): Ending {
  const failure = failureOf(outcome);
  const status = failure !== null && outcome.status === "success" ? "error" : outcome.status;
  return { status, outcome, failure };
}

/** The gate took nobody in. */
export function refused(error: unknown): Failed {
  if (!(error instanceof PicError)) throw error;
  return { status: "overloaded", outcome: null, failure: error };
}

/** There is no outcome: the pool is stopping, a program did not load, or there is a defect. */
export function notRun(error: unknown, log: Logger, executionId: string): Failed {
  if (error instanceof PicError) {
    const status = error.code === "unavailable" ? "sandbox_lost" : "error";
    return { status, outcome: null, failure: error };
  }
  log.error("an execution failed inside the server", { error, execution_id: executionId });
  const failure = new PicError("internal", "Internal error", { cause: error });
  return { status: "error", outcome: null, failure };
}

/** The database was lost before what the execution wrote was certain. */
export function notDurable(ending: Ending, cause: unknown): Failed {
  const failure = new PicError("unavailable", "The database is unavailable", {
    retry_after_s: sandboxRetryAfterS,
    cause,
  });
  return { ...ending, status: "error", failure };
}

export function resultOf(executionId: string, outcome: Outcome): InvocationResult {
  return {
    execution_id: executionId,
    status_code: outcome.status_code,
    headers: outcome.headers,
    body_kind: outcome.body_kind,
    body: outcome.body,
  };
}

/** What the author reads where the script itself said nothing: which limit it was, and how high. */
export function serverError(
  failure: PicError,
  outcome: Outcome | null,
  limits: ScriptLimits,
): GuestError {
  const { name, code } = failure;
  if (failure instanceof ModuleUnavailable) {
    return { name, message: failure.reason, stack: "", code };
  }
  const limit = outcome?.status === "timeout" ? "timeout_ms" : (outcome?.budget ?? null);
  const why = limit === null ? "" : `: ${limit} is ${limits[limit]}`;
  return { name, message: failure.message + why, stack: "", code };
}

/** For the record: what the gateway answers to these codes (http/errors.ts decides). */
export function statusCodeOf(code: ErrorCode): number {
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
