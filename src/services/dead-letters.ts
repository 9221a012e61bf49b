/**
 * Dead letters as people work on them: look, replay, resolve, purge. What makes one, and what becomes of a
 * replay, is the dispatcher's.
 *
 * A letter is taken from one state to the next by the statement that says from which, so that of two people
 * who click at once one is told that the other was first.
 */
import type { Clock } from "../base/clock.ts";
import type { Actor } from "../domain/accounts.ts";
import type { App } from "../domain/apps.ts";
import type { AuditedChange } from "../domain/audit.ts";
import {
  type DeadLetter,
  type DeadLetterState,
  deliveryOf,
  type EventAttempt,
  REPLAYABLE,
  RESOLVABLE,
  SETTLED,
} from "../domain/dead-letters.ts";
import { PicError } from "../domain/errors.ts";
import type { EventSource } from "../domain/events.ts";
import {
  deadLetterChunkRows,
  deadLetterMemberCharsMax,
  deadLettersPerCallMax,
} from "../domain/limits.ts";
import type { Page, PageRequest } from "../domain/pages.ts";
import {
  countDeadLetters,
  type DeadLetterCounts,
  deadLetterIds,
  getDeadLetter,
  listDeadLetters,
  moveDeadLetter,
  purgeDeadLetters,
} from "../storage/dead-letters.ts";
import { listAttempts } from "../storage/event-attempts.ts";
import { insertDelivery, outboxChannel } from "../storage/outbox.ts";
import type { Database, Tx } from "../storage/port.ts";
import { findApp } from "./apps.ts";
import type { Audit } from "./audit.ts";
import { shownEvent } from "./shown-events.ts";

export interface DeadLettersOptions {
  db: Database;
  clock: Clock;
  audit: Audit;
}

/** Which letters; what is absent does not matter. Times are epoch ms of when the letter was made. */
export interface DeadLetterQuery {
  state?: DeadLetterState;
  source?: EventSource;
  script_id?: string;
  trigger_id?: string;
  /** Inclusive. */
  since?: number;
  /** Exclusive. */
  until?: number;
}

/** As a list shows it. */
export interface DeadLetterView {
  letter: DeadLetter;
  /** `ctx.event` of the last attempt, or `request` in it; credentials are taken out. */
  event: Record<string, unknown>;
  /** Long members are left out of the event. */
  is_cut: boolean;
}

export interface WholeDeadLetter extends DeadLetterView {
  /** The newest ones, oldest first. */
  history: EventAttempt[];
}

/** What a call that is bounded did, and whether calling again would do more. */
export interface Progress {
  count: number;
  more: boolean;
}

interface Decision {
  actor: Actor;
  note: string | undefined;
}

export class DeadLetters {
  constructor(private readonly options: DeadLettersOptions) {}

  /** Newest first. Throws PicError `not_found` (the app), `invalid` (a bad cursor). */
  async list(
    appRef: string,
    query: DeadLetterQuery,
    page: PageRequest,
  ): Promise<Page<DeadLetterView>> {
    const { db } = this.options;
    const app = await findApp(db, appRef);
    const found = await listDeadLetters(db, filterOf(app.id, query), page);
    return { items: found.items.map(summaryOf), next_cursor: found.next_cursor };
  }

  /** By state. Throws PicError `not_found` (the app). */
  async counts(appRef: string): Promise<DeadLetterCounts> {
    const { db } = this.options;
    return countDeadLetters(db, (await findApp(db, appRef)).id);
  }

  /** Throws PicError `not_found`. */
  async get(appRef: string, id: string): Promise<WholeDeadLetter> {
    const { db } = this.options;
    const app = await findApp(db, appRef);
    const letter = await getDeadLetter(db, app.id, id);
    if (letter === null) throw notFound();
    const history = await listAttempts(db, app.id, letter);
    return { ...viewOf(letter, Number.POSITIVE_INFINITY), history };
  }

  /** Delivers the event once more. Throws PicError `not_found`, `conflict` (with `state`). */
  async replay(
    actor: Actor,
    address: { app: string; id: string },
    note?: string,
  ): Promise<DeadLetterView> {
    return this.#decide(actor, address, "replayed", (tx, app_id, id) =>
      this.#replay(tx, { app_id, id }, { actor, note }),
    );
  }

  /** Nothing more is done about it. Throws PicError `not_found`, `conflict` (with `state`). */
  async resolve(
    actor: Actor,
    address: { app: string; id: string },
    note?: string,
  ): Promise<DeadLetterView> {
    return this.#decide(actor, address, "resolved", (tx, app_id, id) =>
      this.#resolve(tx, { app_id, id }, { actor, note }),
    );
  }

  /** All that can be replayed, oldest first. Throws PicError `not_found` (the app). */
  async replayAll(
    actor: Actor,
    appRef: string,
    { query, note }: { query: DeadLetterQuery; note: string | undefined },
  ): Promise<Progress> {
    const which = { query, states: REPLAYABLE, action: "dead_letter.replay_all" };
    return this.#decideAll(actor, appRef, which, (tx, app_id, id) =>
      this.#replay(tx, { app_id, id }, { actor, note }),
    );
  }

  /** All that can be resolved, oldest first. Throws PicError `not_found` (the app). */
  async resolveAll(
    actor: Actor,
    appRef: string,
    { query, note }: { query: DeadLetterQuery; note: string | undefined },
  ): Promise<Progress> {
    const which = { query, states: RESOLVABLE, action: "dead_letter.resolve_all" };
    return this.#decideAll(actor, appRef, which, (tx, app_id, id) =>
      this.#resolve(tx, { app_id, id }, { actor, note }),
    );
  }

  /**
   * Deletes letters, with their attempts, that have not changed since `before` (epoch ms); without `state`
   * those that are over. Throws PicError `not_found` (the app).
   */
  async purge(
    actor: Actor,
    appRef: string,
    { before, state }: { before: number; state?: Exclude<DeadLetterState, "replaying"> },
  ): Promise<Progress> {
    const { db, audit } = this.options;
    const app = await findApp(db, appRef);
    const states = state === undefined ? SETTLED : [state];
    const told = audit.long(actor, allOf(app, "dead_letter.purge", { before, states }));
    let progress: Progress = { count: 0, more: true };
    while (progress.more && progress.count < deadLettersPerCallMax) {
      const { count } = progress;
      const limit = Math.min(deadLetterChunkRows, deadLettersPerCallMax - count);
      const chunk = { app_id: app.id, before, limit, states };
      const deleted = await purgeDeadLetters(db, chunk, (work) =>
        told.step(async (tx) => {
          const value = await work(tx);
          const whole = value < limit ? { count: count + value, more: false } : null;
          return { value, isChange: value > 0, whole };
        }),
      );
      progress = { count: count + deleted, more: deleted === limit };
    }
    await told.end({ ...progress });
    return progress;
  }

  async #decide(
    actor: Actor,
    { app: appRef, id }: { app: string; id: string },
    what: "replayed" | "resolved",
    step: Step,
  ): Promise<DeadLetterView> {
    const { db, audit } = this.options;
    const app = await findApp(db, appRef);
    const letter = await db.tx(async (tx) => {
      const moved = await step(tx, app.id, id);
      if (moved !== null) {
        await audit.record(tx, actor, decisionOn(moved, what));
        return moved;
      }
      const current = await getDeadLetter(tx, app.id, id);
      if (current === null) throw notFound();
      throw wrongState(current.state, what);
    });
    return summaryOf(letter);
  }

  /**
   * Those that are there at the call, each once: one that fails again meanwhile is open again, and would
   * be found by a second look.
   */
  async #decideAll(
    actor: Actor,
    appRef: string,
    {
      query,
      states,
      action,
    }: { query: DeadLetterQuery; states: readonly DeadLetterState[]; action: string },
    step: Step,
  ): Promise<Progress> {
    const { db, audit } = this.options;
    const app = await findApp(db, appRef);
    const limit = deadLettersPerCallMax + 1;
    const ids = await deadLetterIds(db, filterOf(app.id, query), { states, limit });
    const more = ids.length === limit;
    if (more) ids.pop();
    const told = audit.long(actor, allOf(app, action, { ...query }));
    let count = 0;
    for (let start = 0; start < ids.length; start += deadLetterChunkRows) {
      const chunk = ids.slice(start, start + deadLetterChunkRows);
      const isLast = start + chunk.length === ids.length;
      count += await told.step(async (tx) => {
        let moved = 0;
        for (const id of chunk) if ((await step(tx, app.id, id)) !== null) moved += 1;
        const whole = isLast ? { count: count + moved, more } : null;
        return { value: moved, isChange: moved > 0, whole };
      });
    }
    await told.end({ count, more });
    return { count, more };
  }

  async #replay(
    tx: Tx,
    address: { app_id: string; id: string },
    decision: Decision,
  ): Promise<DeadLetter | null> {
    const { db, clock } = this.options;
    const now = clock.now();
    const change = { from: REPLAYABLE, to: "replaying", now, ...decided(decision) } as const;
    const letter = await moveDeadLetter(tx, address, change);
    if (letter === null) return null;
    // A fence above all that claims of this delivery have had: a holder from then that was given up for
    // lost, and is not, never looks like one of now.
    await insertDelivery(tx, deliveryOf(letter, now));
    await db.notify(tx, outboxChannel, letter.app_id);
    return letter;
  }

  #resolve(
    tx: Tx,
    address: { app_id: string; id: string },
    decision: Decision,
  ): Promise<DeadLetter | null> {
    const now = this.options.clock.now();
    const change = { from: RESOLVABLE, to: "resolved", now, ...decided(decision) } as const;
    return moveDeadLetter(tx, address, change);
  }
}

type Step = (tx: Tx, app_id: string, id: string) => Promise<DeadLetter | null>;

/** What the audit trail shows of what was done to one letter, and to those of a filter. */
function decisionOn(letter: DeadLetter, what: "replayed" | "resolved"): AuditedChange {
  const { id, app_id, event_id, script_id } = letter;
  return {
    action: what === "replayed" ? "dead_letter.replay" : "dead_letter.resolve",
    target: { kind: "dead_letter", id },
    app_id,
    detail: { event_id, script_id },
  };
}

function allOf(app: App, action: string, filter: Readonly<Record<string, unknown>>): AuditedChange {
  const target = { kind: "app", id: app.id, name: app.slug };
  return { action, target, app_id: app.id, detail: { filter } };
}

/** A note that is not given leaves an earlier one. */
function decided({ actor, note }: Decision) {
  return { resolved_by: actor.account_id, ...(note === undefined ? {} : { note }) };
}

function filterOf(app_id: string, { since, until, ...rest }: DeadLetterQuery) {
  return {
    app_id,
    ...rest,
    ...(since === undefined ? {} : { after: since }),
    ...(until === undefined ? {} : { before: until }),
  };
}

function summaryOf(letter: DeadLetter): DeadLetterView {
  return viewOf(letter, deadLetterMemberCharsMax);
}

function viewOf(letter: DeadLetter, memberCharsMax: number): DeadLetterView {
  return { letter, ...shownEvent(letter, memberCharsMax) };
}

function wrongState(state: DeadLetterState, what: "replayed" | "resolved"): PicError {
  const from = (what === "replayed" ? REPLAYABLE : RESOLVABLE).join(" or ");
  return new PicError(
    "conflict",
    `The dead letter is ${state}; only one that is ${from} can be ${what}`,
    { extra: { state } },
  );
}

function notFound(): PicError {
  return new PicError("not_found", "There is no such dead letter");
}
