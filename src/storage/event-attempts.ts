/**
 * Attempts that failed, of deliveries that wait or that are dead letters: why a retry was needed. They go
 * when the delivery succeeds, or with its letter.
 */
import type { EventAttempt } from "../domain/dead-letters.ts";
import type { DeliveryKey } from "../domain/events.ts";
import { attemptsShownMax } from "../domain/limits.ts";
import type { Database, Reader, Tx } from "./port.ts";
import { sql } from "./sql.ts";

interface AttemptRow extends Omit<EventAttempt, "error"> {
  error: string | null;
}

const columns = sql`event_id, trigger_id, number, app_id, execution_id, status, error, started_at,
  duration_ms`;

/** Throws PicError `conflict` when the delivery has an attempt of this number. */
export async function insertAttempt(tx: Tx, attempt: EventAttempt): Promise<void> {
  const { error } = attempt;
  await tx.run(sql`insert into event_attempts (${columns})
    values (${attempt.event_id}, ${attempt.trigger_id}, ${attempt.number}, ${attempt.app_id},
      ${attempt.execution_id}, ${attempt.status}, ${error === null ? null : JSON.stringify(error)},
      ${attempt.started_at}, ${attempt.duration_ms})`);
}

/** Of one delivery, the newest `attemptsShownMax`, oldest first. */
export async function listAttempts(
  r: Reader,
  app_id: string,
  { event_id, trigger_id }: DeliveryKey,
): Promise<EventAttempt[]> {
  const rows = await r.all(sql<AttemptRow>`select ${columns} from event_attempts
    where event_id = ${event_id} and trigger_id = ${trigger_id} and app_id = ${app_id}
    order by number desc limit ${attemptsShownMax}`);
  return rows.reverse().map(toAttempt);
}

export async function deleteAttempts(tx: Tx, { event_id, trigger_id }: DeliveryKey): Promise<void> {
  await tx.run(
    sql`delete from event_attempts where event_id = ${event_id} and trigger_id = ${trigger_id}`,
  );
}

/**
 * Deletes at most `limit` attempts, and as many results of `tx`, of deliveries that are neither waiting nor
 * dead letters: those of a script that was deleted. Resolves to how many there were.
 */
export async function purgeLeftovers(db: Database, limit: number): Promise<number> {
  const attempts = await db.scan(sql<DeliveryKey & { number: number }>`
    select a.event_id, a.trigger_id, a.number from event_attempts as a
    where (a.event_id, a.trigger_id) not in (select event_id, trigger_id from outbox)
      and not exists (select 1 from dead_letters as d
        where d.event_id = a.event_id and d.trigger_id = a.trigger_id)
    limit ${limit}`);
  const results = await db.scan(sql<DeliveryKey & { ordinal: number }>`
    select r.event_id, r.trigger_id, r.ordinal from tx_results as r
    where (r.event_id, r.trigger_id) not in (select event_id, trigger_id from outbox)
      and not exists (select 1 from dead_letters as d
        where d.event_id = r.event_id and d.trigger_id = r.trigger_id)
    limit ${limit}`);
  if (attempts.length + results.length === 0) return 0;
  // A delivery that is settled does not come back: what was left over still is.
  await db.tx(async (tx) => {
    for (const { event_id, trigger_id, number } of attempts) {
      await tx.run(sql`delete from event_attempts
        where event_id = ${event_id} and trigger_id = ${trigger_id} and number = ${number}`);
    }
    for (const { event_id, trigger_id, ordinal } of results) {
      await tx.run(sql`delete from tx_results
        where event_id = ${event_id} and trigger_id = ${trigger_id} and ordinal = ${ordinal}`);
    }
  });
  return attempts.length + results.length;
}

function toAttempt(row: AttemptRow): EventAttempt {
  return {
    event_id: row.event_id,
    trigger_id: row.trigger_id,
    number: row.number,
    app_id: row.app_id,
    execution_id: row.execution_id,
    status: row.status,
    error: row.error === null ? null : (JSON.parse(row.error) as EventAttempt["error"]),
    started_at: row.started_at,
    duration_ms: row.duration_ms,
  };
}
