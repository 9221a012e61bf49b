/**
 * The outbox on SQLite. Differs because one process has the database: nobody else claims, so that a claim
 * is only noted in memory and writes nothing. Measured with batches of 8: the update that took a lease
 * cost 11 µs for each delivery, half of all that a delivery costs here, and moved it in the index.
 *
 * What was under way when a server ended is known from the note that its dispatcher keeps along with each
 * of its transactions (see noteHeld in outbox.ts).
 */
import { deliveryBusyWaitMs } from "../domain/limits.ts";
import { claimedColumns } from "./outbox.ts";
import type { OutboxEngine } from "./port.ts";
import { sql } from "./sql.ts";

/** A claim does not move a row, and only the start changes when one is due (clampWaits). */
const rowOf: OutboxEngine["rowOf"] = ({ app_id, due_at, event_id, trigger_id }) =>
  sql<never>`app_id = ${app_id} and due_at = ${due_at} and event_id = ${event_id}
    and trigger_id = ${trigger_id}`;

const longestWait = sql<never>`coalesce(json_extract(retry, '$.max_ms'), ${deliveryBusyWaitMs})`;

export const sqliteOutbox: OutboxEngine = {
  leaseRenewMs: null,
  claimsInMemory: true,
  claim: ({ app_id, now, limit, held }) => sql`select ${claimedColumns} from outbox
    where app_id = ${app_id} and due_at <= ${now}
    order by due_at, event_id, trigger_id limit ${limit + held}`,
  rowOf,
  holdLease: (held) => sql`select fence from outbox
    where ${rowOf(held)} and fence = ${held.fence}`,
  dueIn: (ms, now) => sql<never>`${now + ms}`,
  // What is due now is held, or it would have been claimed.
  msUntilDue: (app_id, now) => sql<{ ms: number | null }>`select min(due_at) - ${now} as ms
    from outbox where app_id = ${app_id} and due_at > ${now}`,
  // A wait is at most twice the policy's longest, with all of the jitter.
  clampWaits: (now) => sql`update outbox set due_at = ${now} + 2 * ${longestWait}
    where due_at > ${now} and due_at > ${now} + 2 * ${longestWait}`,
};
