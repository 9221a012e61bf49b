/**
 * What goes with an app or a script when it is deleted, piece by piece before the row itself: one
 * statement that takes 100,000 rows with it, or a few large values, holds up everybody else for a
 * second. What comes in between goes with the row.
 *
 * Who is deleted must be sure to be: what was removed stays so when the deletion fails after all.
 */
import { removedLargeRows, removedSmallRows } from "../domain/limits.ts";
import type { Database, Reader, Tx } from "./port.ts";
import { type Statement, sql } from "./sql.ts";

type Piece = (id: string) => Statement<unknown>;

const large = sql<never>`limit ${removedLargeRows}`;
const small = sql<never>`limit ${removedSmallRows}`;

/** Events first, so that nothing handles them any more; entries of an index before its documents. */
const ofApp: readonly { rows: number; piece: Piece }[] = [
  {
    rows: removedLargeRows,
    piece: (id) => sql`delete from outbox where (app_id, due_at, event_id, trigger_id) in (
      select app_id, due_at, event_id, trigger_id from outbox where app_id = ${id} ${large})`,
  },
  {
    rows: removedSmallRows,
    piece: (id) => sql`delete from event_attempts where (event_id, trigger_id, number) in (
      select event_id, trigger_id, number from event_attempts where app_id = ${id} ${small})`,
  },
  {
    rows: removedLargeRows,
    piece: (id) => sql`delete from tx_results where (event_id, trigger_id, ordinal) in (
      select event_id, trigger_id, ordinal from tx_results where app_id = ${id} ${large})`,
  },
  {
    rows: removedLargeRows,
    piece: (id) => sql`delete from dead_letters where id in (
      select id from dead_letters where app_id = ${id} ${large})`,
  },
  {
    rows: removedLargeRows,
    piece: (id) => sql`delete from async_executions where id in (
      select id from async_executions where app_id = ${id} ${large})`,
  },
  {
    rows: removedLargeRows,
    piece: (id) => sql`delete from kv where (app_id, collection, key) in (
      select app_id, collection, key from kv where app_id = ${id} ${large})`,
  },
  {
    rows: removedSmallRows,
    piece: (id) => sql`delete from doc_index_entries
      where (app_id, collection, field, type, number, text, doc_id) in (
        select app_id, collection, field, type, number, text, doc_id
        from doc_index_entries where app_id = ${id} ${small})`,
  },
  {
    rows: removedLargeRows,
    piece: (id) => sql`delete from docs where (app_id, collection, id) in (
      select app_id, collection, id from docs where app_id = ${id} ${large})`,
  },
];

/** In the first transaction that removes something: an audit entry, for one. */
export type OnFirst = (tx: Tx) => Promise<void>;

/** Resolves when nothing large is left. */
export async function removeDataOfApp(
  db: Database,
  app_id: string,
  onFirst: OnFirst = async () => {},
): Promise<void> {
  const run = runner(db, onFirst);
  // An index without all of its entries serves nobody, should the app stay.
  await run(sql`update doc_indexes set state = 'dropping'
    where app_id = ${app_id} and state <> 'dropping'`);
  for (const { rows, piece } of ofApp) await removeAll(run, rows, () => piece(app_id));
}

/** What waits for a script, and what has failed. Their attempts and results go with maintenance. */
export async function removeEventsOfScript(
  db: Database,
  { app_id, id }: { app_id: string; id: string },
  onFirst: OnFirst = async () => {},
): Promise<void> {
  const run = runner(db, onFirst);
  await removeAll(
    run,
    removedLargeRows,
    () => sql`delete from outbox where (app_id, due_at, event_id, trigger_id) in (
      select app_id, due_at, event_id, trigger_id from outbox
      where app_id = ${app_id} and script_id = ${id} ${large})`,
  );
  await removeAll(
    run,
    removedLargeRows,
    () => sql`delete from dead_letters where id in (
      select id from dead_letters where script_id = ${id} ${large})`,
  );
  await removeAll(
    run,
    removedLargeRows,
    () => sql`delete from async_executions where id in (
      select id from async_executions where app_id = ${app_id} and script_id = ${id} ${large})`,
  );
}

/** More waits for these scripts, or has failed, than should go in one statement with their rows. */
export async function haveManyEvents(
  r: Reader,
  app_id: string,
  ids: readonly string[],
): Promise<boolean> {
  const those = sql<never>`script_id in ${sql.list(ids)} limit ${removedLargeRows + 1}`;
  const [row] = await r.all(sql<Record<"waiting" | "failed" | "later", number>>`select
    (select count(*) from (select 1 from outbox
      where app_id = ${app_id} and ${those}) as rows_of_outbox) as waiting,
    (select count(*) from (select 1 from dead_letters where ${those}) as letters) as failed,
    (select count(*) from (select 1 from async_executions
      where app_id = ${app_id} and ${those}) as executions) as later`);
  return row !== undefined && Math.max(row.waiting, row.failed, row.later) > removedLargeRows;
}

async function removeAll(
  run: Runner,
  rows: number,
  piece: () => Statement<unknown>,
): Promise<void> {
  while ((await run(piece())) === rows) {
    // Requests come first: one turn of the event loop between two pieces.
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

/** Runs one statement and says how many rows it changed. */
type Runner = (statement: Statement<unknown>) => Promise<number>;

/** Nobody waits for a piece to be durable: the deletion itself is. */
function runner(db: Database, onFirst: OnFirst): Runner {
  let isBegun = false;
  return async (statement) => {
    const changes = await db.tx(
      async (tx) => {
        const result = await tx.run(statement);
        if (!isBegun && result.changes > 0) await onFirst(tx);
        return result.changes;
      },
      { seen: { seq: 0 } },
    );
    isBegun ||= changes > 0;
    return changes;
  };
}
