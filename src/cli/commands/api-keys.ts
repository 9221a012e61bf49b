/** API keys: for other machines and programs. */
import type { Command } from "commander";
import { PicClientError } from "../../client.ts";
import { SCOPES, type Scope } from "../../domain/access.ts";
import { loginKeyDays } from "../../domain/limits.ts";
import type { ApiKeyInput, WireApiKey, WireCreatedApiKey } from "../../schema/api-keys.ts";
import type { PicContext } from "../context.ts";
import { EXIT } from "../exit-codes.ts";
import { PicFailure, usageFailure } from "../failures.ts";
import type { Column } from "../output.ts";
import { ownPassword, type PasswordOptions, passwordFlag, withSession } from "../own-session.ts";
import { allItems } from "../pages.ts";
import { timeAhead } from "../when.ts";

interface MintOptions extends PasswordOptions {
  scope: Scope[];
  app?: string;
  expires?: string;
}

const columnsBeforeScopes: readonly Column<WireApiKey>[] = [
  { title: "PREFIX", value: ({ prefix }) => prefix },
  { title: "NAME", value: ({ name }) => name },
  { title: "ACCOUNT", value: ({ username }) => username },
  { title: "APP", value: ({ app, app_id }) => app ?? app_id },
  { title: "EXPIRES", value: ({ expires_at }) => expires_at },
  { title: "LAST USED", value: ({ last_used_at }) => last_used_at },
  { title: "ID", value: ({ id }) => id },
];

const prefixPattern = /^(?:pic_)?([a-z2-7]{8})$/;
const never = "never";

/** Seven scopes are wider than a cell; programs get all of them. */
function columnsFor({ format }: PicContext["output"]): Column<WireApiKey>[] {
  const isAll = (scopes: readonly Scope[]) => SCOPES.every((scope) => scopes.includes(scope));
  return [
    ...columnsBeforeScopes,
    {
      title: "SCOPES",
      value: ({ scopes }) => (format === "table" && isAll(scopes) ? "all" : scopes.join(",")),
    },
  ];
}

export function registerApiKeys(program: Command, pic: PicContext): void {
  const keys = program.command("api-keys").summary("keys for other machines and programs");
  keys
    .command("mint <name>")
    .summary("make a key, and print it this once")
    .description(
      [
        "Makes an API key and prints it: it cannot be shown again.",
        "",
        `Scopes: ${SCOPES.join(", ")}.`,
        "",
        "A key allows no more than its account may do. One that is to live longer or to allow more than the key you use, which pic login made for 90 days, takes your password: it is asked for.",
        "",
        "  pic api-keys mint ci --scope script:write --app blog --expires 365d",
      ].join("\n"),
    )
    .requiredOption("--scope <scopes>", "what it is for, with commas or several times", addScopes)
    .option("--app <app>", "for this app alone")
    .option(
      "--expires <when>",
      `like 30d, 2030-01-31 or never; default: in ${loginKeyDays} days, or with the key you use if that is sooner`,
    )
    .option(passwordFlag, "read your password from standard input, and make the key with it")
    .action((name: string, options: MintOptions) => mint(pic, name, options));
  keys
    .command("ls")
    .summary("list keys: your own, of an app, or of an account")
    .option("--app <app>", "keys that are bound to this app")
    .option("--account <account>", "keys of this account")
    .action(async (filter: { app?: string; account?: string }) => {
      const client = pic.client();
      const items = await allItems(pic, (page) => client.apiKeys.list({ ...filter, ...page }));
      pic.output.list(items, columnsFor(pic.output));
    });
  keys
    .command("rm")
    .summary("revoke a key at once")
    .argument("<key>", "its prefix or its id")
    .action((key: string) => revoke(pic, key));
}

async function mint(pic: PicContext, name: string, options: MintOptions): Promise<void> {
  const { app, passwordStdin = false } = options;
  const { username, key } = await pic.client().auth.me();
  const byPassword = passwordStdin && key !== null;
  const input: ApiKeyInput = {
    name,
    scopes: options.scope,
    expires_at: expiry(pic, options, byPassword ? null : (key?.expires_at ?? null)),
    ...(app === undefined ? {} : { app }),
  };
  const made = byPassword
    ? await mintByPassword(pic, username, input, options)
    : await mintWithin(pic, { username, isKey: key !== null }, input);
  if (pic.output.format === "json") pic.output.json(made);
  else pic.output.text(`${made.raw_token}\n`);
  const until = made.expires_at === null ? "never expires" : `expires at ${made.expires_at}`;
  pic.output.note(
    `This key is not shown again. It ${until}; revoke it with: pic api-keys rm ${made.prefix}`,
  );
}

/** What the key in use may not hand on, its owner may. */
async function mintWithin(
  pic: PicContext,
  { username, isKey }: { username: string; isKey: boolean },
  input: ApiKeyInput,
): Promise<WireCreatedApiKey> {
  try {
    return await pic.client().apiKeys.create(input);
  } catch (error) {
    const isTooMuch = isKey && error instanceof PicClientError && error.status === 403;
    if (!isTooMuch) throw error;
    if (!pic.isInteractive) {
      throw usageFailure(
        error.message,
        `ask for less (\`pic whoami\` shows the key), or make it with your password: ${passwordFlag}`,
      );
    }
    pic.output.note(`${error.message}. With your password it can be made.`);
    return mintByPassword(pic, username, input, {});
  }
}

async function mintByPassword(
  pic: PicContext,
  username: string,
  input: ApiKeyInput,
  options: PasswordOptions,
): Promise<WireCreatedApiKey> {
  const password = await ownPassword(pic, username, options);
  return withSession(pic, { username, password }, (client) => client.apiKeys.create(input));
}

/** ISO 8601, or null for never. @param latest when the key ends that makes it: it makes none that outlives it */
function expiry(pic: PicContext, { expires }: MintOptions, latest: string | null): string | null {
  if (expires === never) return null;
  const asked = timeAhead(expires ?? `${loginKeyDays}d`, pic.around.now(), "--expires");
  const isTooLong = latest !== null && Date.parse(latest) < asked;
  return expires === undefined && isTooLong ? latest : new Date(asked).toISOString();
}

async function revoke(pic: PicContext, key: string): Promise<void> {
  const client = pic.client();
  const prefix = prefixPattern.exec(key)?.[1];
  const id = prefix === undefined ? key : await idOf(pic, prefix);
  await client.apiKeys.delete(id);
  pic.output.note(`Revoked ${key}.`);
}

/** Of one's own keys: those of others have their id beside them in the list. */
async function idOf(pic: PicContext, prefix: string): Promise<string> {
  const client = pic.client();
  const items = await allItems(pic, (page) => client.apiKeys.list(page));
  const found = items.filter((item) => item.prefix === prefix);
  const [only] = found;
  if (only !== undefined && found.length === 1) return only.id;
  throw new PicFailure(`You have no key with the prefix ${prefix}`, {
    exit: EXIT.notFound,
    next: "`pic api-keys ls --account <account>` shows the ids of others' keys",
  });
}

function addScopes(text: string, before: Scope[] = []): Scope[] {
  const given = text.split(",").map((scope) => scope.trim());
  const isScope = (scope: string): scope is Scope => SCOPES.includes(scope as Scope);
  const unknown = given.find((scope) => !isScope(scope));
  if (unknown !== undefined) {
    throw usageFailure(`--scope: there is no scope ${unknown}`, SCOPES.join(", "));
  }
  return [...before, ...given.filter(isScope)];
}
