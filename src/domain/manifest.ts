/**
 * What an app shall be (its manifest), against what it is: the changes that lead from one to the other.
 *
 * A manifest is declarative: of a script that it names it says everything, and what it leaves out has its
 * default. What it does not name stays, unless the deployment prunes: then all of the app is what the
 * manifest says, but for its data.
 *
 * Scripts are told apart by their names, routes by the requests that they get (so that another name of
 * a parameter, or another script, is a change and no conflict), triggers of a script by what they wait for.
 */
import type { ScriptLimits } from "./limits.ts";
import { parseHost, parsePath, type Route, type RoutePattern } from "./routes.ts";
import type { Script, ScriptKind } from "./scripts.ts";
import type { Trigger } from "./triggers.ts";

/** A script as the manifest wants it, checked, with every default filled in. */
export interface WantedScript {
  /** Of the manifest's list: errors name it. */
  index: number;
  /** Where its author keeps it; null when that was not said. */
  file: string | null;
  name: string;
  kind: ScriptKind;
  source: string;
  description: string;
  limits: Partial<ScriptLimits>;
  public_execute: boolean;
  routes: readonly WantedRoute[];
  triggers: readonly WantedTrigger[];
}

export type WantedRoute = RoutePattern & Pick<Route, "dispatch_mode">;

type OwnTo<T> = T extends Trigger ? Omit<T, TriggerBase | "next_at" | "last_at"> : never;
type TriggerBase = "id" | "app_id" | "script_id" | "registered_by" | "created_at" | "updated_at";

/** What a trigger is, without whose it is and what the scheduler keeps of it. */
export type WantedTrigger = OwnTo<Trigger>;

/** A script of the app, and whether its active version has the source that is wanted. */
export interface PresentScript {
  script: Script;
  has_source: boolean;
}

/** What there is of an app: all of it, when the deployment prunes. */
export interface PresentApp {
  /** By name. */
  scripts: readonly PresentScript[];
  /** Oldest first, as are triggers. */
  routes: readonly Route[];
  triggers: readonly Trigger[];
}

export type ChangeAction = "create" | "change" | "delete" | "unchanged";

/** One line of a plan. */
export interface DeploymentChange {
  action: ChangeAction;
  kind: "script" | "route" | "trigger";
  /** The script that it is, or that it is of. */
  script: string;
  name: string;
  /** What changes; "" when there is nothing to say. */
  detail: string;
}

type Difference<Wanted, Present> =
  | { action: "create"; wanted: Wanted }
  | { action: "change" | "unchanged"; wanted: Wanted; present: Present }
  | { action: "delete"; present: Present };

export type ScriptChange = DeploymentChange & {
  kind: "script";
  /** Its source or its kind is another one than that of the active version. */
  makes_version: boolean;
} & Difference<WantedScript, Script>;
export type RouteChange = DeploymentChange & { kind: "route" } & Difference<
    WantedRoute & { of: WantedScript; index: number },
    Route
  >;
export type TriggerChange = DeploymentChange & { kind: "trigger" } & Difference<
    WantedTrigger & { of: WantedScript; index: number },
    Trigger
  >;
export type PlannedChange = ScriptChange | RouteChange | TriggerChange;

/**
 * The changes, in the order of the manifest: each script with its routes and its triggers; then what goes,
 * by name.
 */
export function planDeployment(
  wanted: readonly WantedScript[],
  present: PresentApp,
  { prune }: { prune: boolean },
): PlannedChange[] {
  const scripts = new Map(present.scripts.map((one) => [one.script.name, one]));
  const names = new Map(present.scripts.map(({ script }) => [script.id, script.name]));
  const routes = new RoutesLeft(present.routes, names);
  const triggers = Map.groupBy(present.triggers, ({ script_id }) => script_id);
  // A route that another script takes over is not one that goes.
  const moves = new Map(wanted.map((script) => [script, routes.changesOf(script)]));
  const planned: PlannedChange[] = [];
  for (const script of wanted) {
    const found = scripts.get(script.name);
    scripts.delete(script.name);
    const left = (found && triggers.get(found.script.id)) ?? [];
    const ofTriggers = triggerChanges(script, left);
    planned.push(scriptChange(script, found), ...(moves.get(script) ?? []));
    if (prune && found !== undefined) planned.push(...routes.goneOf(found.script));
    planned.push(...ofTriggers.changes);
    if (prune) planned.push(...ofTriggers.left.map((trigger) => triggerGone(script.name, trigger)));
  }
  if (!prune) return planned;
  for (const { script } of scripts.values()) {
    const { name } = script;
    planned.push(scriptGone(script));
    planned.push(...routes.goneOf(script));
    const left = triggers.get(script.id) ?? [];
    planned.push(...left.map((trigger) => triggerGone(name, trigger)));
  }
  return planned;
}

/** What a plan shows of a change. */
export function shownChange({
  action,
  kind,
  script,
  name,
  detail,
}: DeploymentChange): DeploymentChange {
  return { action, kind, script, name, detail };
}

/** Equal for routes that get the same requests; null for a stored one that today's rules refuse. */
export function routeKey(route: RoutePattern): string | null {
  try {
    const host = parseHost(route.host, route.host_kind);
    const path = parsePath(route.path, route.path_kind);
    const shape =
      path.kind === "param"
        ? path.segments.map((segment) => segment ?? parameterMark).join("/")
        : path.literal;
    return `${route.method} ${host.kind} ${host.name} ${path.kind} ${shape}`;
  } catch {
    return null;
  }
}

/** As people read it: `GET blog.example.com/posts/:id`. */
export function routeName({ method, host, path }: Pick<Route, "method" | "host" | "path">): string {
  return `${method} ${host}${path}`;
}

/** `kv orders`, `cron 0 0 3 * * * UTC`, `dead_letter`. */
export function triggerName(trigger: WantedTrigger): string {
  if (trigger.kind === "dead_letter") return trigger.kind;
  if (trigger.kind !== "cron") return `${trigger.kind} ${trigger.collection}`;
  return `cron ${trigger.expression} ${trigger.timezone}`;
}

/** What of a trigger a manifest says. */
export function wantedOf(trigger: Trigger | WantedTrigger): WantedTrigger {
  const { kind, is_enabled } = trigger;
  if (kind === "dead_letter") return { kind, is_enabled };
  if (kind === "cron") {
    const { expression, timezone, overlap, retry } = trigger;
    return { kind, is_enabled, expression, timezone, overlap, retry };
  }
  const { collection, operations, retry } = trigger;
  return { kind, is_enabled, collection, operations, retry };
}

/** No path holds it. */
const parameterMark = "\0";

/** The routes of an app that no script has been given yet. */
class RoutesLeft {
  #byKey = new Map<string, Route>();
  #byScript = new Map<string, Set<Route>>();

  constructor(
    routes: readonly Route[],
    private readonly names: ReadonlyMap<string, string>,
  ) {
    for (const route of routes) {
      const key = routeKey(route);
      if (key !== null) this.#byKey.set(key, route);
      const known = this.#byScript.get(route.script_id);
      if (known === undefined) this.#byScript.set(route.script_id, new Set([route]));
      else known.add(route);
    }
  }

  /** Of what a script wants. What it finds is taken. */
  changesOf(of: WantedScript): RouteChange[] {
    return of.routes.map((route, index) => {
      const wanted = { ...route, of, index };
      const shown = { kind: "route", script: of.name, name: routeName(route) } as const;
      const present = this.#take(routeKey(route));
      if (present === undefined) return { ...shown, action: "create", detail: "", wanted };
      const detail = this.#differences(wanted, present);
      const action = detail === "" ? "unchanged" : "change";
      return { ...shown, action, detail, wanted, present };
    });
  }

  /** What nobody has taken of a script that is there. */
  goneOf(script: Script): RouteChange[] {
    return [...(this.#byScript.get(script.id) ?? [])].map((present) => ({
      kind: "route",
      action: "delete",
      script: script.name,
      name: routeName(present),
      detail: "",
      present,
    }));
  }

  #take(key: string | null): Route | undefined {
    const found = key === null ? undefined : this.#byKey.get(key);
    if (found === undefined || key === null) return undefined;
    this.#byKey.delete(key);
    this.#byScript.get(found.script_id)?.delete(found);
    return found;
  }

  #differences(wanted: WantedRoute & { of: WantedScript }, present: Route): string {
    const owner = this.names.get(present.script_id);
    const options = ["path", "host", "host_param_name", "dispatch_mode"] as const;
    const differing: string[] = options.filter((name) => wanted[name] !== present[name]);
    if (owner !== wanted.of.name)
      differing.unshift(`from the script ${owner ?? present.script_id}`);
    return differing.join(", ");
  }
}

function scriptChange(wanted: WantedScript, found: PresentScript | undefined): ScriptChange {
  const { name } = wanted;
  const shown = { kind: "script", script: name, name } as const;
  if (found === undefined) {
    return { ...shown, action: "create", detail: "", makes_version: true, wanted };
  }
  const { script: present, has_source } = found;
  const members = ["kind", "description", "limits", "public_execute"] as const;
  const differing = [
    ...(has_source ? [] : ["source"]),
    ...members.filter((member) => !isEqual(wanted[member], present[member])),
  ];
  const makes_version = !has_source || wanted.kind !== present.kind;
  const action = differing.length === 0 ? "unchanged" : "change";
  return { ...shown, action, detail: differing.join(", "), makes_version, wanted, present };
}

function scriptGone(present: Script): ScriptChange {
  const { name } = present;
  const shown = { kind: "script", script: name, name, detail: "" } as const;
  return { ...shown, action: "delete", makes_version: false, present };
}

/**
 * Several of one script may wait for the same: those that are as they are wanted are found first, the
 * others in their order.
 */
function triggerChanges(
  of: WantedScript,
  present: readonly Trigger[],
): { changes: TriggerChange[]; left: Trigger[] } {
  const left = [...present];
  const take = (fits: (trigger: Trigger) => boolean): Trigger | undefined => {
    const at = left.findIndex(fits);
    return at === -1 ? undefined : left.splice(at, 1)[0];
  };
  const equal = of.triggers.map((wanted) => take((trigger) => isEqual(wantedOf(trigger), wanted)));
  const changes = of.triggers.map((trigger, index): TriggerChange => {
    const wanted = { ...trigger, of, index };
    const name = triggerName(trigger);
    const shown = { kind: "trigger", script: of.name, name } as const;
    const same = equal[index];
    if (same !== undefined) {
      return { ...shown, action: "unchanged", detail: "", wanted, present: same };
    }
    const found = take((other) => triggerName(other) === name);
    if (found === undefined) return { ...shown, action: "create", detail: "", wanted };
    const detail = triggerDifferences(trigger, wantedOf(found));
    return { ...shown, action: "change", detail, wanted, present: found };
  });
  return { changes, left };
}

function triggerGone(script: string, present: Trigger): TriggerChange {
  const name = triggerName(present);
  return { kind: "trigger", action: "delete", script, name, detail: "", present };
}

function triggerDifferences(wanted: WantedTrigger, present: WantedTrigger): string {
  const before = new Map(Object.entries(present));
  return Object.entries(wanted)
    .filter(([name, value]) => !isEqual(value, before.get(name)))
    .map(([name]) => (name === "is_enabled" ? "enabled" : name))
    .join(", ");
}

/** Of values as JSON has them, in whatever order their members stand. */
function isEqual(a: unknown, b: unknown): boolean {
  return Bun.deepEquals(a, b);
}
