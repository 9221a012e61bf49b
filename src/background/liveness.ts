/**
 * Whether this server is alive, for the watchdog. It is not when only a new process would help:
 *
 * - the event loop does not turn: then nobody asks, and nothing is answered;
 * - a read of the database neither succeeds nor fails: every read has a deadline, so this is a defect
 *   of ours. A database that is gone, full or broken fails the read, is no better after a restart,
 *   and is answered with 503 meanwhile;
 * - no sandbox is ready and none is being started, twice in a row: the pool has given up (the
 *   executable was deleted, say). One that is under attack always starts the next.
 *
 * Load never counts: a full gate, long queues and busy children are what a busy server looks like.
 */
import { PicError } from "../domain/errors.ts";
import type { Database } from "../storage/port.ts";
import { sql } from "../storage/sql.ts";
import type { Probe } from "./supervision.ts";

/** Processes that can run something, and those that will, once they have started. */
export interface Sandboxes {
  ready: number;
  starting: number;
}

export interface LivenessOptions {
  db: Pick<Database, "get">;
  sandboxes: () => Sandboxes;
}

/** A probe; it remembers what it found the last time. */
export function createLiveness({ db, sandboxes }: LivenessOptions): Probe {
  let wasWithoutSandbox = false;
  return async () => {
    try {
      await db.get(sql`select number from schema_migrations where number = 1`);
    } catch (error) {
      if (!(error instanceof PicError)) return `the database failed: ${String(error)}`;
    }
    const { ready, starting } = sandboxes();
    const isWithoutSandbox = ready + starting === 0;
    const isLost = isWithoutSandbox && wasWithoutSandbox;
    wasWithoutSandbox = isWithoutSandbox;
    return isLost ? "no sandbox is ready and none is being started" : null;
  };
}
