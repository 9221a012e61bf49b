/**
 * What the API's document says about who may: of each call its action, the credentials that count, and
 * in words the role and the scope that it needs, all of it from the one table. Loaded with the document
 * alone.
 */
import { type Action, APP_ROLES, INSTANCE_ROLES, PERMISSIONS } from "../../domain/access.ts";
import { sessionCookieName } from "../../domain/credentials.ts";

export const securitySchemes = {
  token: {
    type: "http",
    scheme: "bearer",
    description: "The `token` of a login (`pcs_…`), on both listeners",
  },
  cookie: {
    type: "apiKey",
    in: "cookie",
    name: sessionCookieName,
    description:
      "Set by a login on the admin listener, and worth something there alone. What changes " +
      "something must come from a page of that listener (`Origin`)",
  },
  key: {
    type: "http",
    scheme: "bearer",
    description:
      "The `raw_token` of an API key (`pic_…`), on both listeners. It allows what its scopes, its " +
      "app and its account all allow",
  },
} as const;

/** For calls that say nothing else: any of these. */
export const anyCredential = [{ token: [] }, { cookie: [] }, { key: [] }];
const onlySession = [{ token: [] }, { cookie: [] }];

/** The members of an operation that tell who may. @param action null: anybody */
export function accessOf(action: Action | null): object {
  if (action === null) return { security: [] };
  const { scopes } = PERMISSIONS[action];
  return {
    description: accessText(action),
    ...(scopes === null ? { security: onlySession } : {}),
    "x-picloud-action": action,
  };
}

/** Two sentences: the role, and what an API key needs besides. */
export function accessText(action: Action): string {
  return `${roleText(action)} ${keyText(action)}`;
}

function roleText(action: Action): string {
  const { level, role } = PERMISSIONS[action];
  if (level === "self") return "For one's own account: any role will do.";
  const highest = level === "app" ? APP_ROLES.at(-1) : INSTANCE_ROLES.at(-1);
  const orHigher = role === highest ? "" : " or a higher one";
  const where = level === "app" ? "in the app" : "of the account";
  return `Needs the role \`${role}\`${orHigher} ${where}.`;
}

function keyText(action: Action): string {
  const { level, scopes } = PERMISSIONS[action];
  if (scopes === null) return "No API key may: it needs a session.";
  const bound = level === "instance" ? ", and is not bound to an app" : "";
  if (scopes === "any") return `Any API key will do${bound}.`;
  const needed = scopes.map((any) => any.map((scope) => `\`${scope}\``).join(" or "));
  return `An API key needs the scope ${needed.join(", and ")}${bound}.`;
}
