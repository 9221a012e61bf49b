/**
 * Deployments: an app becomes what a manifest says, all at once or not at all.
 *
 * Everything that takes time comes before the transaction: sources are compared with the stored ones and,
 * where they differ, compiled. In the transaction, under the locks that single calls take too and in their
 * order (routes, triggers, imports), the app is read again, the plan is made from that, and it starts over
 * when a script is not what it was when it was compared. A dry run writes the same, and is rolled back: so it
 * finds what the real one would find.
 *
 * Deployments run one at a time in a server: each holds its sources and what they compile to.
 */
import type { Clock } from "../base/clock.ts";
import { Semaphore, SemaphoreFull } from "../base/semaphore.ts";
import { authorise } from "../domain/access.ts";
import type { Actor } from "../domain/accounts.ts";
import type { App } from "../domain/apps.ts";
import { type FieldError, PicError } from "../domain/errors.ts";
import {
  deploymentDeletesMax,
  deploymentsWaitingMax,
  deploymentWaitMsMax,
  type ScriptLimits,
  saveTriesMax,
} from "../domain/limits.ts";
import {
  type DeploymentChange,
  type PlannedChange,
  type PresentApp,
  planDeployment,
  shownChange,
  type WantedScript,
} from "../domain/manifest.ts";
import type { Compiler } from "../sandbox/api.ts";
import type { DeploymentInput } from "../schema/manifest.ts";
import { lockImports, unresolvedImports } from "../storage/imports.ts";
import type { Database, Tx } from "../storage/port.ts";
import { removeEventsOfScript } from "../storage/removal.ts";
import { routesOfApp } from "../storage/routes.ts";
import { scriptsOfApp } from "../storage/scripts.ts";
import { lockTriggers, triggersOfApp } from "../storage/triggers.ts";
import { presentActor } from "./account-lock.ts";
import { findApp } from "./apps.ts";
import type { Audit } from "./audit.ts";
import { type ComparedScript, compareSources, DeploymentSources } from "./deployment-sources.ts";
import { type Crowd, clearCrowd, isWritten, writePlan } from "./deployment-writes.ts";
import { unresolvedWarning } from "./imports.ts";
import type { LiveRoutes } from "./live-routes.ts";
import { type CheckedManifest, checkManifest } from "./manifest-checks.ts";
import { locatedAt, scriptPlace } from "./manifest-errors.ts";
import type { RouteDraft } from "./route-index.ts";
import { auditedScript } from "./script-audit.ts";
import type { Compiled } from "./sources.ts";

export interface DeploymentsOptions {
  db: Database;
  clock: Clock;
  newId: () => string;
  compiler: Compiler;
  ceilings: Readonly<ScriptLimits>;
  live: LiveRoutes;
  audit: Audit;
}

export interface Deployment {
  /** False of a dry run. */
  applied: boolean;
  changes: DeploymentChange[];
  warnings: FieldError[];
}

/** One call. */
interface Wish extends CheckedManifest {
  actor: Actor;
  app: App;
  prune: boolean;
  dryRun: boolean;
}

interface Prepared {
  compared: ReadonlyMap<string, ComparedScript>;
  compiled: ReadonlyMap<WantedScript, Compiled>;
  /** However much waits for what goes, it goes. */
  dropsAll: boolean;
}

/** Undoes the transaction that throws it. */
class RolledBack extends Error {
  constructor(readonly deployment: Deployment) {
    super("a dry run");
  }
}

/** What waits for what goes has to be dropped first. */
class Crowded extends Error {
  constructor(readonly crowd: Crowd) {
    super("much waits for what shall go");
  }
}

/** A script is not what it was when its source was compared. */
class Overtaken extends Error {}

export class Deployments {
  readonly #turn = new Semaphore({
    slots: 1,
    waiting: deploymentsWaitingMax,
    waitMsMax: deploymentWaitMsMax,
  });

  constructor(private readonly options: DeploymentsOptions) {}

  /**
   * Throws PicError `not_found`, `forbidden` (the app), `invalid`, `invalid_source`, `limit_above_ceiling`,
   * `conflict`, `route_conflict`, `version_conflict`, `timeout`, `unavailable`; what is wrong with the
   * manifest with its place in it.
   * @param appRef id or slug
   */
  async create(actor: Actor, appRef: string, input: DeploymentInput): Promise<Deployment> {
    const app = await findApp(this.options.db, appRef);
    // The slug may have been given to another app since the call was let in.
    authorise(actor, "deployment.write", { app_id: app.id }, "app");
    const checked = await checkManifest(input.scripts, this.options.ceilings);
    const { prune = false, dry_run: dryRun = false } = input;
    const wish: Wish = { ...checked, actor, app, prune, dryRun };
    try {
      return await this.#turn.run(() => this.#untilNotOvertaken(wish));
    } catch (error) {
      if (!(error instanceof SemaphoreFull)) throw error;
      throw new PicError("unavailable", "Too many deployments come at once; try again", {
        retry_after_s: 1,
      });
    }
  }

  async #untilNotOvertaken(wish: Wish): Promise<Deployment> {
    const { db } = this.options;
    const sources = new DeploymentSources(this.options);
    let dropsAll = false;
    for (let tries = 1; ; tries += 1) {
      const compared = await compareSources(db, wish.app.id, wish.scripts);
      const compiled = await sources.compile(wish.scripts, compared);
      try {
        return await this.#write(wish, { compared, compiled, dropsAll });
      } catch (error) {
        if (error instanceof RolledBack) return error.deployment;
        if (error instanceof Crowded) {
          await this.#clear(wish, error.crowd);
          dropsAll = true;
        } else if (!(error instanceof Overtaken)) throw error;
        else if (tries >= saveTriesMax) {
          throw new PicError(
            "version_conflict",
            "Others are saving these scripts at the same time",
          );
        }
      }
    }
  }

  #write(wish: Wish, prepared: Prepared): Promise<Deployment> {
    return this.options.live.write(async (tx, draft) => {
      const { actor, app } = wish;
      await lockTriggers(tx, app.id);
      await lockImports(tx, app.id);
      await findApp(tx, app.id);
      // Compiling may have taken a minute.
      authorise(await presentActor(tx, actor), "deployment.write", { app_id: app.id }, "app");
      const present = await readPresent(tx, wish, prepared.compared);
      const plan = planDeployment(wish.scripts, present, wish);
      if (plan.some(isWritten)) await this.#writePlan({ tx, draft, plan, present }, wish, prepared);
      const deployment: Deployment = {
        applied: !wish.dryRun,
        changes: plan.map(shownChange),
        warnings: [...wish.warnings, ...(await sourceWarnings(tx, wish, prepared.compiled))],
      };
      if (wish.dryRun) throw new RolledBack(deployment);
      return { value: deployment, change: null };
    });
  }

  async #writePlan(
    open: { tx: Tx; draft: RouteDraft; plan: readonly PlannedChange[]; present: Present },
    { actor, app, cron, dryRun }: Wish,
    { compiled, dropsAll }: Prepared,
  ): Promise<void> {
    const { db, clock, newId, audit } = this.options;
    const { tx, draft, plan, present } = open;
    refuseManyDeletes(plan);
    const { imports } = present;
    const by = { db, clock, newId, audit, actor, app };
    const crowd = await writePlan({ ...by, tx, draft, cron, compiled, imports, dropsAll }, plan);
    const isCrowded = crowd.scripts.length + crowd.triggers.length > 0;
    if (isCrowded && !dryRun) throw new Crowded(crowd);
  }

  async #clear({ actor, app }: Wish, crowd: Crowd): Promise<void> {
    const { db, audit } = this.options;
    await clearCrowd({ db, audit, actor, app }, crowd, (script) =>
      removeEventsOfScript(db, script, (tx) =>
        audit.record(tx, actor, {
          action: "script.delete",
          ...auditedScript(script),
          detail: { state: "started" },
        }),
      ),
    );
  }
}

interface Present extends PresentApp {
  /** Of the active versions, by script id. */
  imports: ReadonlyMap<string, readonly string[]>;
}

/** The app as it is, under its locks. Throws Overtaken. */
async function readPresent(
  tx: Tx,
  { app, scripts: wanted, prune }: Wish,
  compared: ReadonlyMap<string, ComparedScript>,
): Promise<Present> {
  const names = new Set(wanted.map(({ name }) => name));
  const states =
    prune || names.size > 0 ? await scriptsOfApp(tx, app.id, prune ? null : [...names]) : [];
  let seen = 0;
  for (const { script } of states) {
    if (!names.has(script.name)) continue;
    const before = compared.get(script.name);
    if (before?.id !== script.id || before.number !== script.active_version) throw new Overtaken();
    seen += 1;
  }
  if (seen !== compared.size) throw new Overtaken();
  return {
    scripts: states.map(({ script }) => ({
      script,
      has_source: compared.get(script.name)?.has_source ?? false,
    })),
    routes: await routesOfApp(tx, app.id),
    triggers: await triggersOfApp(tx, app.id),
    imports: new Map(states.map(({ script, active }) => [script.id, active.imports])),
  };
}

/** Throws PicError `conflict`. */
function refuseManyDeletes(plan: readonly PlannedChange[]): void {
  const count = plan.filter(({ action }) => action === "delete").length;
  if (count <= deploymentDeletesMax) return;
  throw new PicError(
    "conflict",
    `One deployment deletes at most ${deploymentDeletesMax} scripts, routes and triggers; this would delete ${count}`,
  );
}

/** Of the compiler, and of imports that no module has the name of. */
async function sourceWarnings(
  tx: Tx,
  { app, scripts: wanted }: Wish,
  compiled: ReadonlyMap<WantedScript, Compiled>,
): Promise<FieldError[]> {
  if (wanted.length === 0) return [];
  const states = await scriptsOfApp(
    tx,
    app.id,
    wanted.map(({ name }) => name),
  );
  const ids = new Map(states.map(({ script }) => [script.name, script.id]));
  const unresolved = Map.groupBy(await unresolvedImports(tx, app.id), (one) => one.script_id);
  return wanted.flatMap((script) => {
    const made = compiled.get(script);
    const missing = unresolved.get(ids.get(script.name) ?? "") ?? [];
    const found = [
      ...(made?.warnings ?? []),
      ...missing.map((one) => unresolvedWarning(one, made?.import_sites ?? [])),
    ];
    return found.map((warning) => locatedAt(scriptPlace(script), warning));
  });
}
