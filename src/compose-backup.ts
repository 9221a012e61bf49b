/**
 * Constructs what `picloud backup` and `picloud restore` use, and names the engine for them. Apart
 * from compose.ts, so that a backup beside the server loads none of it.
 */
import { version as product } from "../package.json";
import { systemClock } from "./base/clock.ts";
import type { Logger } from "./base/log.ts";
import { takeLowestPriority } from "./base/priority.ts";
import type { Config } from "./config.ts";
import { backupMsMax } from "./domain/limits.ts";
import { type BackupSummary, type Progress, writeBackup } from "./services/backup.ts";
import {
  type BackupSink,
  createBackupFile,
  createBackupPipe,
  pipeName,
  readBackupFile,
} from "./services/backup-file.ts";
import { checkBackup, type RestoreSummary, restoreBackup } from "./services/restore.ts";
import { postgresMigrations, sqliteMigrations } from "./storage/migrations.ts";
import type { Restoration, Snapshot } from "./storage/port.ts";
import { beginSqliteRestoration } from "./storage/sqlite-restoration.ts";
import { openSqliteSnapshot } from "./storage/sqlite-snapshot.ts";

export interface BackupTask {
  /** A path, or "-" for standard output. */
  file: string;
  /** An existing file is replaced. */
  force: boolean;
  signal: AbortSignal;
  onProgress: (progress: Progress) => void;
}

export interface RestoreTask {
  /** A path, or "-" for standard input. */
  file: string;
  /** The file is read to its end and nothing is restored. */
  checkOnly: boolean;
  signal: AbortSignal;
  onProgress: (rows: number) => void;
}

/** `picloud backup`. Throws PicError with the reason; then no file is left. */
export async function composeBackup(
  config: Config,
  log: Logger,
  task: BackupTask,
): Promise<BackupSummary> {
  takeLowestPriority();
  const sink = createSink(task);
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new DOMException("", "TimeoutError")), backupMsMax);
  let snapshot: Snapshot | null = null;
  try {
    snapshot = await openSnapshot(config, log);
    return await writeBackup({
      snapshot,
      sink,
      facts: { product, public_base_url: config.publicBaseUrl },
      clock: systemClock,
      signal: AbortSignal.any([task.signal, late.signal]),
      rest: Bun.sleep,
      onProgress: task.onProgress,
    });
  } finally {
    clearTimeout(timer);
    sink.discard();
    await snapshot?.close();
  }
}

/** `picloud restore`. Throws PicError with the reason; then nothing was restored. */
export async function composeRestore(
  config: Config,
  log: Logger,
  task: RestoreTask,
): Promise<RestoreSummary> {
  const { signal, onProgress } = task;
  const source = task.file === pipeName ? Bun.stdin.stream() : readBackupFile(task.file);
  // Both engines' migrations have the same numbers.
  const schemaMax = sqliteMigrations.length;
  if (task.checkOnly) return checkBackup({ source, schemaMax, onProgress });
  const begin = (schema: number): Promise<Restoration> => beginRestoration(config, schema, log);
  return restoreBackup({ source, schemaMax, begin, signal, onProgress });
}

function createSink({ file, force }: BackupTask): BackupSink {
  return file === pipeName ? createBackupPipe(process.stdout) : createBackupFile(file, { force });
}

/** PostgreSQL's client is loaded only when there is an address of one. */
async function openSnapshot({ dataDir, databaseUrl: url }: Config, log: Logger): Promise<Snapshot> {
  if (url === null) return openSqliteSnapshot({ dir: dataDir, schemaMax: sqliteMigrations.length });
  const { openPostgresSnapshot } = await import("./storage/postgres-snapshot.ts");
  const schemaMax = postgresMigrations.length;
  return openPostgresSnapshot({ url, schemaMax, clock: systemClock, log });
}

async function beginRestoration(
  { dataDir, databaseUrl: url }: Config,
  schema: number,
  log: Logger,
): Promise<Restoration> {
  const now = (): number => systemClock.now();
  if (url === null) {
    return beginSqliteRestoration({ dir: dataDir, migrations: sqliteMigrations, schema, now });
  }
  const { beginPostgresRestoration } = await import("./storage/postgres-restoration.ts");
  const migrations = postgresMigrations;
  return beginPostgresRestoration({ url, migrations, schema, clock: systemClock, log });
}
