/** Apps, who belongs to them, and their hosts. */
import type { Command } from "commander";
import { APP_ROLES, type AppRole } from "../../domain/access.ts";
import type { WireApp } from "../../schema/apps.ts";
import type { WireAppHost } from "../../schema/hosts.ts";
import type { WireMember } from "../../schema/members.ts";
import { choice } from "../choice.ts";
import type { PicContext } from "../context.ts";
import { usageFailure } from "../failures.ts";
import type { Column } from "../output.ts";
import { allItems } from "../pages.ts";

const columns: readonly Column<WireApp>[] = [
  { title: "SLUG", value: ({ slug }) => slug },
  { title: "NAME", value: ({ name }) => name },
  { title: "YOUR ROLE", value: ({ role }) => role },
  { title: "CREATED", value: ({ created_at }) => created_at },
  { title: "ID", value: ({ id }) => id },
];

const memberColumns: readonly Column<WireMember>[] = [
  { title: "USERNAME", value: ({ username }) => username },
  { title: "ROLE", value: ({ role }) => role },
  { title: "ACCOUNT ROLE", value: ({ account_role }) => account_role },
  { title: "ACTIVE", value: ({ is_active }) => is_active },
  { title: "SINCE", value: ({ created_at }) => created_at },
  { title: "ACCOUNT ID", value: ({ account_id }) => account_id },
];

const hostColumns: readonly Column<WireAppHost>[] = [
  { title: "HOST", value: ({ host }) => host },
  { title: "SINCE", value: ({ created_at }) => created_at },
];

const theApp = "its slug or its id";
const theAccount = "its user name or its id";

export function registerApps(program: Command, pic: PicContext): void {
  const apps = program.command("apps").summary("apps, their members and their hosts");
  apps
    .command("ls")
    .summary("list the apps that you may see")
    .action(async () => {
      const client = pic.client();
      pic.output.list(await allItems(pic, (page) => client.apps.list(page)), columns);
    });
  apps
    .command("show")
    .summary("show one app")
    .argument("<app>", theApp)
    .action(async (app: string) => pic.output.one(await pic.client().apps.get(app), columns));
  apps
    .command("create")
    .summary("make an app")
    .argument("<slug>", "its name in addresses and commands: a-z, 0-9 and -")
    .option("--name <name>", "its name for people; default: the slug")
    .action(async (slug: string, { name = slug }: { name?: string }) => {
      pic.output.one(await pic.client().apps.create({ slug, name }), columns);
    });
  apps
    .command("rename")
    .summary("change the slug or the name of an app")
    .argument("<app>", theApp)
    .argument("[slug]", "the new slug")
    .option("--name <name>", "the new name for people")
    .action(async (app: string, slug: string | undefined, { name }: { name?: string }) => {
      if (slug === undefined && name === undefined) {
        throw usageFailure("rename needs a new slug or a new name", "pic apps rename --help");
      }
      const patch = {
        ...(slug === undefined ? {} : { slug }),
        ...(name === undefined ? {} : { name }),
      };
      pic.output.one(await pic.client().apps.update(app, patch), columns);
    });
  apps
    .command("delete")
    .summary("delete an app")
    .argument("<app>", theApp)
    .option("--force", "and everything that is in it")
    .action(async (app: string, { force = false }: { force?: boolean }) => {
      await pic.client().apps.delete(app, force ? { force } : {});
      pic.output.note(`Deleted the app ${app}.`);
    });
  registerMembers(apps, pic);
  registerHosts(apps, pic);
}

function registerMembers(apps: Command, pic: PicContext): void {
  const members = apps.command("members").summary("who belongs to an app");
  members
    .command("ls")
    .summary("list the members of an app")
    .argument("<app>", theApp)
    .action(async (app: string) => {
      const client = pic.client();
      const items = await allItems(pic, (page) => client.members.list(app, page));
      pic.output.list(items, memberColumns);
    });
  members
    .command("add")
    .summary("give somebody a role in an app, or another one")
    .argument("<app>", theApp)
    .argument("<account>", theAccount)
    .addArgument(choice("<role>", "what they may do there", APP_ROLES))
    .action(async (app: string, account: string, role: AppRole) => {
      const { warning, ...member } = await pic.client().members.put(app, account, { role });
      pic.output.one(member, memberColumns);
      if (typeof warning === "string") pic.output.warn(warning);
    });
  members
    .command("rm")
    .summary("take somebody out of an app")
    .argument("<app>", theApp)
    .argument("<account>", theAccount)
    .action(async (app: string, account: string) => {
      await pic.client().members.delete(app, account);
      pic.output.note(`${account} does not belong to ${app} any more.`);
    });
}

function registerHosts(apps: Command, pic: PicContext): void {
  const hosts = apps.command("hosts").summary("hosts on which an app alone serves");
  const theHost = "like blog.home.lan, or *.blog.home.lan for all below it";
  hosts
    .command("ls")
    .summary("list the hosts of an app")
    .argument("<app>", theApp)
    .action(async (app: string) => {
      const client = pic.client();
      pic.output.list(await allItems(pic, (page) => client.hosts.list(app, page)), hostColumns);
    });
  hosts
    .command("add")
    .summary("give a host to an app")
    .argument("<app>", theApp)
    .argument("<host>", theHost)
    .action(async (app: string, host: string) => {
      pic.output.one(await pic.client().hosts.add(app, { host }), hostColumns);
    });
  hosts
    .command("rm")
    .summary("take a host from an app")
    .argument("<app>", theApp)
    .argument("<host>", theHost)
    .action(async (app: string, host: string) => {
      await pic.client().hosts.remove(app, host);
      pic.output.note(`${host} does not belong to ${app} any more.`);
    });
}
