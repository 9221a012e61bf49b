/**
 * The outbox: deliveries that are not settled. What a write, a tick or a request causes is inserted in
 * its own transaction; a holder claims (engines differ, see OutboxEngine), runs the handler, and settles.
 *
 * Invariant: a settling statement names the fence of its claim, and does nothing once the delivery was
 * given back or somebody else has claimed it, as both raise the fence.
 */

import type { Delivery, DeliveryClaim, DeliveryKey, RetryPolicy } from "../domain/events.ts";
import {
  claimedPayloadBytesMax,
  deliveriesDroppedMax,
  deliveryCrashesMax,
} from "../domain/limits.ts";
import type { DataOperation } from "../domain/triggers.ts";
import type { Database, OutboxEngine, Reader, Seen, Tx } from "./port.ts";
import { getSetting, setSetting } from "./settings.ts";
import { sql } from "./sql.ts";

/** The channel on which new deliveries are announced, with their app's id. */
export const outboxChannel = "outbox";

export interface OutboxRow extends Omit<Delivery, "retry"> {
  retry: string | null;
}

const outboxColumns = sql<never>`event_id, trigger_id, app_id, script_id, source, type, depth,
  root_execution_id, created_at, due_at, attempt, attempt_base, crashes, fence, retry, dead_letter_id,
  payload`;

/** What OutboxEngine.claim returns: as payload the empty text, which is no JSON, for a large one. */
export const claimedColumns = sql<never>`event_id, trigger_id, app_id, script_id, source, type, depth,
  root_execution_id, created_at, due_at, attempt, attempt_base, crashes, fence, retry, dead_letter_id,
  case when octet_length(payload) > ${claimedPayloadBytesMax} then '' else payload end as payload`;

/** It was too large to be claimed along with its delivery. */
export function isPayloadLeftOut({ payload }: Delivery): boolean {
  return payload === "";
}

/** Of a delivery that was claimed; null when it is gone. */
export async function readPayload(
  db: Pick<Database, "get" | "outbox">,
  claim: DeliveryClaim,
): Promise<string | null> {
  const row = await db.get(sql<{ payload: string }>`select payload from outbox
    where ${db.outbox.rowOf(claim)}`);
  return row?.payload ?? null;
}

/** A change of data, as it is told to triggers. */
export interface EmittedChange {
  event_id: string;
  app_id: string;
  source: "kv" | "docs";
  type: DataOperation;
  collection: string;
  depth: number;
  root_execution_id: string;
  now: number;
  payload: string;
}

/** A delivery for each trigger that wants the change, but no more than `max`. Resolves to how many there are. */
export async function emitChange(tx: Tx, change: EmittedChange, max: number): Promise<number> {
  const { changes } = await tx.run(sql`insert into outbox (event_id, trigger_id, app_id, script_id,
      source, type, depth, root_execution_id, created_at, due_at, attempt, attempt_base, crashes,
      lease_owner, fence, retry, dead_letter_id, payload)
    select ${change.event_id}, id, app_id, script_id, ${change.source}, ${change.type},
      ${change.depth}, ${change.root_execution_id}, ${change.now}, 0, 0, 0, 0, null, 0, retry, null,
      ${change.payload}
    from triggers where ${wants(change)} limit ${max}`);
  return changes;
}

/**
 * The same, of triggers whose patterns are known to be for the collection. A row at a time, found by its
 * key: that takes SQLite 5 µs, and a statement that may insert several 20 to 60.
 */
export async function emitChangeTo(
  tx: Tx,
  change: EmittedChange,
  trigger_ids: readonly string[],
  max: number,
): Promise<number> {
  const { app_id, source, type } = change;
  let deliveries = 0;
  for (const id of trigger_ids) {
    if (deliveries >= max) break;
    const { changes } = await tx.run(sql`insert into outbox (event_id, trigger_id, app_id,
        script_id, source, type, depth, root_execution_id, created_at, due_at, attempt,
        attempt_base, crashes, lease_owner, fence, retry, dead_letter_id, payload)
      select ${change.event_id}, id, app_id, script_id, ${source}, ${type}, ${change.depth},
        ${change.root_execution_id}, ${change.now}, 0, 0, 0, 0, null, 0, retry, null,
        ${change.payload}
      from triggers where id = ${id} and app_id = ${app_id} and kind = ${source}
        and is_enabled = 1 and case ${type} when 'insert' then on_insert
          when 'update' then on_update else on_delete end = 1`);
    deliveries += changes;
  }
  return deliveries;
}

/** Whether a trigger wants the change. */
export async function isWanted(r: Reader, change: EmittedChange): Promise<boolean> {
  return (await r.get(sql`select id from triggers where ${wants(change)} limit 1`)) !== null;
}

/** The twin of `matchesCollection` in domain/triggers.ts. */
function wants({ app_id, source, type, collection }: EmittedChange) {
  const operation = { insert: onInsert, update: onUpdate, delete: onDelete }[type];
  return sql<never>`app_id = ${app_id} and kind = ${source} and is_enabled = 1 and ${operation}
    and (collection = ${collection} or (substr(collection, length(collection)) = '*'
      and substr(${collection}, 1, length(collection) - 1)
        = substr(collection, 1, length(collection) - 1)))`;
}
const onInsert = sql<never>`on_insert = 1`;
const onUpdate = sql<never>`on_update = 1`;
const onDelete = sql<never>`on_delete = 1`;

/** A new delivery. */
export async function insertDelivery(tx: Tx, delivery: Delivery): Promise<void> {
  const { retry } = delivery;
  await tx.run(sql`insert into outbox (${outboxColumns}, lease_owner)
    values (${delivery.event_id}, ${delivery.trigger_id}, ${delivery.app_id}, ${delivery.script_id},
      ${delivery.source}, ${delivery.type}, ${delivery.depth}, ${delivery.root_execution_id},
      ${delivery.created_at}, ${delivery.due_at}, ${delivery.attempt}, ${delivery.attempt_base},
      ${delivery.crashes}, ${delivery.fence}, ${retry === null ? null : JSON.stringify(retry)},
      ${delivery.dead_letter_id}, ${delivery.payload}, null)`);
}

/** Claimed now, oldest first; large payloads are left out (readPayload). `held` are those of the app that the caller has claimed already. */
export async function claimDeliveries(
  tx: Tx,
  engine: OutboxEngine,
  claim: { app_id: string; owner: string; now: number; limit: number },
  held: readonly DeliveryKey[] = [],
): Promise<Delivery[]> {
  const asked = { ...claim, held: held.length };
  const rows = (await tx.all(engine.claim(asked))) as unknown as OutboxRow[];
  if (!engine.claimsInMemory) return rows.map(toDelivery).sort(byAge);
  const isHeld = ({ event_id, trigger_id }: OutboxRow): boolean =>
    held.some((one) => one.event_id === event_id && one.trigger_id === trigger_id);
  return rows
    .filter((row) => !isHeld(row))
    .slice(0, claim.limit)
    .map(toDelivery)
    .sort(byAge);
}

/**
 * Where claims are in memory: notes what is held from this transaction on, so that a server that ends
 * without a word leaves behind what it was doing. One small row, whatever the number of deliveries.
 */
export async function noteHeld(
  tx: Tx,
  held: readonly Omit<DeliveryClaim, "fence">[],
): Promise<void> {
  const rows = held.map((one) => [one.app_id, one.due_at, one.event_id, one.trigger_id]);
  await setSetting(tx, heldSetting, JSON.stringify(rows));
}

/** At the start: what an earlier process held counts as a crash, and it holds nothing any more. */
export async function recoverHeld(tx: Tx, engine: OutboxEngine): Promise<void> {
  const noted = (await getSetting(tx, heldSetting)) ?? "[]";
  const rows = JSON.parse(noted) as [string, number, string, string][];
  for (const [app_id, due_at, event_id, trigger_id] of rows) {
    await tx.run(sql`update outbox set crashes = crashes + 1, fence = fence + 1
      where ${engine.rowOf({ app_id, due_at, event_id, trigger_id })}`);
  }
  if (rows.length > 0) await noteHeld(tx, []);
}
const heldSetting = "outbox_held";

/**
 * False when the lease was lost; else nobody claims the delivery before the transaction ends. The first
 * step of whatever a handler's `tx` writes.
 */
export async function holdsLease(
  tx: Tx,
  engine: OutboxEngine,
  held: DeliveryClaim,
): Promise<boolean> {
  return (await tx.get(engine.holdLease(held))) !== null;
}

/** Puts the end of a lease off, where it has one. False when it was lost. */
export async function renewLease(
  tx: Tx,
  engine: OutboxEngine,
  held: Held & { lease_ms: number },
): Promise<boolean> {
  if (engine.claimsInMemory) return holdsLease(tx, engine, held);
  const { lease_ms, now } = held;
  const { changes } = await tx.run(sql`update outbox set due_at = ${engine.dueIn(lease_ms, now)}
    where ${engine.rowOf(held)} and fence = ${held.fence}`);
  return changes > 0;
}

/** Removes a delivery. False when the lease was lost. */
export async function deleteDelivery(
  tx: Tx,
  engine: OutboxEngine,
  held: DeliveryClaim,
): Promise<boolean> {
  const { changes } = await tx.run(sql`delete from outbox
    where ${engine.rowOf(held)} and fence = ${held.fence}`);
  return changes > 0;
}

/**
 * Gives a delivery back, to be claimed after `wait_ms`. False when the lease was lost. Once a delivery has
 * crashed too often, `crashes` stays one below the bound, so that each further crash reaches it again.
 */
export async function returnDelivery(
  tx: Tx,
  engine: OutboxEngine,
  held: Held & { attempt: number; wait_ms: number },
): Promise<boolean> {
  const due = held.wait_ms === 0 ? sql<never>`0` : engine.dueIn(held.wait_ms, held.now);
  const { changes } = await tx.run(sql`update outbox
    set attempt = ${held.attempt}, due_at = ${due}, lease_owner = null, fence = fence + 1,
      crashes = case when crashes < ${deliveryCrashesMax} then crashes
        else ${deliveryCrashesMax - 1} end
    where ${engine.rowOf(held)} and fence = ${held.fence}`);
  return changes > 0;
}

interface Held extends DeliveryClaim {
  now: number;
}

/**
 * What waits for a trigger that is deleted is dropped with it, and what its attempts have left, at most
 * `limit` at a time; a letter that was being replayed is open again. Resolves to how many there were.
 */
export async function deleteDeliveriesOfTrigger(
  tx: Tx,
  app_id: string,
  trigger_id: string,
  limit = deliveriesDroppedMax,
): Promise<number> {
  const dropped = await tx.all(sql<{ event_id: string }>`delete from outbox
    where (app_id, due_at, event_id, trigger_id) in (
      select app_id, due_at, event_id, trigger_id from outbox
      where app_id = ${app_id} and trigger_id = ${trigger_id} limit ${limit})
    returning event_id`);
  if (dropped.length === 0) return 0;
  const events = sql.list(dropped.map(({ event_id }) => event_id));
  const settled = sql<never>`trigger_id = ${trigger_id} and event_id in ${events}
    and event_id not in (select event_id from dead_letters
      where trigger_id = ${trigger_id} and event_id in ${events})`;
  await tx.run(sql`delete from event_attempts where ${settled}`);
  await tx.run(sql`delete from tx_results where ${settled}`);
  await tx.run(sql`update dead_letters set state = 'open'
    where trigger_id = ${trigger_id} and event_id in ${events} and state = 'replaying'`);
  return dropped.length;
}

/** How many ticks of a cron trigger wait or run, counted up to `max`: what its `overlap` asks. */
export async function countTicksOfTrigger(
  r: Reader,
  trigger_id: string,
  max: number,
): Promise<number> {
  const row = await r.get(sql<{ count: number }>`select count(*) as count from (
    select 1 as one from outbox where source = 'cron' and trigger_id = ${trigger_id}
    limit ${max}) as waiting`);
  return row?.count ?? 0;
}

/** Apps of which something waits. */
export async function appsWithDeliveries(db: Database): Promise<string[]> {
  // One look into an index for each app: not worth the thread that scans.
  const rows = await db.all(
    sql<{ id: string }>`select id from apps
      where exists (select 1 from outbox where outbox.app_id = apps.id)`,
  );
  return rows.map(({ id }) => id);
}

/** What a `tx` of the handler resolved to in an earlier attempt, as JSON text, or null. */
export async function getTxResult(
  r: Reader,
  { event_id, trigger_id }: DeliveryKey,
  ordinal: number,
  seen?: Seen,
): Promise<string | null> {
  const row = await r.get(
    sql<{ result: string }>`select result from tx_results
      where event_id = ${event_id} and trigger_id = ${trigger_id} and ordinal = ${ordinal}`,
    seen,
  );
  return row?.result ?? null;
}

/** Throws PicError `conflict` when there is one. */
export async function insertTxResult(
  tx: Tx,
  app_id: string,
  { event_id, trigger_id }: DeliveryKey,
  { ordinal, result }: { ordinal: number; result: string },
): Promise<void> {
  await tx.run(sql`insert into tx_results (event_id, trigger_id, ordinal, app_id, result)
    values (${event_id}, ${trigger_id}, ${ordinal}, ${app_id}, ${result})`);
}

export async function deleteTxResults(
  tx: Tx,
  { event_id, trigger_id }: DeliveryKey,
): Promise<void> {
  await tx.run(
    sql`delete from tx_results where event_id = ${event_id} and trigger_id = ${trigger_id}`,
  );
}

function toDelivery(row: OutboxRow): Delivery {
  return { ...row, retry: row.retry === null ? null : (JSON.parse(row.retry) as RetryPolicy) };
}

function byAge(a: Delivery, b: Delivery): number {
  if (a.event_id !== b.event_id) return a.event_id < b.event_id ? -1 : 1;
  return a.trigger_id < b.trigger_id ? -1 : 1;
}
