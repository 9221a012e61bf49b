/** Writes the table of docs/access.md from the table that judges; a test compares them. */
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import {
  type Action,
  type AppRole,
  can,
  PERMISSIONS,
  type Resource,
} from "../src/domain/access.ts";
import type { Actor, InstanceRole } from "../src/domain/accounts.ts";

const page = resolve(import.meta.dir, "../docs/access.md");
const place = /(<!-- permissions:.*-->\n)[\s\S]*(<!-- \/permissions -->)/;

/** Who is asked about, as the columns are called; the level that it makes sense for comes first. */
const COLUMNS = [
  { title: "viewer", role: "member", membership: "viewer" },
  { title: "editor", role: "member", membership: "editor" },
  { title: "app admin", role: "member", membership: "admin" },
  { title: "admin", role: "admin", membership: null },
  { title: "owner", role: "owner", membership: null },
] as const;

/** The page with the table as it should be. */
export function withPermissions(text: string): string {
  return text.replace(
    place,
    (_, open: string, close: string) => `${open}${permissionsMarkdown()}\n${close}`,
  );
}

function permissionsMarkdown(): string {
  const head = ["action", ...COLUMNS.map(({ title }) => title), "a key needs"];
  // What an object's keys are, they are called.
  const actions = Object.keys(PERMISSIONS) as Action[];
  const rows = actions.map((action) => [
    `\`${action}\``,
    ...COLUMNS.map(({ role, membership }) => (isAllowed(action, role, membership) ? "✓" : "")),
    keyText(action),
  ]);
  const lines = [head, head.map(() => "---"), ...rows];
  return lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** Asked of the one rule, so that the page cannot say something else. */
function isAllowed(action: Action, role: InstanceRole, membership: AppRole | null): boolean {
  const app_id = "app";
  const actor: Actor = {
    account_id: "account",
    username: "ada",
    role,
    memberships: new Map(membership === null ? [] : [[app_id, membership]]),
    session_hash: "hash",
    key: null,
    address: "",
    request_id: "",
  };
  const resource: Resource = PERMISSIONS[action].level === "app" ? { app_id } : {};
  return can(actor, action, resource) === "allowed";
}

function keyText(action: Action): string {
  const { scopes } = PERMISSIONS[action];
  if (scopes === null) return "no key may";
  if (scopes === "any") return "any scope";
  return scopes.map((any) => any.map((scope) => `\`${scope}\``).join(" or ")).join(", and ");
}

if (import.meta.main) writeFileSync(page, withPermissions(readFileSync(page, "utf8")));
