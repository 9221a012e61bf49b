/** Checks a manifest by itself, as far as no app is needed for it, and fills in its defaults. */
import type { FieldError } from "../domain/errors.ts";
import { manifestRoutesMax, type ScriptLimits, triggersPerAppMax } from "../domain/limits.ts";
import { type WantedScript, type WantedTrigger, wantedOf } from "../domain/manifest.ts";
import { type CheckedRoute, checkRoute } from "../domain/routes.ts";
import { checkLimits, checkScriptName } from "../domain/scripts.ts";
import type { DeploymentScript, ManifestTrigger } from "../schema/manifest.ts";
import {
  below,
  locatedAt,
  ManifestErrors,
  type ManifestPlace,
  scriptPlace,
} from "./manifest-errors.ts";
import { RouteIndex } from "./route-index.ts";
import {
  type CronRules,
  checkTrigger,
  emptyTrigger,
  loadCron,
  patchedTrigger,
} from "./trigger-patches.ts";

export interface CheckedManifest {
  scripts: WantedScript[];
  /** Kinds of routes that do not look like their patterns. */
  warnings: FieldError[];
  /** Null when no trigger is about times. */
  cron: CronRules | null;
}

interface CheckContext {
  ceilings: Readonly<ScriptLimits>;
  cron: CronRules | null;
  errors: ManifestErrors;
  warnings: FieldError[];
  /** Where a name stands first. */
  names: Map<string, string>;
  /** Those of the manifest so far; their places are their ids. */
  routes: RouteIndex;
}

/** Throws PicError `invalid`, `limit_above_ceiling`, with everything that is wrong. */
export async function checkManifest(
  given: readonly DeploymentScript[],
  ceilings: Readonly<ScriptLimits>,
): Promise<CheckedManifest> {
  const hasCron = given.some(({ triggers = [] }) => triggers.some(({ kind }) => kind === "cron"));
  const cx: CheckContext = {
    ceilings,
    cron: hasCron ? await loadCron() : null,
    errors: new ManifestErrors(),
    warnings: [],
    names: new Map(),
    routes: new RouteIndex(),
  };
  const scripts = given.map((script, index) => wantedScript(cx, script, index));
  const all: ManifestPlace = { path: "scripts", file: null };
  if (given.reduce((sum, { routes = [] }) => sum + routes.length, 0) > manifestRoutesMax) {
    cx.errors.refuse(all, `must have at most ${manifestRoutesMax} routes in all`);
  }
  if (given.reduce((sum, { triggers = [] }) => sum + triggers.length, 0) > triggersPerAppMax) {
    cx.errors.refuse(all, `must have at most ${triggersPerAppMax} triggers in all`);
  }
  cx.errors.throwFound();
  return { scripts, warnings: cx.warnings, cron: cx.cron };
}

/** What a route and a trigger have when there are any. */
const nobodys = { app_id: "", script_id: "", created_at: 0, created_by: null };

/** With defaults in the place of what is refused: it goes no further then. */
function wantedScript(cx: CheckContext, given: DeploymentScript, index: number): WantedScript {
  const { name, kind = "endpoint", source, file = null, limits = {} } = given;
  const { errors } = cx;
  const place = scriptPlace({ index, file });
  errors.attempt(place, () => checkScriptName({ name, kind }));
  const first = cx.names.get(name);
  if (first === undefined) cx.names.set(name, place.path);
  else errors.refuse(below(place, "name"), `is that of ${first}, too`);
  return {
    index,
    file,
    name,
    kind,
    source,
    description: given.description ?? "",
    limits: errors.attempt(place, () => checkLimits(limits, cx.ceilings)) ?? {},
    public_execute: given.public_execute ?? false,
    routes: wantedRoutes(cx, place, { ...given, kind }),
    triggers: wantedTriggers(cx, place, { ...given, kind }),
  };
}

function wantedRoutes(
  { errors, warnings, routes: known }: CheckContext,
  place: ManifestPlace,
  { kind, routes = [] }: Pick<DeploymentScript, "kind" | "routes">,
): CheckedRoute["route"][] {
  if (kind === "module" && routes.length > 0) {
    errors.refuse(below(place, "routes"), "a module cannot have a route");
    return [];
  }
  return routes.flatMap((input, index) => {
    const at = below(place, `routes[${index}]`);
    const checked = errors.attempt(at, () => checkRoute(input));
    if (checked === undefined) return [];
    const { route, warning } = checked;
    if (warning !== null) warnings.push(locatedAt(at, { path: "", message: warning }));
    const [other] = known.conflicting(route);
    if (other === undefined) known.apply({ add: { ...nobodys, ...route, id: at.path } });
    else errors.refuse(at, `one request could match both this route and ${other.id}`);
    return [route];
  });
}

function wantedTriggers(
  { errors, cron }: CheckContext,
  place: ManifestPlace,
  { kind, triggers = [] }: Pick<DeploymentScript, "kind" | "triggers">,
): WantedTrigger[] {
  if (kind === "module" && triggers.length > 0) {
    errors.refuse(below(place, "triggers"), "a module cannot be triggered");
    return [];
  }
  const wanted: WantedTrigger[] = [];
  triggers.forEach((input, index) => {
    const at = below(place, `triggers[${index}]`);
    const trigger = errors.attempt(at, () => wantedTrigger(input, cron));
    if (trigger === undefined) return;
    const same = wanted.findIndex((other) => Bun.deepEquals(other, trigger));
    // It would be told of every event twice.
    if (same !== -1) errors.refuse(at, `is the same as ${place.path}.triggers[${same}]`);
    wanted.push(trigger);
  });
  return wanted;
}

function wantedTrigger(input: ManifestTrigger, cron: CronRules | null): WantedTrigger {
  const { kind, ...settings } = input;
  const empty = emptyTrigger(kind, {
    ...nobodys,
    id: "",
    is_enabled: true,
    registered_by: null,
    updated_at: 0,
  });
  const trigger = patchedTrigger(empty, settings);
  checkTrigger(trigger, cron);
  return wantedOf(trigger);
}
