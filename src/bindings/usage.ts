/**
 * What each app may keep: rows and bytes, counted over its entries, its documents, and the events that
 * wait for its handlers or that have failed.
 *
 * The count is an estimate in memory, since a row that counts would double every write on a card that
 * wears: a measurement in the background, begun by the app's first write, and what was written since.
 * Below half of a bound an overwrite counts whole; above, what it replaces is taken off.
 *
 * Invariants: a write is refused only when a measurement of the last few seconds says so, and never
 * when it makes the data smaller; at most one measurement of an app runs at a time, and it rests
 * usageRestShare times as long as it took. What is added while it runs it may have seen or not, and is not
 * counted: so a bound may be passed by that much, and by what is written at the same moment.
 */
import { LRUCache } from "lru-cache";
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { PicError } from "../domain/errors.ts";
import {
  usageAppsMax,
  usageDriftShare,
  usageNearShare,
  usageRestMs,
  usageRestShare,
  usageRowBytesMin,
  usageSharedMs,
} from "../domain/limits.ts";
import type { Database, Tx } from "../storage/port.ts";
import { type Fill, measureFill } from "../storage/usage.ts";

export interface UsageOptions {
  db: Database;
  clock: Clock;
  log: Logger;
  /** PICLOUD_APP_DATA_ROWS */
  rows_max: number;
  /** PICLOUD_APP_DATA_MB, in bytes */
  bytes_max: number;
}

/** What a write adds, or takes away. */
export type UsageDelta = Fill;

/** Refused by the estimate, inside a transaction, where nothing can be measured: see `within`. */
class QuotaDoubt extends PicError {
  constructor(
    message: string,
    readonly delta: UsageDelta,
  ) {
    super("quota_exceeded", message);
  }
}

interface AppUsage extends Fill {
  /** Added since the last measurement began, and taken away. */
  added: Fill;
  removed: Fill;
  /** When it ended, on the monotonic clock, and how long none follows it. */
  measuredAt: number;
  restMs: number;
  /** It was all that the file can hold, which refuses nobody. */
  isGuess: boolean;
  measuring: Promise<void> | null;
}

export class Usage {
  readonly #apps = new LRUCache<string, AppUsage>({ max: usageAppsMax });
  /** Of one transaction, until it has committed. */
  readonly #taken = new WeakMap<Tx, Fill>();
  readonly #measuring = new Set<Promise<void>>();
  #isStopped = false;

  constructor(private readonly options: UsageOptions) {}

  /**
   * Whether a write of this size may be made, outside a transaction. Null: it may. Else the promise
   * rejects with PicError `quota_exceeded`, or resolves when it may after all.
   * @param share of what the app may keep
   */
  admit(app_id: string, delta: UsageDelta, share = 1): Promise<void> | null {
    const app = this.#app(app_id);
    this.#refresh(app_id, app);
    return this.#fits(app, delta, share) ? null : this.#confirm(app_id, app, delta, share);
  }

  /** Notes what was written or deleted. */
  add(app_id: string, { rows, bytes }: UsageDelta): void {
    const app = this.#app(app_id);
    app.rows = Math.max(0, app.rows + rows);
    app.bytes = Math.max(0, app.bytes + bytes);
    app.added.rows += Math.max(0, rows);
    app.added.bytes += Math.max(0, bytes);
    app.removed.rows += Math.max(0, -rows);
    app.removed.bytes += Math.max(0, -bytes);
  }

  /**
   * `admit` and `add` for a write inside a transaction, which is run by `within`. Throws PicError
   * `quota_exceeded`.
   */
  take(tx: Tx, app_id: string, { rows, bytes }: UsageDelta): void {
    let taken = this.#taken.get(tx);
    if (taken === undefined) {
      const all = nothing();
      taken = all;
      this.#taken.set(tx, all);
      tx.afterCommit(() => this.add(app_id, all));
    }
    taken.rows += rows;
    taken.bytes += bytes;
    const app = this.#app(app_id);
    // What makes it smaller is let through, also by a transaction that has added before.
    if ((rows <= 0 && bytes <= 0) || this.#fits(app, taken)) return;
    throw new QuotaDoubt(this.#message(app, taken), { ...taken });
  }

  /** Runs a transaction; again after a measurement, when the estimate alone has refused it. */
  async within<T>(app_id: string, write: () => Promise<T>): Promise<T> {
    this.#refresh(app_id, this.#app(app_id));
    try {
      return await write();
    } catch (error) {
      if (!(error instanceof QuotaDoubt)) throw error;
      await this.admit(app_id, error.delta);
      return write();
    }
  }

  /** True: what an overwrite replaces has to be taken off. */
  isNear(app_id: string): boolean {
    return this.#isNear(this.#app(app_id), usageNearShare);
  }

  /** Ends measurements. May be called twice. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#measuring);
  }

  #app(app_id: string): AppUsage {
    let app = this.#apps.get(app_id);
    if (app === undefined) {
      app = {
        ...nothing(),
        added: nothing(),
        removed: nothing(),
        measuredAt: Number.NEGATIVE_INFINITY,
        restMs: usageRestMs,
        isGuess: false,
        measuring: null,
      };
      this.#apps.set(app_id, app);
    }
    return app;
  }

  #fits(app: AppUsage, { rows, bytes }: UsageDelta, share = 1): boolean {
    const { rows_max, bytes_max } = this.options;
    return (
      (rows <= 0 || app.rows + rows <= rows_max * share) &&
      (bytes <= 0 || app.bytes + bytes <= bytes_max * share)
    );
  }

  #isNear({ rows, bytes }: Fill, share: number): boolean {
    const { rows_max, bytes_max } = this.options;
    return rows >= rows_max * share || bytes >= bytes_max * share;
  }

  /** Measures in the background where the estimate may be wrong by now. */
  #refresh(app_id: string, app: AppUsage): void {
    if (app.measuring !== null || this.#isStopped) return;
    const age = this.options.clock.monotonic() - app.measuredAt;
    if (age < app.restMs) return;
    const isDue =
      age === Number.POSITIVE_INFINITY ||
      // Others write there, too; and a guess is made anew for nothing.
      ((this.options.db.isShared || app.isGuess) && age >= usageSharedMs) ||
      // Overwrites were counted whole, and events were handled meanwhile.
      (this.#isNear(app, usageNearShare) && this.#isNear(app.added, usageDriftShare));
    // Whoever needs to know waits for it and hears of the error.
    if (isDue) this.#measure(app_id, app, { mayGuess: true }).catch(() => {});
  }

  async #confirm(app_id: string, app: AppUsage, delta: UsageDelta, share: number): Promise<void> {
    const { clock } = this.options;
    if (app.measuring !== null) await app.measuring;
    if (this.#fits(app, delta, share)) return;
    if (app.isGuess || clock.monotonic() - app.measuredAt >= app.restMs) {
      await this.#measure(app_id, app, { mayGuess: false });
    }
    if (this.#fits(app, delta, share)) return;
    throw new PicError("quota_exceeded", this.#message(app, delta));
  }

  #measure(app_id: string, app: AppUsage, how: { mayGuess: boolean }): Promise<void> {
    if (app.measuring !== null) return app.measuring;
    const measuring = this.#measureNow(app_id, app, how).finally(() => {
      app.measuring = null;
      this.#measuring.delete(ended);
    });
    const ended = measuring.catch((error) => {
      this.options.log.warn("an app's data could not be measured", { app_id, error });
    });
    this.#measuring.add(ended);
    app.measuring = measuring;
    return measuring;
  }

  async #measureNow(
    app_id: string,
    app: AppUsage,
    { mayGuess }: { mayGuess: boolean },
  ): Promise<void> {
    const { clock, db } = this.options;
    const began = clock.monotonic();
    app.added = nothing();
    app.removed = nothing();
    try {
      const isOver = () => this.#isStopped;
      const guess = mayGuess ? await this.#fileFill() : null;
      const fill = guess ?? (await measureFill(db, app_id, { now: clock.now(), isOver }));
      if (fill === null) return;
      app.isGuess = guess !== null;
      app.rows = Math.max(0, fill.rows - app.removed.rows);
      app.bytes = Math.max(0, fill.bytes - app.removed.bytes);
    } finally {
      app.measuredAt = clock.monotonic();
      app.restMs = Math.max(usageRestMs, (app.measuredAt - began) * usageRestShare);
    }
  }

  /**
   * All that a small database can hold, so that nothing has to be read: null when that is too much to
   * say. Not of a shared one, which packs values and is larger than its files.
   */
  async #fileFill(): Promise<Fill | null> {
    const { db } = this.options;
    if (db.isShared) return null;
    const bytes = await db.sizeBytes();
    const fill = { rows: Math.ceil(bytes / usageRowBytesMin), bytes };
    return this.#isNear(fill, usageNearShare) ? null : fill;
  }

  #message(app: Fill, { rows }: UsageDelta): string {
    const { rows_max, bytes_max } = this.options;
    const what = "entries, documents, and events that wait or have failed";
    if (rows > 0 && app.rows + rows > rows_max) {
      return `The app may keep ${count(rows_max)} rows (${what}) and has ${count(app.rows)}: delete some, or raise PICLOUD_APP_DATA_ROWS`;
    }
    const used = count(Math.floor(app.bytes / megabyte));
    return `The app may keep ${count(bytes_max / megabyte)} MB (${what}) and has ${used} MB: delete some, or raise PICLOUD_APP_DATA_MB`;
  }
}

function nothing(): Fill {
  return { rows: 0, bytes: 0 };
}

const megabyte = 1024 * 1024;

function count(number: number): string {
  return number.toLocaleString("en");
}
