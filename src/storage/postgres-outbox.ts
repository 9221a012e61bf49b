/**
 * The outbox on PostgreSQL. Differs because several servers claim at once: rows that another one is
 * claiming are skipped, leases are told by the database's clock and end by it, and a row whose
 * lease has ended was left behind by its holder.
 */
import { leaseMs, leaseRenewMs } from "../domain/limits.ts";
import { claimedColumns } from "./outbox.ts";
import type { OutboxEngine } from "./port.ts";
import { sql } from "./sql.ts";

const now = sql<never>`(extract(epoch from clock_timestamp()) * 1000)::bigint`;

/** Not by due_at, which is when the lease ends. */
const rowOf: OutboxEngine["rowOf"] = ({ event_id, trigger_id }) =>
  sql<never>`event_id = ${event_id} and trigger_id = ${trigger_id}`;

export const postgresOutbox: OutboxEngine = {
  leaseRenewMs,
  claimsInMemory: false,
  claim: ({ app_id, owner, limit }) => sql`update outbox
    set lease_owner = ${owner}, due_at = ${now} + ${leaseMs}, fence = fence + 1,
      crashes = crashes + case when lease_owner is null then 0 else 1 end
    where (event_id, trigger_id) in (
      select event_id, trigger_id from outbox where app_id = ${app_id} and due_at <= ${now}
      order by due_at, event_id, trigger_id limit ${limit} for update skip locked)
    returning ${claimedColumns}`,
  // Locked: a claim skips it, and a claim that came first changes the fence before this reads it.
  rowOf,
  holdLease: (held) => sql`select fence from outbox
    where ${rowOf(held)} and fence = ${held.fence} for update`,
  dueIn: (ms) => sql<never>`${now} + ${ms}`,
  msUntilDue: (app_id) => sql<{ ms: number | null }>`select greatest(0, due_at - ${now}) as ms
    from outbox where app_id = ${app_id} order by due_at limit 1`,
  clampWaits: () => null,
};
