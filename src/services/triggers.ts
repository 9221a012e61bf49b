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
import { cronPreviewCount, deliveriesDroppedMax } from "../domain/limits.ts";
import type { Page, PageRequest } from "../domain/pages.ts";
import type { Trigger, TriggerKind } from "../domain/triggers.ts";
import { deleteDeliveriesOfTrigger } from "../storage/outbox.ts";
import type { Database, Reader, Tx } from "../storage/port.ts";
import { getScript } from "../storage/scripts.ts";
import {
  deleteTrigger,
  getTrigger,
  listTriggers,
  lockTriggers,
  setNextAt,
  triggersChannel,
  updateTrigger,
} from "../storage/triggers.ts";
import { findApp } from "./apps.ts";
import type { Audit } from "./audit.ts";
import {
  checkTrigger,
  cronOf,
  emptyTrigger,
  firstTick,
  loadCron,
  patchedTrigger,
  type TriggerInput,
  type TriggerPatch,
} from "./trigger-patches.ts";
import {
  addTrigger,
  auditedTrigger,
  changeTrigger,
  refuseTooManyTriggers,
} from "./trigger-writes.ts";

export interface TriggersOptions {
  db: Database;
  clock: Clock;
  newId: () => string;
  audit: Audit;
}

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
    const { db, clock, newId, audit } = this.options;
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
      await addTrigger(tx, { actor, audit }, trigger);
      await refuseTooManyTriggers(tx, app.id);
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
  async update(actor: Actor, address: TriggerAddress, patch: TriggerPatch): Promise<Trigger> {
    const { db, clock, audit } = this.options;
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
      const change = { before: current, after: trigger, cron };
      const stored = await changeTrigger(tx, { actor, audit }, change);
      if (stored === null) throw notFound();
      await db.notify(tx, triggersChannel, app.id);
      return stored;
    });
  }

  /**
   * With what waits for it; an attempt that runs ends. An event that is being written at the same time may
   * still be delivered. Throws PicError `not_found`.
   */
  async delete(actor: Actor, address: TriggerAddress): Promise<void> {
    const { db } = this.options;
    const app = await findApp(db, address.app);
    await existing(db, app, address);
    for (let isFirst = true; ; isFirst = false) {
      if (await db.tx((tx) => this.#deleteStep(tx, { actor, app, address, isFirst }))) return;
    }
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
  async #deleteStep(
    tx: Tx,
    deletion: { actor: Actor; app: App; address: TriggerAddress; isFirst: boolean },
  ): Promise<boolean> {
    const { db, clock, audit } = this.options;
    const { actor, app, address } = deletion;
    await lockTriggers(tx, app.id);
    const trigger = await existing(tx, app, address);
    const drop = () => deleteDeliveriesOfTrigger(tx, app.id, trigger.id);
    const isDropped = (await drop()) < deliveriesDroppedMax;
    if (isDropped || deletion.isFirst) {
      const { target, app_id, detail } = auditedTrigger(trigger);
      const state = isDropped ? {} : { state: "started" };
      const change = { target, app_id, detail: { ...detail, ...state } };
      await audit.record(tx, actor, { action: "trigger.delete", ...change });
    }
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

async function existing(r: Reader, app: App, { kind, id }: TriggerAddress): Promise<Trigger> {
  const trigger = await getTrigger(r, id);
  if (trigger === null || trigger.app_id !== app.id || trigger.kind !== kind) throw notFound();
  return trigger;
}

function notFound(): PicError {
  return new PicError("not_found", "There is no such trigger");
}
