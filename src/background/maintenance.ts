/**
 * Housekeeping: execution records past their age or over their size, expired sessions, keys and entries,
 * dead letters that are over, asynchronous executions that nobody asks after any more, the audit trail
 * past its age or over its size.
 *
 * It runs shortly after the start and then rarely, and only when something happened since: an idle
 * server writes nothing, because its card wears. A flood of records or entries does not wait for its turn, or it
 * would fill the disk before. Once a day it looks even so, since records age
 * without any help; finding nothing, it writes nothing.
 *
 * A machine without a clock of its own may boot in 1970. `clock` is the one that never shows less
 * than the last time stored, so that nothing is judged by a wrong age; a run after activity stores
 * the time anew (there were other writes then anyway).
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import {
  apiKeyRetentionDays,
  deadLetterRetentionDays,
  maintenanceChunkRows,
  maintenanceChunksMax,
  maintenanceEveryMs,
  maintenanceFirstMs,
  maintenanceIdleEveryMs,
  maintenanceLogMbMin,
  maintenanceReclaimStepsMax,
  maintenanceSizeTarget,
  maintenanceSoonMs,
  maintenanceWrittenShare,
} from "../domain/limits.ts";
import { type StartTimer, startTimer } from "../execution/timers.ts";
import { deleteApiKeysExpiredBefore } from "../storage/api-keys.ts";
import { deleteAsyncExecutionsBefore } from "../storage/async-executions.ts";
import {
  auditBytes,
  auditEntriesBeyond,
  type OldEntries,
  purgeAuditEntries,
} from "../storage/audit.ts";
import { purgeDeadLetters } from "../storage/dead-letters.ts";
import { purgeLeftovers } from "../storage/event-attempts.ts";
import { deleteExecutionsBefore, deleteOldestExecutions } from "../storage/executions.ts";
import { deleteExpiredKv, hasExpiredKv } from "../storage/kv.ts";
import type { Database, Tx } from "../storage/port.ts";
import { deleteExpiredSessions } from "../storage/sessions.ts";
import { sql } from "../storage/sql.ts";

const dayMs = 24 * 3_600_000;
const mb = 1024 * 1024;

export interface MaintenanceOptions {
  db: Database;
  logs: Database;
  /** Never behind the last time stored (services/clock.ts). */
  clock: Clock;
  /** Stores the time of that clock. */
  storeTime: (tx: Tx) => Promise<void>;
  log: Logger;
  /** PICLOUD_LOG_RETENTION_DAYS */
  log_retention_days: number;
  /** PICLOUD_LOG_MAX_MB */
  log_max_mb: number;
  /** PICLOUD_AUDIT_RETENTION_DAYS */
  audit_retention_days: number;
  /** PICLOUD_AUDIT_MAX_MB */
  audit_max_mb: number;
  /** Writes into the audit trail that its oldest entries went before their age. */
  tellPurged: (tx: Tx, purged: OldEntries) => Promise<void>;
  /** Grows with everything that may leave something to do: records written, commits made. */
  activity: () => number;
  startTimer?: StartTimer;
}

export interface MaintenanceReport {
  sessions_deleted: number;
  api_keys_deleted: number;
  entries_expired: number;
  async_executions_deleted: number;
  dead_letters_deleted: number;
  attempts_deleted: number;
  audit_entries_deleted: number;
  audit_entries_deleted_by_size: number;
  records_deleted_by_age: number;
  records_deleted_by_size: number;
}

export interface Maintenance {
  /** May be called twice. */
  start(): void;
  /** Waits for a run that is under way, which ends at its next chunk. May be called twice. */
  stop(): Promise<void>;
  /** Told of every write of records, in bytes; when they add up a run comes soon. */
  wrote(bytes: number): void;
  /** The same of entries of the audit trail. */
  audited(bytes: number): void;
  /** One run, whether or not anything happened. */
  runOnce(): Promise<MaintenanceReport>;
}

export function createMaintenance(options: MaintenanceOptions): Maintenance {
  return new Loop(options);
}

class Loop implements Maintenance {
  readonly #startTimer: StartTimer;
  #isStarted = false;
  #isStopping = false;
  #cancelTimer: (() => void) | null = null;
  #running: Promise<void> | null = null;
  #activity = -1;
  /** Bytes of records since the last run began. */
  #written = 0;
  /** The same of entries of the audit trail. */
  #audited = 0;
  #isSoon = false;
  /** More entries had expired than one run deletes. */
  #isUnfinished = false;
  /** On the monotonic clock. */
  #ranAt = Number.NEGATIVE_INFINITY;

  constructor(private readonly options: MaintenanceOptions) {
    this.#startTimer = options.startTimer ?? startTimer;
  }

  start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    this.#isStopping = false;
    this.#arm(maintenanceFirstMs);
  }

  async stop(): Promise<void> {
    this.#isStarted = false;
    this.#isStopping = true;
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    await this.#running;
  }

  wrote(bytes: number): void {
    this.#written += bytes;
    this.#hurry();
  }

  audited(bytes: number): void {
    this.#audited += bytes;
    this.#hurry();
  }

  async runOnce(): Promise<MaintenanceReport> {
    const { db, logs, clock, audit_retention_days } = this.options;
    const now = clock.now();
    const isStopping = () => this.#isStopping;
    const oldest = now - this.options.log_retention_days * dayMs;
    return {
      sessions_deleted: await purgeSessions(db, now, isStopping),
      api_keys_deleted: await purgeKeys(db, now, isStopping),
      entries_expired: await purgeEntries(db, now, isStopping),
      async_executions_deleted: await purgeAsync(db, now, isStopping),
      dead_letters_deleted: await purgeLetters(db, now, isStopping),
      attempts_deleted: await inChunks(isStopping, (rows) => purgeLeftovers(db, rows)),
      audit_entries_deleted: await purgeAudit(db, now - audit_retention_days * dayMs, isStopping),
      audit_entries_deleted_by_size: await purgeAuditOverSize(this.options, isStopping),
      records_deleted_by_age: await purgeOld(logs, oldest, isStopping),
      records_deleted_by_size: await purgeOverSize(logs, this.options.log_max_mb, isStopping),
    };
  }

  /** When enough was written, the next run comes soon. */
  #hurry(): void {
    if (this.#isSoon || this.#running !== null || !this.#isStarted) return;
    const { log_max_mb, audit_max_mb } = this.options;
    const isFlood =
      this.#written >= sizeMaxOf(log_max_mb) * maintenanceWrittenShare ||
      this.#audited >= audit_max_mb * mb * maintenanceWrittenShare;
    if (!isFlood) return;
    this.#isSoon = true;
    this.#arm(maintenanceSoonMs);
  }

  #arm(ms: number): void {
    this.#cancelTimer?.();
    this.#cancelTimer = this.#startTimer(() => {
      this.#isSoon = false;
      this.#written = 0;
      this.#audited = 0;
      this.#running = this.#tick().finally(() => {
        this.#running = null;
        if (!this.#isStarted) return;
        this.#arm(this.#isUnfinished ? maintenanceSoonMs : maintenanceEveryMs);
        // What was written meanwhile may be enough for the next one.
        this.#hurry();
      });
    }, ms);
  }

  /** Never rejects. */
  async #tick(): Promise<void> {
    const { clock, db, log, activity, storeTime } = this.options;
    const active = activity();
    const isIdle = active === this.#activity;
    const isRested = isIdle && !this.#isUnfinished;
    if (isRested && clock.monotonic() - this.#ranAt < maintenanceIdleEveryMs) return;
    try {
      // Before the first run nothing is known to have been written: the machine may just be on.
      if (!isIdle && this.#activity !== -1) await db.tx(storeTime);
      this.#isUnfinished = false;
      const report = await this.runOnce();
      this.#isUnfinished = report.entries_expired === maintenanceChunksMax * maintenanceChunkRows;
      if (Object.values(report).some((count) => count > 0)) log.info("maintenance", { ...report });
    } catch (error) {
      log.error("maintenance failed; it is tried again later", { error });
    }
    this.#ranAt = clock.monotonic();
    // What this run wrote itself is no reason for another.
    this.#activity = activity();
  }
}

function purgeSessions(db: Database, now: number, isStopping: () => boolean): Promise<number> {
  return inChunks(isStopping, (rows) => db.tx((tx) => deleteExpiredSessions(tx, now, rows)));
}

/** No entry of the audit trail: that of its creation says when a key expires. */
function purgeKeys(db: Database, now: number, isStopping: () => boolean): Promise<number> {
  const before = now - apiKeyRetentionDays * dayMs;
  return inChunks(isStopping, (rows) =>
    db.tx((tx) => deleteApiKeysExpiredBefore(tx, before, rows)),
  );
}

/** Entries are gone by themselves: this only gives their room back, and writes nothing for none. */
async function purgeEntries(db: Database, now: number, isStopping: () => boolean): Promise<number> {
  if (!(await hasExpiredKv(db, now))) return 0;
  return inChunks(isStopping, (rows) => db.tx((tx) => deleteExpiredKv(tx, now, rows)));
}

function purgeAsync(db: Database, now: number, isStopping: () => boolean): Promise<number> {
  const oldest = now - deadLetterRetentionDays * dayMs;
  return inChunks(isStopping, (rows) =>
    db.tx((tx) => deleteAsyncExecutionsBefore(tx, oldest, rows)),
  );
}

function purgeLetters(db: Database, now: number, isStopping: () => boolean): Promise<number> {
  const before = now - deadLetterRetentionDays * dayMs;
  return inChunks(isStopping, (limit) => purgeDeadLetters(db, { before, limit }));
}

function purgeAudit(db: Database, before: number, isStopping: () => boolean): Promise<number> {
  return inChunks(isStopping, (limit) => purgeAuditEntries(db, { before, limit }));
}

/**
 * Whoever floods the trail cannot wash their traces out of it unseen: what goes before its age is told in
 * it, in the transaction that deletes, and in the log. Nothing is measured as long as all of the
 * database is smaller, and nothing is written as long as the trail is.
 */
async function purgeAuditOverSize(
  { db, log, audit_max_mb, tellPurged }: MaintenanceOptions,
  isStopping: () => boolean,
): Promise<number> {
  const bytesMax = audit_max_mb * mb;
  if ((await db.sizeBytes()) <= bytesMax || (await auditBytes(db)) <= bytesMax) return 0;
  const old = await auditEntriesBeyond(db, bytesMax * maintenanceSizeTarget);
  const all: OldEntries = { entries: 0, newest_at: 0 };
  const tell = async (tx: Tx, purged: OldEntries) => {
    await tellPurged(tx, purged);
    tx.afterCommit(() => {
      all.entries += purged.entries;
      all.newest_at = purged.newest_at;
    });
  };
  try {
    // Several servers may find the same: what is after the last of these, none of them deletes.
    const before = old.newest_at + 1;
    await inChunks(
      isStopping,
      (limit) => purgeAuditEntries(db, { before, limit, tell }),
      old.entries,
    );
  } finally {
    if (all.entries > 0) {
      const up_to = new Date(all.newest_at).toISOString();
      log.warn("the audit trail is over its size; its oldest entries went before their age", {
        ...{ entries: all.entries, up_to, max_mb: audit_max_mb },
      });
    }
  }
  return all.entries;
}

async function purgeOld(
  logs: Database,
  oldest: number,
  isStopping: () => boolean,
): Promise<number> {
  const deleted = await inChunks(isStopping, (rows) =>
    logs.tx((tx) => deleteExecutionsBefore(tx, oldest, rows)),
  );
  if (deleted > 0) await reclaimAll(logs, isStopping);
  return deleted;
}

/**
 * Deletes as large a part of the records, the oldest, as the size is over its target, and leaves
 * measuring again to the next run: a file shrinks only when its write-ahead log is checkpointed,
 * and a loop that waits for that would delete everything meanwhile.
 */
async function purgeOverSize(
  logs: Database,
  maxMb: number,
  isStopping: () => boolean,
): Promise<number> {
  const size = await logs.sizeBytes();
  const sizeMax = sizeMaxOf(maxMb);
  if (size <= sizeMax) return 0;
  const [row] = await logs.scan(
    sql<{ records: number }>`select count(*) as records from executions`,
  );
  const over = Math.ceil((row?.records ?? 0) * (1 - (sizeMax * maintenanceSizeTarget) / size));
  const deleted = await inChunks(
    isStopping,
    (rows) => logs.tx((tx) => deleteOldestExecutions(tx, rows)),
    over,
  );
  if (deleted > 0) await reclaimAll(logs, isStopping);
  return deleted;
}

function sizeMaxOf(maxMb: number): number {
  return Math.max(maxMb, maintenanceLogMbMin) * mb;
}

async function reclaimAll(logs: Database, isStopping: () => boolean): Promise<void> {
  for (let step = 0; step < maintenanceReclaimStepsMax && !isStopping(); step += 1) {
    if (!(await logs.reclaim())) return;
    await turn();
  }
}

/** Repeats a chunk, which says how many rows it deleted, until one was not full or there were enough. */
async function inChunks(
  isStopping: () => boolean,
  deleteChunk: (rows: number) => Promise<number>,
  rowsWanted = Number.POSITIVE_INFINITY,
): Promise<number> {
  const rowsMax = Math.min(rowsWanted, maintenanceChunksMax * maintenanceChunkRows);
  let deleted = 0;
  while (deleted < rowsMax && !isStopping()) {
    const rows = Math.min(maintenanceChunkRows, rowsMax - deleted);
    const changes = await deleteChunk(rows);
    deleted += changes;
    if (changes < rows) break;
    await turn();
  }
  return deleted;
}

/** Requests come first: one turn of the event loop between two chunks. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
