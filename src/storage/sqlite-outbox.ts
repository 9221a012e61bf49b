/**
 * The outbox on SQLite. Differs because one process has the database: nobody else claims, and what is
 * leased when it starts was left behind by an earlier boot. So a lease has no end of its own.
 */
import { deliveryBusyWaitMs } from "../domain/limits.ts";
import { outboxColumns } from "./outbox.ts";
import type { OutboxEngine } from "./port.ts";
import { sql } from "./sql.ts";

const never = Number.MAX_SAFE_INTEGER;
const longestWait = sql<never>`coalesce(json_extract(retry, '$.max_ms'), ${deliveryBusyWaitMs})`;

export const sqliteOutbox: OutboxEngine = {
  leaseRenewMs: null,
  claim: ({ app_id, owner, now, limit }) => sql`update outbox
    set lease_owner = ${owner}, due_at = ${never}, fence = fence + 1
    where (event_id, trigger_id) in (
      select event_id, trigger_id from outbox where app_id = ${app_id} and due_at <= ${now}
      order by due_at, event_id, trigger_id limit ${limit})
    returning ${outboxColumns}`,
  holdLease: ({ event_id, trigger_id, fence }) => sql`select fence from outbox
    where event_id = ${event_id} and trigger_id = ${trigger_id} and fence = ${fence}
      and lease_owner is not null`,
  dueIn: (ms, now) => sql<never>`${now + ms}`,
  msUntilDue: (app_id, now) => sql<{ ms: number | null }>`select max(0, min(due_at) - ${now}) as ms
    from outbox where app_id = ${app_id} and due_at < ${never}`,
  voidLeases: sql`update outbox set due_at = 0, lease_owner = null, crashes = crashes + 1
    where lease_owner is not null`,
  // A wait is at most twice the policy's longest, with all of the jitter.
  clampWaits: (now) => sql`update outbox set due_at = ${now} + 2 * ${longestWait}
    where lease_owner is null and due_at > ${now} and due_at > ${now} + 2 * ${longestWait}`,
};
