/**
 * Which deliveries may begin: those for which there is a free slot of the gate, of the app whose turn it is.
 * What an app has more than it has slots is read ahead, while nobody else has anything (lookahead.ts).
 */
import type { Clock } from "../base/clock.ts";
import type { Delivery } from "../domain/events.ts";
import { dispatchRetryMsMin, lookaheadMax } from "../domain/limits.ts";
import type { Gate } from "../execution/gate.ts";
import type { Database } from "../storage/port.ts";
import { DueApps, type PlannedClaim } from "./due-apps.ts";
import type { InFlight } from "./in-flight.ts";
import { Lookahead } from "./lookahead.ts";
import { begun, type Claimed } from "./turn.ts";

export interface AdmissionOptions {
  db: Pick<Database, "outbox">;
  gate: Pick<Gate, "free" | "freeFor" | "most">;
  clock: Clock;
  inFlight: InFlight;
}

export class Admission {
  readonly apps = new DueApps();
  readonly #lookahead = new Lookahead();

  constructor(private readonly options: AdmissionOptions) {}

  /** Enough is read ahead that sandboxes are busy for a moment. */
  get hasPlenty(): boolean {
    return this.#lookahead.size > lookaheadMax / 4;
  }

  /** What was read ahead, and is not to be claimed again. */
  ahead(): readonly Delivery[] {
    return this.#lookahead.all();
  }

  /** What to claim now. @param kept of the gate's slots for events: their settlements failed */
  plan(kept: number): PlannedClaim[] {
    const { db, gate, clock, inFlight } = this.options;
    const now = clock.monotonic();
    this.apps.advance(now);
    if (this.apps.size === 0) return [];
    const most = gate.most();
    // What runs is in the gate, or about to be.
    const free = Math.min(gate.free("event"), most.class - inFlight.size - kept);
    const freeFor = (app_id: string): number =>
      Math.min(free, gate.freeFor(app_id), most.app - inFlight.ofApp(app_id));
    if (!db.outbox.claimsInMemory || this.apps.size > 1) return this.apps.take(free, freeFor);
    return this.apps.takeAhead(freeFor, (app_id) =>
      inFlight.ofApp(app_id) > 0 ? this.#lookahead.wanted(app_id, now) : 0,
    );
  }

  /** Begins what was claimed, and remembers what there is more. */
  admit(claim: Claimed): void {
    const { app_id, limit, ahead, deliveries, more_ms } = claim;
    const now = this.options.clock.monotonic();
    const isAll = deliveries.length < limit + ahead;
    this.#lookahead.add(app_id, deliveries.slice(limit), isAll, now);
    // What is due and could not be claimed is just being claimed by somebody else.
    const moreAt = more_ms === null ? null : now + Math.max(more_ms, dispatchRetryMsMin);
    if (isAll) this.apps.setAt(app_id, moreAt);
    // What was only read is looked for again, should it come to nothing.
    if (!isAll || this.#lookahead.size > 0) this.apps.add(app_id);
    for (const delivery of begun(claim)) this.options.inFlight.start(delivery);
  }

  /** Begins one that was read ahead of this app, unless others wait for the slot. False: there is nothing. */
  beginNext(app_id = this.#lookahead.app_id): boolean {
    const { gate, clock, inFlight } = this.options;
    if (!this.apps.isAlone(app_id)) return false;
    const room = gate.most().app - inFlight.ofApp(app_id);
    if (Math.min(gate.freeFor(app_id), gate.free("event"), room) < 1) return false;
    const next = this.#lookahead.take(app_id, clock.monotonic());
    if (next !== null) inFlight.start(next);
    return next !== null;
  }
}
