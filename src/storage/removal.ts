/**
 * What goes with an app or a script when it is deleted, piece by piece before the row itself: one
 * statement that takes 100,000 rows with it, or a few large values, holds up everybody else for a
 * second. What comes in between goes with the row.
 *
 * Who is deleted must be sure to be: what was removed stays so when the deletion fails after all.
 */
import { removedLargeRows, removedSmallRows } from "../domain/limits.ts";
import type { Database, Tx } from "./port.ts";
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

/** Resolves when nothing large is left. */
export async function removeDataOfApp(db: Database, app_id: string): Promise<void> {
  // An index without all of its entries serves nobody, should the app stay.
  await run(db, (tx) =>
    tx.run(sql`update doc_indexes set state = 'dropping'
    where app_id = ${app_id} and state <> 'dropping'`),
  );
  for (const { rows, piece } of ofApp) await removeAll(db, rows, () => piece(app_id));
}

/** What waits for a script, and what has failed. Their attempts and results go with maintenance. */
export async function removeEventsOfScript(
  db: Database,
  { app_id, id }: { app_id: string; id: string },
): Promise<void> {
  await removeAll(
    db,
    removedLargeRows,
    () => sql`delete from outbox where (app_id, due_at, event_id, trigger_id) in (
      select app_id, due_at, event_id, trigger_id from outbox
      where app_id = ${app_id} and script_id = ${id} ${large})`,
  );
  await removeAll(
    db,
    removedLargeRows,
    () => sql`delete from dead_letters where id in (
      select id from dead_letters where script_id = ${id} ${large})`,
  );
  await removeAll(
    db,
    removedLargeRows,
    () => sql`delete from async_executions where id in (
      select id from async_executions where app_id = ${app_id} and script_id = ${id} ${large})`,
  );
}

async function removeAll(
  db: Database,
  rows: number,
  piece: () => Statement<unknown>,
): Promise<void> {
  while ((await run(db, (tx) => tx.run(piece()))).changes === rows) {
    // Requests come first: one turn of the event loop between two pieces.
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

/** Nobody waits for a piece to be durable: the deletion itself is. */
function run<T>(db: Database, fn: (tx: Tx) => Promise<T>): Promise<T> {
  return db.tx(fn, { seen: { seq: 0 } });
}
