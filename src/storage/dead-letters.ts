/**
 * Dead letters. One belongs to a delivery, and there is one at most: a replay that fails opens the letter
 * that it was made from again.
 */
import type { DeadLetter, DeadLetterState } from "../domain/dead-letters.ts";
import { SETTLED } from "../domain/dead-letters.ts";
import type { EventSource } from "../domain/events.ts";
import { deadLetterListBytesMax, emittedBytesMax } from "../domain/limits.ts";
import { checkLimit, decodeCursor, type Page, type PageRequest, pageOf } from "../domain/pages.ts";
import type { Database, Reader, Tx } from "./port.ts";
import { type Statement, sql } from "./sql.ts";

interface DeadLetterRow extends Omit<DeadLetter, "error" | "retry"> {
  error: string;
  retry: string | null;
}

/** Which letters of an app; what is absent does not matter. Times are those of `created_at`. */
export interface DeadLetterFilter {
  app_id: string;
  state?: DeadLetterState;
  source?: EventSource;
  script_id?: string;
  trigger_id?: string;
  /** Exclusive, epoch ms. */
  before?: number;
  /** Inclusive, epoch ms. */
  after?: number;
}

export type DeadLetterCounts = Record<DeadLetterState, number>;

const columns = sql<never>`id, app_id, event_id, trigger_id, script_id, source, type, state, attempts,
  error, depth, root_execution_id, event_at, created_at, updated_at, resolved_by, note, retry, payload`;

/**
 * Opens a letter: a new one, or that of the delivery once more, with what its replay failed of.
 * Resolves to its id.
 */
export async function openDeadLetter(tx: Tx, letter: DeadLetter): Promise<string> {
  const { retry } = letter;
  const row = await tx.get(sql<{ id: string }>`insert into dead_letters (${columns})
    values (${letter.id}, ${letter.app_id}, ${letter.event_id}, ${letter.trigger_id},
      ${letter.script_id}, ${letter.source}, ${letter.type}, 'open', ${letter.attempts},
      ${JSON.stringify(letter.error)}, ${letter.depth}, ${letter.root_execution_id},
      ${letter.event_at}, ${letter.created_at}, ${letter.updated_at}, ${letter.resolved_by},
      ${letter.note}, ${retry === null ? null : JSON.stringify(retry)}, ${letter.payload})
    on conflict (event_id, trigger_id) do update
      set state = 'open', attempts = excluded.attempts, error = excluded.error,
        updated_at = excluded.updated_at
    returning id`);
  return (row as { id: string }).id;
}

export async function getDeadLetter(
  r: Reader,
  app_id: string,
  id: string,
): Promise<DeadLetter | null> {
  const row = await r.get(sql<DeadLetterRow>`select ${columns} from dead_letters
    where id = ${id} and app_id = ${app_id}`);
  return row && toDeadLetter(row);
}

/** Newest first. A page may end before `limit`, with a cursor, because its payloads are large. */
export async function listDeadLetters(
  db: Database,
  filter: DeadLetterFilter,
  page: PageRequest,
): Promise<Page<DeadLetter>> {
  checkLimit(page.limit);
  const [at, id] =
    page.cursor === null
      ? [Number.MAX_SAFE_INTEGER, ""]
      : decodeCursor(page.cursor, ["number", "string"]);
  const after = sql<never>`where ${matches(filter)} and (created_at, id) < (${at}, ${id})
    order by created_at desc, id desc`;
  const sizes = await db.scan(sql<{ bytes: number }>`select octet_length(payload)
    + octet_length(error) as bytes from dead_letters ${after} limit ${page.limit}`);
  const limit = fitting(sizes);
  if (limit === 0) return { items: [], next_cursor: null };
  const rows = await db.scan(
    sql<DeadLetterRow>`select ${columns} from dead_letters ${after} limit ${limit + 1}`,
  );
  return pageOf(rows, limit, { item: toDeadLetter, key: (row) => [row.created_at, row.id] });
}

/** The ids of letters that match and are in one of `states`, oldest first. */
export async function deadLetterIds(
  db: Database,
  filter: DeadLetterFilter,
  { states, limit }: { states: readonly DeadLetterState[]; limit: number },
): Promise<string[]> {
  const rows = await db.scan(sql<{ id: string }>`select id from dead_letters
    where ${matches(filter)} and state in ${sql.list(states)}
    order by created_at, id limit ${limit}`);
  return rows.map(({ id }) => id);
}

/** How many letters an app has, by state. */
export async function countDeadLetters(db: Database, app_id: string): Promise<DeadLetterCounts> {
  const counts: DeadLetterCounts = {
    open: 0,
    handler_failed: 0,
    replaying: 0,
    replayed: 0,
    resolved: 0,
  };
  const rows = await db.scan(sql<{ state: DeadLetterState; count: number }>`
    select state, count(*) as count from dead_letters where app_id = ${app_id} group by state`);
  for (const { state, count } of rows) counts[state] = count;
  return counts;
}

/**
 * Takes a letter from one of the states `from` to another, and returns it as it is now; null when there is
 * none in these states. Who resolved it and the note are kept where they are not given.
 */
export async function moveDeadLetter(
  tx: Tx,
  { app_id, id }: { app_id: string; id: string },
  change: {
    from: readonly DeadLetterState[];
    to: DeadLetterState;
    now: number;
    resolved_by?: string | null;
    note?: string | null;
  },
): Promise<DeadLetter | null> {
  const { from, to, now, resolved_by, note } = change;
  const row = await tx.get(sql<DeadLetterRow>`update dead_letters
    set state = ${to}, updated_at = ${now}
      ${resolved_by === undefined ? sql.empty : sql<never>`, resolved_by = ${resolved_by}`}
      ${note === undefined ? sql.empty : sql<never>`, note = ${note}`}
    where id = ${id} and app_id = ${app_id} and state in ${sql.list(from)}
    returning ${columns}`);
  return row && toDeadLetter(row);
}

/**
 * Deletes at most `limit` letters that have not changed since `before` (epoch ms), with their attempts and
 * results, of one app or of all; without `states` those that are over. Resolves to how many; fewer than
 * `limit`: no more are left.
 * @param transact opens its transaction
 */
export async function purgeDeadLetters(
  db: Database,
  purge: { app_id?: string; before: number; limit: number; states?: readonly DeadLetterState[] },
  transact: (work: (tx: Tx) => Promise<number>) => Promise<number> = (work) => db.tx(work),
): Promise<number> {
  const { app_id, before, limit, states = SETTLED } = purge;
  const isOld = sql<never>`state in ${sql.list(states)} and updated_at < ${before}`;
  const rows = await db.scan(sql<{ id: string }>`select id from dead_letters where ${isOld}
    ${app_id === undefined ? sql.empty : sql<never>`and app_id = ${app_id}`} limit ${limit}`);
  if (rows.length === 0) return 0;
  return transact(async (tx) => {
    let deleted = 0;
    for (const { id } of rows) {
      // Meanwhile somebody may have replayed it.
      const gone = await tx.get(sql<{
        event_id: string;
        trigger_id: string;
      }>`delete from dead_letters
        where id = ${id} and ${isOld} returning event_id, trigger_id`);
      if (gone === null) continue;
      deleted += 1;
      const { event_id, trigger_id } = gone;
      await tx.run(
        sql`delete from event_attempts where event_id = ${event_id} and trigger_id = ${trigger_id}`,
      );
      await tx.run(
        sql`delete from tx_results where event_id = ${event_id} and trigger_id = ${trigger_id}`,
      );
    }
    return deleted;
  });
}

/**
 * A delivery of a letter for each enabled handler of the app, the oldest ones when a large letter would
 * be too many bytes for all. Resolves to how many there are.
 * @param told.payload JSON text of an object
 */
export async function tellHandlers(
  tx: Tx,
  told: {
    app_id: string;
    event_id: string;
    dead_letter_id: string;
    depth: number;
    root_execution_id: string;
    now: number;
    payload: string;
  },
): Promise<number> {
  const { changes } = await tx.run(sql`insert into outbox (event_id, trigger_id, app_id, script_id,
      source, type, depth, root_execution_id, created_at, due_at, attempt, attempt_base, crashes,
      lease_owner, fence, retry, dead_letter_id, payload)
    select ${told.event_id}, id, app_id, script_id, 'dead_letter', 'fire', ${told.depth},
      ${told.root_execution_id}, ${told.now}, 0, 0, 0, 0, null, 0, null, ${told.dead_letter_id},
      ${told.payload}
    from triggers where ${handles(told.app_id)}
    order by id limit ${Math.max(1, Math.floor(emittedBytesMax / Buffer.byteLength(told.payload)))}`);
  return changes;
}

/** Whether an app has an enabled handler of dead letters. */
export async function hasHandlers(r: Reader, app_id: string): Promise<boolean> {
  return (await r.get(sql`select id from triggers where ${handles(app_id)} limit 1`)) !== null;
}

function handles(app_id: string): Statement<never> {
  return sql`app_id = ${app_id} and kind = 'dead_letter' and is_enabled = 1`;
}

function matches(filter: DeadLetterFilter): Statement<never> {
  const { app_id, state, source, script_id, trigger_id, before, after } = filter;
  return sql`app_id = ${app_id}
    ${state === undefined ? sql.empty : sql<never>`and state = ${state}`}
    ${source === undefined ? sql.empty : sql<never>`and source = ${source}`}
    ${script_id === undefined ? sql.empty : sql<never>`and script_id = ${script_id}`}
    ${trigger_id === undefined ? sql.empty : sql<never>`and trigger_id = ${trigger_id}`}
    ${before === undefined ? sql.empty : sql<never>`and created_at < ${before}`}
    ${after === undefined ? sql.empty : sql<never>`and created_at >= ${after}`}`;
}

/** How many of the first fit into a page: at least one, when there is any. */
function fitting(sizes: readonly { bytes: number }[]): number {
  let bytes = 0;
  for (const [index, size] of sizes.entries()) {
    bytes += size.bytes;
    if (bytes > deadLetterListBytesMax) return Math.max(1, index);
  }
  return sizes.length;
}

function toDeadLetter(row: DeadLetterRow): DeadLetter {
  return {
    ...row,
    error: JSON.parse(row.error) as DeadLetter["error"],
    retry: row.retry === null ? null : (JSON.parse(row.retry) as DeadLetter["retry"]),
  };
}
