/**
 * Execution records, in the logs' database. Their ids sort by the time they were made, so that
 * "oldest" is the order of ids and costs no further index on a card that wears.
 */
import type { ExecutionRecord } from "../domain/executions.ts";
import { recordListBytesMax } from "../domain/limits.ts";
import { checkLimit, decodeCursor, type Page, type PageRequest, pageOf } from "../domain/pages.ts";
import type { Database, Reader, Tx } from "./port.ts";
import { sql } from "./sql.ts";

type JsonColumn = "request" | "response" | "logs" | "error" | "event";

interface ExecutionRow extends Omit<ExecutionRecord, JsonColumn | "abandoned"> {
  request: string | null;
  response: string | null;
  logs: string;
  error: string | null;
  event: string | null;
  abandoned: number;
}

const columns = sql`id, app_id, script_id, version, request_id, invocation, status, status_code,
  started_at, duration_ms, cpu_ms, memory_bytes, logs_dropped, abandoned, error, request, response,
  logs, event`;

/** A record that is there already is left as it is. */
export async function appendExecutions(tx: Tx, records: readonly ExecutionRecord[]): Promise<void> {
  for (const record of records) {
    await tx.run(sql`insert into executions (${columns})
      values (${record.id}, ${record.app_id}, ${record.script_id}, ${record.version},
        ${record.request_id}, ${record.invocation}, ${record.status}, ${record.status_code},
        ${record.started_at}, ${record.duration_ms}, ${record.cpu_ms}, ${record.memory_bytes},
        ${record.logs_dropped}, ${record.abandoned ? 1 : 0}, ${toJson(record.error)},
        ${toJson(record.request)}, ${toJson(record.response)}, ${JSON.stringify(record.logs)},
        ${toJson(record.event)})
      on conflict (id) do nothing`);
  }
}

export async function getExecution(r: Reader, id: string): Promise<ExecutionRecord | null> {
  const row = await r.get(sql<ExecutionRow>`select ${columns} from executions where id = ${id}`);
  return row && toRecord(row);
}

/**
 * Newest first. A page may end before `limit` because its records are large: a script decides what it
 * logs, and 200 records of a megabyte each would be its owner's server's end when he looks at them.
 */
export async function listExecutions(
  db: Database,
  filter: { script_id: string },
  page: PageRequest,
): Promise<Page<ExecutionRecord>> {
  checkLimit(page.limit);
  const [at, id] =
    page.cursor === null
      ? [Number.MAX_SAFE_INTEGER, ""]
      : decodeCursor(page.cursor, ["number", "string"]);
  const after = sql<never>`where script_id = ${filter.script_id}
    and (started_at, id) < (${at}, ${id}) order by started_at desc, id desc`;
  const sizes = await db.scan(sql<{ bytes: number }>`select octet_length(logs)
    + coalesce(octet_length(request), 0) + coalesce(octet_length(response), 0)
    + coalesce(octet_length(error), 0) + coalesce(octet_length(event), 0) as bytes
    from executions ${after} limit ${page.limit}`);
  const limit = fitting(sizes);
  if (limit === 0) return { items: [], next_cursor: null };
  const rows = await db.scan(
    sql<ExecutionRow>`select ${columns} from executions ${after} limit ${limit + 1}`,
  );
  return pageOf(rows, limit, { item: toRecord, key: (row) => [row.started_at, row.id] });
}

/** How many of the first fit into a page: at least one, when there is any. */
function fitting(sizes: readonly { bytes: number }[]): number {
  let bytes = 0;
  for (const [index, size] of sizes.entries()) {
    bytes += size.bytes;
    if (bytes > recordListBytesMax) return Math.max(1, index);
  }
  return sizes.length;
}

/**
 * Of the `limit` oldest records, deletes those that started before `epoch_ms`; how many they were.
 * Fewer than `limit` means that nothing older is left.
 */
export async function deleteExecutionsBefore(
  tx: Tx,
  epoch_ms: number,
  limit: number,
): Promise<number> {
  const { changes } = await tx.run(sql`delete from executions where id in (
    select oldest.id from (
      select id, started_at from executions order by id limit ${limit}) as oldest
    where oldest.started_at < ${epoch_ms})`);
  return changes;
}

/** Deletes the `limit` oldest records; how many there were. */
export async function deleteOldestExecutions(tx: Tx, limit: number): Promise<number> {
  const { changes } = await tx.run(sql`delete from executions where id in (
    select id from executions order by id limit ${limit})`);
  return changes;
}

/** Deletes at most `limit` records of a script; how many they were. */
export async function deleteExecutionsOfScript(
  tx: Tx,
  script_id: string,
  limit: number,
): Promise<number> {
  const { changes } = await tx.run(sql`delete from executions where id in (
    select id from executions where script_id = ${script_id}
    order by started_at, id limit ${limit})`);
  return changes;
}

function toRecord(row: ExecutionRow): ExecutionRecord {
  return {
    id: row.id,
    app_id: row.app_id,
    script_id: row.script_id,
    version: row.version,
    request_id: row.request_id,
    invocation: row.invocation,
    status: row.status,
    status_code: row.status_code,
    started_at: row.started_at,
    duration_ms: row.duration_ms,
    cpu_ms: row.cpu_ms,
    memory_bytes: row.memory_bytes,
    request: fromJson<ExecutionRecord["request"]>(row.request),
    event: fromJson<ExecutionRecord["event"]>(row.event),
    response: fromJson<ExecutionRecord["response"]>(row.response),
    logs: JSON.parse(row.logs) as ExecutionRecord["logs"],
    logs_dropped: row.logs_dropped,
    error: fromJson<ExecutionRecord["error"]>(row.error),
    abandoned: row.abandoned === 1,
  };
}

function toJson(value: unknown): string | null {
  return value === null ? null : JSON.stringify(value);
}

function fromJson<T>(text: string | null): T | null {
  return text === null ? null : (JSON.parse(text) as T);
}
