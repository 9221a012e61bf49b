/**
 * Asynchronous executions, as their callers may ask after them. A row is inserted with its delivery and
 * finished when that is settled, each in one transaction. Tokens are stored as digests alone.
 */
import type { AsyncEnding, AsyncExecution } from "../domain/async-executions.ts";
import type { Database, Reader, Seen, Tx } from "./port.ts";
import { sql } from "./sql.ts";

interface AsyncRow extends Omit<AsyncExecution, "response"> {
  response: string | null;
}

/** Throws PicError `conflict` when there is one of that id, or no such script in the app. */
export async function insertAsyncExecution(
  tx: Tx,
  {
    id,
    app_id,
    script_id,
    token_hash,
    created_at,
  }: Pick<AsyncExecution, "id" | "app_id" | "script_id" | "created_at"> & { token_hash: string },
): Promise<void> {
  await tx.run(sql`insert into async_executions (id, app_id, script_id, token_hash, status, attempts,
      status_code, created_at, finished_at, response)
    values (${id}, ${app_id}, ${script_id}, ${token_hash}, 'pending', 0, null, ${created_at}, null,
      null)`);
}

/** Null for an unknown id and for another's token alike. */
export async function getAsyncExecution(
  r: Reader,
  { id, token_hash }: { id: string; token_hash: string },
  seen?: Seen,
): Promise<AsyncExecution | null> {
  const row = await r.get(
    sql<AsyncRow>`select id, app_id, script_id, status, attempts, status_code, created_at,
        finished_at, response
      from async_executions where id = ${id} and token_hash = ${token_hash}`,
    seen,
  );
  return row && toAsyncExecution(row);
}

/** Notes failed attempts while there will be another. False when it has finished, or is gone. */
export async function countAsyncAttempts(tx: Tx, id: string, attempts: number): Promise<boolean> {
  const { changes } = await tx.run(sql`update async_executions set attempts = ${attempts}
    where id = ${id} and status = 'pending'`);
  return changes > 0;
}

/** False when it has succeeded before, or is gone: what is past retention is missed by nobody. */
export async function finishAsyncExecution(
  tx: Tx,
  id: string,
  { status, attempts, status_code, response, now }: AsyncEnding,
): Promise<boolean> {
  const json = response === null ? null : JSON.stringify(response);
  const { changes } = await tx.run(sql`update async_executions
    set status = ${status}, attempts = ${attempts}, status_code = ${status_code},
      finished_at = ${now}, response = ${json}
    where id = ${id} and status <> 'success'`);
  return changes > 0;
}

/** How many of an app have not finished, counted up to `limit`. */
export async function countPendingAsyncExecutions(
  db: Database,
  app_id: string,
  limit: number,
): Promise<number> {
  const [row] = await db.scan(sql<{ pending: number }>`select count(*) as pending from (
    select id from async_executions where app_id = ${app_id} and status = 'pending'
    limit ${limit}) as found`);
  return row?.pending ?? 0;
}

/**
 * Deletes at most `limit` that have finished and were begun before `epoch_ms`; how many they were. Their
 * ids are of that time, too: they are UUIDs of version 7.
 */
export async function deleteAsyncExecutionsBefore(
  tx: Tx,
  epoch_ms: number,
  limit: number,
): Promise<number> {
  const { changes } = await tx.run(sql`delete from async_executions where id in (
    select id from async_executions where id < ${idPrefix(epoch_ms)} and created_at < ${epoch_ms}
      and status <> 'pending'
    order by id limit ${limit})`);
  return changes;
}

/** Of an app's in this status, deletes at most `limit` that are older than the newest `keep`; how many. */
export async function trimAsyncExecutions(
  tx: Tx,
  trim: { app_id: string; status: "success" | "failed"; keep: number; limit: number },
): Promise<number> {
  const { changes } = await tx.run(sql`delete from async_executions where id in (
    select id from async_executions where app_id = ${trim.app_id} and status = ${trim.status}
    order by id desc limit ${trim.limit} offset ${trim.keep})`);
  return changes;
}

/** What all ids made before a time sort before: the first 48 bits are the time (RFC 9562 §5.7). */
function idPrefix(epoch_ms: number): string {
  const hex = Math.max(0, epoch_ms).toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}`;
}

function toAsyncExecution(row: AsyncRow): AsyncExecution {
  return {
    id: row.id,
    app_id: row.app_id,
    script_id: row.script_id,
    status: row.status,
    attempts: row.attempts,
    status_code: row.status_code,
    created_at: row.created_at,
    finished_at: row.finished_at,
    response:
      row.response === null ? null : (JSON.parse(row.response) as AsyncExecution["response"]),
  };
}
