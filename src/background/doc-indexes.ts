/**
 * Builds indexes of documents, and deletes the entries of those that are dropped, while the app works: a
 * step is one short transaction, and requests come between two of them.
 *
 * Entries count as data of the app: an index that finds no room for them is dropped again.
 *
 * It works while there is an index that is not finished: at the start, and when one is announced. Then it
 * sleeps without a timer. Where it is stopped, or killed, it goes on: how far an index has come is written
 * with the entries. Several servers on one database do one step each at a time.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { PicError } from "../domain/errors.ts";
import { docIndexesPerAppMax, docIndexRetryMsMax, docIndexRetryMsMin } from "../domain/limits.ts";
import { type StartTimer, startTimer } from "../execution/timers.ts";
import {
  beginDocIndexDrop,
  type DocIndex,
  docIndexesChannel,
  listUnfinishedDocIndexes,
  lockDocs,
  stepDocIndex,
} from "../storage/doc-indexes.ts";
import type { Database } from "../storage/port.ts";

export interface DocIndexBuilderOptions {
  db: Database;
  usage: {
    /** Rejects with PicError `quota_exceeded`; null: there is room. */
    admit(app_id: string, delta: { rows: number; bytes: number }): Promise<void> | null;
    add(app_id: string, delta: { rows: number; bytes: number }): void;
  };
  clock: Clock;
  log: Logger;
  startTimer?: StartTimer;
}

export class DocIndexBuilder {
  readonly #startTimer: StartTimer;
  #stopListening: (() => void) | null = null;
  #running: Promise<void> | null = null;
  #isAsked = false;
  #isStopped = false;
  #cancelTimer: (() => void) | null = null;
  #retryMs = docIndexRetryMsMin;

  constructor(private readonly options: DocIndexBuilderOptions) {
    this.#startTimer = options.startTimer ?? startTimer;
  }

  /** Begins with what an earlier process has left. */
  async start(): Promise<void> {
    this.#stopListening = await this.options.db.listen(docIndexesChannel, () => this.#wake());
    this.#wake();
  }

  /** Waits for the step that is under way. May be called twice. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#stopListening?.();
    this.#stopListening = null;
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    await this.#running;
  }

  /** Resolves when nothing is left to do, or when it waits for the database. */
  async idle(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  #wake(): void {
    if (this.#isStopped) return;
    this.#isAsked = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
      // Asked between its last look and now.
      if (this.#isAsked && this.#cancelTimer === null) this.#wake();
    });
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    try {
      while (this.#isAsked && !this.#isStopped) {
        this.#isAsked = false;
        while (await this.#stepEach()) await turn();
      }
      this.#retryMs = docIndexRetryMsMin;
    } catch (error) {
      if (this.#isStopped) return;
      this.options.log.warn("indexes could not be built; it is tried again", { error });
      this.#isAsked = true;
      this.#cancelTimer = this.#startTimer(() => {
        this.#cancelTimer = null;
        this.#wake();
      }, this.#retryMs);
      this.#retryMs = Math.min(docIndexRetryMsMax, this.#retryMs * 2);
    }
  }

  /** One step of each unfinished index. Resolves false when there is none, or at the stop. */
  async #stepEach(): Promise<boolean> {
    const { db, usage } = this.options;
    const unfinished = await listUnfinishedDocIndexes(db, docIndexesPerAppMax);
    for (const index of unfinished) {
      if (this.#isStopped) return false;
      if (index.state === "building" && !(await this.#hasRoom(index))) {
        await this.#giveUp(index);
        continue;
      }
      // Nobody waits for it: a step that is lost with the power is made again.
      const step = await db.tx((tx) => stepDocIndex(tx, index), { seen: { seq: 0 } });
      usage.add(index.app_id, { rows: 0, bytes: step.bytes });
      if (step.isDone) this.#finished(index);
      else await turn();
    }
    return unfinished.length > 0 && !this.#isStopped;
  }

  async #hasRoom({ app_id }: DocIndex): Promise<boolean> {
    try {
      await this.options.usage.admit(app_id, { rows: 0, bytes: 1 });
      return true;
    } catch (error) {
      if (error instanceof PicError && error.code === "quota_exceeded") return false;
      throw error;
    }
  }

  async #giveUp(index: DocIndex): Promise<void> {
    const { db, log } = this.options;
    const { app_id, collection, field } = index;
    await db.tx(async (tx) => {
      await lockDocs(tx, app_id, collection, "exclusive");
      await beginDocIndexDrop(tx, index);
    });
    log.warn("an index is dropped: the app has no room for it", { app_id, collection, field });
  }

  #finished({ app_id, collection, field, state, created_at }: DocIndex): void {
    const { clock, log } = this.options;
    const what = state === "building" ? "an index is built" : "an index is dropped";
    log.info(what, { app_id, collection, field, after_ms: clock.now() - created_at });
  }
}

/** Requests come first: one turn of the event loop between two steps. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
