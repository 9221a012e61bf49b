/**
 * Which apps have triggers on their data, in memory, so that a write of an app without any costs one
 * statement and not a transaction.
 *
 * Invariant: "no" is certain for what this process has committed; another server's new trigger is seen
 * with its announcement. While it is not known the answer is yes, which only costs a look.
 */
import type { Logger } from "../base/log.ts";
import type { Database } from "../storage/port.ts";
import { sql } from "../storage/sql.ts";

/** The channel on which changes of an app's triggers are announced, with the app's id. */
export const triggersChannel = "triggers";

export class LiveTriggers {
  #known = new Set<string>();
  #isKnown = false;
  #reading: Promise<void> | null = null;
  #again = false;

  constructor(private readonly options: { db: Database; log: Logger }) {}

  /** Returns a function that stops listening. */
  async start(): Promise<() => void> {
    const stop = await this.options.db.listen(triggersChannel, () => {
      this.#isKnown = false;
      void this.#read();
    });
    await this.#read();
    return stop;
  }

  mayHave(app_id: string, kind: "kv" | "docs"): boolean {
    return !this.#isKnown || this.#known.has(`${kind} ${app_id}`);
  }

  /** Never rejects: until it has succeeded, every app may have some. */
  #read(): Promise<void> {
    this.#again = true;
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = null;
    });
    return this.#reading;
  }

  async #readAll(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      try {
        const rows = await this.options.db.all(sql<{ app_id: string; kind: string }>`
          select distinct app_id, kind from triggers
          where is_enabled = 1 and kind in ('kv', 'docs')`);
        if (this.#again) continue;
        this.#known = new Set(rows.map(({ app_id, kind }) => `${kind} ${app_id}`));
        this.#isKnown = true;
      } catch (error) {
        this.options.log.warn("The triggers could not be read", { error });
      }
    }
  }
}
