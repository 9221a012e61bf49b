/** Which server and account commands are meant for, and what they may do there. */
import type { Command } from "commander";
import { SCOPES } from "../../domain/access.ts";
import type { WireMe } from "../../schema/accounts.ts";
import type { PicContext } from "../context.ts";
import { notPiCloud } from "../failures.ts";
import type { Column } from "../output.ts";

interface Identity extends WireMe {
  url: string;
}

const columns: readonly Column<Identity>[] = [
  { title: "URL", value: ({ url }) => url },
  { title: "USERNAME", value: ({ username }) => username },
  { title: "ROLE", value: ({ role }) => role },
  { title: "APPS", value: appsOf },
  { title: "KEY", value: ({ key }) => key?.prefix ?? null },
  { title: "SCOPES", value: scopesOf },
  { title: "EXPIRES", value: ({ key }) => key?.expires_at ?? null },
];

export function registerWhoami(program: Command, pic: PicContext): void {
  program
    .command("whoami")
    .summary("show the server, the account and what the key allows")
    .action(async () => pic.output.one(await identity(pic), columns));
}

async function identity(pic: PicContext): Promise<Identity> {
  const { url } = pic.server();
  const me = await pic.client().auth.me();
  if (typeof me?.username !== "string") throw notPiCloud(url, "answered without an account");
  return { url, ...me };
}

function appsOf({ memberships, more_memberships }: Identity): string {
  if (!Array.isArray(memberships)) return "all";
  const roles = memberships.map(({ app, role }) => `${app}:${role}`);
  return [...roles, ...(more_memberships ? ["…"] : [])].join(" ");
}

function scopesOf({ key }: Identity): string {
  if (!Array.isArray(key?.scopes)) return "all";
  return SCOPES.every((scope) => key.scopes.includes(scope)) ? "all" : key.scopes.join(" ");
}
