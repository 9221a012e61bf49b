/** The audit trail: who changed what, from where. */
import type { Command } from "commander";
import type { AuditFilterInput, WireAuditEntry } from "../../schema/audit.ts";
import type { PicContext } from "../context.ts";
import { usageFailure } from "../failures.ts";
import type { Column } from "../output.ts";
import { allItems } from "../pages.ts";
import { safeJson } from "../printable.ts";
import { timeAgo } from "../when.ts";

interface AuditOptions {
  actor?: string;
  action?: string;
  app?: string;
  target?: string;
  since?: string;
  until?: string;
  limit: number;
}

const rowsDefault = 100;

const columns: readonly Column<WireAuditEntry>[] = [
  { title: "TIME", value: ({ at }) => at },
  { title: "ACTOR", value: ({ actor }) => actor?.name },
  { title: "CREDENTIAL", value: ({ credential }) => credential },
  { title: "ADDRESS", value: ({ address }) => address },
  { title: "ACTION", value: ({ action }) => action },
  { title: "TARGET", value: ({ target }) => (target.name === "" ? target.id : target.name) },
  { title: "DETAIL", value: ({ detail }) => safeJson(detail) },
];

export function registerAudit(program: Command, pic: PicContext): void {
  const audit = program.command("audit").summary("who changed what, for owners");
  audit
    .command("ls")
    .summary("list changes, newest first")
    .option("--actor <account>", "made by this account")
    .option("--action <action>", "like script.create, or script.* for all of a kind")
    .option("--app <app>", "in this app")
    .option("--target <target>", "made to what has this id or name")
    .option("--since <when>", "from then on: like 2h, 7d or 2030-01-31")
    .option("--until <when>", "before then")
    .option("--limit <count>", "at most so many", count, rowsDefault)
    .action((options: AuditOptions) => list(pic, options));
}

async function list(
  pic: PicContext,
  { limit, since, until, ...named }: AuditOptions,
): Promise<void> {
  const time = (text: string, option: string): string =>
    new Date(timeAgo(text, pic.around.now(), option)).toISOString();
  const filter: AuditFilterInput = {
    ...named,
    ...(since === undefined ? {} : { since: time(since, "--since") }),
    ...(until === undefined ? {} : { until: time(until, "--until") }),
  };
  const client = pic.client();
  const items = await allItems(pic, (page) => client.audit.list({ ...filter, ...page }), limit);
  pic.output.list(items, columns);
}

function count(text: string): number {
  const number = Number(text);
  if (Number.isInteger(number) && number > 0) return number;
  throw usageFailure(`--limit: ${text} is no count`, "a whole number above 0");
}
