/**
 * Triggers of an app: which of its events run which of its scripts. The rules of a kind are in
 * domain/triggers.ts and domain/cron.ts.
 *
 * Who makes or changes one holds the lock on the app's triggers, which a save takes too that turns a
 * script into a module: no trigger ever points at one. Every change is announced in its own
 * transaction, for who keeps triggers in memory and for the scheduler.
 */
import type { Clock } from "../base/clock.ts";
import type { Actor } from "../domain/accounts.ts";
import type { App } from "../domain/apps.ts";
import { invalidField, PicError } from "../domain/errors.ts";
import { RETRY_DEFAULT, type RetryPolicy } from "../domain/events.ts";
import { cronPreviewCount, deliveriesDroppedMax, triggersPerAppMax } from "../domain/limits.ts";
import type { Page, PageRequest } from "../domain/pages.ts";
import {
  type CronOverlap,
  checkCollectionPattern,
  checkRetry,
  DATA_OPERATIONS,
  type DataOperation,
  type Trigger,
  type TriggerKind,
} from "../domain/triggers.ts";
import { deleteDeliveriesOfTrigger } from "../storage/outbox.ts";
import type { Database, Reader, Tx } from "../storage/port.ts";
import { getScript } from "../storage/scripts.ts";
import {
  countTriggersOfApp,
  deleteTrigger,
  getTrigger,
  insertTrigger,
  listTriggers,
  lockTriggers,
  setNextAt,
  triggersChannel,
  updateTrigger,
} from "../storage/triggers.ts";
import { findApp } from "./apps.ts";

export interface TriggersOptions {
  db: Database;
  clock: Clock;
  newId: () => string;
}

/** What an update changes; what is absent stays. What its kind does not have is not looked at. */
export interface TriggerPatch {
  script_id?: string;
  enabled?: boolean;
  collection?: string;
  operations?: DataOperation[];
  expression?: string;
  timezone?: string;
  overlap?: CronOverlap;
  /** Null: the default. */
  retry?: Partial<RetryPolicy> | null;
}

/** What is absent has a default: every collection and operation, UTC, skip, enabled. */
export type TriggerInput = TriggerPatch & { script_id: string };

/** Where a trigger is looked for. */
export interface TriggerAddress {
  /** Id or slug. */
  app: string;
  kind: TriggerKind;
  id: string;
}

export class Triggers {
  constructor(private readonly options: TriggersOptions) {}

  /** Throws PicError `not_found` (the app), `invalid`, `conflict` (there are too many). */
  async create(
    actor: Actor,
    { app: appRef, kind }: Omit<TriggerAddress, "id">,
    input: TriggerInput,
  ): Promise<Trigger> {
    const { db, clock, newId } = this.options;
    const cron = await cronOf(kind);
    const app = await findApp(db, appRef);
    const now = clock.now();
    const empty = emptyTrigger(kind, {
      id: newId(),
      app_id: app.id,
      script_id: input.script_id,
      is_enabled: true,
      registered_by: actor.account_id,
      created_at: now,
      updated_at: now,
    });
    const trigger = patchedTrigger(empty, input);
    checkTrigger(trigger, cron);
    if (trigger.kind === "cron") trigger.next_at = firstTick(trigger, cron, now);
    await db.tx(async (tx) => {
      await lockTriggers(tx, app.id);
      await checkTarget(tx, trigger);
      if ((await countTriggersOfApp(tx, app.id)) >= triggersPerAppMax) {
        throw new PicError("conflict", `An app has at most ${triggersPerAppMax} triggers`, {
          extra: { triggers: triggersPerAppMax },
        });
      }
      await insertTrigger(tx, trigger);
      await db.notify(tx, triggersChannel, app.id);
    });
    return trigger;
  }

  /** Oldest first. Throws PicError `not_found` (the app), `invalid` (a bad cursor). */
  async list(appRef: string, kind: TriggerKind | null, page: PageRequest): Promise<Page<Trigger>> {
    const { db } = this.options;
    const app = await findApp(db, appRef);
    return listTriggers(db, { app_id: app.id, ...(kind === null ? {} : { kind }) }, page);
  }

  /** Oldest first. Throws PicError `not_found` (the script), `invalid` (a bad cursor). */
  async listOfScript(script_id: string, page: PageRequest): Promise<Page<Trigger>> {
    const { db } = this.options;
    const script = await getScript(db, script_id);
    if (script === null) throw new PicError("not_found", "There is no such script");
    return listTriggers(db, { app_id: script.app_id, script_id }, page);
  }

  /** Throws PicError `not_found`. */
  async get(address: TriggerAddress): Promise<Trigger> {
    const { db } = this.options;
    return existing(db, await findApp(db, address.app), address);
  }

  /**
   * Changes what is given. What waits already runs as it was emitted, also when the trigger is disabled.
   * Throws PicError `not_found`, `invalid`.
   */
  async update(address: TriggerAddress, patch: TriggerPatch): Promise<Trigger> {
    const { db, clock } = this.options;
    const cron = await cronOf(address.kind);
    const app = await findApp(db, address.app);
    return db.tx(async (tx) => {
      await lockTriggers(tx, app.id);
      const current = await existing(tx, app, address);
      const trigger = patchedTrigger(current, patch);
      if (Bun.deepEquals(trigger, current)) return current;
      checkTrigger(trigger, cron);
      if (trigger.script_id !== current.script_id) await checkTarget(tx, trigger);
      trigger.updated_at = clock.now();
      const isNew = hasOtherTicks(current, trigger);
      if (isNew) await setNextAt(tx, trigger.id, firstTick(trigger, cron, trigger.updated_at));
      const stored = await updateTrigger(tx, trigger);
      if (stored === null) throw notFound();
      await db.notify(tx, triggersChannel, app.id);
      return stored;
    });
  }

  /**
   * With what waits for it; an attempt that runs ends. An event that is being written at the same time may
   * still be delivered. Throws PicError `not_found`.
   */
  async delete(address: TriggerAddress): Promise<void> {
    const { db } = this.options;
    const app = await findApp(db, address.app);
    await existing(db, app, address);
    while (!(await db.tx((tx) => this.#deleteStep(tx, app, address))));
  }

  /** The next ticks, epoch ms; fewer when there are no more. Throws PicError `not_found`, `invalid`. */
  async preview(
    appRef: string,
    { expression, timezone = "UTC" }: { expression: string; timezone?: string },
  ): Promise<number[]> {
    const { db, clock } = this.options;
    await findApp(db, appRef);
    const { checkCron, nextTicks } = await loadCron();
    checkCron({ expression, timezone });
    return nextTicks(expression, timezone, clock.now(), cronPreviewCount);
  }

  /** Drops so much of what waits as one transaction may, and when nothing is left the trigger: true. */
  async #deleteStep(tx: Tx, app: App, address: TriggerAddress): Promise<boolean> {
    const { db, clock } = this.options;
    await lockTriggers(tx, app.id);
    const trigger = await existing(tx, app, address);
    const drop = () => deleteDeliveriesOfTrigger(tx, app.id, trigger.id);
    const isDropped = (await drop()) < deliveriesDroppedMax;
    if (isDropped) {
      await deleteTrigger(tx, trigger.id);
      // What was inserted while its row was waited for.
      await drop();
    } else if (trigger.is_enabled) {
      if (trigger.kind === "cron") await setNextAt(tx, trigger.id, null);
      await updateTrigger(tx, { ...trigger, is_enabled: false, updated_at: clock.now() });
    } else return false;
    await db.notify(tx, triggersChannel, app.id);
    return isDropped;
  }
}

type CronRules = typeof import("../domain/cron.ts");

/** What knows expressions and time zones is not in memory before it is used. */
function loadCron(): Promise<CronRules> {
  return import("../domain/cron.ts");
}

async function cronOf(kind: TriggerKind): Promise<CronRules | null> {
  return kind === "cron" ? loadCron() : null;
}

/** A trigger of which only what has a default is filled in. */
function emptyTrigger(
  kind: TriggerKind,
  base: Omit<Extract<Trigger, { kind: "dead_letter" }>, "kind">,
): Trigger {
  const retry = { ...RETRY_DEFAULT };
  if (kind === "dead_letter") return { ...base, kind };
  if (kind !== "cron") {
    return { ...base, kind, collection: "*", operations: [...DATA_OPERATIONS], retry };
  }
  return {
    ...base,
    kind,
    expression: "",
    timezone: "UTC",
    overlap: "skip",
    retry,
    next_at: null,
    last_at: null,
  };
}

/** The trigger with what is given. */
function patchedTrigger(trigger: Trigger, patch: TriggerPatch): Trigger {
  const { script_id = trigger.script_id, enabled = trigger.is_enabled } = patch;
  const base = { script_id, is_enabled: enabled };
  if (trigger.kind === "dead_letter") return { ...trigger, ...base };
  const retry = patchedRetry(trigger.retry, patch.retry);
  if (trigger.kind === "cron") {
    const { expression = trigger.expression, timezone = trigger.timezone } = patch;
    const { overlap = trigger.overlap } = patch;
    return { ...trigger, ...base, expression, timezone, overlap, retry };
  }
  const { collection = trigger.collection, operations: named = trigger.operations } = patch;
  const operations = DATA_OPERATIONS.filter((operation) => named.includes(operation));
  return { ...trigger, ...base, collection, operations, retry };
}

function patchedRetry(current: RetryPolicy, patch: TriggerPatch["retry"]): RetryPolicy {
  if (patch === undefined) return current;
  return patch === null ? { ...RETRY_DEFAULT } : { ...current, ...patch };
}

/** Throws PicError `invalid`. @param cron null unless the trigger is one */
function checkTrigger(trigger: Trigger, cron: CronRules | null): void {
  if (trigger.kind === "dead_letter") return;
  if (trigger.kind === "cron") cron?.checkCron(trigger);
  else {
    checkCollectionPattern(trigger.collection);
    if (trigger.operations.length === 0) {
      throw invalidField("operations", `must name one of ${DATA_OPERATIONS.join(", ")} at least`);
    }
  }
  checkRetry(trigger.retry);
}

/** A script of another app looks as if there were none. Throws PicError `invalid`. */
async function checkTarget(tx: Tx, { app_id, script_id }: Trigger): Promise<void> {
  const script = await getScript(tx, script_id);
  if (script === null || script.app_id !== app_id) {
    throw invalidField("script_id", "there is no such script in this app");
  }
  if (script.kind === "module") {
    throw invalidField(
      "script_id",
      `${script.name} is a module; only an endpoint can be triggered`,
    );
  }
}

/** Null while it is not enabled. */
function firstTick(trigger: Trigger, cron: CronRules | null, now: number): number | null {
  if (trigger.kind !== "cron" || cron === null || !trigger.is_enabled) return null;
  return cron.nextTick(trigger.expression, trigger.timezone, now);
}

/** Only then is its next tick computed anew: else it is the scheduler's, which may just move it. */
function hasOtherTicks(before: Trigger, after: Trigger): boolean {
  if (before.kind !== "cron" || after.kind !== "cron") return false;
  return (
    before.expression !== after.expression ||
    before.timezone !== after.timezone ||
    before.is_enabled !== after.is_enabled
  );
}

async function existing(r: Reader, app: App, { kind, id }: TriggerAddress): Promise<Trigger> {
  const trigger = await getTrigger(r, id);
  if (trigger === null || trigger.app_id !== app.id || trigger.kind !== kind) throw notFound();
  return trigger;
}

function notFound(): PicError {
  return new PicError("not_found", "There is no such trigger");
}
