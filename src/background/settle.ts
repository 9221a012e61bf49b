/**
 * What becomes of a delivery after an attempt, and the statements that make it so.
 *
 *   claimed ─┬→ done      the row is deleted
 *            ├→ returned  nobody is to blame: it waits shortly, the attempt does not count
 *            ├→ retry     it failed, and waits as its policy says
 *            └→ dead      it failed for the last time: a dead letter, and its handlers are told
 *
 * Each is one transaction, whose first statement names the fence of the claim: once somebody else has
 * claimed the row, nothing of it happens. So a settlement may be tried again, also when nobody knows
 * whether the last try succeeded.
 *
 * A dead-letter handler gets one attempt, and no letter of its own: what it was told of is marked.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { DeadLetter, DeliveryError } from "../domain/dead-letters.ts";
import { type Delivery, retryDelayMs } from "../domain/events.ts";
import {
  deliveryBusyWaitMs,
  deliveryCrashesMax,
  eventDepthMax,
  recordBriefChars,
} from "../domain/limits.ts";
import { eventJson } from "../execution/ctx.ts";
import type { DeliveryReport } from "../execution/delivery.ts";
import { asyncResponse } from "../execution/recording.ts";
import { countAsyncAttempts, finishAsyncExecution } from "../storage/async-executions.ts";
import {
  hasHandlers,
  moveDeadLetter,
  openDeadLetter,
  tellHandlers,
} from "../storage/dead-letters.ts";
import { deleteAttempts, insertAttempt } from "../storage/event-attempts.ts";
import {
  deleteDelivery,
  deleteTxResults,
  outboxChannel,
  returnDelivery,
} from "../storage/outbox.ts";
import type { Database, Tx } from "../storage/port.ts";

export type Verdict =
  | { kind: "done"; report: DeliveryReport }
  | { kind: "returned"; wait_ms: number }
  | { kind: "retry"; report: DeliveryReport; error: DeliveryError; wait_ms: number }
  | { kind: "dead"; report: DeliveryReport; error: DeliveryError };

type Of<K extends Verdict["kind"]> = Extract<Verdict, { kind: K }>;

/** A verdict that is to be written. */
export interface Settlement {
  delivery: Delivery;
  verdict: Verdict;
}

export interface SettleOptions {
  db: Database;
  clock: Clock;
  newId: () => string;
  log: Logger;
}

/** @param random 0 to 1 */
export function judge(
  { attempt, attempt_base, retry }: Delivery,
  report: DeliveryReport,
  random: number,
): Verdict {
  const { counts, error } = report;
  if (error === null) return { kind: "done", report };
  if (!counts) return { kind: "returned", wait_ms: deliveryBusyWaitMs };
  const made = attempt + 1 - attempt_base;
  if (retry === null || made >= retry.max_attempts) return { kind: "dead", report, error };
  return { kind: "retry", report, error, wait_ms: retryDelayMs(retry, made, random) };
}

/** Whether the holders of a delivery have vanished so often that the last one counts as an attempt. */
export function hasCrashedTooOften({ crashes }: Delivery): boolean {
  return crashes >= deliveryCrashesMax;
}

/** What there is to say of a holder that vanished. */
export function reportOfCrash(now: number): DeliveryReport {
  return {
    // Only the holder knew it.
    execution_id: "",
    status: "sandbox_lost",
    counts: true,
    error: {
      status: "sandbox_lost",
      code: "sandbox_lost",
      message: `The server ended ${deliveryCrashesMax} times or more while this was handled`,
    },
    result: null,
    started_at: now,
    duration_ms: 0,
    has_results: true,
  };
}

/**
 * Writes a settlement. Resolves false, having done nothing, when the lease was lost. Sends its first
 * statement at once, so that several settlements of one transaction need not wait for each other.
 * @param now on the clock that waits are told by
 */
export function settle(
  tx: Tx,
  options: SettleOptions,
  { delivery, verdict }: Settlement,
  now: number,
): Promise<boolean> {
  switch (verdict.kind) {
    case "done":
      return hasTraces(options, delivery, verdict)
        ? settleDone(tx, options, delivery, verdict)
        : deleteDelivery(tx, options.db.outbox, delivery);
    case "returned": {
      const { attempt } = delivery;
      const { wait_ms } = verdict;
      return returnDelivery(tx, options.db.outbox, { ...delivery, now, attempt, wait_ms });
    }
    case "retry":
      return settleRetry(tx, options, { ...delivery, now }, verdict);
    case "dead":
      return settleDead(tx, options, delivery, verdict);
  }
}

/** Whether more than its row may be left of a delivery that is done. */
function hasTraces(
  options: SettleOptions,
  { source, attempt, fence }: Delivery,
  { report }: Of<"done">,
): boolean {
  // A delivery that nobody has given back or lost before has the fence of its first claim at most.
  const first = options.db.outbox.claimsInMemory ? 0 : 1;
  return source === "route" || report.has_results || attempt > 0 || fence > first;
}

async function settleDone(
  tx: Tx,
  { db, clock }: SettleOptions,
  delivery: Delivery,
  { report }: Of<"done">,
): Promise<boolean> {
  if (!(await deleteDelivery(tx, db.outbox, delivery))) return false;
  const { app_id, event_id, attempt, dead_letter_id } = delivery;
  const now = clock.now();
  await deleteTxResults(tx, delivery);
  if (delivery.source === "route") {
    const { result } = report;
    await finishAsyncExecution(tx, event_id, {
      status: "success",
      attempts: attempt + 1,
      status_code: result?.status_code ?? null,
      response: result === null ? null : asyncResponse(result),
      now,
    });
  }
  if (isReplay(delivery) && dead_letter_id !== null) {
    // Its attempts stay with the letter.
    const letter = { app_id, id: dead_letter_id };
    await moveDeadLetter(tx, letter, { from: ["replaying"], to: "replayed", now });
  } else if (attempt > 0) {
    await deleteAttempts(tx, delivery);
  }
  return true;
}

async function settleRetry(
  tx: Tx,
  { db }: SettleOptions,
  delivery: Delivery & { now: number },
  { report, error, wait_ms }: Of<"retry">,
): Promise<boolean> {
  const attempt = delivery.attempt + 1;
  if (!(await returnDelivery(tx, db.outbox, { ...delivery, attempt, wait_ms }))) return false;
  await noteAttempt(tx, delivery, report, error);
  if (delivery.source === "route") await countAsyncAttempts(tx, delivery.event_id, attempt);
  return true;
}

async function settleDead(
  tx: Tx,
  options: SettleOptions,
  delivery: Delivery,
  { report, error }: Of<"dead">,
): Promise<boolean> {
  if (!(await deleteDelivery(tx, options.db.outbox, delivery))) return false;
  const now = options.clock.now();
  if (delivery.source === "dead_letter") {
    await deleteTxResults(tx, delivery);
    const letter = { app_id: delivery.app_id, id: delivery.dead_letter_id ?? "" };
    await moveDeadLetter(tx, letter, { from: ["open"], to: "handler_failed", now });
    return true;
  }
  await noteAttempt(tx, delivery, report, error);
  const letter = letterOf(delivery, { id: options.newId(), error, now });
  letter.id = await openDeadLetter(tx, letter);
  if (delivery.source === "route") {
    await finishAsyncExecution(tx, delivery.event_id, {
      status: "failed",
      attempts: letter.attempts,
      status_code: report.result?.status_code ?? null,
      response: null,
      now,
    });
  }
  await tell(tx, options, delivery, letter);
  const { app_id, script_id, event_id, trigger_id, source, attempts } = letter;
  const about = { app_id, script_id, event_id, trigger_id, source, attempts };
  const dead_letter_id = letter.id;
  tx.afterCommit(() =>
    options.log.warn("a delivery became a dead letter", { dead_letter_id, ...about }),
  );
  return true;
}

/** A letter that is replayed, as against one that its handler is told of. */
function isReplay({ source, dead_letter_id }: Delivery): boolean {
  return source !== "dead_letter" && dead_letter_id !== null;
}

function noteAttempt(
  tx: Tx,
  { event_id, trigger_id, app_id, attempt }: Delivery,
  { execution_id, status, started_at, duration_ms }: DeliveryReport,
  error: DeliveryError,
): Promise<void> {
  const number = attempt + 1;
  const key = { event_id, trigger_id, number, app_id };
  // 100 attempts at whole messages would be half a megabyte for each delivery.
  const brief = { ...error, message: error.message.slice(0, recordBriefChars) };
  return insertAttempt(tx, {
    ...key,
    execution_id,
    status,
    error: brief,
    started_at,
    duration_ms,
  });
}

function letterOf(
  delivery: Delivery,
  { id, error, now }: { id: string; error: DeliveryError; now: number },
): DeadLetter {
  return {
    id,
    app_id: delivery.app_id,
    event_id: delivery.event_id,
    trigger_id: delivery.trigger_id,
    script_id: delivery.script_id,
    source: delivery.source,
    type: delivery.type,
    state: "open",
    attempts: delivery.attempt + 1,
    error,
    depth: delivery.depth,
    root_execution_id: delivery.root_execution_id,
    event_at: delivery.created_at,
    created_at: now,
    updated_at: now,
    resolved_by: null,
    note: null,
    retry: delivery.retry,
    payload: delivery.payload,
  };
}

/** A delivery of the letter for each of the app's handlers, but for one that would be too deep. */
async function tell(
  tx: Tx,
  { db, log, newId }: SettleOptions,
  delivery: Delivery,
  letter: DeadLetter,
): Promise<void> {
  const { app_id, root_execution_id } = delivery;
  const depth = delivery.depth + 1;
  if (!(await hasHandlers(tx, app_id))) return;
  if (depth > eventDepthMax) {
    const chain = { app_id, root_execution_id, dead_letter_id: letter.id };
    tx.afterCommit(() => log.warn(`a chain of events ended at depth ${eventDepthMax}`, chain));
    return;
  }
  const told = await tellHandlers(tx, {
    app_id,
    event_id: newId(),
    dead_letter_id: letter.id,
    depth,
    root_execution_id,
    now: letter.updated_at,
    payload: payloadOf(delivery, letter),
  });
  if (told > 0) await db.notify(tx, outboxChannel, app_id);
}

/** Put together by hand: the event's payload is JSON text already. */
function payloadOf(
  delivery: Delivery,
  { id, source, type, script_id, trigger_id, attempts, error }: DeadLetter,
): string {
  const fixed = JSON.stringify({
    id,
    source,
    type,
    scriptId: script_id,
    triggerId: trigger_id,
    attempts,
    error,
  });
  return `{"deadLetter":${fixed.slice(0, -1)},"event":${eventJson(delivery, attempts)}}}`;
}
