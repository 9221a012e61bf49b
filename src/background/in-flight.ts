/** The deliveries that a dispatcher has claimed and whose handlers run. */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { Delivery } from "../domain/events.ts";
import type { Invoker } from "../execution/api.ts";
import type { DeliveryReport } from "../execution/delivery.ts";
import type { Database } from "../storage/port.ts";
import { LargePayloads } from "./large-payloads.ts";
import { hasCrashedTooOften, judge, reportOfCrash, type Settlement } from "./settle.ts";
import type { DispatcherStep } from "./turn.ts";

export interface InFlightOptions {
  db: Pick<Database, "get" | "outbox">;
  invoker: Pick<Invoker, "deliver">;
  clock: Clock;
  log: Logger;
  /** 0 to 1 */
  random: () => number;
  failpoint?: ((name: DispatcherStep) => void) | undefined;
  onEnd: (settlement: Settlement) => void;
}

export class InFlight {
  readonly #deliveries = new Set<Delivery>();
  readonly #ofApp = new Map<string, number>();

  readonly #payloads: LargePayloads;

  constructor(private readonly options: InFlightOptions) {
    this.#payloads = new LargePayloads(options.db);
  }

  get size(): number {
    return this.#deliveries.size;
  }

  ofApp(app_id: string): number {
    return this.#ofApp.get(app_id) ?? 0;
  }

  all(): Delivery[] {
    return [...this.#deliveries];
  }

  /** Has the handler run; `onEnd` is told what becomes of it, once and never before this returns. */
  start(delivery: Delivery): void {
    const { random, onEnd } = this.options;
    const { app_id } = delivery;
    this.#deliveries.add(delivery);
    this.#ofApp.set(app_id, this.ofApp(app_id) + 1);
    void this.#deliver(delivery).then((report) => {
      if (!this.#drop(delivery)) return;
      onEnd({ delivery, verdict: judge(delivery, report, random()) });
    });
  }

  /** Gives back all that runs: nobody waits for it any more, and what it writes from now on is refused. */
  giveUp(): void {
    for (const delivery of this.all()) {
      this.#drop(delivery);
      this.options.onEnd({ delivery, verdict: { kind: "returned", wait_ms: 0 } });
    }
  }

  /** False when it was given up. */
  #drop(delivery: Delivery): boolean {
    if (!this.#deliveries.delete(delivery)) return false;
    const { app_id } = delivery;
    const left = this.ofApp(app_id) - 1;
    if (left > 0) this.#ofApp.set(app_id, left);
    else this.#ofApp.delete(app_id);
    return true;
  }

  /** Never rejects: a defect of ours is a failed attempt, so that it has an end. */
  async #deliver(delivery: Delivery): Promise<DeliveryReport> {
    const { invoker, clock, log, failpoint } = this.options;
    const [started_at, began] = [clock.now(), clock.monotonic()];
    const run = async (): Promise<DeliveryReport> => {
      if (hasCrashedTooOften(delivery)) return reportOfCrash(clock.now());
      failpoint?.("before_execute");
      const report = await invoker.deliver(delivery);
      failpoint?.("after_execute");
      return report;
    };
    try {
      return (await this.#payloads.with(delivery, run)) ?? reportOfNoTurn(started_at);
    } catch (error) {
      const { event_id, trigger_id, app_id } = delivery;
      log.error("a delivery failed inside the server", { error, event_id, trigger_id, app_id });
      return {
        execution_id: "",
        status: "error",
        counts: true,
        error: { status: "error", code: "internal", message: "Internal error" },
        result: null,
        started_at,
        duration_ms: clock.monotonic() - began,
        has_results: true,
      };
    }
  }
}

/** Nobody is to blame: it is tried again shortly. */
function reportOfNoTurn(started_at: number): DeliveryReport {
  const message = "Others of the app with large payloads ran, or it was deleted";
  return {
    execution_id: "",
    status: "overloaded",
    counts: false,
    error: { status: "overloaded", code: "overloaded", message },
    result: null,
    started_at,
    duration_ms: 0,
    has_results: false,
  };
}
