/**
 * The outbox on PostgreSQL. Differs because several servers claim at once: rows that another one is
 * claiming are skipped, leases are told by the database's clock and end by it, and a row whose
 * lease has ended was left behind by its holder.
 */
import { leaseMs, leaseRenewMs } from "../domain/limits.ts";
import { outboxColumns } from "./outbox.ts";
import type { OutboxEngine } from "./port.ts";
import { sql } from "./sql.ts";

const now = sql<never>`(extract(epoch from clock_timestamp()) * 1000)::bigint`;

export const postgresOutbox: OutboxEngine = {
  leaseRenewMs,
  claim: ({ app_id, owner, limit }) => sql`update outbox
    set lease_owner = ${owner}, due_at = ${now} + ${leaseMs}, fence = fence + 1,
      crashes = crashes + case when lease_owner is null then 0 else 1 end
    where (event_id, trigger_id) in (
      select event_id, trigger_id from outbox where app_id = ${app_id} and due_at <= ${now}
      order by due_at, event_id, trigger_id limit ${limit} for update skip locked)
    returning ${outboxColumns}`,
  dueIn: (ms) => sql<never>`${now} + ${ms}`,
  msUntilDue: (app_id) => sql<{ ms: number | null }>`select greatest(0, min(due_at) - ${now}) as ms
    from outbox where app_id = ${app_id} having count(*) > 0`,
  voidLeases: null,
};
