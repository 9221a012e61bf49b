/** Every bound of the system, by name. Units come last in a name. */

export interface ScriptLimits {
  memory_mb: number;
  cpu_ms: number;
  timeout_ms: number;
  response_kb: number;
  log_kb: number;
  host_calls: number;
}

export type LimitName = keyof ScriptLimits;

export const LIMIT_DEFAULTS: Readonly<ScriptLimits> = Object.freeze({
  memory_mb: 32,
  cpu_ms: 1_000,
  timeout_ms: 10_000,
  response_kb: 4_096,
  log_kb: 64,
  host_calls: 1_000,
});

/** What an instance admin allows at most, unless configured otherwise. */
export const LIMIT_CEILINGS: Readonly<ScriptLimits> = Object.freeze({
  memory_mb: 64,
  cpu_ms: 30_000,
  timeout_ms: 300_000,
  response_kb: 10_240,
  log_kb: 1_024,
  host_calls: 10_000,
});

/** Below these a script could not even start. */
export const LIMIT_FLOORS: Readonly<ScriptLimits> = Object.freeze({
  memory_mb: 1,
  cpu_ms: 1,
  timeout_ms: 1,
  response_kb: 1,
  log_kb: 0,
  host_calls: 0,
});

export const LIMIT_NAMES = Object.keys(LIMIT_DEFAULTS) as LimitName[];

// HTTP
export const bodyBytesMax = 10 * 1024 * 1024;
export const listLimitMax = 200;
export const listLimitDefault = 50;

// names and texts
export const slugPattern = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
export const nameCharsMax = 128;
export const descriptionCharsMax = 4_096;
export const sourceBytesMax = 1024 * 1024;
export const routePathCharsMax = 1_024;
export const hostCharsMax = 253;
export const usernamePattern = /^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$/;
export const passwordCharsMin = 10;
export const passwordCharsMax = 256;

// the gate
export const gateRunningMax = 32;
export const gateWaitingMax = 128;
export const gateWaitMsMax = 2_000;
/** How much of the gate one app may hold, and what events keep for themselves. */
export const gateAppShare = 0.5;
export const gateEventShare = 0.25;

// the sandbox
/** How long after a limit the parent waits for the child's own answer before it kills it. */
export const killGraceMs = 250;
/** After this silence, what queues behind the running execution is run on the spare. */
export const stealAfterMs = 30;
/** How long an app that caused a kill is kept apart from the others. */
export const penaltyMs = 30_000;
export const childReadyMsMax = 5_000;
export const imageCacheMbDefault = 32;

// key-value data
export const kvKeyBytesMax = 512;
export const kvCollectionBytesMax = 128;
export const kvValueBytesMax = 256 * 1024;
export const kvListLimitMax = 200;

// execution records
export const recordBodyBytesMax = 8 * 1024;
export const recordBufferMax = 2_000;
/** Successes of one script above this many a second are counted, but kept only in part. */
export const recordSuccessesPerSecondMax = 20;
export const logRetentionDaysDefault = 7;
export const logMaxMbDefault = 256;

// sessions and passwords
export const sessionTtlHoursDefault = 24;
export const setupTokenTtlMs = 3_600_000;
export const loginFailuresPerAccountMax = 10;
export const loginFailuresPerAddressMax = 30;
export const loginFailureWindowMs = 15 * 60_000;
export const passwordHashQueueMax = 16;

// the database
export const txMsMax = 10_000;
export const writerQueueMax = 10_000;

// the process
export const drainMsMax = 15_000;
