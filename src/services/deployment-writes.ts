/**
 * What a deployment writes, in one transaction that holds the locks of routes, of the app's triggers and of
 * its imports. Rules are judged on what there is in the end: the order of these steps is only such that
 * no row refers to one that is not there yet, or no more.
 */
import type { Clock } from "../base/clock.ts";
import type { Actor } from "../domain/accounts.ts";
import type { App } from "../domain/apps.ts";
import { PicError } from "../domain/errors.ts";
import { deliveriesDroppedMax } from "../domain/limits.ts";
import type {
  PlannedChange,
  RouteChange,
  ScriptChange,
  TriggerChange,
  WantedScript,
} from "../domain/manifest.ts";
import { moduleImports } from "../domain/modules.ts";
import type { Route } from "../domain/routes.ts";
import type { Script } from "../domain/scripts.ts";
import type { Trigger } from "../domain/triggers.ts";
import { replaceImports } from "../storage/imports.ts";
import { deleteDeliveriesOfTrigger } from "../storage/outbox.ts";
import type { Database, Tx } from "../storage/port.ts";
import { haveManyEvents } from "../storage/removal.ts";
import { deleteTrigger, triggersChannel } from "../storage/triggers.ts";
import type { Audit } from "./audit.ts";
import { judgeImports, refuseLostModules, refuseReached } from "./imports.ts";
import {
  below,
  locatedAt,
  ManifestErrors,
  type ManifestPlace,
  scriptPlace,
} from "./manifest-errors.ts";
import type { RouteDraft } from "./route-index.ts";
import { addRoute, changeRoute, dropRoute } from "./routes.ts";
import { addScript, changeScript, dropScript } from "./script-writes.ts";
import { type Compiled, newVersion } from "./sources.ts";
import { type CronRules, firstTick } from "./trigger-patches.ts";
import {
  addTrigger,
  auditedTrigger,
  changeTrigger,
  refuseTooManyTriggers,
} from "./trigger-writes.ts";

export interface DeploymentWrite {
  tx: Tx;
  draft: RouteDraft;
  db: Database;
  clock: Clock;
  newId: () => string;
  audit: Audit;
  actor: Actor;
  app: App;
  cron: CronRules | null;
  compiled: ReadonlyMap<WantedScript, Compiled>;
  /** Imports of the active versions that are there, by script id. */
  imports: ReadonlyMap<string, readonly string[]>;
  /** However much waits for what goes, it goes in this transaction, too. */
  dropsAll: boolean;
}

/** What so much waits for that one transaction should not drop all of it. */
export interface Crowd {
  scripts: Script[];
  triggers: Trigger[];
}

/**
 * Writes a plan, and judges what it leads to. Resolves to what so much waits for that it should be dropped
 * before (`clearCrowd`), instead of in this transaction. Throws PicError as the single calls do, with the
 * paths of the manifest.
 */
export async function writePlan(
  cx: DeploymentWrite,
  plan: readonly PlannedChange[],
): Promise<Crowd> {
  const scripts = plan.filter((change) => change.kind === "script");
  const routes = plan.filter((change) => change.kind === "route");
  const triggers = plan.filter((change) => change.kind === "trigger");
  const crowd: Crowd = { scripts: [], triggers: [] };
  for (const change of routes)
    if (change.action === "delete") await deleteRoute(cx, change.present);
  for (const change of triggers) {
    if (change.action !== "delete") continue;
    if (await dropTrigger(cx, change.present)) crowd.triggers.push(change.present);
  }
  const saved: SavedScript[] = [];
  const byName = new Map<string, Script>();
  for (const change of scripts) {
    if (change.action === "delete") continue;
    const script = await writeScript(cx, change, saved);
    byName.set(script.name, script);
  }
  for (const change of routes) await writeRoute(cx, change, byName);
  for (const change of triggers) await writeTrigger(cx, change, byName);
  crowd.scripts = await dropScripts(cx, scripts);
  await judge(cx, { scripts, saved, hasTriggers: triggers.some(isWritten) });
  await announce(cx, plan);
  return crowd;
}

interface SavedScript {
  wanted: WantedScript;
  script: Script;
  compiled: Compiled;
}

/** Drops what waits for what goes, in pieces, before it goes. */
export async function clearCrowd(
  { db, audit, actor, app }: Pick<DeploymentWrite, "db" | "audit" | "actor" | "app">,
  { scripts, triggers }: Crowd,
  removeEvents: (script: Script) => Promise<void>,
): Promise<void> {
  for (const script of scripts) await removeEvents(script);
  for (const trigger of triggers) {
    const { target, app_id, detail } = auditedTrigger(trigger);
    const started = { target, app_id, detail: { ...detail, state: "started" } };
    for (let isFirst = true; ; isFirst = false) {
      const dropped = await db.tx(async (tx) => {
        if (isFirst) await audit.record(tx, actor, { action: "trigger.delete", ...started });
        return deleteDeliveriesOfTrigger(tx, app.id, trigger.id);
      });
      if (dropped < deliveriesDroppedMax) break;
    }
  }
}

/** How many of what kind are created, changed and deleted. */
export function countsOf(plan: readonly PlannedChange[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { kind, action } of plan) {
    if (action === "unchanged") continue;
    const name = `${kind}s_${pastOf[action]}`;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

const pastOf = { create: "created", change: "changed", delete: "deleted" } as const;

export function isWritten({ action }: PlannedChange): boolean {
  return action !== "unchanged";
}

async function writeScript(
  cx: DeploymentWrite,
  change: Exclude<ScriptChange, { action: "delete" }>,
  saved: SavedScript[],
): Promise<Script> {
  if (change.action === "unchanged") return change.present;
  const { tx, actor, clock, newId, app } = cx;
  const { wanted } = change;
  const { name, kind, description, limits, public_execute } = wanted;
  const now = clock.now();
  const before = change.action === "change" ? change.present : null;
  const isNew = change.makes_version;
  const compiled = isNew ? (cx.compiled.get(wanted) ?? null) : null;
  if (isNew && compiled === null) throw new Error(`the script ${name} was not compiled`);
  const script: Script = {
    id: before?.id ?? newId(),
    app_id: app.id,
    name,
    kind,
    description,
    limits,
    public_execute,
    active_version: (before?.active_version ?? 0) + (isNew ? 1 : 0),
    created_at: before?.created_at ?? now,
    updated_at: now,
  };
  const version =
    compiled === null ? null : newVersion(script, compiled, actor, now, script.active_version);
  if (before !== null) await changeScript(tx, cx, { before, after: script, version, copied: null });
  else if (version !== null) await addScript(tx, cx, { script, version });
  if (compiled !== null) {
    const had = cx.imports.get(script.id) ?? [];
    await replaceImports(tx, script, moduleImports(compiled.imports), moduleImports(had));
    saved.push({ wanted, script, compiled });
  }
  return script;
}

async function writeRoute(
  cx: DeploymentWrite,
  change: RouteChange,
  scripts: ReadonlyMap<string, Script>,
): Promise<void> {
  if (change.action === "delete" || change.action === "unchanged") return;
  const { of, index, ...route } = change.wanted;
  const script = writtenScript(scripts, of.name);
  const place = below(scriptPlace(of), `routes[${index}]`);
  await at(place, async () => {
    if (change.action === "create") {
      await addRoute(cx, cx, { script, checked: { route, warning: null } });
      return;
    }
    const before = change.present;
    await changeRoute(cx, cx, { before, after: { ...before, ...route, script_id: script.id } });
  });
}

async function deleteRoute(cx: DeploymentWrite, route: Route): Promise<void> {
  await dropRoute(cx, cx, route);
}

async function writeTrigger(
  cx: DeploymentWrite,
  change: TriggerChange,
  scripts: ReadonlyMap<string, Script>,
): Promise<void> {
  if (change.action === "delete" || change.action === "unchanged") return;
  const { tx, actor, app, clock, newId, cron } = cx;
  const { of, index: _, ...wanted } = change.wanted;
  const now = clock.now();
  if (change.action === "change") {
    const before = change.present;
    // Of the same kind: it was found by it.
    const after = { ...before, ...wanted, updated_at: now } as Trigger;
    if ((await changeTrigger(tx, cx, { before, after, cron })) !== null) return;
    throw new Error(`the trigger ${before.id} went under the lock of its app's triggers`);
  }
  const trigger = {
    ...wanted,
    ...(wanted.kind === "cron" ? { next_at: null, last_at: null } : {}),
    id: newId(),
    app_id: app.id,
    script_id: writtenScript(scripts, of.name).id,
    registered_by: actor.account_id,
    created_at: now,
    updated_at: now,
    // What its kind has besides is what `wanted` says.
  } as Trigger;
  if (trigger.kind === "cron") trigger.next_at = firstTick(trigger, cron, now);
  await addTrigger(tx, cx, trigger);
}

/** Resolves true when more than one transaction should drop waits for it. */
async function dropTrigger(cx: DeploymentWrite, trigger: Trigger): Promise<boolean> {
  const { tx, audit, actor, app } = cx;
  const drop = () => deleteDeliveriesOfTrigger(tx, app.id, trigger.id);
  const isCrowded = (await drop()) >= deliveriesDroppedMax && !cx.dropsAll;
  await deleteTrigger(tx, trigger.id);
  // Also what was inserted while its row was waited for.
  if (!isCrowded) while ((await drop()) >= deliveriesDroppedMax);
  await audit.record(tx, actor, { action: "trigger.delete", ...auditedTrigger(trigger) });
  return isCrowded;
}

/** Resolves to those for which so much waits. */
async function dropScripts(
  cx: DeploymentWrite,
  changes: readonly ScriptChange[],
): Promise<Script[]> {
  const gone = changes.flatMap((change) => (change.action === "delete" ? [change.present] : []));
  if (gone.length === 0) return [];
  const ids = gone.map(({ id }) => id);
  const isCrowded = !cx.dropsAll && (await haveManyEvents(cx.tx, cx.app.id, ids));
  for (const script of gone) {
    if (await dropScript(cx.tx, cx, script)) continue;
    throw new Error(`the script ${script.id} went under the lock of its app's imports`);
  }
  return isCrowded ? gone : [];
}

/** Throws PicError for what others rely on, as it is in the end. */
async function judge(
  { tx, app }: DeploymentWrite,
  {
    scripts,
    saved,
    hasTriggers,
  }: { scripts: readonly ScriptChange[]; saved: readonly SavedScript[]; hasTriggers: boolean },
): Promise<void> {
  const errors = new ManifestErrors();
  for (const { wanted, script, compiled } of saved) {
    const { imports, import_sites: sites } = compiled;
    try {
      await judgeImports(tx, script, { imports, sites });
    } catch (error) {
      errors.add(scriptPlace(wanted), error);
    }
  }
  errors.throwFound();
  await refuseLostModules(tx, app.id, lostModules(scripts));
  for (const change of scripts) {
    if (change.action !== "change") continue;
    const { wanted, present } = change;
    if (wanted.kind !== "module" || present.kind === "module") continue;
    await at(scriptPlace(wanted), () => refuseReached(tx, present));
  }
  if (hasTriggers) await refuseTooManyTriggers(tx, app.id);
}

/** Names that had a module, and have none now. */
function lostModules(scripts: readonly ScriptChange[]): string[] {
  return scripts
    .filter((change) => {
      if (change.action === "create" || change.present.kind !== "module") return false;
      return change.action === "delete" || change.wanted.kind !== "module";
    })
    .map(({ name }) => name);
}

async function announce(
  { tx, db, audit, actor, app }: DeploymentWrite,
  plan: readonly PlannedChange[],
): Promise<void> {
  const hasTriggers = plan.some((change) => change.kind === "trigger" && isWritten(change));
  if (hasTriggers) await db.notify(tx, triggersChannel, app.id);
  await audit.record(tx, actor, {
    action: "deployment.create",
    target: { kind: "app", id: app.id, name: app.slug },
    app_id: app.id,
    detail: countsOf(plan),
  });
}

/** A refusal, with its place in the manifest. */
async function at(place: ManifestPlace, write: () => Promise<void>): Promise<void> {
  try {
    await write();
  } catch (error) {
    if (!(error instanceof PicError)) throw error;
    const { details, message } = error;
    const errors = details.errors ?? [{ path: "", message }];
    throw new PicError(error.code, `${place.path}: ${message}`, {
      ...details,
      errors: errors.map((one) => locatedAt(place, one)),
    });
  }
}

function writtenScript(scripts: ReadonlyMap<string, Script>, name: string): Script {
  const script = scripts.get(name);
  if (script === undefined) throw new Error(`the script ${name} is not of this deployment`);
  return script;
}
