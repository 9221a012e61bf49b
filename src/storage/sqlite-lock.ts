/**
 * One server owns a data folder. The lock is an exclusive transaction of SQLite on an empty file:
 * an operating system's lock, which vanishes with the process however it ends. A file with a
 * process number in it would outlive a kill -9.
 *
 * Nothing else may open lock.db in this process: closing any descriptor of a file drops the locks
 * that the process holds on it (POSIX).
 */
import { Database as Connection } from "bun:sqlite";
import { accessSync, constants, mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { PicError } from "../domain/errors.ts";

/**
 * The locks that are held. Without this a caller that dropped its lock would lose it at the next garbage
 * collection, which closes a connection that nothing refers to.
 */
const held = new Set<Connection>();

export interface DataDirLock {
  /** May be called twice. */
  release(): void;
}

/**
 * Makes the folder when it is missing and takes it for this process. Throws PicError `unavailable`,
 * with a message for the person who starts the server, when it is in use or cannot be written.
 */
export function lockDataDir(dir: string): DataDirLock {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    accessSync(dir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw refused(`The data folder ${dir} cannot be used: ${reason(error)}.`, error);
  }
  let connection: Connection | null = null;
  try {
    connection = new Connection(join(dir, "lock.db"), { create: true, readwrite: true });
    connection.run("pragma busy_timeout = 0");
    // Nothing is ever written: no journal beside it.
    connection.run("pragma journal_mode = memory");
    connection.run("begin exclusive");
  } catch (error) {
    connection?.close();
    const { code } = error as { code?: string };
    throw code === "SQLITE_BUSY" || code === "SQLITE_LOCKED"
      ? refused(`Another PiCloud server is using the data folder ${dir}${whose(dir)}.`, error)
      : refused(`The data folder ${dir} cannot be used: ${reason(error)}.`, error);
  }
  const owned = connection;
  held.add(owned);
  return {
    release() {
      held.delete(owned);
      owned.close();
    },
  };
}

/** The process that holds the lock, as Linux tells it; "" when it does not. */
function whose(dir: string): string {
  try {
    const { ino } = statSync(join(dir, "lock.db"));
    // 3: POSIX  ADVISORY  WRITE 708 fe:00:2179205 1073741826 1073742335
    const line = new RegExp(
      String.raw`^\d+: POSIX +ADVISORY +WRITE (\d+) [\w:]+:${ino} 10737`,
      "m",
    );
    const pid = line.exec(readFileSync("/proc/locks", "utf8"))?.[1];
    // 0: it runs in another container
    return pid === undefined || pid === "0" ? "" : ` (process ${pid})`;
  } catch {
    return "";
  }
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function refused(message: string, cause: unknown): PicError {
  return new PicError("unavailable", message, { cause });
}
