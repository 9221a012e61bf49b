/**
 * Makes settlements durable, soon. Nobody waits for it, but what is not durable yet is handled once more
 * after a power cut. While handlers run, one sync serves all that was settled within settleSyncMs: a sync
 * for each turn cost a tenth of all that a delivery costs, and wears a card.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { settleSyncMs } from "../domain/limits.ts";
import type { StartTimer } from "../execution/timers.ts";
import type { Database } from "../storage/port.ts";

export interface SettleSyncOptions {
  db: Pick<Database, "durable">;
  clock: Clock;
  log: Logger;
  startTimer: StartTimer;
}

export class SettleSync {
  readonly #seen = { seq: 0 };
  #isOwed = false;
  #syncedAt = Number.NEGATIVE_INFINITY;
  #cancelTimer: (() => void) | null = null;

  constructor(private readonly options: SettleSyncOptions) {}

  /** Something was settled in this commit. `isLast`: nothing runs that will be settled next. */
  settled({ seq }: { seq: number }, isLast: boolean): void {
    this.#isOwed = true;
    this.#seen.seq = Math.max(this.#seen.seq, seq);
    const wait = settleSyncMs - (this.options.clock.monotonic() - this.#syncedAt);
    if (isLast || wait <= 0) this.sync();
    else this.#cancelTimer ??= this.options.startTimer(() => this.sync(), wait);
  }

  /** Now. Never rejects: whoever is told of a failure is told by the database, and ends the process. */
  sync(): void {
    const { db, clock, log } = this.options;
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    if (!this.#isOwed) return;
    this.#isOwed = false;
    this.#syncedAt = clock.monotonic();
    db.durable(this.#seen).catch((error) => log.debug("a settlement may be undone", { error }));
  }
}
