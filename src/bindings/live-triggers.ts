/**
 * Which triggers apps have on their data, in memory: a write of a collection without any costs one
 * statement and not a transaction, and where one process has the database others are found by their keys.
 *
 * Invariant: "no" is certain for what this process has committed; another server's new trigger is seen
 * with its announcement. While it is not known the answer is yes, which only costs a look.
 */
import type { Logger } from "../base/log.ts";
import { liveTriggersMax } from "../domain/limits.ts";
import { matchesCollection } from "../domain/triggers.ts";
import type { Database } from "../storage/port.ts";
import { sql } from "../storage/sql.ts";
import { triggersChannel } from "../storage/triggers.ts";

interface LiveTrigger {
  id: string;
  app_id: string;
  kind: "kv" | "docs";
  collection: string;
}

export class LiveTriggers {
  /** By kind and app. Null: there are some, and too many in all to hold them. */
  #known = new Map<string, LiveTrigger[] | null>();
  #isKnown = false;
  #reading: Promise<void> | null = null;
  #again = false;

  constructor(private readonly options: { db: Database; log: Logger }) {}

  /** Of the last look: one write looks three times. */
  #last: { triggers: readonly LiveTrigger[]; collection: string; ids: readonly string[] } | null =
    null;

  /** Returns a function that stops listening. */
  async start(): Promise<() => void> {
    const stop = await this.options.db.listen(triggersChannel, () => {
      this.#isKnown = false;
      void this.#read();
    });
    await this.#read();
    return stop;
  }

  mayHave(app_id: string, kind: "kv" | "docs", collection: string): boolean {
    const ids = this.idsFor(app_id, kind, collection);
    return ids === null || ids.length > 0;
  }

  /** Those for a collection, whatever operation they are for; null: that is not known. */
  idsFor(app_id: string, kind: "kv" | "docs", collection: string): readonly string[] | null {
    if (!this.#isKnown) return null;
    const triggers = this.#known.get(`${kind} ${app_id}`);
    if (triggers === undefined) return none;
    if (triggers === null) return null;
    const last = this.#last;
    if (last?.triggers === triggers && last.collection === collection) return last.ids;
    const ids = triggers
      .filter((trigger) => matchesCollection(trigger.collection, collection))
      .map(({ id }) => id);
    this.#last = { triggers, collection, ids };
    return ids;
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
        const known = await this.#load();
        if (this.#again) continue;
        this.#known = known;
        this.#isKnown = true;
      } catch (error) {
        this.options.log.warn("The triggers could not be read", { error });
      }
    }
  }

  async #load(): Promise<Map<string, LiveTrigger[] | null>> {
    const { db } = this.options;
    const triggers = await db.all(sql<LiveTrigger>`select id, app_id, kind, collection from triggers
      where is_enabled = 1 and kind in ('kv', 'docs') order by id limit ${liveTriggersMax + 1}`);
    if (triggers.length <= liveTriggersMax) {
      return Map.groupBy(triggers, ({ kind, app_id }) => `${kind} ${app_id}`);
    }
    const owners = await db.all(sql<Pick<LiveTrigger, "app_id" | "kind">>`
      select distinct app_id, kind from triggers where is_enabled = 1 and kind in ('kv', 'docs')`);
    return new Map(owners.map(({ kind, app_id }) => [`${kind} ${app_id}`, null]));
  }
}

const none: readonly string[] = [];
