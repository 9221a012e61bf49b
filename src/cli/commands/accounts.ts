/** Accounts. Passwords are typed or come in on standard input; no command takes one as an argument. */
import type { Command } from "commander";
import { PicClientError } from "../../client.ts";
import { INSTANCE_ROLES } from "../../domain/access.ts";
import type { InstanceRole } from "../../domain/accounts.ts";
import { passwordCharsMax, passwordCharsMin } from "../../domain/limits.ts";
import type { WireAccount } from "../../schema/accounts.ts";
import { choice, choiceOption } from "../choice.ts";
import type { PicContext } from "../context.ts";
import { EXIT } from "../exit-codes.ts";
import { PicFailure, usageFailure } from "../failures.ts";
import type { Column } from "../output.ts";
import { type PasswordOptions, passwordFlag as stdinFlag, withSession } from "../own-session.ts";
import { allItems } from "../pages.ts";
import { printable } from "../printable.ts";
import { readStdinLines } from "../prompts.ts";

interface ListOptions {
  search?: string;
  role?: InstanceRole;
  inactive?: true;
}

const columns: readonly Column<WireAccount>[] = [
  { title: "USERNAME", value: ({ username }) => username },
  { title: "ROLE", value: ({ role }) => role },
  { title: "ACTIVE", value: ({ is_active }) => is_active },
  { title: "NOMINATED", value: ({ nomination }) => nomination?.role },
  { title: "CREATED", value: ({ created_at }) => created_at },
  { title: "ID", value: ({ id }) => id },
];

const theAccount = "its user name or its id";

export function registerAccounts(program: Command, pic: PicContext): void {
  const accounts = program.command("accounts").summary("who may sign in, and as what");
  accounts
    .command("ls")
    .summary("list the accounts")
    .option("--search <text>", "whose user name has this in it")
    .addOption(choiceOption("--role <role>", "with this role", INSTANCE_ROLES))
    .option("--inactive", "those that are switched off")
    .action(async ({ search: q, role, inactive }: ListOptions) => {
      const filter = {
        ...(q === undefined ? {} : { q }),
        ...(role === undefined ? {} : { role }),
        ...(inactive === undefined ? {} : { is_active: false }),
      };
      const client = pic.client();
      const items = await allItems(pic, (page) => client.accounts.list({ ...filter, ...page }));
      pic.output.list(items, columns);
    });
  accounts
    .command("create")
    .summary("make an account")
    .argument("<username>", "a-z, 0-9, dot, dash and underscore")
    .addOption(choiceOption("--role <role>", "what it may do", INSTANCE_ROLES).default("member"))
    .option(stdinFlag, "read its password from standard input")
    .action(async (username: string, options: PasswordOptions & { role: InstanceRole }) => {
      const password = await newPassword(pic, options);
      const made = await pic.client().accounts.create({ username, password, role: options.role });
      pic.output.one(made, columns);
    });
  registerChanges(accounts, pic);
  registerPassword(accounts, pic);
  registerNominations(accounts, pic);
}

function registerChanges(accounts: Command, pic: PicContext): void {
  accounts
    .command("set-role")
    .summary("change what an account may do")
    .argument("<account>", theAccount)
    .addArgument(choice("<role>", "the new role", INSTANCE_ROLES))
    .action(async (account: string, role: InstanceRole) => {
      const changed = pic.client().accounts.update(account, { role });
      pic.output.one(await keepingAnOwner(changed), columns);
    });
  const switches = [
    ["deactivate", "switch an account off: its sessions and keys end at once", false],
    ["activate", "switch an account on again", true],
  ] as const;
  for (const [name, summary, is_active] of switches) {
    accounts
      .command(name)
      .summary(summary)
      .argument("<account>", theAccount)
      .action(async (account: string) => {
        const changed = pic.client().accounts.update(account, { is_active });
        pic.output.one(await keepingAnOwner(changed), columns);
      });
  }
  accounts
    .command("delete")
    .summary("delete an account with its sessions, keys and memberships; what it made stays")
    .argument("<account>", theAccount)
    .option("-y, --yes", "do not ask")
    .action(async (account: string, { yes = false }: { yes?: boolean }) => {
      await confirmDeletion(pic, account, yes);
      await keepingAnOwner(pic.client().accounts.delete(account));
      pic.output.note(`Deleted the account ${account}.`);
    });
}

function registerPassword(accounts: Command, pic: PicContext): void {
  accounts
    .command("passwd")
    .summary("change your own password, or set that of another account")
    .argument("[account]", `${theAccount}; without it, your own`)
    .option(
      stdinFlag,
      "read from standard input: for your own, the old one, then the new one below",
    )
    .action(async (account: string | undefined, options: PasswordOptions) => {
      if (account === undefined) await changeOwn(pic, options);
      else {
        await pic.client().accounts.update(account, { password: await newPassword(pic, options) });
        pic.output.note(`The password of ${account} is set, and its sessions have ended.`);
      }
    });
}

function registerNominations(accounts: Command, pic: PicContext): void {
  accounts
    .command("nominate")
    .summary("ask the owners to give an account a higher role")
    .argument("<account>", theAccount)
    .addArgument(choice("<role>", "the role to ask for", ["admin", "owner"]))
    .action(async (account: string, role: "admin" | "owner") => {
      pic.output.one(await pic.client().accounts.nominate(account, { role }), columns);
    });
  accounts
    .command("approve")
    .summary("give an account the role it is nominated for")
    .argument("<account>", theAccount)
    .addOption(choiceOption("--role <role>", "only if it is this one", ["admin", "owner"]))
    .action(async (account: string, { role }: { role?: "admin" | "owner" }) => {
      const expected = role ?? (await nominatedRole(pic, account));
      const approved = pic.client().accounts.approveNomination(account, { role: expected });
      pic.output.one(await approved, columns);
    });
  accounts
    .command("withdraw")
    .summary("take a nomination back, or refuse it")
    .argument("<account>", theAccount)
    .action(async (account: string) => {
      await pic.client().accounts.withdrawNomination(account);
      pic.output.note(`${account} is not nominated any more.`);
    });
}

/** Shown, and sent along: when another role is asked for meanwhile, nothing is granted. */
async function nominatedRole(pic: PicContext, account: string): Promise<"admin" | "owner"> {
  const { username, role, nomination } = await pic.client().accounts.get(account);
  if (nomination === null) {
    throw new PicFailure(`${printable(username)} is not nominated for a role`, {
      exit: EXIT.conflict,
      next: "`pic accounts ls` shows who is; `pic accounts set-role` gives a role without it",
    });
  }
  pic.output.note(
    `${username} is ${role}, and nominated for ${nomination.role} since ${nomination.at}.`,
  );
  return nomination.role;
}

async function confirmDeletion(pic: PicContext, account: string, yes: boolean): Promise<void> {
  if (yes) return;
  const message = `Delete the account ${printable(account)} with its sessions, keys and memberships?`;
  if (await pic.prompts.confirm({ message, flag: "--yes" })) return;
  throw new PicFailure("Nothing was deleted", { exit: EXIT.failure });
}

/** The last owner is what these calls can be in conflict with, and nothing else. */
async function keepingAnOwner<T>(change: Promise<T>): Promise<T> {
  try {
    return await change;
  } catch (error) {
    if (!(error instanceof PicClientError) || error.code !== "conflict") throw error;
    throw new PicFailure(error.message, {
      exit: EXIT.conflict,
      next: "make somebody else an owner first: pic accounts set-role <account> owner",
      cause: error,
    });
  }
}

/** A key may not change a password: who has only it, and not the password, is not asked to prove more. */
async function changeOwn(
  pic: PicContext,
  { passwordStdin = false }: PasswordOptions,
): Promise<void> {
  const { username } = await pic.client().auth.me();
  const given = passwordStdin ? await readStdinLines(pic.around, 2, stdinFlag) : [];
  const old_password =
    given[0] ?? (await pic.prompts.password({ message: "Old password", flag: stdinFlag }));
  const new_password = checked(given[1] ?? (await askTwice(pic)));
  await withSession(pic, { username, password: old_password }, (client) =>
    client.auth.changePassword({ old_password, new_password }),
  );
  pic.output.note("Your password is changed, and your other sessions have ended.");
}

async function newPassword(
  pic: PicContext,
  { passwordStdin = false }: PasswordOptions,
): Promise<string> {
  if (!passwordStdin) return checked(await askTwice(pic));
  const [password = ""] = await readStdinLines(pic.around, 1, stdinFlag);
  return checked(password);
}

async function askTwice(pic: PicContext): Promise<string> {
  const first = await pic.prompts.password({
    message: "New password",
    flag: stdinFlag,
    refuse: problemWith,
  });
  await pic.prompts.password({
    message: "Once more",
    flag: stdinFlag,
    refuse: (second) => (second === first ? null : "the two differ"),
  });
  return first;
}

function checked(password: string): string {
  const problem = problemWith(password);
  if (problem !== null) throw usageFailure(`The new password: ${problem}`);
  return password;
}

function problemWith(password: string): string | null {
  if (password.length >= passwordCharsMin && password.length <= passwordCharsMax) return null;
  return `it must be ${passwordCharsMin} to ${passwordCharsMax} characters long`;
}
