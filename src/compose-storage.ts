/** Opens what is stored: a data folder with SQLite, or a PostgreSQL database. */
import { systemClock } from "./base/clock.ts";
import type { Logger } from "./base/log.ts";
import type { Config } from "./config.ts";
import { StoredClock } from "./services/clock.ts";
import type { Database } from "./storage/port.ts";
import { openSqliteFolder } from "./storage/sqlite.ts";
import { lockDataDir } from "./storage/sqlite-lock.ts";

/** What is constructed before anything listens. */
export interface Storage {
  db: Database;
  logs: Database;
  clock: StoredClock;
  close(): Promise<void>;
}

/** PostgreSQL when there is an address of one, and then nothing is kept in the data folder. */
export async function openStorage(
  config: Config,
  log: Logger,
  signal?: AbortSignal,
): Promise<Storage> {
  const { databaseUrl } = config;
  const opened = await (databaseUrl === null
    ? openFolder(config, log)
    : openServerDatabase(databaseUrl, log, signal));
  try {
    const clock = new StoredClock(opened.db, systemClock);
    await clock.load();
    return { ...opened, clock };
  } catch (error) {
    await opened.close();
    throw error;
  }
}

/** Opens the data folder for this process alone. */
async function openFolder(config: Config, log: Logger): Promise<Omit<Storage, "clock">> {
  const lock = lockDataDir(config.dataDir);
  try {
    const { db, logs, close } = await openSqliteFolder({
      dir: config.dataDir,
      durability: config.durability,
      clock: systemClock,
      log,
      onFatal: (error) => {
        log.error("the disk failed: nothing more can be acknowledged", { error });
        process.exit(1);
      },
    });
    return { db, logs, close: () => close().then(() => lock.release()) };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Waits for PostgreSQL. Other servers may work on the same database. */
async function openServerDatabase(
  url: string,
  log: Logger,
  signal?: AbortSignal,
): Promise<Omit<Storage, "clock">> {
  // Loaded here: a server on SQLite never holds the client in its memory.
  const { openPostgres } = await import("./storage/postgres.ts");
  return openPostgres({
    url,
    clock: systemClock,
    log,
    onFatal: (error) => {
      log.error("the database cannot be used by this server any more", { error });
      process.exit(1);
    },
    ...(signal === undefined ? {} : { signal }),
  });
}
