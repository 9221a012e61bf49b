/**
 * What becomes of triggers in the database, with its entries in the audit trail: for whoever has locked
 * those of the app in this transaction, and announces in it that they are other ones now.
 */
import type { Actor } from "../domain/accounts.ts";
import type { AuditedChange } from "../domain/audit.ts";
import { PicError } from "../domain/errors.ts";
import { triggersPerAppMax } from "../domain/limits.ts";
import type { Trigger } from "../domain/triggers.ts";
import type { Tx } from "../storage/port.ts";
import {
  countTriggersOfApp,
  insertTrigger,
  setNextAt,
  updateTrigger,
} from "../storage/triggers.ts";
import type { Audit } from "./audit.ts";
import { type CronRules, firstTick, hasOtherTicks } from "./trigger-patches.ts";

/** Who changes it. */
export interface TriggerWriter {
  actor: Actor;
  audit: Audit;
}

export async function addTrigger(
  tx: Tx,
  { actor, audit }: TriggerWriter,
  trigger: Trigger,
): Promise<void> {
  await insertTrigger(tx, trigger);
  await audit.record(tx, actor, { action: "trigger.create", ...auditedTrigger(trigger) });
}

/**
 * Resolves to the trigger as it then is; null: there is none any more.
 * @param change.cron null unless the trigger is one
 */
export async function changeTrigger(
  tx: Tx,
  { actor, audit }: TriggerWriter,
  { before, after, cron }: { before: Trigger; after: Trigger; cron: CronRules | null },
): Promise<Trigger | null> {
  if (hasOtherTicks(before, after)) {
    await setNextAt(tx, after.id, firstTick(after, cron, after.updated_at));
  }
  const stored = await updateTrigger(tx, after);
  if (stored !== null) await audit.record(tx, actor, updatedChange(before, stored));
  return stored;
}

/** Throws PicError `conflict` when the app has more than it may. */
export async function refuseTooManyTriggers(tx: Tx, app_id: string): Promise<void> {
  if ((await countTriggersOfApp(tx, app_id)) <= triggersPerAppMax) return;
  throw new PicError("conflict", `An app has at most ${triggersPerAppMax} triggers`, {
    extra: { triggers: triggersPerAppMax },
  });
}

/** What the audit trail shows of a trigger that was changed. */
export function auditedTrigger(trigger: Trigger) {
  const { id, app_id, kind, script_id, is_enabled } = trigger;
  return {
    target: { kind: "trigger", id },
    app_id,
    detail: { kind, script_id, enabled: is_enabled },
  };
}

function updatedChange(before: Trigger, after: Trigger): AuditedChange {
  const { detail, ...about } = auditedTrigger(after);
  const members = new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof Trigger>;
  members.delete("updated_at");
  const changed = [...members].filter((name) => !Bun.deepEquals(before[name], after[name])).sort();
  return { action: "trigger.update", ...about, detail: { ...detail, changed } };
}
