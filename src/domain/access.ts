/**
 * Who may do what: one table of actions, and one function that judges by it.
 *
 * What an actor may do is what the role, the membership and the key all allow. All three are read for
 * each request (storage/access.ts), so that what is taken away is gone at once.
 */
import type { Actor, InstanceRole } from "./accounts.ts";
import { PicError } from "./errors.ts";

export const APP_ROLES = ["viewer", "editor", "admin"] as const;
/** What a member may do in an app: each role may do what those before it may. */
export type AppRole = (typeof APP_ROLES)[number];

export const INSTANCE_ROLES = ["member", "admin", "owner"] as const;

export const SCOPES = [
  "script:read",
  "script:write",
  "script:execute",
  "route:write",
  "log:read",
  "app:admin",
  "instance:admin",
] as const;
/** What a key is for. It never gives more than its account may do. */
export type Scope = (typeof SCOPES)[number];

interface Permission {
  /**
   * `self`: one's own account. `app`: in an app, by the membership in it. `instance`: by the role of the
   * account, also where the call names an app.
   */
  level: "self" | "app" | "instance";
  /** The least that is asked for. Of `self`: none. */
  role: AppRole | InstanceRole | null;
  /** Of a key: one of each list. `any`: every key will do. Null: no key will, only a session. */
  scopes: readonly (readonly Scope[])[] | "any" | null;
}

const reads = ["script:read", "script:write"] as const;
const routeReads = ["route:write", ...reads] as const;
const letterReads = ["log:read", "script:write"] as const;
const keyHolders = ["app:admin", "instance:admin"] as const;

/** What a call of the admin API does; each endpoint names one, and its document says what the row asks for. */
export const PERMISSIONS = {
  "self.read": { level: "self", role: null, scopes: "any" },
  "password.write": { level: "self", role: null, scopes: null },
  "session.read": { level: "self", role: null, scopes: null },
  "session.end": { level: "self", role: null, scopes: null },
  /** Log out: a key ends itself. */
  "credential.end": { level: "self", role: null, scopes: "any" },
  // Whose keys, and which rights a key may hand on, is judged by services/api-keys.ts.
  "api_key.read": { level: "self", role: null, scopes: "any" },
  "api_key.write": { level: "self", role: null, scopes: [keyHolders] },
  "api_key.revoke": { level: "self", role: null, scopes: "any" },

  "app.read": { level: "app", role: "viewer", scopes: "any" },
  "app.write": { level: "app", role: "admin", scopes: [["app:admin"]] },
  "app.delete": { level: "app", role: "admin", scopes: [["app:admin"]] },
  "member.read": { level: "app", role: "viewer", scopes: [["app:admin"]] },
  "member.write": { level: "app", role: "admin", scopes: [["app:admin"]] },
  /** One's own membership. To end that of others takes member.write: services/members.ts asks for it. */
  "member.leave": { level: "app", role: "viewer", scopes: [["app:admin"]] },
  "app_key.read": { level: "app", role: "admin", scopes: [["app:admin"]] },
  "app_key.write": { level: "app", role: "admin", scopes: [["app:admin"]] },
  "host.read": { level: "app", role: "viewer", scopes: [[...routeReads, "app:admin"]] },
  "script.read": { level: "app", role: "viewer", scopes: [reads] },
  "script.write": { level: "app", role: "editor", scopes: [["script:write"]] },
  "script.execute": { level: "app", role: "editor", scopes: [["script:execute"]] },
  "data.read": { level: "app", role: "viewer", scopes: [reads] },
  "data.write": { level: "app", role: "editor", scopes: [["script:write"]] },
  "route.read": { level: "app", role: "viewer", scopes: [routeReads] },
  "route.write": { level: "app", role: "editor", scopes: [["route:write"]] },
  "trigger.read": { level: "app", role: "viewer", scopes: [routeReads] },
  "trigger.write": { level: "app", role: "editor", scopes: [["route:write"]] },
  "dead_letter.read": { level: "app", role: "viewer", scopes: [letterReads] },
  "dead_letter.write": { level: "app", role: "editor", scopes: [["script:write"]] },
  "execution.read": { level: "app", role: "viewer", scopes: [["log:read"]] },
  /** A manifest: scripts, routes and triggers at once. */
  "deployment.write": { level: "app", role: "editor", scopes: [["script:write"], ["route:write"]] },

  "app.create": { level: "instance", role: "admin", scopes: [["instance:admin"]] },
  "host.write": { level: "instance", role: "admin", scopes: [["instance:admin"]] },
  "account.read": { level: "instance", role: "admin", scopes: [["instance:admin"]] },
  "account.write": { level: "instance", role: "admin", scopes: [["instance:admin"]] },
  "nomination.write": { level: "instance", role: "admin", scopes: [["instance:admin"]] },
  "nomination.approve": { level: "instance", role: "owner", scopes: [["instance:admin"]] },
  "audit.read": { level: "instance", role: "owner", scopes: [["instance:admin"]] },
} as const satisfies Record<string, Permission>;

export type Action = keyof typeof PERMISSIONS;

/** What something is done to. */
export interface Resource {
  /** Absent: the call names no app, and it is asked whether the action is allowed in any. */
  app_id?: string;
  /** An account that is changed: who is an admin changes none of an owner. */
  account?: { id: string; role: InstanceRole };
}

/** What the address of a call names: whose app is looked up along with the credential. */
export type ResourceRef =
  | { kind: "none" }
  /** An id or a slug. */
  | { kind: "app"; ref: string }
  | { kind: "script" | "route"; id: string };

/** `hidden`: the actor may not even know of it. */
export type Verdict = "allowed" | "hidden" | "denied";

/** The one rule. Everything that is read of a table is decided here, and nowhere else. */
export function can(actor: Actor, action: Action, resource: Resource = {}): Verdict {
  const { app_id, account } = resource;
  if (app_id !== undefined && roleIn(actor, app_id) === null) return "hidden";
  const { level, role, scopes }: Permission = PERMISSIONS[action];
  if (!hasScopes(actor, scopes)) return "denied";
  if (level === "self") return "allowed";
  if (level === "app") return reaches(actor, role as AppRole, app_id) ? "allowed" : "denied";
  // A key of one app is for nothing beside it.
  if (actor.key !== null && actor.key.app_id !== null) return "denied";
  const isHigh = rank(INSTANCE_ROLES, actor.role) >= rank(INSTANCE_ROLES, role as InstanceRole);
  if (!isHigh || (account?.role === "owner" && actor.role !== "owner")) return "denied";
  return "allowed";
}

/**
 * Throws PicError `not_found` for what the actor may not see, `forbidden` for what they may not do.
 * @param what is not found: `app`, `script`, …
 */
export function authorise(actor: Actor, action: Action, resource: Resource, what: string): void {
  const verdict = can(actor, action, resource);
  if (verdict === "hidden") throw new PicError("not_found", `There is no such ${what}`);
  if (verdict === "denied") throw refused(actor, action, resource);
}

/** The error says what is missing: the scope of a key, or the role of its account. */
export function refused(actor: Actor, action: Action, { account }: Resource = {}): PicError {
  const { level, role, scopes }: Permission = PERMISSIONS[action];
  if (!hasScopes(actor, scopes)) {
    const needed = Array.isArray(scopes)
      ? scopes.map((any) => any.join(" or ")).join(", and ")
      : "";
    return new PicError(
      "forbidden",
      scopes === null
        ? "This needs a session: an API key may not do it"
        : `This API key lacks a scope: ${needed}`,
    );
  }
  if (level === "instance" && actor.key !== null && actor.key.app_id !== null) {
    return new PicError("forbidden", "This API key is bound to an app, and may not do this");
  }
  if (account?.role === "owner" && actor.role === "admin" && role === "admin") {
    return new PicError("forbidden", "Only an owner may change the account of an owner");
  }
  const [whose, highest] =
    level === "app" ? ["in the app", APP_ROLES.at(-1)] : ["of your account", INSTANCE_ROLES.at(-1)];
  const orHigher = role === highest ? "" : ", or a higher one";
  return new PicError("forbidden", `This needs the role ${role} ${whose}${orHigher}`);
}

/** The actor's role in an app, or null: they do not belong to it, or their key is of another. */
export function roleIn(actor: Actor, app_id: string): AppRole | null {
  if (actor.key !== null && actor.key.app_id !== null && actor.key.app_id !== app_id) return null;
  if (actor.role !== "member") return "admin";
  return actor.memberships.get(app_id) ?? null;
}

/** Which apps the actor sees: all, or those of which they are told here. Lists are filtered by it, in SQL. */
export type Visibility = "all" | { app_ids: readonly string[] };

export function visibleApps(actor: Actor): Visibility {
  const bound = actor.key?.app_id ?? null;
  if (bound !== null) return { app_ids: roleIn(actor, bound) === null ? [] : [bound] };
  return actor.role === "member" ? { app_ids: [...actor.memberships.keys()] } : "all";
}

function reaches(actor: Actor, role: AppRole, app_id: string | undefined): boolean {
  const isEnough = (found: AppRole | null): boolean =>
    found !== null && rank(APP_ROLES, found) >= rank(APP_ROLES, role);
  if (app_id !== undefined) return isEnough(roleIn(actor, app_id));
  // Whoever belongs to no app yet sees empty lists.
  if (role === "viewer") return true;
  const visible = visibleApps(actor);
  return visible === "all" || visible.app_ids.some((id) => isEnough(roleIn(actor, id)));
}

function hasScopes({ key }: Actor, scopes: Permission["scopes"]): boolean {
  if (key === null || scopes === "any") return true;
  if (scopes === null) return false;
  return scopes.every((any) => any.some((scope) => key.scopes.includes(scope)));
}

function rank<Role>(roles: readonly Role[], role: Role): number {
  return roles.indexOf(role);
}
