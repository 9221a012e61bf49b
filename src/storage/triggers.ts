/**
 * Triggers. What waits for one is in the outbox, which does not refer to it: who deletes a trigger
 * deletes that, too (services/triggers.ts).
 *
 * A cron trigger is written by two: people change what it is, the scheduler moves `next_at` and
 * `last_at`. Neither writes what belongs to the other, but for `setNextAt`, which begins anew.
 */
import type { RetryPolicy } from "../domain/events.ts";
import { listLimitMax } from "../domain/limits.ts";
import { checkLimit, decodeCursor, type Page, type PageRequest, pageOf } from "../domain/pages.ts";
import {
  type CronOverlap,
  type CronTrigger,
  DATA_OPERATIONS,
  type Trigger,
  type TriggerKind,
} from "../domain/triggers.ts";
import type { Database, Reader, Tx } from "./port.ts";
import { type SqlValue, sql } from "./sql.ts";

/** The channel on which changes of an app's triggers are announced, with the app's id. */
export const triggersChannel = "triggers";

export interface TriggerFilter {
  app_id: string;
  kind?: TriggerKind;
  script_id?: string;
}

/** Columns that are not of the kind are null, the operations 0. */
interface TriggerRow {
  id: string;
  app_id: string;
  script_id: string;
  kind: TriggerKind;
  is_enabled: number;
  collection: string | null;
  on_insert: number;
  on_update: number;
  on_delete: number;
  expression: string | null;
  timezone: string | null;
  overlap: CronOverlap | null;
  next_at: number | null;
  last_at: number | null;
  retry: string | null;
  registered_by: string | null;
  created_at: number;
  updated_at: number;
}

const columns = sql<never>`id, app_id, script_id, kind, is_enabled, collection, on_insert, on_update,
  on_delete, expression, timezone, overlap, next_at, last_at, retry, registered_by, created_at,
  updated_at`;

/** Throws PicError `conflict` when the script is not one of the app. */
export async function insertTrigger(tx: Tx, trigger: Trigger): Promise<void> {
  const row = toRow(trigger);
  const values: SqlValue[] = [
    row.id,
    row.app_id,
    row.script_id,
    row.kind,
    row.is_enabled,
    row.collection,
    row.on_insert,
    row.on_update,
    row.on_delete,
    row.expression,
    row.timezone,
    row.overlap,
    row.next_at,
    row.last_at,
    row.retry,
    row.registered_by,
    row.created_at,
    row.updated_at,
  ];
  await tx.run(sql`insert into triggers (${columns}) values ${sql.list(values)}`);
}

export async function getTrigger(r: Reader, id: string): Promise<Trigger | null> {
  const row = await r.get(sql<TriggerRow>`select ${columns} from triggers where id = ${id}`);
  return row && toTrigger(row);
}

/** Oldest first. */
export async function listTriggers(
  db: Database,
  filter: TriggerFilter,
  page: PageRequest,
): Promise<Page<Trigger>> {
  checkLimit(page.limit);
  const [at, id] =
    page.cursor === null
      ? [Number.MIN_SAFE_INTEGER, ""]
      : decodeCursor(page.cursor, ["number", "string"]);
  const kind = filter.kind === undefined ? sql.empty : sql<never>`and kind = ${filter.kind}`;
  const script =
    filter.script_id === undefined ? sql.empty : sql<never>`and script_id = ${filter.script_id}`;
  const rows = await db.scan(sql<TriggerRow>`select ${columns} from triggers
    where app_id = ${filter.app_id} ${kind} ${script} and (created_at, id) > (${at}, ${id})
    order by created_at, id limit ${page.limit + 1}`);
  return pageOf(rows, page.limit, { item: toTrigger, key: (row) => [row.created_at, row.id] });
}

/** Every trigger of an app, oldest first. */
export async function triggersOfApp(r: Reader, app_id: string): Promise<Trigger[]> {
  const rows = await r.all(sql<TriggerRow>`select ${columns} from triggers
    where app_id = ${app_id} order by created_at, id`);
  return rows.map(toTrigger);
}

/**
 * Writes all but what never changes (id, app, kind, who made it and when) and what the scheduler
 * moves. Resolves to the trigger as it then is, or null when there was none.
 */
export async function updateTrigger(tx: Tx, trigger: Trigger): Promise<Trigger | null> {
  const row = toRow(trigger);
  const stored = await tx.get(sql<TriggerRow>`update triggers set script_id = ${row.script_id},
      is_enabled = ${row.is_enabled}, collection = ${row.collection}, on_insert = ${row.on_insert},
      on_update = ${row.on_update}, on_delete = ${row.on_delete}, expression = ${row.expression},
      timezone = ${row.timezone}, overlap = ${row.overlap}, retry = ${row.retry},
      updated_at = ${row.updated_at}
    where id = ${row.id} and kind = ${row.kind} returning ${columns}`);
  return stored && toTrigger(stored);
}

/** For a cron trigger whose ticks are other ones now. */
export async function setNextAt(tx: Tx, id: string, next_at: number | null): Promise<void> {
  await tx.run(sql`update triggers set next_at = ${next_at} where id = ${id} and kind = 'cron'`);
}

/** Resolves false when there was none. */
export async function deleteTrigger(tx: Tx, id: string): Promise<boolean> {
  return (await tx.run(sql`delete from triggers where id = ${id}`)).changes > 0;
}

export async function countTriggersOfApp(r: Reader, app_id: string): Promise<number> {
  const row = await r.get(
    sql<{ count: number }>`select count(*) as count from triggers where app_id = ${app_id}`,
  );
  return row?.count ?? 0;
}

export async function countTriggersOfScript(r: Reader, script_id: string): Promise<number> {
  const row = await r.get(
    sql<{ count: number }>`select count(*) as count from triggers where script_id = ${script_id}`,
  );
  return row?.count ?? 0;
}

/** Enabled cron triggers whose tick has come, the longest due first, at most `listLimitMax`. */
export async function dueTriggers(r: Reader, now: number): Promise<CronTrigger[]> {
  const rows = await r.all(sql<TriggerRow>`select ${columns} from triggers
    where kind = 'cron' and is_enabled = 1 and next_at <= ${now}
    order by next_at, id limit ${listLimitMax}`);
  return rows.map((row) => toTrigger(row) as CronTrigger);
}

/** The next tick of all cron triggers that are enabled, epoch ms; null when there is none. */
export async function nextCronAt(r: Reader): Promise<number | null> {
  const row = await r.get(sql<{ at: number | null }>`select min(next_at) as at from triggers
    where kind = 'cron' and is_enabled = 1`);
  return row?.at ?? null;
}

/**
 * Takes a cron trigger from one tick to the next. False when it is not at `expected_next_at`: another
 * scheduler fired it, or somebody changed, disabled or deleted it.
 */
export async function fireCron(
  tx: Tx,
  id: string,
  move: { expected_next_at: number; next_at: number | null; last_at: number | null },
): Promise<boolean> {
  const { changes } = await tx.run(sql`update triggers
    set next_at = ${move.next_at}, last_at = ${move.last_at}
    where id = ${id} and kind = 'cron' and is_enabled = 1 and next_at = ${move.expected_next_at}`);
  return changes > 0;
}

/**
 * Until this transaction ends, no other one makes, changes or deletes triggers of this app. After
 * `lockRoutes` and before `lockImports`, where these are taken, too.
 */
export async function lockTriggers(tx: Tx, app_id: string): Promise<void> {
  await tx.lock(`triggers:${app_id}`);
}

function toRow(trigger: Trigger): TriggerRow {
  const row: TriggerRow = {
    id: trigger.id,
    app_id: trigger.app_id,
    script_id: trigger.script_id,
    kind: trigger.kind,
    is_enabled: trigger.is_enabled ? 1 : 0,
    collection: null,
    on_insert: 0,
    on_update: 0,
    on_delete: 0,
    expression: null,
    timezone: null,
    overlap: null,
    next_at: null,
    last_at: null,
    retry: null,
    registered_by: trigger.registered_by,
    created_at: trigger.created_at,
    updated_at: trigger.updated_at,
  };
  if (trigger.kind === "dead_letter") return row;
  row.retry = JSON.stringify(trigger.retry);
  if (trigger.kind === "cron") {
    const { expression, timezone, overlap, next_at, last_at } = trigger;
    return { ...row, expression, timezone, overlap, next_at, last_at };
  }
  const { collection, operations } = trigger;
  const on = (operation: (typeof operations)[number]) => (operations.includes(operation) ? 1 : 0);
  return {
    ...row,
    collection,
    on_insert: on("insert"),
    on_update: on("update"),
    on_delete: on("delete"),
  };
}

/** The schema says which columns a kind has. */
function toTrigger(row: TriggerRow): Trigger {
  const base = {
    id: row.id,
    app_id: row.app_id,
    script_id: row.script_id,
    is_enabled: row.is_enabled === 1,
    registered_by: row.registered_by,
    created_at: row.created_at,
    updated_at: row.updated_at,
  };
  if (row.kind === "dead_letter") return { ...base, kind: row.kind };
  const retry = JSON.parse(row.retry as string) as RetryPolicy;
  if (row.kind === "cron") {
    return {
      ...base,
      kind: row.kind,
      expression: row.expression as string,
      timezone: row.timezone as string,
      overlap: row.overlap as CronOverlap,
      retry,
      next_at: row.next_at,
      last_at: row.last_at,
    };
  }
  const operations = DATA_OPERATIONS.filter((operation) => row[`on_${operation}`] === 1);
  return { ...base, kind: row.kind, collection: row.collection as string, operations, retry };
}
