/** From a change of data to its deliveries, in the transaction of the change. */
import { LRUCache } from "lru-cache";
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { BindingContext } from "../domain/bindings.ts";
import { PicError } from "../domain/errors.ts";
import { chainReportMs, emittedBytesMax, eventDepthMax, usageAppsMax } from "../domain/limits.ts";
import type { DataOperation } from "../domain/triggers.ts";
import { DeliveryAnnouncer } from "../storage/announcements.ts";
import { type EmittedChange, emitChange, emitChangeTo, isWanted } from "../storage/outbox.ts";
import type { Database, Tx } from "../storage/port.ts";
import type { LiveTriggers } from "./live-triggers.ts";
import type { Usage } from "./usage.ts";

export interface EmissionOptions {
  db: Database;
  clock: Clock;
  newId: () => string;
  log: Logger;
  live: Pick<LiveTriggers, "mayHave" | "idsFor">;
  usage: Pick<Usage, "take">;
}

/** One change. Values are JSON texts; null: there is none. */
export interface DataChange {
  source: "kv" | "docs";
  type: DataOperation;
  collection: string;
  /** Of a document: its id. */
  key: string;
  value: string | null;
  previous: string | null;
}

export class Emission {
  readonly #announcer: DeliveryAnnouncer;
  /** Bytes of one transaction. */
  readonly #emitted = new WeakMap<Tx, number>();
  /** Of an app's chain that ended, on the monotonic clock. */
  readonly #reportedAt = new LRUCache<string, number>({ max: usageAppsMax });

  constructor(private readonly options: EmissionOptions) {
    this.#announcer = new DeliveryAnnouncer(options);
  }

  /** False: no change of the collection has to be emitted, and none needs a transaction for it. */
  isNeeded(app_id: string, source: "kv" | "docs", collection: string): boolean {
    return this.options.live.mayHave(app_id, source, collection);
  }

  /** One execution can end a thousand chains: not each of them is worth a line. */
  #mayReport(app_id: string): boolean {
    const at = this.#reportedAt.get(app_id);
    return at === undefined || this.options.clock.monotonic() - at >= chainReportMs;
  }

  /** Resolves to the number of deliveries. Throws PicError `quota_exceeded`, as `Usage.take`. */
  async emit(tx: Tx, cx: BindingContext, change: DataChange): Promise<number> {
    const { db, clock, newId, log, usage, live } = this.options;
    const { source, type, collection, delivery } = { ...change, delivery: cx.delivery };
    const emitted: EmittedChange = {
      event_id: newId(),
      app_id: cx.app_id,
      source,
      type,
      collection,
      depth: delivery === null ? 0 : delivery.depth + 1,
      root_execution_id: delivery?.root_execution_id ?? cx.execution_id,
      now: clock.now(),
      payload: payloadOf(change),
    };
    if (emitted.depth > eventDepthMax) {
      if (this.#mayReport(cx.app_id) && (await isWanted(tx, emitted))) {
        const { app_id, script_id, execution_id } = cx;
        const { root_execution_id } = emitted;
        const chain = { app_id, script_id, execution_id, root_execution_id, source, collection };
        this.#reportedAt.set(app_id, clock.monotonic());
        tx.afterCommit(() => log.warn(`a chain of events ended at depth ${eventDepthMax}`, chain));
      }
      return 0;
    }
    const among = db.isShared ? null : live.idsFor(cx.app_id, source, collection);
    const each = Buffer.byteLength(emitted.payload);
    const before = this.#emitted.get(tx) ?? 0;
    const max = Math.floor((emittedBytesMax - before) / each);
    const deliveries =
      among === null
        ? await emitChange(tx, emitted, max + 1)
        : await emitChangeTo(tx, emitted, among, max + 1);
    if (deliveries === 0) return 0;
    if (deliveries > max) throw tooMuch();
    const bytes = deliveries * each;
    this.#emitted.set(tx, before + bytes);
    usage.take(tx, cx.app_id, { rows: deliveries, bytes });
    await this.#announcer.announce(tx, cx.app_id);
    return deliveries;
  }
}

function tooMuch(): PicError {
  const megabytes = emittedBytesMax / 1024 ** 2;
  return new PicError(
    "quota_exceeded",
    `The triggers would be told more than ${megabytes} MB by one change, or by one transaction`,
  );
}

function payloadOf({ collection, key, value, previous }: DataChange): string {
  const where = `{"collection":${JSON.stringify(collection)},"key":${JSON.stringify(key)}`;
  return `${where},"value":${value ?? "null"},"previous":${previous ?? "null"}}`;
}
